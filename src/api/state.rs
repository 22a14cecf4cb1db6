//! What every handler may use.

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

/// Pairs of laws that are remembered, of about ten kilobytes each.
pub(crate) const COMPARISONS: u64 = 256;

/// The parts of the state.
#[derive(Debug)]
pub struct AppParts {
    /// The database.
    pub pool: PgPool,
    /// Whether it can be used.
    pub schema_look: SchemaLook,
    /// A streaming replica of it that reads may be answered by.
    pub replica: Option<Replica>,
    /// Time and ids.
    pub clock: Arc<Clock>,
    /// Laws that were asked lately.
    pub laws: LawCache<AskedLaw>,
    /// Hardware profiles that were asked lately.
    pub profiles: ProfileCache,
    /// Optimal sparsities by two laws, given by their ids, which were compared lately.
    pub comparisons: Cache<(Uuid, Uuid), Arc<Vec<ComparedOptimum>>>,
    /// For answers that take long to compute.
    pub threads: AnswerThreads,
    /// Room for the answers to questions about many points.
    pub answer_points: AnswerPoints,
    /// Families that are followed.
    pub family_watch: FamilyWatch,
    /// Refits that are followed.
    pub refit_watch: RefitWatch,
    /// Streams of events.
    pub streams: Places<Owner>,
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
    /// A path of a proxy below which the service is reached.
    pub base_path: Option<String>,
    /// What a request may cost.
    pub limits: RequestLimits,
    /// Bodies that are held until they are read.
    pub bodies: Bodies,
    /// Uploads and exports under way.
    pub transfers: Transfers,
    /// Told where an upload was accepted that is to be stored.
    pub uploads_accepted: Notify,
    /// Cancelled when the service is to stop.
    pub shutdown: CancellationToken,
}

/// How many streams of events may be open.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// All of them.
    pub at_once: usize,
    /// Those of one owner.
    pub each: usize,
}

/// Limits of what a request may cost.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Bodies that are held whole.
    pub bodies: BodyLimits,
    /// Questions about many points.
    pub bulk: BulkLimits,
    /// The longest time that an answer may take to begin.
    pub request_timeout: Duration,
    /// The most that a refit may take, in runs times starts and resamples.
    pub refit_work: u64,
    /// Streams of events.
    pub streams: StreamLimits,
    /// The most runs on which two laws are compared.
    pub compared_runs: u32,
    /// The most laws of a family that one question asks.
    pub history_laws: u16,
    /// The most mappings that are kept for a family.
    pub max_mappings: u32,
}
