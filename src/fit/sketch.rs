//! Some of many runs, to find the basin of the minimum by; all runs finish.

use rand::seq::index;

use super::objective::{Objective, Weighted};
use super::starts::{Stream, generator};

/// Runs up to which all of them are used for the search; more tell no more about the basin.
const ENOUGH: usize = 2_000;

/// The same objective over a random choice of the runs; nothing where there are few.
#[derive(Debug)]
pub(super) struct Sketch<'a> {
    objective: &'a Objective<'a>,
    chosen: Option<Vec<u32>>,
}

impl<'a> Sketch<'a> {
    pub fn new(objective: &'a Objective<'a>, seed: u64) -> Self {
        let runs = objective.weighted.len();
        let chosen = (runs > ENOUGH).then(|| {
            let mut rng = generator(seed, Stream::Thinning);
            let places = index::sample(&mut rng, runs, ENOUGH).into_iter();
            let mut chosen: Vec<u32> = places.map(|at| objective.weighted[at].run).collect();
            chosen.sort_unstable();
            chosen
        });
        Self { objective, chosen }
    }

    /// The objective over the chosen runs; `None` where that is the objective itself.
    pub fn objective(&self) -> Option<Objective<'a>> {
        let mut weights = vec![0.0; self.objective.runs.len()];
        for weighted in &self.objective.weighted {
            weights[weighted.run as usize] = weighted.share;
        }
        self.reweighted(&weights)
    }

    /// The objective over the chosen runs with these weights of all runs; `None` where that is the
    /// objective itself.
    pub fn reweighted(&self, weights: &[f64]) -> Option<Objective<'a>> {
        let chosen = self.chosen.as_ref()?;
        let weight = |run: &u32| weights[*run as usize];
        let total: f64 = chosen.iter().map(weight).sum();
        let weighted = chosen
            .iter()
            .filter(|run| weight(run) > 0.0)
            .map(|run| Weighted { run: *run, share: weight(run) / total })
            .collect();
        Some(self.objective.over(weighted))
    }
}
