//! Refits: their options, states and results.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sparsity_law::fit::FitConfig;
use sparsity_law::law::LawForm;
use sparsity_law::named;
use uuid::Uuid;

use crate::domain::text::check_label;

named! {
    /// State of a refit.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum RefitState {
        /// Waiting for a worker.
        Queued = "queued",
        /// Claimed by a worker.
        Running = "running",
        /// Ended with a law.
        Succeeded = "succeeded",
        /// Ended with an error.
        Failed = "failed",
        /// Ended because somebody cancelled it.
        Cancelled = "cancelled",
    }
}

impl RefitState {
    /// Whether the state no longer changes.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// The weight of runs that have a certain tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TagWeight {
    /// Key of the tag.
    pub tag: String,
    /// Value of the tag.
    pub value: String,
    /// Weight of a run with this tag, relative to one without it: from 0 to 1000.
    pub weight: f64,
}

/// The law from which another family's law borrows its gain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lender {
    /// Name of the lending family.
    pub family: String,
    /// Version of the lending family's law.
    pub version: i32,
}

/// What distinguishes runs of the same sparsity in a law of levels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LevelsBy {
    /// The structured pattern of the zeros; runs without a pattern form a level of their own.
    Pattern,
    /// The value of a tag, such as the recipe; runs without the tag form a level of their own.
    Tag(String),
}

impl LevelsBy {
    /// The name in options: `pattern`, or `tag:` followed by the key of the tag.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Pattern => "pattern".to_owned(),
            Self::Tag(tag) => format!("tag:{tag}"),
        }
    }
}

impl From<LevelsBy> for String {
    fn from(levels: LevelsBy) -> Self {
        levels.name()
    }
}

impl TryFrom<String> for LevelsBy {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.strip_prefix("tag:") {
            _ if name == "pattern" => Ok(Self::Pattern),
            Some(tag) => {
                check_label(tag).map_err(|error| format!("the tag after `tag:` {error}"))?;
                Ok(Self::Tag(tag.to_owned()))
            }
            None => Err(format!("must be `pattern`, or `tag:` and the key of a tag, not `{name}`")),
        }
    }
}

/// Options of a fit, stored with the refit and with its law.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RefitOptions {
    /// Options of the optimiser and the bootstrap.
    #[serde(flatten)]
    pub fit: FitConfig,
    /// Weights by tag; the weight of a run is the product of the weights of its tags.
    #[serde(default)]
    pub weights: Vec<TagWeight>,
    /// `external_id`s of runs that are left out to see their influence, sorted. The law is then a what-if.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Key of the tag whose values tell which runs are resampled together; `None` if runs are resampled one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// How the law depends on sparsity; `None` for the paper's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<LawForm>,
    /// What distinguishes runs of the same sparsity in a law of levels; `None` if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<LevelsBy>,
    /// Whether every form that the runs can support is fitted as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all_forms: bool,
    /// The law whose gain is borrowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lender: Option<Lender>,
}

impl RefitOptions {
    /// The work of a fit to this many runs: the number of run evaluations if each start and each resample looks at
    /// every run once.
    #[must_use]
    pub fn work(&self, runs: u64) -> u64 {
        runs.saturating_mul(u64::from(self.fit.starts) + u64::from(self.fit.bootstrap))
    }

    /// Whether runs are left out to see their influence. Such a law never answers questions about its family.
    #[must_use]
    pub fn is_what_if(&self) -> bool {
        !self.without.is_empty()
    }
}

named! {
    /// Why a refit did not produce a law.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(from = "String", into = "&'static str")]
    pub enum RefitFailureKind {
        /// There were no runs to fit.
        NoRuns = "no-runs",
        /// The runs do not determine a law of the requested form.
        NotIdentifiable = "not-identifiable",
        /// Some of the law's numbers are not finite.
        NotRepresentable = "not-representable",
        /// The refit was to reproduce a law and came out different.
        NotReproduced = "not-reproduced",
        /// Every worker that claimed the refit died.
        WorkerLost = "worker-lost",
        /// A defect of the service, whose cause is in the worker's log.
        Internal = "internal",
    }
}

impl From<String> for RefitFailureKind {
    /// A name that only a newer version knows becomes [`RefitFailureKind::Internal`]; the detail still tells what
    /// happened.
    fn from(name: String) -> Self {
        Self::of_name(&name).unwrap_or(Self::Internal)
    }
}

impl From<RefitFailureKind> for &'static str {
    fn from(kind: RefitFailureKind) -> Self {
        kind.as_str()
    }
}

/// Why a refit failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefitFailure {
    /// Kind of failure.
    pub kind: RefitFailureKind,
    /// A sentence for people to read.
    pub detail: String,
}

/// The current state of a refit.
#[derive(Debug, Clone, PartialEq)]
pub struct Refit {
    /// UUIDv7 of the refit.
    pub id: Uuid,
    /// Name of the family whose runs are fitted.
    pub family: String,
    /// State of the refit.
    pub state: RefitState,
    /// The step that a running refit is at.
    pub phase: String,
    /// Share of the work that is done, from 0 to 1.
    pub progress: f64,
    /// Options of the fit.
    pub options: RefitOptions,
    /// Version of the law that the refit reproduces, instead of making a new one.
    pub reproduces: Option<i32>,
    /// Version and id of the law that the refit produced.
    pub law: Option<(i32, Uuid)>,
    /// Why the refit failed.
    pub error: Option<RefitFailure>,
    /// When the refit was requested.
    pub created_at: DateTime<Utc>,
    /// When a worker first claimed the refit.
    pub started_at: Option<DateTime<Utc>>,
    /// When the refit ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A refit claimed by a worker.
#[derive(Debug, Clone)]
pub struct ClaimedRefit {
    /// Id of the refit.
    pub id: Uuid,
    /// Id of the family whose runs are fitted.
    pub family_id: Uuid,
    /// Options of the fit.
    pub options: RefitOptions,
    /// Id of the law to reproduce, instead of making a new one.
    pub reproduces_law_id: Option<Uuid>,
    /// Trace context of the request for the refit, as a `traceparent`.
    pub trace_context: Option<String>,
    /// Token that proves the claim.
    pub lease_token: Uuid,
    /// Number of times the refit was claimed, this time included.
    pub attempts: i32,
}
