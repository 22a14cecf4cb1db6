//! A descent from one point: delta is reduced in stages, each minimised by [`DampedNewton`] under argmin's executor.

use argmin::core::{Executor, State, TerminationReason, TerminationStatus};
use serde::{Deserialize, Serialize};

use super::kinks::{MOST_RUNS, approach};
use super::newton::{DampedNewton, DescentTarget};
use super::normalised::Point;
use super::objective::Objective;
use super::parameters::Parameters;

named! {
    /// Why a descent ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Termination {
        /// No step promises an improvement beyond rounding.
        Converged = "converged",
        /// A step promised to go down, but no step that is long enough to change the point does: a minimum at the
        /// limit of rounding.
        #[serde(alias = "line_search")]
        Stalled = "stalled",
        /// The evaluation budget was spent.
        Budget = "budget",
        /// The fit was cancelled.
        Stopped = "stopped",
    }
}

/// Result of one descent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descent {
    pub point: Point,
    /// Scaled objective at `point`.
    pub value: f64,
    pub termination: Termination,
    pub evaluations: u32,
}

impl Descent {
    /// A descent that has not made a step yet.
    pub fn from(start: &Point, parameters: &Parameters) -> Self {
        Self {
            point: parameters.complete(start),
            value: f64::INFINITY,
            termination: Termination::Budget,
            evaluations: 0,
        }
    }
}

/// Largest number of evaluations of a descent; about eighty are usual.
const BUDGET: u32 = 2_000;

/// Precision of the last stage of a descent, as the improvement, relative to the value, that a step must promise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Precision {
    /// Limited only by rounding: for the law itself.
    Full,
    /// To a billionth of the objective: for resamples and for profiles, whose laws differ from the law by far more.
    Enough,
}

impl Precision {
    const fn tolerance(self) -> f64 {
        match self {
            Self::Full => 1e-14,
            Self::Enough => 1e-9,
        }
    }
}

/// Relative improvement at which a stage before the last one ends. The next stage starts elsewhere anyway, but
/// needs to know which runs lie off the law: after a stage that ends at 3e-3, the next one may creep along the
/// kinks of a delta far below the residuals until its budget is spent.
const ROUGH: f64 = 1e-4;

/// Factor between the deltas of successive stages.
const SHARPENING: f64 = 0.3;

/// Descends from `start`; coordinates that are not free are first set to their values.
///
/// With a delta far below the residuals, the objective is close to a sum of absolute values, whose kinks hold up a
/// descent. So the first stage uses the median residual as delta, which is close to least squares, and each
/// further stage at most 0.3 times the previous delta, until the configured delta is reached. A start near its
/// minimum does not need stages: see [`polish`].
pub(super) fn descend(
    objective: &Objective<'_>,
    parameters: &Parameters,
    start: &Point,
    precision: Precision,
    should_stop: &(dyn Fn() -> bool + Sync),
) -> Descent {
    let mut descent = Descent::from(start, parameters);
    let mut delta = f64::INFINITY;
    while delta > objective.delta {
        let median = median_residual(objective, &descent.point);
        delta = objective.delta.max(median.min(delta * SHARPENING));
        stage(objective, parameters, (delta, false), precision, &mut descent, should_stop);
        if matches!(descent.termination, Termination::Budget | Termination::Stopped) {
            break;
        }
    }
    if delta > objective.delta {
        descent.value = objective.value(&descent.point);
    }
    descent
}

/// Descends in a single stage, for starts that are near a minimum.
pub(super) fn polish(
    objective: &Objective<'_>,
    parameters: &Parameters,
    start: &Point,
    precision: Precision,
    should_stop: &(dyn Fn() -> bool + Sync),
) -> Descent {
    let mut descent = Descent::from(start, parameters);
    stage(objective, parameters, (objective.delta, true), precision, &mut descent, should_stop);
    descent
}

fn stage(
    objective: &Objective<'_>,
    parameters: &Parameters,
    (delta, near): (f64, bool),
    precision: Precision,
    descent: &mut Descent,
    should_stop: &(dyn Fn() -> bool + Sync),
) {
    let tolerance = if delta > objective.delta { ROUGH } else { precision.tolerance() };
    let (from, budget) = (descent.point, BUDGET.saturating_sub(descent.evaluations));
    let leaps = approach(objective, parameters, (delta, tolerance), &from, budget, should_stop);
    let mut method = DampedNewton::new(should_stop);
    if near && objective.count() > MOST_RUNS {
        method.begins_near();
    }
    if let Some(leaps) = leaps {
        descent.point = leaps.point;
        descent.value = leaps.evaluation.value;
        descent.evaluations += leaps.evaluations;
        // A stage before the last need not be more precise.
        if leaps.settled && delta > objective.delta {
            descent.termination = Termination::Converged;
            return;
        }
        method.begins_at(leaps.evaluation);
    }
    newton(DescentTarget { objective, parameters, delta, tolerance }, method, descent);
}

/// Continues a descent by Newton steps from its point.
pub(super) fn newton(target: DescentTarget<'_>, method: DampedNewton<'_>, descent: &mut Descent) {
    let budget = u64::from(BUDGET.saturating_sub(descent.evaluations));
    let outcome = Executor::new(target, method)
        .configure(|state| state.param(descent.point).max_iters(budget))
        .timer(false)
        .run();
    // The problem never fails; if it did, the descent would keep its point.
    let Ok(result) = outcome else {
        descent.termination = Termination::Stalled;
        return;
    };
    let state = result.state();
    descent.evaluations += u32::try_from(state.get_iter()).unwrap_or(BUDGET) + 1;
    if let Some(point) = state.get_param() {
        descent.point = *point;
        descent.value = state.get_cost();
    }
    // argmin's `Ok` says nothing about convergence; the termination reason does.
    descent.termination = match state.get_termination_status() {
        TerminationStatus::Terminated(TerminationReason::SolverConverged) => Termination::Converged,
        TerminationStatus::Terminated(TerminationReason::SolverExit(_)) => Termination::Stalled,
        TerminationStatus::Terminated(TerminationReason::Interrupt) => Termination::Stopped,
        _ => Termination::Budget,
    };
}

/// Median of the absolute residuals of the runs with a positive weight.
fn median_residual(objective: &Objective<'_>, point: &Point) -> f64 {
    let mut residuals = objective.absolute_residuals(point);
    let middle = residuals.len() / 2;
    let (_, median, _) = residuals.select_nth_unstable_by(middle, f64::total_cmp);
    *median
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU32, Ordering};

    use nalgebra::Cholesky;

    use super::*;
    use crate::fit::normalised::{BOUNDS, COUNT, Normalised};
    use crate::fit::starts::{Stream, generator, start_point};
    use crate::fit::{Observations, Residual, testing};
    use crate::law::T5_C4;

    /// Runs whose losses scatter by `noise`, every ninth of them far off.
    fn runs(noise: f64) -> Observations {
        let mut runs = testing::grid(T5_C4.coefficients(), noise, 5);
        for run in runs.iter_mut().step_by(9) {
            run.loss = crate::law::Loss::new(run.loss.get() * 1.3).unwrap();
        }
        Observations::new(runs)
    }

    /// Calls `test` with objectives from smooth to nearly a sum of absolute values, and with starts.
    fn everywhere(test: impl Fn(&Objective<'_>, &Parameters, &Point)) {
        for noise in [0.0, 0.005, 0.05] {
            let runs = runs(noise);
            let normalised = Normalised::new(&runs);
            let parameters = Parameters::new(runs.form(), &BTreeMap::new(), &normalised);
            for residual in [Residual::Log, Residual::Linear] {
                for delta in [1e-5, 1e-3, 10.0] {
                    let objective = Objective::new(&normalised, runs.weights(), residual, delta);
                    for start in 0..4 {
                        let mut rng = generator(1, Stream::Start(start));
                        test(&objective, &parameters, &start_point(&objective, &mut rng));
                    }
                }
            }
        }
    }

    const GO_ON: &(dyn Fn() -> bool + Sync) = &|| false;

    /// Result of one stage at the configured delta that may spend `budget` evaluations.
    fn within(
        budget: u32,
        objective: &Objective<'_>,
        parameters: &Parameters,
        start: &Point,
    ) -> Descent {
        let mut descent = Descent {
            point: parameters.complete(start),
            value: f64::INFINITY,
            termination: Termination::Budget,
            evaluations: BUDGET - budget,
        };
        stage(
            objective,
            parameters,
            (objective.delta, false),
            Precision::Full,
            &mut descent,
            GO_ON,
        );
        descent
    }

    /// Improvement, relative to the value, that a step promises with the least damping that makes the matrix
    /// positive definite.
    fn promise(objective: &Objective<'_>, descent: &Descent) -> f64 {
        let mut here = objective.evaluate(&descent.point, objective.delta);
        for (place, (low, high)) in BOUNDS.into_iter().enumerate() {
            if descent.point[place] <= low || descent.point[place] >= high {
                here.hold(place);
            }
        }
        let mut damping = 1e-10;
        loop {
            let mut damped = here.hessian;
            for i in 0..COUNT {
                damped[(i, i)] += damping * here.hessian[(i, i)].abs().max(1e-300);
            }
            if let Some(factors) = Cholesky::new(damped) {
                return 0.5 * here.gradient.dot(&factors.solve(&here.gradient)) / here.value;
            }
            damping *= 10.0;
        }
    }

    /// Promise that still counts as none. A kink of the Huber loss may change the Hessian between the last step
    /// and the end, so the end may promise more than the step that was rejected.
    const NOTHING: f64 = 1e-9;
    /// Values below this are exact to rounding.
    const EXACT: f64 = 1e-20;

    #[test]
    fn a_descent_is_called_converged_only_where_no_newton_step_promises_anything() {
        everywhere(|objective, parameters, start| {
            let descent = descend(objective, parameters, start, Precision::Full, GO_ON);
            if descent.termination == Termination::Converged && descent.value > EXACT {
                let promise = promise(objective, &descent);
                assert!(promise < NOTHING, "{promise:e} {descent:?}");
            }
        });
    }

    #[test]
    fn an_exhausted_budget_is_no_convergence() {
        everywhere(|objective, parameters, start| {
            // No start is within two steps of its minimum.
            let descent = within(2, objective, parameters, start);
            assert_eq!(descent.termination, Termination::Budget);
            assert!(descent.evaluations <= BUDGET + 1);
        });
    }

    #[test]
    fn a_descent_told_to_stop_says_so() {
        everywhere(|objective, parameters, start| {
            for allowed in [0, 3] {
                let polled = AtomicU32::new(0);
                let should_stop = || polled.fetch_add(1, Ordering::Relaxed) >= allowed;
                for method in [descend, polish] {
                    polled.store(0, Ordering::Relaxed);
                    let descent =
                        method(objective, parameters, start, Precision::Full, &should_stop);
                    assert_eq!(descent.termination, Termination::Stopped);
                }
            }
        });
    }

    #[test]
    fn the_value_never_rises_and_is_that_of_the_point() {
        everywhere(|objective, parameters, start| {
            let mut before = f64::INFINITY;
            for budget in 1..40 {
                let Descent { value, point, .. } = within(budget, objective, parameters, start);
                assert!(value <= before, "{budget}: {value:e} {before:e}");
                // Both sum in the same order, but with different operations.
                assert!((value - objective.value(&point)).abs() <= 1e-12 * value);
                before = value;
            }
            let descent = descend(objective, parameters, start, Precision::Full, GO_ON);
            let value = objective.value(&descent.point);
            assert!((descent.value - value).abs() <= 1e-12 * value);
        });
    }

    #[test]
    fn a_start_that_is_no_number_ends_and_is_not_called_converged() {
        everywhere(|objective, parameters, start| {
            for place in 0..COUNT {
                for wild in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    let mut start = *start;
                    start[place] = wild;
                    for method in [descend, polish] {
                        let descent = method(objective, parameters, &start, Precision::Full, GO_ON);
                        assert!(descent.evaluations <= BUDGET + 1);
                        if wild.is_nan() {
                            assert_ne!(descent.termination, Termination::Converged);
                        } else {
                            // An infinite coordinate is clamped to the box.
                            assert!(descent.value.is_finite());
                        }
                    }
                }
            }
        });
    }
}
