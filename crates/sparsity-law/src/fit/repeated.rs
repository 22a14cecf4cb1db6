//! Estimates how fast repeated data loses its value, where the runs show it.

use serde::{Deserialize, Serialize};

use super::bootstrap::student_quantile;
use super::config::{Delta, FitConfig, ValidFitConfig};
use super::control::{Control, FitError};
use super::terms::{FormTask, Terms};
use super::whole::RunSet;
use crate::law::{Interval, Repetition};

/// What is known about repeated data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RepeatedData {
    /// Decay constant `R`, in epochs.
    pub decay: f64,
    /// Whether `R` was fitted to the runs; otherwise it is [`Repetition::PUBLISHED_DECAY`].
    pub fitted: bool,
    /// Profile interval of `R`, where it was fitted.
    pub interval: Option<Interval>,
    /// Number of runs that repeat their data.
    pub runs: usize,
}

/// Search range of `R`: from data that is used up after one repetition to data of which a hundred epochs are as
/// good as new.
const RANGE: (f64, f64) = (0.3, 100.0);
/// Number of values of `R` that are tried first.
const FIRST: usize = 13;
/// Precision to which `R` is found, in its logarithm.
const PRECISION: f64 = 1e-4;
/// Precision to which an end of the interval is found, in its logarithm.
const END_PRECISION: f64 = 1e-2;
/// Smallest number of runs that must repeat their data for `R` to be fitted.
const FEWEST_RUNS: usize = 5;
/// Number of epochs from which a run counts for that: below it the predictions hardly depend on `R`.
const REPEATS: f64 = 2.0;
/// Starts of each fit.
const STARTS: u32 = 4;
/// Ratio of the golden section.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Finds the `R` for which the fit has the lowest objective; `None` where no run repeats its data.
pub(super) fn repeated_data(
    runs: &RunSet,
    task: &FormTask,
    config: &ValidFitConfig,
    control: &Control<'_>,
) -> Result<Option<RepeatedData>, FitError> {
    let epochs: Vec<f64> = (runs.law.as_slice().iter().zip(&runs.unique))
        .filter_map(|(run, unique)| Some(run.data.get() / unique.as_ref()?.get()))
        .filter(|epochs| *epochs > 1.0)
        .collect();
    if epochs.is_empty() {
        return Ok(None);
    }
    let published = RepeatedData {
        decay: Repetition::PUBLISHED_DECAY,
        fitted: false,
        interval: None,
        runs: epochs.len(),
    };
    if epochs.iter().filter(|epochs| **epochs >= REPEATS).count() < FEWEST_RUNS {
        return Ok(Some(published));
    }
    let quick = FitConfig {
        starts: STARTS.min(config.get().starts),
        bootstrap: 0,
        holdout: Vec::new(),
        ..config.get().clone()
    };
    let quiet = Control { should_stop: control.should_stop, progress: &|_, _| () };
    // The same delta for all fits, as their objectives could not be compared otherwise.
    let first = Terms::new(runs, task, Some(published.decay)).fit(&checked(&quick), &quiet)?;
    let delta = first.diagnostics.delta.map_or(quick.delta, Delta::Fixed);
    let quick = checked(&FitConfig { delta, ..quick });
    let objective = |ln_decay: f64| -> Result<f64, FitError> {
        let report = Terms::new(runs, task, Some(ln_decay.exp())).fit(&quick, &quiet)?;
        Ok(report.objective)
    };
    let (low, high) = (RANGE.0.ln(), RANGE.1.ln());
    let step = (high - low) / (FIRST - 1) as f64;
    let tried = (0..FIRST).map(|place| {
        let ln_decay = low + step * place as f64;
        Ok((ln_decay, objective(ln_decay)?))
    });
    let tried = tried.collect::<Result<Vec<(f64, f64)>, FitError>>()?;
    let best = (0..FIRST).min_by(|a, b| tried[*a].1.total_cmp(&tried[*b].1)).unwrap_or(0);
    if best == 0 || best == FIRST - 1 {
        return Ok(Some(published));
    }
    let (ln_decay, least) = least(tried[best - 1].0, tried[best + 1].0, &objective)?;
    // 2 n (Q - Q_min) over the variance of the noise is t squared; see `profile`. Its correction for delta is left
    // out because by far the most residuals are within delta.
    let free = first.diagnostics.fitted.len() + 1;
    let count = runs.law.len();
    let level = config.get().confidence;
    let quantile = student_quantile(level, count, free);
    let rise = (quantile * first_noise(&first.diagnostics.noise)).powi(2) / (2.0 * count as f64);
    let limit = least + rise;
    let below = end(ln_decay, low, limit, &objective)?;
    let above = end(ln_decay, high, limit, &objective)?;
    let (Some(below), Some(above)) = (below, above) else { return Ok(Some(published)) };
    Ok(Some(RepeatedData {
        decay: ln_decay.exp(),
        fitted: true,
        interval: Some(Interval { level, low: below.exp(), high: above.exp() }),
        runs: epochs.len(),
    }))
}

/// The noise, but at least 1e-9: below that it is rounding.
fn first_noise(noise: &f64) -> f64 {
    noise.max(1e-9)
}

/// Checks a configuration that differs from a checked one only by values that are always in range.
fn checked(config: &FitConfig) -> ValidFitConfig {
    config.clone().check().expect("starts, no resamples and a delta that a fit found are in range")
}

/// The minimum of a function between two places, by golden-section search: its place and its value.
fn least(
    mut low: f64,
    mut high: f64,
    function: &impl Fn(f64) -> Result<f64, FitError>,
) -> Result<(f64, f64), FitError> {
    let mut inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)];
    let mut values = [function(inner[0])?, function(inner[1])?];
    while high - low > PRECISION {
        if values[0] <= values[1] {
            high = inner[1];
            inner = [high - GOLDEN * (high - low), inner[0]];
            values = [function(inner[0])?, values[0]];
        } else {
            low = inner[0];
            inner = [inner[1], low + GOLDEN * (high - low)];
            values = [values[1], function(inner[1])?];
        }
    }
    Ok(if values[0] <= values[1] { (inner[0], values[0]) } else { (inner[1], values[1]) })
}

/// Where a function exceeds the limit on the way from `inside` to the end of the range; `None` where it never does.
fn end(
    mut inside: f64,
    outermost: f64,
    limit: f64,
    function: &impl Fn(f64) -> Result<f64, FitError>,
) -> Result<Option<f64>, FitError> {
    if function(outermost)? <= limit {
        return Ok(None);
    }
    let mut outside = outermost;
    while (outside - inside).abs() > END_PRECISION {
        let middle = 0.5 * (inside + outside);
        if function(middle)? <= limit { inside = middle } else { outside = middle }
    }
    Ok(Some(inside))
}
