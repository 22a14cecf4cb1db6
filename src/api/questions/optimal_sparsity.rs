//! The sparsity that makes the most of a training budget.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    Ceiling, Compute, Data, MeasuredChoice, MeasuredSparsity, NonzeroParams, Optimum, Question,
    Recommendation, RecommendationIntervals, TrainingCost,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::asked_law;
use crate::api::questions::bounds::{
    Bounds, GivenBounds, GivenStorage, binding, free_density, require_optimum,
};
use crate::api::questions::budget::{Budget, BudgetView, GivenBudget, Spending};
use crate::api::questions::law::{AskedLaw, relative_width, sparsity_width};
use crate::api::questions::modes::Mode;
use crate::api::questions::patterns::PatternView;
use crate::api::resources::profiles::StorageView;
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
    /// The bounds of the question that keep a better sparsity away: `max_total_params`, `memory_bytes` or
    /// `max_sparsity`, the tightest of them. Empty where none does.
    #[schema(example = json!(["max_total_params"]))]
    binding: Vec<&'static str>,
    /// Interval of the best sparsity; null where the law has none. With a bound, of the best sparsity under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    interval: MaybeInterval,
    /// Predicted loss at it.
    loss: f64,
    /// The training cost in every currency that is known.
    budget: BudgetView,
    /// Data that the compute pays for at it.
    data: f64,
    /// Different data that would teach as much: less than `data` where some of that is seen more than once. Left out
    /// where `unique_data` is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    effective_data: Option<f64>,
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
    /// Intervals of what follows from the best sparsity; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<OptimumIntervals>)]
    intervals: Option<Option<OptimumIntervals>>,
    /// The best pattern that the hardware can run, or the best mixture of experts of the family; null where none are
    /// listed.
    pattern: Option<PatternView>,
    /// The quantities that lie outside the runs behind the law.
    extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting it.
    #[schema(value_type = Vec<WarningView>)]
    warnings: Vec<Cow<'a, Arc<WarningView>>>,
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
    /// Training cost in FLOPs, between 1 and 1e40. Exactly one of this, `device_hours`, `days` and `cost`.
    #[param(example = 1e17, minimum = 1, maximum = 1e40)]
    compute: Option<f64>,
    /// In place of `compute`: hours of one device of the hardware profile.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    device_hours: Option<f64>,
    /// In place of `compute`: days of all devices of the hardware profile together.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    days: Option<f64>,
    /// In place of `compute`: what the hours cost, in the currency of the hardware profile's `price_per_hour`.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    cost: Option<f64>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile such as
    /// `example-block-sparse`.
    #[param(example = "sparse")]
    flop_mode: String,
    /// How much different data there is, in the family's data unit, between 1e-6 and 1e30: what is trained on beyond it
    /// is seen again, and teaches less. As much as the compute pays for unless said otherwise.
    #[param(minimum = 1e-6, maximum = 1e30)]
    unique_data: Option<f64>,
    /// The most parameters, zeros included; between 1 and 1e22.
    #[param(minimum = 1, maximum = 1e22)]
    max_total_params: Option<f64>,
    /// The most bytes that the weights may take, between 1 and 1e30.
    #[param(minimum = 1, maximum = 1e30)]
    memory_bytes: Option<f64>,
    /// The highest sparsity, at least 0 and below 1.
    #[param(minimum = 0, exclusive_maximum = 1)]
    max_sparsity: Option<f64>,
    /// How the weights are stored of which `memory_bytes` speaks: that of the hardware profile, or `dense`, unless
    /// said otherwise; as of plans.
    #[param(inline)]
    storage: Option<StorageView>,
    /// Bits of a value of which `memory_bytes` speaks: 4, 8, 16 or 32; 16 unless said otherwise, which in `dense`
    /// storage is two bytes for every parameter.
    #[param(minimum = 4, maximum = 32)]
    bits_per_param: Option<u32>,
    /// Version of the law to ask; the active one unless said otherwise.
    law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    intervals: bool,
}

impl OptimalSparsityParams {
    pub(crate) fn check(
        &self,
    ) -> Result<(NonzeroParams, Spending, Bounds, Option<Data>), ApiError> {
        let mut checks = Checks::default();
        let unique = check_unique_data(self.unique_data, &mut checks);
        let (size, mode) = (self.nonzero_params, &*self.flop_mode);
        let given = GivenBudget([self.compute, self.device_hours, self.days, self.cost]);
        let question = Budget::check_spending(size, given, Some(mode), &mut checks);
        let given = GivenBounds {
            max_total_params: self.max_total_params,
            memory_bytes: self.memory_bytes,
            max_sparsity: self.max_sparsity,
        };
        let storage = GivenStorage { storage: self.storage, bits_per_param: self.bits_per_param };
        storage.require_memory(self.memory_bytes.is_some(), &mut checks);
        let bounds = given.check(storage, &mut checks);
        let values = question.zip(bounds).zip(unique);
        let (((nonzero_params, spending), bounds), unique) = checks.finish(values)?;
        Ok((nonzero_params, spending, bounds, unique))
    }
}

/// How much different data there is, where that is said; `None` where it is wrong.
pub(crate) fn check_unique_data(given: Option<f64>, checks: &mut Checks) -> Option<Option<Data>> {
    match given {
        None => Some(None),
        Some(value) => checks.take("unique_data", Data::new(value)).map(Some),
    }
}

fn optimise<'a>(
    asked: &'a AskedLaw,
    (nonzero_params, compute, unique): (NonzeroParams, Compute, Option<Data>),
    mode: &Mode,
    ceiling: &Ceiling,
    intervals: bool,
) -> Result<OptimalSparsityView<'a>, ApiError> {
    let cost = mode.cost(asked);
    let asked_for = (nonzero_params, compute);
    let least = ceiling.least_density(nonzero_params)?;
    let repetition = asked.repetition(unique);
    if repetition.is_some() {
        // Which of the measured sparsities is best says nothing of repeated data.
        asked.require_all("the optimal sparsity of repeated data")?;
    } else if let Some(choice) = asked.best_measured(&cost, asked_for, least)? {
        let free = match least {
            Some(_) => asked.best_measured(&cost, asked_for, None)?,
            None => None,
        };
        let free = free.map(|choice| choice.best().model.density);
        let binding = binding(ceiling, nonzero_params, || free)?;
        return best_measured(asked, asked_for, (&cost, mode), &choice, binding, intervals);
    }
    asked.require_all("the optimal sparsity")?;
    require_optimum(&cost, least, mode)?;
    let law = &asked.law.content.coefficients;
    let repetition = repetition.as_ref();
    let found = Recommendation::under(law, &cost, asked_for, least, repetition)?;
    let free = || free_density(asked, &cost, asked_for, repetition);
    let binding = binding(ceiling, nonzero_params, free)?;
    let Optimum { density, data, loss } = found.best;
    let question = Question { nonzero_params, density, data, cost: Some(&cost) };
    let (extrapolation, warnings) = asked.borrowed_caveats(&question, intervals);
    let mut warnings: Vec<_> = warnings.into_iter().map(Cow::Borrowed).collect();
    let (interval, others) = if intervals {
        let (sampled, n) = (&asked.sampled, nonzero_params);
        let known = match (repetition, least) {
            (None, None) => sampled.recommendation_intervals(&cost, n, compute, &found),
            (None, Some(least)) => sampled.bounded_intervals(least, &cost, n, compute, &found),
            (Some(repetition), least) => {
                sampled.repeating_intervals(&cost, asked_for, repetition, least, &found)
            }
        };
        let known = known.map(|known| (known.sparsity.into(), OptimumIntervals::from(known)));
        let (interval, others) = known.unzip();
        (Some(interval), Some(others))
    } else {
        (None, None)
    };
    let mut trust = asked.trust(sparsity_width(interval.flatten()), &extrapolation);
    // What a pattern makes of data that is seen again is not worked out.
    let pattern = match repetition {
        None => mode.pattern(asked, asked_for, &found.best, ceiling, intervals)?,
        Some(_) => None,
    };
    if let Some(warning) = asked.unmeasured(pattern.as_ref().map(PatternView::name)) {
        warnings.insert(0, Cow::Borrowed(warning));
        trust.doubt(TrustCode::UnmeasuredPattern);
    }
    if let Some(warning) = asked.assumed_repetition(repetition, data) {
        warnings.insert(0, Cow::Borrowed(warning));
    }
    // Other forms were not asked under the bounds.
    if repetition.is_none()
        && least.is_none()
        && let Some(warning) = asked.disagreeing_forms(&cost, asked_for, interval.flatten())
    {
        warnings.insert(0, Cow::Owned(warning));
        trust.doubt(TrustCode::FormsDisagree);
    }
    Ok(OptimalSparsityView {
        law: &asked.reference,
        sparsity: found.best.sparsity().get(),
        best_measured_level: false,
        measured_levels: None,
        binding,
        interval,
        loss,
        budget: BudgetView::new(compute.get(), mode),
        data: data.get(),
        effective_data: repetition.map(|repetition| repetition.effective(data.get())),
        active_params: asked.active_params(nonzero_params.get()),
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
    (cost, mode): (&TrainingCost, &Mode),
    choice: &MeasuredChoice,
    binding: Vec<&'static str>,
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
        binding,
        interval: intervals.then_some(None),
        loss,
        budget: BudgetView::new(compute.get(), mode),
        data: data.get(),
        effective_data: None,
        active_params: asked.active_params(nonzero_params.get()),
        total_params: found.total_params,
        dense: found.dense.into(),
        gain: found.gain,
        chinchilla_ratio: found.chinchilla_ratio,
        intervals: intervals.then_some(others),
        pattern: None,
        trust: asked.trust(relative_width(interval, loss), &extrapolation),
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings: warnings.into_iter().map(Cow::Borrowed).collect(),
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
    let (nonzero_params, spending, bounds, unique) = params.check()?;
    let mode = Mode::find(&state, &params.flop_mode).await?;
    let (asked, freshness) = asked_law(&state, &path.name()?, params.law_version).await?;
    let question = (nonzero_params, spending.compute(&mode)?, unique);
    let ceiling = bounds.ceiling(&mode);
    // In the mode of a profile, of repeated data and by a law without a gain of its own each resampled law is searched
    // on its own; otherwise a cell of the table asks all of them at its corners and in its middle.
    let searched = unique.is_some() || asked.law.content.coefficients.gain_curve().is_some();
    let quick = match mode {
        Mode::Known(_) if !searched => !params.intervals || asked.is_quick(RECOMMENDATIONS),
        _ => false,
    };
    let freshness = mode.freshness(freshness);
    if quick {
        let answer = || optimise(&asked, question, &mode, &ceiling, params.intervals);
        return cached(&known, &mode.tag(&asked), freshness, answer);
    }
    let tag = mode.tag(&asked).into_owned();
    let body = move || json(&optimise(&asked, question, &mode, &ceiling, params.intervals)?);
    cached_apart((&state, owner), &known, &tag, freshness, body).await
}
