//! Puts the parts together (database, router, worker) and shuts them down in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::FromRef;
use axum::http::HeaderValue;
use moka::future::Cache;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::api::layers::answer_points::AnswerPoints;
use crate::api::layers::bodies::Bodies;
use crate::api::layers::places::Places;
use crate::api::layers::threads::AnswerThreads;
use crate::api::layers::throttle::{Throttle, ThrottleConfig};
use crate::api::layers::transfers::{TransferLimits, Transfers};
use crate::api::resources::health::{HealthParts, beyond_router, health_router};
use crate::api::resources::waiting_uploads::store_waiting;
use crate::api::state::{AppParts, AppState, COMPARISONS, RequestLimits};
use crate::background::set_niceness;
use crate::clock::Clock;
use crate::config::{DatabaseConfig, HttpConfig, RefitConfig};
use crate::domain::trust::TrustPolicy;
use crate::jobs::{Worker, WorkerConfig, WorkerParts};
use crate::live::announcements::{InMemory, follow_announcements};
use crate::live::audit::{AuditLog, AuditWriter};
use crate::live::family_watch::FamilyWatch;
use crate::live::keyring::Access;
use crate::live::laws::LawCache;
use crate::live::profiles::ProfileCache;
use crate::live::refit_watch::RefitWatch;
use crate::live::replica::Replica;
use crate::live::schema_look::SchemaLook;
use crate::oidc::Tokens;
use crate::postgres::PrivatePostgres;
use crate::server::{ConnectionLimits, Served};
use crate::store::of_ours;
use crate::store::pooling::{Pooling, find_pooling};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;
use crate::{api, server, store};

/// How long finding out the pooling mode of the connections may take at startup. The timeout of a request is too short
/// for a busy machine.
const POOLING_PATIENCE: Duration = Duration::from_secs(30);

/// How long connections may take to be returned to the pool at shutdown.
const CLOSING: Duration = Duration::from_millis(500);

/// Connections that listen for announcements when they have a pool of their own: one for the worker, one for the state
/// in memory.
const LISTENERS: u32 = 2;

/// An open database: the configured one, or a private one that is stopped when this is closed.
#[derive(Debug)]
pub struct Database {
    /// The connection pool.
    pub pool: PgPool,
    /// The pool whose connections listen for announcements; `None` where announcements would not arrive.
    pub listening: Option<PgPool>,
    private: Option<KeptPostgres>,
}

/// A private PostgreSQL and the task that restarts it when it dies.
#[derive(Debug)]
struct KeptPostgres {
    server: Arc<PrivatePostgres>,
    keeper: tokio::task::JoinHandle<()>,
}

impl KeptPostgres {
    fn new(server: PrivatePostgres) -> Self {
        let server = Arc::new(server);
        let kept = server.clone();
        Self { server, keeper: tokio::spawn(async move { kept.keep().await }) }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.keeper.abort();
        // Whether the task panicked or was aborted does not matter: either way it has dropped its reference to the
        // server.
        let _ = self.keeper.await;
        match Arc::into_inner(self.server) {
            Some(server) => Ok(server.stop().await?),
            None => anyhow::bail!("the private PostgreSQL is still in use"),
        }
    }
}

impl Database {
    /// Connects, and brings the schema up to date. Starts a private PostgreSQL where no URL is given.
    ///
    /// # Errors
    /// If no database can be reached or started, or its schema is newer than this binary.
    pub async fn open(config: &DatabaseConfig) -> anyhow::Result<Self> {
        let (options, private) = match &config.database_url {
            Some(url) => (connect_options(url, "DATABASE_URL")?, None),
            None => {
                let config = &config.private;
                let private =
                    PrivatePostgres::start(config.data_dir.as_deref(), config.pg_bin.as_deref())
                        .await?;
                (private.connect_options(), Some(KeptPostgres::new(private)))
            }
        };
        let timeout = Duration::from_millis(config.database_timeout_ms);
        let pool = store::connect(options.clone(), config.database_connections, timeout)
            .await
            .map_err(not_connected)?;
        let encoding = store::find_encoding(&pool).await.context("asking the database")?;
        anyhow::ensure!(
            encoding == "UTF8",
            "the database keeps text as {encoding}, which has no room for the names and tags of runs: create one \
             with `createdb --encoding UTF8 --template template0 NAME`"
        );
        let pooling = match private {
            Some(_) => Pooling::Sessions,
            None => find_pooling(&of_ours(options), timeout.max(POOLING_PATIENCE))
                .await
                .context("trying how connections to the database are lent")?,
        };
        let mut connection = pool.acquire().await.context("connecting to the database")?;
        // Checked before any table is created on the worker node, where it would get in the way of the coordinator's
        // tables.
        anyhow::ensure!(
            store::find_announces_here(&mut connection).await.context("asking the database")?,
            "DATABASE_URL names a worker of Citus, on which nothing is heard of what others change: name its coordinator"
        );
        drop(connection);
        let listening = match (&config.listen_database_url, pooling) {
            (Some(url), _) => {
                let options = connect_options(url, "--listen-database-url")?;
                let listening = store::connect(options, LISTENERS, timeout).await;
                let listening = listening.map_err(not_connected);
                Some(listening.context("--listen-database-url")?)
            }
            (None, Pooling::Sessions) => Some(pool.clone()),
            (None, Pooling::Transactions) => {
                tracing::warn!(
                    "a pooler lends connections by transaction, so nothing that is announced would be heard: \
                     questions look their law up each time; --listen-database-url names the database itself"
                );
                None
            }
        };
        store::migrate(&pool).await.context("migrating the database")?;
        Ok(Self { pool, listening, private })
    }

    /// Partitions the table of runs.
    ///
    /// # Errors
    /// If the table is partitioned already, or the database cannot do it.
    pub async fn partition(&self, parts: u16) -> anyhow::Result<()> {
        let mut connection = self.pool.acquire().await.context("connecting to the database")?;
        let done = store::partitions::partition_runs(&mut connection, parts);
        anyhow::ensure!(
            done.await.context("putting the runs into parts")?,
            "the table of runs is in parts already, and is left as it is"
        );
        tracing::info!(parts, "the table of runs is in parts");
        Ok(())
    }

    /// Distributes the tables over the nodes of a coordinator of Citus.
    ///
    /// # Errors
    /// [`DistributionError`](store::distribution::DistributionError).
    pub async fn distribute(&self) -> anyhow::Result<()> {
        let mut connection = self.pool.acquire().await.context("connecting to the database")?;
        // The session's settings are changed below, so the connection must not go back to the pool.
        connection.close_on_drop();
        store::distribution::distribute(&mut connection).await?;
        tracing::info!("the tables are distributed");
        Ok(())
    }

    /// Closes the connections and stops the private PostgreSQL, if there is one.
    ///
    /// # Errors
    /// If the private PostgreSQL does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        let closing = async {
            self.pool.close().await;
            if let Some(listening) = &self.listening {
                listening.close().await;
            }
        };
        // A connection still in use by an aborted task comes back only when its query ends.
        if tokio::time::timeout(CLOSING, closing).await.is_err() {
            tracing::warn!("connections to the database were still in use");
        }
        if let Some(private) = self.private {
            private.stop().await?;
        }
        Ok(())
    }
}

/// Parses the URL of a setting. The error does not repeat the URL, because it holds a password.
fn connect_options(url: &str, setting: &str) -> anyhow::Result<PgConnectOptions> {
    url.parse().map_err(|_| {
        anyhow::anyhow!(
            "{setting} is not a URL such as postgres://user:password@host:5432/database"
        )
    })
}

/// Explains why no connection could be made, with a remedy where it is not obvious.
fn not_connected(error: sqlx::Error) -> anyhow::Error {
    let said = error.to_string();
    let error = anyhow::Error::new(error);
    // This is rustls' wording. Citus creates such a certificate when it is first started, and so do many short recipes.
    if said.contains("UnsupportedCertVersion") {
        return error.context(
            "connecting to the database: its certificate is of version 1 of X.509, with which nothing can be encrypted here: \
             give the server one of version 3 (ssl_cert_file, ssl_key_file), or add ?sslmode=disable to the URL where nobody \
             can listen between the two",
        );
    }
    error.context("connecting to the database")
}

/// The configuration of a service, apart from its database. The program reads it from its settings
/// ([`AppConfig::read`]); tests fill it in directly.
#[derive(Debug, Clone)]
pub struct AppConfig {
    /// Limits on what a request may cost.
    pub limits: RequestLimits,
    /// Limits of uploads and exports.
    pub transfers: TransferLimits,
    /// How much each caller may use the service.
    pub throttle: ThrottleConfig,
    /// How often the API keys are read again, whether or not a change was announced.
    pub key_refresh: Duration,
    /// How long keys stay valid when they cannot be read again.
    pub keys_believed: Duration,
    /// Days for which events of the audit log are kept; `None` keeps them for ever.
    pub audit_retention_days: Option<u32>,
    /// Memory for the cache of recently used laws, in bytes.
    pub law_cache_bytes: u64,
    /// The thresholds beyond which answers are not to be trusted.
    pub trust: TrustPolicy,
    /// Number of threads for answers that take long to compute.
    pub answer_threads: usize,
    /// Origins whose pages may call the API from a browser (CORS).
    pub cors_origins: Vec<HeaderValue>,
    /// Host names, besides `localhost`, by which a service without keys may be called.
    pub allowed_hosts: Vec<String>,
    /// Whether the service can be reached from this machine only.
    pub loopback: bool,
    /// Path prefix under which a proxy exposes the service.
    pub base_path: Option<String>,
    /// A streaming replica of the database, and the largest lag at which it may still be read.
    pub replica: Option<(PgConnectOptions, Duration)>,
}

impl AppConfig {
    /// Reads the configuration of a service at this address from its settings.
    ///
    /// # Errors
    /// If the address of the replica is not a URL.
    pub fn read(http: &HttpConfig, address: SocketAddr) -> anyhow::Result<Self> {
        let replica = match &http.reads.read_database_url {
            Some(url) => {
                let options = connect_options(url, "--read-database-url")?;
                Some((options, Duration::from_millis(http.reads.read_max_lag_ms)))
            }
            None => None,
        };
        Ok(Self {
            limits: http.limits(),
            transfers: http.transfer_limits(),
            throttle: http.access.throttle(),
            key_refresh: http.access.key_refresh(),
            keys_believed: http.access.keys_believed(),
            audit_retention_days: http.access.audit_retention_days(),
            law_cache_bytes: http.law_cache_bytes,
            trust: http.trust.policy()?,
            answer_threads: http.answer_threads(),
            cors_origins: http.access.cors_origins.clone(),
            allowed_hosts: http.access.allowed_hosts.clone(),
            loopback: address.ip().to_canonical().is_loopback(),
            base_path: http.base_path.clone(),
            replica,
        })
    }
}

/// The parts of a service, wired together. This is the only place where that is done, for the program and for tests
/// alike. No task runs yet; the state only answers the requests it is given.
#[derive(Debug)]
pub struct App {
    /// The state that handlers share.
    pub state: AppState,
    /// Writes the events of the audit log to the database.
    pub auditor: AuditWriter,
}

impl App {
    /// Wires a service to an open database.
    ///
    /// # Errors
    /// If the keys cannot be read, or the database cannot be identified.
    pub async fn open(
        pool: PgPool,
        config: AppConfig,
        clock: Arc<Clock>,
        tokens: Tokens,
        traces: Traces,
    ) -> anyhow::Result<Self> {
        let access = Access::open(
            pool.clone(),
            clock.clone(),
            (config.key_refresh, config.keys_believed),
            tokens,
        )
        .await
        .context("reading the API keys")?;
        let (audit, auditor) =
            AuditLog::new(pool.clone(), clock.clone(), config.audit_retention_days);
        let metrics = Metrics::default();
        let replica = match config.replica {
            Some((options, max_lag)) => {
                let replica = Replica::open(&pool, options, max_lag, metrics.clone()).await;
                Some(replica.context("asking the database which one it is")?)
            }
            None => None,
        };
        let state = AppState::new(AppParts {
            schema_look: SchemaLook::new(pool.clone()),
            family_watch: FamilyWatch::new(pool.clone(), replica.clone()),
            refit_watch: RefitWatch::new(pool.clone()),
            streams: Places::new(config.limits.streams.at_once, config.limits.streams.each),
            pool,
            replica,
            laws: LawCache::new(config.law_cache_bytes, config.trust, clock.clone()),
            clock,
            profiles: ProfileCache::default(),
            comparisons: Cache::new(COMPARISONS),
            threads: AnswerThreads::new(config.answer_threads),
            answer_points: AnswerPoints::new(config.limits.bulk, config.limits.request_timeout / 2),
            metrics,
            traces,
            access,
            throttle: Throttle::new(config.throttle),
            audit,
            loopback: config.loopback,
            base_path: config.base_path,
            cors_origins: config.cors_origins,
            allowed_hosts: config.allowed_hosts,
            limits: config.limits,
            bodies: Bodies::new(config.limits.bodies),
            transfers: Transfers::new(config.transfers),
            uploads_accepted: Notify::new(),
            shutdown: CancellationToken::new(),
        });
        Ok(Self { state, auditor })
    }
}

/// Follows the database's announcements until the service shuts down.
pub async fn follow(state: AppState, listening: Option<PgPool>) {
    let (laws, profiles, access) =
        (state.laws.clone(), state.profiles.clone(), state.access.clone());
    let (pool, replica) = (state.pool.clone(), state.replica.clone());
    let families = state.family_watch.clone();
    let memory = InMemory { laws, profiles, access, families, replica };
    follow_announcements(pool, listening, memory, state.shutdown.clone()).await;
}

/// Watches the replica of the database, if there is one, until the service shuts down.
pub async fn watch_replica(state: AppState) {
    if let Some(replica) = &state.replica {
        replica.watch(&state.shutdown).await;
    }
}

/// Processes the uploads that were accepted earlier and still wait, until the service shuts down.
pub async fn store_uploads(state: AppState) {
    store_waiting(state).await;
}

/// Starts a worker beside a service; it stops together with the service.
///
/// # Errors
/// If the system does not provide the threads.
pub fn worker(
    state: &AppState,
    listening: Option<PgPool>,
    config: WorkerConfig,
) -> anyhow::Result<Worker> {
    let parts = WorkerParts {
        pool: state.pool.clone(),
        listening,
        clock: state.clock.clone(),
        metrics: state.metrics.clone(),
        traces: state.traces.clone(),
        shutdown: state.shutdown.clone(),
    };
    Ok(Worker::new(parts, config)?)
}

/// A running service: its address, its router (for callers in the same process), and how to stop it.
#[derive(Debug)]
pub struct Service {
    /// The address on which it listens.
    pub address: SocketAddr,
    /// The router that is being served.
    pub router: Router,
    state: AppState,
    http: tokio::task::JoinHandle<()>,
    worker: tokio::task::JoinHandle<()>,
    follower: tokio::task::JoinHandle<()>,
    auditor: tokio::task::JoinHandle<()>,
    /// Cancelled once the last request has been answered.
    answered: CancellationToken,
    drain: Duration,
}

impl Service {
    /// Starts the API and a worker on an open database.
    ///
    /// # Errors
    /// If the address is taken, the system does not provide the threads, or the service would ask for no key although
    /// other machines can reach it.
    pub async fn start(
        database: &Database,
        http: &HttpConfig,
        refits: &RefitConfig,
        traces: &Traces,
    ) -> anyhow::Result<Self> {
        let listener = listen(http.bind, "--bind", http.send_buffer_bytes)?;
        let address = listener.local_addr()?;
        let clock = Arc::new(Clock::system());
        let tokens = Tokens::open(&http.access.oidc, clock.clone()).await?;
        let config = AppConfig::read(http, address)?;
        // Must be set before the first compute thread starts.
        set_niceness(http.compute_niceness);
        let app = App::open(database.pool.clone(), config, clock, tokens, traces.clone()).await?;
        let App { state, auditor } = app;
        if !state.access.is_required() && !state.loopback {
            anyhow::ensure!(
                http.access.insecure_no_auth,
                "other machines can reach {address}, and there is no API key: create one with \
                 `sparsity-planner keys create --name admin --scope admin`, or listen on 127.0.0.1, or \
                 say --insecure-no-auth to let everybody read and write everything"
            );
            tracing::warn!(%address, "whoever reaches this address can read and write everything");
        }
        let listening = database.listening.clone();
        let worker = worker(&state, listening.clone(), refits.worker())?;
        if let Some(address) = http.health_bind {
            serve_health(address, HealthParts::from_ref(&state)).await?;
        }
        let router = api::router(state.clone());
        let (shutdown, answered) = (state.shutdown.clone(), CancellationToken::new());
        let served =
            Served { router: router.clone(), beyond: beyond_router(HealthParts::from_ref(&state)) };
        let served = server::serve(listener, served, http.connections(), shutdown.clone());
        let kept = state.clone();
        let follower = async move {
            let counts = kept.throttle.keep(&shutdown);
            tokio::join!(
                follow(kept.clone(), listening),
                counts,
                watch_replica(kept.clone()),
                store_uploads(kept.clone()),
            );
        };
        tracing::info!(%address, "listening");
        Ok(Self {
            address,
            router,
            state,
            http: tokio::spawn(served),
            worker: worker.start(),
            follower: tokio::spawn(follower),
            auditor: tokio::spawn(auditor.run(answered.clone())),
            answered,
            drain: http.drain(),
        })
    }

    /// Runs until a signal asks to stop, then lets the requests in flight finish and gives a running refit back.
    ///
    /// # Errors
    /// If serving fails.
    pub async fn run_until_stopped(mut self) -> anyhow::Result<()> {
        tokio::select! {
            () = stop_signal() => tracing::info!("stopping"),
            // The server task ends by itself only by a panic.
            ended = &mut self.http => ended?,
        }
        self.stop().await
    }

    /// Shuts the service down.
    ///
    /// # Errors
    /// If serving failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.state.shutdown.cancel();
        let drained = Instant::now() + self.drain;
        let abort = self.http.abort_handle();
        if timeout_at(drained, self.http).await.is_err() {
            tracing::warn!("requests were still under way when the time to drain was over");
            abort.abort();
        }
        // A database that hangs must not hold up the shutdown. A refit that cannot be given back now is taken over by
        // another worker later.
        let end = drained.max(Instant::now()) + LAST_WORDS;
        ended("the worker", end, self.worker).await?;
        ended("who follows announcements", end, self.follower).await?;
        if timeout_at(end, self.state.access.report()).await.is_err() {
            tracing::warn!("when keys were last used is not stored: the database does not answer");
        }
        self.answered.cancel();
        ended("the audit log", end, self.auditor).await
    }
}

/// How long the other tasks may take to stop after the requests in flight have ended.
const LAST_WORDS: Duration = Duration::from_millis(1_500);

/// Waits for a task to end until `end`, then aborts it.
async fn ended(what: &str, end: Instant, task: tokio::task::JoinHandle<()>) -> anyhow::Result<()> {
    let abort = task.abort_handle();
    match timeout_at(end, task).await {
        Ok(ended) => Ok(ended?),
        Err(_) => {
            tracing::warn!(what, "it did not end in time and is broken off");
            abort.abort();
            Ok(())
        }
    }
}

/// Runs a worker without a service until a signal asks to stop. With an address in `health`, health and metrics are
/// served there.
///
/// # Errors
/// If the system does not provide the threads, or the address is taken.
pub async fn run_worker(
    database: &Database,
    refits: &RefitConfig,
    traces: &Traces,
    health: Option<SocketAddr>,
) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let clock = Arc::new(Clock::system());
    let metrics = Metrics::default();
    let parts = WorkerParts {
        pool: database.pool.clone(),
        listening: database.listening.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        traces: traces.clone(),
        shutdown: shutdown.clone(),
    };
    let worker = Worker::new(parts, refits.worker())?;
    let worker = worker.start();
    if let Some(address) = health {
        let parts = HealthParts {
            pool: database.pool.clone(),
            schema_look: SchemaLook::new(database.pool.clone()),
            clock,
            // A worker answers no questions.
            laws: None,
            replica: None,
            metrics,
            shutdown: shutdown.clone(),
        };
        serve_health(address, parts).await?;
    }
    tracing::info!("working");
    stop_signal().await;
    tracing::info!("stopping");
    shutdown.cancel();
    worker.await?;
    Ok(())
}

/// Length of the system's queue of connections that the service has not accepted yet.
const BACKLOG: u32 = 1024;

/// Limits of the health endpoint. Its callers are a few monitoring programs on a nearby network.
const HEALTH_LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    each: 32,
    shared: Vec::new(),
    header_timeout: Duration::from_secs(5),
    // Longer than the interval between two probes.
    idle_timeout: Duration::from_secs(90),
    streams: 8,
    header_bytes: 16 * 1024,
    write_timeout: Duration::from_secs(5),
};
/// Send buffer of the health endpoint: large enough for all of the metrics.
const HEALTH_BUFFER: u32 = 64 * 1024;

/// Serves health and metrics at an address of their own until shutdown.
async fn serve_health(address: SocketAddr, parts: HealthParts) -> anyhow::Result<()> {
    let listener = listen(address, "--health-bind", HEALTH_BUFFER)?;
    let address = listener.local_addr()?;
    let shutdown = parts.shutdown.clone();
    let router = health_router(parts);
    let served = Served { router: router.clone(), beyond: router };
    tokio::spawn(server::serve(listener, served, HEALTH_LIMITS, shutdown));
    tracing::info!(%address, "health and metrics are answered");
    Ok(())
}

/// Listens on an address. `send_buffer` limits how many bytes of an unread answer the system holds for each connection,
/// where it is more than 0: left to itself the system lets these buffers grow to megabytes.
fn listen(address: SocketAddr, option: &str, send_buffer: u32) -> anyhow::Result<TcpListener> {
    let listening = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Lets a restarted service bind while connections of its predecessor are still in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        if send_buffer > 0 {
            socket.set_send_buffer_size(send_buffer)?;
        }
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener: std::io::Result<TcpListener> = listening();
    listener
        .with_context(|| format!("listening on {address}; choose another address with {option}"))
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};

    // If the handler for SIGTERM cannot be installed, the signal's default action ends the process, which also stops
    // it.
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
