//! Pruning schedules and mixtures of experts, as requests give them and answers show them.

use serde::{Deserialize, Serialize};
use sparsity_law::law::{ExpertChoice, ExpertGrid, PruningSchedule};
use utoipa::openapi::schema::{Array, ArrayBuilder};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::checks::Checks;
use crate::domain::family::Zeros;

/// When zeros come in during training, as a function of the training progress from 0 to 1.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = PruningSchedule)]
pub enum PruningView {
    /// A ramp from no zeros to all of them.
    Ramp(PruningRamp),
    /// A measured schedule.
    Points(PruningPoints),
}

/// Sparsity 0 before `start`, `S (1 - (1 - (p - start) / (end - start))^exponent)` at progress `p` until `end`, and the
/// final sparsity `S` afterwards. With `start` and `end` both 0 the sparsity is `S` from the first step on, as with
/// experts, static masks and dynamic sparse training.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PruningRamp {
    /// Progress at which pruning starts.
    #[schema(example = 0.25, minimum = 0, maximum = 1)]
    start: f64,
    /// Progress at which the final sparsity is reached; not before `start`. If it equals `start`, all zeros come in at
    /// once.
    #[schema(example = 0.75, minimum = 0, maximum = 1)]
    end: f64,
    /// Exponent of the ramp; 3 by default.
    #[schema(value_type = Option<f64>, example = 3.0, default = 3.0, minimum = 0.01, maximum = 100, required = false)]
    exponent: f64,
    /// Progress from which the kernels of a structured pattern can be used, because the whole pattern is in place; by
    /// default `end`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.25, minimum = 0, maximum = 1)]
    pattern_start: Option<f64>,
}

/// A measured schedule: shares of the final sparsity, linear between the points, 0 before the first point and constant
/// after the last.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PruningPoints {
    /// The points, as `[progress, share]`.
    #[schema(schema_with = pruning_points_schema)]
    points: Vec<[f64; 2]>,
    /// Progress from which the kernels of a structured pattern can be used, because the whole pattern is in place; by
    /// default the progress from which the share no longer changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.25, minimum = 0, maximum = 1)]
    pattern_start: Option<f64>,
}

/// Most points of a measured schedule.
const MAX_PRUNING_POINTS: usize = 200;

/// Needed because the derived schema does not say that a point consists of two numbers.
fn pruning_points_schema() -> Array {
    let point = ArrayBuilder::new().items(f64::schema()).min_items(Some(2)).max_items(Some(2));
    ArrayBuilder::new()
        .description(Some(
            "`[progress, share]`, in the order of the progress, both between 0 and 1. Two points of one progress \
             are a jump, so that a staircase has two for each step. A share that ends below 1 is that of runs that \
             fall short of the sparsity that they state.",
        ))
        .items(point)
        .min_items(Some(1))
        .max_items(Some(MAX_PRUNING_POINTS))
        .examples([serde_json::json!([[0.25, 0.0], [0.25, 0.5], [0.75, 0.5], [0.75, 1.0]])])
        .build()
}

impl From<&PruningSchedule> for PruningView {
    fn from(schedule: &PruningSchedule) -> Self {
        let pattern_start = schedule.given_pattern_start();
        match (schedule.ramp(), schedule.points()) {
            (Some([start, end, exponent]), _) => {
                Self::Ramp(PruningRamp { start, end, exponent, pattern_start })
            }
            (None, points) => {
                let points = points.unwrap_or_default().iter().map(|&(p, share)| [p, share]);
                Self::Points(PruningPoints { points: points.collect(), pattern_start })
            }
        }
    }
}

/// A pruning schedule in either form; its schema is that of the view.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruningBody {
    start: Option<f64>,
    end: Option<f64>,
    exponent: Option<f64>,
    points: Option<Vec<[f64; 2]>>,
    pattern_start: Option<f64>,
}

impl PruningBody {
    /// Checks the schedule; errors are recorded below `pruning`.
    pub fn check(self, checks: &mut Checks) -> Option<PruningSchedule> {
        let mut refuse = |field: &str, detail: String| {
            checks.refuse(&format!("pruning/{field}"), detail);
        };
        let schedule = match (self.start, self.end, self.points) {
            (Some(start), Some(end), None) => {
                let exponent = self.exponent.unwrap_or(PruningSchedule::EXPONENT);
                PruningSchedule::new(start, end, exponent)
                    .map_err(|(field, error)| refuse(field, error.to_string()))
                    .ok()
            }
            (None, None, Some(points)) if self.exponent.is_none() => {
                let count = points.len();
                if !(1..=MAX_PRUNING_POINTS).contains(&count) {
                    refuse(
                        "points",
                        format!("must be 1 to {MAX_PRUNING_POINTS} points, not {count}"),
                    );
                    return None;
                }
                let points: Vec<_> = points.into_iter().map(|[p, share]| (p, share)).collect();
                PruningSchedule::of_points(&points)
                    .map_err(|wrong| {
                        let field = format!("points/{}/{}", wrong.point, wrong.coordinate);
                        refuse(&field, wrong.error.to_string());
                    })
                    .ok()
            }
            (_, _, Some(_)) => {
                refuse("points", "must not be given beside start, end or exponent".to_owned());
                None
            }
            (start, end, None) => {
                let detail = "must be given, or points in the place of start and end";
                if start.is_none() {
                    refuse("start", detail.to_owned());
                }
                if end.is_none() {
                    refuse("end", detail.to_owned());
                }
                None
            }
        };
        let Some(start) = self.pattern_start else { return schedule };
        let schedule = schedule?.with_pattern_start(start);
        schedule.map_err(|error| refuse("pattern_start", error.to_string())).ok()
    }
}

/// What the zeros of a family's models are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Zeros)]
pub enum ZerosView {
    /// Weights that are zero.
    Weights,
    /// Experts that a token does not pass through.
    Experts,
}

impl From<&Zeros> for ZerosView {
    fn from(zeros: &Zeros) -> Self {
        if zeros.are_experts() { Self::Experts } else { Self::Weights }
    }
}

/// Mixtures of experts that can be deployed: every combination of a number of experts with a smaller number of active
/// ones. If a share `f` of a dense model's parameters becomes experts, the ratio of total to active parameters is `(1 -
/// f + f E) / (1 - f + f k)`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Experts)]
pub struct ExpertsView {
    /// Numbers of experts, `E`; each between 2 and 65,536.
    #[schema(example = json!([8, 16, 32, 64]), min_items = 1, max_items = 50)]
    counts: Vec<u32>,
    /// Numbers of experts that a token passes through, `k`.
    #[schema(example = json!([1, 2]), min_items = 1, max_items = 50)]
    active: Vec<u32>,
    /// Share of a dense model's parameters that every token passes through, `1 - f`: attention and embeddings. At least
    /// 0 and below 1.
    #[schema(example = 0.33, minimum = 0, exclusive_maximum = 1)]
    shared_share: f64,
}

impl From<&ExpertGrid> for ExpertsView {
    fn from(grid: &ExpertGrid) -> Self {
        Self {
            counts: grid.counts().to_vec(),
            active: grid.active().to_vec(),
            shared_share: grid.shared_share(),
        }
    }
}

impl ExpertsView {
    /// Checks the grid; errors are recorded below `experts`.
    pub fn check(&self, checks: &mut Checks) -> Option<ExpertGrid> {
        /// Most numbers in a list.
        const MOST: usize = 50;
        for (field, values) in [("counts", &self.counts), ("active", &self.active)] {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            sorted.dedup();
            if !(1..=MOST).contains(&values.len()) {
                let detail = format!("must be 1 to {MOST} numbers, not {}", values.len());
                checks.refuse(&format!("experts/{field}"), detail);
                return None;
            }
            if sorted.len() < values.len() {
                checks.refuse(&format!("experts/{field}"), "must not have a number twice");
                return None;
            }
        }
        let grid = ExpertGrid::new(&self.counts, &self.active, self.shared_share);
        let grid = grid.map_err(|(field, error)| {
            checks.refuse(&format!("experts/{field}"), error.to_string());
        });
        let grid = grid.ok()?;
        if grid.choices().is_empty() {
            checks.refuse("experts/active", "must have a number below one of the counts");
            return None;
        }
        Some(grid)
    }
}

/// A mixture of experts in an answer.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = ExpertChoice)]
pub struct ExpertChoiceView {
    /// Number of experts.
    #[schema(example = 64)]
    count: u32,
    /// Number of experts that a token passes through.
    #[schema(example = 2)]
    active: u32,
}

impl From<&ExpertChoice> for ExpertChoiceView {
    fn from(choice: &ExpertChoice) -> Self {
        Self { count: choice.count(), active: choice.active() }
    }
}
