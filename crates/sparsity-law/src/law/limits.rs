//! What a plan must keep to.

use super::quantity::{Data, Density, NonzeroParams};

named! {
    /// One bound of a plan.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Constraint {
        /// The most lifetime cost, in FLOPs.
        Compute = "compute",
        /// The highest loss.
        TargetLoss = "target_loss",
        /// The most memory of the weights, in bytes.
        MemoryBytes = "memory_bytes",
        /// The fewest non-zero parameters.
        NonzeroParamsMin = "nonzero_params.min",
        /// The most non-zero parameters.
        NonzeroParamsMax = "nonzero_params.max",
        /// The fewest parameters, zeros included.
        TotalParamsMin = "total_params.min",
        /// The most parameters, zeros included.
        TotalParamsMax = "total_params.max",
        /// The least sparsity.
        SparsityMin = "sparsity.min",
        /// The highest sparsity.
        SparsityMax = "sparsity.max",
        /// The least data.
        DataMin = "data.min",
        /// The most data.
        DataMax = "data.max",
    }
}

impl Constraint {
    /// Whether the number is the most that may be; a bound on the sparsity counts as one on the
    /// density, and so the other way round.
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

    /// The number that forbids nothing, or nothing that a quantity may be.
    const fn loosest(self) -> f64 {
        /// Beyond every cost, loss and size.
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

/// All bounds of a plan; those that nobody has set forbid nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits([f64; Constraint::ALL.len()]);

impl Default for Limits {
    fn default() -> Self {
        Self(Constraint::ALL.map(Constraint::loosest))
    }
}

/// A density within this share of a bound on the sparsity keeps it.
const ROUNDING: f64 = 1e-12;

impl Limits {
    /// No plan is sparser: far beyond any run.
    pub const HIGHEST_SPARSITY: f64 = 0.9999;

    /// How far [`Limits::relaxed`] moves a bound.
    const RELAXATION: f64 = 1.01;

    /// The number of a bound; of one on the sparsity the density.
    #[must_use]
    pub const fn get(&self, constraint: Constraint) -> f64 {
        self.0[constraint as usize]
    }

    /// Sets a bound; one on the sparsity by the density.
    #[must_use]
    pub const fn with(mut self, constraint: Constraint, value: f64) -> Self {
        self.0[constraint as usize] = value;
        self
    }

    /// Without a bound.
    #[must_use]
    pub const fn without(self, constraint: Constraint) -> Self {
        self.with(constraint, constraint.loosest())
    }

    /// Whether the bound forbids anything.
    #[must_use]
    pub fn has(&self, constraint: Constraint) -> bool {
        self.get(constraint) != constraint.loosest()
    }

    /// With a bound moved by 1 %, where it can be.
    pub(super) fn relaxed(self, constraint: Constraint) -> Self {
        let (value, loosest) = (self.get(constraint), constraint.loosest());
        let moved = if constraint.is_upper() {
            (value * Self::RELAXATION).min(loosest)
        } else {
            (value / Self::RELAXATION).max(loosest)
        };
        self.with(constraint, moved)
    }

    /// The tightest number of a bound, this one's being too tight, with which `possible` holds.
    /// `None` where none does.
    pub(super) fn needed(
        self,
        constraint: Constraint,
        possible: impl Fn(&Self) -> bool,
    ) -> Option<f64> {
        if !possible(&self.without(constraint)) {
            return None;
        }
        // Halvings of a ratio of up to 1e300: to the last digits.
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

    /// The densities that the bounds on the sparsity leave.
    pub(super) fn allows(&self, density: Density) -> bool {
        // A bound that names a level or a pattern keeps it, to rounding.
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
