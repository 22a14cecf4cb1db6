//! Fits a form with its own coefficients: starts, the best of them, resamples, diagnostics.
//!
//! The objective, the resamples, the hold-outs and the tests are the same as for the paper's form. Two things
//! differ: the engine ([`super::gauss_newton`]), and that such a form is refused where the runs do not determine
//! all of its coefficients, so that every answer of a fitted law is determined. There are no profile intervals and
//! no correlations.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use super::bootstrap::{SPARING, resampled, student_quantile, tail, widening};
use super::carried::lacking;
use super::config::{Delta, FitConfig, Holdout, Residual, ValidFitConfig};
use super::control::{Control, FitError, Phase};
use super::delta;
use super::diagnostics::{DIVERGED, LEAST_NOISE, far_off, outlying_distance};
use super::evidence::{ABSENT, Evidence, WEAK};
use super::gauss_newton::{ENOUGH, Engine, FEW_STEPS, FULL, MOST_STEPS, Reached};
use super::holdout;
use super::lack_of_fit::{step, tests_of};
use super::model::{FormModel, Kind, Point, Table, distinct};
use super::multistart::{AGREEMENT, EXACT};
use super::observations::{Observation, Observations, SAME_LEVEL};
use super::report::{Diagnostics, FittedRun, HoldoutReport, Report, StartReport};
use super::rolling::{self, Round};
use super::sensitivity::{Sensitivity, rank};
use super::starts::{Stream, generator};
use super::warnings::{Warning, WarningCode};
use super::whole::RunSet;
use crate::law::{
    Directions, Ensemble, FormLaw, Identification, Interval, LawForm, Reach, RivalLaw,
    RollingError, quantile,
};

/// Largest number of runs that starts descend on. Of more runs, this many are taken at even spacing, and the best
/// descents are continued over all runs.
const MOST_RUNS: usize = 2000;
/// Number of descents that are continued over all runs.
const MOST_ENDS: usize = 3;
/// Random starts, besides the law of all runs, of each hold-out and of each rolling hold-out.
const FRESH_STARTS: [usize; 2] = [4, 1];
/// Predictions of two laws that differ by less than this share count as equal.
const ALIKE: f64 = 1e-3;

/// Fits a law of a form with its own coefficients.
///
/// # Errors
/// [`FitError::FormNotCarried`] where the runs are too few or too much alike, [`FitError::NoRuns`],
/// [`FitError::NotRepresentable`], [`FitError::Stopped`].
pub(super) fn fit_own(
    runs: &RunSet,
    form: LawForm,
    decay: Option<f64>,
    config: &ValidFitConfig,
    control: &Control<'_>,
) -> Result<Report, FitError> {
    let refuse = |reason: String| FitError::FormNotCarried { form, reason };
    if runs.law.is_empty() {
        return Err(FitError::NoRuns);
    }
    let options = config.get();
    if !options.fixed.is_empty() || options.constraint.is_some() {
        let reason = "the coefficients that can be held, and the constraint, are those of the form sparse: leave \
                      fixed and constraint out";
        return Err(refuse(reason.to_owned()));
    }
    let (worth, names) = runs.in_worth(decay);
    // Mean share 0: none of these forms uses mean parameters.
    let table = Table::named(&worth, &names, 0.0, worth.len());
    let model = FormModel { form, levels: table.densities.len(), data: table.amounts > 1 };
    if let Some(reason) = lacking(&table, model) {
        return Err(refuse(reason));
    }
    let unit = match options.residual {
        Residual::Log => 1.0,
        Residual::Linear => table.loss_unit(),
    };
    let engine = Engine {
        table: &table,
        residual: options.residual,
        delta: 1.0,
        seed: options.seed,
        should_stop: control.should_stop,
    };
    let all: Vec<f64> = table.rows.iter().map(|row| row.share).collect();
    let every = all.len().div_ceil(MOST_RUNS).max(1);
    let sketch: Vec<f64> = (all.iter().enumerate())
        .map(|(place, share)| if place % every == 0 { *share } else { 0.0 })
        .collect();
    let normalised = match options.delta {
        Delta::Fixed(delta) => delta / unit,
        Delta::Auto => auto_delta(&engine, model, &sketch).ok_or(FitError::Stopped)?,
    };
    let engine = Engine { delta: normalised, ..engine };
    let fit = OwnFit { engine, model, runs: &worth, all, sketch, unit, config, control };
    let starts = fit.starts(every > 1).ok_or(FitError::Stopped)?;
    fit.report(runs, &starts)
}

/// Finds delta as for the paper's form, by alternating between delta and the residuals of a fit; `None` if stopped.
fn auto_delta(engine: &Engine<'_>, model: FormModel, shares: &[f64]) -> Option<f64> {
    let pilot = Engine { delta: delta::PILOT, ..*engine };
    let mut rng = generator(engine.seed, Stream::Delta(false));
    let starts: Vec<Point> =
        (0..delta::STARTS).map(|_| pilot.start(model, shares, &mut rng)).collect();
    let ends: Option<Vec<Reached>> = starts
        .into_par_iter()
        .map(|start| pilot.descend(model, start, shares, FEW_STEPS))
        .collect();
    let best = ends?.into_iter().min_by(|a, b| a.value.total_cmp(&b.value))?;
    let mut point = best.point;
    let delta_at = |point: &Point| {
        let mut residuals = engine.absolute_residuals(model, point, shares);
        residuals.sort_by(f64::total_cmp);
        let through = model.free().min(residuals.len() - 1);
        let median = quantile(&mut residuals[through..], 0.5);
        (FitConfig::DELTA_IN_SIGMAS * median / delta::MAD_OF_NORMAL).max(delta::LEAST)
    };
    let mut delta = delta_at(&point);
    for _ in 0..delta::STEPS {
        point = Engine { delta, ..*engine }.polish(model, point, shares, ENOUGH)?.point;
        let next = delta_at(&point);
        let change = (next / delta - 1.0).abs();
        delta = (next * delta).sqrt();
        if change < delta::SETTLED {
            break;
        }
    }
    Some(delta)
}

/// A fit in progress.
struct OwnFit<'a> {
    engine: Engine<'a>,
    model: FormModel,
    /// The runs, their repeated data replaced by its effective amount.
    runs: &'a Observations,
    /// Share of each run.
    all: Vec<f64>,
    /// Share of each run that starts descend on, 0 for the others.
    sketch: Vec<f64>,
    /// Size of one normalised residual, in the unit of the residual.
    unit: f64,
    config: &'a ValidFitConfig,
    control: &'a Control<'a>,
}

impl OwnFit<'_> {
    /// Where the starts end, by index; `None` if stopped.
    fn starts(&self, thinned: bool) -> Option<Vec<Reached>> {
        let Self { engine, model, .. } = *self;
        let count = self.config.get().starts;
        let done = AtomicU32::new(0);
        let ends: Option<Vec<Reached>> = (0..count)
            .into_par_iter()
            .map(|index| {
                let mut rng = generator(engine.seed, Stream::Start(index));
                let start = engine.start(model, &self.sketch, &mut rng);
                let end = engine.descend(model, start, &self.sketch, MOST_STEPS).and_then(|near| {
                    let end = engine.polish(model, near.point, &self.sketch, FULL)?;
                    Some(Reached { evaluations: near.evaluations + end.evaluations, ..end })
                });
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                self.control.tell(Phase::Searching, f64::from(done) / f64::from(count));
                end
            })
            .collect();
        let mut ends = ends?;
        if !thinned {
            return Some(ends);
        }
        let mut order: Vec<usize> = (0..ends.len()).collect();
        order.sort_by(|a, b| ends[*a].value.total_cmp(&ends[*b].value));
        let best: Vec<usize> = order.iter().copied().take(MOST_ENDS).collect();
        let finished: Option<Vec<Reached>> = best
            .par_iter()
            .map(|place| engine.polish(model, ends[*place].point.clone(), &self.all, FULL))
            .collect();
        for (place, end) in best.into_iter().zip(finished?) {
            let evaluations = ends[place].evaluations + end.evaluations;
            ends[place] = Reached { evaluations, ..end };
        }
        for place in order.into_iter().skip(MOST_ENDS) {
            ends[place].value = engine.value(model, &ends[place].point, &self.all, engine.delta);
        }
        Some(ends)
    }

    fn law(&self, point: &Point) -> Option<FormLaw> {
        match self.model.law(point, self.engine.table) {
            RivalLaw::Levels(law) => Some(FormLaw::Levels(law.with_gains())),
            RivalLaw::Experts(law) => Some(FormLaw::Experts(law)),
            RivalLaw::Sparse(_) | RivalLaw::AverageParams { .. } => None,
        }
    }

    fn report(&self, original: &RunSet, starts: &[Reached]) -> Result<Report, FitError> {
        let (options, control) = (self.config.get(), self.control);
        let (form, free) = (self.model.form, self.model.free());
        let best = starts.iter().min_by(|a, b| a.value.total_cmp(&b.value));
        let best = best.expect("a checked configuration has at least one start");
        let law =
            self.law(&best.point).expect("only forms with coefficients of their own come here");
        if let Some(coefficient) = law.out_of_range() {
            return Err(FitError::NotRepresentable { coefficient });
        }
        let known = rank(&self.engine, self.model, &best.point);
        if known < free {
            let reason = format!(
                "they tell {known} of its {free} coefficients apart: add runs that vary size, sparsity and data \
                 each by itself"
            );
            return Err(FitError::FormNotCarried { form, reason });
        }
        let sensitivity =
            Sensitivity::new(&self.engine, self.model, &best.point, (&self.all, self.unit));
        let diverged = match options.delta {
            Delta::Auto => {
                far_off(&sensitivity.residuals, DIVERGED * sensitivity.noise.max(LEAST_NOISE))
            }
            Delta::Fixed(_) => vec![false; self.runs.len()],
        };
        let threshold = best.value + (AGREEMENT * best.value).max(EXACT);
        let reached = || starts.iter().filter(|start| start.value <= threshold);

        control.tell(Phase::Resampling, 0.0);
        let few = self.runs.clusters().is_some() && self.runs.cluster_count() <= free;
        let resamples = if few { 0 } else { options.bootstrap };
        let wide = widening(self.runs.len(), free);
        let residuals: Vec<f64> = (sensitivity.residuals.iter().zip(&diverged))
            .filter(|(_, diverged)| !**diverged)
            .map(|(residual, _)| residual * wide)
            .collect();
        let agree = reached().count() == starts.len();
        let members = self.resample(resamples, &best.point, &residuals, agree);
        let members = members.ok_or(FitError::Stopped)?;
        let failed = resamples - members.len() as u32;
        let tail = tail(options.confidence, self.runs, free);
        let ensemble = Ensemble::of_forms(members, options.confidence, tail);

        control.tell(Phase::Diagnosing, 0.0);
        let holdouts = self.holdouts(&options.holdout, &best.point).ok_or(FitError::Stopped)?;
        let wanted = options.holdout.contains(&Holdout::Rolling) && ensemble.is_some();
        let rolling = if wanted {
            let noise = sensitivity.noise;
            self.rolling(&best.point, noise, &diverged).ok_or(FitError::Stopped)?
        } else {
            None
        };
        let scale = (self.engine.delta * self.unit).powi(2);
        let by = step(self.runs);
        let kept: Vec<usize> = (0..self.runs.len()).step_by(by).collect();
        let columns = (0..free).map(|place| sensitivity.column(place, &kept));
        let normal = sensitivity.residuals_of(&kept) / self.unit;
        let lack_of_fit = tests_of(self.runs, columns, normal, sensitivity.noise / self.unit);
        let identification = Identification {
            runs: self.runs.len(),
            fitted: free,
            rank: known,
            open: Vec::new(),
            missing: Vec::new(),
            settling: Vec::new(),
            sparsities: Vec::new(),
            sizes: Vec::new(),
            amounts: Vec::new(),
            directions: Directions {
                coefficients: law.coefficients(),
                nonzero_params: self.engine.table.ln_n0.exp(),
                data: self.engine.table.ln_d0.exp(),
                vectors: Vec::new(),
            },
        };
        let diagnostics = Diagnostics {
            agreement: self.alike(reached(), &best.point) as f64 / starts.len() as f64,
            starts: starts
                .iter()
                .map(|start| StartReport {
                    objective: scale * start.value,
                    termination: start.termination,
                    evaluations: start.evaluations,
                })
                .collect(),
            noise: sensitivity.noise,
            delta: Some(self.engine.delta * self.unit),
            fitted: Vec::new(),
            correlations: Vec::new(),
            condition: sensitivity.condition,
            profiles: Vec::new(),
            holdouts,
            lack_of_fit,
            rolling,
            identification: Some(identification.clone()),
            clusters: self.runs.clusters().map(|_| self.runs.cluster_count()),
        };
        let fitted = self.fitted(&law, &sensitivity);
        let evidence = Evidence {
            runs: self.runs,
            form: self.runs.form(),
            free,
            law: None,
            diagnostics: &diagnostics,
            fitted: &fitted,
            ensemble: ensemble.as_ref(),
            resamples,
            identification: &identification,
        };
        let mut warnings = evidence.warnings();
        // A law of levels has no curve over sparsity, so it needs no minimum number of levels.
        let shapeless = |warning: &Warning| {
            form == LawForm::Levels && warning.code == WarningCode::FewSparsityLevels
        };
        warnings.retain(|warning| !shapeless(warning));
        warnings.extend(self.odd_coefficients(&best.point, &law, ensemble.as_ref()));
        // Back from the order of the runs with effective data to the order of the original runs.
        let mut in_order = fitted.clone();
        for (run, place) in fitted.iter().zip(self.runs.order()) {
            in_order[*place] = *run;
        }
        control.tell(Phase::Comparing, 1.0);
        Ok(Report {
            coefficients: law.coefficients(),
            own: Some(law),
            objective: scale * best.value,
            runs: self.runs.len(),
            ensemble,
            failed_resamples: failed,
            diagnostics,
            fitted: in_order,
            patterns: Vec::new(),
            pretrained: None,
            warnings,
            support: original.law.support(),
            data_digest: original.digest(),
        })
    }

    fn fitted(&self, law: &FormLaw, sensitivity: &Sensitivity) -> Vec<FittedRun> {
        let distance = outlying_distance(self.runs.len()) * sensitivity.noise.max(LEAST_NOISE);
        let rows = sensitivity.residuals.iter().zip(&sensitivity.leverages);
        self.runs
            .as_slice()
            .iter()
            .zip(rows)
            .zip(&self.engine.table.rows)
            .map(|((run, (&residual, &leverage)), row)| FittedRun {
                // Every run has a level, so the fallback is never used.
                predicted: law
                    .loss_at(Some(row.level), run.sparsity.density(), run.nonzero_params, run.data)
                    .unwrap_or(run.loss.get()),
                residual,
                leverage,
                outlier: residual.abs() > distance,
            })
            .collect()
    }

    /// How many of these ends predict the runs as the best one does.
    fn alike<'r>(&self, ends: impl Iterator<Item = &'r Reached>, best: &Point) -> usize {
        let predictions = |point: &Point| -> Vec<f64> {
            let mut slope = vec![0.0; point.len()];
            let rows = self.engine.table.rows.iter();
            rows.map(|row| self.model.evaluate(point, row, &mut slope)).collect()
        };
        let expected = predictions(best);
        ends.filter(|end| {
            let pairs = predictions(&end.point).into_iter().zip(&expected);
            pairs.into_iter().all(|(a, b)| (a / b - 1.0).abs() < ALIKE)
        })
        .count()
    }

    /// Fits the resamples; `None` if stopped. A resample that determines no law is left out.
    fn resample(
        &self,
        resamples: u32,
        best: &Point,
        residuals: &[f64],
        agree: bool,
    ) -> Option<Vec<(FormLaw, f64)>> {
        let done = AtomicU32::new(0);
        let fitted: Option<Vec<Option<(FormLaw, f64)>>> = (0..resamples)
            .into_par_iter()
            .map(|index| {
                let mut rng = generator(self.engine.seed, Stream::Resample(index));
                let weights = resampled(&mut rng, self.runs, self.model.free());
                let noise = residuals[rand::RngExt::random_range(&mut rng, 0..residuals.len())];
                let total: f64 = weights.iter().sum();
                let shares: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
                let fresh = usize::from(!agree || index.is_multiple_of(SPARING));
                let found = if self.determines(&shares) {
                    Some(self.best_of(best, fresh, &shares, &mut rng)?)
                } else {
                    None
                };
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                self.control.tell(Phase::Resampling, f64::from(done) / f64::from(resamples));
                // A descent still moving along a flat valley is accepted: the points nearby are as good.
                let law = found
                    .and_then(|end| self.law(&end.point))
                    .filter(|law| law.out_of_range().is_none());
                Some(law.map(|law| (law, noise)))
            })
            .collect();
        Some(fitted?.into_iter().flatten().collect())
    }

    /// The best of descents from a nearby point and from `fresh` random starts; `None` if stopped.
    fn best_of(
        &self,
        near: &Point,
        fresh: usize,
        shares: &[f64],
        rng: &mut rand_chacha::ChaCha8Rng,
    ) -> Option<Reached> {
        let Self { engine, model, .. } = self;
        let mut best = engine.polish(*model, near.clone(), shares, ENOUGH)?;
        // Random starts are worth their time only where there are few runs.
        let fresh = if shares.len() > MOST_RUNS { 0 } else { fresh };
        for _ in 0..fresh {
            let start = engine.start(*model, shares, rng);
            let near = engine.descend(*model, start, shares, FEW_STEPS)?;
            let end = engine.polish(*model, near.point, shares, ENOUGH)?;
            if end.value < best.value {
                best = end;
            }
        }
        Some(best)
    }

    /// Whether the runs with a positive share have enough levels of each quantity to determine a law.
    fn determines(&self, shares: &[f64]) -> bool {
        let table = self.engine.table;
        let kept: Vec<Observation> = (table.runs.iter().zip(shares))
            .filter(|(_, share)| **share > 0.0)
            .map(|(run, _)| *run)
            .collect();
        let mut seen = vec![false; self.model.levels];
        for (row, _) in table.rows.iter().zip(shares).filter(|(_, share)| **share > 0.0) {
            seen[row.level] = true;
        }
        let levels = seen.iter().filter(|seen| **seen).count();
        let enough = match self.model.form {
            LawForm::Levels => levels == self.model.levels,
            _ => levels >= 3,
        };
        enough
            && distinct(&kept, |run| run.nonzero_params.get()) >= 3
            && (!self.model.data || distinct(&kept, |run| run.data.get()) >= 3)
    }

    /// For a fit of only the runs that are `seen`: their shares (0 for the others), whether they determine a law,
    /// and for each run whether that law predicts it.
    fn seen(&self, seen: impl Fn(&Observation) -> bool) -> (Vec<f64>, bool, Vec<bool>) {
        let table = self.engine.table;
        let shares: Vec<f64> = (table.runs.iter().zip(&self.all))
            .map(|(run, share)| if seen(run) { *share } else { 0.0 })
            .collect();
        let count = shares.iter().filter(|share| **share > 0.0).count();
        let mut levels = vec![false; self.model.levels];
        for (row, _) in table.rows.iter().zip(&shares).filter(|(_, share)| **share > 0.0) {
            levels[row.level] = true;
        }
        let of_levels = self.model.form == LawForm::Levels;
        // A level without runs takes its coefficient with it.
        let lost = if of_levels { levels.iter().filter(|seen| !**seen).count() } else { 0 };
        let kept: Vec<Observation> = table.runs.iter().filter(|run| seen(run)).copied().collect();
        let usable = count > self.model.free() - lost
            && count < table.runs.len()
            && distinct(&kept, |run| run.nonzero_params.get()) >= 3
            && (!self.model.data || distinct(&kept, |run| run.data.get()) >= 3)
            && levels.iter().filter(|seen| **seen).count() >= if of_levels { 2 } else { 3 };
        let known = table.rows.iter().map(|row| !of_levels || levels[row.level]).collect();
        (shares, usable, known)
    }

    fn residuals(&self, point: &Point) -> Vec<f64> {
        let mut slope = vec![0.0; point.len()];
        let rows = self.engine.table.rows.iter();
        rows.map(|row| {
            self.unit * self.engine.residual(self.model.evaluate(point, row, &mut slope), row)
        })
        .collect()
    }

    /// The hold-outs that are asked for and possible; `None` if stopped.
    fn holdouts(&self, asked: &[Holdout], best: &Point) -> Option<Vec<HoldoutReport>> {
        let form = self.runs.form();
        let mut found = Vec::new();
        for &asked in asked {
            let varies = match asked {
                Holdout::NonzeroParams | Holdout::Rolling => form.nonzero_params,
                Holdout::Data => self.model.data,
                // A law of levels predicts nothing at a sparsity that it was not fitted on.
                Holdout::Sparsity => form.sparsity && self.model.form != LawForm::Levels,
            };
            if !varies {
                continue;
            }
            let value = holdout::quantity(asked);
            let limits = match asked {
                Holdout::Rolling => holdout::rolling(&self.runs.levels(value)),
                _ => vec![holdout::largest(self.runs, value)],
            };
            for (round, &limit) in limits.iter().enumerate() {
                let next = limits.get(round + 1).copied().unwrap_or(f64::INFINITY);
                found.extend(self.leave_out(asked, limit, next, best)?);
            }
        }
        Some(found)
    }

    /// As for the paper's form: `Some(None)` for a round of the rolling hold-out that cannot be made, `None` if
    /// stopped.
    fn leave_out(
        &self,
        asked: Holdout,
        limit: f64,
        next: f64,
        best: &Point,
    ) -> Option<Option<HoldoutReport>> {
        let value = holdout::quantity(asked);
        let is_seen = |run: &Observation| value(run) < limit * (1.0 - SAME_LEVEL);
        let (shares, usable, known) = self.seen(is_seen);
        let runs = self.runs.as_slice();
        let fitted_runs = shares.iter().filter(|share| **share > 0.0).count();
        let predicted = |place: usize| {
            let run = &runs[place];
            !is_seen(run) && value(run) < next && known[place]
        };
        let places: Vec<usize> = (0..runs.len()).filter(|place| predicted(*place)).collect();
        let count = places.len();
        let report = HoldoutReport {
            holdout: asked,
            limit,
            runs: count,
            fitted_runs,
            bias: None,
            rms: None,
        };
        if !usable || places.is_empty() {
            return Some((asked != Holdout::Rolling).then_some(report));
        }
        let mut rng = generator(self.engine.seed, Stream::Holdout(asked, limit));
        let found = self.best_of(best, FRESH_STARTS[0], &shares, &mut rng)?;
        let residuals = self.residuals(&found.point);
        let sum = |of: fn(f64) -> f64| {
            places.iter().map(|place| of(residuals[*place])).sum::<f64>() / count as f64
        };
        Some(Some(HoldoutReport {
            bias: Some(sum(|residual| residual)),
            rms: Some(sum(|residual| residual * residual).sqrt()),
            ..report
        }))
    }

    /// How well laws of the smaller runs predict the larger ones: `Some(None)` where no round can be made, `None`
    /// if stopped.
    fn rolling(&self, best: &Point, noise: f64, diverged: &[bool]) -> Option<Option<RollingError>> {
        let quantities: [fn(&Observation) -> f64; 3] =
            [|run| run.nonzero_params.get(), |run| run.data.get(), rolling::product];
        let free = self.model.free();
        let confidence = self.config.get().confidence;
        let mut rounds = Vec::new();
        for (place, value) in (0_u32..).zip(quantities) {
            let mut values: Vec<f64> = self.runs.as_slice().iter().map(value).collect();
            let mut limits = rolling::SHARES.map(|share| quantile(&mut values, share)).to_vec();
            limits.dedup_by(|next, kept| *next <= *kept * (1.0 + SAME_LEVEL));
            for limit in limits {
                rounds.extend(self.round((place, value, limit), best, diverged)?);
            }
        }
        let wide = student_quantile(confidence, self.runs.len(), free);
        Some(rolling::sum_up(&rounds, noise, wide))
    }

    fn round(
        &self,
        (place, value, limit): (u32, fn(&Observation) -> f64, f64),
        best: &Point,
        diverged: &[bool],
    ) -> Option<Option<Round>> {
        let is_seen = |run: &Observation| value(run) < limit * (1.0 - SAME_LEVEL);
        let (shares, usable, known) = self.seen(is_seen);
        if !usable {
            return Some(None);
        }
        let mut rng = generator(self.engine.seed, Stream::Rolling(place, limit));
        let found = self.best_of(best, FRESH_STARTS[1], &shares, &mut rng)?;
        let sensitivity =
            Sensitivity::new(&self.engine, self.model, &found.point, (&shares, self.unit));
        let runs = self.runs.as_slice();
        let kept: Vec<Observation> = runs.iter().filter(|run| is_seen(run)).copied().collect();
        let count = kept.len();
        let reach = Reach::of(&Observations::new(kept).support());
        let mut scatter: Vec<f64> = (sensitivity.residuals.iter().zip(runs))
            .filter(|(_, run)| is_seen(run))
            .map(|(residual, _)| residual.abs())
            .collect();
        let free = self.model.free();
        let noise = quantile(&mut scatter, 0.5) / rolling::MAD_OF_NORMAL * widening(count, free);
        let wide = student_quantile(self.config.get().confidence, count, free);
        let mut round = Round::default();
        for (place, run) in runs.iter().enumerate() {
            if is_seen(run) || diverged[place] || !known[place] {
                continue;
            }
            let (residual, spread) = (sensitivity.residuals[place], sensitivity.spreads[place]);
            let own = noise * (1.0 + spread / count as f64).sqrt();
            round.predictions += 1;
            round.inside += usize::from(residual.abs() <= wide * own);
            round.excess += residual * residual - noise * noise;
            round.distance += reach.distance(run.sparsity.density(), run.nonzero_params, run.data);
        }
        let predictions = round.predictions as f64;
        round.excess /= predictions;
        round.distance /= predictions;
        Some((round.predictions > 0 && round.distance > 0.0).then_some(round))
    }

    /// Warnings about single coefficients.
    fn odd_coefficients(
        &self,
        best: &Point,
        law: &FormLaw,
        ensemble: Option<&Ensemble>,
    ) -> Vec<Warning> {
        let mut found = Vec::new();
        let mut warn = |detail| found.push(Warning { code: WarningCode::AtBound, detail });
        let names = self.model.names(self.engine.table);
        for ((kind, name), value) in self.model.kinds().iter().zip(&names).zip(best.iter()) {
            let (low, high) = kind.range();
            match kind {
                Kind::Held => {}
                Kind::Amplitude if *value < ABSENT => warn(format!(
                    "the term of {name} vanishes in the fit: the runs show no sign of it"
                )),
                _ if *value <= low || *value >= high => warn(format!(
                    "{name} ended at the edge of the values that are tried: the runs do not determine it"
                )),
                _ => {}
            }
        }
        let is_exponent = |name: &str| matches!(name, "b_n" | "b_d" | "alpha" | "beta" | "gamma");
        let laws = ensemble.map_or(&[][..], Ensemble::forms);
        for (place, coefficient) in law.named().iter().enumerate() {
            let held = !self.model.data && matches!(coefficient.name, "b_d" | "beta");
            if !is_exponent(coefficient.name) || held || laws.is_empty() {
                continue;
            }
            let values: Vec<f64> = laws.iter().map(|law| law.values()[place]).collect();
            let Some(Interval { low, high, .. }) =
                ensemble.map(|ensemble| ensemble.interval_of(values))
            else {
                continue;
            };
            if high > WEAK * low {
                let detail = format!(
                    "{} could be anywhere between {low:.3} and {high:.3}: answers that lean on it, far from the runs \
                     most of all, are uncertain by more than their digits show",
                    coefficient.name
                );
                found.push(Warning { code: WarningCode::WeaklyDetermined, detail });
            }
        }
        found
    }
}
