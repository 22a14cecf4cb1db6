//! Runs that were pruned from a pretrained dense checkpoint: the law of these runs, and how much data the
//! checkpoint was worth.

use super::config::ValidFitConfig;
use super::control::{Control, FitError};
use super::multistart::{Fitted, Group, fit_group};
use super::observations::{Observation, Observations};
use super::report::{Estimate, Multiplier, PretrainedReport};
use crate::law::{Coefficients, Data, Ensemble, data_multiplier};

/// Runs from pretrained checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct PretrainedRuns {
    /// The runs. Their data is that of the sparse phase.
    pub runs: Observations,
    /// Data that the checkpoint of each run had been trained on, in canonical order, where known.
    pub pretraining_data: Vec<Option<Data>>,
}

/// Fits the pretrained runs and compares their law with the law of training from scratch; `None` where they are
/// too alike to be fitted.
///
/// # Errors
/// [`FitError::Stopped`] if the fit was told to stop.
pub(super) fn pretrained(
    group: &PretrainedRuns,
    scratch: (&Coefficients, Option<&Ensemble>),
    config: &ValidFitConfig,
    control: &Control<'_>,
) -> Result<Option<PretrainedReport>, FitError> {
    let fitted = match fit_group(&group.runs, config, Group::Pretrained, control) {
        Ok(fitted) => fitted,
        Err(FitError::Stopped) => return Err(FitError::Stopped),
        // Too alike to fit; the law from scratch is valid without them.
        Err(_) => return Ok(None),
    };
    let Fitted { coefficients, objective, ensemble, warnings, .. } = fitted;
    let multipliers = if scratch.0.determines().data {
        let own = (&coefficients, ensemble.as_ref());
        let levels = group.runs.levels(|run| run.sparsity.get());
        levels
            .iter()
            .enumerate()
            .map(|(at, &level)| {
                let next = levels.get(at + 1).copied().unwrap_or(f64::INFINITY);
                multiplier(group, level, next, scratch, own)
            })
            .collect()
    } else {
        Vec::new()
    };
    let runs = group.runs.len();
    let intervals = ensemble.as_ref().map(Ensemble::coefficient_intervals).unwrap_or_default();
    Ok(Some(PretrainedReport { coefficients, objective, runs, intervals, warnings, multipliers }))
}

/// Data that training from scratch needs to reach the loss of the pretrained law, relative to the data of the run:
/// the geometric mean over the runs of one level of sparsity.
fn multiplier(
    group: &PretrainedRuns,
    level: f64,
    next: f64,
    scratch: (&Coefficients, Option<&Ensemble>),
    own: (&Coefficients, Option<&Ensemble>),
) -> Multiplier {
    let at_level = |run: &Observation| run.sparsity.get() >= level && run.sparsity.get() < next;
    let rows: Vec<(&Observation, Option<Data>)> = group
        .runs
        .as_slice()
        .iter()
        .zip(group.pretraining_data.iter().copied())
        .filter(|(run, _)| at_level(run))
        .collect();
    let ratio = |scratch: &Coefficients, own: &Coefficients, both: bool| -> Option<f64> {
        let ln_ratios = rows.iter().map(|(run, pretraining)| {
            let point = (run.sparsity.density(), run.nonzero_params, run.data);
            let before = if both { pretraining.map(Data::get)? } else { 0.0 };
            Some(data_multiplier(scratch, own, point, before).ln())
        });
        let sum: f64 = ln_ratios.sum::<Option<f64>>()?;
        Some((sum / rows.len() as f64).exp())
    };
    let estimate = |both: bool| -> Option<Estimate> {
        let value = ratio(scratch.0, own.0, both).filter(|value| value.is_finite())?;
        let interval = scratch.1.zip(own.1).map(|(scratch, own)| {
            // The two groups were resampled independently, so members are paired in order.
            let pairs = scratch.members().zip(own.members());
            let values: Vec<f64> = pairs
                .filter_map(|(scratch, own)| ratio(&scratch.coefficients, &own.coefficients, both))
                .collect();
            scratch.interval_of(values)
        });
        Some(Estimate { value, interval })
    };
    Multiplier {
        sparsity: level,
        runs: rows.len(),
        sparse_phase: estimate(false),
        both_phases: estimate(true),
    }
}
