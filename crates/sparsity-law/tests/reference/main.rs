//! The optimum of the law and the fit, compared with SciPy, which uses different methods: `reference.py` writes
//! `reference.json`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod forms;

use serde::Deserialize;
use sparsity_law::fit::{Control, FitConfig, Observation, Observations, Report, Residual, fit};
use sparsity_law::law::{
    CoefficientValues, Coefficients, Compute, Data, FlopMode, FlopsPerParam, Loss, NonzeroParams,
    PruningSchedule, Sparsity, TrainingCost, optimal_sparsity,
};

#[derive(Deserialize)]
struct Reference {
    optima: Vec<OptimumRow>,
    fits: Vec<FitRow>,
    synthetic: Vec<SyntheticRow>,
}

/// Runs of a known law, and the best fits of them that SciPy found.
#[derive(Deserialize)]
struct SyntheticRow {
    noise: f64,
    design: String,
    outliers: f64,
    truth: [f64; 7],
    /// `N`, `S`, `D`, `L`.
    runs: Vec<[f64; 4]>,
    fits: Vec<SyntheticFit>,
}

#[derive(Deserialize)]
struct SyntheticFit {
    #[serde(flatten)]
    row: FitRow,
    coefficients: [f64; 7],
}

#[derive(Deserialize)]
struct OptimumRow {
    coefficients: CoefficientsRow,
    pruning: [f64; 3],
    flops_per_param: f64,
    nonzero_params: f64,
    compute: f64,
    flop_mode: String,
    sparsity: f64,
    loss: f64,
}

#[derive(Deserialize)]
struct CoefficientsRow {
    a_s: f64,
    b_s: f64,
    c_s: f64,
    b_n: f64,
    a_d: f64,
    b_d: f64,
    c: f64,
}

#[derive(Deserialize)]
struct FitRow {
    residual: String,
    delta: f64,
    objective: f64,
}

impl FitRow {
    /// The same fit by this crate.
    fn fit(&self, runs: &Observations) -> Report {
        let residual = if self.residual == "log" { Residual::Log } else { Residual::Linear };
        let config = FitConfig {
            residual,
            delta: self.delta.into(),
            bootstrap: 0,
            holdout: Vec::new(),
            ..FitConfig::default()
        };
        fit(&runs.clone().into(), &config.check().unwrap(), &Control::NONE).unwrap()
    }
}

impl SyntheticRow {
    fn observations(&self) -> Observations {
        let run = |[n, s, d, l]: &[f64; 4]| Observation {
            nonzero_params: NonzeroParams::new(*n).unwrap(),
            sparsity: Sparsity::new(*s).unwrap(),
            data: Data::new(*d).unwrap(),
            loss: Loss::new(*l).unwrap(),
        };
        Observations::new(self.runs.iter().map(run).collect())
    }

    fn name(&self, fit: &SyntheticFit) -> String {
        let Self { noise, design, outliers, .. } = self;
        format!("{design}, noise {noise}, outliers {outliers}, {}", fit.row.residual)
    }
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

/// A minimum that is found from function values alone is accurate to the square root of their rounding, which a flat
/// curve amplifies.
const SPARSITY_TOLERANCE: f64 = 1e-5;
/// The reference integrates the pruning schedule by the midpoint rule with 20,000 steps.
const LOSS_TOLERANCE: f64 = 1e-8;

#[test]
fn optimal_sparsity_is_where_scipy_finds_the_least_loss() {
    let rows = reference().optima;
    assert_eq!(rows.len(), 40);
    let inside = rows.iter().filter(|row| row.sparsity > 0.0).count();
    assert!((20..40).contains(&inside), "both kinds of answers occur: {inside}");
    for row in rows {
        let CoefficientsRow { a_s, b_s, c_s, b_n, a_d, b_d, c } = row.coefficients;
        let values = CoefficientValues { a_s, b_s, c_s, b_n, a_d, b_d, c };
        let law = Coefficients::new(values).unwrap();
        let [start, end, exponent] = row.pruning;
        let pruning = PruningSchedule::new(start, end, exponent).unwrap();
        let mode = if row.flop_mode == "dense" { FlopMode::Dense } else { FlopMode::Sparse };
        let cost =
            TrainingCost::new(FlopsPerParam::new(row.flops_per_param).unwrap(), pruning, mode);
        let n = NonzeroParams::new(row.nonzero_params).unwrap();
        let best = optimal_sparsity(&law, &cost, n, Compute::new(row.compute).unwrap()).unwrap();
        let sparsity = best.sparsity().get();
        assert!(
            (sparsity - row.sparsity).abs() < SPARSITY_TOLERANCE,
            "{sparsity} {}",
            row.sparsity
        );
        assert!((best.loss / row.loss - 1.0).abs() < LOSS_TOLERANCE, "{} {}", best.loss, row.loss);
    }
}

fn demo_runs() -> Observations {
    #[derive(Deserialize)]
    struct Run {
        nonzero_params: f64,
        sparsity: f64,
        data: f64,
        loss: f64,
    }
    let runs: Vec<Run> =
        serde_json::from_str(include_str!("../../../../examples/demo-runs.json")).unwrap();
    let runs = runs.into_iter().map(|run| Observation {
        nonzero_params: NonzeroParams::new(run.nonzero_params).unwrap(),
        sparsity: Sparsity::new(run.sparsity).unwrap(),
        data: Data::new(run.data).unwrap(),
        loss: Loss::new(run.loss).unwrap(),
    });
    Observations::new(runs.collect())
}

/// Both fits stop where a step changes only the last digits of the objective.
const OBJECTIVE_TOLERANCE: f64 = 1e-9;

#[test]
fn the_fit_is_as_good_as_the_best_of_sixty_scipy_descents() {
    let rows = reference().fits;
    assert_eq!(rows.len(), 2);
    for row in rows {
        let report = row.fit(&demo_runs());
        let excess = report.objective / row.objective - 1.0;
        assert!(excess < OBJECTIVE_TOLERANCE, "{}: {excess:e}", row.residual);
        // If it were much better, one of the two would compute a different objective.
        assert!(excess > -1e-3, "{}: {excess:e}", row.residual);
    }
}

/// Mean Huber loss, in units of `delta^2`, below which a fit is exact: the losses are rounded to 1e-11, which is 1e-5
/// of the delta that is used with them.
const EXACT: f64 = 1e-9;

#[test]
fn synthetic_runs_are_fitted_as_well_as_by_the_best_scipy_descent() {
    let rows = reference().synthetic;
    assert_eq!(rows.len(), 36);
    let mut worse = Vec::new();
    for row in rows {
        let runs = row.observations();
        for reference in &row.fits {
            let report = reference.row.fit(&runs);
            let floor = EXACT * reference.row.delta.powi(2);
            let allowed = reference.row.objective * (1.0 + OBJECTIVE_TOLERANCE) + floor;
            if report.objective > allowed {
                let excess = report.objective / reference.row.objective - 1.0;
                worse.push(format!("{}: {excess:e}", row.name(reference)));
            }
            // The same coefficients give the same objective on both sides.
            let values = CoefficientValues::from_array(reference.coefficients);
            let law = Coefficients::new(values).unwrap();
            let FitRow { objective, delta, .. } = reference.row;
            let residual =
                if reference.row.residual == "log" { Residual::Log } else { Residual::Linear };
            let ours = runs.mean_huber(&law, residual, delta);
            assert!(
                (ours - objective).abs() < ROUNDED * objective + floor.max(delta * 1e-8),
                "{}: {ours:e} {objective:e}",
                row.name(reference)
            );
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}

/// Tolerance for reference coefficients that are rounded to nine digits, which the exponents amplify.
const ROUNDED: f64 = 1e-4;

/// Uncertainty of the coefficients in the flattest direction, as the losses are rounded to 1e-11.
const RECOVERY: f64 = 1e-4;

#[test]
fn exact_synthetic_runs_give_their_law_back() {
    let rows = reference().synthetic.into_iter();
    let exact: Vec<_> = rows.filter(|row| row.noise == 0.0 && row.outliers == 0.0).collect();
    assert_eq!(exact.len(), 3);
    for row in exact {
        for reference in &row.fits {
            let report = reference.row.fit(&row.observations());
            let got = report.coefficients.values().to_array();
            for (got, truth) in got.into_iter().zip(row.truth) {
                assert!(
                    (got / truth - 1.0).abs() < RECOVERY,
                    "{}: {got} {truth}",
                    row.name(reference)
                );
            }
        }
    }
}

#[test]
fn outliers_do_not_bend_a_law_that_most_runs_obey() {
    let rows = reference().synthetic.into_iter();
    let bent: Vec<_> = rows
        .filter(|row| row.noise == 0.0 && row.outliers > 0.0 && row.design != "sparse")
        .collect();
    assert_eq!(bent.len(), 4);
    for row in bent {
        for reference in &row.fits {
            let report = reference.row.fit(&row.observations());
            let agreement = report.diagnostics.agreement;
            assert!(agreement > MOST, "{}: {agreement}", row.name(reference));
            let got = report.coefficients.values().to_array();
            for (got, truth) in got.into_iter().zip(row.truth) {
                assert!((got / truth - 1.0).abs() < BENT, "{}: {got} {truth}", row.name(reference));
            }
        }
    }
}

/// Least share of random starts that must reach the minimum past the kinks of a delta far below the residuals. Only one
/// in thirty did when the stages of the descent ended too early.
const MOST: f64 = 0.5;

/// An outlier pulls with the force of one delta of 1e-6, which the flattest direction amplifies.
const BENT: f64 = 1e-3;
