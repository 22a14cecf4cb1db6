//! Many descents in parallel, and the best of them.

use std::sync::atomic::{AtomicU32, Ordering};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::config::ValidFitConfig;
use super::descent::{Descent, Termination, descend};
use super::normalised::{Normalised, Point};
use super::objective::Objective;
use super::observations::Observations;
use super::report::{Report, StartReport};
use super::warnings;

/// Why no law came of the runs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// A quantity that the law needs to vary has one value in all runs.
    #[error(
        "all {runs} runs have the same {quantity}: its coefficients cannot be determined from them"
    )]
    NotIdentifiable {
        /// `nonzero_params`, `sparsity` or `data`.
        quantity: &'static str,
        /// Number of runs.
        runs: usize,
    },
    /// There is no run to fit.
    #[error("there are no runs to fit")]
    NoRuns,
    /// The best coefficients that were found cannot be held by a double.
    #[error("the runs determine no finite {coefficient}")]
    NotRepresentable {
        /// Name of the coefficient.
        coefficient: &'static str,
    },
    /// The fit was told to stop.
    #[error("the fit was stopped")]
    Stopped,
}

/// What a running fit tells and is told. Called from several threads.
pub struct Control<'a> {
    /// Polled before every evaluation of the objective: cancelled, lease lost, shutting down.
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
    /// Called with the share of the work that is done, from 0 to 1.
    pub progress: &'a (dyn Fn(f64) + Sync),
}

impl Control<'static> {
    /// Runs to the end and tells nobody.
    pub const NONE: Self = Self { should_stop: &|| false, progress: &|_| () };
}

impl std::fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Evaluations that one start may spend; a descent takes a few hundred.
const BUDGET: u32 = 5_000;

/// Two starts agree where their objectives differ by less than this share of the better one.
const AGREEMENT: f64 = 1e-3;

/// Scaled objective below which a fit is exact to rounding, and starts agree whatever their ratio.
const EXACT: f64 = 1e-9;

/// Fits the law to `runs`: the coefficients that minimise the mean Huber loss of the residuals,
/// from `starts` random starts, each descending until restarting no longer improves it.
///
/// Runs on the current rayon pool and blocks until it is done or told to stop.
///
/// ```
/// use sparsity_planner::fit::{Control, FitConfig, Observation, Observations, fit};
/// use sparsity_planner::law::{Data, Loss, NonzeroParams, Sparsity, T5_C4};
///
/// let mut runs = Vec::new();
/// for n in [1e6, 4e6, 16e6, 64e6] {
///     for s in [0.0, 0.5, 0.75, 0.875] {
///         for d in [1e9, 4e9, 16e9, 64e9] {
///             let (n, s, d) = (NonzeroParams::new(n)?, Sparsity::new(s)?, Data::new(d)?);
///             let loss = Loss::new(T5_C4.coefficients().loss(s.density(), n, d))?;
///             runs.push(Observation { nonzero_params: n, sparsity: s, data: d, loss });
///         }
///     }
/// }
/// let config = FitConfig::default().check()?;
/// let report = fit(&Observations::new(runs), &config, &Control::NONE)?;
/// let (got, truth) = (report.coefficients.values(), T5_C4.coefficients().values());
/// assert!((got.b_s / truth.b_s - 1.0).abs() < 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`FitError`]; that a start did not converge is part of the report and no error.
pub fn fit(
    runs: &Observations,
    config: &ValidFitConfig,
    control: &Control<'_>,
) -> Result<Report, FitError> {
    check_identifiable(runs)?;
    let objective = Objective::new(Normalised::new(runs), config);
    let (starts, seed) = (config.get().starts, config.get().seed);
    let done = AtomicU32::new(0);
    let descents: Vec<Descent> = (0..starts)
        .into_par_iter()
        .map(|index| {
            let descent =
                descend(&objective, &start_point(seed, index), BUDGET, control.should_stop);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            (control.progress)(f64::from(done) / f64::from(starts));
            descent
        })
        .collect();
    if descents.iter().any(|descent| descent.termination == Termination::Stopped) {
        return Err(FitError::Stopped);
    }

    let best = descents
        .iter()
        .min_by(|a, b| a.value.total_cmp(&b.value))
        .expect("a checked configuration has at least one start");
    let coefficients = objective
        .runs()
        .coefficients(&best.point)
        .map_err(|(name, _)| FitError::NotRepresentable { coefficient: name.as_str() })?;
    let threshold = best.value + (AGREEMENT * best.value).max(EXACT);
    let agreeing = descents.iter().filter(|descent| descent.value <= threshold).count();
    let starts = descents
        .iter()
        .map(|descent| StartReport {
            objective: objective.raw(descent.value),
            termination: descent.termination,
            evaluations: descent.evaluations,
        })
        .collect();
    let agreement = agreeing as f64 / descents.len() as f64;
    Ok(Report {
        coefficients,
        objective: objective.raw(best.value),
        runs: runs.len(),
        agreement,
        starts,
        warnings: warnings::find(runs, &coefficients, &best.point, agreement),
        support: runs.support(),
        data_digest: runs.digest(),
    })
}

/// A law with an exponent of something that never varies is no fit.
fn check_identifiable(runs: &Observations) -> Result<(), FitError> {
    if runs.is_empty() {
        return Err(FitError::NoRuns);
    }
    let levels = [
        ("nonzero_params", runs.distinct(|run| run.nonzero_params.get())),
        ("sparsity", runs.distinct(|run| run.sparsity.density().get())),
        ("data", runs.distinct(|run| run.data.get())),
    ];
    match levels.into_iter().find(|&(_, levels)| levels < 2) {
        Some((quantity, _)) => Err(FitError::NotIdentifiable { quantity, runs: runs.len() }),
        None => Ok(()),
    }
}

/// Start `index` of a fit: its own stream of the seed's generator, so that neither the number of
/// threads nor of starts changes it.
///
/// In normalised coordinates the loss is near 1 and so is the sum of its four terms: amplitudes are
/// drawn log-uniform between 0.02 and 2, exponents between 0.05 and 2.
fn start_point(seed: u64, index: u32) -> Point {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::from(index));
    let amplitude = (0.02_f64.ln(), 2_f64.ln());
    let exponent = (0.05_f64.ln(), 2_f64.ln());
    [amplitude, exponent, amplitude, exponent, amplitude, exponent, amplitude]
        .map(|(low, high)| low + (high - low) * rng.random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::testing::{grid, shuffled};
    use crate::fit::{FitConfig, Residual};
    use crate::law::{T5_C4, VIT_JFT};

    fn fitted(runs: Vec<crate::fit::Observation>, config: FitConfig) -> Report {
        fit(&Observations::new(runs), &config.check().unwrap(), &Control::NONE).unwrap()
    }

    /// The flattest direction of noise-free T5 data (c against a_D, b_D) is determined by a
    /// residual of 1e-8 to about this relative accuracy.
    const RECOVERY: f64 = 1e-3;

    #[test]
    fn noise_free_runs_give_their_law_back() {
        let cases = [(&T5_C4, Residual::Log, 1e-3), (&VIT_JFT, Residual::Linear, 1e-2)];
        for (law, residual, delta) in cases {
            let truth = law.coefficients();
            let report =
                fitted(grid(truth, 0.0, 0), FitConfig { residual, delta, ..Default::default() });
            let pairs =
                report.coefficients.values().to_array().into_iter().zip(truth.values().to_array());
            for (got, truth) in pairs {
                assert!((got / truth - 1.0).abs() < RECOVERY, "{}: {got} {truth}", law.family);
            }
        }
    }

    #[test]
    fn same_runs_and_seed_same_bits_in_any_order_on_any_number_of_threads() {
        let runs = grid(T5_C4.coefficients(), 0.005, 7);
        let config = FitConfig { seed: 3, starts: 8, ..Default::default() };
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone = one_thread.install(|| fitted(runs.clone(), config));
        let other_order = fitted(shuffled(runs), config);
        assert_eq!(alone, other_order);
    }

    #[test]
    fn every_seed_finds_the_same_minimum() {
        let runs = grid(T5_C4.coefficients(), 0.005, 11);
        let objectives: Vec<f64> = (0..5)
            .map(|seed| fitted(runs.clone(), FitConfig { seed, ..Default::default() }).objective)
            .collect();
        for objective in &objectives {
            // Six digits of the objective.
            assert!((objective / objectives[0] - 1.0).abs() < 1e-6, "{objectives:?}");
        }
    }

    #[test]
    fn it_stops_when_told() {
        let runs = Observations::new(grid(T5_C4.coefficients(), 0.01, 1));
        let control = Control { should_stop: &|| true, progress: &|_| () };
        let config = FitConfig::default().check().unwrap();
        assert_eq!(fit(&runs, &config, &control), Err(FitError::Stopped));
    }

    #[test]
    fn it_tells_how_far_it_is() {
        let runs = Observations::new(grid(T5_C4.coefficients(), 0.01, 1));
        let seen = std::sync::Mutex::new(Vec::new());
        let control =
            Control { should_stop: &|| false, progress: &|share| seen.lock().unwrap().push(share) };
        fit(&runs, &FitConfig { starts: 4, ..Default::default() }.check().unwrap(), &control)
            .unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_by(f64::total_cmp);
        assert_eq!(seen, [0.25, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn runs_that_determine_no_law_are_refused_by_name() {
        let all = grid(T5_C4.coefficients(), 0.0, 0);
        let config = FitConfig::default().check().unwrap();
        let fit_where = |keep: fn(&crate::fit::Observation) -> bool| {
            let runs = all.iter().copied().filter(keep).collect();
            fit(&Observations::new(runs), &config, &Control::NONE).unwrap_err()
        };
        assert_eq!(fit_where(|_| false), FitError::NoRuns);
        assert_eq!(
            fit_where(|run| run.sparsity.get() == 0.0),
            FitError::NotIdentifiable { quantity: "sparsity", runs: 16 }
        );
    }
}
