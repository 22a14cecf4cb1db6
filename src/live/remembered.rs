//! Cached results of database lookups, valid for as long as the database's announcements are followed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A cache whose entries are valid until the database announces a change. Nothing is cached while announcements are not
/// followed: an entry could go out of date unnoticed.
#[derive(Debug)]
pub struct Remembered<K, V>(Arc<RwLock<Entries<K, V>>>);

#[derive(Debug)]
struct Entries<K, V> {
    followed: bool,
    /// Grows with every invalidation, so that a result looked up before one is not cached after it.
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

    /// Starts or stops caching; clears the cache either way.
    pub fn follow(&self, followed: bool) {
        let mut entries = self.lock_for_writing();
        entries.followed = followed;
        entries.generation += 1;
        entries.entries.clear();
    }

    /// Invalidates the entries whose keys match.
    pub fn forget(&self, which: impl Fn(&K) -> bool) {
        let mut entries = self.lock_for_writing();
        entries.generation += 1;
        entries.entries.retain(|key, _| !which(key));
    }

    /// Changes the cached entries; `change` returns whether it invalidated anything.
    pub fn change(&self, change: impl FnOnce(&mut HashMap<K, V>) -> bool) {
        let mut entries = self.lock_for_writing();
        if entries.followed && change(&mut entries.entries) {
            entries.generation += 1;
        }
    }

    /// Looks something up in the cached entries.
    pub fn find<T>(&self, find: impl FnOnce(&HashMap<K, V>) -> Option<T>) -> Option<T> {
        find(&self.lock().entries)
    }

    /// The current generation, to be read before a lookup whose result is to be cached with [`Self::remember`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Caches a result that was looked up at `generation`, unless something was invalidated since.
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
