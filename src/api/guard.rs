//! The guard before every operation: is there room, is it too often, who is it, and may they?
//!
//! One layer of its own, so that a request with a known key passes without a boxed future.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{HeaderValue, Request, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use pin_project_lite::pin_project;
use tokio::sync::OwnedSemaphorePermit;
use tower::{Layer, Service};

use super::AppState;
use super::access::{Caller, Verdict};
use super::needs::{Need, need};
use super::problem::{ApiError, Problem, ProblemKind};
use super::throttle::TooSoon;
use crate::access::{Families, Scope};

/// Puts the guard before a service.
#[derive(Debug, Clone)]
pub struct GuardLayer {
    state: AppState,
}

impl GuardLayer {
    /// A guard with the keys and counts of the state.
    #[must_use]
    pub const fn new(state: AppState) -> Self {
        Self { state }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { state: self.state.clone(), inner }
    }
}

/// A service behind the guard.
#[derive(Debug, Clone)]
pub struct Guard<S> {
    state: AppState,
    inner: S,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Guarded<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let need = need(request.method(), path);
        if need == Need::Health {
            return Guarded::Passed { future: self.inner.call(request), place: None };
        }
        let throttle = &self.state.throttle;
        let Some(place) = throttle.enter() else { return Guarded::refused(no_room()) };
        let address = throttle.address(request.extensions(), request.headers());
        if let Err(wait) = throttle.count_address(address) {
            return Guarded::refused(too_soon(wait, "this address has sent too many requests"));
        }
        let scope = match need {
            Need::Scope(scope) => scope,
            Need::OffLoopback(scope) if !self.state.loopback => scope,
            _ => return Guarded::Passed { future: self.inner.call(request), place: Some(place) },
        };
        // Nothing that comes over a network carries it yet.
        let verdict = match request.extensions().get::<Caller>() {
            Some(caller) => Verdict::Known(caller.clone()),
            None => self.state.access.verdict(request.headers()),
        };
        if matches!(verdict, Verdict::Unknown) {
            // The service that is ready is the one to call.
            let fresh = self.inner.clone();
            let mut inner = std::mem::replace(&mut self.inner, fresh);
            let state = self.state.clone();
            let future = Box::pin(async move {
                let verdict = state.access.verdict_of_unknown(request.headers()).await;
                let answer = match admit(&state, verdict, scope, address, &mut request) {
                    Ok(()) => inner.call(request).await,
                    Err(refusal) => Ok(refusal),
                };
                drop(place);
                answer
            });
            return Guarded::Asked { future };
        }
        match admit(&self.state, verdict, scope, address, &mut request) {
            Ok(()) => Guarded::Passed { future: self.inner.call(request), place: Some(place) },
            Err(refusal) => Guarded::refused(refusal),
        }
    }
}

/// Lets a request in, as one of its caller, or says why not.
#[expect(clippy::result_large_err, reason = "a response is what it is, and moves once")]
fn admit(
    state: &AppState,
    verdict: Verdict,
    scope: Scope,
    address: Option<IpAddr>,
    request: &mut Request<Body>,
) -> Result<(), Response> {
    let caller = match verdict {
        Verdict::Known(caller) => caller,
        Verdict::Stale => {
            let detail = "who may use the service cannot be read from the database; try again";
            return Err(Problem::new(ProblemKind::Unavailable, detail).into_response());
        }
        Verdict::Unknown => return Err(unauthenticated(state, address, "the key is not known")),
        Verdict::Refused(reason) => return Err(unauthenticated(state, address, reason)),
    };
    if let Some(key) = caller.key() {
        let counted = state.throttle.count_key(key.id);
        counted.map_err(|wait| too_soon(wait, "this key has sent too many requests"))?;
    }
    let may = caller.require_scope(scope).and_then(|()| may_touch(&caller, scope, request));
    may.map_err(IntoResponse::into_response)?;
    request.extensions_mut().insert(caller);
    Ok(())
}

fn unauthenticated(state: &AppState, address: Option<IpAddr>, reason: &str) -> Response {
    match state.throttle.count_failure(address) {
        Ok(()) => ApiError::Unauthenticated(reason.to_owned()).into_response(),
        Err(wait) => too_soon(wait, "this address has sent too many keys that were refused"),
    }
}

/// Refuses what a key for some families must not touch, as far as the path says it.
fn may_touch(caller: &Caller, scope: Scope, request: &Request<Body>) -> Result<(), ApiError> {
    if matches!(caller.families(), Families::All) {
        return Ok(());
    }
    let path = request.uri().path();
    if let Some(rest) = path.strip_prefix("/v1/families/") {
        let family = rest.split('/').next().unwrap_or_default();
        let family = percent_decode_str(family).decode_utf8_lossy();
        return caller.require_family(&family);
    }
    // The handlers of these know the family; profiles are shared, and read by everybody.
    if path == "/v1/families"
        || path.starts_with("/v1/refits/")
        || (scope == Scope::Read && path.starts_with("/v1/hardware-profiles"))
    {
        return Ok(());
    }
    caller.require_all_families()
}

fn no_room() -> Response {
    let detail = "as many requests are under way as this service takes; try again";
    Problem::new(ProblemKind::Unavailable, detail).into_response()
}

fn too_soon(TooSoon(wait): TooSoon, detail: &str) -> Response {
    let mut response = Problem::new(ProblemKind::TooManyRequests, detail).into_response();
    let wait = (wait + Duration::from_millis(999)).as_secs().max(1);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    response
}

pin_project! {
    /// The answer to a guarded request.
    #[project = Projected]
    pub enum Guarded<F> {
        /// It was let in.
        Passed {
            #[pin]
            future: F,
            place: Option<OwnedSemaphorePermit>,
        },
        /// It was not.
        Refused {
            response: Option<Response>,
        },
        /// Its key had to be asked for.
        Asked {
            future: BoxFuture<'static, Result<Response, Infallible>>,
        },
    }
}

impl<F> Guarded<F> {
    const fn refused(response: Response) -> Self {
        Self::Refused { response: Some(response) }
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Guarded<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Passed { future, place } => {
                let answer = future.poll(context);
                if answer.is_ready() {
                    place.take();
                }
                answer
            }
            Projected::Refused { response } => {
                let response = response.take().expect("a future that is ready is not polled again");
                Poll::Ready(Ok(response))
            }
            Projected::Asked { future } => future.as_mut().poll(context),
        }
    }
}
