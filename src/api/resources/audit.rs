//! `/v1/audit-events`: who wrote what, for administrators; and how it comes to be known.
//!
//! Whoever writes stores a note in the transaction of the write (`layers/noting.rs`), and a task of any process puts the notes
//! into the log, in order (`live/audit.rs`). The guard notes what it refuses for want of scope; refusals have a small queue
//! of this process, and one that is killed takes those of its last moments with it.

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

/// A write that was done, or refused for want of scope.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub struct AuditEventView {
    /// Id of the event.
    id: Uuid,
    /// When the request was let in or refused.
    at: DateTime<Utc>,
    /// When the event was stored, by the clock of the database. The list is in this order, no two events have the same,
    /// and one that is stored later has a later one.
    stored_at: DateTime<Utc>,
    /// Who wrote: the id of a key, `oidc:` and the subject of a token, `anonymous` where no key was asked
    /// for, or `service`.
    #[schema(example = "0197f0c2-a4b0-7c3c-9a52-f6d1e8b4a7c3")]
    actor: String,
    /// Name of the key; null without one.
    #[schema(example = "nightly training")]
    actor_name: Option<String>,
    /// Address of the caller; null where it came over no network.
    #[schema(example = "192.0.2.7")]
    address: Option<String>,
    /// The HTTP method.
    #[schema(example = "POST")]
    method: String,
    /// Template of the path, as in this document.
    #[schema(example = "/v1/families/{family}/runs")]
    path: String,
    /// Path of what was created, else the path of the request.
    #[schema(example = "/v1/families/t5-c4/runs")]
    target: String,
    /// Name of the family in `target`; null where there is none.
    #[schema(example = "t5-c4")]
    family: Option<String>,
    /// Status of the answer: 403 where it was refused. 499 is of an earlier version, which did not know whether it was
    /// done.
    #[schema(example = 200)]
    status: i16,
    /// How often it happened: refusals of one key that are alike and near each other are one event, with the time
    /// and the request id of the first.
    #[schema(example = 1, minimum = 1)]
    times: i32,
    /// The request id, as in the service's log.
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
    /// The last stored first.
    items: Vec<AuditEventView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
    /// The time before which the log is whole: every event that is stored from now on has this or a later `stored_at`.
    /// Who follows the log asks for what is new with this as `from`. Null while the log is empty.
    until: Option<DateTime<Utc>>,
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditParams {
    /// The most items of the page.
    #[serde(default = "PageParams::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u16,
    /// `next_cursor` of the page before.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Only those of this actor.
    actor: Option<String>,
    /// Only those of this family.
    family: Option<String>,
    /// Only those that were stored from this time on.
    from: Option<DateTime<Utc>>,
    /// Only those that were stored before this time. A range that ends no later than `until` of an answer never changes.
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

/// Lists writes that were done, or refused for want of scope, the last stored first. An event is there within
/// about a second of its answer: that of a write that took a minute comes a minute after its `at`, behind those that were
/// stored meanwhile, so that a range that was read once never changes but for events that are deleted when they are old.
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
    // First: what is stored between the two questions belongs to the next answer.
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
