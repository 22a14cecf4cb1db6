//! What tests share: the PostgreSQL server, a separate database for each test, the service on one of them, the
//! program in a separate process, and waiting.

pub mod postgres;
pub mod process;
pub mod wait;

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderValue, Request, Response};
use axum_test::{TestResponse, TestServer};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use serde_json::Value;
use sparsity_planner::api::layers::answer_points::BulkLimits;
use sparsity_planner::api::layers::bodies::BodyLimits;
use sparsity_planner::api::layers::throttle::ThrottleConfig;
use sparsity_planner::api::layers::transfers::{TransferLimits, WaitingLimits};
use sparsity_planner::api::state::{AppParts, AppState, RequestLimits, StreamLimits};
use sparsity_planner::app::{self as wired, AppConfig};
use sparsity_planner::cli::demo_runs;
use sparsity_planner::clock::Clock;
use sparsity_planner::domain::trust::TrustPolicy;
use sparsity_planner::intake::IngestLimits;
use sparsity_planner::jobs::{Worker, WorkerConfig};
use sparsity_planner::oidc::Tokens;
use sparsity_planner::telemetry::traces::Traces;
use sparsity_planner::{api, store};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use tower::ServiceExt;

use crate::support::postgres::Server;
use crate::support::wait::{until, until_some};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_sparsity-planner");

/// The server of all tests, which ends with them.
static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

static TEMPLATE: OnceCell<()> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

async fn execute(sql: String) {
    execute_on(&SERVER.url.parse().unwrap(), sql).await;
}

async fn execute_on(server: &PgConnectOptions, sql: String) {
    let mut connection = PgConnection::connect_with(server).await.unwrap();
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// URL of a new, empty database.
pub async fn empty_database() -> String {
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    execute(format!("CREATE DATABASE {name}")).await;
    let (server, _) = SERVER.url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// URL of a new, empty database with this encoding.
pub async fn empty_database_in(encoding: &str) -> String {
    let url = empty_database().await;
    let (_, name) = url.rsplit_once('/').unwrap();
    execute(format!("DROP DATABASE {name}")).await;
    execute(format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"))
        .await;
    url
}

/// A pool on a new database with the schema of a new installation.
pub async fn database() -> PgPool {
    let nodes = nodes();
    TEMPLATE.get_or_init(|| make_template(&nodes)).await;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    for node in &nodes {
        execute_on(node, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        execute_on(node, format!("CREATE DATABASE {name} TEMPLATE template_planner")).await;
    }
    store::connect(nodes[0].clone().database(&name), 5, TIMEOUT).await.unwrap()
}

/// The servers on which test databases are: the private one or, if `TEST_CITUS` names them by their URLs, separated
/// by commas, a coordinator of Citus and its workers. The tests also hold for distributed tables.
fn nodes() -> Vec<PgConnectOptions> {
    match std::env::var("TEST_CITUS") {
        Ok(urls) => urls.split(',').map(|url| url.parse().unwrap()).collect(),
        Err(_) => vec![SERVER.url.parse().unwrap()],
    }
}

async fn make_template(nodes: &[PgConnectOptions]) {
    if let [own] = nodes {
        // Hundreds of databases are created and dropped: not waiting for the disk saves time, and their files need
        // not survive a crash.
        execute_on(own, "ALTER SYSTEM SET fsync = off".to_owned()).await;
        execute_on(own, "SELECT pg_reload_conf()".to_owned()).await;
    }
    for node in nodes {
        let drop = "DROP DATABASE IF EXISTS template_planner WITH (FORCE)";
        execute_on(node, drop.to_owned()).await;
        execute_on(node, "CREATE DATABASE template_planner TEMPLATE template0".to_owned()).await;
    }
    let here = |node: &PgConnectOptions| node.clone().database("template_planner");
    if nodes.len() > 1 {
        for node in nodes {
            execute_on(&here(node), "CREATE EXTENSION citus".to_owned()).await;
        }
        for (at, node) in nodes.iter().enumerate() {
            let add = if at == 0 { "citus_set_coordinator_host" } else { "citus_add_node" };
            let (host, port) = (node.get_host(), node.get_port());
            execute_on(&here(&nodes[0]), format!("SELECT {add}('{host}', {port})")).await;
        }
    }
    let pool = store::connect(here(&nodes[0]), 2, TIMEOUT).await.unwrap();
    store::migrate(&pool).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    // The tests also hold for a partitioned table of runs.
    if let Ok(parts) = std::env::var("TEST_PARTITIONS") {
        let parts = parts.parse().unwrap();
        assert!(store::partitions::partition_runs(&mut connection, parts).await.unwrap());
    }
    if nodes.len() > 1 {
        store::distribution::distribute(&mut connection).await.unwrap();
    }
    drop(connection);
    pool.close().await;
    for node in nodes {
        // Background processes of Citus in the template would keep it from being copied.
        let close = "ALTER DATABASE template_planner ALLOW_CONNECTIONS false";
        execute_on(node, close.to_owned()).await;
        let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = 'template_planner'";
        execute_on(node, end.to_owned()).await;
    }
}

/// Another pool on the database of a pool.
pub async fn database_of(pool: &PgPool) -> PgPool {
    store::connect((*pool.connect_options()).clone(), 2, TIMEOUT).await.unwrap()
}

const TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(3600);
pub const LIMITS: RequestLimits = RequestLimits {
    bodies: BodyLimits {
        small: 256 * 1024,
        bulk: 1024 * 1024,
        together: 8 * 1024 * 1024,
        per_second: 0,
    },
    bulk: BulkLimits {
        points: 100_000,
        points_per_second: 2_000,
        members: 100_000_000,
        searched: 1_000_000,
    },
    request_timeout: TIMEOUT,
    refit_work: 10_000_000_000,
    streams: StreamLimits { at_once: 64, each: 8 },
    compared_runs: 1_000_000,
    history_laws: 4,
    max_mappings: 5,
};

/// Limits of uploads and exports.
pub const TRANSFERS: TransferLimits = TransferLimits {
    upload_bytes: 64 << 20,
    ingest: IngestLimits {
        expanded_bytes: 64 << 20,
        expansion: 1000,
        rows: 1_000_000,
        idle_rows: 1_000_000,
        row_bytes: 1 << 20,
        named_errors: 1_000,
        block_bytes: 16 << 20,
        archive_files: 100,
    },
    at_once: 4,
    exports: 4,
    each: 3,
    waiting: WaitingLimits { at_once: 2, each: 3, bytes: 4 << 20, kept_days: 7, lease: TIMEOUT },
    timeout: TIMEOUT,
    silence: TIMEOUT,
    drain: TIMEOUT,
};

/// A clock that stands still.
pub fn clock() -> Arc<Clock> {
    let start: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
    Arc::new(Clock::mock(start))
}

/// How the service of a test differs from the usual one.
struct Settings {
    config: AppConfig,
    tokens: Tokens,
    clock: Arc<Clock>,
}

impl Default for Settings {
    fn default() -> Self {
        let config = AppConfig {
            limits: LIMITS,
            transfers: TRANSFERS,
            throttle: ThrottleConfig::unlimited(),
            key_refresh: LONG,
            keys_believed: Duration::ZERO,
            audit_retention_days: Some(365),
            base_path: None,
            law_cache_bytes: 1024 * 1024,
            trust: TrustPolicy::default(),
            answer_threads: 2,
            cors_origins: vec![HeaderValue::from_static(ORIGIN)],
            allowed_hosts: vec!["planner.example.org".to_owned()],
            loopback: true,
            replica: None,
        };
        Self { config, tokens: Tokens::default(), clock: clock() }
    }
}

impl Settings {
    /// The usual settings with a change.
    fn but(change: impl FnOnce(&mut AppConfig)) -> Self {
        let mut settings = Self::default();
        change(&mut settings.config);
        settings
    }
}

/// The service on a separate database, with a clock that stands still.
pub struct App {
    pub server: TestServer,
    state: AppState,
}

/// Lets tests use the same parts as handlers.
impl Deref for App {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.state
    }
}

impl App {
    pub async fn new() -> Self {
        Self::with_limits(LIMITS).await
    }

    /// The same with other limits.
    pub async fn with_limits(limits: RequestLimits) -> Self {
        Self::on(database().await, Settings::but(|config| config.limits = limits)).await
    }

    /// The same with this much memory for laws.
    pub async fn with_law_cache(bytes: u64) -> Self {
        Self::on(database().await, Settings::but(|config| config.law_cache_bytes = bytes)).await
    }

    /// The same with other rates and concurrency limits.
    pub async fn with_throttle(throttle: ThrottleConfig) -> Self {
        Self::on(database().await, Settings::but(|config| config.throttle = throttle)).await
    }

    /// The same with other limits of uploads and exports.
    pub async fn with_transfers(transfers: TransferLimits) -> Self {
        Self::on(database().await, Settings::but(|config| config.transfers = transfers)).await
    }

    /// The same accepting tokens, with the clock by which they are checked.
    #[cfg(feature = "oidc")]
    pub async fn with_tokens(tokens: Tokens, clock: Arc<Clock>, throttle: ThrottleConfig) -> Self {
        let usual = Settings::but(|config| config.throttle = throttle);
        Self::on(database().await, Settings { tokens, clock, ..usual }).await
    }

    /// Another replica on the same database.
    pub async fn replica(&self) -> Self {
        self.replica_reading_keys_every(LONG).await
    }

    /// Another replica that reads the keys again at this interval.
    pub async fn replica_reading_keys_every(&self, key_refresh: Duration) -> Self {
        let settings = Settings::but(|config| config.key_refresh = key_refresh);
        Self::on(self.pool.clone(), settings).await
    }

    /// Another replica that uses the clock of this machine, which is also the database's.
    pub async fn replica_with_the_systems_clock(&self) -> Self {
        let settings = Settings { clock: Arc::new(Clock::system()), ..Settings::default() };
        Self::on(self.pool.clone(), settings).await
    }

    /// A service that reads from a replica of its database.
    pub async fn reading_from(
        pool: PgPool,
        replica: PgConnectOptions,
        max_lag: Duration,
        request_timeout: Duration,
    ) -> Self {
        let settings = Settings::but(|config| {
            config.limits.request_timeout = request_timeout;
            config.replica = Some((replica, max_lag));
        });
        Self::on(pool, settings).await
    }

    async fn on(pool: PgPool, settings: Settings) -> Self {
        let Settings { config, tokens, clock } = settings;
        let app = wired::App::open(pool, config, clock, tokens, Traces::default()).await.unwrap();
        let wired::App { state, auditor } = app;
        tokio::spawn(auditor.run(state.shutdown.clone()));
        tokio::spawn(wired::watch_replica(state.clone()));
        Self { server: TestServer::new(api::router(state.clone())), state }
    }

    /// Follows announcements, as a running service does.
    pub async fn follow(&self) {
        tokio::spawn(wired::follow(self.state.clone(), Some(self.state.pool.clone())));
        self.until_followed(true).await;
    }

    /// Waits until announcements are followed, or are not.
    pub async fn until_followed(&self, followed: bool) {
        let is_so = async || self.laws.is_followed() == followed;
        until(is_so, &format!("followed is {followed}")).await;
    }

    /// Stores uploads that were answered before, as a running service does.
    pub fn stores_uploads(&self) {
        tokio::spawn(wired::store_uploads(self.state.clone()));
    }

    /// The same with a worker.
    pub async fn with_worker() -> Self {
        let app = Self::new().await;
        tokio::spawn(app.worker().run());
        app
    }

    /// A worker on this app's database.
    pub fn worker(&self) -> Worker {
        let config = WorkerConfig {
            fit_threads: 2,
            small_work: 1_000_000,
            lease: Duration::from_secs(4),
            poll_interval: Duration::from_millis(50),
        };
        wired::worker(&self.state, Some(self.state.pool.clone()), config).unwrap()
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        self.server.get(path).await
    }

    /// A stream of events, which can be read while it goes on.
    pub async fn events(&self, path: &str) -> Events {
        self.events_by("", path).await
    }

    /// The same with this key, or without one if it is empty.
    pub async fn events_by(&self, key: &str, path: &str) -> Events {
        let mut request = Request::get(path).header("host", "localhost");
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = self.unread(request).await;
        assert_eq!(answer.status(), OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        Events { data: answer.into_body().into_data_stream(), text: String::new() }
    }

    /// An answer whose body has not been read yet.
    pub async fn unread(&self, request: Request<Body>) -> Response<Body> {
        api::router(self.state.clone()).oneshot(request).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> TestResponse {
        self.server.post(path).json(&body).await
    }

    /// Creates a family with the demo runs.
    pub async fn demo_family(&self, name: &str) {
        self.post("/v1/families", serde_json::json!({"name": name})).await.assert_status(CREATED);
        let runs = serde_json::to_value(demo_runs::runs()).unwrap();
        self.post(&format!("/v1/families/{name}/runs"), runs).await.assert_status(OK);
    }

    /// Asks for a refit and waits for its end.
    pub async fn refit(&self, family: &str, options: Value) -> Value {
        let response = self.post(&format!("/v1/families/{family}/refits"), options).await;
        response.assert_status(ACCEPTED);
        let path = response.header("location").to_str().unwrap().to_owned();
        self.finished(&path).await
    }

    /// Waits for the end of a refit.
    pub async fn finished(&self, refit: &str) -> Value {
        let find = async || {
            let found: Value = self.get(refit).await.json();
            (!found["finished_at"].is_null()).then_some(found)
        };
        until_some(find, &format!("{refit} ends")).await
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.state.shutdown.cancel();
    }
}

/// A stream of events.
pub struct Events {
    data: BodyDataStream,
    /// What has arrived but was not read yet.
    text: String,
}

impl Events {
    /// The next event, as its type and data; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let line = |of: &str| event.lines().find_map(|line| line.strip_prefix(of));
                let found = line("event: ").zip(line("data: "));
                let found = found
                    .map(|(kind, data)| (kind.to_owned(), serde_json::from_str(data).unwrap()));
                self.text = rest.to_owned();
                // Comments, which only keep the connection alive, have neither.
                if found.is_some() {
                    return found;
                }
                continue;
            }
            let data = self.data.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// Reads up to the first event that is as expected, and returns its data.
    pub async fn until(&mut self, expected: impl Fn(&str, &Value) -> bool) -> Value {
        let found = async {
            while let Some((kind, data)) = self.next().await {
                if expected(&kind, &data) {
                    return data;
                }
            }
            panic!("the stream ended");
        };
        tokio::time::timeout(LONG, found).await.expect("an event as expected")
    }
}

/// The origin whose pages may ask.
pub const ORIGIN: &str = "https://dashboard.example.org";

pub use axum::http::StatusCode;
pub const OK: StatusCode = StatusCode::OK;
pub const CREATED: StatusCode = StatusCode::CREATED;
pub const ACCEPTED: StatusCode = StatusCode::ACCEPTED;
pub const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;
pub const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
pub const CONFLICT: StatusCode = StatusCode::CONFLICT;

/// A run as it is submitted.
pub fn run(external_id: &str) -> Value {
    serde_json::json!({
        "external_id": external_id, "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5
    })
}

/// Checks that a response is a problem of this kind, and returns the pointers of its errors.
pub fn problem(response: &TestResponse, status: u16, kind: &str) -> Vec<String> {
    assert_eq!(response.status_code().as_u16(), status, "{}", response.text());
    assert_eq!(response.header("content-type"), "application/problem+json");
    let problem: Value = response.json();
    assert_eq!(problem["type"], format!("/problems/{kind}"));
    assert_eq!(problem["status"], status);
    let errors = problem["errors"].as_array().into_iter().flatten();
    errors.map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
}
