//! `postgres`: runs a command with access to the private PostgreSQL.

use std::process::ExitCode;

use anyhow::Context;

use crate::app;
use crate::config::PrivateConfig;
use crate::postgres::PrivatePostgres;

/// Runs a command with access to the private PostgreSQL, and returns its exit code.
pub async fn with_postgres(
    private: &PrivateConfig,
    command: &[std::ffi::OsString],
) -> anyhow::Result<ExitCode> {
    let postgres =
        PrivatePostgres::start(private.data_dir.as_deref(), private.pg_bin.as_deref()).await?;
    let (program, arguments) = command.split_first().context("no command")?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", postgres.url())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("running {}", program.to_string_lossy()))?;
    let code = tokio::select! {
        status = child.wait() => status?.code().and_then(|code| u8::try_from(code).ok()),
        () = app::stop_signal() => None,
    };
    drop(child);
    postgres.stop().await?;
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
