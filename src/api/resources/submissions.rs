//! Submissions of runs, apart from reading their bytes: the row format, the options and the result.

use std::collections::{BTreeMap, HashSet};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::{IntoParams, ToSchema};

use crate::api::resources::mappings::kept_mapping;
use crate::api::state::AppState;
use crate::api::wire::problem::ApiError;
use crate::api::wire::start::StartView;
use crate::api::wire::views::WarningView;
use crate::domain::checks::Checks;
use crate::domain::family::Family;
use crate::domain::numbered_run::NumberedRun;
use crate::intake::{Columns, Decimal, Format, Intake, OptionTexts, RowError, Separator};
use crate::pipeline::Stored;

/// A run to submit. Give exactly one of `nonzero_params` and `total_params`.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a row; crate::intake reads it")]
pub struct SubmitRun {
    /// The submitter's name of the run, at most 200 characters; a run sent again under this name is the same run.
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
    /// What the run started from: `scratch` by default.
    start: Option<StartView>,
    /// Data that the dense checkpoint of a pretrained start had seen, in the family's data unit.
    #[schema(example = json!(null), minimum = 1e-6, maximum = 1e30)]
    pretraining_data: Option<f64>,
    /// How much of the data is unique, in the family's data unit, where some was seen more than once: `data` counts
    /// every pass over it.
    #[schema(example = json!(null), minimum = 1e-6, maximum = 1e30)]
    unique_data: Option<f64>,
    /// Structured pattern `n:m`; leave it out for unstructured sparsity.
    #[schema(example = json!(null), pattern = "^[1-9][0-9]{0,3}:[1-9][0-9]{0,3}$")]
    pattern: Option<String>,
    /// Labels: at most 50, keys and values of at most 200 characters.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Why fits should leave the run out, at most 2,000 characters. A run sent without a reason keeps its state,
    /// excluded or not.
    #[schema(example = json!(null))]
    exclusion_reason: Option<String>,
    /// FLOPs of the training, where known. They are compared with those that follow from size and data, with a warning
    /// if they differ too much, and are not stored.
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

/// What to do when a row is invalid.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what Taking reads")]
pub enum OnError {
    /// Store nothing.
    Abort,
    /// Store the other rows and list the invalid ones.
    Skip,
}

/// The service that an upload was exported from.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what crate::intake reads")]
pub enum SourceName {
    /// Weights & Biases.
    Wandb,
    /// MLflow.
    Mlflow,
}

/// The unit in which sparsities are given.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what crate::intake reads")]
pub enum SparsityUnitName {
    /// 0 to 1.
    Fraction,
    /// 0 to 100.
    Percent,
}

/// What happens to optional fields that a row leaves out, when its run is stored already.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what crate::intake reads")]
pub enum AbsentName {
    /// The stored values are kept.
    Keep,
    /// The fields are emptied.
    Clear,
}

/// How to read and store a submission. Documents the query only: [`Taking::read`] parses it, as `map` may be repeated.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what Taking reads")]
pub(crate) struct CreateRunsParams {
    /// `abort`, the default, stores nothing if a row is invalid; `skip` stores the other rows.
    #[param(inline)]
    on_error: Option<OnError>,
    /// Whether to store nothing and only report what would be stored.
    #[param(default = false)]
    dry_run: Option<bool>,
    /// The service that the upload was exported from. Fields are then also looked for under the prefixes of its
    /// columns, `config.` and `summary.` (`wandb`) or `params.` and `metrics.` (`mlflow`); unknown columns are ignored,
    /// and runs that did not finish are left out unless `where` says otherwise.
    #[param(inline)]
    source: Option<SourceName>,
    /// Where a field comes from, `FIELD:EXPRESSION`; may be repeated. `loss:val_loss` takes it from a column,
    /// `data:steps*512*1024` computes it, `sparsity:0` sets it to a constant. Column names with other characters are
    /// written in backticks. Several mappings to plain columns may be joined by commas. Unknown columns are ignored if
    /// this is given.
    map: Option<Vec<String>>,
    /// Factors for numbers: `field:factor,field:factor`; `data:65536` turns steps into tokens.
    #[param(pattern = "^[^:,]+:[^,]+(,[^:,]+:[^,]+)*$")]
    scale: Option<String>,
    /// Columns that become tags of the same name: `column,column`. Unknown columns are ignored if this is given.
    tag_columns: Option<String>,
    /// The unit in which sparsities are given.
    #[param(inline)]
    sparsity_unit: Option<SparsityUnitName>,
    /// What names a run, in place of `external_id`: a list of columns, `COLUMN,COLUMN`, whose values are joined by
    /// colons, or `content` for a name derived from the run's own values.
    id: Option<String>,
    /// Condition for rows that are runs: `State == "finished" and steps > 1000`. Other rows are left out and counted.
    r#where: Option<String>,
    /// Which of several rows of one run to keep: `last:COLUMN`, `first:COLUMN`, `min:COLUMN` or `max:COLUMN`.
    keep: Option<String>,
    /// Separator of the cells in a CSV body: a character, or `tab`; by default it is detected from the header.
    separator: Option<String>,
    /// The decimal mark, `.` or `,`; by default a comma in CSV bodies whose cells are separated by something other than
    /// commas.
    decimal: Option<String>,
    /// Texts that mean "no value", separated by commas, in place of the usual ones (`NA`, `None`, `null`, `-`, ...).
    null: Option<String>,
    /// The sheet of a workbook that holds the runs; by default the only one that has cells.
    sheet: Option<String>,
    /// What happens to optional fields that a row leaves out, when its run is stored already: `keep`, the default,
    /// leaves them as they are; `clear` empties them, including an exclusion.
    #[param(inline)]
    absent: Option<AbsentName>,
    /// The name of a mapping that is stored with the family. Other parameters given beside it override it: `map` and
    /// `scale` field by field, others as a whole.
    #[param(pattern = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
    mapping: Option<String>,
}

/// How to read and store a submission. What its columns mean is only checked once the named mapping has been loaded.
pub(crate) struct Taking {
    pub(crate) skip_errors: bool,
    pub(crate) dry_run: bool,
    texts: OptionTexts,
    pub(crate) mapping: Option<String>,
}

impl FromRequestParts<AppState> for Taking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        Self::read(parts.uri.query().unwrap_or_default())
    }
}

impl Taking {
    /// Parses the query of a submission.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] listing every invalid parameter.
    pub(crate) fn read(query: &str) -> Result<Self, ApiError> {
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

    /// Resolves what the columns of an upload to `family` mean, after loading the named mapping if there is one.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if there is no such mapping, or an option of the columns is invalid.
    pub(crate) async fn columns(
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

/// Result of a submission.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubmissionResult {
    /// Number of new runs.
    #[schema(example = 48)]
    created: u64,
    /// Number of runs that were stored before with other values.
    #[schema(example = 0)]
    updated: u64,
    /// Number of runs that were stored before with the same values.
    #[schema(example = 0)]
    unchanged: u64,
    /// Errors of the rows that were not stored; only with `on_error=skip`. At most a limited number is listed.
    rejected: Vec<Rejection>,
    /// Number of errors, listed or not.
    #[schema(example = 0)]
    errors: u64,
    /// Number of rows that were left out on purpose, by reason.
    #[schema(example = json!({}))]
    left_out: BTreeMap<String, u64>,
    /// How the body was read.
    recognised: RecognisedView,
    /// What is unusual about the runs without being a reason to refuse them.
    warnings: Vec<WarningView>,
    /// With `dry_run`: the first runs that would be stored, and the errors grouped by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<PreviewView>,
}

/// How a body was read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Recognised)]
pub struct RecognisedView {
    /// Media type of the body.
    #[schema(example = "text/csv")]
    format: &'static str,
    /// Separator of the cells; null where the format has none.
    #[schema(example = ",")]
    separator: Option<&'static str>,
    /// The decimal mark; null where nothing says which it is, in which case a comma in a number is refused.
    #[schema(example = ".")]
    decimal: Option<&'static str>,
    /// Where each field of the first valid row came from: a column or an expression.
    #[schema(example = json!({"loss": "val_loss"}))]
    columns: BTreeMap<&'static str, String>,
    /// The stored mapping that was used; null where none was named.
    #[schema(example = json!(null))]
    mapping: Option<String>,
}

/// What would be stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubmissionPreview)]
pub struct PreviewView {
    /// The first runs that would be stored.
    runs: Vec<PreviewRun>,
    /// The errors, each kind once.
    errors: Vec<ErrorKindView>,
}

/// A run that would be stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewRun {
    /// Position of the run in the submission, from 0.
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
    /// Why fits leave the run out; null where they do not.
    #[schema(example = json!(null))]
    exclusion_reason: Option<String>,
}

/// Errors of the same kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorKind)]
pub struct ErrorKindView {
    /// The invalid field.
    #[schema(example = "loss")]
    field: String,
    /// What is wrong with the field, as in the first row of this kind.
    #[schema(example = "must be a number, not \"diverged\"")]
    detail: String,
    /// How many of the listed errors are of this kind.
    #[schema(example = 3)]
    count: u64,
    /// The first rows with an error of this kind.
    rows: Vec<u64>,
}

/// A row that was not stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rejection {
    /// Position of the row in the submission, from 0: in the array, among the lines that are not blank, or among the
    /// records below the header.
    #[schema(example = 17)]
    row: u64,
    /// The invalid field.
    #[schema(example = "loss")]
    field: String,
    /// What is wrong with the field.
    #[schema(example = "must be between 1e-12 and 1e12, not -1")]
    detail: String,
}

impl From<RowError> for Rejection {
    fn from(error: RowError) -> Self {
        Self { row: error.row, field: error.field().to_owned(), detail: error.error.detail }
    }
}

impl SubmissionResult {
    /// The answer to a submission that was sent in this format.
    pub(crate) fn new(
        format: Format,
        stored: Stored,
        dry_run: bool,
        mapping: Option<String>,
    ) -> Self {
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
            rejected: errors.placed().into_iter().map(Rejection::from).collect(),
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

impl SubmissionResult {
    /// Warns of earlier uploads to the family that are stored later than this one.
    pub(crate) fn warn_of_waiting(&mut self, waiting: i64) {
        let detail = format!(
            "{waiting} earlier uploads to this family wait to be stored, and will replace these runs where they have \
             them too: see GET /v1/families/{{family}}/uploads, and send again what they replaced"
        );
        self.warnings.push(WarningView::new("uploads_waiting", detail));
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

/// Groups errors by kind: those of the same field whose texts are the same up to the value that they quote.
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
