//! Putting the parts together: database, router, worker, and an orderly end.

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

/// How long it may take at the start to find out how connections are lent; what a request waits is too short for a
/// machine that is busy.
const POOLING_PATIENCE: Duration = Duration::from_secs(30);

/// How long connections may take to come back at the end.
const CLOSING: Duration = Duration::from_millis(500);

/// Connections that listen, where they are not of the pool: one for the worker, one for what is in memory.
const LISTENERS: u32 = 2;

/// An open database: the configured one, or a private one that is left when this is closed.
#[derive(Debug)]
pub struct Database {
    /// Connections to it.
    pub pool: PgPool,
    /// Those on which announcements are heard; `None` where none would be.
    pub listening: Option<PgPool>,
    private: Option<KeptPostgres>,
}

/// A private PostgreSQL, and who starts it again where it dies.
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
        // However it ended: what it held is gone.
        let _ = self.keeper.await;
        match Arc::into_inner(self.server) {
            Some(server) => Ok(server.stop().await?),
            None => anyhow::bail!("the private PostgreSQL is still in use"),
        }
    }
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
        // Before tables are made there, which would be in the way of the coordinator's.
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

    /// Puts the table of runs into parts.
    ///
    /// # Errors
    /// Where it is in parts already, or the database cannot do it.
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
        // What is set on it is not for others.
        connection.close_on_drop();
        store::distribution::distribute(&mut connection).await?;
        tracing::info!("the tables are distributed");
        Ok(())
    }

    /// Closes the connections and leaves the private PostgreSQL.
    ///
    /// # Errors
    /// Where the private PostgreSQL does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        let closing = async {
            self.pool.close().await;
            if let Some(listening) = &self.listening {
                listening.close().await;
            }
        };
        // A connection that is in use by what was broken off comes back when its query ends.
        if tokio::time::timeout(CLOSING, closing).await.is_err() {
            tracing::warn!("connections to the database were still in use");
        }
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

/// Why there is no connection, with what helps where that cannot be guessed.
fn not_connected(error: sqlx::Error) -> anyhow::Error {
    let said = error.to_string();
    let error = anyhow::Error::new(error);
    // As rustls says it. Citus makes such a certificate when it is started for the first time, and so do short recipes.
    if said.contains("UnsupportedCertVersion") {
        return error.context(
            "connecting to the database: its certificate is of version 1 of X.509, with which nothing can be encrypted here: \
             give the server one of version 3 (ssl_cert_file, ssl_key_file), or add ?sslmode=disable to the URL where nobody \
             can listen between the two",
        );
    }
    error.context("connecting to the database")
}

/// What a service is told about itself, apart from its database: the program reads it from its settings
/// ([`AppConfig::read`]), a test says what it needs.
#[derive(Debug, Clone)]
pub struct AppConfig {
    /// What a request may cost.
    pub limits: RequestLimits,
    /// Limits of uploads and exports.
    pub transfers: TransferLimits,
    /// Who may use it how much.
    pub throttle: ThrottleConfig,
    /// How often the keys are read again, announced or not.
    pub key_refresh: Duration,
    /// How long keys are believed that could not be read again.
    pub keys_believed: Duration,
    /// Days that events of the audit log are kept; `None` for ever.
    pub audit_retention_days: Option<u32>,
    /// Memory for laws that were asked lately.
    pub law_cache_bytes: u64,
    /// From what on answers are not to be trusted.
    pub trust: TrustPolicy,
    /// Threads for answers that take long to compute.
    pub answer_threads: usize,
    /// Origins whose pages may ask.
    pub cors_origins: Vec<HeaderValue>,
    /// Names, beside `localhost`, by which a service without keys may be asked.
    pub allowed_hosts: Vec<String>,
    /// Whether only this machine reaches it.
    pub loopback: bool,
    /// A path of a proxy below which it is reached.
    pub base_path: Option<String>,
    /// A streaming replica of the database, and how old what it shows may be.
    pub replica: Option<(PgConnectOptions, Duration)>,
}

impl AppConfig {
    /// What the settings say of a service on this address.
    ///
    /// # Errors
    /// Where the address of the replica is no URL.
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

/// The parts of a service, wired: the one place where they are put together, for the program and for
/// tests. Nothing runs yet but what is asked of it.
#[derive(Debug)]
pub struct App {
    /// What handlers may use.
    pub state: AppState,
    /// Stores what is left in the audit log.
    pub auditor: AuditWriter,
}

impl App {
    /// Wires a service on an open database.
    ///
    /// # Errors
    /// Where the keys cannot be read, or the database does not say which one it is.
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

/// Follows what the database announces until the service is to stop.
pub async fn follow(state: AppState, listening: Option<PgPool>) {
    let (laws, profiles, access) =
        (state.laws.clone(), state.profiles.clone(), state.access.clone());
    let (pool, replica) = (state.pool.clone(), state.replica.clone());
    let families = state.family_watch.clone();
    let memory = InMemory { laws, profiles, access, families, replica };
    follow_announcements(pool, listening, memory, state.shutdown.clone()).await;
}

/// Watches the replica of the database, where there is one, until the service is to stop.
pub async fn watch_replica(state: AppState) {
    if let Some(replica) = &state.replica {
        replica.watch(&state.shutdown).await;
    }
}

/// Stores uploads that were answered before, until the service is to stop.
pub async fn store_uploads(state: AppState) {
    store_waiting(state).await;
}

/// A worker beside a service, which stops with it.
///
/// # Errors
/// Where the system gives no threads.
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

/// A service that is up: its address, its router for callers in the same process, and its end.
#[derive(Debug)]
pub struct Service {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The same router that is served.
    pub router: Router,
    state: AppState,
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
        let listener = listen(http.bind, "--bind", http.send_buffer_bytes)?;
        let address = listener.local_addr()?;
        let clock = Arc::new(Clock::system());
        let tokens = Tokens::open(&http.access.oidc, clock.clone()).await?;
        let config = AppConfig::read(http, address)?;
        // Before the first thread that computes.
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
        self.state.shutdown.cancel();
        let drained = Instant::now() + self.drain;
        let abort = self.http.abort_handle();
        if timeout_at(drained, self.http).await.is_err() {
            tracing::warn!("requests were still under way when the time to drain was over");
            abort.abort();
        }
        // A database that stands still must not hold the end up: what is given back then is what others find out
        // by themselves.
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

/// How long what stops with a service may take after the requests under way have ended.
const LAST_WORDS: Duration = Duration::from_millis(1_500);

/// Waits for the end of a task, but not for longer than until a time; then it is broken off.
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
            // It answers no questions.
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

/// Connections that the system accepts before the service does.
const BACKLOG: u32 = 1024;

/// Connections of those who look after a process, and what their headers may be: a few, of programs on a network
/// that is near.
const HEALTH_LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    each: 32,
    shared: Vec::new(),
    header_timeout: Duration::from_secs(5),
    // Longer than the time between two looks.
    idle_timeout: Duration::from_secs(90),
    streams: 8,
    header_bytes: 16 * 1024,
    write_timeout: Duration::from_secs(5),
};
/// What the system holds of an answer there that is not taken: all of the metrics.
const HEALTH_BUFFER: u32 = 64 * 1024;

/// Answers at an address of its own how a process is and what it counts, until it stops.
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

/// Listens on an address. Accepted connections hold at most so many bytes of an answer that is not taken, where that
/// is more than 0: left to itself the system lets them grow to megabytes.
fn listen(address: SocketAddr, option: &str, send_buffer: u32) -> anyhow::Result<TcpListener> {
    let listening = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A service that starts again need not wait for the connections of the one before.
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

    // Without a handler the signal would end the process at once, which also stops it.
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
