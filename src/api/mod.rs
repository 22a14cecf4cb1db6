//! The HTTP contract: one file a resource, views apart from domain types, errors as problems.
//!
//! Data goes one way: a request becomes a checked value (`check`), a function of [`crate::law`] or
//! [`crate::store`] answers, and a view is sent. Routes and OpenAPI document come from the same
//! list, so that neither can lack what the other has.

mod access;
mod announcements;
mod asked;
mod audit;
mod browsers;
mod bulk;
mod caching;
mod columns;
mod comparison;
mod document;
mod effective;
mod exports;
mod extract;
mod families;
mod fit_quality;
mod forecasts;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guard;
mod health;
mod intervals;
mod keys;
mod laws;
mod loss_by_sparsity;
mod modes;
mod needs;
mod negotiation;
mod observe;
mod patterns;
mod pictures;
mod plans;
mod problem;
mod profiles;
mod questions;
mod readings;
mod reads;
mod refits;
mod remembered;
mod runs;
mod suggestions;
mod threads;
mod throttle;
mod transfers;
mod uploads;
mod values;
mod views;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::clock::Clock;
use crate::dashboard;
use crate::metrics::Metrics;
use crate::traces::Traces;
use guard::GuardLayer;
use observe::{Observe, TimeLimits};
use reads::by_replica;

pub use access::{Access, Caller};
pub use announcements::follow_announcements;
pub use asked::LawCache;
pub use audit::{AuditLog, AuditWriter};
pub use document::{EXAMPLES, openapi};
pub use health::{HealthParts, health_router};
pub use modes::ProfileCache;
pub use needs::scope_of;
pub use reads::{READ_AFTER, Replica, ReplicaHealth, ReplicaState};
pub use threads::AnswerThreads;
pub use throttle::{Rate, Throttle, ThrottleConfig};
pub use transfers::{TransferLimits, Transfers};

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
/// Tag of who may use the service.
const TAG_ACCESS: &str = "access";
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
    /// A streaming replica of it that reads may be answered by.
    pub replica: Option<Replica>,
    /// Time and ids.
    pub clock: Arc<Clock>,
    /// Laws that were asked lately.
    pub laws: LawCache,
    /// Hardware profiles that were asked lately.
    pub profiles: ProfileCache,
    /// For answers that take long to compute.
    pub threads: AnswerThreads,
    /// What is counted.
    pub metrics: Metrics,
    /// Where requests are followed.
    pub traces: Traces,
    /// Who may use the service.
    pub access: Access,
    /// How much each may use it.
    pub throttle: Throttle,
    /// Who wrote what.
    pub audit: AuditLog,
    /// Whether only this machine reaches the service.
    pub loopback: bool,
    /// Origins whose pages may ask.
    pub cors_origins: Vec<HeaderValue>,
    /// Names, beside `localhost`, by which a service without keys may be asked.
    pub allowed_hosts: Vec<String>,
    /// What a request may cost.
    pub limits: Limits,
    /// Uploads and exports under way.
    pub transfers: Transfers,
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
        .merge(keys::router())
        .merge(audit::router())
        .merge(health::router())
}

/// The whole service as one router.
pub fn router(state: AppState) -> Router {
    let (router, _) = operations().split_for_parts();
    // Half of the time, so that the primary has the other.
    let patience = state.limits.request_timeout / 2;
    let replica = state.replica.clone();
    let by_replica = replica.map(|replica| from_fn_with_state((replica, patience), by_replica));
    let layers = ServiceBuilder::new()
        .map_response(browsers::harden)
        .option_layer(browsers::cross_origin(&state.cors_origins))
        .layer(Observe::new(
            state.metrics.clone(),
            state.traces.clone(),
            TimeLimits {
                answer: state.limits.request_timeout,
                upload: state.transfers.limits.timeout,
            },
        ))
        .layer(GuardLayer::new(state.clone()))
        .option_layer(by_replica);
    router
        .merge(dashboard::router())
        .merge(health::pages())
        .merge(SwaggerUi::new("/docs").url("/openapi.json", openapi()))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(layers)
        .with_state(state)
}
