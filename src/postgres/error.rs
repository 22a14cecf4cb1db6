//! Errors that keep a private server from running.

use std::io;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

/// Why the private server cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// A file or program could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or program.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// There is no default place for data.
    #[error("the home directory of this user is unknown: name a data directory")]
    NoHomeDirectory,
    /// The configured programs cannot be used.
    #[error("the PostgreSQL programs configured in {} cannot be used: {reason}", directory.display())]
    BinaryDirectory {
        /// The configured directory.
        directory: PathBuf,
        /// What is wrong with the directory.
        reason: String,
    },
    /// There are no usable programs on this machine, and downloading them failed.
    #[error(
        "no usable PostgreSQL server programs on this machine{found}, and fetching them failed: {cause}.\n\
         Install them with `{install}`, or set DATABASE_URL to a server that exists"
    )]
    NoBinaries {
        /// Programs that were found but cannot be used; may be empty.
        found: String,
        /// Why the download failed.
        cause: String,
        /// The command that installs PostgreSQL on this machine.
        install: &'static str,
    },
    /// PostgreSQL does not run as root, and there is no user that root could run it as.
    #[error(
        "PostgreSQL does not run as root, and there is no user postgres or nobody: run as another user"
    )]
    NoServerUser,
    /// The cluster belongs to another user.
    #[error("{} belongs to uid {uid}, as whom this process cannot run PostgreSQL: \
             run as its owner, change its owner, or use another data directory", path.display())]
    ForeignCluster {
        /// The cluster.
        path: PathBuf,
        /// Uid of its owner.
        uid: u32,
    },
    /// The user that root runs the server as cannot enter the directory.
    #[error("{} cannot be entered by the unprivileged user that PostgreSQL runs as (uid {uid})", path.display())]
    Unreachable {
        /// Where the cluster is, or would be.
        path: PathBuf,
        /// Uid of the user.
        uid: u32,
    },
    /// Another process has held a lock for too long.
    #[error("another process has been holding {} for too long", path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
    /// The system provided no random bytes for a password.
    #[error("cannot generate a password: {0}")]
    NoRandomness(getrandom::Error),
    /// There is no free port on the loopback address.
    #[error("no free port on 127.0.0.1: {0}")]
    NoPort(io::Error),
    /// `initdb` failed.
    #[error("initdb failed: {cause}{log}")]
    NotInitialised {
        /// How `initdb` ended.
        cause: String,
        /// Last lines of its output.
        log: String,
    },
    /// The server does not accept connections.
    #[error("the private PostgreSQL did not start: {cause}{log}")]
    NotStarted {
        /// Result of the last connection attempt.
        cause: String,
        /// Last lines of the server's log.
        log: String,
    },
    /// The file `postmaster.pid` is empty.
    #[error(
        "{} is empty, as a full disk or a machine that was switched off leaves it, and PostgreSQL does not start \
         beside it: make room if the disk is full, see that no PostgreSQL runs on this directory (`pgrep postgres`), \
         remove the file and start again",
        path.display()
    )]
    EmptyPid {
        /// Path of the file.
        path: PathBuf,
    },
    /// The server has not stopped yet.
    #[error(
        "the private PostgreSQL has not stopped within the time that is given to its last checkpoint; it was told to, \
         and goes on by itself{log}"
    )]
    NotStopped {
        /// Last lines of the output of `pg_ctl`.
        log: String,
    },
    /// Stopping was interrupted because the runtime ended.
    #[error("stopping the private PostgreSQL was interrupted")]
    Interrupted,
}

/// Turns an I/O error on `path` into a [`PostgresError`].
pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PostgresError {
    let path = path.to_owned();
    move |source| PostgresError::Io { action, path, source }
}

/// Runs blocking work on a separate thread.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PostgresError> + Send + 'static,
) -> Result<T, PostgresError> {
    match spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(PostgresError::Interrupted),
    }
}
