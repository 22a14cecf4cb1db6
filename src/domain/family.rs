//! Model families: the runs that one law describes, and the settings that they share.

use chrono::{DateTime, Utc};
use sparsity_law::fit::{Delta, Residual};
use sparsity_law::law::{ExpertGrid, FlopsPerParam, PruningSchedule};
use uuid::Uuid;

use crate::domain::text::FamilyName;

/// A model family: the runs that one law describes.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// UUIDv7 of the family.
    pub id: Uuid,
    /// Name in URLs.
    pub name: FamilyName,
    /// The settings that the owner chose.
    pub settings: FamilySettings,
    /// Id of the law that answers questions; `None` for the newest fit.
    pub pinned_law_id: Option<Uuid>,
    /// When the family was created.
    pub created_at: DateTime<Utc>,
    /// When the settings last changed.
    pub updated_at: DateTime<Utc>,
}

/// The settings of a family that its owner chooses.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilySettings {
    /// A description for people to read.
    pub description: String,
    /// The unit of `D`.
    pub data_unit: String,
    /// Tokens in one data unit, if known.
    pub tokens_per_data_unit: Option<f64>,
    /// `k`: training FLOPs per parameter and unit of data.
    pub flops_per_param: FlopsPerParam,
    /// How the models are pruned during training.
    pub pruning: PruningSchedule,
    /// What the zeros of the models are.
    pub zeros: Zeros,
    /// The residual that refits minimise.
    pub residual: Residual,
    /// The Huber parameter of refits.
    pub delta: Delta,
}

/// What the zeros of a family's models are.
#[derive(Debug, Clone, PartialEq)]
pub enum Zeros {
    /// Single weights that are zero.
    Weights,
    /// Experts that a token does not pass through: `N` counts the parameters that it passes through, and `S` is the
    /// share of the others. The grid holds the mixtures that can be deployed, if the owner gave them.
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

    /// Whether the zeros are experts.
    #[must_use]
    pub const fn are_experts(&self) -> bool {
        matches!(self, Self::Experts(_))
    }

    /// The mixtures that can be deployed, if the owner gave them.
    #[must_use]
    pub const fn grid(&self) -> Option<&ExpertGrid> {
        match self {
            Self::Weights => None,
            Self::Experts(grid) => grid.as_ref(),
        }
    }
}
