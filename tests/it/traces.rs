//! Traces: from a caller's request to the worker's stages, and what happens without a collector.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;

use crate::support::empty_database;
use crate::support::process::{Process, script, upload_and_ask_with};
use crate::support::wait::until_some;

/// A span, and the service that sent it.
#[derive(Debug, Clone)]
struct Received {
    service: String,
    instance: String,
    span: Span,
}

impl Received {
    fn attribute(&self, key: &str) -> String {
        value(&self.span.attributes, key)
    }

    fn is_in(&self, trace: &str) -> bool {
        hex::encode(&self.span.trace_id) == trace
    }

    fn is_below(&self, other: &Self) -> bool {
        self.span.parent_span_id == other.span.span_id
    }
}

fn value(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()).and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{key} is {other:?} in {attributes:?}"),
    }
}

/// A collector on loopback that keeps what it receives.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>);

impl Collector {
    async fn start() -> (Self, String) {
        async fn take(State(collector): State<Collector>, batch: Bytes) {
            collector.0.lock().unwrap().push(batch);
        }
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        (collector, base)
    }

    fn spans(&self) -> Vec<Received> {
        let mut received = Vec::new();
        for batch in self.0.lock().unwrap().iter() {
            let request = ExportTraceServiceRequest::decode(batch.clone()).unwrap();
            for resource in request.resource_spans {
                let attributes = resource.resource.unwrap().attributes;
                for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    let service = value(&attributes, "service.name");
                    let instance = value(&attributes, "service.instance.id");
                    received.push(Received { service, instance, span });
                }
            }
        }
        received
    }

    /// Waits for a span with this name.
    async fn until(&self, name: &str) -> Received {
        let find = async || self.spans().into_iter().find(|sent| sent.span.name == name);
        until_some(find, name).await
    }

    /// Whether a text occurs anywhere in what was received.
    fn has(&self, text: &str) -> bool {
        let batches = self.0.lock().unwrap();
        batches.iter().any(|batch| batch.windows(text.len()).any(|part| part == text.as_bytes()))
    }
}

/// Has spans sent at once.
const AT_ONCE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "20");

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const REQUEST: &str = "POST /v1/families/{family}/refits";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_trace_goes_on_in_the_worker_that_takes_over_its_refit() {
    let (collector, endpoint) = Collector::start().await;
    let url = empty_database().await;
    // With the ratio 0 only traces that the caller samples are sent.
    let arguments = ["--otlp-endpoint", &endpoint, "--otlp-sample-ratio", "0"];
    let service = Process::serve_on("127.0.0.1:0", &url, &arguments, &[AT_ONCE]).await;
    let traced = format!("traceparent: 00-{TRACE}-{CALLER}-01");
    let refit = upload_and_ask_with(service.base(), 512, &traced);
    let request = collector.until(REQUEST).await;
    assert!(request.is_in(TRACE));
    assert_eq!(hex::encode(&request.span.parent_span_id), CALLER);
    assert_eq!(request.service, "sparsity-planner");
    assert_eq!(request.attribute("http.request.method"), "POST");
    assert_eq!(request.attribute("http.route"), "/v1/families/{family}/refits");
    assert_eq!(request.attribute("http.response.status_code"), "202");
    assert!(refit.ends_with(&request.attribute("refit.id")), "{refit}");
    service.signal("-KILL");

    let variables = [
        AT_ONCE,
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_SERVICE_NAME", "the-worker"),
    ];
    let mut worker = Process::worker(&url, &variables).await;
    let job = collector.until("job.refit").await;
    assert!(job.is_in(TRACE) && job.is_below(&request), "{job:?}");
    assert_eq!(job.service, "the-worker");
    assert_ne!(job.instance, request.instance);
    assert_eq!(job.attribute("refit.id"), request.attribute("refit.id"));
    assert_eq!(job.attribute("refit.outcome"), "succeeded");
    let spans = collector.spans();
    let stages: Vec<_> = spans.iter().filter(|sent| sent.is_below(&job)).collect();
    let mut names: Vec<_> = stages.iter().map(|sent| sent.span.name.as_str()).collect();
    names.sort_unstable();
    let expected = ["comparing", "diagnosing", "loading", "resampling", "saving", "searching"];
    assert_eq!(names, expected);
    assert!(stages.iter().all(|sent| sent.is_in(TRACE)));
    assert!(spans.iter().all(|sent| sent.is_in(TRACE)), "{spans:#?}");
    worker.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_holds_nothing_secret_and_is_sent_by_the_end() {
    let (collector, endpoint) = Collector::start().await;
    let url = empty_database().await;
    // The service stops long before spans would be sent otherwise.
    let late = ("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let arguments = ["--otlp-endpoint", &endpoint];
    let mut service = Process::serve_on("127.0.0.1:0", &url, &arguments, &[late]).await;
    let ask = "curl -sS -o /dev/null -H 'Authorization: Bearer hush-key' -H 'Cookie: hush=cookie' \
               -H 'x-request-id: seen-id' \"$BASE/v1/families/t5-c4?hush=query\"
               curl -sS -o /dev/null -H 'traceparent: hush' -X HUSHED \"$BASE/hush/path\"
               curl -sS -o /dev/null $BASE/healthz";
    script(service.base(), ask);
    assert!(collector.spans().is_empty());
    let log = service.stop();
    let spans = collector.spans();
    let mut names: Vec<_> = spans.iter().map(|sent| sent.span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GET /v1/families/{family}", "_OTHER"]);
    let asked = spans.iter().find(|sent| sent.span.name.starts_with("GET")).unwrap();
    assert_eq!(asked.attribute("request.id"), "seen-id");
    // The log names the trace.
    let line = log.lines().find(|line| line.contains("seen-id")).unwrap();
    assert!(line.contains(&hex::encode(&asked.span.trace_id)), "{line}");
    let password = url.split(['@', ':']).nth(2).unwrap();
    assert!(password.len() > 8 && url.contains(password));
    for secret in ["hush", "HUSH", "postgres", password] {
        assert!(!collector.has(secret), "{secret} is in {spans:#?}");
    }
}

#[tokio::test]
async fn a_collector_that_is_down_changes_nothing_for_callers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let url = empty_database().await;
    let plain = Process::serve(&url, &[]).await;
    let arguments = ["--otlp-endpoint", &endpoint];
    let mut traced = Process::serve_on("127.0.0.1:0", &url, &arguments, &[AT_ONCE]).await;
    let question =
        "$BASE/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse";
    let ask = format!(
        "for i in 1 2 3 4 5 6 7 8; do curl -sS --fail-with-body \"{question}\"; echo; sleep 0.05; done"
    );
    assert_eq!(script(traced.base(), &ask), script(plain.base(), &ask));
    // The same for a refit; the other service must not claim it.
    drop(plain);
    upload_and_ask_with(traced.base(), 4, "x-nothing: nothing");
    traced.until_logged("refit ended").await;
    traced.until_logged("does not take traces").await;
    let log = traced.stop();
    // Batch after batch fails, each several times, but the log has only one line a minute about it.
    assert_eq!(log.matches("does not take traces").count(), 1, "{log}");
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_nobody_up() {
    // Connections wait in the listener's queue and are never accepted.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let arguments = ["--otlp-endpoint", &endpoint, "--drain-timeout-ms", "300"];
    let url = empty_database().await;
    let mut service = Process::serve_on("127.0.0.1:0", &url, &arguments, &[AT_ONCE]).await;
    script(service.base(), "curl -sS --fail-with-body -o /dev/null $BASE/v1/families");
    let log = service.stop();
    assert!(log.contains("not all traces were sent"), "{log}");
}
