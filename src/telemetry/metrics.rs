//! The service's metrics, for Prometheus.
//!
//! Counters and histograms are updated when something happens. What can be read at any time (the pool, the queue of
//! refits, the laws in memory) is read only when the metrics are requested.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::MatchedPath;
use axum::http::Method;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry::database;

/// Bucket bounds for the latency of answers, in seconds: a question takes tens of microseconds; a contour plot for a
/// hardware profile, or an upload, takes seconds.
const LATENCIES: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0,
];
/// Bucket bounds for the duration of refits, in seconds.
const DURATIONS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0];

/// An HTTP method. All methods that the API does not use count as one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct MethodLabel(Method);

impl EncodeLabelValue for MethodLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        self.0.as_str().encode(encoder)
    }
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        const KNOWN: [Method; 7] = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ];
        // Otherwise callers could fill the memory with labels of methods that they make up.
        let known = KNOWN.contains(method);
        Self(if known { method.clone() } else { Method::TRACE })
    }
}

/// The template of a path, which does not distinguish families, or `none`. Shared, because each answer is counted under
/// it twice.
#[derive(Debug, Clone, Default)]
pub struct RouteLabel(Option<MatchedPath>);

impl RouteLabel {
    /// The label for the route that a request matched.
    #[must_use]
    pub const fn new(matched: Option<MatchedPath>) -> Self {
        Self(matched)
    }

    /// The label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("none", MatchedPath::as_str)
    }
}

impl PartialEq for RouteLabel {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RouteLabel {}

impl Hash for RouteLabel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for RouteLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

/// Labels of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: MethodLabel,
    route: RouteLabel,
}

/// Labels of an operation and the status of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: MethodLabel,
    route: RouteLabel,
    status: u16,
}

/// Label of a read that a replica may answer: who answered it, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    outcome: &'static str,
}

/// Label of how a refit ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    outcome: &'static str,
}

/// All counters, shared by everything that counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    begun: Arc<AtomicU64>,
    ended: Arc<AtomicU64>,
    latencies: Family<Route, Histogram, fn() -> Histogram>,
    answers: Family<Answer, Counter>,
    refits: Family<Ending, Histogram, fn() -> Histogram>,
    uploads: Family<Ending, Histogram, fn() -> Histogram>,
    reads: Family<Source, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            begun: Arc::default(),
            ended: Arc::default(),
            latencies: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            answers: Family::default(),
            refits: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            uploads: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            reads: Family::default(),
        }
    }
}

/// Values that are read when the metrics are requested; `None` where reading failed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Readings {
    /// Number of open connections in the pool, and of idle ones among them.
    pub pool: (u32, usize),
    /// Most connections of the pool.
    pub pool_limit: u32,
    /// Number of laws in memory and their approximate size in bytes, and whether announcements are followed; `None` for
    /// a process that answers no questions.
    pub laws: Option<((u64, u64), bool)>,
    /// Whether reads are answered by a replica, and its lag if known; `None` if no replica is configured.
    pub replica: Option<(bool, Option<Duration>)>,
    /// Number of queued refits, number of running refits, and the time for which the oldest queued one has waited.
    pub refits: Option<(i64, i64, Duration)>,
    /// Number of uploads waiting to be stored, number being stored, and the total bytes of both.
    pub uploads: Option<(i64, i64, i64)>,
}

/// The counters for the answers of one operation with one status. Looked up once, they count without looking at labels
/// again.
#[derive(Debug, Clone)]
pub struct Answered {
    answers: Counter,
    latencies: Histogram,
}

impl Answered {
    /// Counts an answer.
    pub fn note(&self, latency: Duration) {
        self.answers.inc();
        self.latencies.observe(latency.as_secs_f64());
    }
}

impl Metrics {
    /// Counts the beginning of a request; returns how many had begun before it.
    pub fn begun(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts the end of a request.
    pub fn ended(&self) {
        self.ended.fetch_add(1, Ordering::Release);
    }

    /// The counters for the answers of an operation with this status.
    #[must_use]
    pub fn answered(&self, method: &Method, route: RouteLabel, status: u16) -> Answered {
        let method = MethodLabel::from(method);
        let answer = Answer { method: method.clone(), route, status };
        let answers = self.answers.get_or_create(&answer).clone();
        let route = Route { method, route: answer.route };
        Answered { answers, latencies: self.latencies.get_or_create(&route).clone() }
    }

    /// Records how a refit ended in this process: `succeeded`, `failed`, `cancelled`, `given back`, `postponed`, `lost`
    /// to another worker, or `not stored`.
    pub fn refit_ended(&self, outcome: &'static str, duration: Duration) {
        self.refits.get_or_create(&Ending { outcome }).observe(duration.as_secs_f64());
    }

    /// Records how processing a waiting upload ended in this process: `succeeded`, `failed`, `given back`, or `lost` to
    /// another process.
    pub fn upload_ended(&self, outcome: &'static str, duration: Duration) {
        self.uploads.get_or_create(&Ending { outcome }).observe(duration.as_secs_f64());
    }

    /// Records who answered a read that a replica may answer: the `replica`, or the primary because the replica was
    /// `behind` the position needed, was `away`, or `failed` the read.
    pub fn read_from(&self, outcome: &'static str) {
        self.reads.get_or_create(&Source { outcome }).inc();
    }

    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    /// Only by a defect of the encoder.
    pub fn encode(&self, readings: &Readings) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("sparsity_planner");
        registry.register(
            "build",
            "The service",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register("http_requests", "Requests answered", self.answers.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time until an answer begins",
            Unit::Seconds,
            self.latencies.clone(),
        );
        registry.register_with_unit(
            "refit_duration",
            "Time that refits took on this process, by how they ended",
            Unit::Seconds,
            self.refits.clone(),
        );
        registry.register_with_unit(
            "waiting_upload_duration",
            "Time that storing uploads took on this process that had been answered before, by how that ended",
            Unit::Seconds,
            self.uploads.clone(),
        );
        registry.register_with_unit(
            "database_call_duration",
            "Time that calls of the database take, a connection of the pool included",
            Unit::Seconds,
            database::durations(),
        );
        if readings.replica.is_some() {
            registry.register(
                "reads",
                "Reads that a replica of the database may answer: by it, or by the primary because it was \
                 behind, away, or failed them",
                self.reads.clone(),
            );
        }
        // In this order, so that never more requests have ended than begun.
        let ended = self.ended.load(Ordering::Acquire);
        let in_flight = self.begun.load(Ordering::Relaxed).saturating_sub(ended);
        let mut gauge = |name: &str, help: &str, value: i64| {
            let gauge: Gauge = Gauge::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        };
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (connections, idle) = readings.pool;
        gauge("http_requests_in_flight", "Requests under way", whole(in_flight));
        gauge("database_connections", "Open connections to the database", connections.into());
        gauge("database_connections_idle", "Of them unused", whole(idle as u64));
        gauge("database_connections_limit", "Most connections at once", readings.pool_limit.into());
        if let Some(((laws, bytes), followed)) = readings.laws {
            gauge("law_cache_laws", "Laws in memory", whole(laws));
            gauge("law_cache_bytes", "What they are taken to be", whole(bytes));
            gauge(
                "announcements_followed",
                "1 where another active law is heard of at once",
                followed.into(),
            );
        }
        if let Some((used, lag)) = readings.replica {
            gauge("read_replica_used", "1 where it answers reads", used.into());
            if let Some(lag) = lag {
                gauge(
                    "read_replica_lag_milliseconds",
                    "How old what it shows is at most",
                    i64::try_from(lag.as_millis()).unwrap_or(i64::MAX),
                );
            }
        }
        if let Some((queued, running, oldest)) = readings.refits {
            gauge("refits_queued", "Refits that wait, of all replicas", queued);
            gauge("refits_running", "Refits that run, of all replicas", running);
            gauge(
                "refits_oldest_queued_seconds",
                "How long the oldest of them has waited",
                whole(oldest.as_secs()),
            );
        }
        if let Some((queued, running, bytes)) = readings.uploads {
            gauge("waiting_uploads_queued", "Uploads that wait to be stored", queued);
            gauge(
                "waiting_uploads_running",
                "Uploads that were answered and are being stored",
                running,
            );
            gauge("waiting_uploads_bytes", "The bodies of both, as they were sent", bytes);
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Converts OpenMetrics text to the older text format of Prometheus (0.0.4), for readers that know only that. There a
/// counter has the same name as its samples, and there are neither units nor an end marker.
#[must_use]
pub fn in_text_format(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        let (mark, keyword) = (words.next(), words.next());
        match (mark, keyword, words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), rest) => help = Some((name, rest.unwrap_or(""))),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some((_, told)) = help.take().filter(|(helped, _)| *helped == name) {
                    text += &format!("# HELP {name}{suffix} {told}\n");
                }
                text += &format!("# TYPE {name}{suffix} {kind}\n");
            }
            (Some("#"), Some("UNIT" | "EOF"), ..) => {}
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_by_their_samples() {
        let open = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                    a_seconds_sum 0.5\n# HELP b What {it} is.\n# TYPE b counter\nb_total{c=\"# EOF\"} 1\n\
                    # HELP d I.\n# TYPE d info\nd_info{v=\"1\"} 1\n# EOF\n";
        let text = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\na_seconds_sum 0.5\n\
                    # HELP b_total What {it} is.\n# TYPE b_total counter\nb_total{c=\"# EOF\"} 1\n\
                    # HELP d_info I.\n# TYPE d_info gauge\nd_info{v=\"1\"} 1\n";
        assert_eq!(in_text_format(open), text);
    }
}
