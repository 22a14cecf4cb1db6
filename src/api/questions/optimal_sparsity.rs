//! The sparsity that makes the most of a training budget.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    Compute, MeasuredChoice, MeasuredSparsity, NonzeroParams, Optimum, Question, Recommendation,
    RecommendationIntervals, TrainingCost,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::asked_law;
use crate::api::questions::budget::Budget;
use crate::api::questions::law::{AskedLaw, relative_width, sparsity_width};
use crate::api::questions::modes::Mode;
use crate::api::questions::patterns::PatternView;
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
    OpenApiRouter::new().routes(routes!(get_optimal_sparsity))
}

/// The sparsity that makes the most of a training budget.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OptimalSparsity)]
pub struct OptimalSparsityView<'a> {
    /// The law that it was computed from.
    #[schema(value_type = LawRef)]
    law: &'a LawRef,
    /// The best sparsity; exactly 0 where zeros do not lower the loss. Where `best_measured_level` is true, the
    /// better one of the measured sparsities.
    sparsity: f64,
    /// Whether the runs behind the law have too few sparsities to tell what lies between and beyond them, so that
    /// this is the best of the measured ones, `measured_levels`, and has no interval.
    best_measured_level: bool,
    /// The measured sparsities; left out where `best_measured_level` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    measured_levels: Option<Vec<MeasuredLevelView>>,
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
    /// How far it can be trusted.
    trust: TrustView,
}

/// A sparsity that runs behind the law have, at the size and budget of the question.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeasuredLevel)]
pub struct MeasuredLevelView {
    /// The sparsity.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// Predicted loss.
    loss: f64,
    /// Interval of the mean loss; null where the law has none.
    interval: Option<IntervalView>,
    /// Data that the compute pays for.
    data: f64,
    /// Share of the resampled laws by which it is the best of the measured ones; null where the law has none.
    #[schema(example = 0.97)]
    share: Option<f64>,
}

impl From<&MeasuredSparsity> for MeasuredLevelView {
    fn from(level: &MeasuredSparsity) -> Self {
        Self {
            sparsity: level.model.sparsity().get(),
            loss: level.model.loss,
            interval: level.loss.map(Into::into),
            data: level.model.data.get(),
            share: level.share,
        }
    }
}

/// Intervals of what follows from the recommended sparsity.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimumIntervals {
    /// Of the loss at the recommended sparsity.
    pub(crate) loss: IntervalView,
    /// Of the loss of the dense alternative.
    pub(crate) dense_loss: IntervalView,
    /// Of the gain at the recommended sparsity.
    pub(crate) gain: IntervalView,
    /// Of the chinchilla ratio of the question.
    pub(crate) chinchilla_ratio: IntervalView,
}

impl From<RecommendationIntervals> for OptimumIntervals {
    fn from(known: RecommendationIntervals) -> Self {
        Self {
            loss: known.loss.into(),
            dense_loss: known.dense_loss.into(),
            gain: known.gain.into(),
            chinchilla_ratio: known.chinchilla_ratio.into(),
        }
    }
}

/// The dense alternative.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DenseAlternative)]
pub struct DenseView {
    /// Predicted loss.
    pub(crate) loss: f64,
    /// Data that the compute pays for.
    pub(crate) data: f64,
}

impl From<Optimum> for DenseView {
    fn from(dense: Optimum) -> Self {
        Self { loss: dense.loss, data: dense.data.get() }
    }
}

/// What training budget to make the most of.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OptimalSparsityParams {
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
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    intervals: bool,
}

impl OptimalSparsityParams {
    pub(crate) fn check(&self) -> Result<(NonzeroParams, Compute), ApiError> {
        let mut checks = Checks::default();
        let (size, compute, mode) = (self.nonzero_params, self.compute, &*self.flop_mode);
        let question = Budget::check_sized(size, compute, Some(mode), &mut checks);
        Ok(checks.finish(question)?)
    }
}

fn optimise<'a>(
    asked: &'a AskedLaw,
    (nonzero_params, compute): (NonzeroParams, Compute),
    mode: &Mode,
    intervals: bool,
) -> Result<OptimalSparsityView<'a>, ApiError> {
    let cost = mode.cost(asked);
    if let Some(choice) = asked.best_measured(&cost, (nonzero_params, compute))? {
        return best_measured(asked, (nonzero_params, compute), &cost, &choice, intervals);
    }
    asked.require_all("the optimal sparsity")?;
    let found =
        Recommendation::new(&asked.law.content.coefficients, &cost, nonzero_params, compute)?;
    let Optimum { density, data, loss } = found.best;
    let question = Question { nonzero_params, density, data, cost: Some(&cost) };
    let (extrapolation, mut warnings) = asked.borrowed_caveats(&question, intervals);
    let (interval, others) = if intervals {
        let known = asked.sampled.recommendation_intervals(&cost, nonzero_params, compute, &found);
        let known = known.map(|known| (known.sparsity.into(), OptimumIntervals::from(known)));
        let (interval, others) = known.unzip();
        (Some(interval), Some(others))
    } else {
        (None, None)
    };
    let mut trust = asked.trust(sparsity_width(interval.flatten()), &extrapolation);
    let pattern = mode.pattern(asked, (nonzero_params, compute), &found.best, intervals)?;
    if let Some(warning) = asked.unmeasured(pattern.as_ref().map(PatternView::name)) {
        warnings.insert(0, warning);
        trust.doubt(TrustCode::UnmeasuredPattern);
    }
    Ok(OptimalSparsityView {
        law: &asked.reference,
        sparsity: found.best.sparsity().get(),
        best_measured_level: false,
        measured_levels: None,
        interval,
        loss,
        data: data.get(),
        total_params: found.total_params,
        dense: found.dense.into(),
        gain: found.gain,
        chinchilla_ratio: found.chinchilla_ratio,
        intervals: others,
        pattern,
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings,
        trust,
    })
}

/// The answer of a law whose runs have two sparsities: which of them is better.
fn best_measured<'a>(
    asked: &'a AskedLaw,
    (nonzero_params, compute): (NonzeroParams, Compute),
    cost: &TrainingCost,
    choice: &MeasuredChoice,
    intervals: bool,
) -> Result<OptimalSparsityView<'a>, ApiError> {
    let law = asked.sampled.coefficients();
    let found = choice.recommendation(law, cost, nonzero_params, compute)?;
    let Optimum { density, data, loss } = found.best;
    let question = Question { nonzero_params, density, data, cost: Some(cost) };
    let (extrapolation, warnings) = asked.borrowed_caveats(&question, intervals);
    let interval = choice.best().loss.filter(|_| intervals).map(IntervalView::from);
    let others = asked.sampled.prepared().filter(|_| intervals).map(|prepared| {
        let known = prepared.optimum_intervals(density, nonzero_params, data, found.dense.data);
        OptimumIntervals {
            loss: known.loss.into(),
            dense_loss: known.dense_loss.into(),
            gain: known.gain.into(),
            chinchilla_ratio: prepared.chinchilla_interval(cost, nonzero_params, compute).into(),
        }
    });
    Ok(OptimalSparsityView {
        law: &asked.reference,
        sparsity: found.best.sparsity().get(),
        best_measured_level: true,
        measured_levels: Some(choice.levels.iter().map(MeasuredLevelView::from).collect()),
        interval: intervals.then_some(None),
        loss,
        data: data.get(),
        total_params: found.total_params,
        dense: found.dense.into(),
        gain: found.gain,
        chinchilla_ratio: found.chinchilla_ratio,
        intervals: intervals.then_some(others),
        pattern: None,
        trust: asked.trust(relative_width(interval, loss), &extrapolation),
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings,
    })
}

/// Intervals by all resampled laws that one answer may take: five at four corners and in the middle.
const RECOMMENDATIONS: usize = 25;

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
    owner: Owner,
) -> Result<Response, ApiError> {
    let question = params.check()?;
    let mode = Mode::find(&state, &params.flop_mode).await?;
    let (asked, freshness) = asked_law(&state, &path.name()?, params.law_version).await?;
    // In the mode of a profile each resampled law is searched on its own; otherwise a cell of the table asks all
    // of them at its corners and in its middle.
    let quick = match mode {
        Mode::Known(_) => !params.intervals || asked.is_quick(RECOMMENDATIONS),
        Mode::Profile(_) => false,
    };
    let freshness = mode.freshness(freshness);
    if quick {
        let answer = || optimise(&asked, question, &mode, params.intervals);
        return cached(&known, &mode.tag(&asked), freshness, answer);
    }
    let tag = mode.tag(&asked).into_owned();
    let body = move || json(&optimise(&asked, question, &mode, params.intervals)?);
    cached_apart((&state, owner), &known, &tag, freshness, body).await
}
