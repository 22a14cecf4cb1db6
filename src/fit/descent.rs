//! One descent from one point: the Huber loss is sharpened in stages, each minimised by
//! [`DampedNewton`] under argmin's executor.

use argmin::core::{Executor, State, TerminationReason, TerminationStatus};
use serde::{Deserialize, Serialize};

use super::newton::{DampedNewton, Target};
use super::normalised::Point;
use super::objective::Objective;
use super::parameters::Parameters;

/// Why a descent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Termination {
    /// No step promises an improvement beyond rounding.
    Converged,
    /// No step that is long enough to change the point goes down, although one promised to: a
    /// minimum at the limit of rounding.
    #[serde(alias = "line_search")]
    Stalled,
    /// The evaluation budget was spent.
    Budget,
    /// The fit was cancelled.
    Stopped,
}

impl Termination {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Stalled => "stalled",
            Self::Budget => "budget",
            Self::Stopped => "stopped",
        }
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
    /// Before the first step.
    fn from(start: &Point, parameters: &Parameters) -> Self {
        Self {
            point: parameters.complete(start),
            value: f64::INFINITY,
            termination: Termination::Budget,
            evaluations: 0,
        }
    }
}

/// Evaluations that one descent may spend; it takes some thirty.
const BUDGET: u32 = 2_000;

/// Relative improvement at which the last stage has converged.
const FINE: f64 = 1e-14;
/// Relative improvement at which a stage before it has: the next one starts elsewhere anyway.
const ROUGH: f64 = 3e-3;

/// Factor between the deltas of two stages.
const SHARPENING: f64 = 0.1;

/// Descends from `start`, which is completed to the coordinates that are not free.
///
/// With a delta far below the residuals the objective is close to a sum of absolute values, whose
/// edges hold a descent up. So the first stage takes the median residual for delta, which is near
/// least squares, and each next one a fifth of that until the configured delta is reached. A
/// start that is near its minimum goes without.
pub(super) fn descend(
    objective: &Objective<'_>,
    parameters: &Parameters,
    start: &Point,
    should_stop: &(dyn Fn() -> bool + Sync),
) -> Descent {
    let mut descent = Descent::from(start, parameters);
    let mut delta = f64::INFINITY;
    while delta > objective.delta {
        let median = median_residual(objective, &descent.point);
        delta = objective.delta.max(median.min(delta * SHARPENING));
        stage(objective, parameters, delta, &mut descent, should_stop);
        if matches!(descent.termination, Termination::Budget | Termination::Stopped) {
            break;
        }
    }
    if delta > objective.delta {
        descent.value = objective.value(&descent.point);
    }
    descent
}

/// Descends without stages: for starts that are near a minimum.
pub(super) fn polish(
    objective: &Objective<'_>,
    parameters: &Parameters,
    start: &Point,
    should_stop: &(dyn Fn() -> bool + Sync),
) -> Descent {
    let mut descent = Descent::from(start, parameters);
    stage(objective, parameters, objective.delta, &mut descent, should_stop);
    descent
}

fn stage(
    objective: &Objective<'_>,
    parameters: &Parameters,
    delta: f64,
    descent: &mut Descent,
    should_stop: &(dyn Fn() -> bool + Sync),
) {
    let tolerance = if delta > objective.delta { ROUGH } else { FINE };
    let target = Target { objective, parameters, delta, tolerance };
    let budget = u64::from(BUDGET.saturating_sub(descent.evaluations));
    let outcome = Executor::new(target, DampedNewton::new(should_stop))
        .configure(|state| state.param(descent.point).max_iters(budget))
        .timer(false)
        .run();
    // Nothing in the problem fails; were it to, the point that is there is kept.
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
    // argmin's `Ok` says nothing about convergence: the reason does.
    descent.termination = match state.get_termination_status() {
        TerminationStatus::Terminated(TerminationReason::SolverConverged) => Termination::Converged,
        TerminationStatus::Terminated(TerminationReason::SolverExit(_)) => Termination::Stalled,
        TerminationStatus::Terminated(TerminationReason::Interrupt) => Termination::Stopped,
        _ => Termination::Budget,
    };
}

/// Median of the absolute residuals of the runs that count.
fn median_residual(objective: &Objective<'_>, point: &Point) -> f64 {
    let mut residuals = objective.absolute_residuals(point);
    let middle = residuals.len() / 2;
    let (_, median, _) = residuals.select_nth_unstable_by(middle, f64::total_cmp);
    *median
}
