//! The guard in front of every operation: is there capacity, does the caller keep its rate limit, who is it, and may it
//! do this?
//!
//! A layer written by hand, so that a request with a known key needs no boxed future.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::api::layers::browsers::{is_cross_site, is_own_host};
use crate::api::layers::needs::{Need, need};
use crate::api::layers::noting::{Noting, family_named, family_of};
use crate::api::layers::throttle::{Place, TooSoon};
use crate::api::state::AppState;
use crate::api::wire::problem::{ApiError, Problem, ProblemKind};
use crate::domain::access::{Families, Scope};
use crate::domain::audit::AuditEvent;
use crate::live::audit::AuditLog;
use crate::live::family_watch::FamilyWatch;
use crate::live::keyring::{Caller, Denied, Verdict};
use crate::telemetry::request;

/// The layer that puts the guard in front of a service.
#[derive(Debug, Clone)]
pub struct GuardLayer {
    state: AppState,
}

impl GuardLayer {
    /// A guard with the keys and rate limits of the state.
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
            return Guarded::Passed { future: self.inner.call(request), place: None, note: None };
        }
        let throttle = &self.state.throttle;
        let Some(place) = throttle.enter() else { return Guarded::refused(no_room()) };
        let address = throttle.address(request.extensions(), request.headers());
        if let Err(wait) = throttle.count_address(address) {
            return Guarded::refused(too_soon(wait, "this address has sent too many requests"));
        }
        if let Some(problem) = misused_browser(&self.state, &request) {
            return Guarded::refused(problem.into_response());
        }
        let scope = match need {
            Need::Scope(scope) => scope,
            _ => {
                let future = self.inner.call(request);
                return Guarded::Passed { future, place: Some(place), note: None };
            }
        };
        // No request from the network has this extension yet, so only the service itself can have set it.
        let verdict = match request.extensions().get::<Caller>() {
            Some(caller) => Verdict::Known(caller.clone()),
            None => self.state.access.verdict(request.headers()),
        };
        if matches!(verdict, Verdict::Unknown) {
            // Counted before anything is awaited, and without holding a place, so that made-up keys take up no capacity
            // while they are looked up. A key that turns out to be valid has used up one of its address's attempts; it
            // needs no more.
            if let Err(wait) = throttle.count_failure(address) {
                return Guarded::refused(too_soon(wait, TOO_MANY_REFUSED));
            }
            // Tower's contract: call the clone that was polled ready, and keep the fresh one.
            let fresh = self.inner.clone();
            let mut inner = std::mem::replace(&mut self.inner, fresh);
            let state = self.state.clone();
            // Lets others use the place while the key is looked up.
            drop(place);
            let future = Box::pin(async move {
                let verdict = state.access.verdict_of_unknown(request.headers()).await;
                let Some(place) = state.throttle.enter() else { return Ok(no_room()) };
                let verdict = Looked { verdict, counted: true };
                let answer = match admit(&state, verdict, scope, address, &mut request) {
                    Ok(note) => {
                        let Ok(answer) = inner.call(request).await;
                        note.into_iter().for_each(|note| note.leave(&answer));
                        answer
                    }
                    Err(refusal) => refusal,
                };
                drop(place);
                Ok(answer)
            });
            return Guarded::Asked { future };
        }
        let verdict = Looked { verdict, counted: false };
        match admit(&self.state, verdict, scope, address, &mut request) {
            Ok(note) => {
                Guarded::Passed { future: self.inner.call(request), place: Some(place), note }
            }
            Err(refusal) => Guarded::refused(refusal),
        }
    }
}

/// A problem if a request looks like one of a web page that the user of this machine did not mean to allow.
///
/// Anyone who can reach a service without keys may write to it, and every page in a browser on this machine can reach
/// it. If keys are required, a page has none, so there is nothing to refuse.
fn misused_browser(state: &AppState, request: &Request<Body>) -> Option<Problem> {
    let headers = request.headers();
    let cross_site = is_cross_site(request.method(), headers, &state.cors_origins);
    let misdirected = state.loopback && !is_own_host(headers, &state.allowed_hosts);
    if !(cross_site || misdirected) || state.access.is_required() {
        return None;
    }
    Some(if misdirected {
        let detail = "a service without keys answers to addresses and localhost; --allowed-hosts names \
                      others";
        Problem::new(ProblemKind::Misdirected, detail)
    } else {
        let detail = "a page of another site may not write to a service without keys; --cors-origins \
                      names those that may";
        Problem::new(ProblemKind::CrossSite, detail)
    })
}

/// Admits a request on behalf of its caller, or returns the refusal. A write is recorded by the code that performs it
/// ([`Noting`]).
#[expect(clippy::result_large_err, reason = "a response is what it is, and moves once")]
fn admit(
    state: &AppState,
    Looked { verdict, counted }: Looked,
    scope: Scope,
    address: Option<IpAddr>,
    request: &mut Request<Body>,
) -> Result<Option<Box<Note>>, Response> {
    // A failure that was counted already is not counted again.
    let refused = |reason: &str| unauthenticated(state, (address, counted), reason);
    let caller = match verdict {
        Verdict::Known(caller) => caller,
        Verdict::Stale => {
            let detail = "who may use the service cannot be read for now; try again";
            return Err(Problem::new(ProblemKind::Unavailable, detail).into_response());
        }
        Verdict::Unknown => return Err(wrong(refused("the key is not known"))),
        Verdict::Refused(reason) => return Err(wrong(refused(reason))),
        Verdict::Missing(reason) => return Err(refused(reason)),
    };
    if let Some(quota) = caller.quota() {
        let counted = state.throttle.count_key(quota);
        counted.map_err(|wait| {
            too_soon(wait, "this key, or the holder of this token, has sent too many requests")
        })?;
    }
    let writes = scope > Scope::Read && !request.method().is_safe();
    let event = writes.then(|| event(state, &caller, address, request));
    let may = caller.require_scope(scope).and_then(|()| may_touch(&caller, scope, request));
    if let Err(error) = may {
        if let Some(mut event) = event {
            event.status = FORBIDDEN;
            event.family = family_named(&event.target);
            state.audit.note_refusal(event);
        }
        return Err(ApiError::from(error).into_response());
    }
    let note = event.map(|event| {
        let (log, families) = (state.audit.clone(), state.family_watch.clone());
        request.extensions_mut().insert(Noting::new(log.clone(), event.clone()));
        Box::new(Note { log, families, event: Some(event) })
    });
    request.extensions_mut().insert(caller);
    Ok(note)
}

/// Follow-up of a write once it is answered: a refusal by its handler goes to the audit log, and after a success the
/// family's followers are notified.
#[derive(Debug)]
pub struct Note {
    log: AuditLog,
    /// Notified of the write, so that followers of the family learn of it soon.
    families: FamilyWatch,
    /// The event of the request, until it is answered.
    event: Option<AuditEvent>,
}

/// Status in the event of a request that has not been answered.
const NOT_DONE: i16 = 499;
/// Status of a refused request.
const FORBIDDEN: i16 = 403;

/// The audit event of a write before its outcome is known.
fn event(
    state: &AppState,
    caller: &Caller,
    address: Option<IpAddr>,
    request: &Request<Body>,
) -> AuditEvent {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    AuditEvent {
        id: state.clock.new_id(),
        at: state.clock.now(),
        actor: caller.actor(),
        actor_name: caller.key_name().map(ToOwned::to_owned),
        address: address.map(|address| address.to_string()),
        method: request.method().to_string(),
        path: path.to_owned(),
        target: request.uri().path().to_owned(),
        family: None,
        status: NOT_DONE,
        times: 1,
        request_id: request::current_id(),
    }
}

impl Note {
    /// Handles the answer: records a refusal, or notifies followers of a success.
    fn leave(mut self, answer: &Response) {
        let Some(mut event) = self.event.take() else { return };
        if answer.status() == StatusCode::FORBIDDEN {
            event.status = FORBIDDEN;
            event.family = family_named(&event.target);
            self.log.note_refusal(event);
        } else if answer.status().is_success() {
            self.tell(&event);
        }
    }

    /// Has the written family polled, if somebody follows it.
    fn tell(&self, event: &AuditEvent) {
        if let Some(family) = family_of(&event.target) {
            self.families.touch(&family);
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // The caller has gone away, but the write may have been done.
        if let Some(event) = self.event.take() {
            self.tell(&event);
        }
    }
}

/// Message to an address that has sent too many wrong keys.
const TOO_MANY_REFUSED: &str = "this address has sent too many keys that were refused";

/// The verdict on a request's key, and whether it has been counted as a failure already.
struct Looked {
    verdict: Verdict,
    counted: bool,
}

fn unauthenticated(
    state: &AppState,
    (address, counted): (Option<IpAddr>, bool),
    reason: &str,
) -> Response {
    let count = if counted { Ok(()) } else { state.throttle.count_failure(address) };
    match count {
        Ok(()) => ApiError::Unauthenticated(reason.to_owned()).into_response(),
        Err(wait) => too_soon(wait, TOO_MANY_REFUSED),
    }
}

/// Marks a refusal because of a wrong key or token in the way that RFC 6750 prescribes.
fn wrong(mut response: Response) -> Response {
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Refuses access that a key for some families does not grant, as far as the path shows it.
fn may_touch(caller: &Caller, scope: Scope, request: &Request<Body>) -> Result<(), Denied> {
    if matches!(caller.families(), Families::All) {
        return Ok(());
    }
    let path = request.uri().path();
    if let Some(family) = family_of(path) {
        return caller.require_family(&family);
    }
    // For these paths the handler checks the family; profiles are shared and readable by everybody; and everybody may
    // ask who they are.
    if path == "/v1/families"
        || path == "/v1/compare"
        || path == "/v1/caller"
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
        /// The request was admitted.
        Passed {
            #[pin]
            future: F,
            place: Option<Place>,
            note: Option<Box<Note>>,
        },
        /// The request was refused.
        Refused {
            response: Option<Response>,
        },
        /// The key had to be looked up first.
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
            Projected::Passed { future, place, note } => {
                let Ok(answer) = std::task::ready!(future.poll(context));
                place.take();
                note.take().into_iter().for_each(|note| note.leave(&answer));
                Poll::Ready(Ok(answer))
            }
            Projected::Refused { response } => {
                let response = response.take().expect("a future that is ready is not polled again");
                Poll::Ready(Ok(response))
            }
            Projected::Asked { future } => future.as_mut().poll(context),
        }
    }
}
