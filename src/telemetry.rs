//! Logs: one line an event, to standard error.

use std::io::{BufWriter, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
pub struct LogConfig {
    /// What to log, in the syntax of tracing's `EnvFilter`.
    #[arg(
        long,
        env = "SPARSITY_PLANNER_LOG",
        default_value = "info,sqlx::postgres::notice=warn,reqwest_retry=error",
        global = true
    )]
    pub log: String,
    /// How logs look.
    #[arg(
        long,
        env = "SPARSITY_PLANNER_LOG_FORMAT",
        value_enum,
        default_value = "text",
        global = true
    )]
    pub log_format: LogFormat,
}

/// Installs the subscriber. A thread of its own writes the lines, so that no request waits for a disk
/// or a pipe; what is queued is written when the guard is dropped.
///
/// # Errors
/// Where the filter cannot be read.
pub fn init(config: &LogConfig) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::try_new(&config.log)?;
    let ansi = std::io::stderr().is_terminal();
    // The buffer is written whenever no line waits. Lines are never dropped: where they cannot be written as fast as they come, requests wait.
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(false).finish(BufWriter::new(std::io::stderr()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        .with_target(false);
    match config.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(guard)
}
