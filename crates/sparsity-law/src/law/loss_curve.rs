//! The loss as a function of sparsity at one size and one budget: the cost and the savings of zeros.

use super::cost::TrainingCost;
use super::ensemble::Interval;
use super::optimum::{Optimum, optimal_sparsity, optimal_sparsity_down_to};
use super::quantity::{Compute, Data, Density, NonzeroParams};
use super::recommendation::AnswerError;
use super::recommendation::finite;
use super::sampled::SampledLaw;

/// How far a curve extends past the best sparsity in `-ln(1 - S)`: to a seventh of its density.
const PAST: f64 = 2.0;
/// Least extent of a curve in `-ln(1 - S)`: to a sparsity of 95 %.
const LEAST_END: f64 = 3.0;

/// The losses at one size and one budget. The law must describe size, sparsity and data.
///
/// ```
/// use sparsity_law::law::*;
///
/// let law = SampledLaw::new(*T5_C4.coefficients(), None, |loss, _| loss);
/// let cost =
///     TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Sparse);
/// let (nonzero_params, compute) = (NonzeroParams::new(1e8)?, Compute::new(1e19)?);
/// let curve = LossCurve { law: &law, cost: &cost, nonzero_params, compute, least: None, intervals: false };
/// let best = curve.best()?;
/// assert!((best.sparsity().get() - 0.593361640).abs() < 1e-8);
/// // Dense first, and nowhere below the best.
/// let points = curve.points(best.density, 41)?;
/// assert_eq!(points[0].density, Density::DENSE);
/// assert!(points.iter().all(|point| point.loss >= best.loss));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LossCurve<'a> {
    /// The law with its resamples.
    pub law: &'a SampledLaw,
    /// The cost of training.
    pub cost: &'a TrainingCost,
    /// `N`: non-zero parameters.
    pub nonzero_params: NonzeroParams,
    /// `C`: training compute in FLOPs.
    pub compute: Compute,
    /// The least density, where the sparsity is bounded.
    pub least: Option<Density>,
    /// Whether to compute intervals.
    pub intervals: bool,
}

/// The loss at one sparsity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossPoint {
    /// `1 - S`.
    pub density: Density,
    /// Data that the budget pays for at this sparsity.
    pub data: Data,
    /// Predicted loss; finite.
    pub loss: f64,
    /// Interval of the mean loss; `None` where none was requested, or the law has no resamples.
    pub interval: Option<Interval>,
}

impl LossCurve<'_> {
    /// The model with the least loss.
    ///
    /// # Errors
    /// [`AnswerError::Data`] where the budget pays for no representable amount of data.
    pub fn best(&self) -> Result<Optimum, AnswerError> {
        let Self { law, cost, nonzero_params, compute, .. } = *self;
        let law = law.coefficients();
        Ok(match self.least {
            None => optimal_sparsity(law, cost, nonzero_params, compute),
            Some(least) => optimal_sparsity_down_to(least, law, cost, nonzero_params, compute),
        }?)
    }

    /// Interval of the best sparsity, where `best` is the best density by the law of all runs; `None` where no interval
    /// was requested, or the law has no resamples.
    #[must_use]
    pub fn best_interval(&self, best: Density) -> Option<Interval> {
        let Self { law, cost, nonzero_params, compute, .. } = *self;
        match self.least {
            _ if !self.intervals => None,
            None => law.optimum_interval(cost, nonzero_params, compute, best),
            Some(least) => law.bounded_optimum_interval(least, cost, nonzero_params, compute),
        }
    }

    /// The loss at a density.
    ///
    /// # Errors
    /// [`AnswerError::Data`] where the budget pays for no representable amount of data,
    /// [`AnswerError::NotFinite`] where the loss overflows.
    pub fn at(&self, density: Density) -> Result<LossPoint, AnswerError> {
        let Self { law, cost, nonzero_params: size, compute, .. } = *self;
        let data = cost.data(density, size, compute)?;
        let loss = finite("the loss", law.coefficients().loss(density, size, data))?;
        let interval = if self.intervals {
            let interval = law.interval(|member| member.coefficients.loss(density, size, data));
            interval.map(|interval| law.widen_mean(interval, (density, size, data), loss))
        } else {
            None
        };
        Ok(LossPoint { density, data, loss, interval })
    }

    /// The `count` points of the curve, at least 2, evenly spaced in the logarithm of the density.
    ///
    /// They extend from dense to well past the best sparsity: to a seventh of its density or to 95 %, whichever is
    /// sparser, but not beyond the bound.
    ///
    /// # Errors
    /// As for [`Self::at`].
    pub fn points(&self, best: Density, count: u32) -> Result<Vec<LossPoint>, AnswerError> {
        curve_densities(best, self.least, count).map(|density| self.at(density)).collect()
    }
}

/// Densities of the points of a curve with this best density, as in [`LossCurve::points`].
pub fn curve_densities(
    best: Density,
    least: Option<Density>,
    count: u32,
) -> impl Iterator<Item = Density> {
    let end = (PAST - best.get().ln()).max(LEAST_END);
    let end = least.map_or(end, |least| end.min(-least.get().ln()));
    let last = f64::from(count.max(2) - 1);
    (0..count).map(move |point| Density::clamped((-end * f64::from(point) / last).exp()))
}
