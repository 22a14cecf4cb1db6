//! What a sparse model is worth: its effective parameters, and the data that a pretrained start saves.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::fit::Estimate;
use sparsity_law::law::{
    Data, Density, EqualModels, Factor, GivenSize, NonzeroParams, PretrainedStart, Question,
    Sparsity, Variable, finite,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::asked_law;
use crate::api::questions::law::{AskedLaw, relative_width};
use crate::api::resources::laws::MultiplierView;
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::caching::{KnownTags, cached, cached_apart, json};
use crate::api::wire::extract::{FamilyPath, Query};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::{EstimateView, ExtrapolationView, LawRef, TrustView, WarningView};
use crate::domain::checks::Checks;
use crate::domain::text::Pattern;
use crate::domain::trust::TrustCode;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_effective_params)).routes(routes!(get_data_multiplier))
}

/// The model to compare: one size and one sparsity.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EffectiveParamsParams {
    /// Non-zero parameters of a sparse model, to find the dense model of equal loss; either this or `dense_params`.
    #[param(example = 1e8, minimum = 1, maximum = 1e18)]
    nonzero_params: Option<f64>,
    /// Parameters of a dense model, to find the sparse model of equal loss; either this or `nonzero_params`.
    #[param(minimum = 1, maximum = 1e18)]
    dense_params: Option<f64>,
    /// Unstructured sparsity of the sparse model; either this or `pattern`.
    #[param(example = 0.75, minimum = 0, exclusive_maximum = 1)]
    sparsity: Option<f64>,
    /// Structured pattern of the sparse model, such as `2:4`; either this or `sparsity`.
    #[param(pattern = "^[1-9][0-9]{0,3}:[1-9][0-9]{0,3}$")]
    pattern: Option<String>,
    /// Version of the law to ask; the active one by default.
    law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    intervals: bool,
}

/// Where the zeros of the sparse model are.
#[derive(Debug, Clone)]
enum Zeros {
    Unstructured(Sparsity),
    Pattern(Pattern),
}

impl EffectiveParamsParams {
    fn check(&self) -> Result<(GivenSize, Zeros), ApiError> {
        let mut checks = Checks::default();
        let size = match (self.nonzero_params, self.dense_params) {
            (Some(size), None) => {
                checks.take("nonzero_params", NonzeroParams::new(size)).map(GivenSize::Sparse)
            }
            (None, Some(size)) => {
                checks.take("dense_params", NonzeroParams::new(size)).map(GivenSize::Dense)
            }
            (Some(_), Some(_)) => {
                checks.refuse("dense_params", "must not be given beside nonzero_params");
                None
            }
            (None, None) => {
                checks.refuse("nonzero_params", "must be given, or dense_params in its place");
                None
            }
        };
        let zeros = match (self.sparsity, &self.pattern) {
            (Some(sparsity), None) => {
                checks.take("sparsity", Sparsity::new(sparsity)).map(Zeros::Unstructured)
            }
            (None, Some(pattern)) => {
                checks.take("pattern", Pattern::new(pattern)).map(Zeros::Pattern)
            }
            (Some(_), Some(_)) => {
                checks.refuse("pattern", "must not be given beside sparsity");
                None
            }
            (None, None) => {
                checks.refuse("sparsity", "must be given, or pattern in its place");
                None
            }
        };
        Ok(checks.finish(size.zip(zeros))?)
    }
}

/// A sparse model and the dense model that reaches the same loss on the same data, whatever its amount. The size that
/// the request gave is exact and has no interval.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EffectiveParams)]
pub struct EffectiveParamsView {
    /// The law that the sizes were computed from.
    law: Arc<LawRef>,
    /// Sparsity of the sparse model; with a pattern, the sparsity that the pattern prescribes.
    #[schema(example = 0.75)]
    sparsity: f64,
    /// Pattern of the sparse model; null for unstructured sparsity.
    #[schema(example = json!(null))]
    pattern: Option<String>,
    /// The unstructured sparsity that runs of this pattern were measured to be worth, which was used to compute the
    /// answer. Null without a pattern, and where the law has no such runs: the nominal sparsity is used instead then,
    /// and the warning `nominal_sparsity` says so.
    effective_sparsity: Option<EstimateView>,
    /// Non-zero parameters of the sparse model.
    nonzero_params: EstimateView,
    /// Parameters of the sparse model, zeros included.
    total_params: EstimateView,
    /// Parameters of the dense model.
    dense_params: EstimateView,
    /// `dense_params / nonzero_params`.
    gain: EstimateView,
    /// `dense_params / total_params`: below 1 where zeros are worth less than parameters.
    total_params_gain: EstimateView,
    /// Gain of unstructured sparsity at the nominal sparsity of the pattern; null without a pattern.
    unstructured_gain: Option<EstimateView>,
    /// The quantities that lie outside the runs behind the law; `dense_params` is the size of the dense model.
    extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting the answer.
    warnings: Vec<Arc<WarningView>>,
    /// How far the answer can be trusted.
    trust: TrustView,
}

/// Converts a factor to an estimate, and refuses a value that is not finite.
fn estimate(name: &'static str, factor: Factor) -> Result<EstimateView, ApiError> {
    let value = finite(name, factor.value)?;
    Ok(Estimate { value, interval: factor.interval }.into())
}

fn weigh(
    asked: &AskedLaw,
    size: GivenSize,
    zeros: &Zeros,
    intervals: bool,
) -> Result<EffectiveParamsView, ApiError> {
    let content = &asked.law.content;
    asked.require_gain("the gain")?;
    let ensemble = asked.sampled.ensemble().filter(|_| intervals);
    let unstructured = |density| Factor::gain(&content.coefficients, ensemble, density);
    let shown =
        |factor: Factor| Factor { interval: factor.interval.filter(|_| intervals), ..factor };

    let (sparsity, pattern) = match zeros {
        Zeros::Unstructured(sparsity) => (*sparsity, None),
        Zeros::Pattern(pattern) => {
            let nominal = Sparsity::new(pattern.sparsity());
            (nominal.expect("a pattern keeps some of its parameters"), Some(pattern.as_str()))
        }
    };
    let nominal = sparsity.density();
    let report = content.origin.patterns().iter().find(|report| Some(&*report.name) == pattern);
    let effective = report.map(|report| shown(report.effective_sparsity.into()));
    // Resamples of the pattern's own runs give a better interval than the unstructured gain.
    let gain = match report.and_then(|report| report.gain) {
        Some(gain) => shown(gain.into()),
        None => unstructured(nominal),
    };
    let EqualModels { nonzero_params: nonzero, total_params: total, dense_params: dense } =
        EqualModels::new(size, nominal, gain);

    // The answer does not depend on the data, so any amount will do that lies within the runs.
    let data = content.support.data().map_or(1e9, |range| range.min);
    let data = Data::new(data).expect("the runs' data, or a number in range");
    let in_range = |name: &str, value| {
        NonzeroParams::new(value).map_err(|e| ApiError::NotRepresentable(format!("{name} {e}")))
    };
    let density = effective.map_or(nominal, |effective| Density::clamped(1.0 - effective.value));
    let nonzero_params = in_range("nonzero_params", nonzero.value)?;
    let question = Question { nonzero_params, density, data, cost: None, repetition: None };
    let (extrapolation, mut warnings) = asked.caveats(&question, intervals);
    let width = relative_width(gain.interval.map(Into::into), gain.value);
    let mut trust = asked.trust(width, &extrapolation);
    let mut extrapolation: Vec<_> =
        extrapolation.into_iter().map(ExtrapolationView::from).collect();
    let dense_size = in_range("dense_params", dense.value)?;
    let dense_question = Question {
        nonzero_params: dense_size,
        density: Density::DENSE,
        data,
        cost: None,
        repetition: None,
    };
    let of_dense = content.support.extrapolation(&dense_question);
    let of_dense = of_dense.into_iter().filter(|e| e.variable == Variable::NonzeroParams);
    extrapolation.extend(
        of_dense
            .map(|e| ExtrapolationView { variable: "dense_params", ..ExtrapolationView::from(e) }),
    );
    if let Some(pattern) = pattern
        && report.is_none()
    {
        let detail = format!(
            "the law has no runs of {pattern}: unstructured sparsity {sparsity} stands in for it, \
             which is the most that a pattern can be expected to be worth"
        );
        warnings.push(Arc::new(WarningView::new("nominal_sparsity", detail)));
        trust.doubt(TrustCode::UnmeasuredPattern);
    }
    Ok(EffectiveParamsView {
        law: asked.reference.clone(),
        sparsity: sparsity.get(),
        pattern: pattern.map(str::to_owned),
        effective_sparsity: effective.map(|e| estimate("effective_sparsity", e)).transpose()?,
        nonzero_params: estimate("nonzero_params", nonzero)?,
        total_params: estimate("total_params", total)?,
        dense_params: estimate("dense_params", dense)?,
        gain: estimate("the gain", gain)?,
        total_params_gain: estimate("the gain on total_params", gain.times(nominal.get()))?,
        unstructured_gain: pattern
            .map(|_| estimate("the unstructured gain", unstructured(nominal)))
            .transpose()?,
        extrapolation,
        warnings,
        trust,
    })
}

/// The most gains with intervals in one answer.
const GAINS: usize = 2;

/// Finds the dense model that a sparse one is worth, or the sparse model that a dense one is worth.
#[utoipa::path(
    get, path = "/v1/families/{family}/effective-params", tag = TAG_QUESTIONS,
    params(FamilyPath, EffectiveParamsParams),
    responses(
        (status = OK, description = "Both models", body = EffectiveParamsView,
            headers(("ETag" = String, description = "Changes with the law"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get_effective_params(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<EffectiveParamsParams>,
    known: KnownTags,
    owner: Owner,
) -> Result<Response, ApiError> {
    let (size, zeros) = params.check()?;
    let (asked, freshness) = asked_law(&state, &path.name()?, params.law_version).await?;
    let quick = !params.intervals || asked.is_quick(GAINS);
    if quick {
        let answer = || weigh(&asked, size, &zeros, params.intervals);
        return cached(&known, &asked.tag, freshness, answer);
    }
    let tag = asked.tag.clone();
    let body = move || json(&weigh(&asked, size, &zeros, params.intervals)?);
    cached_apart((&state, owner), &known, &tag, freshness, body).await
}

/// The pretrained start to compare with training from scratch.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DataMultiplierParams {
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[param(example = 1e7, minimum = 1, maximum = 1e18)]
    nonzero_params: f64,
    /// Fraction of zeros at the end of training, at least 0 and below 1.
    #[param(example = 0.5, minimum = 0, exclusive_maximum = 1)]
    sparsity: f64,
    /// Data of the sparse phase, in the family's data unit, between 1e-6 and 1e30.
    #[param(example = 1e10, minimum = 1e-6, maximum = 1e30)]
    data: f64,
    /// Data that the dense checkpoint had seen. If given, the answer also counts both phases together.
    #[param(minimum = 1e-6, maximum = 1e30)]
    pretraining_data: Option<f64>,
    /// Version of the law to ask; the active one by default.
    law_version: Option<i32>,
}

impl DataMultiplierParams {
    fn check(&self) -> Result<PretrainedStart, ApiError> {
        let mut checks = Checks::default();
        let nonzero_params = checks.take("nonzero_params", NonzeroParams::new(self.nonzero_params));
        let sparsity = checks.take("sparsity", Sparsity::new(self.sparsity));
        let data = checks.take("data", Data::new(self.data));
        let before =
            self.pretraining_data.and_then(|data| checks.take("pretraining_data", Data::new(data)));
        let values = nonzero_params.zip(sparsity).zip(data);
        let ((nonzero_params, sparsity), data) = checks.finish(values)?;
        Ok(PretrainedStart { nonzero_params, density: sparsity.density(), data, before })
    }
}

/// How much data training from scratch needs to reach the loss of a pretrained start.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DataMultiplierAnswer)]
pub struct DataMultiplierView {
    /// The law that the answer was computed from.
    law: Arc<LawRef>,
    /// Predicted loss of the pretrained start.
    loss: f64,
    /// Data with which training from scratch reaches this loss; null where no amount does.
    scratch_data: Option<f64>,
    /// `scratch_data` relative to the data of the sparse phase; null where no amount reaches the loss.
    sparse_phase: Option<f64>,
    /// `scratch_data` relative to the data of dense pretraining and sparse phase together; null without
    /// `pretraining_data`, and where no amount reaches the loss.
    both_phases: Option<f64>,
    /// The multipliers that the law reports by sparsity, averaged over its own pretrained runs.
    levels: Vec<MultiplierView>,
    /// The quantities of the run from scratch that lie outside the law's runs from scratch.
    extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting the answer.
    warnings: Vec<Arc<WarningView>>,
    /// How far the answer can be trusted.
    trust: TrustView,
}

fn compare(asked: &AskedLaw, start: PretrainedStart) -> Result<DataMultiplierView, ApiError> {
    let content = &asked.law.content;
    let Some(report) = content.origin.fit().and_then(|fit| fit.pretrained.as_ref()) else {
        return Err(ApiError::Undetermined(format!(
            "law {} knows no pretrained starts: submit runs with start pretrained, of several sizes, \
             sparsities and amounts of data, and refit",
            asked.law.version
        )));
    };
    asked.require_all("the data multiplier")?;
    if !report.coefficients.determines().all() {
        return Err(ApiError::Undetermined(format!(
            "all pretrained runs of law {} have the same size, sparsity or data, so it does not know \
             what a pretrained start does elsewhere: submit runs with other values and refit",
            asked.law.version
        )));
    }
    let found = start.equal_from_scratch(&content.coefficients, &report.coefficients)?;
    let PretrainedStart { nonzero_params, density, data, .. } = start;

    let needed = found.data.and_then(|data| Data::new(data).ok()).unwrap_or(data);
    let question = Question { nonzero_params, density, data: needed, cost: None, repetition: None };
    let (extrapolation, mut warnings) = asked.caveats(&question, false);
    let trust = asked.trust(None, &extrapolation);
    let mut warn = |code, detail: String| {
        warnings.push(Arc::new(WarningView::new(code, detail)));
    };
    if found.data.is_none() {
        warn("unreachable", "no amount of data from scratch reaches this loss".to_owned());
    }
    warn(
        "no_intervals",
        "the resampled laws of the pretrained runs are not kept with the law: only the multipliers \
         of its levels have intervals"
            .to_owned(),
    );
    warn(
        "unknown_support",
        "the sizes and amounts of data of the pretrained runs are not kept with the law: how far the \
         answer extrapolates them cannot be said"
            .to_owned(),
    );
    if let Some(range) = report.passed_range(density.sparsity().get()) {
        let detail =
            format!("the pretrained runs have sparsities from {} to {}", range.min, range.max);
        warn("outside_pretrained", detail);
    }
    Ok(DataMultiplierView {
        law: asked.reference.clone(),
        loss: found.loss,
        scratch_data: found.data,
        sparse_phase: found.sparse_phase,
        both_phases: found.both_phases,
        levels: report.multipliers.iter().copied().map(MultiplierView::from).collect(),
        extrapolation: extrapolation.into_iter().map(Into::into).collect(),
        warnings,
        trust,
    })
}

/// Finds how much data training from scratch needs to reach the loss of a pretrained start.
#[utoipa::path(
    get, path = "/v1/families/{family}/data-multiplier", tag = TAG_QUESTIONS,
    params(FamilyPath, DataMultiplierParams),
    responses(
        (status = OK, description = "The multiplier", body = DataMultiplierView,
            headers(("ETag" = String, description = "Changes with the law"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
        (status = CONFLICT, description = "The family has no law yet, or its law knows no pretrained starts",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get_data_multiplier(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<DataMultiplierParams>,
    known: KnownTags,
) -> Result<Response, ApiError> {
    let start = params.check()?;
    let (asked, freshness) = asked_law(&state, &path.name()?, params.law_version).await?;
    cached(&known, &asked.tag, freshness, || compare(&asked, start))
}
