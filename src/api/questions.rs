//! Predicted loss and optimal sparsity: the questions that a law answers.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::asked::{AskedLaw, asked_law, budget_error, finite};
use super::caching::{KnownTags, cached};
use super::extract::{FamilyPath, Query};
use super::modes::{Mode, check_mode};
use super::patterns::PatternView;
use super::problem::{ApiError, Problem};
use super::views::{ExtrapolationView, IntervalView, LawRef, WarningView};
use super::{AppState, TAG_QUESTIONS};
use crate::checks::Checks;
use crate::law::{
    Coefficients, Compute, Data, Density, Extrapolation, FlopMode, Interval, LinearOptimum,
    NonzeroParams, Optimum, Question, Sparsity, TrainingCost, chinchilla_ratio, optimal_sparsity,
};

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_prediction)).routes(routes!(get_optimal_sparsity))
}

/// The FLOP modes that are no hardware profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FlopMode)]
pub enum FlopModeView {
    /// Zeros cost as much as other parameters.
    Dense,
    /// Zeros are free.
    Sparse,
}

impl From<FlopModeView> for FlopMode {
    fn from(mode: FlopModeView) -> Self {
        match mode {
            FlopModeView::Dense => Self::Dense,
            FlopModeView::Sparse => Self::Sparse,
        }
    }
}

/// A field that is left out where the caller does not want intervals, and null where the law has
/// none.
pub(super) type MaybeInterval = Option<Option<IntervalView>>;

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
}

/// What loss to predict.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PredictionParams {
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
    #[serde(default = "yes")]
    #[param(default = true)]
    intervals: bool,
}

pub(super) const fn yes() -> bool {
    true
}

/// How much training a question is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Budget {
    Data(Data),
    /// Together with the flop mode, which the store knows.
    Compute(Compute),
}

impl Budget {
    /// Out of `data`, or `compute` and `flop_mode`.
    pub(super) fn check(
        data: Option<f64>,
        compute: Option<f64>,
        flop_mode: Option<&str>,
        checks: &mut Checks,
    ) -> Option<Self> {
        match (data, compute, flop_mode) {
            (Some(data), None, None) => checks.take("data", Data::new(data)).map(Self::Data),
            (None, Some(compute), Some(mode)) => {
                check_mode(mode, checks);
                checks.take("compute", Compute::new(compute)).map(Self::Compute)
            }
            (None, Some(_), None) => {
                let detail = "must be given with compute: dense, sparse or a hardware profile";
                checks.refuse("flop_mode", detail);
                None
            }
            (Some(_), Some(_), _) => {
                checks.refuse("compute", "must not be given beside data");
                None
            }
            (Some(_), None, Some(_)) => {
                checks.refuse("flop_mode", "belongs to compute, not to data");
                None
            }
            (None, None, _) => {
                checks.refuse("data", "must be given, or compute and flop_mode in its place");
                None
            }
        }
    }
}

impl PredictionParams {
    pub(super) fn check(&self) -> Result<(NonzeroParams, Density, Budget), ApiError> {
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
pub(super) struct Predicted<'a> {
    pub(super) loss: f64,
    /// As asked, or what the compute pays for.
    pub(super) data: Data,
    /// Of the mean loss.
    pub(super) interval: Option<Interval>,
    /// Of the loss of one new run.
    pub(super) prediction_interval: Option<Interval>,
    pub(super) extrapolation: Vec<Extrapolation>,
    warnings: Vec<&'a Arc<WarningView>>,
}

/// The loss of a model, for every resource that predicts one.
pub(super) fn predict<'a>(
    asked: &'a AskedLaw,
    (nonzero_params, density, budget): (NonzeroParams, Density, Budget),
    mode: &Mode,
    intervals: bool,
) -> Result<Predicted<'a>, ApiError> {
    let (data, cost) = match budget {
        Budget::Data(data) => (data, None),
        Budget::Compute(compute) => {
            let cost = asked.cost(mode.step());
            let data = cost.data(density, nonzero_params, compute).map_err(|e| budget_error(&e))?;
            (data, Some(cost))
        }
    };
    let question = Question { nonzero_params, density, data, cost: cost.as_ref() };
    asked.require_at(&question)?;
    let loss =
        finite("the loss", asked.law.content.coefficients.loss(density, nonzero_params, data))?;
    let found = match intervals {
        true => asked.tabulated_loss_intervals(density, nonzero_params, data, loss),
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
        Self {
            law: &asked.reference,
            loss: predicted.loss,
            data: predicted.data.get(),
            interval: shown(predicted.interval),
            prediction_interval: shown(predicted.prediction_interval),
            extrapolation: predicted.extrapolation.into_iter().map(Into::into).collect(),
            warnings: predicted.warnings,
        }
    }
}

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
) -> Result<Response, ApiError> {
    let question = params.check()?;
    let mode = Mode::find(&state, params.flop_mode.as_deref().unwrap_or("dense")).await?;
    let (asked, freshness) = asked_law(&state, &path.name()?, params.law_version).await?;
    let answer = || {
        let predicted = predict(&asked, question, &mode, params.intervals)?;
        Ok(PredictionView::new(&asked, predicted, params.intervals))
    };
    cached(&known, &mode.tag(&asked), mode.freshness(freshness), answer)
}

/// The sparsity that makes the most of a training budget.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OptimalSparsity)]
pub struct OptimalSparsityView<'a> {
    /// The law that it was computed from.
    #[schema(value_type = LawRef)]
    law: &'a LawRef,
    /// The best sparsity; exactly 0 where no zeros pay.
    sparsity: f64,
    /// Interval of the best sparsity; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    interval: MaybeInterval,
    /// Predicted loss at it.
    loss: f64,
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
    /// Intervals of what follows from the best sparsity; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<OptimumIntervals>)]
    intervals: Option<Option<OptimumIntervals>>,
    /// The best pattern that the hardware can run; null where the mode lists no patterns.
    pattern: Option<PatternView>,
    /// The quantities that lie outside the runs behind the law.
    extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting it.
    #[schema(value_type = Vec<WarningView>)]
    warnings: Vec<&'a Arc<WarningView>>,
}

/// Intervals of what follows from the recommended sparsity.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimumIntervals {
    /// Of the loss at the recommended sparsity.
    pub(super) loss: IntervalView,
    /// Of the loss of the dense alternative.
    pub(super) dense_loss: IntervalView,
    /// Of the gain at the recommended sparsity.
    pub(super) gain: IntervalView,
    /// Of the chinchilla ratio of the question.
    pub(super) chinchilla_ratio: IntervalView,
}

/// The dense alternative.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DenseAlternative)]
pub struct DenseView {
    /// Predicted loss.
    pub(super) loss: f64,
    /// Data that the compute pays for.
    pub(super) data: f64,
}

/// What training budget to make the most of.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OptimalSparsityParams {
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[param(example = 1e7, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Training cost in FLOPs, between 1 and 1e40.
    #[param(example = 1e17, minimum = 1, maximum = 1e40)]
    compute: f64,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile such as
    /// `example-block-sparse`.
    #[param(example = "sparse")]
    flop_mode: String,
    /// Version of the law to ask; the active one unless said otherwise.
    law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "yes")]
    #[param(default = true)]
    intervals: bool,
}

impl OptimalSparsityParams {
    pub(super) fn check(&self) -> Result<(NonzeroParams, Compute), ApiError> {
        let mut checks = Checks::default();
        let nonzero_params = checks.take("nonzero_params", NonzeroParams::new(self.nonzero_params));
        let compute = checks.take("compute", Compute::new(self.compute));
        check_mode(&self.flop_mode, &mut checks);
        Ok(checks.finish(nonzero_params.zip(compute))?)
    }
}

/// The best sparsity of a budget, and what follows from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Optimised {
    pub(super) best: Optimum,
    pub(super) total_params: f64,
    pub(super) dense_loss: f64,
    pub(super) dense_data: Data,
    pub(super) gain: f64,
    pub(super) chinchilla_ratio: f64,
}

impl Optimised {
    /// By a law that knows what size, sparsity and data do.
    pub(super) fn new(
        law: &Coefficients,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
    ) -> Result<Self, ApiError> {
        let best =
            optimal_sparsity(law, cost, nonzero_params, compute).map_err(|e| budget_error(&e))?;
        let dense_data =
            cost.data(Density::DENSE, nonzero_params, compute).map_err(|e| budget_error(&e))?;
        let found = Self {
            best,
            total_params: best.total_params(nonzero_params),
            dense_loss: law.loss(Density::DENSE, nonzero_params, dense_data),
            dense_data,
            gain: law.gain(best.density),
            chinchilla_ratio: chinchilla_ratio(law, cost, nonzero_params, compute),
        };
        found.finite()
    }

    /// What many questions have come to together.
    pub(super) fn of_many(
        found: &LinearOptimum,
        nonzero_params: NonzeroParams,
    ) -> Result<Self, ApiError> {
        let data = |value| Data::new(value).map_err(|e| budget_error(&e));
        let best = Optimum {
            density: Density::clamped(found.density),
            data: data(found.data)?,
            loss: found.loss,
        };
        let found = Self {
            best,
            total_params: best.total_params(nonzero_params),
            dense_loss: found.dense_loss,
            dense_data: data(found.dense_data)?,
            gain: found.gain,
            chinchilla_ratio: found.chinchilla_ratio,
        };
        found.finite()
    }

    fn finite(self) -> Result<Self, ApiError> {
        finite("the loss", self.best.loss)?;
        finite("total_params", self.total_params)?;
        finite("the dense loss", self.dense_loss)?;
        finite("the gain", self.gain)?;
        finite("chinchilla_ratio", self.chinchilla_ratio)?;
        Ok(self)
    }
}

fn optimise<'a>(
    asked: &'a AskedLaw,
    (nonzero_params, compute): (NonzeroParams, Compute),
    mode: &Mode,
    intervals: bool,
) -> Result<OptimalSparsityView<'a>, ApiError> {
    asked.require_all("the optimal sparsity")?;
    let cost = asked.cost(mode.step());
    let found = Optimised::new(&asked.law.content.coefficients, &cost, (nonzero_params, compute))?;
    let Optimum { density, data, loss } = found.best;
    let question = Question { nonzero_params, density, data, cost: Some(&cost) };
    let (extrapolation, warnings) = asked.borrowed_caveats(&question, intervals);
    let (interval, others) = if intervals {
        let known = asked.optimum_intervals(&cost, (nonzero_params, compute), &found);
        let (interval, others) = known.map(|known| (known.sparsity, known.others)).unzip();
        (Some(interval), Some(others))
    } else {
        (None, None)
    };
    Ok(OptimalSparsityView {
        law: &asked.reference,
        sparsity: found.best.sparsity().get(),
        interval,
        loss,
        data: data.get(),
        total_params: found.total_params,
        dense: DenseView { loss: found.dense_loss, data: found.dense_data.get() },
        gain: found.gain,
        chinchilla_ratio: found.chinchilla_ratio,
        intervals: others,
        pattern: mode.pattern(asked, (nonzero_params, compute), &found.best, intervals)?,
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings,
    })
}

/// Finds the sparsity that makes the most of a training budget.
#[utoipa::path(
    get, path = "/v1/families/{family}/optimal-sparsity", tag = TAG_QUESTIONS,
    params(FamilyPath, OptimalSparsityParams),
    responses(
        (status = OK, description = "The best sparsity", body = OptimalSparsityView<'_>,
            headers(("ETag" = String, description = "Changes with the law and the hardware profile"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn get_optimal_sparsity(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<OptimalSparsityParams>,
    known: KnownTags,
) -> Result<Response, ApiError> {
    let question = params.check()?;
    let mode = Mode::find(&state, &params.flop_mode).await?;
    let (asked, freshness) = asked_law(&state, &path.name()?, params.law_version).await?;
    let answer = || optimise(&asked, question, &mode, params.intervals);
    cached(&known, &mode.tag(&asked), mode.freshness(freshness), answer)
}
