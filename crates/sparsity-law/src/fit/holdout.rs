//! Hold-outs: laws fitted without some runs, and how well they predict them.

use super::config::Holdout;
use super::descent::{Descent, Termination};
use super::form::Form;
use super::identify::missing_levels;
use super::objective::Objective;
use super::observations::{Observation, Observations, SAME_LEVEL};
use super::report::HoldoutReport;
use super::search::Search;
use super::sketch::Sketch;
use super::starts::{Stream, generator};

/// Fewest runs that a law is fitted on for a hold-out: one more than it has coefficients.
const FEWEST_RUNS: usize = 8;
/// Share of the runs that is left out at least, where values are all different.
const LEAST_SHARE: f64 = 0.05;
/// The most sizes that the rolling hold-out predicts.
const MOST_ROUNDS: usize = 8;
/// Random starts of each fit, beside the law of all runs.
const FRESH_STARTS: usize = 4;

pub(super) struct Holdouts<'a> {
    pub search: &'a Search<'a>,
    pub objective: &'a Objective<'a>,
    pub sketch: &'a Sketch<'a>,
    pub runs: &'a Observations,
    pub form: Form,
    pub best: &'a Descent,
    pub seed: u64,
    /// What one normalised residual is in the residual's own unit.
    pub unit: f64,
}

impl Holdouts<'_> {
    /// The hold-outs that are asked for and possible; `None` where it was stopped.
    pub fn run(&self, asked: &[Holdout]) -> Option<Vec<HoldoutReport>> {
        let mut found = Vec::new();
        for &holdout in asked {
            let varies = match holdout {
                Holdout::NonzeroParams | Holdout::Rolling => self.form.nonzero_params,
                Holdout::Data => self.form.data,
                Holdout::Sparsity => self.form.sparsity,
            };
            if !varies {
                continue;
            }
            let limits = match holdout {
                Holdout::Rolling => rolling(&self.runs.levels(quantity(holdout))),
                _ => vec![largest(self.runs, quantity(holdout))],
            };
            for (round, &limit) in limits.iter().enumerate() {
                let next = limits.get(round + 1).copied().unwrap_or(f64::INFINITY);
                found.extend(self.leave_out(holdout, limit, next)?);
            }
        }
        Some(found)
    }

    /// Leaves out the runs from `limit` up and predicts those of them below `next`, without a number where the
    /// others determine no law. `Some(None)` where that is one of many rounds.
    fn leave_out(&self, holdout: Holdout, limit: f64, next: f64) -> Option<Option<HoldoutReport>> {
        let value = quantity(holdout);
        let runs = self.runs.as_slice();
        let seen = |run: &Observation| value(run) < limit * (1.0 - SAME_LEVEL);
        let weights: Vec<f64> = runs
            .iter()
            .zip(self.runs.weights())
            .map(|(run, weight)| if seen(run) { *weight } else { 0.0 })
            .collect();
        let kept: Vec<Observation> = runs.iter().copied().filter(seen).collect();
        let fitted_runs = kept.len();
        let kept = Observations::new(kept);
        let too_few = fitted_runs < FEWEST_RUNS
            || kept.form() != self.form
            || !missing_levels(&kept, &self.search.parameters, self.form).is_empty();
        if too_few {
            let predicted = runs.iter().filter(|run| !seen(run) && value(run) < next).count();
            return Some((holdout != Holdout::Rolling).then_some(HoldoutReport {
                holdout,
                limit,
                runs: predicted,
                fitted_runs,
                bias: None,
                rms: None,
            }));
        }
        let objective = self.objective.reweighted(&weights);
        let mut rng = generator(self.seed, Stream::Holdout(holdout, limit));
        let near = [self.best.point];
        let sketch = self.sketch.reweighted(&weights);
        let sketch = sketch.as_ref().unwrap_or(&objective);
        let found = self.search.best_of(&objective, sketch, &near, FRESH_STARTS, &mut rng)?;
        if found.termination == Termination::Stopped {
            return None;
        }
        let residuals: Vec<f64> = runs
            .iter()
            .zip(objective.residuals(&found.point))
            .filter(|(run, _)| !seen(run) && value(run) < next)
            .map(|(_, (residual, _))| residual * self.unit)
            .collect();
        let count = residuals.len() as f64;
        Some(Some(HoldoutReport {
            holdout,
            limit,
            runs: residuals.len(),
            fitted_runs,
            bias: Some(residuals.iter().sum::<f64>() / count),
            rms: Some((residuals.iter().map(|r| r * r).sum::<f64>() / count).sqrt()),
        }))
    }
}

/// The largest level, or where it holds few of the runs, as many levels as it takes.
pub(super) fn largest(runs: &Observations, quantity: fn(&Observation) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.as_slice().iter().map(quantity).collect();
    let many = crate::law::quantile(&mut values, 1.0 - LEAST_SHARE);
    let levels = runs.levels(quantity);
    let place = levels.partition_point(|level| *level <= many);
    // There are two levels at least: the quantity varies. The smallest is never left out.
    levels[place.saturating_sub(1).max(1)]
}

/// What a hold-out leaves out the largest of.
pub(super) fn quantity(holdout: Holdout) -> fn(&Observation) -> f64 {
    match holdout {
        Holdout::NonzeroParams | Holdout::Rolling => |run| run.nonzero_params.get(),
        Holdout::Data => |run| run.data.get(),
        Holdout::Sparsity => |run| run.sparsity.get(),
    }
}

/// The sizes that are predicted in turn: all but the smallest, spread evenly where there are many.
pub(super) fn rolling(levels: &[f64]) -> Vec<f64> {
    let candidates = levels.len() - 1;
    let rounds = candidates.min(MOST_ROUNDS);
    (1..=rounds).map(|round| levels[round * candidates / rounds]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolling_ends_with_the_largest_size() {
        assert_eq!(rolling(&[1.0, 2.0, 4.0, 8.0]), [2.0, 4.0, 8.0]);
        let many: Vec<f64> = (0..100).map(f64::from).collect();
        let rounds = rolling(&many);
        assert_eq!((rounds.len(), rounds[7]), (8, 99.0));
    }
}
