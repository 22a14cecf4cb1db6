//! One descent by argmin's L-BFGS with a More-Thuente line search.
//!
//! argmin returns `Ok` after a failed line search, and its state then need not hold the best point
//! that was seen. So the problem handed to it records the best point itself, bounds the number of
//! evaluations and asks whether to stop. (Hager-Zhang was rejected: it loops for ever on some
//! starts despite an iteration limit. Backtracking with the Armijo rule claims convergence without
//! reaching the minimum.)

use std::cell::RefCell;

use argmin::core::{
    CostFunction, Error, Executor, Gradient, State, TerminationReason, TerminationStatus,
};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

use super::normalised::{COUNT, Point};
use super::objective::Objective;

/// Why a descent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Termination {
    /// The gradient or the last improvement fell below its tolerance.
    Converged,
    /// The line search found no better point; at a kink of the objective or at the limit of
    /// rounding this is how a descent to a minimum ends.
    LineSearch,
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
            Self::LineSearch => "line_search",
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

/// Correction pairs that L-BFGS keeps; as many as there are coefficients.
const HISTORY: usize = COUNT;
/// Norm of the scaled gradient at which a descent has converged.
const GRADIENT_TOLERANCE: f64 = 1e-10;
/// Change of the scaled objective at which a descent has converged.
const VALUE_TOLERANCE: f64 = 1e-14;
/// Relative improvement below which restarting a descent is no longer worth it.
const RESTART_GAIN: f64 = 1e-12;

/// Descends from `start`, restarting from the best point with an empty history until that no longer
/// improves it or `budget` evaluations are spent.
pub(super) fn descend(
    objective: &Objective,
    start: &Point,
    budget: u32,
    should_stop: &(dyn Fn() -> bool + Sync),
) -> Descent {
    let recorder = Recorder::new(objective, *start, budget, should_stop);
    let mut termination = run(&recorder);
    loop {
        let (_, before) = recorder.best();
        if !matches!(termination, Termination::Converged | Termination::LineSearch) {
            break;
        }
        let again = run(&recorder);
        let (_, after) = recorder.best();
        if matches!(again, Termination::Budget | Termination::Stopped) {
            termination = again;
        }
        if before - after <= RESTART_GAIN * before {
            break;
        }
    }
    let (point, value) = recorder.best();
    let evaluations = recorder.state.borrow().evaluations;
    Descent { point, value, termination, evaluations }
}

/// One L-BFGS run from the recorder's best point.
fn run(recorder: &Recorder<'_>) -> Termination {
    let (start, _) = recorder.best();
    // The constants are in the range that these constructors accept; were they not, the first
    // test of any fit would fail.
    let line_search = MoreThuenteLineSearch::new().with_c(1e-4, 0.9).expect("0 < 1e-4 < 0.9 < 1");
    let solver = LBFGS::new(line_search, HISTORY)
        .with_tolerance_grad(GRADIENT_TOLERANCE)
        .expect("the tolerance is positive")
        .with_tolerance_cost(VALUE_TOLERANCE)
        .expect("the tolerance is positive");
    let outcome = Executor::new(recorder, solver)
        .configure(|state| state.param(start.to_vec()).max_iters(u64::from(recorder.budget)))
        .timer(false)
        .run();
    if let Some(interrupted) = recorder.state.borrow().interrupted {
        return interrupted;
    }
    match outcome {
        Ok(result) => match result.state().get_termination_status() {
            TerminationStatus::Terminated(TerminationReason::SolverConverged) => {
                Termination::Converged
            }
            TerminationStatus::Terminated(TerminationReason::MaxItersReached) => {
                Termination::Budget
            }
            _ => Termination::LineSearch,
        },
        // A line search that cannot go on fails with an error too; the best point is recorded.
        Err(_) => Termination::LineSearch,
    }
}

/// The objective as argmin sees it: remembers the best point, counts, and refuses to go on.
struct Recorder<'a> {
    objective: &'a Objective,
    budget: u32,
    should_stop: &'a (dyn Fn() -> bool + Sync),
    state: RefCell<Record>,
}

struct Record {
    evaluations: u32,
    interrupted: Option<Termination>,
    best: (Point, f64),
    /// The last evaluation: argmin asks for value and gradient of the same point one by one.
    last: Option<(Point, f64, Point)>,
}

impl<'a> Recorder<'a> {
    fn new(
        objective: &'a Objective,
        start: Point,
        budget: u32,
        should_stop: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let state =
            Record { evaluations: 0, interrupted: None, best: (start, f64::INFINITY), last: None };
        Self { objective, budget, should_stop, state: RefCell::new(state) }
    }

    fn best(&self) -> (Point, f64) {
        self.state.borrow().best
    }

    fn evaluate(&self, param: &[f64]) -> Result<(f64, Point), Error> {
        let point: Point = param.try_into()?;
        let mut state = self.state.borrow_mut();
        if let Some((last, value, gradient)) = state.last
            && last == point
        {
            return Ok((value, gradient));
        }
        if state.evaluations >= self.budget {
            state.interrupted = Some(Termination::Budget);
        } else if (self.should_stop)() {
            state.interrupted = Some(Termination::Stopped);
        }
        if let Some(interrupted) = state.interrupted {
            return Err(Error::msg(interrupted.as_str()));
        }
        state.evaluations += 1;
        let (value, gradient) = self.objective.evaluate(&point);
        if value < state.best.1 {
            state.best = (point, value);
        }
        state.last = Some((point, value, gradient));
        Ok((value, gradient))
    }
}

impl CostFunction for &Recorder<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, param: &Vec<f64>) -> Result<f64, Error> {
        self.evaluate(param).map(|(value, _)| value)
    }
}

impl Gradient for &Recorder<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, param: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.evaluate(param).map(|(_, gradient)| gradient.to_vec())
    }
}
