//! Uploads that are accepted first and stored later: the request, and its outcome.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sparsity_law::named;
use uuid::Uuid;

use crate::domain::audit::AuditEvent;

named! {
    /// State of an upload.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum UploadState {
        /// Waiting for a process to store it.
        Queued = "queued",
        /// Being stored by a process.
        Running = "running",
        /// Stored.
        Succeeded = "succeeded",
        /// Refused or failed; nothing was stored.
        Failed = "failed",
    }
}

/// The request of an upload, except for its body.
#[derive(Debug, Clone)]
pub struct UploadRequest {
    /// Query string of the request.
    pub query: String,
    /// Media type of the body.
    pub content_type: String,
    /// Compression of the body.
    pub content_encoding: Option<String>,
    /// The caller whose quota of waiting uploads this one counts against.
    pub requested_by: String,
    /// The audit event to log once the upload is stored.
    pub note: Option<AuditEvent>,
}

/// The current state of an upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// UUIDv7 of the upload.
    pub id: Uuid,
    /// State of the upload.
    pub state: UploadState,
    /// Size of the body as received, in bytes.
    pub bytes: i64,
    /// The answer that the request would have got if it had been stored at once; only for a stored upload.
    pub result: Option<Value>,
    /// The problem that the request would have got if it had been tried at once; only for a failed upload.
    pub error: Option<Value>,
    /// When the body had arrived.
    pub created_at: DateTime<Utc>,
    /// When a process last began to store the upload.
    pub started_at: Option<DateTime<Utc>>,
    /// When the upload ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// An upload that this process is storing.
#[derive(Debug, Clone)]
pub struct ClaimedUpload {
    /// Id of the upload.
    pub id: Uuid,
    /// Id of the family that the runs go to.
    pub family_id: Uuid,
    /// The request, except for its body.
    pub request: UploadRequest,
    /// Token that proves the claim.
    pub lease_token: Uuid,
    /// Number of times the upload was claimed, this time included.
    pub attempts: i32,
}

/// How an upload ended.
#[derive(Debug, Clone)]
pub enum UploadOutcome {
    /// The runs were stored, with this answer.
    Succeeded(Value),
    /// Nothing was stored, because of this problem.
    Failed(Value),
}
