//! Refits that somebody follows: each is looked at by one task, however many streams tell of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::refit::Refit;
use crate::store::refits;

/// How often a refit that is followed is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// A refit as it stands; `None` when it is gone.
pub type Seen = Option<Arc<Refit>>;

/// The refits that are followed; clones are the same.
#[derive(Debug, Clone)]
pub struct RefitWatch {
    pool: PgPool,
    followed: Arc<Mutex<HashMap<Uuid, watch::Sender<Seen>>>>,
}

impl RefitWatch {
    /// None followed.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, followed: Arc::default() }
    }

    /// Follows a refit, which stands like this now or stood so a moment ago. It is looked at until it has ended or
    /// nobody follows it any more.
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

    /// How many refits are looked at.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.lock().len()
    }

    async fn look(self, id: Uuid, sender: watch::Sender<Seen>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            {
                let mut followed = self.lock();
                // Under the lock, so that nobody begins to follow what is given up.
                let is_over =
                    sender.borrow().as_ref().is_none_or(|refit| refit.finished_at.is_some());
                if is_over || sender.receiver_count() == 0 {
                    followed.remove(&id);
                    return;
                }
            }
            // A database that is away may come back; streams end by their callers meanwhile.
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
