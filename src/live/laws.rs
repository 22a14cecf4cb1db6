//! Laws in memory, so that a question does no database work.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::future::Cache;
use sparsity_law::law::Ensemble;
use sqlx::PgPool;
use uuid::Uuid;

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
    pub fn new(max_bytes: u64, setting: L::Setting) -> Self {
        let bytes = |_: &Key, law: &Arc<L>| u32::try_from(law.bytes()).unwrap_or(u32::MAX);
        let by_id = Cache::builder().max_capacity(max_bytes).weigher(bytes).build();
        Self { setting, by_id, answering: Remembered::default(), lookups: Arc::default() }
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
    }

    /// Begins or stops to remember which laws answer.
    pub(crate) fn follow(&self, followed: bool) {
        self.answering.follow(followed);
    }

    /// The law that answers for a family: a version, or the one that answers now. `None` where there is none.
    ///
    /// # Errors
    /// Where the database has to be asked and does not answer.
    pub async fn find(
        &self,
        pool: &PgPool,
        name: &FamilyName,
        version: Option<i32>,
    ) -> Result<Option<Arc<L>>, StoreError> {
        let remembered =
            self.answering.find(|families| families.get(name)?.laws.get(&version).copied());
        if let Some(answering) = remembered
            && let Some(law) = self.get(pool, &answering).await?
        {
            return Ok(Some(law));
        }
        let generation = self.answering.generation();
        self.lookups.fetch_add(1, Ordering::Relaxed);
        // It may have gone with its family since.
        let Some(answering) = laws::find_answering_law(pool, name, version).await? else {
            return Ok(None);
        };
        let Some(law) = self.get(pool, &answering).await? else { return Ok(None) };
        self.remember(generation, name, version, answering);
        Ok(Some(law))
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

/// Makes room for one more family.
fn make_room(families: &mut HashMap<FamilyName, Answering>) {
    if families.len() >= MOST_FAMILIES {
        families.clear();
    }
}
