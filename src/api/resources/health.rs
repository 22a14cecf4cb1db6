//! `/healthz`, `/readyz` and `/metrics`: the state of the service.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::questions::law::AskedLaw;
use crate::api::state::AppState;
use crate::api::tags::TAG_SERVICE;
use crate::api::wire::problem::{ApiError, Problem, ProblemKind};
use crate::clock::Clock;
use crate::live::laws::LawCache;
use crate::live::replica::{Replica, ReplicaState};
use crate::live::schema_look::SchemaLook;
use crate::store::{Schema, SchemaError, StoreError, refits, uploads};
use crate::telemetry::metrics::{Metrics, Readings, in_text_format};

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_healthz))
        .routes(routes!(get_readyz))
        .routes(routes!(get_metrics))
}

/// The state that these routes need. A process that only runs workers has it, too.
#[derive(Debug, Clone)]
pub struct HealthParts {
    /// The database.
    pub pool: PgPool,
    /// Whether the database can be used.
    pub schema_look: SchemaLook,
    /// Source of the time.
    pub clock: Arc<Clock>,
    /// Cache of laws; `None` in a process that answers no questions.
    pub laws: Option<LawCache<AskedLaw>>,
    /// Replica of the database that may answer reads.
    pub replica: Option<Replica>,
    /// Counters of the process.
    pub metrics: Metrics,
    /// Cancelled when the process should stop.
    pub shutdown: CancellationToken,
}

impl FromRef<AppState> for HealthParts {
    fn from_ref(state: &AppState) -> Self {
        Self {
            pool: state.pool.clone(),
            schema_look: state.schema_look.clone(),
            clock: state.clock.clone(),
            laws: Some(state.laws.clone()),
            replica: state.replica.clone(),
            metrics: state.metrics.clone(),
            shutdown: state.shutdown.clone(),
        }
    }
}

/// Router with only these routes.
pub fn health_router(parts: HealthParts) -> axum::Router {
    axum::Router::new()
        .route("/healthz", get(get_healthz))
        .route("/readyz", get(get_readyz))
        .route("/metrics", get(get_metrics))
        .with_state(parts)
}

/// Router for connections beyond the limit: it answers health checks, and tells everybody else that there is no room.
pub fn beyond_router(parts: HealthParts) -> axum::Router {
    let no_place = async || {
        let detail = "as many connections as this service takes (--max-connections), or as it takes from one \
                      address (--max-connections-per-address), are open; try again";
        Problem::new(ProblemKind::Unavailable, detail)
    };
    axum::Router::new()
        .route("/healthz", get(get_healthz))
        .route("/readyz", get(get_readyz))
        .fallback(no_place)
        .with_state(parts)
}

/// Whether the process is alive.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
    /// Version of the service.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

/// How ready the service is to answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready`, or `degraded`: requests are answered, but no refit can be claimed, or the replica of the database does
    /// not answer reads as it should.
    #[schema(example = "ready")]
    status: &'static str,
    /// Version of the service.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Whether the service is notified at once when another law answers for a family or the valid keys change. While it
    /// is not, it looks up laws for every question: the answers are the same, but slower. A revoked key is then only
    /// refused once the keys are read again, every `--key-refresh-ms`.
    #[schema(example = true)]
    follows_announcements: bool,
    /// Whether a worker can claim a refit. If not, for example in a read-only database, requested refits wait.
    #[schema(example = true)]
    claims_refits: bool,
    /// Whether reads are answered by the replica of the database; null where none is configured. While the replica is
    /// not used, the primary answers them.
    read_replica: Option<ReplicaState>,
}

/// Checks whether the process is alive.
#[utoipa::path(
    get, path = "/healthz", tag = TAG_SERVICE,
    responses((status = OK, description = "It is", body = Health)),
)]
async fn get_healthz() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Checks whether requests can be answered: the database is reachable and has a schema for this version.
#[utoipa::path(
    get, path = "/readyz", tag = TAG_SERVICE,
    responses(
        (status = OK, description = "They can", body = Readiness),
        (status = SERVICE_UNAVAILABLE, description = "Not now", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn get_readyz(State(state): State<HealthParts>) -> Result<Json<Readiness>, ApiError> {
    if state.shutdown.is_cancelled() {
        return Err(ApiError::Unavailable(anyhow::anyhow!("the service is stopping")));
    }
    let seen = state.schema_look.look().await;
    let seen = seen.map_err(|error| ApiError::Unavailable(error.into()))?;
    match seen.schema {
        Schema::Usable { .. } => {
            let read_replica = state.replica.map(|replica| replica.health().state);
            let degraded = !seen.claims_refits
                || read_replica.is_some_and(|state| state != ReplicaState::Used);
            Ok(Json(Readiness {
                status: if degraded { "degraded" } else { "ready" },
                version: env!("CARGO_PKG_VERSION"),
                follows_announcements: state.laws.is_some_and(|laws| laws.is_followed()),
                claims_refits: seen.claims_refits,
                read_replica,
            }))
        }
        Schema::Older => {
            Err(ApiError::Unavailable(anyhow::anyhow!("the schema is not up to date")))
        }
        Schema::Contracted { version } => {
            Err(ApiError::Unavailable(SchemaError::Contracted { version }.into()))
        }
    }
}

/// How long metrics wait for the queues of refits and uploads.
const QUEUE_PATIENCE: Duration = Duration::from_secs(1);

/// Shows the metrics of the service for Prometheus: requests, latencies, refits, connections, laws in memory.
#[utoipa::path(
    get, path = "/metrics", tag = TAG_SERVICE,
    responses((status = OK, description = "Text in Prometheus's format, or OpenMetrics for who accepts that",
        content((String = "text/plain"), (String = "application/openmetrics-text")))),
)]
async fn get_metrics(
    State(state): State<HealthParts>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // Metrics matter most when the database is not reachable. The queues are left out then, before the collector gives
    // up.
    let queues = async {
        let refits = refits::find_queue(&state.pool).await?;
        Ok::<_, StoreError>((refits, uploads::find_waiting_uploads(&state.pool, "").await?))
    };
    let queues = tokio::time::timeout(QUEUE_PATIENCE, queues).await.ok().and_then(Result::ok);
    let waited = |queue: refits::Queue| {
        let oldest = queue.oldest.map(|oldest| state.clock.now() - oldest);
        (queue.queued, queue.running, oldest.and_then(|age| age.to_std().ok()).unwrap_or_default())
    };
    let laws = match &state.laws {
        Some(laws) => Some((laws.size().await, laws.is_followed())),
        None => None,
    };
    let readings = Readings {
        pool: (state.pool.size(), state.pool.num_idle()),
        pool_limit: state.pool.options().get_max_connections(),
        laws,
        replica: state.replica.map(|replica| {
            let health = replica.health();
            (health.state == ReplicaState::Used, health.lag)
        }),
        refits: queues.map(|(refits, _)| waited(refits)),
        uploads: queues.map(|(_, uploads)| (uploads.queued, uploads.running, uploads.bytes)),
    };
    let text = state.metrics.encode(&readings).map_err(|error| ApiError::Internal(error.into()))?;
    // Clients that know OpenMetrics say so in `Accept`; all others get the older format.
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open = accepted
        .flat_map(|value| value.split(','))
        .any(|range| range.trim().starts_with("application/openmetrics-text"));
    let (kind, text) = if open {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", in_text_format(&text))
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::VARY, "accept")], text).into_response())
}
