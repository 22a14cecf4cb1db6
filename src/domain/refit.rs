//! A refit: what is asked of it, and how far it is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sparsity_law::fit::FitConfig;
use sparsity_law::law::LawForm;
use sparsity_law::named;
use uuid::Uuid;

use crate::domain::text::check_label;

named! {
    /// Where a refit is in its life.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum RefitState {
        /// Waiting for a worker.
        Queued = "queued",
        /// A worker is at it.
        Running = "running",
        /// There is a law.
        Succeeded = "succeeded",
        /// There is an error.
        Failed = "failed",
        /// Somebody asked to stop it.
        Cancelled = "cancelled",
    }
}

impl RefitState {
    /// Whether it stays like this.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What runs with one tag count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TagWeight {
    /// Key of the tag.
    pub tag: String,
    /// Its value.
    pub value: String,
    /// What a run with it counts, relative to one without: between 0 and 1000.
    pub weight: f64,
}

/// The law whose gain another family's takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lender {
    /// Name of the family.
    pub family: String,
    /// Version of its law.
    pub version: i32,
}

/// What tells runs of one sparsity apart for a law of levels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LevelsBy {
    /// The structured pattern of their zeros; runs without one are a level of their own.
    Pattern,
    /// The value of a tag, such as the recipe; runs without the tag are a level of their own.
    Tag(String),
}

impl LevelsBy {
    /// What it is called: `pattern`, or `tag:` and the key of the tag.
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

/// What a fit runs with: stored with the refit and with its law.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RefitOptions {
    /// Options of the fit.
    #[serde(flatten)]
    pub fit: FitConfig,
    /// Weights by tag; a run's weight is the product of those that it matches.
    #[serde(default)]
    pub weights: Vec<TagWeight>,
    /// `external_id`s of runs that are left out to see what they do, sorted; the law is then a what-if.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Key of the tag whose values say which runs are resampled together; `None` where each is drawn by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What the law is to say of sparsity; `None` for the paper's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<LawForm>,
    /// What tells runs of one sparsity apart for a law of levels; `None` where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<LevelsBy>,
    /// Whether every form that the runs can carry is fitted beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all_forms: bool,
    /// Whose gain is borrowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lender: Option<Lender>,
}

impl RefitOptions {
    /// What a fit of so many runs takes: how often a run is looked at anew, by each start and by each resample.
    #[must_use]
    pub fn work(&self, runs: u64) -> u64 {
        runs.saturating_mul(u64::from(self.fit.starts) + u64::from(self.fit.bootstrap))
    }

    /// Whether runs are left out to see what they do: the law never answers for its family.
    #[must_use]
    pub fn is_what_if(&self) -> bool {
        !self.without.is_empty()
    }
}

named! {
    /// What kept a refit from a law.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(from = "String", into = "&'static str")]
    pub enum RefitFailureKind {
        /// There was no run to fit.
        NoRuns = "no-runs",
        /// The runs determine no law of the form that was asked for.
        NotIdentifiable = "not-identifiable",
        /// The law that came out is no finite numbers.
        NotRepresentable = "not-representable",
        /// A refit that was to reproduce a law came out different.
        NotReproduced = "not-reproduced",
        /// Every worker that took it died.
        WorkerLost = "worker-lost",
        /// A defect of the service, whose cause is in the worker's log.
        Internal = "internal",
    }
}

impl From<String> for RefitFailureKind {
    /// A name that only a newer version knows is [`RefitFailureKind::Internal`]: its detail still says what
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
    /// Kind of problem.
    pub kind: RefitFailureKind,
    /// A sentence for a person.
    pub detail: String,
}

/// A refit as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Refit {
    /// UUIDv7.
    pub id: Uuid,
    /// Name of the family.
    pub family: String,
    /// Where it is in its life.
    pub state: RefitState,
    /// What a running refit is at.
    pub phase: String,
    /// Share of the work that is done.
    pub progress: f64,
    /// What it runs with.
    pub options: RefitOptions,
    /// Version of the law that it checks, in place of making one.
    pub reproduces: Option<i32>,
    /// Version and id of the law that came of it.
    pub law: Option<(i32, Uuid)>,
    /// Why it failed.
    pub error: Option<RefitFailure>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker first claimed it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A refit that a worker has claimed.
#[derive(Debug, Clone)]
pub struct ClaimedRefit {
    /// The refit.
    pub id: Uuid,
    /// The family whose runs are fitted.
    pub family_id: Uuid,
    /// What to run it with.
    pub options: RefitOptions,
    /// The law to check, in place of making one.
    pub reproduces_law_id: Option<Uuid>,
    /// The trace of the request that asked for it, as a `traceparent`.
    pub trace_context: Option<String>,
    /// Proof of the claim.
    pub lease_token: Uuid,
    /// How often it has been claimed, this time included.
    pub attempts: i32,
}
