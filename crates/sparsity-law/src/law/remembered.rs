//! Answers that were asked for lately, as they were given: the same question is often asked again, by other replicas of
//! who asks or by who looks once more.
//!
//! All laws of a process share one store of fixed size. What is in it changes how long an answer takes and never
//! what it says: a question is all that its answer depends on, to the bit.

use std::sync::Mutex;

/// Answers by their questions. Each question has one place, which it shares with others.
#[derive(Debug)]
pub(super) struct Remembered<const N: usize, A> {
    places: Box<[Mutex<Option<Kept<N, A>>>]>,
}

/// What a place holds: the question that was asked for last, and its answer.
type Kept<const N: usize, A> = ([u64; N], A);

impl<const N: usize, A: Copy> Remembered<N, A> {
    /// A store of so many answers, at least one.
    pub fn new(count: usize) -> Self {
        Self { places: (0..count.max(1)).map(|_| Mutex::new(None)).collect() }
    }

    /// The answer to a question, computed where it is not the last one that was asked for at its place. Nobody waits for
    /// who is at the same place at this moment: the answer is computed, and not remembered.
    pub fn answer(&self, question: [u64; N], compute: impl FnOnce() -> A) -> A {
        let place = &self.places[hash(&question) % self.places.len()];
        if let Ok(kept) = place.try_lock()
            && let Some((of, answer)) = &*kept
            && *of == question
        {
            return *answer;
        }
        let answer = compute();
        if let Ok(mut kept) = place.try_lock() {
            *kept = Some((question, answer));
        }
        answer
    }
}

fn hash(question: &[u64]) -> usize {
    // Odd multipliers keep neighbours apart, as Fibonacci hashing does.
    let mix =
        |mixed: u64, each: &u64| (mixed ^ each).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    (question.iter().fold(0, mix) >> 16) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_once_until_another_has_its_place() {
        let store = Remembered::new(1);
        assert_eq!(store.answer([1, 2], || 10), 10);
        assert_eq!(store.answer([1, 2], || 11), 10);
        // Every number of a question counts.
        assert_eq!(store.answer([1, 3], || 12), 12);
        assert_eq!(store.answer([0, 3], || 13), 13);
        assert_eq!(store.answer([1, 2], || 14), 14);
        // While an answer is computed its place is free for others.
        assert_eq!(store.answer([5, 5], || store.answer([6, 6], || 15) + 1), 16);
        assert_eq!(store.answer([5, 5], || 17), 16);
    }
}
