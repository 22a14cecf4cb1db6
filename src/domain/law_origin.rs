//! Where a law comes from, and what is kept of how it was made.
//!
//! A fitted law and a published one have little in common: the one has everything that its fit was asked and found, the
//! other a text that says where its coefficients stand. So they are two types, and neither can lack its own parts or
//! have those of the other.

use std::collections::BTreeMap;

use sparsity_law::fit::{Diagnostics, PatternReport, PretrainedReport};
use sparsity_law::law::{CoefficientName, Interval};
use sparsity_law::named;

use crate::domain::refit::RefitOptions;

named! {
    /// Where a law comes from, in a word.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum LawSource {
        /// Fitted on runs of the family.
        Fit = "fit",
        /// Imported coefficients.
        Published = "published",
    }
}

/// Where a law comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// Fitted on runs of the family.
    Fitted(Box<FitRecord>),
    /// Imported coefficients.
    Published(Publication),
}

/// What is kept of the fit that made a law.
#[derive(Debug, Clone, PartialEq)]
pub struct FitRecord {
    /// Mean Huber loss over its runs.
    pub objective: f64,
    /// Number of its runs.
    pub runs: u32,
    /// Digest of its runs.
    pub data_digest: String,
    /// What the fit was asked for.
    pub options: RefitOptions,
    /// What the fit says about itself.
    pub diagnostics: Diagnostics,
    /// Resamples that gave a law and that gave none; `None` of a fit from before runs were resampled.
    pub resamples: Option<Resamples>,
    /// Interval of each coefficient; empty for a law without resamples.
    pub intervals: BTreeMap<CoefficientName, Interval>,
    /// Effective sparsity of each structured pattern among the runs.
    pub patterns: Vec<PatternReport>,
    /// Runs from pretrained checkpoints, where there were enough.
    pub pretrained: Option<PretrainedReport>,
}

/// What is known of published coefficients.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// Where they stand.
    pub reference: String,
    /// Mean Huber loss over their runs, where known.
    pub objective: Option<f64>,
    /// Number of their runs, where known.
    pub runs: Option<u32>,
}

/// How many resamples of the runs gave a law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resamples {
    /// Those that did.
    pub fitted: u32,
    /// Those that did not.
    pub failed: u32,
}

/// The intervals of a law that has none.
static NO_INTERVALS: BTreeMap<CoefficientName, Interval> = BTreeMap::new();

impl Origin {
    /// The word for it.
    #[must_use]
    pub const fn source(&self) -> LawSource {
        match self {
            Self::Fitted(_) => LawSource::Fit,
            Self::Published(_) => LawSource::Published,
        }
    }

    /// The fit behind the law; `None` of a published one.
    #[must_use]
    pub fn fit(&self) -> Option<&FitRecord> {
        match self {
            Self::Fitted(fit) => Some(fit),
            Self::Published(_) => None,
        }
    }

    /// Where published coefficients stand; `None` of a fitted law.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        match self {
            Self::Fitted(_) => None,
            Self::Published(publication) => Some(&publication.reference),
        }
    }

    /// Mean Huber loss over the runs, where known.
    #[must_use]
    pub fn objective(&self) -> Option<f64> {
        match self {
            Self::Fitted(fit) => Some(fit.objective),
            Self::Published(publication) => publication.objective,
        }
    }

    /// Number of runs, where known.
    #[must_use]
    pub fn runs(&self) -> Option<u32> {
        match self {
            Self::Fitted(fit) => Some(fit.runs),
            Self::Published(publication) => publication.runs,
        }
    }

    /// Digest of the runs; `None` of a published law, whose runs are not here.
    #[must_use]
    pub fn data_digest(&self) -> Option<&str> {
        self.fit().map(|fit| fit.data_digest.as_str())
    }

    /// Interval of each coefficient; empty for a law without resamples.
    #[must_use]
    pub fn intervals(&self) -> &BTreeMap<CoefficientName, Interval> {
        self.fit().map_or(&NO_INTERVALS, |fit| &fit.intervals)
    }

    /// Effective sparsity of each structured pattern among the runs; none of a published law.
    #[must_use]
    pub fn patterns(&self) -> &[PatternReport] {
        self.fit().map_or(&[], |fit| &fit.patterns)
    }
}
