//! The result of a fit, and how far it can be trusted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::Holdout;
use super::descent::Termination;
use super::lack_of_fit::CellTest;
use super::warnings::Warning;
use crate::law::{
    CoefficientName, Coefficients, Ensemble, Factor, FormLaw, Identification, Interval, Range,
    RollingError, Support,
};

/// Result of a fit.
///
/// The intervals of the coefficients, and of every answer derived from them, come from the laws fitted on
/// resampled runs:
///
/// ```
/// use sparsity_law::fit::{Control, FitConfig, Observation, Observations, WarningCode, fit};
/// use sparsity_law::law::*;
///
/// // A grid of runs by the published law of T5, each loss 0.2 % too high or too low.
/// let truth = T5_C4.coefficients();
/// let mut runs = Vec::new();
/// for (i, n) in [1e6, 4e6, 16e6, 64e6].into_iter().enumerate() {
///     for (j, s) in [0.0, 0.5, 0.75, 0.875].into_iter().enumerate() {
///         for (k, d) in [1e9, 4e9, 16e9, 64e9].into_iter().enumerate() {
///             let (n, s, d) = (NonzeroParams::new(n)?, Sparsity::new(s)?, Data::new(d)?);
///             let off = if (i * 7 + j * 5 + k * 3) % 4 < 2 { 1.002 } else { 0.998 };
///             let loss = Loss::new(truth.loss(s.density(), n, d) * off)?;
///             runs.push(Observation { nonzero_params: n, sparsity: s, data: d, loss });
///         }
///     }
/// }
/// let config = FitConfig { bootstrap: 200, ..FitConfig::default() }.check().expect("in range");
/// let report = fit(&Observations::new(runs).into(), &config, &Control::NONE)?;
///
/// let ensemble = report.ensemble.as_ref().expect("resamples were asked for");
/// let b_s = ensemble.coefficient_intervals()[&CoefficientName::BS];
/// assert!(b_s.contains(truth.values().b_s), "{b_s:?}");
///
/// // How sparse should 100 M non-zeros be, trained with 1e20 FLOPs where zeros are free?
/// let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Sparse);
/// let (n, c) = (NonzeroParams::new(1e8)?, Compute::new(1e20)?);
/// let best = |law: &Coefficients| optimal_density(law, &cost, n, c).sparsity().get();
/// let interval = ensemble.interval(|member| best(&member.coefficients));
/// assert!(interval.contains(best(truth)) && interval.high - interval.low < 0.1, "{interval:?}");
///
/// // What the runs cannot tell is said; these vary data apart from size.
/// assert!(report.warnings.iter().all(|warning| warning.code != WarningCode::Collinear));
/// // And the question lies beyond them.
/// let data = cost.data(optimal_density(&report.coefficients, &cost, n, c), n, c)?;
/// assert!(data.get() > report.support.data().expect("there are runs").max);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Best coefficients, in raw units. For a form with its own coefficients: the part of its law that the paper's
    /// seven coefficients can express.
    pub coefficients: Coefficients,
    /// The law, for a form with its own coefficients; `None` for all other forms.
    pub own: Option<FormLaw>,
    /// Weighted mean Huber loss at the best coefficients.
    pub objective: f64,
    /// Number of runs that the law was fitted on.
    pub runs: usize,
    /// Laws fitted on resampled runs; `None` where no resamples were made or none determined a law.
    pub ensemble: Option<Ensemble>,
    /// Number of resamples that determined no law.
    pub failed_resamples: u32,
    /// Quality of the fit and the evidence behind it.
    pub diagnostics: Diagnostics,
    /// Prediction and residual of each run, in canonical order.
    pub fitted: Vec<FittedRun>,
    /// Effective sparsity of each structured pattern.
    pub patterns: Vec<PatternReport>,
    /// Fit of the runs from pretrained checkpoints; `None` where there are no such runs or their fit is not possible.
    pub pretrained: Option<PretrainedReport>,
    /// Warnings about what the runs cannot tell.
    pub warnings: Vec<Warning>,
    /// Ranges of size, sparsity and data that the runs cover.
    pub support: Support,
    /// Digest of the runs, see [`super::Observations::digest`].
    pub data_digest: String,
}

/// Quality of a fit and the evidence behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// Share of the starts, 0 to 1, whose objective is within 0.1 % of the best and whose answers over the range
    /// of the runs match the best start's: losses within 0.1 %, best sparsities within 0.01.
    pub agreement: f64,
    /// Outcome of every start, by index.
    pub starts: Vec<StartReport>,
    /// Robust standard deviation of the residuals, in the unit of the residual, corrected for the number of fitted
    /// coefficients.
    #[serde(default)]
    pub noise: f64,
    /// Where the Huber loss turned linear, in units of the residual; `None` for fits that were given a delta and
    /// did not record it.
    #[serde(default)]
    pub delta: Option<f64>,
    /// The fitted coefficients, in the order of the rows and columns of [`Self::correlations`]. Empty for a form
    /// with its own coefficients, as are all other diagnostics of single coefficients.
    #[serde(default)]
    pub fitted: Vec<CoefficientName>,
    /// Correlation matrix of the logarithms of the fitted coefficients, row by row, with size, data and loss in units
    /// of their geometric means over the runs; empty where the runs do not determine all coefficients.
    #[serde(default)]
    pub correlations: Vec<Vec<f64>>,
    /// Ratio of the largest to the smallest singular value of the Jacobian, its columns scaled to unit length;
    /// `None` where the smallest is 0 to rounding.
    #[serde(default)]
    pub condition: Option<f64>,
    /// Profile interval of each fitted exponent.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// Results of the hold-outs: how well runs that were left out are predicted.
    #[serde(default)]
    pub holdouts: Vec<HoldoutReport>,
    /// Tests of whether the residuals differ between groups of runs: one for each grouping that the runs allow.
    /// Empty for a fit that made no such tests.
    #[serde(default)]
    pub lack_of_fit: Vec<CellTest>,
    /// How well laws fitted on the smaller runs predict the larger ones. `None` where there are too few runs,
    /// where rolling hold-outs or intervals were not requested, and for a fit that did not check.
    #[serde(default)]
    pub rolling: Option<RollingError>,
    /// Which coefficients the runs determine; `None` for a fit that did not check.
    #[serde(default)]
    pub identification: Option<Identification>,
    /// Number of clusters of runs that were resampled; `None` where each run is its own cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
}

/// Outcome of one start of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StartReport {
    /// Mean Huber loss that the start reached.
    pub objective: f64,
    /// Why the descent ended.
    pub termination: Termination,
    /// Number of evaluations of the objective and its derivatives.
    pub evaluations: u32,
}

/// One run, compared with the fitted law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FittedRun {
    /// Predicted loss.
    pub predicted: f64,
    /// Residual, in the unit that the fit compares in (see [`super::Residual`]).
    pub residual: f64,
    /// Share of its own prediction that the run determines, 0 to 1; the leverages of all runs sum to the number of
    /// fitted coefficients.
    pub leverage: f64,
    /// Whether the run lies farther from the law than [`super::outlying_distance`] robust standard deviations.
    pub outlier: bool,
}

/// Profile interval of an exponent: its ends are where the objective, minimised over all other coefficients, has
/// risen by as much as chance explains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The exponent.
    pub coefficient: CoefficientName,
    /// Nominal coverage, 0 to 1.
    pub level: f64,
    /// Lower end; `None` where the runs do not bound the exponent from below.
    pub low: Option<f64>,
    /// Upper end; `None` where the runs do not bound the exponent from above.
    pub high: Option<f64>,
}

/// How well a law predicts runs that it was not fitted on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HoldoutReport {
    /// Which runs were left out.
    pub holdout: Holdout,
    /// Smallest value, among the runs that were left out, of the quantity that they were selected by.
    pub limit: f64,
    /// Number of runs that were predicted.
    pub runs: usize,
    /// Number of runs that the law was fitted on.
    pub fitted_runs: usize,
    /// Mean residual of the predicted runs: positive where their losses were predicted too high. `None` where the
    /// other runs are too few, or have too few levels, to determine a law.
    pub bias: Option<f64>,
    /// Root mean square of the residuals of the predicted runs; `None` where [`Self::bias`] is.
    pub rms: Option<f64>,
}

/// An estimated number with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Interval of the estimate, where resamples were made.
    pub interval: Option<Interval>,
}

impl From<Estimate> for Factor {
    fn from(Estimate { value, interval }: Estimate) -> Self {
        Self { value, interval }
    }
}

/// What a structured pattern is worth, compared with unstructured sparsity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatternReport {
    /// Name of the pattern, `n:m`.
    pub name: String,
    /// Fraction of zeros that the pattern prescribes.
    pub nominal_sparsity: f64,
    /// Number of runs with the pattern.
    pub runs: usize,
    /// Unstructured sparsity that explains the runs of the pattern best.
    pub effective_sparsity: Estimate,
    /// Gain at the effective sparsity; `None` where the law does not determine the effect of size.
    pub gain: Option<Estimate>,
    /// Gain of unstructured sparsity at the nominal sparsity; `None` as for [`Self::gain`].
    pub unstructured_gain: Option<f64>,
}

/// What it is worth to start from a pretrained checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainedReport {
    /// Coefficients of the law fitted on the pretrained runs alone.
    pub coefficients: Coefficients,
    /// Mean Huber loss of that law.
    pub objective: f64,
    /// Number of pretrained runs.
    pub runs: usize,
    /// Interval of each coefficient, where resamples were made.
    pub intervals: BTreeMap<CoefficientName, Interval>,
    /// Warnings about what the pretrained runs cannot tell.
    pub warnings: Vec<Warning>,
    /// How much more data training from scratch needs for the same loss, in ascending order of sparsity; empty where
    /// the law from scratch does not determine the effect of data.
    pub multipliers: Vec<Multiplier>,
}

/// Sparsities closer than this are the same level, as in [`Support`].
const SAME_LEVEL: f64 = 5e-4;

impl PretrainedReport {
    /// The range of sparsities of the pretrained runs, if `sparsity` lies outside it; otherwise `None`.
    #[must_use]
    pub fn passed_range(&self, sparsity: f64) -> Option<Range> {
        let (first, last) = self.multipliers.first().zip(self.multipliers.last())?;
        let inside = (first.sparsity - SAME_LEVEL..=last.sparsity + SAME_LEVEL).contains(&sparsity);
        (!inside).then_some(Range { min: first.sparsity, max: last.sparsity })
    }
}

/// How much more data training from scratch needs to reach the same loss as training from a pretrained checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Multiplier {
    /// The sparsity.
    pub sparsity: f64,
    /// Number of pretrained runs at this sparsity.
    pub runs: usize,
    /// Ratio to the data of the sparse phase alone; `None` where no amount of data reaches the loss.
    pub sparse_phase: Option<Estimate>,
    /// Ratio to the data of dense pretraining and sparse phase together; `None` also where some run does not say
    /// how much data it was pretrained on.
    pub both_phases: Option<Estimate>,
}
