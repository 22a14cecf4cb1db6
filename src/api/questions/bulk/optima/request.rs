//! The budgets of a question about many.

use serde::Deserialize;
use sparsity_law::law::{Compute, NonzeroParams};
use utoipa::ToSchema;

use crate::api::questions::bounds::{Bounds, GivenBounds};
use crate::api::questions::budget::GivenBudget;
use crate::api::resources::profiles::StorageView;
use crate::api::wire::values::{ValuesBody, bounded};

/// A size, a budget, and bounds on the sparsity.
pub(super) type Sized = (NonzeroParams, Compute, Bounds);

/// The training budgets to find the best sparsities for: a list of points, or a grid of sizes and budgets.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"flop_mode": "sparse", "intervals": false,
    "nonzero_params": {"from": 1e7, "to": 1e9, "steps": 3}, "compute": [1e19, 1e20]}))]
pub struct CreateOptimalSparsities {
    /// The points, at most 100,000.
    #[schema(min_items = 1, max_items = 100_000)]
    #[serde(default, deserialize_with = "bounded")]
    pub(super) points: Option<Vec<OptimalSparsityPoint>>,
    /// Sizes of a grid, in place of `points`. The results list all budgets of the first size first.
    pub(super) nonzero_params: Option<ValuesBody>,
    /// Budgets of a grid, in FLOPs.
    pub(super) compute: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: hours of one device of the hardware profile.
    pub(super) device_hours: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: days of all devices of the hardware profile together.
    pub(super) days: Option<ValuesBody>,
    /// Budgets of a grid in place of `compute`: the price of the hours, in the currency of the hardware profile.
    pub(super) cost: Option<ValuesBody>,
    /// What a training step costs, for points without their own `flop_mode`: `dense`, `sparse`, or the name of a
    /// hardware profile.
    #[schema(example = "sparse")]
    pub(super) flop_mode: Option<String>,
    /// How much unique data there is for each point, in the family's data unit: training data beyond this amount is
    /// seen again, and teaches less.
    #[schema(example = json!(null), minimum = 1e-6, maximum = 1e30)]
    pub(super) unique_data: Option<f64>,
    /// The most parameters, zeros included, for points without their own bound; between 1 and 1e22.
    #[schema(minimum = 1, maximum = 1e22)]
    pub(super) max_total_params: Option<f64>,
    /// The most bytes that the weights may take, for points without their own bound; between 1 and 1e30.
    #[schema(minimum = 1, maximum = 1e30)]
    pub(super) memory_bytes: Option<f64>,
    /// The highest sparsity, for points without their own bound; at least 0 and below 1.
    #[schema(minimum = 0, exclusive_maximum = 1)]
    pub(super) max_sparsity: Option<f64>,
    /// How the weights that `memory_bytes` limits are stored; by default as in the hardware profile, or else `dense`.
    /// The formats are described at plans.
    pub(super) storage: Option<StorageView>,
    /// Bits per value of the weights that `memory_bytes` limits: 4, 8, 16 or 32; 16 by default.
    #[schema(minimum = 4, maximum = 32)]
    pub(super) bits_per_param: Option<u32>,
    /// Version of the law to ask; the active one by default.
    pub(super) law_version: Option<i32>,
    /// Whether to answer with intervals. The number of points times the number of resampled laws is limited: with 1,000
    /// resamples, to 100,000 points. In the mode of a hardware profile, with `unique_data`, and for a law without a
    /// gain of its own, the optimum is searched for each resampled law, and the limit is 1,000 points.
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
    /// Training cost in FLOPs, between 1 and 1e40. Give exactly one of this, `device_hours`, `days` and `cost`.
    #[schema(example = 1e17, minimum = 1, maximum = 1e40)]
    pub(super) compute: Option<f64>,
    /// In place of `compute`: hours of one device of the hardware profile.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    pub(super) device_hours: Option<f64>,
    /// In place of `compute`: days of all devices of the hardware profile together.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    pub(super) days: Option<f64>,
    /// In place of `compute`: the price of the hours, in the currency of the hardware profile's `price_per_hour`.
    #[schema(exclusive_minimum = 0, maximum = 1e15)]
    pub(super) cost: Option<f64>,
    /// What a training step costs at this point; by default as given for all points.
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
