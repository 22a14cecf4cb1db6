//! A submission of runs, apart from its bytes: what is sent, how it is to be taken, and what becomes of it.

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
pub(crate) struct CreateRunsParams {
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
    /// Reads a query.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with every parameter that is wrong.
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

    /// What columns mean in an upload to a family.
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

impl SubmissionResult {
    /// The answer to a submission in this format.
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
