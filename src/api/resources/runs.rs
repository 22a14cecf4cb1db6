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

use crate::api::layers::replica_reads::Reads;
use crate::api::resources::exports::export;
use crate::api::resources::families::existing;
use crate::api::resources::uploads::upload;
use crate::api::state::AppState;
use crate::api::tags::TAG_RUNS;
use crate::api::wire::extract::{
    FamilyPath, JsonBody, PageParams, Query, family_name, next_cursor, path_id,
};
use crate::api::wire::negotiation::negotiate;
use crate::api::wire::problem::{ApiError, Problem};
use crate::domain::checks::Checks;
use crate::domain::family::Family;
use crate::domain::page::PageRequest;
use crate::domain::run::{Run, RunFilter, Start};
use crate::domain::text::{Pattern, check_label, check_reason};
use crate::intake::{ColumnOptions, Columns, Format, RowError, Source, SparsityUnit};
use crate::store::runs;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_runs, create_runs))
        .routes(routes!(get_run, update_run, delete_run))
}

/// What a run started from.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Start)]
pub enum StartView {
    /// Random weights.
    Scratch,
    /// A pretrained dense checkpoint.
    Pretrained,
}

impl From<Start> for StartView {
    fn from(start: Start) -> Self {
        match start {
            Start::Scratch => Self::Scratch,
            Start::Pretrained => Self::Pretrained,
        }
    }
}

impl From<StartView> for Start {
    fn from(start: StartView) -> Self {
        match start {
            StartView::Scratch => Self::Scratch,
            StartView::Pretrained => Self::Pretrained,
        }
    }
}

/// A training run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Run)]
pub struct RunView {
    /// Id of the run here.
    id: Uuid,
    /// The submitter's name of the run.
    #[schema(example = "sweep-3/run-17")]
    external_id: String,
    /// Non-zero parameters at the end of training.
    #[schema(example = 42_467_328.0)]
    nonzero_params: f64,
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
    /// Structured pattern; null for unstructured sparsity.
    #[schema(example = "2:4")]
    pattern: Option<String>,
    /// The submitter's labels.
    tags: BTreeMap<String, String>,
    /// Whether fits leave the run out.
    excluded: bool,
    /// Why they do.
    exclusion_reason: Option<String>,
    /// When the run arrived.
    created_at: DateTime<Utc>,
    /// When one of its values last changed.
    updated_at: DateTime<Utc>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        let submitted = run.submitted;
        let observation = submitted.observation;
        Self {
            id: run.id,
            external_id: submitted.external_id,
            nonzero_params: observation.nonzero_params.get(),
            total_params: observation.nonzero_params.get() / observation.sparsity.density().get(),
            sparsity: observation.sparsity.get(),
            data: observation.data.get(),
            loss: observation.loss.get(),
            start: submitted.start.into(),
            pretraining_data: submitted.pretraining_data.map(Data::get),
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
    /// Newest first.
    items: Vec<RunView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// A run to submit. Exactly one of `nonzero_params` and `total_params` is given.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a row; crate::intake reads it")]
pub struct SubmitRun {
    /// The submitter's name of the run, at most 200 characters; sent again it is the same run.
    #[schema(example = "sweep-3/run-17", min_length = 1, max_length = 200)]
    external_id: String,
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[schema(example = 42_467_328.0, minimum = 1, maximum = 1e18)]
    nonzero_params: Option<f64>,
    /// Parameters, zeros included: `nonzero_params / (1 - sparsity)`.
    total_params: Option<f64>,
    /// Fraction of zeros at the end of training: at least 0 and below 1.
    #[schema(example = 0.5, minimum = 0, exclusive_maximum = 1)]
    sparsity: f64,
    /// Data seen in training, in the family's data unit, between 1e-6 and 1e30.
    #[schema(example = 3.2768e10, minimum = 1e-6, maximum = 1e30)]
    data: f64,
    /// Validation loss, between 1e-12 and 1e12.
    #[schema(example = 2.05, minimum = 1e-12, maximum = 1e12)]
    loss: f64,
    /// What the run started from: `scratch` unless said otherwise.
    start: Option<StartView>,
    /// Data that the dense checkpoint of a pretrained start had seen, in the family's data unit.
    #[schema(example = json!(null), minimum = 1e-6, maximum = 1e30)]
    pretraining_data: Option<f64>,
    /// Structured pattern `n:m`; leave it out for unstructured sparsity.
    #[schema(example = json!(null), pattern = "^[1-9][0-9]{0,3}:[1-9][0-9]{0,3}$")]
    pattern: Option<String>,
    /// Labels: at most 50, keys and values of at most 200 characters.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Why fits leave the run out, at most 2,000 characters. A run that is sent without one stays as it
    /// is: excluded or not.
    #[schema(example = json!(null))]
    exclusion_reason: Option<String>,
}

/// One run or an array of runs.
#[derive(Debug, ToSchema)]
#[schema(as = SubmitRuns)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes a body that is read row by row")]
pub enum SubmitRunsBody {
    /// One run.
    One(Box<SubmitRun>),
    /// Many runs.
    Many(Vec<SubmitRun>),
}

/// What to do with a row that is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Store nothing.
    #[default]
    Abort,
    /// Store the other rows and name this one.
    Skip,
}

/// Whose export an upload is.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceName {
    /// Weights & Biases.
    Wandb,
    /// MLflow.
    Mlflow,
}

/// What sparsities are given in.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SparsityUnitName {
    /// 0 to 1.
    #[default]
    Fraction,
    /// 0 to 100.
    Percent,
}

/// How to take a submission.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CreateRunsParams {
    /// `abort` stores nothing if a row is wrong; `skip` stores the others.
    #[serde(default)]
    #[param(inline)]
    on_error: OnError,
    /// Whose export the upload is: fields are looked for with the prefixes of these services too, `config.`
    /// and `summary.`, or `params.` and `metrics.`; columns that mean nothing are ignored.
    #[param(inline)]
    source: Option<SourceName>,
    /// Columns of fields: `field:column,field:column`. With it columns that mean nothing are ignored.
    #[param(pattern = "^[^:,]+:[^,]+(,[^:,]+:[^,]+)*$")]
    map: Option<String>,
    /// Factors of numbers: `field:factor,field:factor`; `data:65536` turns steps into tokens.
    #[param(pattern = "^[^:,]+:[^,]+(,[^:,]+:[^,]+)*$")]
    scale: Option<String>,
    /// Columns that become tags of the same name: `column,column`. With it columns that mean nothing are
    /// ignored.
    tag_columns: Option<String>,
    /// What sparsities are given in.
    #[serde(default)]
    #[param(inline)]
    sparsity_unit: SparsityUnitName,
}

impl CreateRunsParams {
    fn columns(&self) -> Result<Columns, ApiError> {
        let mut checks = Checks::default();
        let mut pairs = |name: &str, text: &Option<String>| -> Vec<(String, String)> {
            let items = text.iter().flat_map(|text| text.split(','));
            let pairs = items.filter_map(|item| {
                let pair = item.split_once(':');
                if pair.is_none() {
                    checks.refuse(name, "must be field:value,field:value");
                }
                pair.map(|(field, value)| (field.to_owned(), value.to_owned()))
            });
            pairs.collect()
        };
        let map = pairs("map", &self.map);
        let scale = pairs("scale", &self.scale).into_iter().filter_map(|(field, factor)| {
            let number = factor.parse().map_err(|_| format!("{factor} is no number"));
            checks.take("scale", number).map(|factor: f64| (field, factor))
        });
        let options = ColumnOptions {
            source: self.source.map(|source| match source {
                SourceName::Wandb => Source::Wandb,
                SourceName::Mlflow => Source::Mlflow,
            }),
            map,
            scale: scale.collect(),
            tag_columns: self
                .tag_columns
                .iter()
                .flat_map(|c| c.split(','))
                .map(str::to_owned)
                .collect(),
            sparsity_unit: match self.sparsity_unit {
                SparsityUnitName::Fraction => SparsityUnit::Fraction,
                SparsityUnitName::Percent => SparsityUnit::Percent,
            },
            fallback_id: None,
        };
        let columns = checks.absorb(options.check());
        Ok(checks.finish(columns)?)
    }
}

/// What became of a submission.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubmissionResult {
    /// New runs.
    #[schema(example = 48)]
    created: u64,
    /// Runs that were there with other values.
    #[schema(example = 0)]
    updated: u64,
    /// Runs that were there with the same values.
    #[schema(example = 0)]
    unchanged: u64,
    /// What was wrong with rows that were not stored; only with `on_error=skip`. A limited number is
    /// named.
    rejected: Vec<Rejection>,
    /// How many errors there were, named or not.
    #[schema(example = 0)]
    errors: u64,
}

/// A row that was not stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rejection {
    /// Its place in the submission, from 0: in the array, among the lines that are not blank, among the
    /// records below the header.
    #[schema(example = 17)]
    row: u64,
    /// The field that is wrong.
    #[schema(example = "loss")]
    field: String,
    /// What is wrong with it.
    #[schema(example = "must be between 1e-12 and 1e12, not -1")]
    detail: String,
}

impl From<RowError> for Rejection {
    fn from(error: RowError) -> Self {
        Self { row: error.row, field: error.field().to_owned(), detail: error.error.detail }
    }
}

/// Where runs are sent.
pub(crate) const PATH: &str = "/v1/families/{family}/runs";

/// Submits runs. A run that was sent before is the same run: a retry is safe.
///
/// The body is streamed and may be compressed: `Content-Encoding` `gzip` or `zstd`. Formats, columns and
/// limits are described in docs/uploads.md.
#[utoipa::path(
    post, path = "/v1/families/{family}/runs", tag = TAG_RUNS,
    params(FamilyPath, CreateRunsParams),
    request_body(
        description = "Runs, in one of the formats",
        content(
            (SubmitRunsBody = "application/json"), (String = "application/x-ndjson"),
            (String = "text/csv"), (Vec<u8> = "application/vnd.apache.parquet")
        )
    ),
    responses((status = OK, description = "What became of them", body = SubmissionResult)),
)]
async fn create_runs(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<CreateRunsParams>,
    request: Request,
) -> Result<Json<SubmissionResult>, ApiError> {
    let columns = params.columns()?;
    let family = existing(&state.pool, &path.name()?).await?;
    let skip_errors = params.on_error == OnError::Skip;
    let uploaded = upload(&state, family.id, columns, skip_errors, request);
    let uploaded = state.transfers.until_stopped(&state.shutdown, uploaded).await?;
    Ok(Json(SubmissionResult {
        created: uploaded.merged.created,
        updated: uploaded.merged.updated,
        unchanged: uploaded.merged.unchanged,
        errors: uploaded.errors.total,
        rejected: uploaded.errors.named.into_iter().map(Rejection::from).collect(),
    }))
}

/// Which runs to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunParams {
    /// The most items of the page; only of a page.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: Option<u16>,
    /// `next_cursor` of the page before; only of a page.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Smallest non-zero parameters.
    min_nonzero_params: Option<f64>,
    /// Largest non-zero parameters.
    max_nonzero_params: Option<f64>,
    /// Smallest sparsity.
    min_sparsity: Option<f64>,
    /// Largest sparsity.
    max_sparsity: Option<f64>,
    /// Least data.
    min_data: Option<f64>,
    /// Most data.
    max_data: Option<f64>,
    /// Smallest loss.
    min_loss: Option<f64>,
    /// Largest loss.
    max_loss: Option<f64>,
    /// Only this structured pattern.
    #[param(pattern = "^[1-9][0-9]{0,3}:[1-9][0-9]{0,3}$")]
    pattern: Option<String>,
    /// Only this start.
    #[param(inline)]
    start: Option<StartView>,
    /// Only excluded runs, or only the others.
    excluded: Option<bool>,
    /// Only runs with all of these tags: `key:value,key:value`.
    #[param(pattern = "^[^:,]+:[^,]+(,[^:,]+:[^,]+)*$")]
    tags: Option<String>,
}

impl RunParams {
    fn page(&self) -> Result<PageRequest, ApiError> {
        let limit = self.limit.unwrap_or(PageParams::default_limit());
        PageParams { limit, cursor: self.cursor.clone() }.check()
    }

    /// A stream has all runs.
    fn refuse_page(&self) -> Result<(), ApiError> {
        let mut checks = Checks::default();
        for (name, given) in [("limit", self.limit.is_some()), ("cursor", self.cursor.is_some())] {
            if given {
                checks.refuse(name, "belongs to a page, application/json; a stream has all runs");
            }
        }
        Ok(checks.finish(Some(()))?)
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
        let filter = RunFilter {
            nonzero_params: (self.min_nonzero_params, self.max_nonzero_params),
            sparsity: (self.min_sparsity, self.max_sparsity),
            data: (self.min_data, self.max_data),
            loss: (self.min_loss, self.max_loss),
            pattern,
            start: self.start.map(Start::from),
            excluded: self.excluded,
            tags,
        };
        Ok(checks.finish(Some(filter))?)
    }
}

/// Lists a family's runs: a page, newest first; or by `Accept` all that the filters let through, oldest
/// first, as a stream that can be submitted again as it is.
#[utoipa::path(
    get, path = "/v1/families/{family}/runs", tag = TAG_RUNS, params(FamilyPath, RunParams),
    responses(
        (status = OK, description = "A page of runs, or all of them", content(
            (RunList = "application/json"), (String = "application/x-ndjson"),
            (String = "text/csv"), (Vec<u8> = "application/vnd.apache.parquet")
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
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = negotiate(&headers, Format::ALL, Format::media_type)?;
    let filter = params.filter()?;
    if format != Format::Json {
        params.refuse_page()?;
        return export(state, reads, path.name()?, filter, format).await;
    }
    let (request, name) = (params.page()?, path.name()?);
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let page = runs::list_runs(&mut db, family.id, &filter, request).await?;
    let next_cursor = next_cursor(&page);
    let list = RunList { items: page.items.into_iter().map(RunView::from).collect(), next_cursor };
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
    run.map(|run| Json(run.into())).ok_or_else(|| path.not_found())
}

/// Whether fits leave a run out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRun {
    /// Whether fits leave it out.
    #[schema(example = true)]
    excluded: bool,
    /// Why; required with `excluded`, at most 2,000 characters.
    #[schema(example = "diverged after step 180,000")]
    exclusion_reason: Option<String>,
}

impl UpdateRun {
    /// The reason, or `None` to take the run in again.
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

/// Excludes a run from fits, or takes it in again.
#[utoipa::path(
    patch, path = "/v1/families/{family}/runs/{id}", tag = TAG_RUNS, params(RunPath),
    request_body = UpdateRun,
    responses((status = OK, description = "The run as it is now", body = RunView)),
)]
async fn update_run(
    State(state): State<AppState>,
    Path(path): Path<RunPath>,
    JsonBody(body): JsonBody<UpdateRun>,
) -> Result<Json<RunView>, ApiError> {
    let reason = body.check()?;
    let (family, id) = path.find(&state.pool).await?;
    let now = state.clock.now();
    let run = runs::update_run_exclusion(&state.pool, family.id, id, reason, now).await?;
    run.map(|run| Json(run.into())).ok_or_else(|| path.not_found())
}

/// Deletes a run. Laws that were fitted on it stay as they are.
#[utoipa::path(
    delete, path = "/v1/families/{family}/runs/{id}", tag = TAG_RUNS, params(RunPath),
    responses((status = NO_CONTENT, description = "It is gone")),
)]
async fn delete_run(
    State(state): State<AppState>,
    Path(path): Path<RunPath>,
) -> Result<StatusCode, ApiError> {
    let (family, id) = path.find(&state.pool).await?;
    if runs::delete_run(&state.pool, family.id, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(path.not_found())
    }
}
