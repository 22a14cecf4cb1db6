//! Hardware profiles: what a training step costs on a machine, by sparsity.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sparsity_law::law::{DomainError, PointError, StepCost, StorageFormat};
use uuid::Uuid;

use crate::domain::text::{Pattern, ProfileName};

/// A named FLOP mode.
#[derive(Debug, Clone, PartialEq)]
pub struct HardwareProfile {
    /// UUIDv7.
    pub id: Uuid,
    /// Its name in URLs and in a `flop_mode`.
    pub name: ProfileName,
    /// What its owner set.
    pub settings: ProfileSettings,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What the owner of a profile sets.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileSettings {
    /// What a training step costs at any sparsity.
    pub cost: ProfileCost,
    /// Patterns that the hardware can run.
    pub patterns: Vec<Pattern>,
    /// Measured cost of a step, for some of the patterns.
    pub pattern_costs: BTreeMap<Pattern, f64>,
    /// How weights are stored.
    pub storage: StorageFormat,
    /// Where the numbers come from.
    pub source: String,
}

impl ProfileSettings {
    /// What a step costs at a pattern: as measured, else by the curve at its sparsity.
    #[must_use]
    pub fn pattern_cost(&self, pattern: &Pattern) -> f64 {
        let measured = self.pattern_costs.get(pattern);
        measured.copied().unwrap_or_else(|| self.cost.step().at(pattern.sparsity()))
    }
}

/// What a training step costs, as it was given and as the law reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileCost {
    given: GivenCost,
    step: StepCost,
}

/// The two ways to say what a step costs.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenCost {
    /// `(1 - f) + f min(1, (1 - s) / eta)`.
    Share {
        /// `f`.
        prunable_share: f64,
        /// `eta`.
        efficiency: f64,
    },
    /// Measured points `(s, h)`.
    Points(Vec<(f64, f64)>),
}

impl ProfileCost {
    /// From `f` and `eta`.
    ///
    /// # Errors
    /// As of [`StepCost::of_share`].
    pub fn of_share(
        prunable_share: f64,
        efficiency: f64,
    ) -> Result<Self, (&'static str, DomainError)> {
        let step = StepCost::of_share(prunable_share, efficiency)?;
        Ok(Self { given: GivenCost::Share { prunable_share, efficiency }, step })
    }

    /// From measured points.
    ///
    /// # Errors
    /// As of [`StepCost::of_points`].
    pub fn of_points(points: Vec<(f64, f64)>) -> Result<Self, PointError> {
        let step = StepCost::of_points(&points)?;
        Ok(Self { given: GivenCost::Points(points), step })
    }

    /// As it was given.
    #[must_use]
    pub const fn given(&self) -> &GivenCost {
        &self.given
    }

    /// As the law reads it.
    #[must_use]
    pub const fn step(&self) -> &StepCost {
        &self.step
    }
}
