//! Bounds that a plan must keep.

use super::quantity::{Data, Density, NonzeroParams};

named! {
    /// One bound of a plan.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Constraint {
        /// Highest lifetime cost, in FLOPs.
        Compute = "compute",
        /// The highest loss.
        TargetLoss = "target_loss",
        /// Most memory for the weights, in bytes.
        MemoryBytes = "memory_bytes",
        /// Smallest number of non-zero parameters.
        NonzeroParamsMin = "nonzero_params.min",
        /// Largest number of non-zero parameters.
        NonzeroParamsMax = "nonzero_params.max",
        /// Smallest number of parameters, zeros included.
        TotalParamsMin = "total_params.min",
        /// Largest number of parameters, zeros included.
        TotalParamsMax = "total_params.max",
        /// Lowest sparsity.
        SparsityMin = "sparsity.min",
        /// The highest sparsity.
        SparsityMax = "sparsity.max",
        /// Least amount of data.
        DataMin = "data.min",
        /// Largest amount of data.
        DataMax = "data.max",
    }
}

impl Constraint {
    /// Whether the bound is an upper one. A bound on the sparsity is stored as one on the density, so the lowest
    /// sparsity is an upper bound and the highest sparsity a lower one.
    #[must_use]
    pub const fn is_upper(self) -> bool {
        match self {
            Self::Compute
            | Self::TargetLoss
            | Self::MemoryBytes
            | Self::NonzeroParamsMax
            | Self::TotalParamsMax
            | Self::SparsityMin
            | Self::DataMax => true,
            Self::NonzeroParamsMin | Self::TotalParamsMin | Self::SparsityMax | Self::DataMin => {
                false
            }
        }
    }

    /// The value that forbids nothing, or nothing that the quantity can be.
    const fn loosest(self) -> f64 {
        /// Larger than every cost, loss and size.
        const ANY: f64 = 1e300;
        match self {
            Self::Compute | Self::TargetLoss | Self::MemoryBytes | Self::TotalParamsMax => ANY,
            Self::NonzeroParamsMin | Self::TotalParamsMin | Self::SparsityMin => 1.0,
            Self::NonzeroParamsMax => NonzeroParams::LARGEST,
            Self::SparsityMax => 1.0 - Limits::HIGHEST_SPARSITY,
            Self::DataMin => Data::SMALLEST,
            Self::DataMax => Data::LARGEST,
        }
    }
}

/// All bounds of a plan; a bound that is not set forbids nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits([f64; Constraint::ALL.len()]);

impl Default for Limits {
    fn default() -> Self {
        Self(Constraint::ALL.map(Constraint::loosest))
    }
}

/// Relative tolerance for rounding with which a density keeps a bound on the sparsity.
const ROUNDING: f64 = 1e-12;

impl Limits {
    /// Highest sparsity of any plan, which is far beyond any run.
    pub const HIGHEST_SPARSITY: f64 = 0.9999;

    /// Factor by which [`Limits::relaxed`] moves a bound.
    const RELAXATION: f64 = 1.01;

    /// The value of a bound; for a bound on the sparsity, the density.
    #[must_use]
    pub const fn get(&self, constraint: Constraint) -> f64 {
        self.0[constraint as usize]
    }

    /// Sets a bound; for a bound on the sparsity, `value` is the density.
    #[must_use]
    pub const fn with(mut self, constraint: Constraint, value: f64) -> Self {
        self.0[constraint as usize] = value;
        self
    }

    /// Removes a bound.
    #[must_use]
    pub const fn without(self, constraint: Constraint) -> Self {
        self.with(constraint, constraint.loosest())
    }

    /// Whether a bound is set.
    #[must_use]
    pub fn has(&self, constraint: Constraint) -> bool {
        self.get(constraint) != constraint.loosest()
    }

    /// Returns the limits with one bound relaxed by 1 %, but not beyond its loosest value.
    pub(super) fn relaxed(self, constraint: Constraint) -> Self {
        let (value, loosest) = (self.get(constraint), constraint.loosest());
        let moved = if constraint.is_upper() {
            (value * Self::RELAXATION).min(loosest)
        } else {
            (value / Self::RELAXATION).max(loosest)
        };
        self.with(constraint, moved)
    }

    /// The tightest value of a bound with which `possible` holds, where the current value is too tight; `None` where no
    /// value is loose enough.
    pub(super) fn needed(
        self,
        constraint: Constraint,
        possible: impl Fn(&Self) -> bool,
    ) -> Option<f64> {
        if !possible(&self.without(constraint)) {
            return None;
        }
        // Enough halvings to find a ratio of up to 1e300 to its last digits.
        let (mut tight, mut loose) = (self.get(constraint).ln(), constraint.loosest().ln());
        for _ in 0..56 {
            let middle = 0.5 * (tight + loose);
            let end = if possible(&self.with(constraint, middle.exp())) {
                &mut loose
            } else {
                &mut tight
            };
            *end = middle;
        }
        Some(loose.exp())
    }

    /// Whether the bounds on the sparsity allow a density.
    pub(super) fn allows(&self, density: Density) -> bool {
        // A bound that equals a level or a pattern, up to rounding, allows it.
        let ends = (self.get(Constraint::SparsityMax), self.get(Constraint::SparsityMin));
        (ends.0 * (1.0 - ROUNDING)..=ends.1 * (1.0 + ROUNDING)).contains(&density.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relaxed_bound_allows_more() {
        let limits = Limits::default()
            .with(Constraint::NonzeroParamsMax, 1e9)
            .with(Constraint::SparsityMax, 0.5)
            .with(Constraint::DataMin, 1e9);
        assert_eq!(
            limits.relaxed(Constraint::NonzeroParamsMax).get(Constraint::NonzeroParamsMax),
            1.01e9
        );
        assert!(limits.relaxed(Constraint::SparsityMax).get(Constraint::SparsityMax) < 0.5);
        assert!(limits.relaxed(Constraint::DataMin).get(Constraint::DataMin) < 1e9);
        assert_eq!(limits.relaxed(Constraint::DataMax), limits);
        assert!(limits.has(Constraint::DataMin) && !limits.has(Constraint::DataMax));
    }

    #[test]
    fn the_needed_number_is_found_to_the_last_digits() {
        let limits = Limits::default().with(Constraint::MemoryBytes, 1.0);
        let enough = |limits: &Limits| limits.get(Constraint::MemoryBytes) >= 1.3e9;
        let needed = limits.needed(Constraint::MemoryBytes, enough).unwrap();
        assert!((needed / 1.3e9 - 1.0).abs() < 1e-12 && needed >= 1.3e9);
        assert_eq!(limits.needed(Constraint::MemoryBytes, |_| false), None);
    }
}
