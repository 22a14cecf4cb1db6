//! `/v1/families/{family}/laws`: fitted and published laws.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::noting::Noting;
use crate::api::layers::replica_reads::Reads;
use crate::api::resources::families::{FamilyView, existing};
use crate::api::state::AppState;
use crate::api::tags::TAG_LAWS;
use crate::api::wire::caching::{Freshness, KnownTags, cached};
use crate::api::wire::extract::{
    FamilyPath, JsonBody, PageParams, Query, family_name, next_cursor,
};
use crate::api::wire::problem::ApiError;
use crate::domain::text::FamilyName;
use crate::store::{families, laws};

mod forms;
mod published;
mod view;

pub(crate) use published::find_lender;
pub use view::{LawView, MultiplierView};

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_laws, published::create_law))
        .routes(routes!(get_law))
        .routes(routes!(update_active_law))
}

/// A page of laws.
#[derive(Debug, Serialize, ToSchema)]
pub struct LawList {
    /// The laws, newest first.
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
    reads: Reads,
    Path(path): Path<FamilyPath>,
    Query(params): Query<PageParams>,
) -> Result<Json<LawList>, ApiError> {
    let (request, name) = (params.check()?, path.name()?);
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let page = laws::list_laws(&mut *db, &family.name, request).await?;
    let next_cursor = next_cursor(&page);
    let active = laws::find_law(&mut *db, &family.name, None).await?.map(|law| law.id);
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
    reads: Reads,
    Path(path): Path<LawPath>,
    known: KnownTags,
) -> Result<Response, ApiError> {
    let name = family_name(&path.family)?;
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let not_found = || ApiError::NotFound { what: "law", name: path.version.clone() };
    let version: i32 = path.version.parse().map_err(|_| not_found())?;
    let law = laws::find_law(&mut *db, &family.name, Some(version)).await?.ok_or_else(not_found)?;
    let active = laws::find_law(&mut *db, &family.name, None).await?.map(|law| law.id);
    // A law never changes, but whether it is the active one does.
    let tag = format!("{}.{}", law.id, active == Some(law.id));
    cached(&known, &tag, Freshness::Revalidate, || Ok(LawView::new(law, active)))
}

/// The choice of the law that answers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateActiveLaw {
    /// The version to pin; null for the newest fit.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(example = 1, required)]
    version: Option<i32>,
}

/// Pins the law that answers, or lets the newest fit answer again.
#[utoipa::path(
    put, path = "/v1/families/{family}/active-law", tag = TAG_LAWS, params(FamilyPath),
    request_body = UpdateActiveLaw,
    responses((status = OK, description = "The family with its active law", body = FamilyView)),
)]
async fn update_active_law(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<FamilyPath>,
    JsonBody(body): JsonBody<UpdateActiveLaw>,
) -> Result<Json<FamilyView>, ApiError> {
    let name = path.name()?;
    let law_id = match body.version {
        Some(version) => Some(pinnable(&state, &name, version).await?),
        None => None,
    };
    let family = existing(&state.pool, &name).await?;
    let mut write = noting.begin(&state.pool).await?;
    families::update_pinned_law(&mut *write, family.id, law_id).await?;
    write.commit(StatusCode::OK, None).await?;
    state.laws.forget(name.as_str());
    let family = existing(&state.pool, &name).await?;
    FamilyView::load(&state.pool, family).await.map(Json)
}

async fn pinnable(state: &AppState, name: &FamilyName, version: i32) -> Result<Uuid, ApiError> {
    existing(&state.pool, name).await?;
    let law = laws::find_law(&state.pool, name, Some(version)).await?;
    let law = law.ok_or_else(|| {
        let detail = format!("must be a version of this family's laws, not {version}");
        ApiError::field("/version", detail)
    })?;
    if law.content.is_what_if() {
        let detail = "is a what-if: exclude the runs that it leaves out, and refit";
        return Err(ApiError::field("/version", detail));
    }
    Ok(law.id)
}
