//! What a handler leaves unread of a body: a little is read to its end, so that the connection serves on; of more the
//! answer says that the connection ends with it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use parking_lot::Mutex;

use crate::server::stream::Unread;

/// What is read of a body that nobody wants.
const LITTLE: u64 = 64 * 1024;
/// How long that may take.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where the rest of a body is left.
#[derive(Debug, Clone, Default)]
struct Slot(Arc<Mutex<Option<Incoming>>>);

/// A body that leaves its rest in a slot when it is dropped before its end.
struct Kept {
    body: Option<Incoming>,
    slot: Slot,
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let kept = self.get_mut();
        let Some(body) = &mut kept.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            // One that comes in chunks does not know its end before.
            kept.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        *self.slot.0.lock() = rest;
    }
}

/// Answers a request, and does what is right with what is left of its body.
pub(super) async fn answered<F, E>(
    request: Request<Incoming>,
    unread: Unread,
    answer: impl FnOnce(Request<Body>) -> F,
) -> Result<Response<Body>, E>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    if request.body().is_end_stream() {
        return answer(request.map(|_| Body::empty())).await;
    }
    if request.version() == Version::HTTP_2 {
        // There the rest of a body ends with its stream, and the connection serves on.
        return answer(request.map(Body::new)).await;
    }
    let slot = Slot::default();
    let kept = |body| Body::new(Kept { body: Some(body), slot: slot.clone() });
    let mut response = answer(request.map(kept)).await?;
    let rest = slot.0.lock().take();
    if let Some(rest) = rest
        && !matches!(tokio::time::timeout(PATIENCE, is_little(rest)).await, Ok(true))
    {
        unread.note();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Reads a body to its end, if it has little left.
async fn is_little(mut body: Incoming) -> bool {
    // Of one that does not say how much is left there may be any amount.
    if body.size_hint().upper().is_none_or(|most| most > LITTLE) {
        return false;
    }
    loop {
        match std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
            None => return true,
        }
    }
}
