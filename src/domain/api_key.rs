//! API keys as they are stored.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::access::{Families, Scope};

/// The most keys that are valid at once: every service keeps them all in memory.
pub const MOST_KEYS: i64 = 10_000;

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// UUIDv7; the public part of the key.
    pub id: Uuid,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// What it may touch.
    pub families: Families,
    /// Who created it: `cli`, the id of a key, or `oidc:` and the subject of a token.
    pub created_by: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, as of the last report of the services.
    pub last_used_at: Option<DateTime<Utc>>,
}
