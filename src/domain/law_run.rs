//! The runs that a law was fitted on.

use sparsity_law::fit::{FittedRun, Observation, Observations, RunSet};
use sparsity_law::law::{Data, FormLaw};
use uuid::Uuid;

/// One run as a law saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct LawRun {
    /// Id of the run; it may have been changed or deleted since.
    pub run_id: Uuid,
    /// What was measured, as the fit saw it.
    pub observation: Observation,
    /// How much of its data is different, where some was seen more than once and that was known.
    pub unique_data: Option<Data>,
    /// Which runs it was resampled with: those of the same number; `None` where each was drawn by itself.
    pub cluster: Option<u32>,
    /// The place of its level among those of a law of levels with names; `None` of every other law.
    pub level: Option<u32>,
    /// What it counted, relative to the others.
    pub weight: f64,
    /// What the law says of it.
    pub fitted: FittedRun,
}

/// A law's run with the name that its submitter gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedLawRun {
    /// The run.
    pub run: LawRun,
    /// The submitter's name; `None` where the run was deleted since.
    pub external_id: Option<String>,
}

/// The runs of a law, in canonical order, as they were fitted: with their clusters, with what of their data is different,
/// and with the names of their levels by `own`, where the law is one of levels with names.
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
    // They come in canonical order, so their order stays.
    let rows = runs.into_iter().map(|run| (run.observation, run.weight));
    let mut law = Observations::weighted(rows.collect());
    if clusters.iter().any(Option::is_some) {
        law = law.clustered(&clusters);
    }
    RunSet { unique, names, ..law.into() }
}

/// What became of the runs of one law until a later one of the family was fitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunChanges {
    /// Runs of the later law alone.
    pub added: i64,
    /// Runs of both that were measured otherwise in the later one.
    pub changed: i64,
    /// Runs of the earlier law alone.
    pub removed: i64,
}
