//! Some of many runs, to find the basin of the minimum by; all runs finish.

use rand::seq::index;

use super::normalised::Normalised;
use super::objective::Objective;
use super::starts::{Stream, generator};

/// Runs up to which all of them are used for the search; more tell no more about the basin.
const ENOUGH: usize = 2_000;

/// Fewest of them that tell where the minimum lies.
const FEWEST: usize = 500;

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
        let counted = objective.places();
        let runs = counted.len();
        let chosen = (runs > ENOUGH).then(|| {
            let mut rng = generator(seed, Stream::Thinning);
            let sample = index::sample(&mut rng, runs, ENOUGH).into_iter();
            let mut places: Vec<u32> = sample.map(|at| counted[at]).collect();
            places.sort_unstable();
            Chosen { runs: objective.runs.only(&places), places }
        });
        Self { objective, chosen }
    }

    /// The objective over the chosen runs; `None` where that is the objective itself.
    pub fn objective(&self) -> Option<Objective<'_>> {
        self.reweighted(&self.objective.all_shares())
    }

    /// The objective over the chosen runs with these weights of all runs; `None` where that is the
    /// objective itself, or where few of the chosen runs have a weight.
    pub fn reweighted(&self, weights: &[f64]) -> Option<Objective<'_>> {
        let Chosen { places, runs } = self.chosen.as_ref()?;
        let weights: Vec<f64> = places.iter().map(|place| weights[*place as usize]).collect();
        let counted = weights.iter().filter(|weight| **weight > 0.0).count();
        (counted >= FEWEST).then(|| self.objective.over(runs, &weights))
    }
}
