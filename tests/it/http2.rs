//! HTTP/2 as proxies speak it to a service: without TLS, from the first byte on (h2c with prior knowledge).

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response, StatusCode};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use sparsity_planner::server::ConnectionLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connections::{LARGE, LIMITS, served_to};
use crate::support::empty_database;
use crate::support::process::{Process, script};
use crate::support::wait::until;

/// The first bytes that a client sends.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection, and the task that drives it, which gives how it ended.
struct Client {
    send: SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self::with(address, &h2::client::Builder::new()).await
    }

    async fn with(address: SocketAddr, builder: &h2::client::Builder) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (send, connection) = builder.handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        Self { send, connection }
    }

    async fn ask(&mut self, path: &str) -> ResponseFuture {
        let request = Request::get(format!("http://planner.example{path}")).body(()).unwrap();
        self.ask_with(request).await
    }

    async fn ask_with(&mut self, request: Request<()>) -> ResponseFuture {
        poll_fn(|context| self.send.poll_ready(context)).await.unwrap();
        self.send.send_request(request, true).unwrap().0
    }

    async fn get(&mut self, path: &str) -> (StatusCode, String) {
        let answer = self.ask(path).await.await.unwrap();
        (answer.status(), text(answer).await)
    }
}

async fn text(answer: Response<RecvStream>) -> String {
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        text.extend_from_slice(&part);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn both_versions_are_answered_at_one_address() {
    served_to(LIMITS, async |address| {
        let mut client = Client::connect(address).await;
        for _ in 0..3 {
            let (status, peer) = client.get("/").await;
            assert_eq!(status, StatusCode::OK);
            assert!(peer.parse::<SocketAddr>().unwrap().ip().is_loopback());
        }
        // Handlers find the same values in a request as with HTTP/1.1.
        assert_eq!(client.get("/asked?a=b").await.1, "planner.example /asked?a=b");
        // A request by HTTP/1.1 may begin with the same bytes as HTTP/2, and may arrive one byte at a time.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in b"PRI / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" {
            stream.write_all(&[*byte]).await.unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn streams_and_headers_are_limited() {
    served_to(LIMITS, async |address| {
        let mut client = Client::connect(address).await;
        client.get("/").await;
        assert_eq!(client.send.current_max_send_streams(), LIMITS.streams as usize);
        let large =
            Request::get("http://a/").header("x-large", "a".repeat(4_096)).body(()).unwrap();
        let answer = client.ask_with(large).await.await.unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        // The connection stays usable.
        assert_eq!(client.get("/").await.0, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_idle_is_told_so_and_closed_whatever_it_pings() {
    let limits = ConnectionLimits { idle_timeout: Duration::from_millis(800), ..LIMITS };
    served_to(limits, async |address| {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut send, mut connection) = h2::client::handshake(stream).await.unwrap();
        let mut ping = connection.ping_pong().unwrap();
        let connection = tokio::spawn(connection);
        let request = || Request::get("http://a/").body(()).unwrap();
        for _ in 0..2 {
            poll_fn(|context| send.poll_ready(context)).await.unwrap();
            send.send_request(request(), true).unwrap().0.await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let pings = async {
            while ping.ping(h2::Ping::opaque()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // The connection ended in order: the server announced that it accepts no more requests.
            ended = connection => ended.unwrap().unwrap(),
            () = pings => {}
        }
    })
    .await;
}

#[tokio::test]
async fn what_does_not_begin_is_not_waited_for() {
    let limits = ConnectionLimits { header_timeout: Duration::from_millis(300), ..LIMITS };
    served_to(limits, async |address| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&PREFACE[..10]).await.unwrap();
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 0);
    })
    .await;
    let limits = ConnectionLimits { idle_timeout: Duration::from_millis(300), ..LIMITS };
    served_to(limits, async |address| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The client's settings, and the beginning of a frame with the headers of a request.
        let begun = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0, 0, 50, 1, 5, 0, 0, 0, 1]].concat();
        stream.write_all(&begun).await.unwrap();
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told).await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up_and_others_of_its_connection_are_not() {
    let limits = ConnectionLimits { write_timeout: Duration::from_millis(500), ..LIMITS };
    served_to(limits, async |address| {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(64 << 10).initial_connection_window_size(1 << 20);
        let mut client = Client::with(address, &builder).await;
        let left = client.ask("/large").await.await.unwrap();
        assert_eq!(left.status(), StatusCode::OK);
        let mut body = left.into_body();
        let mut taken = 0;
        let reason = loop {
            // The test grants no more than the first window.
            match body.data().await {
                Some(Ok(part)) => taken += part.len(),
                Some(Err(error)) => break error.reason(),
                None => panic!("it was all sent"),
            }
        };
        assert_eq!(reason, Some(Reason::CANCEL));
        assert!(taken < LARGE / 8, "{taken}");
        let asked = client.ask("/large").await.await.unwrap();
        assert_eq!(text(asked).await.len(), LARGE);
    })
    .await;
}

/// A frame: its type, flags, stream and payload.
fn frame(kind: u8, flags: u8, stream: u32, carried: &[u8]) -> Vec<u8> {
    let length = u8::try_from(carried.len()).unwrap();
    [&[0, 0, length, kind, flags], &stream.to_be_bytes()[..], carried].concat()
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    served_to(LIMITS, async |address| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut sent = [PREFACE, &frame(4, 0, 0, &[])].concat();
        for number in (1..200).step_by(2) {
            // GET http://a/, and CANCEL.
            sent.extend(frame(1, 5, number, &[0x82, 0x86, 0x84, 0x41, 1, b'a']));
            sent.extend(frame(3, 0, number, &[0, 0, 0, 8]));
        }
        stream.write_all(&sent).await.unwrap();
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told).await;
        // GOAWAY with ENHANCE_YOUR_CALM, after the number of the last stream that was seen.
        let calm = told.windows(17).any(|bytes| bytes[3] == 7 && bytes[13..] == [0, 0, 0, 11]);
        assert!(calm, "{told:?}");
    })
    .await;
}

/// With the whole service: limits apply to each request, whichever connection it comes through.
#[tokio::test]
async fn requests_are_limited_each_whatever_connection_they_share() {
    let database = empty_database().await;
    let limits = ["--rate-per-address", "1", "--burst-per-address", "5"];
    let service = Process::serve(&database, &limits).await;
    let mut client = Client::connect(address_of(&service)).await;
    let mut answers = Vec::new();
    for _ in 0..10 {
        let request = Request::get(format!("{}/v1/families/t5-c4", service.base()));
        let answer = client.ask_with(request.body(()).unwrap()).await.await.unwrap();
        answers.push(answer.status());
    }
    assert_eq!(answers[0], StatusCode::OK);
    assert!(answers.contains(&StatusCode::TOO_MANY_REQUESTS), "{answers:?}");
    let ask = "curl -sS --http2-prior-knowledge -o /dev/null -w '%{http_version}' $BASE/healthz";
    assert_eq!(script(service.base(), ask), "2");
}

fn address_of(service: &Process) -> SocketAddr {
    service.base().strip_prefix("http://").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_service_that_stops_ends_its_connections_in_order() {
    let database = empty_database().await;
    let mut service = Process::serve(&database, &["--drain-timeout-ms", "60000"]).await;
    let mut client = Client::connect(address_of(&service)).await;
    assert_eq!(client.get("/healthz").await.0, StatusCode::OK);
    service.signal("-TERM");
    until(async || client.connection.is_finished(), "the connection ends").await;
    client.connection.await.unwrap().unwrap();
    let (status, log) = service.ended();
    assert!(status.success(), "{log}");
    assert!(!log.contains("still under way"), "{log}");
}
