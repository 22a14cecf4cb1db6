//! Order statistics of many values, found without sorting all of them.

/// Position of a quantile between two order statistics (type 7 of Hyndman and Fan).
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Zero-based rank of the lower order statistic.
    pub below: usize,
    weight: f64,
}

impl Place {
    /// The position of the quantile `share` of `count > 0` values.
    pub fn new(share: f64, count: usize) -> Self {
        let place = share.clamp(0.0, 1.0) * (count - 1) as f64;
        // Between 0 and the last index.
        Self { below: place.floor() as usize, weight: place.fract() }
    }

    /// The quantile, interpolated between the two order statistics.
    pub fn between(self, [low, high]: [f64; 2]) -> f64 {
        let Self { weight, .. } = self;
        if weight == 0.0 || low == high { low } else { low * (1.0 - weight) + high * weight }
    }
}

/// Number of groups whose least and largest values bound the location of a quantile.
const GROUPS: usize = 64;
/// Number of ranks on each side of a quantile that are kept in order.
const WINDOW: usize = 12;

/// The least and the largest value of each of [`GROUPS`] groups of equal size.
///
/// Take any number of groups: at least as many values lie at or below the largest of these groups' least values, which
/// bounds an order statistic. As two of the few values at an end seldom fall into one group, not many more values lie
/// below that bound.
#[derive(Debug)]
pub(super) struct Sample {
    least: [f64; GROUPS],
    largest: [f64; GROUPS],
    count: usize,
}

/// The values on one side of a bound.
struct Beyond {
    /// Each value with its index.
    entries: Vec<(usize, f64)>,
    /// Rank of the first entry among all values, once the entries are sorted.
    first_place: usize,
}

impl Sample {
    /// Collects the least and largest values of the groups.
    pub fn of(values: &[f64]) -> Self {
        let (mut least, mut largest) = ([f64::INFINITY; GROUPS], [f64::NEG_INFINITY; GROUPS]);
        let mut add = |values: &[f64]| {
            for ((value, least), largest) in values.iter().zip(&mut least).zip(&mut largest) {
                *least = if *value < *least { *value } else { *least };
                *largest = if *value > *largest { *value } else { *largest };
            }
        };
        let (rows, rest) = values.as_chunks::<GROUPS>();
        for row in rows {
            add(row);
        }
        add(rest);
        Self { least, largest, count: values.len() }
    }

    /// The values from the nearer end to at least `more` ranks past `below`; `None` where the groups do not bound them,
    /// or they would be a large part of all values.
    fn beyond(&self, values: &[f64], below: usize, more: usize) -> Option<Beyond> {
        let low = below < self.count / 2;
        let wanted = if low { below + more } else { self.count - below + more };
        if wanted > GROUPS * 3 / 4 || self.count < 2 * GROUPS {
            return None;
        }
        let mut ends = if low { self.least } else { self.largest };
        let place = if low { wanted - 1 } else { GROUPS - wanted };
        let (_, &mut bound, _) = ends.select_nth_unstable_by(place, f64::total_cmp);
        let entries = if low {
            indices(values, |value| value <= bound)
        } else {
            indices(values, |value| value >= bound)
        };
        let first_place = if low { 0 } else { self.count - entries.len() };
        (entries.len() >= wanted).then_some(Beyond { entries, first_place })
    }

    /// The order statistics at the ranks `below` and `below + 1`; at the last rank, the last value twice.
    pub fn order_statistics(&self, values: &mut [f64], below: usize) -> [f64; 2] {
        let Some(beyond) = self.beyond(values, below, 2) else { return select(values, below) };
        let mut few: Vec<f64> = beyond.entries.into_iter().map(|(_, value)| value).collect();
        select(&mut few, below - beyond.first_place)
    }

    /// The values at most [`WINDOW`] ranks from `below`; `None` where the groups do not bound them.
    pub fn nearest(&self, values: &[f64], below: usize) -> Option<Near> {
        let Beyond { mut entries, first_place } = self.beyond(values, below, WINDOW)?;
        entries.sort_unstable_by(|(_, a), (_, b)| a.total_cmp(b));
        let start = below.checked_sub(first_place)?.saturating_sub(WINDOW).min(entries.len());
        entries.drain(..start);
        entries.truncate(2 * WINDOW + 2);
        Some(Near { entries, first_place: first_place + start })
    }
}

/// The values that satisfy `wanted`, with their indices.
///
/// Each index is written first and then kept or overwritten, without a branch: the processor would mispredict it at
/// nearly every one of the few wanted values.
fn indices(values: &[f64], wanted: impl Fn(f64) -> bool) -> Vec<(usize, f64)> {
    let mut kept = vec![0_u32; values.len()];
    let mut count = 0;
    for (index, value) in (0..).zip(values) {
        kept[count] = index;
        count += usize::from(wanted(*value));
    }
    kept[..count].iter().map(|&index| (index as usize, values[index as usize])).collect()
}

/// The order statistics at the ranks `below` and `below + 1`; at the last rank, the last value twice.
pub(super) fn select(values: &mut [f64], below: usize) -> [f64; 2] {
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    [low, above.iter().copied().min_by(f64::total_cmp).unwrap_or(low)]
}

/// Sorted values around one rank.
#[derive(Debug)]
pub(super) struct Near {
    /// The values with their indices, in rising order.
    pub entries: Vec<(usize, f64)>,
    /// Rank of the first entry.
    pub first_place: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::quantile;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_statistics_are_those_of_all_values(
            values in prop::collection::vec(prop::sample::select(vec![0.0, 1.0, 2.5, 7.0, -3.0, 9.0]), 1..600),
            spread in 0.0..1.0f64, share in 0.0..1.0f64,
        ) {
            let values: Vec<f64> =
                values.iter().enumerate().map(|(i, v)| v + spread * (i as f64).sin()).collect();
            let place = Place::new(share, values.len());
            let sample = Sample::of(&values);
            let fast = place.between(sample.order_statistics(&mut values.clone(), place.below));
            prop_assert_eq!(fast, quantile(&mut values.clone(), share));
        }
    }
}
