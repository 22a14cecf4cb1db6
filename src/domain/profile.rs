//! Hardware profiles: what a training step costs on a machine, by sparsity.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sparsity_law::law::{DomainError, ExpertChoice, PointError, StepCost, StorageFormat};
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
    /// Measured cost of a step by number of experts, relative to a dense model of as many active parameters.
    pub expert_costs: BTreeMap<u32, f64>,
    /// How weights are stored.
    pub storage: StorageFormat,
    /// What the machine does in an hour, and what that costs.
    pub rates: Rates,
    /// Where the numbers come from.
    pub source: String,
}

/// What a machine does in an hour, and what that costs, as far as its owner says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// FLOPs of dense work of one device in a second, at full utilisation.
    pub flops_per_second: Option<f64>,
    /// Share of these that training achieves; all of them where it is not said.
    pub utilisation: Option<f64>,
    /// Devices that train at once; one where it is not said.
    pub devices: Option<u32>,
    /// Price of an hour of one device.
    pub price_per_hour: Option<f64>,
}

/// A training cost as people pay it. A cost of the law is time on the machine: a step that zeros make cheaper counts as
/// less dense work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// Hours of one device.
    pub device_hours: f64,
    /// Days of all devices together.
    pub days: f64,
    /// Price, where that of an hour is known.
    pub cost: Option<f64>,
}

impl Rates {
    /// FLOPs that one device does in an hour.
    #[must_use]
    pub fn flops_per_device_hour(&self) -> Option<f64> {
        const SECONDS: f64 = 3600.0;
        Some(self.flops_per_second? * self.utilisation.unwrap_or(1.0) * SECONDS)
    }

    /// Hours of one device that a day of all devices has.
    #[must_use]
    pub fn device_hours_per_day(&self) -> f64 {
        24.0 * f64::from(self.devices.unwrap_or(1))
    }

    /// What FLOPs take; `None` where the machine's speed is not said.
    #[must_use]
    pub fn spent(&self, flops: f64) -> Option<Spent> {
        let device_hours = flops / self.flops_per_device_hour()?;
        Some(Spent {
            device_hours,
            days: device_hours / self.device_hours_per_day(),
            cost: self.price_per_hour.map(|price| device_hours * price),
        })
    }
}

impl ProfileSettings {
    /// What a step costs with experts, relative to a dense step of the same shape: as measured, else by the curve.
    #[must_use]
    pub fn expert_cost(&self, choice: &ExpertChoice) -> f64 {
        let active = choice.density().get();
        let measured = self.expert_costs.get(&choice.count()).map(|cost| cost * active);
        measured.unwrap_or_else(|| self.cost.step().at(choice.density().sparsity().get()))
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_days_and_price_follow_from_each_other() {
        let rates = Rates {
            flops_per_second: Some(1e15),
            utilisation: Some(0.4),
            devices: Some(64),
            price_per_hour: Some(2.5),
        };
        // 1.44e18 FLOPs in an hour of one device.
        let spent = rates.spent(1.44e18 * 1536.0).unwrap();
        assert_eq!((spent.device_hours, spent.days, spent.cost), (1536.0, 1.0, Some(3840.0)));
        let plain = Rates { flops_per_second: Some(1e15), ..Rates::default() };
        let spent = plain.spent(3.6e18 * 48.0).unwrap();
        assert_eq!((spent.device_hours, spent.days, spent.cost), (48.0, 2.0, None));
        assert_eq!(Rates::default().spent(1e18), None);
    }
}
