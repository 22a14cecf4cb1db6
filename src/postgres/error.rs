//! What can keep a private server from running.

use std::io;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

/// Why there is no private server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// A file or program could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no place for data by default.
    #[error("the home directory of this user is unknown: name a data directory")]
    NoHomeDirectory,
    /// The configured programs do not serve.
    #[error("the PostgreSQL programs configured in {} cannot be used: {reason}", directory.display())]
    BinaryDirectory {
        /// As configured.
        directory: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No programs on this machine, and none to be had.
    #[error(
        "no usable PostgreSQL server programs on this machine{found}, and fetching them failed: {cause}.\n\
         Install them with `{install}`, or set DATABASE_URL to a server that exists"
    )]
    NoBinaries {
        /// Programs that were found and refused, or nothing.
        found: String,
        /// Why fetching failed.
        cause: String,
        /// The command for this machine.
        install: &'static str,
    },
    /// PostgreSQL does not run as root, and root knows nobody to run it.
    #[error(
        "PostgreSQL does not run as root, and there is no user postgres or nobody: run as another user"
    )]
    NoServerUser,
    /// The cluster is somebody else's.
    #[error("{} belongs to uid {uid}, as whom this process cannot run PostgreSQL: \
             run as its owner, change its owner, or use another data directory", path.display())]
    ForeignCluster {
        /// The cluster.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The user that root lends the server to has no way to it.
    #[error("{} cannot be entered by the unprivileged user that PostgreSQL runs as (uid {uid})", path.display())]
    Unreachable {
        /// Where the cluster is, or would be.
        path: PathBuf,
        /// That user.
        uid: u32,
    },
    /// Another process holds a lock for too long.
    #[error("another process has been holding {} for too long", path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
    /// The system gave no random bytes for a password.
    #[error("cannot generate a password: {0}")]
    NoRandomness(getrandom::Error),
    /// No port could be had on the loopback address.
    #[error("no free port on 127.0.0.1: {0}")]
    NoPort(io::Error),
    /// `initdb` failed.
    #[error("initdb failed: {cause}{log}")]
    NotInitialised {
        /// How it ended.
        cause: String,
        /// Its last lines.
        log: String,
    },
    /// The server does not accept connections.
    #[error("the private PostgreSQL did not start: {cause}{log}")]
    NotStarted {
        /// What the last connection attempt met.
        cause: String,
        /// The last lines of the server's log.
        log: String,
    },
    /// The file in which a running server says that it runs is empty.
    #[error(
        "{} is empty, as a full disk or a machine that was switched off leaves it, and PostgreSQL does not start \
         beside it: make room if the disk is full, see that no PostgreSQL runs on this directory (`pgrep postgres`), \
         remove the file and start again",
        path.display()
    )]
    EmptyPid {
        /// The file.
        path: PathBuf,
    },
    /// The server runs on for now.
    #[error(
        "the private PostgreSQL has not stopped within the time that is given to its last checkpoint; it was told to, \
         and goes on by itself{log}"
    )]
    NotStopped {
        /// The last lines of `pg_ctl`.
        log: String,
    },
    /// The stop was interrupted with the runtime.
    #[error("stopping the private PostgreSQL was interrupted")]
    Interrupted,
}

/// Turns an I/O error on `path` into a [`PostgresError`].
pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PostgresError {
    let path = path.to_owned();
    move |source| PostgresError::Io { action, path, source }
}

/// Runs what blocks on a thread made for it.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PostgresError> + Send + 'static,
) -> Result<T, PostgresError> {
    match spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(PostgresError::Interrupted),
    }
}
