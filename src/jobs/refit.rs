//! The work of a refit: load the runs, fit them, make a law, or compare with the one that is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sparsity_law::fit::{Control, FitError, Observations, Phase, Report, RunSet, fit};
use sparsity_law::law::Ensemble;
use sqlx::PgPool;
use uuid::Uuid;

use crate::clock::Clock;
use crate::domain::family::Family;
use crate::domain::grouping::GroupedRuns;
use crate::domain::law::{Law, LawContent, LawSource, Resamples, StoredWarning};
use crate::domain::law_run::LawRun;
use crate::domain::refit::{ClaimedRefit, RefitFailure, RefitOptions};
use crate::domain::run::Run;
use crate::jobs::watch::{Watch, patiently};
use crate::store::refits::{NewLaw, Outcome};
use crate::store::{StoreError, families, law_evidence, laws, runs};

/// Runs a claimed refit; what goes wrong with the fit is its outcome.
///
/// # Errors
/// Where the runs cannot be loaded; another attempt may.
pub(crate) async fn run(
    pool: PgPool,
    clock: Arc<Clock>,
    claimed: ClaimedRefit,
    threads: Arc<rayon::ThreadPool>,
    watch: Arc<Watch>,
) -> Result<Outcome, StoreError> {
    let config = match claimed.options.fit.clone().check() {
        Ok(config) => config,
        Err(errors) => return Ok(internal(&anyhow::anyhow!("{errors:?}"))),
    };
    watch.enter("loading");
    let is_stopped = || watch.stop.load(Ordering::Relaxed);
    let loading = patiently("loading the runs of a refit", is_stopped, || load(&pool, &claimed));
    let Some(task) = loading.await? else {
        // Deleted since; finishing will find no lease.
        return Ok(Outcome::Cancelled);
    };
    let (task, set) = task;
    watch.enter(Phase::Searching.as_str());
    let fitting = config.clone();
    let fitted = tokio::task::spawn_blocking(move || {
        threads.install(|| {
            let control = Control {
                should_stop: &|| watch.stop.load(Ordering::Relaxed),
                progress: &|phase, share| watch.advance(phase, share),
            };
            let report = fit(&set, &fitting, &control);
            watch.leave();
            report.map(|report| (report, set.law))
        })
    });
    Ok(match fitted.await {
        Ok(Ok((report, observations))) => match task {
            Task::Make { family, ids } => {
                let runs = law_runs(ids, &observations, &report);
                let content = law(&family, claimed.options, &report, clock.now());
                Outcome::Succeeded(Box::new(NewLaw { content, ensemble: report.ensemble, runs }))
            }
            Task::Check { law, ensemble } => compare(&law, ensemble.as_ref(), &report),
        },
        Ok(Err(error)) => failed(&error),
        Err(panic) => internal(&panic.into()),
    })
}

/// What a refit is for.
enum Task {
    /// To make a law of the family's runs, given by their ids in canonical order.
    Make { family: Box<Family>, ids: Vec<Uuid> },
    /// To see whether a law comes out the same once more.
    Check { law: Box<Law>, ensemble: Option<Ensemble> },
}

async fn load(pool: &PgPool, claimed: &ClaimedRefit) -> Result<Option<(Task, RunSet)>, StoreError> {
    if let Some(law_id) = claimed.reproduces_law_id {
        let Some(law) = laws::find_law_by_id(pool, law_id).await? else { return Ok(None) };
        let ensemble = law_evidence::find_law_resamples(pool, law_id).await?;
        let runs = law_evidence::list_law_runs(pool, law_id, false, 0, i64::MAX).await?;
        let runs = runs.into_iter().map(|(_, named)| (named.run.observation, named.run.weight));
        let set = Observations::weighted(runs.collect()).into();
        return Ok(Some((Task::Check { law: Box::new(law), ensemble }, set)));
    }
    let Some(family) = families::find_family_by_id(pool, claimed.family_id).await? else {
        return Ok(None);
    };
    let runs = runs::list_fit_runs(pool, family.id).await?;
    let without = &claimed.options.without;
    let is_left_out = |run: &Run| without.binary_search(&run.submitted.external_id).is_ok();
    let runs = runs.into_iter().filter(|run| !is_left_out(run));
    let runs = runs.map(|run| (run.id, run.submitted));
    let GroupedRuns { set, ids } = GroupedRuns::new(runs, &claimed.options.weights);
    Ok(Some((Task::Make { family: Box::new(family), ids }, set)))
}

fn law_runs(ids: Vec<Uuid>, observations: &Observations, report: &Report) -> Vec<LawRun> {
    let rows = observations.as_slice().iter().zip(observations.weights()).zip(&report.fitted);
    ids.into_iter()
        .zip(rows)
        .map(|(run_id, ((observation, weight), fitted))| LawRun {
            run_id,
            observation: *observation,
            weight: *weight,
            fitted: *fitted,
        })
        .collect()
}

fn law(
    family: &Family,
    options: RefitOptions,
    report: &Report,
    fitted_at: chrono::DateTime<chrono::Utc>,
) -> LawContent {
    let ensemble = report.ensemble.as_ref();
    let fitted = ensemble.map_or(0, |ensemble| ensemble.members().len());
    let fitted_warnings = report.warnings.iter().map(StoredWarning::from);
    let warnings = what_if(&options.without).into_iter().chain(fitted_warnings).collect();
    LawContent {
        source: LawSource::Fit,
        reference: None,
        coefficients: report.coefficients,
        objective: Some(report.objective),
        runs: u32::try_from(report.runs).ok(),
        intervals: ensemble.map(Ensemble::coefficient_intervals).unwrap_or_default(),
        resamples: u32::try_from(fitted)
            .ok()
            .map(|fitted| Resamples { fitted, failed: report.failed_resamples }),
        patterns: report.patterns.clone(),
        pretrained: report.pretrained.clone(),
        data_unit: family.settings.data_unit.clone(),
        flops_per_param: family.settings.flops_per_param,
        pruning: family.settings.pruning.clone(),
        zeros: family.settings.zeros.clone(),
        support: report.support.clone(),
        options: Some(options),
        diagnostics: Some(report.diagnostics.clone()),
        warnings,
        data_digest: Some(report.data_digest.clone()),
        fitted_at,
    }
}

/// The most runs that a warning names.
const MOST_NAMED: usize = 3;

/// What every answer of a law says that leaves out runs to see what they do.
fn what_if(without: &[String]) -> Option<StoredWarning> {
    if without.is_empty() {
        return None;
    }
    let named = without[..without.len().min(MOST_NAMED)].join(", ");
    let more = match without.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let runs = if without.len() == 1 { "run" } else { "runs" };
    let detail = format!(
        "a what-if, fitted without {} {runs} that other fits use ({named}{more}): it answers only where its \
         version is asked for",
        without.len()
    );
    Some(StoredWarning { code: "what_if".to_owned(), detail })
}

/// Whether the law came out the same to the last bit, resamples included.
fn compare(law: &Law, ensemble: Option<&Ensemble>, report: &Report) -> Outcome {
    let content = &law.content;
    let what = if content.data_digest.as_ref() != Some(&report.data_digest) {
        "the digest of its stored runs"
    } else if content.coefficients != report.coefficients {
        "the coefficients"
    } else if content.objective != Some(report.objective) {
        "the objective"
    } else if ensemble != report.ensemble.as_ref() {
        "the resampled coefficients"
    } else {
        return Outcome::Reproduced(law.id);
    };
    let detail = format!(
        "version {} was fitted again from its stored runs and options, and {what} came out \
         different: another version of the service or another processor made it",
        law.version
    );
    Outcome::Failed(RefitFailure { kind: "not-reproduced".to_owned(), detail })
}

fn failed(error: &FitError) -> Outcome {
    let kind = match error {
        FitError::NoRuns => "no-runs",
        FitError::NotIdentifiable { .. } | FitError::Inseparable { .. } => "not-identifiable",
        FitError::NotRepresentable { .. } => "not-representable",
        FitError::Stopped => return Outcome::Cancelled,
    };
    Outcome::Failed(RefitFailure { kind: kind.to_owned(), detail: error.to_string() })
}

/// A defect: the cause is for the log.
fn internal(cause: &anyhow::Error) -> Outcome {
    tracing::error!(error = format!("{cause:#}"), "a refit failed");
    let detail = "the cause is in the worker's log".to_owned();
    Outcome::Failed(RefitFailure { kind: "internal".to_owned(), detail })
}
