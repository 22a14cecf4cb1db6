//! `/healthz` and `/readyz`, and the pages that describe the service.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{ApiError, Problem};
use super::{AppState, TAG_SERVICE};
use crate::store;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_healthz)).routes(routes!(get_readyz))
}

/// Routes that are for people and not part of the contract.
pub fn pages() -> axum::Router<AppState> {
    axum::Router::new().route("/problems/{kind}", axum::routing::get(get_problems))
}

/// The page that a problem's `type` leads to.
async fn get_problems() -> impl IntoResponse {
    let page = include_str!("../../docs/problems.md");
    ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], page)
}

/// How the service is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
    /// Version of the service.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

/// How ready the service is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// Version of the service.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Whether the service hears at once which law answers for a family. While it does not, it looks
    /// laws up for every question: the answers are the same, and slower.
    #[schema(example = true)]
    follows_announcements: bool,
}

/// Whether the process is alive.
#[utoipa::path(
    get, path = "/healthz", tag = TAG_SERVICE,
    responses((status = OK, description = "It is", body = Health)),
)]
async fn get_healthz() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Whether requests can be answered: the database is there and has this version's schema.
#[utoipa::path(
    get, path = "/readyz", tag = TAG_SERVICE,
    responses(
        (status = OK, description = "They can", body = Readiness),
        (status = SERVICE_UNAVAILABLE, description = "Not now", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn get_readyz(State(state): State<AppState>) -> Result<Json<Readiness>, ApiError> {
    if state.shutdown.is_cancelled() {
        return Err(ApiError::Unavailable(anyhow::anyhow!("the service is stopping")));
    }
    match store::is_migrated(&state.pool).await {
        Ok(true) => Ok(Json(Readiness {
            status: "ready",
            version: env!("CARGO_PKG_VERSION"),
            follows_announcements: state.laws.is_followed(),
        })),
        Ok(false) => Err(ApiError::Unavailable(anyhow::anyhow!("the schema is not up to date"))),
        Err(error) => Err(ApiError::Unavailable(error.into())),
    }
}
