//! Checks whether the database is usable and whether refits can be claimed, with one check for all concurrent callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::store::refits::find_claimable;
use crate::store::{self, Schema, StoreError};

/// How long the result of a check is reused. More frequent or concurrent callers get the same result: asking needs no
/// key, and each check takes a connection.
const GOOD_FOR: Duration = Duration::from_millis(250);

/// Result of a check.
#[derive(Debug, Clone)]
pub struct Seen {
    /// State of the schema.
    pub schema: Schema,
    /// Whether a worker could claim a refit if one were queued.
    pub claims_refits: bool,
}

/// The outcome of a check.
type Looked = Result<Seen, Arc<StoreError>>;

/// The last check; clones share it.
#[derive(Debug, Clone)]
pub struct SchemaLook {
    pool: PgPool,
    last: Arc<Mutex<Option<(Instant, Looked)>>>,
    looks: Arc<AtomicU64>,
}

impl SchemaLook {
    /// No check has been made yet.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, last: Arc::default(), looks: Arc::default() }
    }

    /// The state of the database, checked within the last moment. Concurrent callers wait for the same check.
    ///
    /// # Errors
    /// If the database did not answer.
    pub async fn look(&self) -> Looked {
        let mut last = self.last.lock().await;
        if let Some((at, looked)) = &*last
            && at.elapsed() < GOOD_FOR
        {
            return looked.clone();
        }
        self.looks.fetch_add(1, Ordering::Relaxed);
        let looked = self.see().await.map_err(Arc::new);
        // Timed from its end, so that a slow check is not outdated at once.
        *last = Some((Instant::now(), looked.clone()));
        looked
    }

    async fn see(&self) -> Result<Seen, StoreError> {
        let schema = store::find_schema(&self.pool).await?;
        let claims_refits = match find_claimable(&self.pool).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "no refit can be claimed");
                false
            }
        };
        Ok(Seen { schema, claims_refits })
    }

    /// How often the database was checked.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }
}
