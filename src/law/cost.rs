//! What training costs: the pruning schedule and the FLOP modes.

use super::quantity::{Compute, Data, Density, DomainError, FlopsPerParam, NonzeroParams};

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
    #[must_use]
    pub fn mean_share(&self) -> f64 {
        (1.0 - self.end) + (self.end - self.start) * self.exponent / (self.exponent + 1.0)
    }
}

/// Which parameters cost FLOPs during training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlopMode {
    /// Zeros cost as much as other parameters: today's dense hardware.
    Dense,
    /// Zeros are free: the hardware gains all that sparsity offers.
    Sparse,
}

impl FlopMode {
    /// The name in JSON and in a query.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }
}

/// Training cost `C = k N D c_mul(S)` of one family in one FLOP mode, where
/// `c_mul(S) = (1 - m S) / (1 - S)` with `m` the share of sparsity that saves FLOPs: 0 in dense
/// mode, [`PruningSchedule::mean_share`] in sparse mode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingCost {
    flops_per_param: FlopsPerParam,
    saved_share: f64,
}

impl TrainingCost {
    /// Cost of a family in `mode`.
    #[must_use]
    pub fn new(flops_per_param: FlopsPerParam, pruning: PruningSchedule, mode: FlopMode) -> Self {
        let saved_share = match mode {
            FlopMode::Dense => 0.0,
            FlopMode::Sparse => pruning.mean_share(),
        };
        Self { flops_per_param, saved_share }
    }

    /// `m`: 0 in dense mode, the mean share of the schedule in sparse mode; below 1.
    #[must_use]
    pub(super) const fn saved_share(&self) -> f64 {
        self.saved_share
    }

    /// `k`.
    #[must_use]
    pub const fn flops_per_param(&self) -> FlopsPerParam {
        self.flops_per_param
    }

    /// `c_mul`: cost relative to a dense model with as many *non-zero* parameters; at least 1.
    #[must_use]
    pub fn multiplier(&self, density: Density) -> f64 {
        let x = density.get();
        (1.0 - self.saved_share * (1.0 - x)) / x
    }

    /// Data that `compute` pays for: `D = C / (k N c_mul)`.
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] where that is no [`Data`].
    pub fn data(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Result<Data, DomainError> {
        let per_unit = self.flops_per_param.get() * nonzero_params.get() * self.multiplier(density);
        Data::new(compute.get() / per_unit)
    }

    /// FLOPs of seeing `data` once: `k N D c_mul`.
    #[must_use]
    pub fn compute(&self, density: Density, nonzero_params: NonzeroParams, data: Data) -> f64 {
        self.flops_per_param.get() * nonzero_params.get() * data.get() * self.multiplier(density)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(mode: FlopMode) -> TrainingCost {
        TrainingCost::new(FlopsPerParam::new(6.0).unwrap(), PruningSchedule::default(), mode)
    }

    #[test]
    fn the_default_schedule_saves_five_eighths() {
        assert_eq!(PruningSchedule::default().mean_share(), 0.625);
    }

    #[test]
    fn multiplier_is_the_integral_over_the_schedule() {
        // Midpoint rule over training progress; h(s) = 1 - s.
        let (start, end, exponent) = (0.1, 0.6, 2.0);
        let schedule = PruningSchedule::new(start, end, exponent).unwrap();
        let flops = FlopsPerParam::new(6.0).unwrap();
        let cost = TrainingCost::new(flops, schedule, FlopMode::Sparse);
        let (steps, sparsity) = (200_000, 0.8);
        let mean = (0..steps)
            .map(|step| {
                let p = (f64::from(step) + 0.5) / f64::from(steps);
                let ramp = ((p - start) / (end - start)).clamp(0.0, 1.0);
                1.0 - sparsity * (1.0 - (1.0 - ramp).powf(exponent))
            })
            .sum::<f64>()
            / f64::from(steps);
        // Error of the midpoint rule: about step^2.
        let density = Density::new(1.0 - sparsity).unwrap();
        assert!((cost.multiplier(density) - mean / (1.0 - sparsity)).abs() < 1e-9);
    }

    #[test]
    fn dense_mode_pays_for_zeros() {
        let x = Density::new(0.125).unwrap();
        assert_eq!(cost(FlopMode::Dense).multiplier(x), 8.0);
        assert_eq!(cost(FlopMode::Sparse).multiplier(x), (1.0 - 0.625 * 0.875) / 0.125);
        assert_eq!(cost(FlopMode::Sparse).multiplier(Density::DENSE), 1.0);
    }

    #[test]
    fn data_and_compute_are_inverse() {
        let (x, n) = (Density::new(0.3).unwrap(), NonzeroParams::new(3e8).unwrap());
        let sparse = cost(FlopMode::Sparse);
        let data = sparse.data(x, n, Compute::new(1e20).unwrap()).unwrap();
        assert!((sparse.compute(x, n, data) / 1e20 - 1.0).abs() < 1e-14);
    }

    #[test]
    fn a_schedule_that_ends_before_it_starts_is_refused() {
        assert_eq!(
            PruningSchedule::new(0.5, 0.5, 3.0),
            Err(("start", DomainError::PruningOrder { start: 0.5, end: 0.5 }))
        );
        assert_eq!(PruningSchedule::new(0.0, 1.1, 3.0).unwrap_err().0, "end");
        assert_eq!(PruningSchedule::new(0.0, 1.0, f64::NAN).unwrap_err().0, "exponent");
    }
}
