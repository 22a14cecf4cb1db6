//! Configuration: one small struct per concern, each field naming its environment variable and its default.

mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::Args;
use ipnet::IpNet;

use values::{header_bytes, host, network, origin, row_bytes, send_buffer, share, size, threshold};

use crate::api::layers::answer_points::BulkLimits;
use crate::api::layers::base_path::base_path;
use crate::api::layers::bodies::BodyLimits;
use crate::api::layers::throttle::{Rate, ThrottleConfig};
use crate::api::layers::transfers::{TransferLimits, WaitingLimits};
use crate::api::state::{RequestLimits, StreamLimits};
use crate::domain::trust::{Threshold, TrustPolicy};
use crate::intake::IngestLimits;
use crate::jobs::WorkerConfig;
use crate::oidc::OidcConfig;
use crate::server::ConnectionLimits;

pub(crate) use values::address;

/// Where the database is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseConfig {
    /// PostgreSQL to use; without it, a private one is started in the data directory.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// URL of the same database that bypasses any pooler which lends connections per transaction: announcements are
    /// received there. Without it, behind such a pooler, every question looks its law up in the database, and workers
    /// find refits only by polling.
    #[arg(long, env = "SPARSITY_PLANNER_LISTEN_DATABASE_URL", hide_env_values = true)]
    pub listen_database_url: Option<String>,
    /// Settings of the private PostgreSQL.
    #[command(flatten)]
    pub private: PrivateConfig,
    /// Database connections of this process; two of them listen for announcements.
    #[arg(long, env = "SPARSITY_PLANNER_DATABASE_CONNECTIONS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(4..=1000))]
    pub database_connections: u32,
    /// How long a request waits for a free database connection.
    #[arg(long, env = "SPARSITY_PLANNER_DATABASE_TIMEOUT_MS", default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub database_timeout_ms: u64,
}

/// Settings of the private PostgreSQL.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct PrivateConfig {
    /// Directory of the private PostgreSQL; by default below the user's data directory.
    #[arg(long, env = "SPARSITY_PLANNER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Directory with initdb, pg_ctl and postgres; by default searched for on the machine.
    #[arg(long = "pg-bin", env = "SPARSITY_PLANNER_PG_BIN")]
    pub pg_bin: Option<PathBuf>,
}

/// Settings of the HTTP service.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Requests and answers")]
pub struct HttpConfig {
    /// Address to listen on, such as `127.0.0.1:8080`, `localhost:8080` or `8080`; port 0 takes a free port and prints
    /// it.
    #[arg(long, env = "SPARSITY_PLANNER_BIND", default_value = "127.0.0.1:8080",
        value_parser = address)]
    pub bind: SocketAddr,
    /// Path prefix under which a proxy exposes the service, such as `/planner`, whether or not the proxy strips it. An
    /// X-Forwarded-Prefix header of a trusted proxy takes precedence.
    #[arg(long, env = "SPARSITY_PLANNER_BASE_PATH", value_parser = base_path)]
    pub base_path: Option<String>,
    /// Second address that serves only /healthz, /readyz and /metrics, without an API key, so that monitoring needs
    /// none. Off by default.
    #[arg(long, env = "SPARSITY_PLANNER_HEALTH_BIND", value_parser = address)]
    pub health_bind: Option<SocketAddr>,
    /// Largest request body of a question about many points; uploads of runs have limits of their own.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_BODY_BYTES", default_value = "16M", value_parser = size)]
    pub max_body_bytes: u64,
    /// Largest body of every other request.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_SMALL_BODY_BYTES", default_value = "1M", value_parser = size)]
    pub max_small_body_bytes: u64,
    /// Memory for all request bodies that are held whole. One key, or one address without keys, may use half of it;
    /// requests beyond that are answered with 503.
    #[arg(long, env = "SPARSITY_PLANNER_BODY_MEMORY_BYTES", default_value = "64M", value_parser = size)]
    pub body_memory_bytes: u64,
    /// Bytes per second read of such bodies for one key, or for one address without keys, where the bodies are larger
    /// than 256 KiB; 0 for no limit.
    #[arg(long, env = "SPARSITY_PLANNER_BODY_BYTES_PER_SECOND", default_value = "128M", value_parser = size)]
    pub body_bytes_per_second: u64,
    /// How long it may take until an answer begins.
    #[arg(long, env = "SPARSITY_PLANNER_REQUEST_TIMEOUT_MS", default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub request_timeout_ms: u64,
    /// Points that may be computed or sent at once, over all questions about more than 500 points. One key, or one
    /// address without keys, may use half of them; further questions wait. A point takes about 1.5 kB.
    #[arg(long, env = "SPARSITY_PLANNER_ANSWER_POINTS", default_value_t = 250_000,
        value_parser = clap::value_parser!(u32).range(100_000..=100_000_000))]
    pub answer_points: u32,
    /// Points a second that a client must take of such an answer while others wait for room: one that takes fewer is cut
    /// off. 0 for as slowly as it likes.
    #[arg(long, env = "SPARSITY_PLANNER_ANSWER_POINTS_PER_SECOND", default_value_t = 2_000)]
    pub answer_points_per_second: u32,
    /// Most work that a question about many points with intervals may ask for: points times resampled laws.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_ASKED_LAWS", default_value_t = 100_000_000)]
    pub max_asked_laws: u64,
    /// The same for questions in the FLOP mode of a hardware profile, where each law is searched on its own.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_SEARCHED_LAWS", default_value_t = 1_000_000)]
    pub max_searched_laws: u64,
    /// Most runs on which two laws are compared; meanwhile each run takes about 100 bytes.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_COMPARED_RUNS", default_value_t = 1_000_000)]
    pub max_compared_runs: u32,
    /// Most laws of a family that one request for the history of an answer evaluates.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_HISTORY_LAWS", default_value_t = 50,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_history_laws: u16,
    /// Memory for recently used laws with their resamples. What all laws share to answer quickly near earlier questions
    /// takes at most some 65 MB more.
    #[arg(long, env = "SPARSITY_PLANNER_LAW_CACHE_BYTES", default_value = "256M", value_parser = size)]
    pub law_cache_bytes: u64,
    /// Threads for answers that take long to compute (contours, losses by sparsity, pictures); by default half of the
    /// cores.
    #[arg(long, env = "SPARSITY_PLANNER_ANSWER_THREADS",
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub answer_threads: Option<u16>,
    /// Niceness on Linux of the threads that compute (slow answers, fits, reading uploads), so that they give way to
    /// the threads that serve when processors are busy; 0 gives both the same priority. No effect on other systems.
    #[arg(long, env = "SPARSITY_PLANNER_COMPUTE_NICENESS", default_value_t = 5,
        value_parser = clap::value_parser!(i32).range(0..=19))]
    pub compute_niceness: i32,
    /// Largest upload of runs, as it is sent.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_UPLOAD_BYTES", default_value = "1G", value_parser = size)]
    pub max_upload_bytes: u64,
    /// Largest upload of runs after decompression; each upload of Parquet may also take this much of the temporary
    /// directory.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_EXPANDED_BYTES", default_value = "4G", value_parser = size)]
    pub max_expanded_bytes: u64,
    /// Largest ratio of decompressed to sent bytes of an upload, applied from one megabyte on.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_EXPANSION", default_value_t = 250,
        value_parser = clap::value_parser!(u64).range(2..))]
    pub max_expansion: u64,
    /// Most rows of an upload.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_UPLOAD_ROWS", default_value_t = 10_000_000)]
    pub max_upload_rows: u64,
    /// Most invalid rows, and most blank lines, of an upload before it is given up.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_IDLE_ROWS", default_value_t = 1_000_000)]
    pub max_idle_rows: u64,
    /// Longest row of an upload.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_ROW_BYTES", default_value = "1M",
        value_parser = row_bytes)]
    pub max_row_bytes: u64,
    /// Largest part of an upload that must be in memory as a whole, decompressed: an Arrow batch, its dictionaries, a
    /// page of each Parquet column with their dictionaries, a workbook, or the directory of an archive.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_BLOCK_BYTES", default_value = "256M", value_parser = size)]
    pub max_block_bytes: u64,
    /// Most files in an uploaded zip archive, or in a workbook, which is a zip archive as well.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_ARCHIVE_FILES", default_value_t = 10_000)]
    pub max_archive_files: u64,
    /// Most mappings stored for a family.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_MAPPINGS", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub max_mappings: u32,
    /// Most errors listed in the answer to an upload with on_error=skip; further errors are only counted.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_NAMED_ERRORS", default_value_t = 10_000)]
    pub max_named_errors: usize,
    /// Uploads in progress at once that are larger than 64 KiB or may be compressed; each holds a database connection.
    /// Further ones wait for up to half of the request timeout.
    #[arg(long, env = "SPARSITY_PLANNER_TRANSFERS", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub transfers: u16,
    /// Exports in progress at once; each holds a database connection. Further ones wait for up to half of the request
    /// timeout.
    #[arg(long, env = "SPARSITY_PLANNER_EXPORTS", default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub exports: u16,
    /// How many such uploads, and how many exports, one key may have in progress at once, or one address without keys.
    #[arg(long, env = "SPARSITY_PLANNER_TRANSFERS_PER_KEY", default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub transfers_per_key: u16,
    /// Uploads accepted with `Prefer: respond-async` that this process stores at once; each counts against --transfers
    /// while it does. 0 leaves them to other processes.
    #[arg(long, env = "SPARSITY_PLANNER_WAITING_UPLOADS_AT_ONCE", default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub waiting_uploads_at_once: u16,
    /// Such uploads that one key, or one address without keys, may have waiting; further ones are answered with 503. 0
    /// turns them off: each upload is answered only once it is stored.
    #[arg(long, env = "SPARSITY_PLANNER_WAITING_UPLOADS_PER_KEY", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub waiting_uploads_per_key: u32,
    /// Bytes of all waiting uploads together, as they were sent: they may take this much more of the database's disk.
    #[arg(long, env = "SPARSITY_PLANNER_WAITING_UPLOAD_BYTES", default_value = "4G", value_parser = size)]
    pub waiting_upload_bytes: u64,
    /// Days for which the result of such an upload is kept.
    #[arg(long, env = "SPARSITY_PLANNER_UPLOAD_RESULTS_DAYS", default_value_t = 7,
        value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub upload_results_days: u32,
    /// How long a process that stores such an upload may be silent before it is taken for dead and another process
    /// takes the upload over.
    #[arg(long, env = "SPARSITY_PLANNER_UPLOAD_LEASE_MS", default_value_t = 15_000,
        value_parser = clap::value_parser!(u64).range(500..=3_600_000))]
    pub upload_lease_ms: u64,
    /// Most work that a refit may take, as runs times starts and resamples; larger ones are refused.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_REFIT_WORK", default_value_t = 10_000_000_000)]
    pub max_refit_work: u64,
    /// Event streams at once; further ones are answered with 503.
    #[arg(long, env = "SPARSITY_PLANNER_EVENT_STREAMS", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub event_streams: u32,
    /// Event streams of one key at once, or of one address without keys.
    #[arg(long, env = "SPARSITY_PLANNER_EVENT_STREAMS_PER_KEY", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub event_streams_per_key: u32,
    /// How long an upload or export may take. One that makes no progress is given up after the request timeout.
    #[arg(long, env = "SPARSITY_PLANNER_TRANSFER_TIMEOUT_MS", default_value_t = 1_800_000,
        value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub transfer_timeout_ms: u64,
    /// How long requests in flight may take to finish when the service stops, and after that how long sending the
    /// remaining traces may take.
    #[arg(long, env = "SPARSITY_PLANNER_DRAIN_TIMEOUT_MS", default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub drain_timeout_ms: u64,
    /// Connections at once. Beyond them a few more are accepted, on which health checks are answered and everything
    /// else gets 503.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_CONNECTIONS", default_value_t = 4_096,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Connections from one address at once, other than a trusted proxy's; requests on further ones are answered with
    /// 503.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 1_024,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections_per_address: u32,
    /// How long a client may read nothing of an answer before its connection is closed.
    #[arg(long, env = "SPARSITY_PLANNER_WRITE_TIMEOUT_MS", default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub write_timeout_ms: u64,
    /// Bytes of an unread answer that the system buffers for each connection; 0 leaves this to the system.
    #[arg(long, env = "SPARSITY_PLANNER_SEND_BUFFER_BYTES", default_value = "256K", value_parser = send_buffer)]
    pub send_buffer_bytes: u32,
    /// How long the headers of a request may take to arrive; for the first request, counted from the start of the
    /// connection.
    #[arg(long, env = "SPARSITY_PLANNER_HEADER_TIMEOUT_MS", default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub header_timeout_ms: u64,
    /// How long a connection may be idle between two requests before it is closed. Keep it longer than a proxy keeps
    /// idle connections, or the proxy may send a request on a connection that is being closed.
    #[arg(long, env = "SPARSITY_PLANNER_IDLE_TIMEOUT_MS", default_value_t = 150_000,
        value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub idle_timeout_ms: u64,
    /// Requests in flight at once on one HTTP/2 connection.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_STREAMS_PER_CONNECTION", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_streams_per_connection: u32,
    /// Largest header section of a request, including the request line.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_HEADER_BYTES", default_value = "32K",
        value_parser = header_bytes)]
    pub max_header_bytes: u64,
    /// Who may use the service, and how much.
    #[command(flatten)]
    pub access: AccessConfig,
    /// The replica that may answer reads.
    #[command(flatten)]
    pub reads: ReadConfig,
    /// The thresholds beyond which answers are not to be trusted.
    #[command(flatten)]
    pub trust: TrustConfig,
}

/// Thresholds beyond which an answer is `weak`, and beyond which it is worth nothing (`none`).
#[derive(Debug, Clone, Args)]
pub struct TrustConfig {
    /// Width of a sparsity's interval above which the answer is weak.
    #[arg(long, env = "SPARSITY_PLANNER_TRUST_WEAK_SPARSITY_WIDTH", default_value_t = 0.2,
        value_parser = threshold)]
    pub trust_weak_sparsity_width: f64,
    /// Width of a sparsity's interval above which the answer is worth nothing.
    #[arg(long, env = "SPARSITY_PLANNER_TRUST_NONE_SPARSITY_WIDTH", default_value_t = 0.5,
        value_parser = threshold)]
    pub trust_none_sparsity_width: f64,
    /// Width of the interval of a loss or another positive number, divided by that number, above which the answer is
    /// weak.
    #[arg(long, env = "SPARSITY_PLANNER_TRUST_WEAK_RELATIVE_WIDTH", default_value_t = 0.05,
        value_parser = threshold)]
    pub trust_weak_relative_width: f64,
    /// Width of the interval of a loss or another positive number, divided by that number, above which the answer is
    /// worth nothing.
    #[arg(long, env = "SPARSITY_PLANNER_TRUST_NONE_RELATIVE_WIDTH", default_value_t = 0.25,
        value_parser = threshold)]
    pub trust_none_relative_width: f64,
    /// Factor by which a quantity may lie outside the runs' range before the answer is weak.
    #[arg(long, env = "SPARSITY_PLANNER_TRUST_WEAK_EXTRAPOLATION", default_value_t = 10.0,
        value_parser = threshold)]
    pub trust_weak_extrapolation: f64,
    /// Factor by which a quantity may lie outside the runs' range before the answer is worth nothing.
    #[arg(long, env = "SPARSITY_PLANNER_TRUST_NONE_EXTRAPOLATION", default_value_t = 1000.0,
        value_parser = threshold)]
    pub trust_none_extrapolation: f64,
    /// Share of forecasts, from 0 to 1: answers are worth nothing if the runs that have arrived show that at most this
    /// share of their law's forecasts comes true.
    #[arg(long, env = "SPARSITY_PLANNER_TRUST_NONE_FORECASTS_INSIDE", default_value_t = 0.5,
        value_parser = share)]
    pub trust_none_forecasts_inside: f64,
}

impl TrustConfig {
    /// The thresholds as one policy.
    ///
    /// # Errors
    /// If a threshold for worthless answers is below the one for weak answers.
    pub fn policy(&self) -> anyhow::Result<TrustPolicy> {
        let pair = |name: &str, weak: f64, none: f64| {
            anyhow::ensure!(
                weak <= none,
                "--trust-weak-{name} must not be above --trust-none-{name}, {none}, and is {weak}"
            );
            Ok(Threshold { weak, none })
        };
        Ok(TrustPolicy {
            sparsity_width: pair(
                "sparsity-width",
                self.trust_weak_sparsity_width,
                self.trust_none_sparsity_width,
            )?,
            relative_width: pair(
                "relative-width",
                self.trust_weak_relative_width,
                self.trust_none_relative_width,
            )?,
            extrapolation: pair(
                "extrapolation",
                self.trust_weak_extrapolation,
                self.trust_none_extrapolation,
            )?,
            forecasts_inside: self.trust_none_forecasts_inside,
        })
    }
}

/// A replica of the database that may answer reads.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct ReadConfig {
    /// Streaming replica of the database, used for reads and exports.
    #[arg(long, env = "SPARSITY_PLANNER_READ_DATABASE_URL", hide_env_values = true)]
    pub read_database_url: Option<String>,
    /// How far the replica may lag behind and still be read.
    #[arg(long, env = "SPARSITY_PLANNER_READ_MAX_LAG_MS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(3_000..=3_600_000))]
    pub read_max_lag_ms: u64,
}

/// Who may use the service, and how much.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessConfig {
    /// Serve on an address that other machines can reach even though there is no API key: until the first key is
    /// created, anyone who reaches it can read and write everything.
    #[arg(long, env = "SPARSITY_PLANNER_INSECURE_NO_AUTH")]
    pub insecure_no_auth: bool,
    /// How often the API keys are read again when no change was announced.
    #[arg(long, env = "SPARSITY_PLANNER_KEY_REFRESH_MS", default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub key_refresh_ms: u64,
    /// How long the API keys stay valid when they cannot be read again because the database is unreachable; at least
    /// three times --key-refresh-ms. After that every caller is answered with 503.
    #[arg(long, env = "SPARSITY_PLANNER_KEYS_BELIEVED_MS", default_value_t = 60_000,
        value_parser = clap::value_parser!(u64).range(0..=86_400_000))]
    pub keys_believed_ms: u64,
    /// Requests per second of one key; 0 for no limit.
    #[arg(long, env = "SPARSITY_PLANNER_RATE_PER_KEY", default_value_t = 0)]
    pub rate_per_key: u32,
    /// Requests of one key that may arrive in a burst; 0 for as many as in one second.
    #[arg(long, env = "SPARSITY_PLANNER_BURST_PER_KEY", default_value_t = 0)]
    pub burst_per_key: u32,
    /// Requests per second from one address; 0 for no limit.
    #[arg(long, env = "SPARSITY_PLANNER_RATE_PER_ADDRESS", default_value_t = 0)]
    pub rate_per_address: u32,
    /// Requests from one address that may arrive in a burst; 0 for as many as in one second.
    #[arg(long, env = "SPARSITY_PLANNER_BURST_PER_ADDRESS", default_value_t = 0)]
    pub burst_per_address: u32,
    /// Requests per minute from one address with a refused key before the address is answered with 429; 0 for no limit.
    #[arg(long, env = "SPARSITY_PLANNER_FAILURES_PER_ADDRESS", default_value_t = 60)]
    pub failures_per_address: u32,
    /// Requests in flight at once; further ones are answered with 503.
    #[arg(long, env = "SPARSITY_PLANNER_MAX_CONCURRENT_REQUESTS", default_value_t = 1_024,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_concurrent_requests: u32,
    /// Networks of the proxies whose X-Forwarded-For header is trusted, such as 10.0.0.0/8.
    #[arg(long, env = "SPARSITY_PLANNER_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may call the API from a browser, such as `https://dashboard.example.org`.
    #[arg(long, env = "SPARSITY_PLANNER_CORS_ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<HeaderValue>,
    /// Host names, besides localhost, by which a service may be called that has no keys and is reachable from its own
    /// machine only, such as planner.example.org.
    #[arg(long, env = "SPARSITY_PLANNER_ALLOWED_HOSTS", value_delimiter = ',', value_parser = host)]
    pub allowed_hosts: Vec<String>,
    /// Days after which events of the audit log are deleted; 0 for never.
    #[arg(long, env = "SPARSITY_PLANNER_AUDIT_RETENTION_DAYS", default_value_t = 365,
        value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub audit_retention_days: u32,
    /// The issuer whose tokens are accepted besides API keys.
    #[command(flatten)]
    pub oidc: OidcConfig,
}

impl AccessConfig {
    /// How often the keys are read again.
    #[must_use]
    pub const fn key_refresh(&self) -> Duration {
        Duration::from_millis(self.key_refresh_ms)
    }

    /// How long keys stay valid when they cannot be read again.
    #[must_use]
    pub const fn keys_believed(&self) -> Duration {
        Duration::from_millis(self.keys_believed_ms)
    }

    /// Days for which events of the audit log are kept; `None` keeps them for ever.
    #[must_use]
    pub fn audit_retention_days(&self) -> Option<u32> {
        (self.audit_retention_days > 0).then_some(self.audit_retention_days)
    }

    /// The limits on requests of each caller and of all together.
    #[must_use]
    pub fn throttle(&self) -> ThrottleConfig {
        ThrottleConfig {
            per_key: Rate::per_second(self.rate_per_key, self.burst_per_key),
            per_address: Rate::per_second(self.rate_per_address, self.burst_per_address),
            failures: Rate::per_minute(self.failures_per_address),
            concurrent: self.max_concurrent_requests as usize,
            trusted_proxies: self.trusted_proxies.clone(),
        }
    }
}

impl HttpConfig {
    /// Number of threads for answers that take long to compute.
    #[must_use]
    pub fn answer_threads(&self) -> usize {
        self.answer_threads.map_or_else(|| cores().div_ceil(2), usize::from)
    }

    /// Limits of connections.
    #[must_use]
    pub fn connections(&self) -> ConnectionLimits {
        ConnectionLimits {
            connections: self.max_connections as usize,
            each: self.max_connections_per_address as usize,
            shared: self.access.trusted_proxies.clone(),
            write_timeout: Duration::from_millis(self.write_timeout_ms),
            header_timeout: Duration::from_millis(self.header_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            streams: self.max_streams_per_connection,
            header_bytes: self.max_header_bytes as usize,
        }
    }

    /// How long requests in flight may take to finish, and traces to be sent, when the service stops.
    #[must_use]
    pub const fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }

    /// Limits of a request.
    #[must_use]
    pub const fn limits(&self) -> RequestLimits {
        RequestLimits {
            bodies: BodyLimits {
                small: self.max_small_body_bytes as usize,
                bulk: self.max_body_bytes as usize,
                together: self.body_memory_bytes,
                per_second: self.body_bytes_per_second,
            },
            bulk: BulkLimits {
                points: self.answer_points as usize,
                points_per_second: self.answer_points_per_second,
                members: self.max_asked_laws,
                searched: self.max_searched_laws,
            },
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            refit_work: self.max_refit_work,
            streams: StreamLimits {
                at_once: self.event_streams as usize,
                each: self.event_streams_per_key as usize,
            },
            compared_runs: self.max_compared_runs,
            history_laws: self.max_history_laws,
            max_mappings: self.max_mappings,
        }
    }

    /// Limits of uploads and exports.
    #[must_use]
    pub fn transfer_limits(&self) -> TransferLimits {
        TransferLimits {
            upload_bytes: self.max_upload_bytes,
            ingest: IngestLimits {
                expanded_bytes: self.max_expanded_bytes,
                expansion: self.max_expansion,
                rows: self.max_upload_rows,
                idle_rows: self.max_idle_rows,
                row_bytes: self.max_row_bytes as usize,
                named_errors: self.max_named_errors,
                block_bytes: self.max_block_bytes,
                archive_files: self.max_archive_files,
            },
            at_once: self.transfers.into(),
            exports: self.exports.into(),
            each: self.transfers_per_key.into(),
            waiting: WaitingLimits {
                at_once: self.waiting_uploads_at_once.into(),
                each: self.waiting_uploads_per_key,
                bytes: self.waiting_upload_bytes,
                kept_days: self.upload_results_days,
                lease: Duration::from_millis(self.upload_lease_ms),
            },
            timeout: Duration::from_millis(self.transfer_timeout_ms),
            silence: Duration::from_millis(self.request_timeout_ms),
            // Leaves time for transfers that are cut off to end in an orderly way.
            drain: self.drain() * 4 / 5,
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Settings of the background work.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Refits")]
pub struct RefitConfig {
    /// Threads that fit; by default all cores but one, which is left for answers. One additional thread runs small
    /// refits beside a large one.
    #[arg(long, env = "SPARSITY_PLANNER_FIT_THREADS",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub fit_threads: Option<u16>,
    /// Most work of a refit, as runs times starts and resamples, to be run beside a larger one.
    #[arg(long, env = "SPARSITY_PLANNER_SMALL_REFIT_WORK", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(i64).range(0..))]
    pub small_refit_work: i64,
    /// How long a worker may be silent before it is taken for dead and another takes over its refit.
    #[arg(long, env = "SPARSITY_PLANNER_LEASE_MS", default_value_t = 15_000,
        value_parser = clap::value_parser!(u64).range(500..=3_600_000))]
    pub lease_ms: u64,
    /// How often a worker looks for refits that were not announced.
    #[arg(long, env = "SPARSITY_PLANNER_POLL_INTERVAL_MS", default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub poll_interval_ms: u64,
}

impl RefitConfig {
    /// The configuration of a worker.
    #[must_use]
    pub fn worker(&self) -> WorkerConfig {
        WorkerConfig {
            fit_threads: self.fit_threads.map_or_else(|| (cores() - 1).max(1), usize::from),
            small_work: self.small_refit_work,
            lease: Duration::from_millis(self.lease_ms),
            poll_interval: Duration::from_millis(self.poll_interval_ms),
        }
    }
}
