//! Hold-outs: laws fitted without some of the runs, and how well they predict those runs.

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

/// Smallest number of runs to fit a law on in a hold-out: one more than its coefficients.
const FEWEST_RUNS: usize = 8;
/// Smallest share of the runs that is left out where all values are different.
const LEAST_SHARE: f64 = 0.05;
/// Largest number of sizes that the rolling hold-out predicts.
const MOST_ROUNDS: usize = 8;
/// Random starts of each fit, besides the law of all runs.
const FRESH_STARTS: usize = 4;

pub(super) struct Holdouts<'a> {
    pub search: &'a Search<'a>,
    pub objective: &'a Objective<'a>,
    pub sketch: &'a Sketch<'a>,
    pub runs: &'a Observations,
    pub form: Form,
    pub best: &'a Descent,
    pub seed: u64,
    /// Size of one normalised residual, in the unit of the residual.
    pub unit: f64,
}

impl Holdouts<'_> {
    /// The hold-outs that are asked for and possible; `None` if stopped.
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

    /// Leaves out the runs from `limit` up and predicts those of them below `next`. Where the other runs determine
    /// no law, the report has no errors; in a rolling hold-out there is no report (`Some(None)`). `None` if
    /// stopped.
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

/// The limit from which on runs are left out: the largest level or, where few runs have it, as many of the largest
/// levels as make up [`LEAST_SHARE`].
pub(super) fn largest(runs: &Observations, quantity: fn(&Observation) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.as_slice().iter().map(quantity).collect();
    let many = crate::law::quantile(&mut values, 1.0 - LEAST_SHARE);
    let levels = runs.levels(quantity);
    let place = levels.partition_point(|level| *level <= many);
    // There are at least two levels, as the quantity varies. The smallest is never left out.
    levels[place.saturating_sub(1).max(1)]
}

/// The quantity whose largest values a hold-out leaves out.
pub(super) fn quantity(holdout: Holdout) -> fn(&Observation) -> f64 {
    match holdout {
        Holdout::NonzeroParams | Holdout::Rolling => |run| run.nonzero_params.get(),
        Holdout::Data => |run| run.data.get(),
        Holdout::Sparsity => |run| run.sparsity.get(),
    }
}

/// The sizes to predict in turn: all but the smallest or, where there are many, some of them evenly spread.
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
