//! The guard before every operation: is there room, is it too often, who is it, and may they?
//!
//! One layer of its own, so that a request with a known key passes without a boxed future.

use std::borrow::Cow;
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
use percent_encoding::percent_decode_str;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::api::layers::browsers::{is_cross_site, is_own_host};
use crate::api::layers::needs::{Need, need};
use crate::api::layers::throttle::{Place, TooSoon};
use crate::api::state::AppState;
use crate::api::wire::problem::{ApiError, Problem, ProblemKind};
use crate::domain::access::{Families, Scope};
use crate::domain::audit::AuditEvent;
use crate::domain::text::FamilyName;
use crate::live::audit::{AuditLog, NotePlace};
use crate::live::keyring::{Caller, Denied, Verdict};
use crate::telemetry::request;

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
        // Nothing that comes over a network carries it yet.
        let verdict = match request.extensions().get::<Caller>() {
            Some(caller) => Verdict::Known(caller.clone()),
            None => self.state.access.verdict(request.headers()),
        };
        if matches!(verdict, Verdict::Unknown) {
            // Before anything is waited for: whoever sends invented keys has no place while they are looked up. One
            // that turns out to be known has used up one of the attempts of its address, and no more are needed.
            if let Err(wait) = throttle.count_failure(address) {
                return Guarded::refused(too_soon(wait, TOO_MANY_REFUSED));
            }
            // The service that is ready is the one to call.
            let fresh = self.inner.clone();
            let mut inner = std::mem::replace(&mut self.inner, fresh);
            let state = self.state.clone();
            let future = Box::pin(async move {
                let verdict = state.access.verdict_of_unknown(request.headers()).await;
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

/// Why a request looks like that of a page which the user of this machine did not mean to let in.
///
/// Whoever reaches a service without keys may write, and every page in a browser on this machine reaches
/// it. Where keys are asked for a page has none, so nothing is to be refused.
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

/// Lets a request in, as one of its caller, or says why not. What it writes is to be noted when it
/// is answered.
#[expect(clippy::result_large_err, reason = "a response is what it is, and moves once")]
fn admit(
    state: &AppState,
    Looked { verdict, counted }: Looked,
    scope: Scope,
    address: Option<IpAddr>,
    request: &mut Request<Body>,
) -> Result<Option<Box<Note>>, Response> {
    // What is counted already is not counted again.
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
    let note = match event {
        // Its place is taken before anything is done, so that no write that was done is missing.
        Some(event) => match state.audit.place() {
            Some(place) => {
                Some(Box::new(Note { log: state.audit.clone(), event: Some((place, event)) }))
            }
            None => return Err(no_log()),
        },
        None => None,
    };
    request.extensions_mut().insert(caller);
    Ok(note)
}

/// A write, to be noted in the audit log: by its answer, or, where its caller does not wait for one
/// or the time is over, when it is dropped.
#[derive(Debug)]
pub struct Note {
    log: AuditLog,
    event: Option<(NotePlace, AuditEvent)>,
}

/// Status of what may have been done or not, as proxies write it.
const NOT_ANSWERED: i16 = 499;
/// Status of what was refused.
const FORBIDDEN: i16 = 403;

/// What the audit log says of a write before it is known how it ends.
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
        status: NOT_ANSWERED,
        times: 1,
        request_id: request::current_id(),
    }
}

/// The family in a path; what is no name of a family names none.
fn family_named(target: &str) -> Option<String> {
    let family = family_of(target).filter(|name| FamilyName::new(name).is_ok());
    family.map(Cow::into_owned)
}

impl Note {
    /// Leaves the note where something was written.
    fn leave(mut self, answer: &Response) {
        let Some((place, mut event)) = self.event.take() else { return };
        let status = answer.status();
        if status == StatusCode::FORBIDDEN {
            // By a handler that knows the family.
            event.status = FORBIDDEN;
            event.family = family_named(&event.target);
            self.log.note_refusal(event);
        } else if status.is_success() {
            let created =
                answer.headers().get(header::LOCATION).and_then(|path| path.to_str().ok());
            if let Some(created) = created {
                created.clone_into(&mut event.target);
            }
            event.status = i16::try_from(status.as_u16()).unwrap_or(NOT_ANSWERED);
            event.family = family_named(&event.target);
            place.note(event);
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some((place, mut event)) = self.event.take() {
            event.family = family_named(&event.target);
            place.note(event);
        }
    }
}

/// The family in a path, as a handler reads it.
fn family_of(path: &str) -> Option<Cow<'_, str>> {
    let family = path.strip_prefix("/v1/families/")?.split('/').next()?;
    Some(percent_decode_str(family).decode_utf8_lossy())
}

/// What an address is told that has sent too many keys that are wrong.
const TOO_MANY_REFUSED: &str = "this address has sent too many keys that were refused";

/// What is known of a request's key, and whether it is counted as refused already.
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

/// Refuses a key or token that is wrong, and says so as RFC 6750 has it.
fn wrong(mut response: Response) -> Response {
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Refuses what a key for some families must not touch, as far as the path says it.
fn may_touch(caller: &Caller, scope: Scope, request: &Request<Body>) -> Result<(), Denied> {
    if matches!(caller.families(), Families::All) {
        return Ok(());
    }
    let path = request.uri().path();
    if let Some(family) = family_of(path) {
        return caller.require_family(&family);
    }
    // The handlers of these know the family; profiles are shared, and read by everybody.
    if path == "/v1/families"
        || path == "/v1/compare"
        || path.starts_with("/v1/refits/")
        || (scope == Scope::Read && path.starts_with("/v1/hardware-profiles"))
    {
        return Ok(());
    }
    caller.require_all_families()
}

fn no_log() -> Response {
    let detail = "writes are noted in the audit log, which cannot be stored for now; try again";
    Problem::new(ProblemKind::Unavailable, detail).into_response()
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
            place: Option<Place>,
            note: Option<Box<Note>>,
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
