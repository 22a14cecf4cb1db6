//! Which runs to make next: those that most narrow a given answer within a budget.
//!
//! This is a c-optimal design, linearised at the law. Let `j` be the gradient of a run's prediction (`ln f` or
//! `f`, depending on the residual) and `g` that of the answer, both by the coordinates that the fit moves. The
//! variance of the answer, as a multiple of the noise variance of one run, is
//!
//! ```text
//! V = g^T M^-1 g,   M = sum_i w_i j_i j_i^T + (noise / 3)^2 I
//! ```
//!
//! summed over the runs of the law. A new run lowers it by `(g^T M^-1 j)^2 / (1 + j^T M^-1 j)`, which can be
//! computed without its measurement. The last term of `M` says that before any run a coefficient is known to
//! within a factor of about `e^3`. It is negligible where the runs determine a coefficient, and keeps `M^-1`
//! finite where they do not, which is where a new run is worth most.
//!
//! No law is exactly right, and a run tells less about a model many times its size than about models near its own
//! size. So where the answer is about one model, plans are chosen as if the noise of a run grew with its distance
//! from that model,
//!
//! ```text
//! noise^2 (1 + (10 d)^2),   d = |ln(N D) - ln(N_t D_t)|
//! ```
//!
//! while the widths reported for the plans are those of the law without this correction. On public tables, runs
//! chosen this way leave smaller errors far beyond them than runs chosen without it: `benches/next_runs.md`.
//!
//! The weighting of residuals by the Huber loss scales `V` before and after alike, so it cancels from the ratio of
//! the widths. So does the noise, except in the last term.
//!
//! Rejected: using the covariances of the predictions of the resampled laws in place of `M^-1`. In simulations (80
//! families like those of `tests/design.rs`) the runs chosen that way leave 0.8, 1.0 and 1.1 times the mean
//! squared error of the linearised choice: equal within chance, but it needs resamples. Callers are to be warned
//! where the resampled and the linearised law disagree about the answer.

use nalgebra::Const;

use super::choice::{
    DesignError, Information, PlannedRun, Suggestion, Told, require_moved, slope_of,
};
use super::config::{Constraint, FitConfig, Residual};
use super::form::Form;
use super::normalised::{COUNT, Normalised, Point};
use super::objective::Gradient;
use super::observations::{Observation, Observations, levels};
use super::parameters::Parameters;
use crate::law::{Coefficients, Data, Density, NonzeroParams, Range};

/// What the runs of a law tell about its coefficients, linearised at the law.
#[derive(Debug, Clone)]
pub struct Knowledge {
    law: Coefficients,
    units: Normalised,
    parameters: Parameters,
    point: Point,
    residual: Residual,
    information: Information<Const<COUNT>>,
}

impl Knowledge {
    /// Builds the knowledge from a law that determines the effects of size, sparsity and data, the runs that it
    /// was fitted on, the options of that fit, and the standard deviation of its residuals. For answers about one
    /// model, `toward` is its size and data: [`Self::suggest`] then gives runs far from it less weight.
    ///
    /// # Errors
    /// [`DesignError::Singular`] where neither the runs nor the noise bound the coefficients.
    pub fn new(
        law: &Coefficients,
        runs: &Observations,
        options: &FitConfig,
        noise: f64,
        toward: Option<(NonzeroParams, Data)>,
    ) -> Result<Self, DesignError> {
        let units = Normalised::new(runs);
        let known = law.determines();
        let form = Form {
            nonzero_params: known.nonzero_params,
            // Where a gain curve gives the effect of sparsity, no coefficient does.
            sparsity: known.sparsity && law.gain_curve().is_none(),
            data: known.data,
        };
        let mut parameters = Parameters::new(form, &options.fixed, &units);
        // On the boundary of the constraint, b_S follows from the other coefficients.
        if options.constraint == Some(Constraint::Physical) && law.gain_slope() > 1.0 - 1e-6 {
            parameters = parameters.on_boundary();
        }
        let point = units.point(law);
        let basis = Basis { law, units: &units, parameters: &parameters, point: &point };
        let told = runs.as_slice().iter().zip(runs.weights()).map(|(run, weight)| {
            let Observation { nonzero_params, data, .. } = *run;
            let slope = basis.slope(options.residual, nonzero_params, run.sparsity.density(), data);
            Told { slope, weight: *weight, nonzero_params, data }
        });
        let free = |place, _| f64::from(u8::from(parameters.is_free(place)));
        let free = Gradient::from_fn(free);
        let information = Information::new(&told.collect::<Vec<_>>(), &free, noise, toward)?;
        let residual = options.residual;
        Ok(Self { law: *law, units, parameters, point, residual, information })
    }

    fn basis(&self) -> Basis<'_> {
        let Self { law, units, parameters, point, .. } = self;
        Basis { law, units, parameters, point }
    }

    /// Gradient of an answer by the free coordinates, in the normalised units of the fit: its coordinates are near
    /// 1 and nearly uncorrelated, unlike the raw coefficients.
    fn answer_slope(
        &self,
        answer: impl Fn(&Coefficients) -> Option<f64>,
    ) -> Result<Gradient, DesignError> {
        let slope = slope_of(&Gradient::repeat(1.0), |place, step| {
            let mut point = self.point;
            point[place] += step;
            let moved = self.units.coefficients(&point).ok()?;
            let moved = match self.law.gain_curve() {
                Some(curve) => moved.with_gain(*curve)?,
                None => moved,
            };
            answer(&moved)
        })?;
        let slope = self.parameters.restrict_gradient(&self.point, &slope);
        require_moved(&slope)?;
        Ok(slope)
    }

    /// Suggests the runs that most narrow the interval of `answer`: at most `most` of the candidates, which
    /// together cost at most `budget`. Suggests none where the budget pays for none.
    ///
    /// A single run is the best of all candidates. Several are chosen greedily, from several beginnings: by how
    /// much they narrow the answer, with the whole budget or a share of it available to each run, and by how much
    /// they narrow it per unit of cost. Then runs are exchanged and added for as long as that helps, and the best
    /// of these plans is returned. It is not guaranteed to be the best of all plans.
    ///
    /// # Errors
    /// [`DesignError::NotRepresentable`] where the answer is not finite at coefficients close by,
    /// [`DesignError::Settled`] where small changes of the coefficients do not change it.
    pub fn suggest(
        &self,
        answer: impl Fn(&Coefficients) -> Option<f64>,
        candidates: &[PlannedRun],
        budget: f64,
        most: usize,
    ) -> Result<Suggestion, DesignError> {
        let goal = self.answer_slope(answer)?;
        let basis = self.basis();
        let slopes = candidates.iter().map(|run| {
            basis.slope(self.residual, run.nonzero_params, run.sparsity.density(), run.data)
        });
        Ok(self.information.choose(&goal, slopes.collect(), candidates, budget, most))
    }
}

/// A law in the coordinates of the fit.
#[derive(Clone, Copy)]
struct Basis<'a> {
    law: &'a Coefficients,
    units: &'a Normalised,
    parameters: &'a Parameters,
    point: &'a Point,
}

impl Basis<'_> {
    /// Gradient of a run's prediction by the free coordinates, in the unit of the residual.
    fn slope(
        self,
        residual: Residual,
        nonzero_params: NonzeroParams,
        density: Density,
        data: Data,
    ) -> Gradient {
        let v = self.law.values();
        let (ln_x, ln_d) = (density.get().ln(), data.get().ln());
        // With a gain curve, a sparse model counts as a larger dense one.
        let ln_gain = self.law.gain_curve().map_or(0.0, |curve| curve.ln_gain(density));
        let ln_n = nonzero_params.get().ln() + ln_gain;
        let size = (-v.b_n * ln_n).exp();
        let sparse = v.a_s * (v.b_s * ln_x).exp() * size;
        let rest = v.c_s * size;
        let seen = (v.b_d * (v.a_d.ln() - ln_d)).exp();
        let by_size = -v.b_n * (ln_n - self.units.ln_n0);
        let by_data = -v.b_d * (ln_d - self.units.ln_d0);
        let slope = Gradient::from([
            sparse,
            sparse * v.b_s * ln_x,
            rest,
            (sparse + rest) * by_size,
            seen,
            seen * by_data,
            v.c,
        ]);
        let slope = match residual {
            Residual::Log => slope / (sparse + rest + seen + v.c),
            Residual::Linear => slope,
        };
        self.parameters.restrict_gradient(self.point, &slope)
    }
}

/// Levels of size, density and data that the runs have, in ascending order, with one more step beyond each end.
/// The step is the ratio of the last two levels there, or 2 where there is only one level. More than `most` levels
/// are replaced by `most` values between the first and the last, evenly spaced in the logarithm. Densities above 1
/// are left out.
#[must_use]
pub fn usual_levels(runs: &Observations, most: usize) -> [Vec<f64>; 3] {
    let of = |quantity: fn(&Observation) -> f64| {
        stretched(levels(runs.as_slice().iter().map(quantity).collect()), most)
    };
    let mut densities = of(|run| run.sparsity.density().get());
    densities.retain(|density| *density <= 1.0);
    [of(|run| run.nonzero_params.get()), densities, of(|run| run.data.get())]
}

fn stretched(mut levels: Vec<f64>, most: usize) -> Vec<f64> {
    let (Some(&first), Some(&last)) = (levels.first(), levels.last()) else { return levels };
    if levels.len() > most {
        levels = spaced(first, last, most);
    }
    let ratio = |pair: Option<&[f64]>| pair.map_or(2.0, |pair| pair[1] / pair[0]);
    let (below, above) = (ratio(levels.windows(2).next()), ratio(levels.windows(2).last()));
    levels.insert(0, first / below);
    levels.push(last * above);
    levels
}

/// `steps` values from `from` to `to`, evenly spaced in the logarithm; both ends are exact.
#[must_use]
fn spaced(from: f64, to: f64, steps: usize) -> Vec<f64> {
    let last = steps.saturating_sub(1).max(1);
    let value = |step: usize| match step {
        0 => from,
        _ if step == last => to,
        _ => {
            let share = step as f64 / last as f64;
            Range { min: from, max: to }.at_share(share)
        }
    };
    (0..steps).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::super::choice::{EQUAL, MOST_ALTERNATIVES, State, inverse, weight};
    use super::*;
    use crate::fit::{Control, fit, testing};
    use crate::law::{
        CoefficientName, Compute, FlopMode, FlopsPerParam, PruningSchedule, T5_C4, TrainingCost,
        optimal_density,
    };

    const NOISE: f64 = 0.005;

    impl Knowledge {
        fn slope_at(&self, n: NonzeroParams, density: Density, data: Data) -> Gradient {
            self.basis().slope(self.residual, n, density, data)
        }
    }

    fn cost() -> TrainingCost {
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Dense)
    }

    fn knowledge() -> (Knowledge, Observations) {
        let runs = Observations::new(testing::grid(T5_C4.coefficients(), NOISE, 1));
        let options = FitConfig::default();
        (Knowledge::new(T5_C4.coefficients(), &runs, &options, NOISE, None).unwrap(), runs)
    }

    fn candidates(runs: &Observations) -> Vec<PlannedRun> {
        let [sizes, densities, data] = usual_levels(runs, 12);
        let mut found = Vec::new();
        for &n in &sizes {
            for &x in &densities {
                for &d in &data {
                    let (nonzero_params, data) =
                        (NonzeroParams::new(n).unwrap(), Data::new(d).unwrap());
                    let density = Density::new(x).unwrap();
                    let compute = cost().compute(density, nonzero_params, data);
                    let sparsity = density.sparsity();
                    found.push(PlannedRun { nonzero_params, sparsity, level: None, data, compute });
                }
            }
        }
        found
    }

    fn b_d(law: &Coefficients) -> Option<f64> {
        Some(law.values().b_d.ln())
    }

    fn best_sparsity(law: &Coefficients) -> Option<f64> {
        let (n, c) = (NonzeroParams::new(1e8).unwrap(), Compute::new(1e20).unwrap());
        Some(optimal_density(law, &cost(), n, c).sparsity().get())
    }

    #[test]
    fn slopes_are_those_of_finite_differences() {
        let (mut knowledge, _) = knowledge();
        let (n, d) = (NonzeroParams::new(3e7).unwrap(), Data::new(2e9).unwrap());
        let density = Density::new(0.3).unwrap();
        for residual in [Residual::Log, Residual::Linear] {
            knowledge.residual = residual;
            let exact = knowledge.slope_at(n, density, d);
            let loss = |law: &Coefficients| law.loss(density, n, d);
            let found = knowledge
                .answer_slope(|law| {
                    Some(if residual == Residual::Log { loss(law).ln() } else { loss(law) })
                })
                .unwrap();
            // Central differences with a step of 1e-4.
            assert!((exact - found).amax() < 1e-7 * exact.amax(), "{exact} {found}");
        }
    }

    #[test]
    fn the_information_is_that_of_the_leverages() {
        let runs = Observations::new(testing::grid(T5_C4.coefficients(), NOISE, 1));
        let options = FitConfig { bootstrap: 0, ..FitConfig::default() };
        let report =
            fit(&runs.clone().into(), &options.clone().check().unwrap(), &Control::NONE).unwrap();
        let knowledge = Knowledge::new(&report.coefficients, &runs, &options, 0.0, None).unwrap();
        for (run, fitted) in runs.as_slice().iter().zip(&report.fitted) {
            let slope = knowledge.slope_at(run.nonzero_params, run.sparsity.density(), run.data);
            let leverage = slope.dot(&(knowledge.information.covariance * slope));
            assert!((leverage - fitted.leverage).abs() < 1e-6, "{leverage} {}", fitted.leverage);
        }
    }

    #[test]
    fn runs_far_from_the_model_that_is_asked_about_are_trusted_less() {
        let (knowledge, runs) = knowledge();
        let candidates = candidates(&runs);
        let (n, d) = (NonzeroParams::new(2e9).unwrap(), Data::new(1e12).unwrap());
        let loss = |law: &Coefficients| Some(law.loss(Density::DENSE, n, d).ln());
        let budget = 1e19;
        let plain = knowledge.suggest(loss, &candidates, budget, 4).unwrap();
        let (law, options) = (T5_C4.coefficients(), FitConfig::default());
        let near = Knowledge::new(law, &runs, &options, NOISE, Some((n, d))).unwrap();
        let found = near.suggest(loss, &candidates, budget, 4).unwrap();
        let largest = |suggestion: &Suggestion| {
            let costs = suggestion.runs.iter().map(|run| candidates[run.candidate].compute);
            costs.fold(0.0, f64::max)
        };
        assert!(largest(&found) >= largest(&plain), "{found:?} {plain:?}");
        // By the uncorrected law these runs narrow the answer too, but no more than the runs that it would choose.
        let ratio = |suggestion: &Suggestion| suggestion.runs.last().unwrap().width_ratio;
        assert!(ratio(&found) < 1.0);
        assert!(ratio(&found) >= ratio(&plain) * 0.99, "{found:?} {plain:?}");
        assert_eq!(found.alternatives, plain.alternatives);
        assert_eq!(found.deviation, plain.deviation);
        // A run at the model itself has full weight.
        assert_eq!(weight((n.get() * d.get()).ln(), n, d), 1.0);
        let tenth = NonzeroParams::new(n.get() / 10.0).unwrap();
        assert!((weight((n.get() * d.get()).ln(), tenth, d).recip() - 531.2).abs() < 0.1);
    }

    #[test]
    fn a_run_added_is_the_inverse_with_it() {
        let (knowledge, _) = knowledge();
        let goal = knowledge.answer_slope(b_d).unwrap();
        let (n, d) = (NonzeroParams::new(3e8).unwrap(), Data::new(2e11).unwrap());
        let slope = knowledge.slope_at(n, Density::new(0.3).unwrap(), d);
        let start = State::new(knowledge.information.covariance, &goal);
        let information =
            inverse(&knowledge.information.covariance).unwrap() + slope * slope.transpose();
        let direct = State::new(inverse(&information).unwrap(), &goal);
        let updated = start.with(&slope, &goal);
        // Tolerance for two inversions of a matrix of condition 1e5.
        assert!((updated.variance / direct.variance - 1.0).abs() < 1e-6);
        assert!((start.gain(&slope) / (start.variance - direct.variance) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn one_run_is_the_best_of_all() {
        let (knowledge, runs) = knowledge();
        let candidates = candidates(&runs);
        let budget = 1e20;
        let found = knowledge.suggest(best_sparsity, &candidates, budget, 1).unwrap();
        let goal = knowledge.answer_slope(best_sparsity).unwrap();
        let start = State::new(knowledge.information.covariance, &goal);
        let least = candidates
            .iter()
            .filter(|run| run.compute <= budget)
            .map(|run| {
                let slope =
                    knowledge.slope_at(run.nonzero_params, run.sparsity.density(), run.data);
                ((start.variance - start.gain(&slope)) / start.variance).sqrt()
            })
            .fold(1.0, f64::min);
        assert!(found.runs[0].width_ratio <= least * (1.0 + EQUAL));
        let last = found.alternatives.last().unwrap();
        assert!((last.width_ratio / least - 1.0).abs() < EQUAL);
        assert!(found.alternatives.len() <= MOST_ALTERNATIVES);
    }

    #[test]
    fn the_budget_is_kept_and_more_of_it_is_never_expected_to_be_worse() {
        let (knowledge, runs) = knowledge();
        let candidates = candidates(&runs);
        for most in [1, 5] {
            let mut before = 1.0;
            for budget in [1e16, 1e17, 1e18, 3e18, 1e19, 3e19, 1e20, 1e21, 1e22] {
                let found = knowledge.suggest(b_d, &candidates, budget, most).unwrap().runs;
                let spent: f64 = found.iter().map(|run| candidates[run.candidate].compute).sum();
                assert!(found.len() <= most && spent <= budget * (1.0 + 1e-8));
                let mut ratio = 1.0;
                for run in &found {
                    assert!(run.width_ratio <= ratio);
                    ratio = run.width_ratio;
                }
                // Plans of several runs are good, but not always the best of all.
                assert!(ratio <= before * 1.01, "{most} {budget} {ratio} {before}");
                before = ratio;
            }
            assert!(before < 0.8, "{most} {before}");
        }
        assert!(knowledge.suggest(b_d, &candidates, 1.0, 3).unwrap().runs.is_empty());
    }

    #[test]
    fn of_equal_runs_the_cheaper_is_chosen() {
        let (knowledge, runs) = knowledge();
        let mut candidates = candidates(&runs);
        let dear: Vec<PlannedRun> = candidates
            .iter()
            .map(|run| PlannedRun { compute: run.compute * 2.0, ..*run })
            .collect();
        let count = candidates.len();
        candidates.splice(0..0, dear);
        let found = knowledge.suggest(b_d, &candidates, 1e30, 3).unwrap();
        assert!(found.runs.iter().all(|run| run.candidate >= count));
    }

    #[test]
    fn what_no_run_narrows_is_said() {
        let (knowledge, runs) = knowledge();
        let candidates = candidates(&runs);
        let nothing_pays = |law: &Coefficients| {
            let (n, c) = (NonzeroParams::new(1e9).unwrap(), Compute::new(1e15).unwrap());
            Some(optimal_density(law, &cost(), n, c).sparsity().get())
        };
        let settled = knowledge.suggest(nothing_pays, &candidates, 1e20, 1);
        assert_eq!(settled.unwrap_err(), DesignError::Settled);
        let none = knowledge.suggest(|_| None, &candidates, 1e20, 1);
        assert_eq!(none.unwrap_err(), DesignError::NotRepresentable);
        // A coefficient that was held fixed has nothing left to learn.
        let fixed = [(CoefficientName::BD, T5_C4.coefficients().values().b_d)];
        let options = FitConfig { fixed: fixed.into(), ..FitConfig::default() };
        let held = Knowledge::new(T5_C4.coefficients(), &runs, &options, NOISE, None).unwrap();
        let settled = held.suggest(b_d, &candidates, 1e20, 1);
        assert_eq!(settled.unwrap_err(), DesignError::Settled);
    }

    #[test]
    fn too_few_amounts_of_data_are_cured_by_another_one() {
        let all = testing::grid(T5_C4.coefficients(), NOISE, 1);
        let two = all.into_iter().filter(|run| run.data.get() < 1e10).collect();
        let two = Observations::new(two);
        let options = FitConfig::default();
        let knowledge = Knowledge::new(T5_C4.coefficients(), &two, &options, NOISE, None).unwrap();
        let candidates = candidates(&two);
        let found = knowledge.suggest(b_d, &candidates, 1e30, 2).unwrap();
        let run = candidates[found.runs[0].candidate];
        assert!(run.data.get() < 9e8 || run.data.get() > 5e9, "{run:?}");
        assert!(found.runs[1].width_ratio < 0.8, "{found:?}");
    }

    #[test]
    fn levels_reach_one_step_beyond() {
        let (_, runs) = knowledge();
        let [sizes, densities, _] = usual_levels(&runs, 12);
        assert_eq!(sizes, [2.5e5, 1e6, 4e6, 16e6, 64e6, 256e6]);
        assert_eq!(densities, [0.0625, 0.125, 0.25, 0.5, 1.0]);
        let [few, ..] = usual_levels(&runs, 3);
        assert_eq!(few.len(), 5);
        assert_eq!((few[1], few[3]), (1e6, 64e6));
        assert_eq!(stretched(vec![3.0], 9), [1.5, 3.0, 6.0]);
        assert_eq!(spaced(1.0, 100.0, 3), [1.0, 10.000000000000002, 100.0]);
    }
}
