//! An upload that is answered before it is stored: what was sent, and what became of it.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sparsity_law::named;
use uuid::Uuid;

use crate::domain::audit::AuditEvent;

named! {
    /// Where an upload is in its life.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum UploadState {
        /// Waiting for a process that stores it.
        Queued = "queued",
        /// A process is at it.
        Running = "running",
        /// It is stored.
        Succeeded = "succeeded",
        /// Nothing of it is stored.
        Failed = "failed",
    }
}

/// What was sent, but for the bytes.
#[derive(Debug, Clone)]
pub struct UploadRequest {
    /// Query of the request.
    pub query: String,
    /// Media type of the body.
    pub content_type: String,
    /// How it is compressed.
    pub content_encoding: Option<String>,
    /// Whose places it takes.
    pub requested_by: String,
    /// What the audit log says of it when it is stored.
    pub note: Option<AuditEvent>,
}

/// An upload as it stands.
#[derive(Debug, Clone)]
pub struct Upload {
    /// UUIDv7.
    pub id: Uuid,
    /// Where it is in its life.
    pub state: UploadState,
    /// Size of the body as it was sent.
    pub bytes: i64,
    /// What the answer would have been, where it is stored.
    pub result: Option<Value>,
    /// The problem that the answer would have been, where it is not.
    pub error: Option<Value>,
    /// When its body had arrived.
    pub created_at: DateTime<Utc>,
    /// When a process last began to store it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// An upload that this process stores.
#[derive(Debug, Clone)]
pub struct ClaimedUpload {
    /// Which one.
    pub id: Uuid,
    /// The family that the runs go to.
    pub family_id: Uuid,
    /// What was sent.
    pub request: UploadRequest,
    /// Proves that the claim is this one.
    pub lease_token: Uuid,
    /// How often it was claimed, this time included.
    pub attempts: i32,
}

/// How an upload ended.
#[derive(Debug, Clone)]
pub enum UploadOutcome {
    /// Its runs are stored, with this answer.
    Succeeded(Value),
    /// Nothing is stored, for this problem.
    Failed(Value),
}
