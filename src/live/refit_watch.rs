//! Refits that clients follow. One task polls each refit, however many streams report it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::refit::Refit;
use crate::store::refits;

/// How often a followed refit is polled.
const INTERVAL: Duration = Duration::from_millis(200);

/// The present state of a refit; `None` once it is gone.
pub type Seen = Option<Arc<Refit>>;

/// The followed refits; clones share their state.
#[derive(Debug, Clone)]
pub struct RefitWatch {
    pool: PgPool,
    followed: Arc<Mutex<HashMap<Uuid, watch::Sender<Seen>>>>,
}

impl RefitWatch {
    /// Follows no refit yet.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, followed: Arc::default() }
    }

    /// Follows a refit, of which the caller has just read this state. The refit is polled until it has ended or nobody
    /// follows it any more.
    #[must_use]
    pub fn follow(&self, refit: Refit) -> watch::Receiver<Seen> {
        let id = refit.id;
        let mut followed = self.lock();
        if let Some(sender) = followed.get(&id) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(Some(Arc::new(refit)));
        followed.insert(id, sender.clone());
        tokio::spawn(self.clone().look(id, sender));
        receiver
    }

    /// Number of refits being polled.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.lock().len()
    }

    async fn look(self, id: Uuid, sender: watch::Sender<Seen>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            {
                let mut followed = self.lock();
                // Removed under the lock, so that nobody can subscribe to a task that is about to end.
                let is_over =
                    sender.borrow().as_ref().is_none_or(|refit| refit.finished_at.is_some());
                if is_over || sender.receiver_count() == 0 {
                    followed.remove(&id);
                    return;
                }
            }
            // The database may come back. Meanwhile streams end by their own checks.
            let Ok(refit) = refits::find_refit(&self.pool, id).await else { continue };
            let seen = refit.map(Arc::new);
            sender.send_if_modified(|last| {
                let differs = *last != seen;
                if differs {
                    *last = seen;
                }
                differs
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<Seen>>> {
        self.followed.lock()
    }
}
