//! `/v1/families/{family}/forecasts`: predictions that are registered before training, and scored
//! when the run arrives.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sparsity_law::law::{Compute, Loss, Sparsity};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::noting::Noting;
use crate::api::layers::replica_reads::Reads;
use crate::api::questions::asked::any_law;
use crate::api::questions::budget::{AskedBudget, Budget, GivenBudget};
use crate::api::questions::law::{AskedLaw, relative_width};
use crate::api::questions::modes::Mode;
use crate::api::questions::predictions::predict;
use crate::api::resources::families::existing;
use crate::api::state::AppState;
use crate::api::tags::TAG_FORECASTS;
use crate::api::wire::extract::{
    FamilyPath, JsonBody, PageParams, Query, family_name, next_cursor, no_family, path_id,
};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::{ExtrapolationView, IntervalView, LawRef, LawRefView, TrustView};
use crate::domain::calibration::{Month, cumulative, exact_interval};
use crate::domain::checks::Checks;
use crate::domain::currency::Currency;
use crate::domain::forecast::{
    Forecast, ForecastBudget, ForecastLaw, ForecastQuestion, Score, ScoredForecast,
};
use crate::domain::page::PageRequest;
use crate::domain::refit::LevelsBy;
use crate::domain::submission::check_size;
use crate::domain::text::{check_label, check_prose};
use crate::store::forecasts;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_forecasts, create_forecast))
        .routes(routes!(get_forecast_calibration))
        .routes(routes!(get_forecast))
}

/// A loss that was predicted before its run was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Forecast)]
pub struct ForecastView {
    /// Id of the forecast.
    id: Uuid,
    /// The name under which the run is submitted.
    #[schema(example = "sweep-4/run-1")]
    external_id: String,
    /// The law that made the forecast.
    law: LawRef,
    /// Planned number of non-zero parameters.
    #[schema(example = 1e8)]
    nonzero_params: f64,
    /// Planned number of parameters, zeros included.
    #[schema(example = 4e8)]
    total_params: f64,
    /// Planned fraction of zeros.
    #[schema(example = 0.75)]
    sparsity: f64,
    /// Pattern or recipe of the planned level, if the law tells runs of the same sparsity apart by it. Left out
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<String>,
    /// Planned amount of data, in the family's data unit: as asked, or what the compute pays for.
    #[schema(example = 3e10)]
    data: f64,
    /// Training cost in FLOPs: as asked, or what the hours or the money pay for; null where the question gave the data.
    compute: Option<f64>,
    /// Training cost as asked, in hours of one device of the hardware profile; null where it was given otherwise.
    device_hours: Option<f64>,
    /// Training cost as asked, in days of all devices of the hardware profile; null where it was given otherwise.
    days: Option<f64>,
    /// Training cost as asked, in money; null where it was given otherwise.
    cost: Option<f64>,
    /// Name of the FLOP mode of the cost; null where the question gave the data.
    flop_mode: Option<String>,
    /// Free-text note.
    note: Option<String>,
    /// Predicted validation loss.
    loss: f64,
    /// Interval of the mean loss; null where the law had no intervals.
    interval: Option<IntervalView>,
    /// Interval of the loss of one new run; null where the law had no intervals.
    prediction_interval: Option<IntervalView>,
    /// The quantities that lay outside the runs behind the law.
    extrapolation: Vec<ExtrapolationView>,
    /// How far the forecast could be trusted when it was registered; null for forecasts registered by earlier versions.
    trust: Option<TrustView>,
    /// How the forecast compares with its run; null while no run has its `external_id`. Computed from the run as it is
    /// now: correcting the run changes the score, and deleting it opens the forecast again.
    score: Option<ScoreView>,
    /// When the forecast was registered.
    created_at: DateTime<Utc>,
}

/// A forecast compared with its run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ForecastScore)]
pub struct ScoreView {
    /// Id of the run.
    run_id: Uuid,
    /// Validation loss of the run.
    measured: f64,
    /// `measured - loss`: positive where the run is worse than predicted.
    error: f64,
    /// `error` divided by the predicted loss.
    relative_error: f64,
    /// Whether the measured loss lies in the interval of the mean. A single run scatters about the mean and need not
    /// lie in it. Null where there is no interval.
    inside_interval: Option<bool>,
    /// Whether the measured loss lies in the interval of a new run. Calibrated forecasts do so as often as the level of
    /// the interval says. Null where there is no interval.
    inside_prediction_interval: Option<bool>,
    /// Whether the run is the one that was planned: its non-zero parameters and data within 1 %, its sparsity within
    /// 0.005, trained from scratch, and unstructured or of the planned level. Other runs do not count in the
    /// calibration.
    as_planned: bool,
    /// Whether fits leave the run out; excluded runs do not count in the calibration either.
    excluded: bool,
    /// When the run arrived.
    arrived_at: DateTime<Utc>,
}

impl From<Score> for ScoreView {
    fn from(score: Score) -> Self {
        Self {
            run_id: score.run_id,
            measured: score.measured,
            error: score.error,
            relative_error: score.relative_error,
            inside_interval: score.inside_interval,
            inside_prediction_interval: score.inside_prediction_interval,
            as_planned: score.as_planned,
            excluded: score.excluded,
            arrived_at: score.arrived_at,
        }
    }
}

impl From<ForecastLaw> for LawRef {
    fn from(law: ForecastLaw) -> Self {
        Self::from(LawRefView {
            id: law.id,
            version: law.version,
            source: law.source.into(),
            fitted_at: law.fitted_at,
            data_digest: law.data_digest,
        })
    }
}

impl From<ScoredForecast> for ForecastView {
    fn from(ScoredForecast { forecast, law, score }: ScoredForecast) -> Self {
        let question = forecast.question;
        let (given, flop_mode) = match question.budget {
            ForecastBudget::Data(_) => (None, None),
            ForecastBudget::Spent { currency, amount, mode } => {
                (Some((currency, amount)), Some(mode))
            }
        };
        let asked_in = |which: Currency| {
            given.filter(|(currency, _)| *currency == which).map(|(_, amount)| amount)
        };
        Self {
            id: forecast.id,
            external_id: question.external_id,
            law: law.into(),
            nonzero_params: question.nonzero_params.get(),
            total_params: question.nonzero_params.get() / question.sparsity.density().get(),
            sparsity: question.sparsity.get(),
            level: question.level,
            data: forecast.data.get(),
            compute: forecast.compute.map(Compute::get),
            device_hours: asked_in(Currency::DeviceHours),
            days: asked_in(Currency::Days),
            cost: asked_in(Currency::Cost),
            flop_mode,
            note: forecast.note,
            loss: forecast.loss.get(),
            interval: forecast.interval.map(IntervalView::from),
            prediction_interval: forecast.prediction_interval.map(IntervalView::from),
            extrapolation: forecast.extrapolation.into_iter().map(Into::into).collect(),
            trust: forecast.trust.map(TrustView::from),
            score: score.map(ScoreView::from),
            created_at: forecast.created_at,
        }
    }
}

/// A page of forecasts.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForecastList {
    /// The forecasts, newest first.
    items: Vec<ForecastView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// A planned run. Give exactly one of `nonzero_params` and `total_params`, and either `data`, or `flop_mode` with one
/// of `compute`, `device_hours`, `days` and `cost`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateForecast {
    /// The name under which the run will be submitted, at most 200 characters.
    #[schema(example = "sweep-4/run-1", min_length = 1, max_length = 200)]
    external_id: String,
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[schema(example = 1e8, minimum = 1, maximum = 1e18)]
    nonzero_params: Option<f64>,
    /// Parameters, zeros included: `nonzero_params / (1 - sparsity)`.
    total_params: Option<f64>,
    /// Fraction of zeros at the end of training: at least 0 and below 1.
    #[schema(example = 0.75, minimum = 0, exclusive_maximum = 1)]
    sparsity: f64,
    /// The pattern or recipe of the level, for a law that tells runs of the same sparsity apart by it and has several
    /// levels of this sparsity: the forecast applies to a run with this pattern, or with this value of the law's tag.
    level: Option<String>,
    /// Data to be seen in training, in the family's data unit, between 1e-6 and 1e30.
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
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile.
    flop_mode: Option<String>,
    /// Version of the law to ask; the active one by default.
    law_version: Option<i32>,
    /// Free-text note; at most 2,000 characters.
    #[schema(max_length = 2000)]
    note: Option<String>,
}

impl CreateForecast {
    /// Checks the request. The FLOPs of the returned budget are still to be computed, as they depend on the mode.
    fn check(&self) -> Result<(ForecastQuestion, AskedBudget), ApiError> {
        let mut checks = Checks::default();
        checks.take("external_id", check_label(&self.external_id));
        let sparsity = checks.take("sparsity", Sparsity::new(self.sparsity));
        let nonzero_params =
            check_size(self.nonzero_params, self.total_params, sparsity, &mut checks);
        let mode = self.flop_mode.as_deref();
        let given = GivenBudget([self.compute, self.device_hours, self.days, self.cost]);
        let budget = AskedBudget::check(self.data, given, mode, &mut checks);
        if let Some(note) = &self.note {
            checks.take("note", check_prose(note));
        }
        let ((sparsity, nonzero_params), budget) =
            checks.finish(sparsity.zip(nonzero_params).zip(budget))?;
        let question = ForecastQuestion {
            external_id: self.external_id.clone(),
            nonzero_params,
            sparsity,
            level: self.level.clone(),
            budget: match budget {
                AskedBudget::Data(data) => ForecastBudget::Data(data),
                AskedBudget::Spending(spending) => {
                    let (currency, amount) = spending.given();
                    let mode = mode.unwrap_or_default().to_owned();
                    ForecastBudget::Spent { currency, amount, mode }
                }
            },
            law_version: self.law_version,
        };
        Ok((question, budget))
    }
}

/// Shows the stored forecast if it answers the same question. The question need not name the only level of a sparsity.
fn same(stored: ScoredForecast, question: &ForecastQuestion) -> Result<ForecastView, ApiError> {
    let level = question.level.clone().or_else(|| stored.forecast.question.level.clone());
    if stored.forecast.question == (ForecastQuestion { level, ..question.clone() }) {
        Ok(stored.into())
    } else {
        Err(ApiError::ForecastExists)
    }
}

/// The name of the level that a question is about, and the key of the tag that names levels, if the law tells levels
/// apart by a tag.
///
/// # Errors
/// [`ApiError::Undetermined`] for a level of an imported law: nothing says which runs belong to that level.
fn planned_level(
    asked: &AskedLaw,
    question: &ForecastQuestion,
) -> Result<(Option<String>, Option<String>), ApiError> {
    let only = || {
        let own = asked.own.as_ref()?.law();
        asked.level_name(own.place(question.sparsity.density()))
    };
    let level = question.level.clone().or_else(only);
    let fit = asked.law.content.origin.fit();
    match fit.and_then(|fit| fit.options.levels.as_ref()) {
        Some(LevelsBy::Tag(tag)) => Ok((level, Some(tag.clone()))),
        None if level.is_some() => Err(ApiError::Undetermined(format!(
            "law {} was imported, and does not say whether it is a pattern or which tag that tells its levels apart: \
             no run could be held against the forecast; ask a law that was fitted here",
            asked.law.version
        ))),
        Some(LevelsBy::Pattern) | None => Ok((level, None)),
    }
}

/// Registers a prediction for a run before it is made.
///
/// A forecast never changes and cannot be deleted on its own; it is deleted with its family. Sending the same question
/// again returns the same forecast, even when its run has arrived; the note is not compared and stays as it was first
/// sent.
#[utoipa::path(
    post, path = "/v1/families/{family}/forecasts", tag = TAG_FORECASTS, params(FamilyPath),
    request_body = CreateForecast,
    responses(
        (status = CREATED, description = "The forecast", body = ForecastView,
            headers(("Location" = String, description = "Where the forecast is"))),
        (status = OK, description = "The same question was registered before: that forecast",
            body = ForecastView,
            headers(("Location" = String, description = "Where the forecast is"))),
        (status = CONFLICT, description = "The run is there already, or another question was registered under its name, or the family has no law that knows the answer",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn create_forecast(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<FamilyPath>,
    JsonBody(body): JsonBody<CreateForecast>,
) -> Result<impl IntoResponse, ApiError> {
    let (question, budget) = body.check()?;
    let name = path.name()?;
    let location = |id| format!("/v1/families/{name}/forecasts/{id}");
    let answer =
        |status, view: ForecastView| (status, [(header::LOCATION, location(view.id))], Json(view));
    let family = existing(&state.pool, &name).await?;
    let external_id = &*question.external_id;
    // A retry must be answered even if the law or the hardware profile has changed since.
    let stored = forecasts::find_forecast_of_run(&state.pool, family.id, external_id).await?;
    if let Some(stored) = stored {
        return Ok(answer(StatusCode::OK, same(stored, &question)?));
    }

    let mode = Mode::find(&state, body.flop_mode.as_deref().unwrap_or("dense")).await?;
    let budget = budget.in_mode(&mode)?;
    let compute = match budget {
        Budget::Data(_) => None,
        Budget::Compute(compute) => Some(compute),
    };
    let (asked, _) = any_law(&state, &name, body.law_version).await?;
    let point = (question.nonzero_params, question.sparsity.density(), budget, None);
    let predicted = predict(&asked, point, question.level.as_deref(), &mode, true)?;
    let (level, level_tag) = planned_level(&asked, &question)?;
    let question = ForecastQuestion { level, ..question };
    let width = relative_width(predicted.interval.map(Into::into), predicted.loss);
    let trust = asked.answer_trust(width, &predicted.extrapolation);
    let loss = Loss::new(predicted.loss).map_err(|error| {
        ApiError::NotRepresentable(format!("the predicted loss, as that of any run, {error}"))
    })?;

    // Two statements run under this lock; see `lock_family_runs` for the reason.
    let mut write = noting.begin(&state.pool).await?;
    if !forecasts::lock_family_runs(&mut *write, family.id, &question.external_id).await? {
        return Err(no_family(name.as_str()));
    }
    let stored = forecasts::find_forecast_of_run(&mut *write, family.id, &question.external_id);
    if let Some(stored) = stored.await? {
        return Ok(answer(StatusCode::OK, same(stored, &question)?));
    }
    let forecast = Forecast {
        id: state.clock.new_id(),
        question,
        data: predicted.data,
        compute,
        note: body.note,
        loss,
        interval: predicted.interval,
        prediction_interval: predicted.prediction_interval,
        extrapolation: predicted.extrapolation,
        trust: Some(trust),
        created_at: state.clock.now(),
    };
    let law = &asked.law;
    let by = (law.id, level_tag.as_deref());
    if !forecasts::insert_forecast(&mut write, family.id, by, &forecast).await? {
        return Err(ApiError::RunExists);
    }
    write.commit(StatusCode::CREATED, Some(&location(forecast.id))).await?;
    let law = ForecastLaw {
        id: law.id,
        version: law.version,
        source: law.content.origin.source(),
        fitted_at: law.content.fitted_at,
        data_digest: law.content.origin.data_digest().map(str::to_owned),
    };
    Ok(answer(StatusCode::CREATED, ScoredForecast { forecast, law, score: None }.into()))
}

/// Whether the run of a forecast has arrived.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForecastState {
    /// No run has the forecast's `external_id`.
    Open,
    /// There is a run to compare the forecast with.
    Scored,
}

/// Which forecasts to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ForecastParams {
    /// The most items per page.
    #[serde(default = "PageParams::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u16,
    /// `next_cursor` of the previous page.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Show only `open` forecasts, whose run has not arrived, or only `scored` ones.
    #[param(inline)]
    state: Option<ForecastState>,
}

impl ForecastParams {
    fn check(self) -> Result<(Option<bool>, PageRequest), ApiError> {
        let request = PageParams { limit: self.limit, cursor: self.cursor }.check()?;
        Ok((self.state.map(|state| matches!(state, ForecastState::Scored)), request))
    }
}

/// Lists a family's forecasts, newest first.
#[utoipa::path(
    get, path = "/v1/families/{family}/forecasts", tag = TAG_FORECASTS,
    params(FamilyPath, ForecastParams),
    responses((status = OK, description = "A page of forecasts", body = ForecastList)),
)]
async fn list_forecasts(
    reads: Reads,
    Path(path): Path<FamilyPath>,
    Query(params): Query<ForecastParams>,
) -> Result<Json<ForecastList>, ApiError> {
    let ((scored, request), name) = (params.check()?, path.name()?);
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let page = forecasts::list_forecasts(&mut *db, family.id, scored, request).await?;
    let next_cursor = next_cursor(&page);
    let items = page.items.into_iter().map(ForecastView::from).collect();
    Ok(Json(ForecastList { items, next_cursor }))
}

/// Path of a forecast.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ForecastPath {
    /// Name of the family.
    #[param(example = "t5-c4")]
    family: String,
    /// Id of the forecast.
    #[param(format = Uuid)]
    id: String,
}

/// Shows a forecast with its score.
#[utoipa::path(
    get, path = "/v1/families/{family}/forecasts/{id}", tag = TAG_FORECASTS, params(ForecastPath),
    responses((status = OK, description = "The forecast", body = ForecastView)),
)]
async fn get_forecast(
    reads: Reads,
    Path(path): Path<ForecastPath>,
) -> Result<Json<ForecastView>, ApiError> {
    let name = family_name(&path.family)?;
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let id = path_id(&path.id, "forecast")?;
    let forecast = forecasts::find_forecast(&mut *db, family.id, id).await?;
    forecast
        .map(|forecast| Json(forecast.into()))
        .ok_or(ApiError::NotFound { what: "forecast", name: path.id })
}

/// How often forecasts came true.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ForecastCalibration)]
pub struct CalibrationView {
    /// Forecasts whose run has not arrived.
    #[schema(example = 3)]
    open: i64,
    /// Statistics over all scored forecasts together.
    #[serde(flatten)]
    total: CalibrationTotals,
    /// The same by calendar month (UTC) in which the run arrived, oldest first: the latest 120 months in which any run
    /// did.
    months: Vec<CalibrationMonth>,
}

/// Statistics of a set of scored forecasts.
#[derive(Debug, Serialize, ToSchema)]
pub struct CalibrationTotals {
    /// Forecasts whose run has arrived.
    #[schema(example = 40)]
    scored: i64,
    /// Scored forecasts that count below: the run is as planned and not excluded from fits.
    #[schema(example = 36)]
    counted: i64,
    /// Scored forecasts that were left out, each by the first reason that applies.
    left_out: LeftOut,
    /// How many counted forecasts had their run inside the prediction interval.
    #[schema(example = 33)]
    inside: i64,
    /// `inside` divided by the number of counted forecasts that have a prediction interval; null where there are none.
    #[schema(example = 0.917)]
    share_inside: Option<f64>,
    /// Exact (Clopper-Pearson) 95 % interval of `share_inside`, assuming that the runs are independent. If
    /// `nominal_share` lies above it, the prediction intervals are too narrow; if it lies below, they are too wide.
    /// Null where no counted forecast has a prediction interval.
    share_interval: Option<IntervalView>,
    /// What `share_inside` should be: the mean level of these prediction intervals; null where there are none.
    #[schema(example = 0.95)]
    nominal_share: Option<f64>,
    /// Mean of `measured - predicted` over the counted forecasts: positive where runs are worse than predicted; null
    /// where there are none.
    #[schema(example = 0.003)]
    mean_error: Option<f64>,
    /// Root mean square of `measured - predicted`.
    #[schema(example = 0.012)]
    rms_error: Option<f64>,
    /// Mean of `(measured - predicted) / predicted`.
    #[schema(example = 0.001)]
    mean_relative_error: Option<f64>,
    /// Root mean square of `(measured - predicted) / predicted`.
    #[schema(example = 0.005)]
    rms_relative_error: Option<f64>,
}

/// Scored forecasts that were left out, by reason.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeftOut {
    /// The run is not as planned.
    #[schema(example = 2)]
    not_as_planned: i64,
    /// The run is excluded from fits.
    #[schema(example = 2)]
    excluded: i64,
    /// The law had no prediction interval: counted in the errors, but left out of `share_inside`.
    #[schema(example = 0)]
    without_interval: i64,
}

/// Forecasts whose run arrived in one month.
#[derive(Debug, Serialize, ToSchema)]
pub struct CalibrationMonth {
    /// First day of the month.
    #[schema(value_type = String, format = Date, example = "2026-03-01")]
    month: NaiveDate,
    /// Statistics of this month alone.
    alone: CalibrationTotals,
    /// Statistics of this month and all months before it, including those that are no longer shown.
    cumulative: CalibrationTotals,
}

/// Confidence level of the interval of `share_inside`.
const SHARE_LEVEL: f64 = 0.95;

/// The most months that are shown: ten years.
const MAX_MONTHS: usize = 120;

impl From<&Month> for CalibrationTotals {
    fn from(sums: &Month) -> Self {
        let interval = exact_interval(sums.inside, sums.with_interval, SHARE_LEVEL);
        let (mean_error, rms_error) = sums.error().unzip();
        let (mean_relative_error, rms_relative_error) = sums.relative_error().unzip();
        Self {
            scored: sums.scored,
            counted: sums.counted,
            left_out: LeftOut {
                not_as_planned: sums.not_as_planned,
                excluded: sums.excluded,
                without_interval: sums.counted - sums.with_interval,
            },
            inside: sums.inside,
            share_inside: sums.share_inside(),
            share_interval: interval.map(IntervalView::from),
            nominal_share: sums.nominal(),
            mean_error,
            rms_error,
            mean_relative_error,
            rms_relative_error,
        }
    }
}

/// Shows how often forecasts came true, over all of them and by month.
#[utoipa::path(
    get, path = "/v1/families/{family}/forecasts/calibration", tag = TAG_FORECASTS,
    params(FamilyPath),
    responses((status = OK, description = "How often forecasts came true", body = CalibrationView)),
)]
async fn get_forecast_calibration(
    reads: Reads,
    Path(path): Path<FamilyPath>,
) -> Result<Json<CalibrationView>, ApiError> {
    let name = path.name()?;
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let (open, months) = forecasts::list_forecast_months(&mut *db, family.id).await?;
    let totals = cumulative(&months);
    let total = totals.last().copied().unwrap_or_default();
    let first = months.len().saturating_sub(MAX_MONTHS);
    let months = months.iter().zip(&totals).skip(first).map(|(alone, total)| CalibrationMonth {
        month: alone.start,
        alone: alone.into(),
        cumulative: total.into(),
    });
    Ok(Json(CalibrationView { open, total: (&total).into(), months: months.collect() }))
}
