//! The law's optimum and the fit against SciPy, which reaches them by other ways: `reference.py`
//! makes `reference.json`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use serde::Deserialize;
use sparsity_planner::fit::{Control, FitConfig, Observation, Observations, Residual, fit};
use sparsity_planner::law::{
    CoefficientValues, Coefficients, Compute, Data, FlopMode, FlopsPerParam, Loss, NonzeroParams,
    PruningSchedule, Sparsity, TrainingCost, optimal_sparsity,
};

#[derive(Deserialize)]
struct Reference {
    optima: Vec<OptimumRow>,
    fits: Vec<FitRow>,
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

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

/// A minimum sought by values alone is found to the root of their rounding, seen through a flat
/// curve.
const SPARSITY_TOLERANCE: f64 = 1e-5;
/// The reference integrates the pruning schedule by a midpoint rule of 20,000 steps.
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
        serde_json::from_str(include_str!("../../examples/demo-runs.json")).unwrap();
    let runs = runs.into_iter().map(|run| Observation {
        nonzero_params: NonzeroParams::new(run.nonzero_params).unwrap(),
        sparsity: Sparsity::new(run.sparsity).unwrap(),
        data: Data::new(run.data).unwrap(),
        loss: Loss::new(run.loss).unwrap(),
    });
    Observations::new(runs.collect())
}

/// Both ends stop where a step changes the objective in its last digits.
const OBJECTIVE_TOLERANCE: f64 = 1e-9;

#[test]
fn the_fit_is_as_good_as_the_best_of_sixty_scipy_descents() {
    let rows = reference().fits;
    assert_eq!(rows.len(), 2);
    for row in rows {
        let residual = if row.residual == "log" { Residual::Log } else { Residual::Linear };
        let config = FitConfig { residual, delta: row.delta, bootstrap: 0, ..FitConfig::default() };
        let report = fit(&demo_runs().into(), &config.check().unwrap(), &Control::NONE).unwrap();
        let excess = report.objective / row.objective - 1.0;
        assert!(excess < OBJECTIVE_TOLERANCE, "{}: {excess:e}", row.residual);
        // Were it much better, one of the two would compute another objective.
        assert!(excess > -1e-3, "{}: {excess:e}", row.residual);
    }
}
