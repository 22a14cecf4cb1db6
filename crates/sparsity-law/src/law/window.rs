//! The ends of intervals over a thousand laws, of which a few dozen are asked.
//!
//! Over a small region of questions hardly any law passes another, and an end of an interval lies between the
//! same few all over it. Which these can be is worked out once, from the value of each law in the middle of the region
//! and how it changes from there; a question then asks these alone. What comes out is the order statistic of all
//! laws, not an approximation: where the few could be others the answer is none, and all are asked.

use super::order::{Place, select};

/// Below so many laws asking all of them costs no more.
const FEWEST: usize = 200;
/// Places from an order statistic that are looked at however little changes.
const NEIGHBOURS: usize = 4;
/// The largest share of the laws that is worth looking at apart from the others, for each end.
const LARGEST_SHARE: usize = 3;
/// The most laws that are kept for each end: what a window takes does not grow with the number of laws.
const MOST: usize = 256;

/// A box of questions, each by `AXES` logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Region<const AXES: usize> {
    /// Its middle.
    pub centre: [f64; AXES],
    /// Half of each side.
    pub half: [f64; AXES],
}

impl<const AXES: usize> Region<AXES> {
    /// The smallest box about these questions.
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

    /// The same with each side longer by this share, and by a little that is more than rounding.
    pub fn grown(self, share: f64) -> Self {
        Self { half: self.half.map(|half| half * (1.0 + share) + ROUNDING), ..self }
    }

    fn contains(&self, question: [f64; AXES]) -> bool {
        (0..AXES).all(|axis| (question[axis] - self.centre[axis]).abs() <= self.half[axis])
    }
}

/// Logarithms of questions are exact to about this.
const ROUNDING: f64 = 1e-12;

/// What each law says in the middle of a region, and how that changes over it.
#[derive(Debug)]
pub(super) struct Jets {
    /// In the middle.
    pub values: Vec<f64>,
    /// Terms of the Taylor series of second order: each with the most by which a unit of it can change the value
    /// within the region.
    pub terms: Vec<(f64, Vec<f64>)>,
    /// What the terms of higher order can come to, at most.
    pub rest: Vec<f64>,
}

/// A number that each law gives for a question.
pub(super) trait Answer<const AXES: usize> {
    /// Values below it are given as it.
    const FLOOR: f64 = f64::NEG_INFINITY;

    /// By each law, over a region.
    fn jets(&self, region: &Region<AXES>) -> Jets;

    /// By these laws, exactly, in their order.
    fn values(&self, question: [f64; AXES], laws: &[u16]) -> Vec<f64>;
}

/// The laws among which both ends of an interval lie, over a region.
#[derive(Debug)]
pub(super) struct Window<const AXES: usize> {
    region: Region<AXES>,
    ends: [End; 2],
    /// Those of the low end, then those of the high end.
    laws: Box<[u16]>,
}

/// The laws of one end.
#[derive(Debug)]
struct End {
    place: Place,
    /// How many laws are lower all over the region.
    lower: usize,
    /// How many laws are looked at.
    count: usize,
    /// Which of them the order statistic is in the middle of the region.
    middle: usize,
    /// How far from that law's value the order statistic may lie while all the laws that are not looked at are on
    /// their sides.
    slack: f64,
}

impl<const AXES: usize> Window<AXES> {
    /// The laws of both ends of intervals that leave out the share `tail` at each; `None` where they are too many to
    /// be worth it.
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

    /// How many laws are looked at for both ends.
    #[cfg(test)]
    pub fn laws(&self) -> usize {
        self.laws.len()
    }

    /// Both ends at a question, of what the rising function `map` makes of the values; `None` where the question lies
    /// outside the region, or the laws that are looked at may be the wrong ones.
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
        // Also false where a value is none. From a law below the floor nothing tells how far away the others are.
        let is_known = found.iter().all(|value| {
            (value - middle).abs() <= self.slack && (middle > floor || *value <= floor)
        });
        is_known.then(|| self.place.between(found.map(map)))
    }
}

/// How far the values are from the order statistic at a place that lie [`NEIGHBOURS`] places from it.
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
    /// The laws that may be the order statistic at a place anywhere in the region; adds them to `laws`.
    fn end(&self, place: Place, laws: &mut Vec<u16>) -> Option<End> {
        let count = self.values.len();
        let [value, _] = select(&mut self.values.clone(), place.below);
        let middle = self.values.iter().position(|each| *each == value)?;
        // How far each law may move against the one in the middle.
        let mut moves: Vec<f64> = self.rest.iter().map(|rest| rest + self.rest[middle]).collect();
        for (most, term) in &self.terms {
            let own = term[middle];
            for (moves, each) in moves.iter_mut().zip(term) {
                *moves += most * (each - own).abs();
            }
        }
        let ahead = || self.values.iter().map(|each| each - value).zip(&moves);
        // The order statistic moves to laws that may pass, and most of them less than the farthest; it is one of a pair, and
        // where they stand apart a few more are needed on each side.
        let (passing, way) = ahead()
            .filter(|(ahead, moves)| ahead.abs() <= **moves)
            .fold((0.0, 0.0), |(count, way), (_, moves)| (count + 1.0, way + moves));
        let slack = f64::max(0.5 * way / passing, farthest(&self.values, place.below));
        let first = laws.len();
        let (mut lower, mut at) = (0, None);
        for (index, (ahead, moves)) in (0_u16..).zip(ahead()) {
            let reach = moves + slack;
            // All that is no number is looked at.
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
