//! The connections: accepted up to a limit, with limits on their headers and on how slowly they may take an answer,
//! and ended in order.
//!
//! `axum::serve` sets neither a time limit for headers, so that a client that sends them slowly holds
//! a connection for ever, nor a limit on connections.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alarm::Alarm;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use ipnet::IpNet;
use stream::{Stream, Unread};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::Service;

mod alarm;
mod leftover;
mod stream;

/// Limits of connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once.
    pub each: usize,
    /// Networks whose addresses stand for many callers: proxies, which are not limited each.
    pub shared: Vec<IpNet>,
    /// How long the headers of a request may take to arrive, and a connection to stay idle.
    pub header_timeout: Duration,
    /// The largest headers, with the first line.
    pub header_bytes: usize,
    /// How long the other side may take nothing of an answer.
    pub write_timeout: Duration,
}

/// What is answered on connections.
#[derive(Debug, Clone)]
pub struct Served {
    /// On all that have a place.
    pub router: Router,
    /// On a few more: how the service is, and that there is no place.
    pub beyond: Router,
}

/// Connections beyond the limit that are answered at once.
const BEYOND: usize = 16;
/// How long the headers of such a connection may take.
const BEYOND_HEADERS: Duration = Duration::from_secs(2);

/// Time until the next attempt where a connection cannot be accepted: the process has no file
/// descriptor left, and others must end first.
const RETRY: Duration = Duration::from_millis(100);

/// How many connections each address has.
#[derive(Debug, Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection of an address.
#[derive(Debug)]
struct OfAddress {
    all: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// Counts one more, if there may be one.
    fn enter(&self, address: IpAddr, each: usize) -> Option<OfAddress> {
        // A host has all of a /64.
        let address = match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut counts = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A connection's place, and that among those of its address.
type Place = (OwnedSemaphorePermit, Option<OfAddress>);

/// Serves until shutdown, then until the requests under way have ended.
pub async fn serve(
    listener: TcpListener,
    served: Served,
    limits: ConnectionLimits,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let beyond = Arc::new(Semaphore::new(BEYOND));
    let addresses = Addresses::default();
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.header_read_timeout(limits.header_timeout).max_header_size(limits.header_bytes);
    let mut short = http.clone();
    short.header_read_timeout(BEYOND_HEADERS.min(limits.header_timeout)).keep_alive(false);
    let serve_one =
        |http: &http1::Builder, router: &Router, stream: TcpStream, peer, place: Place| {
            // Events must not wait for one another.
            let _ = stream.set_nodelay(true);
            let (router, unread) = (router.clone(), Unread::default());
            let stream = Stream::new(stream, limits.write_timeout, unread.clone());
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                // hyper wants a future that borrows nothing.
                let mut router = router.clone();
                leftover::answered(request, unread.clone(), move |request| router.call(request))
            });
            let connection = http
                .clone()
                .timer(Alarm::default())
                .serve_connection(TokioIo::new(stream), service);
            let connection = connections.watch(connection);
            tokio::spawn(async move {
                // Its end is the client's business, orderly or not.
                if let Err(error) = connection.await {
                    tracing::debug!(%error, %peer, "a connection broke");
                }
                drop(place);
            });
        };
    // Where there is no place, or the address has as many as it may, one of those beyond; none where these are taken.
    let begin = |stream: TcpStream, peer: std::net::SocketAddr| {
        let is_shared = limits.shared.iter().any(|net| net.contains(&peer.ip().to_canonical()));
        let own =
            if is_shared { Some(None) } else { addresses.enter(peer.ip(), limits.each).map(Some) };
        let place = own.and_then(|own| Some((places.clone().try_acquire_owned().ok()?, own)));
        match place {
            Some(place) => serve_one(&http, &served.router, stream, peer, place),
            None => {
                if let Ok(place) = beyond.clone().try_acquire_owned() {
                    serve_one(&short, &served.beyond, stream, peer, (place, None));
                }
            }
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => begin(stream, peer),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    // The system has accepted others for us, and their requests may be on the way.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        begin(stream, peer);
    }
    drop(listener);
    connections.shutdown().await;
}
