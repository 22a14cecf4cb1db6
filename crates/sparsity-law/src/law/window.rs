//! The ends of intervals over a thousand laws, from a few dozen of them.
//!
//! Within a small region of questions, hardly any law passes another, and an end of an interval lies between the same
//! few laws everywhere in it. These candidates are determined once, from the value of each law at the centre of the
//! region and its derivatives there; each question then evaluates only the candidates. The result is the exact order
//! statistic of all laws, not an approximation: where other laws might hold it, the result is `None`, and all laws have
//! to be evaluated.

use super::order::{Place, select};

/// Number of laws below which evaluating all of them costs no more.
const FEWEST: usize = 200;
/// Number of ranks on each side of an order statistic that are always included, however little the laws change.
const NEIGHBOURS: usize = 4;
/// A window is worthwhile only if it evaluates at most one in this many of the laws, for each end.
const LARGEST_SHARE: usize = 3;
/// Largest number of laws that are stored for each end, so that the memory of a window does not grow with the number of
/// laws.
const MOST: usize = 256;

/// A box of questions in a space of `AXES` logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Region<const AXES: usize> {
    /// Centre of the box.
    pub centre: [f64; AXES],
    /// Half of the length of each side.
    pub half: [f64; AXES],
}

impl<const AXES: usize> Region<AXES> {
    /// The smallest box around the given questions.
    pub fn about(questions: impl IntoIterator<Item = [f64; AXES]>) -> Self {
        let (mut low, mut high) = ([f64::INFINITY; AXES], [f64::NEG_INFINITY; AXES]);
        for question in questions {
            for axis in 0..AXES {
                low[axis] = low[axis].min(question[axis]);
                high[axis] = high[axis].max(question[axis]);
            }
        }
        Self {
            centre: std::array::from_fn(|axis| 0.5 * (low[axis] + high[axis])),
            half: std::array::from_fn(|axis| 0.5 * (high[axis] - low[axis])),
        }
    }

    /// Returns the box with each side lengthened by this share, and by slightly more than rounding.
    pub fn grown(self, share: f64) -> Self {
        Self { half: self.half.map(|half| half * (1.0 + share) + ROUNDING), ..self }
    }

    fn contains(&self, question: [f64; AXES]) -> bool {
        (0..AXES).all(|axis| (question[axis] - self.centre[axis]).abs() <= self.half[axis])
    }
}

/// Precision of the logarithms of a question.
const ROUNDING: f64 = 1e-12;

/// The Taylor series of the answer of each law around the centre of a region.
#[derive(Debug)]
pub(super) struct Jets {
    /// Value of each law at the centre.
    pub values: Vec<f64>,
    /// Terms of first and second order. Each holds the largest size of its monomial within the region, and the
    /// coefficient of each law.
    pub terms: Vec<(f64, Vec<f64>)>,
    /// Bound on the terms of higher order, for each law.
    pub rest: Vec<f64>,
}

/// A number that each law gives in answer to a question.
pub(super) trait Answer<const AXES: usize> {
    /// Least value that [`Self::values`] returns; anything lower is replaced by it.
    const FLOOR: f64 = f64::NEG_INFINITY;

    /// The Taylor series of all laws over a region.
    fn jets(&self, region: &Region<AXES>) -> Jets;

    /// The exact answers of the given laws, in their order.
    fn values(&self, question: [f64; AXES], laws: &[u16]) -> Vec<f64>;
}

/// The laws that can hold the ends of an interval anywhere in a region.
#[derive(Debug)]
pub(super) struct Window<const AXES: usize> {
    region: Region<AXES>,
    ends: [End; 2],
    /// Indices of the laws for the low end, followed by those for the high end.
    laws: Box<[u16]>,
}

/// The laws that can hold one end of an interval.
#[derive(Debug)]
struct End {
    place: Place,
    /// Number of laws that are below the order statistic throughout the region, and are not evaluated.
    lower: usize,
    /// Number of laws that are evaluated for this end.
    count: usize,
    /// Index, among these laws, of the one that is the order statistic at the centre of the region.
    middle: usize,
    /// Largest distance of the order statistic from the value of that law for which the laws that are not evaluated
    /// certainly stay below or above it.
    slack: f64,
}

impl<const AXES: usize> Window<AXES> {
    /// The laws for both ends of intervals that leave out the share `tail` at each end; `None` where they are too many
    /// to be worthwhile, or the number of all laws is unsuitable.
    pub fn new(answer: &impl Answer<AXES>, region: Region<AXES>, tail: f64) -> Option<Self> {
        let jets = answer.jets(&region);
        let count = jets.values.len();
        if count < FEWEST || count > usize::from(u16::MAX) {
            return None;
        }
        let mut laws = Vec::new();
        let [low, high] = [tail, 1.0 - tail].map(|share| {
            let place = Place::new(share, count);
            jets.end(place, &mut laws)
        });
        Some(Self { region, ends: [low?, high?], laws: laws.into() })
    }

    /// Number of laws that are evaluated for both ends together.
    #[cfg(test)]
    pub fn laws(&self) -> usize {
        self.laws.len()
    }

    /// Both ends of the interval at a question, of the values mapped by the rising function `map`; `None` where the
    /// question is outside the region, or other laws may hold the ends.
    pub fn ends<A: Answer<AXES>>(
        &self,
        answer: &A,
        question: [f64; AXES],
        map: impl Fn(f64) -> f64,
    ) -> Option<[f64; 2]> {
        if !self.region.contains(question) {
            return None;
        }
        let mut values = answer.values(question, &self.laws);
        let [low, high] = &self.ends;
        let (of_low, of_high) = values.split_at_mut(low.count);
        Some([low.at(of_low, A::FLOOR, &map)?, high.at(of_high, A::FLOOR, &map)?])
    }
}

impl End {
    fn at(&self, values: &mut [f64], floor: f64, map: impl Fn(f64) -> f64) -> Option<f64> {
        let middle = values[self.middle];
        let first = self.place.below.checked_sub(self.lower).filter(|at| *at < values.len())?;
        let found = select(values, first);
        // False for NaN as well. If the middle law is at the floor, its distance from the others is unknown, and only a
        // result at the floor is certain.
        let is_known = found.iter().all(|value| {
            (value - middle).abs() <= self.slack && (middle > floor || *value <= floor)
        });
        is_known.then(|| self.place.between(found.map(map)))
    }
}

/// Largest distance from the order statistic with the rank `place` to the values [`NEIGHBOURS`] ranks away from it.
fn farthest(values: &[f64], place: usize) -> f64 {
    let mut values = values.to_vec();
    let (below, middle, above) = values.select_nth_unstable_by(place, f64::total_cmp);
    let lower = below.len().checked_sub(NEIGHBOURS).map(|at| {
        let (_, lower, _) = below.select_nth_unstable_by(at, f64::total_cmp);
        *middle - *lower
    });
    let higher = (above.len() > NEIGHBOURS).then(|| {
        let (_, higher, _) = above.select_nth_unstable_by(NEIGHBOURS, f64::total_cmp);
        *higher - *middle
    });
    lower.into_iter().chain(higher).fold(0.0, f64::max)
}

impl Jets {
    /// Finds the laws that can be the order statistic at a place anywhere in the region, and appends them to `laws`.
    /// `None` where they are too many.
    fn end(&self, place: Place, laws: &mut Vec<u16>) -> Option<End> {
        let count = self.values.len();
        let [value, _] = select(&mut self.values.clone(), place.below);
        let middle = self.values.iter().position(|each| *each == value)?;
        // Largest change of each law within the region, relative to the law in the middle.
        let mut moves: Vec<f64> = self.rest.iter().map(|rest| rest + self.rest[middle]).collect();
        for (most, term) in &self.terms {
            let own = term[middle];
            for (moves, each) in moves.iter_mut().zip(term) {
                *moves += most * (each - own).abs();
            }
        }
        let ahead = || self.values.iter().map(|each| each - value).zip(&moves);
        // The order statistic moves only to laws that can pass the middle one, and mostly by less than the farthest of
        // them. It is interpolated from two values: where these are far apart, a few more neighbours are needed on each
        // side.
        let (passing, way) = ahead()
            .filter(|(ahead, moves)| ahead.abs() <= **moves)
            .fold((0.0, 0.0), |(count, way), (_, moves)| (count + 1.0, way + moves));
        let slack = f64::max(0.5 * way / passing, farthest(&self.values, place.below));
        let first = laws.len();
        let (mut lower, mut at) = (0, None);
        for (index, (ahead, moves)) in (0_u16..).zip(ahead()) {
            let reach = moves + slack;
            // A law whose value or reach is NaN is always included.
            if ahead < -reach {
                lower += 1;
            } else if ahead <= reach || ahead.is_nan() || reach.is_nan() {
                if usize::from(index) == middle {
                    at = Some(laws.len() - first);
                }
                laws.push(index);
            }
        }
        let looked_at = laws.len() - first;
        (looked_at <= MOST.min(count / LARGEST_SHARE)).then_some(())?;
        Some(End { place, lower, count: looked_at, middle: at?, slack })
    }
}
