//! The best sparsity for one of many budgets, by a law of the form `levels` or `experts`.

use sparsity_law::law::{
    Compute, Extrapolation, FormAnswer, FormRecommendation, NonzeroParams, Question, Ranges,
    Repetition, SampledForm, TrainingCost,
};

use crate::api::questions::bounds::Bounds;
use crate::api::questions::law::{AskedLaw, relative_width, sparsity_width};
use crate::api::questions::modes::Mode;
use crate::api::questions::optimal_sparsity::own_bounded_answer;
use crate::api::wire::problem::ApiError;
use crate::api::wire::views::{IntervalView, TrustView};
use crate::domain::trust::TrustCode;

/// One answer, with what a row of a bulk answer shows.
pub(crate) struct OwnOptimum {
    pub(crate) found: FormRecommendation,
    /// Whether the law has the form `levels`.
    pub(crate) of_levels: bool,
    /// The bounds that rule out a better sparsity.
    pub(crate) binding: Vec<&'static str>,
    /// Interval of the best sparsity.
    pub(crate) interval: Option<IntervalView>,
    /// Interval of the loss at the best sparsity.
    pub(crate) loss_interval: Option<IntervalView>,
    pub(crate) outside: Vec<Extrapolation>,
    /// Whether the best sparsity lies between two sparsities of the runs, for a law that knows something between them.
    pub(crate) interpolated: bool,
    pub(crate) trust: TrustView,
}

impl OwnOptimum {
    /// Finds the best sparsity for a size and a budget under bounds.
    ///
    /// # Errors
    /// The same as [`own_bounded_answer`].
    pub(crate) fn find(
        asked: &AskedLaw,
        own: &SampledForm,
        (nonzero_params, compute, bounds): (NonzeroParams, Compute, &Bounds),
        (mode, cost, ranges): (&Mode, &TrainingCost, &Ranges),
        repetition: Option<&Repetition>,
        intervals: bool,
    ) -> Result<Self, ApiError> {
        let asked_for = (nonzero_params, compute);
        let ceiling = bounds.ceiling(mode);
        let least = ceiling.least_density(nonzero_params)?;
        let question = (asked_for, repetition);
        let (answer, binding) =
            own_bounded_answer(asked, own, question, (cost, mode), (&ceiling, least), intervals)?;
        let FormAnswer { found, choice, intervals: known } = answer;
        let (density, data) = (found.best.density, found.best.data);
        let outside: Vec<Extrapolation> = ranges
            .outside(&Question { nonzero_params, density, data, cost: Some(cost), repetition })
            .into_iter()
            .flatten()
            .collect();
        let interval = known.map(|known| IntervalView::from(known.sparsity));
        let loss_interval = known.map(|known| IntervalView::from(known.loss));
        let width = match &choice {
            Some(_) => relative_width(loss_interval, found.best.loss),
            None => sparsity_width(interval),
        };
        let mut trust = asked.trust(width, &outside);
        if asked.assumed_repetition(repetition, data).is_some() {
            trust.doubt(TrustCode::RepetitionAssumed);
        }
        let free = repetition.is_none() && bounds.is_none();
        if free && asked.disagreeing_forms(cost, asked_for, interval).is_some() {
            trust.doubt(TrustCode::FormsDisagree);
        }
        let gap = asked.law.content.support.gap_around(found.best.sparsity());
        Ok(Self {
            found,
            of_levels: choice.is_some(),
            binding,
            interval,
            loss_interval,
            outside,
            interpolated: choice.is_none() && gap.is_some(),
            trust,
        })
    }
}
