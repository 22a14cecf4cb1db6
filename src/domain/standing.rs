//! How a family stands: what those who follow it are told of.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::text::FamilyName;

/// How a family stands, but for its refits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub family: FamilyName,
    /// When its settings last changed.
    pub updated_at: DateTime<Utc>,
    /// Version and id of the law that answers; `None` where there is none.
    pub active_law: Option<(i32, Uuid)>,
    /// Whether that law is pinned.
    pub pinned: bool,
    /// The newest version of a law, a what-if or not; `None` where there is none.
    pub newest_law: Option<i32>,
    /// Its runs.
    pub runs: RunCounts,
}

/// How many runs a family has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// All of them.
    pub all: i64,
    /// Those that a refit would use: all that are not excluded.
    pub used: i64,
    /// What became of them since the law that answers was fitted; `None` where it was not fitted here.
    pub since_law: Option<SinceLaw>,
}

/// What became of a family's runs since a law read them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinceLaw {
    /// Runs that a refit would use, and that came, or were taken in again, since.
    pub added: i64,
    /// Runs of the law that are measured otherwise now.
    pub changed: i64,
    /// Runs of the law that were deleted or excluded since.
    pub removed: i64,
}

/// What a look at a family finds that costs little: when this differs, more is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Its name.
    pub family: FamilyName,
    /// When its settings last changed.
    pub updated_at: DateTime<Utc>,
    /// Version and id of the law that answers; `None` where there is none.
    pub active_law: Option<(i32, Uuid)>,
    /// Whether that law is pinned.
    pub pinned: bool,
    /// The newest version of a law.
    pub newest_law: Option<i32>,
    /// When the refit began that made the law which answers; `None` where that law was not fitted here.
    pub refit_began: Option<DateTime<Utc>>,
    /// The run that came last.
    pub newest_run: Option<Uuid>,
}

impl Glance {
    /// The family with its runs as they were counted.
    #[must_use]
    pub fn standing(self, runs: RunCounts) -> Standing {
        let Self { family, updated_at, active_law, pinned, newest_law, .. } = self;
        Standing { family, updated_at, active_law, pinned, newest_law, runs }
    }
}

/// How far a refit is, as a look at its family finds it.
#[derive(Debug, Clone, PartialEq)]
pub struct RefitGlance {
    /// Id of the refit.
    pub id: Uuid,
    /// Where it is in its life.
    pub state: String,
    /// What it is at.
    pub phase: String,
    /// Share of the work that is done, 0 to 1.
    pub progress: f64,
}
