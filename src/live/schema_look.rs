//! Whether the database can be used, and whether refits can be claimed, looked at once for all who ask at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::store::refits::find_claimable;
use crate::store::{self, Schema, StoreError};

/// How long a look is good for. Whoever asks more often, or many at once, gets the same answer: nobody needs a key
/// to ask, and each look takes a connection.
const GOOD_FOR: Duration = Duration::from_millis(250);

/// What was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// How the schema stands.
    pub schema: Schema,
    /// Whether a worker could claim a refit, if one waited.
    pub claims_refits: bool,
}

/// A look that was taken.
type Looked = Result<Seen, Arc<StoreError>>;

/// The last look; clones are the same.
#[derive(Debug, Clone)]
pub struct SchemaLook {
    pool: PgPool,
    last: Arc<Mutex<Option<(Instant, Looked)>>>,
    looks: Arc<AtomicU64>,
}

impl SchemaLook {
    /// Nothing looked at yet.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, last: Arc::default(), looks: Arc::default() }
    }

    /// How the schema stands, by a look of the last moment. Who asks while it is being looked waits for that.
    ///
    /// # Errors
    /// Where the database did not answer.
    pub async fn look(&self) -> Looked {
        let mut last = self.last.lock().await;
        if let Some((at, looked)) = &*last
            && at.elapsed() < GOOD_FOR
        {
            return looked.clone();
        }
        self.looks.fetch_add(1, Ordering::Relaxed);
        let looked = self.see().await.map_err(Arc::new);
        // From its end on: a look that took long is no older for that.
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

    /// How often the database was asked.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }
}
