//! `/v1/audit-events`: the audit log of writes, for administrators.
//!
//! Every write stores a note in its own transaction (`layers/noting.rs`), and a task, in whichever process, moves the
//! notes to the log in order (`live/audit.rs`). The guard also notes requests that it refuses for lack of scope. These
//! refusals go through a small queue in memory, so a process that is killed loses those of its last moments.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::state::AppState;
use crate::api::tags::TAG_ACCESS;
use crate::api::wire::extract::{PageParams, Query, next_cursor};
use crate::api::wire::problem::ApiError;
use crate::domain::audit::{AuditEvent, AuditFilter, StoredAuditEvent};
use crate::domain::checks::Checks;
use crate::domain::text::{FamilyName, check_label};
use crate::store::audit;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_audit_events))
}

/// A write that was done, or that was refused for lack of scope.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub struct AuditEventView {
    /// Id of the event.
    id: Uuid,
    /// When the request was admitted or refused.
    at: DateTime<Utc>,
    /// When the event was stored, by the clock of the database. The list is sorted by this time: it is different for
    /// every event, and later for events that are stored later.
    stored_at: DateTime<Utc>,
    /// Who made the request: the id of a key, `oidc:` and the subject of a token, `anonymous` where no key was
    /// required, or `service`.
    #[schema(example = "0197f0c2-a4b0-7c3c-9a52-f6d1e8b4a7c3")]
    actor: String,
    /// Name of the key; null without one.
    #[schema(example = "nightly training")]
    actor_name: Option<String>,
    /// Address of the caller; null where the request did not come over a network.
    #[schema(example = "192.0.2.7")]
    address: Option<String>,
    /// The HTTP method.
    #[schema(example = "POST")]
    method: String,
    /// Path template, as in this document.
    #[schema(example = "/v1/families/{family}/runs")]
    path: String,
    /// Path of what was created, or else the path of the request.
    #[schema(example = "/v1/families/t5-c4/runs")]
    target: String,
    /// Name of the family in `target`; null where there is none.
    #[schema(example = "t5-c4")]
    family: Option<String>,
    /// Status of the answer: 403 where the request was refused. Events of an earlier version may have 499, where it was
    /// not known whether the write was done.
    #[schema(example = 200)]
    status: i16,
    /// Number of requests: similar refusals of one key within a short time are combined into one event, with the time
    /// and the request id of the first.
    #[schema(example = 1, minimum = 1)]
    times: i32,
    /// Request id, as in the service's log.
    request_id: Option<String>,
}

impl From<StoredAuditEvent> for AuditEventView {
    fn from(StoredAuditEvent { stored_at, event }: StoredAuditEvent) -> Self {
        let AuditEvent {
            id,
            at,
            actor,
            actor_name,
            address,
            method,
            path,
            target,
            family,
            status,
            times,
            request_id,
        } = event;
        Self {
            id,
            at,
            stored_at,
            actor,
            actor_name,
            address,
            method,
            path,
            target,
            family,
            status,
            times,
            request_id,
        }
    }
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEventList {
    /// The events, newest first by `stored_at`.
    items: Vec<AuditEventView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
    /// The time up to which the log is complete: every event stored from now on has this or a later `stored_at`. To
    /// follow the log, send this as `from` to get the new events. Null while the log is empty.
    until: Option<DateTime<Utc>>,
}

/// Which events to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditParams {
    /// The most items per page.
    #[serde(default = "PageParams::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u16,
    /// `next_cursor` of the previous page.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Only events of this actor.
    actor: Option<String>,
    /// Only events of this family.
    family: Option<String>,
    /// Only events stored at or after this time.
    from: Option<DateTime<Utc>>,
    /// Only events stored before this time. A range that ends no later than the `until` of an answer never changes.
    to: Option<DateTime<Utc>>,
}

impl AuditParams {
    fn check(self) -> Result<AuditFilter, ApiError> {
        let mut checks = Checks::default();
        if let Some(actor) = &self.actor {
            checks.take("actor", check_label(actor));
        }
        if let Some(family) = &self.family {
            checks.take("family", FamilyName::new(family));
        }
        let Self { actor, family, from, to, .. } = self;
        Ok(checks.finish(Some(AuditFilter { actor, family, from, to }))?)
    }
}

/// Lists writes that were done, or refused for lack of scope, newest first by the time of storing.
///
/// An event is listed within about a second of its answer. The event of a write that took a minute is therefore stored
/// a minute after its `at`, later than events stored meanwhile. A range that was read once never changes, except that
/// old events are deleted.
#[utoipa::path(
    get, path = "/v1/audit-events", tag = TAG_ACCESS, params(AuditParams),
    responses((status = OK, description = "A page of the audit log", body = AuditEventList)),
)]
async fn list_audit_events(
    State(state): State<AppState>,
    Query(params): Query<AuditParams>,
) -> Result<Json<AuditEventList>, ApiError> {
    let page = PageParams { limit: params.limit, cursor: params.cursor.clone() }.check()?;
    if !page.after.is_none_or(audit::is_position) {
        return Err(ApiError::field("/cursor", "must be the next_cursor of the page before"));
    }
    let mut filter = params.check()?;
    // Looked up first, so that events stored between the two queries belong to the next answer.
    let until = audit::find_audit_until(&state.pool).await?;
    let Some(end) = until else {
        return Ok(Json(AuditEventList { items: Vec::new(), next_cursor: None, until }));
    };
    filter.to = Some(filter.to.map_or(end, |to| to.min(end)));
    let page = audit::list_audit_events(&state.pool, &filter, page).await?;
    let next_cursor = next_cursor(&page);
    let items = page.items.into_iter().map(AuditEventView::from).collect();
    Ok(Json(AuditEventList { items, next_cursor, until }))
}
