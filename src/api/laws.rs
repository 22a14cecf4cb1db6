//! `/v1/families/{family}/laws`: fitted and published laws.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caching::{Freshness, cached};
use super::extract::{
    FamilyPath, JsonBody, PageParams, Query, family_name, next_cursor, no_family,
};
use super::families::{FamilyView, existing};
use super::problem::ApiError;
use super::views::{
    CoefficientsView, FitOptionsView, IntervalView, LawSourceView, PruningView, SparsityLevelView,
    WarningView,
};
use super::{AppState, TAG_LAWS};
use crate::checks::Checks;
use crate::law::{Coefficients, Support};
use crate::store::families;
use crate::store::laws::{self, Diagnostics, Law, LawContent, LawSource};
use crate::text::{FamilyName, check_prose};

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
    /// The coefficients, in raw units at full precision.
    coefficients: CoefficientsView,
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
    /// What the fit says about itself; null for a published law.
    diagnostics: Option<DiagnosticsView>,
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
    /// When it was fitted, or published.
    fitted_at: DateTime<Utc>,
}

/// Interval of each coefficient.
#[derive(Debug, Serialize, ToSchema)]
pub struct CoefficientIntervals {
    /// Of `a_s`.
    a_s: IntervalView,
    /// Of `b_s`.
    b_s: IntervalView,
    /// Of `c_s`.
    c_s: IntervalView,
    /// Of `b_n`.
    b_n: IntervalView,
    /// Of `a_d`.
    a_d: IntervalView,
    /// Of `b_d`.
    b_d: IntervalView,
    /// Of `c`.
    c: IntervalView,
}

/// What a fit says about itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Diagnostics)]
pub struct DiagnosticsView {
    /// Share of the starts whose objective is within 0.1 % of the best.
    #[schema(example = 0.97)]
    agreement: f64,
    /// Slope of the gain at sparsity 0; above 1 the law is unphysical there.
    #[schema(example = 0.8)]
    gain_slope: f64,
    /// Every start, in the order of its index.
    starts: Vec<StartReportView>,
}

/// One start of a fit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StartReport)]
pub struct StartReportView {
    /// Mean Huber loss that it reached.
    objective: f64,
    /// Why it ended: `converged`, `line_search`, `budget` or `stopped`.
    #[schema(example = "converged")]
    termination: String,
    /// Evaluations of the objective and its gradient that it took.
    evaluations: u32,
}

impl DiagnosticsView {
    fn new(diagnostics: Diagnostics, coefficients: &Coefficients) -> Self {
        let starts = diagnostics.starts.into_iter().map(|start| StartReportView {
            objective: start.objective,
            termination: start.termination,
            evaluations: start.evaluations,
        });
        Self {
            agreement: diagnostics.agreement,
            gain_slope: coefficients.gain_slope(),
            starts: starts.collect(),
        }
    }
}

impl LawView {
    fn new(law: Law, active_id: Option<Uuid>) -> Self {
        let content = law.content;
        Self {
            id: law.id,
            version: law.version,
            source: content.source.into(),
            reference: content.reference,
            active: active_id == Some(law.id),
            coefficients: content.coefficients.values().into(),
            intervals: None,
            objective: content.objective,
            runs: content.runs,
            support: content.support.levels().iter().map(SparsityLevelView::from).collect(),
            warnings: content.warnings.iter().map(WarningView::from).collect(),
            diagnostics: content
                .diagnostics
                .map(|diagnostics| DiagnosticsView::new(diagnostics, &content.coefficients)),
            options: content.options.map(FitOptionsView::from),
            data_digest: content.data_digest,
            data_unit: content.data_unit,
            flops_per_param: content.flops_per_param.get(),
            pruning: content.pruning.into(),
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
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<PageParams>,
) -> Result<Json<LawList>, ApiError> {
    let request = params.check()?;
    let family = existing(&state, &path.name()?).await?;
    let page = laws::list_laws(&state.pool, &family.name, request).await?;
    let next_cursor = next_cursor(&page);
    let active = laws::find_law(&state.pool, &family.name, None).await?.map(|law| law.id);
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
    State(state): State<AppState>,
    Path(path): Path<LawPath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let family = existing(&state, &family_name(&path.family)?).await?;
    let not_found = || ApiError::NotFound { what: "law", name: path.version.clone() };
    let version: i32 = path.version.parse().map_err(|_| not_found())?;
    let law =
        laws::find_law(&state.pool, &family.name, Some(version)).await?.ok_or_else(not_found)?;
    let active = laws::find_law(&state.pool, &family.name, None).await?.map(|law| law.id);
    // A law never changes, but whether it is the active one does.
    let tag = format!("{}.{}", law.id, active == Some(law.id));
    cached(&headers, &tag, Freshness::Revalidate, || Ok(LawView::new(law, active)))
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
        data_unit: family.settings.data_unit,
        flops_per_param: family.settings.flops_per_param,
        pruning: family.settings.pruning,
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
    let family = existing(&state, &name).await?;
    families::update_pinned_law(&state.pool, family.id, law_id).await?;
    let family = existing(&state, &name).await?;
    FamilyView::load(&state, family).await.map(Json)
}

async fn pinnable(state: &AppState, name: &FamilyName, version: i32) -> Result<Uuid, ApiError> {
    existing(state, name).await?;
    let law = laws::find_law(&state.pool, name, Some(version)).await?;
    law.map(|law| law.id).ok_or_else(|| {
        ApiError::field(
            "/version",
            format!("must be a version of this family's laws, not {version}"),
        )
    })
}
