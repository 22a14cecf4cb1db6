//! `/v1/audit-events`: who wrote what, for administrators; and how it comes to be known.
//!
//! The guard notes every write that was done or refused for want of scope, after its answer is there.
//! The notes wait in a queue of this process for a task that stores them in batches. So no request
//! waits for its note, and a process that is killed takes those of its last moments with it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::extract::{PageParams, Query, next_cursor};
use super::problem::ApiError;
use super::{AppState, TAG_ACCESS};
use crate::checks::Checks;
use crate::clock::Clock;
use crate::store::audit::{self, AuditEvent, AuditFilter};
use crate::text::{FamilyName, check_label};

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_audit_events))
}

/// Notes that wait to be stored, at most; more are lost, and the log says so.
const QUEUE: usize = 8_192;
/// Notes that are stored by one statement.
const BATCH: usize = 500;
/// Old events that are deleted by one statement.
const DELETED_AT_ONCE: i64 = 1_000;
/// Time between two attempts to store notes.
const RETRY: Duration = Duration::from_secs(1);
/// Time between two looks for old events.
const CLEANING_INTERVAL: Duration = Duration::from_secs(3600);

/// Where notes are left.
#[derive(Debug, Clone)]
pub struct AuditLog(mpsc::Sender<AuditEvent>);

impl AuditLog {
    /// A log, and who stores what is left in it. Events are deleted when they are older than so many
    /// days; with `None` never.
    #[must_use]
    pub fn new(
        pool: PgPool,
        clock: Arc<Clock>,
        retention_days: Option<u32>,
    ) -> (Self, AuditWriter) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self(sender), AuditWriter { pool, clock, queue, retention_days })
    }

    /// Leaves a note.
    pub(super) fn note(&self, event: AuditEvent) {
        if let Err(error) = self.0.try_send(event) {
            let (mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event)) =
                error;
            let AuditEvent { actor, method, target, status, .. } = event;
            tracing::warn!(actor, method, target, status, "an event of the audit log is lost");
        }
    }
}

/// Stores what is left in an [`AuditLog`].
#[derive(Debug)]
pub struct AuditWriter {
    pool: PgPool,
    clock: Arc<Clock>,
    queue: mpsc::Receiver<AuditEvent>,
    retention_days: Option<u32>,
}

impl AuditWriter {
    /// Works until it is told to stop, and then stores what is still there.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut cleaning = tokio::time::interval(CLEANING_INTERVAL);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                received = self.queue.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        // Nobody is left who could leave a note.
                        return;
                    }
                }
                _ = cleaning.tick() => {
                    if self.clean().await {
                        // New notes come first.
                        cleaning.reset_immediately();
                    }
                }
                () = stop.cancelled() => break,
            }
            while !batch.is_empty() && !self.store(&mut batch).await {
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
        loop {
            while batch.len() < BATCH
                && let Ok(event) = self.queue.try_recv()
            {
                batch.push(event);
            }
            if batch.is_empty() {
                return;
            }
            if !self.store(&mut batch).await {
                tracing::warn!(
                    events = batch.len() + self.queue.len(),
                    "the end of the audit log is lost"
                );
                return;
            }
        }
    }

    /// Stores a batch, which is empty afterwards; `false` where it may work later.
    async fn store(&self, batch: &mut Vec<AuditEvent>) -> bool {
        match audit::insert_audit_events(&self.pool, batch).await {
            Ok(()) => {}
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "storing the audit log");
                return false;
            }
            // It would not work later either, and others wait behind it.
            Err(error) => {
                tracing::error!(%error, events = batch.len(), "events of the audit log are lost");
            }
        }
        batch.clear();
        true
    }

    /// Deletes some of the events that are too old; whether there may be more.
    async fn clean(&self) -> bool {
        let Some(days) = self.retention_days else { return false };
        let before = self.clock.now() - TimeDelta::days(days.into());
        match audit::delete_audit_events(&self.pool, before, DELETED_AT_ONCE).await {
            Ok(deleted) => deleted > 0,
            Err(error) => {
                tracing::warn!(%error, "deleting old events of the audit log");
                false
            }
        }
    }
}

/// A write that was done, or refused for want of scope.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub struct AuditEventView {
    /// Id of the event.
    id: Uuid,
    /// When the request was let in or refused.
    at: DateTime<Utc>,
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
    /// Status of the answer: 403 where it was refused, 499 where it is not known whether it was done, as
    /// the caller left or the time was over before there was an answer.
    #[schema(example = 200)]
    status: i16,
    /// The request id, as in the service's log.
    request_id: Option<String>,
}

impl From<AuditEvent> for AuditEventView {
    fn from(event: AuditEvent) -> Self {
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
            request_id,
        } = event;
        Self {
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
            request_id,
        }
    }
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEventList {
    /// Newest first.
    items: Vec<AuditEventView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
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
    /// Only those from this time on.
    from: Option<DateTime<Utc>>,
    /// Only those before this time.
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

/// Lists writes that were done, or refused for want of scope, newest first. An event is there within
/// about a second.
#[utoipa::path(
    get, path = "/v1/audit-events", tag = TAG_ACCESS, params(AuditParams),
    responses((status = OK, description = "A page of the audit log", body = AuditEventList)),
)]
async fn list_audit_events(
    State(state): State<AppState>,
    Query(params): Query<AuditParams>,
) -> Result<Json<AuditEventList>, ApiError> {
    let page = PageParams { limit: params.limit, cursor: params.cursor.clone() }.check()?;
    let page = audit::list_audit_events(&state.pool, &params.check()?, page).await?;
    let next_cursor = next_cursor(&page);
    let items = page.items.into_iter().map(AuditEventView::from).collect();
    Ok(Json(AuditEventList { items, next_cursor }))
}
