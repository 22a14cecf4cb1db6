//! Plans as they are sent.

use std::sync::Arc;

use serde::Serialize;
use sparsity_law::law::{self, Goal, Model, PlanNote, PlannedModel};
use utoipa::ToSchema;

use crate::api::questions::budget::BudgetView;
use crate::api::questions::law::AskedLaw;
use crate::api::questions::modes::Mode;
use crate::api::resources::profiles::StorageView;
use crate::api::wire::views::{ExtrapolationView, IntervalView, LawRef, TrustView, WarningView};

/// What a plan minimises.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PlanGoal)]
pub enum GoalView {
    /// The lowest loss at the given cost.
    LeastLoss,
    /// The lowest cost at the given loss.
    LeastCost,
}

/// The best model under the bounds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub struct PlanView {
    /// The law that the plan was computed from.
    pub(super) law: Arc<LawRef>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile.
    #[schema(example = "sparse")]
    pub(super) flop_mode: String,
    /// What was minimised.
    pub(super) goal: GoalView,
    /// The best model.
    pub(super) optimum: PlannedModelView,
    /// The best dense model at the same cost and under the same bounds, except those on the sparsity; null where there
    /// is none.
    pub(super) dense: Option<PlannedModelView>,
    /// Why there is no dense model.
    pub(super) dense_reason: Option<String>,
    /// The cheapest dense model that reaches the loss of the best model; null where no dense model does.
    pub(super) dense_at_equal_loss: Option<PlannedModelView>,
    /// The best model at the same cost that is dense, has a pattern of the hardware profile or, in a family whose zeros
    /// are experts, is one of its mixtures of experts. Null where no patterns or mixtures are listed, and where the
    /// plan is restricted to patterns anyway.
    pub(super) pattern: Option<PlannedModelView>,
    /// The bounds that hold with equality at the best model and rule out a better one: moving any of them by 1 % allows
    /// a better model. The quantity that was fixed by the goal (the cost for the lowest loss, the loss for the lowest
    /// cost) is not listed.
    #[schema(example = json!(["memory_bytes", "sparsity.max"]))]
    pub(super) binding: Vec<&'static str>,
    /// The lowest loss at other costs, from 1/100 to 100 times the cost of the best model (between 1 and 1e40). The
    /// best model is one of the points; costs rise and losses fall. The bounds on cost and loss do not apply here.
    pub(super) frontier: Vec<FrontierPointView>,
    /// Intervals; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PlanIntervalsView>)]
    pub(super) intervals: Option<Option<PlanIntervalsView>>,
    /// What was assumed where the request left something open.
    pub(super) assumed: AssumedView,
    /// The quantities of the best model that lie outside the runs behind the law.
    pub(super) extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting the plan.
    pub(super) warnings: Vec<Arc<WarningView>>,
    /// How far the plan can be trusted.
    pub(super) trust: TrustView,
}

/// A model of a plan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedModel)]
pub struct PlannedModelView {
    /// Non-zero parameters at the end of training.
    nonzero_params: f64,
    /// Parameters that a token passes, equal to `nonzero_params`, in families whose zeros are experts. Left out
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    active_params: Option<f64>,
    /// Fraction of zeros at the end of training; exactly 0 where zeros do not lower the loss.
    sparsity: f64,
    /// The pattern or recipe of the level, if the law tells runs of the same sparsity apart by it. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// Data seen in training, in the family's data unit.
    data: f64,
    /// Predicted loss.
    loss: f64,
    /// FLOPs of training and inference.
    compute: f64,
    /// The same cost in every currency that is known.
    budget: BudgetView,
    /// FLOPs of training.
    training_compute: f64,
    /// FLOPs of inference; 0 without `inference_tokens`.
    inference_compute: f64,
    /// Parameters, zeros included.
    total_params: f64,
    /// Bytes of the weights as stored by the plan.
    memory_bytes: f64,
    /// The pattern of the zeros, or the mixture of experts, such as `64 choose 2`; null where zeros may lie anywhere,
    /// or there are none.
    #[schema(example = "2:4")]
    pattern: Option<String>,
    /// The unstructured sparsity that the pattern was measured to be worth, which was used to compute the loss: by its
    /// own runs or, if it has none, by those of a pattern of the same ratio. Null where the law has neither.
    effective_sparsity: Option<f64>,
}

/// A point of the trade-off between cost and loss.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FrontierPoint)]
pub struct FrontierPointView {
    /// FLOPs of training and inference.
    compute: f64,
    /// The lowest loss at this cost.
    loss: f64,
    /// Non-zero parameters.
    nonzero_params: f64,
    /// Fraction of zeros.
    sparsity: f64,
    /// Data seen in training.
    data: f64,
}

/// How much the plan could have differed with other runs of the same kind, according to the resampled laws.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanIntervals)]
pub struct PlanIntervalsView {
    /// Interval of the loss of the planned model.
    loss: IntervalView,
    /// Interval of the loss of the planned dense model; null where there is none.
    dense_loss: Option<IntervalView>,
    /// Interval of the best sparsity, planned again by each of up to 1,000 resampled laws: the lowest loss at the cost
    /// of the plan, under the same bounds.
    sparsity: IntervalView,
    /// Interval of the best number of non-zero parameters, planned again in the same way.
    nonzero_params: IntervalView,
    /// Interval of the best amount of data, planned again in the same way.
    data: IntervalView,
}

/// What a plan assumed where the request left it open.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanAssumptions)]
pub struct AssumedView {
    /// How weights are stored.
    pub(super) storage: StorageView,
    /// Bits per value.
    #[schema(example = 16)]
    pub(super) bits_per_param: u32,
    /// The highest sparsity that was considered.
    #[schema(example = 0.875)]
    pub(super) max_sparsity: f64,
    /// The patterns that were considered; null where zeros may lie anywhere.
    pub(super) patterns: Option<Vec<String>>,
}

impl PlannedModelView {
    pub(super) fn new(planned: PlannedModel<'_>, (asked, mode): (&AskedLaw, &Mode)) -> Self {
        let PlannedModel { model, pattern } = planned;
        let effective = pattern.and_then(|pattern| pattern.worth.effective);
        Self {
            nonzero_params: model.nonzero_params,
            active_params: asked.active_params(model.nonzero_params),
            sparsity: model.scheme.density.sparsity().get(),
            level: asked.level_name(model.scheme.level),
            data: model.data,
            loss: model.loss,
            compute: model.compute(),
            budget: BudgetView::new(model.compute(), mode),
            training_compute: model.training_compute,
            inference_compute: model.inference_compute,
            total_params: model.total_params(),
            memory_bytes: model.memory_bytes(),
            pattern: pattern.map(|pattern| pattern.name.to_owned()),
            effective_sparsity: effective.map(|(sparsity, _)| sparsity.get()),
        }
    }
}

impl From<Model> for FrontierPointView {
    fn from(model: Model) -> Self {
        Self {
            compute: model.compute(),
            loss: model.loss,
            nonzero_params: model.nonzero_params,
            sparsity: model.scheme.density.sparsity().get(),
            data: model.data,
        }
    }
}

impl From<Goal> for GoalView {
    fn from(goal: Goal) -> Self {
        match goal {
            Goal::LeastLoss => Self::LeastLoss,
            Goal::LeastCost => Self::LeastCost,
        }
    }
}

impl From<law::PlanIntervals> for PlanIntervalsView {
    fn from(intervals: law::PlanIntervals) -> Self {
        Self {
            loss: intervals.loss.into(),
            dense_loss: intervals.dense_loss.map(Into::into),
            sparsity: intervals.sparsity.into(),
            nonzero_params: intervals.nonzero_params.into(),
            data: intervals.data.into(),
        }
    }
}

impl From<PlanNote> for WarningView {
    fn from(note: PlanNote) -> Self {
        match note {
            PlanNote::SparsityLimited => {
                let detail = "more zeros would be better by this law, but no run behind it is \
                              sparser: sparsity.max allows more";
                Self::new("sparsity_limited", detail)
            }
            PlanNote::ComputeNotSpent { share } => {
                let detail =
                    format!("the bounds leave no use for more than {share:.3} of the compute");
                Self::new("compute_not_spent", detail)
            }
            PlanNote::DenseIsBetter => {
                let detail =
                    "a dense model, which the bounds on the sparsity forbid, would be better";
                Self::new("dense_is_better", detail)
            }
            PlanNote::RangeEnd(quantity) => {
                let quantity = quantity.as_str();
                let detail = format!(
                    "the best {quantity} lies at the end of the range that is answered for"
                );
                Self::new("range_end", detail)
            }
        }
    }
}
