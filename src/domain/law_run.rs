//! The runs that a law was fitted on.

use sparsity_law::fit::{FittedRun, Observation, Observations, RunSet};
use sparsity_law::law::{Data, FormLaw};
use uuid::Uuid;

/// A run as it was when a law was fitted on it.
#[derive(Debug, Clone, PartialEq)]
pub struct LawRun {
    /// Id of the run, which may have been changed or deleted since.
    pub run_id: Uuid,
    /// Size, sparsity, data and loss as the fit saw them.
    pub observation: Observation,
    /// Amount of distinct data, if some was seen more than once and this was known.
    pub unique_data: Option<Data>,
    /// Runs with the same number were resampled together; `None` if the run was resampled by itself.
    pub cluster: Option<u32>,
    /// Index of the run's level in a law of levels with names; `None` for every other law.
    pub level: Option<u32>,
    /// Weight of the run, relative to the others.
    pub weight: f64,
    /// Prediction and residual of the law for this run.
    pub fitted: FittedRun,
}

/// A law's run with its submitter's name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedLawRun {
    /// The run as the law saw it.
    pub run: LawRun,
    /// The submitter's name; `None` if the run has been deleted since.
    pub external_id: Option<String>,
}

/// The runs of a law as they were fitted, with their clusters and amounts of distinct data. If `own` is a law of levels
/// with names, the runs also get the names of their levels. `runs` must be in canonical order.
#[must_use]
pub fn fitted_set(runs: impl IntoIterator<Item = LawRun>, own: Option<&FormLaw>) -> RunSet {
    let runs: Vec<LawRun> = runs.into_iter().collect();
    let unique = runs.iter().map(|run| run.unique_data).collect();
    let clusters: Vec<_> = runs.iter().map(|run| run.cluster).collect();
    let name = |level: u32| own?.level(usize::try_from(level).ok())?.name.clone();
    let names = if runs.iter().any(|run| run.level.is_some()) {
        runs.iter().map(|run| run.level.and_then(name)).collect()
    } else {
        Vec::new()
    };
    // The rows arrive in canonical order, so sorting them again does not reorder them.
    let rows = runs.into_iter().map(|run| (run.observation, run.weight));
    let mut law = Observations::weighted(rows.collect());
    if clusters.iter().any(Option::is_some) {
        law = law.clustered(&clusters);
    }
    RunSet { unique, names, ..law.into() }
}

/// How the runs of a law differ from those of an earlier law of the same family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunChanges {
    /// Runs of the later law only.
    pub added: i64,
    /// Runs of both laws whose measurements differ.
    pub changed: i64,
    /// Runs of the earlier law only.
    pub removed: i64,
}
