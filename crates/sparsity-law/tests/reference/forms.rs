//! Other forms of the law, borrowed gains and repeated data, compared with SciPy: `forms.py` writes `forms.json`.

use serde::Deserialize;
use sparsity_law::fit::{
    Control, FitConfig, FormTask, Observation, Observations, fit_form, rank_forms,
};
use sparsity_law::law::{
    BorrowedGain, CoefficientValues, Coefficients, Compute, Data, ExpertCoefficients, FlopMode,
    FlopsPerParam, FormLaw, GainCurve, LawForm, Loss, NonzeroParams, PruningSchedule, Repetition,
    Sparsity, TrainingCost, optimal_sparsity_repeating,
};

#[derive(Deserialize)]
struct Reference {
    optima: Vec<OptimumRow>,
    experts: Vec<ExpertRow>,
    fits: Vec<FitRow>,
}

#[derive(Deserialize)]
struct OptimumRow {
    kind: String,
    lender: BorrowedGain,
    coefficients: DenseRow,
    nonzero_params: f64,
    compute: f64,
    flop_mode: String,
    unique_data: Option<f64>,
    sparsity: f64,
    loss: f64,
}

#[derive(Deserialize)]
struct ExpertRow {
    coefficients: ExpertCoefficients,
    nonzero_params: f64,
    compute: f64,
    flop_mode: String,
    unique_data: Option<f64>,
    max_sparsity: Option<f64>,
    sparsity: f64,
    loss: f64,
}

#[derive(Deserialize)]
struct DenseRow {
    a: f64,
    b_n: f64,
    a_d: f64,
    b_d: f64,
    c: f64,
}

#[derive(Deserialize)]
struct FitRow {
    noise: f64,
    delta: f64,
    /// `N`, `S`, `D`, `L`.
    runs: Vec<[f64; 4]>,
    objectives: Objectives,
}

#[derive(Deserialize)]
struct Objectives {
    levels: f64,
    average_params: f64,
    experts: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("forms.json")).unwrap()
}

/// A golden-section search finds a minimum only to the square root of the loss's rounding.
const GOLDEN_SECTIONS: f64 = 3e-7;

#[test]
fn optima_agree_with_golden_sections_in_every_cell_of_a_fine_grid() {
    let rows = reference().optima;
    assert_eq!(rows.len(), 60);
    for row in rows {
        let DenseRow { a, b_n, a_d, b_d, c } = row.coefficients;
        let values = CoefficientValues { a_s: 0.0, b_s: 1.0, c_s: a, b_n, a_d, b_d, c };
        let curve = match row.kind.as_str() {
            "borrowed" => GainCurve::Borrowed(row.lender),
            _ => GainCurve::AverageParams { mean_share: 0.625 },
        };
        let law = Coefficients::reduced(values).unwrap().with_gain(curve).unwrap();
        let mode = if row.flop_mode == "sparse" { FlopMode::Sparse } else { FlopMode::Dense };
        let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode);
        let (n, compute) =
            (NonzeroParams::new(row.nonzero_params).unwrap(), Compute::new(row.compute).unwrap());
        let repetition = row
            .unique_data
            .map(|unique| Repetition::new(Data::new(unique).unwrap(), 15.39).unwrap());
        let best =
            optimal_sparsity_repeating(&law, &cost, n, compute, repetition.as_ref()).unwrap();
        let sparsity = best.sparsity().get();
        let close = (sparsity - row.sparsity).abs() < GOLDEN_SECTIONS;
        assert!(close, "{} {}: {sparsity} {}", row.kind, row.flop_mode, row.sparsity);
        assert!((best.loss / row.loss - 1.0).abs() < 1e-12, "{} {}", best.loss, row.loss);
    }
}

#[test]
fn the_best_share_of_experts_is_where_golden_sections_find_it() {
    let rows = reference().experts;
    assert_eq!(rows.len(), 40);
    let inside = rows.iter().filter(|row| row.sparsity > 0.0).count();
    assert!((20..40).contains(&inside), "both kinds of answers occur: {inside}");
    for row in rows {
        let law = FormLaw::Experts(row.coefficients);
        let mode = if row.flop_mode == "sparse" { FlopMode::Sparse } else { FlopMode::Dense };
        let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode);
        let (n, compute) =
            (NonzeroParams::new(row.nonzero_params).unwrap(), Compute::new(row.compute).unwrap());
        let repetition = row
            .unique_data
            .map(|unique| Repetition::new(Data::new(unique).unwrap(), 15.39).unwrap());
        let least = row.max_sparsity.map(|most| Sparsity::new(most).unwrap().density());
        let found = law.recommend(&cost, (n, compute), least, repetition.as_ref());
        let best = found.unwrap().unwrap().best;
        let sparsity = best.sparsity().get();
        assert!((sparsity - row.sparsity).abs() < GOLDEN_SECTIONS, "{sparsity} {}", row.sparsity);
        assert!((best.loss / row.loss - 1.0).abs() < 1e-12, "{} {}", best.loss, row.loss);
    }
}

/// How far above SciPy's least an objective may be: Gauss-Newton steps stop short of kinks.
const WORSE: f64 = 1e-4;
/// The same limit for the ten coefficients of a mixture of experts, which have flat valleys where the runs are not of
/// experts.
const FLAT: f64 = 2e-2;

#[test]
fn no_form_fits_worse_than_by_scipy() {
    for row in reference().fits {
        let run = |[n, s, d, l]: &[f64; 4]| Observation {
            nonzero_params: NonzeroParams::new(*n).unwrap(),
            sparsity: Sparsity::new(*s).unwrap(),
            data: Data::new(*d).unwrap(),
            loss: Loss::new(*l).unwrap(),
        };
        let runs = Observations::new(row.runs.iter().map(run).collect());
        let config = FitConfig { bootstrap: 0, ..FitConfig::default() }.check().unwrap();
        let rivals =
            rank_forms(&runs, LawForm::Sparse, row.delta, 0.625, &config, &Control::NONE).unwrap();
        let Objectives { levels, average_params, experts } = row.objectives;
        for (form, theirs, worse) in [
            (LawForm::Levels, levels, WORSE),
            (LawForm::AverageParams, average_params, WORSE),
            (LawForm::Experts, experts, FLAT),
        ] {
            let ours = rivals.forms.iter().find(|rival| rival.law.form() == form).unwrap();
            let ratio = ours.objective / theirs - 1.0;
            assert!(ratio < worse, "{form:?} {} {}: {ratio:e}", row.noise, row.delta);
        }
        // The fits of laws that can answer questions.
        let given = FitConfig {
            delta: row.delta.into(),
            holdout: Vec::new(),
            bootstrap: 0,
            ..FitConfig::default()
        };
        let given = given.check().unwrap();
        for (task, theirs, worse) in
            [(FormTask::Levels, levels, WORSE), (FormTask::Experts, experts, FLAT)]
        {
            let set = runs.clone().into();
            let report = fit_form(&set, &task, &given, &Control::NONE).unwrap().report;
            let ratio = report.objective / theirs - 1.0;
            assert!(ratio < worse, "{task:?} {} {}: {ratio:e}", row.noise, row.delta);
            // If it were much better, one of the two would compute a different objective.
            assert!(ratio > -FLAT, "{task:?} {} {}: {ratio:e}", row.noise, row.delta);
        }
    }
}
