//! Cache of laws, so that a question needs no database access.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use moka::future::Cache;
use parking_lot::{Mutex, MutexGuard};
use sparsity_law::law::Ensemble;
use sqlx::PgPool;
use uuid::Uuid;

use crate::clock::Clock;
use crate::domain::calibration::ForecastRecord;
use crate::domain::law::{AnsweringLaw, Law};
use crate::domain::text::FamilyName;
use crate::live::remembered::Remembered;
use crate::store::{StoreError, law_evidence, laws};

/// What is cached of a law: whatever is the same for all answers by it.
pub trait KeptLaw: Send + Sync + 'static {
    /// What is needed besides the law to build it; the same for all laws of a process.
    type Setting: Clone + Send + Sync;

    /// Builds it from a law, its resampled laws if it has any, and the outcomes of its forecasts.
    fn new(
        law: Law,
        ensemble: Option<Ensemble>,
        forecasts: ForecastRecord,
        setting: &Self::Setting,
    ) -> Self;

    /// Upper estimate of its size in memory, in bytes.
    fn bytes(&self) -> usize;
}

/// The laws in memory.
///
/// A law never changes under its id, except for the outcomes of its forecasts. Which law answers for a family does
/// change: this is cached only while the database's announcements are followed ([`crate::live::announcements`]), and
/// dropped when one names the family or the connection is lost. That second cache holds ids and counts of forecasts
/// only, not laws, so the size limit of the first one bounds the memory of all laws.
pub struct LawCache<L: KeptLaw> {
    setting: L::Setting,
    by_id: Cache<Key, Arc<L>>,
    answering: Remembered<FamilyName, Answering>,
    /// Which law answered each request last, and when that was known: used while the database is unreachable.
    last: Arc<Mutex<Known>>,
    /// Whether the database was unreachable at the last attempt.
    away: Arc<AtomicBool>,
    clock: Arc<Clock>,
    /// Number of database lookups of which law answers.
    lookups: Arc<AtomicU64>,
}

/// A law together with what its answers depend on of its forecasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    id: Uuid,
    scored: i64,
    inside: i64,
}

impl From<&AnsweringLaw> for Key {
    fn from(AnsweringLaw { id, forecasts }: &AnsweringLaw) -> Self {
        Self { id: *id, scored: forecasts.scored, inside: forecasts.inside }
    }
}

/// A family and the requested version; `None` requests the law that answers now.
type Asked = (FamilyName, Option<i32>);

/// Which law answered last, and when that was known.
type Known = HashMap<Asked, (AnsweringLaw, DateTime<Utc>)>;

/// The law that answers a question.
#[derive(Debug)]
pub struct Found<L> {
    /// The law.
    pub law: Arc<L>,
    /// Set if the database cannot say which law answers now: the time at which this one was known to.
    pub as_of: Option<DateTime<Utc>>,
}

/// Which laws answer for a family.
#[derive(Debug, Default)]
struct Answering {
    /// Keyed by the requested version; `None` is the law that answers now.
    laws: HashMap<Option<i32>, AnsweringLaw>,
    /// Newest version that callers of this process have been told of.
    told: i32,
}

impl<L: KeptLaw> Clone for LawCache<L> {
    fn clone(&self) -> Self {
        Self {
            setting: self.setting.clone(),
            by_id: self.by_id.clone(),
            answering: self.answering.clone(),
            last: self.last.clone(),
            away: self.away.clone(),
            clock: self.clock.clone(),
            lookups: self.lookups.clone(),
        }
    }
}

impl<L: KeptLaw> std::fmt::Debug for LawCache<L> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LawCache").field("laws", &self.by_id.entry_count()).finish()
    }
}

/// Largest number of cached families; when it is exceeded, all are dropped.
const MOST_FAMILIES: usize = 10_000;
/// Largest number of cached versions of one family; when it is exceeded, all of them are dropped.
const MOST_VERSIONS: usize = 100;

impl<L: KeptLaw> LawCache<L> {
    /// A cache that holds up to about `max_bytes` bytes of laws.
    #[must_use]
    pub fn new(max_bytes: u64, setting: L::Setting, clock: Arc<Clock>) -> Self {
        let bytes = |_: &Key, law: &Arc<L>| u32::try_from(law.bytes()).unwrap_or(u32::MAX);
        let by_id = Cache::builder().max_capacity(max_bytes).weigher(bytes).build();
        Self {
            setting,
            by_id,
            answering: Remembered::default(),
            last: Arc::default(),
            away: Arc::default(),
            clock,
            lookups: Arc::default(),
        }
    }

    /// The setting with which laws are built.
    #[must_use]
    pub const fn setting(&self) -> &L::Setting {
        &self.setting
    }

    /// Whether announcements are followed.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.answering.is_followed()
    }

    /// Number of database lookups of which law answers for a family.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    /// Number of laws in memory, and their approximate size in bytes.
    pub async fn size(&self) -> (u64, u64) {
        // Recent inserts and evictions are counted only after this.
        self.by_id.run_pending_tasks().await;
        (self.by_id.entry_count(), self.by_id.weighted_size())
    }

    /// Notes that a caller is about to be told of this version of a family's law. From then on the family's answers
    /// must come from it, even if the announcement arrives later.
    pub fn tell(&self, family: &FamilyName, version: i32) {
        let is_told = |families: &HashMap<FamilyName, Answering>| {
            families.get(family).is_some_and(|answering| answering.told >= version)
        };
        if self.answering.find(|families| is_told(families).then_some(())).is_some() {
            return;
        }
        // A caller that was told of a newer law must not get answers from the previous one.
        self.last().remove(&(family.clone(), None));
        self.answering.change(|families| {
            if is_told(families) {
                return false;
            }
            make_room(families);
            families.insert(family.clone(), Answering { laws: HashMap::new(), told: version });
            true
        });
    }

    /// Drops what is cached about which laws answer for a family.
    pub fn forget(&self, family: &str) {
        self.answering.forget(|name| name.as_str() == family);
        self.last().retain(|(name, _), _| name.as_str() != family);
    }

    /// Starts or stops caching which laws answer.
    pub(crate) fn follow(&self, followed: bool) {
        if !followed {
            // Every announcement up to now has been received, so what is cached is known to be right as of now.
            let now = self.clock.now();
            let known = self.answering.find(|families| {
                let of = families.iter().flat_map(|(name, answering)| {
                    answering
                        .laws
                        .iter()
                        .map(|(version, id)| ((name.clone(), *version), (*id, now)))
                });
                Some(of.collect::<Vec<_>>())
            });
            self.last().extend(known.unwrap_or_default());
        }
        self.answering.follow(followed);
    }

    fn last(&self) -> MutexGuard<'_, Known> {
        self.last.lock()
    }

    /// Finds the law that answers for a family: the given version, or the one that answers now. Returns `None` if there
    /// is none. If the database must be queried and does not answer, the law that answered last is returned, provided
    /// it is in memory.
    ///
    /// # Errors
    /// If the database must be queried and does not answer, and no such law is known.
    pub async fn find(
        &self,
        pool: &PgPool,
        name: &FamilyName,
        version: Option<i32>,
    ) -> Result<Option<Found<L>>, StoreError> {
        let remembered =
            self.answering.find(|families| families.get(name)?.laws.get(&version).copied());
        if let Some(answering) = remembered
            && let Some(law) = self.get(pool, &answering).await?
        {
            return Ok(Some(Found { law, as_of: None }));
        }
        let asked = (name.clone(), version);
        let last = self.last().get(&asked).copied();
        let Some((answering, as_of)) = last else { return self.look_up(pool, asked).await };
        let Some(law) = self.by_id.get(&Key::from(&answering)).await else {
            return self.look_up(pool, asked).await;
        };
        // Once the database is known to be unreachable, callers do not wait for as long as connecting may take.
        let patience = if self.away.load(Ordering::Relaxed) { PATIENCE } else { Duration::MAX };
        match tokio::time::timeout(patience, self.look_up(pool, asked)).await {
            Ok(Err(error)) if error.is_unavailable() => {}
            Ok(looked) => {
                self.away.store(false, Ordering::Relaxed);
                return looked;
            }
            Err(_) => {}
        }
        self.away.store(true, Ordering::Relaxed);
        Ok(Some(Found { law, as_of: Some(as_of) }))
    }

    /// Looks the law up in the database.
    async fn look_up(
        &self,
        pool: &PgPool,
        (name, version): Asked,
    ) -> Result<Option<Found<L>>, StoreError> {
        let now = self.clock.now();
        let generation = self.answering.generation();
        self.lookups.fetch_add(1, Ordering::Relaxed);
        // A law that answered before may have been deleted with its family.
        let Some(answering) = laws::find_answering_law(pool, &name, version).await? else {
            self.last().remove(&(name, version));
            return Ok(None);
        };
        let Some(law) = self.get(pool, &answering).await? else { return Ok(None) };
        self.remember(generation, &name, version, answering);
        let mut last = self.last();
        if last.len() >= MOST_FAMILIES {
            last.clear();
        }
        last.insert((name, version), (answering, now));
        Ok(Some(Found { law, as_of: None }))
    }

    fn remember(
        &self,
        generation: u64,
        name: &FamilyName,
        version: Option<i32>,
        law: AnsweringLaw,
    ) {
        self.answering.remember(generation, |families| {
            make_room(families);
            let versions = &mut families.entry(name.clone()).or_default().laws;
            if versions.len() >= MOST_VERSIONS {
                versions.clear();
            }
            versions.insert(version, law);
        });
    }

    /// Gives the cached form of a law as a question for its version would use it. For callers that use many laws once
    /// each: taken from memory if it is there, and otherwise built without being cached, so that it does not evict laws
    /// in regular use.
    ///
    /// # Errors
    /// If its resamples must be read and the database does not answer.
    pub async fn once(&self, pool: &PgPool, law: Law) -> Result<Arc<L>, StoreError> {
        let answering = AnsweringLaw { id: law.id, forecasts: ForecastRecord::default() };
        if let Some(known) = self.by_id.get(&Key::from(&answering)).await {
            return Ok(known);
        }
        let ensemble = law_evidence::find_law_resamples(pool, law.id).await?;
        Ok(Arc::new(L::new(law, ensemble, answering.forecasts, &self.setting)))
    }

    async fn get(
        &self,
        pool: &PgPool,
        answering: &AnsweringLaw,
    ) -> Result<Option<Arc<L>>, StoreError> {
        let (key, id) = (Key::from(answering), answering.id);
        if let Some(known) = self.by_id.get(&key).await {
            return Ok(Some(known));
        }
        let Some(law) = laws::find_law_by_id(pool, id).await? else { return Ok(None) };
        let ensemble = law_evidence::find_law_resamples(pool, id).await?;
        let law = Arc::new(L::new(law, ensemble, answering.forecasts, &self.setting));
        self.by_id.insert(key, law.clone()).await;
        Ok(Some(law))
    }
}

/// How long a database that was unreachable may take to say which law answers, if an earlier answer is known.
const PATIENCE: Duration = Duration::from_millis(250);

/// Makes room for one more family.
fn make_room(families: &mut HashMap<FamilyName, Answering>) {
    if families.len() >= MOST_FAMILIES {
        families.clear();
    }
}
