//! What a plan is asked for, and the checks of it.

use serde::Deserialize;
use sparsity_law::law::{
    Constraint, Data, DomainError, Goal, Limits, Loss, NonzeroParams, Sparsity, Storage,
    StorageFormat,
};
use utoipa::ToSchema;

use crate::api::questions::budget::{GivenBudget, Spending};
use crate::api::questions::modes::check_mode;
use crate::api::questions::optimal_sparsity::check_unique_data;
use crate::api::resources::profiles::{StorageView, check_patterns};
use crate::api::wire::problem::ApiError;
use crate::domain::checks::Checks;
use crate::domain::text::Pattern;

/// The most points of the trade-off curve.
const MOST_POINTS: u32 = 200;

/// Smallest and largest value of a quantity; either may be left out.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Bounds)]
pub struct BoundsBody {
    /// Smallest value.
    min: Option<f64>,
    /// Largest value.
    max: Option<f64>,
}

/// What to plan.
///
/// With `compute` alone the plan has the lowest loss. With `target_loss` it has the lowest cost, and `compute`, if
/// given, is an upper bound on that cost.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePlan {
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile such as
    /// `example-block-sparse`.
    #[schema(example = "sparse")]
    pub(super) flop_mode: String,
    /// The most FLOPs of training plus, with `inference_tokens`, inference; between 1 and 1e40.
    #[schema(example = 1e21, minimum = 1, maximum = 1e40)]
    compute: Option<f64>,
    /// In place of `compute`: hours of one device of the hardware profile.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    device_hours: Option<f64>,
    /// In place of `compute`: days of all devices of the hardware profile together.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    days: Option<f64>,
    /// In place of `compute`: the price of the hours, in the currency of the hardware profile's `price_per_hour`.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    cost: Option<f64>,
    /// The highest loss that the plan may have, between 1e-12 and 1e12.
    #[schema(minimum = 1e-12, maximum = 1e12)]
    target_loss: Option<f64>,
    /// Tokens (for other models: samples) that the model will serve over its lifetime. Each takes one forward pass of 2
    /// FLOPs per parameter, whatever the family's `data_unit` and `flops_per_param`: `2 N` where zeros are skipped,
    /// `2 N / (1 - S)` in `dense` mode, `2 N h(S) / (1 - S)` with a hardware profile. 0 by default.
    #[schema(minimum = 0, maximum = 1e30)]
    inference_tokens: Option<f64>,
    /// The most bytes that the weights may take, between 1 and 1e30.
    #[schema(example = 2e9, minimum = 1, maximum = 1e30)]
    memory_bytes: Option<f64>,
    /// How weights are stored; by default as in the hardware profile, or else `dense`. Bits per parameter, zeros
    /// included, with `b`-bit values at density `x`: `dense` b; `bitmask` b x + 1; `csr` (b + 16) x + 1/32, that is,
    /// 16-bit columns and a 32-bit pointer for each row of 1,024; `2:4` b/2 + 1. Never more than b: where a format
    /// would take more, or cannot store the model, the weights count as `dense`. Only patterns can be stored as `2:4`,
    /// so with `memory_bytes` and this storage, a plan without `patterns` is restricted to the profile's patterns, or
    /// to 2:4 if it has none.
    storage: Option<StorageView>,
    /// Bits per value: 4, 8, 16 or 32; 16 by default.
    #[schema(example = 16, minimum = 4, maximum = 32)]
    bits_per_param: Option<u32>,
    /// Bounds on the number of non-zero parameters, between 1 and 1e18.
    #[serde(default)]
    nonzero_params: BoundsBody,
    /// Bounds on the number of parameters, zeros included, between 1 and 1e22.
    #[serde(default)]
    total_params: BoundsBody,
    /// Bounds on the sparsity, between 0 and 0.9999. Without `max`, no plan is sparser than the sparsest run behind the
    /// law (0.95 where its runs are not known); this default does not apply to patterns that are named in `patterns`.
    #[serde(default)]
    sparsity: BoundsBody,
    /// The most parameters, zeros included: another name for `total_params.max`, as in questions. Give only one of the
    /// two.
    #[schema(minimum = 1, maximum = 1e22)]
    max_total_params: Option<f64>,
    /// The highest sparsity: another name for `sparsity.max`, as in questions. Give only one of the two.
    #[schema(minimum = 0, maximum = 0.9999)]
    max_sparsity: Option<f64>,
    /// Bounds on the data, in the family's data unit, between 1e-6 and 1e30.
    #[serde(default)]
    data: BoundsBody,
    /// How much unique data there is, in the family's data unit, between 1e-6 and 1e30: training data beyond this
    /// amount is seen again, costs the same and teaches less. By default all training data is unique.
    #[schema(example = json!(null), minimum = 1e-6, maximum = 1e30)]
    unique_data: Option<f64>,
    /// The only sparse models to consider, beside dense ones: patterns `n:m`, which the hardware profile, if one is
    /// used, must list. An empty list leaves dense models only.
    #[schema(example = json!(["2:4"]), max_items = 50)]
    patterns: Option<Vec<String>>,
    /// Version of the law to ask; the active one by default.
    pub(super) law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[schema(default = true)]
    intervals: bool,
    /// The most points of the trade-off curve.
    #[serde(default = "CreatePlan::default_points")]
    #[schema(default = 21, minimum = 0, maximum = 200)]
    frontier_points: u32,
}

/// A checked request.
#[derive(Debug)]
pub(super) struct PlanRequest {
    pub goal: Goal,
    pub limits: Limits,
    /// Upper bound on the cost as given; added to `limits` once the mode is known, which converts it to FLOPs.
    pub spending: Option<Spending>,
    pub inference_tokens: f64,
    pub unique_data: Option<Data>,
    pub storage: Option<StorageFormat>,
    pub bits: u32,
    pub patterns: Option<Vec<Pattern>>,
    pub intervals: bool,
    pub points: u32,
}

/// Checks a quantity that has no type of its own against its range, which `range` says in words.
fn in_range(value: f64, low: f64, high: f64, range: &'static str) -> Result<f64, DomainError> {
    // NaN is in no range.
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(DomainError::OutOfRange { range, value })
    }
}

fn nonzero_params(value: f64) -> Result<f64, DomainError> {
    NonzeroParams::new(value).map(NonzeroParams::get)
}

fn total_params(value: f64) -> Result<f64, DomainError> {
    in_range(value, 1.0, 1e22, "between 1 and 1e22")
}

fn data(value: f64) -> Result<f64, DomainError> {
    Data::new(value).map(Data::get)
}

/// Checks a bound on the sparsity and returns it as a density, the form in which [`Limits`] store it.
fn sparsity(value: f64) -> Result<f64, DomainError> {
    in_range(value, 0.0, Limits::HIGHEST_SPARSITY, "between 0 and 0.9999")
        .and_then(Sparsity::new)
        .map(|sparsity| sparsity.density().get())
}

impl BoundsBody {
    /// Checks both bounds and stores those that are given in `limits`: the minimum under the first constraint of
    /// `ends`, the maximum under the second.
    fn check(
        self,
        field: &str,
        ends: (Constraint, Constraint),
        check: fn(f64) -> Result<f64, DomainError>,
        limits: &mut Limits,
        checks: &mut Checks,
    ) {
        for (end, constraint, value) in [("min", ends.0, self.min), ("max", ends.1, self.max)] {
            let value =
                value.and_then(|value| checks.take(&format!("{field}/{end}"), check(value)));
            if let Some(value) = value {
                *limits = limits.with(constraint, value);
            }
        }
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            checks.refuse(&format!("{field}/max"), "must not be below min");
        }
    }
}

impl CreatePlan {
    const fn default_points() -> u32 {
        21
    }

    pub(super) fn check(self) -> Result<PlanRequest, ApiError> {
        let mut checks = Checks::default();
        let mut limits = Limits::default();
        check_mode(&self.flop_mode, &mut checks);
        let given = GivenBudget([self.compute, self.device_hours, self.days, self.cost]);
        let goal = match (given.is_some(), self.target_loss) {
            (false, None) => {
                let detail =
                    "must be given, or device_hours, days, cost or target_loss in its place";
                checks.refuse("compute", detail);
                None
            }
            (true, None) => Some(Goal::LeastLoss),
            (_, Some(_)) => Some(Goal::LeastCost),
        };
        let spending = if given.is_some() { given.check(&mut checks) } else { None };
        let mut bound = |field: &str, constraint, value: Option<Result<f64, DomainError>>| {
            if let Some(value) = value.and_then(|value| checks.take(field, value)) {
                limits = limits.with(constraint, value);
            }
        };
        let target = self.target_loss.map(|value| Loss::new(value).map(Loss::get));
        bound("target_loss", Constraint::TargetLoss, target);
        let memory =
            self.memory_bytes.map(|value| in_range(value, 1.0, 1e30, "between 1 and 1e30"));
        bound("memory_bytes", Constraint::MemoryBytes, memory);
        let tokens =
            in_range(self.inference_tokens.unwrap_or(0.0), 0.0, 1e30, "between 0 and 1e30");
        let inference_tokens = checks.take("inference_tokens", tokens);
        let bits = self.bits_per_param.unwrap_or(16);
        if !Storage::VALUE_BITS.contains(&bits) {
            checks.refuse("bits_per_param", format!("must be 4, 8, 16 or 32, not {bits}"));
        }
        let sizes = (Constraint::NonzeroParamsMin, Constraint::NonzeroParamsMax);
        self.nonzero_params.check(
            "nonzero_params",
            sizes,
            nonzero_params,
            &mut limits,
            &mut checks,
        );
        let totals = (Constraint::TotalParamsMin, Constraint::TotalParamsMax);
        self.total_params.check("total_params", totals, total_params, &mut limits, &mut checks);
        let sparsities = (Constraint::SparsityMin, Constraint::SparsityMax);
        self.sparsity.check("sparsity", sparsities, sparsity, &mut limits, &mut checks);
        let ceilings = [
            ("max_total_params", self.max_total_params, self.total_params, totals.1),
            ("max_sparsity", self.max_sparsity, self.sparsity, sparsities.1),
        ];
        for (field, value, bounds, constraint) in ceilings {
            let Some(value) = value else { continue };
            let checked = match constraint {
                Constraint::TotalParamsMax => total_params(value),
                _ => sparsity(value),
            };
            if bounds.max.is_some() {
                let other = field.trim_start_matches("max_");
                let detail = format!("must not be given beside {other}.max, which says the same");
                checks.refuse(field, detail);
            } else if bounds.min.is_some_and(|min| value < min) {
                let other = field.trim_start_matches("max_");
                checks.refuse(field, format!("must not be below {other}.min"));
            } else if let Some(value) = checks.take(field, checked) {
                limits = limits.with(constraint, value);
            }
        }
        let amounts = (Constraint::DataMin, Constraint::DataMax);
        self.data.check("data", amounts, data, &mut limits, &mut checks);
        let patterns = match &self.patterns {
            None => Some(None),
            Some(patterns) => check_patterns(patterns, &mut checks).map(Some),
        };
        if self.frontier_points > MOST_POINTS {
            let detail = format!("must be at most {MOST_POINTS}, not {}", self.frontier_points);
            checks.refuse("frontier_points", detail);
        }
        let unique = check_unique_data(self.unique_data, &mut checks);
        let values = goal.zip(inference_tokens).zip(patterns).zip(unique);
        let (((goal, inference_tokens), patterns), unique_data) = checks.finish(values)?;
        Ok(PlanRequest {
            goal,
            limits,
            spending,
            inference_tokens,
            unique_data,
            storage: self.storage.map(StorageFormat::from),
            bits,
            patterns,
            intervals: self.intervals,
            points: self.frontier_points,
        })
    }
}
