//! Training runs.

use sparsity_law::named;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sparsity_law::fit::Observation;
use sparsity_law::law::Data;
use uuid::Uuid;

use crate::domain::text::Pattern;

named! {
    /// What a training run started from.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum TrainingStart {
        /// Random weights.
        Scratch = "scratch",
        /// A pretrained dense checkpoint.
        Pretrained = "pretrained",
    }
}

/// A finished training run as submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct SubmittedRun {
    /// The submitter's name for the run.
    pub external_id: String,
    /// Size, sparsity, data and loss of the run.
    pub observation: Observation,
    /// What the run started from.
    pub start: TrainingStart,
    /// Data that the checkpoint had been trained on, if the run started from a pretrained one and this is known.
    pub pretraining_data: Option<Data>,
    /// Amount of distinct data, if some was seen more than once and this is known.
    pub unique_data: Option<Data>,
    /// Structured pattern of the zeros; `None` for unstructured sparsity.
    pub pattern: Option<Pattern>,
    /// The submitter's labels, as tag and value.
    pub tags: BTreeMap<String, String>,
    /// Why fits exclude the run. `None` if they do not, or if the submission does not say.
    pub exclusion_reason: Option<String>,
}

/// The set of optional fields that a submission brings. Fields that it does not bring keep their stored values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Brought(i16);

impl Brought {
    /// No field.
    pub const NONE: Self = Self(0);
    /// What the run started from.
    pub const START: Self = Self(1);
    /// Data that the pretrained starting point had been trained on.
    pub const PRETRAINING_DATA: Self = Self(2);
    /// The structured pattern.
    pub const PATTERN: Self = Self(4);
    /// The labels, all together.
    pub const TAGS: Self = Self(8);
    /// Whether and why fits exclude the run.
    pub const EXCLUSION: Self = Self(16);
    /// Amount of distinct data.
    pub const UNIQUE_DATA: Self = Self(32);
    /// Every field.
    pub const ALL: Self = Self(63);

    /// The union of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The union of both sets if `brought`, otherwise this set alone.
    #[must_use]
    pub const fn with_if(self, other: Self, brought: bool) -> Self {
        if brought { self.with(other) } else { self }
    }

    /// Whether this set contains all of `others`.
    #[must_use]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The set as a bit mask, with one bit per field.
    #[must_use]
    pub const fn bits(self) -> i16 {
        self.0
    }
}

/// A stored run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// UUIDv7 of the run.
    pub id: Uuid,
    /// The run as submitted, including later changes.
    pub submitted: SubmittedRun,
    /// When the run arrived.
    pub created_at: DateTime<Utc>,
    /// When any of the run's values last changed.
    pub updated_at: DateTime<Utc>,
}

/// How many submitted runs were new, changed or unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Merged {
    /// Runs that were not stored before.
    pub created: u64,
    /// Runs that were already stored, with other values.
    pub updated: u64,
    /// Runs that were already stored, with the same values.
    pub unchanged: u64,
}

impl Merged {
    /// Counts `total` runs, of which this many were created and updated.
    pub(crate) fn of(total: u64, created: i64, updated: i64) -> Self {
        let (created, updated) = (created.cast_unsigned(), updated.cast_unsigned());
        Self { created, updated, unchanged: total - created - updated }
    }
}

/// Filter for a list of runs; `None` and an empty map do not restrict anything.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Range of `N`, both ends included.
    pub nonzero_params: (Option<f64>, Option<f64>),
    /// Range of `S`, both ends included.
    pub sparsity: (Option<f64>, Option<f64>),
    /// Range of `D`, both ends included.
    pub data: (Option<f64>, Option<f64>),
    /// Range of `L`, both ends included.
    pub loss: (Option<f64>, Option<f64>),
    /// Structured pattern.
    pub pattern: Option<Pattern>,
    /// What the run started from.
    pub start: Option<TrainingStart>,
    /// `true` for excluded runs only, `false` for the others only.
    pub excluded: Option<bool>,
    /// Tags that a run must have, with these values.
    pub tags: BTreeMap<String, String>,
    /// The submitter's name for the run.
    pub external_id: Option<String>,
}
