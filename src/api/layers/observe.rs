//! The outermost layer of every request: its id, its line in the log, its metrics, its time limit, caught panics, and
//! problem documents for errors that arise below the handlers.
//!
//! A single layer of our own instead of one of tower-http for each purpose: each of those boxes the body of the answer
//! or clones the inner service, and passing all of them took longer than computing most answers.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, poll};
use tower::{Layer, Service};
use uuid::Uuid;

use crate::api::resources::runs;
use crate::api::wire::problem::{Problem, ProblemKind};
use crate::telemetry::metrics::{Answered, Metrics, RouteLabel};
use crate::telemetry::request::{self, RequestId, RequestName};
use crate::telemetry::traces::{Span, Traces};

/// Header with a request's id, both in requests and in answers.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long it may take until an answer begins.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// For most requests.
    pub answer: Duration,
    /// For uploads of runs, whose answer begins once everything has arrived and is stored.
    pub upload: Duration,
}

/// The layer that observes requests.
#[derive(Debug, Clone)]
pub struct Observe(Arc<Observing>);

#[derive(Debug)]
struct Observing {
    metrics: Metrics,
    traces: Traces,
    limits: TimeLimits,
    /// Ids of requests that were sent without one: random at the start of the process, and then counted up. Asking the
    /// system for random bytes each time would cost more than the rest of this layer.
    process: u64,
    first: u64,
}

impl Observe {
    /// A layer with these metrics and traces. An answer that has not begun in time is given up.
    #[must_use]
    pub fn new(metrics: Metrics, traces: Traces, limits: TimeLimits) -> Self {
        let (process, first) = Uuid::new_v4().as_u64_pair();
        Self(Arc::new(Observing { metrics, traces, limits, process, first }))
    }
}

impl Observing {
    /// The caller's id if it is fit to be repeated in a log, or else a new one for the request of this number.
    fn id(&self, request: &Request, number: u64) -> RequestId {
        let given = request.headers().get(&REQUEST_ID).and_then(RequestId::given);
        given.unwrap_or_else(|| {
            RequestId::new(Uuid::from_u64_pair(self.process, self.first.wrapping_add(number)))
        })
    }
}

/// An operation under observation; there is one for requests without a matching route too.
#[derive(Debug)]
struct Operation {
    observing: Arc<Observing>,
    /// The counter for most answers, those to `GET` with status 200, and the route under which it counts.
    usual: OnceLock<(RouteLabel, Answered)>,
}

impl Operation {
    fn count(&self, method: &Method, route: RouteLabel, status: u16, latency: Duration) {
        let metrics = &self.observing.metrics;
        if *method == Method::GET && status == 200 {
            let find = || (route.clone(), metrics.answered(method, route.clone(), status));
            let (counted, answered) = self.usual.get_or_init(find);
            if *counted == route {
                return answered.note(latency);
            }
        }
        metrics.answered(method, route, status).note(latency);
    }
}

/// A request in progress. If its caller goes away before the answer, this is dropped and records that.
struct Underway {
    operation: Arc<Operation>,
    id: RequestId,
    method: Method,
    uri: Uri,
    route: RouteLabel,
    /// The request's span in traces.
    span: Span,
    started: Instant,
    ended: bool,
}

/// Status that logs and metrics use for a caller that did not wait; it is never sent.
const ABANDONED: u16 = 499;

impl Underway {
    fn begin(operation: Arc<Operation>, request: &Request) -> Self {
        let observing = &operation.observing;
        let number = observing.metrics.begun();
        let id = observing.id(request, number);
        let route = request.extensions().get::<MatchedPath>().cloned();
        Self {
            span: observing.traces.request(request, route.as_ref(), id.as_str()),
            id,
            operation,
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: RouteLabel::new(route),
            started: Instant::now(),
            ended: false,
        }
    }

    fn time_limit(&self) -> Duration {
        let TimeLimits { answer, upload } = self.operation.observing.limits;
        let uploads = self.method == Method::POST && self.route.as_str() == runs::PATH;
        if uploads { upload } else { answer }
    }

    fn end(&mut self, status: u16) {
        self.ended = true;
        let latency = self.started.elapsed();
        self.operation.observing.metrics.ended();
        self.operation.count(&self.method, std::mem::take(&mut self.route), status, latency);
        self.span.answered(status);
        tracing::info!(
            // Given as a value, because the macro's own message would go through formatting.
            message = "answered",
            method = self.method.as_str(),
            // The path without the query: what a caller asks is private.
            path = self.uri.path(),
            status,
            latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
        );
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if !self.ended {
            self.end(ABANDONED);
        }
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        let operation = Operation { observing: self.0.clone(), usual: OnceLock::new() };
        Observed { inner, operation: Arc::new(operation) }
    }
}

/// The service that the layer wraps.
#[derive(Debug, Clone)]
pub struct Observed<S> {
    inner: S,
    operation: Arc<Operation>,
}

impl<S> Service<Request> for Observed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let mut underway = Underway::begin(self.operation.clone(), &request);
        let named = RequestName::new(underway.id.clone(), underway.span.trace_id());
        underway.span.hand_to(&mut request);
        let answer = request::within_call(&named, || {
            std::panic::catch_unwind(AssertUnwindSafe(|| self.inner.call(request)))
        });
        let observed = async move {
            let answered = match answer {
                Ok(answer) => {
                    let mut answer = pin!(AssertUnwindSafe(answer).catch_unwind());
                    // Most answers are ready at once and need no timer.
                    match poll!(&mut answer) {
                        Poll::Ready(answered) => Ok(answered),
                        Poll::Pending => tokio::time::timeout(underway.time_limit(), answer).await,
                    }
                }
                Err(panic) => Ok(Err(panic)),
            };
            let mut response = match answered {
                Ok(Ok(Ok(response))) => problem_for_bare_error(&underway.uri, response),
                // The panic hook has already logged the cause.
                Ok(Err(_)) => {
                    let detail =
                        "the cause is in the service's log, under this request's x-request-id";
                    Problem::new(ProblemKind::Internal, detail).into_response()
                }
                Err(_) => {
                    let detail = "send less at a time, or try again later";
                    Problem::new(ProblemKind::RequestTimeout, detail).into_response()
                }
            };
            underway.end(response.status().as_u16());
            response.headers_mut().insert(REQUEST_ID, underway.id.clone().into_value());
            Ok(response)
        };
        Box::pin(request::within(named, observed))
    }
}

/// Turns errors that arise below the handlers (unknown paths and methods, paths that are not UTF-8) into problem
/// documents.
fn problem_for_bare_error(uri: &Uri, response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let content_type = response.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value == "application/problem+json") {
        return response;
    }
    let (kind, detail) = match status {
        StatusCode::NOT_FOUND => {
            (ProblemKind::NotFound, format!("there is nothing at {}", uri.path()))
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            (ProblemKind::MethodNotAllowed, format!("the methods of {} are in Allow", uri.path()))
        }
        _ if status.is_client_error() => {
            (ProblemKind::Malformed, "the request cannot be read".to_owned())
        }
        _ => (ProblemKind::Internal, "the cause is in the service's log".to_owned()),
    };
    let mut problem = Problem::new(kind, detail).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::telemetry::metrics::Readings;

    async fn panics() -> &'static str {
        panic!("on purpose")
    }

    fn router(metrics: &Metrics) -> Router {
        Router::new()
            .route("/things/{thing}", get(|| async { "a thing" }))
            .route("/panic", get(panics))
            .route("/slow", get(std::future::pending::<()>))
            .fallback(|| async { StatusCode::NOT_FOUND })
            .layer(Observe::new(
                metrics.clone(),
                Traces::default(),
                TimeLimits { answer: Duration::from_millis(20), upload: Duration::from_secs(60) },
            ))
    }

    async fn ask(metrics: &Metrics, path: &str, id: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(id) = id {
            request = request.header(REQUEST_ID, id);
        }
        router(metrics).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    fn counted(metrics: &Metrics) -> String {
        metrics.encode(&Readings::default()).unwrap()
    }

    #[tokio::test]
    async fn an_id_is_taken_over_where_it_can_stand_in_a_log() {
        let metrics = Metrics::default();
        let id = async |given: Option<&str>| {
            let response = ask(&metrics, "/things/1", given).await;
            response.headers()[REQUEST_ID].to_str().unwrap().to_owned()
        };
        assert_eq!(id(Some("sweep-3/17")).await, "sweep-3/17");
        let long = "x".repeat(RequestId::LONGEST + 1);
        for bad in [None, Some(""), Some("two words"), Some(&*long)] {
            assert!(Uuid::try_parse(&id(bad).await).is_ok(), "{bad:?}");
        }
        assert_ne!(id(None).await, id(None).await);
    }

    #[tokio::test]
    async fn panics_late_answers_and_unknown_paths_are_problems_with_an_id() {
        let metrics = Metrics::default();
        for (path, status) in [("/panic", 500), ("/slow", 408), ("/nothing", 404)] {
            let response = ask(&metrics, path, None).await;
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert!(response.headers().contains_key(REQUEST_ID));
        }
    }

    #[tokio::test]
    async fn answers_are_counted_by_template_and_callers_who_left_too() {
        let metrics = Metrics::default();
        for thing in ["/things/1", "/things/2", "/nothing"] {
            ask(&metrics, thing, None).await;
        }
        // All through one router, which has cached the counter of GET by then.
        let router = router(&metrics);
        for method in [Method::GET, Method::HEAD, Method::HEAD, Method::GET] {
            let request = Request::builder().method(method).uri("/things/3").body(Body::empty());
            router.clone().oneshot(request.unwrap()).await.unwrap();
        }
        let left = ask(&metrics, "/slow", None).now_or_never();
        assert!(left.is_none());
        let text = counted(&metrics);
        for line in [
            r#"sparsity_planner_http_requests_total{method="GET",route="/things/{thing}",status="200"} 4"#,
            r#"sparsity_planner_http_requests_total{method="HEAD",route="/things/{thing}",status="200"} 2"#,
            r#"sparsity_planner_http_requests_total{method="GET",route="none",status="404"} 1"#,
            r#"sparsity_planner_http_requests_total{method="GET",route="/slow",status="499"} 1"#,
            r#"sparsity_planner_http_request_duration_seconds_count{method="GET",route="/things/{thing}"} 4"#,
            "sparsity_planner_http_requests_in_flight 0",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
