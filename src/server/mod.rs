//! Connection handling: connections are accepted up to a limit, with limits on the headers, on idle time and on how
//! slowly an answer may be read, and are shut down in order.
//!
//! `axum::serve` sets no time limit for headers, so a client that sends them slowly holds a connection for ever, and no
//! limit on connections. hyper has a single timeout for headers and idleness, and none for HTTP/2. hyper-util, which
//! like this module distinguishes HTTP/2 from HTTP/1, has no timeout for the bytes that tell them apart, and if a
//! connection is shut down while these bytes are awaited, its request is lost.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use answer::{Answer, Streams};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Request, Response, Uri, Version, header};
use files::raise_file_limit;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use pace::{Over, Pace, Patience};
use parking_lot::Mutex;
use stream::{Stream, Unread};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service;

mod answer;
mod files;
mod leftover;
mod pace;
mod stream;

/// Limits on connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Most connections at once.
    pub connections: usize,
    /// Most connections from one address at once.
    pub each: usize,
    /// Networks whose addresses stand for many callers, such as proxies, and are exempt from the limit per address.
    pub shared: Vec<IpNet>,
    /// How long the headers of a request may take to arrive; for the first request, counted from the start of the
    /// connection.
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests.
    pub idle_timeout: Duration,
    /// Most requests in flight at once on an HTTP/2 connection.
    pub streams: u32,
    /// Largest headers of a request including the request line, in bytes.
    pub header_bytes: usize,
    /// How long the client may read nothing of an answer.
    pub write_timeout: Duration,
}

/// The routers that answer requests.
#[derive(Debug, Clone)]
pub struct Served {
    /// For connections within the limit.
    pub router: Router,
    /// For a few connections beyond it: answers health checks, and tells everybody else that there is no capacity.
    pub beyond: Router,
}

/// Number of connections beyond the limit that are answered.
const BEYOND: usize = 16;
/// How long the headers on such a connection may take.
const BEYOND_HEADERS: Duration = Duration::from_secs(2);

/// Pause before the next attempt if a connection cannot be accepted, for example because the process has no file
/// descriptor left until others are closed.
const RETRY: Duration = Duration::from_millis(100);
/// Time without such an error after which the next one is logged again.
const QUIET: Duration = Duration::from_secs(60);

/// How long an idle HTTP/2 connection may take to close after it was told to.
const CLOSING: Duration = Duration::from_secs(1);
/// Interval of pings on an HTTP/2 connection, and how long the client may take to reply.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// Flow-control windows of HTTP/2, in bytes: for each body, and for all bodies of a connection together.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);
/// Most bytes of an HTTP/2 answer that are buffered before its client has window for them.
const STREAM_BUFFER: usize = 64 * 1024;

/// Number of connections of each address.
#[derive(Debug, Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A counted connection of an address.
#[derive(Debug)]
struct OfAddress {
    all: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// Counts one more connection, if the limit allows it.
    fn enter(&self, address: IpAddr, each: usize) -> Option<OfAddress> {
        // A host usually has a whole /64 network.
        let address = match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
        };
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_default();
        if *count >= each {
            return None;
        }
        *count += 1;
        Some(OfAddress { all: self.clone(), address })
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A connection's place in the total and, unless exempt, among those of its address.
type Place = (OwnedSemaphorePermit, Option<OfAddress>);

/// How connections are served.
#[derive(Debug, Clone)]
struct Door {
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    router: Router,
    header_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    /// Whether a connection ends after its first request.
    once: bool,
    shutdown: CancellationToken,
}

impl Door {
    fn new(router: Router, limits: &ConnectionLimits, shutdown: CancellationToken) -> Self {
        let mut http1 = http1::Builder::new();
        http1.max_header_size(limits.header_bytes);
        let mut http2 = http2::Builder::new(Streams { patience: limits.write_timeout });
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(limits.streams)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .max_send_buf_size(STREAM_BUFFER)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        let ConnectionLimits { header_timeout, idle_timeout, write_timeout, .. } = *limits;
        Self {
            http1,
            http2,
            router,
            header_timeout,
            idle_timeout,
            write_timeout,
            once: false,
            shutdown,
        }
    }

    /// A variant whose connections serve a single request, with a short header timeout.
    fn once(mut self, router: Router, headers: Duration) -> Self {
        self.http1.keep_alive(false);
        self.header_timeout = self.header_timeout.min(headers);
        self.idle_timeout = self.header_timeout;
        Self { router, once: true, ..self }
    }

    /// Serves a connection until it ends.
    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        // Events must be sent at once instead of being held back (Nagle's algorithm).
        let _ = stream.set_nodelay(true);
        let pace = Pace::new(self.header_timeout, self.idle_timeout);
        let mut patience = Patience::new(pace.clone());
        let unread = Unread::default();
        let mut stream = Stream::new(stream, self.write_timeout, pace.clone(), unread.clone());
        let is_http2 = tokio::select! {
            speaks = stream.speaks_http2() => speaks,
            _ = patience.over() => return,
        };
        let (router, under) = (self.router, pace.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let under_way = under.enter();
            let mut request = in_one_form(request);
            request.extensions_mut().insert(ConnectInfo(peer));
            // hyper requires a future that borrows nothing.
            let (mut router, unread) = (router.clone(), unread.clone());
            async move {
                let answer =
                    leftover::answered(request, unread, move |request| router.call(request));
                let answer: Result<Response<Body>, _> = answer.await;
                answer.map(|answer| answer.map(|body| Answer::new(body, under_way)))
            }
        });
        let ending = Ending { pace, patience, shutdown: self.shutdown, peer };
        match is_http2 {
            Ok(true) => {
                ending.pace.frames();
                let connection = self.http2.serve_connection(TokioIo::new(stream), service);
                ending.serve(connection, self.once, |it| it.graceful_shutdown()).await;
            }
            Ok(false) => {
                let connection = self.http1.serve_connection(TokioIo::new(stream), service);
                ending.serve(connection, false, |it| it.graceful_shutdown()).await;
            }
            Err(error) => tracing::debug!(%error, %peer, "a connection broke"),
        }
    }
}

/// Converts an HTTP/2 request to the form of HTTP/1.1: the authority in the `Host` header, and only the path and query
/// in the URI.
fn in_one_form(mut request: Request<Incoming>) -> Request<Incoming> {
    if request.version() != Version::HTTP_2 {
        return request;
    }
    let authority = request.uri().authority().map(ToString::to_string);
    if let Some(authority) = authority
        && let Ok(host) = HeaderValue::from_str(&authority)
    {
        // An intermediary will have checked the authority and not this header, so the authority wins.
        request.headers_mut().insert(header::HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    request
}

/// The conditions that end a connection.
struct Ending {
    pace: Pace,
    patience: Patience,
    shutdown: CancellationToken,
    peer: SocketAddr,
}

impl Ending {
    /// Serves a connection until it ends, waits too long, or the service stops and no request is in flight on it.
    async fn serve<C>(mut self, connection: C, at_once: bool, tell: impl Fn(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = pin!(connection);
        let mut shutdown = pin!(self.shutdown.cancelled());
        let mut told = false;
        if at_once {
            tell(connection.as_mut());
        }
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => {
                    // How a client ends its connection is its own business.
                    if let Err(error) = ended {
                        tracing::debug!(%error, peer = %self.peer, "a connection broke");
                    }
                    return;
                }
                why = self.patience.over() => {
                    if told || why == Over::Headers {
                        tracing::debug!(?why, peer = %self.peer, "a connection is closed");
                        return;
                    }
                }
                () = &mut shutdown, if !told => {}
            }
            told = true;
            self.pace.end_soon(CLOSING);
            tell(connection.as_mut());
        }
    }
}

/// Serves until shutdown, and then until the requests in flight have finished.
pub async fn serve(
    listener: TcpListener,
    served: Served,
    limits: ConnectionLimits,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let beyond = Arc::new(Semaphore::new(BEYOND));
    let addresses = Addresses::default();
    raise_file_limit(limits.connections.saturating_add(BEYOND));
    let door = Door::new(served.router, &limits, shutdown.clone());
    let short = door.clone().once(served.beyond, BEYOND_HEADERS);
    // Closes when the last connection has ended.
    let (open, mut all_ended) = mpsc::channel::<()>(1);
    let serve_one = |door: &Door, stream: TcpStream, peer, place: Place| {
        let (serving, open) = (door.clone().serve(stream, peer), open.clone());
        tokio::spawn(async move {
            serving.await;
            drop((place, open));
        });
    };
    // If there is no place, or the address has reached its limit, one of the few beyond is used; if these are taken,
    // the connection is dropped.
    let begin = |stream: TcpStream, peer: SocketAddr| {
        let is_shared = limits.shared.iter().any(|net| net.contains(&peer.ip().to_canonical()));
        let own =
            if is_shared { Some(None) } else { addresses.enter(peer.ip(), limits.each).map(Some) };
        let place = own.and_then(|own| Some((places.clone().try_acquire_owned().ok()?, own)));
        match place {
            Some(place) => serve_one(&door, stream, peer, place),
            None => {
                if let Ok(place) = beyond.clone().try_acquire_owned() {
                    serve_one(&short, stream, peer, (place, None));
                }
            }
        }
    };
    let mut failed: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => begin(stream, peer),
            Err(error) => {
                if failed.is_none_or(|last| last.elapsed() > QUIET) {
                    tracing::warn!(%error, "connections cannot be accepted for now, and wait");
                }
                failed = Some(Instant::now());
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    // The system has accepted further connections for us, whose requests may be on their way.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        begin(stream, peer);
    }
    drop((listener, open));
    let _ = all_ended.recv().await;
}
