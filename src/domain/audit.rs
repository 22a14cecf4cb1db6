//! The audit log: who wrote what, and when.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A write that was done, or that was refused because the caller's scope or families do not allow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// UUIDv7 of the event.
    pub id: Uuid,
    /// When the request was accepted or refused.
    pub at: DateTime<Utc>,
    /// Id of the caller's key, `anonymous`, or `service`.
    pub actor: String,
    /// Name of the caller's key.
    pub actor_name: Option<String>,
    /// Address of the caller, if known.
    pub address: Option<String>,
    /// HTTP method.
    pub method: String,
    /// Path template of the route.
    pub path: String,
    /// Path of the resource that was created, otherwise the path of the request.
    pub target: String,
    /// Name of the family in the target.
    pub family: Option<String>,
    /// HTTP status of the answer; 403 for a refusal. 499 until the outcome is known, and in events from earlier
    /// versions that did not know it.
    pub status: i16,
    /// Number of occurrences: similar refusals are merged into one event, with the time and id of the first.
    pub times: i32,
    /// Id of the request.
    pub request_id: Option<String>,
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAuditEvent {
    /// When the event was stored, by the clock of the database. The time is unique, and later events have later times.
    pub stored_at: DateTime<Utc>,
    /// The event itself.
    pub event: AuditEvent,
}

/// Filter for a list of events; `None` does not restrict anything.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Actor of the event.
    pub actor: Option<String>,
    /// Family of the event.
    pub family: Option<String>,
    /// Earliest time of storing, included.
    pub from: Option<DateTime<Utc>>,
    /// Latest time of storing, excluded.
    pub to: Option<DateTime<Utc>>,
}
