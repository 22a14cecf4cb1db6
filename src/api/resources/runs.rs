//! `/v1/families/{family}/runs`: finished training runs.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sparsity_law::law::Data;
use sqlx::PgExecutor;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::noting::Noting;
use crate::api::layers::owner::Owner;
use crate::api::layers::replica_reads::Reads;
use crate::api::resources::exports::export;
use crate::api::resources::families::existing;
use crate::api::resources::submissions::{
    CreateRunsParams, SubmissionResult, SubmitRunsBody, Taking,
};
use crate::api::resources::uploads::{Arriving, Wanted, submit};
use crate::api::resources::waiting_uploads::{UploadView, accept, prefers_async};
use crate::api::state::AppState;
use crate::api::tags::TAG_RUNS;
use crate::api::wire::extract::{
    FamilyPath, JsonBody, PageParams, Query, family_name, next_cursor, path_id,
};
use crate::api::wire::negotiation::negotiate;
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::schemas::BinaryFile;
use crate::api::wire::start::StartView;
use crate::domain::checks::Checks;
use crate::domain::family::{Family, Zeros};
use crate::domain::page::PageRequest;
use crate::domain::run::{Run, RunFilter, TrainingStart};
use crate::domain::text::{Pattern, check_label, check_reason};
use crate::intake::Format;
use crate::intake::export::Formulas;
use crate::pipeline::Also;
use crate::store::audit::insert_audit_note;
use crate::store::runs;
use crate::store::uploads::count_waiting_uploads;
use crate::telemetry::causes::with_causes;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_runs, create_runs))
        .routes(routes!(get_run, update_run, delete_run))
        .routes(routes!(update_run_by_external_id, delete_run_by_external_id))
}

/// A training run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Run)]
pub struct RunView {
    /// Id of the run in this service.
    id: Uuid,
    /// The submitter's name of the run.
    #[schema(example = "sweep-3/run-17")]
    external_id: String,
    /// Non-zero parameters at the end of training.
    #[schema(example = 42_467_328.0)]
    nonzero_params: f64,
    /// Parameters that a token passes, equal to `nonzero_params`, in families whose zeros are experts. Left out
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 42_467_328.0, nullable = false)]
    active_params: Option<f64>,
    /// Parameters, zeros included.
    #[schema(example = 84_934_656.0)]
    total_params: f64,
    /// Fraction of zeros at the end of training.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// Data seen in training, in the family's data unit.
    #[schema(example = 3.2768e10)]
    data: f64,
    /// Validation loss.
    #[schema(example = 2.05)]
    loss: f64,
    /// What the run started from.
    start: StartView,
    /// Data that the checkpoint of a pretrained start had seen; null where unknown.
    #[schema(example = json!(null))]
    pretraining_data: Option<f64>,
    /// How much of the data is unique, where some was seen more than once; null where unknown.
    #[schema(example = json!(null))]
    unique_data: Option<f64>,
    /// Structured pattern; null for unstructured sparsity.
    #[schema(example = "2:4")]
    pattern: Option<String>,
    /// The submitter's labels.
    tags: BTreeMap<String, String>,
    /// Whether fits leave the run out.
    excluded: bool,
    /// Why fits leave the run out; null where they do not.
    exclusion_reason: Option<String>,
    /// When the run arrived.
    created_at: DateTime<Utc>,
    /// When one of its values last changed.
    updated_at: DateTime<Utc>,
}

impl RunView {
    /// Shows a run of a family with these zeros.
    fn new(run: Run, zeros: &Zeros) -> Self {
        let submitted = run.submitted;
        let observation = submitted.observation;
        Self {
            id: run.id,
            external_id: submitted.external_id,
            nonzero_params: observation.nonzero_params.get(),
            active_params: zeros.are_experts().then(|| observation.nonzero_params.get()),
            total_params: observation.nonzero_params.get() / observation.sparsity.density().get(),
            sparsity: observation.sparsity.get(),
            data: observation.data.get(),
            loss: observation.loss.get(),
            start: submitted.start.into(),
            pretraining_data: submitted.pretraining_data.map(Data::get),
            unique_data: submitted.unique_data.map(Data::get),
            pattern: submitted.pattern.map(|pattern| pattern.as_str().to_owned()),
            tags: submitted.tags,
            excluded: submitted.exclusion_reason.is_some(),
            exclusion_reason: submitted.exclusion_reason,
            created_at: run.created_at,
            updated_at: run.updated_at,
        }
    }
}

/// A page of runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunList {
    /// The runs, newest first.
    items: Vec<RunView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// Path to which runs are submitted.
pub(crate) const PATH: &str = "/v1/families/{family}/runs";

/// Submits runs. A run that was sent before is the same run, so a retry is safe.
///
/// The body is streamed and may be compressed, with the `Content-Encoding` `gzip`, `zstd`, `xz` or `bzip2`. Formats,
/// columns and limits are described in docs/uploads.md.
#[utoipa::path(
    post, path = "/v1/families/{family}/runs", tag = TAG_RUNS,
    params(FamilyPath, CreateRunsParams, ("Prefer" = Option<String>, Header, description = "`respond-async`: answer \
        when the body has arrived, not when it is stored. Other preferences are passed over")),
    request_body(
        description = "Runs, in one of the formats",
        content(
            (SubmitRunsBody = "application/json"), (String = "application/x-ndjson"),
            (String = "text/csv"), (BinaryFile = "application/vnd.apache.parquet"),
            (BinaryFile = "application/vnd.apache.arrow.stream"), (BinaryFile = "application/vnd.apache.arrow.file"),
            (BinaryFile = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"), (BinaryFile = "application/zip")
        )
    ),
    responses(
        (status = OK, description = "What became of them", body = SubmissionResult),
        (status = ACCEPTED, description = "With `Prefer: respond-async`: the body has arrived, and is stored durably \
            until its runs are. What becomes of them is at the location, while the runs are stored by this process or by \
            another", body = UploadView, headers(
                ("Location" = String, description = "Path of the upload"),
                ("Preference-Applied" = String, description = "`respond-async`"),
            )),
    ),
)]
async fn create_runs(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    taking: Taking,
    owner: Owner,
    noting: Noting,
    request: Request,
) -> Result<Response, ApiError> {
    let family = existing(&state.pool, &path.name()?).await?;
    if prefers_async(request.headers()) && state.transfers.limits.waiting.each > 0 {
        let accepted = accept(&state, &family, taking, (owner, noting), request);
        let accepted = state.transfers.until_stopped(&state.shutdown, accepted).await?;
        return Ok(accepted.into_response());
    }
    let began = state.clock.now();
    let headers = request.headers().clone();
    let body = Arriving::of_request(request, &state.transfers.limits)?;
    let note = noting.event(StatusCode::OK, None);
    let also = Box::new(move |_: Format| -> Also {
        Box::new(move |db, _| Box::pin(async move { insert_audit_note(db, &note).await }))
    });
    let result = submit(&state, &family, taking, &headers, body, Wanted::Soon(owner), Some(also));
    let mut result = state.transfers.until_stopped(&state.shutdown, result).await?;
    noting.committed();
    match count_waiting_uploads(&state.pool, family.id, began).await {
        Ok(0) => {}
        Ok(waiting) => result.warn_of_waiting(waiting),
        // The runs are stored, so that the answer must not be an error.
        Err(error) => {
            tracing::warn!(error = %with_causes(&error.into()), "uploads that wait were not counted")
        }
    }
    Ok(Json(result).into_response())
}

/// Which runs to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunParams {
    /// The most items per page; only for pages.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: Option<u16>,
    /// `next_cursor` of the previous page; only for pages.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Lowest number of non-zero parameters.
    min_nonzero_params: Option<f64>,
    /// Highest number of non-zero parameters.
    max_nonzero_params: Option<f64>,
    /// Lowest sparsity.
    min_sparsity: Option<f64>,
    /// Highest sparsity.
    max_sparsity: Option<f64>,
    /// Lowest amount of data.
    min_data: Option<f64>,
    /// Highest amount of data.
    max_data: Option<f64>,
    /// Lowest loss.
    min_loss: Option<f64>,
    /// Highest loss.
    max_loss: Option<f64>,
    /// Only runs with this structured pattern.
    #[param(pattern = "^[1-9][0-9]{0,3}:[1-9][0-9]{0,3}$")]
    pattern: Option<String>,
    /// Only runs with this start.
    #[param(inline)]
    start: Option<StartView>,
    /// Only excluded runs, or only runs that are not excluded.
    excluded: Option<bool>,
    /// Only runs with all of these tags: `key:value,key:value`.
    #[param(pattern = "^[^:,]+:[^,]+(,[^:,]+:[^,]+)*$")]
    tags: Option<String>,
    /// Only the run with this name, as its submitter gave it.
    #[param(min_length = 1, max_length = 200)]
    external_id: Option<String>,
    /// For CSV: how to write texts that begin like a formula, with `=`, `+`, `-`, `@`, a tab or a carriage return.
    /// `keep`, the default, writes them as they are; `escape` puts an apostrophe before them, so that a spreadsheet
    /// does not compute them.
    #[param(inline)]
    formulas: Option<FormulasView>,
}

/// How texts that begin like a formula are written.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormulasView {
    /// As they are.
    Keep,
    /// With an apostrophe before them.
    Escape,
}

impl RunParams {
    fn page(&self) -> Result<PageRequest, ApiError> {
        let limit = self.limit.unwrap_or(PageParams::default_limit());
        PageParams { limit, cursor: self.cursor.clone() }.check()
    }

    /// Refuses parameters of a page for a stream, which has all runs.
    fn refuse_page(&self) -> Result<(), ApiError> {
        let mut checks = Checks::default();
        for (name, given) in [("limit", self.limit.is_some()), ("cursor", self.cursor.is_some())] {
            if given {
                checks.refuse(name, "belongs to a page, application/json; a stream has all runs");
            }
        }
        Ok(checks.finish(Some(()))?)
    }

    /// How formulas are written. Refuses the parameter for formats other than CSV.
    fn formulas(&self, format: Format) -> Result<Formulas, ApiError> {
        match self.formulas {
            Some(_) if format != Format::Csv => {
                Err(ApiError::field("/formulas", "belongs to text/csv"))
            }
            Some(FormulasView::Escape) => Ok(Formulas::Escaped),
            Some(FormulasView::Keep) | None => Ok(Formulas::Kept),
        }
    }

    fn filter(&self) -> Result<RunFilter, ApiError> {
        let mut checks = Checks::default();
        for (name, bound) in [
            ("min_nonzero_params", self.min_nonzero_params),
            ("max_nonzero_params", self.max_nonzero_params),
            ("min_sparsity", self.min_sparsity),
            ("max_sparsity", self.max_sparsity),
            ("min_data", self.min_data),
            ("max_data", self.max_data),
            ("min_loss", self.min_loss),
            ("max_loss", self.max_loss),
        ] {
            if bound.is_some_and(|bound| !bound.is_finite()) {
                checks.refuse(name, "must be a finite number");
            }
        }
        let pattern = self
            .pattern
            .as_deref()
            .and_then(|pattern| checks.take("pattern", Pattern::new(pattern)));
        let mut tags = BTreeMap::new();
        for pair in self.tags.as_deref().into_iter().flat_map(|tags| tags.split(',')) {
            match pair.split_once(':') {
                Some((key, value)) => {
                    checks.take("tags", check_label(key).and_then(|()| check_label(value)));
                    tags.insert(key.to_owned(), value.to_owned());
                }
                None => checks.refuse("tags", "must be key:value,key:value"),
            }
        }
        if let Some(name) = &self.external_id {
            checks.take("external_id", check_label(name));
        }
        let filter = RunFilter {
            nonzero_params: (self.min_nonzero_params, self.max_nonzero_params),
            sparsity: (self.min_sparsity, self.max_sparsity),
            data: (self.min_data, self.max_data),
            loss: (self.min_loss, self.max_loss),
            pattern,
            start: self.start.map(TrainingStart::from),
            excluded: self.excluded,
            tags,
            external_id: self.external_id.clone(),
        };
        Ok(checks.finish(Some(filter))?)
    }
}

/// Lists a family's runs: a page, newest first, or, depending on `Accept`, a stream.
///
/// A stream has all runs that match the filters, oldest first, and can be submitted again as it is.
#[utoipa::path(
    get, path = "/v1/families/{family}/runs", tag = TAG_RUNS, params(FamilyPath, RunParams),
    responses(
        (status = OK, description = "A page of runs, or all of them", content(
            (RunList = "application/json"), (String = "application/x-ndjson"),
            (String = "text/csv"), (BinaryFile = "application/vnd.apache.parquet")
        )),
        (status = NOT_ACCEPTABLE, description = "Accept takes no representation that there is",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn list_runs(
    State(state): State<AppState>,
    reads: Reads,
    Path(path): Path<FamilyPath>,
    Query(params): Query<RunParams>,
    owner: Owner,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = negotiate(&headers, Format::WRITTEN, Format::media_type)?;
    let filter = params.filter()?;
    if format != Format::Json {
        params.refuse_page()?;
        let formulas = params.formulas(format)?;
        return export(state, owner, reads, path.name()?, filter, (format, formulas)).await;
    }
    params.formulas(format)?;
    let (request, name) = (params.page()?, path.name()?);
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let page = runs::list_runs(&mut db, family.id, &filter, request).await?;
    let next_cursor = next_cursor(&page);
    let zeros = &family.settings.zeros;
    let items = page.items.into_iter().map(|run| RunView::new(run, zeros)).collect();
    let list = RunList { items, next_cursor };
    Ok(([(header::VARY, "accept")], Json(list)).into_response())
}

/// Path of a run.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct RunPath {
    /// Name of the family.
    #[param(example = "t5-c4")]
    family: String,
    /// Id of the run.
    #[param(format = Uuid)]
    id: String,
}

impl RunPath {
    async fn find(&self, db: impl PgExecutor<'_>) -> Result<(Family, Uuid), ApiError> {
        let family = existing(db, &family_name(&self.family)?).await?;
        Ok((family, path_id(&self.id, "run")?))
    }

    fn not_found(self) -> ApiError {
        ApiError::NotFound { what: "run", name: self.id }
    }
}

/// Shows a run.
#[utoipa::path(
    get, path = "/v1/families/{family}/runs/{id}", tag = TAG_RUNS, params(RunPath),
    responses((status = OK, description = "The run", body = RunView)),
)]
async fn get_run(reads: Reads, Path(path): Path<RunPath>) -> Result<Json<RunView>, ApiError> {
    let mut db = reads.connection().await?;
    let (family, id) = path.find(&mut *db).await?;
    let run = runs::find_run(&mut *db, family.id, id).await?;
    let zeros = &family.settings.zeros;
    run.map(|run| Json(RunView::new(run, zeros))).ok_or_else(|| path.not_found())
}

/// Whether fits leave a run out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRun {
    /// Whether fits leave the run out.
    #[schema(example = true)]
    excluded: bool,
    /// Why fits leave the run out; required if `excluded` is true, at most 2,000 characters.
    #[schema(example = "diverged after step 180,000")]
    exclusion_reason: Option<String>,
}

impl UpdateRun {
    /// The reason for the exclusion; `None` to include the run again.
    fn check(&self) -> Result<Option<&str>, ApiError> {
        let mut checks = Checks::default();
        let reason = self.exclusion_reason.as_deref();
        match (self.excluded, reason) {
            (true, None) => checks.refuse("exclusion_reason", "must say why the run is excluded"),
            (true, Some(reason)) => drop(checks.take("exclusion_reason", check_reason(reason))),
            (false, Some(_)) => {
                checks.refuse("exclusion_reason", "belongs to a run that is excluded");
            }
            (false, None) => {}
        }
        Ok(checks.finish(Some(reason))?)
    }
}

/// Excludes a run from fits, or includes it again.
#[utoipa::path(
    patch, path = "/v1/families/{family}/runs/{id}", tag = TAG_RUNS, params(RunPath),
    request_body = UpdateRun,
    responses((status = OK, description = "The run as it is now", body = RunView)),
)]
async fn update_run(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<RunPath>,
    JsonBody(body): JsonBody<UpdateRun>,
) -> Result<Json<RunView>, ApiError> {
    let reason = body.check()?;
    let (family, id) = path.find(&state.pool).await?;
    let now = state.clock.now();
    let mut write = noting.begin(&state.pool).await?;
    let run = runs::update_run_exclusion(&mut write, family.id, id, reason, now).await?;
    let run = run.ok_or_else(|| path.not_found())?;
    write.commit(StatusCode::OK, None).await?;
    Ok(Json(RunView::new(run, &family.settings.zeros)))
}

/// Deletes a run. Laws that were fitted on it do not change.
#[utoipa::path(
    delete, path = "/v1/families/{family}/runs/{id}", tag = TAG_RUNS, params(RunPath),
    responses((status = NO_CONTENT, description = "It is gone")),
)]
async fn delete_run(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<RunPath>,
) -> Result<StatusCode, ApiError> {
    let (family, id) = path.find(&state.pool).await?;
    let mut write = noting.begin(&state.pool).await?;
    if !runs::delete_run(&mut write, family.id, id).await? {
        return Err(path.not_found());
    }
    write.commit(StatusCode::NO_CONTENT, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Path of a run by the name that its submitter gave it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct NamedRunPath {
    /// Name of the family.
    #[param(example = "t5-c4")]
    family: String,
    /// The submitter's name of the run, percent-encoded: a slash in it is `%2F`.
    #[param(example = "sweep-3/run-17", min_length = 1, max_length = 200)]
    external_id: String,
}

impl NamedRunPath {
    async fn find(self, state: &AppState) -> Result<RunPath, ApiError> {
        let family = existing(&state.pool, &family_name(&self.family)?).await?;
        let known = check_label(&self.external_id).is_ok();
        let id = if known {
            runs::find_run_id(&state.pool, family.id, &self.external_id).await?
        } else {
            None
        };
        match id {
            Some(id) => Ok(RunPath { family: self.family, id: id.to_string() }),
            None => Err(ApiError::NotFound { what: "run", name: self.external_id }),
        }
    }
}

/// Excludes the run with this `external_id` from fits, or includes it again.
#[utoipa::path(
    patch, path = "/v1/families/{family}/runs/by-external-id/{external_id}", tag = TAG_RUNS,
    params(NamedRunPath), request_body = UpdateRun,
    responses((status = OK, description = "The run as it is now", body = RunView)),
)]
async fn update_run_by_external_id(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<NamedRunPath>,
    JsonBody(body): JsonBody<UpdateRun>,
) -> Result<Json<RunView>, ApiError> {
    let path = path.find(&state).await?;
    update_run(State(state), noting, Path(path), JsonBody(body)).await
}

/// Deletes the run with this `external_id`. Laws that were fitted on it do not change.
#[utoipa::path(
    delete, path = "/v1/families/{family}/runs/by-external-id/{external_id}", tag = TAG_RUNS,
    params(NamedRunPath), responses((status = NO_CONTENT, description = "It is gone")),
)]
async fn delete_run_by_external_id(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<NamedRunPath>,
) -> Result<StatusCode, ApiError> {
    let path = path.find(&state).await?;
    delete_run(State(state), noting, Path(path)).await
}
