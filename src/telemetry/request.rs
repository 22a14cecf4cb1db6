//! Which request is being worked on, for the log.

use axum::http::HeaderValue;
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static REQUEST_ID: HeaderValue;
}

/// Work on a request: what is logged meanwhile carries its id.
pub fn within<F: Future>(id: HeaderValue, work: F) -> TaskLocalFuture<HeaderValue, F> {
    REQUEST_ID.scope(id, work)
}

/// Calls with the id of the request that is being worked on, if there is one.
pub fn with_id<E>(call: impl FnOnce(&str) -> Result<(), E>) -> Result<(), E> {
    // Only printable ids are taken.
    REQUEST_ID.try_with(|id| call(id.to_str().unwrap_or_default())).unwrap_or(Ok(()))
}

/// Work for another thread as part of the same request, and of the same span.
pub fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = tracing::Span::current();
    let id = REQUEST_ID.try_with(Clone::clone);
    move || match id {
        Ok(id) => REQUEST_ID.sync_scope(id, || span.in_scope(work)),
        Err(_) => span.in_scope(work),
    }
}

/// Work for another task as part of the same request, and of the same span.
pub fn carried_task<F: Future>(work: F) -> impl Future<Output = F::Output> {
    use tracing::Instrument;

    let id = REQUEST_ID.try_with(Clone::clone);
    let work = work.in_current_span();
    async move {
        match id {
            Ok(id) => REQUEST_ID.scope(id, work).await,
            Err(_) => work.await,
        }
    }
}
