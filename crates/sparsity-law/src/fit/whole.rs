//! The whole fit: the law itself, and the comparison of other groups of runs with it.

use rayon::prelude::*;

use super::config::ValidFitConfig;
use super::control::{Control, FitError, Phase};
use super::multistart::{Group, fit_group};
use super::observations::Observations;
use super::patterns::{PatternRuns, pattern};
use super::pretrained::{PretrainedRuns, pretrained};
use super::report::Report;
use crate::law::Data;

/// All runs of a family that a fit uses.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSet {
    /// Runs that the law is fitted on: unstructured runs trained from scratch.
    pub law: Observations,
    /// Runs with structured patterns, by pattern.
    pub patterns: Vec<PatternRuns>,
    /// Runs from pretrained checkpoints.
    pub pretrained: Option<PretrainedRuns>,
    /// Amount of distinct data of each run of the law in canonical order, where known; empty where no run repeats
    /// data. Only [`super::fit_form`] uses it.
    pub unique: Vec<Option<Data>>,
    /// Name of each run of the law in canonical order, for a law of levels: the pattern or the recipe that
    /// distinguishes it from other runs of the same sparsity. Empty where runs are distinguished by their sparsity
    /// alone.
    pub names: Vec<Option<String>>,
}

impl From<Observations> for RunSet {
    fn from(law: Observations) -> Self {
        Self { law, patterns: Vec::new(), pretrained: None, unique: Vec::new(), names: Vec::new() }
    }
}

/// Fits the law to `runs`: finds, from many starts, the coefficients that minimise the weighted mean Huber loss of
/// the residuals, and then determines what the runs leave uncertain about them.
///
/// Runs on the current rayon pool and blocks until the fit is done or told to stop.
///
/// ```
/// use sparsity_law::fit::{Control, FitConfig, Observation, Observations, fit};
/// use sparsity_law::law::{Data, Loss, NonzeroParams, Sparsity, T5_C4};
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
/// let config = FitConfig { bootstrap: 100, ..FitConfig::default() };
/// let config = config.check().expect("100 resamples are allowed");
/// let report = fit(&Observations::new(runs).into(), &config, &Control::NONE)?;
/// let (got, truth) = (report.coefficients.values(), T5_C4.coefficients().values());
/// assert!((got.b_s / truth.b_s - 1.0).abs() < 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`FitError`]. A start that does not converge is not an error; it is recorded in the report.
pub fn fit(
    runs: &RunSet,
    config: &ValidFitConfig,
    control: &Control<'_>,
) -> Result<Report, FitError> {
    let fitted = fit_group(&runs.law, config, Group::Scratch, control)?;
    control.tell(Phase::Comparing, 0.0);
    let law = &fitted.coefficients;
    let ensemble = fitted.ensemble.as_ref();
    let patterns = if law.determines().sparsity {
        // Numbered in u32, which is enough for every pattern that a family can have.
        let groups = (0_u32..).zip(&runs.patterns).collect::<Vec<_>>();
        groups
            .into_par_iter()
            .map(|(index, group)| pattern(group, law, ensemble, (config, fitted.delta), index))
            .collect()
    } else {
        Vec::new()
    };
    let pretrained = match &runs.pretrained {
        Some(group) => {
            let quiet = Control { should_stop: control.should_stop, progress: &|_, _| () };
            pretrained(group, (law, ensemble), config, &quiet)?
        }
        None => None,
    };
    if (control.should_stop)() {
        return Err(FitError::Stopped);
    }
    control.tell(Phase::Comparing, 1.0);
    Ok(Report {
        coefficients: fitted.coefficients,
        own: None,
        objective: fitted.objective,
        runs: runs.law.len(),
        ensemble: fitted.ensemble,
        failed_resamples: fitted.failed_resamples,
        diagnostics: fitted.diagnostics,
        fitted: fitted.runs,
        patterns,
        pretrained,
        warnings: fitted.warnings,
        support: runs.law.support(),
        data_digest: runs.law.digest(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::fit::testing::{grid, shuffled};
    use crate::fit::{Constraint, Delta, FitConfig, Holdout, Observation, Residual, WarningCode};
    use crate::law::{
        CoefficientName, Coefficients, Compute, Data, FlopMode, FlopsPerParam, Identification,
        Lacking, Loss, Missing, NonzeroParams, PruningSchedule, Question, SampledLaw, Sparsity,
        T5_C4, TrainingCost, VIT_JFT,
    };

    fn fitted(runs: Vec<Observation>, config: FitConfig) -> Report {
        try_fit(runs, config).unwrap()
    }

    fn try_fit(runs: Vec<Observation>, config: FitConfig) -> Result<Report, FitError> {
        fit(&Observations::new(runs).into(), &config.check().unwrap(), &Control::NONE)
    }

    /// A configuration without resamples.
    fn plain() -> FitConfig {
        FitConfig { bootstrap: 0, ..FitConfig::default() }
    }

    /// The same with a fixed delta, which does not depend on the number of runs.
    fn at_given_delta() -> FitConfig {
        FitConfig { delta: 1e-3.into(), ..plain() }
    }

    /// Relative accuracy to which a residual of 1e-8 determines the flattest direction of noise-free T5 data (`c`
    /// against `a_D` and `b_D`).
    const RECOVERY: f64 = 1e-3;

    #[test]
    fn noise_free_runs_give_their_law_back() {
        let cases = [
            (&T5_C4, Residual::Log, Delta::Fixed(1e-3)),
            (&VIT_JFT, Residual::Linear, Delta::Fixed(1e-2)),
            (&T5_C4, Residual::Log, Delta::Auto),
            (&VIT_JFT, Residual::Linear, Delta::Auto),
        ];
        for (law, residual, delta) in cases {
            let truth = law.coefficients();
            let report = fitted(grid(truth, 0.0, 0), FitConfig { residual, delta, ..plain() });
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
        let config = FitConfig { seed: 3, starts: 8, bootstrap: 100, ..Default::default() };
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone = one_thread.install(|| fitted(runs.clone(), config.clone()));
        let three_threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let other_order = three_threads.install(|| fitted(shuffled(runs), config));
        assert_eq!(alone, other_order);
    }

    #[test]
    fn every_start_of_every_seed_finds_the_same_minimum() {
        let runs = grid(T5_C4.coefficients(), 0.005, 11);
        let reports: Vec<Report> =
            (0..5).map(|seed| fitted(runs.clone(), FitConfig { seed, ..plain() })).collect();
        for report in &reports {
            // Nine digits of the objective.
            assert!((report.objective / reports[0].objective - 1.0).abs() < 1e-9);
            assert!(report.diagnostics.agreement > 0.9, "{}", report.diagnostics.agreement);
        }
    }

    #[test]
    fn it_stops_when_told() {
        let runs = Observations::new(grid(T5_C4.coefficients(), 0.01, 1)).into();
        // Stopped at once, and while resampling.
        for allowed in [0, 2_000] {
            let polled = AtomicU32::new(0);
            let should_stop = || polled.fetch_add(1, Ordering::Relaxed) >= allowed;
            let control = Control { should_stop: &should_stop, progress: &|_, _| () };
            let config = FitConfig::default().check().unwrap();
            assert_eq!(fit(&runs, &config, &control), Err(FitError::Stopped));
        }
    }

    #[test]
    fn it_tells_how_far_it_is() {
        let runs = Observations::new(grid(T5_C4.coefficients(), 0.01, 1)).into();
        let seen = std::sync::Mutex::new(Vec::new());
        let progress = |phase: Phase, share: f64| seen.lock().unwrap().push((phase, share));
        let control = Control { should_stop: &|| false, progress: &progress };
        let config = FitConfig { starts: 2, bootstrap: 100, ..Default::default() };
        fit(&runs, &config.check().unwrap(), &control).unwrap();
        let seen = seen.into_inner().unwrap();
        for phase in [Phase::Searching, Phase::Resampling, Phase::Diagnosing, Phase::Comparing] {
            assert!(seen.iter().any(|(told, _)| *told == phase), "{phase:?}");
        }
        assert!(seen.iter().all(|(_, share)| (0.0..=1.0).contains(share)));
        assert_eq!(seen.last(), Some(&(Phase::Comparing, 1.0)));
    }

    #[test]
    fn runs_that_never_vary_a_quantity_give_a_reduced_law() {
        let all = grid(T5_C4.coefficients(), 0.0, 0);
        let first = all[0];
        let same_n = |run: &Observation| run.nonzero_params == first.nonzero_params;
        let same_d = |run: &Observation| run.data == first.data;
        let dense = |run: &Observation| run.sparsity.get() == 0.0;
        type Case<'a> = (&'a dyn Fn(&Observation) -> bool, &'a [&'a str]);
        let cases: [Case<'_>; 5] = [
            (&dense, &["a_s", "b_s"]),
            (&same_n, &["c_s", "b_n"]),
            (&same_d, &["a_d", "b_d"]),
            (&|run| dense(run) && same_d(run), &["a_s", "b_s", "a_d", "b_d"]),
            (&|run| same_n(run) && dense(run), &["a_s", "b_s", "c_s", "b_n"]),
        ];
        for (keep, missing) in cases {
            let runs: Vec<_> = all.iter().copied().filter(|run| keep(run)).collect();
            let report = fitted(runs.clone(), FitConfig { bootstrap: 100, ..Default::default() });
            let law = report.coefficients;
            let names = CoefficientName::ALL.into_iter().filter(|name| !law.has(*name));
            assert_eq!(names.map(CoefficientName::as_str).collect::<Vec<_>>(), missing);
            let codes: Vec<_> = report.warnings.iter().map(|w| w.code.as_str()).collect();
            assert!(codes.contains(&"not_separable"), "{codes:?}");
            for run in runs {
                let predicted = law.loss(run.sparsity.density(), run.nonzero_params, run.data);
                assert!((predicted / run.loss.get() - 1.0).abs() < 1e-6, "{missing:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_by_name() {
        let all = grid(T5_C4.coefficients(), 0.0, 0);
        assert_eq!(try_fit(Vec::new(), plain()), Err(FitError::NoRuns));
        let alike = vec![all[0]; 5];
        assert_eq!(try_fit(alike, plain()), Err(FitError::NotIdentifiable { runs: 5 }));
        let dense: Vec<_> = all.iter().copied().filter(|run| run.sparsity.get() == 0.0).collect();
        let fixed = FitConfig { fixed: [(CoefficientName::CS, 40.0)].into(), ..plain() };
        assert_eq!(
            try_fit(dense.clone(), fixed),
            Err(FitError::Inseparable { option: "fixed/c_s".to_owned(), quantity: "sparsity" })
        );
        let bound = FitConfig { constraint: Some(Constraint::Physical), ..plain() };
        assert_eq!(
            try_fit(dense, bound),
            Err(FitError::Inseparable { option: "constraint".to_owned(), quantity: "sparsity" })
        );
    }

    #[test]
    fn fixed_coefficients_stay_and_the_others_give_way() {
        let runs = grid(T5_C4.coefficients(), 0.005, 3);
        let free = fitted(runs.clone(), plain());
        for name in CoefficientName::ALL {
            let value = 1.1 * T5_C4.coefficients().values().to_array()[name as usize];
            let report =
                fitted(runs.clone(), FitConfig { fixed: [(name, value)].into(), ..plain() });
            let got = report.coefficients.values().to_array()[name as usize];
            assert!((got / value - 1.0).abs() < 1e-12, "{name:?}");
            assert!(report.objective >= free.objective * (1.0 - 1e-12), "{name:?}");
            assert!(report.diagnostics.agreement > 0.5, "{name:?}");
            assert_eq!(report.diagnostics.fitted.len(), 6);
        }
    }

    #[test]
    fn the_constraint_is_kept_only_where_it_is_needed() {
        let constrained = || FitConfig { constraint: Some(Constraint::Physical), ..plain() };
        let physical = grid(VIT_JFT.coefficients(), 0.002, 3);
        assert_eq!(
            fitted(physical.clone(), constrained()).objective,
            fitted(physical, plain()).objective
        );
        // A law whose gain starts too steeply: s0 = 1.6.
        let v = T5_C4.coefficients().values();
        let steep = Coefficients::new(crate::law::CoefficientValues { b_s: 2.0 * v.b_s, ..v });
        let runs = grid(&steep.unwrap(), 0.002, 3);
        let (free, bound) = (fitted(runs.clone(), plain()), fitted(runs, constrained()));
        assert!(free.coefficients.gain_slope() > 1.1);
        assert!((bound.coefficients.gain_slope() - 1.0).abs() < 1e-9);
        assert!(bound.objective > free.objective);
        assert!(bound.diagnostics.agreement > 0.5);
    }

    #[test]
    fn weights_count_as_repeated_runs() {
        let runs = grid(T5_C4.coefficients(), 0.01, 3);
        let twice: Vec<_> = runs.iter().chain(&runs[..10]).copied().collect();
        let weighted =
            runs.iter().enumerate().map(|(i, run)| (*run, if i < 10 { 2.0 } else { 1.0 }));
        let weighted = Observations::weighted(weighted.collect());
        let config = at_given_delta().check().unwrap();
        let weighted = fit(&weighted.into(), &config, &Control::NONE).unwrap();
        let twice = fitted(twice, at_given_delta());
        assert!((weighted.objective / twice.objective - 1.0).abs() < 1e-9);
        let (a, b) = (weighted.coefficients.values().b_s, twice.coefficients.values().b_s);
        assert!((a / b - 1.0).abs() < 1e-5);
    }

    /// Relative difference allowed between fits of the same runs in different units: what the stopping rule leaves
    /// open along the flattest direction.
    const SAME_PLACE: f64 = 1e-5;

    #[test]
    fn other_units_change_the_coefficients_as_their_units_say() {
        let runs = grid(T5_C4.coefficients(), 0.005, 3);
        let scaled = |by_n: f64, by_d: f64, by_l: f64| {
            let scale = |run: &Observation| Observation {
                nonzero_params: NonzeroParams::new(by_n * run.nonzero_params.get()).unwrap(),
                data: Data::new(by_d * run.data.get()).unwrap(),
                loss: Loss::new(by_l * run.loss.get()).unwrap(),
                ..*run
            };
            fitted(runs.iter().map(scale).collect(), plain())
        };
        let before = fitted(runs.clone(), plain());
        let v = before.coefficients.values();
        for [by_n, by_d, by_l] in
            [[1e-3, 1.0, 1.0], [1.0, 1e-6, 1.0], [1.0, 1.0, 7.0], [3e4, 2e3, 1e-3]]
        {
            let after = scaled(by_n, by_d, by_l);
            assert!((after.objective / before.objective - 1.0).abs() < 1e-9);
            let capacity = by_l * by_n.powf(v.b_n);
            let expected = crate::law::CoefficientValues {
                a_s: v.a_s * capacity,
                c_s: v.c_s * capacity,
                a_d: v.a_d * by_d * by_l.powf(v.b_d.recip()),
                c: v.c * by_l,
                ..v
            };
            let got = after.coefficients.values().to_array();
            for (name, (got, expected)) in
                CoefficientName::ALL.iter().zip(got.into_iter().zip(expected.to_array()))
            {
                assert!((got / expected - 1.0).abs() < SAME_PLACE, "{name:?} {by_n} {by_d} {by_l}");
            }
        }
    }

    #[test]
    fn only_ratios_of_weights_matter_and_copies_of_all_runs_change_nothing() {
        let runs = grid(T5_C4.coefficients(), 0.005, 3);
        let scaled = |factor: f64| {
            let weight = |i: usize| factor * (1.0 + (i % 3) as f64);
            let rows = runs.iter().enumerate().map(|(i, run)| (*run, weight(i))).collect();
            let config = at_given_delta().check().unwrap();
            fit(&Observations::weighted(rows).into(), &config, &Control::NONE).unwrap()
        };
        let once = scaled(1.0);
        // A power of two changes no digit of a share.
        assert_eq!(scaled(1024.0).coefficients, once.coefficients);
        let close = |a: &Report, b: &Report| {
            let pairs = a
                .coefficients
                .values()
                .to_array()
                .into_iter()
                .zip(b.coefficients.values().to_array());
            pairs.map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max) < SAME_PLACE
        };
        assert!(close(&scaled(1e-290), &once));
        let single = fitted(runs.clone(), at_given_delta());
        let thrice = fitted([runs.clone(), runs.clone(), runs].concat(), at_given_delta());
        assert!(close(&thrice, &single));
    }

    fn identification(report: &Report) -> &Identification {
        report.diagnostics.identification.as_ref().unwrap()
    }

    /// Six runs with three levels of each quantity, on a plane through the design: fewer than the law's seven
    /// coefficients.
    fn six() -> Vec<Observation> {
        let rows = [
            (1e7, 0.0, 4e9, 3.4649),
            (1e7, 0.5, 2.56e11, 2.7538),
            (1e7, 0.875, 6.4e10, 2.7266),
            (4e7, 0.5, 1.6e10, 2.6922),
            (4e7, 0.875, 4e9, 2.8704),
            (1.6e8, 0.0, 2.56e11, 2.2434),
        ];
        rows.map(|(n, s, d, l)| Observation {
            nonzero_params: NonzeroParams::new(n).unwrap(),
            sparsity: Sparsity::new(s).unwrap(),
            data: Data::new(d).unwrap(),
            loss: Loss::new(l).unwrap(),
        })
        .to_vec()
    }

    #[test]
    fn a_law_through_all_of_its_runs_has_no_interval_and_determines_nothing() {
        for runs in [six(), six()[..5].to_vec()] {
            let count = runs.len();
            let report = fitted(runs.clone(), FitConfig { bootstrap: 100, ..Default::default() });
            assert_eq!(report.ensemble, None);
            assert!(report.diagnostics.profiles.is_empty());
            let found = identification(&report);
            assert!(found.interpolates() && !found.is_complete());
            assert_eq!(found.open, CoefficientName::ALL);
            let lacking = found.missing.iter().find(|each| each.what == Lacking::Runs).unwrap();
            assert_eq!((lacking.have, lacking.needed), (count, 8));
            assert_eq!(report.warnings[0].code, WarningCode::NotIdentified);
            let question = |run: &Observation| Question {
                nonzero_params: run.nonzero_params,
                density: run.sparsity.density(),
                data: run.data,
                cost: None,
                repetition: None,
            };
            assert!(found.require_loss(&question(&runs[0])).is_err());
            // With the runs that it asks for, everything is determined.
            let settled = with_settling(runs, found);
            assert_eq!(settled.len(), 8);
            let report = fitted(settled, FitConfig { bootstrap: 100, ..Default::default() });
            assert_eq!(identification(&report).missing, []);
        }
    }

    /// `runs` and those that an identification asks for, with losses near the published law of T5.
    fn with_settling(mut runs: Vec<Observation>, found: &Identification) -> Vec<Observation> {
        for run in &found.settling {
            let (n, s) = (
                NonzeroParams::new(run.nonzero_params).unwrap(),
                Sparsity::new(run.sparsity).unwrap(),
            );
            let data = Data::new(run.data).unwrap();
            let loss = T5_C4.coefficients().loss(s.density(), n, data) * 1.001;
            let loss = Loss::new(loss).unwrap();
            runs.push(Observation { nonzero_params: n, sparsity: s, data, loss });
        }
        runs
    }

    /// Fits parts of a grid that have two levels of one quantity where the law needs three.
    #[test]
    fn two_levels_determine_what_happens_at_them_and_no_more() {
        let all = grid(T5_C4.coefficients(), 0.002, 5);
        type Keep = fn(&Observation) -> bool;
        let cases: [(Keep, Lacking, &[&str]); 3] = [
            (|run| run.sparsity.get() <= 0.5, Lacking::Sparsity, &["a_s", "b_s", "c_s"]),
            (|run| run.data.get() <= 4e9, Lacking::Data, &["a_d", "b_d", "c"]),
            (
                |run| run.nonzero_params.get() <= 4e6,
                Lacking::NonzeroParams,
                &["a_s", "c_s", "b_n", "c"],
            ),
        ];
        let cost = TrainingCost::new(
            FlopsPerParam::TRAINING,
            PruningSchedule::default(),
            FlopMode::Sparse,
        );
        let (n, c) = (NonzeroParams::new(4e6).unwrap(), Compute::new(1e18).unwrap());
        for (keep, what, open) in cases {
            let runs: Vec<_> = all.iter().copied().filter(keep).collect();
            let by_seed: Vec<Report> = [1, 2]
                .map(|seed| {
                    let config = FitConfig { seed, bootstrap: 100, ..Default::default() };
                    fitted(runs.clone(), config)
                })
                .into();
            let report = &by_seed[0];
            let found = identification(report);
            assert_eq!(found.missing, [Missing { what, have: 2, needed: 3 }]);
            assert_eq!(found.open.iter().map(|name| name.as_str()).collect::<Vec<_>>(), open);
            assert!(found.require_all().is_err() && !found.interpolates());
            let question = |run: &Observation| Question {
                nonzero_params: run.nonzero_params,
                density: run.sparsity.density(),
                data: run.data,
                cost: None,
                repetition: None,
            };
            for run in &runs {
                let at = question(run);
                found.require_loss(&at).unwrap();
                // The answers do not depend on the seed.
                let [a, b] = [0, 1]
                    .map(|i| by_seed[i].coefficients.loss(at.density, at.nonzero_params, at.data));
                assert!((a / b - 1.0).abs() < 1e-5, "{what:?}: {a} {b}");
            }
            let beyond = all.iter().find(|run| !keep(run)).unwrap();
            assert!(found.require_loss(&question(beyond)).is_err());
            let settled = with_settling(runs, found);
            let settled = fitted(settled, plain());
            assert_eq!(identification(&settled).missing, [], "{:?}", found.settling);
            // Of two measured sparsities it is known which is better.
            let measured = found.determines_measured_sparsities();
            assert_eq!(measured, what == Lacking::Sparsity);
            if measured {
                let levels: Vec<_> =
                    found.sparsities.iter().map(|s| Sparsity::new(*s).unwrap()).collect();
                let choices = by_seed.iter().map(|report| {
                    let law = SampledLaw::new(
                        report.coefficients,
                        report.ensemble.clone(),
                        |loss, noise| Residual::Log.measured(loss, noise),
                    );
                    law.best_measured(&cost, n, c, &levels).unwrap().unwrap()
                });
                let choices: Vec<_> = choices.collect();
                assert_eq!(choices[0].best().model.density.get(), 0.5);
                assert_eq!(choices[0].best, choices[1].best);
                let [a, b] = [0, 1].map(|i| choices[i].best().loss.unwrap());
                assert!((a.low / b.low - 1.0).abs() < 1e-3 && a.high > a.low);
                assert!(choices[0].best().share.unwrap() > 0.9);
            }
        }
    }

    #[test]
    fn one_model_pruned_to_several_sparsities_does_not_tell_size_from_sparsity() {
        let truth = T5_C4.coefficients();
        let mut runs = Vec::new();
        for s in [0.0, 0.5, 0.75, 0.875] {
            for d in [1e9, 4e9, 16e9, 64e9] {
                let s = Sparsity::new(s).unwrap();
                let n = NonzeroParams::new(64e6 * s.density().get()).unwrap();
                let data = Data::new(d).unwrap();
                let loss = Loss::new(truth.loss(s.density(), n, data)).unwrap();
                runs.push(Observation { nonzero_params: n, sparsity: s, data, loss });
            }
        }
        let report = fitted(runs[..12].to_vec(), plain());
        let [missing] = identification(&report).missing[..] else {
            panic!("{:?}", identification(&report).missing)
        };
        assert_eq!(missing.what, Lacking::Combinations);
        let settled = with_settling(runs[..12].to_vec(), identification(&report));
        assert_eq!(identification(&fitted(settled, plain())).missing, []);
    }

    #[test]
    fn starts_that_end_along_a_ridge_do_not_agree() {
        let all = grid(T5_C4.coefficients(), 0.002, 5);
        let two: Vec<_> = all.iter().copied().filter(|run| run.sparsity.get() <= 0.5).collect();
        let report = fitted(two, plain());
        let best = report.objective;
        let reached = report.diagnostics.starts.iter().filter(|s| s.objective < 1.001 * best);
        assert!(reached.count() > 12);
        assert!(report.diagnostics.agreement < 0.5, "{}", report.diagnostics.agreement);
        assert!(report.warnings.iter().any(|w| w.code == WarningCode::StartsDisagree));
    }

    #[test]
    fn a_holdout_that_trains_on_two_levels_says_nothing() {
        let all = grid(T5_C4.coefficients(), 0.002, 5);
        let three: Vec<_> = all.into_iter().filter(|run| run.data.get() < 60e9).collect();
        let report = fitted(three, plain());
        let of = |holdout: Holdout| {
            let found = report.diagnostics.holdouts.iter().find(|each| each.holdout == holdout);
            found.copied().unwrap()
        };
        assert_eq!((of(Holdout::Data).rms, of(Holdout::Data).bias), (None, None));
        assert_eq!(of(Holdout::Data).runs, 16);
        assert!(of(Holdout::NonzeroParams).rms.unwrap() > 0.0);
    }
}
