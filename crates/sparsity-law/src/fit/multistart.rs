//! The fit of one group of runs: starts, the best of them, resamples, diagnostics.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use super::agreement::agreeing;
use super::bootstrap::{Bootstrap, Resampled, tail};
use super::config::{Constraint, Delta, Holdout, Residual, ValidFitConfig};
use super::control::{Control, FitError, Phase};
use super::delta::auto_delta;
use super::descent::{Descent, Precision, Termination};
use super::diagnostics::Jacobian;
use super::evidence::{Evidence, PaperLaw};
use super::form::Form;
use super::holdout::Holdouts;
use super::identify::identify;
use super::lack_of_fit::cell_tests;
use super::normalised::{Normalised, Point};
use super::objective::Objective;
use super::observations::Observations;
use super::parameters::Parameters;
use super::profile::profiles;
use super::report::{Diagnostics, FittedRun, StartReport};
use super::rolling::Rolling;
use super::search::Search;
use super::sketch::Sketch;
use super::starts::{Stream, generator, start_point};
use super::warnings::Warning;
use crate::law::{Coefficients, Ensemble};

/// Which runs are fitted. Each group has its own random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Scratch,
    Pretrained,
}

/// Two starts agree where their objectives differ by less than this share of the better one.
pub(super) const AGREEMENT: f64 = 1e-3;

/// Scaled objective below which a fit is exact to rounding, and starts agree whatever the ratio of their objectives.
pub(super) const EXACT: f64 = 1e-9;

/// Largest number of other minima that a resample also descends from.
const MOST_OTHER_MINIMA: usize = 2;

/// Objective, relative to the best, below which another minimum may be the best one of a resample.
const RIVAL: f64 = 1.25;

/// Result of the fit of one group of runs.
pub(super) struct Fitted {
    pub coefficients: Coefficients,
    pub objective: f64,
    pub delta: f64,
    pub ensemble: Option<Ensemble>,
    pub failed_resamples: u32,
    pub diagnostics: Diagnostics,
    pub runs: Vec<FittedRun>,
    pub warnings: Vec<Warning>,
}

/// Fits one group of runs.
pub(super) fn fit_group(
    runs: &Observations,
    config: &ValidFitConfig,
    group: Group,
    control: &Control<'_>,
) -> Result<Fitted, FitError> {
    let options = config.get();
    let form = check_identifiable(runs, config, group)?;
    let normalised = Normalised::new(runs);
    // Fixed coefficients are those of the law from scratch; a pretrained start changes every coefficient.
    let nothing = std::collections::BTreeMap::new();
    let (fixed, constraint) = match group {
        Group::Scratch => (&options.fixed, options.constraint),
        Group::Pretrained => (&nothing, options.constraint.filter(|_| form.separates_all())),
    };
    let parameters = Parameters::new(form, fixed, &normalised);
    // Size of one normalised residual, in the unit of the residual.
    let unit = match options.residual {
        Residual::Log => 1.0,
        Residual::Linear => normalised.loss_unit(),
    };
    let should_stop = control.should_stop;
    let search = Search { parameters, constraint, precision: Precision::Full, should_stop };
    let delta = match options.delta {
        Delta::Fixed(delta) => delta,
        Delta::Auto => {
            let objective = Objective::new(&normalised, runs.weights(), options.residual, unit);
            let sketch = Sketch::new(&objective, options.seed);
            let fewer = sketch.objective();
            let stream = Stream::Delta(group == Group::Pretrained);
            let mut rng = generator(options.seed, stream);
            let enough = search.with(Precision::Enough);
            let found = auto_delta(&enough, fewer.as_ref().unwrap_or(&objective), &mut rng);
            unit * found.ok_or(FitError::Stopped)?
        }
    };
    let objective = Objective::new(&normalised, runs.weights(), options.residual, delta);
    // One unit of the scaled objective, in the unit of the residual squared.
    let scale = delta * delta;
    let sketch = Sketch::new(&objective, options.seed);

    let starts = descend_from_starts(&search, &objective, &sketch, config, group, control)?;
    let best = *starts
        .iter()
        .min_by(|a, b| a.value.total_cmp(&b.value))
        .expect("a checked configuration has at least one start");
    let coefficients = normalised
        .coefficients(&best.point)
        .map_err(|(name, _)| FitError::NotRepresentable { coefficient: name.as_str() })?;
    let jacobian = Jacobian::new(&objective, &search.parameters, &best.point, unit);

    let threshold = best.value + (AGREEMENT * best.value).max(EXACT);
    // With a fixed delta no run counts as diverged, so that laws of older versions come out the same when refitted.
    let diverged = match options.delta {
        Delta::Auto => jacobian.diverged(),
        Delta::Fixed(_) => vec![false; runs.len()],
    };
    let reached = || starts.iter().filter(|descent| descent.value <= threshold);
    let agreement = agreeing(reached(), &coefficients, &normalised, runs) as f64;
    let identification =
        identify(runs, &coefficients, &normalised, (&search.parameters, form), &best.point);

    control.tell(Phase::Resampling, 0.0);
    let done = AtomicU32::new(0);
    let bootstrap = Bootstrap {
        search: &search.with(Precision::Enough),
        objective: &objective,
        sketch: &sketch,
        runs,
        form,
        stream: match group {
            Group::Scratch => Stream::Resample,
            Group::Pretrained => Stream::PretrainedResample,
        },
        seed: options.seed,
        minima: &minima(&starts, &best),
        starts_agree: reached().count() == starts.len(),
        residuals: &jacobian.widened_residuals(&diverged),
    };
    // No resamples where the intervals would have no width: a law that passes through all of its runs also passes
    // through every resample of them, and with no more clusters than coefficients, some combination of the
    // coefficients is the same in all resamples.
    let few = runs.clusters().is_some() && runs.cluster_count() <= search.parameters.count();
    let resamples = if identification.interpolates() || few { 0 } else { options.bootstrap };
    let Resampled { members, failed } = bootstrap
        .run(resamples, &|| {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            control.tell(Phase::Resampling, f64::from(done) / f64::from(options.bootstrap));
        })
        .ok_or(FitError::Stopped)?;
    let tail = tail(options.confidence, runs, search.parameters.count());
    let ensemble = Ensemble::new(members, options.confidence, tail);

    control.tell(Phase::Diagnosing, 0.0);
    let (profiles, holdouts) = match group {
        Group::Scratch => {
            let holdouts = Holdouts {
                search: &search,
                objective: &objective,
                sketch: &sketch,
                runs,
                form,
                best: &best,
                seed: options.seed,
                unit,
            };
            rayon::join(
                || {
                    // A fit without intervals has no profile intervals either.
                    if resamples == 0 {
                        return Some(Vec::new());
                    }
                    profiles(&search.with(Precision::Enough), &objective, &best, options.confidence)
                },
                || holdouts.run(&options.holdout),
            )
        }
        Group::Pretrained => (Some(Vec::new()), Some(Vec::new())),
    };
    let wanted = group == Group::Scratch && options.holdout.contains(&Holdout::Rolling);
    let rolling = if wanted && ensemble.is_some() {
        let rolling = Rolling {
            search: &search.with(Precision::Enough),
            objective: &objective,
            sketch: &sketch,
            runs,
            form,
            best: &best,
            seed: options.seed,
            confidence: options.confidence,
            unit,
            noise: jacobian.noise,
            diverged: &diverged,
        };
        rolling.run().ok_or(FitError::Stopped)?
    } else {
        None
    };
    let diagnostics = Diagnostics {
        agreement: agreement / starts.len() as f64,
        starts: starts
            .iter()
            .map(|descent| StartReport {
                objective: scale * descent.value,
                termination: descent.termination,
                evaluations: descent.evaluations,
            })
            .collect(),
        noise: jacobian.noise,
        delta: Some(delta),
        fitted: jacobian.fitted(),
        correlations: jacobian.correlations.clone(),
        condition: jacobian.condition,
        profiles: profiles.ok_or(FitError::Stopped)?,
        holdouts: holdouts.ok_or(FitError::Stopped)?,
        lack_of_fit: match group {
            Group::Scratch => {
                let noise = jacobian.noise / unit;
                cell_tests(runs, &objective, &search.parameters, &best.point, noise)
            }
            Group::Pretrained => Vec::new(),
        },
        rolling,
        identification: Some(identification.clone()),
        clusters: runs.clusters().map(|_| runs.cluster_count()),
    };
    let fitted_runs = jacobian.runs(runs, &coefficients);
    let warnings = Evidence {
        runs,
        form,
        free: search.parameters.count(),
        law: Some(PaperLaw {
            coefficients: &coefficients,
            point: &best.point,
            parameters: &search.parameters,
        }),
        diagnostics: &diagnostics,
        fitted: &fitted_runs,
        ensemble: ensemble.as_ref(),
        resamples,
        identification: &identification,
    }
    .warnings();
    Ok(Fitted {
        coefficients,
        objective: scale * best.value,
        delta,
        ensemble,
        failed_resamples: failed,
        diagnostics,
        runs: fitted_runs,
        warnings,
    })
}

fn descend_from_starts(
    search: &Search<'_>,
    objective: &Objective<'_>,
    sketch: &Sketch<'_>,
    config: &ValidFitConfig,
    group: Group,
    control: &Control<'_>,
) -> Result<Vec<Descent>, FitError> {
    let (starts, seed) = (config.get().starts, config.get().seed);
    let done = AtomicU32::new(0);
    let fewer = sketch.objective();
    let from = fewer.as_ref().unwrap_or(objective);
    let mut descents: Vec<Descent> = (0..starts)
        .into_par_iter()
        .map(|index| {
            let stream = match group {
                Group::Scratch => Stream::Start(index),
                Group::Pretrained => Stream::PretrainedStart(index),
            };
            let start = start_point(from, &mut generator(seed, stream));
            let descent = search.descend(from, &start);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            control.tell(Phase::Searching, f64::from(done) / f64::from(starts));
            descent
        })
        .collect();
    if fewer.is_some() {
        finish(search, objective, &mut descents);
    }
    if descents.iter().any(|descent| descent.termination == Termination::Stopped) {
        return Err(FitError::Stopped);
    }
    Ok(descents)
}

/// Continues descents over a sketch of the runs over all runs. Descents that ended at the same value ended at the
/// same place, so one of them continues for all. Only the few best values are worth it; the other descents stay
/// where they are.
fn finish(search: &Search<'_>, objective: &Objective<'_>, descents: &mut [Descent]) {
    let mut order: Vec<usize> = (0..descents.len()).collect();
    order.sort_by(|a, b| descents[*a].value.total_cmp(&descents[*b].value));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for place in order {
        let value = descents[place].value;
        match groups.last_mut() {
            Some(group) if value <= descents[group[0]].value * (1.0 + 1e-6) + EXACT => {
                group.push(place);
            }
            _ => groups.push(vec![place]),
        }
    }
    for (rank, group) in groups.into_iter().enumerate() {
        let first = descents[group[0]];
        if first.termination == Termination::Stopped {
            continue;
        }
        let finished = if rank <= MOST_OTHER_MINIMA {
            search.polish(objective, &first.point)
        } else {
            Descent { value: objective.value(&first.point), ..first }
        };
        for place in group {
            let evaluations = descents[place].evaluations + finished.evaluations;
            descents[place] = Descent { evaluations, ..finished };
        }
    }
}

/// Start points for resamples: the best point, then other minima that a resample may prefer.
fn minima(starts: &[Descent], best: &Descent) -> Vec<Point> {
    let mut others: Vec<&Descent> = starts
        .iter()
        .filter(|descent| {
            let worse = descent.value > best.value + (AGREEMENT * best.value).max(EXACT);
            worse && descent.value < RIVAL * best.value
        })
        .collect();
    others.sort_by(|a, b| a.value.total_cmp(&b.value));
    others.dedup_by(|next, kept| next.value <= kept.value * (1.0 + AGREEMENT));
    let others = others.into_iter().take(MOST_OTHER_MINIMA).map(|descent| descent.point);
    std::iter::once(best.point).chain(others).collect()
}

/// Which quantities vary over the runs; an error where none does, or where an option needs one that does not vary.
fn check_identifiable(
    runs: &Observations,
    config: &ValidFitConfig,
    group: Group,
) -> Result<Form, FitError> {
    if runs.is_empty() {
        return Err(FitError::NoRuns);
    }
    let form = runs.form();
    if !(form.nonzero_params || form.sparsity || form.data) {
        return Err(FitError::NotIdentifiable { runs: runs.len() });
    }
    if group == Group::Scratch {
        let options = config.get();
        let inseparable = form.inseparable();
        let fixed = inseparable.iter().find(|(name, _)| options.fixed.contains_key(name));
        if let Some((name, quantity)) = fixed {
            let option = format!("fixed/{}", name.as_str());
            return Err(FitError::Inseparable { option, quantity });
        }
        if options.constraint == Some(Constraint::Physical) && !form.separates_all() {
            let quantity = if form.sparsity { "nonzero_params" } else { "sparsity" };
            return Err(FitError::Inseparable { option: "constraint".to_owned(), quantity });
        }
    }
    Ok(form)
}
