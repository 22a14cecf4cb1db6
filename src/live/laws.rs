//! Laws in memory, so that a question does no database work.

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

/// What is kept of a law: whatever is the same in every answer by it.
pub trait KeptLaw: Send + Sync + 'static {
    /// What it is made with beside the law: the same for all laws of a process.
    type Setting: Clone + Send + Sync;

    /// Of a law, the laws of its resampled runs, where it has any, and how its forecasts came out.
    fn new(
        law: Law,
        ensemble: Option<Ensemble>,
        forecasts: ForecastRecord,
        setting: &Self::Setting,
    ) -> Self;

    /// About how many bytes it takes at most.
    fn bytes(&self) -> usize;
}

/// Laws in memory.
///
/// By id they never change, but for what is said of their forecasts. Which of them answers for a family does: that is remembered only while
/// the database's announcements are followed ([`crate::live::announcements`]), and forgotten when one names
/// the family or the connection is lost. What is remembered is the id and the count of forecasts: only the cache itself holds laws, so that
/// its limit is one.
pub struct LawCache<L: KeptLaw> {
    setting: L::Setting,
    by_id: Cache<Key, Arc<L>>,
    answering: Remembered<FamilyName, Answering>,
    /// Which laws answered last, and when that was known, for when the database is away.
    last: Arc<Mutex<Known>>,
    /// Whether the database was away when it was last asked.
    away: Arc<AtomicBool>,
    clock: Arc<Clock>,
    /// How often the database was asked which law answers.
    lookups: Arc<AtomicU64>,
}

/// A law with as much of its forecasts as answers by it depend on.
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

/// A family, and the version that is asked for; none asks for the one that answers now.
type Asked = (FamilyName, Option<i32>);

/// Which law answered last, and when that was known.
type Known = HashMap<Asked, (AnsweringLaw, DateTime<Utc>)>;

/// A law that answers.
#[derive(Debug)]
pub struct Found<L> {
    /// The law.
    pub law: Arc<L>,
    /// Where the database does not say which law answers now: when this one did.
    pub as_of: Option<DateTime<Utc>>,
}

/// Which laws answer for a family.
#[derive(Debug, Default)]
struct Answering {
    /// By the version that is asked for; none asks for the one that answers now.
    laws: HashMap<Option<i32>, AnsweringLaw>,
    /// The newest version that callers of this process have been told of.
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

/// Families that are remembered at most; past that all are forgotten.
const MOST_FAMILIES: usize = 10_000;
/// Versions of one family that are remembered at most; past that all of them are forgotten.
const MOST_VERSIONS: usize = 100;

impl<L: KeptLaw> LawCache<L> {
    /// A cache of about so many bytes.
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

    /// What laws are made with.
    #[must_use]
    pub const fn setting(&self) -> &L::Setting {
        &self.setting
    }

    /// Whether announcements are followed.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.answering.is_followed()
    }

    /// How often the database was asked which law answers for a family.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    /// How many laws are in memory, and about how many bytes they take.
    pub async fn size(&self) -> (u64, u64) {
        // What was put in or pushed out lately is not counted before.
        self.by_id.run_pending_tasks().await;
        (self.by_id.entry_count(), self.by_id.weighted_size())
    }

    /// A caller is about to be told of this version of a family's law, and must get its answers from then on,
    /// also where the announcement comes later.
    pub fn tell(&self, family: &FamilyName, version: i32) {
        let is_told = |families: &HashMap<FamilyName, Answering>| {
            families.get(family).is_some_and(|answering| answering.told >= version)
        };
        if self.answering.find(|families| is_told(families).then_some(())).is_some() {
            return;
        }
        // Whoever was told of another must not get what answered before.
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

    /// Forgets which laws answer for a family.
    pub fn forget(&self, family: &str) {
        self.answering.forget(|name| name.as_str() == family);
        self.last().retain(|(name, _), _| name.as_str() != family);
    }

    /// Begins or stops to remember which laws answer.
    pub(crate) fn follow(&self, followed: bool) {
        if !followed {
            // What was announced until now was heard.
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

    /// The law that answers for a family: a version, or the one that answers now. `None` where there is none. Where the
    /// database has to be asked and does not answer, the law that answered last, if it is in memory.
    ///
    /// # Errors
    /// Where the database has to be asked and does not answer, and no law is known.
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
        // Once it is known to be away nobody waits for as long as a connection may take.
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

    /// Asks the database.
    async fn look_up(
        &self,
        pool: &PgPool,
        (name, version): Asked,
    ) -> Result<Option<Found<L>>, StoreError> {
        let now = self.clock.now();
        let generation = self.answering.generation();
        self.lookups.fetch_add(1, Ordering::Relaxed);
        // It may have gone with its family since.
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

    /// A law of a family as a question for its version finds it, for one that asks many laws once each: from memory where
    /// it is there, and otherwise made for this question alone, so that laws which are asked again stay where they are.
    ///
    /// # Errors
    /// Where its resamples have to be read, and the database does not answer.
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

/// How long a database that was away may take to say which law answers, where one is known that did.
const PATIENCE: Duration = Duration::from_millis(250);

/// Makes room for one more family.
fn make_room(families: &mut HashMap<FamilyName, Answering>) {
    if families.len() >= MOST_FAMILIES {
        families.clear();
    }
}
