//! The work of a refit: load the runs, fit them, make a law.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sqlx::PgPool;

use super::driver::Watch;
use crate::clock::Clock;
use crate::fit::{Control, FitError, Observations, Report, ValidFitConfig, fit};
use crate::store::families::{self, Family};
use crate::store::laws::{Diagnostics, LawContent, LawSource, StoredWarning};
use crate::store::refits::{ClaimedRefit, Outcome, RefitFailure};
use crate::store::{StoreError, runs};

/// Runs a claimed refit; what goes wrong with the fit is its outcome.
///
/// # Errors
/// Where the runs cannot be loaded; another attempt may.
pub(super) async fn run(
    pool: PgPool,
    clock: Arc<Clock>,
    claimed: ClaimedRefit,
    threads: Arc<rayon::ThreadPool>,
    watch: Arc<Watch>,
) -> Result<Outcome, StoreError> {
    let config = match claimed.options.check() {
        Ok(config) => config,
        Err(error) => return Ok(internal(&error.into())),
    };
    let Some((family, observations)) = load(&pool, &claimed).await? else {
        // Deleted since; finishing will find no lease.
        return Ok(Outcome::Cancelled);
    };
    let fitted = tokio::task::spawn_blocking(move || {
        threads.install(|| {
            let control = Control {
                should_stop: &|| watch.stop.load(Ordering::Relaxed),
                progress: &|share| watch.advance(share),
            };
            fit(&observations, &config, &control)
        })
    });
    Ok(match fitted.await {
        Ok(Ok(report)) => Outcome::Succeeded(Box::new(law(&family, &config, &report, clock.now()))),
        Ok(Err(error)) => failed(&error),
        Err(panic) => internal(&panic.into()),
    })
}

async fn load(
    pool: &PgPool,
    claimed: &ClaimedRefit,
) -> Result<Option<(Family, Observations)>, StoreError> {
    let Some(family) = families::find_family_by_id(pool, claimed.family_id).await? else {
        return Ok(None);
    };
    let runs = runs::list_observations(pool, family.id).await?;
    Ok(Some((family, Observations::new(runs))))
}

fn law(
    family: &Family,
    config: &ValidFitConfig,
    report: &Report,
    fitted_at: chrono::DateTime<chrono::Utc>,
) -> LawContent {
    let warnings = report.warnings.iter().map(|warning| StoredWarning {
        code: warning.code.as_str().to_owned(),
        detail: warning.detail.clone(),
    });
    LawContent {
        source: LawSource::Fit,
        reference: None,
        coefficients: report.coefficients,
        objective: Some(report.objective),
        runs: u32::try_from(report.runs).ok(),
        data_unit: family.settings.data_unit.clone(),
        flops_per_param: family.settings.flops_per_param,
        pruning: family.settings.pruning,
        support: report.support.clone(),
        options: Some(*config.get()),
        diagnostics: Some(Diagnostics::from(report)),
        warnings: warnings.collect(),
        data_digest: Some(report.data_digest.clone()),
        fitted_at,
    }
}

fn failed(error: &FitError) -> Outcome {
    let kind = match error {
        FitError::NoRuns => "no-runs",
        FitError::NotIdentifiable { .. } => "not-identifiable",
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
