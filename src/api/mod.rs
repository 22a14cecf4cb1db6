//! The HTTP contract: one file a resource, views apart from domain types, errors as problems.
//!
//! Data goes one way: a request becomes a checked value (`check`), a function of [`crate::law`] or
//! [`crate::store`] answers, and a view is sent. Routes and OpenAPI document come from the same
//! list, so that neither can lack what the other has.

mod asked;
mod bulk;
mod caching;
mod comparison;
mod document;
mod effective;
mod extract;
mod families;
mod fit_quality;
mod forecasts;
mod health;
mod laws;
mod loss_by_sparsity;
mod modes;
mod negotiation;
mod pictures;
mod plans;
mod problem;
mod profiles;
mod questions;
mod readings;
mod refits;
mod runs;
mod suggestions;
mod threads;
mod values;
mod views;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::ServiceBuilderExt;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestId, RequestId};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;
use uuid::Uuid;

use crate::clock::Clock;
use crate::dashboard;
use problem::{Problem, ProblemKind};

pub use asked::{LawCache, follow_laws};
pub use document::{EXAMPLES, openapi};
pub use threads::AnswerThreads;

/// Tag of the families' operations.
const TAG_FAMILIES: &str = "families";
/// Tag of the runs' operations.
const TAG_RUNS: &str = "runs";
/// Tag of the refits' operations.
const TAG_REFITS: &str = "refits";
/// Tag of the laws' operations.
const TAG_LAWS: &str = "laws";
/// Tag of the questions.
const TAG_QUESTIONS: &str = "questions";
/// Tag of the forecasts.
const TAG_FORECASTS: &str = "forecasts";
/// Tag of the hardware profiles.
const TAG_PROFILES: &str = "hardware-profiles";
/// Tag of what is about the service itself.
const TAG_SERVICE: &str = "service";

/// What every handler may use, shared: each request clones it several times.
#[derive(Debug, Clone)]
pub struct AppState(Arc<AppParts>);

impl AppState {
    /// Shares the parts.
    #[must_use]
    pub fn new(parts: AppParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.0
    }
}

/// The parts of the state.
#[derive(Debug)]
pub struct AppParts {
    /// The database.
    pub pool: PgPool,
    /// Time and ids.
    pub clock: Arc<Clock>,
    /// Laws that were asked lately.
    pub laws: LawCache,
    /// For answers that take long to compute.
    pub threads: AnswerThreads,
    /// Cancelled when the service is to stop.
    pub shutdown: CancellationToken,
}

/// Limits of what a request may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
    /// The longest time that an answer may take to begin.
    pub request_timeout: Duration,
}

/// All operations.
fn operations() -> OpenApiRouter<AppState> {
    document::base()
        .merge(families::router())
        .merge(runs::router())
        .merge(refits::router())
        .merge(laws::router())
        .merge(comparison::router())
        .merge(fit_quality::router())
        .merge(questions::router())
        .merge(bulk::router())
        .merge(effective::router())
        .merge(forecasts::router())
        .merge(readings::router())
        .merge(loss_by_sparsity::router())
        .merge(suggestions::router())
        .merge(plans::router())
        .merge(profiles::router())
        .merge(health::router())
}

/// The whole service as one router.
pub fn router(state: AppState, limits: Limits) -> Router {
    let (router, _) = operations().split_for_parts();
    let request_id = HeaderName::from_static("x-request-id");
    let layers = ServiceBuilder::new()
        .set_request_id(request_id.clone(), RequestIds::default())
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_request(())
                .on_response(log_response)
                .on_body_chunk(())
                .on_eos(())
                .on_failure(()),
        )
        .propagate_request_id(request_id)
        .layer(middleware::from_fn(problem_for_bare_errors))
        .layer(CatchPanicLayer::custom(|_| {
            // The panic hook has logged what it was.
            ApiPanic.into_response()
        }))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limits.request_timeout))
        .layer(DefaultBodyLimit::max(limits.max_body_bytes));
    router
        .merge(dashboard::router())
        .merge(health::pages())
        .merge(SwaggerUi::new("/docs").url("/openapi.json", openapi()))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(layers)
        .with_state(state)
}

/// Ids of requests whose senders gave them none: random where this process starts, one by one from
/// there, as asking the system for random bytes costs more than the rest of the bookkeeping.
#[derive(Debug, Clone)]
struct RequestIds {
    process: u64,
    next: Arc<AtomicU64>,
}

impl Default for RequestIds {
    fn default() -> Self {
        let (process, first) = Uuid::new_v4().as_u64_pair();
        Self { process, next: Arc::new(AtomicU64::new(first)) }
    }
}

impl MakeRequestId for RequestIds {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        let id = Uuid::from_u64_pair(self.process, self.next.fetch_add(1, Ordering::Relaxed));
        let mut text = Uuid::encode_buffer();
        let id = id.hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(id).ok().map(RequestId::new)
    }
}

/// A handler that panicked.
struct ApiPanic;

impl IntoResponse for ApiPanic {
    fn into_response(self) -> Response {
        let detail = "the cause is in the service's log, under this request's x-request-id";
        Problem::new(ProblemKind::Internal, detail).into_response()
    }
}

fn span(request: &Request<Body>) -> tracing::Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    tracing::info_span!(
        "request",
        method = %request.method(),
        // The path without the query: what is asked is the caller's business.
        path = request.uri().path(),
        request_id = id,
    )
}

/// One line a request.
fn log_response(response: &Response, latency: Duration, _: &tracing::Span) {
    tracing::info!(
        status = response.status().as_u16(),
        latency_ms = latency.as_secs_f64() * 1e3,
        "answered"
    );
}

/// Errors that come from below the handlers (unknown paths and methods, timeouts, paths that are
/// no UTF-8) become problems too.
async fn problem_for_bare_errors(request: Request<Body>, next: Next) -> Response {
    let uri = request.uri().clone();
    let response = next.run(request).await;
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_problem = content_type.is_some_and(|value| value == "application/problem+json");
    if !(status.is_client_error() || status.is_server_error()) || is_problem {
        return response;
    }
    let (kind, detail) = match status {
        StatusCode::NOT_FOUND => {
            (ProblemKind::NotFound, format!("there is nothing at {}", uri.path()))
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            (ProblemKind::MethodNotAllowed, format!("the methods of {} are in Allow", uri.path()))
        }
        StatusCode::REQUEST_TIMEOUT => {
            (ProblemKind::RequestTimeout, "send less at a time, or try again later".to_owned())
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
