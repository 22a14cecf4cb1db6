//! Finds the n:m patterns that hold along an axis: the largest number of non-zeros in any group of m, in one pass.
//!
//! Groups have 2, 4, 8, 16 or 32 elements; only sizes that divide the length of the axis are considered. The count
//! of a group is the sum of the counts of its halves, so all sizes together cost little more than one.

/// Sizes of the groups.
pub const SIZES: [u64; 5] = [2, 4, 8, 16, 32];

/// Largest number of non-zeros in any group, by size; `None` where the size does not divide the length of the axis.
pub type Most = [Option<u8>; SIZES.len()];

/// Number of group sizes that divide the length of an axis.
fn levels(length: u64) -> usize {
    if length == 0 { 0 } else { SIZES.len().min(length.trailing_zeros() as usize) }
}

/// Counts the groups along one axis of a tensor whose flags arrive in order.
#[derive(Debug)]
pub enum Groups {
    /// Along the last axis that is longer than 1: the elements of a group are adjacent.
    Together(Together),
    /// Along another axis: the elements of a group are a row apart.
    Apart(Apart),
}

impl Groups {
    /// Largest number of columns for which an axis other than the last is examined; each column takes up to five
    /// bytes.
    const MOST_COLUMNS: u64 = 1 << 22;

    /// `None` where the length of the axis is odd or zero, or where counting would take too much memory.
    pub fn new(shape: &[u64], axis: usize) -> Option<Self> {
        let length = *shape.get(axis)?;
        let columns: u64 = shape[axis + 1..].iter().product();
        let levels = levels(length);
        if levels == 0 || columns == 0 || columns > Self::MOST_COLUMNS {
            return None;
        }
        Some(if columns == 1 {
            Self::Together(Together { levels, most: [0; 5], group: [0; 32], held: 0 })
        } else {
            let columns = columns as usize;
            let counts = vec![vec![0; columns]; levels];
            Self::Apart(Apart { length, columns, counts, most: [0; 5], row: 0, column: 0 })
        })
    }

    /// Takes the next flags; returns `false` once no pattern can hold any more.
    pub fn push(&mut self, flags: &[u8]) -> bool {
        let (levels, most) = match self {
            Self::Together(groups) => {
                groups.push(flags);
                (groups.levels, &groups.most)
            }
            Self::Apart(groups) => {
                groups.push(flags);
                (groups.counts.len(), &groups.most)
            }
        };
        most.iter().zip(SIZES).take(levels).any(|(most, size)| u64::from(*most) < size)
    }

    /// The largest counts of all groups.
    pub fn finish(mut self) -> Most {
        let (levels, most) = match &mut self {
            Self::Together(groups) => {
                groups.finish();
                (groups.levels, groups.most)
            }
            Self::Apart(groups) => (groups.counts.len(), groups.most),
        };
        std::array::from_fn(|level| (level < levels).then_some(most[level]))
    }
}

/// Counts groups of adjacent elements.
#[derive(Debug)]
pub struct Together {
    levels: usize,
    most: [u8; 5],
    /// The beginning of a group of 32 that is not complete yet.
    group: [u8; 32],
    held: usize,
}

impl Together {
    fn push(&mut self, mut flags: &[u8]) {
        if self.held > 0 {
            let taken = flags.len().min(32 - self.held);
            self.group[self.held..self.held + taken].copy_from_slice(&flags[..taken]);
            self.held += taken;
            flags = &flags[taken..];
            if self.held < 32 {
                return;
            }
            let group = self.group;
            self.look(&[group]);
            self.held = 0;
        }
        let (groups, rest) = flags.as_chunks::<32>();
        self.look(groups);
        self.group[..rest.len()].copy_from_slice(rest);
        self.held = rest.len();
    }

    fn finish(&mut self) {
        // Padding with zeros adds to no group.
        self.group[self.held..].fill(0);
        let group = self.group;
        self.look(&[group]);
        self.held = 0;
    }

    /// Counts in words of eight flags, by adding their bytes to each other.
    fn look(&mut self, groups: &[[u8; 32]]) {
        const PAIRS: u64 = 0x00ff_00ff_00ff_00ff;
        const FOURS: u64 = 0x0000_00ff_0000_00ff;
        let (mut twos, mut fours, mut rest) = (0, [0_u8; 2], [0_u8; 3]);
        for group in groups {
            let mut eights = [0_u8; 4];
            for (eight, bytes) in eights.iter_mut().zip(group.as_chunks::<8>().0) {
                let word = u64::from_le_bytes(*bytes);
                let pair = (word + (word >> 8)) & PAIRS;
                // A pair has a count of 0, 1 or 2, so the bits that were ever set give the largest count.
                twos |= pair;
                let four = (pair + (pair >> 16)) & FOURS;
                let halves = [four as u8, (four >> 32) as u8];
                fours = [fours[0].max(halves[0]), fours[1].max(halves[1])];
                *eight = halves[0] + halves[1];
            }
            let sixteens = [eights[0] + eights[1], eights[2] + eights[3]];
            rest[0] = eights.iter().fold(rest[0], |most, count| most.max(*count));
            rest[1] = rest[1].max(sixteens[0]).max(sixteens[1]);
            rest[2] = rest[2].max(sixteens[0] + sixteens[1]);
        }
        let two = if twos & (PAIRS & 0x0202_0202_0202_0202) != 0 { 2 } else { u8::from(twos != 0) };
        let found = [two, fours[0].max(fours[1]), rest[0], rest[1], rest[2]];
        for (most, found) in self.most.iter_mut().zip(found) {
            *most = (*most).max(found);
        }
    }
}

/// Counts groups whose elements are a row apart.
#[derive(Debug)]
pub struct Apart {
    /// Length of the axis.
    length: u64,
    columns: usize,
    /// For each size and column, the non-zeros of the group that is not complete yet.
    counts: Vec<Vec<u8>>,
    most: [u8; 5],
    row: u64,
    column: usize,
}

impl Apart {
    fn push(&mut self, mut flags: &[u8]) {
        while !flags.is_empty() {
            let taken = flags.len().min(self.columns - self.column);
            let (now, later) = flags.split_at(taken);
            self.part_of_row(now);
            flags = later;
            self.column += taken;
            if self.column == self.columns {
                self.column = 0;
                self.row = (self.row + 1) % self.length;
            }
        }
    }

    fn part_of_row(&mut self, flags: &[u8]) {
        let part = self.column..self.column + flags.len();
        for (count, flag) in self.counts[0][part.clone()].iter_mut().zip(flags) {
            *count += flag;
        }
        // The last row of a group of 2 may also be the last row of a group of 4, and so on.
        let levels = self.counts.len();
        let whole = levels.min((self.row + 1).trailing_zeros() as usize);
        for level in 0..whole {
            let (lower, upper) = self.counts.split_at_mut(level + 1);
            let counts = &mut lower[level][part.clone()];
            let most = counts.iter().fold(0, |most: u8, count| most.max(*count));
            self.most[level] = self.most[level].max(most);
            if let Some(upper) = upper.first_mut() {
                for (sum, count) in upper[part.clone()].iter_mut().zip(&*counts) {
                    *sum += count;
                }
            }
            counts.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(shape: &[u64], axis: usize, flags: &[u8], step: usize) -> Most {
        let mut groups = Groups::new(shape, axis).unwrap();
        for part in flags.chunks(step) {
            groups.push(part);
        }
        groups.finish()
    }

    /// The same counts, found element by element.
    fn counted(shape: &[u64], axis: usize, flags: &[u8]) -> Most {
        let length = shape[axis];
        let inner: u64 = shape[axis + 1..].iter().product();
        let mut most = [None; 5];
        for (most, size) in most.iter_mut().zip(SIZES) {
            if !length.is_multiple_of(size) {
                continue;
            }
            let mut counts = std::collections::HashMap::<(u64, u64, u64), u8>::new();
            for (at, flag) in flags.iter().enumerate() {
                let at = at as u64;
                let (outer, along, column) = (at / inner / length, at / inner % length, at % inner);
                *counts.entry((outer, along / size, column)).or_default() += flag;
            }
            *most = counts.values().copied().max();
        }
        most
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_most_of_every_group_is_found_however_the_flags_come(
            (shape, flags) in proptest::collection::vec(1..=34_u64, 1..4).prop_flat_map(|shape| {
                let elements = shape.iter().product::<u64>() as usize;
                (Just(shape), proptest::collection::vec(prop_oneof![3 => Just(0_u8), 1 => Just(1)], elements))
            }),
            step in 1..200_usize,
        ) {
            for axis in 0..shape.len() {
                match Groups::new(&shape, axis) {
                    Some(_) => prop_assert_eq!(found(&shape, axis, &flags, step), counted(&shape, axis, &flags)),
                    None => prop_assert_eq!(shape[axis] % 2, 1),
                }
            }
        }
    }

    #[test]
    fn a_dense_tensor_is_given_up_at_once() {
        for axis in [0, 1] {
            assert!(!Groups::new(&[64, 64], axis).unwrap().push(&[1; 64 * 32]));
        }
    }

    #[test]
    fn an_odd_axis_has_no_groups() {
        assert!(Groups::new(&[3, 5], 0).is_none() && Groups::new(&[3, 5], 1).is_none());
        assert!(Groups::new(&[0, 4], 1).is_some() && Groups::new(&[4, 0], 0).is_none());
    }
}
