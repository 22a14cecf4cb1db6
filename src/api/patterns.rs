//! The best pattern that hardware can run, beside the best sparsity without one.

use serde::Serialize;
use utoipa::ToSchema;

use super::asked::{AskedLaw, PatternWorth, finite};
use super::modes::Mode;
use super::problem::ApiError;
use super::questions::MaybeInterval;
use super::views::IntervalView;
use crate::law::{Compute, Density, Interval, NonzeroParams, Optimum, train_pattern};

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
    /// Data that the compute pays for at it: steps cost as dense ones until pruning ends, and as the
    /// pattern does from there on.
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

/// A model that the hardware can run, or the dense one.
struct Candidate<'a> {
    name: &'a str,
    /// `None` for dense.
    worth: Option<PatternWorth>,
    model: Optimum,
}

impl Mode {
    /// The best of the patterns that the hardware can run, dense itself among them, at the size and
    /// budget of `best`; `None` where the mode lists none.
    ///
    /// # Errors
    /// [`ApiError::NotRepresentable`].
    pub fn pattern(
        &self,
        asked: &AskedLaw,
        (nonzero_params, compute): (NonzeroParams, Compute),
        best: &Optimum,
        intervals: bool,
    ) -> Result<Option<PatternView>, ApiError> {
        let Self::Profile(profile) = self else { return Ok(None) };
        let settings = &profile.settings;
        if settings.patterns.is_empty() {
            return Ok(None);
        }
        let content = &asked.law.content;
        let train = |step_cost, nominal, effective| {
            // A budget that pays for no amount of data that is one is no candidate.
            train_pattern(
                &content.coefficients,
                content.flops_per_param,
                content.pruning,
                step_cost,
                nominal,
                effective,
                nonzero_params,
                compute,
            )
            .ok()
        };
        let dense = train(1.0, Density::DENSE, Density::DENSE);
        let dense = dense.map(|model| Candidate { name: "dense", worth: None, model });
        let patterns = settings.patterns.iter().filter_map(|pattern| {
            let worth = asked.worth(pattern)?;
            let model = train(settings.pattern_cost(pattern), worth.nominal, worth.density())?;
            Some(Candidate { name: pattern.as_str(), worth: Some(worth), model })
        });
        let candidates = dense.into_iter().chain(patterns);
        let least = candidates.min_by(|a, b| a.model.loss.total_cmp(&b.model.loss));
        least.map(|least| least.view(asked, nonzero_params, best, intervals)).transpose()
    }
}

impl Candidate<'_> {
    fn view(
        &self,
        asked: &AskedLaw,
        nonzero_params: NonzeroParams,
        best: &Optimum,
        intervals: bool,
    ) -> Result<PatternView, ApiError> {
        let Self { name, worth, model } = self;
        let loss = finite("the loss of a pattern", model.loss)?;
        let excess_loss = finite("the excess loss", model.loss - best.loss)?;
        let (interval, excess_loss_interval) = match intervals {
            true => {
                let found = self.intervals(asked, nonzero_params, best).map(|found| {
                    let [loss, excess_loss] = found.map(IntervalView::from);
                    (loss, excess_loss)
                });
                let (loss, excess_loss) = found.unzip();
                (Some(loss), Some(excess_loss))
            }
            false => (None, None),
        };
        Ok(PatternView {
            name: (*name).to_owned(),
            sparsity: model.density.sparsity().get(),
            effective_sparsity: worth.as_ref().and_then(PatternWorth::effective),
            loss,
            interval,
            data: model.data.get(),
            excess_loss,
            excess_loss_interval,
        })
    }

    /// The intervals of the loss and of how much it is above that of the best sparsity.
    fn intervals(
        &self,
        asked: &AskedLaw,
        nonzero_params: NonzeroParams,
        best: &Optimum,
    ) -> Option<[Interval; 2]> {
        let Self { worth, model, .. } = self;
        let prepared = asked.prepared.as_ref()?;
        let density = worth.map_or(Density::DENSE, |worth| worth.density());
        let losses = prepared.losses(density, nonzero_params, model.data);
        let of_best = prepared.losses(best.density, nonzero_params, best.data);
        let excess: Vec<_> = losses.iter().zip(&of_best).map(|(loss, best)| loss - best).collect();
        // Far outside the data both may be beyond all numbers.
        if excess.iter().any(|excess| excess.is_nan()) {
            return None;
        }
        // Found from runs of the pattern's own, whose noise is not the laws'. In part both move together, as
        // each resampled law finds another worth: taken as independent the intervals are rather too wide.
        let of_worth = worth.and_then(|worth| worth.interval()).map(|ends| {
            let law = &asked.law.content.coefficients;
            ends.map(|density| law.loss(density, nonzero_params, model.data) - model.loss)
        });
        let widened = |value: f64, interval: Interval| match of_worth {
            Some([one, other]) => interval.widened(value, one.min(other), one.max(other)),
            None => interval,
        };
        Some([
            widened(model.loss, prepared.interval_of(losses)),
            widened(model.loss - best.loss, prepared.interval_of(excess)),
        ])
    }
}
