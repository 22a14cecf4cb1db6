//! Fits of the forms with coefficients of their own: whether known laws are recovered, whether the intervals contain
//! the truth, and which runs cannot support such a form.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sparsity_law::fit::{
    Control, Delta, FitConfig, FitError, FormReport, FormTask, Holdout, Observation, Observations,
    Residual, RunSet, WarningCode, fit_form,
};
use sparsity_law::law::{
    Compute, Data, Density, ExpertCoefficients, FlopMode, FlopsPerParam, FormLaw, LevelCapacity,
    LevelLaw, Loss, NonzeroParams, PruningSchedule, SampledForm, Sparsity, StepCost, TrainingCost,
};

const EXPERTS: ExpertCoefficients = ExpertCoefficients {
    e: 0.9,
    a: 900.0,
    alpha: 0.5,
    b: 4000.0,
    beta: 0.4,
    c: 0.5,
    lambda: -0.2,
    d: 12.0,
    delta: 0.2,
    gamma: 0.15,
};

/// Capacities that no power law of the density gives: the third level is worse than the second.
const CAPACITIES: [(f64, f64); 4] = [(0.0, 60.0), (0.5, 48.0), (0.75, 51.0), (0.875, 30.0)];

fn levels() -> FormLaw {
    let level =
        |(sparsity, a): (f64, f64)| LevelCapacity { sparsity, name: None, runs: 16, a, gain: None };
    let levels = CAPACITIES.map(level).to_vec();
    FormLaw::Levels(LevelLaw { levels, b_n: 0.245, a_d: 6.9e8, b_d: 0.35, c: 0.65 })
}

fn sizes() -> Vec<f64> {
    vec![1e6, 4e6, 16e6, 64e6]
}

/// A grid of runs of a law, with relative noise.
fn grid(law: &FormLaw, noise: f64, seed: u64, amounts: &[f64]) -> Vec<Observation> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut runs = Vec::new();
    for n in sizes() {
        for s in [0.0, 0.5, 0.75, 0.875] {
            for d in amounts {
                let nonzero_params = NonzeroParams::new(n).unwrap();
                let sparsity = Sparsity::new(s).unwrap();
                let data = Data::new(*d).unwrap();
                // The sum of twelve uniform numbers has variance 1.
                let normal: f64 = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
                let loss = law.loss(sparsity.density(), nonzero_params, data).unwrap();
                let loss = Loss::new(loss * (noise * normal).exp()).unwrap();
                runs.push(Observation { nonzero_params, sparsity, data, loss });
            }
        }
    }
    runs
}

const AMOUNTS: [f64; 4] = [1e9, 4e9, 16e9, 64e9];

fn config(bootstrap: u32) -> FitConfig {
    FitConfig { bootstrap, ..FitConfig::default() }
}

fn fit(runs: Vec<Observation>, task: &FormTask, config: FitConfig) -> Result<FormReport, FitError> {
    let runs = RunSet::from(Observations::new(runs));
    fit_form(&runs, task, &config.check().unwrap(), &Control::NONE)
}

fn task(law: &FormLaw) -> FormTask {
    match law {
        FormLaw::Levels(_) => FormTask::Levels,
        FormLaw::Experts(_) => FormTask::Experts,
    }
}

#[test]
fn noise_free_runs_give_the_capacities_of_their_levels_back() {
    for residual in [Residual::Log, Residual::Linear] {
        let truth = levels();
        let config = FitConfig { residual, ..config(0) };
        let report = fit(grid(&truth, 0.0, 0, &AMOUNTS), &FormTask::Levels, config).unwrap().report;
        let law = report.own.unwrap();
        for (got, truth) in law.values().into_iter().zip(truth.values()) {
            assert!((got / truth - 1.0).abs() < 1e-3, "{residual:?} {got} {truth}");
        }
        let gain = law.gain(Density::new(0.5).unwrap(), NonzeroParams::new(1e7).unwrap()).unwrap();
        assert!((gain / (48.0_f64 / 60.0).powf(-1.0 / 0.245) - 1.0).abs() < 1e-3, "{gain}");
        assert!(report.ensemble.is_none());
        assert_eq!(report.diagnostics.identification.unwrap().rank, 8);
    }
}

#[test]
fn noise_free_runs_of_experts_give_their_predictions_back() {
    // The ten coefficients can compensate for each other, but their predictions are determined.
    let truth = FormLaw::Experts(EXPERTS);
    let report = fit(grid(&truth, 0.0, 0, &AMOUNTS), &FormTask::Experts, config(0)).unwrap().report;
    let law = report.own.unwrap();
    for n in [5e5, 8e6, 2e8] {
        for x in [1.0, 0.4, 0.2, 0.1] {
            for d in [5e8, 8e9, 1.2e11] {
                let (n, x, d) = (
                    NonzeroParams::new(n).unwrap(),
                    Density::new(x).unwrap(),
                    Data::new(d).unwrap(),
                );
                let (got, truth) = (law.loss(x, n, d).unwrap(), truth.loss(x, n, d).unwrap());
                assert!((got / truth - 1.0).abs() < 1e-3, "{got} {truth}");
            }
        }
    }
}

#[test]
fn intervals_hold_the_truth_and_everything_is_said_of_the_fit() {
    for truth in [levels(), FormLaw::Experts(EXPERTS)] {
        let runs = grid(&truth, 0.003, 5, &AMOUNTS);
        let report = fit(runs.clone(), &task(&truth), config(200)).unwrap().report;
        let law = report.own.clone().unwrap();
        assert_eq!(law.form(), task(&truth).form());
        let ensemble = report.ensemble.clone().unwrap();
        assert!(ensemble.forms().len() > 195, "{}", ensemble.forms().len());
        assert_eq!(ensemble.forms().len(), ensemble.count());
        let noise = report.diagnostics.noise;
        assert!((0.002..0.0045).contains(&noise), "{noise}");
        assert!(report.diagnostics.agreement > 0.3, "{}", report.diagnostics.agreement);
        let rolling = report.diagnostics.rolling.unwrap();
        assert!(rolling.predictions > 20 && rolling.rounds > 2, "{rolling:?}");
        let holdouts = &report.diagnostics.holdouts;
        let of = |which: Holdout| holdouts.iter().filter(|known| known.holdout == which).count();
        assert_eq!((of(Holdout::NonzeroParams), of(Holdout::Data)), (1, 1));
        // A law of levels predicts nothing at a sparsity that it has not seen.
        assert_eq!(of(Holdout::Sparsity), usize::from(truth.form().as_str() == "experts"));
        assert!(holdouts.iter().any(|known| known.rms.is_some_and(|rms| rms < 0.1)));
        let leverages: f64 = report.fitted.iter().map(|run| run.leverage).sum();
        assert!((leverages - law.count() as f64).abs() < 1e-6, "{leverages}");
        let runs = Observations::new(runs);
        for (run, fitted) in runs.as_slice().iter().zip(&report.fitted) {
            let loss = law.loss(run.sparsity.density(), run.nonzero_params, run.data).unwrap();
            assert_eq!(fitted.predicted, loss);
            assert!((fitted.residual - (loss / run.loss.get()).ln()).abs() < 1e-12);
        }
        let sampled = SampledForm::new(law, Some(ensemble), None, |loss, _| loss);
        let (mut inside, mut asked) = (0, 0);
        for n in sizes() {
            for s in [0.0, 0.5, 0.75, 0.875] {
                let x = Sparsity::new(s).unwrap().density();
                let (n, d) = (NonzeroParams::new(n).unwrap(), Data::new(1e10).unwrap());
                let (mean, run) = sampled.loss_intervals(x, n, d).unwrap();
                assert!(run.low <= mean.low && mean.high <= run.high);
                inside += usize::from(mean.contains(truth.loss(x, n, d).unwrap()));
                asked += 1;
            }
        }
        assert!(inside * 10 >= asked * 8, "{inside} of {asked}");
    }
}

#[test]
fn the_best_level_has_the_share_of_laws_that_say_so_and_an_interval_of_levels() {
    let truth = levels();
    let report = fit(grid(&truth, 0.01, 3, &AMOUNTS), &FormTask::Levels, config(200)).unwrap();
    let ensemble = report.report.ensemble;
    let law = report.report.own.unwrap();
    let sampled = SampledForm::new(law, ensemble, None, |loss, _| loss);
    let cost =
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Sparse);
    let question = (NonzeroParams::new(1e7).unwrap(), Compute::new(1e18).unwrap());
    let answer = sampled.recommend(&cost, question, None, None, true).unwrap().unwrap();
    let choice = answer.choice.unwrap();
    assert_eq!(choice.levels.len(), 4);
    let shares: f64 = choice.levels.iter().map(|level| level.share.unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-12);
    let interval = answer.intervals.unwrap().sparsity;
    assert!(interval.contains(answer.found.best.sparsity().get()));
    let is_level = |end: f64| CAPACITIES.iter().any(|(level, _)| *level == end);
    assert!(is_level(interval.low) && is_level(interval.high), "{interval:?}");
    // Under a bound, the best of the levels that keep it.
    let least = Some(Sparsity::new(0.6).unwrap().density());
    let bound = sampled.recommend(&cost, question, least, None, true).unwrap().unwrap();
    assert!(bound.found.best.sparsity().get() <= 0.5);
    assert!(bound.intervals.unwrap().sparsity.high <= 0.5);
    assert!(
        sampled
            .loss_intervals(Density::new(0.6).unwrap(), question.0, Data::new(1e9).unwrap())
            .is_none()
    );
}

#[test]
fn it_is_the_same_to_the_bit_in_any_order_on_any_number_of_threads() {
    for truth in [levels(), FormLaw::Experts(EXPERTS)] {
        let runs = grid(&truth, 0.005, 7, &AMOUNTS);
        let mut reversed = runs.clone();
        reversed.reverse();
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let alone = pool(1).install(|| fit(runs, &task(&truth), config(100)));
        let other = pool(3).install(|| fit(reversed, &task(&truth), config(100)));
        assert_eq!(alone.unwrap(), other.unwrap());
    }
}

#[test]
fn runs_on_one_amount_of_data_give_a_law_of_sizes_and_sparsities() {
    for truth in [levels(), FormLaw::Experts(EXPERTS)] {
        let mut runs = grid(&truth, 0.0, 0, &[1.3e11]);
        for n in [3e5, 2.5e8, 1e9] {
            for mut run in grid(&truth, 0.0, 0, &[1.3e11]).into_iter().take(4) {
                run.nonzero_params = NonzeroParams::new(n).unwrap();
                let loss = truth.loss(run.sparsity.density(), run.nonzero_params, run.data);
                run.loss = Loss::new(loss.unwrap()).unwrap();
                runs.push(run);
            }
        }
        let report = fit(runs.clone(), &task(&truth), config(100)).unwrap().report;
        let law = report.own.unwrap();
        assert!(!law.determines_data() && !report.coefficients.determines().data);
        for run in runs {
            let loss = law.loss(run.sparsity.density(), run.nonzero_params, run.data).unwrap();
            assert!((loss / run.loss.get() - 1.0).abs() < 1e-4, "{loss} {}", run.loss);
        }
        assert!(report.warnings.iter().any(|warning| warning.code == WarningCode::NotSeparable));
        assert!(report.diagnostics.holdouts.iter().all(|known| known.holdout != Holdout::Data));
    }
}

fn refusal(runs: Vec<Observation>, task: &FormTask) -> String {
    match fit(runs, task, config(0)).unwrap_err() {
        FitError::FormNotCarried { form, reason } => {
            assert_eq!(form, task.form());
            reason
        }
        other => panic!("{other}"),
    }
}

#[test]
fn forms_that_the_runs_cannot_carry_are_refused_with_the_reason() {
    let all = grid(&levels(), 0.001, 1, &AMOUNTS);
    let keep = |kept: &dyn Fn(&Observation) -> bool| -> Vec<Observation> {
        all.iter().copied().filter(kept).collect()
    };
    let dense = keep(&|run| run.sparsity.get() == 0.0);
    let two = keep(&|run| run.sparsity.get() <= 0.5);
    let two_sizes = keep(&|run| run.nonzero_params.get() < 5e6);
    let two_amounts = keep(&|run| run.data.get() < 5e9);
    let mut lonely = keep(&|run| run.sparsity.get() < 0.8);
    lonely.push(Observation { sparsity: Sparsity::new(0.9).unwrap(), ..all[0] });
    // Larger models are sparser, so the effect of size cannot be separated from the effect of sparsity.
    let line = keep(&|run| {
        let place = sizes().iter().position(|n| *n == run.nonzero_params.get()).unwrap();
        run.sparsity.get() == CAPACITIES[place].0
    });
    // Each sparsity is a level of its own, as the densities differ by more than two per cent.
    let many: Vec<Observation> = (0..201)
        .flat_map(|level| {
            let density = (-0.025 * f64::from(level)).exp();
            all[..3].iter().map(move |run| Observation {
                sparsity: Density::new(density).unwrap().sparsity(),
                ..*run
            })
        })
        .collect();
    let cases: [(&[Observation], FormTask, &str); 10] = [
        (&many, FormTask::Levels, "the runs have 201 levels, and it takes at most 200"),
        (&dense, FormTask::Levels, "the runs have 1 different value of sparsity, and it needs 2"),
        (&dense, FormTask::Experts, "1 different value of sparsity, and it needs 3"),
        (&two, FormTask::Experts, "2 different values of sparsity, and it needs 3"),
        (&two_sizes, FormTask::Levels, "2 different values of nonzero_params, and it needs 3"),
        (&two_amounts, FormTask::Experts, "2 different values of data, and it needs 3"),
        (&lonely, FormTask::Levels, "sparsity 0.9 has 1 run, and each of its 4 levels needs 3"),
        (&all[..8], FormTask::Levels, "different value of nonzero_params"),
        (&line, FormTask::Levels, "of its 8 coefficients apart"),
        (&line, FormTask::Experts, "of its 10 coefficients apart"),
    ];
    for (runs, task, told) in cases {
        let reason = refusal(runs.to_vec(), &task);
        assert!(reason.contains(told), "{}: {reason}", task.form().as_str());
    }
    let held =
        FitConfig { fixed: [(sparsity_law::law::CoefficientName::C, 0.6)].into(), ..config(0) };
    let error = fit(all.clone(), &FormTask::Levels, held).unwrap_err();
    assert!(error.to_string().contains("leave fixed and constraint out"), "{error}");
    assert_eq!(fit(Vec::new(), &FormTask::Experts, config(0)).unwrap_err(), FitError::NoRuns);
    let config = config(100).check().unwrap();
    let control = Control { should_stop: &|| true, progress: &|_, _| () };
    let stopped = fit_form(&Observations::new(all).into(), &FormTask::Levels, &config, &control);
    assert_eq!(stopped.unwrap_err(), FitError::Stopped);
}

#[test]
fn clusters_are_resampled_together_and_repeated_data_counts_for_what_it_teaches() {
    let truth = levels();
    let runs = Observations::new(grid(&truth, 0.003, 5, &AMOUNTS));
    let clusters: Vec<Option<u32>> = (0..64).map(|run| Some(run / 4)).collect();
    let config = config(100).check().unwrap();
    let plain = fit_form(&runs.clone().into(), &FormTask::Levels, &config, &Control::NONE);
    let set = RunSet::from(runs.clone().clustered(&clusters));
    let clustered = fit_form(&set, &FormTask::Levels, &config, &Control::NONE).unwrap().report;
    let plain = plain.unwrap().report;
    assert_eq!(clustered.diagnostics.clusters, Some(16));
    assert_eq!(clustered.own, plain.own);
    assert!(clustered.ensemble.unwrap().tail() < plain.ensemble.unwrap().tail());

    let unique = runs.as_slice().iter().map(|run| Data::new(run.data.get() / 8.0).ok()).collect();
    let set = RunSet { unique, ..runs.into() };
    let repeating = fit_form(&set, &FormTask::Levels, &config, &Control::NONE).unwrap();
    assert_eq!(repeating.repeated.unwrap().runs, 64);
    assert_ne!(repeating.report.data_digest, plain.data_digest);
    assert_ne!(repeating.report.own, plain.own);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever the runs are, a fit ends with a law of finite numbers, or with a reason.
    #[test]
    fn absurd_runs_end_in_a_law_or_in_a_reason(
        seed in any::<u64>(), spread in 0.0..30.0f64, experts in any::<bool>(), linear in any::<bool>(),
        delta in prop::option::of(-9.0..2.0f64), alike in any::<bool>(),
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = 12 + (seed % 40) as usize;
        let mut runs = Vec::new();
        for place in 0..count {
            let wild = |rng: &mut ChaCha8Rng, middle: f64| {
                (middle + spread * (rng.random::<f64>() - 0.5)).exp()
            };
            let place = if alike { 0 } else { place };
            let s = [0.0, 0.5, 0.9, 0.999_999][place % 4];
            let (n, d, l) = (wild(&mut rng, 18.0), wild(&mut rng, 22.0), wild(&mut rng, 0.8));
            runs.push(Observation {
                nonzero_params: NonzeroParams::new(n.clamp(1.0, 1e18)).unwrap(),
                sparsity: Sparsity::new(s).unwrap(),
                data: Data::new(d.clamp(1e-6, 1e30)).unwrap(),
                loss: Loss::new(l).unwrap(),
            });
        }
        let task = if experts { FormTask::Experts } else { FormTask::Levels };
        let config = FitConfig {
            residual: if linear { Residual::Linear } else { Residual::Log },
            delta: delta.map_or(Delta::Auto, |delta| Delta::Fixed(10_f64.powf(delta))),
            starts: 3,
            ..config(100)
        };
        match fit(runs, &task, config) {
            Err(FitError::FormNotCarried { reason, .. }) => prop_assert!(!reason.is_empty()),
            Err(FitError::NotRepresentable { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
            Ok(FormReport { report, .. }) => {
                let law = report.own.unwrap();
                prop_assert_eq!(law.out_of_range(), None);
                prop_assert!(report.objective.is_finite());
                for law in report.ensemble.iter().flat_map(|ensemble| ensemble.forms()) {
                    prop_assert_eq!(law.out_of_range(), None);
                }
            }
        }
    }

    /// In every mode, under a bound or with repeated data, no sparsity is better than the best one.
    #[test]
    fn no_share_of_experts_is_better_than_the_best(
        ln_n in 14.0..25.0f64, ln_epochs in -3.0..9.0f64, mode in 0..4, bound in prop::option::of(0.0..0.999f64),
        unique in prop::option::of(18.0..26.0f64), lambda in -0.5..0.5f64, delta in -0.5..0.5f64,
        gamma in 0.05..0.4f64,
    ) {
        let step: StepCost = match mode {
            0 => FlopMode::Dense.into(),
            1 => FlopMode::Sparse.into(),
            2 => StepCost::of_share(0.8, 0.9).unwrap(),
            _ => StepCost::of_points(&[(0.45, 1.0), (0.5, 0.4), (0.55, 0.9), (0.9, 0.3)]).unwrap(),
        };
        let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), step);
        let law = FormLaw::Experts(ExpertCoefficients { lambda, delta, gamma, ..EXPERTS });
        let n = NonzeroParams::new(ln_n.exp()).unwrap();
        let c = Compute::new(6.0 * 20.0 * (2.0 * ln_n + ln_epochs).exp()).unwrap();
        let repetition = unique
            .map(|unique| sparsity_law::law::Repetition::new(Data::new(unique.exp()).unwrap(), 15.39).unwrap());
        let least = bound.map(|bound| Sparsity::new(bound).unwrap().density());
        let found = law.recommend(&cost, (n, c), least, repetition.as_ref()).unwrap().unwrap();
        prop_assert!(found.best.sparsity().get() < 1.0);
        prop_assert!(least.is_none_or(|least| found.best.density.get() >= least.get() * (1.0 - 1e-12)));
        let end = least.map_or(12.0, |least| -least.get().ln());
        for i in 0..=2000 {
            let x = Density::clamped((-end * f64::from(i) / 2000.0).exp());
            let Ok(Some(other)) = law.model(&cost, (None, x), n, c, repetition.as_ref()) else { continue };
            prop_assert!(other.loss >= found.best.loss * (1.0 - 1e-12), "{} {}", x.sparsity(), found.best.sparsity());
        }
    }
}
