//! Families that somebody follows: each is looked at by one task, however many streams tell of it.
//!
//! A look costs a few rows. Runs are counted anew only where something says that they may be others, and else now and
//! then: that reads them all. What is announced, and what this process itself writes, leads to a look at once; what is
//! not heard, as behind a pooler that lends connections by transaction, is seen by the next look.

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

/// How often a family that is followed is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// The least time between two looks at families: where many are followed, each is looked at less often.
const SHARE: Duration = Duration::from_millis(10);
/// The least time between two looks at one family, however much happens in it.
const REST: Duration = Duration::from_millis(200);
/// How often runs are counted where nothing says that they are others: a run whose values are sent again is known by
/// counting alone.
const RECOUNT: Duration = Duration::from_secs(10);
/// So many times as long as counting took, runs are not counted again.
const COUNT_REST: u32 = 20;
/// The newest refits that a look finds beside those that wait or run.
const NEWEST: i64 = 20;

/// A family with its refits, as the last look found them.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    /// How it stands.
    pub standing: Standing,
    /// Its refits by their ids, which are in the order in which they were asked for: those that wait or run, and the
    /// newest.
    pub refits: BTreeMap<Uuid, Arc<Refit>>,
}

/// What is known of a family that is followed.
#[derive(Debug, Clone, Default)]
pub enum Seen {
    /// It was not looked at yet.
    #[default]
    NotYet,
    /// It stands like this.
    There(Arc<Followed>),
    /// It was deleted.
    Gone,
}

/// The families that are followed; clones are the same.
#[derive(Debug, Clone)]
pub struct FamilyWatch(Arc<Watching>);

#[derive(Debug)]
struct Watching {
    pool: PgPool,
    replica: Option<Replica>,
    followed: Mutex<HashMap<Uuid, Watched>>,
    /// One look at a time, so that none waits for more than one connection.
    turn: Semaphore,
    looks: AtomicU64,
    counts: AtomicU64,
}

#[derive(Debug, Clone)]
struct Watched {
    name: String,
    seen: watch::Sender<Seen>,
    /// Told that something happened.
    happened: Arc<Notify>,
}

/// What the task that looks at a family remembers between two looks.
#[derive(Debug, Default)]
struct Memory {
    counted: Option<Counted>,
    refits: BTreeMap<Uuid, (RefitGlance, Arc<Refit>)>,
}

/// Runs as they were counted.
#[derive(Debug)]
struct Counted {
    /// What was known of the family.
    by: Glance,
    runs: RunCounts,
    /// When counting began.
    at: Instant,
    took: Duration,
    /// Whether something has said since that they may be others.
    doubted: bool,
}

impl Counted {
    /// Whether they are to be counted again, for how a family is known to stand now.
    fn is_due(&self, now: &Glance) -> bool {
        // Counted since one law they say nothing of another.
        if self.by.active_law != now.active_law {
            return true;
        }
        let rest = self.took.saturating_mul(COUNT_REST);
        self.at.elapsed() >= if self.doubted { rest } else { rest.max(RECOUNT) }
    }
}

impl FamilyWatch {
    /// None followed. What is told of must be seen by reads that this replica of the database answers, where there is
    /// one.
    #[must_use]
    pub fn new(pool: PgPool, replica: Option<Replica>) -> Self {
        let (followed, turn) = (Mutex::default(), Semaphore::new(1));
        let (looks, counts) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Watching { pool, replica, followed, turn, looks, counts }))
    }

    /// Follows a family, given by its id and its name. It was looked at within the last interval, or is now, and is until
    /// it is gone or nobody follows it any more.
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

    /// Follows a family that others follow already, and that was there at the last look: without asking the database,
    /// however many come at once.
    #[must_use]
    pub fn join(&self, name: &str) -> Option<watch::Receiver<Seen>> {
        let followed = self.lock();
        let watched = followed.values().find(|watched| watched.name == name)?;
        let is_there = matches!(*watched.seen.borrow(), Seen::There(_));
        is_there.then(|| watched.seen.subscribe())
    }

    /// Something happened to a family: where it is followed, it is looked at soon.
    pub fn touch(&self, name: &str) {
        for watched in self.lock().values().filter(|watched| watched.name == name) {
            watched.happened.notify_one();
        }
    }

    /// How many families are looked at.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.lock().len()
    }

    /// How often a family was looked at, and how often runs were counted.
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
                // Under the lock, so that nobody begins to follow what is given up.
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
            // A database that is away may come back; streams end by their callers meanwhile.
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
            // Whoever is told of it can also read it.
            if let Some(replica) = &self.0.replica {
                replica.note_written().await;
            }
            watched
                .seen
                .send_replace(found.map_or(Seen::Gone, |found| Seen::There(Arc::new(found))));
        }
    }

    /// How long a family is left alone where nothing happens to it.
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
        // Refits first, so that none is told to have ended before the law that it made is known.
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
                // One that was deleted since the glance had no runs to count: what was counted is not how it stood.
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

    /// The refits of a family: those of which a glance says something new are read.
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
        // One that ran while many others were asked for, and has ended: its end is told once.
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
