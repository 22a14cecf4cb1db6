//! The best of the measured sparsities, where the runs do not determine what lies between and beyond them.

use super::coefficients::Coefficients;
use super::cost::TrainingCost;
use super::ensemble::Interval;
use super::optimum::{Optimum, chinchilla_ratio};
use super::quantity::{Compute, Density, NonzeroParams, Sparsity};
use super::recommendation::{AnswerError, Recommendation, finite};
use super::sampled::SampledLaw;

/// One of the measured sparsities at a size and a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredSparsity {
    /// The model: its density, the data that the budget pays for, and its loss.
    pub model: Optimum,
    /// Index of the level, for a law of the form `levels`; `None` for other forms.
    pub level: Option<usize>,
    /// Interval of the loss; `None` where the law has no resamples.
    pub loss: Option<Interval>,
    /// Share of the resampled laws by which this sparsity is the best of the measured ones, 0 to 1; `None` where the
    /// law has no resamples.
    pub share: Option<f64>,
}

/// The measured sparsities at a size and a budget, and which of them is best.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredChoice {
    /// All measured sparsities in rising order; at least one.
    pub levels: Vec<MeasuredSparsity>,
    /// Index of the one with the least loss.
    pub best: usize,
}

impl MeasuredChoice {
    /// The measured sparsity with the least loss.
    #[must_use]
    pub fn best(&self) -> &MeasuredSparsity {
        &self.levels[self.best]
    }

    /// Interval of the best sparsity, from one level to another: the shortest run of adjacent levels that leaves out no
    /// more than the share `tail` of the resampled laws at each end. `None` where there are no resampled laws.
    #[must_use]
    pub fn interval(&self, level: f64, tail: f64) -> Option<Interval> {
        let passes = |levels: &mut dyn Iterator<Item = &MeasuredSparsity>| {
            let mut below = 0.0;
            for each in levels {
                below += each.share?;
                // The shares are multiples of one fraction; rounding of their sum must not leave out a level.
                if below > tail + 1e-12 {
                    return Some(each.model.sparsity().get());
                }
            }
            None
        };
        let low = passes(&mut self.levels.iter())?;
        let high = passes(&mut self.levels.iter().rev())?;
        Some(Interval { level, low: low.min(high), high: high.max(low) })
    }

    /// The recommendation that follows from the best measured sparsity, as it would from the best of all sparsities.
    ///
    /// # Errors
    /// [`AnswerError::Data`] where the budget pays for no representable amount of data without zeros,
    /// [`AnswerError::NotFinite`] where a number overflows.
    pub fn recommendation(
        &self,
        law: &Coefficients,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Result<Recommendation, AnswerError> {
        let best = self.best().model;
        let data = cost.data(Density::DENSE, nonzero_params, compute)?;
        let loss = law.loss(Density::DENSE, nonzero_params, data);
        let found = Recommendation {
            best,
            total_params: best.total_params(nonzero_params),
            dense: Optimum { density: Density::DENSE, data, loss },
            gain: law.gain(best.density),
            chinchilla_ratio: chinchilla_ratio(law, cost, nonzero_params, compute),
        };
        found.finite()
    }
}

impl SampledLaw {
    /// Finds which of the given sparsities has the least loss at a size and a budget; `None` where none is given.
    ///
    /// # Errors
    /// [`AnswerError::Data`] where the budget pays for no representable amount of data at one of them,
    /// [`AnswerError::NotFinite`] where a loss overflows.
    pub fn best_measured(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        sparsities: &[Sparsity],
    ) -> Result<Option<MeasuredChoice>, AnswerError> {
        let mut levels = Vec::with_capacity(sparsities.len());
        for sparsity in sparsities {
            let density = sparsity.density();
            let data = cost.data(density, nonzero_params, compute)?;
            let loss = finite("the loss", self.coefficients().loss(density, nonzero_params, data))?;
            let interval = self.loss_intervals(density, nonzero_params, data).map(|(mean, _)| mean);
            levels.push(MeasuredSparsity {
                model: Optimum { density, data, loss },
                level: None,
                loss: interval,
                share: None,
            });
        }
        let least =
            |losses: &[f64]| (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b]));
        let losses: Vec<f64> = levels.iter().map(|level| level.model.loss).collect();
        let Some(best) = least(&losses) else { return Ok(None) };
        if let Some(ensemble) = self.ensemble() {
            let mut wins = vec![0_u32; levels.len()];
            for member in ensemble.members() {
                let loss = |level: &MeasuredSparsity| {
                    let Optimum { density, data, .. } = level.model;
                    member.coefficients.loss(density, nonzero_params, data)
                };
                let losses: Vec<f64> = levels.iter().map(loss).collect();
                wins[least(&losses).unwrap_or(best)] += 1;
            }
            let members = ensemble.count() as f64;
            for (level, wins) in levels.iter_mut().zip(wins) {
                level.share = Some(f64::from(wins) / members);
            }
        }
        Ok(Some(MeasuredChoice { levels, best }))
    }
}
