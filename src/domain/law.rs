//! A stored law: its coefficients, where they come from, and what to know before trusting them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sparsity_law::fit::{Diagnostics, PatternReport, PretrainedReport};
use sparsity_law::law::{
    CoefficientName, Coefficients, FlopsPerParam, Interval, PruningSchedule, Support,
};
use uuid::Uuid;

use crate::domain::refit::RefitOptions;

/// Where a law comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LawSource {
    /// Fitted on runs of the family.
    Fit,
    /// Imported coefficients.
    Published,
}

impl LawSource {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::Published => "published",
        }
    }

    /// The source of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Fit, Self::Published].into_iter().find(|source| source.as_str() == name)
    }
}

/// A stored law with everything that its answers depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    /// UUIDv7.
    pub id: Uuid,
    /// The family that it describes.
    pub family_id: Uuid,
    /// Counts the laws of a family from 1.
    pub version: i32,
    /// What it says.
    pub content: LawContent,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// What a law says, before it has a place in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct LawContent {
    /// Where it comes from.
    pub source: LawSource,
    /// Where published coefficients stand.
    pub reference: Option<String>,
    /// The coefficients, in raw units.
    pub coefficients: Coefficients,
    /// Mean Huber loss over its runs, where known.
    pub objective: Option<f64>,
    /// Number of its runs, where known.
    pub runs: Option<u32>,
    /// Interval of each coefficient; empty for a law without resamples.
    pub intervals: BTreeMap<CoefficientName, Interval>,
    /// Resamples that gave a law and that gave none; `None` for a published law.
    pub resamples: Option<Resamples>,
    /// Effective sparsity of each structured pattern among the runs.
    pub patterns: Vec<PatternReport>,
    /// Runs from pretrained checkpoints, where there were enough.
    pub pretrained: Option<PretrainedReport>,
    /// Data unit of the family when the law was made.
    pub data_unit: String,
    /// `k` of the family when the law was made.
    pub flops_per_param: FlopsPerParam,
    /// Pruning schedule of the family when the law was made.
    pub pruning: PruningSchedule,
    /// Where its runs stop; no levels where that is unknown.
    pub support: Support,
    /// What the fit was asked for; `None` for a published law.
    pub options: Option<RefitOptions>,
    /// What the fit says about itself; `None` for a published law.
    pub diagnostics: Option<Diagnostics>,
    /// What the runs cannot tell.
    pub warnings: Vec<StoredWarning>,
    /// Digest of its runs.
    pub data_digest: Option<String>,
    /// When it was fitted, or published.
    pub fitted_at: DateTime<Utc>,
}

impl LawContent {
    /// Whether it was fitted without some runs to see what they do.
    #[must_use]
    pub fn is_what_if(&self) -> bool {
        self.options.as_ref().is_some_and(RefitOptions::is_what_if)
    }
}

/// How many resamples of the runs gave a law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resamples {
    /// Those that did.
    pub fitted: u32,
    /// Those that did not.
    pub failed: u32,
}

/// A warning as it was given; codes of older versions of the service are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWarning {
    /// Stable code.
    pub code: String,
    /// A sentence for a person.
    pub detail: String,
}

impl From<&sparsity_law::fit::Warning> for StoredWarning {
    fn from(warning: &sparsity_law::fit::Warning) -> Self {
        Self { code: warning.code.as_str().to_owned(), detail: warning.detail.clone() }
    }
}
