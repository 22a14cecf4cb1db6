//! Traces: spans of requests, and of the refits that they ask for, sent to a collector over OTLP.
//!
//! Spans are made by hand where the work is done, and not out of those of the log. So a request pays
//! nothing for traces that nobody asked for, the log's filter does not decide what is traced, and
//! nothing is in a span that was not put there by name: no header, no query, no URL of a database.
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

/// Where traces go, and how many.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct TracesConfig {
    /// OpenTelemetry collector that traces are sent to, such as `http://127.0.0.1:4318`: OTLP as
    /// protobuf over HTTP, to /v1/traces below it. None unless said.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    pub otlp_endpoint: Option<String>,
    /// The service's name in traces.
    #[arg(long, env = "OTEL_SERVICE_NAME", default_value = "sparsity-planner")]
    pub otlp_service_name: String,
    /// Share of the traces that begin here and are sent, 0 to 1. A trace that a caller began is sent
    /// where the caller sends it.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1", value_parser = ratio)]
    pub otlp_sample_ratio: f64,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

impl TracesConfig {
    /// The collector; an empty variable names none.
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
