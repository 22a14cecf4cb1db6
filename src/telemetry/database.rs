//! Metrics of how long database calls take, by kind of call.
//!
//! Each function of the `store` opens a span `db.<table>.<verb>`. A layer of the subscriber measures these spans, so
//! the store does not depend on the metrics. The log leaves these spans out: one line per query would say less than the
//! histogram does.

use std::fmt::Error;
use std::sync::LazyLock;
use std::time::Instant;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tracing::span::{Attributes, Id};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Bounds of the histogram's buckets in seconds: finding a row by its key takes some hundred microseconds, merging a
/// million rows many seconds.
const BOUNDS: [f64; 10] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];
/// Prefix of the names of these spans.
const PREFIX: &str = "db.";

/// A kind of call: the span's name without the prefix, for example `runs.list`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name(&'static str);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), Error> {
        self.0.encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Query {
    query: Name,
}

/// Durations in seconds by kind of call.
pub(super) type Durations = Family<Query, Histogram, fn() -> Histogram>;

/// One for the whole process, like the subscriber that does the measuring.
static DURATIONS: LazyLock<Durations> =
    LazyLock::new(|| Family::new_with_constructor(|| Histogram::new(BOUNDS)));

/// The durations measured in this process.
pub(super) fn durations() -> Durations {
    DURATIONS.clone()
}

/// The subscriber layer that measures the store's spans from opening to closing.
#[derive(Debug, Clone, Copy)]
pub(super) struct DatabaseTimes;

/// The time at which a span was opened.
struct Opened(Instant);

impl DatabaseTimes {
    /// The layer, which processes no spans but the store's.
    pub(super) fn layer<S>() -> impl Layer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let wanted: FilterFn = filter_fn(is_query as fn(&Metadata<'_>) -> bool);
        Self.with_filter(wanted.with_max_level_hint(LevelFilter::DEBUG))
    }
}

fn is_query(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::DEBUG && metadata.name().starts_with(PREFIX)
}

impl<S> Layer<S> for DatabaseTimes
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Opened(Instant::now()));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(query) = span.name().strip_prefix(PREFIX) else { return };
        if let Some(Opened(at)) = span.extensions().get() {
            let query = Query { query: Name(query) };
            DURATIONS.get_or_create(&query).observe(at.elapsed().as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn counted(name: &str) -> u64 {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register("t", "", durations());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let wanted = format!("t_count{{query=\"{name}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&wanted)).map_or(0, |n| n.parse().unwrap())
    }

    #[test]
    fn spans_of_the_store_are_measured_and_no_others() {
        let subscriber = tracing_subscriber::registry().with(DatabaseTimes::layer());
        tracing::subscriber::with_default(subscriber, || {
            let outer = tracing::debug_span!("db.tests.measured");
            outer.in_scope(|| tracing::debug_span!("api.tests.measured").in_scope(|| ()));
            assert_eq!(counted("tests.measured"), 0, "before its end");
            drop(outer);
        });
        assert_eq!(counted("tests.measured"), 1);
        assert_eq!(counted("api.tests.measured"), 0);
    }
}
