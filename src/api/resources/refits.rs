//! `/v1/families/{family}/refits` and `/v1/refits/{id}`: fits of a family's runs on request.

mod request;
mod view;

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::{Extension, Json};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use request::{CreateRefit, check_request, check_work};
use view::{RefitList, RefitsParams};

use crate::api::layers::noting::Noting;
use crate::api::layers::owner::Owner;
use crate::api::layers::places::Place;
use crate::api::resources::families::existing;
use crate::api::state::AppState;
use crate::api::tags::TAG_REFITS;
use crate::api::wire::extract::{FamilyPath, OptionalJsonBody, Query, next_cursor, path_id};
use crate::api::wire::problem::ApiError;
use crate::domain::refit::Refit;
use crate::domain::text::FamilyName;
use crate::live::keyring::Caller;
use crate::live::refit_watch::Seen;
use crate::store::refits::NewRefit;
use crate::store::{StoreError, refits};
use crate::telemetry::traces::Span;

pub use view::RefitView;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_refits, create_refit))
        .routes(routes!(get_refit, delete_refit))
        .routes(routes!(list_refit_events))
}

/// Requests a fit of the family's runs.
///
/// If a refit is queued already, it is returned instead, whatever its options. A queued what-if (`without`) is only
/// returned if its options are the same; other what-ifs are refused until it has started.
#[utoipa::path(
    post, path = "/v1/families/{family}/refits", tag = TAG_REFITS, params(FamilyPath),
    request_body = Option<CreateRefit>,
    responses(
        (status = ACCEPTED, description = "It is queued", body = RefitView,
            headers(("Location" = String, description = "Path of the refit"))),
        (status = OK, description = "One is queued already", body = RefitView,
            headers(("Location" = String, description = "Path of the refit"))),
    ),
)]
async fn create_refit(
    State(state): State<AppState>,
    caller: Caller,
    noting: Noting,
    span: Option<Extension<Span>>,
    Path(path): Path<FamilyPath>,
    OptionalJsonBody(body): OptionalJsonBody<CreateRefit>,
) -> Result<impl IntoResponse, ApiError> {
    let family = existing(&state.pool, &path.name()?).await?;
    let (options, reproduces) = check_request(&state, &caller, &family, body).await?;
    let work = check_work(&state, &family, &options).await?;
    let Extension(span) = span.unwrap_or_default();
    let (trace, requested_by) = (span.context(), caller.actor());
    let (status, id) = loop {
        let id = state.clock.new_id();
        let now = state.clock.now();
        let new = NewRefit {
            id,
            family_id: family.id,
            options: &options,
            reproduces_law_id: reproduces,
            trace_context: trace.as_deref(),
            requested_by: &requested_by,
            work,
        };
        let mut write = noting.begin(&state.pool).await?;
        match refits::insert_refit(&mut *write, &new, now).await {
            Ok(()) => {
                write.commit(StatusCode::ACCEPTED, Some(&location(id))).await?;
                break (StatusCode::ACCEPTED, id);
            }
            // If a worker takes the queued refit before it is found here, the loop goes on to queue this one.
            Err(StoreError::RefitQueued) => {
                drop(write);
                let what_if = options.is_what_if();
                let queued = refits::find_queued_refit(&state.pool, family.id, what_if).await?;
                if let Some((id, its_options)) = queued {
                    if what_if && its_options != options {
                        return Err(ApiError::WhatIfQueued);
                    }
                    break (StatusCode::OK, id);
                }
            }
            Err(error) => return Err(error.into()),
        }
    };
    span.note("refit.id", &id.to_string());
    let refit = find(&state, &caller, id).await?;
    Ok((status, [(header::LOCATION, location(id))], Json(refit)))
}

fn location(id: Uuid) -> String {
    format!("/v1/refits/{id}")
}

/// Path of a refit.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct RefitPath {
    /// Id of the refit.
    #[param(format = Uuid)]
    id: String,
}

/// Finds a refit of a family that the caller may access; a refit of any other family counts as not found.
async fn find_stored(state: &AppState, caller: &Caller, id: Uuid) -> Result<Refit, ApiError> {
    let refit = refits::find_refit(&state.pool, id).await?;
    let refit = refit.filter(|refit| caller.families().allow(&refit.family));
    let refit = refit.ok_or_else(|| ApiError::NotFound { what: "refit", name: id.to_string() })?;
    tell(state, &refit).await;
    Ok(refit)
}

/// Finds a refit as [`find_stored`] does, and shows it.
async fn find(state: &AppState, caller: &Caller, id: Uuid) -> Result<RefitView, ApiError> {
    find_stored(state, caller, id).await.map(RefitView::from)
}

/// To be called before a caller learns of a refit that has a law: from then on, its answers must come from that law.
async fn tell(state: &AppState, refit: &Refit) {
    let Some((version, _)) = refit.law else { return };
    if let Ok(family) = FamilyName::new(&refit.family) {
        state.laws.tell(&family, version);
    }
    if let Some(replica) = &state.replica {
        replica.note_written().await;
    }
}

/// Lists a family's refits, newest first, in all states or in one.
#[utoipa::path(
    get, path = "/v1/families/{family}/refits", tag = TAG_REFITS, params(FamilyPath, RefitsParams),
    responses((status = OK, description = "A page of refits", body = RefitList)),
)]
async fn list_refits(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<RefitsParams>,
) -> Result<Json<RefitList>, ApiError> {
    let ((wanted, request), name) = (params.check()?, path.name()?);
    let family = existing(&state.pool, &name).await?;
    let page = refits::list_refits(&state.pool, family.id, wanted, request).await?;
    let next_cursor = next_cursor(&page);
    let items = page.items.into_iter().map(RefitView::from).collect();
    Ok(Json(RefitList { items, next_cursor }))
}

/// Shows a refit.
#[utoipa::path(
    get, path = "/v1/refits/{id}", tag = TAG_REFITS, params(RefitPath),
    responses((status = OK, description = "The refit as it stands", body = RefitView)),
)]
async fn get_refit(
    State(state): State<AppState>,
    caller: Caller,
    Path(path): Path<RefitPath>,
) -> Result<Json<RefitView>, ApiError> {
    find(&state, &caller, path_id(&path.id, "refit")?).await.map(Json)
}

/// Cancels a refit.
///
/// A queued refit is cancelled at once, a running one as soon as its worker notices. A refit that has ended does not
/// change.
#[utoipa::path(
    delete, path = "/v1/refits/{id}", tag = TAG_REFITS, params(RefitPath),
    responses((status = OK, description = "The refit as it stands", body = RefitView)),
)]
async fn delete_refit(
    State(state): State<AppState>,
    caller: Caller,
    noting: Noting,
    Path(path): Path<RefitPath>,
) -> Result<Json<RefitView>, ApiError> {
    let id = path_id(&path.id, "refit")?;
    find(&state, &caller, id).await?;
    let mut write = noting.begin(&state.pool).await?;
    refits::cancel_refit(&mut *write, id, state.clock.now()).await?;
    write.commit(StatusCode::OK, None).await?;
    find(&state, &caller, id).await.map(Json)
}

/// Streams a refit's changes as server-sent events of type `refit`, each of which holds the whole refit.
///
/// The stream ends with the refit, and when the caller's key is revoked or expires.
#[utoipa::path(
    get, path = "/v1/refits/{id}/events", tag = TAG_REFITS, params(RefitPath),
    responses((status = OK, description = "An event for each change", body = String,
        content_type = "text/event-stream")),
)]
async fn list_refit_events(
    State(state): State<AppState>,
    caller: Caller,
    owner: Owner,
    Path(path): Path<RefitPath>,
) -> Result<impl IntoResponse, ApiError> {
    let place = state.streams.try_enter(owner).ok_or(ApiError::StreamsBusy)?;
    let first = find_stored(&state, &caller, path_id(&path.id, "refit")?).await?;
    let seen = state.refit_watch.follow(first.clone());
    let stream = EventStream { state, caller, seen, sent: None, _place: place };
    let events = stream::unfold((stream, Some(first)), |(mut stream, next)| async move {
        let refit = match next {
            Some(refit) => refit,
            None => stream.next_change().await?,
        };
        let sent = refit.clone();
        stream.sent = Some(refit);
        let event = Event::default().event("refit").json_data(RefitView::from(sent)).ok()?;
        Some((Ok::<_, Infallible>(event), (stream, None)))
    });
    // Without this header, nginx would hold events back until they fill a buffer.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(KeepAlive::default())))
}

/// How often a stream checks whether its caller may still access the refit.
const ADMITTED_INTERVAL: Duration = Duration::from_millis(200);

/// A stream of a refit's events for one caller.
struct EventStream {
    state: AppState,
    caller: Caller,
    seen: watch::Receiver<Seen>,
    sent: Option<Refit>,
    _place: Place<Owner>,
}

impl EventStream {
    /// Waits until the refit differs from what was last sent; `None` when the refit has ended or is gone, the caller
    /// may no longer access it, or the service stops.
    async fn next_change(&mut self) -> Option<Refit> {
        let sent = self.sent.take()?;
        if sent.finished_at.is_some() {
            return None;
        }
        loop {
            let refit = self.seen.borrow_and_update().as_deref().cloned()?;
            if refit != sent {
                tell(&self.state, &refit).await;
                return Some(refit);
            }
            tokio::select! {
                // The watch ends with the refit, after which there are no more changes.
                changed = self.seen.changed() => changed.ok()?,
                () = tokio::time::sleep(ADMITTED_INTERVAL) => {}
                () = self.state.shutdown.cancelled() => return None,
            }
            if !self.state.access.still_admits(&self.caller) {
                return None;
            }
        }
    }
}
