//! OpenTelemetry spans, sent as protobuf over HTTP.
//!
//! Finished spans wait in a bounded queue for a thread of the SDK, which sends them in batches; if the queue is full,
//! they are dropped. So a slow or unreachable collector costs a request nothing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use bytes::Bytes;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::domain::refit::ClaimedRefit;
use crate::telemetry::traces::TracesConfig;

/// How long the collector may take to accept a batch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Minimum time between two log lines about spans that cannot be sent.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Where spans are sent; clones share it. By default they are not sent.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Sending>>);

#[derive(Debug)]
struct Sending {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

impl Traces {
    /// Starts sending spans to the configured collector, if there is one. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the endpoint is not an HTTP URL, or the exporter's OpenTelemetry variables are invalid.
    pub fn start(config: &TracesConfig) -> anyhow::Result<Self> {
        let Some(endpoint) = config.endpoint() else { return Ok(Self::default()) };
        let url = spans_url(endpoint)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Courier::new(&url)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .with_timeout(TIMEOUT)
            .build()
            .context("setting up traces")?;
        // Follows the caller's sampling decision, so that traces are complete.
        let sampler = Sampler::TraceIdRatioBased(config.otlp_sample_ratio);
        let resource = Resource::builder()
            .with_service_name(config.otlp_service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", Uuid::new_v4().to_string()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        let propagator = TraceContextPropagator::new();
        Ok(Self(Some(Arc::new(Sending { provider, tracer, propagator }))))
    }

    /// The span of a request, within the caller's trace if it names one. Health checks and metrics get none, as such
    /// requests come all the time.
    pub(crate) fn request(
        &self,
        request: &Request,
        route: Option<&MatchedPath>,
        request_id: &str,
    ) -> Span {
        let Some(sending) = &self.0 else { return Span::default() };
        let route = route.map(MatchedPath::as_str);
        if matches!(route, Some("/healthz" | "/readyz" | "/metrics")) {
            return Span::default();
        }
        let method = known(request.method());
        let name = match route {
            Some(route) => Cow::Owned(format!("{method} {route}")),
            None => Cow::Borrowed(method),
        };
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("request.id", request_id.to_owned()),
        ];
        attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
        let caller = HeaderExtractor(request.headers());
        let parent = sending.propagator.extract_with_context(&Context::new(), &caller);
        sending.begin(name, SpanKind::Server, attributes, &parent)
    }

    /// The span of a refit, as a child of the request that started it, even if another process handled that.
    pub(crate) fn refit(&self, claimed: &ClaimedRefit) -> Span {
        let Some(sending) = &self.0 else { return Span::default() };
        let asked: HashMap<_, _> = claimed
            .trace_context
            .iter()
            .map(|context| ("traceparent".to_owned(), context.clone()))
            .collect();
        let parent = sending.propagator.extract_with_context(&Context::new(), &asked);
        let attributes = vec![
            KeyValue::new("refit.id", claimed.id.to_string()),
            KeyValue::new("refit.attempt", i64::from(claimed.attempts)),
        ];
        sending.begin("job.refit".into(), SpanKind::Consumer, attributes, &parent)
    }

    /// Sends the remaining spans, for at most `patience`.
    pub async fn close(self, patience: Duration) {
        let Some(sending) = self.0 else { return };
        let closing = move || sending.provider.shutdown_with_timeout(patience);
        // The shutdown has a time limit of its own, and failures to send have been logged already.
        if !matches!(tokio::task::spawn_blocking(closing).await, Ok(Ok(()))) {
            tracing::warn!("not all traces were sent");
        }
    }
}

impl Sending {
    fn begin(
        self: &Arc<Self>,
        name: Cow<'static, str>,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
        parent: &Context,
    ) -> Span {
        let builder = self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, parent);
        Span(Some((Context::new().with_span(span), self.clone())))
    }
}

/// A span in progress, or none. It ends when its last clone is dropped.
#[derive(Debug, Clone, Default)]
pub struct Span(Option<(Context, Arc<Sending>)>);

impl Span {
    /// A child of this span.
    pub(crate) fn child(&self, name: &'static str) -> Self {
        let Some((context, sending)) = &self.0 else { return Self::default() };
        sending.begin(name.into(), SpanKind::Internal, Vec::new(), context)
    }

    /// Makes the span available to the handlers of a request.
    pub(crate) fn hand_to(&self, request: &mut Request) {
        if self.0.is_some() {
            request.extensions_mut().insert(self.clone());
        }
    }

    /// Adds an attribute.
    pub(crate) fn note(&self, key: &'static str, value: &str) {
        self.set(key, value.to_owned());
    }

    /// Ends the span of a request, at the point where its answer begins.
    pub(crate) fn answered(&self, status: u16) {
        let Some((context, _)) = &self.0 else { return };
        self.set("http.response.status_code", i64::from(status));
        if status >= 500 {
            self.failed("");
        }
        context.span().end();
    }

    /// Marks the span as failed.
    pub(crate) fn failed(&self, why: &str) {
        let Some((context, _)) = &self.0 else { return };
        context.span().set_status(Status::error(why.to_owned()));
    }

    /// Ends the span, unless other clones exist.
    pub(crate) fn end(self) {
        drop(self);
    }

    /// Id of the trace, if the span is sampled.
    pub(crate) fn trace_id(&self) -> Option<String> {
        let (context, _) = self.0.as_ref()?;
        let span = context.span();
        let context = span.span_context();
        context.is_sampled().then(|| context.trace_id().to_string())
    }

    /// The W3C `traceparent` with which another process can continue this trace.
    pub(crate) fn context(&self) -> Option<String> {
        let (context, sending) = self.0.as_ref()?;
        let mut carrier = HashMap::new();
        sending.propagator.inject_context(context, &mut carrier);
        carrier.remove("traceparent")
    }

    fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some((context, _)) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }
}

/// The method's name for traces. Made-up methods are grouped, as a span's name must not depend on the caller.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

/// The URL for spans below a collector's base URL.
fn spans_url(endpoint: &str) -> anyhow::Result<Url> {
    // The error does not repeat the endpoint, which may hold a password.
    let mut url = Url::parse(endpoint)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .context("--otlp-endpoint is not a URL such as http://127.0.0.1:4318")?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(["v1", "traces"]);
    }
    Ok(url)
}

/// Sends batches to the collector, and logs failures.
///
/// The SDK calls it from a thread of its own, while the HTTP client needs the runtime.
#[derive(Debug)]
struct Courier {
    client: Client,
    runtime: Handle,
    failures: Failures,
}

impl Courier {
    fn new(url: &Url) -> anyhow::Result<Self> {
        // Fails only if a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No redirects: they would send the batch and its headers to a place that nobody configured.
        let mut client = Client::builder().timeout(TIMEOUT).redirect(Policy::none());
        if url.scheme() == "http" {
            // Without TLS no certificates are needed, so that traces also work on a machine that has none.
            client = client.tls_certs_only([]);
        }
        let client = client.build().context("setting up the HTTP client of traces")?;
        Ok(Self { client, runtime: Handle::current(), failures: Failures::default() })
    }
}

#[async_trait]
impl HttpClient for Courier {
    async fn send_bytes(
        &self,
        request: axum::http::Request<Bytes>,
    ) -> Result<axum::http::Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move { client.send_bytes(request).await }).await?;
        match &sent {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => self.failures.log(|| format!("answered with {}", response.status())),
            Err(error) => self.failures.log(|| cause(&**error)),
        }
        sent
    }
}

/// The innermost cause of an error, as the outer ones may contain the URL.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => "it did not answer in time".to_owned(),
        Some(_) => "it could not be asked".to_owned(),
        None => cause.to_string(),
    }
}

/// Number of failures since the last log line about them, and its time.
#[derive(Debug, Default)]
struct Failures(Mutex<(u64, Option<Instant>)>);

impl Failures {
    fn log(&self, why: impl FnOnce() -> String) {
        let mut failures = self.0.lock();
        let (count, logged) = &mut *failures;
        *count += 1;
        if logged.is_none_or(|logged| logged.elapsed() >= BETWEEN_LINES) {
            let why = why();
            tracing::warn!(why, attempts = *count, "the collector does not take traces");
            (*count, *logged) = (0, Some(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_below_the_base() {
        for (base, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://otlp.example.org/planner/", "https://otlp.example.org/planner/v1/traces"),
        ] {
            assert_eq!(spans_url(base).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_not_repeated() {
        for endpoint in ["user:secret@host:4318", "grpc://secret:4317", "secret"] {
            assert!(!format!("{:#}", spans_url(endpoint).unwrap_err()).contains("secret"));
        }
    }
}
