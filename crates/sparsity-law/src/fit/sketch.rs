//! Some of many runs, to find the basin of the minimum by; all runs finish.

use rand::seq::index;

use super::normalised::Normalised;
use super::objective::{Objective, Weighted};
use super::starts::{Stream, generator};

/// Runs up to which all of them are used for the search; more tell no more about the basin.
const ENOUGH: usize = 2_000;

/// The same objective over a random choice of the runs; nothing where there are few.
#[derive(Debug)]
pub(super) struct Sketch<'a> {
    objective: &'a Objective<'a>,
    chosen: Option<Chosen>,
}

#[derive(Debug)]
struct Chosen {
    /// Places among all runs.
    places: Vec<u32>,
    /// On their own, so that an evaluation computes no powers of the levels of the others.
    runs: Normalised,
}

impl<'a> Sketch<'a> {
    pub fn new(objective: &'a Objective<'a>, seed: u64) -> Self {
        let runs = objective.weighted.len();
        let chosen = (runs > ENOUGH).then(|| {
            let mut rng = generator(seed, Stream::Thinning);
            let sample = index::sample(&mut rng, runs, ENOUGH).into_iter();
            let mut places: Vec<u32> = sample.map(|at| objective.weighted[at].run).collect();
            places.sort_unstable();
            Chosen { runs: objective.runs.only(&places), places }
        });
        Self { objective, chosen }
    }

    /// The objective over the chosen runs; `None` where that is the objective itself.
    pub fn objective(&self) -> Option<Objective<'_>> {
        let mut weights = vec![0.0; self.objective.runs.len()];
        for weighted in &self.objective.weighted {
            weights[weighted.run as usize] = weighted.share;
        }
        self.reweighted(&weights)
    }

    /// The objective over the chosen runs with these weights of all runs; `None` where that is the
    /// objective itself.
    pub fn reweighted(&self, weights: &[f64]) -> Option<Objective<'_>> {
        let Chosen { places, runs } = self.chosen.as_ref()?;
        let weight = |place: &u32| weights[*place as usize];
        let total: f64 = places.iter().map(weight).sum();
        let weighted = (0..)
            .zip(places)
            .filter(|(_, place)| weight(place) > 0.0)
            .map(|(run, place)| Weighted { run, share: weight(place) / total })
            .collect();
        let Objective { residual, delta, .. } = *self.objective;
        Some(Objective { runs, weighted, residual, delta })
    }
}
