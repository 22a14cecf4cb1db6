//! The predicted losses of many models.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    Data, Density, NonzeroParams, Sparsity, Training, Variable, effective_data,
};
use sparsity_law::pace::step;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::budget::{AskedBudget, Budget, BudgetView, GivenBudget};
use crate::api::questions::bulk::points::{
    Axis, Modes, Named, Points, Table, assumed_repetition, check_points, check_work, cost_axis,
    count_points, request_unique_data,
};
use crate::api::questions::law::{AskedLaw, relative_width};
use crate::api::questions::predictions::predicted_loss;
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::columns::{BEYOND, ResultColumns};
use crate::api::wire::extract::{BulkBody, FamilyPath};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::rows::{self};
use crate::api::wire::schemas::BinaryFile;
use crate::api::wire::values::{ValuesBody, bounded};
use crate::api::wire::views::{
    ExtrapolationView, IntervalView, LawRef, MaybeInterval, TrustView, WarningView,
};
use crate::domain::currency::Currency;
use crate::domain::trust::TrustCode;

/// Routes of this question.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create_predictions))
}

/// The models to predict the losses of: a list of points, or a grid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"intervals": false, "nonzero_params": [1e8], "sparsity": {"from": 0, "to": 0.9, "steps": 10},
    "data": 1e10}))]
pub struct CreatePredictions {
    /// The points, at most 100,000.
    #[schema(min_items = 1, max_items = 100_000)]
    #[serde(default, deserialize_with = "bounded")]
    points: Option<Vec<PredictionPoint>>,
    /// Sizes of a grid, in place of `points`. In the results the last axis, `data` or `compute`, varies fastest.
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
    /// Budgets of a grid in place of `compute`: the price of the hours, in the currency of the hardware profile.
    cost: Option<ValuesBody>,
    /// What a training step costs, for points with a training cost but without their own `flop_mode`.
    #[schema(example = "sparse")]
    flop_mode: Option<String>,
    /// The pattern or recipe of the level, for points without their own `level`.
    #[schema(example = json!(null))]
    level: Option<String>,
    /// How much unique data there is for each point, in the family's data unit: training data beyond this amount is
    /// seen again, and teaches less.
    #[schema(example = json!(null), minimum = 1e-6, maximum = 1e30)]
    unique_data: Option<f64>,
    /// Version of the law to ask; the active one by default.
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
    /// In place of `compute`: the price of the hours, in the currency of the hardware profile's `price_per_hour`.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    cost: Option<f64>,
    /// What a training step costs at this point. Only with `compute`, or with what is given in its place.
    flop_mode: Option<String>,
    /// The pattern or recipe of the level, for a law that tells runs of the same sparsity apart by it and has several
    /// levels of this sparsity.
    level: Option<String>,
}

impl PredictionPoint {
    const fn budget(&self) -> GivenBudget {
        GivenBudget([self.compute, self.device_hours, self.days, self.cost])
    }

    /// Name of the point's FLOP mode; the default only applies if the point has a training cost.
    fn mode<'a>(&'a self, default: Option<&'a str>) -> Option<&'a str> {
        let default = default.filter(|_| self.budget().is_some());
        self.flop_mode.as_deref().or(default)
    }
}

/// The predicted losses of many models, in the order of the points.
#[derive(Debug, Serialize, ToSchema)]
pub struct Predictions {
    /// The law that the losses were computed from.
    law: Arc<LawRef>,
    /// One result for each point.
    results: Vec<PredictionResult>,
    /// What to know before trusting any of the results.
    warnings: Vec<Arc<WarningView>>,
}

/// The predicted loss of one model.
#[derive(Debug, Serialize, ToSchema)]
pub struct PredictionResult {
    /// Non-zero parameters as asked.
    nonzero_params: f64,
    /// Sparsity as asked.
    sparsity: f64,
    /// Name of the level as asked. Left out where the request names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// Amount of data in training: as asked, or what the compute pays for.
    data: f64,
    /// The training cost in every currency that is known; null where the point gives the data.
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
    /// Whether the sparsity lies between two sparsities of the runs, with none near it.
    interpolated: bool,
    /// How far the result can be trusted.
    trust: TrustView,
}

fn predict_all(
    asked: &AskedLaw,
    points: &Points<PredictionPoint>,
    questions: &[(NonzeroParams, Density, Budget)],
    modes: &Modes,
    (default, level): (Option<&str>, Option<&str>),
    (intervals, unique): (bool, Option<Data>),
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
        let name = point.level.as_deref().or(level);
        let level = name.map(|name| asked.named_level(name, density)).transpose()?;
        let model = (nonzero_params, density, level);
        let (question, loss) = predicted_loss(asked, model, training, repetition)?;
        let data = question.data;
        let found = if intervals {
            let worth = effective_data(repetition, data);
            asked.loss_intervals(level, density, nonzero_params, worth)
        } else {
            None
        };
        let (interval, prediction_interval) = found.unzip();
        let extrapolation = support.extrapolation(&question);
        let width = relative_width(interval.map(Into::into), loss);
        let mut trust = asked.trust(width, &extrapolation);
        if asked.assumed_repetition(repetition, data).is_some() {
            trust.doubt(TrustCode::RepetitionAssumed);
        }
        Ok(PredictionResult {
            nonzero_params: nonzero_params.get(),
            sparsity: point.sparsity,
            level: name.map(str::to_owned),
            data: data.get(),
            budget: spent,
            loss,
            interval: intervals.then(|| interval.map(IntervalView::from)),
            prediction_interval: intervals.then(|| prediction_interval.map(IntervalView::from)),
            trust,
            extrapolation: extrapolation.into_iter().map(Into::into).collect(),
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
    BulkBody(body, arrived): BulkBody<CreatePredictions>,
) -> Result<Response, ApiError> {
    let CreatePredictions { points, nonzero_params, sparsity, data, compute, .. } = body;
    let (flop_mode, law_version, intervals) = (body.flop_mode, body.law_version, body.intervals);
    let level = body.level;
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
    let held = state.answer_points.hold(owner, count_points(listed, &axes)).await?;
    drop(arrived);
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
                level: None,
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
    let (asked, freshness) = any_law(&state, &path.name()?, law_version).await?;
    let modes = Modes::find(&state, &asked, named).await?;
    // Predicting a loss needs no search in any mode.
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
        let defaults = (default, level.as_deref());
        let options = (intervals, unique);
        let answer = predict_all(&asked, &points, &questions, &modes, defaults, options)?;
        match table {
            Table::Json => rows::whole_json(&answer),
            Table::Arrow => answer.arrow(),
        }
    };
    let mut response = held.with(state.threads.run(owner, answer).await?);
    freshness.mark(&mut response);
    Ok(response)
}

impl Predictions {
    fn arrow(&self) -> Result<Response, ApiError> {
        let rows = &self.results;
        let mut columns = ResultColumns::default();
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
