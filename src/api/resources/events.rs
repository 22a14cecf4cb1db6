//! `/v1/families/{family}/events`: a family as it stands, for as long as somebody looks at it.

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

/// How a family stands: the data of an event of type `family`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = FamilyStanding)]
pub struct FamilyStandingView {
    /// Name of the family.
    #[schema(example = "my-models")]
    family: String,
    /// When its settings last changed.
    updated_at: DateTime<Utc>,
    /// The law that answers; null where there is none.
    active_law: Option<StandingLaw>,
    /// Whether that law is pinned.
    pinned: bool,
    /// The newest version of its laws, which need not answer: another may be pinned, and a what-if answers only where it is
    /// asked for. Null where there is none.
    #[schema(example = 2)]
    newest_law: Option<i32>,
    /// Its runs.
    runs: StandingRuns,
}

/// The law that answers for a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct StandingLaw {
    /// Id of the law.
    id: Uuid,
    /// Its version within the family.
    #[schema(example = 2)]
    version: i32,
}

/// How many runs a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct StandingRuns {
    /// All of them.
    #[schema(example = 52)]
    all: i64,
    /// Those that a refit would use: all that are not excluded.
    #[schema(example = 50)]
    used: i64,
    /// What became of them since the law that answers was fitted; null where it was not fitted here, or there is none.
    since_law: Option<SinceLawView>,
}

/// What became of a family's runs since the law that answers was fitted: what a refit would see that it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RunsSinceLaw)]
pub struct SinceLawView {
    /// Runs that came, or were taken in again, since.
    #[schema(example = 2)]
    added: i64,
    /// Runs of the law of which a measurement is another now.
    #[schema(example = 0)]
    changed: i64,
    /// Runs of the law that were deleted or excluded since.
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

/// What a stream says, for those who read the document.
const EXAMPLE: &str = r#"event: family
data: {"family":"my-models","updated_at":"2026-11-30T12:00:00Z","active_law":{"id":"01939f2e-0d35-7bd4-a3c2-cf1f3ba4ec5a","version":2},"pinned":false,"newest_law":2,"runs":{"all":52,"used":50,"since_law":{"added":2,"changed":0,"removed":0}}}

event: refit
data: {"id":"01939f30-9d1a-7c52-8a53-0a1f5a4b7c0e","family":"my-models","state":"running","progress":0.5,"phase":"resampling", ...}

"#;

/// Streams what happens to a family as server-sent events.
///
/// Each event of type `family` is the family as it stands: the law that answers, and how many runs there are and have
/// come since. The first comes at once, others where one of these changes. Each event of type `refit` is a refit as it
/// stands: at first those that wait or run, then every one that is asked for, goes on or ends. One of type `deleted`
/// comes last where the family is deleted. What happens within less than a second may be told as one.
///
/// It ends when the family is deleted, when the caller's key is revoked or expires, and when the service stops. Whoever
/// asks again is told how the family stands by then, so that nothing has to be kept meanwhile.
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
    // nginx would keep events back until they fill a buffer.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(KeepAlive::default())))
}

/// How often it is looked whether a caller may still see what it follows.
const ADMITTED_INTERVAL: Duration = Duration::from_millis(500);

/// The events of a family for one caller.
struct FamilyStream {
    state: AppState,
    caller: Caller,
    name: FamilyName,
    seen: watch::Receiver<Seen>,
    /// What it was told last.
    told: Option<Arc<Followed>>,
    /// What it is to be told next.
    waiting: VecDeque<Event>,
    is_over: bool,
    _place: Place<Owner>,
}

impl FamilyStream {
    /// Waits for the next event; `None` when the family is gone, the caller may not see it any more, or the service
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
                // Where the watch has ended there is nothing more to come.
                changed = self.seen.changed() => changed.ok()?,
                () = tokio::time::sleep(ADMITTED_INTERVAL) => {}
                () = self.state.shutdown.cancelled() => return None,
            }
            if !self.state.access.still_admits(&self.caller) {
                return None;
            }
        }
    }

    /// Has the caller told of what differs from what it was told.
    fn tell(&mut self, now: Arc<Followed>) {
        let told = self.told.replace(now.clone());
        if told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &now)) {
            return;
        }
        // A caller that is told of a law gets its answers from then on.
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
                // At first only what is under way; a refit that nobody was told of may have ended since.
                None => told.is_some() || refit.finished_at.is_none(),
            };
            if is_news {
                self.waiting.extend(event("refit", &RefitView::from(Refit::clone(refit))));
            }
        }
    }
}

/// An event of this type; `None` where its data is no JSON.
fn event(kind: &str, data: &impl Serialize) -> Option<Event> {
    Event::default().event(kind).json_data(data).ok()
}
