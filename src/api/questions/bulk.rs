//! The questions for up to 100,000 points at once: a list, or a grid in short.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    Ceiling, Compute, Data, Density, DomainError, Extrapolation, NonzeroParams, Optimum, Question,
    Ranges, Recommendation, RecommendationIntervals, Repetition, Sparsity, Training, TrainingCost,
    Variable, effective_data,
};
use sparsity_law::pace::step;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::asked_law;
use crate::api::questions::bounds::{
    Bounds, GivenBounds, GivenStorage, binding, free_density, require_optimum,
};
use crate::api::questions::budget::{AskedBudget, Budget, BudgetView, GivenBudget, Spending};
use crate::api::questions::law::{AskedLaw, relative_width, sparsity_width};
use crate::api::questions::modes::Mode;
use crate::api::questions::optimal_sparsity::{DenseView, check_unique_data};
use crate::api::questions::patterns::PatternView;
use crate::api::questions::predictions::predicted_loss;
use crate::api::resources::profiles::StorageView;
use crate::api::state::{AppState, BulkLimits};
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::columns::{ARROW, BEYOND, Columns};
use crate::api::wire::extract::{BulkBody, FamilyPath};
use crate::api::wire::negotiation::negotiate;
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::rows::{self, Rows};
use crate::api::wire::schemas::BinaryFile;
use crate::api::wire::values::{Spacing, ValuesBody};
use crate::api::wire::views::{
    ExtrapolationView, IntervalView, LawRef, MaybeInterval, TrustView, WarningView,
};
use crate::domain::checks::{Checks, FieldError};
use crate::domain::currency::Currency;
use crate::domain::trust::TrustCode;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create_predictions))
        .routes(routes!(create_optimal_sparsities))
}

/// The most points of a request.
const MAX_POINTS: usize = 100_000;
/// The most modes of a request.
const MAX_MODES: usize = 20;
/// The most wrong fields that an answer names.
const MAX_ERRORS: usize = 100;

/// How the results are sent.
#[derive(Debug, Clone, Copy)]
enum Table {
    Json,
    Arrow,
}

impl<S: Send + Sync> FromRequestParts<S> for Table {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        negotiate(&parts.headers, &[Self::Json, Self::Arrow], |table| match table {
            Self::Json => "application/json",
            Self::Arrow => ARROW,
        })
    }
}

/// One axis of a grid.
struct Axis {
    field: &'static str,
    values: Option<ValuesBody>,
    spacing: Spacing,
    /// Checks one value of the axis.
    new: fn(f64) -> Result<f64, DomainError>,
}

impl Axis {
    fn nonzero_params(values: Option<ValuesBody>) -> Self {
        let new = |value| NonzeroParams::new(value).map(NonzeroParams::get);
        Self { field: "nonzero_params", values, spacing: Spacing::Logarithmic, new }
    }

    fn compute(values: Option<ValuesBody>) -> Self {
        let new = |value| Compute::new(value).map(Compute::get);
        Self { field: "compute", values, spacing: Spacing::Logarithmic, new }
    }

    fn data(values: Option<ValuesBody>) -> Self {
        let new = |value| Data::new(value).map(Data::get);
        Self { field: "data", values, spacing: Spacing::Logarithmic, new }
    }

    fn sparsity(values: Option<ValuesBody>) -> Self {
        let new = |value| Sparsity::new(value).map(Sparsity::get);
        Self { field: "sparsity", values, spacing: Spacing::Linear, new }
    }

    fn check(&self, checks: &mut Checks) -> Option<Vec<f64>> {
        let Some(values) = &self.values else {
            checks.refuse(self.field, "must be given for a grid");
            return None;
        };
        values.check(self.field, (MAX_POINTS, self.spacing), self.new, checks)
    }
}

/// A list of points, or the axes of a grid.
enum Points<P> {
    List(Vec<P>),
    Grid(Vec<P>),
}

impl<P> Points<P> {
    fn as_slice(&self) -> &[P] {
        match self {
            Self::List(points) | Self::Grid(points) => points,
        }
    }

    /// JSON pointer to a point of a list; empty for a grid, whose points do not stand in the body.
    fn pointer(&self, index: usize) -> String {
        match self {
            Self::List(_) => format!("/points/{index}"),
            Self::Grid(_) => String::new(),
        }
    }

    /// An error with the point at which it arose.
    fn error_at(&self, index: usize, error: ApiError) -> ApiError {
        match error {
            // Which of many points it is about is said; what settles it is the same for all, and stays.
            ApiError::NotIdentified { detail, missing, suggestions } => ApiError::NotIdentified {
                detail: format!("point {index}: {detail}"),
                missing,
                suggestions,
            },
            // A field of a point stands below it; what holds for all points stands where it was given.
            ApiError::Invalid(errors) => {
                let at = |error: FieldError| FieldError {
                    pointer: format!("{}{}", self.pointer(index), error.pointer),
                    detail: error.detail,
                };
                ApiError::Invalid(errors.into_iter().map(at).collect())
            }
            ApiError::NotRepresentable(detail) | ApiError::Undetermined(detail) => {
                let detail = format!("point {index}: {detail}");
                ApiError::Invalid(vec![FieldError { pointer: self.pointer(index), detail }])
            }
            other => other,
        }
    }

    /// Checks every point, and stops when there are [`MAX_ERRORS`] errors.
    fn check<Q>(&self, check: impl Fn(&P, &mut Checks) -> Option<Q>) -> Result<Vec<Q>, ApiError> {
        let mut checked = Vec::with_capacity(self.as_slice().len());
        let mut errors = Vec::new();
        for (index, point) in self.as_slice().iter().enumerate() {
            let mut checks = Checks::default();
            let value = check(point, &mut checks);
            match checks.finish(value) {
                Ok(value) => checked.push(value),
                Err(found) => errors.extend(found.into_iter().map(|error| FieldError {
                    pointer: format!("{}{}", self.pointer(index), error.pointer),
                    ..error
                })),
            }
            if errors.len() >= MAX_ERRORS || (matches!(self, Self::Grid(_)) && !errors.is_empty()) {
                break;
            }
        }
        if errors.is_empty() { Ok(checked) } else { Err(ApiError::Invalid(errors)) }
    }
}

impl<P> Points<P> {
    /// The list, or the grid of the axes with the last one fastest, of at most [`MAX_POINTS`] points.
    fn new<const N: usize>(
        list: Option<Vec<P>>,
        axes: [Axis; N],
        point: impl Fn([f64; N]) -> P,
    ) -> Result<Self, ApiError> {
        let is_grid = axes.iter().any(|axis| axis.values.is_some());
        match list {
            Some(_) if is_grid => {
                Err(ApiError::field("/points", "must not be given beside the axes of a grid"))
            }
            Some(list) if (1..=MAX_POINTS).contains(&list.len()) => Ok(Self::List(list)),
            Some(list) => {
                let detail = format!("must be 1 to {MAX_POINTS} points, not {}", list.len());
                Err(ApiError::field("/points", detail))
            }
            None if !is_grid => {
                let detail = "must be given, or the axes of a grid in their place";
                Err(ApiError::field("/points", detail))
            }
            None => Ok(Self::Grid(grid(axes)?.into_iter().map(point).collect())),
        }
    }
}

/// All combinations of the values of the axes, those of the last axis one after the other.
fn grid<const N: usize>(axes: [Axis; N]) -> Result<Vec<[f64; N]>, ApiError> {
    let mut checks = Checks::default();
    let values = axes.map(|axis| axis.check(&mut checks));
    let complete = values.iter().all(Option::is_some).then_some(());
    checks.finish(complete)?;
    let values = values.map(Option::unwrap_or_default);
    let counts = values.each_ref().map(Vec::len);
    let count = counts.iter().try_fold(1usize, |product, count| product.checked_mul(*count));
    let Some(count) = count.filter(|count| *count <= MAX_POINTS) else {
        let sizes = counts.map(|count| count.to_string()).join(" x ");
        let detail = format!("the grid must have at most {MAX_POINTS} points, not {sizes}");
        return Err(ApiError::field("", detail));
    };
    let combination = |index: usize| {
        let (mut rest, mut combination) = (index, [0.0; N]);
        for axis in (0..N).rev() {
            combination[axis] = values[axis][rest % counts[axis]];
            rest /= counts[axis];
        }
        combination
    };
    Ok((0..count).map(combination).collect())
}

/// The flop modes of a request, each looked up once, with what training costs and the ranges of the runs in it.
struct Modes {
    costs: Vec<(Mode, TrainingCost, Ranges)>,
    by_name: HashMap<String, usize>,
}

impl Modes {
    /// Looks up the modes that are named.
    async fn find(state: &AppState, law: &AskedLaw, named: Vec<Named>) -> Result<Self, ApiError> {
        let mut modes = Self { costs: Vec::new(), by_name: HashMap::new() };
        for Named { name, pointer } in named {
            let mode = Mode::find_below(state, &pointer, &name).await?;
            let cost = mode.cost(law);
            modes.by_name.insert(name, modes.costs.len());
            let ranges = law.law.content.support.ranges(Some(&cost));
            modes.costs.push((mode, cost, ranges));
        }
        Ok(modes)
    }

    /// The mode of a name that [`Self::find`] has looked up; without a name the only mode there is.
    fn of(&self, name: Option<&str>) -> &(Mode, TrainingCost, Ranges) {
        &self.costs[name.map_or(0, |name| self.by_name[name])]
    }

    fn have_profile(&self) -> bool {
        self.costs.iter().any(|(mode, ..)| matches!(mode, Mode::Profile(_)))
    }
}

/// A flop mode that a request names, and where it does so first.
struct Named {
    name: String,
    pointer: String,
}

impl Named {
    /// The different ones, in the order of [`Points::as_slice`]. Of each point `names` gives its own mode, if it has one,
    /// and the mode of the whole request, if the point needs it.
    fn all<'a>(
        names: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>,
    ) -> Result<Vec<Self>, ApiError> {
        let mut all: Vec<Self> = Vec::new();
        for (index, (own, default)) in names.enumerate() {
            let Some(name) = own.or(default) else { continue };
            if all.iter().any(|named| named.name == name) {
                continue;
            }
            if all.len() == MAX_MODES {
                let detail = format!("must be at most {MAX_MODES} different ones in a request");
                return Err(ApiError::field("/flop_mode", detail));
            }
            // Only points of a list have a mode of their own.
            let pointer = own.map(|_| format!("/points/{index}")).unwrap_or_default();
            all.push(Self { name: name.to_owned(), pointer });
        }
        Ok(all)
    }
}

/// Lists of at most so many points are checked where they arrive: that takes less than a millisecond.
const FEW_POINTS: usize = 500;

/// Checks the points of a request, of which there are so many as a list; a grid may have many.
async fn check_points<T: Send + 'static>(
    state: &AppState,
    owner: &Owner,
    listed: Option<usize>,
    check: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match listed {
        Some(..=FEW_POINTS) => check(),
        _ => state.threads.run(*owner, check).await,
    }
}

/// How much different data a request is about.
fn request_unique_data(given: Option<f64>) -> Result<Option<Data>, ApiError> {
    let mut checks = Checks::default();
    let unique = check_unique_data(given, &mut checks);
    Ok(checks.finish(unique)?)
}

/// Why each resampled law is searched on its own; `None` where all of them are asked together.
fn searched(modes: &Modes, law: &AskedLaw, unique: Option<Data>) -> Option<&'static str> {
    if modes.have_profile() {
        Some("in the mode of a hardware profile")
    } else if unique.is_some() {
        Some("with unique_data")
    } else if law.law.content.coefficients.gain_curve().is_some() {
        Some("by a law that has no gain of its own")
    } else {
        None
    }
}

/// Refuses intervals that ask too many resampled laws: each point asks all of them.
fn check_work(
    state: &AppState,
    law: &AskedLaw,
    intervals: bool,
    points: usize,
    searched: Option<&'static str>,
) -> Result<(), ApiError> {
    let members = law.sampled.ensemble().filter(|_| intervals);
    let members = members.map_or(0, |ensemble| ensemble.members().len());
    let BulkLimits { members: most, searched: most_searched } = state.limits.bulk;
    let (most, setting) = match searched {
        Some(_) => (most_searched, "--max-searched-laws"),
        None => (most, "--max-asked-laws"),
    };
    let asked = (points as u64).saturating_mul(members as u64);
    if asked > most {
        let why = searched.map(|why| format!(" {why}")).unwrap_or_default();
        let detail = format!(
            "must be false: {points} points ask {members} resampled laws each{why}, more than {most} \
             ({setting}) in all; ask for at most {} points at a time",
            most / members.max(1) as u64
        );
        return Err(ApiError::field("/intervals", detail));
    }
    Ok(())
}

/// The axis of a training cost, in the one currency in which it is given, and that currency.
fn cost_axis(values: [Option<ValuesBody>; 4]) -> Result<(Axis, Currency), ApiError> {
    let mut given = Currency::ALL.into_iter().zip(values).filter(|(_, values)| values.is_some());
    let Some((currency, values)) = given.next() else {
        return Ok((Axis::compute(None), Currency::Compute));
    };
    if let Some((other, _)) = given.next() {
        let detail = format!("must not be given beside {}", currency.as_str());
        return Err(ApiError::field(format!("/{}", other.as_str()), detail));
    }
    if currency == Currency::Compute {
        return Ok((Axis::compute(values), currency));
    }
    // What it is in FLOPs is checked where the mode is known.
    let new = |value: f64| {
        let range = "above 0 and at most 1e15";
        let valid = value > 0.0 && value <= 1e15;
        if valid { Ok(value) } else { Err(DomainError::OutOfRange { range, value }) }
    };
    let field = currency.as_str();
    Ok((Axis { field, values, spacing: Spacing::Logarithmic, new }, currency))
}

/// A size, a budget, and the bounds on the sparsity.
type Sized = (NonzeroParams, Compute, Bounds);

/// Training budgets to make the most of: a list of points, or a grid of sizes and budgets.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"flop_mode": "sparse", "intervals": false,
    "nonzero_params": {"from": 1e7, "to": 1e9, "steps": 3}, "compute": [1e19, 1e20]}))]
pub struct CreateOptimalSparsities {
    /// The points, at most 100,000.
    #[schema(min_items = 1, max_items = 100_000)]
    points: Option<Vec<OptimalSparsityPoint>>,
    /// Sizes of a grid, in place of `points`. The budgets of the first size come first.
    nonzero_params: Option<ValuesBody>,
    /// Budgets of a grid, in FLOPs.
    compute: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: hours of one device of the hardware profile.
    device_hours: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: days of all devices of the hardware profile together.
    days: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: what the hours cost.
    cost: Option<ValuesBody>,
    /// What a training step costs at points that do not say so: `dense`, `sparse`, or the name of a
    /// hardware profile.
    #[schema(example = "sparse")]
    flop_mode: Option<String>,
    /// How much different data there is for each of them, in the family's data unit: what is trained on beyond it is seen
    /// again, and teaches less.
    #[schema(example = json!(null), minimum = 1e-6, maximum = 1e30)]
    unique_data: Option<f64>,
    /// The most parameters, zeros included, of points that do not say so; between 1 and 1e22.
    #[schema(minimum = 1, maximum = 1e22)]
    max_total_params: Option<f64>,
    /// The most bytes that the weights may take at points that do not say so, between 1 and 1e30.
    #[schema(minimum = 1, maximum = 1e30)]
    memory_bytes: Option<f64>,
    /// The highest sparsity of points that do not say so, at least 0 and below 1.
    #[schema(minimum = 0, exclusive_maximum = 1)]
    max_sparsity: Option<f64>,
    /// How the weights are stored of which `memory_bytes` speaks: that of the hardware profile, or `dense`, unless
    /// said otherwise; as of plans.
    storage: Option<StorageView>,
    /// Bits of a value of which `memory_bytes` speaks: 4, 8, 16 or 32; 16 unless said otherwise.
    #[schema(minimum = 4, maximum = 32)]
    bits_per_param: Option<u32>,
    /// Version of the law to ask; the active one unless said otherwise.
    law_version: Option<i32>,
    /// Whether to answer with intervals. Points times resampled laws are limited: with 1,000 of these to 100,000
    /// points; and in the mode of a hardware profile, with `unique_data`, and by a law that has no gain of its own, where
    /// each law is searched on its own, to 1,000.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[schema(default = true)]
    intervals: bool,
}

/// One training budget.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptimalSparsityPoint {
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[schema(example = 1e7, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Training cost in FLOPs, between 1 and 1e40. Exactly one of this, `device_hours`, `days` and `cost`.
    #[schema(example = 1e17, minimum = 1, maximum = 1e40)]
    compute: Option<f64>,
    /// In place of `compute`: hours of one device of the hardware profile.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    device_hours: Option<f64>,
    /// In place of `compute`: days of all devices of the hardware profile together.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    days: Option<f64>,
    /// In place of `compute`: what the hours cost, in the currency of the hardware profile's `price_per_hour`.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    cost: Option<f64>,
    /// What a training step costs here.
    flop_mode: Option<String>,
    /// The most parameters, zeros included; between 1 and 1e22.
    #[schema(minimum = 1, maximum = 1e22)]
    max_total_params: Option<f64>,
    /// The most bytes that the weights may take, between 1 and 1e30.
    #[schema(minimum = 1, maximum = 1e30)]
    memory_bytes: Option<f64>,
    /// The highest sparsity, at least 0 and below 1.
    #[schema(minimum = 0, exclusive_maximum = 1)]
    max_sparsity: Option<f64>,
}

impl OptimalSparsityPoint {
    const fn budget(&self) -> GivenBudget {
        GivenBudget([self.compute, self.device_hours, self.days, self.cost])
    }

    const fn bounds(&self) -> GivenBounds {
        GivenBounds {
            max_total_params: self.max_total_params,
            memory_bytes: self.memory_bytes,
            max_sparsity: self.max_sparsity,
        }
    }
}

/// The best sparsities of many budgets, in the order of the points.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimalSparsities<'a> {
    /// The law that they were computed from.
    law: Arc<LawRef>,
    /// One for each point.
    #[schema(value_type = Vec<OptimalSparsityResult>)]
    results: Rows<'a, OptimalSparsityResult>,
    /// What to know before trusting any of them.
    warnings: Vec<Arc<WarningView>>,
}

/// The best sparsity of one budget.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimalSparsityResult {
    /// As asked.
    nonzero_params: f64,
    /// As asked, or what the hours, days or money pay for.
    compute: f64,
    /// The training cost in every currency that is known.
    budget: BudgetView,
    /// The best sparsity; exactly 0 where zeros do not lower the loss. Where `best_measured_level` is true, the
    /// better one of the measured sparsities.
    sparsity: f64,
    /// Whether the runs behind the law tell no more than which of the measured sparsities is best.
    best_measured_level: bool,
    /// The bounds that keep a better sparsity away; empty where none does.
    #[schema(example = json!([]))]
    binding: Vec<&'static str>,
    /// Interval of the best sparsity; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    interval: MaybeInterval,
    /// Predicted loss at it.
    loss: f64,
    /// Interval of the loss at it; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    loss_interval: MaybeInterval,
    /// Data that the compute pays for at it.
    data: f64,
    /// Parameters that a token passes, of a family whose zeros are experts: `nonzero_params`. Left out of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    active_params: Option<f64>,
    /// Parameters at it, zeros included.
    total_params: f64,
    /// The dense model with as many non-zero parameters and the same compute.
    dense: DenseView,
    /// Size of the dense model of equal loss on the same data, relative to `nonzero_params`.
    gain: f64,
    /// The compute relative to that at which a dense model of this size is compute-optimal.
    chinchilla_ratio: f64,
    /// The best pattern that the hardware can run, or the best mixture of experts of the family; null where none are
    /// listed.
    pattern: Option<PatternView>,
    /// The quantities that lie outside the runs behind the law.
    extrapolation: Vec<ExtrapolationView>,
    /// Whether the best sparsity lies between two that runs have, with none near it.
    interpolated: bool,
    /// How far it can be trusted.
    trust: TrustView,
}

/// The questions of a request, and the answer of the law to each.
struct Optima<'a> {
    asked: &'a AskedLaw,
    points: &'a Points<OptimalSparsityPoint>,
    questions: &'a [Sized],
    modes: &'a Modes,
    flop_mode: Option<&'a str>,
    repetition: Option<Repetition>,
    /// Whether the law knows no more than which of the measured sparsities is best.
    measured: bool,
    found: Vec<Recommendation>,
    /// Of the best sparsity and of the loss at it, where they are wanted.
    intervals: Option<Vec<[Option<IntervalView>; 2]>>,
}

impl<'a> Optima<'a> {
    fn find(
        asked: &'a AskedLaw,
        points: &'a Points<OptimalSparsityPoint>,
        questions: &'a [Sized],
        modes: &'a Modes,
        (flop_mode, intervals, unique): (Option<&'a str>, bool, Option<Data>),
    ) -> Result<Self, ApiError> {
        let (measured, found) = (asked.knows_measured_sparsities_alone(), Vec::new());
        let repetition = asked.repetition(unique);
        let mut all = Self {
            asked,
            points,
            questions,
            modes,
            flop_mode,
            repetition,
            measured,
            found,
            intervals: None,
        };
        all.found = all.answers()?;
        if intervals {
            let intervals = (0..questions.len()).map(|at| all.intervals(at));
            all.intervals = Some(intervals.collect::<Result<_, _>>()?);
        }
        Ok(all)
    }

    fn question(&self, at: usize) -> (NonzeroParams, Compute) {
        let (nonzero_params, compute, _) = self.questions[at];
        (nonzero_params, compute)
    }

    fn ceiling(&self, at: usize) -> Ceiling {
        self.questions[at].2.ceiling(&self.mode(at).0)
    }

    /// The least density that the bounds of a point leave.
    fn least(&self, at: usize) -> Result<Option<Density>, ApiError> {
        let (nonzero_params, _) = self.question(at);
        Ok(self.ceiling(at).least_density(nonzero_params)?)
    }

    fn binding(&self, at: usize) -> Result<Vec<&'static str>, ApiError> {
        let (ceiling, question) = (self.ceiling(at), self.question(at));
        let (_, cost, _) = self.mode(at);
        if ceiling.is_none() {
            return Ok(Vec::new());
        }
        let free = if self.measured {
            let free = self.asked.best_measured(cost, question, None)?;
            free.map(|choice| choice.best().model.density)
        } else {
            free_density(self.asked, cost, question, self.repetition.as_ref())
        };
        binding(&ceiling, question.0, || free)
    }

    fn mode(&self, at: usize) -> &'a (Mode, TrainingCost, Ranges) {
        let own = self.points.as_slice()[at].flop_mode.as_deref();
        self.modes.of(own.or(self.flop_mode))
    }

    fn answers(&self) -> Result<Vec<Recommendation>, ApiError> {
        let law = &self.asked.law.content.coefficients;
        if self.measured {
            let answer = |at: usize| {
                let (_, cost, _) = self.mode(at);
                let (nonzero_params, compute) = self.question(at);
                let least = self.least(at)?;
                let choice = self.asked.best_measured(cost, (nonzero_params, compute), least)?;
                let Some(choice) = choice else { return Err(ApiError::NoLaw) };
                let found = choice.recommendation(law, cost, nonzero_params, compute);
                found.map_err(ApiError::from)
            };
            let answers = 0..self.questions.len();
            return answers
                .map(|at| answer(at).map_err(|error| self.points.error_at(at, error)))
                .collect();
        }
        let places = 0..self.questions.len();
        let free = self.questions.iter().all(|(_, _, bounds)| bounds.is_none());
        let plain = free && self.repetition.is_none();
        if plain && self.modes.costs.iter().all(|(_, cost, _)| cost.has_optimum()) {
            let share_cost = self.modes.costs.len() == 1;
            let questions: Vec<_> = places.map(|at| self.question(at)).collect();
            return Recommendation::all(law, &questions, share_cost, |at| &self.mode(at).1)
                .map_err(|(at, error)| self.points.error_at(at, error.into()));
        }
        let answer = |at: usize| {
            let (mode, cost, _) = self.mode(at);
            let (question, least) = (self.question(at), self.least(at)?);
            require_optimum(cost, least, mode)?;
            Ok(Recommendation::under(law, cost, question, least, self.repetition.as_ref())?)
        };
        places.map(|at| answer(at).map_err(|error| self.points.error_at(at, error))).collect()
    }

    fn intervals(&self, at: usize) -> Result<[Option<IntervalView>; 2], ApiError> {
        step();
        let (_, cost, _) = self.mode(at);
        let (nonzero_params, compute) = self.question(at);
        let sampled = &self.asked.sampled;
        let best = &self.found[at].best;
        if self.measured {
            let loss = sampled.loss_intervals(best.density, nonzero_params, best.data);
            return Ok([None, loss.map(|(mean, _)| mean.into())]);
        }
        let found = &self.found[at];
        let both = |known: Option<RecommendationIntervals>| {
            let (sparsity, loss) = known.map(|known| (known.sparsity, known.loss)).unzip();
            [sparsity, loss]
        };
        let least = self.least(at)?;
        let intervals = match (&self.repetition, least) {
            (Some(repetition), least) => {
                let question = (nonzero_params, compute);
                both(sampled.repeating_intervals(cost, question, repetition, least, found))
            }
            (None, None) => {
                let known = sampled.best_intervals(cost, nonzero_params, compute, best);
                known.map_or([None, None], |known| known.map(Some))
            }
            (None, Some(least)) => {
                both(sampled.bounded_intervals(least, cost, nonzero_params, compute, found))
            }
        };
        Ok(intervals.map(|interval| interval.map(Into::into)))
    }

    fn trust(&self, at: usize) -> TrustView {
        let [sparsity, loss] =
            self.intervals.as_ref().map_or([None, None], |intervals| intervals[at]);
        let width = if self.measured {
            relative_width(loss, self.found[at].best.loss)
        } else {
            sparsity_width(sparsity)
        };
        let outside: Vec<Extrapolation> = self.outside(at).into_iter().flatten().collect();
        let mut trust = self.asked.trust(width, &outside);
        if self.disagreement(at).is_some() {
            trust.doubt(TrustCode::FormsDisagree);
        }
        trust
    }

    /// What is said where another form has another answer.
    fn disagreement(&self, at: usize) -> Option<Arc<WarningView>> {
        let (_, _, bounds) = &self.questions[at];
        if self.measured || self.repetition.is_some() || !bounds.is_none() {
            return None;
        }
        let [sparsity, _] = self.intervals.as_ref()?[at];
        self.asked.disagreeing_forms(&self.mode(at).1, self.question(at), sparsity)
    }

    /// What to know before trusting any of the answers.
    fn warnings(&self) -> Vec<Arc<WarningView>> {
        let mut warnings = self.asked.warnings(self.intervals.is_some());
        let disagrees = |at: &usize| self.disagreement(*at).is_some();
        if (0..self.questions.len()).any(|at| disagrees(&at)) {
            let detail = "at some points, of which trust says so, other forms of the law predict held-out runs no \
                          worse and have their best sparsity outside the interval";
            let code = TrustCode::FormsDisagree.as_str();
            warnings.insert(0, Arc::new(WarningView::new(code, detail)));
        }
        let most = self.found.iter().map(|found| found.best.data.get()).fold(0.0, f64::max);
        if let Some(warning) = assumed_repetition(self.asked, self.repetition.as_ref(), most) {
            warnings.insert(0, warning);
        }
        warnings
    }

    fn outside(&self, at: usize) -> [Option<Extrapolation>; 4] {
        let (_, cost, ranges) = self.mode(at);
        let Optimum { density, data, .. } = self.found[at].best;
        let nonzero_params = self.questions[at].0;
        ranges.outside(&Question { nonzero_params, density, data, cost: Some(cost) })
    }

    fn interpolated(&self, at: usize) -> bool {
        let support = &self.asked.law.content.support;
        support.gap_around(self.found[at].best.sparsity()).is_some()
    }

    fn row(&self, at: usize) -> Result<OptimalSparsityResult, ApiError> {
        step();
        let (nonzero_params, compute) = self.question(at);
        let found = &self.found[at];
        let intervals = self.intervals.as_ref().map(|intervals| intervals[at]);
        let pattern = match self.measured || self.repetition.is_some() {
            true => Ok(None),
            false => self.mode(at).0.pattern(
                self.asked,
                self.question(at),
                &found.best,
                &self.ceiling(at),
                intervals.is_some(),
            ),
        };
        let pattern = pattern.map_err(|error| self.points.error_at(at, error))?;
        let mut trust = self.trust(at);
        if self.asked.unmeasured(pattern.as_ref().map(PatternView::name)).is_some() {
            trust.doubt(TrustCode::UnmeasuredPattern);
        }
        Ok(OptimalSparsityResult {
            nonzero_params: nonzero_params.get(),
            compute: compute.get(),
            budget: BudgetView::new(compute.get(), &self.mode(at).0),
            sparsity: found.best.sparsity().get(),
            best_measured_level: self.measured,
            binding: self.binding(at)?,
            interval: intervals.map(|[sparsity, _]| sparsity),
            loss: found.best.loss,
            loss_interval: intervals.map(|[_, loss]| loss),
            data: found.best.data.get(),
            active_params: self.asked.active_params(nonzero_params.get()),
            total_params: found.total_params,
            dense: found.dense.into(),
            gain: found.gain,
            chinchilla_ratio: found.chinchilla_ratio,
            pattern,
            extrapolation: self.outside(at).into_iter().flatten().map(Into::into).collect(),
            interpolated: self.interpolated(at),
            trust,
        })
    }

    fn json(&self) -> Result<Response, ApiError> {
        let (row, failed) = (|at| self.row(at), RefCell::default());
        rows::json(self.questions.len(), &row, &failed, |results| OptimalSparsities {
            law: self.asked.reference.clone(),
            results,
            warnings: self.warnings(),
        })
    }

    fn arrow(&self) -> Result<Response, ApiError> {
        let (questions, found) = (self.questions, &self.found);
        let mut columns = Columns::default();
        columns.numbers("nonzero_params", questions, |(size, ..)| size.get());
        columns.numbers("compute", questions, |(_, compute, _)| compute.get());
        let paid = |at: usize| BudgetView::new(questions[at].1.get(), &self.mode(at).0).paid();
        columns.maybe(["device_hours", "days", "cost"], questions.len(), paid);
        columns.numbers("sparsity", found, |found| found.best.sparsity().get());
        let intervals = self.intervals.as_deref();
        columns.interval(["sparsity_low", "sparsity_high"], intervals, |[sparsity, _]| *sparsity);
        columns.numbers("loss", found, |found| found.best.loss);
        columns.interval(["loss_low", "loss_high"], intervals, |[_, loss]| *loss);
        columns.numbers("data", found, |found| found.best.data.get());
        columns.numbers("total_params", found, |found| found.total_params);
        columns.numbers("dense_loss", found, |found| found.dense.loss);
        columns.numbers("dense_data", found, |found| found.dense.data.get());
        columns.numbers("gain", found, |found| found.gain);
        columns.numbers("chinchilla_ratio", found, |found| found.chinchilla_ratio);
        let beyond = |at: usize| {
            let outside = self.outside(at);
            let of =
                |(_, variable)| outside.iter().flatten().find(|each| each.variable == variable);
            BEYOND.map(|column| of(column).map(|each| each.factor))
        };
        columns.caveats(found.len(), beyond, |at| self.interpolated(at));
        let binding = (0..found.len()).map(|at| self.binding(at));
        columns.lists("binding", &binding.collect::<Result<Vec<_>, _>>()?);
        columns.trust(found.len(), |at| self.trust(at));
        columns.stream(&self.asked.reference, &self.warnings())
    }
}

/// Finds the best sparsities of up to 100,000 training budgets, in order.
#[utoipa::path(
    post, path = "/v1/families/{family}/optimal-sparsities", tag = TAG_QUESTIONS,
    params(FamilyPath), request_body = CreateOptimalSparsities,
    responses(
        (status = OK, description = "The best sparsities; as an Arrow stream by columns, numbers only", content(
            (OptimalSparsities = "application/json"),
            (BinaryFile = "application/vnd.apache.arrow.stream"),
        )),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn create_optimal_sparsities(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    table: Table,
    owner: Owner,
    BulkBody(body): BulkBody<CreateOptimalSparsities>,
) -> Result<Response, ApiError> {
    let CreateOptimalSparsities { points, nonzero_params, compute, flop_mode, .. } = body;
    let (law_version, intervals) = (body.law_version, body.intervals);
    let unique = request_unique_data(body.unique_data)?;
    let storage = GivenStorage { storage: body.storage, bits_per_param: body.bits_per_param };
    let all = GivenBounds {
        max_total_params: body.max_total_params,
        memory_bytes: body.memory_bytes,
        max_sparsity: body.max_sparsity,
    };
    // What is wrong for all points is said once, and not as if it were wrong at each.
    let mut checks = Checks::default();
    let in_points = points.iter().flatten().any(|point| point.memory_bytes.is_some());
    storage.require_memory(all.memory_bytes.is_some() || in_points, &mut checks);
    let checked = all.check(storage, &mut checks);
    checks.finish(checked)?;
    let (cost, currency) = cost_axis([compute, body.device_hours, body.days, body.cost])?;
    let axes = [Axis::nonzero_params(nonzero_params), cost];
    let of_currency = move |which: Currency, value: f64| (which == currency).then_some(value);
    let listed = points.as_ref().map(Vec::len);
    let default = flop_mode.clone();
    let check = move || {
        let default = default.as_deref();
        let points = Points::new(points, axes, |[nonzero_params, cost]| OptimalSparsityPoint {
            nonzero_params,
            compute: of_currency(Currency::Compute, cost),
            device_hours: of_currency(Currency::DeviceHours, cost),
            days: of_currency(Currency::Days, cost),
            cost: of_currency(Currency::Cost, cost),
            flop_mode: None,
            max_total_params: None,
            memory_bytes: None,
            max_sparsity: None,
        })?;
        let questions = points.check(|point, checks| {
            let mode = point.flop_mode.as_deref().or(default);
            let sized = Budget::check_spending(point.nonzero_params, point.budget(), mode, checks);
            let bounds = point.bounds().or(all).check(storage, checks);
            sized.zip(bounds).map(|((size, spending), bounds)| (size, spending, bounds))
        })?;
        let names = points.as_slice().iter().map(|point| (point.flop_mode.as_deref(), default));
        let named = Named::all(names)?;
        Ok((points, questions, named))
    };
    let (points, questions, named) = check_points(&state, &owner, listed, check).await?;
    let (asked, freshness) = asked_law(&state, &path.name()?, law_version).await?;
    if !asked.knows_measured_sparsities_alone() || unique.is_some() {
        asked.require_all("the optimal sparsity")?;
    }
    let modes = Modes::find(&state, &asked, named).await?;
    let why = searched(&modes, &asked, unique);
    check_work(&state, &asked, intervals, questions.len(), why)?;
    let answer = move || {
        let default = flop_mode.as_deref();
        let in_mode = |(at, (size, spending, bounds)): (usize, (_, Spending, Bounds))| {
            let (mode, ..) = modes.of(points.as_slice()[at].flop_mode.as_deref().or(default));
            let compute = spending.compute(mode).map_err(|error| points.error_at(at, error))?;
            Ok((size, compute, bounds))
        };
        let questions = questions.into_iter().enumerate().map(in_mode);
        let questions = questions.collect::<Result<Vec<Sized>, ApiError>>()?;
        let options = (default, intervals, unique);
        let optima = Optima::find(&asked, &points, &questions, &modes, options)?;
        match table {
            Table::Json => optima.json(),
            Table::Arrow => optima.arrow(),
        }
    };
    let mut response = state.threads.run(owner, answer).await?;
    freshness.mark(&mut response);
    Ok(response)
}

/// Models whose loss to predict: a list of points, or a grid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"intervals": false, "nonzero_params": [1e8], "sparsity": {"from": 0, "to": 0.9, "steps": 10},
    "data": 1e10}))]
pub struct CreatePredictions {
    /// The points, at most 100,000.
    #[schema(min_items = 1, max_items = 100_000)]
    points: Option<Vec<PredictionPoint>>,
    /// Sizes of a grid, in place of `points`. The last axis is the fastest: `data` or `compute`.
    nonzero_params: Option<ValuesBody>,
    /// Sparsities of a grid, evenly spaced where `from` and `to` are given.
    sparsity: Option<ValuesBody>,
    /// Data of a grid, in the family's data unit. Either this or `compute`.
    data: Option<ValuesBody>,
    /// Budgets of a grid, in FLOPs.
    compute: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: hours of one device of the hardware profile.
    device_hours: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: days of all devices of the hardware profile together.
    days: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: what the hours cost.
    cost: Option<ValuesBody>,
    /// What a training step costs at points with a training cost that do not say so.
    #[schema(example = "sparse")]
    flop_mode: Option<String>,
    /// How much different data there is for each of them, in the family's data unit: what is trained on beyond it is seen
    /// again, and teaches less.
    #[schema(example = json!(null), minimum = 1e-6, maximum = 1e30)]
    unique_data: Option<f64>,
    /// Version of the law to ask; the active one unless said otherwise.
    law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[schema(default = true)]
    intervals: bool,
}

/// One model.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictionPoint {
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[schema(example = 1e7, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Fraction of zeros at the end of training, at least 0 and below 1.
    #[schema(example = 0.75, minimum = 0, exclusive_maximum = 1)]
    sparsity: f64,
    /// Data seen in training, in the family's data unit. Either this or `compute`.
    #[schema(example = 3e10, minimum = 1e-6, maximum = 1e30)]
    data: Option<f64>,
    /// Training cost in FLOPs, between 1 and 1e40.
    #[schema(minimum = 1, maximum = 1e40)]
    compute: Option<f64>,
    /// In place of `compute`: hours of one device of the hardware profile.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    device_hours: Option<f64>,
    /// In place of `compute`: days of all devices of the hardware profile together.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    days: Option<f64>,
    /// In place of `compute`: what the hours cost, in the currency of the hardware profile's `price_per_hour`.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    cost: Option<f64>,
    /// What a training step costs here; belongs to `compute` and what stands in its place.
    flop_mode: Option<String>,
}

impl PredictionPoint {
    const fn budget(&self) -> GivenBudget {
        GivenBudget([self.compute, self.device_hours, self.days, self.cost])
    }

    /// The mode of its compute, if that is what it is about.
    fn mode<'a>(&'a self, default: Option<&'a str>) -> Option<&'a str> {
        let default = default.filter(|_| self.budget().is_some());
        self.flop_mode.as_deref().or(default)
    }
}

/// The losses of many models, in the order of the points.
#[derive(Debug, Serialize, ToSchema)]
pub struct Predictions {
    /// The law that they were computed from.
    law: Arc<LawRef>,
    /// One for each point.
    results: Vec<PredictionResult>,
    /// What to know before trusting any of them.
    warnings: Vec<Arc<WarningView>>,
}

/// The loss of one model.
#[derive(Debug, Serialize, ToSchema)]
pub struct PredictionResult {
    /// As asked.
    nonzero_params: f64,
    /// As asked.
    sparsity: f64,
    /// As asked, or what the compute pays for.
    data: f64,
    /// The training cost in every currency that is known; null where the point is about data.
    budget: Option<BudgetView>,
    /// Predicted validation loss.
    loss: f64,
    /// Interval of the mean loss; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    interval: MaybeInterval,
    /// Interval of the loss of one new run; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    prediction_interval: MaybeInterval,
    /// The quantities that lie outside the runs behind the law.
    extrapolation: Vec<ExtrapolationView>,
    /// Whether the sparsity lies between two that runs have, with none near it.
    interpolated: bool,
    /// How far it can be trusted.
    trust: TrustView,
}

/// What is said of the most data of many answers, where some of it is repeated.
fn assumed_repetition(
    asked: &AskedLaw,
    repetition: Option<&Repetition>,
    most: f64,
) -> Option<Arc<WarningView>> {
    asked.assumed_repetition(repetition, Data::new(most).ok()?).cloned()
}

fn predict_all(
    asked: &AskedLaw,
    points: &Points<PredictionPoint>,
    questions: &[(NonzeroParams, Density, Budget)],
    modes: &Modes,
    (default, intervals, unique): (Option<&str>, bool, Option<Data>),
) -> Result<Predictions, ApiError> {
    let repetition = asked.repetition(unique);
    let support = &asked.law.content.support;
    let answer = |(&(nonzero_params, density, ref budget), point): (
        &(NonzeroParams, Density, Budget),
        &PredictionPoint,
    )| {
        step();
        let training = match *budget {
            Budget::Data(data) => Training::Data(data),
            Budget::Compute(compute) => {
                Training::Compute(compute, &modes.of(point.mode(default)).1)
            }
        };
        let spent = match *budget {
            Budget::Data(_) => None,
            Budget::Compute(compute) => {
                Some(BudgetView::new(compute.get(), &modes.of(point.mode(default)).0))
            }
        };
        let repetition = repetition.as_ref();
        let model = (nonzero_params, density);
        let (question, loss) = predicted_loss(asked, model, training, repetition)?;
        let data = question.data;
        let found = if intervals {
            let worth = effective_data(repetition, data);
            asked.sampled.loss_intervals(density, nonzero_params, worth)
        } else {
            None
        };
        let (interval, prediction_interval) = found.unzip();
        Ok(PredictionResult {
            nonzero_params: nonzero_params.get(),
            sparsity: point.sparsity,
            data: data.get(),
            budget: spent,
            loss,
            interval: intervals.then(|| interval.map(IntervalView::from)),
            prediction_interval: intervals.then(|| prediction_interval.map(IntervalView::from)),
            trust: asked.trust(
                relative_width(interval.map(Into::into), loss),
                &support.extrapolation(&question),
            ),
            extrapolation: support.extrapolation(&question).into_iter().map(Into::into).collect(),
            interpolated: support.gap_around(density.sparsity()).is_some(),
        })
    };
    let results = questions
        .iter()
        .zip(points.as_slice())
        .enumerate()
        .map(|(index, both)| answer(both).map_err(|error| points.error_at(index, error)));
    let results = results.collect::<Result<Vec<PredictionResult>, ApiError>>()?;
    let most = results.iter().map(|result| result.data).fold(0.0, f64::max);
    let mut warnings = asked.warnings(intervals);
    if let Some(warning) = assumed_repetition(asked, repetition.as_ref(), most) {
        warnings.insert(0, warning);
    }
    Ok(Predictions { law: asked.reference.clone(), results, warnings })
}

/// Predicts the losses of up to 100,000 models, in order.
#[utoipa::path(
    post, path = "/v1/families/{family}/predictions", tag = TAG_QUESTIONS,
    params(FamilyPath), request_body = CreatePredictions,
    responses(
        (status = OK, description = "The predicted losses; as an Arrow stream by columns, numbers only", content(
            (Predictions = "application/json"),
            (BinaryFile = "application/vnd.apache.arrow.stream"),
        )),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn create_predictions(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    table: Table,
    owner: Owner,
    BulkBody(body): BulkBody<CreatePredictions>,
) -> Result<Response, ApiError> {
    let CreatePredictions { points, nonzero_params, sparsity, data, compute, .. } = body;
    let (flop_mode, law_version, intervals) = (body.flop_mode, body.law_version, body.intervals);
    let unique = request_unique_data(body.unique_data)?;
    let (cost, currency) = cost_axis([compute, body.device_hours, body.days, body.cost])?;
    let by_cost = cost.values.is_some();
    if data.is_some() && by_cost {
        let field = format!("/{}", currency.as_str());
        return Err(ApiError::field(&field, "must not be given beside data"));
    }
    let axes = [
        Axis::nonzero_params(nonzero_params),
        Axis::sparsity(sparsity),
        if by_cost { cost } else { Axis::data(data) },
    ];
    let of_currency = move |which, value: f64| (by_cost && which == currency).then_some(value);
    let listed = points.as_ref().map(Vec::len);
    let default = flop_mode.clone();
    let check = move || {
        let default = default.as_deref();
        let points =
            Points::new(points, axes, |[nonzero_params, sparsity, last]| PredictionPoint {
                nonzero_params,
                sparsity,
                data: (!by_cost).then_some(last),
                compute: of_currency(Currency::Compute, last),
                device_hours: of_currency(Currency::DeviceHours, last),
                days: of_currency(Currency::Days, last),
                cost: of_currency(Currency::Cost, last),
                flop_mode: None,
            })?;
        let questions = points.check(|point, checks| {
            let nonzero_params =
                checks.take("nonzero_params", NonzeroParams::new(point.nonzero_params));
            let sparsity = checks.take("sparsity", Sparsity::new(point.sparsity));
            let mode = point.mode(default);
            let budget = AskedBudget::check(point.data, point.budget(), mode, checks);
            let question = nonzero_params.zip(sparsity).zip(budget);
            question.map(|((size, sparsity), budget)| (size, sparsity.density(), budget))
        })?;
        let names =
            points.as_slice().iter().map(|point| (point.flop_mode.as_deref(), point.mode(default)));
        let named = Named::all(names)?;
        Ok((points, questions, named))
    };
    let (points, questions, named) = check_points(&state, &owner, listed, check).await?;
    let (asked, freshness) = asked_law(&state, &path.name()?, law_version).await?;
    let modes = Modes::find(&state, &asked, named).await?;
    // A loss needs no search in any mode.
    check_work(&state, &asked, intervals, questions.len(), None)?;
    let answer = move || {
        let default = flop_mode.as_deref();
        let in_mode = |(at, (size, density, budget)): (usize, (_, _, AskedBudget))| {
            let budget = match budget {
                AskedBudget::Data(data) => Budget::Data(data),
                AskedBudget::Spending(spending) => {
                    let (mode, ..) = modes.of(points.as_slice()[at].mode(default));
                    let compute = spending.compute(mode);
                    Budget::Compute(compute.map_err(|error| points.error_at(at, error))?)
                }
            };
            Ok((size, density, budget))
        };
        let questions = questions.into_iter().enumerate().map(in_mode);
        let questions = questions.collect::<Result<Vec<_>, ApiError>>()?;
        let options = (default, intervals, unique);
        let answer = predict_all(&asked, &points, &questions, &modes, options)?;
        match table {
            Table::Json => rows::whole_json(&answer),
            Table::Arrow => answer.arrow(),
        }
    };
    let mut response = state.threads.run(owner, answer).await?;
    freshness.mark(&mut response);
    Ok(response)
}

impl Predictions {
    fn arrow(&self) -> Result<Response, ApiError> {
        let rows = &self.results;
        let mut columns = Columns::default();
        columns.numbers("nonzero_params", rows, |row| row.nonzero_params);
        columns.numbers("sparsity", rows, |row| row.sparsity);
        columns.numbers("data", rows, |row| row.data);
        columns.numbers("loss", rows, |row| row.loss);
        let wanted = rows.first().is_some_and(|row| row.interval.is_some()).then_some(&**rows);
        columns.interval(["loss_low", "loss_high"], wanted, |row| row.interval.flatten());
        let new_run = ["new_run_low", "new_run_high"];
        columns.interval(new_run, wanted, |row| row.prediction_interval.flatten());
        let beyond = |row: usize, variable: Variable| {
            let mut outside = rows[row].extrapolation.iter();
            outside.find(|each| each.variable == variable.as_str()).map(|each| each.factor)
        };
        columns.caveats(
            rows.len(),
            |row| BEYOND.map(|(_, variable)| beyond(row, variable)),
            |row| rows[row].interpolated,
        );
        columns.trust(rows.len(), |row| rows[row].trust.clone());
        columns.stream(&self.law, &self.warnings)
    }
}
