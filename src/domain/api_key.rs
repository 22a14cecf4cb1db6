//! API keys as stored.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::access::{Families, Scope};

/// Maximum number of keys that can be valid at once, because every process of the service keeps them all in memory.
pub const MOST_KEYS: i64 = 10_000;

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// UUIDv7 of the key, its public part.
    pub id: Uuid,
    /// A name for people to read.
    pub name: String,
    /// What the key allows.
    pub scope: Scope,
    /// The families that the key gives access to.
    pub families: Families,
    /// Creator: `cli`, the id of a key, or `oidc:` and the subject of a token.
    pub created_by: String,
    /// When the key was created.
    pub created_at: DateTime<Utc>,
    /// The time from which the key is refused; `None` if it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the key was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When the key was last used, as far as the processes of the service have reported.
    pub last_used_at: Option<DateTime<Utc>>,
}
