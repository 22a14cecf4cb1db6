//! The best model for a budget, under bounds.
//!
//! At one sparsity the best size and amount of data are known ([`super::scheme`]), so only the
//! sparsity is sought: over a grid in `y = -ln(1 - S)` ([`super::means`]) with every kink of the cost and
//! of the storage among its nodes, then by Brent's method around each node that is as good as its neighbours. The
//! sparsities that the bounds on sizes leave are one interval, whose ends are nodes too. Two minima
//! within one cell of the grid (0.05) are taken for one.

use super::any_law::AnyLaw;
use super::limits::{Constraint, Limits};
use super::means::{Means, ZeroPlacement};
use super::minima::{PRECISION, edge, evaluate, gaps, least, minima};
use super::quantity::Density;
use super::repetition::Repetition;
use super::scheme::{Goal, Model, SparsityScheme, Task};
use super::support::Range as Costs;

/// Plans by a law.
#[derive(Debug, Clone, Copy)]
pub struct Planner<'a> {
    /// The law.
    pub law: AnyLaw<'a>,
    /// The ways to be sparse, and what each costs.
    pub means: &'a Means,
    /// Tokens that the model will serve in its life.
    pub inference_tokens: f64,
    /// How much of the data is different; `None` where all of it is.
    pub repetition: Option<Repetition>,
}

/// A bound that is in the way of every plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Obstacle {
    /// The bound.
    pub constraint: Constraint,
    /// The tightest number with which there are plans, the other bounds kept; of a sparsity the
    /// density. `None` where this bound alone is not what is in the way.
    pub needed: Option<f64>,
}

/// A plan may exceed the cost that is allowed by this share, for rounding.
const ROUNDED: f64 = 1e-12;
/// A bound holds with equality where a model is this close to it, as a share.
const EQUAL: f64 = 1e-6;
/// The same where it is looked for the place at which it begins to.
const HELD: f64 = 1e-10;
/// A relaxed bound must better the goal by this to be called binding; the precision of a plan is
/// finer.
const BETTER: f64 = 1e-9;

impl Planner<'_> {
    /// The best plan; `None` where the bounds leave none.
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
            // The ends themselves, and not what the logarithm makes of them.
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
        // What the bounds on cost or loss leave may also lie between two nodes that have no plan: look
        // there where these bounds are easiest to keep.
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

    /// The ends in `y` of the sparsities that the bounds on sizes leave. At the lower end the fewest
    /// total parameters are too many non-zero ones or take too much memory, at the upper end the
    /// fewest non-zero ones come with too many zeros.
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
        // Each is the inside end of an edge, so they may pass each other by its rounding.
        (first <= last + PRECISION).then(|| (first.min(last), last))
    }

    /// The bounds that hold with equality at the best plan, and would make way for a better one if
    /// they were moved by 1 %. The cost of the least loss and the loss of the least cost are the
    /// question and not among them.
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

    /// What is in the way where the bounds leave no plan: each bound that alone could make way, with
    /// how far it would have to, or else a smallest set that cannot be kept together.
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
        // Let go of every bound without which there is still no plan; those that are left are all
        // needed for there to be none.
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

    /// The trade-off between cost and loss around a plan: the least loss at costs in a geometric
    /// series between two costs about that of the plan, as far as the bounds leave plans at all. The plan is one of them; a plan that costs more and is no better is left out, so costs
    /// rise and losses fall.
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

/// Only the least cost may be more than is allowed.
fn keeps_compute(model: &Model, limits: &Limits) -> bool {
    model.compute() <= limits.get(Constraint::Compute) * (1.0 + ROUNDED)
}

/// The number of a model that a bound limits; for a bound on the sparsity the density.
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

/// The bounds on sizes and data that a model holds with equality, a bit each.
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
