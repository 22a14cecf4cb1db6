//! `/v1/families/{family}/mappings`: named mappings that say what the columns of tables mean.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgExecutor;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::noting::Noting;
use crate::api::layers::replica_reads::Reads;
use crate::api::resources::families::existing;
use crate::api::state::AppState;
use crate::api::tags::TAG_RUNS;
use crate::api::wire::extract::{
    FamilyPath, JsonBody, PageParams, Query, UniqueKeys, family_name, next_cursor,
};
use crate::api::wire::problem::ApiError;
use crate::domain::checks::{Checks, FieldError};
use crate::domain::family::Family;
use crate::domain::mapping::{Mapping, MappingSettings};
use crate::domain::text::MappingName;
use crate::intake::OptionTexts;
use crate::store::mappings;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_mappings)).routes(routes!(
        get_mapping,
        update_mapping,
        delete_mapping
    ))
}

/// A stored mapping. Options that are null are not set.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Mapping)]
pub struct MappingView {
    /// Name of the mapping in URLs and uploads.
    #[schema(example = "nightly")]
    name: String,
    /// Where fields come from: a column or an expression for each field.
    #[schema(example = json!({"loss": "eval/loss", "data": "steps*524288"}))]
    map: BTreeMap<String, String>,
    /// Factors for numbers, by field.
    #[schema(example = json!({"data": 65536.0}))]
    scale: BTreeMap<String, f64>,
    /// Columns that become tags.
    #[schema(example = json!(["sweep"]))]
    tag_columns: Vec<String>,
    /// The service that tables are exported from.
    #[schema(example = json!(null))]
    source: Option<String>,
    /// The unit in which sparsities are given.
    #[schema(example = json!(null))]
    sparsity_unit: Option<String>,
    /// What names a run: a list of columns, whose values are joined by colons, or `content`.
    #[schema(example = "run,seed")]
    id: Option<String>,
    /// Condition for rows that are runs.
    #[schema(example = "State == \"finished\"")]
    r#where: Option<String>,
    /// Which of several rows of one run to keep.
    #[schema(example = "last:step")]
    keep: Option<String>,
    /// Separator of the cells.
    #[schema(example = json!(null))]
    separator: Option<String>,
    /// The decimal mark.
    #[schema(example = json!(null))]
    decimal: Option<String>,
    /// Texts that mean "no value".
    #[schema(example = json!(null))]
    null: Option<Vec<String>>,
    /// The sheet of a workbook that holds the runs.
    #[schema(example = json!(null))]
    sheet: Option<String>,
    /// What happens to optional fields that a row leaves out, when its run is stored already.
    #[schema(example = json!(null))]
    absent: Option<String>,
    /// When the mapping was first stored.
    created_at: DateTime<Utc>,
    /// When the mapping was last stored.
    updated_at: DateTime<Utc>,
}

impl From<Mapping> for MappingView {
    fn from(mapping: Mapping) -> Self {
        let settings = mapping.settings;
        Self {
            name: mapping.name.to_string(),
            map: settings.map,
            scale: settings.scale,
            tag_columns: settings.tag_columns,
            source: settings.source,
            sparsity_unit: settings.sparsity_unit,
            id: settings.id,
            r#where: settings.condition,
            keep: settings.keep,
            separator: settings.separator,
            decimal: settings.decimal,
            null: settings.null,
            sheet: settings.sheet,
            absent: settings.absent,
            created_at: mapping.created_at,
            updated_at: mapping.updated_at,
        }
    }
}

/// A page of mappings.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingList {
    /// The mappings, newest first.
    items: Vec<MappingView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// A mapping to store: the parameters of an upload, with the same names and texts. Options that are left out are not
/// set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutMapping {
    /// Where fields come from: a column or an expression for each field.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>, example = json!({"loss": "eval/loss", "data": "steps*524288"}))]
    map: UniqueKeys<String>,
    /// Factors for numbers, by field.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, f64>, example = json!({}))]
    scale: UniqueKeys<f64>,
    /// Columns that become tags.
    #[serde(default)]
    #[schema(example = json!(["sweep"]), max_items = 50)]
    tag_columns: Vec<String>,
    /// The service that tables are exported from.
    #[schema(example = json!(null))]
    source: Option<String>,
    /// The unit in which sparsities are given: `fraction` or `percent`.
    #[schema(example = json!(null))]
    sparsity_unit: Option<String>,
    /// What names a run: a list of columns, whose values are joined by colons, or `content`.
    #[schema(example = "run,seed")]
    id: Option<String>,
    /// Condition for rows that are runs.
    #[schema(example = json!(null))]
    r#where: Option<String>,
    /// Which of several rows of one run to keep.
    #[schema(example = json!(null))]
    keep: Option<String>,
    /// Separator of the cells.
    #[schema(example = json!(null))]
    separator: Option<String>,
    /// The decimal mark.
    #[schema(example = json!(null))]
    decimal: Option<String>,
    /// Texts that mean "no value".
    #[schema(example = json!(null), max_items = 50)]
    null: Option<Vec<String>>,
    /// The sheet of a workbook that holds the runs.
    #[schema(example = json!(null))]
    sheet: Option<String>,
    /// What happens to optional fields that a row leaves out, when its run is stored already: `keep` or `clear`.
    #[schema(example = json!(null))]
    absent: Option<String>,
}

/// The most bytes that the settings of a mapping may take as JSON.
const MOST_BYTES: usize = 64 * 1024;

impl PutMapping {
    /// The settings, checked as far as possible without a table.
    fn check(self) -> Result<MappingSettings, ApiError> {
        let settings = MappingSettings {
            map: self.map.0,
            scale: self.scale.0,
            tag_columns: self.tag_columns,
            source: self.source,
            sparsity_unit: self.sparsity_unit,
            id: self.id,
            condition: self.r#where,
            keep: self.keep,
            separator: self.separator,
            decimal: self.decimal,
            null: self.null,
            sheet: self.sheet,
            absent: self.absent,
        };
        let json =
            serde_json::to_value(&settings).map_err(|error| ApiError::Internal(error.into()))?;
        let bytes = json.to_string().len();
        let mut checks = Checks::default();
        if bytes > MOST_BYTES {
            checks.refuse("", format!("must have at most {MOST_BYTES} bytes, not {bytes}"));
        }
        if has_control(&json) {
            checks.refuse("", "must not contain control characters but tabs");
        }
        let texts = OptionTexts { kept: settings, ..OptionTexts::default() };
        checks.absorb(texts.check());
        Ok(checks.finish(Some(texts.kept))?)
    }
}

/// Whether any text has a control character other than a tab: no column name needs one, and PostgreSQL refuses NUL.
fn has_control(json: &serde_json::Value) -> bool {
    let wrong = |text: &str| text.contains(|c: char| c.is_control() && c != '\t');
    match json {
        serde_json::Value::String(text) => wrong(text),
        serde_json::Value::Array(items) => items.iter().any(has_control),
        serde_json::Value::Object(entries) => {
            entries.iter().any(|(key, value)| wrong(key) || has_control(value))
        }
        _ => false,
    }
}

/// Path of a mapping.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct MappingPath {
    /// Name of the family.
    #[param(example = "t5-c4")]
    family: String,
    /// Name of the mapping: lower-case letters, digits and hyphens, at most 64.
    #[param(example = "nightly", pattern = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
    mapping: String,
}

impl MappingPath {
    /// The family, and a valid name of a mapping, which may or may not be stored.
    async fn find(&self, db: impl PgExecutor<'_>) -> Result<(Family, MappingName), ApiError> {
        let family = existing(db, &family_name(&self.family)?).await?;
        let name = MappingName::new(&self.mapping).map_err(|_| no_mapping(&self.mapping))?;
        Ok((family, name))
    }
}

fn no_mapping(name: &str) -> ApiError {
    ApiError::NotFound { what: "mapping", name: name.to_owned() }
}

/// Finds the mapping of a family that an upload names.
///
/// # Errors
/// [`ApiError::Invalid`] about `mapping` if there is no such mapping.
pub(crate) async fn kept_mapping(
    db: impl PgExecutor<'_>,
    family: &Family,
    name: &str,
) -> Result<MappingSettings, ApiError> {
    let found = match MappingName::new(name) {
        Ok(name) => mappings::find_mapping(db, family.id, &name).await?,
        Err(_) => None,
    };
    found.map(|mapping| mapping.settings).ok_or_else(|| {
        let detail = format!("the family keeps no mapping {name}");
        ApiError::Invalid(vec![FieldError { pointer: "/mapping".to_owned(), detail }])
    })
}

/// Lists a family's mappings, newest first.
#[utoipa::path(
    get, path = "/v1/families/{family}/mappings", tag = TAG_RUNS, params(FamilyPath, PageParams),
    responses((status = OK, description = "A page of mappings", body = MappingList)),
)]
async fn list_mappings(
    reads: Reads,
    Path(path): Path<FamilyPath>,
    Query(params): Query<PageParams>,
) -> Result<Json<MappingList>, ApiError> {
    let request = params.check()?;
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &path.name()?).await?;
    let page = mappings::list_mappings(&mut *db, family.id, request).await?;
    let next_cursor = next_cursor(&page);
    let items = page.items.into_iter().map(MappingView::from).collect();
    Ok(Json(MappingList { items, next_cursor }))
}

/// Shows a mapping.
#[utoipa::path(
    get, path = "/v1/families/{family}/mappings/{mapping}", tag = TAG_RUNS, params(MappingPath),
    responses((status = OK, description = "The mapping", body = MappingView)),
)]
async fn get_mapping(
    reads: Reads,
    Path(path): Path<MappingPath>,
) -> Result<Json<MappingView>, ApiError> {
    let mut db = reads.connection().await?;
    let (family, name) = path.find(&mut *db).await?;
    let found = mappings::find_mapping(&mut *db, family.id, &name).await?;
    found.map(|mapping| Json(mapping.into())).ok_or_else(|| no_mapping(name.as_str()))
}

/// Stores a mapping for uploads, replacing the one of the same name if there is one. Uploads use it with the parameter
/// `mapping`.
#[utoipa::path(
    put, path = "/v1/families/{family}/mappings/{mapping}", tag = TAG_RUNS, params(MappingPath),
    request_body = PutMapping,
    responses(
        (status = OK, description = "The mapping as it is now", body = MappingView),
        (status = CREATED, description = "The mapping, which is new", body = MappingView),
    ),
)]
async fn update_mapping(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<MappingPath>,
    JsonBody(body): JsonBody<PutMapping>,
) -> Result<(StatusCode, Json<MappingView>), ApiError> {
    let family = existing(&state.pool, &family_name(&path.family)?).await?;
    let mut checks = Checks::default();
    let name = checks.take("mapping", MappingName::new(&path.mapping));
    let name = checks.finish(name)?;
    let settings = body.check()?;
    let now = state.clock.now();
    let mapping =
        Mapping { id: state.clock.new_id(), name, settings, created_at: now, updated_at: now };
    let mut write = noting.begin(&state.pool).await?;
    let most = state.limits.max_mappings;
    let kept = mappings::upsert_mapping(&mut write, family.id, &mapping, most).await?;
    let Some((kept, is_new)) = kept else {
        let what = "the number of mappings of the family".to_owned();
        return Err(ApiError::TooLarge { what, setting: "--max-mappings" });
    };
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    write.commit(status, None).await?;
    Ok((status, Json(kept.into())))
}

/// Deletes a mapping. Runs that were uploaded with it stay.
#[utoipa::path(
    delete, path = "/v1/families/{family}/mappings/{mapping}", tag = TAG_RUNS, params(MappingPath),
    responses((status = NO_CONTENT, description = "It is gone")),
)]
async fn delete_mapping(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<MappingPath>,
) -> Result<StatusCode, ApiError> {
    let (family, name) = path.find(&state.pool).await?;
    let mut write = noting.begin(&state.pool).await?;
    if !mappings::delete_mapping(&mut *write, family.id, &name).await? {
        return Err(no_mapping(name.as_str()));
    }
    write.commit(StatusCode::NO_CONTENT, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
