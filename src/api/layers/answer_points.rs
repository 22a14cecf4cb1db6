//! Points of questions about many: how many are computed, or on their way to their callers, at once.
//!
//! The answer to a point takes about 1.5 kB until it is sent. A grid of 100,000 points is asked for in a line, so that
//! without a bound a few callers that ask faster than they read would take gigabytes.

use std::collections::HashMap;
use std::pin::Pin;
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

/// What questions about many points may cost: in points, and each with intervals in points times resampled laws.
#[derive(Debug, Clone, Copy)]
pub struct BulkLimits {
    /// Points that are computed or sent at once, of which one owner may have half.
    pub points: usize,
    /// Where all laws are asked at once: about 50 ns each.
    pub members: u64,
    /// Where each law is searched on its own, in the mode of a hardware profile: microseconds each.
    pub searched: u64,
}

impl BulkLimits {
    /// The most points of a request.
    pub const MOST_POINTS: usize = 100_000;
}

/// The room for points; clones are the same.
#[derive(Debug, Clone)]
pub struct AnswerPoints {
    /// The most points of all owners.
    most: usize,
    all: Arc<Semaphore>,
    /// The most points of one owner.
    each: usize,
    /// How long room is waited for.
    patience: Duration,
    /// The owners that hold or want room.
    owners: Arc<Mutex<HashMap<Owner, Weak<Semaphore>>>>,
}

/// So many points take less than a megabyte, and need no room.
const FEW: usize = 500;

/// Room for the points of an answer, free again when this is dropped.
#[derive(Debug)]
pub struct HeldPoints {
    /// Of the owner's room and of all; none for a few.
    _room: Option<[OwnedSemaphorePermit; 2]>,
}

impl AnswerPoints {
    /// Room for so many points, of which one owner may have half; at least for the largest request.
    #[must_use]
    pub fn new(limits: BulkLimits, patience: Duration) -> Self {
        let most = limits.points.max(BulkLimits::MOST_POINTS);
        let each = (most / 2).max(BulkLimits::MOST_POINTS);
        let all = Arc::new(Semaphore::new(most));
        Self { most, all, each, patience, owners: Arc::default() }
    }

    /// Room for so many points, as soon as there is, and at once for a few: those of one owner in the order in which they came, and so those of all
    /// owners that have room of their own.
    ///
    /// # Errors
    /// [`ApiError::PointsBusy`] where there is none for too long.
    pub async fn hold(&self, owner: Owner, points: usize) -> Result<HeldPoints, ApiError> {
        if points <= FEW {
            return Ok(HeldPoints { _room: None });
        }
        let held = tokio::time::timeout(self.patience, self.wait(owner, points)).await;
        held.map_err(|_| ApiError::PointsBusy)
    }

    async fn wait(&self, owner: Owner, points: usize) -> HeldPoints {
        let points = u32::try_from(points.min(self.each)).unwrap_or(u32::MAX);
        let own = self.own(owner);
        let (Ok(of_owner), Ok(of_all)) = (
            own.acquire_many_owned(points).await,
            self.all.clone().acquire_many_owned(points).await,
        ) else {
            unreachable!("none of them is ever closed")
        };
        HeldPoints { _room: Some([of_owner, of_all]) }
    }

    /// How many points are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.most - self.all.available_permits()
    }

    fn own(&self, owner: Owner) -> Arc<Semaphore> {
        let mut owners = self.owners.lock();
        if let Some(own) = owners.get(&owner).and_then(Weak::upgrade) {
            return own;
        }
        owners.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.each));
        owners.insert(owner, Arc::downgrade(&own));
        own
    }
}

impl HeldPoints {
    /// The answer, with which the room is held until it is sent or nobody waits for it any more.
    #[must_use]
    pub fn with(self, answer: Response) -> Response {
        answer.map(|body| Body::new(Holding { body, _held: self }))
    }
}

/// A body with the room that it takes.
struct Holding {
    body: Body,
    _held: HeldPoints,
}

impl HttpBody for Holding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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

    fn room(points: usize) -> AnswerPoints {
        AnswerPoints::new(BulkLimits { points, members: 0, searched: 0 }, Duration::MAX)
    }

    #[test]
    fn one_owner_has_half_and_an_answer_holds_its_room() {
        let points = room(400_000);
        let hold = |key, count| at_once(points.wait(Owner::Key(Uuid::from_u128(key)), count));
        let first = hold(1, 150_000).unwrap();
        assert!(hold(1, 60_000).is_none());
        let second = hold(1, 50_000).unwrap();
        // Whatever one of them wants, others have the rest.
        let (other, more) = (hold(2, 100_000).unwrap(), hold(2, 100_000).unwrap());
        assert!(hold(3, 1).is_none());
        let answer = second.with("text".into_response());
        assert_eq!(answer.body().size_hint().exact(), Some(4));
        assert!(hold(3, 50_000).is_none());
        drop(answer);
        drop(hold(3, 50_000).unwrap());
        drop((first, other, more));
        assert_eq!(points.held(), 0);
        // Owners that want nothing are forgotten.
        drop(hold(4, 1));
        assert_eq!(points.owners.lock().len(), 1);
    }

    #[test]
    fn there_is_room_for_the_largest_request() {
        let points = room(10);
        let held = at_once(points.wait(Owner::Unknown, BulkLimits::MOST_POINTS)).unwrap();
        assert!(at_once(points.wait(Owner::Unknown, 1)).is_none());
        drop(held);
    }
}
