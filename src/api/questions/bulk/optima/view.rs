//! The best sparsities of many budgets as they are sent.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::questions::budget::BudgetView;
use crate::api::questions::optimal_sparsity::DenseView;
use crate::api::questions::patterns::PatternView;
use crate::api::wire::rows::Rows;
use crate::api::wire::views::{
    ExtrapolationView, IntervalView, LawRef, MaybeInterval, TrustView, WarningView,
};

/// The best sparsities of many budgets, in the order of the points.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimalSparsities<'a> {
    /// The law that they were computed from.
    pub(super) law: Arc<LawRef>,
    /// One for each point.
    #[schema(value_type = Vec<OptimalSparsityResult>)]
    pub(super) results: Rows<'a, OptimalSparsityResult>,
    /// What to know before trusting any of them.
    pub(super) warnings: Vec<Arc<WarningView>>,
}

/// The best sparsity of one budget.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimalSparsityResult {
    /// As asked.
    pub(super) nonzero_params: f64,
    /// As asked, or what the hours, days or money pay for.
    pub(super) compute: f64,
    /// The training cost in every currency that is known.
    pub(super) budget: BudgetView,
    /// The best sparsity; exactly 0 where zeros do not lower the loss. Where `best_measured_level` is true, the
    /// better one of the measured sparsities.
    pub(super) sparsity: f64,
    /// Whether the runs behind the law tell no more than which of the measured sparsities is best.
    pub(super) best_measured_level: bool,
    /// The pattern or recipe of the level, of a law that tells runs of one sparsity apart by it. Left out of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) level: Option<String>,
    /// The bounds that keep a better sparsity away; empty where none does.
    #[schema(example = json!([]))]
    pub(super) binding: Vec<&'static str>,
    /// Interval of the best sparsity; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    pub(super) interval: MaybeInterval,
    /// Predicted loss at it.
    pub(super) loss: f64,
    /// Interval of the loss at it; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    pub(super) loss_interval: MaybeInterval,
    /// Data that the compute pays for at it.
    pub(super) data: f64,
    /// Parameters that a token passes, of a family whose zeros are experts: `nonzero_params`. Left out of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) active_params: Option<f64>,
    /// Parameters at it, zeros included.
    pub(super) total_params: f64,
    /// The dense model with as many non-zero parameters and the same compute; null by a law of the form `levels` of
    /// which no level is dense.
    pub(super) dense: Option<DenseView>,
    /// Size of the dense model of equal loss on the same data, relative to `nonzero_params`; null where nothing is known
    /// of dense models, and by a law of the form `experts` where no dense model of any size is as good.
    pub(super) gain: Option<f64>,
    /// The compute relative to that at which a dense model of this size is compute-optimal; null where nothing is known
    /// of dense models.
    pub(super) chinchilla_ratio: Option<f64>,
    /// The best pattern that the hardware can run, or the best mixture of experts of the family; null where none are
    /// listed.
    pub(super) pattern: Option<PatternView>,
    /// The quantities that lie outside the runs behind the law.
    pub(super) extrapolation: Vec<ExtrapolationView>,
    /// Whether the best sparsity lies between two that runs have, with none near it.
    pub(super) interpolated: bool,
    /// How far it can be trusted.
    pub(super) trust: TrustView,
}
