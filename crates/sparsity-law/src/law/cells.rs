//! What was worked out for cells of questions, kept for the questions that come after.
//!
//! All laws of a process share stores of fixed size, so that memory does not grow with the number of laws. What is
//! in a store changes how long an answer takes and never what it says.

use std::sync::{Arc, Mutex, PoisonError};

/// Whose cell of which questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Whose.
    pub law: u64,
    /// Which of the sizes of cells.
    pub size: u64,
    /// What else the answers depend on, as a number.
    pub kind: u64,
    /// Where, in sides of cells.
    pub at: [i32; 3],
}

/// Values by their keys. Each key has one place, which it shares with others.
#[derive(Debug)]
pub(super) struct Cells<V> {
    places: Box<[Mutex<Option<Kept<V>>>]>,
    /// How often a key is asked for in vain before its value is made.
    patience: u32,
}

/// What a place holds: the key that was asked for last, how often in vain, and its value once it was made.
type Kept<V> = (Key, u32, Option<Arc<V>>);

impl<V> Cells<V> {
    /// A store of so many values, at least one, each of which is made once it was asked for `patience` times in vain, at
    /// least once: most of what is asked once is not asked again.
    pub fn new(count: usize, patience: u32) -> Self {
        Self { places: (0..count.max(1)).map(|_| Mutex::new(None)).collect(), patience }
    }

    /// The value of a key that was asked for often enough before; `None` where it was not, or others have had its place
    /// since.
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
        // Odd multipliers keep neighbours apart, as Fibonacci hashing does.
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
