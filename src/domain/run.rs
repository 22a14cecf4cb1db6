//! Training runs.

use sparsity_law::named;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sparsity_law::fit::Observation;
use sparsity_law::law::Data;
use uuid::Uuid;

use crate::domain::text::Pattern;

named! {
    /// What a run started from.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum TrainingStart {
        /// Random weights.
        Scratch = "scratch",
        /// A pretrained dense checkpoint.
        Pretrained = "pretrained",
    }
}

/// A finished training run as its team submits it.
#[derive(Debug, Clone, PartialEq)]
pub struct SubmittedRun {
    /// The submitter's name of the run.
    pub external_id: String,
    /// What was measured.
    pub observation: Observation,
    /// What the run started from.
    pub start: TrainingStart,
    /// Data that the dense checkpoint of a pretrained start had seen, where known.
    pub pretraining_data: Option<Data>,
    /// How much of its data is different, where some was seen more than once and that is known.
    pub unique_data: Option<Data>,
    /// `None` for unstructured sparsity.
    pub pattern: Option<Pattern>,
    /// The submitter's labels.
    pub tags: BTreeMap<String, String>,
    /// Why fits leave the run out; `None` where they do not, or where a submission does not say.
    pub exclusion_reason: Option<String>,
}

/// Which of its optional fields a submitted run brings: those that it does not bring stay as they are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Brought(i16);

impl Brought {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// What the run started from.
    pub const START: Self = Self(1);
    /// Data behind a pretrained start.
    pub const PRETRAINING_DATA: Self = Self(2);
    /// The structured pattern.
    pub const PATTERN: Self = Self(4);
    /// The labels, all together.
    pub const TAGS: Self = Self(8);
    /// Whether fits leave the run out, and why.
    pub const EXCLUSION: Self = Self(16);
    /// How much of the data is different.
    pub const UNIQUE_DATA: Self = Self(32);
    /// All of them.
    pub const ALL: Self = Self(63);

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These, and those where they are brought.
    #[must_use]
    pub const fn with_if(self, other: Self, brought: bool) -> Self {
        if brought { self.with(other) } else { self }
    }

    /// Whether all of these are among them.
    #[must_use]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// As a sum of powers of two, one a field.
    #[must_use]
    pub const fn bits(self) -> i16 {
        self.0
    }
}

/// A stored run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// UUIDv7.
    pub id: Uuid,
    /// What was submitted, and since then changed.
    pub submitted: SubmittedRun,
    /// When it arrived.
    pub created_at: DateTime<Utc>,
    /// When one of its values last changed.
    pub updated_at: DateTime<Utc>,
}

/// What became of submitted runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Merged {
    /// New runs.
    pub created: u64,
    /// Runs whose values differed.
    pub updated: u64,
    /// Runs that were there with the same values.
    pub unchanged: u64,
}

impl Merged {
    /// Of so many runs these were created and updated.
    pub(crate) fn of(total: u64, created: i64, updated: i64) -> Self {
        let (created, updated) = (created.cast_unsigned(), updated.cast_unsigned());
        Self { created, updated, unchanged: total - created - updated }
    }
}

/// Which runs a list shows; a `None` leaves its quantity free.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Range of `N`, ends included.
    pub nonzero_params: (Option<f64>, Option<f64>),
    /// Range of `S`, ends included.
    pub sparsity: (Option<f64>, Option<f64>),
    /// Range of `D`, ends included.
    pub data: (Option<f64>, Option<f64>),
    /// Range of `L`, ends included.
    pub loss: (Option<f64>, Option<f64>),
    /// This pattern.
    pub pattern: Option<Pattern>,
    /// This start.
    pub start: Option<TrainingStart>,
    /// Excluded runs only, or the others only.
    pub excluded: Option<bool>,
    /// All of these tags.
    pub tags: BTreeMap<String, String>,
    /// The run of this name.
    pub external_id: Option<String>,
}
