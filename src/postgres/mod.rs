//! A private PostgreSQL for users who have none: created, started, shared and stopped by the service.
//!
//! Everything lives in `<data_dir>/postgres`: `cluster`, its `password`, logs, and two lock files.
//! `start.lock` is held alone while somebody starts or stops the server. `users.lock` is held
//! shared by each process that uses it; whoever leaves and then gets it alone was the last and
//! stops the server. The kernel frees the locks of a killed process, so its server goes on running,
//! is found by the next start, and stops with that one.
//!
//! Only a successful login proves that the server runs. Neither `pg_ctl` nor `postmaster.pid` is trusted, as both are
//! wrong for about a second after a server was killed. The server listens on the loopback address with a generated
//! password, and syncs to disk as PostgreSQL does by default. It is meant for one machine: several machines need a
//! server of their own choosing.
//!
//! Rejected: `postgresql_embedded` (no fsync, no root, no start after a crash), and counting users
//! in a file (wrong after the first kill).

mod binaries;
mod cluster;
mod error;
mod lock;
mod owner;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use cluster::{Answer, Cluster, NAME};
use error::off_thread;
use lock::Lock;
use owner::Home;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpStream;
use tokio::time::sleep;

pub use error::PostgresError;

/// How long a start waits for another process that is starting or stopping the server; recovery of a large cluster
/// takes minutes.
const START_LOCK_LIMIT: Duration = Duration::from_secs(330);
/// How long a stop waits for another process. Longer than a stop takes; a start need not be waited for, as its process
/// uses the server from then on.
const STOP_LOCK_LIMIT: Duration = Duration::from_secs(35);
/// How long starting is retried when the port is taken or the remains of a killed server are in the way.
const RETRY_LIMIT: Duration = Duration::from_secs(10);
/// How long a server that reports recovery is waited for.
const RECOVERY_LIMIT: Duration = Duration::from_mins(5);
/// Pause before starting is retried.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Pause before a recovering server is contacted again.
const RECOVERY_PAUSE: Duration = Duration::from_millis(100);

/// Time between two checks whether the server is running.
const KEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long the server may take to accept a connection.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// Pause before a server that died is restarted; it doubles with each failed attempt, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A handle to a private server, which runs at least as long as this value lives.
///
/// Dropping it stops the server like [`PrivatePostgres::stop`] but blocks the thread for it.
pub struct PrivatePostgres {
    cluster: Cluster,
    port: u16,
    /// Shared lock; `None` once the server was left.
    users: Option<Lock>,
    /// Held while starting, and still held if the start is given up.
    start: Option<Lock>,
}

impl PrivatePostgres {
    /// Starts the server of the cluster below `data_dir`, or finds it running. Creates the cluster first if necessary.
    ///
    /// | argument | |
    /// |---|---|
    /// | `data_dir` | `None`: `sparsity-planner` in the platform's data directory, for root under `/var/lib` |
    /// | `bin_dir` | must hold `initdb`, `pg_ctl` and `postgres`; `None`: found on this machine or fetched |
    ///
    /// A start that is given up (its future dropped) stops what it started.
    ///
    /// # Errors
    ///
    /// [`PostgresError`], in words meant for whoever runs the service.
    pub async fn start(
        data_dir: Option<&Path>,
        bin_dir: Option<&Path>,
    ) -> Result<PrivatePostgres, PostgresError> {
        let (data_dir, bin_dir) = (data_dir.map(Path::to_owned), bin_dir.map(Path::to_owned));
        let (home, found) = off_thread(move || {
            let home = Home::prepare(data_dir.as_deref())?;
            let found = binaries::find(bin_dir.as_deref(), &home)?;
            Ok((home, found))
        })
        .await?;
        let binaries = match found {
            Ok(binaries) => binaries,
            Err(refusals) => binaries::fetch(&home, refusals).await?,
        };

        let (start_path, users_path) = (home.path("start.lock"), home.path("users.lock"));
        let start =
            Lock::exclusive(home.open("start.lock", false)?, &start_path, START_LOCK_LIMIT).await?;
        let cluster = Cluster::open(home, binaries).await?;
        // Nobody holds this lock exclusively without also holding the start lock.
        let users = Lock::shared(cluster.home.open("users.lock", false)?, &users_path)?
            .ok_or(PostgresError::Busy { path: users_path })?;
        // If the start is given up from here on, dropping this value stops the server.
        let mut server =
            PrivatePostgres { cluster, port: 0, users: Some(users), start: Some(start) };
        server.port = server.serve().await?;
        server.start = None;
        tracing::info!(directory = %server.directory().display(), port = server.port, "private PostgreSQL is ready");
        Ok(server)
    }

    /// Finds or starts the server, and returns its port.
    async fn serve(&self) -> Result<u16, PostgresError> {
        let begun = Instant::now();
        let mut give_up = begun + RETRY_LIMIT;
        let mut cause = String::from("no server is recorded");
        let mut launched = false;
        loop {
            if let Some(port) = self.cluster.recorded_port() {
                match self.cluster.ask(port).await {
                    Answer::Ready => return Ok(port),
                    Answer::NotYet if begun.elapsed() < RECOVERY_LIMIT => {
                        give_up = Instant::now() + RETRY_LIMIT;
                        sleep(RECOVERY_PAUSE).await;
                        continue;
                    }
                    Answer::NotYet => {
                        cause = format!("still recovering after {} s", RECOVERY_LIMIT.as_secs())
                    }
                    Answer::Failed(why) => cause = why,
                }
            }
            // A starting server writes this file a moment after it has created it.
            if launched && let Some(path) = self.cluster.empty_pid() {
                sleep(RETRY_PAUSE).await;
                if self.cluster.empty_pid().is_some() {
                    return Err(PostgresError::EmptyPid { path });
                }
                continue;
            }
            if Instant::now() >= give_up {
                return Err(PostgresError::NotStarted { cause, log: self.cluster.last_words() });
            }
            if launched {
                sleep(RETRY_PAUSE).await;
            }
            self.cluster.launch().await?;
            launched = true;
        }
    }

    /// Restarts the server whenever it has died, until this future is dropped: the kernel may kill a process that takes
    /// too much memory, and people kill the wrong one. The pause before an attempt grows while attempts fail.
    pub async fn keep(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            sleep(KEEP_INTERVAL).await;
            if self.is_there().await {
                pause = FIRST_PAUSE;
                continue;
            }
            let directory = self.directory().display();
            tracing::error!(%directory, ?pause, "the private PostgreSQL has died, and is started again");
            sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            match self.start_again().await {
                Ok(port) if port == self.port => {
                    tracing::warn!(%directory, port, "the private PostgreSQL is ready again");
                }
                Ok(port) => tracing::error!(
                    %directory, port, before = self.port,
                    "the private PostgreSQL is ready again at another port, as its own is taken: restart this process"
                ),
                Err(error) => tracing::error!(%error, "starting the private PostgreSQL again"),
            }
        }
    }

    /// Whether anything listens on the server's port.
    async fn is_there(&self) -> bool {
        let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        matches!(tokio::time::timeout(PROBE_LIMIT, connected).await, Ok(Ok(_)))
    }

    async fn start_again(&self) -> Result<u16, PostgresError> {
        let home = &self.cluster.home;
        let path = home.path("start.lock");
        // Another process that uses the server may be restarting it already.
        let _start =
            Lock::exclusive(home.open("start.lock", false)?, &path, START_LOCK_LIMIT).await?;
        self.serve().await
    }

    /// How to connect to the service's database.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.cluster.options(self.port, NAME)
    }

    /// The same as a URL, including the password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{NAME}:{}@127.0.0.1:{}/{NAME}", self.cluster.password, self.port)
    }

    /// The directory that holds the cluster, its password and its logs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.cluster.home.directory
    }

    /// Stops the server if nobody else uses it.
    ///
    /// # Errors
    ///
    /// [`PostgresError::NotStopped`] if the server keeps running although nobody uses it, and errors that prevent
    /// finding out.
    pub async fn stop(mut self) -> Result<(), PostgresError> {
        off_thread(move || self.leave()).await
    }

    /// Leaves the server, and stops it if nobody else uses it. Blocks the thread.
    fn leave(&mut self) -> Result<(), PostgresError> {
        let Some(users) = self.users.take() else {
            return Ok(());
        };
        let home = &self.cluster.home;
        let _start = match self.start.take() {
            Some(held) => held,
            None => {
                let path = home.path("start.lock");
                Lock::exclusive_blocking(home.open("start.lock", false)?, &path, STOP_LOCK_LIMIT)?
            }
        };
        drop(users);
        let Some(_alone) = Lock::alone(home.open("users.lock", false)?, &home.path("users.lock"))?
        else {
            tracing::info!(directory = %home.directory.display(), "private PostgreSQL is left to its other users");
            return Ok(());
        };
        self.cluster.halt()?;
        tracing::info!(directory = %home.directory.display(), "private PostgreSQL has stopped");
        Ok(())
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            tracing::warn!(%error, "leaving the private PostgreSQL");
        }
    }
}

/// Leaves out the password.
impl fmt::Debug for PrivatePostgres {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PrivatePostgres")
            .field("directory", &self.directory())
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
