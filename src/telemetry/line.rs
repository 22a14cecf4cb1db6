//! The format of log lines.
//!
//! A format of our own instead of those of tracing-subscriber, which cost more per request than computing most answers:
//! they go through `core::fmt` for every number and every style, and find the request's id in a span that must be
//! opened for it.

use std::fmt::{self, Write};

use chrono::{SecondsFormat, Utc};
use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::request;

/// The format of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable text.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// One line per event:
///
/// ```text
/// 2026-11-25T21:03:52.057917Z  INFO job.refit{refit=...}: message field="text" other=1.5 request_id=...
/// {"timestamp":"...","level":"INFO","fields":{"message":"..."},"request_id":"...","spans":[{"name":"job.refit"}]}
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LineFormat {
    /// Text or JSON.
    pub format: LogFormat,
    /// Whether levels are coloured in the text format.
    pub ansi: bool,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        #[expect(
            clippy::disallowed_methods,
            reason = "a log has the system's time, whatever clock the service has"
        )]
        let at = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let level = *event.metadata().level();
        let spans = || context.event_scope().into_iter().flat_map(|scope| scope.from_root());
        match self.format {
            LogFormat::Text => {
                line.write_str(&at)?;
                line.write_str(if self.ansi { coloured(level) } else { padded(level) })?;
                for span in spans() {
                    line.write_str(span.name())?;
                    let extensions = span.extensions();
                    let fields = extensions.get::<FormattedFields<N>>();
                    if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
                        write!(line, "{{{fields}}}")?;
                    }
                    line.write_str(": ")?;
                }
                let mut fields = TextFields { line: &mut line, written: Ok(()), first: true };
                event.record(&mut fields);
                fields.written?;
                request::with_current(|request| {
                    line.write_str(" request_id=")?;
                    line.write_str(request.id())?;
                    let trace = request.trace_id();
                    trace.map_or(Ok(()), |trace| write!(line, " trace_id={trace}"))
                })?;
            }
            LogFormat::Json => {
                line.write_str("{\"timestamp\":\"")?;
                line.write_str(&at)?;
                line.write_str("\",\"level\":\"")?;
                line.write_str(level.as_str())?;
                line.write_str("\",\"fields\":{")?;
                let mut fields = JsonFields { line: &mut line, written: Ok(()), first: true };
                event.record(&mut fields);
                fields.written?;
                line.write_char('}')?;
                request::with_current(|request| {
                    line.write_str(",\"request_id\":")?;
                    write_json_text(&mut line, request.id())?;
                    let trace = request.trace_id();
                    trace.map_or(Ok(()), |trace| write!(line, ",\"trace_id\":\"{trace}\""))
                })?;
                let mut before = ",\"spans\":[";
                for span in spans() {
                    line.write_str(before)?;
                    before = ",";
                    line.write_str("{\"name\":")?;
                    write_json_text(&mut line, span.name())?;
                    // tracing-subscriber's `JsonFields` has written an object.
                    let extensions = span.extensions();
                    let fields = extensions.get::<FormattedFields<N>>();
                    match fields.and_then(|fields| fields.fields.strip_prefix('{')) {
                        Some(rest) if rest != "}" => write!(line, ",{rest}")?,
                        _ => line.write_char('}')?,
                    }
                }
                line.write_str(if before == "," { "]}" } else { "}" })?;
            }
        }
        line.write_char('\n')
    }
}

const fn padded(level: Level) -> &'static str {
    match level {
        Level::ERROR => " ERROR ",
        Level::WARN => "  WARN ",
        Level::INFO => "  INFO ",
        Level::DEBUG => " DEBUG ",
        Level::TRACE => " TRACE ",
    }
}

const fn coloured(level: Level) -> &'static str {
    match level {
        Level::ERROR => " \x1b[31mERROR\x1b[0m ",
        Level::WARN => "  \x1b[33mWARN\x1b[0m ",
        Level::INFO => "  \x1b[32mINFO\x1b[0m ",
        Level::DEBUG => " \x1b[34mDEBUG\x1b[0m ",
        Level::TRACE => " \x1b[35mTRACE\x1b[0m ",
    }
}

/// Writes fields as ` name=value`; the message is written without its name.
struct TextFields<'a, 'w> {
    line: &'a mut Writer<'w>,
    written: fmt::Result,
    first: bool,
}

impl TextFields<'_, '_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let first = std::mem::replace(&mut self.first, false);
        let write = || {
            if !first {
                self.line.write_char(' ')?;
            }
            if field.name() != "message" {
                self.line.write_str(field.name())?;
                self.line.write_char('=')?;
            }
            value(self.line)
        };
        if self.written.is_ok() {
            self.written = write();
        }
    }
}

impl Visit for TextFields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |line| write!(OneLine(line), "{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |line| write!(line, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.write(field, |line| OneLine(line).write_str(value));
        }
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        self.write(field, |line| {
            if !value.as_bytes().iter().all(plain) {
                return write!(line, "{value:?}");
            }
            line.write_char('"')?;
            line.write_str(value)?;
            line.write_char('"')
        });
    }
}

/// Escapes control characters, so that what a caller sends can neither look like a log line of its own nor control a
/// terminal.
struct OneLine<'a, 'w>(&'a mut Writer<'w>);

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, control)) = rest.char_indices().find(|(_, each)| each.is_control()) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", control.escape_default())?;
            rest = &rest[at + control.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Writes fields as members of a JSON object.
struct JsonFields<'a, 'w> {
    line: &'a mut Writer<'w>,
    written: fmt::Result,
    first: bool,
}

impl JsonFields<'_, '_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let first = std::mem::replace(&mut self.first, false);
        let write = || {
            if !first {
                self.line.write_char(',')?;
            }
            write_json_text(self.line, field.name())?;
            self.line.write_char(':')?;
            value(self.line)
        };
        if self.written.is_ok() {
            self.written = write();
        }
    }
}

impl Visit for JsonFields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |line| write_json_text(line, &format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |line| write_json_text(line, value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write(field, |line| match value.is_finite() {
            true => write!(line, "{value:?}"),
            false => line.write_str("null"),
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, |line| write!(line, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |line| write!(line, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |line| line.write_str(if value { "true" } else { "false" }));
    }
}

fn write_json_text(line: &mut Writer<'_>, text: &str) -> fmt::Result {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if !text.as_bytes().iter().all(plain) {
        return line.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?);
    }
    line.write_char('"')?;
    line.write_str(text)?;
    line.write_char('"')
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use axum::http::HeaderValue;
    use serde_json::{Value, json};
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::fmt::format::{DefaultFields, JsonFields};

    use super::*;
    use crate::telemetry::request::{RequestId, RequestName};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// The lines logged by `events`, without their timestamps.
    fn logged(format: LogFormat, events: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let builder = tracing_subscriber::fmt()
            .with_writer(written.clone())
            .with_ansi(false)
            .event_format(LineFormat { format, ansi: false });
        match format {
            LogFormat::Text => {
                let log = builder.fmt_fields(DefaultFields::new()).finish();
                tracing::subscriber::with_default(log, events);
            }
            LogFormat::Json => {
                let log = builder.fmt_fields(JsonFields::new()).finish();
                tracing::subscriber::with_default(log, events);
            }
        }
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with('\n'));
        text.lines().map(ToOwned::to_owned).collect()
    }

    fn events() {
        let error = io::Error::other("a \"broken\"\nline\u{1b}[31m");
        tracing::info!(method = "GET", path = "/ü\n", status = 200_u16, ms = 0.25, "answered");
        let refit = tracing::info_span!("job.refit", refit = "r-1");
        let _refit = refit.enter();
        let _bare = tracing::info_span!("bare").entered();
        tracing::warn!(%error, nan = f64::NAN, kept = true, left = -1, "not\nstored");
    }

    #[test]
    fn text_is_one_line_an_event_whatever_is_in_it() {
        let lines = logged(LogFormat::Text, events);
        let expected = [
            r#"  INFO answered method="GET" path="/ü\n" status=200 ms=0.25"#,
            concat!(
                r#"  WARN job.refit{refit="r-1"}: bare: not\nstored "#,
                r#"error=a "broken"\nline\u{1b}[31m nan=NaN kept=true left=-1"#
            ),
        ];
        assert_eq!(lines.len(), expected.len());
        for (line, expected) in lines.iter().zip(expected) {
            let (at, rest) = line.split_at("2026-11-25T21:03:52.057917Z".len());
            assert!(chrono::DateTime::parse_from_rfc3339(at).is_ok(), "{line}");
            assert_eq!(rest, expected);
        }
    }

    #[test]
    fn json_is_one_object_a_line() {
        let lines = logged(LogFormat::Json, events);
        let mut found: Vec<Value> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut found {
            let at = line.as_object_mut().unwrap().remove("timestamp").unwrap();
            assert!(chrono::DateTime::parse_from_rfc3339(at.as_str().unwrap()).is_ok());
        }
        let answered = json!({
            "level": "INFO",
            "fields": {
                "message": "answered", "method": "GET", "path": "/ü\n", "status": 200, "ms": 0.25
            },
        });
        let warned = json!({
            "level": "WARN",
            "fields": {
                "message": "not\nstored", "error": "a \"broken\"\nline\u{1b}[31m", "nan": null,
                "kept": true, "left": -1
            },
            "spans": [{"name": "job.refit", "refit": "r-1"}, {"name": "bare"}],
        });
        assert_eq!(found, [answered, warned]);
    }

    #[tokio::test]
    async fn lines_carry_the_id_of_their_request_on_other_threads_and_tasks_too() {
        let written = Written::default();
        let log = tracing_subscriber::fmt()
            .with_writer(written.clone())
            .with_ansi(false)
            .event_format(LineFormat { format: LogFormat::Text, ansi: false })
            .finish();
        let _log = tracing::subscriber::set_default(log);
        let say = || tracing::dispatcher::get_default(Clone::clone);
        let id = RequestId::given(&HeaderValue::from_static("sweep-3/17")).unwrap();
        request::within(RequestName::new(id, Some("4bf9".to_owned())), async {
            tracing::info!("here");
            let log = say();
            let there = request::carried(move || {
                tracing::dispatcher::with_default(&log, || tracing::info!("on a thread"));
            });
            tokio::task::spawn_blocking(there).await.unwrap();
            tokio::spawn(request::carried_task(async { tracing::info!("in a task") }))
                .await
                .unwrap();
        })
        .await;
        tracing::info!("elsewhere");
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let rests: Vec<_> = text.lines().map(|line| line.split_once("INFO ").unwrap().1).collect();
        let with_id = |what: &str| format!("{what} request_id=sweep-3/17 trace_id=4bf9");
        assert_eq!(
            rests,
            [&*with_id("here"), &*with_id("on a thread"), &*with_id("in a task"), "elsewhere"]
        );
    }
}
