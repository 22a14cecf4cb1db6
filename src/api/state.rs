//! The state that all handlers share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use moka::future::Cache;
use sparsity_law::law::ComparedOptimum;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::layers::answer_points::{AnswerPoints, BulkLimits};
use crate::api::layers::bodies::{Bodies, BodyLimits};
use crate::api::layers::owner::Owner;
use crate::api::layers::places::Places;
use crate::api::layers::threads::AnswerThreads;
use crate::api::layers::throttle::Throttle;
use crate::api::layers::transfers::Transfers;
use crate::api::questions::law::AskedLaw;
use crate::clock::Clock;
use crate::live::audit::AuditLog;
use crate::live::family_watch::FamilyWatch;
use crate::live::keyring::Access;
use crate::live::laws::LawCache;
use crate::live::profiles::ProfileCache;
use crate::live::refit_watch::RefitWatch;
use crate::live::replica::Replica;
use crate::live::schema_look::SchemaLook;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// The state that all handlers share; cloned several times per request, so it is a pointer.
#[derive(Debug, Clone)]
pub struct AppState(Arc<AppParts>);

impl AppState {
    /// Creates the state from its parts.
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

/// The most comparisons of two laws that are cached, of about ten kilobytes each.
pub(crate) const COMPARISONS: u64 = 256;

/// The parts of the state.
#[derive(Debug)]
pub struct AppParts {
    /// The database.
    pub pool: PgPool,
    /// Whether the database can be used.
    pub schema_look: SchemaLook,
    /// Streaming replica of the database that may answer reads.
    pub replica: Option<Replica>,
    /// Source of the time and of ids.
    pub clock: Arc<Clock>,
    /// Cache of laws that answered recently.
    pub laws: LawCache<AskedLaw>,
    /// Cache of hardware profiles that were used recently.
    pub profiles: ProfileCache,
    /// Cache of the optimal sparsities by two recently compared laws, by the ids of the laws.
    pub comparisons: Cache<(Uuid, Uuid), Arc<Vec<ComparedOptimum>>>,
    /// Threads for answers that take long to compute.
    pub threads: AnswerThreads,
    /// Room for the answers to questions about many points at once.
    pub answer_points: AnswerPoints,
    /// Families that streams of events follow.
    pub family_watch: FamilyWatch,
    /// Refits that streams of events follow.
    pub refit_watch: RefitWatch,
    /// Places for open streams of events.
    pub streams: Places<Owner>,
    /// Counters of the process.
    pub metrics: Metrics,
    /// Exporter of request traces.
    pub traces: Traces,
    /// Who may access the service.
    pub access: Access,
    /// Rate limits of callers.
    pub throttle: Throttle,
    /// Log of who wrote what.
    pub audit: AuditLog,
    /// Whether only this machine can reach the service, because it listens on a loopback address.
    pub loopback: bool,
    /// Origins whose pages may send requests (CORS).
    pub cors_origins: Vec<HeaderValue>,
    /// Host names, in addition to `localhost`, that a service without keys accepts.
    pub allowed_hosts: Vec<String>,
    /// Path of a proxy below which the service is reached.
    pub base_path: Option<String>,
    /// Limits of what a request may cost.
    pub limits: RequestLimits,
    /// Room for request bodies that are held in memory until they are read.
    pub bodies: Bodies,
    /// Uploads and exports in progress.
    pub transfers: Transfers,
    /// Notified when an upload was accepted that is still to be stored.
    pub uploads_accepted: Notify,
    /// Cancelled when the service should stop.
    pub shutdown: CancellationToken,
}

/// Limits on the number of open streams of events.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// The most open streams in total.
    pub at_once: usize,
    /// The most open streams of one owner.
    pub each: usize,
}

/// Limits on what a request may cost.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Limits of bodies that are held in memory as a whole.
    pub bodies: BodyLimits,
    /// Limits of questions about many points.
    pub bulk: BulkLimits,
    /// The longest time until an answer begins.
    pub request_timeout: Duration,
    /// The most work of a refit: the number of runs times the number of starts and resamples.
    pub refit_work: u64,
    /// Limits of streams of events.
    pub streams: StreamLimits,
    /// The most runs on which two laws are compared.
    pub compared_runs: u32,
    /// The most laws of a family that one question may ask.
    pub history_laws: u16,
    /// The most mappings that a family may have.
    pub max_mappings: u32,
}
