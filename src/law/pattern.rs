//! What a deployable pattern such as 2:4 makes of a budget.

use super::coefficients::Coefficients;
use super::cost::PruningSchedule;
use super::optimum::Optimum;
use super::quantity::{Compute, Data, Density, DomainError, FlopsPerParam, NonzeroParams};

/// `c_mul` of a pattern: training cost relative to that of a dense model with as many *non-zero*
/// parameters, per unit of data.
///
/// A kernel for `n:m` can run only once every group of `m` has its zeros, which is when pruning
/// ends; before that a step is the dense step. With `h` the cost of a step at the pattern,
///
/// ```text
/// c_mul = (t1 + (1 - t1) h) / (1 - S)
/// ```
///
/// where `S` is the *nominal* sparsity, which counts the parameters.
#[must_use]
pub fn pattern_multiplier(pruning: PruningSchedule, step_cost: f64, nominal: Density) -> f64 {
    (pruning.end() + (1.0 - pruning.end()) * step_cost) / nominal.get()
}

/// The model of a pattern that a training budget buys, by [`pattern_multiplier`].
///
/// `effective` is the density at which the loss is looked up: that of an unstructured model that is
/// as good, where runs have told, else the nominal one.
///
/// # Errors
/// [`DomainError::OutOfRange`] where the budget pays for no representable amount of data.
#[expect(clippy::too_many_arguments, reason = "each is another quantity, with its own type")]
pub fn train_pattern(
    law: &Coefficients,
    flops_per_param: FlopsPerParam,
    pruning: PruningSchedule,
    step_cost: f64,
    nominal: Density,
    effective: Density,
    nonzero_params: NonzeroParams,
    compute: Compute,
) -> Result<Optimum, DomainError> {
    let multiplier = pattern_multiplier(pruning, step_cost, nominal);
    let per_unit = flops_per_param.get() * nonzero_params.get() * multiplier;
    let data = Data::new(compute.get() / per_unit)?;
    Ok(Optimum { density: nominal, data, loss: law.loss(effective, nonzero_params, data) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{FlopMode, TrainingCost, VIT_JFT};

    #[test]
    fn a_pattern_that_saves_nothing_costs_what_dense_mode_costs() {
        let law = VIT_JFT.coefficients();
        let (k, pruning) = (FlopsPerParam::TRAINING, PruningSchedule::default());
        let half = Density::new(0.5).unwrap();
        let (n, c) = (NonzeroParams::new(1e8).unwrap(), Compute::new(1e19).unwrap());
        let dense = TrainingCost::new(k, pruning, FlopMode::Dense).data(half, n, c).unwrap();
        let same = train_pattern(law, k, pruning, 1.0, half, half, n, c).unwrap();
        assert_eq!((same.data, same.loss), (dense, law.loss(half, n, dense)));
        // Twice as fast after three quarters of training: 1 / 0.875 of the data.
        let faster = train_pattern(law, k, pruning, 0.5, half, half, n, c).unwrap();
        assert!((faster.data.get() / dense.get() - 1.0 / 0.875).abs() < 1e-14);
        // A pattern worth less than its zeros costs the same and loses more.
        let worse = train_pattern(law, k, pruning, 0.5, half, Density::DENSE, n, c).unwrap();
        assert_eq!(worse.data, faster.data);
        assert!(worse.loss > faster.loss && worse.density == half);
    }
}
