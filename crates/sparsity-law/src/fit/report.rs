//! What a fit found, and how sure it can be of having found it.

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

/// Outcome of a fit.
///
/// The intervals of the coefficients, and of whatever follows from them, come from the laws of resampled
/// runs:
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
    /// The best coefficients, in raw units; of a form with coefficients of its own what of these the seven hold.
    pub coefficients: Coefficients,
    /// The law, where it is of a form with coefficients of its own.
    pub own: Option<FormLaw>,
    /// Weighted mean Huber loss at them.
    pub objective: f64,
    /// Number of runs.
    pub runs: usize,
    /// Laws of resampled runs; `None` where none were asked for or none came of it.
    pub ensemble: Option<Ensemble>,
    /// Resamples that determined no law.
    pub failed_resamples: u32,
    /// How good the fit is and what it rests on.
    pub diagnostics: Diagnostics,
    /// Each run in canonical order.
    pub fitted: Vec<FittedRun>,
    /// Effective sparsity of each structured pattern.
    pub patterns: Vec<PatternReport>,
    /// Runs from pretrained checkpoints.
    pub pretrained: Option<PretrainedReport>,
    /// What the runs cannot tell.
    pub warnings: Vec<Warning>,
    /// Where the runs stop.
    pub support: Support,
    /// Digest of the runs, see [`super::Observations::digest`].
    pub data_digest: String,
}

/// How good a fit is and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// Share of the starts whose objective is within 0.1 % of the best and whose answers over the range of the
    /// runs are those of the best: losses within 0.1 %, best sparsities within 0.01.
    pub agreement: f64,
    /// Every start, by index.
    pub starts: Vec<StartReport>,
    /// Robust standard deviation of the residuals, widened for the fitted coefficients.
    #[serde(default)]
    pub noise: f64,
    /// Where the Huber loss turned linear, in units of the residual; `None` of a fit that was told and did not
    /// note it.
    #[serde(default)]
    pub delta: Option<f64>,
    /// The coefficients of the matrix's rows and columns: those that were fitted. Empty of a form with coefficients of
    /// its own, as is what is said of each of them.
    #[serde(default)]
    pub fitted: Vec<CoefficientName>,
    /// Correlations of their logarithms at the geometric mean of the runs, row by row; empty where
    /// the runs do not determine all of them.
    #[serde(default)]
    pub correlations: Vec<Vec<f64>>,
    /// Ratio of the largest to the smallest singular value of the Jacobian with columns of unit
    /// length; `None` where the smallest is 0 to rounding.
    #[serde(default)]
    pub condition: Option<f64>,
    /// Profile interval of each fitted exponent.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// How well left-out runs were predicted.
    #[serde(default)]
    pub holdouts: Vec<HoldoutReport>,
    /// Whether the residuals differ by groups of runs: a test for each way to group them that the runs allow; none of
    /// a fit that did not look.
    #[serde(default)]
    pub lack_of_fit: Vec<CellTest>,
    /// What laws of the smaller runs say of the larger ones; `None` where the runs are too few for that, where
    /// rolling hold-outs or intervals were not asked for, and of a fit that did not look.
    #[serde(default)]
    pub rolling: Option<RollingError>,
    /// Which coefficients the runs determine; `None` of a fit that did not look.
    #[serde(default)]
    pub identification: Option<Identification>,
    /// How many clusters of runs were resampled; `None` where each run was one by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
}

/// Outcome of one start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StartReport {
    /// Mean Huber loss that it reached.
    pub objective: f64,
    /// Why it ended.
    pub termination: Termination,
    /// Evaluations of objective and derivatives that it took.
    pub evaluations: u32,
}

/// One run as the law sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FittedRun {
    /// Predicted loss.
    pub predicted: f64,
    /// Residual, in the unit of the fit's residual.
    pub residual: f64,
    /// Share of its own prediction that a run determines, 0 to 1; all of them sum to the number of
    /// fitted coefficients.
    pub leverage: f64,
    /// Whether it lies farther from the law than [`super::outlying_distance`] robust standard deviations.
    pub outlier: bool,
}

/// Where the objective, minimised over all other coefficients, rises by as much as chance explains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The exponent that is held.
    pub coefficient: CoefficientName,
    /// Nominal coverage.
    pub level: f64,
    /// Lower end; `None` where the runs set none.
    pub low: Option<f64>,
    /// Upper end; `None` where the runs set none.
    pub high: Option<f64>,
}

/// How well runs were predicted that the fit had not seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HoldoutReport {
    /// Which runs were left out.
    pub holdout: Holdout,
    /// Their value of the quantity: the smallest that was left out.
    pub limit: f64,
    /// How many were left out.
    pub runs: usize,
    /// How many the law was fitted on.
    pub fitted_runs: usize,
    /// Mean residual of the left-out runs: positive where their losses were predicted too high. `None` where the
    /// other runs are too few, or of too few levels, to determine a law.
    pub bias: Option<f64>,
    /// Root of their mean squared residual; `None` where [`Self::bias`] is.
    pub rms: Option<f64>,
}

/// A number that was estimated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Its interval, where resamples were made.
    pub interval: Option<Interval>,
}

impl From<Estimate> for Factor {
    fn from(Estimate { value, interval }: Estimate) -> Self {
        Self { value, interval }
    }
}

/// What a structured pattern is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatternReport {
    /// Name of the pattern, `n:m`.
    pub name: String,
    /// Fraction of zeros that it prescribes.
    pub nominal_sparsity: f64,
    /// Number of its runs.
    pub runs: usize,
    /// Unstructured sparsity that explains its runs best.
    pub effective_sparsity: Estimate,
    /// Gain at the effective sparsity; `None` where the law does not know what size does.
    pub gain: Option<Estimate>,
    /// Gain of unstructured sparsity equal to the nominal one.
    pub unstructured_gain: Option<f64>,
}

/// What starting from a pretrained checkpoint is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainedReport {
    /// The law of these runs alone.
    pub coefficients: Coefficients,
    /// Mean Huber loss at it.
    pub objective: f64,
    /// Number of runs.
    pub runs: usize,
    /// Interval of each of its coefficients, where resamples were made.
    pub intervals: BTreeMap<CoefficientName, Interval>,
    /// What these runs cannot tell.
    pub warnings: Vec<Warning>,
    /// By sparsity, how much more data training from scratch needs for the same loss.
    pub multipliers: Vec<Multiplier>,
}

/// Sparsities closer than this are the same level, as of [`Support`].
const SAME_LEVEL: f64 = 5e-4;

impl PretrainedReport {
    /// The range of the sparsities of these runs, where `sparsity` lies outside it.
    #[must_use]
    pub fn passed_range(&self, sparsity: f64) -> Option<Range> {
        let (first, last) = self.multipliers.first().zip(self.multipliers.last())?;
        let inside = (first.sparsity - SAME_LEVEL..=last.sparsity + SAME_LEVEL).contains(&sparsity);
        (!inside).then_some(Range { min: first.sparsity, max: last.sparsity })
    }
}

/// How much more data training from scratch needs to reach the loss of a pretrained start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Multiplier {
    /// The sparsity.
    pub sparsity: f64,
    /// Number of pretrained runs at it.
    pub runs: usize,
    /// Relative to the data of the sparse phase alone; `None` where no amount of data reaches the
    /// loss.
    pub sparse_phase: Option<Estimate>,
    /// Relative to the data of dense pretraining and sparse phase together; `None` also where some
    /// run does not say what it was pretrained on.
    pub both_phases: Option<Estimate>,
}
