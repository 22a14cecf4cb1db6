//! The paper's own runs: the fit reaches the global minima from any seed.
//!
//! The run data belongs to the authors and is not part of this project, so these tests are ignored by default. Run them
//! with `SPARSITY_PLANNER_PAPER_DATA=<directory> cargo test -p sparsity-law --test paper_data -- --ignored`, where the
//! directory holds `t5-data.csv` and `vit-data.json` of google-research/jaxpruner.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod paper;

use paper::{observation, t5_config, t5_runs, vit_config, vit_runs};
use sparsity_law::fit::{
    Constraint, Control, FitConfig, FormTask, Observations, Report, Residual, RunSet, WarningCode,
    fit, fit_form,
};
use sparsity_law::law::{CoefficientName, Coefficients, Data, Question};

fn fitted(runs: &Observations, config: FitConfig) -> Report {
    fit(&runs.clone().into(), &config.check().unwrap(), &Control::NONE).unwrap()
}

/// The same options with a given seed and without resamples.
fn plain(config: FitConfig, seed: u64) -> FitConfig {
    FitConfig { seed, bootstrap: 0, ..config }
}

fn codes(report: &Report) -> Vec<WarningCode> {
    report.warnings.iter().map(|warning| warning.code).collect()
}

/// Tolerance for known minima with seven digits.
const SEVEN_DIGITS: f64 = 2e-7;

/// Tolerance for coefficients with six or seven digits; five of these are certain in the flat direction of T5.
const FIVE_DIGITS: f64 = 1e-5;

#[test]
#[ignore = "needs the authors' run data"]
fn t5_reaches_its_global_minimum_from_every_seed() {
    let runs = t5_runs();
    assert_eq!(runs.len(), 48);
    for seed in 0..20 {
        let report = fitted(&runs, plain(t5_config(), seed));
        let objective = report.objective;
        assert!((objective / 4.880117e-6 - 1.0).abs() < SEVEN_DIGITS, "seed {seed}: {objective:e}");
        let agreement = report.diagnostics.agreement;
        assert!(agreement > 0.9, "seed {seed}: {agreement}");
        let known = [10.7108, 1.344968, 41.6208, 0.231683, 10328.80, 0.384638, 0.830375];
        for (got, known) in report.coefficients.values().to_array().into_iter().zip(known) {
            assert!((got / known - 1.0).abs() < FIVE_DIGITS, "seed {seed}: {got} {known}");
        }
        assert!((report.coefficients.gain_slope() - 1.188).abs() < 5e-4);
    }
}

#[test]
#[ignore = "needs the authors' run data"]
fn vit_reaches_its_global_minimum_from_every_seed() {
    let runs = vit_runs();
    assert_eq!(runs.len(), 112);
    for seed in 0..20 {
        let report = fitted(&runs, plain(vit_config(), seed));
        let objective = report.objective;
        assert!((objective / 4.929088e-4 - 1.0).abs() < SEVEN_DIGITS, "seed {seed}: {objective:e}");
        let agreement = report.diagnostics.agreement;
        assert!(agreement > 0.9, "seed {seed}: {agreement}");
    }
}

#[test]
#[ignore = "needs the authors' run data"]
fn t5_under_the_physical_constraint() {
    let config = FitConfig { constraint: Some(Constraint::Physical), ..plain(t5_config(), 0) };
    let report = fitted(&t5_runs(), config);
    assert!((report.objective - 5.60e-6).abs() < 0.005e-6, "{:e}", report.objective);
    assert!((report.coefficients.gain_slope() - 1.0).abs() < 1e-9);
    assert!(!codes(&report).contains(&WarningCode::Unphysical));
}

#[test]
#[ignore = "needs the authors' run data"]
fn t5_says_what_its_runs_cannot_tell() {
    let report = fitted(&t5_runs(), t5_config());
    let named = |code: WarningCode, name: &str| {
        let mut found = report.warnings.iter().filter(|warning| warning.code == code);
        found.any(|warning| warning.detail.contains(name))
    };
    assert!(named(WarningCode::WeaklyDetermined, "b_d"), "{:?}", report.warnings);
    assert!(named(WarningCode::Correlated, "b_d"), "{:?}", report.warnings);
    assert!(named(WarningCode::Unphysical, "s0"), "{:?}", report.warnings);
    assert!(named(WarningCode::NarrowData, "4.0"), "{:?}", report.warnings);
    // Each size was trained on each amount of data.
    assert!(!named(WarningCode::Collinear, ""), "{:?}", report.warnings);
    // By resampling and by profile, the interval of b_d extends over most of a decade.
    let interval = report.ensemble.unwrap().coefficient_intervals()[&CoefficientName::BD];
    assert!(interval.low < 0.12 && interval.high > 0.6, "{interval:?}");
    let profiles = &report.diagnostics.profiles;
    let profile = profiles.iter().find(|p| p.coefficient == CoefficientName::BD).unwrap();
    assert!(profile.low.unwrap() < 0.12 && profile.high.unwrap() > 0.6, "{profile:?}");
}

#[test]
#[ignore = "needs the authors' run data"]
fn vit_intervals_are_the_known_ones() {
    let report = fitted(&vit_runs(), vit_config());
    assert!(!codes(&report).contains(&WarningCode::Collinear), "{:?}", report.warnings);
    let intervals = report.ensemble.unwrap().coefficient_intervals();
    // Percentile intervals, known to two digits; those of this crate are expanded by a few per cent.
    let known = [
        (CoefficientName::BS, 0.67, 0.96, 0.05),
        (CoefficientName::BN, 0.35, 0.42, 0.02),
        (CoefficientName::BD, 0.69, 1.10, 0.05),
        (CoefficientName::C, 4.27, 4.64, 0.05),
    ];
    for (name, low, high, tolerance) in known {
        let interval = intervals[&name];
        assert!((interval.low - low).abs() < tolerance, "{name:?}: {interval:?}");
        assert!((interval.high - high).abs() < tolerance, "{name:?}: {interval:?}");
    }
}

#[test]
#[ignore = "needs the authors' run data"]
fn the_held_out_t5_run_lies_in_its_prediction_interval() {
    let report = fitted(&t5_runs(), t5_config());
    let target = observation(48.0 * 12.0 * 1024.0 * 1024.0 / 0.25, 0.75, 5e5, 1.4827780204906797);
    let density = target.sparsity.density();
    let loss = |law: &Coefficients| law.loss(density, target.nonzero_params, target.data);
    assert!((loss(&report.coefficients) - 1.45507).abs() < 1e-5);
    let ensemble = report.ensemble.unwrap();
    let interval = ensemble
        .interval(|member| Residual::Log.measured(loss(&member.coefficients), member.noise));
    assert!(interval.contains(target.loss.get()), "{interval:?}");
    let question = Question {
        nonzero_params: target.nonzero_params,
        density,
        data: target.data,
        cost: None,
        repetition: None,
    };
    let outside = report.support.extrapolation(&question);
    assert_eq!(outside.len(), 1);
    assert!((outside[0].factor - 7.11).abs() < 0.01, "{outside:?}");
}

#[test]
#[ignore = "needs the authors' run data"]
fn both_come_out_the_same_to_the_bit_on_any_number_of_threads() {
    for (runs, config) in [(t5_runs(), t5_config()), (vit_runs(), vit_config())] {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fitted(&runs, config.clone()))
        };
        assert_eq!(on(1), on(3));
    }
}

/// Language models that were trained on the same tokens repeatedly: dense runs with `unique_data`, from
/// huggingface/datablations (Apache-2.0), in the file `public/datablations.csv`.
fn datablations() -> RunSet {
    #[derive(serde::Deserialize)]
    struct Row {
        nonzero_params: f64,
        data: f64,
        loss: f64,
        unique_data: f64,
    }
    let text = paper::file("public/datablations.csv");
    let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize::<Row>();
    let rows: Vec<Row> = rows.map(Result::unwrap).collect();
    let runs = rows.iter().map(|row| observation(row.nonzero_params, 0.0, row.data, row.loss));
    let law = Observations::new(runs.collect());
    let unique = law.order().iter().map(|place| Data::new(rows[*place].unique_data).ok()).collect();
    RunSet { unique, ..law.into() }
}

#[test]
#[ignore = "needs public run data"]
fn public_runs_show_how_fast_repeated_data_wears_out() {
    let runs = datablations();
    assert_eq!(runs.law.len(), 296);
    let config =
        plain(FitConfig { holdout: Vec::new(), ..FitConfig::default() }, 0).check().unwrap();
    let plain = RunSet { unique: Vec::new(), ..runs.clone() };
    let as_if_new = fit_form(&plain, &FormTask::Sparse, &config, &Control::NONE).unwrap();
    let found = fit_form(&runs, &FormTask::Sparse, &config, &Control::NONE).unwrap();
    let repeated = found.repeated.unwrap();
    assert!(repeated.fitted && repeated.runs > 100, "{repeated:?}");
    // The authors' own fit, with a different law of size, gives 15.39.
    assert!((5.0..40.0).contains(&repeated.decay), "{repeated:?}");
    let noise = |report: &Report| report.diagnostics.noise;
    assert!(
        noise(&found.report) < 0.9 * noise(&as_if_new.report),
        "{} {}",
        noise(&found.report),
        noise(&as_if_new.report)
    );
}
