//! Limits how many points of bulk questions are computed, or on their way to their callers, at once.
//!
//! The answer to a point takes about 1.5 kB of memory until it is sent, and a grid of 100,000 points is asked for in one
//! line: without a limit, a few callers that ask faster than they read would take gigabytes. A caller that reads slowly
//! keeps its room only while nobody else waits for it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::layers::owner::Owner;
use crate::api::wire::problem::ApiError;

/// Limits of bulk questions.
#[derive(Debug, Clone, Copy)]
pub struct BulkLimits {
    /// Points that are computed or sent at once. One owner may hold half of them.
    pub points: usize,
    /// Points a second that a client must take of an answer while others wait for room; 0 for no such limit.
    pub points_per_second: u32,
    /// Points times resampled laws of a question whose laws are asked all at once: about 50 ns each.
    pub members: u64,
    /// The same in the mode of a hardware profile, where each law is searched on its own: microseconds each.
    pub searched: u64,
}

impl BulkLimits {
    /// The most points of a request.
    pub const MOST_POINTS: usize = 100_000;
}

/// The room for points of bulk questions. Clones share it.
#[derive(Debug, Clone)]
pub struct AnswerPoints {
    /// Points that all owners may hold together.
    most: usize,
    all: Arc<Room>,
    /// Points that one owner may hold.
    each: usize,
    /// How long a request waits for room.
    patience: Duration,
    /// [`BulkLimits::points_per_second`].
    points_per_second: u32,
    /// The rooms of owners that hold points or wait for them.
    owners: Arc<Mutex<HashMap<Owner, Weak<Room>>>>,
}

/// Room for a number of points, given out in the order in which it is asked for.
#[derive(Debug)]
struct Room {
    free: Arc<Semaphore>,
    /// How many requests wait for points of it.
    wanted: AtomicUsize,
}

/// The answer to this many points takes less than a megabyte, and needs no room.
const FEW: usize = 500;

/// The room that the points of one answer take. It is free again when this is dropped.
#[derive(Debug)]
pub struct HeldPoints {
    /// `None` for a few points.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    /// The owner's room, and that of all owners.
    rooms: [Arc<Room>; 2],
    permits: [OwnedSemaphorePermit; 2],
    /// How long sending the answer may take while others wait for room; `None` for any time.
    time: Option<Duration>,
}

impl Room {
    fn new(points: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(points)), wanted: AtomicUsize::new(0) })
    }

    /// Takes points as soon as they are free.
    async fn take(&self, points: u32) -> OwnedSemaphorePermit {
        let _waiting = Waiting::new(&self.wanted);
        let permit = self.free.clone().acquire_many_owned(points).await;
        permit.unwrap_or_else(|_| unreachable!("the semaphore is never closed"))
    }

    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }
}

/// Counts a request that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AnswerPoints {
    /// Room for [`BulkLimits::points`], at least for one request of the largest size; a request waits for `patience`.
    #[must_use]
    pub fn new(limits: BulkLimits, patience: Duration) -> Self {
        let most = limits.points.max(BulkLimits::MOST_POINTS);
        Self {
            most,
            all: Room::new(most),
            each: (most / 2).max(BulkLimits::MOST_POINTS),
            patience,
            points_per_second: limits.points_per_second,
            owners: Arc::default(),
        }
    }

    /// Waits for room for the points of a question; 500 points or fewer need none. Requests of one owner get room in the
    /// order in which they came, and so do those of different owners once their own room suffices.
    ///
    /// # Errors
    /// [`ApiError::PointsBusy`] where there is no room in time.
    pub async fn hold(&self, owner: Owner, points: usize) -> Result<HeldPoints, ApiError> {
        if points <= FEW {
            return Ok(HeldPoints { held: None });
        }
        let held = tokio::time::timeout(self.patience, self.wait(owner, points)).await;
        held.map_err(|_| ApiError::PointsBusy)
    }

    async fn wait(&self, owner: Owner, points: usize) -> HeldPoints {
        let points = u32::try_from(points.min(self.each)).unwrap_or(u32::MAX);
        let own = self.own(owner);
        let permits = [own.take(points).await, self.all.take(points).await];
        let rate = Some(f64::from(self.points_per_second)).filter(|rate| *rate > 0.0);
        let time = rate.map(|rate| Duration::from_secs_f64(f64::from(points) / rate));
        HeldPoints { held: Some(Held { rooms: [own, self.all.clone()], permits, time }) }
    }

    /// How many points are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.most - self.all.free.available_permits()
    }

    fn own(&self, owner: Owner) -> Arc<Room> {
        let mut owners = self.owners.lock();
        if let Some(own) = owners.get(&owner).and_then(Weak::upgrade) {
            return own;
        }
        owners.retain(|_, own| own.strong_count() > 0);
        let own = Room::new(self.each);
        owners.insert(owner, Arc::downgrade(&own));
        own
    }
}

impl HeldPoints {
    /// The answer, which holds the room until it is sent, its client has gone, or it is given up because the client takes
    /// it too slowly while others wait.
    #[must_use]
    pub fn with(self, answer: Response) -> Response {
        let Some(Held { rooms, permits, time }) = self.held else { return answer };
        answer.map(|body| {
            let sending = Arc::new(Mutex::new(Some(Sending { body, _permits: permits })));
            if let Some(time) = time {
                tokio::spawn(give_up_when_slow(Arc::downgrade(&sending), rooms, time));
            }
            Body::new(Holding(sending))
        })
    }
}

/// An answer that is being sent, with its room.
struct Sending {
    body: Body,
    _permits: [OwnedSemaphorePermit; 2],
}

/// How often it is looked whether others wait for the room of an answer whose time is over.
const LOOK: Duration = Duration::from_millis(250);

/// Gives an answer up that is not sent in time, as soon as others wait for its room.
async fn give_up_when_slow(
    sending: Weak<Mutex<Option<Sending>>>,
    rooms: [Arc<Room>; 2],
    time: Duration,
) {
    tokio::time::sleep(time).await;
    while let Some(sending) = sending.upgrade() {
        if rooms.iter().any(|room| room.is_wanted()) {
            drop(sending.lock().take());
            tracing::info!(
                allowed_ms = time.as_millis() as u64,
                "gave up an answer about many points, whose client takes it too slowly while others wait"
            );
            return;
        }
        drop(sending);
        tokio::time::sleep(LOOK).await;
    }
}

/// The body of an answer that holds room; `None` inside once the answer is given up.
struct Holding(Arc<Mutex<Option<Sending>>>);

impl HttpBody for Holding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut *self.0.lock() {
            Some(sending) => Pin::new(&mut sending.body).poll_frame(context),
            None => Poll::Ready(Some(Err(axum::Error::new("taken too slowly while others wait")))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|sending| sending.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().as_ref().map(|sending| sending.body.size_hint()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Waker;

    use axum::response::IntoResponse;
    use uuid::Uuid;

    use super::*;

    /// What a future gives without waiting.
    fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn room(points: usize, points_per_second: u32) -> AnswerPoints {
        let limits = BulkLimits { points, points_per_second, members: 0, searched: 0 };
        AnswerPoints::new(limits, Duration::MAX)
    }

    #[test]
    fn one_owner_has_half_and_an_answer_holds_its_room() {
        let points = room(400_000, 0);
        let hold = |key, count| at_once(points.wait(Owner::Key(Uuid::from_u128(key)), count));
        let first = hold(1, 150_000).unwrap();
        assert!(hold(1, 60_000).is_none());
        let second = hold(1, 50_000).unwrap();
        // Whatever the first owner wants, the other half is for others.
        let (other, more) = (hold(2, 100_000).unwrap(), hold(2, 100_000).unwrap());
        assert!(hold(3, 1).is_none());
        let answer = second.with("text".into_response());
        assert_eq!(answer.body().size_hint().exact(), Some(4));
        assert!(hold(3, 50_000).is_none());
        drop(answer);
        drop(hold(3, 50_000).unwrap());
        drop((first, other, more));
        assert_eq!(points.held(), 0);
        // Owners that hold nothing and wait for nothing are forgotten.
        drop(hold(4, 1));
        assert_eq!(points.owners.lock().len(), 1);
    }

    #[test]
    fn there_is_room_for_the_largest_request() {
        let points = room(10, 0);
        let held = at_once(points.wait(Owner::Unknown, BulkLimits::MOST_POINTS)).unwrap();
        assert!(at_once(points.wait(Owner::Unknown, 1)).is_none());
        drop(held);
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_slowly_makes_room_for_others() {
        // An answer about 100,000 points is to be taken in 10 ms.
        let points = room(100_000, 10_000_000);
        let key = |key| Owner::Key(Uuid::from_u128(key));
        let held = points.wait(key(1), 100_000).await;
        let slow = held.with("text".into_response());
        while points.all.free.available_permits() == 0 {
            let other = points.wait(key(2), 1_000);
            drop(tokio::time::timeout(LOOK, other).await);
        }
        assert_eq!(points.held(), 0);
        let read = axum::body::to_bytes(slow.into_body(), usize::MAX).await.unwrap_err();
        assert!(read.to_string().contains("too slowly"), "{read}");
    }

    #[tokio::test]
    async fn an_answer_may_be_taken_slowly_while_nobody_waits() {
        let points = room(100_000, u32::MAX);
        let slow = points.wait(Owner::Unknown, 100_000).await.with("text".into_response());
        // Well after its time.
        tokio::time::sleep(LOOK).await;
        let text = axum::body::to_bytes(slow.into_body(), usize::MAX).await.unwrap();
        assert_eq!(text, "text");
        assert_eq!(points.held(), 0);
    }
}
