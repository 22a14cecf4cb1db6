//! What every handler may use.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::api::layers::threads::AnswerThreads;
use crate::api::layers::throttle::Throttle;
use crate::api::layers::transfers::Transfers;
use crate::api::questions::law::AskedLaw;
use crate::clock::Clock;
use crate::live::audit::AuditLog;
use crate::live::keyring::Access;
use crate::live::laws::LawCache;
use crate::live::profiles::ProfileCache;
use crate::live::replica::Replica;
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
    pub laws: LawCache<AskedLaw>,
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
    /// A path of a proxy below which the service is reached.
    pub base_path: Option<String>,
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
    /// The most mappings that are kept for a family.
    pub max_mappings: u32,
}
