//! Predicted loss of one model.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    AnswerError, Data, Density, Extrapolation, Interval, NonzeroParams, Question, Repetition,
    Sparsity, Training, effective_data, finite,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::budget::{AskedBudget, Budget, BudgetView, GivenBudget};
use crate::api::questions::law::{AskedLaw, relative_width};
use crate::api::questions::modes::Mode;
use crate::api::questions::optimal_sparsity::check_unique_data;
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::caching::{KnownTags, cached, cached_apart, json};
use crate::api::wire::extract::{FamilyPath, Query};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::{
    ExtrapolationView, IntervalView, LawRef, MaybeInterval, TrustView, WarningView,
};
use crate::domain::checks::Checks;
use crate::domain::trust::TrustCode;

/// Routes of this question.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_prediction))
}

/// A predicted loss.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Prediction)]
pub struct PredictionView<'a> {
    /// The law that the loss was computed from.
    #[schema(value_type = LawRef)]
    law: &'a LawRef,
    /// Predicted validation loss.
    loss: f64,
    /// Parameters that a token passes, equal to `nonzero_params`, in families whose zeros are experts. Left out
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    active_params: Option<f64>,
    /// All parameters, in families whose zeros are experts. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    total_params: Option<f64>,
    /// Amount of data in training: as asked, or what the compute pays for.
    data: f64,
    /// Amount of unique data that would teach as much: less than `data` where some data is seen more than once. Left
    /// out without `unique_data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    effective_data: Option<f64>,
    /// The training cost in every currency that is known; null where the question gives the data.
    budget: Option<BudgetView>,
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
    /// What to know before trusting the prediction.
    #[schema(value_type = Vec<WarningView>)]
    warnings: Vec<&'a Arc<WarningView>>,
    /// How far the prediction can be trusted.
    trust: TrustView,
}

/// The model and the training to predict the loss of.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PredictionParams {
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[param(example = 1e7, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Fraction of zeros at the end of training, at least 0 and below 1.
    #[param(example = 0.75, minimum = 0, exclusive_maximum = 1)]
    sparsity: f64,
    /// The pattern or recipe of the level, for a law that tells runs of the same sparsity apart by it and has several
    /// levels of this sparsity.
    level: Option<String>,
    /// Data seen in training, in the family's data unit, between 1e-6 and 1e30. Either this, or
    /// `compute` and `flop_mode`.
    #[param(example = 3e10, minimum = 1e-6, maximum = 1e30)]
    data: Option<f64>,
    /// Training cost in FLOPs, between 1 and 1e40.
    #[param(minimum = 1, maximum = 1e40)]
    compute: Option<f64>,
    /// In place of `compute`: hours of one device of the hardware profile.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    device_hours: Option<f64>,
    /// In place of `compute`: days of all devices of the hardware profile together.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    days: Option<f64>,
    /// In place of `compute`: the price of the hours, in the currency of the hardware profile's `price_per_hour`.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    cost: Option<f64>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile such as
    /// `example-block-sparse`.
    flop_mode: Option<String>,
    /// How much of the data is unique, in the family's data unit, between 1e-6 and 1e30: the rest is seen again, and
    /// teaches less. By default all of it.
    #[param(minimum = 1e-6, maximum = 1e30)]
    unique_data: Option<f64>,
    /// Version of the law to ask; the active one by default.
    law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    intervals: bool,
}

impl PredictionParams {
    /// Checks all parameters.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] listing every invalid parameter.
    pub(crate) fn check(
        &self,
    ) -> Result<(NonzeroParams, Density, AskedBudget, Option<Data>), ApiError> {
        let mut checks = Checks::default();
        let nonzero_params = checks.take("nonzero_params", NonzeroParams::new(self.nonzero_params));
        let sparsity = checks.take("sparsity", Sparsity::new(self.sparsity));
        let flop_mode = self.flop_mode.as_deref();
        let given = GivenBudget([self.compute, self.device_hours, self.days, self.cost]);
        let budget = AskedBudget::check(self.data, given, flop_mode, &mut checks);
        let unique = check_unique_data(self.unique_data, &mut checks);
        let values = nonzero_params.zip(sparsity).zip(budget).zip(unique);
        let (((nonzero_params, sparsity), budget), unique) = checks.finish(values)?;
        Ok((nonzero_params, sparsity.density(), budget, unique))
    }
}

/// A model, its training budget, and the amount of unique data.
pub(crate) type Asked = (NonzeroParams, Density, Budget, Option<Data>);

/// The prediction of a law, before it is shown.
pub struct Predicted<'a> {
    pub(crate) loss: f64,
    /// Amount of data in training: as asked, or what the compute pays for.
    pub(crate) data: Data,
    /// Amount of unique data that would teach as much; `None` if the question does not give the unique data.
    pub(crate) effective_data: Option<f64>,
    /// Interval of the mean loss.
    pub(crate) interval: Option<Interval>,
    /// Interval of the loss of one new run.
    pub(crate) prediction_interval: Option<Interval>,
    pub(crate) extrapolation: Vec<Extrapolation>,
    warnings: Vec<&'a Arc<WarningView>>,
    /// Whether data is repeated at a rate of wear that no run has shown.
    assumes_repetition: bool,
}

/// The question about one model, and its predicted loss. Used for single models and for lists of them.
///
/// # Errors
/// [`ApiError::NotRepresentable`] where a number is out of range; [`ApiError::Undetermined`] and
/// [`ApiError::NotIdentified`] where the law does not know the loss.
pub(crate) fn predicted_loss<'q>(
    asked: &AskedLaw,
    (nonzero_params, density, level): (NonzeroParams, Density, Option<usize>),
    training: Training<'q>,
    repetition: Option<&'q Repetition>,
) -> Result<(Question<'q>, f64), ApiError> {
    // The only level of a density does not have to be named.
    let place = level.or_else(|| asked.own.as_ref()?.law().place(density));
    let question = Question::at_level(place, nonzero_params, density, training);
    let question = question.map_err(AnswerError::from)?.repeating(repetition);
    asked.require_at_level(&question, level)?;
    let worth = effective_data(repetition, question.data);
    let loss = asked.loss(level, density, nonzero_params, worth)?;
    Ok((question, finite("the loss", loss)?))
}

/// Predicts the loss of one model, with intervals, extrapolation and warnings.
///
/// # Errors
/// [`ApiError::Invalid`] about `level` if the law has no such level; [`ApiError::NotRepresentable`] where a number is
/// out of range; [`ApiError::Undetermined`] and [`ApiError::NotIdentified`] where the law does not know the loss.
pub fn predict<'a>(
    asked: &'a AskedLaw,
    (nonzero_params, density, budget, unique): Asked,
    level: Option<&str>,
    mode: &Mode,
    intervals: bool,
) -> Result<Predicted<'a>, ApiError> {
    let level = level.map(|name| asked.named_level(name, density)).transpose()?;
    let cost;
    let training = match budget {
        Budget::Data(data) => Training::Data(data),
        Budget::Compute(compute) => {
            cost = mode.cost(asked);
            Training::Compute(compute, &cost)
        }
    };
    let repetition = asked.repetition(unique);
    let repetition = repetition.as_ref();
    let model = (nonzero_params, density, level);
    let (question, loss) = predicted_loss(asked, model, training, repetition)?;
    let data = question.data;
    let worth = effective_data(repetition, data);
    let found = match intervals {
        true => asked.loss_intervals(level, density, nonzero_params, worth),
        false => None,
    };
    let (interval, prediction_interval) = found.unzip();
    let (extrapolation, mut warnings) = asked.borrowed_caveats(&question, intervals);
    let assumed_repetition = asked.assumed_repetition(repetition, data);
    warnings.splice(0..0, assumed_repetition);
    let effective_data = repetition.map(|repetition| repetition.effective(data.get()));
    Ok(Predicted {
        loss,
        data,
        effective_data,
        interval,
        prediction_interval,
        extrapolation,
        warnings,
        assumes_repetition: assumed_repetition.is_some(),
    })
}

impl<'a> PredictionView<'a> {
    fn new(
        asked: &'a AskedLaw,
        (nonzero_params, density): (NonzeroParams, Density),
        predicted: Predicted<'a>,
        budget: Option<BudgetView>,
        intervals: bool,
    ) -> Self {
        let shown =
            |interval: Option<Interval>| intervals.then(|| interval.map(IntervalView::from));
        let width = relative_width(predicted.interval.map(Into::into), predicted.loss);
        let mut trust = asked.trust(width, &predicted.extrapolation);
        if predicted.assumes_repetition {
            trust.doubt(TrustCode::RepetitionAssumed);
        }
        Self {
            law: &asked.reference,
            loss: predicted.loss,
            active_params: asked.active_params(nonzero_params.get()),
            total_params: asked.active_params(nonzero_params.get() / density.get()),
            data: predicted.data.get(),
            effective_data: predicted.effective_data,
            budget,
            interval: shown(predicted.interval),
            prediction_interval: shown(predicted.prediction_interval),
            extrapolation: predicted.extrapolation.into_iter().map(Into::into).collect(),
            warnings: predicted.warnings,
            trust,
        }
    }
}

/// How many losses by all resampled laws one answer may take.
const LOSSES: usize = 9;

/// Predicts the loss of a model.
#[utoipa::path(
    get, path = "/v1/families/{family}/prediction", tag = TAG_QUESTIONS,
    params(FamilyPath, PredictionParams),
    responses(
        (status = OK, description = "The predicted loss", body = PredictionView<'_>,
            headers(("ETag" = String, description = "Changes with the law and the hardware profile"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn get_prediction(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<PredictionParams>,
    known: KnownTags,
    owner: Owner,
) -> Result<Response, ApiError> {
    let (nonzero_params, density, budget, unique) = params.check()?;
    let mode = Mode::find(&state, params.flop_mode.as_deref().unwrap_or("dense")).await?;
    let budget = budget.in_mode(&mode)?;
    let question = (nonzero_params, density, budget, unique);
    let model = (nonzero_params, density);
    let spent = move |mode: &Mode| match budget {
        Budget::Data(_) => None,
        Budget::Compute(compute) => Some(BudgetView::new(compute.get(), mode)),
    };
    let (asked, freshness) = any_law(&state, &path.name()?, params.law_version).await?;
    // The table of intervals evaluates all resampled laws at the corners and in the middle of one of its cells.
    let quick = !params.intervals || asked.is_quick(LOSSES);
    let freshness = mode.freshness(freshness);
    if quick {
        let answer = || {
            let predicted =
                predict(&asked, question, params.level.as_deref(), &mode, params.intervals)?;
            Ok(PredictionView::new(&asked, model, predicted, spent(&mode), params.intervals))
        };
        return cached(&known, &mode.tag(&asked), freshness, answer);
    }
    let tag = mode.tag(&asked).into_owned();
    let body = move || {
        let predicted =
            predict(&asked, question, params.level.as_deref(), &mode, params.intervals)?;
        json(&PredictionView::new(&asked, model, predicted, spent(&mode), params.intervals))
    };
    cached_apart((&state, owner), &known, &tag, freshness, body).await
}
