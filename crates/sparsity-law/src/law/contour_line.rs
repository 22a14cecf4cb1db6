//! Contours of the optimal sparsity with their bands: a line in `(N, C)` by a law, and one by each law of its
//! resamples.

use super::coefficients::Coefficients;
use super::contour::{contour_compute, ln_contour_ratio};
use super::cost::TrainingCost;
use super::ensemble::{Ensemble, Interval};
use super::quantity::{Density, NonzeroParams};
use super::recommendation::{AnswerError, finite};
use super::sampled::SampledLaw;
use crate::pace::step;

/// The budgets at which one sparsity is optimal, or at which a dense model is compute-optimal.
///
/// ```
/// use sparsity_law::law::*;
///
/// let law = SampledLaw::new(*VIT_JFT.coefficients(), None, |loss, _| loss);
/// let cost =
///     TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Sparse);
/// let half = Density::new(0.5)?;
/// let line = ContourLine::of_density(&law, &cost, half, true).expect("every sparsity has its budget");
/// assert!((line.chinchilla_ratio()? - 1.676).abs() < 5e-4);
/// let [[size, compute]] = line.points(&[NonzeroParams::new(1e8)?])?[..] else { unreachable!() };
/// assert_eq!(size, 1e8);
/// let best = optimal_density(law.coefficients(), &cost, NonzeroParams::new(size)?, Compute::new(compute)?);
/// assert!((best.get() - 0.5).abs() < 1e-9);
/// // A published law has no resamples, so no band.
/// assert_eq!(line.band(&[NonzeroParams::new(1e8)?]), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ContourLine<'a> {
    law: &'a Coefficients,
    cost: &'a TrainingCost,
    /// `ln M` by the law fitted on all runs.
    ln_ratio: f64,
    /// `ln M` by each resampled law; NaN where the sparsity is optimal at no budget by that law.
    resampled: Option<(&'a Ensemble, Vec<f64>)>,
}

impl<'a> ContourLine<'a> {
    /// The line on which a dense model of each size is compute-optimal. The resampled laws are included if `intervals`
    /// is set.
    #[must_use]
    pub fn chinchilla(law: &'a SampledLaw, cost: &'a TrainingCost, intervals: bool) -> Self {
        let ensemble = law.ensemble().filter(|_| intervals);
        let resampled = ensemble.map(|ensemble| (ensemble, vec![0.0; ensemble.count()]));
        Self { law: law.coefficients(), cost, ln_ratio: 0.0, resampled }
    }

    /// The line on which a model of this density is the best of its size; `None` where it is the best at no budget. The
    /// resampled laws are included if `intervals` is set.
    #[must_use]
    pub fn of_density(
        law: &'a SampledLaw,
        cost: &'a TrainingCost,
        density: Density,
        intervals: bool,
    ) -> Option<Self> {
        let of = |law: &Coefficients| ln_contour_ratio(law, cost, density);
        let ln_ratio = of(law.coefficients())?;
        let resampled = law.ensemble().filter(|_| intervals).map(|ensemble| {
            let members = ensemble.members();
            let ratios = members.map(|member| {
                step();
                of(&member.coefficients).unwrap_or(f64::NAN)
            });
            (ensemble, ratios.collect::<Vec<_>>())
        });
        // Where no resampled law has such a budget, there is no interval.
        let resampled = resampled.filter(|(_, ratios)| ratios.iter().any(|ratio| !ratio.is_nan()));
        Some(Self { law: law.coefficients(), cost, ln_ratio, resampled })
    }

    /// The Chinchilla ratio `M`: the budgets of the line, relative to those at which a dense model of the same size is
    /// compute-optimal. It is the same at every size.
    ///
    /// # Errors
    /// [`AnswerError::NotFinite`] where it overflows.
    pub fn chinchilla_ratio(&self) -> Result<f64, AnswerError> {
        finite("chinchilla_ratio", self.ln_ratio.exp())
    }

    /// Interval of `M`, over the resampled laws that have a budget; `None` without resampled laws.
    #[must_use]
    pub fn ratio_interval(&self) -> Option<Interval> {
        let (ensemble, ratios) = self.resampled.as_ref()?;
        Some(ensemble.interval_of(ratios.iter().map(|ratio| ratio.exp()).collect()))
    }

    /// The points `[N, C]` of the line at the given sizes.
    ///
    /// # Errors
    /// [`AnswerError::NotFinite`] where the compute overflows.
    pub fn points(&self, sizes: &[NonzeroParams]) -> Result<Vec<[f64; 2]>, AnswerError> {
        let point = |&size: &NonzeroParams| {
            let compute = contour_compute(self.law, self.cost, size, self.ln_ratio);
            Ok([size.get(), finite("the compute of a contour", compute)?])
        };
        sizes.iter().map(point).collect()
    }

    /// The band `[N, lowest C, highest C]` at the given sizes; `None` without resampled laws.
    #[must_use]
    pub fn band(&self, sizes: &[NonzeroParams]) -> Option<Vec<[f64; 3]>> {
        let (ensemble, ratios) = self.resampled.as_ref()?;
        let at = |&size: &NonzeroParams| {
            let compute = ensemble.members().zip(ratios).map(|(member, &ratio)| {
                step();
                contour_compute(&member.coefficients, self.cost, size, ratio)
            });
            let interval = ensemble.interval_of(compute.collect());
            [size.get(), interval.low, interval.high]
        };
        Some(sizes.iter().map(at).collect())
    }
}
