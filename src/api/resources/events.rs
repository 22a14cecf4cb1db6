//! `/v1/families/{family}/events`: a stream of what happens to a family.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderName;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use chrono::{DateTime, Utc};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::owner::Owner;
use crate::api::layers::places::Place;
use crate::api::resources::families::existing;
use crate::api::resources::refits::RefitView;
use crate::api::state::AppState;
use crate::api::tags::TAG_FAMILIES;
use crate::api::wire::extract::FamilyPath;
use crate::api::wire::problem::ApiError;
use crate::domain::refit::Refit;
use crate::domain::standing::{RunCounts, SinceLaw, Standing};
use crate::domain::text::FamilyName;
use crate::live::family_watch::{Followed, Seen};
use crate::live::keyring::Caller;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_family_events))
}

/// State of a family: the data of an event of type `family`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = FamilyStanding)]
pub struct FamilyStandingView {
    /// Name of the family.
    #[schema(example = "my-models")]
    family: String,
    /// When the family's settings last changed.
    updated_at: DateTime<Utc>,
    /// The law that answers; null where there is none.
    active_law: Option<StandingLaw>,
    /// Whether that law is pinned.
    pinned: bool,
    /// The newest version of the family's laws; null where there is none. It is not always the law that answers:
    /// another law may be pinned, and a what-if only answers where its version is asked for.
    #[schema(example = 2)]
    newest_law: Option<i32>,
    /// How many runs the family has.
    runs: StandingRuns,
}

/// The law that answers for a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct StandingLaw {
    /// Id of the law.
    id: Uuid,
    /// Version of the law within the family.
    #[schema(example = 2)]
    version: i32,
}

/// How many runs a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct StandingRuns {
    /// Number of all runs.
    #[schema(example = 52)]
    all: i64,
    /// Number of runs that a refit would use: all that are not excluded.
    #[schema(example = 50)]
    used: i64,
    /// What changed in the runs since the active law was fitted; null where it was not fitted here, or there is none.
    since_law: Option<SinceLawView>,
}

/// What changed in a family's runs since the active law was fitted, that is, what a refit would take into account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RunsSinceLaw)]
pub struct SinceLawView {
    /// Number of runs that were added, or included again, since then.
    #[schema(example = 2)]
    added: i64,
    /// Number of runs of the law whose measurements differ now.
    #[schema(example = 0)]
    changed: i64,
    /// Number of runs of the law that were deleted or excluded since then.
    #[schema(example = 0)]
    removed: i64,
}

impl From<&Standing> for FamilyStandingView {
    fn from(standing: &Standing) -> Self {
        let RunCounts { all, used, since_law } = standing.runs;
        let since_law = since_law.map(|SinceLaw { added, changed, removed }| SinceLawView {
            added,
            changed,
            removed,
        });
        Self {
            family: standing.family.to_string(),
            updated_at: standing.updated_at,
            active_law: standing.active_law.map(|(version, id)| StandingLaw { id, version }),
            pinned: standing.pinned,
            newest_law: standing.newest_law,
            runs: StandingRuns { all, used, since_law },
        }
    }
}

/// The data of an event of type `deleted`.
#[derive(Debug, Serialize)]
struct DeletedFamily<'a> {
    family: &'a str,
}

/// Example of a stream for the OpenAPI document.
const EXAMPLE: &str = r#"event: family
data: {"family":"my-models","updated_at":"2026-11-30T12:00:00Z","active_law":{"id":"01939f2e-0d35-7bd4-a3c2-cf1f3ba4ec5a","version":2},"pinned":false,"newest_law":2,"runs":{"all":52,"used":50,"since_law":{"added":2,"changed":0,"removed":0}}}

event: refit
data: {"id":"01939f30-9d1a-7c52-8a53-0a1f5a4b7c0e","family":"my-models","state":"running","progress":0.5,"phase":"resampling", ...}

"#;

/// Streams what happens to a family as server-sent events.
///
/// An event of type `family` holds the present state of the family: the active law, and how many runs there are and
/// were added since. The first one is sent at once, later ones whenever this state changes. An event of type `refit`
/// holds the present state of a refit: at first of each that is queued or running, later of each that is requested,
/// makes progress or ends. An event of type `deleted` is the last one if the family is deleted. Changes within less
/// than a second may be combined into one event.
///
/// The stream ends when the family is deleted, when the caller's key is revoked or expires, and when the service stops.
/// A caller that connects again gets the state at that time, so nothing has to be stored for it meanwhile.
#[utoipa::path(
    get, path = "/v1/families/{family}/events", tag = TAG_FAMILIES, params(FamilyPath),
    responses((status = OK, description = "An event for each change", body = String,
        content_type = "text/event-stream", example = json!(EXAMPLE))),
)]
async fn list_family_events(
    State(state): State<AppState>,
    caller: Caller,
    owner: Owner,
    Path(path): Path<FamilyPath>,
) -> Result<impl IntoResponse, ApiError> {
    let place = state.streams.try_enter(owner).ok_or(ApiError::StreamsBusy)?;
    let name = path.name()?;
    let seen = match state.family_watch.join(name.as_str()) {
        Some(seen) => seen,
        None => {
            let family = existing(&state.pool, &name).await?;
            state.family_watch.follow(family.id, name.as_str())
        }
    };
    let stream = FamilyStream {
        state,
        caller,
        name,
        seen,
        told: None,
        waiting: VecDeque::new(),
        is_over: false,
        _place: place,
    };
    let events = stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    // Without this header, nginx would hold events back until they fill a buffer.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(KeepAlive::default())))
}

/// How often a stream checks whether its caller may still access the family.
const ADMITTED_INTERVAL: Duration = Duration::from_millis(500);

/// A stream of a family's events for one caller.
struct FamilyStream {
    state: AppState,
    caller: Caller,
    name: FamilyName,
    seen: watch::Receiver<Seen>,
    /// The state that was sent last.
    told: Option<Arc<Followed>>,
    /// Events that are still to be sent.
    waiting: VecDeque<Event>,
    is_over: bool,
    _place: Place<Owner>,
}

impl FamilyStream {
    /// Waits for the next event; `None` when the family is gone, the caller may no longer access it, or the service
    /// stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            let seen = self.seen.borrow_and_update().clone();
            match seen {
                Seen::There(now) => self.tell(now),
                Seen::Gone => {
                    let family = self.name.as_str();
                    self.waiting.extend(event("deleted", &DeletedFamily { family }));
                    self.is_over = true;
                }
                Seen::NotYet => {}
            }
            if !self.waiting.is_empty() || self.is_over {
                continue;
            }
            tokio::select! {
                // The watch ends with the family, after which there are no more changes.
                changed = self.seen.changed() => changed.ok()?,
                () = tokio::time::sleep(ADMITTED_INTERVAL) => {}
                () = self.state.shutdown.cancelled() => return None,
            }
            if !self.state.access.still_admits(&self.caller) {
                return None;
            }
        }
    }

    /// Queues events for what differs from the state that was sent last.
    fn tell(&mut self, now: Arc<Followed>) {
        let told = self.told.replace(now.clone());
        if told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &now)) {
            return;
        }
        // A caller that learns of a law must get answers from that law from then on.
        if let Some((version, _)) = now.standing.active_law {
            self.state.laws.tell(&self.name, version);
        }
        if told.as_ref().is_none_or(|told| told.standing != now.standing) {
            self.waiting.extend(event("family", &FamilyStandingView::from(&now.standing)));
        }
        let none = BTreeMap::new();
        let before = told.as_ref().map_or(&none, |told| &told.refits);
        for (id, refit) in &now.refits {
            let is_news = match before.get(id) {
                Some(before) => before != refit,
                // At first only refits that are not over are sent. Later, a refit that is new to the caller may have
                // ended already.
                None => told.is_some() || refit.finished_at.is_none(),
            };
            if is_news {
                self.waiting.extend(event("refit", &RefitView::from(Refit::clone(refit))));
            }
        }
    }
}

/// An event of this type; `None` if the data cannot be written as JSON.
fn event(kind: &str, data: &impl Serialize) -> Option<Event> {
    Event::default().event(kind).json_data(data).ok()
}
