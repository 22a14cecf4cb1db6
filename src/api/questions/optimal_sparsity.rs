//! The best sparsity for a training budget.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    Ceiling, Compute, Data, Density, FormAnswer, FormIntervals, MeasuredChoice, MeasuredSparsity,
    NonzeroParams, Optimum, Question, Recommendation, RecommendationIntervals, Repetition,
    SampledForm, TrainingCost,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
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

/// The best sparsity for a training budget.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OptimalSparsity)]
pub struct OptimalSparsityView<'a> {
    /// The law that the answer was computed from.
    #[schema(value_type = LawRef)]
    law: &'a LawRef,
    /// The best sparsity; exactly 0 where zeros do not lower the loss. The best of the measured sparsities where
    /// `best_measured_level` is true.
    sparsity: f64,
    /// Whether the law only tells which of the measured sparsities, `measured_levels`, is best. This is so where its
    /// runs have too few sparsities to tell what lies between and beyond them, and for the form `levels`, whose
    /// interval goes from one level to another.
    best_measured_level: bool,
    /// The measured sparsities; left out where `best_measured_level` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    measured_levels: Option<Vec<MeasuredLevelView>>,
    /// The pattern or recipe of the level, if the law tells runs of the same sparsity apart by it. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// The tightest of the bounds `max_total_params`, `memory_bytes` and `max_sparsity`, where it rules out a better
    /// sparsity. Empty where none does.
    #[schema(example = json!(["max_total_params"]))]
    binding: Vec<&'static str>,
    /// Interval of the best sparsity, under the bounds if any are given; null where the law has no intervals, and where
    /// its runs have too few sparsities.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    interval: MaybeInterval,
    /// Predicted loss at the best sparsity.
    loss: f64,
    /// The training cost in every currency that is known.
    budget: BudgetView,
    /// Data that the compute pays for at the best sparsity.
    data: f64,
    /// Amount of unique data that would teach as much: less than `data` where some data is seen more than once. Left
    /// out without `unique_data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    effective_data: Option<f64>,
    /// Parameters that a token passes, equal to `nonzero_params`, in families whose zeros are experts. Left out
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    active_params: Option<f64>,
    /// Parameters at the best sparsity, zeros included.
    total_params: f64,
    /// The dense model with as many non-zero parameters and the same compute; null for a law of the form `levels`
    /// without a dense level.
    dense: Option<DenseView>,
    /// Size of the dense model with equal loss on the same data, relative to `nonzero_params`; null where nothing is
    /// known about dense models, and for a law of the form `experts` where no dense model of any size is as good.
    gain: Option<f64>,
    /// The compute relative to the compute for which a dense model of this size is optimal; null where nothing is known
    /// about dense models.
    chinchilla_ratio: Option<f64>,
    /// Intervals of the values that follow from the best sparsity; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<OptimumIntervalsView>)]
    intervals: Option<Option<OptimumIntervalsView>>,
    /// The best pattern that the hardware can run, or the best mixture of experts of the family; null where none are
    /// listed.
    pattern: Option<PatternView>,
    /// The quantities that lie outside the runs behind the law.
    extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting the answer.
    #[schema(value_type = Vec<WarningView>)]
    warnings: Vec<Cow<'a, Arc<WarningView>>>,
    /// How far the answer can be trusted.
    trust: TrustView,
}

/// A sparsity of the runs behind the law, at the size and budget of the question.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeasuredLevel)]
pub struct MeasuredLevelView {
    /// The sparsity.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// The pattern or recipe of the level, if the law tells runs of the same sparsity apart by it. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// Predicted loss.
    loss: f64,
    /// Interval of the mean loss; null where the law has none.
    interval: Option<IntervalView>,
    /// Data that the compute pays for.
    data: f64,
    /// Share of the resampled laws for which this is the best of the measured sparsities; null where the law has no
    /// resamples.
    #[schema(example = 0.97)]
    share: Option<f64>,
}

impl MeasuredLevelView {
    fn new(level: &MeasuredSparsity, asked: &AskedLaw) -> Self {
        Self {
            sparsity: level.model.sparsity().get(),
            level: asked.level_name(level.level),
            loss: level.model.loss,
            interval: level.loss.map(Into::into),
            data: level.model.data.get(),
            share: level.share,
        }
    }
}

fn measured_levels(choice: &MeasuredChoice, asked: &AskedLaw) -> Vec<MeasuredLevelView> {
    choice.levels.iter().map(|level| MeasuredLevelView::new(level, asked)).collect()
}

/// Intervals of the values that follow from the recommended sparsity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OptimumIntervals)]
pub struct OptimumIntervalsView {
    /// Interval of the loss at the recommended sparsity.
    pub(crate) loss: IntervalView,
    /// Interval of the loss of the dense alternative; null where there is none.
    pub(crate) dense_loss: Option<IntervalView>,
    /// Interval of the gain at the recommended sparsity; null where there is none.
    pub(crate) gain: Option<IntervalView>,
    /// Interval of `chinchilla_ratio`; null where there is none.
    pub(crate) chinchilla_ratio: Option<IntervalView>,
}

impl From<RecommendationIntervals> for OptimumIntervalsView {
    fn from(known: RecommendationIntervals) -> Self {
        Self {
            loss: known.loss.into(),
            dense_loss: Some(known.dense_loss.into()),
            gain: Some(known.gain.into()),
            chinchilla_ratio: Some(known.chinchilla_ratio.into()),
        }
    }
}

impl From<FormIntervals> for OptimumIntervalsView {
    fn from(known: FormIntervals) -> Self {
        Self {
            loss: known.loss.into(),
            dense_loss: known.dense_loss.map(Into::into),
            gain: known.gain.map(Into::into),
            chinchilla_ratio: known.chinchilla_ratio.map(Into::into),
        }
    }
}

/// The dense model with as many non-zero parameters and the same compute.
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

/// The training budget to find the best sparsity for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OptimalSparsityParams {
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[param(example = 1e7, minimum = 1, maximum = 1e18)]
    pub(crate) nonzero_params: f64,
    /// Training cost in FLOPs, between 1 and 1e40. Give exactly one of this, `device_hours`, `days` and `cost`.
    #[param(example = 1e17, minimum = 1, maximum = 1e40)]
    pub(crate) compute: Option<f64>,
    /// In place of `compute`: hours of one device of the hardware profile.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    pub(crate) device_hours: Option<f64>,
    /// In place of `compute`: days of all devices of the hardware profile together.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    pub(crate) days: Option<f64>,
    /// In place of `compute`: the price of the hours, in the currency of the hardware profile's `price_per_hour`.
    #[param(exclusive_minimum = 0, maximum = 1e15)]
    pub(crate) cost: Option<f64>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile such as
    /// `example-block-sparse`.
    #[param(example = "sparse")]
    pub(crate) flop_mode: String,
    /// How much unique data there is, in the family's data unit, between 1e-6 and 1e30: training data beyond this
    /// amount is seen again, and teaches less. By default all data that the compute pays for is unique.
    #[param(minimum = 1e-6, maximum = 1e30)]
    pub(crate) unique_data: Option<f64>,
    /// The most parameters, zeros included; between 1 and 1e22.
    #[param(minimum = 1, maximum = 1e22)]
    pub(crate) max_total_params: Option<f64>,
    /// The most bytes that the weights may take, between 1 and 1e30.
    #[param(minimum = 1, maximum = 1e30)]
    pub(crate) memory_bytes: Option<f64>,
    /// The highest sparsity, at least 0 and below 1.
    #[param(minimum = 0, exclusive_maximum = 1)]
    pub(crate) max_sparsity: Option<f64>,
    /// How the weights that `memory_bytes` limits are stored; by default as in the hardware profile, or else `dense`.
    /// The formats are described at plans.
    #[param(inline)]
    pub(crate) storage: Option<StorageView>,
    /// Bits per value of the weights that `memory_bytes` limits: 4, 8, 16 or 32; 16 by default, which in `dense`
    /// storage is two bytes per parameter.
    #[param(minimum = 4, maximum = 32)]
    pub(crate) bits_per_param: Option<u32>,
    /// Version of the law to ask; the active one by default.
    pub(crate) law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    pub(crate) intervals: bool,
}

impl OptimalSparsityParams {
    /// Checks all parameters.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] listing every invalid parameter.
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

/// Checks `unique_data`: `Some(None)` where it is not given, `None` where it is invalid.
pub(crate) fn check_unique_data(given: Option<f64>, checks: &mut Checks) -> Option<Option<Data>> {
    match given {
        None => Some(None),
        Some(value) => checks.take("unique_data", Data::new(value)).map(Some),
    }
}

/// Answers one question for the best sparsity.
///
/// # Errors
/// [`ApiError::Undetermined`] and [`ApiError::NotIdentified`] where the law does not know the answer;
/// [`ApiError::Invalid`] where the bounds allow no sparsity; [`ApiError::NotRepresentable`] where a number is out of
/// range.
pub(crate) fn optimise<'a>(
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
    if let Some(own) = &asked.own {
        let question = (asked_for, repetition.as_ref());
        return best_of_own(asked, own, question, (&cost, mode), (ceiling, least), intervals);
    }
    if repetition.is_some() {
        // A choice between the measured sparsities cannot take repeated data into account.
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
    let question = Question { nonzero_params, density, data, cost: Some(&cost), repetition };
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
        let known = known.map(|known| (known.sparsity.into(), OptimumIntervalsView::from(known)));
        let (interval, others) = known.unzip();
        (Some(interval), Some(others))
    } else {
        (None, None)
    };
    let mut trust = asked.trust(sparsity_width(interval.flatten()), &extrapolation);
    // What a pattern is worth on repeated data is not known.
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
        trust.doubt(TrustCode::RepetitionAssumed);
    }
    // The bounds were not applied to the other forms, so their best sparsities only compare without bounds.
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
        level: None,
        binding,
        interval,
        loss,
        budget: BudgetView::new(compute.get(), mode),
        data: data.get(),
        effective_data: repetition.map(|repetition| repetition.effective(data.get())),
        active_params: asked.active_params(nonzero_params.get()),
        total_params: found.total_params,
        dense: Some(found.dense.into()),
        gain: Some(found.gain),
        chinchilla_ratio: Some(found.chinchilla_ratio),
        intervals: others,
        pattern,
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings,
        trust,
    })
}

/// The answer of a law that can only choose between the sparsities of its runs.
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
    let question = Question { nonzero_params, density, data, cost: Some(cost), repetition: None };
    let (extrapolation, warnings) = asked.borrowed_caveats(&question, intervals);
    let interval = choice.best().loss.filter(|_| intervals).map(IntervalView::from);
    let others = asked.sampled.prepared().filter(|_| intervals).map(|prepared| {
        let known = prepared.optimum_intervals(density, nonzero_params, data, found.dense.data);
        OptimumIntervalsView {
            loss: known.loss.into(),
            dense_loss: Some(known.dense_loss.into()),
            gain: Some(known.gain.into()),
            chinchilla_ratio: Some(
                prepared.chinchilla_interval(cost, nonzero_params, compute).into(),
            ),
        }
    });
    Ok(OptimalSparsityView {
        law: &asked.reference,
        sparsity: found.best.sparsity().get(),
        best_measured_level: true,
        measured_levels: Some(measured_levels(choice, asked)),
        level: None,
        binding,
        interval: intervals.then_some(None),
        loss,
        budget: BudgetView::new(compute.get(), mode),
        data: data.get(),
        effective_data: None,
        active_params: asked.active_params(nonzero_params.get()),
        total_params: found.total_params,
        dense: Some(found.dense.into()),
        gain: Some(found.gain),
        chinchilla_ratio: Some(found.chinchilla_ratio),
        intervals: intervals.then_some(others),
        pattern: None,
        trust: asked.trust(relative_width(interval, loss), &extrapolation),
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings: warnings.into_iter().map(Cow::Borrowed).collect(),
    })
}

/// The answer of a law of the form `levels` or `experts`.
///
/// # Errors
/// [`ApiError::Undetermined`] where the law does not know the effect of data or size; [`ApiError::Invalid`] where the
/// question needs a bound, or where the bounds leave none of the law's levels.
pub(crate) fn own_answer(
    asked: &AskedLaw,
    own: &SampledForm,
    (question, repetition): OwnQuestion<'_>,
    (cost, mode): (&TrainingCost, &Mode),
    (bound, least): (&str, Option<Density>),
    intervals: bool,
) -> Result<FormAnswer, ApiError> {
    asked.require_budgets("the optimal sparsity")?;
    let levels = own.law().levels();
    if levels.is_none() {
        require_optimum(cost, least, mode)?;
    }
    let found = own.recommend(cost, question, least, repetition, intervals)?;
    found.ok_or_else(|| match levels {
        Some(levels) => {
            let least = levels.first().map_or(0.0, |level| level.get());
            let detail = format!(
                "leaves none of the sparsities that law {} knows, of which the least is {least}",
                asked.law.version
            );
            ApiError::field(format!("/{bound}"), detail)
        }
        None => ApiError::NotRepresentable(
            "the loss falls with the sparsity as far as numbers go: give a bound such as max_sparsity"
                .to_owned(),
        ),
    })
}

/// A size and a budget, and how data is repeated if some of it is.
pub(crate) type OwnQuestion<'a> = ((NonzeroParams, Compute), Option<&'a Repetition>);

/// The answer under bounds, and the bounds that are binding.
///
/// # Errors
/// The same as [`own_answer`].
pub(crate) fn own_bounded_answer(
    asked: &AskedLaw,
    own: &SampledForm,
    question: OwnQuestion<'_>,
    (cost, mode): (&TrainingCost, &Mode),
    (ceiling, least): (&Ceiling, Option<Density>),
    intervals: bool,
) -> Result<(FormAnswer, Vec<&'static str>), ApiError> {
    let (asked_for, repetition) = question;
    let free = || {
        let bound = own.law().levels().is_some() || cost.has_optimum();
        let free = || own.law().best_density(cost, asked_for, None, repetition).ok().flatten();
        bound.then(free).flatten()
    };
    let bounds = binding(ceiling, asked_for.0, free)?;
    let bound = (bounds.first().copied().unwrap_or("max_sparsity"), least);
    let answer = own_answer(asked, own, question, (cost, mode), bound, intervals)?;
    Ok((answer, bounds))
}

fn best_of_own<'a>(
    asked: &'a AskedLaw,
    own: &SampledForm,
    question: OwnQuestion<'_>,
    (cost, mode): (&TrainingCost, &Mode),
    bounds: (&Ceiling, Option<Density>),
    intervals: bool,
) -> Result<OptimalSparsityView<'a>, ApiError> {
    let (asked_for, repetition) = question;
    let (nonzero_params, compute) = asked_for;
    let (_, least) = bounds;
    let (answer, bounds) =
        own_bounded_answer(asked, own, question, (cost, mode), bounds, intervals)?;
    let FormAnswer { found, choice, intervals: known } = answer;
    let Optimum { density, data, loss } = found.best;
    let question = Question { nonzero_params, density, data, cost: Some(cost), repetition };
    let (extrapolation, warnings) = asked.borrowed_caveats(&question, intervals);
    let mut warnings: Vec<_> = warnings.into_iter().map(Cow::Borrowed).collect();
    let interval = known.map(|known| IntervalView::from(known.sparsity));
    // An interval between levels only reflects how far these lie apart, so trust depends on the interval of the loss.
    let width = match &choice {
        Some(_) => relative_width(known.map(|known| known.loss.into()), loss),
        None => sparsity_width(interval),
    };
    let mut trust = asked.trust(width, &extrapolation);
    if let Some(warning) = asked.assumed_repetition(repetition, data) {
        warnings.insert(0, Cow::Borrowed(warning));
        trust.doubt(TrustCode::RepetitionAssumed);
    }
    if repetition.is_none()
        && least.is_none()
        && let Some(warning) = asked.disagreeing_forms(cost, asked_for, interval)
    {
        warnings.insert(0, Cow::Owned(warning));
        trust.doubt(TrustCode::FormsDisagree);
    }
    let levels = choice.as_ref();
    Ok(OptimalSparsityView {
        law: &asked.reference,
        sparsity: found.best.sparsity().get(),
        best_measured_level: levels.is_some(),
        measured_levels: levels.map(|choice| measured_levels(choice, asked)),
        level: asked.level_name(found.level),
        binding: bounds,
        interval: intervals.then_some(interval),
        loss,
        budget: BudgetView::new(compute.get(), mode),
        data: data.get(),
        effective_data: repetition.map(|repetition| repetition.effective(data.get())),
        active_params: asked.active_params(nonzero_params.get()),
        total_params: found.total_params,
        dense: found.dense.map(DenseView::from),
        gain: found.gain,
        chinchilla_ratio: found.chinchilla_ratio,
        intervals: intervals.then(|| known.map(OptimumIntervalsView::from)),
        // Only laws of the form `sparse` know what a pattern is worth, and mixtures of experts are levels of their own.
        pattern: None,
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings,
        trust,
    })
}

/// How many values by all resampled laws one answer may take: five at each corner of a cell of the table and in its
/// middle.
const RECOMMENDATIONS: usize = 25;

/// Finds the best sparsity for a training budget.
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
    let (asked, freshness) = any_law(&state, &path.name()?, params.law_version).await?;
    let question = (nonzero_params, spending.compute(&mode)?, unique);
    let ceiling = bounds.ceiling(&mode);
    // In the mode of a hardware profile, for repeated data and by a law without a gain of its own, the optimum has to
    // be searched for each resampled law. Otherwise a table is used, and all laws are only evaluated at the corners and
    // in the middle of one of its cells.
    let curved = asked.law.content.coefficients.gain_curve().is_some();
    let searched = unique.is_some() || curved || asked.own.is_some();
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
