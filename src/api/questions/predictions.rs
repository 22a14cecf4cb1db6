//! Predicted loss of one model.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    AnswerError, Data, Density, Extrapolation, Interval, NonzeroParams, Question, Sparsity,
    Training, finite,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::asked_law;
use crate::api::questions::budget::Budget;
use crate::api::questions::law::{AskedLaw, relative_width};
use crate::api::questions::modes::Mode;
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::caching::{KnownTags, cached, cached_apart, json};
use crate::api::wire::extract::{FamilyPath, Query};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::{
    ExtrapolationView, IntervalView, LawRef, MaybeInterval, TrustView, WarningView,
};
use crate::domain::checks::Checks;

/// Routes of this question.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_prediction))
}

/// A predicted loss.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Prediction)]
pub struct PredictionView<'a> {
    /// The law that it was computed from.
    #[schema(value_type = LawRef)]
    law: &'a LawRef,
    /// Predicted validation loss.
    loss: f64,
    /// Data that it is for: as asked, or what the compute pays for.
    data: f64,
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
    /// What to know before trusting it.
    #[schema(value_type = Vec<WarningView>)]
    warnings: Vec<&'a Arc<WarningView>>,
    /// How far it can be trusted.
    trust: TrustView,
}

/// What loss to predict.
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
    /// Data seen in training, in the family's data unit, between 1e-6 and 1e30. Either this, or
    /// `compute` and `flop_mode`.
    #[param(example = 3e10, minimum = 1e-6, maximum = 1e30)]
    data: Option<f64>,
    /// Training cost in FLOPs, between 1 and 1e40.
    #[param(minimum = 1, maximum = 1e40)]
    compute: Option<f64>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile such as
    /// `example-block-sparse`.
    flop_mode: Option<String>,
    /// Version of the law to ask; the active one unless said otherwise.
    law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    intervals: bool,
}

impl PredictionParams {
    pub(crate) fn check(&self) -> Result<(NonzeroParams, Density, Budget), ApiError> {
        let mut checks = Checks::default();
        let nonzero_params = checks.take("nonzero_params", NonzeroParams::new(self.nonzero_params));
        let sparsity = checks.take("sparsity", Sparsity::new(self.sparsity));
        let flop_mode = self.flop_mode.as_deref();
        let budget = Budget::check(self.data, self.compute, flop_mode, &mut checks);
        let values = nonzero_params.zip(sparsity).zip(budget);
        let ((nonzero_params, sparsity), budget) = checks.finish(values)?;
        Ok((nonzero_params, sparsity.density(), budget))
    }
}

/// What a law predicts.
pub struct Predicted<'a> {
    pub(crate) loss: f64,
    /// As asked, or what the compute pays for.
    pub(crate) data: Data,
    /// Of the mean loss.
    pub(crate) interval: Option<Interval>,
    /// Of the loss of one new run.
    pub(crate) prediction_interval: Option<Interval>,
    pub(crate) extrapolation: Vec<Extrapolation>,
    warnings: Vec<&'a Arc<WarningView>>,
}

/// The question about a model and its predicted loss, for one model and for lists of them.
///
/// # Errors
/// [`ApiError::NotRepresentable`], [`ApiError::Undetermined`], [`ApiError::NotIdentified`].
pub(crate) fn predicted_loss<'q>(
    asked: &AskedLaw,
    (nonzero_params, density): (NonzeroParams, Density),
    training: Training<'q>,
) -> Result<(Question<'q>, f64), ApiError> {
    let question = Question::new(nonzero_params, density, training).map_err(AnswerError::from)?;
    asked.require_at(&question)?;
    let loss = asked.law.content.coefficients.loss(density, nonzero_params, question.data);
    Ok((question, finite("the loss", loss)?))
}

/// The loss of one model with what is said beside it.
pub fn predict<'a>(
    asked: &'a AskedLaw,
    (nonzero_params, density, budget): (NonzeroParams, Density, Budget),
    mode: &Mode,
    intervals: bool,
) -> Result<Predicted<'a>, ApiError> {
    let cost;
    let training = match budget {
        Budget::Data(data) => Training::Data(data),
        Budget::Compute(compute) => {
            cost = mode.cost(asked);
            Training::Compute(compute, &cost)
        }
    };
    let (question, loss) = predicted_loss(asked, (nonzero_params, density), training)?;
    let data = question.data;
    let found = match intervals {
        true => asked.sampled.tabulated_loss_intervals(density, nonzero_params, data, loss),
        false => None,
    };
    let (interval, prediction_interval) = found.unzip();
    let (extrapolation, warnings) = asked.borrowed_caveats(&question, intervals);
    Ok(Predicted { loss, data, interval, prediction_interval, extrapolation, warnings })
}

impl<'a> PredictionView<'a> {
    fn new(asked: &'a AskedLaw, predicted: Predicted<'a>, intervals: bool) -> Self {
        let shown =
            |interval: Option<Interval>| intervals.then(|| interval.map(IntervalView::from));
        let width = relative_width(predicted.interval.map(Into::into), predicted.loss);
        let trust = asked.trust(width, &predicted.extrapolation);
        Self {
            law: &asked.reference,
            loss: predicted.loss,
            data: predicted.data.get(),
            interval: shown(predicted.interval),
            prediction_interval: shown(predicted.prediction_interval),
            extrapolation: predicted.extrapolation.into_iter().map(Into::into).collect(),
            warnings: predicted.warnings,
            trust,
        }
    }
}

/// Losses by all resampled laws that one answer may take.
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
    let question = params.check()?;
    let mode = Mode::find(&state, params.flop_mode.as_deref().unwrap_or("dense")).await?;
    let (asked, freshness) = asked_law(&state, &path.name()?, params.law_version).await?;
    // A cell of the table of intervals asks all resampled laws at its corners and in its middle.
    let quick = !params.intervals || asked.is_quick(LOSSES);
    let freshness = mode.freshness(freshness);
    if quick {
        let answer = || {
            let predicted = predict(&asked, question, &mode, params.intervals)?;
            Ok(PredictionView::new(&asked, predicted, params.intervals))
        };
        return cached(&known, &mode.tag(&asked), freshness, answer);
    }
    let tag = mode.tag(&asked).into_owned();
    let body = move || {
        let predicted = predict(&asked, question, &mode, params.intervals)?;
        json(&PredictionView::new(&asked, predicted, params.intervals))
    };
    cached_apart((&state, owner), &known, &tag, freshness, body).await
}
