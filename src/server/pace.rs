//! How long a connection may wait for its client: for the headers of a request, and between two requests.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, Sleep};

/// What a connection waits for.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    /// The first byte of the next request, since this time.
    Idle(Instant),
    /// The rest of a request's headers, since this time.
    Headers(Instant),
    /// Nothing from its client: this many requests are being answered.
    Answers(usize),
}

/// Why a connection has waited for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// It was idle.
    Idle,
    /// The headers of a request did not end.
    Headers,
}

#[derive(Debug)]
struct State {
    waiting: Waiting,
    idle: Duration,
    headers: Duration,
    /// Whether bytes received between requests begin the next one, and bytes sent belong to an answer. In HTTP/2 both
    /// may concern the connection itself, such as a ping.
    bytes_count: bool,
}

/// What a connection waits for, shared by everything that handles the connection.
#[derive(Debug, Clone)]
pub(super) struct Pace(Arc<Mutex<State>>);

impl Pace {
    /// For a connection that was accepted just now: the timeout of its first request begins.
    pub(super) fn new(headers: Duration, idle: Duration) -> Self {
        let waiting = Waiting::Headers(Instant::now());
        Self(Arc::new(Mutex::new(State { waiting, idle, headers, bytes_count: true })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Notes that bytes have arrived.
    pub(super) fn heard(&self) {
        let mut state = self.state();
        if let Waiting::Idle(_) = state.waiting
            && state.bytes_count
        {
            state.waiting = Waiting::Headers(Instant::now());
        }
    }

    /// Notes that the client has read bytes of an answer, possibly one that counts as completely written here.
    pub(super) fn taken(&self) {
        let mut state = self.state();
        if state.bytes_count
            && let Waiting::Idle(since) = &mut state.waiting
        {
            *since = Instant::now();
        }
    }

    /// Notes that the connection speaks HTTP/2, where headers cannot be told from other frames: from now on it only
    /// waits for requests.
    pub(super) fn frames(&self) {
        let mut state = self.state();
        state.bytes_count = false;
        state.waiting = Waiting::Idle(Instant::now());
    }

    /// Lets the connection end as soon as no request is in flight, waiting for another one for at most `within`.
    pub(super) fn end_soon(&self, within: Duration) {
        let mut state = self.state();
        state.idle = state.idle.min(within);
        if let Waiting::Idle(since) = &mut state.waiting {
            *since = Instant::now();
        }
    }

    /// Notes that a request is being answered, until the returned value is dropped.
    pub(super) fn enter(&self) -> UnderWay {
        let mut state = self.state();
        state.waiting = match state.waiting {
            Waiting::Answers(count) => Waiting::Answers(count + 1),
            _ => Waiting::Answers(1),
        };
        UnderWay(self.clone())
    }

    /// Until when the connection may wait, with the reason for its end; `None` while it does not wait for its client.
    /// Also returns the idle timeout.
    fn deadline(&self) -> (Option<(Instant, Over)>, Duration) {
        let state = self.state();
        let deadline = match state.waiting {
            Waiting::Idle(since) => Some((since + state.idle, Over::Idle)),
            Waiting::Headers(since) => Some((since + state.headers, Over::Headers)),
            Waiting::Answers(_) => None,
        };
        (deadline, state.idle)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct UnderWay(Pace);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting = match state.waiting {
            Waiting::Answers(count) if count > 1 => Waiting::Answers(count - 1),
            _ => Waiting::Idle(Instant::now()),
        };
    }
}

/// Completes when a connection has waited for too long.
///
/// Each sleep of tokio's enters and leaves the timers that all connections share. One per request would add this cost
/// to every request, although it hardly ever expires. So there is a single sleep, which is only moved to earlier times;
/// when it expires, the deadline at that time is checked.
#[derive(Debug)]
pub(super) struct Patience {
    pace: Pace,
    sleep: Pin<Box<Sleep>>,
}

impl Patience {
    pub(super) fn new(pace: Pace) -> Self {
        let (deadline, idle) = pace.deadline();
        let until = deadline.map_or_else(|| Instant::now() + idle, |(deadline, _)| deadline);
        Self { pace, sleep: Box::pin(tokio::time::sleep_until(until)) }
    }

    /// Ready when the wait is over. Poll it after the connection.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<Over> {
        loop {
            let (deadline, idle) = self.pace.deadline();
            if let Some((deadline, _)) = deadline
                && deadline < self.sleep.deadline()
            {
                self.sleep.as_mut().reset(deadline);
            }
            ready!(self.sleep.as_mut().poll(context));
            match deadline {
                Some((deadline, why)) if deadline <= self.sleep.deadline() => {
                    return Poll::Ready(why);
                }
                Some((deadline, _)) => self.sleep.as_mut().reset(deadline),
                // Whoever finishes the last answer does not wake this task, so the deadline is checked again later.
                None => self.sleep.as_mut().reset(Instant::now() + idle),
            }
        }
    }

    /// The same as a future.
    pub(super) async fn over(&mut self) -> Over {
        std::future::poll_fn(|context| self.poll_over(context)).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(1000);

    /// Waits, checks that this took at least the short time and much less than the long one, and returns the reason.
    async fn over(patience: &mut Patience) -> Over {
        let start = Instant::now();
        let why = patience.over().await;
        assert!((SHORT..LONG / 2).contains(&start.elapsed()), "{:?}", start.elapsed());
        why
    }

    #[tokio::test]
    async fn the_headers_of_each_request_have_their_time_whatever_the_idle_time_is() {
        let pace = Pace::new(SHORT, LONG);
        let mut patience = Patience::new(pace.clone());
        assert_eq!(over(&mut patience).await, Over::Headers);
        for _ in 0..3 {
            drop(pace.enter());
            assert!(patience.over().now_or_never().is_none());
            pace.heard();
            assert_eq!(over(&mut patience).await, Over::Headers);
        }
        // In HTTP/2, frames may concern the connection itself.
        pace.frames();
        pace.heard();
        tokio::time::sleep(2 * SHORT).await;
        assert!(patience.over().now_or_never().is_none());
        pace.end_soon(SHORT);
        assert_eq!(over(&mut patience).await, Over::Idle);
    }

    #[tokio::test]
    async fn a_connection_is_idle_from_the_end_of_its_last_answer_on() {
        let pace = Pace::new(LONG, SHORT);
        let mut patience = Patience::new(pace.clone());
        for _ in 0..3 {
            let (one, other) = (pace.enter(), pace.enter());
            drop(one);
            assert!(tokio::time::timeout(3 * SHORT, patience.over()).await.is_err());
            drop(other);
            assert_eq!(over(&mut patience).await, Over::Idle);
        }
        tokio::time::sleep(2 * SHORT).await;
        // The client reads part of an answer only now that was written earlier.
        pace.taken();
        assert_eq!(over(&mut patience).await, Over::Idle);
    }
}
