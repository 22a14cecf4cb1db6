//! How long a connection may wait for what its client sends: for the headers of a request, and between two requests.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, Sleep};

/// What a connection waits for.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    /// The first byte of another request, since then.
    Idle(Instant),
    /// The rest of a request's headers, since then.
    Headers(Instant),
    /// Nothing of its client: so many requests are being answered.
    Answers(usize),
}

/// Why a connection has waited long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// It was idle.
    Idle,
    /// The headers of a request do not end.
    Headers,
}

#[derive(Debug)]
struct State {
    waiting: Waiting,
    idle: Duration,
    headers: Duration,
    /// Whether what arrives between two requests is the beginning of another, and what is taken the end of an answer. In
    /// HTTP/2 both may be about the connection, such as a ping.
    bytes_count: bool,
}

/// What one connection waits for, known to all that have to do with it.
#[derive(Debug, Clone)]
pub(super) struct Pace(Arc<Mutex<State>>);

impl Pace {
    /// That of a connection that was accepted now: the time of its first request begins.
    pub(super) fn new(headers: Duration, idle: Duration) -> Self {
        let waiting = Waiting::Headers(Instant::now());
        Self(Arc::new(Mutex::new(State { waiting, idle, headers, bytes_count: true })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Something has arrived.
    pub(super) fn heard(&self) {
        let mut state = self.state();
        if let Waiting::Idle(_) = state.waiting
            && state.bytes_count
        {
            state.waiting = Waiting::Headers(Instant::now());
        }
    }

    /// Some of an answer was taken, maybe of one that is all written as far as it is known here.
    pub(super) fn taken(&self) {
        let mut state = self.state();
        if state.bytes_count
            && let Waiting::Idle(since) = &mut state.waiting
        {
            *since = Instant::now();
        }
    }

    /// The connection speaks HTTP/2, in which headers are not told from other frames: from now on it waits for requests.
    pub(super) fn frames(&self) {
        let mut state = self.state();
        state.bytes_count = false;
        state.waiting = Waiting::Idle(Instant::now());
    }

    /// The connection is to end, as soon as nothing is under way on it within so much time.
    pub(super) fn end_soon(&self, within: Duration) {
        let mut state = self.state();
        state.idle = state.idle.min(within);
        if let Waiting::Idle(since) = &mut state.waiting {
            *since = Instant::now();
        }
    }

    /// A request is there, until what is returned is dropped.
    pub(super) fn enter(&self) -> UnderWay {
        let mut state = self.state();
        state.waiting = match state.waiting {
            Waiting::Answers(count) => Waiting::Answers(count + 1),
            _ => Waiting::Answers(1),
        };
        UnderWay(self.clone())
    }

    /// Until when it may wait, and why no longer; `None` where it does not wait for its client.
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

/// Ready when a connection has waited long enough.
///
/// A sleep of tokio's enters the timers that all connections share and leaves them again, and one for each request would take
/// part in every request though it hardly ever ends. There is one here, which is moved only to an earlier time: when it ends
/// it is looked at what holds then.
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

    /// Ready when it is over. To be polled after the connection was.
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
                // Whoever ends the last of the answers wakes nobody, so it is looked at again.
                None => self.sleep.as_mut().reset(Instant::now() + idle),
            }
        }
    }

    /// The same to be awaited.
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

    /// Waits, and says why it is over after no less than the short time, and long before the long one.
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
        // Frames of HTTP/2 may be about the connection.
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
        // Of what was written before, the client has taken something only now.
        pace.taken();
        assert_eq!(over(&mut patience).await, Over::Idle);
    }
}
