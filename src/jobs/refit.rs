//! The work of a refit: load the runs, fit them, and make a law or compare the result with an existing one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sparsity_law::fit::{
    Control, FitError, FormReport, FormTask, Lenders, Observation, Phase, Report, Rivals, RunSet,
    SmallLevel, ValidFitConfig, ensemble_with_curves, fit_form, rank_forms, runs_for_own_gain,
};
use sparsity_law::law::{BorrowedGain, Ensemble, FormLaw, LawForm, SampledForm, T5_C4, VIT_JFT};
use sqlx::PgPool;
use uuid::Uuid;

use crate::background::stand_back;
use crate::clock::Clock;
use crate::domain::family::Family;
use crate::domain::grouping::GroupedRuns;
use crate::domain::law::{Law, LawContent, LawShape, LentGain, StoredWarning};
use crate::domain::law_origin::{FitRecord, Origin, Resamples};
use crate::domain::law_run::{LawRun, fitted_set};
use crate::domain::refit::{ClaimedRefit, RefitFailure, RefitFailureKind, RefitOptions};
use crate::domain::run::Run;
use crate::domain::text::FamilyName;
use crate::jobs::watch::{Watch, patiently};
use crate::store::refits::{NewLaw, RefitOutcome};
use crate::store::{StoreError, families, law_evidence, laws, runs};
use crate::telemetry::causes::with_causes;

/// Runs a claimed refit. A failure of the fit is part of its outcome.
///
/// # Errors
/// If the runs cannot be loaded; another attempt may succeed.
pub(crate) async fn run(
    pool: PgPool,
    clock: Arc<Clock>,
    claimed: ClaimedRefit,
    threads: Arc<rayon::ThreadPool>,
    watch: Arc<Watch>,
) -> Result<RefitOutcome, StoreError> {
    let config = match claimed.options.fit.clone().check() {
        Ok(config) => config,
        Err(errors) => return Ok(internal(&anyhow::anyhow!("{errors:?}"))),
    };
    watch.enter("loading");
    let is_stopped = || watch.stop.load(Ordering::Relaxed);
    watch.read(true);
    let loading = patiently("loading the runs of a refit", is_stopped, || async {
        let loaded = load(&pool, &claimed).await;
        if loaded.is_err() {
            watch.fail_to_read();
        }
        loaded
    });
    let loaded = loading.await?;
    watch.read(false);
    let (task, set) = match loaded {
        Loaded::Ready(ready) => *ready,
        // The family or law was deleted meanwhile; finishing the refit will find that the lease is lost.
        Loaded::Gone => return Ok(RefitOutcome::Cancelled),
        Loaded::Refused(failure) => return Ok(RefitOutcome::Failed(failure)),
    };
    watch.enter(Phase::Searching.as_str());
    let fitting = config.clone();
    let fitted = tokio::task::spawn_blocking(move || {
        threads.install(|| {
            let control = Control {
                should_stop: &|| watch.stop.load(Ordering::Relaxed),
                progress: &|phase, share| watch.advance(phase, share),
            };
            let fitted = work(&task, &set, &fitting, &control);
            watch.leave();
            fitted.map(|fitted| (task, fitted, set))
        })
    });
    Ok(match fitted.await {
        Ok(Ok((task, fitted, set))) => match task {
            Task::Make { family, ids, untagged, small_levels, .. } => {
                let runs = law_runs(ids, &set, &fitted.report);
                let cluster = claimed.options.cluster.as_deref();
                let untagged = GroupedRuns::untagged_warning(untagged, cluster);
                let mut content = law(&family, claimed.options, &fitted, clock.now());
                content.warnings.extend(untagged);
                content.warnings.extend(GroupedRuns::small_levels_warning(&small_levels));
                let ensemble = fitted.report.ensemble;
                RefitOutcome::Succeeded(Box::new(NewLaw { content, ensemble, runs }))
            }
            Task::Check { law, ensemble, .. } => compare(&law, ensemble.as_ref(), &fitted.report),
        },
        Ok(Err(error)) => failed(&error),
        Err(panic) => internal(&panic.into()),
    })
}

/// What a refit is to do.
enum Task {
    /// Make a law of the family's runs, given by their ids in canonical order.
    Make {
        family: Box<Family>,
        ids: Vec<Uuid>,
        /// Number of runs that lack the tag by which runs are resampled.
        untagged: usize,
        /// Levels that are left out of the fit.
        small_levels: Vec<SmallLevel>,
        form: FormTask,
        /// The borrowed gain, without the runs that would make the gain the family's own.
        lent: Option<LentGain>,
        all_forms: bool,
    },
    /// Check whether a law comes out the same when it is fitted again.
    Check { law: Box<Law>, ensemble: Option<Ensemble>, form: FormTask },
}

/// The result of loading a refit.
enum Loaded {
    /// The task and its runs.
    Ready(Box<(Task, RunSet)>),
    /// The family or law no longer exists.
    Gone,
    /// Something that the refit needs is no longer available.
    Refused(RefitFailure),
}

/// The result of a fit.
struct Fitted {
    report: Report,
    shape: LawShape,
}

/// Fits, and ranks the other forms if requested.
fn work(
    task: &Task,
    set: &RunSet,
    config: &ValidFitConfig,
    control: &Control<'_>,
) -> Result<Fitted, FitError> {
    let form = match task {
        Task::Make { form, .. } | Task::Check { form, .. } => form,
    };
    let FormReport { report, repeated } = fit_form(set, form, config, control)?;
    let mut shape = LawShape { repeated, law: report.own.clone(), ..LawShape::default() };
    if let Some(law) = &report.own {
        let sampled = SampledForm::new(law.clone(), report.ensemble.clone(), None, |loss, _| loss);
        shape.law_intervals = sampled.coefficient_intervals().unwrap_or_default();
    }
    if let Task::Make { family, lent, all_forms, .. } = task {
        shape.form = Some(form.form()).filter(|form| *form != LawForm::Sparse);
        shape.gain = lent.clone().map(|lent| LentGain {
            settling: runs_for_own_gain(&set.law, &report.coefficients),
            ..lent
        });
        if *all_forms {
            shape.rivals = Some(rank(family, set, form, &report, (&shape, config), control)?);
        }
    }
    Ok(Fitted { report, shape })
}

fn rank(
    family: &Family,
    set: &RunSet,
    form: &FormTask,
    report: &Report,
    (shape, config): (&LawShape, &ValidFitConfig),
    control: &Control<'_>,
) -> Result<Rivals, FitError> {
    let decay = shape.repeated.map(|repeated| repeated.decay);
    // A fit of this version always records delta.
    let delta = report.diagnostics.delta.unwrap_or(report.diagnostics.noise);
    let mean_share = family.settings.pruning.mean_share();
    let runs = set.with_worth_of_data(decay);
    rank_forms(&runs, form.form(), delta, mean_share, config, control)
}

/// Finds the gain that a refit borrows, by the stored law of the lender; `None` if it borrows none.
async fn borrow(
    pool: &PgPool,
    claimed: &ClaimedRefit,
) -> Result<Option<Result<LentGain, RefitFailure>>, StoreError> {
    let Some(lender) = &claimed.options.lender else { return Ok(None) };
    let gone = || RefitFailure {
        kind: RefitFailureKind::NotIdentifiable,
        detail: format!(
            "law {} of {}, whose gain was to be borrowed, is not there any more or says nothing of sparsity",
            lender.version, lender.family
        ),
    };
    let law = match FamilyName::new(&lender.family) {
        Ok(name) => laws::find_law(pool, &name, Some(lender.version)).await?,
        Err(_) => None,
    };
    let Some((law, gain)) =
        law.and_then(|law| BorrowedGain::of(&law.content.coefficients).map(|gain| (law, gain)))
    else {
        return Ok(Some(Err(gone())));
    };
    let ensemble = law_evidence::find_law_resamples(pool, law.id).await?;
    let members = ensemble.iter().flat_map(Ensemble::members);
    let resamples: Vec<BorrowedGain> =
        members.filter_map(|member| BorrowedGain::of(&member.coefficients)).collect();
    Ok(Some(Ok(LentGain {
        family: lender.family.clone(),
        version: lender.version,
        gain,
        in_turn: Lenders::new(gain, &resamples, published()).in_turn,
        settling: Vec::new(),
    })))
}

/// Gains of the published laws.
fn published() -> [BorrowedGain; 2] {
    let of = |law| BorrowedGain::of(law).expect("the published laws know what sparsity does");
    [of(T5_C4.coefficients()), of(VIT_JFT.coefficients())]
}

async fn load(pool: &PgPool, claimed: &ClaimedRefit) -> Result<Loaded, StoreError> {
    if let Some(law_id) = claimed.reproduces_law_id {
        let Some(law) = laws::find_law_by_id(pool, law_id).await? else {
            return Ok(Loaded::Gone);
        };
        let form = law.content.shape.task(law.content.pruning.mean_share());
        let ensemble = law_evidence::find_law_resamples(pool, law_id).await?;
        let ensemble = ensemble.map(|ensemble| ensemble_with_curves(ensemble, &form));
        let runs = law_evidence::list_law_runs(pool, law_id, false, 0, i64::MAX).await?;
        let runs = runs.into_iter().map(|(_, named)| named.run);
        let set = fitted_set(runs, law.content.shape.law.as_ref());
        let task = Task::Check { law: Box::new(law), ensemble, form };
        return Ok(Loaded::Ready(Box::new((task, set))));
    }
    let Some(family) = families::find_family_by_id(pool, claimed.family_id).await? else {
        return Ok(Loaded::Gone);
    };
    let lent = match borrow(pool, claimed).await? {
        Some(Err(failure)) => return Ok(Loaded::Refused(failure)),
        lent => lent.and_then(Result::ok),
    };
    let runs = runs::list_fit_runs(pool, family.id).await?;
    let options = claimed.options.clone();
    // Sorting a million runs takes a second, during which this thread could not serve other tasks.
    let grouping = tokio::task::spawn_blocking(move || {
        stand_back();
        let is_left_out =
            |run: &Run| options.without.binary_search(&run.submitted.external_id).is_ok();
        let runs = runs.into_iter().filter(|run| !is_left_out(run));
        let runs = runs.map(|run| (run.id, run.submitted));
        GroupedRuns::new(runs, &options)
    });
    let GroupedRuns { set, ids, untagged, small_levels } = match grouping.await {
        Ok(grouped) => grouped,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The task was cancelled because the process is ending.
            Err(_) => return Ok(Loaded::Gone),
        },
    };
    let all_forms = claimed.options.all_forms;
    let shape = LawShape { form: claimed.options.form, gain: lent.clone(), ..LawShape::default() };
    let form = shape.task(family.settings.pruning.mean_share());
    let family = Box::new(family);
    let task = Task::Make { family, ids, untagged, small_levels, form, lent, all_forms };
    Ok(Loaded::Ready(Box::new((task, set))))
}

fn law_runs(ids: Vec<Uuid>, set: &RunSet, report: &Report) -> Vec<LawRun> {
    let rows = set.law.as_slice().iter().zip(set.law.weights()).zip(&report.fitted);
    let level = |place: usize, observation: &Observation| {
        let Some(FormLaw::Levels(law)) = &report.own else { return None };
        let density = observation.sparsity.density();
        let place = match set.names.get(place)? {
            Some(name) => law.place_of(density, name)?,
            None => law.unnamed_place(density)?,
        };
        u32::try_from(place).ok()
    };
    ids.into_iter()
        .zip(rows)
        .enumerate()
        .map(|(place, (run_id, ((observation, weight), fitted)))| LawRun {
            run_id,
            observation: *observation,
            unique_data: set.unique.get(place).copied().flatten(),
            cluster: set.law.clusters().map(|clusters| clusters[place]),
            level: level(place, observation),
            weight: *weight,
            fitted: *fitted,
        })
        .collect()
}

fn law(
    family: &Family,
    options: RefitOptions,
    Fitted { report, shape }: &Fitted,
    fitted_at: chrono::DateTime<chrono::Utc>,
) -> LawContent {
    let ensemble = report.ensemble.as_ref();
    let fitted = ensemble.map_or(0, |ensemble| ensemble.count());
    let fitted_warnings = report.warnings.iter().map(StoredWarning::from);
    let warnings = what_if(&options.without).into_iter().chain(fitted_warnings).collect();
    let fit = FitRecord {
        objective: report.objective,
        // At most a million.
        runs: u32::try_from(report.runs).unwrap_or(u32::MAX),
        data_digest: report.data_digest.clone(),
        options,
        diagnostics: report.diagnostics.clone(),
        resamples: u32::try_from(fitted)
            .ok()
            .map(|fitted| Resamples { fitted, failed: report.failed_resamples }),
        intervals: ensemble.map(Ensemble::coefficient_intervals).unwrap_or_default(),
        patterns: report.patterns.clone(),
        pretrained: report.pretrained.clone(),
    };
    LawContent {
        origin: Origin::Fitted(Box::new(fit)),
        coefficients: report.coefficients,
        data_unit: family.settings.data_unit.clone(),
        flops_per_param: family.settings.flops_per_param,
        pruning: family.settings.pruning.clone(),
        zeros: family.settings.zeros.clone(),
        support: report.support.clone(),
        warnings,
        fitted_at,
        shape: shape.clone(),
    }
}

/// Most runs that a warning names.
const MOST_NAMED: usize = 3;

/// The warning, shown with every answer, that a law was fitted without some runs to see their effect.
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

/// Compares a law with a new fit of its runs: it must be identical to the last bit, including the resamples.
fn compare(law: &Law, ensemble: Option<&Ensemble>, report: &Report) -> RefitOutcome {
    let content = &law.content;
    let what = if content.origin.data_digest() != Some(report.data_digest.as_str()) {
        "the digest of its stored runs"
    } else if content.coefficients != report.coefficients || content.shape.law != report.own {
        "the coefficients"
    } else if content.origin.objective() != Some(report.objective) {
        "the objective"
    } else if ensemble != report.ensemble.as_ref() {
        "the resampled coefficients"
    } else {
        return RefitOutcome::Reproduced(law.id);
    };
    let detail = format!(
        "version {} was fitted again from its stored runs and options, and {what} came out \
         different: another version of the service or another processor made it",
        law.version
    );
    RefitOutcome::Failed(RefitFailure { kind: RefitFailureKind::NotReproduced, detail })
}

fn failed(error: &FitError) -> RefitOutcome {
    let kind = match error {
        FitError::NoRuns => RefitFailureKind::NoRuns,
        FitError::NotIdentifiable { .. }
        | FitError::Inseparable { .. }
        | FitError::FormNotCarried { .. } => RefitFailureKind::NotIdentifiable,
        FitError::NotRepresentable { .. } => RefitFailureKind::NotRepresentable,
        FitError::Stopped => return RefitOutcome::Cancelled,
    };
    RefitOutcome::Failed(RefitFailure { kind, detail: error.to_string() })
}

/// The outcome for a defect of the program; its cause goes to the log.
fn internal(cause: &anyhow::Error) -> RefitOutcome {
    tracing::error!(error = with_causes(cause), "a refit failed");
    let detail = "the cause is in the worker's log".to_owned();
    RefitOutcome::Failed(RefitFailure { kind: RefitFailureKind::Internal, detail })
}
