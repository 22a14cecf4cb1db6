//! Logging: one line per event, to standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use clap::Args;
use database::DatabaseTimes;
use line::LineFormat;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{DefaultFields, JsonFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub mod causes;
mod database;
mod line;
pub mod metrics;
pub mod request;
pub mod traces;

pub use line::LogFormat;

/// Settings of the log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct LogConfig {
    /// What to log, in the syntax of tracing's `EnvFilter`.
    #[arg(
        long,
        env = "SPARSITY_PLANNER_LOG",
        default_value = "info,sqlx::postgres::notice=warn,reqwest_retry=error",
        global = true
    )]
    pub log: String,
    /// Format of the log.
    #[arg(
        long,
        env = "SPARSITY_PLANNER_LOG_FORMAT",
        value_enum,
        default_value = "text",
        global = true
    )]
    pub log_format: LogFormat,
}

/// Installs the subscriber. A separate thread writes the lines, so that no request waits for a disk or pipe. When the
/// guard is dropped, all remaining lines are written.
///
/// # Errors
/// If the filter is invalid, or the system does not provide a thread.
pub fn init(config: &LogConfig) -> anyhow::Result<LogGuard> {
    let filter = EnvFilter::try_new(&config.log)?;
    let ansi = std::io::stderr().is_terminal();
    let lines = Lines::default();
    let guard = LogGuard::start(lines.clone(), io::stderr())?;
    let format = tracing_subscriber::fmt::layer()
        .with_writer(lines)
        // This concerns the fields of spans only; the line format colours the levels.
        .with_ansi(false)
        .event_format(LineFormat { format: config.log_format, ansi });
    let subscriber = tracing_subscriber::registry().with(DatabaseTimes::layer());
    match config.log_format {
        LogFormat::Text => {
            subscriber.with(format.fmt_fields(DefaultFields::new()).with_filter(filter)).init();
        }
        LogFormat::Json => {
            subscriber.with(format.fmt_fields(JsonFields::new()).with_filter(filter)).init();
        }
    }
    Ok(guard)
}

/// How long a line may wait for others to be written together with it. Waking a thread for each line would cost a
/// request more than its answer.
const PATIENCE: Duration = Duration::from_millis(20);
/// Most bytes that may wait; beyond this, logging blocks. Lines are never dropped.
const MOST_WAITING: usize = 16 * 1024 * 1024;

/// Lines waiting to be written.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<(Mutex<Waiting>, Condvar)>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whether one of the lines must be written without delay.
    urgent: bool,
    closed: bool,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.0.lock()
    }

    fn push(&self, line: &[u8], urgent: bool) {
        let mut waiting = self.lock();
        while waiting.bytes.len() > MOST_WAITING && !waiting.closed {
            self.0.1.wait(&mut waiting);
        }
        // Only the first of several lines wakes the thread, which then waits for the others.
        let first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        if first || (urgent && !waiting.urgent) {
            waiting.urgent |= urgent;
            self.0.1.notify_all();
        }
    }

    /// Writes lines as they arrive, until the log is closed.
    fn write_all(&self, mut to: impl Write) {
        let mut writing = Vec::new();
        loop {
            let changed = &self.0.1;
            let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.closed;
            let mut waiting = self.lock();
            changed.wait_while(&mut waiting, idle);
            let patient = |waiting: &mut Waiting| !waiting.urgent && !waiting.closed;
            changed.wait_while_for(&mut waiting, patient, PATIENCE);
            std::mem::swap(&mut writing, &mut waiting.bytes);
            waiting.urgent = false;
            let closed = waiting.closed;
            drop(waiting);
            self.0.1.notify_all();
            // If the log cannot be written, there is no place to report it.
            let _ = to.write_all(&writing).and_then(|()| to.flush());
            writing.clear();
            if closed {
                return;
            }
        }
    }
}

/// Receives the line of one event, which tracing-subscriber writes in one piece.
struct Line<'a> {
    lines: &'a Lines,
    urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.push(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, urgent: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        // Warnings and errors must be visible even if the process dies right after.
        let urgent = *metadata.level() <= Level::WARN;
        Line { lines: self, urgent }
    }
}

/// Keeps the log's thread running; when it is dropped, all remaining lines are written.
#[derive(Debug)]
pub struct LogGuard {
    lines: Lines,
    thread: Option<JoinHandle<()>>,
}

impl LogGuard {
    fn start(lines: Lines, to: impl Write + Send + 'static) -> io::Result<Self> {
        let writer = lines.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        let thread = thread.spawn(move || writer.write_all(to))?;
        Ok(Self { lines, thread: Some(thread) })
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.lines.lock().closed = true;
        self.lines.0.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer whose content can be inspected.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_whole_and_in_order_by_the_end() {
        let (lines, written) = (Lines::default(), Shared::default());
        let guard = LogGuard::start(lines.clone(), written.clone()).unwrap();
        let loggers: Vec<_> = (0..4)
            .map(|logger| {
                let lines = lines.clone();
                std::thread::spawn(move || {
                    for count in 0..1000 {
                        lines.push(format!("{logger} {count}\n").as_bytes(), count % 100 == 0);
                    }
                })
            })
            .collect();
        for logger in loggers {
            logger.join().unwrap();
        }
        drop(guard);
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        for logger in 0..4 {
            let own: Vec<_> =
                text.lines().filter(|line| line.starts_with(&format!("{logger} "))).collect();
            let expected: Vec<_> = (0..1000).map(|count| format!("{logger} {count}")).collect();
            assert_eq!(own, expected);
        }
    }

    #[test]
    fn nobody_waits_for_a_log_that_is_closed() {
        let lines = Lines::default();
        drop(LogGuard::start(lines.clone(), Shared::default()).unwrap());
        lines.push(&vec![b' '; MOST_WAITING + 1], false);
        lines.push(b"late\n", false);
        assert_eq!(lines.lock().bytes.len(), MOST_WAITING + 6);
    }
}
