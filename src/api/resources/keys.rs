//! `/v1/keys`: API keys, for administrators.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::noting::Noting;
use crate::api::state::AppState;
use crate::api::tags::TAG_ACCESS;
use crate::api::wire::extract::{JsonBody, PageParams, Query, next_cursor, path_id};
use crate::api::wire::problem::{ApiError, Problem};
use crate::domain::access::{Families, KeyText, Scope};
use crate::domain::api_key::ApiKey;
use crate::domain::checks::Checks;
use crate::domain::text::{FamilyName, check_label};
use crate::live::keyring::Caller;
use crate::store::keys;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_keys, create_key)).routes(routes!(get_key, delete_key))
}

/// What a caller may do; each scope includes the ones before it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Scope)]
pub enum ScopeView {
    /// Read data and ask questions.
    Read,
    /// Store runs, laws, forecasts and profiles, and request refits.
    Write,
    /// Delete families, manage keys and read the audit log.
    Admin,
}

impl From<Scope> for ScopeView {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Read => Self::Read,
            Scope::Write => Self::Write,
            Scope::Admin => Self::Admin,
        }
    }
}

impl From<ScopeView> for Scope {
    fn from(scope: ScopeView) -> Self {
        match scope {
            ScopeView::Read => Self::Read,
            ScopeView::Write => Self::Write,
            ScopeView::Admin => Self::Admin,
        }
    }
}

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyView {
    /// Id of the key, which is also its public part.
    id: Uuid,
    /// Name of the key, for people.
    #[schema(example = "nightly training")]
    name: String,
    /// What the key may do.
    scope: ScopeView,
    /// The only families that the key may access; null for all.
    #[schema(example = json!(["t5-c4"]))]
    families: Option<Vec<String>>,
    /// Who created the key: `cli`, the id of a key, or `oidc:` and the subject of a token.
    #[schema(example = "cli")]
    created_by: String,
    /// When the key was created.
    created_at: DateTime<Utc>,
    /// When the key expires; null for never.
    expires_at: Option<DateTime<Utc>>,
    /// When the key was revoked; null if it was not.
    revoked_at: Option<DateTime<Utc>>,
    /// When the key was last used, to within about a minute; null for never.
    last_used_at: Option<DateTime<Utc>>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            families: key.families.names(),
            name: key.name,
            scope: key.scope.into(),
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// A new API key, with its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedKey)]
pub struct CreatedKeyView {
    /// The whole key, for `Authorization: Bearer`. It is shown here only, and never again.
    #[schema(
        example = "sp_0197f0c2a4b07c3c9a52f6d1e8b4a7c3_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    key: String,
    #[serde(flatten)]
    record: KeyView,
}

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// The keys, newest first, including those that are no longer valid.
    items: Vec<KeyView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// A key to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Name of the key, for people, such as whose key it is; at most 200 characters.
    #[schema(example = "nightly training", min_length = 1, max_length = 200)]
    name: String,
    /// What the key may do.
    scope: ScopeView,
    /// The only families that the key may access, whether they exist yet or not; all by default.
    #[schema(example = json!(["t5-c4"]), min_items = 1, max_items = 1000)]
    families: Option<Vec<String>>,
    /// When the key expires; never by default.
    expires_at: Option<DateTime<Utc>>,
}

/// The last year that RFC 3339 can represent.
const LAST_YEAR: i32 = 9999;

impl CreateKey {
    fn check(self, by: String, id: Uuid, now: DateTime<Utc>) -> Result<ApiKey, ApiError> {
        let mut checks = Checks::default();
        checks.take("name", check_label(&self.name));
        let families = match self.families {
            None => Some(Families::All),
            Some(names) => check_families(&names, &mut checks),
        };
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) {
            checks.refuse("expires_at", "must be in the future");
        }
        // A later time could not be written, so the key could not be shown.
        if self.expires_at.is_some_and(|expires_at| expires_at.year() > LAST_YEAR) {
            checks.refuse("expires_at", format!("must be in the years up to {LAST_YEAR}"));
        }
        let key = families.map(|families| ApiKey {
            id,
            name: self.name,
            scope: self.scope.into(),
            families,
            created_by: by,
            created_at: now,
            expires_at: self.expires_at,
            revoked_at: None,
            last_used_at: None,
        });
        Ok(checks.finish(key)?)
    }
}

fn check_families(names: &[String], checks: &mut Checks) -> Option<Families> {
    if names.is_empty() || names.len() > Families::MOST {
        let detail = format!("must name 1 to {} families, or be left out for all", Families::MOST);
        checks.refuse("families", detail);
        return None;
    }
    let names = names.iter().enumerate();
    let names: Vec<_> = names
        .map(|(index, name)| checks.take(&format!("families/{index}"), FamilyName::new(name)))
        .collect();
    names.into_iter().collect::<Option<_>>().map(Families::Only)
}

/// Path of a key.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct KeyPath {
    /// Id of the key.
    #[param(format = Uuid)]
    id: String,
}

/// Lists keys, newest first.
#[utoipa::path(
    get, path = "/v1/keys", tag = TAG_ACCESS, params(PageParams),
    responses((status = OK, description = "A page of keys", body = KeyList)),
)]
async fn list_keys(
    State(state): State<AppState>,
    Query(params): Query<PageParams>,
) -> Result<Json<KeyList>, ApiError> {
    let page = keys::list_keys(&state.pool, params.check()?).await?;
    let next_cursor = next_cursor(&page);
    let items = page.items.into_iter().map(KeyView::from).collect();
    Ok(Json(KeyList { items, next_cursor }))
}

/// Creates a key. The first one is created by the command `keys create`.
#[utoipa::path(
    post, path = "/v1/keys", tag = TAG_ACCESS, request_body = CreateKey,
    responses(
        (status = CREATED, description = "The key, shown this once", body = CreatedKeyView,
            headers(("Location" = String, description = "Path of the key"))),
        (status = CONFLICT, description = "There are as many valid keys as there can be",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn create_key(
    State(state): State<AppState>,
    caller: Caller,
    noting: Noting,
    JsonBody(body): JsonBody<CreateKey>,
) -> Result<impl IntoResponse, ApiError> {
    // Anyone who reaches a service without keys could otherwise lock out its owner by creating the first key.
    if caller.quota().is_none() {
        let detail = "the first key is created by the command `keys create`";
        return Err(ApiError::Forbidden(detail.to_owned()));
    }
    let id = state.clock.new_id();
    let key = body.check(caller.actor(), id, state.clock.now())?;
    let text = KeyText::random(id).map_err(|error| ApiError::Internal(error.into()))?;
    let location = format!("/v1/keys/{id}");
    let mut write = noting.begin(&state.pool).await?;
    keys::insert_key(&mut *write, &key, &text.hash()).await?;
    write.commit(StatusCode::CREATED, Some(&location)).await?;
    // The key is valid in this process at once; other processes are notified.
    state.access.read_again().await?;
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".into())];
    let body = CreatedKeyView { key: text.reveal(), record: key.into() };
    Ok((StatusCode::CREATED, headers, Json(body)))
}

/// Shows a key.
#[utoipa::path(
    get, path = "/v1/keys/{id}", tag = TAG_ACCESS, params(KeyPath),
    responses((status = OK, description = "The key", body = KeyView)),
)]
async fn get_key(
    State(state): State<AppState>,
    Path(path): Path<KeyPath>,
) -> Result<Json<KeyView>, ApiError> {
    let id = path_id(&path.id, "key")?;
    keys::find_key(&state.pool, id).await?.map(KeyView::from).map(Json).ok_or_else(|| no_key(id))
}

/// Revokes a key, which is refused from now on. Its record is kept.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = TAG_ACCESS, params(KeyPath),
    responses((status = OK, description = "The key as it is now", body = KeyView)),
)]
async fn delete_key(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<KeyPath>,
) -> Result<Json<KeyView>, ApiError> {
    let id = path_id(&path.id, "key")?;
    let mut write = noting.begin(&state.pool).await?;
    let key = keys::update_key_revoked(&mut *write, id, state.clock.now()).await?;
    let key = key.ok_or_else(|| no_key(id))?;
    write.commit(StatusCode::OK, None).await?;
    state.access.read_again().await?;
    Ok(Json(key.into()))
}

fn no_key(id: Uuid) -> ApiError {
    ApiError::NotFound { what: "key", name: id.to_string() }
}
