//! Fits of laws whose effect of sparsity follows a curve, and of runs that repeat their data.

use super::config::ValidFitConfig;
use super::control::{Control, FitError};
use super::observations::{Observation, Observations};
use super::own_form::fit_own;
use super::repeated::{RepeatedData, repeated_data};
use super::report::Report;
use super::terms::{FormTask, Terms};
use super::whole::{RunSet, fit};
use crate::law::{Coefficients, Density, SettlingRun};

/// Fit of a form, and what is known about repeated data.
#[derive(Debug, Clone, PartialEq)]
pub struct FormReport {
    /// The fit. Its coefficients and resamples have the gain curve of the form.
    pub report: Report,
    /// How fast repeated data loses its value; `None` where no run repeats data.
    pub repeated: Option<RepeatedData>,
}

/// Fits a law of the form that `task` names.
///
/// Patterns and runs from pretrained checkpoints are compared only with the paper's form.
///
/// # Errors
/// [`FitError`]; [`FitError::FormNotCarried`] where the runs do not suit the form.
pub fn fit_form(
    runs: &RunSet,
    task: &FormTask,
    config: &ValidFitConfig,
    control: &Control<'_>,
) -> Result<FormReport, FitError> {
    task.check(&runs.law)?;
    if runs.unique.iter().all(Option::is_none) && *task == FormTask::Sparse {
        return Ok(FormReport { report: fit(runs, config, control)?, repeated: None });
    }
    // A form with its own coefficients differs from the paper's form in the effect of sparsity, so the decay is
    // estimated with the paper's form.
    let seeker = match task {
        FormTask::Levels | FormTask::Experts => &FormTask::Sparse,
        _ => task,
    };
    let repeated = repeated_data(runs, seeker, config, control)?;
    let decay = repeated.as_ref().map(|repeated| repeated.decay);
    if matches!(task, FormTask::Levels | FormTask::Experts) {
        let report = fit_own(runs, task.form(), decay, config, control)?;
        return Ok(FormReport { report, repeated });
    }
    let report = Terms::new(runs, task, decay).fit(config, control)?;
    Ok(FormReport { report, repeated })
}

/// Sparsities of the runs that show a family's own gain, besides dense runs.
const OWN_SPARSITIES: [f64; 3] = [0.5, 0.75, 0.875];

/// Smallest share that the capacity term may have in a run's loss, relative to its largest share in any run, for
/// sparse runs of that size and data to show the gain nearly as well.
const NEARLY: f64 = 0.7;

/// The three sparse runs that would replace a borrowed gain by the family's own. They have the size and data of
/// the cheapest dense run whose capacity term is nearly as large a share of the loss as in any run.
#[must_use]
pub fn runs_for_own_gain(runs: &Observations, law: &Coefficients) -> Vec<SettlingRun> {
    let part = |run: &Observation| {
        let capacity =
            law.capacity(Density::DENSE) * run.nonzero_params.get().powf(-law.values().b_n);
        capacity / law.loss(Density::DENSE, run.nonzero_params, run.data)
    };
    let most = runs.as_slice().iter().map(part).fold(0.0, f64::max);
    let cost = |run: &&Observation| run.nonzero_params.get() * run.data.get();
    let telling = runs.as_slice().iter().filter(|run| part(run) >= NEARLY * most);
    let Some(run) = telling.min_by(|a, b| cost(a).total_cmp(&cost(b))) else { return Vec::new() };
    let at = |sparsity| SettlingRun {
        nonzero_params: run.nonzero_params.get(),
        sparsity,
        data: run.data.get(),
    };
    OWN_SPARSITIES.map(at).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::terms::in_terms;
    use crate::fit::testing::grid;
    use crate::fit::{FitConfig, Lenders, Residual, WarningCode};
    use crate::law::{
        BorrowedGain, CoefficientValues, Data, GainCurve, Loss, Repetition, Sparsity, T5_C4,
        VIT_JFT,
    };

    fn gain(law: &Coefficients) -> BorrowedGain {
        BorrowedGain::of(law).unwrap()
    }

    fn published() -> [BorrowedGain; 2] {
        [gain(T5_C4.coefficients()), gain(VIT_JFT.coefficients())]
    }

    fn dense_law() -> Coefficients {
        let v = T5_C4.coefficients().values();
        let values = CoefficientValues { a_s: 0.0, b_s: 1.0, c_s: v.a_s + v.c_s, ..v };
        Coefficients::reduced(values).unwrap()
    }

    fn plain() -> ValidFitConfig {
        FitConfig { bootstrap: 0, ..FitConfig::default() }.check().unwrap()
    }

    fn dense(runs: Vec<Observation>) -> Vec<Observation> {
        runs.into_iter().filter(|run| run.sparsity.get() == 0.0).collect()
    }

    /// Relative accuracy, the same as for the recovery of the paper's form.
    const RECOVERY: f64 = 1e-3;

    fn same(got: &Coefficients, truth: &Coefficients) {
        let (got, truth) = (got.values(), truth.values());
        for (got, truth) in [
            (got.c_s, truth.c_s),
            (got.b_n, truth.b_n),
            (got.a_d, truth.a_d),
            (got.b_d, truth.b_d),
            (got.c, truth.c),
        ] {
            assert!((got / truth - 1.0).abs() < RECOVERY, "{got} {truth}");
        }
    }

    #[test]
    fn dense_runs_give_their_law_and_borrow_a_gain() {
        let truth = dense_law();
        let runs = RunSet::from(Observations::new(dense(grid(&truth, 0.0, 0))));
        let lenders = Lenders::new(published()[0], &[], published());
        let task = FormTask::Borrowed(lenders);
        let FormReport { report, .. } = fit_form(&runs, &task, &plain(), &Control::NONE).unwrap();
        same(&report.coefficients, &truth);
        let curve = report.coefficients.gain_curve().unwrap();
        assert_eq!(*curve, GainCurve::Borrowed(published()[0]));
        assert!(report.warnings.iter().all(|warning| warning.code != WarningCode::NotSeparable));
        assert_eq!(report.data_digest, runs.law.digest());
        let own = runs_for_own_gain(&runs.law, &report.coefficients);
        assert_eq!(own.len(), 3);
        let sizes = runs.law.as_slice().iter().map(|run| run.nonzero_params.get());
        assert!(sizes.clone().any(|size| size == own[0].nonzero_params));
    }

    #[test]
    fn an_interval_holds_what_every_published_lender_says() {
        let runs = RunSet::from(Observations::new(dense(grid(&dense_law(), 0.002, 3))));
        let own = gain(T5_C4.coefficients());
        let steeper = BorrowedGain { b_s: own.b_s * 1.05, ..own };
        let lenders = Lenders::new(own, &vec![steeper; 400], published());
        assert_eq!(lenders.in_turn.len(), 170);
        let task = FormTask::Borrowed(lenders);
        let config = FitConfig { bootstrap: 200, ..FitConfig::default() }.check().unwrap();
        let FormReport { report, .. } = fit_form(&runs, &task, &config, &Control::NONE).unwrap();
        let ensemble = report.ensemble.unwrap();
        let x = Sparsity::new(0.8).unwrap().density();
        let interval = ensemble.interval(|member| member.coefficients.gain(x));
        for law in [T5_C4.coefficients(), VIT_JFT.coefficients()] {
            let said = law.gain(x);
            assert!(interval.low <= said + 1e-12 && said <= interval.high + 1e-12, "{interval:?}");
        }
    }

    #[test]
    fn runs_that_count_mean_parameters_give_their_law_back_in_any_order() {
        let curve = GainCurve::AverageParams { mean_share: 0.625 };
        let truth = dense_law().with_gain(curve).unwrap();
        for residual in [Residual::Log, Residual::Linear] {
            let config = FitConfig { bootstrap: 100, residual, ..FitConfig::default() };
            let config = config.check().unwrap();
            let task = FormTask::AverageParams { mean_share: 0.625 };
            let noisy = grid(&truth, 0.001, 4);
            let mut other = noisy.clone();
            other.reverse();
            let fitted = |runs: Vec<Observation>| {
                let runs = RunSet::from(Observations::new(runs));
                fit_form(&runs, &task, &config, &Control::NONE).unwrap().report
            };
            assert_eq!(fitted(noisy), fitted(other));
            let report = fitted(grid(&truth, 0.0, 0));
            same(&report.coefficients, &truth);
            // The fitted runs are in the order of the original runs, not in that of the converted ones.
            let runs = Observations::new(grid(&truth, 0.0, 0));
            for (run, fitted) in runs.as_slice().iter().zip(&report.fitted) {
                assert!((fitted.predicted / run.loss.get() - 1.0).abs() < 1e-6);
            }
            assert!(report.ensemble.is_none_or(|ensemble| {
                ensemble.members().all(|m| m.coefficients.gain_curve() == Some(&curve))
            }));
        }
    }

    #[test]
    fn the_papers_form_is_the_same_to_the_bit() {
        let runs = RunSet::from(Observations::new(grid(T5_C4.coefficients(), 0.005, 7)));
        let config = FitConfig { bootstrap: 100, starts: 4, ..FitConfig::default() };
        let config = config.check().unwrap();
        let plain = fit(&runs, &config, &Control::NONE).unwrap();
        let formed = fit_form(&runs, &FormTask::Sparse, &config, &Control::NONE).unwrap();
        assert_eq!(formed, FormReport { report: plain, repeated: None });
    }

    #[test]
    fn forms_that_the_runs_cannot_carry_are_refused_with_the_reason() {
        let all = RunSet::from(Observations::new(grid(T5_C4.coefficients(), 0.0, 0)));
        let dense = RunSet::from(Observations::new(dense(grid(T5_C4.coefficients(), 0.0, 0))));
        let lenders = Lenders::new(published()[0], &[], published());
        let cases = [
            (&all, FormTask::Dense, "48 of the runs have zeros"),
            (&all, FormTask::Borrowed(lenders), "48 of the runs have zeros"),
            (&dense, FormTask::AverageParams { mean_share: 0.625 }, "the same sparsity"),
        ];
        for (runs, task, told) in cases {
            let error = fit_form(runs, &task, &plain(), &Control::NONE).unwrap_err();
            assert!(matches!(&error, FitError::FormNotCarried { .. }), "{error}");
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    /// A grid of runs of which three in four repeat their data: a quarter of it, or less, is distinct.
    fn repeating(decay: f64, noise: f64) -> RunSet {
        let law = Observations::new(grid(T5_C4.coefficients(), noise, 5));
        let unique: Vec<Option<Data>> = (0..law.len())
            .map(|place| {
                let share = [1.0, 0.25, 0.05, 0.02][place % 4];
                (share < 1.0).then(|| Data::new(law.as_slice()[place].data.get() * share).unwrap())
            })
            .collect();
        let rows = law.as_slice().iter().zip(&unique).map(|(run, unique)| {
            let terms = in_terms(run, None, *unique, Some(decay));
            let worth =
                T5_C4.coefficients().loss(run.sparsity.density(), run.nonzero_params, terms.data);
            let plain =
                T5_C4.coefficients().loss(run.sparsity.density(), run.nonzero_params, run.data);
            Observation { loss: Loss::new(run.loss.get() * worth / plain).unwrap(), ..*run }
        });
        let rows: Vec<Observation> = rows.collect();
        let law = Observations::new(rows);
        let unique = law.order().iter().map(|place| unique[*place]).collect();
        RunSet { unique, ..law.into() }
    }

    #[test]
    fn runs_that_repeat_their_data_show_how_fast_that_wears_out() {
        for (decay, noise, within) in [(8.0, 0.0, 1e-3), (15.39, 0.0, 1e-3), (6.0, 0.002, 0.3)] {
            let runs = repeating(decay, noise);
            let found = fit_form(&runs, &FormTask::Sparse, &plain(), &Control::NONE).unwrap();
            let repeated = found.repeated.unwrap();
            assert!(repeated.fitted, "{repeated:?}");
            assert!((repeated.decay / decay).ln().abs() < within, "{repeated:?}");
            let interval = repeated.interval.unwrap();
            assert!(interval.low <= repeated.decay && repeated.decay <= interval.high);
            if noise > 0.0 {
                assert!(interval.contains(decay), "{interval:?}");
            }
            let got = found.report.coefficients.values();
            let truth = T5_C4.coefficients().values();
            assert!(noise > 0.0 || (got.b_d / truth.b_d - 1.0).abs() < 1e-2, "{}", got.b_d);
            assert_ne!(found.report.data_digest, runs.law.digest());
            assert_eq!(found.report.support, runs.law.support());
        }
    }

    #[test]
    fn few_repetitions_leave_the_published_number() {
        let mut runs = repeating(8.0, 0.002);
        // Keep the repetition of a single run.
        let first = runs.unique.iter().position(Option::is_some).unwrap();
        for (place, unique) in runs.unique.iter_mut().enumerate() {
            *unique = unique.filter(|_| place == first);
        }
        let found = fit_form(&runs, &FormTask::Sparse, &plain(), &Control::NONE).unwrap();
        let repeated = found.repeated.unwrap();
        assert!(!repeated.fitted && repeated.interval.is_none());
        assert_eq!(repeated.decay, Repetition::PUBLISHED_DECAY);
        assert_eq!(repeated.runs, 1);
    }
}
