//! Plans: the best size, sparsity and amount of data under bounds.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    self, Constraint, Data, Density, DomainError, Goal, Infeasible, Limits, Loss, Model, NoDense,
    NonzeroParams, Obstacle, PlanError, PlanNote, PlanQuestion, PlanSetting, PlannedModel,
    Question, Sparsity, Storage, StorageFormat,
};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::budget::{BudgetView, GivenBudget, Spending};
use crate::api::questions::law::{AskedLaw, relative_width, sparsity_width};
use crate::api::questions::modes::{Mode, check_mode};
use crate::api::questions::optimal_sparsity::check_unique_data;
use crate::api::resources::profiles::{StorageView, check_patterns};
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::extract::{FamilyPath, JsonBody};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::{ExtrapolationView, IntervalView, LawRef, TrustView, WarningView};
use crate::domain::checks::{Checks, FieldError};
use crate::domain::text::Pattern;
use crate::domain::trust::TrustCode;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create_plan))
}

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
    flop_mode: String,
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
    law_version: Option<i32>,
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
struct PlanRequest {
    goal: Goal,
    limits: Limits,
    /// Upper bound on the cost as given; added to `limits` once the mode is known, which converts it to FLOPs.
    spending: Option<Spending>,
    inference_tokens: f64,
    unique_data: Option<Data>,
    storage: Option<StorageFormat>,
    bits: u32,
    patterns: Option<Vec<Pattern>>,
    intervals: bool,
    points: u32,
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

    fn check(self) -> Result<PlanRequest, ApiError> {
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

/// What a plan minimises.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PlanGoal)]
pub enum GoalView {
    /// The lowest loss at the given cost.
    LeastLoss,
    /// The lowest cost at the given loss.
    LeastCost,
}

/// The best model under the bounds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub struct PlanView {
    /// The law that the plan was computed from.
    law: Arc<LawRef>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile.
    #[schema(example = "sparse")]
    flop_mode: String,
    /// What was minimised.
    goal: GoalView,
    /// The best model.
    optimum: PlannedModelView,
    /// The best dense model at the same cost and under the same bounds, except those on the sparsity; null where there
    /// is none.
    dense: Option<PlannedModelView>,
    /// Why there is no dense model.
    dense_reason: Option<String>,
    /// The cheapest dense model that reaches the loss of the best model; null where no dense model does.
    dense_at_equal_loss: Option<PlannedModelView>,
    /// The best model at the same cost that is dense, has a pattern of the hardware profile or, in a family whose zeros
    /// are experts, is one of its mixtures of experts. Null where no patterns or mixtures are listed, and where the
    /// plan is restricted to patterns anyway.
    pattern: Option<PlannedModelView>,
    /// The bounds that hold with equality at the best model and rule out a better one: moving any of them by 1 % allows
    /// a better model. The quantity that was fixed by the goal (the cost for the lowest loss, the loss for the lowest
    /// cost) is not listed.
    #[schema(example = json!(["memory_bytes", "sparsity.max"]))]
    binding: Vec<&'static str>,
    /// The lowest loss at other costs, from 1/100 to 100 times the cost of the best model (between 1 and 1e40). The
    /// best model is one of the points; costs rise and losses fall. The bounds on cost and loss do not apply here.
    frontier: Vec<FrontierPointView>,
    /// Intervals; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PlanIntervals>)]
    intervals: Option<Option<PlanIntervals>>,
    /// What was assumed where the request left something open.
    assumed: AssumedView,
    /// The quantities of the best model that lie outside the runs behind the law.
    extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting the plan.
    warnings: Vec<Arc<WarningView>>,
    /// How far the plan can be trusted.
    trust: TrustView,
}

/// A model of a plan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedModel)]
pub struct PlannedModelView {
    /// Non-zero parameters at the end of training.
    nonzero_params: f64,
    /// Parameters that a token passes, equal to `nonzero_params`, in families whose zeros are experts. Left out
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    active_params: Option<f64>,
    /// Fraction of zeros at the end of training; exactly 0 where zeros do not lower the loss.
    sparsity: f64,
    /// The pattern or recipe of the level, if the law tells runs of the same sparsity apart by it. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// Data seen in training, in the family's data unit.
    data: f64,
    /// Predicted loss.
    loss: f64,
    /// FLOPs of training and inference.
    compute: f64,
    /// The same cost in every currency that is known.
    budget: BudgetView,
    /// FLOPs of training.
    training_compute: f64,
    /// FLOPs of inference; 0 without `inference_tokens`.
    inference_compute: f64,
    /// Parameters, zeros included.
    total_params: f64,
    /// Bytes of the weights as stored by the plan.
    memory_bytes: f64,
    /// The pattern of the zeros, or the mixture of experts, such as `64 choose 2`; null where zeros may lie anywhere,
    /// or there are none.
    #[schema(example = "2:4")]
    pattern: Option<String>,
    /// The unstructured sparsity that the pattern was measured to be worth, which was used to compute the loss: by its
    /// own runs or, if it has none, by those of a pattern of the same ratio. Null where the law has neither.
    effective_sparsity: Option<f64>,
}

/// A point of the trade-off between cost and loss.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FrontierPoint)]
pub struct FrontierPointView {
    /// FLOPs of training and inference.
    compute: f64,
    /// The lowest loss at this cost.
    loss: f64,
    /// Non-zero parameters.
    nonzero_params: f64,
    /// Fraction of zeros.
    sparsity: f64,
    /// Data seen in training.
    data: f64,
}

/// How much the plan could have differed with other runs of the same kind, according to the resampled laws.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanIntervals {
    /// Interval of the loss of the planned model.
    loss: IntervalView,
    /// Interval of the loss of the planned dense model; null where there is none.
    dense_loss: Option<IntervalView>,
    /// Interval of the best sparsity, planned again by each of up to 1,000 resampled laws: the lowest loss at the cost
    /// of the plan, under the same bounds.
    sparsity: IntervalView,
    /// Interval of the best number of non-zero parameters, planned again in the same way.
    nonzero_params: IntervalView,
    /// Interval of the best amount of data, planned again in the same way.
    data: IntervalView,
}

/// What a plan assumed where the request left it open.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanAssumptions)]
pub struct AssumedView {
    /// How weights are stored.
    storage: StorageView,
    /// Bits per value.
    #[schema(example = 16)]
    bits_per_param: u32,
    /// The highest sparsity that was considered.
    #[schema(example = 0.875)]
    max_sparsity: f64,
    /// The patterns that were considered; null where zeros may lie anywhere.
    patterns: Option<Vec<String>>,
}

impl PlannedModelView {
    fn new(planned: PlannedModel<'_>, (asked, mode): (&AskedLaw, &Mode)) -> Self {
        let PlannedModel { model, pattern } = planned;
        let effective = pattern.and_then(|pattern| pattern.worth.effective);
        Self {
            nonzero_params: model.nonzero_params,
            active_params: asked.active_params(model.nonzero_params),
            sparsity: model.design.density.sparsity().get(),
            level: asked.level_name(model.design.level),
            data: model.data,
            loss: model.loss,
            compute: model.compute(),
            budget: BudgetView::new(model.compute(), mode),
            training_compute: model.training_compute,
            inference_compute: model.inference_compute,
            total_params: model.total_params(),
            memory_bytes: model.memory_bytes(),
            pattern: pattern.map(|pattern| pattern.name.to_owned()),
            effective_sparsity: effective.map(|(sparsity, _)| sparsity.get()),
        }
    }
}

impl From<Model> for FrontierPointView {
    fn from(model: Model) -> Self {
        Self {
            compute: model.compute(),
            loss: model.loss,
            nonzero_params: model.nonzero_params,
            sparsity: model.design.density.sparsity().get(),
            data: model.data,
        }
    }
}

impl From<Goal> for GoalView {
    fn from(goal: Goal) -> Self {
        match goal {
            Goal::LeastLoss => Self::LeastLoss,
            Goal::LeastCost => Self::LeastCost,
        }
    }
}

impl From<law::PlanIntervals> for PlanIntervals {
    fn from(intervals: law::PlanIntervals) -> Self {
        Self {
            loss: intervals.loss.into(),
            dense_loss: intervals.dense_loss.map(Into::into),
            sparsity: intervals.sparsity.into(),
            nonzero_params: intervals.nonzero_params.into(),
            data: intervals.data.into(),
        }
    }
}

impl From<PlanNote> for WarningView {
    fn from(note: PlanNote) -> Self {
        match note {
            PlanNote::SparsityLimited => {
                let detail = "more zeros would be better by this law, but no run behind it is \
                              sparser: sparsity.max allows more";
                Self::new("sparsity_limited", detail)
            }
            PlanNote::ComputeNotSpent { share } => {
                let detail =
                    format!("the bounds leave no use for more than {share:.3} of the compute");
                Self::new("compute_not_spent", detail)
            }
            PlanNote::DenseIsBetter => {
                let detail =
                    "a dense model, which the bounds on the sparsity forbid, would be better";
                Self::new("dense_is_better", detail)
            }
            PlanNote::RangeEnd(quantity) => {
                let quantity = quantity.as_str();
                let detail = format!(
                    "the best {quantity} lies at the end of the range that is answered for"
                );
                Self::new("range_end", detail)
            }
        }
    }
}

fn plan(asked: &AskedLaw, mode: &Mode, request: &PlanRequest) -> Result<PlanView, ApiError> {
    asked.require_plans("a plan")?;
    let format = request.storage.unwrap_or_else(|| mode.storage());
    let allowed = allowed_patterns(asked, request, mode, format)?;
    let of_hardware = if asked.law.content.zeros.are_experts() {
        mode.planned_experts(asked)
    } else {
        let listed = mode.patterns().filter(|patterns| !patterns.is_empty());
        listed.map(|patterns| mode.planned_patterns(asked, patterns))
    };
    let patterns = allowed.as_deref().map(|patterns| mode.planned_patterns(asked, patterns));
    let setting = PlanSetting {
        law: asked.plan_law(),
        support: &asked.law.content.support,
        cost: mode.cost(asked),
        step: mode.step(),
        pruning: asked.law.content.pruning.clone(),
        storage: Storage::new(format, request.bits),
        inference_tokens: request.inference_tokens,
        repetition: asked.repetition(request.unique_data),
    };
    let found = setting.plan(&PlanQuestion {
        goal: request.goal,
        limits: request.limits,
        patterns: patterns.as_deref(),
        hardware_patterns: of_hardware.as_deref(),
        frontier_points: request.points,
        intervals: request.intervals,
    });
    let found = found.map_err(|error| match error {
        PlanError::Infeasible(infeasible) => refusal(&infeasible, request),
        PlanError::Answer(error) => error.into(),
    })?;

    let best = found.best.model;
    let (extrapolation, mut warnings) = match best.size_and_data() {
        Some((nonzero_params, data)) => {
            let density = best.design.density;
            let question = Question { nonzero_params, density, data, cost: Some(&setting.cost) };
            asked.caveats(&question, request.intervals)
        }
        None => (Vec::new(), asked.warnings(request.intervals)),
    };
    // Warnings about this plan come before those about the law.
    for note in found.notes {
        warnings.insert(0, Arc::new(note.into()));
    }
    let trained = best.size_and_data().map(|(_, data)| data);
    let repetition = setting.repetition.as_ref();
    if let Some(warning) = trained.and_then(|data| asked.assumed_repetition(repetition, data)) {
        warnings.insert(0, Arc::clone(warning));
    }
    let dense_reason = found.dense.as_ref().err().map(|why| match why {
        NoDense::Infeasible(why) => infeasible_lines(why, request).join("; "),
        NoDense::Unknown => {
            let version = asked.law.version;
            format!("law {version} has the form levels, and none of its levels is dense")
        }
    });
    let known = found.intervals.as_ref();
    // An interval between levels only reflects how far these lie apart, so trust depends on the interval of the loss.
    let width = if asked.own.as_ref().is_some_and(|own| own.law().levels().is_some()) {
        relative_width(known.map(|intervals| intervals.loss.into()), best.loss)
    } else {
        sparsity_width(known.map(|intervals| intervals.sparsity.into()))
    };
    let mut trust = asked.trust(width, &extrapolation);
    let unmeasured = {
        let planned = [Some(&found.best), found.pattern.as_ref()].into_iter().flatten();
        let mut names = planned.filter_map(|model| model.pattern.map(|pattern| pattern.name));
        names.find_map(|name| asked.unmeasured(Some(name)))
    };
    if let Some(warning) = unmeasured {
        warnings.insert(0, Arc::clone(warning));
        trust.doubt(TrustCode::UnmeasuredPattern);
    }
    let view = |planned: PlannedModel<'_>| PlannedModelView::new(planned, (asked, mode));
    Ok(PlanView {
        law: asked.reference.clone(),
        flop_mode: mode.name().to_owned(),
        goal: request.goal.into(),
        optimum: view(found.best),
        dense: found.dense.ok().map(view),
        dense_reason,
        dense_at_equal_loss: found.dense_at_equal_loss.map(view),
        pattern: found.pattern.map(view),
        binding: found.binding.into_iter().map(Constraint::as_str).collect(),
        frontier: found.frontier.into_iter().map(Into::into).collect(),
        intervals: request.intervals.then(|| found.intervals.map(Into::into)),
        assumed: AssumedView {
            storage: format.into(),
            bits_per_param: request.bits,
            max_sparsity: found.max_sparsity,
            patterns: allowed
                .map(|patterns| patterns.iter().map(|p| p.as_str().to_owned()).collect()),
        },
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings,
        trust,
    })
}

/// Converts a bound on the density, as it is stored, back to the sparsity that the request gave.
fn sparsity_of(density: f64) -> f64 {
    Density::clamped(density).sparsity().get()
}

/// Why a law of levels knows nothing about a pattern; `None` where it does, and for laws of other forms.
pub(crate) fn unknown_level(asked: &AskedLaw, pattern: &Pattern) -> Option<String> {
    let density = Sparsity::new(pattern.sparsity()).ok()?.density();
    if asked.knows(density) || asked.named_level(pattern.as_str(), density).is_ok() {
        return None;
    }
    let levels = asked.own.as_ref().map(|own| own.law().levels_told()).unwrap_or_default();
    Some(format!(
        "must be of a sparsity that law {} knows, which are {levels}, not {}",
        asked.law.version,
        pattern.sparsity()
    ))
}

/// The patterns that a plan is restricted to; `None` where zeros may lie anywhere.
fn allowed_patterns(
    asked: &AskedLaw,
    request: &PlanRequest,
    mode: &Mode,
    format: StorageFormat,
) -> Result<Option<Vec<Pattern>>, ApiError> {
    let listed = mode.patterns();
    if asked.law.content.zeros.are_experts() {
        if request.patterns.is_some() {
            let detail = "must not be given of a family whose zeros are experts: it lists its mixtures itself";
            return Err(ApiError::field("/patterns", detail));
        }
        return Ok(None);
    }
    if let Some(patterns) = &request.patterns {
        let mut checks = Checks::default();
        for (i, pattern) in patterns.iter().enumerate() {
            if listed.is_some_and(|listed| !listed.contains(pattern)) {
                let detail = "must be one of the patterns of the hardware profile";
                checks.refuse(&format!("patterns/{i}"), detail);
            } else if let Some(detail) = unknown_level(asked, pattern) {
                checks.refuse(&format!("patterns/{i}"), detail);
            }
        }
        checks.finish(Some(()))?;
        return Ok(Some(patterns.clone()));
    }
    let by_patterns =
        format == StorageFormat::TwoOfFour && request.limits.has(Constraint::MemoryBytes);
    let of_the_format = || Pattern::new(StorageFormat::TwoOfFour.as_str()).into_iter().collect();
    Ok(by_patterns.then(|| match listed {
        Some(listed) if !listed.is_empty() => listed.to_vec(),
        _ => of_the_format(),
    }))
}

/// Rounds to seven significant digits, upwards or downwards.
fn outward(value: f64, up: bool) -> f64 {
    /// A number within this relative distance of one with seven digits counts as that number, so that rounding errors
    /// do not move it by a whole digit.
    const ROUNDING: f64 = 1e-11;
    if value == 0.0 {
        return value;
    }
    let scale = 10f64.powi(6 - value.abs().log10().floor() as i32);
    let digits = value * scale;
    let whole =
        if up { (digits * (1.0 - ROUNDING)).ceil() } else { (digits * (1.0 + ROUNDING)).floor() };
    whole / scale
}

fn written(value: f64) -> String {
    if (1e-3..1e6).contains(&value) || value == 0.0 {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// Explains one bound that makes the plan impossible: how far it would have to be moved.
fn obstacle_detail(obstacle: &Obstacle, why: &Infeasible, request: &PlanRequest) -> String {
    let Obstacle { constraint, needed } = *obstacle;
    let is_sparsity = matches!(constraint, Constraint::SparsityMin | Constraint::SparsityMax);
    let shown = |value: f64| if is_sparsity { sparsity_of(value) } else { value };
    let origin = match constraint {
        _ if request.limits.has(constraint) => "is given",
        Constraint::SparsityMax => "is the default, that of the sparsest run",
        // The request gave no such bound: the dense model is compared at the cost of the plan.
        _ => "is that of the plan",
    };
    let given = format!("{} {origin}", written(shown(why.limits.get(constraint))));
    let Some(needed) = needed else {
        let others = why.obstacles.iter().filter(|other| other.constraint != constraint);
        let others: Vec<_> = others.map(|other| other.constraint.as_str()).collect();
        return format!("{given} and cannot be kept together with {}", others.join(", "));
    };
    // The highest sparsity is stored as the lowest density and the lowest as the highest, so the direction is reversed.
    let up = constraint.is_upper() != is_sparsity;
    let needed = written(outward(shown(needed), up));
    match constraint {
        Constraint::TargetLoss => {
            format!("the least loss that can be reached is {needed}, {given}")
        }
        _ if up => format!("at least {needed} would be needed, {given}"),
        _ => format!("at most {needed} would be possible, {given}"),
    }
}

/// One line for each bound that makes the plan impossible.
fn infeasible_lines(why: &Infeasible, request: &PlanRequest) -> Vec<String> {
    let line = |obstacle: &Obstacle| {
        let detail = obstacle_detail(obstacle, why, request);
        format!("{}: {detail}", obstacle.constraint.as_str())
    };
    why.obstacles.iter().map(line).collect()
}

/// The error for a request whose bounds leave no plan, with a field for each bound in the way.
fn refusal(why: &Infeasible, request: &PlanRequest) -> ApiError {
    let field = |obstacle: &Obstacle| FieldError {
        pointer: format!("/{}", obstacle.constraint.as_str().replace('.', "/")),
        detail: obstacle_detail(obstacle, why, request),
    };
    ApiError::Infeasible(why.obstacles.iter().map(field).collect())
}

/// Plans a model: the best size, sparsity and amount of data under bounds.
#[utoipa::path(
    post, path = "/v1/families/{family}/plans", tag = TAG_QUESTIONS, params(FamilyPath),
    request_body = CreatePlan,
    responses(
        (status = OK, description = "The plan", body = PlanView),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked",
            body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "Fields are not valid, or no plan keeps every bound",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn create_plan(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    owner: Owner,
    JsonBody(body): JsonBody<CreatePlan>,
) -> Result<Response, ApiError> {
    let (flop_mode, law_version) = (body.flop_mode.clone(), body.law_version);
    let mut request = body.check()?;
    let mode = Mode::find(&state, &flop_mode).await?;
    if let Some(spending) = request.spending {
        let compute = spending.compute(&mode)?;
        request.limits = request.limits.with(Constraint::Compute, compute.get());
    }
    let (asked, freshness) = any_law(&state, &path.name()?, law_version).await?;
    // Planning takes up to a second of CPU time, too long for a thread that serves requests.
    let plan = state.threads.run(owner, move || plan(&asked, &mode, &request)).await?;
    let mut response = Json(plan).into_response();
    freshness.mark(&mut response);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_where_they_are_enough() {
        assert_eq!(written(outward(1.3e9 * (1.0 + 1e-13), true)), "1.3e9");
        assert_eq!(written(outward(1_234_567_890.0, true)), "1.234568e9");
        assert_eq!(written(outward(1_234_567_890.0, false)), "1.234567e9");
        assert_eq!(written(outward(2.31, true)), "2.31");
        // The maximum sparsity of a plan that may have no zeros.
        assert_eq!(written(outward(0.0, false)), "0");
    }
}
