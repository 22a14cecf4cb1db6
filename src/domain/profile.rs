//! Hardware profiles: the cost of a training step on a machine, by sparsity.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sparsity_law::law::{DomainError, ExpertChoice, PointError, StepCost, StorageFormat};
use uuid::Uuid;

use crate::domain::text::{Pattern, ProfileName};

/// A named FLOP mode.
#[derive(Debug, Clone, PartialEq)]
pub struct HardwareProfile {
    /// UUIDv7 of the profile.
    pub id: Uuid,
    /// Name in URLs and in a `flop_mode`.
    pub name: ProfileName,
    /// The settings that the owner chose.
    pub settings: ProfileSettings,
    /// When the profile was created.
    pub created_at: DateTime<Utc>,
    /// When the profile last changed.
    pub updated_at: DateTime<Utc>,
}

/// The settings of a profile that its owner chooses.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileSettings {
    /// Cost of a training step at any sparsity.
    pub cost: ProfileCost,
    /// Patterns that the hardware supports.
    pub patterns: Vec<Pattern>,
    /// Measured cost of a step for some of the patterns, relative to a dense step.
    pub pattern_costs: BTreeMap<Pattern, f64>,
    /// Measured cost of a step by number of experts, relative to a dense model with as many active parameters.
    pub expert_costs: BTreeMap<u32, f64>,
    /// How weights are stored.
    pub storage: StorageFormat,
    /// Speed and price of the machine.
    pub rates: Rates,
    /// Where the numbers come from.
    pub source: String,
}

/// Speed and price of a machine, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Dense FLOPs per second of one device at full utilisation.
    pub flops_per_second: Option<f64>,
    /// Share of that speed which training achieves, from 0 to 1; `None` means 1.
    pub utilisation: Option<f64>,
    /// Number of devices that train at once; `None` means 1.
    pub devices: Option<u32>,
    /// Price of one device for one hour.
    pub price_per_hour: Option<f64>,
}

/// A training cost in time and money. The FLOPs of the law stand for time on the machine: a step that is cheaper
/// because of zeros counts as less dense work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// Hours of one device.
    pub device_hours: f64,
    /// Days, with all devices together.
    pub days: f64,
    /// Price; `None` if the price of an hour is not known.
    pub cost: Option<f64>,
}

impl Rates {
    /// FLOPs that one device does in an hour; `None` if its speed is not known.
    #[must_use]
    pub fn flops_per_device_hour(&self) -> Option<f64> {
        const SECONDS: f64 = 3600.0;
        Some(self.flops_per_second? * self.utilisation.unwrap_or(1.0) * SECONDS)
    }

    /// Device hours in one day, over all devices.
    #[must_use]
    pub fn device_hours_per_day(&self) -> f64 {
        24.0 * f64::from(self.devices.unwrap_or(1))
    }

    /// Time and price of this many FLOPs; `None` if the speed of the machine is not known.
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
    /// Cost of a step with experts, relative to a dense step of the same shape: as measured, otherwise by the curve.
    #[must_use]
    pub fn expert_cost(&self, choice: &ExpertChoice) -> f64 {
        let active = choice.density().get();
        let measured = self.expert_costs.get(&choice.count()).map(|cost| cost * active);
        measured.unwrap_or_else(|| self.cost.step().at(choice.density().sparsity().get()))
    }

    /// Cost of a step with a pattern, relative to a dense step: as measured, otherwise by the curve at the pattern's
    /// sparsity.
    #[must_use]
    pub fn pattern_cost(&self, pattern: &Pattern) -> f64 {
        let measured = self.pattern_costs.get(pattern);
        measured.copied().unwrap_or_else(|| self.cost.step().at(pattern.sparsity()))
    }
}

/// The cost of a training step, as the owner gave it and as the law uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileCost {
    given: GivenCost,
    step: StepCost,
}

/// The two ways to give the cost of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenCost {
    /// `(1 - f) + f min(1, (1 - s) / eta)`.
    Share {
        /// `f`, the share of a step's FLOPs that can be pruned.
        prunable_share: f64,
        /// `eta`, the fraction of the ideal speed-up that the hardware achieves.
        efficiency: f64,
    },
    /// Measured points `(s, h)`: sparsity, and cost relative to a dense step.
    Points(Vec<(f64, f64)>),
}

impl ProfileCost {
    /// The cost given by `f` and `eta`.
    ///
    /// # Errors
    /// Those of [`StepCost::of_share`].
    pub fn of_share(
        prunable_share: f64,
        efficiency: f64,
    ) -> Result<Self, (&'static str, DomainError)> {
        let step = StepCost::of_share(prunable_share, efficiency)?;
        Ok(Self { given: GivenCost::Share { prunable_share, efficiency }, step })
    }

    /// The cost given by measured points.
    ///
    /// # Errors
    /// Those of [`StepCost::of_points`].
    pub fn of_points(points: Vec<(f64, f64)>) -> Result<Self, PointError> {
        let step = StepCost::of_points(&points)?;
        Ok(Self { given: GivenCost::Points(points), step })
    }

    /// The cost as the owner gave it.
    #[must_use]
    pub const fn given(&self) -> &GivenCost {
        &self.given
    }

    /// The cost as the law uses it.
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
        // One device does 1.44e18 FLOPs in an hour.
        let spent = rates.spent(1.44e18 * 1536.0).unwrap();
        assert_eq!((spent.device_hours, spent.days, spent.cost), (1536.0, 1.0, Some(3840.0)));
        let plain = Rates { flops_per_second: Some(1e15), ..Rates::default() };
        let spent = plain.spent(3.6e18 * 48.0).unwrap();
        assert_eq!((spent.device_hours, spent.days, spent.cost), (48.0, 2.0, None));
        assert_eq!(Rates::default().spent(1e18), None);
    }
}
