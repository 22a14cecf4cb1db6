//! Suggested runs as they are sent.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::wire::fit_options::ResidualView;
use crate::api::wire::views::{ExtrapolationView, IntervalView, LawRef, TrustView, WarningView};

/// What to run next.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suggestions)]
pub struct SuggestionsView {
    /// The law that it was computed from.
    pub(super) law: Arc<LawRef>,
    /// The answer as it stands.
    pub(super) target: TargetView,
    /// The runs to make together, the one that narrows most first. One may come more than once:
    /// with another seed.
    pub(super) suggestions: Vec<SuggestedRunView>,
    /// FLOPs of all of them.
    pub(super) compute: f64,
    /// Width of the answer's interval after all of them over the width now.
    #[schema(example = 0.6)]
    pub(super) expected_width_ratio: f64,
    /// Single runs, rising in cost, such that none of the grid is both cheaper and better; at most 8,
    /// spread over the costs.
    pub(super) alternatives: Vec<SuggestedRunView>,
    /// What the expectation rests on.
    pub(super) information: InformationView,
    /// The quantities of the target that lie outside the runs behind the law.
    pub(super) extrapolation: Vec<ExtrapolationView>,
    /// What to know before trusting it.
    pub(super) warnings: Vec<Arc<WarningView>>,
    /// How far the answer that is to be narrowed can be trusted.
    pub(super) trust: TrustView,
}

/// An answer as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TargetAnswer)]
pub struct TargetView {
    /// What the law says.
    pub(super) value: f64,
    /// Its interval; null where the law has none.
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
    /// The name of its level, where a law of the form `levels` tells runs of one sparsity apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) level: Option<String>,
    /// Data to see in training.
    pub(super) data: f64,
    /// Its training cost in FLOPs.
    pub(super) compute: f64,
    /// Loss that the law predicts.
    pub(super) predicted_loss: f64,
    /// Width of the answer's interval after it, and after the suggestions before it, over the width
    /// now. Of an alternative, after it alone.
    #[schema(example = 0.8)]
    pub(super) expected_width_ratio: f64,
    /// Its quantities that lie outside the runs behind the law: there the law's form is a conjecture.
    pub(super) extrapolation: Vec<ExtrapolationView>,
}

/// What the expected widths rest on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DesignInformation)]
pub struct InformationView {
    /// Runs behind the law.
    pub(super) runs: usize,
    /// Standard deviation of their residuals. A new run is taken to scatter as they do, and to count
    /// as one run of weight 1.
    #[schema(example = 0.005)]
    pub(super) noise: f64,
    /// What the residuals are.
    pub(super) residual: ResidualView,
}
