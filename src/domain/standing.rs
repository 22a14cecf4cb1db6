//! The state of a family, as reported to those who follow it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::text::FamilyName;

/// The state of a family, apart from its refits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Name of the family.
    pub family: FamilyName,
    /// When the settings of the family last changed.
    pub updated_at: DateTime<Utc>,
    /// Version and id of the law that answers questions; `None` if there is none.
    pub active_law: Option<(i32, Uuid)>,
    /// Whether that law is pinned.
    pub pinned: bool,
    /// Newest version of any law, what-ifs included; `None` if there is none.
    pub newest_law: Option<i32>,
    /// Numbers of the family's runs.
    pub runs: RunCounts,
}

/// How many runs a family has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// All runs.
    pub all: i64,
    /// Runs that a refit would use: all that are not excluded.
    pub used: i64,
    /// Changes since the answering law was fitted; `None` if it was not fitted by this service.
    pub since_law: Option<SinceLaw>,
}

/// How a family's runs have changed since a law read them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinceLaw {
    /// Runs that a refit would use and that were added or included again since.
    pub added: i64,
    /// Runs of the law whose measurements have changed since.
    pub changed: i64,
    /// Runs of the law that were deleted or excluded since.
    pub removed: i64,
}

/// The state of a family as far as a cheap query tells; if it has changed, the rest is queried as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Name of the family.
    pub family: FamilyName,
    /// When the settings of the family last changed.
    pub updated_at: DateTime<Utc>,
    /// Version and id of the law that answers questions; `None` if there is none.
    pub active_law: Option<(i32, Uuid)>,
    /// Whether that law is pinned.
    pub pinned: bool,
    /// Newest version of any law; `None` if there is none.
    pub newest_law: Option<i32>,
    /// When the refit that made the answering law began; `None` if the law was not fitted by this service.
    pub refit_began: Option<DateTime<Utc>>,
    /// Id of the run that arrived last; `None` if there is none.
    pub newest_run: Option<Uuid>,
}

impl Glance {
    /// Completes the state with the numbers of runs.
    #[must_use]
    pub fn standing(self, runs: RunCounts) -> Standing {
        let Self { family, updated_at, active_law, pinned, newest_law, .. } = self;
        Standing { family, updated_at, active_law, pinned, newest_law, runs }
    }
}

/// The progress of a refit, as reported with its family.
#[derive(Debug, Clone, PartialEq)]
pub struct RefitGlance {
    /// Id of the refit.
    pub id: Uuid,
    /// State of the refit, by name.
    pub state: String,
    /// The step that the refit is at.
    pub phase: String,
    /// Share of the work that is done, from 0 to 1.
    pub progress: f64,
}
