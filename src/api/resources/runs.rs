//! `/v1/families/{family}/runs`: finished training runs.

use std::collections::{BTreeMap, HashSet};

use axum::Json;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
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

use crate::api::layers::owner::Owner;
use crate::api::layers::replica_reads::Reads;
use crate::api::resources::exports::export;
use crate::api::resources::families::existing;
use crate::api::resources::mappings::kept_mapping;
use crate::api::resources::uploads::upload;
use crate::api::state::AppState;
use crate::api::tags::TAG_RUNS;
use crate::api::wire::extract::{
    FamilyPath, JsonBody, PageParams, Query, family_name, next_cursor, path_id,
};
use crate::api::wire::negotiation::negotiate;
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::schemas::BinaryFile;
use crate::api::wire::views::WarningView;
use crate::domain::checks::Checks;
use crate::domain::family::{Family, Zeros};
use crate::domain::numbered_run::NumberedRun;
use crate::domain::page::PageRequest;
use crate::domain::run::{Run, RunFilter, Start};
use crate::domain::text::{Pattern, check_label, check_reason};
use crate::intake::export::Formulas;
use crate::intake::{Columns, Decimal, Format, Intake, OptionTexts, RowError, Separator};
use crate::pipeline::Stored;
use crate::store::runs;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_runs, create_runs))
        .routes(routes!(get_run, update_run, delete_run))
        .routes(routes!(update_run_by_external_id, delete_run_by_external_id))
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
    /// The same, of a family whose zeros are experts: what a token passes. Left out of others.
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
    /// How much of the data is different, where some was seen more than once; null where unknown.
    #[schema(example = json!(null))]
    unique_data: Option<f64>,
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

impl RunView {
    /// A run of a family whose zeros are these.
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
    /// How much of the data is different, where some was seen more than once, in the family's data unit: `data` counts
    /// every pass over it.
    #[schema(example = json!(null), minimum = 1e-6, maximum = 1e30)]
    unique_data: Option<f64>,
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
    /// FLOPs of the training, where known: held against size and data, with a warning where they are not of one
    /// kind, and not stored.
    #[schema(example = json!(null))]
    flops: Option<f64>,
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
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what Taking reads")]
pub enum OnError {
    /// Store nothing.
    Abort,
    /// Store the other rows and name this one.
    Skip,
}

/// Whose export an upload is.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what crate::intake reads")]
pub enum SourceName {
    /// Weights & Biases.
    Wandb,
    /// MLflow.
    Mlflow,
}

/// What sparsities are given in.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what crate::intake reads")]
pub enum SparsityUnitName {
    /// 0 to 1.
    Fraction,
    /// 0 to 100.
    Percent,
}

/// What becomes of optional fields that a row does not bring.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what crate::intake reads")]
pub enum AbsentName {
    /// They stay as they are stored.
    Keep,
    /// They are empty then.
    Clear,
}

/// How to take a submission. It is read from the query by hand, since `map` may stand there several times.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what Taking reads")]
struct CreateRunsParams {
    /// `abort`, the default, stores nothing if a row is wrong; `skip` stores the others.
    #[param(inline)]
    on_error: Option<OnError>,
    /// Whether to store nothing and only answer what would be stored.
    #[param(default = false)]
    dry_run: Option<bool>,
    /// Whose export the upload is: fields are looked for with the prefixes of these services too, `config.`
    /// and `summary.`, or `params.` and `metrics.`; columns that mean nothing are ignored, and runs that did not
    /// finish are left out unless `where` says otherwise.
    #[param(inline)]
    source: Option<SourceName>,
    /// Where a field comes from, `FIELD:EXPRESSION`; may be given several times. `loss:val_loss` takes it from a
    /// column, `data:steps*512*1024` computes it, `sparsity:0` says it. Names of columns with other signs stand in
    /// backticks. Several mappings to plain columns may be joined by commas. With it columns that mean nothing
    /// are ignored.
    map: Option<Vec<String>>,
    /// Factors of numbers: `field:factor,field:factor`; `data:65536` turns steps into tokens.
    #[param(pattern = "^[^:,]+:[^,]+(,[^:,]+:[^,]+)*$")]
    scale: Option<String>,
    /// Columns that become tags of the same name: `column,column`. With it columns that mean nothing are
    /// ignored.
    tag_columns: Option<String>,
    /// What sparsities are given in.
    #[param(inline)]
    sparsity_unit: Option<SparsityUnitName>,
    /// What names a run, in place of `external_id`: columns, joined by colons, or `content` for a name made of
    /// the run's own values.
    id: Option<String>,
    /// Rows that are runs: `State == "finished" and steps > 1000`. The others are left out and counted.
    r#where: Option<String>,
    /// Which of several rows of one run is kept: `last:COLUMN`, `first:COLUMN`, `min:COLUMN` or `max:COLUMN`.
    keep: Option<String>,
    /// What stands between cells of a CSV body: a sign, or `tab`; found from the header unless said.
    separator: Option<String>,
    /// The decimal mark, `.` or `,`: a comma in bodies separated by semicolons or tabs unless said.
    decimal: Option<String>,
    /// Texts that mean "no value", between commas, in place of the usual ones (`NA`, `None`, `null`, `-`, ...).
    null: Option<String>,
    /// The sheet of a workbook that has the runs; the only one with cells unless said.
    sheet: Option<String>,
    /// What becomes of the optional fields that a row does not bring, of a run that is stored: `keep`, the default,
    /// leaves them as they are, and `clear` empties them, an exclusion included.
    #[param(inline)]
    absent: Option<AbsentName>,
    /// The name of a mapping that the family keeps. Parameters beside it come before what it says: those of `map` and
    /// `scale` field by field, others as a whole.
    #[param(pattern = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
    mapping: Option<String>,
}

/// How a submission is to be taken; what columns mean is checked once the mapping is known that is named.
struct Taking {
    skip_errors: bool,
    dry_run: bool,
    texts: OptionTexts,
    mapping: Option<String>,
}

impl FromRequestParts<AppState> for Taking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        Self::read(parts.uri.query().unwrap_or_default())
    }
}

impl Taking {
    fn read(query: &str) -> Result<Self, ApiError> {
        const KNOWN: [&str; 16] = [
            "on_error",
            "dry_run",
            "source",
            "map",
            "scale",
            "tag_columns",
            "sparsity_unit",
            "id",
            "where",
            "keep",
            "separator",
            "decimal",
            "null",
            "sheet",
            "absent",
            "mapping",
        ];
        let mut checks = Checks::default();
        let mut texts = OptionTexts::default();
        let (mut skip_errors, mut dry_run, mut mapping) = (false, false, None);
        let mut seen = HashSet::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            if name != "map" && !seen.insert(name.clone().into_owned()) {
                checks.refuse(&name, "is given twice");
                continue;
            }
            match &*name {
                "on_error" => match value.as_str() {
                    "abort" => skip_errors = false,
                    "skip" => skip_errors = true,
                    _ => checks.refuse("on_error", format!("must be abort or skip, not {value}")),
                },
                "dry_run" => match value.as_str() {
                    "true" => dry_run = true,
                    "false" => dry_run = false,
                    _ => checks.refuse("dry_run", format!("must be true or false, not {value}")),
                },
                "map" => texts.map.push(value),
                "scale" => texts.scale.push(value),
                "tag_columns" => texts.tag_columns.push(value),
                "sparsity_unit" => texts.sparsity_unit = Some(value),
                "source" => texts.source = Some(value),
                "id" => texts.id = Some(value),
                "where" => texts.condition = Some(value),
                "keep" => texts.keep = Some(value),
                "separator" => texts.separator = Some(value),
                "decimal" => texts.decimal = Some(value),
                "null" => texts.null = Some(value),
                "sheet" => texts.sheet = Some(value),
                "absent" => texts.absent = Some(value),
                "mapping" => mapping = Some(value),
                _ => {
                    let known = KNOWN.join(", ");
                    checks.refuse(
                        &name,
                        format!("is no parameter of this operation: there are {known}"),
                    );
                }
            }
        }
        if mapping.is_none() {
            checks.absorb(texts.check());
        }
        Ok(checks.finish(Some(Self { skip_errors, dry_run, texts, mapping }))?)
    }

    /// What columns mean in an upload to a family.
    async fn columns(
        &mut self,
        db: impl PgExecutor<'_>,
        family: &Family,
    ) -> Result<Columns, ApiError> {
        if let Some(name) = &self.mapping {
            self.texts.kept = kept_mapping(db, family, name).await?;
        }
        let columns = self.texts.check()?;
        columns.check_unit(&family.settings.data_unit)?;
        Ok(columns.with_flops_per_param(family.settings.flops_per_param))
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
    /// How many rows were left out on purpose, by reason.
    #[schema(example = json!({}))]
    left_out: BTreeMap<String, u64>,
    /// What the body was taken for.
    recognised: RecognisedView,
    /// What is odd about the runs, and no reason to refuse them.
    warnings: Vec<WarningView>,
    /// With `dry_run`: the first runs that would be stored, and errors by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<PreviewView>,
}

/// What a body was taken for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Recognised)]
pub struct RecognisedView {
    /// Its media type.
    #[schema(example = "text/csv")]
    format: &'static str,
    /// What stands between its cells; null where it has no separators.
    #[schema(example = ",")]
    separator: Option<&'static str>,
    /// Its decimal mark; null where nothing says which it is, and a comma in a number is refused.
    #[schema(example = ".")]
    decimal: Option<&'static str>,
    /// What each field of the first good row came from: a column or an expression.
    #[schema(example = json!({"loss": "val_loss"}))]
    columns: BTreeMap<&'static str, String>,
    /// The kept mapping that it was read by; null where none was named.
    #[schema(example = json!(null))]
    mapping: Option<String>,
}

/// What would be stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubmissionPreview)]
pub struct PreviewView {
    /// The first runs.
    runs: Vec<PreviewRun>,
    /// What is wrong with rows, each kind once.
    errors: Vec<ErrorKindView>,
}

/// A run that would be stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewRun {
    /// Its place in the submission, from 0.
    #[schema(example = 0)]
    row: u64,
    /// The submitter's name of the run.
    #[schema(example = "sweep-3/run-17")]
    external_id: String,
    /// Non-zero parameters.
    #[schema(example = 42_467_328.0)]
    nonzero_params: f64,
    /// Fraction of zeros.
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
    /// Structured pattern; null for unstructured sparsity.
    #[schema(example = json!(null))]
    pattern: Option<String>,
    /// Labels.
    #[schema(example = json!({}))]
    tags: BTreeMap<String, String>,
    /// Why fits leave the run out.
    #[schema(example = json!(null))]
    exclusion_reason: Option<String>,
}

/// One kind of error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorKind)]
pub struct ErrorKindView {
    /// The field that is wrong.
    #[schema(example = "loss")]
    field: String,
    /// What is wrong with it, in the first row that has it.
    #[schema(example = "must be a number, not \"diverged\"")]
    detail: String,
    /// How many of the errors named are of this kind.
    #[schema(example = 3)]
    count: u64,
    /// The first rows that have it.
    rows: Vec<u64>,
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
/// The body is streamed and may be compressed: `Content-Encoding` `gzip`, `zstd`, `xz` or `bzip2`. Formats, columns and
/// limits are described in docs/uploads.md.
#[utoipa::path(
    post, path = "/v1/families/{family}/runs", tag = TAG_RUNS,
    params(FamilyPath, CreateRunsParams),
    request_body(
        description = "Runs, in one of the formats",
        content(
            (SubmitRunsBody = "application/json"), (String = "application/x-ndjson"),
            (String = "text/csv"), (BinaryFile = "application/vnd.apache.parquet"),
            (BinaryFile = "application/vnd.apache.arrow.stream"), (BinaryFile = "application/vnd.apache.arrow.file"),
            (BinaryFile = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
        )
    ),
    responses((status = OK, description = "What became of them", body = SubmissionResult)),
)]
async fn create_runs(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    mut taking: Taking,
    owner: Owner,
    request: Request,
) -> Result<Json<SubmissionResult>, ApiError> {
    let family = existing(&state.pool, &path.name()?).await?;
    let columns = taking.columns(&state.pool, &family).await?;
    let Taking { skip_errors, dry_run, mapping, .. } = taking;
    let uploaded = upload(&state, family.id, columns, skip_errors, dry_run, owner, request);
    let uploaded = state.transfers.until_stopped(&state.shutdown, uploaded).await?;
    let (format, stored) = uploaded;
    Ok(Json(SubmissionResult::new(format, stored, dry_run, mapping)))
}

impl SubmissionResult {
    fn new(format: Format, stored: Stored, dry_run: bool, mapping: Option<String>) -> Self {
        let Stored { merged, intake, preview } = stored;
        let Intake { errors, left_out, recognised, warnings, .. } = intake;
        let fields = recognised.fields.into_iter();
        let preview = dry_run.then(|| PreviewView {
            runs: preview.into_iter().map(PreviewRun::from).collect(),
            errors: kinds(&errors.named),
        });
        Self {
            created: merged.created,
            updated: merged.updated,
            unchanged: merged.unchanged,
            errors: errors.total,
            rejected: errors.named.into_iter().map(Rejection::from).collect(),
            left_out,
            recognised: RecognisedView {
                format: format.media_type(),
                separator: recognised.separator.map(Separator::as_str),
                decimal: recognised.decimal.map(Decimal::as_str),
                columns: fields.map(|(field, from)| (field.as_str(), from)).collect(),
                mapping,
            },
            warnings: (warnings.into_iter())
                .map(|warning| WarningView::new(warning.code, warning.detail))
                .collect(),
            preview,
        }
    }
}

impl From<NumberedRun> for PreviewRun {
    fn from(NumberedRun { row, run, .. }: NumberedRun) -> Self {
        let observation = run.observation;
        Self {
            row,
            external_id: run.external_id,
            nonzero_params: observation.nonzero_params.get(),
            sparsity: observation.sparsity.get(),
            data: observation.data.get(),
            loss: observation.loss.get(),
            start: run.start.into(),
            pattern: run.pattern.map(|pattern| pattern.as_str().to_owned()),
            tags: run.tags,
            exclusion_reason: run.exclusion_reason,
        }
    }
}

/// Errors by kind: of one field, and alike up to the value that they name.
fn kinds(errors: &[RowError]) -> Vec<ErrorKindView> {
    const ROWS: usize = 5;
    let mut kinds: Vec<(String, ErrorKindView)> = Vec::new();
    for error in errors {
        let detail = &error.error.detail;
        let alike = detail.split(", not ").next().unwrap_or_default();
        let alike = alike.split(" (line ").next().unwrap_or_default();
        let known =
            kinds.iter_mut().find(|(kind, view)| kind == alike && view.field == error.field());
        match known {
            Some((_, view)) => {
                view.count += 1;
                if view.rows.len() < ROWS {
                    view.rows.push(error.row);
                }
            }
            None => kinds.push((
                alike.to_owned(),
                ErrorKindView {
                    field: error.field().to_owned(),
                    detail: detail.clone(),
                    count: 1,
                    rows: vec![error.row],
                },
            )),
        }
    }
    kinds.into_iter().map(|(_, view)| view).collect()
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
    /// Only the run that its submitter calls so.
    #[param(min_length = 1, max_length = 200)]
    external_id: Option<String>,
    /// Of CSV: what is written of a text that begins as a formula does, with `=`, `+`, `-`, `@`, a tab or a carriage
    /// return. `keep`, which holds where nothing is said, writes it as it is, `escape` behind an apostrophe, so that a spreadsheet does not compute it.
    #[param(inline)]
    formulas: Option<FormulasView>,
}

/// What is written of a text that begins as a formula does.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormulasView {
    /// The text as it is.
    Keep,
    /// The text behind an apostrophe.
    Escape,
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

    /// How formulas are written; there are none to write but in CSV.
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
            start: self.start.map(Start::from),
            excluded: self.excluded,
            tags,
            external_id: self.external_id.clone(),
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
    let zeros = &family.settings.zeros;
    run.map(|run| Json(RunView::new(run, zeros))).ok_or_else(|| path.not_found())
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

/// Excludes the run that its submitter calls so from fits, or takes it in again.
#[utoipa::path(
    patch, path = "/v1/families/{family}/runs/by-external-id/{external_id}", tag = TAG_RUNS,
    params(NamedRunPath), request_body = UpdateRun,
    responses((status = OK, description = "The run as it is now", body = RunView)),
)]
async fn update_run_by_external_id(
    State(state): State<AppState>,
    Path(path): Path<NamedRunPath>,
    JsonBody(body): JsonBody<UpdateRun>,
) -> Result<Json<RunView>, ApiError> {
    let path = path.find(&state).await?;
    update_run(State(state), Path(path), JsonBody(body)).await
}

/// Deletes the run that its submitter calls so. Laws that were fitted on it stay as they are.
#[utoipa::path(
    delete, path = "/v1/families/{family}/runs/by-external-id/{external_id}", tag = TAG_RUNS,
    params(NamedRunPath), responses((status = NO_CONTENT, description = "It is gone")),
)]
async fn delete_run_by_external_id(
    State(state): State<AppState>,
    Path(path): Path<NamedRunPath>,
) -> Result<StatusCode, ApiError> {
    let path = path.find(&state).await?;
    delete_run(State(state), Path(path)).await
}
