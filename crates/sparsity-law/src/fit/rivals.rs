//! Comparison of forms of the law: fitted on the same runs, and ranked by how well they predict runs that they
//! were not fitted on.
//!
//! All forms are fitted by the same engine, `gauss_newton`.
//!
//! The folds are those of the rolling hold-outs: the runs below a limit of size, data or their product are fitted,
//! the others are predicted. A prediction counts only where every form can make it, so that all errors are of the
//! same predictions. The uncertainty of an error comes from resampling the predicted runs; the uncertainty of a
//! difference comes from the same resamples.

use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::{Residual, ValidFitConfig};
use super::control::{Control, FitError};
use super::gauss_newton::Engine;
use super::model::{FormModel, Point, Table, distinct};
use super::observations::{Observation, Observations, levels};
use super::starts::{Stream, generator};
use crate::law::{Interval, LawForm, RivalLaw, quantile};

/// Ranking of the forms that the runs can determine, the one that predicts best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rivals {
    /// Number of rounds: in each, every form was fitted on the runs below one limit.
    pub rounds: usize,
    /// Number of predictions, the same for all forms.
    pub predictions: usize,
    /// The fitted forms.
    pub forms: Vec<Rival>,
    /// Forms that the runs cannot determine.
    pub refused: Vec<RefusedForm>,
}

/// One of the fitted forms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rival {
    /// Number of coefficients that were fitted.
    pub free: usize,
    /// Mean Huber loss over all runs.
    pub objective: f64,
    /// Root mean square of the residuals of the predictions; `None` where there were no predictions.
    pub holdout_error: Option<f64>,
    /// Interval of the hold-out error.
    pub interval: Option<Interval>,
    /// Interval of the hold-out error minus that of the form that the others are compared with; `None` where that form
    /// was not fitted or there were no predictions.
    pub excess: Option<Interval>,
    /// Whether the form predicts no worse than the one it is compared with, as far as these predictions can tell.
    pub no_worse: bool,
    /// The law of this form, fitted on all runs.
    pub law: RivalLaw,
}

/// A form that was not fitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedForm {
    /// The form.
    pub form: LawForm,
    /// Why it was not fitted.
    pub reason: String,
}

/// Largest number of runs to compare on; of more runs, this many are taken at even spacing in canonical order.
const MOST_RUNS: usize = 2000;
/// Share of the runs below each limit.
const SHARES: [f64; 7] = [0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.92];
/// Random starts of each form on all runs.
const STARTS: usize = 24;
/// Random starts in each round, besides the law of all runs.
const FRESH_STARTS: usize = 2;
/// Number of resamples of the predicted runs.
const DRAWS: usize = 1000;
/// Distance from the law of all runs, in its robust standard deviations, beyond which a run counts as diverged and
/// its prediction does not count as an error of any form.
const DIVERGED: f64 = 8.0;
/// Median absolute deviation of a normal distribution, in standard deviations.
const MAD_OF_NORMAL: f64 = 0.674_489_750_196_081_7;

/// Fits every form that the runs can determine, and ranks them. `active` is the form that the others are compared
/// with, `delta` where the Huber loss of its fit turned linear, and `mean_share` the mean sparsity over training
/// as a share of the final one.
///
/// # Errors
/// [`FitError::NoRuns`] where there are no runs, [`FitError::Stopped`] if the fit was told to stop.
pub fn rank_forms(
    runs: &Observations,
    active: LawForm,
    delta: f64,
    mean_share: f64,
    config: &ValidFitConfig,
    control: &Control<'_>,
) -> Result<Rivals, FitError> {
    if runs.is_empty() {
        return Err(FitError::NoRuns);
    }
    let table = Table::new(runs, mean_share, MOST_RUNS);
    let options = config.get();
    let engine = Engine {
        table: &table,
        residual: options.residual,
        delta: match options.residual {
            Residual::Log => delta,
            Residual::Linear => delta / table.loss_unit(),
        },
        seed: options.seed,
        should_stop: control.should_stop,
    };
    let (mut models, mut refused) = (Vec::new(), Vec::new());
    for form in [LawForm::Sparse, LawForm::Levels, LawForm::AverageParams, LawForm::Experts] {
        let model = FormModel { form, levels: table.densities.len(), data: true };
        match refusal(&table, model) {
            None => models.push(model),
            Some(reason) => refused.push(RefusedForm { form, reason }),
        }
    }
    let everyone: Vec<f64> = table.rows.iter().map(|row| row.share).collect();
    let whole: Vec<Point> = models
        .par_iter()
        .enumerate()
        .map(|(place, model)| engine.fit(*model, &everyone, &[], STARTS, place as u32))
        .collect::<Option<_>>()
        .ok_or(FitError::Stopped)?;
    let rounds = engine.rounds(&models, &whole).ok_or(FitError::Stopped)?;
    Ok(engine.sum_up(active, options.confidence, (&models, &whole), &rounds, refused))
}

/// Why these runs cannot determine a form; `None` where they can.
fn refusal(table: &Table, model: FormModel) -> Option<String> {
    let (runs, free) = (table.rows.len(), model.free());
    // A round may have to fit with half of the runs.
    let enough = 2 * free + 1;
    table.lacking(model).or_else(|| {
        (runs < enough).then(|| {
            format!("it has {free} coefficients, and {runs} runs are too few to hold some of them out: it needs {enough}")
        })
    })
}

/// The predictions of one round.
struct Round {
    /// Index of each predicted run, and its residual by each form.
    predictions: Vec<(usize, Vec<f64>)>,
}

impl Engine<'_> {
    /// All rounds that every form can take part in; `None` if stopped.
    fn rounds(&self, models: &[FormModel], whole: &[Point]) -> Option<Vec<Round>> {
        let quantities: [fn(&Observation) -> f64; 3] = [
            |run| run.nonzero_params.get(),
            |run| run.data.get(),
            |run| run.nonzero_params.get() * run.data.get(),
        ];
        let mut limits = Vec::new();
        for value in quantities {
            let mut values: Vec<f64> = self.table.runs.iter().map(value).collect();
            let mut of = SHARES.map(|share| quantile(&mut values, share)).to_vec();
            of.dedup_by(|next, kept| *next <= *kept * (1.0 + 1e-3));
            limits.extend(of.into_iter().map(|limit| (value, limit)));
        }
        let diverged = self.diverged(models, whole);
        let rounds: Option<Vec<Option<Round>>> = limits
            .par_iter()
            .enumerate()
            .map(|(place, (value, limit))| {
                self.round(models, whole, &diverged, (place, *value, *limit))
            })
            .collect();
        Some(rounds?.into_iter().flatten().collect())
    }

    /// Whether each run is far off the law of every form.
    fn diverged(&self, models: &[FormModel], whole: &[Point]) -> Vec<bool> {
        let mut far = vec![true; self.table.rows.len()];
        for (model, at) in models.iter().zip(whole) {
            let mut slope = vec![0.0; at.len()];
            let residuals: Vec<f64> = (self.table.rows.iter())
                .map(|row| self.residual(model.evaluate(at, row, &mut slope), row).abs())
                .collect();
            let limit =
                DIVERGED * (quantile(&mut residuals.clone(), 0.5) / MAD_OF_NORMAL).max(1e-7);
            for (far, residual) in far.iter_mut().zip(&residuals) {
                *far &= *residual > limit;
            }
        }
        far
    }

    /// One round: `Some(None)` where some form cannot take part or no run is predicted, `None` if stopped.
    fn round(
        &self,
        models: &[FormModel],
        whole: &[Point],
        diverged: &[bool],
        (place, value, limit): (usize, fn(&Observation) -> f64, f64),
    ) -> Option<Option<Round>> {
        let table = self.table;
        let seen: Vec<bool> =
            table.runs.iter().map(|run| value(run) < limit * (1.0 - 1e-3)).collect();
        let kept: Vec<Observation> =
            table.runs.iter().zip(&seen).filter(|(_, seen)| **seen).map(|(run, _)| *run).collect();
        let most = models.iter().map(|model| model.free()).max().unwrap_or(0);
        let densities = levels(kept.iter().map(|run| run.sparsity.density().get()).collect()).len();
        let sizes = distinct(&kept, |run| run.nonzero_params.get());
        let amounts = distinct(&kept, |run| run.data.get());
        let usable = kept.len() > most
            && kept.len() < table.runs.len()
            && densities >= table.densities.len().min(3)
            && sizes >= 3
            && amounts >= 3;
        if !usable {
            return Some(None);
        }
        let shares: Vec<f64> = (table.rows.iter().zip(&seen))
            .map(|(row, seen)| if *seen { row.share } else { 0.0 })
            .collect();
        let mut fitted = Vec::with_capacity(models.len());
        for (of, (model, near)) in models.iter().zip(whole).enumerate() {
            let stream = 1000 * (place as u32 + 1) + of as u32;
            fitted.push(self.fit(*model, &shares, &[near], FRESH_STARTS, stream)?);
        }
        let known = |level: usize| {
            table.rows.iter().zip(&seen).any(|(row, seen)| *seen && row.level == level)
        };
        let mut predictions = Vec::new();
        for (run, row) in table.rows.iter().enumerate() {
            if seen[run] || diverged[run] || !known(row.level) {
                continue;
            }
            let residual = |(model, at): (&FormModel, &Point)| {
                let mut slope = vec![0.0; at.len()];
                self.residual(model.evaluate(at, row, &mut slope), row)
            };
            predictions.push((run, models.iter().zip(&fitted).map(residual).collect()));
        }
        Some((!predictions.is_empty()).then_some(Round { predictions }))
    }

    fn sum_up(
        &self,
        active: LawForm,
        confidence: f64,
        (models, whole): (&[FormModel], &[Point]),
        rounds: &[Round],
        refused: Vec<RefusedForm>,
    ) -> Rivals {
        let unit = match self.residual {
            Residual::Log => 1.0,
            Residual::Linear => self.table.loss_unit(),
        };
        let count = self.table.rows.len();
        // For each run: the squared errors of each form, summed over all rounds, and the number of predictions.
        let mut squares = vec![vec![0.0; count]; models.len()];
        let mut made = vec![0.0; count];
        for (run, residuals) in rounds.iter().flat_map(|round| &round.predictions) {
            made[*run] += 1.0;
            for (of, residual) in squares.iter_mut().zip(residuals) {
                of[*run] += (residual * unit).powi(2);
            }
        }
        let error = |of: usize, drawn: &[f64]| {
            let predictions: f64 = made.iter().zip(drawn).map(|(made, drawn)| made * drawn).sum();
            let sum: f64 =
                squares[of].iter().zip(drawn).map(|(square, drawn)| square * drawn).sum();
            (sum / predictions).sqrt()
        };
        let predicted: Vec<usize> = (0..count).filter(|run| made[*run] > 0.0).collect();
        let draws: Vec<Vec<f64>> = (0..DRAWS as u32)
            .map(|draw| {
                let mut rng = generator(self.seed, Stream::Rivals(1_000_000 + draw));
                let mut drawn = vec![0.0; count];
                for _ in 0..predicted.len() {
                    drawn[predicted[rng.random_range(0..predicted.len())]] += 1.0;
                }
                drawn
            })
            .collect();
        let everything = vec![1.0; count];
        let tail = (1.0 - confidence) / 2.0;
        let interval = |mut values: Vec<f64>| {
            let (low, high) = (quantile(&mut values, tail), quantile(&mut values, 1.0 - tail));
            Interval { level: confidence, low, high }
        };
        let base = models.iter().position(|model| model.form == active);
        let shares: Vec<f64> = self.table.rows.iter().map(|row| row.share).collect();
        let scale = (self.delta * unit).powi(2);
        let mut forms: Vec<Rival> = models
            .iter()
            .zip(whole)
            .enumerate()
            .map(|(of, (model, at))| {
                let there = !predicted.is_empty();
                let excess = base.filter(|_| there).map(|base| {
                    interval(
                        draws.iter().map(|drawn| error(of, drawn) - error(base, drawn)).collect(),
                    )
                });
                Rival {
                    free: model.free(),
                    objective: scale * self.value(*model, at, &shares, self.delta),
                    holdout_error: there.then(|| error(of, &everything)),
                    interval: there
                        .then(|| interval(draws.iter().map(|drawn| error(of, drawn)).collect())),
                    no_worse: excess.is_some_and(|excess| excess.low <= 0.0),
                    excess,
                    law: model.law(at, self.table),
                }
            })
            .collect();
        let key = |rival: &Rival| rival.holdout_error.unwrap_or(rival.objective);
        forms.sort_by(|a, b| key(a).total_cmp(&key(b)));
        let predictions = rounds.iter().map(|round| round.predictions.len()).sum();
        Rivals { rounds: rounds.len(), predictions, forms, refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::model::Kind;
    use crate::fit::testing::{grid, shuffled};
    use crate::fit::{FitConfig, fit};
    use crate::law::{CoefficientValues, Coefficients, ExpertCoefficients, GainCurve, Loss, T5_C4};
    use proptest::prelude::*;

    fn config(residual: Residual) -> ValidFitConfig {
        FitConfig { bootstrap: 0, holdout: Vec::new(), residual, ..FitConfig::default() }
            .check()
            .unwrap()
    }

    fn ranked(runs: Vec<Observation>, delta: f64) -> Rivals {
        let runs = Observations::new(runs);
        rank_forms(&runs, LawForm::Sparse, delta, 0.625, &config(Residual::Log), &Control::NONE)
            .unwrap()
    }

    fn of(rivals: &Rivals, form: LawForm) -> &Rival {
        rivals.forms.iter().find(|rival| rival.law.form() == form).unwrap()
    }

    /// The runs of a grid with the losses of another law, and relative noise.
    fn relabelled(noise: f64, law: impl Fn(&Observation) -> f64) -> Vec<Observation> {
        let truth = T5_C4.coefficients();
        let runs = grid(truth, noise, 9).into_iter();
        runs.map(|run| {
            let plain = truth.loss(run.sparsity.density(), run.nonzero_params, run.data);
            Observation { loss: Loss::new(run.loss.get() / plain * law(&run)).unwrap(), ..run }
        })
        .collect()
    }

    fn counting_means() -> Coefficients {
        let v = T5_C4.coefficients().values();
        let dense = CoefficientValues { a_s: 0.0, b_s: 1.0, c_s: 2.0 * (v.a_s + v.c_s), ..v };
        let curve = GainCurve::AverageParams { mean_share: 0.625 };
        Coefficients::reduced(dense).unwrap().with_gain(curve).unwrap()
    }

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

    proptest! {
        #[test]
        fn gradients_are_the_derivatives(
            coordinates in prop::array::uniform10(-1.5..1.0f64), run in 0..64_usize,
        ) {
            let table = Table::new(&Observations::new(grid(T5_C4.coefficients(), 0.01, 1)), 0.625, MOST_RUNS);
            for (form, data) in LawForm::ALL.into_iter().flat_map(|form| [(form, true), (form, false)]) {
                let model = FormModel { form, levels: table.densities.len(), data };
                let kinds = model.kinds();
                let mut coordinates = coordinates.iter();
                let at = kinds.iter().map(|kind| match kind {
                    Kind::Held => kind.range().0,
                    _ => *coordinates.next().expect("ten are enough"),
                });
                let at = Point::from_iterator(kinds.len(), at.collect::<Vec<f64>>());
                let row = &table.rows[run];
                let (mut slope, mut unused) = (vec![0.0; kinds.len()], vec![0.0; kinds.len()]);
                let value = model.evaluate(&at, row, &mut slope);
                for place in 0..kinds.len() {
                    let mut moved = |by: f64| {
                        let mut at = at.clone();
                        at[place] += by;
                        model.evaluate(&at, row, &mut unused)
                    };
                    let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                    prop_assert!((difference - slope[place]).abs() < 1e-7 * (1.0 + value.abs()), "{form:?} {place}");
                }
            }
        }
    }

    #[test]
    fn the_engine_finds_what_the_papers_fit_finds() {
        for (residual, delta) in
            [(Residual::Log, 1e-3), (Residual::Log, 1e-2), (Residual::Linear, 1e-2)]
        {
            let runs = Observations::new(grid(T5_C4.coefficients(), 0.005, 7));
            let given = FitConfig { delta: delta.into(), ..config(residual).get().clone() };
            let report =
                fit(&runs.clone().into(), &given.check().unwrap(), &Control::NONE).unwrap();
            let rivals =
                rank_forms(&runs, LawForm::Sparse, delta, 0.625, &config(residual), &Control::NONE)
                    .unwrap();
            let objective = of(&rivals, LawForm::Sparse).objective;
            // Gauss-Newton stops short of the kinks of a delta below the noise.
            assert!(
                (objective / report.objective - 1.0).abs() < 1e-5,
                "{objective} {}",
                report.objective
            );
        }
    }

    #[test]
    fn every_form_gives_its_own_law_back() {
        let means = counting_means();
        let runs =
            relabelled(0.0, |run| means.loss(run.sparsity.density(), run.nonzero_params, run.data));
        let rivals = ranked(runs, 1e-3);
        let RivalLaw::AverageParams { coefficients, .. } =
            of(&rivals, LawForm::AverageParams).law.clone()
        else {
            panic!("of its form")
        };
        for (got, truth) in coefficients.to_array().into_iter().zip(means.values().to_array()) {
            assert!((got - truth).abs() <= 1e-3 * truth, "{got} {truth}");
        }

        let factor = |s: f64| [1.0, 0.8, 0.9, 0.5][(s * 4.0).round().min(3.0) as usize];
        let v = T5_C4.coefficients().values();
        let levels = |run: &Observation| {
            let capacity =
                60.0 * if run.sparsity.get() == 0.875 { 0.4 } else { factor(run.sparsity.get()) };
            capacity * run.nonzero_params.get().powf(-v.b_n)
                + (v.a_d / run.data.get()).powf(v.b_d)
                + v.c
        };
        let rivals = ranked(relabelled(0.0, levels), 1e-3);
        let RivalLaw::Levels(law) = &of(&rivals, LawForm::Levels).law else {
            panic!("of its form")
        };
        assert_eq!(law.levels.len(), 4);
        for level in &law.levels {
            let truth = 60.0 * if level.sparsity == 0.875 { 0.4 } else { factor(level.sparsity) };
            assert!((level.a / truth - 1.0).abs() < 1e-3, "{level:?}");
            assert!(
                (level.gain.unwrap() - (truth / 60.0).powf(-1.0 / v.b_n)).abs() < 0.05,
                "{level:?}"
            );
            assert_eq!(level.runs, 16);
        }
        assert_eq!(rivals.forms[0].law.form(), LawForm::Levels);

        let experts =
            |run: &Observation| EXPERTS.loss(run.sparsity.density(), run.nonzero_params, run.data);
        let rivals = ranked(relabelled(0.0, experts), 1e-3);
        let law = &of(&rivals, LawForm::Experts).law;
        // The ten coefficients compensate for each other, but the predictions for these runs are determined.
        for run in relabelled(0.0, experts) {
            let got = law.loss(run.sparsity.density(), run.nonzero_params, run.data).unwrap();
            assert!((got / run.loss.get() - 1.0).abs() < 1e-4, "{got} {}", run.loss);
        }
    }

    #[test]
    fn the_form_that_made_the_runs_predicts_them_best_and_the_others_are_told_apart() {
        let means = counting_means();
        let runs = relabelled(0.002, |run| {
            means.loss(run.sparsity.density(), run.nonzero_params, run.data)
        });
        let rivals = ranked(runs, 2.7e-3);
        assert_eq!(rivals.forms[0].law.form(), LawForm::AverageParams);
        assert!(of(&rivals, LawForm::AverageParams).no_worse);
        let runs = relabelled(0.002, |run| {
            T5_C4.coefficients().loss(run.sparsity.density(), run.nonzero_params, run.data)
        });
        let rivals = ranked(runs, 2.7e-3);
        let sparse = of(&rivals, LawForm::Sparse);
        let excess = sparse.excess.unwrap();
        assert_eq!((excess.low, excess.high), (0.0, 0.0));
        // The form of mean parameters is far off these runs.
        assert!(!of(&rivals, LawForm::AverageParams).no_worse);
        assert!(rivals.rounds > 3 && rivals.predictions > 50);
        assert!(rivals.forms.is_sorted_by_key(|rival| rival.holdout_error));
        for rival in &rivals.forms {
            let (error, interval) = (rival.holdout_error.unwrap(), rival.interval.unwrap());
            assert!(interval.low < error && error < interval.high);
        }
    }

    #[test]
    fn it_is_the_same_to_the_bit_in_any_order_on_any_number_of_threads() {
        let runs = grid(T5_C4.coefficients(), 0.005, 7);
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let alone = pool(1).install(|| ranked(runs.clone(), 1e-3));
        assert_eq!(pool(3).install(|| ranked(shuffled(runs), 1e-3)), alone);
    }

    #[test]
    fn forms_that_the_runs_cannot_carry_are_named_with_the_reason() {
        let all = grid(T5_C4.coefficients(), 0.001, 1);
        let two: Vec<_> = all.iter().copied().filter(|run| run.sparsity.get() <= 0.5).collect();
        let rivals = ranked(two, 1e-3);
        let refused: Vec<LawForm> = rivals.refused.iter().map(|refused| refused.form).collect();
        assert_eq!(refused, [LawForm::Sparse, LawForm::Experts]);
        assert!(rivals.refused[0].reason.contains("2 different values of sparsity"), "{rivals:?}");
        let few: Vec<_> = all.iter().copied().step_by(5).collect();
        let rivals = ranked(few, 1e-3);
        let experts =
            rivals.refused.iter().find(|refused| refused.form == LawForm::Experts).unwrap();
        assert!(experts.reason.contains("it needs 21"), "{experts:?}");
        let none = rank_forms(
            &Observations::new(Vec::new()),
            LawForm::Sparse,
            1e-3,
            0.625,
            &config(Residual::Log),
            &Control::NONE,
        );
        assert_eq!(none, Err(FitError::NoRuns));
    }

    #[test]
    fn it_stops_when_told() {
        let runs = Observations::new(grid(T5_C4.coefficients(), 0.01, 1));
        let control = Control { should_stop: &|| true, progress: &|_, _| () };
        let stopped =
            rank_forms(&runs, LawForm::Sparse, 1e-3, 0.625, &config(Residual::Log), &control);
        assert_eq!(stopped, Err(FitError::Stopped));
    }

    #[test]
    fn runs_that_are_alike_or_absurd_rank_without_a_panic() {
        let all = grid(T5_C4.coefficients(), 0.001, 1);
        ranked(vec![all[0]; 30], 1e-3);
        let mut wild = all.clone();
        for run in wild.iter_mut().step_by(3) {
            run.loss = Loss::new(1e12).unwrap();
        }
        for run in wild.iter_mut().skip(1).step_by(3) {
            run.loss = Loss::new(1e-12).unwrap();
        }
        let rivals = ranked(wild, 1e-9);
        assert!(rivals.forms.iter().all(|rival| rival.objective.is_finite()));
    }
}
