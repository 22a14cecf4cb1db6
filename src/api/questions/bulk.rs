//! The questions for up to 100,000 points at once: a list, or a grid in short.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    Compute, Data, Density, DomainError, Extrapolation, NonzeroParams, Optimum, Question, Ranges,
    Recommendation, Sparsity, Training, TrainingCost, Variable,
};
use sparsity_law::pace::step;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::asked_law;
use crate::api::questions::budget::Budget;
use crate::api::questions::law::{AskedLaw, relative_width, sparsity_width};
use crate::api::questions::modes::Mode;
use crate::api::questions::optimal_sparsity::DenseView;
use crate::api::questions::patterns::PatternView;
use crate::api::questions::predictions::predicted_loss;
use crate::api::state::{AppState, BulkLimits};
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::columns::{ARROW, BEYOND, Columns};
use crate::api::wire::extract::{BulkBody, FamilyPath};
use crate::api::wire::negotiation::negotiate;
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::values::{Spacing, ValuesBody};
use crate::api::wire::views::{
    ExtrapolationView, IntervalView, LawRef, MaybeInterval, TrustView, WarningView,
};
use crate::domain::checks::{Checks, FieldError};
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
    /// Looks up the modes that the points name, in the order of [`Points::as_slice`]. Of each point `names` gives
    /// its own mode, if it has one, and the mode of the whole request, if the point needs it.
    async fn find<'a>(
        state: &AppState,
        law: &AskedLaw,
        names: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>,
    ) -> Result<Self, ApiError> {
        let mut modes = Self { costs: Vec::new(), by_name: HashMap::new() };
        for (index, (own, default)) in names.enumerate() {
            let Some(name) = own.or(default) else { continue };
            if modes.by_name.contains_key(name) {
                continue;
            }
            if modes.costs.len() == MAX_MODES {
                let detail = format!("must be at most {MAX_MODES} different ones in a request");
                return Err(ApiError::field("/flop_mode", detail));
            }
            // Only points of a list have a mode of their own.
            let pointer = own.map(|_| format!("/points/{index}")).unwrap_or_default();
            let mode = Mode::find_below(state, &pointer, name).await?;
            let cost = mode.cost(law);
            modes.by_name.insert(name.to_owned(), modes.costs.len());
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

/// Refuses intervals that ask too many resampled laws: each point asks all of them.
fn check_work(
    state: &AppState,
    law: &AskedLaw,
    intervals: bool,
    points: usize,
    searched: bool,
) -> Result<(), ApiError> {
    let members = law.sampled.ensemble().filter(|_| intervals);
    let members = members.map_or(0, |ensemble| ensemble.members().len());
    let BulkLimits { members: most, searched: most_searched } = state.limits.bulk;
    let (most, setting, where_so) = if searched {
        (most_searched, "--max-searched-laws", " in the mode of a hardware profile")
    } else {
        (most, "--max-asked-laws", "")
    };
    let asked = (points as u64).saturating_mul(members as u64);
    if asked > most {
        let detail = format!(
            "must be false: {points} points ask {members} resampled laws each{where_so}, more than {most} \
             ({setting}) in all; ask for at most {} points at a time",
            most / members.max(1) as u64
        );
        return Err(ApiError::field("/intervals", detail));
    }
    Ok(())
}

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
    /// What a training step costs at points that do not say so: `dense`, `sparse`, or the name of a
    /// hardware profile.
    #[schema(example = "sparse")]
    flop_mode: Option<String>,
    /// Version of the law to ask; the active one unless said otherwise.
    law_version: Option<i32>,
    /// Whether to answer with intervals. Points times resampled laws are limited: with 1,000 of these to 100,000
    /// points, and in the mode of a hardware profile, where each law is searched on its own, to 1,000.
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
    /// Training cost in FLOPs, between 1 and 1e40.
    #[schema(example = 1e17, minimum = 1, maximum = 1e40)]
    compute: f64,
    /// What a training step costs here.
    flop_mode: Option<String>,
}

/// The best sparsities of many budgets, in the order of the points.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimalSparsities {
    /// The law that they were computed from.
    law: Arc<LawRef>,
    /// One for each point.
    results: Vec<OptimalSparsityResult>,
    /// What to know before trusting any of them.
    warnings: Vec<Arc<WarningView>>,
}

/// The best sparsity of one budget.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimalSparsityResult {
    /// As asked.
    nonzero_params: f64,
    /// As asked.
    compute: f64,
    /// The best sparsity; exactly 0 where zeros do not lower the loss. Where `best_measured_level` is true, the
    /// better one of the measured sparsities.
    sparsity: f64,
    /// Whether the runs behind the law tell no more than which of the measured sparsities is best.
    best_measured_level: bool,
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
    /// Parameters at it, zeros included.
    total_params: f64,
    /// The dense model with as many non-zero parameters and the same compute.
    dense: DenseView,
    /// Size of the dense model of equal loss on the same data, relative to `nonzero_params`.
    gain: f64,
    /// The compute relative to that at which a dense model of this size is compute-optimal.
    chinchilla_ratio: f64,
    /// The best pattern that the hardware can run; null where the mode lists no patterns.
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
    questions: &'a [(NonzeroParams, Compute)],
    modes: &'a Modes,
    flop_mode: Option<&'a str>,
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
        questions: &'a [(NonzeroParams, Compute)],
        modes: &'a Modes,
        (flop_mode, intervals): (Option<&'a str>, bool),
    ) -> Result<Self, ApiError> {
        let (measured, found) = (asked.knows_measured_sparsities_alone(), Vec::new());
        let mut all =
            Self { asked, points, questions, modes, flop_mode, measured, found, intervals: None };
        all.found = all.answers()?;
        all.intervals =
            intervals.then(|| (0..questions.len()).map(|at| all.intervals(at)).collect());
        Ok(all)
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
                let (nonzero_params, compute) = self.questions[at];
                let choice = self.asked.best_measured(cost, self.questions[at])?;
                let Some(choice) = choice else { return Err(ApiError::NoLaw) };
                let found = choice.recommendation(law, cost, nonzero_params, compute);
                found.map_err(ApiError::from)
            };
            let answers = 0..self.questions.len();
            return answers
                .map(|at| answer(at).map_err(|error| self.points.error_at(at, error)))
                .collect();
        }
        let share_cost = self.modes.costs.len() == 1;
        Recommendation::all(law, self.questions, share_cost, |at| &self.mode(at).1)
            .map_err(|(at, error)| self.points.error_at(at, error.into()))
    }

    fn intervals(&self, at: usize) -> [Option<IntervalView>; 2] {
        step();
        let (_, cost, _) = self.mode(at);
        let (nonzero_params, compute) = self.questions[at];
        let sampled = &self.asked.sampled;
        let best = &self.found[at].best;
        if self.measured {
            let loss = sampled.loss_intervals(best.density, nonzero_params, best.data);
            return [None, loss.map(|(mean, _)| mean.into())];
        }
        sampled
            .best_intervals(cost, nonzero_params, compute, best)
            .map(|interval| interval.map(Into::into))
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
        self.asked.trust(width, &outside)
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
        let (nonzero_params, compute) = self.questions[at];
        let found = &self.found[at];
        let intervals = self.intervals.as_ref().map(|intervals| intervals[at]);
        let pattern = match self.measured {
            true => Ok(None),
            false => self.mode(at).0.pattern(
                self.asked,
                self.questions[at],
                &found.best,
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
            sparsity: found.best.sparsity().get(),
            best_measured_level: self.measured,
            interval: intervals.map(|[sparsity, _]| sparsity),
            loss: found.best.loss,
            loss_interval: intervals.map(|[_, loss]| loss),
            data: found.best.data.get(),
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
        let rows = (0..self.questions.len()).map(|at| self.row(at));
        let answer = OptimalSparsities {
            law: self.asked.reference.clone(),
            results: rows.collect::<Result<_, ApiError>>()?,
            warnings: self.asked.warnings(self.intervals.is_some()),
        };
        Ok(Json(answer).into_response())
    }

    fn arrow(&self) -> Result<Response, ApiError> {
        let (questions, found) = (self.questions, &self.found);
        let mut columns = Columns::default();
        columns.numbers("nonzero_params", questions, |(size, _)| size.get());
        columns.numbers("compute", questions, |(_, compute)| compute.get());
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
        columns.trust(found.len(), |at| self.trust(at));
        columns.stream(&self.asked.reference, &self.asked.warnings(intervals.is_some()))
    }
}

/// Finds the best sparsities of up to 100,000 training budgets, in order.
#[utoipa::path(
    post, path = "/v1/families/{family}/optimal-sparsities", tag = TAG_QUESTIONS,
    params(FamilyPath), request_body = CreateOptimalSparsities,
    responses(
        (status = OK, description = "The best sparsities; as an Arrow stream by columns, numbers only", content(
            (OptimalSparsities = "application/json"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
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
    let axes = [Axis::nonzero_params(nonzero_params), Axis::compute(compute)];
    let points = Points::new(points, axes, |[nonzero_params, compute]| OptimalSparsityPoint {
        nonzero_params,
        compute,
        flop_mode: None,
    })?;
    let default = flop_mode.as_deref();
    let questions = points.check(|point, checks| {
        let mode = point.flop_mode.as_deref().or(default);
        Budget::check_sized(point.nonzero_params, point.compute, mode, checks)
    })?;
    let (asked, freshness) = asked_law(&state, &path.name()?, law_version).await?;
    if !asked.knows_measured_sparsities_alone() {
        asked.require_all("the optimal sparsity")?;
    }
    let names = points.as_slice().iter().map(|point| (point.flop_mode.as_deref(), default));
    let modes = Modes::find(&state, &asked, names).await?;
    check_work(&state, &asked, intervals, questions.len(), modes.have_profile())?;
    let answer = move || {
        let options = (flop_mode.as_deref(), intervals);
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
    /// What a training step costs at points with `compute` that do not say so.
    #[schema(example = "sparse")]
    flop_mode: Option<String>,
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
    /// What a training step costs here; belongs to `compute`.
    flop_mode: Option<String>,
}

impl PredictionPoint {
    /// The mode of its compute, if that is what it is about.
    fn mode<'a>(&'a self, default: Option<&'a str>) -> Option<&'a str> {
        let default = default.filter(|_| self.compute.is_some());
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

fn predict_all(
    asked: &AskedLaw,
    points: &Points<PredictionPoint>,
    questions: &[(NonzeroParams, Density, Budget)],
    modes: &Modes,
    (default, intervals): (Option<&str>, bool),
) -> Result<Predictions, ApiError> {
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
        let (question, loss) = predicted_loss(asked, (nonzero_params, density), training)?;
        let data = question.data;
        let found = if intervals {
            asked.sampled.loss_intervals(density, nonzero_params, data)
        } else {
            None
        };
        let (interval, prediction_interval) = found.unzip();
        Ok(PredictionResult {
            nonzero_params: nonzero_params.get(),
            sparsity: point.sparsity,
            data: data.get(),
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
    Ok(Predictions {
        law: asked.reference.clone(),
        results: results.collect::<Result<_, ApiError>>()?,
        warnings: asked.warnings(intervals),
    })
}

/// Predicts the losses of up to 100,000 models, in order.
#[utoipa::path(
    post, path = "/v1/families/{family}/predictions", tag = TAG_QUESTIONS,
    params(FamilyPath), request_body = CreatePredictions,
    responses(
        (status = OK, description = "The predicted losses; as an Arrow stream by columns, numbers only", content(
            (Predictions = "application/json"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
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
    if data.is_some() && compute.is_some() {
        return Err(ApiError::field("/compute", "must not be given beside data"));
    }
    let by_compute = compute.is_some();
    let axes = [
        Axis::nonzero_params(nonzero_params),
        Axis::sparsity(sparsity),
        if by_compute { Axis::compute(compute) } else { Axis::data(data) },
    ];
    let points = Points::new(points, axes, |[nonzero_params, sparsity, last]| PredictionPoint {
        nonzero_params,
        sparsity,
        data: (!by_compute).then_some(last),
        compute: by_compute.then_some(last),
        flop_mode: None,
    })?;
    let default = flop_mode.as_deref();
    let questions = points.check(|point, checks| {
        let nonzero_params =
            checks.take("nonzero_params", NonzeroParams::new(point.nonzero_params));
        let sparsity = checks.take("sparsity", Sparsity::new(point.sparsity));
        let budget = Budget::check(point.data, point.compute, point.mode(default), checks);
        let question = nonzero_params.zip(sparsity).zip(budget);
        question.map(|((size, sparsity), budget)| (size, sparsity.density(), budget))
    })?;
    let (asked, freshness) = asked_law(&state, &path.name()?, law_version).await?;
    let names =
        points.as_slice().iter().map(|point| (point.flop_mode.as_deref(), point.mode(default)));
    let modes = Modes::find(&state, &asked, names).await?;
    // A loss needs no search in any mode.
    check_work(&state, &asked, intervals, questions.len(), false)?;
    let answer = move || {
        let options = (flop_mode.as_deref(), intervals);
        let answer = predict_all(&asked, &points, &questions, &modes, options)?;
        match table {
            Table::Json => Ok(Json(answer).into_response()),
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
