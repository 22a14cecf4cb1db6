//! A limited number of places, shared out fairly between owners.
//!
//! A semaphore serves in order of arrival, so one caller with a thousand requests would hold up all others. Here a free
//! place goes to the owner that holds the fewest; among those, to the one that last received a place longest ago; and
//! of that owner's requests, to the one that has waited longest.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The places; clones share them.
#[derive(Debug)]
pub struct Places<K: Eq + Hash + Copy>(Arc<Shared<K>>);

impl<K: Eq + Hash + Copy> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Shared<K: Eq + Hash + Copy> {
    /// Most places that one owner may hold.
    each: usize,
    /// Number of waiting requests, readable without the lock.
    waiting: AtomicUsize,
    queue: Mutex<Queue<K>>,
}

#[derive(Debug)]
struct Queue<K: Eq + Hash + Copy> {
    free: usize,
    held: HashMap<K, usize>,
    /// When each owner last received a place, in numbers of places given.
    served: HashMap<K, u64>,
    places_given: u64,
    /// Waiting requests by turn, the number that each received on arrival.
    waiting: BTreeMap<u64, Waiting<K>>,
    next: u64,
}

#[derive(Debug)]
struct Waiting<K: Eq + Hash + Copy> {
    owner: K,
    place: oneshot::Sender<Place<K>>,
}

/// A place, released when it is dropped.
#[derive(Debug)]
pub struct Place<K: Eq + Hash + Copy> {
    shared: Arc<Shared<K>>,
    owner: K,
    /// The turn of its holder, a number received on arrival.
    turn: u64,
}

/// Number of owners beyond which `served` keeps only those that hold a place.
const MOST_SERVED: usize = 4_096;

/// Removes a waiting request from the queue when it is abandoned.
struct Leaving<'a, K: Eq + Hash + Copy>(&'a Shared<K>, u64);

impl<K: Eq + Hash + Copy> Drop for Leaving<'_, K> {
    fn drop(&mut self) {
        let left = self.0.lock().leave(self.1, &self.0.waiting);
        // Dropped outside the lock: a place that was being sent to this request is passed on to the next.
        drop(left);
    }
}

impl<K: Eq + Hash + Copy> Places<K> {
    /// Creates `places` places, of which one owner may hold at most `each`; both are at least 1.
    #[must_use]
    pub fn new(places: usize, each: usize) -> Self {
        let queue = Queue {
            free: places.max(1),
            held: HashMap::new(),
            served: HashMap::new(),
            places_given: 0,
            waiting: BTreeMap::new(),
            next: 0,
        };
        Self(Arc::new(Shared {
            each: each.max(1),
            waiting: AtomicUsize::new(0),
            queue: Mutex::new(queue),
        }))
    }

    /// Takes a place if this owner can have one now.
    #[must_use]
    pub fn try_enter(&self, owner: K) -> Option<Place<K>> {
        let mut queue = self.0.lock();
        let turn = queue.turn();
        queue.take(owner, self.0.each).then(|| self.place(owner, turn))
    }

    /// Waits for a place until it is this owner's turn. Dropping the future leaves the queue.
    pub async fn enter(&self, owner: K) -> Place<K> {
        let turn = self.0.lock().turn();
        self.enter_at(owner, turn).await
    }

    /// Like [`Self::enter`], for a request that arrived earlier, with this turn, and gave its place up for a while.
    pub(crate) async fn enter_at(&self, owner: K, turn: u64) -> Place<K> {
        let (place, given) = oneshot::channel();
        {
            let mut queue = self.0.lock();
            if queue.take(owner, self.0.each) {
                return self.place(owner, turn);
            }
            queue.waiting.insert(turn, Waiting { owner, place });
            self.0.waiting.store(queue.waiting.len(), Ordering::Relaxed);
        }
        let _leaving = Leaving(&*self.0, turn);
        match given.await {
            Ok(place) => place,
            // The queue lives as long as this value, and always sends a place before it drops the sender.
            Err(_) => unreachable!("a waiter is told or leaves"),
        }
    }

    fn place(&self, owner: K, turn: u64) -> Place<K> {
        Place { shared: self.0.clone(), owner, turn }
    }

    /// Number of places that this owner holds.
    #[must_use]
    pub fn held(&self, owner: K) -> usize {
        self.0.lock().held.get(&owner).copied().unwrap_or_default()
    }

    /// Number of waiting requests.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

impl<K: Eq + Hash + Copy> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, Queue<K>> {
        // No code that may panic runs under this lock.
        self.queue.lock()
    }
}

impl<K: Eq + Hash + Copy> Queue<K> {
    fn turn(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes a free place, if this owner may have one.
    fn take(&mut self, owner: K, each: usize) -> bool {
        let held = self.held.get(&owner).copied().unwrap_or_default();
        if self.free == 0 || held >= each {
            return false;
        }
        self.free -= 1;
        self.held.insert(owner, held + 1);
        if self.served.len() >= MOST_SERVED {
            self.served.retain(|owner, _| self.held.contains_key(owner));
        }
        self.places_given += 1;
        self.served.insert(owner, self.places_given);
        true
    }

    fn give_back(&mut self, owner: K) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(&owner) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&owner);
            }
        }
    }

    fn leave(&mut self, turn: u64, waiting: &AtomicUsize) -> Option<Waiting<K>> {
        let left = self.waiting.remove(&turn);
        waiting.store(self.waiting.len(), Ordering::Relaxed);
        left
    }

    /// The turn of the waiting request that is next.
    fn first(&self, each: usize) -> Option<u64> {
        let before = |(turn, waiting): (&u64, &Waiting<K>)| {
            let held = self.held.get(&waiting.owner).copied().unwrap_or_default();
            let served = self.served.get(&waiting.owner).copied().unwrap_or_default();
            (held, served, *turn)
        };
        let may = self.waiting.iter().map(before).filter(|(held, ..)| *held < each);
        may.min().map(|(.., turn)| turn)
    }
}

impl<K: Eq + Hash + Copy> Place<K> {
    /// Whether another owner is waiting for a place.
    #[must_use]
    pub(crate) fn is_wanted(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > 0
            && self.shared.lock().waiting.values().any(|waiting| waiting.owner != self.owner)
    }

    /// The owner of the place, and the turn of its holder.
    #[must_use]
    pub(crate) const fn holder(&self) -> (K, u64) {
        (self.owner, self.turn)
    }
}

impl<K: Eq + Hash + Copy> Drop for Place<K> {
    fn drop(&mut self) {
        let told = {
            let mut queue = self.shared.lock();
            queue.give_back(self.owner);
            let next = queue.first(self.shared.each);
            let waiting = next.and_then(|turn| {
                let waiting = queue.leave(turn, &self.shared.waiting)?;
                queue.take(waiting.owner, self.shared.each).then_some((turn, waiting))
            });
            waiting.map(|(turn, Waiting { owner, place })| {
                (place, Place { shared: self.shared.clone(), owner, turn })
            })
        };
        // Sent outside the lock: if the receiver is gone, the place comes back, is dropped, and goes to the next.
        if let Some((told, place)) = told {
            let _ = told.send(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// A waiting request; its future was polled once, so that it is in the queue.
    async fn queued<'a>(
        places: &'a Places<u8>,
        owner: u8,
    ) -> std::pin::Pin<Box<dyn Future<Output = Place<u8>> + 'a>> {
        let mut entering = Box::pin(places.enter(owner));
        assert!((&mut entering).now_or_never().is_none());
        entering
    }

    #[tokio::test]
    async fn a_free_place_goes_to_who_holds_the_fewest() {
        let places = Places::new(2, 2);
        let (first, second) = (places.enter(1).await, places.enter(1).await);
        let more = queued(&places, 1).await;
        let mut other = queued(&places, 2).await;
        assert!(first.is_wanted() && places.try_enter(3).is_none());
        drop(first);
        let mine = (&mut other).now_or_never().expect("it is the other's turn");
        assert_eq!((mine.holder().0, places.held(1), places.held(2)), (2, 1, 1));
        assert!(!second.is_wanted(), "only its owner waits");
        drop(second);
        drop(more.await);
        drop(mine);
        assert_eq!((places.held(1), places.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn who_gives_a_place_up_and_comes_back_is_behind_those_who_had_none() {
        let places = Places::new(1, 1);
        let mut place = places.enter(1).await;
        let _more = (queued(&places, 1).await, queued(&places, 1).await);
        let mut others = [queued(&places, 2).await, queued(&places, 3).await];
        for (round, other) in (0..).zip(&mut others) {
            let (owner, turn) = place.holder();
            drop(place);
            // It arrived first, and others of its owner wait too.
            let mut again = Box::pin(places.enter_at(owner, turn));
            assert!((&mut again).now_or_never().is_none(), "{round}");
            place = other.now_or_never().expect("it is the other's turn");
            drop(again);
        }
    }

    #[tokio::test]
    async fn nobody_holds_more_than_allowed_and_who_leaves_keeps_nothing() {
        let places = Places::new(3, 2);
        let held = (places.enter(1).await, places.enter(1).await);
        let waiting = queued(&places, 1).await;
        let other = places.try_enter(2).expect("a place is left for others");
        // A place is sent to the request at the moment at which it stops waiting.
        drop(held.0);
        drop(waiting);
        let again = places.try_enter(1).expect("its place came back");
        drop((held.1, other, again));
        assert!((0..3_u8).map(|owner| places.try_enter(owner)).all(|place| place.is_some()));
    }
}
