//! Limits request bodies that are held in memory whole: the size of each, the size of all together, and how fast large
//! ones are read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::api::layers::owner::Owner;

/// Limits on bodies that are held in memory whole.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Largest body of most requests, in bytes.
    pub small: usize,
    /// Largest body of questions about many points, in bytes.
    pub bulk: usize,
    /// Most bytes of all bodies together.
    pub together: u64,
    /// Bytes per second that are read of an owner's large bodies; 0 for no limit.
    pub per_second: u64,
}

/// The bodies held at present; clones share their state.
#[derive(Debug, Clone)]
pub struct Bodies {
    /// The limits.
    pub limits: BodyLimits,
    /// Most bytes that one owner may hold.
    each: u64,
    held: Arc<Mutex<HashMap<Owner, Share>>>,
}

/// What an owner holds at present.
#[derive(Debug, Clone, Copy)]
struct Share {
    bytes: u64,
    /// Time from which more of the owner's large bodies may be read, given what was read so far.
    paid: Instant,
}

/// Bytes of a body that are counted as held, until this is dropped.
#[derive(Debug)]
pub struct Held {
    bodies: Bodies,
    owner: Owner,
    bytes: u64,
}

/// There is no memory left for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Bodies {
    /// No bodies are held. One owner may hold half of the total, and a body of the largest size in any case.
    #[must_use]
    pub fn new(limits: BodyLimits) -> Self {
        let largest = limits.small.max(limits.bulk) as u64;
        Self { limits, each: (limits.together / 2).max(largest), held: Arc::default() }
    }

    /// A body of which nothing has arrived yet.
    #[must_use]
    pub fn begin(&self, owner: Owner) -> Held {
        Held { bodies: self.clone(), owner, bytes: 0 }
    }

    /// Number of bytes held at present.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().values().map(|share| share.bytes).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, Share>> {
        // No code that may panic runs under this lock.
        self.held.lock()
    }
}

impl Held {
    /// Extends the reservation to a body of `bytes` bytes.
    ///
    /// # Errors
    /// [`Full`] if all owners together, or this one alone, hold too much.
    pub fn cover(&mut self, bytes: u64) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let mut held = self.bodies.lock();
        let all: u64 = held.values().map(|share| share.bytes).sum();
        let own = held.get(&self.owner).map_or(0, |share| share.bytes);
        // A body of the largest size is accepted while nothing else is held, however small the configured total is.
        if all > 0 && all + more > self.bodies.limits.together || own + more > self.bodies.each {
            return Err(Full);
        }
        let first = Share { bytes: 0, paid: Instant::now() };
        held.entry(self.owner).or_insert(first).bytes += more;
        self.bytes = bytes;
        Ok(())
    }

    /// Records that `bytes` bytes of a large body were read. Returns the time from which the owner's next bytes may be
    /// read; `None` for at once.
    ///
    /// A nearby client can send gigabytes per second, and one that is refused at once sends its next body right away:
    /// reading bodies would take up the whole machine.
    #[must_use]
    pub fn pace(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let rate = self.bodies.limits.per_second;
        if rate == 0 {
            return None;
        }
        let mut held = self.bodies.lock();
        let share = held.get_mut(&self.owner)?;
        share.paid = share.paid.max(now) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        Some(share.paid)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.bodies.lock();
        if let Some(own) = held.get_mut(&self.owner) {
            own.bytes -= self.bytes;
            if own.bytes == 0 {
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
        let limits = BodyLimits { small: 10, bulk: 100, together: 1000, per_second: 0 };
        let bodies = Bodies::new(limits);
        let begin = |key| bodies.begin(Owner::Key(Uuid::from_u128(key)));
        let (mut one, mut more) = (begin(1), begin(1));
        one.cover(300).unwrap();
        // Bytes that are reserved already are not counted twice.
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

    #[test]
    fn large_bodies_of_one_owner_are_read_at_one_rate() {
        let limits = BodyLimits { small: 10, bulk: 100, together: 1000, per_second: 100 };
        let bodies = Bodies::new(limits);
        let begin = |key| {
            let mut held = bodies.begin(Owner::Key(Uuid::from_u128(key)));
            held.cover(100).unwrap();
            held
        };
        let (one, more, other) = (begin(1), begin(1), begin(2));
        let now = Instant::now() + Duration::from_secs(1);
        let after = |seconds| Some(now + Duration::from_secs_f64(seconds));
        assert_eq!(one.pace(50, now), after(0.5));
        assert_eq!(more.pace(25, now), after(0.75));
        assert_eq!(other.pace(50, now), after(0.5));
        // Unused time is not saved up.
        let later = now + Duration::from_secs(2);
        assert_eq!(one.pace(50, later), after(2.5));
        let bodies = Bodies::new(BodyLimits { per_second: 0, ..limits });
        assert_eq!(bodies.begin(Owner::Unknown).pace(50, now), None);
    }
}
