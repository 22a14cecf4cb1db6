//! A model family: the runs that one law describes, and what they share.

use chrono::{DateTime, Utc};
use sparsity_law::fit::{Delta, Residual};
use sparsity_law::law::{FlopsPerParam, PruningSchedule};
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
    /// Residual that refits minimise.
    pub residual: Residual,
    /// Huber parameter of refits.
    pub delta: Delta,
}
