//! The body of an answer. It tracks whether it is still being sent, and whether its client reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::server::pace::UnderWay;

/// Tracks whether the client reads an answer: the time since which data has been ready without being requested, if any.
#[derive(Debug, Clone, Default)]
struct Taking(Arc<Mutex<Option<Instant>>>);

tokio::task_local! {
    /// The tracker of the answer that this task sends, if it sends only one.
    static TAKING: Taking;
}

impl Taking {
    fn ready_since(&self, since: Option<Instant>) {
        *self.0.lock() = since;
    }

    /// Completes when data has been ready for `patience` without any being requested.
    async fn stalled(self, patience: Duration) {
        loop {
            let since = *self.0.lock();
            let since = match since {
                Some(since) if since.elapsed() >= patience => return,
                Some(since) => since,
                None => Instant::now(),
            };
            tokio::time::sleep_until(since + patience).await;
        }
    }
}

/// Most bytes of an HTTP/2 answer handed over at once: what has been handed over is held by the connection, even if the
/// client does not read it.
const PIECE: usize = 32 * 1024;

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    /// Remainder of a frame that is handed over in pieces.
    rest: Bytes,
    taking: Option<Taking>,
    _under_way: UnderWay,
}

impl Answer {
    /// The body of the answer to a request that counts as in progress until the body is sent.
    pub(super) fn new(body: Body, under_way: UnderWay) -> Self {
        let taking = TAKING.try_with(Clone::clone).ok();
        if let Some(taking) = &taking {
            // The headers are ready.
            taking.ready_since(Some(Instant::now()));
        }
        Self { body, rest: Bytes::new(), taking, _under_way: under_way }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let Some(taking) = &this.taking else {
            return Pin::new(&mut this.body).poll_frame(context);
        };
        if this.rest.is_empty() {
            let mut frame = Pin::new(&mut this.body).poll_frame(context);
            // While the body itself is pending, the client is not what holds it up.
            taking.ready_since(frame.is_ready().then(Instant::now));
            if let Poll::Ready(Some(Ok(frame))) = &mut frame
                && let Some(data) = frame.data_mut()
                && data.len() > PIECE
            {
                this.rest = data.split_off(PIECE);
            }
            return frame;
        }
        taking.ready_since(Some(Instant::now()));
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let (body, mut hint) = (self.body.size_hint(), SizeHint::new());
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// Spawns the streams of HTTP/2 connections as tasks. A task is dropped, together with its stream, when the client does
/// not read the answer. The connection alone does not show this: it may carry the streams of many callers, of which
/// only one has stopped reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams {
    pub(super) patience: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let taking = Taking::default();
        let stalled = taking.clone().stalled(self.patience);
        tokio::spawn(TAKING.scope(taking, async move {
            tokio::select! {
                biased;
                _ = stream => {}
                () = stalled => tracing::debug!("a client takes nothing of an answer"),
            }
        }));
    }
}
