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

/// The best sparsities for many budgets, in the order of the points.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimalSparsities<'a> {
    /// The law that the results were computed from.
    pub(super) law: Arc<LawRef>,
    /// One result for each point.
    #[schema(value_type = Vec<OptimalSparsityResult>)]
    pub(super) results: Rows<'a, OptimalSparsityResult>,
    /// What to know before trusting any of the results.
    pub(super) warnings: Vec<Arc<WarningView>>,
}

/// The best sparsity for one budget.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimalSparsityResult {
    /// Non-zero parameters as asked.
    pub(super) nonzero_params: f64,
    /// Training cost in FLOPs: as asked, or what the hours, days or money pay for.
    pub(super) compute: f64,
    /// The training cost in every currency that is known.
    pub(super) budget: BudgetView,
    /// The best sparsity; exactly 0 where zeros do not lower the loss. The best of the measured sparsities where
    /// `best_measured_level` is true.
    pub(super) sparsity: f64,
    /// Whether the law only tells which of the measured sparsities is best.
    pub(super) best_measured_level: bool,
    /// The pattern or recipe of the level, if the law tells runs of the same sparsity apart by it. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) level: Option<String>,
    /// The bounds that rule out a better sparsity; empty where none does.
    #[schema(example = json!([]))]
    pub(super) binding: Vec<&'static str>,
    /// Interval of the best sparsity; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    pub(super) interval: MaybeInterval,
    /// Predicted loss at the best sparsity.
    pub(super) loss: f64,
    /// Interval of that loss; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    pub(super) loss_interval: MaybeInterval,
    /// Data that the compute pays for at the best sparsity.
    pub(super) data: f64,
    /// Parameters that a token passes, equal to `nonzero_params`, in families whose zeros are experts. Left out
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) active_params: Option<f64>,
    /// Parameters at the best sparsity, zeros included.
    pub(super) total_params: f64,
    /// The dense model with as many non-zero parameters and the same compute; null for a law of the form `levels`
    /// without a dense level.
    pub(super) dense: Option<DenseView>,
    /// Size of the dense model with equal loss on the same data, relative to `nonzero_params`; null where nothing is
    /// known about dense models, and for a law of the form `experts` where no dense model of any size is as good.
    pub(super) gain: Option<f64>,
    /// The compute relative to the compute for which a dense model of this size is optimal; null where nothing is known
    /// about dense models.
    pub(super) chinchilla_ratio: Option<f64>,
    /// The best pattern that the hardware can run, or the best mixture of experts of the family; null where none are
    /// listed.
    pub(super) pattern: Option<PatternView>,
    /// The quantities that lie outside the runs behind the law.
    pub(super) extrapolation: Vec<ExtrapolationView>,
    /// Whether the best sparsity lies between two sparsities of the runs, with none near it.
    pub(super) interpolated: bool,
    /// How far the result can be trusted.
    pub(super) trust: TrustView,
}
