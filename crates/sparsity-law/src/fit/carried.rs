//! Whether runs are enough for a form with coefficients of its own, and which levels of sparsity have too few.

use super::model::{FormModel, Table};
use super::observations::{Observation, Observations};
use super::whole::RunSet;
use crate::law::{Data, LawForm};

/// Smallest number of runs at each level of sparsity, for the form `levels`.
const FEWEST_OF_LEVEL: usize = 3;

/// A level of sparsity that has too few runs for a capacity of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct SmallLevel {
    /// Sparsity of the level, with its name where it has one.
    pub told: String,
    /// Number of runs at the level, below [`Self::NEEDED`].
    pub runs: usize,
}

impl SmallLevel {
    /// Smallest number of runs that a level needs.
    pub const NEEDED: usize = FEWEST_OF_LEVEL;
}

impl RunSet {
    /// Indices, in canonical order, of the runs of the law whose level has enough runs for a capacity of its own,
    /// and the levels that have too few: a law of levels is fitted without the runs of these.
    #[must_use]
    pub fn of_large_levels(&self) -> (Vec<usize>, Vec<SmallLevel>) {
        let table = Table::named(&self.law, &self.names, 0.0, self.law.len());
        let mut counts = vec![0; table.densities.len()];
        for row in &table.rows {
            counts[row.level] += 1;
        }
        let is_large = |place: &usize| counts[table.rows[*place].level] >= FEWEST_OF_LEVEL;
        let kept = (0..self.law.len()).filter(is_large).collect();
        let small = counts.iter().enumerate().filter(|(_, count)| **count < FEWEST_OF_LEVEL);
        let told = |(place, runs): (usize, &usize)| SmallLevel {
            told: table.level_told(place),
            runs: *runs,
        };
        (kept, small.map(told).collect())
    }

    /// A set with only some of the runs of the law, by their indices in canonical order. The other groups are kept.
    #[must_use]
    pub fn with_runs(&self, places: &[usize]) -> Self {
        let of = |all: &[Observation], weights: &[f64]| -> Vec<(Observation, f64)> {
            places.iter().map(|place| (all[*place], weights[*place])).collect()
        };
        let mut law = Observations::weighted(of(self.law.as_slice(), self.law.weights()));
        if let Some(clusters) = self.law.clusters() {
            let kept: Vec<_> = places.iter().map(|place| clusters.get(*place).copied()).collect();
            law = law.clustered(&kept);
        }
        let kept =
            |all: &[Option<Data>]| places.iter().filter_map(|p| all.get(*p).copied()).collect();
        let names = places.iter().filter_map(|place| self.names.get(*place).cloned()).collect();
        Self { law, unique: kept(&self.unique), names, ..self.clone() }
    }
}

/// Why these runs do not determine a law of this form; `None` where they do.
pub(super) fn lacking(table: &Table, model: FormModel) -> Option<String> {
    if let Some(reason) = table.lacking(model) {
        return Some(reason);
    }
    let (runs, free) = (table.rows.len(), model.free());
    if runs <= free {
        return Some(format!(
            "it has {free} coefficients, and {runs} runs do not show by how much they scatter: it needs {}",
            free + 1
        ));
    }
    if model.form != LawForm::Levels {
        return None;
    }
    let mut counts = vec![0; model.levels];
    for row in &table.rows {
        counts[row.level] += 1;
    }
    let place = counts.iter().position(|count| *count < FEWEST_OF_LEVEL)?;
    let level = table.level_told(place);
    Some(format!(
        "sparsity {level} has {} {}, and each of its {} levels needs {FEWEST_OF_LEVEL} to show by how much they \
         scatter: add runs at it, or leave those out",
        counts[place],
        if counts[place] == 1 { "run" } else { "runs" },
        model.levels
    ))
}
