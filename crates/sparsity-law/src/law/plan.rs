//! The best model for a budget, under bounds.
//!
//! At one sparsity the best size and amount of data are known ([`super::scheme`]), so only the sparsity is searched.
//! The search evaluates a grid in `y = -ln(1 - S)` ([`super::means`]) whose nodes include every kink of the cost and of
//! the storage, and then applies Brent's method around each node that is as good as its neighbours. The sparsities that
//! the bounds on sizes allow form one interval, whose ends are also nodes. Two minima within one cell of the grid
//! (0.05) are taken for one.

use super::any_law::AnyLaw;
use super::limits::{Constraint, Limits};
use super::means::{Means, ZeroPlacement};
use super::minima::{PRECISION, edge, evaluate, gaps, least, minima};
use super::quantity::Density;
use super::repetition::Repetition;
use super::scheme::{Goal, Model, SparsityScheme, Task};
use super::support::Range as Costs;

/// Finds the best model by a law, under bounds.
#[derive(Debug, Clone, Copy)]
pub struct Planner<'a> {
    /// The law.
    pub law: AnyLaw<'a>,
    /// The ways to be sparse, and the costs of each.
    pub means: &'a Means,
    /// Number of tokens that the model will serve in its lifetime.
    pub inference_tokens: f64,
    /// How data is repeated; `None` where all of it is new.
    pub repetition: Option<Repetition>,
}

/// A bound that prevents every plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Obstacle {
    /// The bound.
    pub constraint: Constraint,
    /// The tightest value of the bound with which there are plans, if the other bounds stay the same; for a bound on
    /// the sparsity, the density. `None` where relaxing this bound alone is not enough.
    pub needed: Option<f64>,
}

/// Share by which a plan may exceed the allowed cost, because of rounding.
const ROUNDED: f64 = 1e-12;
/// Relative distance from a bound within which it holds with equality.
const EQUAL: f64 = 1e-6;
/// Tolerance like [`EQUAL`], for locating the point at which a bound begins to hold with equality.
const HELD: f64 = 1e-10;
/// Improvement of the goal that a relaxed bound must bring to count as binding; a plan is more precise than this.
const BETTER: f64 = 1e-9;

impl Planner<'_> {
    /// The best plan; `None` where the bounds allow none.
    #[must_use]
    pub fn best(&self, goal: Goal, limits: &Limits) -> Option<Model> {
        let task = self.task(goal);
        let best = match self.means.zeros() {
            ZeroPlacement::Anywhere => self.best_anywhere(&task, limits),
            ZeroPlacement::Schemes(schemes) => schemes
                .iter()
                .filter(|scheme| limits.allows(scheme.density))
                .filter_map(|scheme| scheme.best(&task, limits))
                .min_by(|a, b| a.badness.total_cmp(&b.badness)),
        };
        best.filter(|model| keeps_compute(model, limits))
    }

    fn task(&self, goal: Goal) -> Task<'_> {
        let flops_per_param = self.means.flops_per_param();
        let Self { law, inference_tokens, repetition, .. } = *self;
        Task { law, flops_per_param, inference_tokens, goal, repetition }
    }

    fn best_anywhere(&self, task: &Task<'_>, limits: &Limits) -> Option<Model> {
        let [sparsest, densest] =
            [Constraint::SparsityMax, Constraint::SparsityMin].map(|bound| limits.get(bound));
        let scheme = |y: f64| {
            // At the ends, use the ends themselves: a logarithm and back would round them.
            let density = if y >= -sparsest.ln() {
                sparsest
            } else if y <= -densest.ln() {
                densest
            } else {
                (-y).exp()
            };
            self.means.unstructured(Density::clamped(density))
        };
        let (low, high) = self.interval(limits, scheme)?;
        let nodes = self.means.nodes(low, high, scheme);
        let at = |scheme: &SparsityScheme| scheme.best(task, limits);
        let held = |model: &Model| held(model, limits);
        let plans = evaluate(&nodes, at);
        let mut models = minima(&plans, scheme, at, held);
        // The sparsities that the bounds on cost or loss allow may also lie between two nodes without a plan. In such a
        // gap, look where these bounds are easiest to keep.
        let (other, easiest) = match task.goal {
            Goal::LeastLoss => (Goal::LeastCost, limits.without(Constraint::TargetLoss)),
            Goal::LeastCost => (Goal::LeastLoss, limits.without(Constraint::Compute)),
        };
        let task = Task { goal: other, ..*task };
        let easy = |scheme: &SparsityScheme| scheme.best(&task, &easiest);
        for gap in gaps(&plans) {
            for model in minima(&evaluate(&nodes[gap.clone()], easy), scheme, easy, held) {
                let y = -model.scheme.density.get().ln();
                let after = gap.start + nodes[gap.clone()].partition_point(|(node, _)| *node < y);
                let mut around = plans[gap.start.max(after.saturating_sub(1))..after].to_vec();
                around.push((y, at(&model.scheme)));
                around.extend(&plans[after..gap.end.min(after + 1)]);
                models.extend(minima(&around, scheme, at, held));
            }
        }
        least(models)
    }

    /// The interval of `y` that the bounds on sizes allow. Below it, a model with the fewest total parameters has too
    /// many non-zero parameters or needs too much memory; above it, a model with the fewest non-zero parameters has too
    /// many zeros.
    fn interval(
        &self,
        limits: &Limits,
        scheme: impl Fn(f64) -> SparsityScheme,
    ) -> Option<(f64, f64)> {
        let low = -limits.get(Constraint::SparsityMin).ln();
        let high = -limits.get(Constraint::SparsityMax).ln();
        let no_fewest = limits.without(Constraint::NonzeroParamsMin);
        let no_total = limits.without(Constraint::TotalParamsMin);
        let dense_enough = |y: f64| scheme(y).sizes(&no_total).is_some();
        let sparse_enough = |y: f64| scheme(y).sizes(&no_fewest).is_some();
        if low > high || !dense_enough(low) || !sparse_enough(high) {
            return None;
        }
        let first = if sparse_enough(low) { low } else { edge(high, low, sparse_enough) };
        let last = if dense_enough(high) { high } else { edge(low, high, dense_enough) };
        // Both are the inner ends of an edge, so rounding may put one past the other.
        (first <= last + PRECISION).then(|| (first.min(last), last))
    }

    /// The bounds that hold with equality at the best plan and allow a better one if they are relaxed by 1 %. The bound
    /// that states the question is left out: the cost for the least loss, and the loss for the least cost.
    #[must_use]
    pub fn binding(&self, goal: Goal, limits: &Limits, best: &Model) -> Vec<Constraint> {
        let question = match goal {
            Goal::LeastLoss => Constraint::Compute,
            Goal::LeastCost => Constraint::TargetLoss,
        };
        let binds = |constraint: &Constraint| {
            let bound = limits.get(*constraint);
            let equal = (value(best, *constraint) / bound - 1.0).abs() <= EQUAL;
            let tolerance = match goal {
                Goal::LeastLoss => BETTER * best.badness,
                Goal::LeastCost => BETTER,
            };
            let better = |relaxed: Model| relaxed.badness < best.badness - tolerance;
            limits.has(*constraint)
                && *constraint != question
                && equal
                && self.best(goal, &limits.relaxed(*constraint)).is_some_and(better)
        };
        Constraint::ALL.into_iter().filter(binds).collect()
    }

    /// The bounds that prevent every plan: each bound that would be enough to relax on its own, with the value it
    /// needs, or else a smallest set of bounds that cannot all be kept.
    #[must_use]
    pub fn obstacles(&self, goal: Goal, limits: &Limits) -> Vec<Obstacle> {
        let possible = |limits: &Limits| self.best(goal, limits).is_some();
        let set = || Constraint::ALL.into_iter().filter(|constraint| limits.has(*constraint));
        let alone: Vec<Obstacle> = set()
            .filter_map(|constraint| {
                let needed = Some(limits.needed(constraint, possible)?);
                Some(Obstacle { constraint, needed })
            })
            .collect();
        if !alone.is_empty() {
            return alone;
        }
        // Drop every bound without which there is still no plan; each of those that remain is necessary for there to be
        // none.
        let mut kept = *limits;
        for constraint in set() {
            let fewer = kept.without(constraint);
            if !possible(&fewer) {
                kept = fewer;
            }
        }
        set()
            .filter(|constraint| kept.has(*constraint))
            .map(|constraint| Obstacle { constraint, needed: None })
            .collect()
    }

    /// The trade-off between cost and loss around a plan: the least losses at costs in a geometric series on both sides
    /// of the cost of that plan, as far as the bounds allow plans.
    ///
    /// The plan `best` is included if `points` is above 0. A plan that costs more and is not better is left out, so
    /// costs rise and losses fall along the result, which has at most `points` plans.
    #[must_use]
    pub fn frontier(&self, limits: &Limits, best: &Model, points: u32, costs: Costs) -> Vec<Model> {
        let limits = limits.without(Constraint::TargetLoss);
        let at =
            |compute: f64| self.best(Goal::LeastLoss, &limits.with(Constraint::Compute, compute));
        let middle = best.compute();
        let cheapest = self.best(Goal::LeastCost, &limits.without(Constraint::Compute));
        let cheapest = cheapest.map_or(middle, |model| model.compute() * (1.0 + ROUNDED));
        let others = points.saturating_sub(1);
        let (below, above) = (others / 2, others - others / 2);
        let series = |end: f64, steps: u32| {
            let ratio = (end / middle).ln();
            (1..=steps).map(move |step| middle * (ratio * f64::from(step) / f64::from(steps)).exp())
        };
        let mut models: Vec<Model> = series(costs.min.max(cheapest).min(middle), below)
            .chain(series(costs.max.max(middle), above))
            .filter_map(at)
            .collect();
        if points > 0 {
            models.push(*best);
        }
        models.sort_by(|a, b| a.compute().total_cmp(&b.compute()).then(a.loss.total_cmp(&b.loss)));
        let mut kept: Vec<Model> = Vec::with_capacity(models.len());
        for model in models {
            let better =
                |before: &Model| model.loss < before.loss && model.compute() > before.compute();
            if kept.last().is_none_or(better) {
                kept.push(model);
            }
        }
        kept
    }
}

/// Whether a model keeps the bound on the cost. Only a plan for the least cost can exceed it.
fn keeps_compute(model: &Model, limits: &Limits) -> bool {
    model.compute() <= limits.get(Constraint::Compute) * (1.0 + ROUNDED)
}

/// The number of a model that a bound limits; for a bound on the sparsity, the density.
fn value(model: &Model, constraint: Constraint) -> f64 {
    match constraint {
        Constraint::Compute => model.compute(),
        Constraint::TargetLoss => model.loss,
        Constraint::MemoryBytes => model.memory_bytes(),
        Constraint::NonzeroParamsMin | Constraint::NonzeroParamsMax => model.nonzero_params,
        Constraint::TotalParamsMin | Constraint::TotalParamsMax => model.total_params(),
        Constraint::SparsityMin | Constraint::SparsityMax => model.scheme.density.get(),
        Constraint::DataMin | Constraint::DataMax => model.data,
    }
}

/// The bounds on sizes and data that hold with equality for a model, one bit for each.
fn held(model: &Model, limits: &Limits) -> u32 {
    let of_sizes = Constraint::ALL.into_iter().filter(|constraint| {
        !matches!(
            constraint,
            Constraint::Compute
                | Constraint::TargetLoss
                | Constraint::SparsityMin
                | Constraint::SparsityMax
        )
    });
    of_sizes.enumerate().fold(0, |set, (bit, constraint)| {
        let is_held = (value(model, constraint) / limits.get(constraint) - 1.0).abs() <= HELD;
        set | u32::from(is_held) << bit
    })
}

#[cfg(test)]
mod tests;
