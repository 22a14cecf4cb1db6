//! Bodies that are held whole until they are read: how large each may be, and all of them together.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::api::layers::owner::Owner;

/// What bodies that are held whole may take.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// The largest body of most requests, in bytes.
    pub small: usize,
    /// The largest body of questions about many points, in bytes.
    pub bulk: usize,
    /// All of them together, in bytes.
    pub together: u64,
}

/// The bodies that are held; clones are the same.
#[derive(Debug, Clone)]
pub struct Bodies {
    /// How large they may be.
    pub limits: BodyLimits,
    /// The most bytes that one owner may hold.
    each: u64,
    held: Arc<Mutex<HashMap<Owner, u64>>>,
}

/// Bytes of a body that is held, free again when this is dropped.
#[derive(Debug)]
pub struct Held {
    bodies: Bodies,
    owner: Owner,
    bytes: u64,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Bodies {
    /// None held. One owner may hold half of the room, and a body of the largest size in any case.
    #[must_use]
    pub fn new(limits: BodyLimits) -> Self {
        let largest = limits.small.max(limits.bulk) as u64;
        Self { limits, each: (limits.together / 2).max(largest), held: Arc::default() }
    }

    /// A body of which nothing has arrived.
    #[must_use]
    pub fn begin(&self, owner: Owner) -> Held {
        Held { bodies: self.clone(), owner, bytes: 0 }
    }

    /// Bytes that are held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, u64>> {
        // Nothing that panics is done under it.
        self.held.lock()
    }
}

impl Held {
    /// Makes room for a body of so many bytes.
    ///
    /// # Errors
    /// [`Full`] where others hold too much, or this owner does.
    pub fn cover(&mut self, bytes: u64) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let mut held = self.bodies.lock();
        let all: u64 = held.values().sum();
        let own = held.get(&self.owner).copied().unwrap_or_default();
        // A body of the largest size is taken where nothing else is held, however little room is set.
        if all > 0 && all + more > self.bodies.limits.together || own + more > self.bodies.each {
            return Err(Full);
        }
        held.insert(self.owner, own + more);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.bodies.lock();
        if let Some(own) = held.get_mut(&self.owner) {
            *own -= self.bytes;
            if *own == 0 {
                held.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_owner_holds_half_and_all_no_more_than_there_is() {
        let bodies = Bodies::new(BodyLimits { small: 10, bulk: 100, together: 1000 });
        let begin = |key| bodies.begin(Owner::Key(Uuid::from_u128(key)));
        let (mut one, mut more) = (begin(1), begin(1));
        one.cover(300).unwrap();
        // What is covered already is not counted twice.
        one.cover(200).unwrap();
        more.cover(200).unwrap();
        assert_eq!(more.cover(201), Err(Full));
        let (mut other, mut third) = (begin(2), begin(3));
        other.cover(500).unwrap();
        assert_eq!(third.cover(1), Err(Full));
        drop(one);
        third.cover(300).unwrap();
        assert_eq!(bodies.bytes(), 1000);
        drop((more, other, third));
        assert_eq!(bodies.bytes(), 0);
    }
}
