//! What was looked up in the database, remembered for as long as its announcements are followed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Entries that hold until the database announces otherwise. While announcements are not followed
/// nothing is remembered: an entry could be out of date without anybody saying so.
#[derive(Debug)]
pub struct Remembered<K, V>(Arc<RwLock<Entries<K, V>>>);

#[derive(Debug)]
struct Entries<K, V> {
    followed: bool,
    /// Rises with everything that is forgotten, so that what was looked up before is not remembered
    /// after.
    generation: u64,
    entries: HashMap<K, V>,
}

impl<K, V> Clone for Remembered<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        let entries = Entries { followed: false, generation: 0, entries: HashMap::new() };
        Self(Arc::new(RwLock::new(entries)))
    }
}

impl<K, V> Remembered<K, V> {
    /// Whether announcements are followed.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.lock().followed
    }

    /// Begins or stops to remember; what was remembered is forgotten.
    pub fn follow(&self, followed: bool) {
        let mut entries = self.lock_for_writing();
        entries.followed = followed;
        entries.generation += 1;
        entries.entries.clear();
    }

    /// Forgets the entries of these keys.
    pub fn forget(&self, which: impl Fn(&K) -> bool) {
        let mut entries = self.lock_for_writing();
        entries.generation += 1;
        entries.entries.retain(|key, _| !which(key));
    }

    /// Changes what is remembered; `change` says whether anything was forgotten.
    pub fn change(&self, change: impl FnOnce(&mut HashMap<K, V>) -> bool) {
        let mut entries = self.lock_for_writing();
        if entries.followed && change(&mut entries.entries) {
            entries.generation += 1;
        }
    }

    /// What is remembered.
    pub fn find<T>(&self, find: impl FnOnce(&HashMap<K, V>) -> Option<T>) -> Option<T> {
        find(&self.lock().entries)
    }

    /// To be asked for before looking something up that is to be remembered.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Remembers what was looked up at a generation, unless something was forgotten since.
    pub fn remember(&self, generation: u64, change: impl FnOnce(&mut HashMap<K, V>)) {
        let mut entries = self.lock_for_writing();
        if entries.followed && entries.generation == generation {
            change(&mut entries.entries);
        }
    }

    fn lock(&self) -> RwLockReadGuard<'_, Entries<K, V>> {
        self.0.read()
    }

    fn lock_for_writing(&self) -> RwLockWriteGuard<'_, Entries<K, V>> {
        self.0.write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(remembered: &Remembered<u8, u8>) -> Option<u8> {
        remembered.find(|entries| entries.get(&1).copied())
    }

    #[test]
    fn entries_hold_while_followed_and_until_forgotten() {
        let remembered = Remembered::<u8, u8>::default();
        let remember = |generation| {
            remembered.remember(generation, |entries| {
                entries.insert(1, 7);
            });
        };
        remember(remembered.generation());
        assert_eq!(get(&remembered), None);
        remembered.follow(true);
        remember(remembered.generation());
        assert_eq!(get(&remembered), Some(7));
        remembered.forget(|key| *key == 2);
        assert_eq!(get(&remembered), Some(7));
        remembered.forget(|key| *key == 1);
        assert_eq!(get(&remembered), None);
        remember(remembered.generation());
        remembered.follow(false);
        assert_eq!(get(&remembered), None);
    }

    #[test]
    fn what_was_looked_up_before_something_was_forgotten_is_not_remembered() {
        let remembered = Remembered::<u8, u8>::default();
        remembered.follow(true);
        let before = remembered.generation();
        remembered.forget(|_| true);
        remembered.remember(before, |entries| {
            entries.insert(1, 7);
        });
        assert_eq!(get(&remembered), None);
    }
}
