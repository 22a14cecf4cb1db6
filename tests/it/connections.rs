//! Limits of connections and headers, over real sockets on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::{get, post};
use serde_json::Value;
use sparsity_planner::server::{ConnectionLimits, Served, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::empty_database;
use crate::support::process::{Process, script};

pub const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 100,
    each: 100,
    shared: Vec::new(),
    header_timeout: Duration::from_secs(60),
    idle_timeout: Duration::from_secs(60),
    streams: 4,
    header_bytes: 2_048,
    write_timeout: Duration::from_secs(60),
};

/// More bytes than the system buffers of an answer that the client does not read.
pub const LARGE: usize = 64 << 20;

/// Serves an app that answers with the address of the caller, while a blocking client runs.
async fn served(limits: ConnectionLimits, client: impl FnOnce(SocketAddr) + Send + 'static) {
    let client = async |address| {
        tokio::task::spawn_blocking(move || client(address)).await.unwrap();
    };
    served_to(limits, client).await;
}

/// The same for an asynchronous client.
pub async fn served_to(limits: ConnectionLimits, client: impl AsyncFnOnce(SocketAddr)) {
    let peer = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let asked = |uri: Uri, headers: HeaderMap| async move {
        format!("{} {uri}", headers["host"].to_str().unwrap())
    };
    let refuse = || async { StatusCode::FORBIDDEN };
    let router = Router::new()
        .route("/", get(peer))
        .route("/asked", get(asked))
        .route("/never", get(|| async { std::future::pending::<()>().await }))
        .route("/large", get(|| async { vec![b'x'; LARGE] }))
        .route("/refused", post(refuse));
    let beyond = Router::new()
        .route("/healthz", get(|| async { "well" }))
        .fallback(|| async { StatusCode::SERVICE_UNAVAILABLE });
    let served = Served { router, beyond };
    let server = tokio::spawn(serve(listener, served, limits, shutdown.clone()));
    client(address).await;
    shutdown.cancel();
    server.await.unwrap();
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Sends a request and reads until the server closes the connection.
fn exchange(mut stream: &TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_request_carries_the_address_of_its_sender() {
    served(LIMITS, |address| {
        let stream = connect(address);
        let answer = exchange(&stream, REQUEST);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with(&stream.local_addr().unwrap().to_string()), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn headers_that_do_not_end_are_not_waited_for() {
    let limits = ConnectionLimits { header_timeout: Duration::from_millis(1500), ..LIMITS };
    served(limits, |address| {
        // The connection is closed and not held for ever.
        let answer = exchange(&connect(address), "GET / HTTP/1.1\r\nhost: a\r\nx-slow: ");
        assert!(!answer.contains("200 OK"), "{answer}");
        // This also applies to the headers of a later request. Their time begins with their first byte, so a
        // connection that was idle for longer can be used again.
        let mut stream = connect(address);
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
            std::thread::sleep(Duration::from_millis(2000));
        }
        let answer = exchange(&stream, "GET / HTTP/1.1\r\nhost: a\r\nx-slow: ");
        assert!(!answer.contains("200 OK"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_idle_is_closed_in_its_time_and_not_in_the_midst_of_an_answer() {
    let limits = ConnectionLimits { idle_timeout: Duration::from_millis(500), ..LIMITS };
    served(limits, |address| {
        let mut idle = used(address);
        assert_eq!(idle.read(&mut [0; 64]).unwrap(), 0);
        // A client that reads its answer slowly is not cut off.
        let mut slow = connect(address);
        slow.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let (mut taken, mut part) = (0, vec![0; LARGE / 8]);
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(200));
            slow.read_exact(&mut part).unwrap();
            taken += part.len();
        }
        assert_eq!(taken, LARGE);
    })
    .await;
}

#[tokio::test]
async fn large_headers_are_refused() {
    served(LIMITS, |address| {
        let large = "a".repeat(4_096);
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-large: {large}\r\n\r\n");
        let answer = exchange(&connect(address), &request);
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    })
    .await;
}

/// A connection in use: its first request was answered, and it stays open.
fn used(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
    stream
}

/// Asks on new connections until the answer has this status, as a connection that was just closed may still be
/// counted.
fn until_answered(address: SocketAddr, status: &str) {
    for _ in 0..6_000 {
        if exchange(&connect(address), REQUEST).starts_with(status) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never {status}");
}

#[tokio::test]
async fn one_connection_more_is_told_so_and_still_learns_how_the_service_is() {
    let all = ConnectionLimits { connections: 1, ..LIMITS };
    let each = ConnectionLimits { each: 1, ..LIMITS };
    for limits in [all, each] {
        served(limits, |address| {
            let first = used(address);
            let answer = exchange(&connect(address), REQUEST);
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            // The server closes the connection whether or not the client asks for it.
            let answer = exchange(&connect(address), "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("well"), "{answer}");
            assert!(answer.contains("connection: close"), "{answer}");
            drop(first);
            until_answered(address, "HTTP/1.1 200");
        })
        .await;
    }
    let shared = vec!["127.0.0.0/8".parse().unwrap()];
    served(ConnectionLimits { each: 1, shared, ..LIMITS }, |address| {
        let (_first, second) = (used(address), connect(address));
        assert!(exchange(&second, REQUEST).starts_with("HTTP/1.1 200"));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up() {
    let limits =
        ConnectionLimits { connections: 1, write_timeout: Duration::from_millis(500), ..LIMITS };
    served(limits, |address| {
        let mut slow = connect(address);
        slow.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert_ne!(slow.read(&mut [0; 64]).unwrap(), 0);
        // The place is free again although the client keeps its connection and has read nothing more.
        until_answered(address, "HTTP/1.1 200");
        let mut rest = Vec::new();
        let _ = slow.read_to_end(&mut rest);
        assert!(rest.len() < LARGE, "{}", rest.len());
    })
    .await;
}

#[tokio::test]
async fn a_refused_body_is_read_where_it_is_small_and_ends_the_connection_where_not() {
    served(LIMITS, |address| {
        let head = |length: usize| {
            format!("POST /refused HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
        };
        let mut stream = connect(address);
        for _ in 0..2 {
            stream.write_all(head(10_000).as_bytes()).unwrap();
            stream.write_all(&[b'x'; 10_000]).unwrap();
            let mut answer = [0; 1024];
            let read = stream.read(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]);
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            assert!(!answer.contains("connection: close"), "{answer}");
        }
        // The client sends the whole body even after the answer, and the answer must not be lost to a connection
        // reset.
        let mut stream = connect(address);
        stream.write_all(head(4 << 20).as_bytes()).unwrap();
        for _ in 0..64 {
            stream.write_all(&[b'x'; 64 << 10]).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_to_what_the_connections_need() {
    let database = empty_database().await;
    let files = (300, 1200);
    for (connections, expected) in [("600", "872"), ("5000", "1200")] {
        let service =
            Process::serve_with_files(&database, files, &["--max-connections", connections]).await;
        let limits = service.file("limits");
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(line.split_whitespace().nth(3), Some(expected), "{line}");
        let warned = service.log().contains("fewer open files than --max-connections needs");
        assert_eq!(warned, connections == "5000", "{}", service.log());
    }
}

/// If the system provides no more file descriptors, new connections wait until there are some. The service must
/// neither spin nor fill its log.
#[tokio::test]
async fn a_process_without_another_file_serves_on_and_says_so_once() {
    let database = empty_database().await;
    let files = (100, 100);
    let service = Process::serve_with_files(&database, files, &[]).await;
    let address: SocketAddr = service.base().strip_prefix("http://").unwrap().parse().unwrap();
    let first = used(address);
    let many: Vec<TcpStream> = (0..120).map(|_| connect(address)).collect();
    let failed = "connections cannot be accepted for now";
    service.until_logged(failed).await;
    // Processor time in ticks of 10 ms: fields 14 and 15, of which two come before the closing bracket of the name.
    let busy = || -> u64 {
        let stat = service.file("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
    };
    let before = busy();
    std::thread::sleep(Duration::from_secs(2));
    let spent = busy() - before;
    assert!(spent < 100, "half of a processor or more: {spent}");
    let answer = exchange(&first, REQUEST);
    // 421, as the request uses a host name that is not the service's.
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    drop(many);
    until_answered(address, "HTTP/1.1 421");
    assert_eq!(service.log().matches(failed).count(), 1, "{}", service.log());
}

/// Behind a proxy with a path, requests arrive and `Location` leads back through the proxy, whether it removes the
/// path or not.
#[tokio::test]
async fn a_service_is_reached_below_a_path_of_a_proxy() {
    let database = empty_database().await;
    let service = Process::serve(&database, &["--base-path", "/planner"]).await;
    let family = "-H 'Content-Type: application/json' -d";
    for (name, below) in [("passed-on", "/planner"), ("taken-away", "")] {
        let created = script(
            service.base(),
            &format!(
                "curl -sS --fail-with-body -o /dev/null -w '%header{{location}}' {family} \
                 '{{\"name\": \"{name}\"}}' $BASE{below}/v1/families"
            ),
        );
        assert_eq!(created, format!("/planner/v1/families/{name}"));
    }
    let seen = script(
        service.base(),
        "curl -sS -o /dev/null -w '%{http_code} %header{location}' \"$BASE/planner?family=t5-c4\"",
    );
    assert_eq!(seen, "308 /planner/?family=t5-c4");
    let document = script(service.base(), "curl -sS $BASE/planner/openapi.json");
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["servers"][0]["url"], "/planner");
    // All addresses in the pages are relative, so they also work below the path.
    for page in ["/planner/", "/planner/docs/"] {
        let text = script(service.base(), &format!("curl -sS --fail-with-body $BASE{page}"));
        for attribute in ["href=\"/", "src=\"/"] {
            assert!(!text.contains(attribute), "{page}: {text}");
        }
    }
}

#[tokio::test]
async fn the_path_of_a_trusted_proxy_is_believed_and_nobody_elses() {
    let database = empty_database().await;
    let redirected = |base: &str, prefix: &str| {
        let ask = format!(
            "curl -sS -o /dev/null -w '%{{http_code}} %header{{location}}' -H 'X-Forwarded-Prefix: {prefix}' $BASE/docs"
        );
        script(base, &ask)
    };
    let trusting = Process::serve(&database, &["--trusted-proxies", "127.0.0.1"]).await;
    assert_eq!(redirected(trusting.base(), "/planner"), "303 /planner/docs/");
    assert_eq!(redirected(trusting.base(), "//evil.example"), "303 /docs/");
    let wary = Process::serve(&database, &[]).await;
    assert_eq!(redirected(wary.base(), "/planner"), "303 /docs/");
}
