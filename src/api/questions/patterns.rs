//! The best pattern that hardware can run, beside the best sparsity without one.

use serde::Serialize;
use sparsity_law::law::{
    Ceiling, Compute, Density, DeployablePattern, ExpertChoice, ExpertGrid, NonzeroParams, Optimum,
    PatternWorth, best_pattern, finite,
};
use utoipa::ToSchema;

use crate::api::questions::law::AskedLaw;
use crate::api::questions::modes::Mode;
use crate::api::wire::problem::ApiError;
use crate::api::wire::views::{IntervalView, MaybeInterval};
use crate::api::wire::zeros::ExpertChoiceView;
use crate::draw::NamedLoss;

/// The best deployable pattern at the size and budget of the question.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternChoice)]
pub struct PatternView {
    /// Its name, such as `2:4`, or `64 choose 2` of experts; `dense` where none is better than the dense model.
    #[schema(example = "2:4")]
    name: String,
    /// The mixture of experts, of a family whose zeros are experts; left out of others, and of the dense model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    experts: Option<ExpertChoiceView>,
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

/// The name where no pattern is better than the dense model.
const DENSE: &str = "dense";

impl PatternView {
    /// Its name; `dense` where no pattern is better.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As pictures mark it; `None` where no pattern is better than the dense model.
    pub fn named_loss(self) -> Option<NamedLoss> {
        let Self { name, sparsity, loss, .. } = self;
        (name != DENSE).then_some(NamedLoss { name, sparsity, loss })
    }
}

impl Mode {
    /// The ways to be sparse that can be deployed and keep the bounds: the patterns of a hardware profile, or the
    /// mixtures of experts of the law. `None` where none are listed.
    fn deployable<'a>(
        &'a self,
        asked: &'a AskedLaw,
        nonzero_params: NonzeroParams,
        ceiling: &Ceiling,
    ) -> Option<Vec<DeployablePattern<'a>>> {
        let allows = |nominal: Density, two_of_four: bool| {
            ceiling.allows_pattern(nonzero_params, nominal, two_of_four)
        };
        if asked.law.content.zeros.are_experts() {
            let choices = asked.law.content.zeros.grid()?.choices().iter();
            let choices = choices.filter(|choice| allows(choice.density(), false));
            let pattern = |choice: &'a ExpertChoice| DeployablePattern {
                name: choice.name(),
                step_cost: self.expert_cost(choice),
                worth: PatternWorth { nominal: choice.density(), effective: None },
            };
            return Some(choices.map(pattern).collect());
        }
        let Self::Profile(profile) = self else { return None };
        let settings = &profile.settings;
        if settings.patterns.is_empty() {
            return None;
        }
        let patterns = asked.measured_first(&settings.patterns).into_iter().filter_map(|pattern| {
            let (name, step_cost) = (pattern.as_str(), settings.pattern_cost(pattern));
            let worth = asked.worth(pattern)?;
            let allowed = allows(worth.nominal, pattern.is_two_of_four());
            allowed.then_some(DeployablePattern { name, step_cost, worth })
        });
        Some(patterns.collect())
    }

    /// The best of what can be deployed, dense itself among it, at the size and
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
        let deployable = self.deployable(asked, nonzero_params, ceiling);
        let Some(deployable) = deployable else { return Ok(None) };
        let content = &asked.law.content;
        let law = &content.coefficients;
        let (k, pruning) = (content.flops_per_param, &content.pruning);
        let patterns = deployable.into_iter();
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
        let name = found.pattern.map(|pattern| pattern.name);
        let choices = content.zeros.grid().map_or(&[][..], ExpertGrid::choices);
        let experts = choices.iter().find(|choice| Some(choice.name()) == name);
        Ok(Some(PatternView {
            experts: experts.map(ExpertChoiceView::from),
            name: found.pattern.map_or(DENSE, |pattern| pattern.name).to_owned(),
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
