//! `/v1/families/{family}/laws`: fitted and published laws.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use sparsity_law::fit::{Diagnostics, Multiplier, PatternReport, PretrainedReport, Profile};
use sparsity_law::law::{CoefficientName, Coefficients, Identification, Interval, Support};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::replica_reads::Reads;
use crate::api::resources::families::{FamilyView, existing};
use crate::api::state::AppState;
use crate::api::tags::TAG_LAWS;
use crate::api::wire::caching::{Freshness, KnownTags, cached};
use crate::api::wire::extract::{
    FamilyPath, JsonBody, PageParams, Query, family_name, next_cursor, no_family,
};
use crate::api::wire::problem::{ApiError, MissingView, SettlingRunView};
use crate::api::wire::views::{
    CoefficientsView, EstimateView, ExpertsView, FitOptionsView, HoldoutView, IntervalView,
    LawCoefficientsView, LawSourceView, PruningView, SparsityLevelView, TrustView, WarningView,
    ZerosView,
};
use crate::domain::checks::Checks;
use crate::domain::law::{Law, LawContent, LawSource, Resamples};
use crate::domain::text::{FamilyName, check_prose};
use crate::store::{families, laws};

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_laws, create_law))
        .routes(routes!(get_law))
        .routes(routes!(update_active_law))
}

/// A law: coefficients, and what stands behind them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Law)]
pub struct LawView {
    /// Id of the law.
    id: Uuid,
    /// Version within the family, counted from 1.
    #[schema(example = 1)]
    version: i32,
    /// Whether it was fitted here or published elsewhere.
    source: LawSourceView,
    /// Where published coefficients stand.
    reference: Option<String>,
    /// Whether it is the law that answers now.
    active: bool,
    /// Whether it was fitted without some runs, those of `options.without`, to see what they do. Such a law
    /// answers only where its version is asked for, and cannot be made active.
    #[schema(example = false)]
    what_if: bool,
    /// The coefficients, in raw units at full precision.
    coefficients: LawCoefficientsView,
    /// Interval of each coefficient; null where the law has none.
    intervals: Option<CoefficientIntervals>,
    /// Mean Huber loss over its runs, where known.
    #[schema(example = 4.880117e-6)]
    objective: Option<f64>,
    /// Number of its runs, where known.
    #[schema(example = 48)]
    runs: Option<u32>,
    /// What its runs cover, by level of sparsity; empty where unknown.
    support: Vec<SparsityLevelView>,
    /// What its runs cannot tell.
    warnings: Vec<WarningView>,
    /// How far its answers can be trusted, whatever they are about. What depends on the question (the width of an
    /// interval, how far it lies outside the runs) is added in each answer.
    trust: TrustView,
    /// What the fit says about itself; null for a published law.
    diagnostics: Option<DiagnosticsView>,
    /// Effective sparsity of each structured pattern among the runs.
    patterns: Vec<PatternReportView>,
    /// Runs from pretrained checkpoints; null where there were none.
    pretrained: Option<PretrainedReportView>,
    /// What the fit ran with; null for a published law.
    options: Option<FitOptionsView>,
    /// Digest of the runs that it was fitted on; null for a published law.
    data_digest: Option<String>,
    /// What `data` counts.
    #[schema(example = "tokens")]
    data_unit: String,
    /// FLOPs per parameter and data unit that its answers use.
    #[schema(example = 6.0)]
    flops_per_param: f64,
    /// Pruning schedule that its answers use.
    pruning: PruningView,
    /// What the zeros of its models are.
    zeros: ZerosView,
    /// The mixtures of experts that can be deployed; null where none are said.
    experts: Option<ExpertsView>,
    /// When it was fitted, or published.
    fitted_at: DateTime<Utc>,
}

/// Interval of each coefficient; null for one that the law does not have, or that its runs do not determine.
#[derive(Debug, Serialize, ToSchema)]
pub struct CoefficientIntervals {
    /// Of `a_s`.
    a_s: Option<IntervalView>,
    /// Of `b_s`.
    b_s: Option<IntervalView>,
    /// Of `c_s`.
    c_s: Option<IntervalView>,
    /// Of `b_n`.
    b_n: Option<IntervalView>,
    /// Of `a_d`.
    a_d: Option<IntervalView>,
    /// Of `b_d`.
    b_d: Option<IntervalView>,
    /// Of `c`.
    c: Option<IntervalView>,
}

impl CoefficientIntervals {
    /// `None` where there is none at all.
    fn new(
        intervals: &BTreeMap<CoefficientName, Interval>,
        identification: Option<&Identification>,
    ) -> Option<Self> {
        let determined = |name| identification.is_none_or(|known| known.determines(name));
        let of = |name| {
            let interval = intervals.get(&name).filter(|_| determined(name));
            interval.copied().map(IntervalView::from)
        };
        (!intervals.is_empty()).then(|| Self {
            a_s: of(CoefficientName::AS),
            b_s: of(CoefficientName::BS),
            c_s: of(CoefficientName::CS),
            b_n: of(CoefficientName::BN),
            a_d: of(CoefficientName::AD),
            b_d: of(CoefficientName::BD),
            c: of(CoefficientName::C),
        })
    }
}

/// What a fit says about itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Diagnostics)]
pub struct DiagnosticsView {
    /// Share of the starts whose objective is within 0.1 % of the best and whose answers over the range of the runs
    /// are those of the best: losses within 0.1 %, best sparsities within 0.01.
    #[schema(example = 0.97)]
    agreement: f64,
    /// Slope `s0` of the gain at sparsity 0; above 1 the law is unphysical there. Null where the law
    /// does not know what sparsity or size do.
    #[schema(example = 0.8)]
    gain_slope: Option<f64>,
    /// Robust standard deviation of the residuals, widened for the fitted coefficients, in the unit
    /// of the objective's residual.
    #[schema(example = 0.007)]
    noise: f64,
    /// Correlations of the fitted coefficients.
    correlations: CorrelationsView,
    /// Ratio of the largest to the smallest singular value of the Jacobian with columns of unit
    /// length; null where the runs do not determine all coefficients.
    #[schema(example = 185.0)]
    condition: Option<f64>,
    /// Profile interval of each fitted exponent.
    profiles: Vec<ProfileView>,
    /// How well left-out runs were predicted.
    holdouts: Vec<HoldoutReportView>,
    /// Resamples that gave a law.
    #[schema(example = 1000)]
    resamples: Option<u32>,
    /// Resamples that determined none.
    #[schema(example = 0)]
    failed_resamples: Option<u32>,
    /// Every start, in the order of its index.
    starts: Vec<StartReportView>,
    /// Which coefficients the runs determine; null for a law that was fitted before this was looked at.
    identification: Option<IdentificationView>,
}

/// Which coefficients the runs of a law determine.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Identification)]
pub struct IdentificationView {
    /// Number of runs.
    #[schema(example = 48)]
    runs: usize,
    /// Number of coefficients that were fitted.
    #[schema(example = 7)]
    fitted: usize,
    /// How many combinations of them the runs tell apart.
    #[schema(example = 7)]
    rank: usize,
    /// The coefficients that they do not determine one by one; these are null.
    #[schema(example = json!([]))]
    open: Vec<&'static str>,
    /// What the runs have too few of; empty where every coefficient is determined.
    #[schema(example = json!([]))]
    missing: Vec<MissingView>,
    /// The cheapest runs that settle it.
    #[schema(example = json!([]))]
    suggestions: Vec<SettlingRunView>,
}

impl From<Identification> for IdentificationView {
    fn from(known: Identification) -> Self {
        Self {
            runs: known.runs,
            fitted: known.fitted,
            rank: known.rank,
            open: known.open.iter().map(|name| name.as_str()).collect(),
            missing: known.missing.iter().map(MissingView::from).collect(),
            suggestions: known.settling.iter().map(SettlingRunView::from).collect(),
        }
    }
}

/// Correlations of the logarithms of the coefficients at the geometric mean of the runs, where
/// `a_s`, `c_s` and `a_d` count as their part of the loss there: in raw units they say mostly how far
/// one parameter and one token are from the runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Correlations)]
pub struct CorrelationsView {
    /// The coefficients of rows and columns.
    #[schema(example = json!(["a_s", "b_s"]))]
    coefficients: Vec<&'static str>,
    /// Row by row; empty where the runs do not determine all coefficients.
    #[schema(example = json!([[1.0, -0.6], [-0.6, 1.0]]))]
    matrix: Vec<Vec<f64>>,
}

/// How far one exponent can go while the others make up for it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Profile)]
pub struct ProfileView {
    /// The exponent.
    #[schema(example = "b_d")]
    coefficient: &'static str,
    /// Nominal coverage.
    #[schema(example = 0.95)]
    level: f64,
    /// Lower end; null where the runs set none.
    low: Option<f64>,
    /// Upper end; null where the runs set none.
    high: Option<f64>,
}

/// How well runs were predicted by a law that was fitted without them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HoldoutReport)]
pub struct HoldoutReportView {
    /// Which runs were left out.
    holdout: HoldoutView,
    /// The smallest value of the quantity that was left out.
    limit: f64,
    /// Runs that were predicted.
    runs: usize,
    /// Runs that the law was fitted on.
    fitted_runs: usize,
    /// Mean residual: positive where the losses were predicted too high. Null where the other runs are too few,
    /// or of too few levels, to determine a law.
    bias: Option<f64>,
    /// Root mean square of the residuals; null where `bias` is.
    rms: Option<f64>,
}

/// One start of a fit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StartReport)]
pub struct StartReportView {
    /// Mean Huber loss that it reached.
    objective: f64,
    /// Why it ended: `converged`, `stalled`, `budget` or `stopped`.
    #[schema(example = "converged")]
    termination: &'static str,
    /// Evaluations of the objective and its derivatives that it took.
    evaluations: u32,
}

impl DiagnosticsView {
    fn new(
        diagnostics: Diagnostics,
        resamples: Option<Resamples>,
        coefficients: &Coefficients,
    ) -> Self {
        let known = coefficients.determines();
        let determined = diagnostics.identification.as_ref().is_none_or(|known| {
            use CoefficientName::{AS, BN, BS, CS};
            known.require(&[AS, BS, CS, BN]).is_ok()
        });
        Self {
            agreement: diagnostics.agreement,
            gain_slope: (known.sparsity && known.nonzero_params && determined)
                .then(|| coefficients.gain_slope()),
            noise: diagnostics.noise,
            correlations: CorrelationsView {
                coefficients: diagnostics.fitted.into_iter().map(CoefficientName::as_str).collect(),
                matrix: diagnostics.correlations,
            },
            condition: diagnostics.condition,
            profiles: diagnostics
                .profiles
                .into_iter()
                .map(|Profile { coefficient, level, low, high }| ProfileView {
                    coefficient: coefficient.as_str(),
                    level,
                    low,
                    high,
                })
                .collect(),
            holdouts: diagnostics
                .holdouts
                .into_iter()
                .map(|report| HoldoutReportView {
                    holdout: report.holdout.into(),
                    limit: report.limit,
                    runs: report.runs,
                    fitted_runs: report.fitted_runs,
                    bias: report.bias,
                    rms: report.rms,
                })
                .collect(),
            resamples: resamples.map(|resamples| resamples.fitted),
            failed_resamples: resamples.map(|resamples| resamples.failed),
            starts: diagnostics
                .starts
                .into_iter()
                .map(|start| StartReportView {
                    objective: start.objective,
                    termination: start.termination.as_str(),
                    evaluations: start.evaluations,
                })
                .collect(),
            identification: diagnostics.identification.map(IdentificationView::from),
        }
    }
}

/// What a structured pattern is worth, measured by its runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternReport)]
pub struct PatternReportView {
    /// Its name.
    #[schema(example = "2:4")]
    pattern: String,
    /// Fraction of zeros that it prescribes.
    #[schema(example = 0.5)]
    nominal_sparsity: f64,
    /// Number of its runs.
    runs: usize,
    /// Unstructured sparsity that explains its runs best, all coefficients of the law held.
    effective_sparsity: EstimateView,
    /// Gain at the effective sparsity; null where the law does not know what size does.
    gain: Option<EstimateView>,
    /// Gain of unstructured sparsity equal to the nominal one.
    unstructured_gain: Option<f64>,
}

impl From<PatternReport> for PatternReportView {
    fn from(report: PatternReport) -> Self {
        Self {
            pattern: report.name,
            nominal_sparsity: report.nominal_sparsity,
            runs: report.runs,
            effective_sparsity: report.effective_sparsity.into(),
            gain: report.gain.map(EstimateView::from),
            unstructured_gain: report.unstructured_gain,
        }
    }
}

/// The law of runs from pretrained checkpoints, and how much data the checkpoint was worth.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PretrainedReport)]
pub struct PretrainedReportView {
    /// Coefficients of these runs alone; their data is that of the sparse phase.
    coefficients: LawCoefficientsView,
    /// Interval of each coefficient; null where no resamples were made.
    intervals: Option<CoefficientIntervals>,
    /// Mean Huber loss over these runs.
    objective: f64,
    /// Number of runs.
    runs: usize,
    /// What these runs cannot tell.
    warnings: Vec<WarningView>,
    /// By sparsity, how much more data training from scratch needs for the same loss.
    multipliers: Vec<MultiplierView>,
}

/// Data that training from scratch needs for the loss of the pretrained start, relative to its data:
/// the geometric mean over the pretrained runs of one sparsity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DataMultiplier)]
pub struct MultiplierView {
    /// The sparsity.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// Number of pretrained runs at it.
    runs: usize,
    /// Counting the data of the sparse phase alone; null where no amount of data reaches the loss.
    sparse_phase: Option<EstimateView>,
    /// Counting dense pretraining and sparse phase together; null also where a run does not say how
    /// much data its checkpoint had seen.
    both_phases: Option<EstimateView>,
}

impl From<Multiplier> for MultiplierView {
    fn from(multiplier: Multiplier) -> Self {
        Self {
            sparsity: multiplier.sparsity,
            runs: multiplier.runs,
            sparse_phase: multiplier.sparse_phase.map(EstimateView::from),
            both_phases: multiplier.both_phases.map(EstimateView::from),
        }
    }
}

impl From<PretrainedReport> for PretrainedReportView {
    fn from(report: PretrainedReport) -> Self {
        let multipliers = report.multipliers.into_iter().map(MultiplierView::from);
        Self {
            coefficients: LawCoefficientsView::new(&report.coefficients, None),
            intervals: CoefficientIntervals::new(&report.intervals, None),
            objective: report.objective,
            runs: report.runs,
            warnings: report
                .warnings
                .iter()
                .map(|warning| WarningView::new(warning.code.as_str(), &*warning.detail))
                .collect(),
            multipliers: multipliers.collect(),
        }
    }
}

impl LawView {
    fn new(law: Law, active_id: Option<Uuid>) -> Self {
        let content = law.content;
        let what_if = content.is_what_if();
        let known = content.identification();
        let coefficients = LawCoefficientsView::new(&content.coefficients, known);
        let intervals = CoefficientIntervals::new(&content.intervals, known);
        let warnings = content.all_warnings().iter().map(WarningView::from).collect();
        let trust = content.trust().into();
        let delta = content.delta();
        Self {
            id: law.id,
            version: law.version,
            source: content.source.into(),
            reference: content.reference,
            active: active_id == Some(law.id),
            what_if,
            coefficients,
            intervals,
            trust,
            objective: content.objective,
            runs: content.runs,
            support: content.support.levels().iter().map(SparsityLevelView::from).collect(),
            warnings,
            diagnostics: content.diagnostics.map(|diagnostics| {
                DiagnosticsView::new(diagnostics, content.resamples, &content.coefficients)
            }),
            patterns: content.patterns.into_iter().map(PatternReportView::from).collect(),
            pretrained: content.pretrained.map(PretrainedReportView::from),
            options: content.options.map(|options| FitOptionsView::new(options, delta)),
            data_digest: content.data_digest,
            data_unit: content.data_unit,
            flops_per_param: content.flops_per_param.get(),
            pruning: (&content.pruning).into(),
            zeros: (&content.zeros).into(),
            experts: content.zeros.grid().map(ExpertsView::from),
            fitted_at: content.fitted_at,
        }
    }
}

/// A page of laws.
#[derive(Debug, Serialize, ToSchema)]
pub struct LawList {
    /// Newest first.
    items: Vec<LawView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// Lists a family's laws, newest first.
#[utoipa::path(
    get, path = "/v1/families/{family}/laws", tag = TAG_LAWS, params(FamilyPath, PageParams),
    responses((status = OK, description = "A page of laws", body = LawList)),
)]
async fn list_laws(
    reads: Reads,
    Path(path): Path<FamilyPath>,
    Query(params): Query<PageParams>,
) -> Result<Json<LawList>, ApiError> {
    let (request, name) = (params.check()?, path.name()?);
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let page = laws::list_laws(&mut *db, &family.name, request).await?;
    let next_cursor = next_cursor(&page);
    let active = laws::find_law(&mut *db, &family.name, None).await?.map(|law| law.id);
    let items = page.items.into_iter().map(|law| LawView::new(law, active)).collect();
    Ok(Json(LawList { items, next_cursor }))
}

/// Path of a law.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct LawPath {
    /// Name of the family.
    #[param(example = "t5-c4")]
    family: String,
    /// Version of the law.
    #[param(example = 1, value_type = i32)]
    version: String,
}

/// Shows one version of a family's laws.
#[utoipa::path(
    get, path = "/v1/families/{family}/laws/{version}", tag = TAG_LAWS, params(LawPath),
    responses(
        (status = OK, description = "The law", body = LawView,
            headers(("ETag" = String, description = "Changes with the answer"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
    ),
)]
async fn get_law(
    reads: Reads,
    Path(path): Path<LawPath>,
    known: KnownTags,
) -> Result<Response, ApiError> {
    let name = family_name(&path.family)?;
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let not_found = || ApiError::NotFound { what: "law", name: path.version.clone() };
    let version: i32 = path.version.parse().map_err(|_| not_found())?;
    let law = laws::find_law(&mut *db, &family.name, Some(version)).await?.ok_or_else(not_found)?;
    let active = laws::find_law(&mut *db, &family.name, None).await?.map(|law| law.id);
    // A law never changes, but whether it is the active one does.
    let tag = format!("{}.{}", law.id, active == Some(law.id));
    cached(&known, &tag, Freshness::Revalidate, || Ok(LawView::new(law, active)))
}

/// Published coefficients to import.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLaw {
    /// The coefficients, in raw units: parameters, and the family's data unit.
    coefficients: CoefficientsView,
    /// Where they stand: a paper, a report; at most 2,000 characters.
    #[schema(example = "arXiv:2309.08520, table 3")]
    reference: String,
    /// Mean Huber loss over its runs, where published.
    objective: Option<f64>,
    /// Number of its runs, where published.
    runs: Option<u32>,
    /// When it was published; now unless said otherwise.
    fitted_at: Option<DateTime<Utc>>,
}

/// Imports published coefficients as the family's next law.
#[utoipa::path(
    post, path = "/v1/families/{family}/laws", tag = TAG_LAWS, params(FamilyPath),
    request_body = CreateLaw,
    responses((status = CREATED, description = "The law", body = LawView,
        headers(("Location" = String, description = "Path of the law")))),
)]
async fn create_law(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    JsonBody(body): JsonBody<CreateLaw>,
) -> Result<impl IntoResponse, ApiError> {
    let mut checks = Checks::default();
    let coefficients = Coefficients::new(body.coefficients.into())
        .map_err(|(name, error)| {
            checks.refuse(&format!("coefficients/{}", name.as_str()), error.to_string());
        })
        .ok();
    checks.take("reference", check_prose(&body.reference));
    if body.reference.trim().is_empty() {
        checks.refuse("reference", "must say where the coefficients stand");
    }
    if body.objective.is_some_and(|objective| objective < 0.0) {
        checks.refuse("objective", "must be at least 0");
    }
    if body.runs.is_some_and(|runs| i32::try_from(runs).is_err()) {
        checks.refuse("runs", "must be at most 2147483647");
    }
    // What PostgreSQL and RFC 3339 both can hold, and a publication can have.
    if body.fitted_at.is_some_and(|time| !(1900..=9999).contains(&time.year())) {
        checks.refuse("fitted_at", "must be in the years 1900 to 9999");
    }
    let coefficients = checks.finish(coefficients)?;

    let name = path.name()?;
    let mut transaction = state.pool.begin().await?;
    let family = families::find_family_for_update(&mut *transaction, &name)
        .await?
        .ok_or_else(|| no_family(name.as_str()))?;
    let now = state.clock.now();
    let content = LawContent {
        source: LawSource::Published,
        reference: Some(body.reference),
        coefficients,
        objective: body.objective,
        runs: body.runs,
        intervals: BTreeMap::new(),
        resamples: None,
        patterns: Vec::new(),
        pretrained: None,
        data_unit: family.settings.data_unit,
        flops_per_param: family.settings.flops_per_param,
        pruning: family.settings.pruning,
        zeros: family.settings.zeros,
        support: Support::default(),
        options: None,
        diagnostics: None,
        warnings: Vec::new(),
        data_digest: None,
        fitted_at: body.fitted_at.unwrap_or(now),
    };
    let id = state.clock.new_id();
    let law = laws::insert_law(&mut *transaction, id, family.id, &content, now).await?;
    transaction.commit().await?;
    // Whoever asks here next gets it, however long the announcement takes.
    state.laws.forget(name.as_str());
    let active = laws::find_law(&state.pool, &name, None).await?.map(|law| law.id);
    let location = format!("/v1/families/{name}/laws/{}", law.version);
    let body = Json(LawView::new(law, active));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body))
}

/// Which law answers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateActiveLaw {
    /// The version to pin; null leaves it to the newest fit.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(example = 1, required)]
    version: Option<i32>,
}

/// Pins the law that answers, or leaves it to the newest fit again.
#[utoipa::path(
    put, path = "/v1/families/{family}/active-law", tag = TAG_LAWS, params(FamilyPath),
    request_body = UpdateActiveLaw,
    responses((status = OK, description = "The family with its active law", body = FamilyView)),
)]
async fn update_active_law(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    JsonBody(body): JsonBody<UpdateActiveLaw>,
) -> Result<Json<FamilyView>, ApiError> {
    let name = path.name()?;
    let law_id = match body.version {
        Some(version) => Some(pinnable(&state, &name, version).await?),
        None => None,
    };
    let family = existing(&state.pool, &name).await?;
    families::update_pinned_law(&state.pool, family.id, law_id).await?;
    state.laws.forget(name.as_str());
    let family = existing(&state.pool, &name).await?;
    FamilyView::load(&state.pool, family).await.map(Json)
}

async fn pinnable(state: &AppState, name: &FamilyName, version: i32) -> Result<Uuid, ApiError> {
    existing(&state.pool, name).await?;
    let law = laws::find_law(&state.pool, name, Some(version)).await?;
    let law = law.ok_or_else(|| {
        let detail = format!("must be a version of this family's laws, not {version}");
        ApiError::field("/version", detail)
    })?;
    if law.content.is_what_if() {
        let detail = "is a what-if: exclude the runs that it leaves out, and refit";
        return Err(ApiError::field("/version", detail));
    }
    Ok(law.id)
}
