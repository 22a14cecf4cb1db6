//! How zeros come in during training.

use super::quantity::DomainError;

/// When pruning happens during training, as fractions of the training progress.
///
/// Sparsity is 0 before `start`, `S (1 - (1 - (p - start)/(end - start))^exponent)` until `end`,
/// and `S` after (arXiv 2309.08520, section 2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PruningSchedule {
    start: f64,
    end: f64,
    exponent: f64,
}

impl Default for PruningSchedule {
    /// The paper's schedule: from 25 % to 75 % of training, cubic.
    fn default() -> Self {
        Self { start: 0.25, end: 0.75, exponent: 3.0 }
    }
}

impl PruningSchedule {
    /// Range of the exponent in words.
    pub const EXPONENT_RANGE: &'static str = "between 0.01 and 100";
    /// Range of start and end in words.
    pub const PROGRESS_RANGE: &'static str = "between 0 and 1";

    /// Checks a schedule.
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] for a number outside its range, named by its field, and
    /// [`DomainError::PruningOrder`] on `start` where `start >= end`.
    pub fn new(start: f64, end: f64, exponent: f64) -> Result<Self, (&'static str, DomainError)> {
        for (field, value) in [("start", start), ("end", end)] {
            if !(0.0..=1.0).contains(&value) {
                let range = Self::PROGRESS_RANGE;
                return Err((field, DomainError::OutOfRange { range, value }));
            }
        }
        if !(0.01..=100.0).contains(&exponent) {
            let range = Self::EXPONENT_RANGE;
            return Err(("exponent", DomainError::OutOfRange { range, value: exponent }));
        }
        if start >= end {
            return Err(("start", DomainError::PruningOrder { start, end }));
        }
        Ok(Self { start, end, exponent })
    }

    /// Training progress at which pruning starts.
    #[must_use]
    pub const fn start(&self) -> f64 {
        self.start
    }

    /// Training progress at which pruning ends.
    #[must_use]
    pub const fn end(&self) -> f64 {
        self.end
    }

    /// Exponent of the ramp.
    #[must_use]
    pub const fn exponent(&self) -> f64 {
        self.exponent
    }

    /// Mean sparsity over training as a share of the final one:
    /// `m = (1 - end) + (end - start) e / (e + 1)`, below 1 for every checked schedule.
    ///
    /// ```
    /// use sparsity_law::law::PruningSchedule;
    ///
    /// assert_eq!(PruningSchedule::default().mean_share(), 0.625);
    /// ```
    #[must_use]
    pub fn mean_share(&self) -> f64 {
        (1.0 - self.end) + (self.end - self.start) * self.exponent / (self.exponent + 1.0)
    }
}
