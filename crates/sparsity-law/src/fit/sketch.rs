//! A subset of many runs, used to find the basin of the minimum; the fit is then completed on all runs.

use rand::seq::index;

use super::normalised::Normalised;
use super::objective::Objective;
use super::starts::{Stream, generator};

/// Largest number of runs of which all are used for the search; more runs tell no more about the basin.
const ENOUGH: usize = 2_000;

/// Smallest number of chosen runs with weight that still shows where the minimum lies.
const FEWEST: usize = 500;

/// An objective, and a random subset of its runs where there are many.
#[derive(Debug)]
pub(super) struct Sketch<'a> {
    objective: &'a Objective<'a>,
    chosen: Option<Chosen>,
}

#[derive(Debug)]
struct Chosen {
    /// Indices of the chosen runs among all runs.
    places: Vec<u32>,
    /// Copies of the chosen runs, so that an evaluation computes nothing for the others.
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

    /// The objective over the chosen runs; `None` where all runs are to be used.
    pub fn objective(&self) -> Option<Objective<'_>> {
        self.reweighted(&self.objective.all_shares())
    }

    /// The objective over the chosen runs, with `weights` given for all runs; `None` where all runs are to be used
    /// because there are few of them, or because few of the chosen ones have a weight.
    pub fn reweighted(&self, weights: &[f64]) -> Option<Objective<'_>> {
        let Chosen { places, runs } = self.chosen.as_ref()?;
        let weights: Vec<f64> = places.iter().map(|place| weights[*place as usize]).collect();
        let counted = weights.iter().filter(|weight| **weight > 0.0).count();
        (counted >= FEWEST).then(|| self.objective.over(runs, &weights))
    }
}
