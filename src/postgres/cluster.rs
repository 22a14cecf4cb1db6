//! A cluster and its server, managed with `initdb` and `pg_ctl`.
//!
//! The tools are called with paths relative to the home directory, because `pg_ctl` passes its arguments through a
//! shell. Their output goes to files, because the server inherits it and would keep a pipe open for ever. Nothing here
//! takes locks; the caller holds the start lock.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::postgres::binaries::Binaries;
use crate::postgres::error::{PostgresError, at, off_thread};
use crate::postgres::owner::{CLUSTER, Home, remove_leftovers};

/// Name of the service's superuser and database.
pub(crate) const NAME: &str = "sparsity_planner";
/// The server's own log.
const SERVER_LOG: &str = "server.log";
/// Prefix of the names used while a cluster is created.
const UNFINISHED: &str = "unfinished-";
/// How long `initdb` may take. It needs about a second, but it syncs to disks that may be slow.
const INITDB_LIMIT: Duration = Duration::from_mins(3);
/// How long one call of `pg_ctl start` waits, in seconds; recovery may outlast it.
const START_SECONDS: &str = "10";
/// How long `pg_ctl stop` waits for the last checkpoint, in seconds.
const STOP_SECONDS: &str = "30";
/// How long a server that accepted a connection may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How much of the end of a log is repeated in an error.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: u64 = 4096;

/// The result of a connection attempt.
pub(crate) enum Answer {
    /// The server is that of this cluster, and the database exists.
    Ready,
    /// The server is starting, recovering or shutting down.
    NotYet,
    /// No server answers, or it is not that of this cluster.
    Failed(String),
}

/// An existing cluster, and the programs to run it.
pub(crate) struct Cluster {
    pub(crate) home: Home,
    binaries: Binaries,
    pub(crate) password: String,
    /// Disconnects when `pg_ctl start` has ended, even if nobody waits for that any more.
    launching: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Cluster {
    /// Opens the cluster of `home`, creating it if it does not exist.
    pub(crate) async fn open(home: Home, binaries: Binaries) -> Result<Cluster, PostgresError> {
        remove_leftovers(&home.directory, UNFINISHED);
        let password = if home.has_cluster() {
            let path = home.path("password");
            let stored = fs::read_to_string(&path).map_err(at("read", &path))?;
            stored.trim().to_owned()
        } else {
            let password = random_hex::<32>()?;
            write_durably(home.open("password", true)?, &password)
                .map_err(at("write", &home.path("password")))?;
            initialise(&home, &binaries, &password).await?;
            password
        };
        Ok(Cluster { home, binaries, password, launching: Mutex::default() })
    }

    /// Connection options for `database` on `port`.
    pub(crate) fn options(&self, port: u16, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port)
            .username(NAME)
            .password(&self.password)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The port recorded in `postmaster.pid`, a file that a running server has and a killed one leaves behind.
    pub(crate) fn recorded_port(&self) -> Option<u16> {
        let text = fs::read_to_string(self.home.path(CLUSTER).join("postmaster.pid")).ok()?;
        text.lines().nth(3)?.trim().parse().ok()
    }

    /// Path of `postmaster.pid` if the file exists and is empty: no server can start then.
    pub(crate) fn empty_pid(&self) -> Option<PathBuf> {
        let path = self.home.path(CLUSTER).join("postmaster.pid");
        let is_empty = fs::metadata(&path).is_ok_and(|found| found.len() == 0);
        is_empty.then_some(path)
    }

    /// Tries to start a server. Only a connection can tell whether that succeeded, as `pg_ctl` may take a dying server
    /// for a running one. The port of a killed server is reused if it is free, for the sake of its clients.
    pub(crate) async fn launch(&self) -> Result<(), PostgresError> {
        let bind =
            |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|it| it.local_addr());
        let port = self
            .recorded_port()
            .and_then(|port| bind(port).ok())
            .map_or_else(|| bind(0), Ok)
            .map_err(PostgresError::NoPort)?
            .port();
        self.home.open(SERVER_LOG, false)?;
        self.home.owner.give(&self.home.path(SERVER_LOG))?;
        let settings = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=100"
        );
        let mut command = self.pg_ctl("start")?;
        command.args(["-t", START_SECONDS, "-l", SERVER_LOG, "-o", &settings]);
        let (end, launching) = mpsc::channel();
        *self.launching.lock() = Some(launching);
        off_thread(move || {
            let _end = end;
            command.status().map_err(at("run", Path::new(command.get_program())))
        })
        .await?;
        Ok(())
    }

    /// Checks whether this cluster's server answers on `port`; creates the database if it is missing.
    pub(crate) async fn ask(&self, port: u16) -> Answer {
        match timeout(ANSWER_LIMIT, self.converse(port)).await {
            Ok(Ok(directory)) if Path::new(&directory) == self.home.path(CLUSTER) => Answer::Ready,
            // The copy of a data directory records the port of the original, and knows its password.
            Ok(Ok(directory)) => Answer::Failed(format!("port {port} serves {directory}")),
            Ok(Err(error)) if sql_state(&error).as_deref() == Some("57P03") => Answer::NotYet,
            Ok(Err(error)) => Answer::Failed(format!("port {port}: {error}")),
            Err(_) => Answer::Failed(format!("port {port}: no answer")),
        }
    }

    /// The data directory of the server on `port`. If it is this cluster's, the database exists afterwards.
    async fn converse(&self, port: u16) -> Result<String, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.options(port, "postgres")).await?;
        let directory: String =
            sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await?;
        let present: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(NAME)
                .fetch_one(&mut connection)
                .await?;
        if !present && Path::new(&directory) == self.home.path(CLUSTER) {
            sqlx::query("CREATE DATABASE sparsity_planner").execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(directory)
    }

    /// Stops the server, if one is running, and waits until it has stopped.
    pub(crate) fn halt(&self) -> Result<(), PostgresError> {
        if let Some(launching) = self.launching.lock().take() {
            // Nothing is ever sent; this waits until the sender is dropped.
            let _ = launching.recv();
        }
        // A leftover postmaster.pid may name a process that meanwhile belongs to somebody else.
        let runs = || {
            self.recorded_port()
                .is_some_and(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        };
        if !runs() {
            return Ok(());
        }
        let mut command = self.pg_ctl("stop")?;
        command.args(["-m", "fast", "-t", STOP_SECONDS]);
        let status = command.status().map_err(at("run", Path::new(command.get_program())))?;
        if status.success() || !runs() {
            return Ok(());
        }
        Err(PostgresError::NotStopped { log: tail(&self.home, "pg_ctl.log") })
    }

    /// The last lines of the server's log.
    pub(crate) fn last_words(&self) -> String {
        tail(&self.home, SERVER_LOG)
    }

    fn pg_ctl(&self, verb: &str) -> Result<Command, PostgresError> {
        let mut command =
            self.home.owner.command(&self.binaries.program("pg_ctl"), &self.home.directory);
        command.args([verb, "-w", "-D", CLUSTER]);
        log_to(&mut command, &self.home, "pg_ctl.log")?;
        Ok(command)
    }
}

/// Creates the cluster under a temporary name and renames it, so that an incomplete one is never used.
async fn initialise(home: &Home, binaries: &Binaries, password: &str) -> Result<(), PostgresError> {
    let stage = format!("{UNFINISHED}{}", random_hex::<8>()?);
    let secret = format!("{stage}-password");
    DirBuilder::new()
        .mode(0o700)
        .create(home.path(&stage))
        .map_err(at("create", &home.path(&stage)))?;
    home.owner.give(&home.path(&stage))?;
    write_durably(home.open(&secret, true)?, password).map_err(at("write", &home.path(&secret)))?;
    home.owner.give(&home.path(&secret))?;

    let mut command = home.owner.command(&binaries.program("initdb"), &home.directory);
    command.args(["-D", &stage, "-U", NAME, "--pwfile", &secret, "--no-instructions"]);
    command.args([
        "--auth-local=scram-sha-256",
        "--auth-host=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
    ]);
    log_to(&mut command, home, "initdb.log")?;
    let mut running = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(at("run", &binaries.program("initdb")))?;
    let outcome = timeout(INITDB_LIMIT, running.wait()).await;
    let made = match outcome {
        Ok(Ok(status)) if status.success() => fs::rename(home.path(&stage), home.path(CLUSTER))
            .and_then(|()| File::open(&home.directory)?.sync_all())
            .map_err(at("rename", &home.path(&stage))),
        Ok(Ok(status)) => Err(not_made(home, status.to_string())),
        Ok(Err(error)) => Err(not_made(home, error.to_string())),
        Err(_) => Err(not_made(home, format!("not done after {} s", INITDB_LIMIT.as_secs()))),
    };
    remove_leftovers(&home.directory, UNFINISHED);
    made
}

fn not_made(home: &Home, cause: String) -> PostgresError {
    PostgresError::NotInitialised { cause, log: tail(home, "initdb.log") }
}

/// Redirects the output of `command` to the file `name`, which holds that of the latest call only.
fn log_to(command: &mut Command, home: &Home, name: &str) -> Result<(), PostgresError> {
    let log = home.open(name, true)?;
    let copy = log.try_clone().map_err(at("open", &home.path(name)))?;
    command.stdout(log).stderr(copy);
    Ok(())
}

/// The last lines of a log, indented for an error message; empty if the log cannot be read.
fn tail(home: &Home, name: &str) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(home.path(name))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| format!("\n  {line}"))
        .collect()
}

fn write_durably(mut file: File, text: &str) -> io::Result<()> {
    writeln!(file, "{text}")?;
    file.sync_all()
}

fn random_hex<const BYTES: usize>() -> Result<String, PostgresError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(PostgresError::NoRandomness)?;
    Ok(hex::encode(bytes))
}

fn sql_state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}
