//! How wrong laws of the smaller runs are about the larger ones: rolling hold-outs by size, data and their product.

use super::bootstrap::{student_quantile, widening};
use super::descent::{Descent, Termination};
use super::diagnostics::Jacobian;
use super::form::Form;
use super::identify::missing_levels;
use super::objective::Objective;
use super::observations::{Observation, Observations, SAME_LEVEL};
use super::search::Search;
use super::sketch::Sketch;
use super::starts::{Stream, generator};
use crate::law::{Reach, RollingError, quantile};

/// Share of the runs below each limit.
pub(super) const SHARES: [f64; 7] = [0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.92];

/// Smallest number of runs to fit a law on: one more than its coefficients.
const FEWEST_RUNS: usize = 8;

/// Random starts of each fit, besides the law of all runs.
const FRESH_STARTS: usize = 1;

/// Product of size and data: the compute of a dense model, up to a constant factor.
pub(super) fn product(run: &Observation) -> f64 {
    run.nonzero_params.get() * run.data.get()
}

pub(super) struct Rolling<'a> {
    pub search: &'a Search<'a>,
    pub objective: &'a Objective<'a>,
    pub sketch: &'a Sketch<'a>,
    pub runs: &'a Observations,
    pub form: Form,
    pub best: &'a Descent,
    pub seed: u64,
    /// Nominal coverage of the intervals.
    pub confidence: f64,
    /// Size of one normalised residual, in the unit of the residual.
    pub unit: f64,
    /// Robust standard deviation of the residuals of all runs.
    pub noise: f64,
    /// Whether each run diverged. Diverged runs are not predicted, as their errors say nothing about a law.
    pub diverged: &'a [bool],
}

/// How well one law predicts the runs beyond its limit.
#[derive(Default)]
pub(super) struct Round {
    pub predictions: usize,
    pub inside: usize,
    /// Mean over the predictions of the squared error, less the squared noise of the fitted runs.
    pub excess: f64,
    /// Mean distance of the predicted runs from the ranges of the fitted ones.
    pub distance: f64,
}

/// The result of all rounds, for runs with this noise; `None` where there are none.
pub(super) fn sum_up(rounds: &[Round], noise: f64, quantile: f64) -> Option<RollingError> {
    let excess: f64 = rounds.iter().map(|round| round.excess).sum();
    let distance: f64 = rounds.iter().map(|round| round.distance).sum();
    (distance > 0.0).then(|| RollingError {
        rounds: rounds.len(),
        predictions: rounds.iter().map(|round| round.predictions).sum(),
        inside: rounds.iter().map(|round| round.inside).sum(),
        deviation: (excess / distance).max(0.0).sqrt(),
        noise,
        quantile,
    })
}

impl Rolling<'_> {
    /// Makes all rounds; `Some(None)` where none can be made, `None` if stopped.
    pub fn run(&self) -> Option<Option<RollingError>> {
        let quantities: [fn(&Observation) -> f64; 3] =
            [|run| run.nonzero_params.get(), |run| run.data.get(), product];
        let mut rounds = Vec::new();
        for (place, value) in (0_u32..).zip(quantities) {
            let mut values: Vec<f64> = self.runs.as_slice().iter().map(value).collect();
            let mut limits = SHARES.map(|share| quantile(&mut values, share)).to_vec();
            limits.dedup_by(|next, kept| *next <= *kept * (1.0 + SAME_LEVEL));
            for limit in limits {
                rounds.extend(self.round(place, value, limit)?);
            }
        }
        Some(self.sum_up(&rounds))
    }

    fn sum_up(&self, rounds: &[Round]) -> Option<RollingError> {
        sum_up(rounds, self.noise, self.quantile(self.runs.len()))
    }

    fn quantile(&self, runs: usize) -> f64 {
        student_quantile(self.confidence, runs, self.search.parameters.count())
    }

    /// Fits the runs below a limit and predicts the others. `Some(None)` where the fitted runs determine no law,
    /// or where no other run lies outside their ranges; `None` if stopped.
    fn round(
        &self,
        place: u32,
        value: fn(&Observation) -> f64,
        limit: f64,
    ) -> Option<Option<Round>> {
        let runs = self.runs.as_slice();
        let seen = |run: &Observation| value(run) < limit * (1.0 - SAME_LEVEL);
        let kept: Vec<Observation> = runs.iter().copied().filter(seen).collect();
        let kept = Observations::new(kept);
        let parameters = &self.search.parameters;
        let usable = kept.len() >= FEWEST_RUNS.max(parameters.count() + 1)
            && kept.len() < runs.len()
            && kept.form() == self.form
            && missing_levels(&kept, parameters, self.form).is_empty();
        if !usable {
            return Some(None);
        }
        let weights: Vec<f64> = runs
            .iter()
            .zip(self.runs.weights())
            .map(|(run, weight)| if seen(run) { *weight } else { 0.0 })
            .collect();
        let objective = self.objective.reweighted(&weights);
        let mut rng = generator(self.seed, Stream::Rolling(place, limit));
        let near = [self.best.point];
        let sketch = self.sketch.reweighted(&weights);
        let sketch = sketch.as_ref().unwrap_or(&objective);
        let found = self.search.best_of(&objective, sketch, &near, FRESH_STARTS, &mut rng)?;
        if found.termination == Termination::Stopped {
            return None;
        }
        let jacobian = Jacobian::new(&objective, parameters, &found.point, self.unit);
        let free = parameters.count();
        let reach = Reach::of(&kept.support());
        let mut scatter: Vec<f64> = jacobian
            .residuals()
            .iter()
            .zip(runs)
            .filter(|(_, run)| seen(run))
            .map(|(residual, _)| residual.abs())
            .collect();
        let noise = quantile(&mut scatter, 0.5) / MAD_OF_NORMAL * widening(kept.len(), free);
        let wide = self.quantile(kept.len());
        let mut round = Round::default();
        let rows = jacobian.residuals().iter().zip(jacobian.spreads()).zip(runs);
        let rows = rows.zip(self.diverged).filter(|((_, run), diverged)| !seen(run) && !**diverged);
        for (((residual, spread), run), _) in rows {
            let distance = reach.distance(run.sparsity.density(), run.nonzero_params, run.data);
            // `spread` is the variance of a prediction in units of the noise squared over the number of runs.
            let own = noise * (1.0 + spread / kept.len() as f64).sqrt();
            round.predictions += 1;
            round.inside += usize::from(residual.abs() <= wide * own);
            round.excess += residual * residual - noise * noise;
            round.distance += distance;
        }
        let count = round.predictions as f64;
        round.excess /= count;
        round.distance /= count;
        Some((round.predictions > 0 && round.distance > 0.0).then_some(round))
    }
}

/// Median absolute deviation of a normal distribution, in standard deviations.
pub(super) const MAD_OF_NORMAL: f64 = 0.674_489_750_196_081_7;
