//! The best pattern that hardware can run, beside the best sparsity without one.

use serde::Serialize;
use sparsity_law::law::{
    Ceiling, Compute, DeployablePattern, NonzeroParams, Optimum, best_pattern, finite,
};
use utoipa::ToSchema;

use crate::api::questions::law::AskedLaw;
use crate::api::questions::modes::Mode;
use crate::api::wire::problem::ApiError;
use crate::api::wire::views::{IntervalView, MaybeInterval};

/// The best deployable pattern at the size and budget of the question.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternChoice)]
pub struct PatternView {
    /// Its name; `dense` where no pattern is better than the dense model.
    #[schema(example = "2:4")]
    name: String,
    /// Its nominal sparsity.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// The unstructured sparsity that the runs of this pattern were found to be worth, by which the
    /// loss was computed; null where the law has no such runs, and it was computed by the nominal one.
    effective_sparsity: Option<f64>,
    /// Predicted loss at it.
    loss: f64,
    /// Interval of the mean loss, which takes in that of `effective_sparsity`; null where the law has none.
    /// Where `effective_sparsity` is null it says nothing of how far the pattern falls short of its
    /// nominal sparsity.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    interval: MaybeInterval,
    /// Data that the compute pays for at it: steps cost as dense ones until pruning ends, or
    /// until the `pattern_start` of the family's pruning, and as the pattern does from there on.
    data: f64,
    /// How much the loss is above that of the best sparsity; below 0 where the pattern costs less than
    /// an unstructured step of its sparsity.
    excess_loss: f64,
    /// Interval of `excess_loss`, in which what makes both losses higher or lower does not count; null where
    /// the law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    excess_loss_interval: MaybeInterval,
}

impl PatternView {
    /// Its name; `dense` where no pattern is better.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Mode {
    /// The best of the patterns that the hardware can run, dense itself among them, at the size and
    /// budget of `best`, of those that keep the bounds; `None` where the mode lists none.
    ///
    /// # Errors
    /// [`ApiError::NotRepresentable`].
    pub fn pattern(
        &self,
        asked: &AskedLaw,
        (nonzero_params, compute): (NonzeroParams, Compute),
        best: &Optimum,
        ceiling: &Ceiling,
        intervals: bool,
    ) -> Result<Option<PatternView>, ApiError> {
        let Self::Profile(profile) = self else { return Ok(None) };
        let settings = &profile.settings;
        if settings.patterns.is_empty() {
            return Ok(None);
        }
        let content = &asked.law.content;
        let law = &content.coefficients;
        let patterns = asked.measured_first(&settings.patterns).into_iter().filter_map(|pattern| {
            let (name, step_cost) = (pattern.as_str(), settings.pattern_cost(pattern));
            let worth = asked.worth(pattern)?;
            let (nominal, two_of_four) = (worth.nominal, pattern.is_two_of_four());
            let allowed = ceiling.allows_pattern(nonzero_params, nominal, two_of_four);
            allowed.then_some(DeployablePattern { name, step_cost, worth })
        });
        let (k, pruning) = (content.flops_per_param, &content.pruning);
        let Some(found) = best_pattern(law, k, pruning, patterns, nonzero_params, compute) else {
            return Ok(None);
        };
        let loss = finite("the loss of a pattern", found.model.loss)?;
        let excess_loss = finite("the excess loss", found.model.loss - best.loss)?;
        let (interval, excess_loss_interval) = if intervals {
            let prepared = asked.sampled.prepared();
            let known = prepared
                .and_then(|prepared| found.intervals(law, prepared, nonzero_params, best))
                .map(|known| known.map(IntervalView::from).into());
            let (loss, excess_loss) = known.unzip();
            (Some(loss), Some(excess_loss))
        } else {
            (None, None)
        };
        let effective = found.pattern.and_then(|pattern| pattern.worth.effective);
        Ok(Some(PatternView {
            name: found.pattern.map_or("dense", |pattern| pattern.name).to_owned(),
            sparsity: found.model.density.sparsity().get(),
            effective_sparsity: effective.map(|(sparsity, _)| sparsity.get()),
            loss,
            interval,
            data: found.model.data.get(),
            excess_loss,
            excess_loss_interval,
        }))
    }
}
