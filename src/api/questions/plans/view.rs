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

/// What a plan makes the best of.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PlanGoal)]
pub enum GoalView {
    /// The least loss at the cost.
    LeastLoss,
    /// The least cost at the loss.
    LeastCost,
}

/// The best model under bounds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub struct PlanView {
    /// The law that it was computed from.
    pub(super) law: Arc<LawRef>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile.
    #[schema(example = "sparse")]
    pub(super) flop_mode: String,
    /// What was made least.
    pub(super) goal: GoalView,
    /// The best model.
    pub(super) optimum: PlannedModelView,
    /// The best dense model at the same cost under the same bounds but those on the sparsity; null
    /// where there is none.
    pub(super) dense: Option<PlannedModelView>,
    /// Why there is no dense model.
    pub(super) dense_reason: Option<String>,
    /// The dense model of the least cost that reaches the loss of the best model; null where none
    /// does.
    pub(super) dense_at_equal_loss: Option<PlannedModelView>,
    /// The best model at the same cost that is dense or has a pattern of the hardware profile, or a mixture of experts
    /// of the family; null where none are listed, and where the plan is by patterns anyway.
    pub(super) pattern: Option<PlannedModelView>,
    /// The bounds that hold with equality at the best model and keep a better one away: each gives
    /// way to one when it is moved by 1 %. What was asked for (the cost of the least loss, the loss
    /// of the least cost) is not among them.
    #[schema(example = json!(["memory_bytes", "sparsity.max"]))]
    pub(super) binding: Vec<&'static str>,
    /// The least loss at other costs, from 1/100 to 100 times that of the best model (between 1
    /// and 1e40), which is one of the points: costs rise, losses fall. The bounds on cost and loss are not kept there.
    pub(super) frontier: Vec<FrontierPointView>,
    /// Intervals; null where the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PlanIntervalsView>)]
    pub(super) intervals: Option<Option<PlanIntervalsView>>,
    /// What was assumed where nothing was said.
    pub(super) assumed: AssumedView,
    /// The quantities of the best model that lie outside the runs behind the law.
    pub(super) extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting it.
    pub(super) warnings: Vec<Arc<WarningView>>,
    /// How far it can be trusted.
    pub(super) trust: TrustView,
}

/// A model of a plan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedModel)]
pub struct PlannedModelView {
    /// Non-zero parameters at the end of training.
    nonzero_params: f64,
    /// The same, of a family whose zeros are experts: what a token passes. Left out of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    active_params: Option<f64>,
    /// Fraction of zeros at the end of training; exactly 0 where zeros do not lower the loss.
    sparsity: f64,
    /// The pattern or recipe of the level, of a law that tells runs of one sparsity apart by it. Left out of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// Data seen in training, in the family's data unit.
    data: f64,
    /// Predicted loss.
    loss: f64,
    /// FLOPs of training and inference.
    compute: f64,
    /// The same in every currency that is known.
    budget: BudgetView,
    /// FLOPs of training.
    training_compute: f64,
    /// FLOPs of inference; 0 without `inference_tokens`.
    inference_compute: f64,
    /// Parameters, zeros included.
    total_params: f64,
    /// Bytes of the weights in the storage of the plan.
    memory_bytes: f64,
    /// The pattern of the zeros, or the mixture of experts, such as `64 choose 2`; null where zeros lie anywhere, or
    /// there are none.
    #[schema(example = "2:4")]
    pattern: Option<String>,
    /// The unstructured sparsity that the runs of the pattern were found to be worth, by which the
    /// loss was computed; null where the law has no such runs.
    effective_sparsity: Option<f64>,
}

/// A point of the trade-off between cost and loss.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FrontierPoint)]
pub struct FrontierPointView {
    /// FLOPs of training and inference.
    compute: f64,
    /// The least loss at this cost.
    loss: f64,
    /// Non-zero parameters.
    nonzero_params: f64,
    /// Fraction of zeros.
    sparsity: f64,
    /// Data seen in training.
    data: f64,
}

/// What other runs of the same kind might have told, by the resampled laws.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanIntervals)]
pub struct PlanIntervalsView {
    /// Of the loss of the best model as planned.
    loss: IntervalView,
    /// Of the loss of the dense model as planned; null where there is none.
    dense_loss: Option<IntervalView>,
    /// Of the sparsity, planned again by each of up to 1,000 resampled laws: the least loss at the
    /// cost of the plan, under the same bounds.
    sparsity: IntervalView,
    /// Of the non-zero parameters, planned again in the same way.
    nonzero_params: IntervalView,
    /// Of the data, planned again in the same way.
    data: IntervalView,
}

/// What a plan assumed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanAssumptions)]
pub struct AssumedView {
    /// How weights are stored.
    pub(super) storage: StorageView,
    /// Bits of a value.
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
