//! The private PostgreSQL with real server programs; each test has its own directory.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sparsity_planner::postgres::{PostgresError, PrivatePostgres};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::support::process::send;
use crate::support::wait::until;

/// A directory that the server's unprivileged user can enter, as is usual for data directories.
fn data_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

async fn started(data_dir: &Path) -> PrivatePostgres {
    PrivatePostgres::start(Some(data_dir), None).await.unwrap()
}

/// The server's answer to `SELECT 40 + 2`, through its URL.
async fn answer(server: &PrivatePostgres) -> i32 {
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::query_scalar("SELECT 40 + 2").fetch_one(&mut connection).await.unwrap()
}

fn port(server: &PrivatePostgres) -> u16 {
    server.connect_options().get_port()
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn postmaster(server: &PrivatePostgres) -> String {
    let text = fs::read_to_string(server.directory().join("cluster/postmaster.pid")).unwrap();
    text.lines().next().unwrap().to_owned()
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn data_outlives_a_restart_and_the_server_stops_with_its_only_user() {
    let directory = data_directory();
    let server = started(directory.path()).await;
    let mut connection = PgConnection::connect_with(&server.connect_options()).await.unwrap();
    sqlx::query("CREATE TABLE kept (value integer)").execute(&mut connection).await.unwrap();
    sqlx::query("INSERT INTO kept VALUES (7)").execute(&mut connection).await.unwrap();
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.unwrap();
    assert_eq!(fsync, "on");
    let sockets: String = sqlx::query_scalar("SHOW unix_socket_directories")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(sockets, "");
    let first_port = port(&server);
    // The connection stays open: a fast stop does not wait for clients.
    server.stop().await.unwrap();
    assert!(!listens(first_port));

    let server = started(directory.path()).await;
    let mut connection = PgConnection::connect_with(&server.connect_options()).await.unwrap();
    let value: i32 =
        sqlx::query_scalar("SELECT value FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(value, 7);
    server.stop().await.unwrap();
}

/// This happens after an upgrade of the machine's packages, which leave the old cluster.
#[tokio::test]
async fn a_cluster_of_an_older_version_is_told_with_what_helps_and_left_alone() {
    let directory = data_directory();
    let server = started(directory.path()).await;
    let programs = fs::read_link(format!("/proc/{}/exe", postmaster(&server))).unwrap();
    let programs = programs.parent().unwrap().to_owned();
    let version = server.directory().join("cluster/PG_VERSION");
    server.stop().await.unwrap();
    let made = fs::read_to_string(&version).unwrap();
    let older = made.trim().parse::<u32>().unwrap() - 1;
    fs::write(&version, format!("{older}\n")).unwrap();
    let refused =
        PrivatePostgres::start(Some(directory.path()), Some(&programs)).await.unwrap_err();
    let (message, newer) = (refused.to_string(), made.trim());
    for help in [
        format!("version {newer}, while the existing cluster needs {older}"),
        format!("install PostgreSQL {older}"),
        "--pg-bin".to_owned(),
        "pg_dump".to_owned(),
        format!("restore it with the {newer} ones"),
    ] {
        assert!(message.contains(&help), "{help} is not in {message}");
    }
    fs::write(&version, &made).unwrap();
    let server = started(directory.path()).await;
    assert_eq!(answer(&server).await, 42);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_last_user_out_stops_the_server() {
    let directory = data_directory();
    let (first, second) = tokio::join!(started(directory.path()), started(directory.path()));
    let shared = port(&first);
    assert_eq!(shared, port(&second));

    first.stop().await.unwrap();
    assert_eq!(answer(&second).await, 42);

    drop(second);
    assert!(!listens(shared));
}

#[tokio::test]
async fn a_killed_server_is_started_again_at_the_same_port() {
    let directory = data_directory();
    let before = started(directory.path()).await;
    let process = postmaster(&before);
    assert!(Command::new("kill").args(["-9", &process]).status().unwrap().success());

    let after = started(directory.path()).await;
    assert_ne!(postmaster(&after), process);
    assert_eq!(port(&after), port(&before));
    assert_eq!(answer(&before).await, 42);

    before.stop().await.unwrap();
    assert_eq!(answer(&after).await, 42);
    after.stop().await.unwrap();
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_neither_server_nor_lock() {
    let directory = data_directory();
    started(directory.path()).await.stop().await.unwrap();
    for milliseconds in [20, 60, 100, 140] {
        let start = PrivatePostgres::start(Some(directory.path()), None);
        if let Ok(server) = tokio::time::timeout(Duration::from_millis(milliseconds), start).await {
            server.unwrap().stop().await.unwrap();
        }
        assert!(!directory.path().join("postgres/cluster/postmaster.pid").exists());
    }
    started(directory.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn secrets_are_private_and_not_shown() {
    let directory = data_directory();
    let server = started(directory.path()).await;
    let password = fs::read_to_string(server.directory().join("password")).unwrap();
    assert_eq!(password.trim().len(), 64);
    assert!(server.url().contains(password.trim()));
    assert!(!format!("{server:?}").contains(password.trim()));
    assert_eq!(mode(server.directory().join("password")), 0o600);
    assert_eq!(mode(server.directory().join("cluster")), 0o700);
    let options = server.connect_options().password("wrong");
    assert!(PgConnection::connect_with(&options).await.is_err());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_binary_directory_without_programs_is_named() {
    let directory = data_directory();
    let missing = directory.path().join("no-such-place");
    let error = PrivatePostgres::start(Some(directory.path()), Some(&missing)).await.unwrap_err();
    assert!(matches!(error, PostgresError::BinaryDirectory { .. }));
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn what_initdb_left_unfinished_is_cleared_away() {
    let directory = data_directory();
    let unfinished = directory.path().join("postgres/unfinished-0123456789abcdef");
    fs::create_dir_all(unfinished.join("base")).unwrap();
    fs::set_permissions(directory.path().join("postgres"), Permissions::from_mode(0o711)).unwrap();
    let server = started(directory.path()).await;
    assert!(!unfinished.exists());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn root_goes_elsewhere_if_the_servers_user_cannot_enter() {
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
    if fs::metadata(closed.path()).unwrap().uid() != 0 {
        return; // Only root lends the server to another user.
    }
    let chosen = closed.path().join("data");
    let server = started(&chosen).await;
    let place = server.directory().to_owned();
    assert!(!place.starts_with(closed.path()));
    assert_eq!(answer(&server).await, 42);
    server.stop().await.unwrap();

    let server = started(&chosen).await;
    assert_eq!(server.directory(), place);
    server.stop().await.unwrap();
    fs::remove_dir_all(place.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_server_that_dies_is_started_again_at_its_port() {
    let directory = data_directory();
    let server = started(directory.path()).await;
    let (first, before) = (postmaster(&server), port(&server));
    send("-KILL", &first);
    let is_back = async {
        until(
            async || {
                let pid = server.directory().join("cluster/postmaster.pid");
                let recorded = fs::read_to_string(pid).unwrap_or_default();
                let other = recorded.lines().next().is_some_and(|pid| pid != first);
                other && PgConnection::connect(&server.url()).await.is_ok()
            },
            "it is back",
        )
        .await;
    };
    tokio::select! {
        () = server.keep() => unreachable!("it goes on until it is given up"),
        () = is_back => {}
    }
    assert_eq!((answer(&server).await, port(&server)), (42, before));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_empty_postmaster_pid_is_told_with_what_to_do() {
    let directory = data_directory();
    started(directory.path()).await.stop().await.unwrap();
    let pid = directory.path().join("postgres/cluster/postmaster.pid");
    fs::write(&pid, "").unwrap();
    let error = PrivatePostgres::start(Some(directory.path()), None).await.unwrap_err();
    assert!(matches!(error, PostgresError::EmptyPid { .. }), "{error}");
    assert!(error.to_string().contains("remove the file"), "{error}");
    fs::remove_file(pid).unwrap();
    started(directory.path()).await.stop().await.unwrap();
}
