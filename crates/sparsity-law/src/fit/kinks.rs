//! Long steps ("leaps") across the kinks of the Huber loss, for fits to few runs.
//!
//! Where delta is smaller than the residuals, the objective is nearly a sum of absolute values, and a quadratic
//! model of it holds only until the residual of the next run passes delta. [`super::newton`] alone then takes
//! about two hundred evaluations. Here the model keeps the Huber loss and only makes the residuals linear:
//! ```text
//! m(p) = sum_i w_i Huber(r_i + J_i p) + p^T (B + lambda diag|H|) p / 2,   B = H - J^T W J over |r_i| <= 1
//! ```
//!
//! where `B` is what the curvature of the law adds to the Hessian `H`. The model is minimised by Newton's method
//! with a search along each step (Madsen and Nielsen 1990, *Finite algorithms for robust linear regression*),
//! which needs no powers and no logarithms. A step is taken where the objective falls by about as much as the
//! model predicted; a handful of steps is enough. The result is a point that is no worse than the start. At the
//! last delta [`super::newton`] continues from there: only it decides that a descent has converged.
//!
//! Steps are relative changes of the coefficients, not changes of their logarithms, because the law is linear in
//! the amplitudes: in these coordinates the valley in which a data term and the constant compensate for each other
//! is straighter. A correction step of the amplitudes alone makes up for the remaining curvature.

use super::linearised::Linear;
use super::normalised::{BOUNDS, COUNT, Point, at};
use super::objective::{Evaluation, Gradient, Hessian, Objective, solve};
use super::parameters::Parameters;

/// Largest number of runs for which leaps pay off: with more, the kinks are so dense that a quadratic model is good.
pub(super) const MOST_RUNS: usize = 512;
/// Largest number of evaluations; most descents need ten.
const LEAPS: u32 = 100;
/// Largest number of Newton steps to minimise a model.
const STEPS: usize = 40;
/// Damping of the first leap.
const FIRST_DAMPING: f64 = 1e-3;
/// Damping above which leaps are given up.
const MOST_DAMPING: f64 = 1e4;
/// Divisor of the damping where the objective falls by nearly what the model predicted.
const CERTAIN: f64 = 30.0;
/// Divisor of the damping where the objective falls by most of what the model predicted.
const EASING: f64 = 4.0;
/// Factor of the damping where the objective falls by much less than the model predicted.
const TIGHTENING: f64 = 5.0;
/// Predicted improvements below this share of the value are left to Newton's method: they are close to rounding.
const LEAST_TOLERANCE: f64 = 1e-11;
/// The largest relative increase and decrease of a coefficient in one leap.
const LONGEST_RISE: f64 = 10.0;
const LONGEST_FALL: f64 = -0.99;
/// Share of the predicted improvement below which a leap is followed by a correction of the amplitudes.
const KEPT: f64 = 0.9;
/// Indices of the amplitudes, in which the law is linear.
const AMPLITUDES: [usize; 4] = [at::A, at::CS, at::E, at::C];
/// Share of the predicted improvement that the minimisation of a model may leave out.
const LEFT: f64 = 1e-2;

/// Where the leaps ended.
pub(super) struct Approach {
    pub point: Point,
    /// The objective and its derivatives at the point.
    pub evaluation: Evaluation,
    pub evaluations: u32,
    /// Whether the last leap promised an improvement below the tolerance.
    pub settled: bool,
}

/// Leaps from `start` until a leap promises less than the tolerance, relative to the value, or would leave the box,
/// or until the limit of evaluations or of the damping is reached. Delta and tolerance belong together, so they are
/// one argument. Returns `None` where leaps do not pay off or do not apply: with many runs, with a small budget,
/// where coordinates depend on others, and where the start is not inside the box.
pub(super) fn approach(
    objective: &Objective<'_>,
    parameters: &Parameters,
    (delta, tolerance): (f64, f64),
    start: &Point,
    budget: u32,
    should_stop: &(dyn Fn() -> bool + Sync),
) -> Option<Approach> {
    if objective.count() > MOST_RUNS || !parameters.are_independent() || budget < LEAPS {
        return None;
    }
    let tolerance = tolerance.max(LEAST_TOLERANCE);
    let free: [bool; COUNT] = std::array::from_fn(|place| parameters.is_free(place));
    let evaluate = |point: &Point| {
        let mut evaluation = objective.evaluate(point, delta);
        parameters.restrict(point, &mut evaluation);
        evaluation
    };
    let is_inside = |point: &Point| {
        let within =
            |place: usize| BOUNDS[place].0 < point[place] && point[place] < BOUNDS[place].1;
        (0..COUNT).all(|place| !free[place] || within(place))
    };
    // Leaps stay inside the box; this also rejects NaN.
    if !is_inside(start) {
        return None;
    }
    let mut linear = objective.linear();
    let mut model = |at: &Point, here: &Evaluation, moves: &[bool; COUNT], damping: f64| {
        objective.linearise(at, delta, &mut linear);
        let mut hessian = here.hessian;
        for place in 0..COUNT {
            // Second derivatives by relative changes of the coefficients, not by their logarithms.
            hessian[(place, place)] -= here.gradient[place];
        }
        let mut here = Evaluation { hessian, ..*here };
        for place in (0..COUNT).filter(|place| !moves[*place]) {
            linear.hold(place);
            here.hold(place);
        }
        minimise(&mut linear, &here, damping, tolerance)
    };
    let mut found =
        Approach { point: *start, evaluation: evaluate(start), evaluations: 1, settled: false };
    let mut damping = FIRST_DAMPING;
    while found.evaluations < LEAPS && damping <= MOST_DAMPING && !should_stop() {
        let here = &found.evaluation;
        let Some((leap, promise)) = model(&found.point, here, &free, damping) else {
            damping *= TIGHTENING;
            continue;
        };
        if promise <= tolerance * here.value {
            found.settled = true;
            break;
        }
        // A share of a leap promises at least that share of the improvement.
        let (rise, fall) = (leap.max().max(LONGEST_RISE), leap.min().min(LONGEST_FALL));
        let share = (LONGEST_RISE / rise).min(LONGEST_FALL / fall);
        let (leap, promise) = (leap * share, promise * share);
        let mut trial = moved(&found.point, &leap);
        if !is_inside(&trial) {
            break;
        }
        let mut there = evaluate(&trial);
        found.evaluations += 1;
        if here.value - there.value < KEPT * promise {
            // The law bends along a leap. The amplitudes, in which it is linear, can make up for most of that.
            let moves = std::array::from_fn(|place| free[place] && AMPLITUDES.contains(&place));
            let correction = model(&trial, &there, &moves, 0.0);
            let corrected = correction
                .filter(|(by, _)| by.max() < LONGEST_RISE && by.min() > LONGEST_FALL)
                .map(|(by, _)| moved(&trial, &by))
                .filter(is_inside);
            if let Some(corrected) = corrected {
                let again = evaluate(&corrected);
                found.evaluations += 1;
                if again.value < there.value {
                    (trial, there) = (corrected, again);
                }
            }
        }
        let quality = (here.value - there.value) / promise;
        if (quality - 1.0).abs() < 0.1 {
            damping /= CERTAIN;
        } else if quality > 0.75 {
            damping /= EASING;
        } else if quality <= 0.25 || quality.is_nan() {
            damping *= TIGHTENING;
        }
        if there.value < here.value {
            (found.point, found.evaluation) = (trial, there);
        }
    }
    Some(found)
}

/// The point after a leap that changes each coefficient by the given share.
fn moved(point: &Point, leap: &Gradient) -> Point {
    std::array::from_fn(|place| point[place] + leap[place].ln_1p())
}

/// Minimises a model. Returns the leap to the minimum and by how much it is below the start; `None` where the
/// Hessian of the model is not positive definite.
fn minimise(
    linear: &mut Linear,
    here: &Evaluation,
    damping: f64,
    tolerance: f64,
) -> Option<(Gradient, f64)> {
    let (mut gradient, mut bent) = linear.normal_equations();
    let mut rest: Hessian = here.hessian - bent;
    for i in 0..COUNT {
        rest[(i, i)] += damping * here.hessian[(i, i)].abs().max(f64::MIN_POSITIVE);
    }
    let mut leap = Gradient::zeros();
    let mut promise = 0.0;
    for _ in 0..STEPS {
        let pull = rest * leap;
        let slope = gradient + pull;
        let step = -solve(&(bent + rest), &slope)?;
        let expected = -0.5 * slope.dot(&step);
        if expected <= LEFT * tolerance * here.value || expected <= LEFT * LEFT * promise {
            break;
        }
        linear.look_along(&step);
        let quadratic = 0.5 * leap.dot(&pull);
        let (linear_part, square_part) = (pull.dot(&step), step.dot(&(rest * step)));
        // Value and slope of the model along the step.
        let mut model = |share: f64| {
            let (value, slope) = linear.at_share(share);
            let more = share * (linear_part + 0.5 * share * square_part);
            (value + more, slope + linear_part + share * square_part)
        };
        let (share, end) = along(&mut model, slope.dot(&step))?;
        linear.advance(share);
        leap += step * share;
        promise = here.value - (end + quadratic);
        (gradient, bent) = linear.normal_equations();
    }
    Some((leap, promise))
}

/// Finds about where a function with the slope `falling` (negative) at 0 is least; returns that position and its
/// value.
fn along(model: &mut impl FnMut(f64) -> (f64, f64), falling: f64) -> Option<(f64, f64)> {
    let flat = 0.3 * falling.abs();
    let (mut low, mut low_slope) = (0.0, falling);
    let (mut high, (mut value, mut high_slope)) = (1.0, model(1.0));
    // The Huber loss may go on falling beyond the full step, as more residuals pass delta.
    for _ in 0..6 {
        if high_slope >= -flat {
            break;
        }
        (low, low_slope) = (high, high_slope);
        high *= 2.0;
        (value, high_slope) = model(high);
    }
    if high_slope.abs() <= flat {
        return Some((high, value));
    }
    for _ in 0..12 {
        let middle = low + (high - low) * (low_slope / (low_slope - high_slope)).clamp(0.1, 0.9);
        let (there, slope) = model(middle);
        if slope.abs() <= flat {
            return Some((middle, there));
        }
        if slope < 0.0 {
            (low, low_slope) = (middle, slope);
        } else {
            (high, high_slope) = (middle, slope);
        }
        value = there;
        if high - low < 1e-6 * high {
            return Some((middle, there));
        }
    }
    value.is_finite().then_some((0.5 * (low + high), model(0.5 * (low + high)).0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::fit::bootstrap::draw;
    use crate::fit::descent::{Descent, Precision, Termination, descend, newton, polish};
    use crate::fit::newton::{DampedNewton, DescentTarget};
    use crate::fit::normalised::Normalised;
    use crate::fit::starts::{Stream, generator, start_point};
    use crate::fit::{Observation, Observations, Residual, testing};
    use crate::law::{Loss, T5_C4, VIT_JFT};

    const GO_ON: &(dyn Fn() -> bool + Sync) = &|| false;

    /// Sets of runs of many kinds: exact and noisy, with outliers, few, of two levels, along one line.
    fn sets() -> Vec<(&'static str, Vec<Observation>)> {
        let mut sets = Vec::new();
        for (law, seed) in [(T5_C4.coefficients(), 1), (VIT_JFT.coefficients(), 2)] {
            let grid = testing::grid(law, 0.005, seed);
            let mut far = grid.clone();
            for run in far.iter_mut().step_by(9) {
                run.loss = Loss::new(run.loss.get() * 1.3).unwrap();
            }
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut few = grid.clone();
            few.retain(|_| rng.random_bool(0.3));
            let two = |run: &Observation| run.sparsity.get() <= 0.5;
            let line = |run: &Observation| {
                let ratio = run.data.get() / run.nonzero_params.get();
                (900.0..1100.0).contains(&ratio) || run.sparsity.get() == 0.75
            };
            sets.push(("exact", testing::grid(law, 0.0, seed)));
            sets.push(("two levels", grid.iter().copied().filter(two).collect()));
            sets.push(("line", grid.iter().copied().filter(line).collect()));
            sets.push(("noise", grid));
            sets.push(("far", far));
            sets.push(("few", few));
        }
        sets
    }

    /// Values that differ by less than this share belong to the same minimum.
    const SAME_VALUE: f64 = 1e-6;
    /// Values below this are exact to rounding.
    const EXACT: f64 = 1e-12;

    #[test]
    fn descents_with_leaps_end_where_those_without_do_or_lower() {
        let (mut cases, mut higher, mut lower) = (0, 0, 0);
        for (name, runs) in sets() {
            let runs = Observations::new(runs);
            let units = Normalised::new(&runs);
            let parameters = Parameters::new(runs.form(), &BTreeMap::new(), &units);
            for residual in [Residual::Log, Residual::Linear] {
                for delta in [3e-4, 1e-3, 1e-2] {
                    let all = Objective::new(&units, runs.weights(), residual, delta);
                    let best = (0..4).map(|start| {
                        let start = start_point(&all, &mut generator(1, Stream::Start(start)));
                        descend(&all, &parameters, &start, Precision::Full, GO_ON)
                    });
                    let best = best.min_by(|a, b| a.value.total_cmp(&b.value)).unwrap();
                    for resample in 0..6 {
                        let mut rng = generator(2, Stream::Resample(resample));
                        let objective = all.reweighted(&draw(&mut rng, &runs));
                        let enough = Precision::Enough;
                        let fast = polish(&objective, &parameters, &best.point, enough, GO_ON);
                        let mut slow = Descent::from(&best.point, &parameters);
                        let target = DescentTarget {
                            objective: &objective,
                            parameters: &parameters,
                            delta: objective.delta,
                            tolerance: 1e-9,
                        };
                        newton(target, DampedNewton::new(GO_ON), &mut slow);
                        let value = objective.value(&fast.point);
                        assert!((fast.value - value).abs() <= 1e-9 * value.max(EXACT), "{name}");
                        if slow.termination != Termination::Budget {
                            assert_ne!(fast.termination, Termination::Budget, "{name}");
                        }
                        cases += 1;
                        let above = |a: f64, b: f64| a > b * (1.0 + SAME_VALUE) + EXACT;
                        higher += u32::from(above(fast.value, slow.value));
                        lower += u32::from(above(slow.value, fast.value));
                    }
                }
            }
        }
        // Where there are several minima the two may end at different ones, but leaps must not be worse on the whole.
        assert!(
            higher <= lower && higher * 50 <= cases,
            "{higher} higher, {lower} lower of {cases}"
        );
    }

    #[test]
    fn a_model_is_least_where_its_gradient_vanishes() {
        let runs = Observations::new(testing::grid(T5_C4.coefficients(), 0.005, 3));
        let units = Normalised::new(&runs);
        let objective = Objective::new(&units, runs.weights(), Residual::Log, 1e-3);
        let point = units.point(T5_C4.coefficients());
        let here = objective.evaluate(&point, objective.delta);
        let mut linear = objective.linear();
        objective.linearise(&point, objective.delta, &mut linear);
        let (gradient, bent) = linear.normal_equations();
        // At the point itself the model equals the objective.
        assert!((gradient - here.gradient).amax() < 1e-9 * here.gradient.amax());
        let (leap, promise) = minimise(&mut linear, &here, 1.0, 1e-12).unwrap();
        let mut rest: Hessian = here.hessian - bent;
        for i in 0..COUNT {
            rest[(i, i)] += here.hessian[(i, i)].abs();
        }
        let end = linear.normal_equations().0 + rest * leap;
        assert!(promise > 0.0);
        assert!(end.amax() < 1e-2 * gradient.amax(), "{end} {gradient}");
    }
}
