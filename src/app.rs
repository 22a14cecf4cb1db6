//! Putting the parts together: database, router, worker, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::layers::threads::AnswerThreads;
use crate::api::layers::throttle::Throttle;
use crate::api::layers::transfers::Transfers;
use crate::api::resources::health::{HealthParts, health_router};
use crate::api::state::{AppParts, AppState};
use crate::clock::Clock;
use crate::config::{DatabaseConfig, HttpConfig, RefitConfig};
use crate::jobs::Worker;
use crate::live::announcements::follow_announcements;
use crate::live::audit::AuditLog;
use crate::live::keyring::Access;
use crate::live::laws::LawCache;
use crate::live::profiles::ProfileCache;
use crate::live::replica::Replica;
use crate::oidc::Tokens;
use crate::postgres::PrivatePostgres;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;
use crate::{api, server, store};

/// An open database: the configured one, or a private one that is left when this is closed.
#[derive(Debug)]
pub struct Database {
    /// Connections to it.
    pub pool: PgPool,
    private: Option<PrivatePostgres>,
}

impl Database {
    /// Connects, starting a private PostgreSQL where no URL is given, and brings the schema up to
    /// date.
    ///
    /// # Errors
    /// Where there is no database to be had, or its schema is newer than this binary.
    pub async fn open(config: &DatabaseConfig) -> anyhow::Result<Self> {
        let (options, private) = match &config.database_url {
            Some(url) => (connect_options(url, "DATABASE_URL")?, None),
            None => {
                let config = &config.private;
                let private =
                    PrivatePostgres::start(config.data_dir.as_deref(), config.pg_bin.as_deref())
                        .await?;
                (private.connect_options(), Some(private))
            }
        };
        let timeout = Duration::from_millis(config.database_timeout_ms);
        let pool = store::connect(options, config.database_connections, timeout)
            .await
            .context("connecting to the database")?;
        store::migrate(&pool).await.context("migrating the database")?;
        Ok(Self { pool, private })
    }

    /// Closes the connections and leaves the private PostgreSQL.
    ///
    /// # Errors
    /// Where the private PostgreSQL does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        self.pool.close().await;
        if let Some(private) = self.private {
            private.stop().await?;
        }
        Ok(())
    }
}

/// What a setting says. The URL is not repeated: it holds a password.
fn connect_options(url: &str, setting: &str) -> anyhow::Result<PgConnectOptions> {
    url.parse().map_err(|_| {
        anyhow::anyhow!(
            "{setting} is not a URL such as postgres://user:password@host:5432/database"
        )
    })
}

/// A service that is up: its address, its router for callers in the same process, and its end.
#[derive(Debug)]
pub struct Service {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The same router that is served.
    pub router: Router,
    shutdown: CancellationToken,
    access: Access,
    http: tokio::task::JoinHandle<()>,
    worker: tokio::task::JoinHandle<()>,
    follower: tokio::task::JoinHandle<()>,
    auditor: tokio::task::JoinHandle<()>,
    /// Cancelled when the last request was answered.
    answered: CancellationToken,
    drain: Duration,
}

impl Service {
    /// Starts the API and a worker on an open database.
    ///
    /// # Errors
    /// Where the address is taken, there are no threads, or others could reach a service that asks for
    /// no key.
    pub async fn start(
        database: &Database,
        http: &HttpConfig,
        refits: &RefitConfig,
        traces: &Traces,
    ) -> anyhow::Result<Self> {
        let listener = listen(http.bind, "--bind").await?;
        let address = listener.local_addr()?;
        let clock = Arc::new(Clock::system());
        let shutdown = CancellationToken::new();
        let tokens = Tokens::open(&http.access.oidc, clock.clone()).await?;
        let (pool, refresh) = (database.pool.clone(), http.access.key_refresh());
        let access = Access::open(pool, clock.clone(), refresh, tokens)
            .await
            .context("reading the API keys")?;
        let loopback = address.ip().to_canonical().is_loopback();
        if !access.is_required() && !loopback {
            anyhow::ensure!(
                http.access.insecure_no_auth,
                "other machines can reach {address}, and there is no API key: create one with \
                 `sparsity-planner keys create --name admin --scope admin`, or listen on 127.0.0.1, or \
                 say --insecure-no-auth to let everybody read and write everything"
            );
            tracing::warn!(%address, "whoever reaches this address can read and write everything");
        }
        let throttle = Throttle::new(http.access.throttle());
        let (audit, auditor) =
            AuditLog::new(database.pool.clone(), clock.clone(), http.access.audit_retention_days());
        let metrics = Metrics::default();
        let worker = Worker::new(
            database.pool.clone(),
            clock.clone(),
            refits.worker(),
            metrics.clone(),
            traces.clone(),
            shutdown.clone(),
        )?;
        let replica = match &http.reads.read_database_url {
            Some(url) => {
                let options = connect_options(url, "--read-database-url")?;
                let max_lag = Duration::from_millis(http.reads.read_max_lag_ms);
                let replica =
                    Replica::open(&database.pool, options, max_lag, metrics.clone()).await;
                Some(replica.context("asking the database which one it is")?)
            }
            None => None,
        };
        let laws = LawCache::new(http.law_cache_bytes);
        let profiles = ProfileCache::default();
        let follower = follow_announcements(
            database.pool.clone(),
            laws.clone(),
            profiles.clone(),
            access.clone(),
            replica.clone(),
            shutdown.clone(),
        );
        let (counts, stop) = (throttle.clone(), shutdown.clone());
        let watched = replica.clone();
        let follower = async move {
            let watch = async {
                if let Some(replica) = watched {
                    replica.watch(&stop).await;
                }
            };
            tokio::join!(follower, counts.keep(&stop), watch);
        };
        let state = AppState::new(AppParts {
            pool: database.pool.clone(),
            replica,
            clock,
            laws,
            profiles,
            threads: AnswerThreads::new(http.answer_threads()),
            metrics,
            traces: traces.clone(),
            access: access.clone(),
            throttle,
            audit,
            loopback,
            cors_origins: http.access.cors_origins.clone(),
            allowed_hosts: http.access.allowed_hosts.clone(),
            limits: http.limits(),
            transfers: Transfers::new(http.transfer_limits()),
            shutdown: shutdown.clone(),
        });
        let router = api::router(state);
        let answered = CancellationToken::new();
        let served = server::serve(listener, router.clone(), http.connections(), shutdown.clone());
        tracing::info!(%address, "listening");
        Ok(Self {
            address,
            router,
            shutdown,
            access,
            http: tokio::spawn(served),
            worker: tokio::spawn(worker.run()),
            follower: tokio::spawn(follower),
            auditor: tokio::spawn(auditor.run(answered.clone())),
            answered,
            drain: http.drain(),
        })
    }

    /// Runs until a signal asks to stop, then lets requests under way end and gives a running refit
    /// back.
    ///
    /// # Errors
    /// Where serving fails.
    pub async fn run_until_stopped(mut self) -> anyhow::Result<()> {
        tokio::select! {
            () = stop_signal() => tracing::info!("stopping"),
            // It ends by itself only with a panic.
            ended = &mut self.http => ended?,
        }
        self.stop().await
    }

    /// Stops.
    ///
    /// # Errors
    /// Where serving failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        let abort = self.http.abort_handle();
        if tokio::time::timeout(self.drain, self.http).await.is_err() {
            tracing::warn!("requests were still under way when the time to drain was over");
            abort.abort();
        }
        self.worker.await?;
        self.follower.await?;
        self.access.report().await;
        self.answered.cancel();
        self.auditor.await?;
        Ok(())
    }
}

/// Runs a worker alone until a signal asks to stop; where there is an address for it, it says there how
/// it is and what it counts.
///
/// # Errors
/// Where there are no threads, or the address is taken.
pub async fn run_worker(
    database: &Database,
    refits: &RefitConfig,
    traces: &Traces,
    health: Option<SocketAddr>,
) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let clock = Arc::new(Clock::system());
    let metrics = Metrics::default();
    let worker = Worker::new(
        database.pool.clone(),
        clock.clone(),
        refits.worker(),
        metrics.clone(),
        traces.clone(),
        shutdown.clone(),
    )?;
    let worker = tokio::spawn(worker.run());
    if let Some(address) = health {
        let listener = listen(address, "--health-bind").await?;
        let address = listener.local_addr()?;
        let parts = HealthParts {
            pool: database.pool.clone(),
            clock,
            // It answers no questions.
            laws: None,
            replica: None,
            metrics,
            shutdown: shutdown.clone(),
        };
        tokio::spawn(axum::serve(listener, health_router(parts)).into_future());
        tracing::info!(%address, "listening");
    }
    tracing::info!("working");
    stop_signal().await;
    tracing::info!("stopping");
    shutdown.cancel();
    worker.await?;
    Ok(())
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener
        .with_context(|| format!("listening on {address}; choose another address with {option}"))
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};

    // Without a handler the signal would end the process at once, which also stops it.
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
