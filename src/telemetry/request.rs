//! Which request is being worked on, for the log and the audit log.

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

/// Most callers give none, and ids of our own are cloned without an allocation.
#[derive(Debug, Clone)]
enum Id {
    Own([u8; Hyphenated::LENGTH]),
    Given(HeaderValue),
}

impl RequestId {
    /// The longest id that is taken over from a caller.
    pub const LONGEST: usize = 128;

    /// An id of our own.
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(Id::Own(text))
    }

    /// That of a caller, if it is one to repeat in a log.
    #[must_use]
    pub fn given(id: &HeaderValue) -> Option<Self> {
        let printable = (1..=Self::LONGEST).contains(&id.len())
            && id.as_bytes().iter().all(u8::is_ascii_graphic);
        printable.then(|| Self(Id::Given(id.clone())))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = match &self.0 {
            Id::Own(text) => str::from_utf8(text).ok(),
            Id::Given(text) => text.to_str().ok(),
        };
        // Both are printable ASCII.
        text.unwrap_or_default()
    }

    /// As the value of a header.
    #[must_use]
    pub fn into_value(self) -> HeaderValue {
        match self.0 {
            // Hexadecimal digits are a value.
            Id::Own(text) => {
                HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none"))
            }
            Id::Given(value) => value,
        }
    }
}

/// How the log names a request.
#[derive(Debug, Clone)]
pub struct RequestName {
    id: RequestId,
    trace_id: Option<String>,
}

impl RequestName {
    /// By its id, and by that of its trace where it is traced.
    #[must_use]
    pub const fn new(id: RequestId, trace_id: Option<String>) -> Self {
        Self { id, trace_id }
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// The trace's id.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }
}

/// Work on a request: what is logged meanwhile carries its name.
pub fn within<F: Future>(request: RequestName, work: F) -> TaskLocalFuture<RequestName, F> {
    REQUEST.scope(request, work)
}

/// A call that begins work on a request.
pub fn within_call<T>(request: &RequestName, call: impl FnOnce() -> T) -> T {
    REQUEST.sync_scope(request.clone(), call)
}

/// Calls with the request that is being worked on, if there is one.
pub fn with_current<E>(call: impl FnOnce(&RequestName) -> Result<(), E>) -> Result<(), E> {
    REQUEST.try_with(call).unwrap_or(Ok(()))
}

/// Id of the request that is being worked on.
#[must_use]
pub fn current_id() -> Option<String> {
    REQUEST.try_with(|request| request.id().to_owned()).ok()
}

/// Work for another thread as part of the same request, and of the same span.
pub fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = tracing::Span::current();
    let request = REQUEST.try_with(Clone::clone);
    move || match request {
        Ok(request) => REQUEST.sync_scope(request, || span.in_scope(work)),
        Err(_) => span.in_scope(work),
    }
}

/// Work for another task as part of the same request, and of the same span.
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
