//! Suggested runs as they are sent.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::wire::fit_options::ResidualView;
use crate::api::wire::views::{ExtrapolationView, IntervalView, LawRef, TrustView, WarningView};

/// Which runs to make next.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suggestions)]
pub struct SuggestionsView {
    /// The law that the suggestions were computed from.
    pub(super) law: Arc<LawRef>,
    /// The answer to be narrowed, as the law gives it now.
    pub(super) target: TargetView,
    /// The runs to make together, the one that narrows most first. The same run may appear more than once: make it
    /// again with another seed.
    pub(super) suggestions: Vec<SuggestedRunView>,
    /// FLOPs of all suggested runs together.
    pub(super) compute: f64,
    /// Expected width of the answer's interval after all suggested runs, relative to the width now.
    #[schema(example = 0.6)]
    pub(super) expected_width_ratio: f64,
    /// Single runs as alternatives, by rising cost: no other run of the grid is both cheaper and better. At most 8,
    /// spread over the costs.
    pub(super) alternatives: Vec<SuggestedRunView>,
    /// The data that the expected widths are based on.
    pub(super) information: InformationView,
    /// The quantities of the target that lie outside the runs behind the law.
    pub(super) extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting the suggestions.
    pub(super) warnings: Vec<Arc<WarningView>>,
    /// How far the answer to be narrowed can be trusted.
    pub(super) trust: TrustView,
}

/// An answer as the law gives it now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TargetAnswer)]
pub struct TargetView {
    /// Value by the law.
    pub(super) value: f64,
    /// Interval of the value; null where the law has none.
    pub(super) interval: Option<IntervalView>,
}

/// A run that might be made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SuggestedRun)]
pub struct SuggestedRunView {
    /// Non-zero parameters at the end of training.
    pub(super) nonzero_params: f64,
    /// Fraction of zeros at the end of training.
    pub(super) sparsity: f64,
    /// The name of the level, where a law of the form `levels` tells runs of the same sparsity apart. Left out
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) level: Option<String>,
    /// Data to be seen in training.
    pub(super) data: f64,
    /// Training cost in FLOPs.
    pub(super) compute: f64,
    /// Loss that the law predicts.
    pub(super) predicted_loss: f64,
    /// Expected width of the answer's interval after this run and the suggestions listed before it, relative to the
    /// width now. For an alternative, after this run alone.
    #[schema(example = 0.8)]
    pub(super) expected_width_ratio: f64,
    /// The quantities of the run that lie outside the runs behind the law, where the law's form is a conjecture.
    pub(super) extrapolation: Vec<ExtrapolationView>,
}

/// The data that the expected widths are based on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DesignInformation)]
pub struct InformationView {
    /// Number of runs behind the law.
    pub(super) runs: usize,
    /// Standard deviation of the residuals of these runs. A new run is assumed to scatter as much, and to count as one
    /// run of weight 1.
    #[schema(example = 0.005)]
    pub(super) noise: f64,
    /// How the residuals are measured.
    pub(super) residual: ResidualView,
}
