//! Mixtures of experts as sparse models: which of them can be deployed, and how sparse each one is.

use super::quantity::{Density, DomainError};

/// `k` of `E` experts: a token passes through `k` of them, and through the parameters that all tokens share.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertChoice {
    name: String,
    count: u32,
    active: u32,
    density: Density,
}

impl ExpertChoice {
    /// Name in answers: `64 choose 2`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `E`: number of experts.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// `k`: number of active experts.
    #[must_use]
    pub const fn active(&self) -> u32 {
        self.active
    }

    /// Active parameters as a share of all parameters.
    #[must_use]
    pub const fn density(&self) -> Density {
        self.density
    }
}

/// The mixtures of experts that can be deployed: every pair of a `k` and a larger `E`.
///
/// If a share `f` of the parameters of a dense model is turned into experts,
///
/// ```text
/// total / active = (1 - f + f E) / (1 - f + f k)
/// ```
///
/// where `N` is the number of parameters that a token passes through and `S = 1 - active / total`. A model with one
/// expert is the dense model.
///
/// ```
/// use sparsity_law::law::ExpertGrid;
///
/// // Two thirds of a dense model are its feed-forward layers.
/// let grid = ExpertGrid::new(&[8, 64], &[1, 2], 1.0 / 3.0).map_err(|(_, error)| error)?;
/// let densities: Vec<_> = grid
///     .choices()
///     .iter()
///     .map(|choice| (choice.name(), (1e3 * choice.density().get()).round() / 1e3))
///     .collect();
/// let known =
///     [("8 choose 1", 0.176), ("8 choose 2", 0.294), ("64 choose 1", 0.023), ("64 choose 2", 0.039)];
/// assert_eq!(densities, known);
/// # Ok::<(), sparsity_law::law::DomainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertGrid {
    counts: Vec<u32>,
    active: Vec<u32>,
    shared_share: f64,
    choices: Vec<ExpertChoice>,
}

impl ExpertGrid {
    /// Range of a number of experts in words, for error messages.
    pub const COUNT_RANGE: &'static str = "between 2 and 65536";
    /// Range of a number of active experts in words, for error messages.
    pub const ACTIVE_RANGE: &'static str = "between 1 and 65535";
    /// Range of the share of parameters that all tokens pass through, in words, for error messages.
    pub const SHARED_RANGE: &'static str = "at least 0 and below 1";

    /// Checks a grid of numbers of experts and of active experts. `shared_share` is `1 - f`.
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] with the name of the field, and for a number in a list also its index: `counts/2`.
    pub fn new(
        counts: &[u32],
        active: &[u32],
        shared_share: f64,
    ) -> Result<Self, (String, DomainError)> {
        let check = |field: &str, values: &[u32], (low, high): (u32, u32), range| {
            let wrong = values.iter().position(|value| !(low..=high).contains(value));
            let error = |at: usize| {
                let value = f64::from(values[at]);
                (format!("{field}/{at}"), DomainError::OutOfRange { range, value })
            };
            wrong.map_or(Ok(()), |at| Err(error(at)))
        };
        check("counts", counts, (2, 65_536), Self::COUNT_RANGE)?;
        check("active", active, (1, 65_535), Self::ACTIVE_RANGE)?;
        if !(0.0..1.0).contains(&shared_share) {
            let range = Self::SHARED_RANGE;
            let error = DomainError::OutOfRange { range, value: shared_share };
            return Err(("shared_share".to_owned(), error));
        }
        let of_experts = 1.0 - shared_share;
        let passed = |experts: u32| shared_share + of_experts * f64::from(experts);
        let choice = |&count: &u32, &active: &u32| ExpertChoice {
            name: format!("{count} choose {active}"),
            count,
            active,
            density: Density::clamped(passed(active) / passed(count)),
        };
        let mut choices = Vec::with_capacity(counts.len() * active.len());
        for count in counts {
            let below = active.iter().filter(|active| *active < count);
            choices.extend(below.map(|active| choice(count, active)));
        }
        Ok(Self { counts: counts.to_vec(), active: active.to_vec(), shared_share, choices })
    }

    /// Numbers of experts, as given.
    #[must_use]
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Numbers of active experts, as given.
    #[must_use]
    pub fn active(&self) -> &[u32] {
        &self.active
    }

    /// Share of a dense model's parameters that all tokens pass through: `1 - f`.
    #[must_use]
    pub const fn shared_share(&self) -> f64 {
        self.shared_share
    }

    /// All choices: every pair of a `k` and a larger `E`.
    #[must_use]
    pub fn choices(&self) -> &[ExpertChoice] {
        &self.choices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_experts_active_are_the_dense_model_and_no_choice() {
        let grid = ExpertGrid::new(&[2, 4], &[1, 2, 4], 0.25).unwrap();
        let names: Vec<_> = grid.choices().iter().map(ExpertChoice::name).collect();
        assert_eq!(names, ["2 choose 1", "4 choose 1", "4 choose 2"]);
        // Without shared parameters the density is k / E.
        let plain = ExpertGrid::new(&[8], &[2], 0.0).unwrap();
        assert_eq!(plain.choices()[0].density().get(), 0.25);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |counts: &[u32], active: &[u32], shared: f64| {
            ExpertGrid::new(counts, active, shared).unwrap_err().0
        };
        assert_eq!(wrong(&[8, 1], &[1], 0.3), "counts/1");
        assert_eq!(wrong(&[8], &[1, 0], 0.3), "active/1");
        assert_eq!(wrong(&[8], &[1], 1.0), "shared_share");
        assert_eq!(wrong(&[8], &[1], f64::NAN), "shared_share");
    }
}
