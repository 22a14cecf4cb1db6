//! Threads for answers that take long to compute, apart from the threads that serve.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sparsity_law::pace::{Stopped, Watch, watched};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::api::layers::owner::Owner;
use crate::api::layers::places::{Place, Places};
use crate::api::wire::problem::ApiError;
use crate::background::stand_back;
use crate::telemetry::request::carried;

/// How long a computation keeps its thread while others wait for one.
const SLICE: Duration = Duration::from_millis(10);

/// Threads for answers that take from about a millisecond up to seconds.
///
/// Further answers wait, and owners take turns. While others wait, a computation gives up its thread after `SLICE`, and
/// continues when its turn comes again. It ends early when nobody waits for it any more. Both happen at its steps
/// ([`sparsity_law::pace`]).
#[derive(Debug, Clone)]
pub struct AnswerThreads {
    places: Places<Owner>,
}

impl AnswerThreads {
    /// Creates the given number of threads, at least one.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { places: Places::new(threads, usize::MAX) }
    }

    /// Computes an answer on one of the threads. If the caller gives up before its turn, nothing is computed; if it
    /// gives up later, the computation ends at its next step.
    ///
    /// # Errors
    /// Those of `answer`.
    pub async fn run<T: Send + 'static>(
        &self,
        owner: Owner,
        answer: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.run_on(owner, std::future::ready(Ok(())), |()| answer()).await
    }

    /// Like [`Self::run`], for an answer that first loads something that takes memory: it is loaded only once a thread
    /// is free.
    ///
    /// # Errors
    /// Those of `load` and `answer`.
    pub async fn run_on<L: Send + 'static, T: Send + 'static>(
        &self,
        owner: Owner,
        load: impl Future<Output = Result<L, ApiError>>,
        answer: impl FnOnce(L) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = self.places.enter(owner).await;
        let loaded = load.await?;
        let (stop, places, runtime) =
            (CancellationToken::new(), self.places.clone(), Handle::current());
        let turn = Turn { place: Some(place), since: Instant::now() };
        let stopping = stop.clone();
        let computed = tokio::task::spawn_blocking(carried(move || {
            stand_back();
            let turn = Rc::new(RefCell::new(turn));
            let pace = Pace { turn, stop: stopping, places, runtime };
            // The place is held until the work ends, whether or not anybody still waits for it.
            watched(pace.watch(), || answer(loaded))
        }));
        let _stop = stop.drop_guard();
        match computed.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(stopped @ Stopped)) => Err(ApiError::Internal(stopped.into())),
            // A panic of the computation continues on the caller's thread.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(ApiError::Internal(error.into())),
            },
        }
    }

    /// Number of answers waiting for a thread.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.places.waiting()
    }
}

/// The time that a computation has spent on its thread.
struct Turn {
    /// `None` while others have their turn.
    place: Option<Place<Owner>>,
    since: Instant,
}

struct Pace {
    turn: Rc<RefCell<Turn>>,
    stop: CancellationToken,
    places: Places<Owner>,
    runtime: Handle,
}

impl Pace {
    fn watch(self) -> Watch {
        Rc::new(move || self.go_on())
    }

    fn go_on(&self) -> bool {
        if self.stop.is_cancelled() {
            return false;
        }
        let mut turn = self.turn.borrow_mut();
        if turn.since.elapsed() < SLICE {
            return true;
        }
        if turn.place.as_ref().is_some_and(Place::is_wanted)
            && let Some(place) = turn.place.take()
        {
            let (owner, since) = place.holder();
            drop(place);
            let again = async {
                tokio::select! {
                    place = self.places.enter_at(owner, since) => Some(place),
                    () = self.stop.cancelled() => None,
                }
            };
            turn.place = self.runtime.block_on(again);
        }
        turn.since = Instant::now();
        turn.place.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use sparsity_law::pace::step;
    use uuid::Uuid;

    use super::*;

    fn key(number: u128) -> Owner {
        Owner::Key(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn no_more_run_at_once_than_there_are_threads() {
        let threads = AnswerThreads::new(2);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let answers = (0..8).map(|i| {
            let (threads, running, most) = (threads.clone(), running.clone(), most.clone());
            tokio::spawn(async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(10));
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(i)
                };
                threads.run(key(0), work).await.unwrap()
            })
        });
        let answers: Vec<_> = answers.collect();
        let mut sum = 0;
        for answer in answers {
            sum += answer.await.unwrap();
        }
        assert_eq!((sum, most.load(Ordering::SeqCst)), (28, 2));
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_frees_the_thread() {
        let threads = AnswerThreads::new(1);
        let asking = threads.clone();
        let failed = tokio::spawn(async move {
            asking.run(key(0), || -> Result<(), ApiError> { panic!("on purpose") }).await
        });
        assert!(failed.await.unwrap_err().is_panic());
        assert_eq!(threads.run(key(0), || Ok(1)).await.unwrap(), 1);
    }

    /// Computes until it is stopped; the flags tell that it has begun and that it has ended.
    fn endless(
        threads: &AnswerThreads,
        owner: Owner,
    ) -> (tokio::task::JoinHandle<()>, Arc<AtomicBool>, Arc<AtomicBool>) {
        struct Ended(Arc<AtomicBool>);

        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }

        let (begun, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (threads, says, end) = (threads.clone(), begun.clone(), Ended(ended.clone()));
        let asking = tokio::spawn(async move {
            let work = move || -> Result<(), ApiError> {
                let _end = end;
                loop {
                    says.store(true, Ordering::SeqCst);
                    step();
                }
            };
            let _ = threads.run(owner, work).await;
        });
        (asking, begun, ended)
    }

    async fn until(flag: &AtomicBool) {
        while !flag.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_computation_ends_with_its_caller() {
        let threads = AnswerThreads::new(1);
        let (asking, begun, ended) = endless(&threads, key(0));
        until(&begun).await;
        asking.abort();
        until(&ended).await;
        assert_eq!(threads.run(key(0), || Ok(1)).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_computation_without_end_holds_up_nobody_else() {
        let threads = AnswerThreads::new(1);
        let all: Vec<_> = (0..3).map(|_| endless(&threads, key(0))).collect();
        until(&all[0].1).await;
        for answer in 0..5 {
            assert_eq!(threads.run(key(1), move || Ok(answer)).await.unwrap(), answer);
        }
        // Those still waiting for their turn end together with their callers.
        for (asking, ..) in &all {
            asking.abort();
        }
        assert_eq!(threads.run(key(0), || Ok(1)).await.unwrap(), 1);
    }
}
