//! The budgets of a question about many.

use serde::Deserialize;
use sparsity_law::law::{Compute, NonzeroParams};
use utoipa::ToSchema;

use crate::api::questions::bounds::{Bounds, GivenBounds};
use crate::api::questions::budget::GivenBudget;
use crate::api::resources::profiles::StorageView;
use crate::api::wire::values::{ValuesBody, bounded};

/// A size, a budget, and the bounds on the sparsity.
pub(super) type Sized = (NonzeroParams, Compute, Bounds);

/// Training budgets to make the most of: a list of points, or a grid of sizes and budgets.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"flop_mode": "sparse", "intervals": false,
    "nonzero_params": {"from": 1e7, "to": 1e9, "steps": 3}, "compute": [1e19, 1e20]}))]
pub struct CreateOptimalSparsities {
    /// The points, at most 100,000.
    #[schema(min_items = 1, max_items = 100_000)]
    #[serde(default, deserialize_with = "bounded")]
    pub(super) points: Option<Vec<OptimalSparsityPoint>>,
    /// Sizes of a grid, in place of `points`. The budgets of the first size come first.
    pub(super) nonzero_params: Option<ValuesBody>,
    /// Budgets of a grid, in FLOPs.
    pub(super) compute: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: hours of one device of the hardware profile.
    pub(super) device_hours: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: days of all devices of the hardware profile together.
    pub(super) days: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: what the hours cost.
    pub(super) cost: Option<ValuesBody>,
    /// What a training step costs at points that do not say so: `dense`, `sparse`, or the name of a
    /// hardware profile.
    #[schema(example = "sparse")]
    pub(super) flop_mode: Option<String>,
    /// How much different data there is for each of them, in the family's data unit: what is trained on beyond it is seen
    /// again, and teaches less.
    #[schema(example = json!(null), minimum = 1e-6, maximum = 1e30)]
    pub(super) unique_data: Option<f64>,
    /// The most parameters, zeros included, of points that do not say so; between 1 and 1e22.
    #[schema(minimum = 1, maximum = 1e22)]
    pub(super) max_total_params: Option<f64>,
    /// The most bytes that the weights may take at points that do not say so, between 1 and 1e30.
    #[schema(minimum = 1, maximum = 1e30)]
    pub(super) memory_bytes: Option<f64>,
    /// The highest sparsity of points that do not say so, at least 0 and below 1.
    #[schema(minimum = 0, exclusive_maximum = 1)]
    pub(super) max_sparsity: Option<f64>,
    /// How the weights are stored of which `memory_bytes` speaks: that of the hardware profile, or `dense`, unless
    /// said otherwise; as of plans.
    pub(super) storage: Option<StorageView>,
    /// Bits of a value of which `memory_bytes` speaks: 4, 8, 16 or 32; 16 unless said otherwise.
    #[schema(minimum = 4, maximum = 32)]
    pub(super) bits_per_param: Option<u32>,
    /// Version of the law to ask; the active one unless said otherwise.
    pub(super) law_version: Option<i32>,
    /// Whether to answer with intervals. Points times resampled laws are limited: with 1,000 of these to 100,000
    /// points; and in the mode of a hardware profile, with `unique_data`, and by a law that has no gain of its own, where
    /// each law is searched on its own, to 1,000.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[schema(default = true)]
    pub(super) intervals: bool,
}

/// One training budget.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptimalSparsityPoint {
    /// Non-zero parameters at the end of training, between 1 and 1e18.
    #[schema(example = 1e7, minimum = 1, maximum = 1e18)]
    pub(super) nonzero_params: f64,
    /// Training cost in FLOPs, between 1 and 1e40. Exactly one of this, `device_hours`, `days` and `cost`.
    #[schema(example = 1e17, minimum = 1, maximum = 1e40)]
    pub(super) compute: Option<f64>,
    /// In place of `compute`: hours of one device of the hardware profile.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    pub(super) device_hours: Option<f64>,
    /// In place of `compute`: days of all devices of the hardware profile together.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    pub(super) days: Option<f64>,
    /// In place of `compute`: what the hours cost, in the currency of the hardware profile's `price_per_hour`.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    pub(super) cost: Option<f64>,
    /// What a training step costs here.
    pub(super) flop_mode: Option<String>,
    /// The most parameters, zeros included; between 1 and 1e22.
    #[schema(minimum = 1, maximum = 1e22)]
    pub(super) max_total_params: Option<f64>,
    /// The most bytes that the weights may take, between 1 and 1e30.
    #[schema(minimum = 1, maximum = 1e30)]
    pub(super) memory_bytes: Option<f64>,
    /// The highest sparsity, at least 0 and below 1.
    #[schema(minimum = 0, exclusive_maximum = 1)]
    pub(super) max_sparsity: Option<f64>,
}

impl OptimalSparsityPoint {
    pub(super) const fn budget(&self) -> GivenBudget {
        GivenBudget([self.compute, self.device_hours, self.days, self.cost])
    }

    pub(super) const fn bounds(&self) -> GivenBounds {
        GivenBounds {
            max_total_params: self.max_total_params,
            memory_bytes: self.memory_bytes,
            max_sparsity: self.max_sparsity,
        }
    }
}
