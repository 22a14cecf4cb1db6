//! The best pattern that the hardware can run, shown beside the best unstructured sparsity.

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
    /// Name of the pattern, such as `2:4`, or `64 choose 2` for experts; `dense` where none is better than the dense
    /// model.
    #[schema(example = "2:4")]
    name: String,
    /// The mixture of experts, in families whose zeros are experts. Left out otherwise, and for the dense model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    experts: Option<ExpertChoiceView>,
    /// Nominal sparsity of the pattern.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// The unstructured sparsity that this pattern was measured to be worth, which was used to compute the loss: by its
    /// own runs or, if it has none, by those of a pattern of the same ratio. Null where the law has neither: the
    /// nominal sparsity was used then.
    effective_sparsity: Option<f64>,
    /// Predicted loss of the pattern.
    loss: f64,
    /// Interval of the mean loss, including the uncertainty of `effective_sparsity`; null where the law has none. Where
    /// `effective_sparsity` is null, the interval does not cover how far the pattern falls short of its nominal
    /// sparsity.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    interval: MaybeInterval,
    /// Data that the compute pays for with this pattern: steps cost as much as dense ones until pruning ends, or until
    /// the `pattern_start` of the family's pruning, and as much as the pattern's from then on.
    data: f64,
    /// Difference between this loss and that of the best sparsity; below 0 where a step with the pattern costs less
    /// than an unstructured step of the same sparsity.
    excess_loss: f64,
    /// Interval of `excess_loss`, in which errors that raise or lower both losses together cancel out; null where the
    /// law has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalView>)]
    excess_loss_interval: MaybeInterval,
}

/// Name of the choice where no pattern is better than the dense model.
const DENSE: &str = "dense";

impl PatternView {
    /// Name of the pattern; `dense` where none is better than the dense model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pattern as pictures mark it; `None` where none is better than the dense model.
    pub fn named_loss(self) -> Option<NamedLoss> {
        let Self { name, sparsity, loss, .. } = self;
        (name != DENSE).then_some(NamedLoss { name, sparsity, loss })
    }
}

impl Mode {
    /// The sparse models that can be deployed within the bounds: with the patterns of a hardware profile, or as the
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

    /// The best deployable model within the bounds, which may be dense, at the size and budget of `best`; `None` where
    /// the mode lists no patterns.
    ///
    /// # Errors
    /// [`ApiError::NotRepresentable`] where a loss is out of range.
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
