//! The search for a minimum: the best of many descents, each of which keeps the constraint.

use rand_chacha::ChaCha8Rng;

use super::config::Constraint;
use super::descent::{Descent, Precision, Termination, descend, polish};
use super::normalised::Point;
use super::objective::Objective;
use super::parameters::{Parameters, ln_gain_slope};
use super::starts::start_point;

/// What all descents of a fit have in common.
pub(super) struct Search<'a> {
    pub parameters: Parameters,
    pub constraint: Option<Constraint>,
    pub precision: Precision,
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
}

/// Values of a sketch that differ by less than this share belong to the same minimum.
const SAME_VALUE: f64 = 1e-6;

/// [`descend`] or [`polish`].
type Method =
    fn(&Objective<'_>, &Parameters, &Point, Precision, &(dyn Fn() -> bool + Sync)) -> Descent;

/// Logarithm of the slope of the gain up to which it counts as 1, the boundary of the constraint.
const ON_BOUNDARY: f64 = 1e-9;

impl Search<'_> {
    /// The same search with one coordinate held.
    pub fn holding(&self, place: usize, value: f64) -> Self {
        Self { parameters: self.parameters.holding(place, value), ..*self }
    }

    /// The same search with another precision.
    pub fn with(&self, precision: Precision) -> Self {
        Self { parameters: self.parameters.clone(), precision, ..*self }
    }

    /// Descends from a start that may be far from any minimum.
    pub fn descend(&self, objective: &Objective<'_>, start: &Point) -> Descent {
        self.constrained(objective, start, descend)
    }

    /// Descends from a start that is near a minimum.
    pub fn polish(&self, objective: &Objective<'_>, start: &Point) -> Descent {
        self.constrained(objective, start, polish)
    }

    /// Descends under the constraint. A constrained minimum lies either inside, where the constraint has no
    /// effect, or on the boundary: a descent that ends outside is continued along the boundary from there.
    fn constrained(&self, objective: &Objective<'_>, start: &Point, method: Method) -> Descent {
        let free = method(objective, &self.parameters, start, self.precision, self.should_stop);
        let keeps = match self.constraint {
            None => true,
            Some(Constraint::Physical) => ln_gain_slope(&free.point) <= ON_BOUNDARY,
        };
        if keeps || free.termination == Termination::Stopped {
            return free;
        }
        let bound = self.parameters.on_boundary();
        let mut descent = method(objective, &bound, &free.point, self.precision, self.should_stop);
        descent.evaluations += free.evaluations;
        descent
    }

    /// The best of descents from points near a minimum and from `fresh` random starts; `None` where there are none.
    ///
    /// Random starts descend on `sketch`, which is the same objective over fewer runs where there are very many.
    /// They continue over all runs only where they reached a lower value there than the points near a minimum.
    pub fn best_of(
        &self,
        objective: &Objective<'_>,
        sketch: &Objective<'_>,
        near: &[Point],
        fresh: usize,
        rng: &mut ChaCha8Rng,
    ) -> Option<Descent> {
        let mut best: Option<Descent> = None;
        let mut consider = |descent: Descent| {
            if best.is_none_or(|best| descent.value < best.value) {
                best = Some(descent);
            }
        };
        for point in near {
            consider(self.polish(objective, point));
        }
        if fresh == 0 {
            return best;
        }
        let whole = std::ptr::eq(objective, sketch);
        // The lowest value on the sketch that the points near a minimum lead to.
        let known = if whole {
            f64::INFINITY
        } else {
            let ends = near.iter().map(|point| self.polish(sketch, point).value);
            ends.fold(f64::INFINITY, f64::min) * (1.0 - SAME_VALUE)
        };
        for _ in 0..fresh {
            let found = self.descend(sketch, &start_point(sketch, rng));
            if whole {
                consider(found);
            } else if found.value < known {
                consider(self.polish(objective, &found.point));
            }
        }
        best
    }
}
