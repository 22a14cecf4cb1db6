//! Uploads and exports over real connections: broken off, standing still, or many at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use sqlx::PgPool;

use crate::support::empty_database;
use crate::support::process::{PATIENT, Process};
use crate::support::wait::until;

const HEADER: &str = "external_id,nonzero_params,sparsity,data,loss\n";

/// The built-in family, to upload into.
const RUNS: &str = "/v1/families/t5-c4/runs";

async fn pool(url: &str) -> PgPool {
    PgPool::connect(url).await.unwrap()
}

async fn stored(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM runs").fetch_one(pool).await.unwrap()
}

/// Waits until the service has this many open transactions.
async fn until_open(pool: &PgPool, wanted: i64) {
    let open = async || -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'sparsity-planner'
                 AND xact_start IS NOT NULL AND query NOT LIKE 'LISTEN%'
                 AND query NOT LIKE '%still listens%'",
        )
        .fetch_one(pool)
        .await
        .unwrap()
    };
    until(async || open().await == wanted, &format!("{wanted} open transactions")).await;
}

/// Waits until an upload has its place and copies its rows. Other transactions may be open before that.
async fn until_copying(pool: &PgPool) {
    let copying = async || -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'sparsity-planner'
                 AND state = 'active' AND query LIKE 'COPY%'",
        )
        .fetch_one(pool)
        .await
        .unwrap()
    };
    until(async || copying().await > 0, "an upload is copied").await;
}

/// Begins an upload: sends its head and this many rows, but not its end.
fn begin(service: &Process, rows: u32) -> TcpStream {
    let address = service.base().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {RUNS} HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/csv\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let rows: String = (0..rows).map(|i| format!("run-{i},1e7,0.5,2e10,2.5\n")).collect();
    chunk(&mut stream, &format!("{HEADER}{rows}")).unwrap();
    stream
}

fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n{text}\r\n", text.len())
}

/// Reads the beginning of the answer, up to a few kilobytes.
fn answer(stream: &mut TcpStream) -> String {
    let mut text = [0; 4096];
    let read = stream.read(&mut text).unwrap();
    String::from_utf8_lossy(&text[..read]).into_owned()
}

/// Sends the end of an upload, and reads the answer.
fn end(mut stream: TcpStream) -> String {
    stream.write_all(b"0\r\n\r\n").unwrap();
    answer(&mut stream)
}

/// Runs blocking work on another thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let url = empty_database().await;
    let service = Process::serve(&url, &[]).await;
    let pool = pool(&url).await;
    for rows in [10, 50_000] {
        let stream = begin(&service, rows);
        if rows > 1000 {
            until_open(&pool, 1).await;
        }
        drop(stream);
        until_open(&pool, 0).await;
        assert_eq!(stored(&pool).await, 0, "{rows}");
    }
    // Sent again completely it is stored, over the database connections of the broken uploads.
    let stream = begin(&service, 50_000);
    let answer = blocking(move || end(stream)).await;
    assert!(answer.contains("\"created\":50000"), "{answer}");
}

#[tokio::test]
async fn an_upload_that_stands_still_is_given_up() {
    let url = empty_database().await;
    let service = Process::serve(&url, &["--request-timeout-ms", "500"]).await;
    let pool = pool(&url).await;
    for rows in [10, 50_000] {
        let mut stream = begin(&service, rows);
        let answer = blocking(move || answer(&mut stream)).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        until_open(&pool, 0).await;
        assert_eq!(stored(&pool).await, 0);
    }
}

#[tokio::test]
async fn an_upload_may_take_longer_than_an_answer_but_not_for_ever() {
    let url = empty_database().await;
    let limits = ["--request-timeout-ms", "400", "--transfer-timeout-ms", "2000"];
    let service = Process::serve(&url, &limits).await;
    let slowly = |pieces: u32| {
        let mut stream = begin(&service, 10);
        move || {
            for piece in 0..pieces {
                std::thread::sleep(Duration::from_millis(150));
                if chunk(&mut stream, &format!("late-{piece},1e7,0.5,2e10,2.5\n")).is_err() {
                    break;
                }
            }
            let _ = stream.write_all(b"0\r\n\r\n");
            answer(&mut stream)
        }
    };
    let answer = blocking(slowly(6)).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"created\":16"), "{answer}");
    let answer = blocking(slowly(40)).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn more_transfers_than_there_are_places_wait_and_then_are_told() {
    let url = empty_database().await;
    let limits = ["--transfers", "1", "--request-timeout-ms", "5000"];
    let service = Process::serve(&url, &limits).await;
    let pool = pool(&url).await;
    let mut first = begin(&service, 50_000);
    // Small pieces keep the first upload from timing out, however busy the machine is.
    let (enough, ended) = std::sync::mpsc::channel::<()>();
    let fed = std::thread::spawn(move || {
        while ended.recv_timeout(Duration::from_millis(100)).is_err() {
            if let Err(error) = chunk(&mut first, "run-0,1e7,0.5,2e10,2.5\n") {
                panic!("{error}: {}", answer(&mut first));
            }
        }
    });
    until_copying(&pool).await;
    // Uploads of a few runs need no place.
    let few = begin(&service, 10);
    let answered = blocking(move || end(few)).await;
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    let mut second = begin(&service, 20_000);
    let answer = blocking(move || answer(&mut second)).await;
    enough.send(()).unwrap();
    fed.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("--transfers"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after"), "{answer}");
}

/// Stores more runs than are buffered anywhere between the database and a client.
async fn store_many(pool: &PgPool) {
    sqlx::query(
        "INSERT INTO runs (id, family_id, external_id, nonzero_params, sparsity, data, loss, start,
             tags, excluded, created_at, updated_at)
         SELECT gen_random_uuid(), families.id, 'run-' || i, 1e6 + i, 0.5, 1e9, 2.5, 'scratch',
             '{}', false, now(), now()
         FROM families, generate_series(1, 200000) AS i WHERE name = 't5-c4'",
    )
    .execute(pool)
    .await
    .unwrap();
}

/// Begins an export, of which nothing is read yet.
fn begin_export(service: &Process, kind: &str) -> (Child, ChildStdout) {
    let mut export = Command::new("curl")
        .args(["-sS", "-H", &format!("Accept: {kind}"), &format!("{}{RUNS}", service.base())])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = export.stdout.take().unwrap();
    out.read_exact(&mut [0; 1024]).unwrap();
    (export, out)
}

/// Process id of the database session that reads for an export.
async fn exporting(pool: &PgPool) -> i32 {
    sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'sparsity-planner'
             AND xact_start IS NOT NULL AND query LIKE '%FROM runs%'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn an_export_that_breaks_off_does_not_look_complete() {
    let url = empty_database().await;
    let service = Process::serve(&url, &[]).await;
    let pool = pool(&url).await;
    store_many(&pool).await;
    for kind in ["text/csv", "application/x-ndjson"] {
        let (mut export, mut out) = begin_export(&service, kind);
        until_open(&pool, 1).await;
        let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1)")
            .bind(exporting(&pool).await)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert!(ended);
        let (status, rest) = blocking(move || {
            let mut rest = Vec::new();
            out.read_to_end(&mut rest).unwrap();
            (export.wait().unwrap(), rest)
        })
        .await;
        // 18: the transfer ended before it was complete.
        assert_eq!(status.code(), Some(18));
        let lines = rest.iter().filter(|byte| **byte == b'\n').count();
        assert!(lines < 190_000, "{lines}");
    }
}

#[tokio::test]
async fn an_export_that_is_given_up_is_not_read_to_its_end() {
    let url = empty_database().await;
    let service = Process::serve(&url, &[]).await;
    let pool = pool(&url).await;
    store_many(&pool).await;
    let (mut export, out) = begin_export(&service, "text/csv");
    until_open(&pool, 1).await;
    let session = exporting(&pool).await;
    export.kill().unwrap();
    export.wait().unwrap();
    drop(out);
    let is_there = async || -> bool {
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)")
            .bind(session)
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    until(async || !is_there().await, "the session of the export is closed").await;
    // After a complete export, others can use the session.
    let (export, mut out) = begin_export(&service, "text/csv");
    let session = exporting(&pool).await;
    blocking(move || out.read_to_end(&mut Vec::new()).unwrap()).await;
    assert!(blocking(move || export.wait_with_output().unwrap()).await.status.success());
    until_open(&pool, 0).await;
    assert!(
        sqlx::query_scalar::<_, bool>(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"
        )
        .bind(session)
        .fetch_one(&pool)
        .await
        .unwrap()
    );
}

#[tokio::test]
async fn a_service_that_stops_breaks_off_what_takes_too_long() {
    let url = empty_database().await;
    let mut service = Process::serve(&url, &["--drain-timeout-ms", "5000"]).await;
    let pool = pool(&url).await;
    let mut stream = begin(&service, 50_000);
    until_open(&pool, 1).await;
    service.signal("-TERM");
    let answer = blocking(move || answer(&mut stream)).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stopping"), "{answer}");
    let (status, log) = service.ended();
    assert!(status.success(), "{status}: {log}");
    assert!(!log.contains("still under way"), "{log}");
    assert_eq!(stored(&pool).await, 0);
}

#[tokio::test]
async fn a_service_killed_in_the_middle_of_an_upload_leaves_nothing_of_it() {
    let url = empty_database().await;
    let service = Process::serve(&url, &[]).await;
    let pool = pool(&url).await;
    let _stream = begin(&service, 50_000);
    until_open(&pool, 1).await;
    service.signal("-KILL");
    until_open(&pool, 0).await;
    assert_eq!(stored(&pool).await, 0);
    // Sent again, it is stored completely.
    let other = Process::serve(&url, &[]).await;
    let again = begin(&other, 50_000);
    let answer = blocking(move || end(again)).await;
    assert!(answer.contains("\"created\":50000"), "{answer}");
}

#[tokio::test]
async fn an_upload_under_way_is_answered_by_a_service_that_stops() {
    let url = empty_database().await;
    // On a busy machine, fifty thousand runs take longer than the default drain time.
    let mut service = Process::serve(&url, &PATIENT).await;
    let pool = pool(&url).await;
    let stream = begin(&service, 50_000);
    until_open(&pool, 1).await;
    service.signal("-TERM");
    // The service is stopping: new connections are refused.
    let address = service.base().strip_prefix("http://").unwrap().to_owned();
    until(async || TcpStream::connect(&address).is_err(), "others are refused").await;
    let answer = blocking(move || end(stream)).await;
    assert!(answer.contains("\"created\":50000"), "{answer}");
    assert!(service.ended().0.success());
    assert_eq!(stored(&pool).await, 50_000);
}
