//! A model family: the runs that one law describes, and what they share.

use chrono::{DateTime, Utc};
use sparsity_law::fit::{Delta, Residual};
use sparsity_law::law::{ExpertGrid, FlopsPerParam, PruningSchedule};
use uuid::Uuid;

use crate::domain::text::FamilyName;

/// A model family: the runs that one law describes.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// UUIDv7.
    pub id: Uuid,
    /// Its name in URLs.
    pub name: FamilyName,
    /// What its owner set.
    pub settings: FamilySettings,
    /// The law that answers; `None` for the newest fit.
    pub pinned_law_id: Option<Uuid>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When its settings last changed.
    pub updated_at: DateTime<Utc>,
}

/// What the owner of a family sets.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilySettings {
    /// For people.
    pub description: String,
    /// What `D` counts.
    pub data_unit: String,
    /// Tokens in one data unit, where known.
    pub tokens_per_data_unit: Option<f64>,
    /// `k`.
    pub flops_per_param: FlopsPerParam,
    /// How its models are pruned during training.
    pub pruning: PruningSchedule,
    /// What the zeros of its models are.
    pub zeros: Zeros,
    /// Residual that refits minimise.
    pub residual: Residual,
    /// Huber parameter of refits.
    pub delta: Delta,
}

/// What the zeros of a family's models are.
#[derive(Debug, Clone, PartialEq)]
pub enum Zeros {
    /// Weights that are zero.
    Weights,
    /// Experts that a token does not pass: `N` is what it passes, `S` the share that it does not. With the mixtures
    /// that can be deployed, where its owner says which.
    Experts(Option<ExpertGrid>),
}

impl Zeros {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Experts(_) => "experts",
        }
    }

    /// Whether they are experts.
    #[must_use]
    pub const fn are_experts(&self) -> bool {
        matches!(self, Self::Experts(_))
    }

    /// The mixtures that can be deployed, where they are said.
    #[must_use]
    pub const fn grid(&self) -> Option<&ExpertGrid> {
        match self {
            Self::Weights => None,
            Self::Experts(grid) => grid.as_ref(),
        }
    }
}
