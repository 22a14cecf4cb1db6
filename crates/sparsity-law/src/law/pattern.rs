//! The result of a training budget with a deployable pattern such as 2:4.

use super::coefficients::Coefficients;
use super::ensemble::Interval;
use super::optimum::Optimum;
use super::prepared::PreparedEnsemble;
use super::quantity::{
    Compute, Data, Density, DomainError, FlopsPerParam, NonzeroParams, Sparsity,
};
use super::schedule::PruningSchedule;

/// What a structured pattern is worth according to a law.
#[derive(Debug, Clone, Copy)]
pub struct PatternWorth {
    /// Density that the pattern prescribes.
    pub nominal: Density,
    /// Unstructured sparsity that is as good, with its interval, where runs with this pattern determine it.
    pub effective: Option<(Sparsity, Option<Interval>)>,
}

impl PatternWorth {
    /// The density at which the loss is computed.
    #[must_use]
    pub fn density(&self) -> Density {
        self.effective.map_or(self.nominal, |(sparsity, _)| sparsity.density())
    }

    /// The ends of the interval of the density that the pattern is worth; `None` where there is no such interval.
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
    /// Name of the pattern.
    pub name: &'a str,
    /// Cost of a step with the pattern, relative to a dense step.
    pub step_cost: f64,
    /// What the pattern is worth according to the law.
    pub worth: PatternWorth,
}

/// A model that the hardware can run with a pattern, or the dense model.
#[derive(Debug, Clone, Copy)]
pub struct PatternCandidate<'a> {
    /// The pattern; `None` for the dense model.
    pub pattern: Option<DeployablePattern<'a>>,
    /// The model that the budget pays for.
    pub model: Optimum,
}

/// The candidate with the least loss at a size and a budget, among the patterns and the dense model. A pattern is left
/// out if the budget pays for no representable amount of data with it; `None` where no candidate is left.
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
    /// Intervals of the candidate's loss, and of the difference between that and the loss of `best`; `None` where both
    /// losses may overflow.
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
        // Far outside the data both losses may overflow.
        if excess.iter().any(|excess| excess.is_nan()) {
            return None;
        }
        // The worth of the pattern was found from runs of its own, whose noise is not that of the laws. The two sources
        // are in part correlated, as each resampled law finds a different worth; treating them as independent makes the
        // intervals rather too wide.
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

/// `c_mul` of a pattern: training cost per unit of data, relative to that of a dense model with as many *non-zero*
/// parameters.
///
/// A kernel for `n:m` can run only once every group of `m` has its zeros. This is when pruning ends, unless the family
/// sets another time ([`PruningSchedule::pattern_start`]); before that every step is a dense step. With `h` the cost of
/// a step with the pattern and `t` the training progress at that time,
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

/// The model with a pattern that a training budget pays for, with the cost of [`pattern_multiplier`].
///
/// `effective` is the density at which the loss is computed: that of an unstructured model that is as good, where runs
/// determine it, else the nominal density.
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
        // Twice as fast after three quarters of training: 1 / 0.875 times the data.
        let faster = train_pattern(law, k, &pruning, 0.5, half, half, n, c).unwrap();
        assert!((faster.data.get() / dense.get() - 1.0 / 0.875).abs() < 1e-14);
        // A pattern that is worth less than its zeros costs the same and has a higher loss.
        let worse = train_pattern(law, k, &pruning, 0.5, half, Density::DENSE, n, c).unwrap();
        assert_eq!(worse.data, faster.data);
        assert!(worse.loss > faster.loss && worse.density == half);
    }
}
