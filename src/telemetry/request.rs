//! The request being processed at present, for the log and the audit log.

use axum::http::HeaderValue;
use tokio::task::futures::TaskLocalFuture;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

tokio::task_local! {
    static REQUEST: RequestName;
}

/// Id of a request, which its answer carries too.
#[derive(Debug, Clone)]
pub struct RequestId(Id);

/// Most callers send no id, and our own ids can be cloned without an allocation.
#[derive(Debug, Clone)]
enum Id {
    Own([u8; Hyphenated::LENGTH]),
    Given(HeaderValue),
}

impl RequestId {
    /// Longest id that is accepted from a caller, in bytes.
    pub const LONGEST: usize = 128;

    /// An id created by the service.
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(Id::Own(text))
    }

    /// The caller's id, if it is fit to be repeated in a log.
    #[must_use]
    pub fn given(id: &HeaderValue) -> Option<Self> {
        let printable = (1..=Self::LONGEST).contains(&id.len())
            && id.as_bytes().iter().all(u8::is_ascii_graphic);
        printable.then(|| Self(Id::Given(id.clone())))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = match &self.0 {
            Id::Own(text) => str::from_utf8(text).ok(),
            Id::Given(text) => text.to_str().ok(),
        };
        // Both variants are always printable ASCII.
        text.unwrap_or_default()
    }

    /// The id as a header value.
    #[must_use]
    pub fn into_value(self) -> HeaderValue {
        match self.0 {
            // Hexadecimal digits are always a valid header value.
            Id::Own(text) => {
                HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none"))
            }
            Id::Given(value) => value,
        }
    }
}

/// How a request appears in the log.
#[derive(Debug, Clone)]
pub struct RequestName {
    id: RequestId,
    trace_id: Option<String>,
}

impl RequestName {
    /// From the request's id, and the id of its trace if it is traced.
    #[must_use]
    pub const fn new(id: RequestId, trace_id: Option<String>) -> Self {
        Self { id, trace_id }
    }

    /// Id of the request.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Id of the trace.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }
}

/// Wraps work on a request, so that everything it logs carries the request's name.
pub fn within<F: Future>(request: RequestName, work: F) -> TaskLocalFuture<RequestName, F> {
    REQUEST.scope(request, work)
}

/// Calls a function as part of a request, so that everything it logs carries the request's name.
pub fn within_call<T>(request: &RequestName, call: impl FnOnce() -> T) -> T {
    REQUEST.sync_scope(request.clone(), call)
}

/// Calls a function with the request being processed; does nothing if there is none.
pub fn with_current<E>(call: impl FnOnce(&RequestName) -> Result<(), E>) -> Result<(), E> {
    REQUEST.try_with(call).unwrap_or(Ok(()))
}

/// Id of the request being processed.
#[must_use]
pub fn current_id() -> Option<String> {
    REQUEST.try_with(|request| request.id().to_owned()).ok()
}

/// Wraps work for another thread so that it belongs to the same request and span.
pub fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = tracing::Span::current();
    let request = REQUEST.try_with(Clone::clone);
    move || match request {
        Ok(request) => REQUEST.sync_scope(request, || span.in_scope(work)),
        Err(_) => span.in_scope(work),
    }
}

/// Wraps work for another task so that it belongs to the same request and span.
pub fn carried_task<F: Future>(work: F) -> impl Future<Output = F::Output> {
    use tracing::Instrument;

    let request = REQUEST.try_with(Clone::clone);
    let work = work.in_current_span();
    async move {
        match request {
            Ok(request) => REQUEST.scope(request, work).await,
            Err(_) => work.await,
        }
    }
}
