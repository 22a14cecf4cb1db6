//! Chooses the runs that narrow an answer of a linearised law most, whatever the form of the law.
//! [`super::design`] describes the objective.

use nalgebra::allocator::Allocator;
use nalgebra::{DefaultAllocator, Dim, DimDiff, DimSub, OMatrix, OVector, U1};

use crate::law::{Data, NonzeroParams, Sparsity};

/// A run that could be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedRun {
    /// Number of non-zero parameters, `N`.
    pub nonzero_params: NonzeroParams,
    /// Sparsity, `S`.
    pub sparsity: Sparsity,
    /// Index of the run's level, for a law of levels; `None` for all other laws.
    pub level: Option<usize>,
    /// Amount of training data, `D`.
    pub data: Data,
    /// Cost of the run, in the unit of the budget; above 0.
    pub compute: f64,
}

/// A run that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChosenRun {
    /// Index of the run among the candidates.
    pub candidate: usize,
    /// Width of the answer's interval after this run and those chosen before it, as a share of the width now.
    pub width_ratio: f64,
}

/// The suggested runs and their alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// The runs to make together, the one that narrows the answer most first. A run may be listed more than once:
    /// repeat it with another seed.
    pub runs: Vec<ChosenRun>,
    /// Single runs, in ascending order of cost, none of them both cheaper and better than another; at most eight,
    /// spread over the costs.
    pub alternatives: Vec<ChosenRun>,
    /// Standard deviation of the answer before any new run, in units of the noise.
    pub deviation: f64,
}

/// Why no run can be suggested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DesignError {
    /// The answer, or an answer at coefficients close by, is not finite.
    #[error("the answer is no finite number at coefficients close to those of the law")]
    NotRepresentable,
    /// Small changes of the coefficients do not change the answer.
    #[error("small changes of the coefficients leave the answer as it is, so no run narrows it")]
    Settled,
    /// Neither the runs nor the noise bound the coefficients.
    #[error("the runs behind the law do not determine all of its coefficients, and show no noise")]
    Singular,
}

/// Standard deviation, before any run, of the logarithm of a normalised coefficient.
const PRIOR_DEVIATION: f64 = 3.0;

/// Step of the central differences, in the logarithm of a coefficient: the error is 1e-8 of the answer's scale.
const STEP: f64 = 1e-4;

/// Slopes of an answer, by logarithms of coefficients, below this are zero to the rounding of the differences.
const FLAT: f64 = 1e-9;

/// Error of the law at a model `e` times as costly as a run, in units of the noise.
const OFF_PER_E_FOLD: f64 = 10.0;

/// Variances that differ by less than this share count as equal, and the cheaper run is chosen.
pub(super) const EQUAL: f64 = 1e-4;

/// Passes over a plan, in each of which every run may be exchanged for another.
const PASSES: usize = 4;

/// Largest number of alternatives.
pub(super) const MOST_ALTERNATIVES: usize = 8;

/// Smallest eigenvalue of a matrix with unit diagonal whose inverse has at least two correct digits.
const LEAST_EIGENVALUE: f64 = 1e-14;

/// A run of the law and what it tells: the gradient of its prediction, and its weight.
pub(super) struct Told<D: Dim>
where
    DefaultAllocator: Allocator<D>,
{
    pub slope: OVector<f64, D>,
    pub weight: f64,
    pub nonzero_params: NonzeroParams,
    pub data: Data,
}

/// What the runs tell about the coordinates of a law: the inverse of their information matrix, in units of the
/// noise squared.
#[derive(Debug, Clone)]
pub(super) struct Information<D: Dim>
where
    DefaultAllocator: Allocator<D> + Allocator<D, D>,
{
    pub covariance: OMatrix<f64, D, D>,
    /// What the runs tell about the model that the answer is about; `None` where the answer is not about one model.
    toward: Option<Toward<D>>,
}

/// What runs tell about one model.
#[derive(Debug, Clone)]
struct Toward<D: Dim>
where
    DefaultAllocator: Allocator<D, D>,
{
    /// `ln(N D)` of the model.
    ln_cost: f64,
    /// [`Information::covariance`] with less weight for runs that are far from the model.
    covariance: OMatrix<f64, D, D>,
}

/// Weight of a run, 0 to 1, in an answer about a model with this `ln(N D)`.
pub(super) fn weight(ln_cost: f64, nonzero_params: NonzeroParams, data: Data) -> f64 {
    let distance = nonzero_params.get().ln() + data.get().ln() - ln_cost;
    (1.0 + (OFF_PER_E_FOLD * distance).powi(2)).recip()
}

impl<D: DimSub<U1>> Information<D>
where
    DefaultAllocator: Allocator<D> + Allocator<D, D> + Allocator<DimDiff<D, U1>>,
{
    /// Information of the given runs. `free` is 1 at coordinates that are fitted and 0 at the others; `noise` is
    /// the standard deviation of the residuals. For an answer about one model, `toward` is its size and data: runs
    /// far from it then have less weight.
    ///
    /// # Errors
    /// [`DesignError::Singular`] where neither the runs nor the noise bound the coordinates.
    pub fn new(
        runs: &[Told<D>],
        free: &OVector<f64, D>,
        noise: f64,
        toward: Option<(NonzeroParams, Data)>,
    ) -> Result<Self, DesignError> {
        let of = |trust: &dyn Fn(&Told<D>) -> f64| {
            covariance(runs, free, noise, trust).ok_or(DesignError::Singular)
        };
        let toward = toward.map(|(nonzero_params, data)| {
            let ln_cost = nonzero_params.get().ln() + data.get().ln();
            let covariance = of(&|run| weight(ln_cost, run.nonzero_params, run.data))?;
            Ok(Toward { ln_cost, covariance })
        });
        Ok(Self { covariance: of(&|_| 1.0)?, toward: toward.transpose()? })
    }

    /// Chooses, among `candidates` with the gradients `slopes`, the runs that most narrow an answer with the
    /// gradient `goal`: at most `most` runs that together cost at most `budget`.
    pub fn choose(
        &self,
        goal: &OVector<f64, D>,
        slopes: Vec<OVector<f64, D>>,
        candidates: &[PlannedRun],
        budget: f64,
        most: usize,
    ) -> Suggestion {
        let costs: Vec<f64> = candidates.iter().map(|run| run.compute).collect();
        let search = |slopes, covariance: &OMatrix<f64, D, D>| PlanSearch {
            goal: goal.clone(),
            slopes,
            costs: costs.clone(),
            budget,
            most,
            start: State::new(covariance.clone(), goal),
        };
        let trusted = self.toward.as_ref().map(|toward| {
            let rows = slopes.iter().zip(candidates);
            let slopes = rows.map(|(slope, run)| {
                slope * weight(toward.ln_cost, run.nonzero_params, run.data).sqrt()
            });
            search(slopes.collect(), &toward.covariance).best()
        });
        let plain = search(slopes, &self.covariance);
        let plan = trusted.unwrap_or_else(|| plain.best());
        Suggestion {
            runs: plain.ordered(&plan),
            alternatives: plain.front(),
            deviation: plain.start.variance.sqrt(),
        }
    }
}

/// Gradient of an answer by central differences, which serve answers from searches and from formulas alike.
/// `answer` gives the answer with one coordinate moved by a step. Coordinates that are not free have slope 0.
///
/// # Errors
/// [`DesignError::NotRepresentable`] where an answer at a moved coordinate is missing or not finite.
pub(super) fn slope_of<D: Dim>(
    free: &OVector<f64, D>,
    answer: impl Fn(usize, f64) -> Option<f64>,
) -> Result<OVector<f64, D>, DesignError>
where
    DefaultAllocator: Allocator<D>,
{
    let mut slope = free.clone();
    for (place, value) in slope.iter_mut().enumerate().filter(|(_, value)| **value != 0.0) {
        let ends = answer(place, STEP).zip(answer(place, -STEP));
        let (above, below) = ends.ok_or(DesignError::NotRepresentable)?;
        *value = (above - below) / (2.0 * STEP);
    }
    if slope.iter().all(|slope| slope.is_finite()) {
        Ok(slope)
    } else {
        Err(DesignError::NotRepresentable)
    }
}

/// Refuses an answer that the coordinates do not move.
///
/// # Errors
/// [`DesignError::Settled`] where all slopes are zero to rounding.
pub(super) fn require_moved<D: Dim>(slope: &OVector<f64, D>) -> Result<(), DesignError>
where
    DefaultAllocator: Allocator<D>,
{
    if slope.amax() < FLAT { Err(DesignError::Settled) } else { Ok(()) }
}

fn covariance<D: DimSub<U1>>(
    runs: &[Told<D>],
    free: &OVector<f64, D>,
    noise: f64,
    trust: &dyn Fn(&Told<D>) -> f64,
) -> Option<OMatrix<f64, D, D>>
where
    DefaultAllocator: Allocator<D> + Allocator<D, D> + Allocator<DimDiff<D, U1>>,
{
    let (dimension, _) = free.shape_generic();
    let mut information = OMatrix::zeros_generic(dimension, dimension);
    for run in runs {
        let weight = run.weight * trust(run);
        for j in 0..dimension.value() {
            for i in 0..dimension.value() {
                information[(i, j)] += run.slope[i] * run.slope[j] * weight;
            }
        }
    }
    for (place, free) in free.iter().enumerate() {
        // A coordinate that is not free has slope 0 at every run, so any positive number will do.
        let prior = if *free == 0.0 { 1.0 } else { (noise / PRIOR_DEVIATION).powi(2) };
        information[(place, place)] += prior;
    }
    inverse(&information)
}

/// The inverse of a positive definite matrix; `None` where the matrix is not positive definite to rounding.
pub(super) fn inverse<D: DimSub<U1>>(matrix: &OMatrix<f64, D, D>) -> Option<OMatrix<f64, D, D>>
where
    DefaultAllocator: Allocator<D> + Allocator<D, D> + Allocator<DimDiff<D, U1>>,
{
    // Scaled to columns of unit length, so that only columns that are truly alike make the matrix singular.
    let lengths = matrix.diagonal().map(f64::sqrt);
    if lengths.iter().any(|length| !length.is_finite() || *length == 0.0) {
        return None;
    }
    let scaled = matrix.map_with_location(|i, j, entry| entry / (lengths[i] * lengths[j]));
    let eigen = scaled.symmetric_eigen();
    if eigen.eigenvalues.min() <= LEAST_EIGENVALUE {
        return None;
    }
    let inverse = &eigen.eigenvectors
        * OMatrix::from_diagonal(&eigen.eigenvalues.map(f64::recip))
        * eigen.eigenvectors.transpose();
    Some(inverse.map_with_location(|i, j, entry| entry / (lengths[i] * lengths[j])))
}

/// What is known about the answer after some runs.
#[derive(Debug, Clone)]
pub(super) struct State<D: Dim>
where
    DefaultAllocator: Allocator<D> + Allocator<D, D>,
{
    covariance: OMatrix<f64, D, D>,
    /// `covariance * goal`.
    toward: OVector<f64, D>,
    /// Variance of the answer.
    pub variance: f64,
}

impl<D: Dim> State<D>
where
    DefaultAllocator: Allocator<D> + Allocator<D, D>,
{
    pub fn new(covariance: OMatrix<f64, D, D>, goal: &OVector<f64, D>) -> Self {
        let toward = &covariance * goal;
        let variance = goal.dot(&toward);
        Self { covariance, toward, variance }
    }

    /// How much a run lowers the variance.
    pub fn gain(&self, slope: &OVector<f64, D>) -> f64 {
        let along = self.toward.dot(slope);
        along * along / (1.0 + slope.dot(&(&self.covariance * slope)))
    }

    /// The state after one more run, by the Sherman-Morrison formula.
    pub fn with(&self, slope: &OVector<f64, D>, goal: &OVector<f64, D>) -> Self {
        let along = &self.covariance * slope;
        let scale = 1.0 + slope.dot(&along);
        let covariance =
            self.covariance.map_with_location(|i, j, entry| entry - along[i] * along[j] / scale);
        Self::new(covariance, goal)
    }
}

/// The search for a plan, which is a list of indices of candidates.
struct PlanSearch<D: Dim>
where
    DefaultAllocator: Allocator<D> + Allocator<D, D>,
{
    goal: OVector<f64, D>,
    slopes: Vec<OVector<f64, D>>,
    costs: Vec<f64>,
    budget: f64,
    most: usize,
    start: State<D>,
}

/// The score by which the next run is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Gain,
    GainPerCost,
}

impl<D: Dim> PlanSearch<D>
where
    DefaultAllocator: Allocator<D> + Allocator<D, D>,
{
    fn state(&self, plan: &[usize]) -> State<D> {
        plan.iter()
            .fold(self.start.clone(), |state, &run| state.with(&self.slopes[run], &self.goal))
    }

    fn cost(&self, plan: &[usize]) -> f64 {
        plan.iter().map(|&run| self.costs[run]).sum()
    }

    /// The best run to add that costs at most `limit`; the cheapest of equally good ones.
    fn addition(&self, state: &State<D>, limit: f64, rule: Rule) -> Option<usize> {
        // Rounding must not keep out runs that use the budget up to the last FLOP.
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

    /// Adds runs that each cost at most `each`, until the plan is full or the budget is spent.
    fn fill(&self, plan: &mut Vec<usize>, each: f64, rule: Rule) {
        let mut state = self.state(plan);
        while plan.len() < self.most {
            let left = self.budget - self.cost(plan);
            let Some(run) = self.addition(&state, left.min(each), rule) else { break };
            state = state.with(&self.slopes[run], &self.goal);
            plan.push(run);
        }
    }

    /// Exchanges and adds runs for as long as that improves the plan.
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

    /// The runs of a plan, the one that narrows the answer most first.
    fn ordered(&self, plan: &[usize]) -> Vec<ChosenRun> {
        let mut left = plan.to_vec();
        let mut state = self.start.clone();
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
        // Rounding could make the ratio of a useless run exceed 1.
        (variance / self.start.variance).max(0.0).sqrt().min(1.0)
    }

    /// The Pareto front of single runs: none of them is both cheaper and better than another.
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
                // Of runs that cost the same, keep the better one.
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
