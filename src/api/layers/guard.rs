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
            // Others have it while somebody is asked about the key.
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

/// Lets a request in, as one of its caller, or says why not. What it writes is noted by whoever writes it ([`Noting`]).
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
    let note = event.map(|event| {
        let (log, families) = (state.audit.clone(), state.family_watch.clone());
        request.extensions_mut().insert(Noting::new(log.clone(), event.clone()));
        Box::new(Note { log, families, event: Some(event) })
    });
    request.extensions_mut().insert(caller);
    Ok(note)
}

/// What a handler refuses that knows the family is to be noted when it is answered.
#[derive(Debug)]
pub struct Note {
    log: AuditLog,
    /// Those who follow the family are told of the write soon.
    families: FamilyWatch,
    /// What is asked for, until it is answered.
    event: Option<AuditEvent>,
}

/// Status in the note of what is not done yet.
const NOT_DONE: i16 = 499;
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
        status: NOT_DONE,
        times: 1,
        request_id: request::current_id(),
    }
}

impl Note {
    /// Notes that a handler refused it.
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

    /// Has a look taken at the family that was written to, where somebody follows it.
    fn tell(&self, event: &AuditEvent) {
        if let Some(family) = family_of(&event.target) {
            self.families.touch(&family);
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // Its caller has left: it may have been done.
        if let Some(event) = self.event.take() {
            self.tell(&event);
        }
    }
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
    // The handlers of these know the family; profiles are shared, and read by everybody; and everybody may ask who they are.
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
