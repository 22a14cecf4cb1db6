//! Traces: spans of requests, and of the refits that they start, sent to a collector over OTLP.
//!
//! Spans are created explicitly where the work is done, and not derived from the log's spans. So a request pays nothing
//! while tracing is off, the log's filter does not affect the traces, and a span contains nothing that was not added to
//! it by name: no headers, no queries, no database URLs.
//!
//! Without the feature `otlp` there are no traces, and everything here does nothing.

#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod otlp;

use clap::Args;

#[cfg(not(feature = "otlp"))]
pub use off::{Span, Traces};
#[cfg(feature = "otlp")]
pub use otlp::{Span, Traces};

/// Where traces are sent, and how many of them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct TracesConfig {
    /// OpenTelemetry collector to send traces to, such as `http://127.0.0.1:4318`: OTLP as protobuf over HTTP, sent to
    /// /v1/traces below this URL. None by default.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    pub otlp_endpoint: Option<String>,
    /// Name of the service in traces.
    #[arg(long, env = "OTEL_SERVICE_NAME", default_value = "sparsity-planner")]
    pub otlp_service_name: String,
    /// Share of traces begun by this service that are sent, from 0 to 1. A trace begun by a caller is sent if the
    /// caller samples it.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1", value_parser = ratio)]
    pub otlp_sample_ratio: f64,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

impl TracesConfig {
    /// The collector's URL; an empty variable counts as none.
    fn endpoint(&self) -> Option<&str> {
        self.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_share() {
        assert_eq!(ratio("0.25"), Ok(0.25));
        for text in ["", "-0.1", "1.1", "NaN", "all"] {
            ratio(text).unwrap_err();
        }
    }
}
