//! Bodies that are held whole until they are read: how large each may be, and all of them together, and how fast large ones
//! are read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// Bytes of an owner's large bodies that are read in a second; 0 where they are read as fast as they come.
    pub per_second: u64,
}

/// The bodies that are held; clones are the same.
#[derive(Debug, Clone)]
pub struct Bodies {
    /// How large they may be.
    pub limits: BodyLimits,
    /// The most bytes that one owner may hold.
    each: u64,
    held: Arc<Mutex<HashMap<Owner, Share>>>,
}

/// What an owner holds.
#[derive(Debug, Clone, Copy)]
struct Share {
    bytes: u64,
    /// When all that was read of large bodies is paid for by time.
    paid: Instant,
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
        self.lock().values().map(|share| share.bytes).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, Share>> {
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
        let all: u64 = held.values().map(|share| share.bytes).sum();
        let own = held.get(&self.owner).map_or(0, |share| share.bytes);
        // A body of the largest size is taken where nothing else is held, however little room is set.
        if all > 0 && all + more > self.bodies.limits.together || own + more > self.bodies.each {
            return Err(Full);
        }
        let first = Share { bytes: 0, paid: Instant::now() };
        held.entry(self.owner).or_insert(first).bytes += more;
        self.bytes = bytes;
        Ok(())
    }

    /// Notes that so many bytes of a large body were read. The owner's next ones may be read at the time that is returned;
    /// `None` where that is now.
    ///
    /// A client near by sends gigabytes a second, and whoever is answered at once with a refusal sends the next body: reading
    /// would take all of a machine.
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
        // Time in which nothing is read is not saved up.
        let later = now + Duration::from_secs(2);
        assert_eq!(one.pace(50, later), after(2.5));
        let bodies = Bodies::new(BodyLimits { per_second: 0, ..limits });
        assert_eq!(bodies.begin(Owner::Unknown).pace(50, now), None);
    }
}
