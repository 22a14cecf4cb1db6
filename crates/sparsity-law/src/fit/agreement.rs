//! Which starts agree with the best one, in their objective and in their answers over the range of the runs.

use super::descent::Descent;
use super::normalised::{Normalised, Point};
use super::observations::Observations;
use crate::law::{
    Coefficients, Data, Density, FlopMode, FlopsPerParam, NonzeroParams, PruningSchedule, Range,
    TrainingCost, optimal_density,
};

/// Two starts agree where their losses differ by less than this share at every probe.
const SAME_LOSS: f64 = 1e-3;

/// Two starts agree where their best sparsities differ by less than this at every probe.
const SAME_SPARSITY: f64 = 0.01;

/// Number of values along the range of each quantity, both ends included.
const PLACES: u32 = 4;

/// Questions spread over the range of the runs.
pub(super) struct Probes {
    losses: Vec<(NonzeroParams, Density, Data)>,
    budgets: Vec<(NonzeroParams, crate::law::Compute)>,
    cost: TrainingCost,
}

/// Answers of a law to the questions of [`Probes`].
pub(super) struct Answers {
    losses: Vec<f64>,
    sparsities: Vec<f64>,
}

impl Probes {
    /// Spreads questions over the range of the runs, of which there must be at least one.
    pub fn over(runs: &Observations) -> Self {
        let along = |quantity: fn(&super::Observation) -> f64| -> Vec<f64> {
            let values = runs.as_slice().iter().map(quantity);
            let range = values.map(|value| Range { min: value, max: value }).reduce(Range::join);
            let share = |place: u32| f64::from(place) / f64::from(PLACES - 1);
            let at = |place| range.map(|range| range.at_share(share(place)));
            let mut places: Vec<f64> = (0..PLACES).filter_map(at).collect();
            places.dedup_by(|next, kept| *next / *kept < 1.0 + 1e-9);
            places
        };
        let sizes = along(|run| run.nonzero_params.get());
        let densities = along(|run| run.sparsity.density().get());
        let amounts = along(|run| run.data.get());
        // The mode in which sparsity matters most; the schedule of pruning hardly changes how laws differ.
        let cost = TrainingCost::new(
            FlopsPerParam::TRAINING,
            PruningSchedule::default(),
            FlopMode::Sparse,
        );
        let (mut losses, mut budgets) = (Vec::new(), Vec::new());
        for n in sizes.iter().filter_map(|n| NonzeroParams::new(*n).ok()) {
            for d in amounts.iter().filter_map(|d| Data::new(*d).ok()) {
                let compute = cost.compute(Density::DENSE, n, d);
                budgets.extend(crate::law::Compute::new(compute).ok().map(|c| (n, c)));
                let densities = densities.iter().map(|x| Density::clamped(*x));
                losses.extend(densities.map(|x| (n, x, d)));
            }
        }
        Self { losses, budgets, cost }
    }

    /// The answers of a law.
    pub fn answers(&self, law: &Coefficients) -> Answers {
        let loss = |(n, x, d): &(NonzeroParams, Density, Data)| law.loss(*x, *n, *d);
        let best = |(n, c): &(NonzeroParams, crate::law::Compute)| {
            optimal_density(law, &self.cost, *n, *c).sparsity().get()
        };
        Answers {
            losses: self.losses.iter().map(loss).collect(),
            sparsities: if law.determines().all() {
                self.budgets.iter().map(best).collect()
            } else {
                Vec::new()
            },
        }
    }
}

impl Answers {
    /// Whether two laws give the same answers.
    pub fn agree_with(&self, other: &Self) -> bool {
        let losses = self.losses.iter().zip(&other.losses);
        let sparsities = self.sparsities.iter().zip(&other.sparsities);
        losses.into_iter().all(|(a, b)| (a / b - 1.0).abs() < SAME_LOSS)
            && sparsities.into_iter().all(|(a, b)| (a - b).abs() < SAME_SPARSITY)
    }
}

/// How many of the starts that reached the best objective give the same answers as the best one.
pub(super) fn agreeing<'a>(
    reached: impl Iterator<Item = &'a Descent>,
    best: &Coefficients,
    units: &Normalised,
    runs: &Observations,
) -> usize {
    let probes = Probes::over(runs);
    let expected = probes.answers(best);
    // Cached, because most starts end at the same point to the bit.
    let mut seen: Vec<(Point, bool)> = Vec::new();
    let agrees = |descent: &&Descent| {
        if let Some((_, agrees)) = seen.iter().find(|(point, _)| *point == descent.point) {
            return *agrees;
        }
        let law = units.coefficients(&descent.point);
        let agrees = law.is_ok_and(|law| probes.answers(&law).agree_with(&expected));
        seen.push((descent.point, agrees));
        agrees
    };
    reached.filter(agrees).count()
}
