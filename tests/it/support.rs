//! The server of the run, databases of the tests, and the service on one of them.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::http::HeaderValue;
use axum_test::{TestResponse, TestServer};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sparsity_planner::api::layers::threads::AnswerThreads;
use sparsity_planner::api::layers::throttle::{Throttle, ThrottleConfig};
use sparsity_planner::api::layers::transfers::{TransferLimits, Transfers};
use sparsity_planner::api::questions::law::AskedLaw;
use sparsity_planner::api::state::{AppParts, AppState, Limits};
use sparsity_planner::cli::demo_runs;
use sparsity_planner::clock::Clock;
use sparsity_planner::intake::IngestLimits;
use sparsity_planner::jobs::{Worker, WorkerConfig};
use sparsity_planner::live::announcements::follow_announcements;
use sparsity_planner::live::audit::AuditLog;
use sparsity_planner::live::keyring::Access;
use sparsity_planner::live::laws::LawCache;
use sparsity_planner::live::profiles::ProfileCache;
use sparsity_planner::live::replica::Replica;
use sparsity_planner::oidc::Tokens;
use sparsity_planner::telemetry::metrics::Metrics;
use sparsity_planner::telemetry::traces::Traces;
use sparsity_planner::{api, store};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_sparsity-planner");

/// A private server. It ends when our end of its standard input closes, however this process ends, and
/// takes its directory with it.
pub struct Server {
    pub url: String,
    child: Child,
}

impl Server {
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("sparsity-planner-test-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap()
            .keep();
        let script = r#""$1" --log warn postgres --data-dir "$2" sh -c 'echo "$DATABASE_URL"; cat'; rm -rf "$2""#;
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", PROGRAM])
            .arg(&directory)
            // Ctrl-C is for the tests; this one cleans up after them.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("postgres://"), "the private PostgreSQL did not start");
        Self { url: url.trim().to_owned(), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The server of this run, which ends with it.
static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

static TEMPLATE: OnceCell<()> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

async fn execute(sql: String) {
    let mut connection = PgConnection::connect(&SERVER.url).await.unwrap();
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

fn options(database: &str) -> PgConnectOptions {
    SERVER.url.parse::<PgConnectOptions>().unwrap().database(database)
}

/// URL of a new, empty database.
pub async fn empty_database() -> String {
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    execute(format!("CREATE DATABASE {name}")).await;
    let (server, _) = SERVER.url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// A pool on a new database with the schema of a new installation.
pub async fn database() -> PgPool {
    TEMPLATE
        .get_or_init(|| async {
            execute("CREATE DATABASE template_planner".to_owned()).await;
            let pool = store::connect(options("template_planner"), 2, TIMEOUT).await.unwrap();
            store::migrate(&pool).await.unwrap();
            pool.close().await;
        })
        .await;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    execute(format!("CREATE DATABASE {name} TEMPLATE template_planner")).await;
    store::connect(options(&name), 5, TIMEOUT).await.unwrap()
}

/// Another pool on the database of a pool.
pub async fn database_of(pool: &PgPool) -> PgPool {
    let name: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(pool).await.unwrap();
    store::connect(options(&name), 2, TIMEOUT).await.unwrap()
}

const TIMEOUT: Duration = Duration::from_secs(30);
/// No test takes so long.
const LONG: Duration = Duration::from_secs(3600);
const LIMITS: Limits = Limits { max_body_bytes: 1024 * 1024, request_timeout: TIMEOUT };

/// Limits of uploads and exports.
pub const TRANSFERS: TransferLimits = TransferLimits {
    upload_bytes: 64 << 20,
    ingest: IngestLimits {
        expanded_bytes: 64 << 20,
        rows: 1_000_000,
        row_bytes: 1 << 20,
        named_errors: 1_000,
    },
    at_once: 4,
    timeout: TIMEOUT,
    silence: TIMEOUT,
    drain: TIMEOUT,
};

/// A clock that stands still.
pub fn clock() -> Arc<Clock> {
    let start: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
    Arc::new(Clock::mock(start))
}

/// How a service of a test differs from others.
struct Settings {
    limits: Limits,
    throttle: ThrottleConfig,
    transfers: TransferLimits,
    key_refresh: Duration,
    tokens: Tokens,
    clock: Arc<Clock>,
    /// A replica of the database, and how old what it shows may be.
    replica: Option<(PgConnectOptions, Duration)>,
}

impl Default for Settings {
    fn default() -> Self {
        let throttle = ThrottleConfig::unlimited();
        Self {
            limits: LIMITS,
            throttle,
            transfers: TRANSFERS,
            key_refresh: LONG,
            tokens: Tokens::default(),
            clock: clock(),
            replica: None,
        }
    }
}

/// The service on a database of its own, with a clock that stands still.
pub struct App {
    pub server: TestServer,
    pub pool: PgPool,
    pub clock: Arc<Clock>,
    pub laws: LawCache<AskedLaw>,
    pub profiles: ProfileCache,
    metrics: Metrics,
    pub access: Access,
    replica: Option<Replica>,
    worker: CancellationToken,
}

impl App {
    pub async fn new() -> Self {
        Self::with_limits(LIMITS).await
    }

    /// The same with other limits.
    pub async fn with_limits(limits: Limits) -> Self {
        Self::on(database().await, Settings { limits, ..Settings::default() }).await
    }

    /// The same with limits of who may use it how much.
    pub async fn with_throttle(throttle: ThrottleConfig) -> Self {
        Self::on(database().await, Settings { throttle, ..Settings::default() }).await
    }

    /// The same with other limits of uploads and exports.
    pub async fn with_transfers(transfers: TransferLimits) -> Self {
        Self::on(database().await, Settings { transfers, ..Settings::default() }).await
    }

    /// The same taking tokens, by the clock that they are checked by.
    #[cfg(feature = "oidc")]
    pub async fn with_tokens(tokens: Tokens, clock: Arc<Clock>, throttle: ThrottleConfig) -> Self {
        let settings = Settings { tokens, clock, throttle, ..Settings::default() };
        Self::on(database().await, settings).await
    }

    /// Another replica on the same database.
    pub async fn replica(&self) -> Self {
        self.replica_reading_keys_every(LONG).await
    }

    /// Another replica that reads the keys again after so long, announced or not.
    pub async fn replica_reading_keys_every(&self, key_refresh: Duration) -> Self {
        Self::on(self.pool.clone(), Settings { key_refresh, ..Settings::default() }).await
    }

    /// One that reads from a replica of its database.
    pub async fn reading_from(
        pool: PgPool,
        replica: PgConnectOptions,
        max_lag: Duration,
        request_timeout: Duration,
    ) -> Self {
        let limits = Limits { request_timeout, ..LIMITS };
        let replica = Some((replica, max_lag));
        Self::on(pool, Settings { limits, replica, ..Settings::default() }).await
    }

    async fn on(pool: PgPool, settings: Settings) -> Self {
        let Settings { limits, throttle, transfers, key_refresh, tokens, clock, replica } =
            settings;
        let shutdown = CancellationToken::new();
        let laws = LawCache::new(1024 * 1024);
        let profiles = ProfileCache::default();
        let metrics = Metrics::default();
        let access = Access::open(pool.clone(), clock.clone(), key_refresh, tokens).await.unwrap();
        let (audit, auditor) = AuditLog::new(pool.clone(), clock.clone(), Some(365));
        let worker = CancellationToken::new();
        tokio::spawn(auditor.run(worker.clone()));
        let replica = match replica {
            Some((options, max_lag)) => {
                let replica =
                    Replica::open(&pool, options, max_lag, metrics.clone()).await.unwrap();
                let (watched, stop) = (replica.clone(), worker.clone());
                tokio::spawn(async move { watched.watch(&stop).await });
                Some(replica)
            }
            None => None,
        };
        let state = AppState::new(AppParts {
            access: access.clone(),
            throttle: Throttle::new(throttle),
            audit,
            loopback: true,
            cors_origins: vec![HeaderValue::from_static(ORIGIN)],
            allowed_hosts: vec!["planner.example.org".to_owned()],
            pool: pool.clone(),
            replica: replica.clone(),
            clock: clock.clone(),
            laws: laws.clone(),
            profiles: profiles.clone(),
            threads: AnswerThreads::new(2),
            metrics: metrics.clone(),
            traces: Traces::default(),
            limits,
            transfers: Transfers::new(transfers),
            shutdown,
        });
        let server = TestServer::new(api::router(state));
        Self { server, pool, clock, laws, profiles, access, replica, metrics, worker }
    }

    /// Follows announcements, as a running service does.
    pub async fn follow(&self) {
        let (pool, laws, access) = (self.pool.clone(), self.laws.clone(), self.access.clone());
        let profiles = self.profiles.clone();
        tokio::spawn(follow_announcements(
            pool,
            laws,
            profiles,
            access,
            self.replica.clone(),
            self.worker.clone(),
        ));
        self.until_followed(true).await;
    }

    /// Waits until announcements are followed, or are not.
    pub async fn until_followed(&self, followed: bool) {
        // Bounded by count.
        for _ in 0..1000 {
            if self.laws.is_followed() == followed {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("followed is not {followed}");
    }

    /// The same with a worker beside it.
    pub async fn with_worker() -> Self {
        let app = Self::new().await;
        tokio::spawn(app.worker().run());
        app
    }

    /// A worker on this app's database.
    pub fn worker(&self) -> Worker {
        let config = WorkerConfig {
            fit_threads: 2,
            lease: Duration::from_secs(4),
            poll_interval: Duration::from_millis(50),
        };
        let (pool, clock) = (self.pool.clone(), self.clock.clone());
        let (metrics, traces) = (self.metrics.clone(), Traces::default());
        Worker::new(pool, clock, config, metrics, traces, self.worker.clone()).unwrap()
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        self.server.get(path).await
    }

    pub async fn post(&self, path: &str, body: Value) -> TestResponse {
        self.server.post(path).json(&body).await
    }

    /// A family with the demo runs.
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

    pub async fn finished(&self, refit: &str) -> Value {
        // Bounded by count: a debug build takes well under a second.
        for _ in 0..1200 {
            let refit: Value = self.get(refit).await.json();
            if !refit["finished_at"].is_null() {
                return refit;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{refit} does not end");
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.worker.cancel();
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
