//! A cache of values computed for whole cells of questions, for the questions that follow in the same cell.
//!
//! All laws of a process share caches of fixed size, so that memory does not grow with the number of laws. The contents
//! of a cache change how long an answer takes and never the answer.

use std::sync::{Arc, Mutex, PoisonError};

/// Identifies a cell: the law, the kind of question, and the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Number of the law.
    pub law: u64,
    /// Index of the size of the cell.
    pub size: u64,
    /// A number for everything else that the answers depend on.
    pub kind: u64,
    /// Position, in side lengths of a cell.
    pub at: [i32; 3],
}

/// A cache of values by key. Each key has one slot, which it shares with other keys.
#[derive(Debug)]
pub(super) struct Cells<V> {
    places: Box<[Mutex<Option<Kept<V>>>]>,
    /// Number of misses of a key before its value is computed.
    patience: u32,
}

/// Contents of a slot: the key requested last, its number of misses, and its value once computed.
type Kept<V> = (Key, u32, Option<Arc<V>>);

impl<V> Cells<V> {
    /// Creates a cache with `count` slots, at least one.
    ///
    /// A value is computed only after its key was requested `patience` times without success, at least once, because
    /// most keys that are requested once are never requested again.
    pub fn new(count: usize, patience: u32) -> Self {
        Self { places: (0..count.max(1)).map(|_| Mutex::new(None)).collect(), patience }
    }

    /// Returns the value of a key, and computes it if necessary. `None` where the key was not requested often enough
    /// before, or another key has taken its slot since.
    pub fn find(&self, key: Key, make: impl FnOnce() -> V) -> Option<Arc<V>> {
        let place = &self.places[key.hash() % self.places.len()];
        let mut kept = place.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *kept {
            Some((of, asked, value)) if *of == key => {
                if *asked < self.patience {
                    *asked += 1;
                    return None;
                }
                Some(value.get_or_insert_with(|| Arc::new(make())).clone())
            }
            kept => {
                *kept = Some((key, 1, None));
                None
            }
        }
    }
}

impl Key {
    fn hash(&self) -> usize {
        // Odd multipliers spread neighbouring cells over different slots, as in Fibonacci hashing.
        let mix = |mixed: u64, each: u64| {
            (mixed ^ each).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        };
        let start = mix(mix(self.law, self.size), self.kind);
        let place = |each: &i32| u64::from(each.cast_unsigned());
        (self.at.iter().map(place).fold(start, mix) >> 16) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_when_it_is_asked_for_again() {
        let cells = Cells::new(64, 1);
        let key = |law| Key { law, size: 0, kind: 0, at: [1, -2, 3] };
        assert_eq!(cells.find(key(1), || 10), None);
        assert_eq!(cells.find(key(2), || 20), None);
        assert_eq!(cells.find(key(1), || 11).as_deref(), Some(&11));
        assert_eq!(cells.find(key(1), || 12).as_deref(), Some(&11));
    }

    #[test]
    fn a_value_waits_until_it_was_asked_for_often_enough() {
        let cells = Cells::new(8, 3);
        let key = Key { law: 1, size: 0, kind: 0, at: [0; 3] };
        let found: Vec<_> =
            (0..5).map(|time| cells.find(key, || time).as_deref().copied()).collect();
        assert_eq!(found, [None, None, None, Some(3), Some(3)]);
    }

    #[test]
    fn the_values_of_one_place_put_each_other_out() {
        let cells = Cells::new(1, 1);
        let key = |law| Key { law, size: 0, kind: 0, at: [0; 3] };
        for law in 0..3 {
            assert_eq!(cells.find(key(law), || law), None);
            assert_eq!(cells.find(key(law), || law).as_deref(), Some(&law));
        }
    }
}
