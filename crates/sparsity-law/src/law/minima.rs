//! The best models along a line of sparsities, which are placed by `y = -ln(1 - S)`.
//!
//! A model is known at each node of a grid. Minima lie about nodes that are as good as their neighbours, at the ends
//! of the stretches that have models at all, and where another bound begins to hold: all of these are looked at.

use std::ops::Range;

use argmin::core::{CostFunction, Error, Executor, State};
use argmin::solver::brent::BrentOpt;

use super::scheme::{Model, SparsityScheme};
use crate::pace::step;

/// Precision of `y` at the best sparsity. Where the loss is smooth, it is precise to the square of this. It is not
/// smooth where two bounds meet, and a cost may be a thousand times as steep as the loss.
pub(super) const PRECISION: f64 = 1e-12;
/// Relative improvement below which a plan does not count as better: it is the rounding of a sum of two terms.
const ROUNDING: f64 = 4.0 * f64::EPSILON;
/// Relative difference of the goal below which two nodes count as equal. Where two bounds meet, rounding lets a plan
/// exceed them by 1e-12; close to such an edge the goal therefore seems to rise a little before it falls to a minimum.
const LEVEL: f64 = 1e-10;

/// The last point on the way from `inside` to `outside` at which a condition holds. It must hold at `inside` and not at
/// `outside`.
pub(super) fn edge(mut inside: f64, mut outside: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..100 {
        let middle = 0.5 * (inside + outside);
        if middle == inside || middle == outside {
            break;
        }
        if holds(middle) { inside = middle } else { outside = middle }
    }
    inside
}

/// A sparsity as `y`, with its best model where there is one.
pub(super) type Node = (f64, Option<Model>);

pub(super) fn evaluate(
    nodes: &[(f64, SparsityScheme)],
    best: impl Fn(&SparsityScheme) -> Option<Model>,
) -> Vec<Node> {
    nodes
        .iter()
        .map(|(y, scheme)| {
            step();
            (*y, best(scheme))
        })
        .collect()
}

/// The ranges of nodes without a model, each with the neighbours on both sides.
pub(super) fn gaps(nodes: &[Node]) -> Vec<Range<usize>> {
    let mut gaps: Vec<Range<usize>> = Vec::new();
    for (i, _) in nodes.iter().enumerate().filter(|(_, (_, model))| model.is_none()) {
        let end = (i + 2).min(nodes.len());
        match gaps.last_mut() {
            Some(gap) if gap.end == i + 1 => gap.end = end,
            _ => gaps.push(i.saturating_sub(1)..end),
        }
    }
    gaps
}

/// The best of several models; of equal ones the first, which is the densest where nodes are in rising order.
pub(super) fn least(models: Vec<Model>) -> Option<Model> {
    models.into_iter().reduce(|least, model| {
        let better = model.badness < least.badness - ROUNDING * least.badness.abs();
        if better { model } else { least }
    })
}

/// The best models around each node that is as good as its neighbours, in rising order of sparsity.
pub(super) fn minima(
    nodes: &[Node],
    scheme: impl Fn(f64) -> SparsityScheme,
    best: impl Fn(&SparsityScheme) -> Option<Model>,
    held: impl Fn(&Model) -> u32,
) -> Vec<Model> {
    let at = |y: f64| {
        step();
        best(&scheme(y))
    };
    let mut found = nodes.to_vec();
    // Between a node with plans and one without, add the last sparsity that has plans as a node.
    let edges: Vec<Node> = found
        .windows(2)
        .filter_map(|pair| {
            let (inside, outside) = match (&pair[0], &pair[1]) {
                ((a, Some(_)), (b, None)) => (*a, *b),
                ((a, None), (b, Some(_))) => (*b, *a),
                _ => return None,
            };
            let y = edge(inside, outside, |y| at(y).is_some());
            Some((y, at(y)))
        })
        .collect();
    found.extend(edges);
    found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    // The loss has a kink where another bound begins to hold with equality. The kink may be the best point of all and
    // lie between two nodes that do not show it, so it becomes a node too.
    let kinks: Vec<Node> = found
        .windows(2)
        .filter_map(|pair| {
            let ((a, Some(before)), (b, Some(after))) = (&pair[0], &pair[1]) else { return None };
            let set = held(before);
            if set == held(after) || b - a <= PRECISION {
                return None;
            }
            let y = edge(*a, *b, |y| at(y).is_some_and(|model| held(&model) == set));
            Some((y, at(y)))
        })
        .collect();
    found.extend(kinks);
    found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let badness = |i: usize| found.get(i)?.1.map(|model| model.badness);
    let mut minima = Vec::new();
    for (i, (y, model)) in found.iter().enumerate() {
        let Some(model) = model else { continue };
        let before = i.checked_sub(1).and_then(badness);
        let after = badness(i + 1);
        let least_here = model.badness - LEVEL * model.badness.abs();
        let no_better = |other: Option<f64>| other.is_none_or(|other| least_here <= other);
        if no_better(before) && no_better(after) {
            minima.push(*model);
            let low = before.map_or(*y, |_| found[i - 1].0);
            let high = after.map_or(*y, |_| found[i + 1].0);
            minima.extend(refine(low, high, &at));
        }
    }
    minima
}

/// The best model between two sparsities that have models, by Brent's method.
fn refine(low: f64, high: f64, at: &impl Fn(f64) -> Option<Model>) -> Option<Model> {
    if high - low <= PRECISION {
        return None;
    }
    let y =
        Executor::new(Between(at), BrentOpt::new(low, high).set_tolerance(PRECISION, PRECISION))
            .configure(|state| state.max_iters(100))
            .timer(false)
            .run()
            .ok()?
            .state()
            .get_best_param()
            .copied()?;
    at(y)
}

struct Between<'a, F>(&'a F);

impl<F: Fn(f64) -> Option<Model>> CostFunction for Between<'_, F> {
    type Param = f64;
    type Output = f64;

    fn cost(&self, y: &f64) -> Result<f64, Error> {
        // Brent's parabolas need a finite number, above the goal of every model.
        Ok((self.0)(*y).map_or(1e100, |model| model.badness))
    }
}
