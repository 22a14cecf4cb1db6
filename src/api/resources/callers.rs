//! `/v1/caller`: who the service takes the caller for, and what the caller may do.
//!
//! A page that knows this can show only what its user may do, and whose key it has.

use axum::Json;
use axum::http::header;
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::resources::keys::ScopeView;
use crate::api::state::AppState;
use crate::api::tags::TAG_ACCESS;
use crate::api::wire::problem::ApiError;
use crate::live::keyring::Caller;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_caller))
}

/// How the service identifies a caller.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CallerKind)]
pub enum CallerKindView {
    /// Not at all: the service requires no key.
    Anonymous,
    /// An API key.
    Key,
    /// A token of the issuer that the service trusts.
    Token,
}

/// The sender of a request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Caller)]
pub struct CallerView {
    /// How the caller is identified.
    kind: CallerKindView,
    /// Name of the caller in the audit log: the id of the key, `oidc:` and the subject of the token, or `anonymous`.
    #[schema(example = "0197f0c2-a4b0-7c3c-9a52-f6d1e8b4a7c3")]
    actor: String,
    /// Name of the key; null where there is none.
    #[schema(example = "nightly training")]
    name: Option<String>,
    /// What the caller may do.
    scope: ScopeView,
    /// The only families that the caller may access; null for all.
    #[schema(example = json!(null))]
    families: Option<Vec<String>>,
    /// When the key or token expires; null for never.
    expires_at: Option<DateTime<Utc>>,
}

/// Shows who the caller is and what it may do.
#[utoipa::path(
    get, path = "/v1/caller", tag = TAG_ACCESS,
    responses((status = OK, description = "The caller", body = CallerView)),
)]
async fn get_caller(caller: Caller) -> Result<impl IntoResponse, ApiError> {
    // The guard admits nobody without a scope.
    let scope = caller
        .scope()
        .ok_or_else(|| ApiError::Forbidden("the token has no scope of this service".to_owned()))?;
    let kind = match caller {
        Caller::Anonymous | Caller::Service => CallerKindView::Anonymous,
        Caller::Key(_) => CallerKindView::Key,
        Caller::Token(_) => CallerKindView::Token,
    };
    let view = CallerView {
        kind,
        actor: caller.actor(),
        name: caller.key_name().map(ToOwned::to_owned),
        scope: scope.into(),
        families: caller.families().names(),
        expires_at: caller.ends_at(),
    };
    // The answer differs from key to key, and changes as soon as a key is revoked.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)))
}
