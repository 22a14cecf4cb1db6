//! Which runs to make next: those that narrow a named answer most within a budget.
//!
//! A c-optimal design by linearisation at the law. With `j` the gradient of a run's prediction (of
//! `ln f` or `f`, as the residual is) and `g` that of the answer, both by the coordinates that the fit
//! moves, the variance of the answer over that of one run's noise is
//!
//! ```text
//! V = g^T M^-1 g,   M = sum_i w_i j_i j_i^T + (noise / 3)^2 I
//! ```
//!
//! over the runs of the law, and a new run lowers it by `(g^T M^-1 j)^2 / (1 + j^T M^-1 j)`, which
//! no measurement is needed for. The last term of `M` says that a coefficient is known to within a
//! factor of `e^3` or so before any run: it decides nothing where the runs do, and keeps `M^-1` in
//! bounds where they leave something open, which is where a new run is worth most.
//!
//! No law is exactly right, and what a run tells of a model many times its size is worth less than what it tells of
//! its neighbours. So where the answer is about one model, plans are chosen as if a run's noise grew with its distance
//! from it,
//!
//! ```text
//! noise^2 (1 + (10 d)^2),   d = |ln(N D) - ln(N_t D_t)|
//! ```
//!
//! while the widths that are said of them are those of the law as it is. On public tables runs chosen so leave smaller
//! errors far beyond them than without it: `benches/next_runs.md`.
//!
//! How the Huber loss weighs residuals scales `V` before and after alike, so it cancels from the ratio
//! of the widths, and so does the noise but for the last term.
//!
//! Rejected: choosing by the covariances of the predictions of the resampled laws in place of `M^-1`.
//! Simulated (80 families like those of `tests/design.rs`) its runs leave 0.8, 1.0 and 1.1 times the mean
//! squared error of the linearised ones: equal within chance, at the price of needing resamples. Where
//! resampled and linearised law disagree about the answer the caller is to be warned.

use super::config::{Constraint, FitConfig, Residual};
use super::form::Form;
use super::normalised::{COUNT, Normalised, Point};
use super::objective::{Gradient, Hessian};
use super::observations::{Observation, Observations, levels};
use super::parameters::Parameters;
use crate::law::{Coefficients, Data, Density, NonzeroParams, Range, Sparsity};

/// A run that might be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedRun {
    /// `N`.
    pub nonzero_params: NonzeroParams,
    /// `S`.
    pub sparsity: Sparsity,
    /// `D`.
    pub data: Data,
    /// What it costs, in the unit of the budget; above 0.
    pub compute: f64,
}

/// A run that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChosenRun {
    /// Its place among the candidates.
    pub candidate: usize,
    /// Width of the answer's interval after it, and after those chosen before it, over the width
    /// now.
    pub width_ratio: f64,
}

/// What to run next.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// The runs to make together, the one that narrows most first. The same one may come more than
    /// once: with another seed.
    pub runs: Vec<ChosenRun>,
    /// Single runs, rising in cost, such that none is both cheaper and better; a few, spread over
    /// the costs.
    pub alternatives: Vec<ChosenRun>,
    /// Standard deviation of the answer before any of them, in units of the noise.
    pub deviation: f64,
}

/// Why no run can be suggested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DesignError {
    /// The answer, or one at coefficients close by, is no finite number.
    #[error("the answer is no finite number at coefficients close to those of the law")]
    NotRepresentable,
    /// Small changes of the coefficients leave the answer as it is.
    #[error("small changes of the coefficients leave the answer as it is, so no run narrows it")]
    Settled,
    /// Neither the runs nor the noise say how far a coefficient may go.
    #[error("the runs behind the law do not determine all of its coefficients, and show no noise")]
    Singular,
}

/// Standard deviation of the logarithm of a normalised coefficient before any run.
const PRIOR_DEVIATION: f64 = 3.0;

/// Noises by which the law may be off at a model e times as costly as a run.
const OFF_PER_E_FOLD: f64 = 10.0;

/// Step of the central differences in the logarithms: an error of 1e-8 of the answer's scale.
const STEP: f64 = 1e-4;

/// Slope of an answer, by logarithms of coefficients, that is zero to the rounding of its differences.
const FLAT: f64 = 1e-9;

/// Variances closer than this share are equal, and the cheaper run is chosen.
const EQUAL: f64 = 1e-4;

/// Passes over a plan in which each of its runs may be exchanged.
const PASSES: usize = 4;

/// The most alternatives.
const MOST_ALTERNATIVES: usize = 8;

/// What the runs of a law tell about its coefficients, linearised at the law.
#[derive(Debug, Clone)]
pub struct Knowledge {
    law: Coefficients,
    units: Normalised,
    parameters: Parameters,
    point: Point,
    residual: Residual,
    /// Inverse of the information, in units of the noise squared.
    covariance: Hessian,
    /// The model that the answer is about; `None` where it is about none, or about all.
    toward: Option<Toward>,
}

/// What the runs tell about one model.
#[derive(Debug, Clone)]
struct Toward {
    /// `ln(N D)`
    ln_cost: f64,
    /// [`Knowledge::covariance`] with less trust in runs that are far from it.
    covariance: Hessian,
}

impl Toward {
    /// What one run counts for.
    fn weight(&self, nonzero_params: NonzeroParams, data: Data) -> f64 {
        weight(self.ln_cost, nonzero_params, data)
    }
}

/// What a run counts for in an answer about a model of this `ln(N D)`.
fn weight(ln_cost: f64, nonzero_params: NonzeroParams, data: Data) -> f64 {
    let distance = nonzero_params.get().ln() + data.get().ln() - ln_cost;
    (1.0 + (OFF_PER_E_FOLD * distance).powi(2)).recip()
}

impl Knowledge {
    /// Of a law that knows what size, sparsity and data do, from its runs, the options that it was
    /// fitted with, and the standard deviation of its residuals.
    ///
    /// # Errors
    /// [`DesignError::Singular`].
    pub fn new(
        law: &Coefficients,
        runs: &Observations,
        options: &FitConfig,
        noise: f64,
    ) -> Result<Self, DesignError> {
        let units = Normalised::new(runs);
        let known = law.determines();
        let form = Form {
            nonzero_params: known.nonzero_params,
            sparsity: known.sparsity,
            data: known.data,
        };
        let mut parameters = Parameters::new(form, &options.fixed, &units);
        // Where the constraint holds the law, b_S follows from others.
        if options.constraint == Some(Constraint::Physical) && law.gain_slope() > 1.0 - 1e-6 {
            parameters = parameters.on_boundary();
        }
        let point = units.point(law);
        let mut knowledge = Self {
            law: *law,
            units,
            parameters,
            point,
            residual: options.residual,
            covariance: Hessian::zeros(),
            toward: None,
        };
        knowledge.covariance =
            knowledge.covariance(runs, noise, |_| 1.0).ok_or(DesignError::Singular)?;
        Ok(knowledge)
    }

    /// The same for answers about a model of this size and data: [`Self::suggest`] then has less trust in runs that
    /// are far from it. `runs` and `noise` are those of [`Self::new`].
    ///
    /// # Errors
    /// [`DesignError::Singular`].
    pub fn toward(
        mut self,
        runs: &Observations,
        noise: f64,
        (nonzero_params, data): (NonzeroParams, Data),
    ) -> Result<Self, DesignError> {
        let ln_cost = nonzero_params.get().ln() + data.get().ln();
        let weight = |run: &Observation| weight(ln_cost, run.nonzero_params, run.data);
        let covariance = self.covariance(runs, noise, weight).ok_or(DesignError::Singular)?;
        self.toward = Some(Toward { ln_cost, covariance });
        Ok(self)
    }

    fn covariance(
        &self,
        runs: &Observations,
        noise: f64,
        trust: impl Fn(&Observation) -> f64,
    ) -> Option<Hessian> {
        let mut information = Hessian::zeros();
        for (run, weight) in runs.as_slice().iter().zip(runs.weights()) {
            let slope = self.slope(run.nonzero_params, run.sparsity.density(), run.data);
            information += slope * slope.transpose() * (*weight * trust(run));
        }
        for place in 0..COUNT {
            // What is not free has no slope anywhere; there any number will do.
            let free = self.parameters.is_free(place);
            let prior = if free { (noise / PRIOR_DEVIATION).powi(2) } else { 1.0 };
            information[(place, place)] += prior;
        }
        inverse(&information)
    }

    /// Gradient of a run's prediction, in the unit of the residual, by the free coordinates.
    fn slope(&self, nonzero_params: NonzeroParams, density: Density, data: Data) -> Gradient {
        let v = self.law.values();
        let (ln_x, ln_n, ln_d) = (density.get().ln(), nonzero_params.get().ln(), data.get().ln());
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
        let slope = match self.residual {
            Residual::Log => slope / (sparse + rest + seen + v.c),
            Residual::Linear => slope,
        };
        self.parameters.restrict_gradient(&self.point, &slope)
    }

    /// Gradient of an answer by the free coordinates: by central differences, as answers come from
    /// searches and from formulas alike, and in the fit's coordinates, which are near 1 and nearly
    /// apart from each other where the raw ones are not.
    fn answer_slope(
        &self,
        answer: impl Fn(&Coefficients) -> Option<f64>,
    ) -> Result<Gradient, DesignError> {
        let at = |place: usize, step: f64| {
            let mut point = self.point;
            point[place] += step;
            self.units.coefficients(&point).ok().and_then(|law| answer(&law))
        };
        let mut slope = Gradient::zeros();
        for place in 0..COUNT {
            let ends = at(place, STEP).zip(at(place, -STEP));
            let (above, below) = ends.ok_or(DesignError::NotRepresentable)?;
            slope[place] = (above - below) / (2.0 * STEP);
        }
        if !slope.iter().all(|slope| slope.is_finite()) {
            return Err(DesignError::NotRepresentable);
        }
        let slope = self.parameters.restrict_gradient(&self.point, &slope);
        if slope.amax() < FLAT {
            return Err(DesignError::Settled);
        }
        Ok(slope)
    }

    /// The runs, at most `most` of these candidates and for at most `budget` together, that narrow the
    /// interval of `answer` most; none where none can be paid.
    ///
    /// One run is the best of all candidates. Several are chosen greedily, with all of the budget open
    /// to the first and with shares of it, by what they narrow and by what that costs; then runs
    /// are exchanged and added while that helps, and the best of these plans answers. It need not be
    /// the best of all plans.
    ///
    /// # Errors
    /// [`DesignError::NotRepresentable`], [`DesignError::Settled`].
    pub fn suggest(
        &self,
        answer: impl Fn(&Coefficients) -> Option<f64>,
        candidates: &[PlannedRun],
        budget: f64,
        most: usize,
    ) -> Result<Suggestion, DesignError> {
        let goal = self.answer_slope(answer)?;
        let slopes = candidates
            .iter()
            .map(|run| self.slope(run.nonzero_params, run.sparsity.density(), run.data));
        let search = PlanSearch {
            goal,
            slopes: slopes.collect(),
            costs: candidates.iter().map(|run| run.compute).collect(),
            budget,
            most,
            start: State::new(self.covariance, &goal),
        };
        let plan = match &self.toward {
            None => search.best(),
            Some(toward) => {
                let rows = search.slopes.iter().zip(candidates);
                let trusted = rows
                    .map(|(slope, run)| slope * toward.weight(run.nonzero_params, run.data).sqrt());
                PlanSearch {
                    slopes: trusted.collect(),
                    start: State::new(toward.covariance, &goal),
                    costs: search.costs.clone(),
                    ..search
                }
                .best()
            }
        };
        Ok(Suggestion {
            runs: search.ordered(&plan),
            alternatives: search.front(),
            deviation: search.start.variance.sqrt(),
        })
    }
}

/// Levels of size, density and data that runs have, rising, with one step beyond at each end: by the
/// ratio of the last two levels, or two where there is only one. More than `most` levels are replaced
/// by as many between their ends, even in the logarithm. No density is above 1.
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

/// So many values from one to another, even in the logarithm; both ends to the bit.
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

/// The inverse of a positive definite matrix; `None` where it is none to rounding.
fn inverse(matrix: &Hessian) -> Option<Hessian> {
    // Columns of unit length first, so that only what is truly alike looks alike.
    let lengths = matrix.diagonal().map(f64::sqrt);
    if lengths.iter().any(|length| !length.is_finite() || *length == 0.0) {
        return None;
    }
    let scaled = Hessian::from_fn(|i, j| matrix[(i, j)] / (lengths[i] * lengths[j]));
    let eigen = scaled.symmetric_eigen();
    if eigen.eigenvalues.min() <= LEAST_EIGENVALUE {
        return None;
    }
    let inverse = eigen.eigenvectors
        * Hessian::from_diagonal(&eigen.eigenvalues.map(f64::recip))
        * eigen.eigenvectors.transpose();
    Some(Hessian::from_fn(|i, j| inverse[(i, j)] / (lengths[i] * lengths[j])))
}

/// Eigenvalue of a matrix of unit diagonal that leaves its inverse two digits.
const LEAST_EIGENVALUE: f64 = 1e-14;

/// What is known after some runs.
#[derive(Debug, Clone, Copy)]
struct State {
    covariance: Hessian,
    /// `covariance * goal`
    toward: Gradient,
    /// Variance of the answer.
    variance: f64,
}

impl State {
    fn new(covariance: Hessian, goal: &Gradient) -> Self {
        let toward = covariance * goal;
        Self { covariance, toward, variance: goal.dot(&toward) }
    }

    /// How much a run lowers the variance.
    fn gain(&self, slope: &Gradient) -> f64 {
        let along = self.toward.dot(slope);
        along * along / (1.0 + slope.dot(&(self.covariance * slope)))
    }

    /// After one more run (Sherman and Morrison).
    fn with(&self, slope: &Gradient, goal: &Gradient) -> Self {
        let along = self.covariance * slope;
        let covariance = self.covariance - along * along.transpose() / (1.0 + slope.dot(&along));
        Self::new(covariance, goal)
    }
}

/// The search for a plan: places among the candidates.
struct PlanSearch {
    goal: Gradient,
    slopes: Vec<Gradient>,
    costs: Vec<f64>,
    budget: f64,
    most: usize,
    start: State,
}

/// What the next run is chosen by.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Gain,
    GainPerCost,
}

impl PlanSearch {
    fn state(&self, plan: &[usize]) -> State {
        plan.iter().fold(self.start, |state, &run| state.with(&self.slopes[run], &self.goal))
    }

    fn cost(&self, plan: &[usize]) -> f64 {
        plan.iter().map(|&run| self.costs[run]).sum()
    }

    /// The best run to add for at most `limit`, the cheapest of equals.
    fn addition(&self, state: &State, limit: f64, rule: Rule) -> Option<usize> {
        // Runs that fill the budget to the last FLOP must not miss it by rounding.
        let limit = limit + 1e-9 * self.budget;
        let scored = self.slopes.iter().zip(&self.costs).enumerate();
        let scored = scored.filter(|(_, (_, cost))| **cost <= limit).map(|(run, (slope, cost))| {
            let gain = state.gain(slope);
            (run, if rule == Rule::Gain { gain } else { gain / cost })
        });
        let scored: Vec<(usize, f64)> = scored.collect();
        let best = scored.iter().map(|(_, score)| *score).reduce(f64::max)?;
        let least = match rule {
            Rule::Gain => best - EQUAL * (state.variance - best),
            Rule::GainPerCost => best,
        };
        let equals = scored.iter().filter(|(_, score)| *score >= least).map(|(run, _)| *run);
        equals.min_by(|&a, &b| self.costs[a].total_cmp(&self.costs[b]))
    }

    /// Adds runs to a plan, none of them dearer than `each`, until it is full or the budget spent.
    fn fill(&self, plan: &mut Vec<usize>, each: f64, rule: Rule) {
        let mut state = self.state(plan);
        while plan.len() < self.most {
            let left = self.budget - self.cost(plan);
            let Some(run) = self.addition(&state, left.min(each), rule) else { break };
            state = state.with(&self.slopes[run], &self.goal);
            plan.push(run);
        }
    }

    /// Exchanges and adds runs while that helps.
    fn improve(&self, plan: &mut Vec<usize>) {
        for _ in 0..PASSES {
            let before = self.state(plan).variance;
            for place in 0..plan.len() {
                let variance = self.state(plan).variance;
                let mut others = plan.clone();
                others.remove(place);
                let state = self.state(&others);
                let left = self.budget - self.cost(&others);
                let Some(run) = self.addition(&state, left, Rule::Gain) else { continue };
                if state.with(&self.slopes[run], &self.goal).variance < variance {
                    plan[place] = run;
                }
            }
            self.fill(plan, f64::INFINITY, Rule::Gain);
            if self.state(plan).variance >= before * (1.0 - EQUAL) {
                break;
            }
        }
    }

    fn best(&self) -> Vec<usize> {
        let shares = std::iter::successors(Some(1), |share| Some(2 * share));
        let shares = shares.take_while(|share| *share < self.most).chain([self.most]);
        let mut starts: Vec<(f64, Rule)> =
            shares.map(|share| (self.budget / share as f64, Rule::Gain)).collect();
        if self.most > 1 {
            starts.push((f64::INFINITY, Rule::GainPerCost));
        }
        let plans = starts.into_iter().map(|(each, rule)| {
            let mut plan = Vec::new();
            self.fill(&mut plan, each, rule);
            if self.most > 1 {
                self.improve(&mut plan);
            }
            (self.state(&plan).variance, plan)
        });
        let plans: Vec<(f64, Vec<usize>)> = plans.collect();
        let least = plans.iter().map(|(variance, _)| *variance).fold(f64::INFINITY, f64::min);
        let equals = plans.into_iter().filter(|(variance, _)| *variance <= least * (1.0 + EQUAL));
        let cheapest = equals.min_by(|(_, a), (_, b)| self.cost(a).total_cmp(&self.cost(b)));
        cheapest.map_or_else(Vec::new, |(_, plan)| plan)
    }

    /// The runs of a plan, the one that narrows most first.
    fn ordered(&self, plan: &[usize]) -> Vec<ChosenRun> {
        let mut left = plan.to_vec();
        let mut state = self.start;
        let mut ordered = Vec::with_capacity(plan.len());
        while !left.is_empty() {
            let gain = |place: &usize| state.gain(&self.slopes[left[*place]]);
            let places = 0..left.len();
            let best = places.max_by(|a, b| gain(a).total_cmp(&gain(b))).unwrap_or_default();
            let candidate = left.swap_remove(best);
            state = state.with(&self.slopes[candidate], &self.goal);
            ordered.push(ChosenRun { candidate, width_ratio: self.ratio(state.variance) });
        }
        ordered
    }

    fn ratio(&self, variance: f64) -> f64 {
        // Rounding may put a useless run at 1 + 1e-16.
        (variance / self.start.variance).max(0.0).sqrt().min(1.0)
    }

    /// Single runs of which none is both cheaper and better.
    fn front(&self) -> Vec<ChosenRun> {
        let mut affordable: Vec<usize> = (0..self.costs.len())
            .filter(|run| self.costs[*run] <= self.budget * (1.0 + 1e-9))
            .collect();
        affordable.sort_by(|&a, &b| self.costs[a].total_cmp(&self.costs[b]));
        let mut least = self.start.variance;
        let mut front = Vec::new();
        for candidate in affordable {
            let variance = self.start.variance - self.start.gain(&self.slopes[candidate]);
            if variance < least * (1.0 - EQUAL) {
                least = variance;
                // Of runs that cost the same the better one.
                let cost = self.costs[candidate];
                front.pop_if(|run: &mut ChosenRun| {
                    self.costs[run.candidate] >= cost * (1.0 - EQUAL)
                });
                front.push(ChosenRun { candidate, width_ratio: self.ratio(variance) });
            }
        }
        if front.len() <= MOST_ALTERNATIVES {
            return front;
        }
        let last = front.len() - 1;
        (0..MOST_ALTERNATIVES).map(|i| front[i * last / (MOST_ALTERNATIVES - 1)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::{Control, fit, testing};
    use crate::law::{
        CoefficientName, Compute, FlopMode, FlopsPerParam, PruningSchedule, T5_C4, TrainingCost,
        optimal_density,
    };

    const NOISE: f64 = 0.005;

    fn cost() -> TrainingCost {
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Dense)
    }

    fn knowledge() -> (Knowledge, Observations) {
        let runs = Observations::new(testing::grid(T5_C4.coefficients(), NOISE, 1));
        let options = FitConfig::default();
        (Knowledge::new(T5_C4.coefficients(), &runs, &options, NOISE).unwrap(), runs)
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
                    found.push(PlannedRun { nonzero_params, sparsity, data, compute });
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
            let exact = knowledge.slope(n, density, d);
            let loss = |law: &Coefficients| law.loss(density, n, d);
            let found = knowledge
                .answer_slope(|law| {
                    Some(if residual == Residual::Log { loss(law).ln() } else { loss(law) })
                })
                .unwrap();
            // Central differences of a step of 1e-4.
            assert!((exact - found).amax() < 1e-7 * exact.amax(), "{exact} {found}");
        }
    }

    #[test]
    fn the_information_is_that_of_the_leverages() {
        let runs = Observations::new(testing::grid(T5_C4.coefficients(), NOISE, 1));
        let options = FitConfig { bootstrap: 0, ..FitConfig::default() };
        let report =
            fit(&runs.clone().into(), &options.clone().check().unwrap(), &Control::NONE).unwrap();
        let knowledge = Knowledge::new(&report.coefficients, &runs, &options, 0.0).unwrap();
        for (run, fitted) in runs.as_slice().iter().zip(&report.fitted) {
            let slope = knowledge.slope(run.nonzero_params, run.sparsity.density(), run.data);
            let leverage = slope.dot(&(knowledge.covariance * slope));
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
        let near = knowledge.toward(&runs, NOISE, (n, d)).unwrap();
        let found = near.suggest(loss, &candidates, budget, 4).unwrap();
        let largest = |suggestion: &Suggestion| {
            let costs = suggestion.runs.iter().map(|run| candidates[run.candidate].compute);
            costs.fold(0.0, f64::max)
        };
        assert!(largest(&found) >= largest(&plain), "{found:?} {plain:?}");
        // By the law as it is they narrow the answer, no more than those that it would choose.
        let ratio = |suggestion: &Suggestion| suggestion.runs.last().unwrap().width_ratio;
        assert!(ratio(&found) < 1.0);
        assert!(ratio(&found) >= ratio(&plain) * 0.99, "{found:?} {plain:?}");
        assert_eq!(found.alternatives, plain.alternatives);
        assert_eq!(found.deviation, plain.deviation);
        // At the model itself a run counts for what it is.
        assert_eq!(weight((n.get() * d.get()).ln(), n, d), 1.0);
        let tenth = NonzeroParams::new(n.get() / 10.0).unwrap();
        assert!((weight((n.get() * d.get()).ln(), tenth, d).recip() - 531.2).abs() < 0.1);
    }

    #[test]
    fn a_run_added_is_the_inverse_with_it() {
        let (knowledge, _) = knowledge();
        let goal = knowledge.answer_slope(b_d).unwrap();
        let (n, d) = (NonzeroParams::new(3e8).unwrap(), Data::new(2e11).unwrap());
        let slope = knowledge.slope(n, Density::new(0.3).unwrap(), d);
        let start = State::new(knowledge.covariance, &goal);
        let information = inverse(&knowledge.covariance).unwrap() + slope * slope.transpose();
        let direct = State::new(inverse(&information).unwrap(), &goal);
        let updated = start.with(&slope, &goal);
        // Two inversions of a matrix of condition 1e5.
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
        let start = State::new(knowledge.covariance, &goal);
        let least = candidates
            .iter()
            .filter(|run| run.compute <= budget)
            .map(|run| {
                let slope = knowledge.slope(run.nonzero_params, run.sparsity.density(), run.data);
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
                // Plans of several runs are good ones, not the best of all.
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
        // A coefficient that was held has nothing left to learn.
        let fixed = [(CoefficientName::BD, T5_C4.coefficients().values().b_d)];
        let options = FitConfig { fixed: fixed.into(), ..FitConfig::default() };
        let held = Knowledge::new(T5_C4.coefficients(), &runs, &options, NOISE).unwrap();
        let settled = held.suggest(b_d, &candidates, 1e20, 1);
        assert_eq!(settled.unwrap_err(), DesignError::Settled);
    }

    #[test]
    fn too_few_amounts_of_data_are_cured_by_another_one() {
        let all = testing::grid(T5_C4.coefficients(), NOISE, 1);
        let two = all.into_iter().filter(|run| run.data.get() < 1e10).collect();
        let two = Observations::new(two);
        let options = FitConfig::default();
        let knowledge = Knowledge::new(T5_C4.coefficients(), &two, &options, NOISE).unwrap();
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
