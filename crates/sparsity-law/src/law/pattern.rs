//! What a deployable pattern such as 2:4 makes of a budget.

use super::coefficients::Coefficients;
use super::ensemble::Interval;
use super::optimum::Optimum;
use super::prepared::PreparedEnsemble;
use super::quantity::{
    Compute, Data, Density, DomainError, FlopsPerParam, NonzeroParams, Sparsity,
};
use super::schedule::PruningSchedule;

/// What a structured pattern is worth to a law.
#[derive(Debug, Clone, Copy)]
pub struct PatternWorth {
    /// Density that it prescribes.
    pub nominal: Density,
    /// Unstructured sparsity that is as good, where the law's runs of this pattern have told, with its
    /// interval.
    pub effective: Option<(Sparsity, Option<Interval>)>,
}

impl PatternWorth {
    /// The density at which the loss is looked up.
    #[must_use]
    pub fn density(&self) -> Density {
        self.effective.map_or(self.nominal, |(sparsity, _)| sparsity.density())
    }

    /// The densities that it could be worth, where runs and resamples have told.
    #[must_use]
    pub fn densities(&self) -> Option<[Density; 2]> {
        let (_, interval) = self.effective?;
        interval
            .map(|Interval { low, high, .. }| [low, high].map(|end| Density::clamped(1.0 - end)))
    }
}

/// A pattern that hardware can run.
#[derive(Debug, Clone, Copy)]
pub struct DeployablePattern<'a> {
    /// Its name.
    pub name: &'a str,
    /// Cost of a step with it, relative to a dense step.
    pub step_cost: f64,
    /// What it is worth to the law.
    pub worth: PatternWorth,
}

/// A model that hardware can run, or the dense one.
#[derive(Debug, Clone, Copy)]
pub struct PatternCandidate<'a> {
    /// The pattern; `None` for dense.
    pub pattern: Option<DeployablePattern<'a>>,
    /// What the budget buys of it.
    pub model: Optimum,
}

/// The pattern of the least loss at a size and a budget, dense itself among them. A pattern of which the
/// budget pays for no representable amount of data is no candidate; `None` where none is.
#[must_use]
pub fn best_pattern<'a>(
    law: &Coefficients,
    flops_per_param: FlopsPerParam,
    pruning: &PruningSchedule,
    patterns: impl Iterator<Item = DeployablePattern<'a>>,
    nonzero_params: NonzeroParams,
    compute: Compute,
) -> Option<PatternCandidate<'a>> {
    let train = |step_cost, nominal, effective| {
        train_pattern(
            law,
            flops_per_param,
            pruning,
            step_cost,
            nominal,
            effective,
            nonzero_params,
            compute,
        )
        .ok()
    };
    let dense = train(1.0, Density::DENSE, Density::DENSE);
    let dense = dense.map(|model| PatternCandidate { pattern: None, model });
    let patterns = patterns.filter_map(|pattern| {
        let worth = pattern.worth;
        let model = train(pattern.step_cost, worth.nominal, worth.density())?;
        Some(PatternCandidate { pattern: Some(pattern), model })
    });
    let candidates = dense.into_iter().chain(patterns);
    candidates.min_by(|a, b| a.model.loss.total_cmp(&b.model.loss))
}

impl PatternCandidate<'_> {
    /// The intervals of its loss, and of how much that is above the loss of `best`; `None` where both may be
    /// beyond all numbers.
    #[must_use]
    pub fn intervals(
        &self,
        law: &Coefficients,
        prepared: &PreparedEnsemble,
        nonzero_params: NonzeroParams,
        best: &Optimum,
    ) -> Option<[Interval; 2]> {
        let Self { pattern, model } = self;
        let density = pattern.map_or(Density::DENSE, |pattern| pattern.worth.density());
        let losses = prepared.losses(density, nonzero_params, model.data);
        let of_best = prepared.losses(best.density, nonzero_params, best.data);
        let excess: Vec<_> = losses.iter().zip(&of_best).map(|(loss, best)| loss - best).collect();
        // Far outside the data both may be beyond all numbers.
        if excess.iter().any(|excess| excess.is_nan()) {
            return None;
        }
        // Found from runs of the pattern's own, whose noise is not the laws'. In part both move together, as
        // each resampled law finds another worth: taken as independent the intervals are rather too wide.
        let of_worth = pattern.and_then(|pattern| pattern.worth.densities()).map(|ends| {
            ends.map(|density| law.loss(density, nonzero_params, model.data) - model.loss)
        });
        let widened = |value: f64, interval: Interval| match of_worth {
            Some([one, other]) => interval.widened(value, one.min(other), one.max(other)),
            None => interval,
        };
        Some([
            widened(model.loss, prepared.interval_of(losses)),
            widened(model.loss - best.loss, prepared.interval_of(excess)),
        ])
    }
}

/// `c_mul` of a pattern: training cost relative to that of a dense model with as many *non-zero*
/// parameters, per unit of data.
///
/// A kernel for `n:m` can run only once every group of `m` has its zeros, which is when pruning
/// ends unless the family says otherwise ([`PruningSchedule::pattern_start`]); before that a step is the dense
/// step. With `h` the cost of a step at the pattern and `t` that progress,
///
/// ```text
/// c_mul = (t + (1 - t) h) / (1 - S)
/// ```
///
/// where `S` is the *nominal* sparsity, which counts the parameters.
///
/// ```
/// use sparsity_law::law::{Density, PruningSchedule, pattern_multiplier};
///
/// let half = Density::new(0.5)?;
/// let from = |start: f64| PruningSchedule::default().with_pattern_start(start);
/// let two_of_four = |schedule: &PruningSchedule| pattern_multiplier(schedule, 0.7, half);
/// assert!((two_of_four(&PruningSchedule::default()) - 1.85).abs() < 1e-12);
/// // A tool that masks the whole pattern where pruning starts, and one that does from the first step.
/// assert!((two_of_four(&from(0.25)?) - 1.55).abs() < 1e-12);
/// assert!((two_of_four(&from(0.0)?) - 1.40).abs() < 1e-12);
/// # Ok::<(), sparsity_law::law::DomainError>(())
/// ```
#[must_use]
pub fn pattern_multiplier(pruning: &PruningSchedule, step_cost: f64, nominal: Density) -> f64 {
    let start = pruning.pattern_start();
    (start + (1.0 - start) * step_cost) / nominal.get()
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
    pruning: &PruningSchedule,
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
        let dense =
            TrainingCost::new(k, pruning.clone(), FlopMode::Dense).data(half, n, c).unwrap();
        let same = train_pattern(law, k, &pruning, 1.0, half, half, n, c).unwrap();
        assert_eq!((same.data, same.loss), (dense, law.loss(half, n, dense)));
        // Twice as fast after three quarters of training: 1 / 0.875 of the data.
        let faster = train_pattern(law, k, &pruning, 0.5, half, half, n, c).unwrap();
        assert!((faster.data.get() / dense.get() - 1.0 / 0.875).abs() < 1e-14);
        // A pattern worth less than its zeros costs the same and loses more.
        let worse = train_pattern(law, k, &pruning, 0.5, half, Density::DENSE, n, c).unwrap();
        assert_eq!(worse.data, faster.data);
        assert!(worse.loss > faster.loss && worse.density == half);
    }
}
