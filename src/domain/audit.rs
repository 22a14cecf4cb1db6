//! Who wrote what, and when.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A write that was done, or refused for want of scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// UUIDv7.
    pub id: Uuid,
    /// When the request was let in or refused.
    pub at: DateTime<Utc>,
    /// Id of the key, `anonymous`, or `service`.
    pub actor: String,
    /// Name of the key.
    pub actor_name: Option<String>,
    /// Address of the caller, where known.
    pub address: Option<String>,
    /// The HTTP method.
    pub method: String,
    /// Template of the path.
    pub path: String,
    /// Path of what was created, else the path of the request.
    pub target: String,
    /// Name of the family in the target.
    pub family: Option<String>,
    /// Status of the answer; 499 where there was none.
    pub status: i16,
    /// How often it happened: refusals that are alike are one event, with the time and id of the first.
    pub times: i32,
    /// The request id.
    pub request_id: Option<String>,
}

/// An event as it is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAuditEvent {
    /// When it was stored, by the clock of the database. No two events have the same, and what is stored later has a
    /// later one.
    pub stored_at: DateTime<Utc>,
    /// What happened.
    pub event: AuditEvent,
}

/// Which events a list has.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this actor.
    pub actor: Option<String>,
    /// Of this family.
    pub family: Option<String>,
    /// Stored from this time on.
    pub from: Option<DateTime<Utc>>,
    /// Stored before this time.
    pub to: Option<DateTime<Utc>>,
}
