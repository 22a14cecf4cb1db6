//! Families that clients follow. One task polls each family, however many streams report it.
//!
//! A poll reads a few rows. Counting runs reads all of them, so they are counted again only when something suggests
//! that they changed, and otherwise now and then. Announcements, and writes of this process, trigger a poll at once; a
//! change that is not announced, as behind a pooler that lends connections per transaction, is found by the next poll.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use sqlx::PgPool;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::domain::refit::Refit;
use crate::domain::standing::{Glance, RefitGlance, RunCounts, Standing};
use crate::live::replica::Replica;
use crate::store::{StoreError, refits, standing};

/// How often a followed family is polled.
const INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two polls of any families: when many are followed, each is polled less often.
const SHARE: Duration = Duration::from_millis(10);
/// Minimum time between two polls of one family, however much happens in it.
const REST: Duration = Duration::from_millis(200);
/// How often runs are counted when nothing suggests that they changed. Only a count notices that stored runs were sent
/// again with other values.
const RECOUNT: Duration = Duration::from_secs(10);
/// Runs are not counted again for this many times as long as counting took.
const COUNT_REST: u32 = 20;
/// Number of the newest refits that a poll reads besides those that are queued or running.
const NEWEST: i64 = 20;

/// A family with its refits, as of the last poll.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    /// State of the family.
    pub standing: Standing,
    /// Refits that are queued or running, and the newest ones. Sorted by id, which is the order in which they were
    /// requested.
    pub refits: BTreeMap<Uuid, Arc<Refit>>,
}

/// What is known of a followed family.
#[derive(Debug, Clone, Default)]
pub enum Seen {
    /// Not polled yet.
    #[default]
    NotYet,
    /// The family in its present state.
    There(Arc<Followed>),
    /// The family was deleted.
    Gone,
}

/// The followed families; clones share their state.
#[derive(Debug, Clone)]
pub struct FamilyWatch(Arc<Watching>);

#[derive(Debug)]
struct Watching {
    pool: PgPool,
    replica: Option<Replica>,
    followed: Mutex<HashMap<Uuid, Watched>>,
    /// Lets one poll run at a time, so that polls never wait for more than one connection.
    turn: Semaphore,
    looks: AtomicU64,
    counts: AtomicU64,
}

#[derive(Debug, Clone)]
struct Watched {
    name: String,
    seen: watch::Sender<Seen>,
    /// Notified when something happened to the family.
    happened: Arc<Notify>,
}

/// State that a family's task keeps between two polls.
#[derive(Debug, Default)]
struct Memory {
    counted: Option<Counted>,
    refits: BTreeMap<Uuid, (RefitGlance, Arc<Refit>)>,
}

/// The result of counting runs.
#[derive(Debug)]
struct Counted {
    /// The family's glance at the time of counting.
    by: Glance,
    runs: RunCounts,
    /// When counting began.
    at: Instant,
    took: Duration,
    /// Whether something has suggested since that runs changed.
    doubted: bool,
}

impl Counted {
    /// Whether the runs must be counted again, given the family's present glance.
    fn is_due(&self, now: &Glance) -> bool {
        // Counts relative to one law say nothing relative to another.
        if self.by.active_law != now.active_law {
            return true;
        }
        let rest = self.took.saturating_mul(COUNT_REST);
        self.at.elapsed() >= if self.doubted { rest } else { rest.max(RECOUNT) }
    }
}

impl FamilyWatch {
    /// Follows no family yet. With a replica, a change is reported only once reads answered by the replica can see it.
    #[must_use]
    pub fn new(pool: PgPool, replica: Option<Replica>) -> Self {
        let (followed, turn) = (Mutex::default(), Semaphore::new(1));
        let (looks, counts) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Watching { pool, replica, followed, turn, looks, counts }))
    }

    /// Follows a family, given by its id and name. The family is polled until it is gone or nobody follows it any more;
    /// the first state was polled within the last interval, or is being polled now.
    #[must_use]
    pub fn follow(&self, id: Uuid, name: &str) -> watch::Receiver<Seen> {
        let mut followed = self.lock();
        if let Some(watched) = followed.get(&id) {
            return watched.seen.subscribe();
        }
        let (seen, receiver) = watch::channel(Seen::NotYet);
        let watched = Watched { name: name.to_owned(), seen, happened: Arc::default() };
        followed.insert(id, watched.clone());
        tokio::spawn(self.clone().watch(id, watched));
        receiver
    }

    /// Follows a family that others follow already and that existed at the last poll. Does not query the database,
    /// however many callers come at once.
    #[must_use]
    pub fn join(&self, name: &str) -> Option<watch::Receiver<Seen>> {
        let followed = self.lock();
        let watched = followed.values().find(|watched| watched.name == name)?;
        let is_there = matches!(*watched.seen.borrow(), Seen::There(_));
        is_there.then(|| watched.seen.subscribe())
    }

    /// Notes that something happened to a family; if it is followed, it is polled soon.
    pub fn touch(&self, name: &str) {
        for watched in self.lock().values().filter(|watched| watched.name == name) {
            watched.happened.notify_one();
        }
    }

    /// Number of families being polled.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.lock().len()
    }

    /// How many polls there were, and how many counts of runs.
    #[must_use]
    pub fn looks(&self) -> (u64, u64) {
        (self.0.looks.load(Ordering::Relaxed), self.0.counts.load(Ordering::Relaxed))
    }

    async fn watch(self, id: Uuid, watched: Watched) {
        let mut memory = Memory::default();
        loop {
            let mut touched = false;
            if !matches!(*watched.seen.borrow(), Seen::NotYet) {
                sleep(REST).await;
                touched = timeout(self.interval(), watched.happened.notified()).await.is_ok();
            }
            {
                let mut followed = self.lock();
                // Removed under the lock, so that nobody can subscribe to a task that is about to end.
                let is_gone = matches!(*watched.seen.borrow(), Seen::Gone);
                if is_gone || watched.seen.receiver_count() == 0 {
                    followed.remove(&id);
                    return;
                }
            }
            let found = {
                let Ok(_turn) = self.0.turn.acquire().await else { return };
                self.look(id, &mut memory, touched).await
            };
            // The database may come back. Meanwhile streams end by their own checks.
            let Ok(found) = found else {
                sleep(INTERVAL).await;
                continue;
            };
            let differs = match (&*watched.seen.borrow(), &found) {
                (Seen::There(last), Some(found)) => **last != *found,
                _ => true,
            };
            if !differs {
                continue;
            }
            // A client that is told of the change must also be able to read it from the replica.
            if let Some(replica) = &self.0.replica {
                replica.note_written().await;
            }
            watched
                .seen
                .send_replace(found.map_or(Seen::Gone, |found| Seen::There(Arc::new(found))));
        }
    }

    /// How long a family is not polled when nothing happens to it.
    fn interval(&self) -> Duration {
        let followed = u32::try_from(self.followed()).unwrap_or(u32::MAX);
        INTERVAL.max(SHARE.saturating_mul(followed)) - REST
    }

    async fn look(
        &self,
        id: Uuid,
        memory: &mut Memory,
        touched: bool,
    ) -> Result<Option<Followed>, StoreError> {
        let pool = &self.0.pool;
        self.0.looks.fetch_add(1, Ordering::Relaxed);
        // Refits are read first, so that no refit is reported as finished before its law is known.
        let refits = self.refits(id, memory).await?;
        let Some(glance) = standing::find_glance(pool, id).await? else { return Ok(None) };
        let counted = memory.counted.as_mut().and_then(|counted| {
            counted.doubted |= touched || counted.by != glance;
            (!counted.is_due(&glance)).then_some(counted.runs)
        });
        let runs = match counted {
            Some(runs) => runs,
            None => {
                let since = glance.active_law.map(|(_, law)| law).zip(glance.refit_began);
                let at = Instant::now();
                self.0.counts.fetch_add(1, Ordering::Relaxed);
                let runs = standing::count_runs(pool, id, since).await?;
                // A family deleted since the glance has no runs left to count, so the count is not of the state that
                // the glance saw.
                if standing::find_glance(pool, id).await?.is_none() {
                    return Ok(None);
                }
                let by = glance.clone();
                memory.counted = Some(Counted { by, runs, at, took: at.elapsed(), doubted: false });
                runs
            }
        };
        Ok(Some(Followed { standing: glance.standing(runs), refits }))
    }

    /// The refits of a family; only those whose glance changed are read in full.
    async fn refits(
        &self,
        family: Uuid,
        memory: &mut Memory,
    ) -> Result<BTreeMap<Uuid, Arc<Refit>>, StoreError> {
        let pool = &self.0.pool;
        let mut found = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for glance in standing::list_refit_glances(pool, family, NEWEST).await? {
            let id = glance.id;
            let known = memory.refits.get(&id).filter(|(last, _)| *last == glance);
            let refit = match known {
                Some((_, refit)) => Some(refit.clone()),
                None => refits::find_refit(pool, id).await?.map(Arc::new),
            };
            if let Some(refit) = refit {
                found.insert(id, refit.clone());
                seen.insert(id, (glance, refit));
            }
        }
        // A refit that was running at the last poll and has since dropped out of the list, because many newer ones were
        // requested: its end is reported once.
        for (id, (_, refit)) in &memory.refits {
            if refit.finished_at.is_none()
                && !seen.contains_key(id)
                && let Some(refit) = refits::find_refit(pool, *id).await?
            {
                found.insert(*id, Arc::new(refit));
            }
        }
        memory.refits = seen;
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Watched>> {
        self.0.followed.lock()
    }
}
