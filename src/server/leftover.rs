//! Handles the part of a body that a handler leaves unread. A small rest is read to its end, so that the connection can
//! be reused; otherwise the answer announces that the connection will close.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use parking_lot::Mutex;

use crate::server::stream::Unread;

/// Most bytes of an unwanted body that are read.
const LITTLE: u64 = 64 * 1024;
/// How long reading them may take.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where the rest of a body is put.
#[derive(Debug, Clone, Default)]
struct Slot(Arc<Mutex<Option<Incoming>>>);

/// A body that puts its rest into a slot if it is dropped before its end.
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
            // A chunked body does not know in advance that it has ended.
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

/// Answers a request, and deals with the unread part of its body.
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
        // In HTTP/2 the rest of a body ends with its stream, and the connection can be reused.
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

/// Reads a body to its end, if little is left of it; returns whether the end was reached.
async fn is_little(mut body: Incoming) -> bool {
    // A body that does not announce its length may have any amount left.
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
