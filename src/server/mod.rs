//! The connections: accepted up to a limit, with limits on their headers, and ended in order.
//!
//! `axum::serve` sets neither a time limit for headers, so that a client that sends them slowly holds
//! a connection for ever, nor a limit on connections.

use std::sync::Arc;
use std::time::Duration;

use alarm::Alarm;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::Service;

mod alarm;

/// Limits of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at once; others wait to be accepted.
    pub connections: usize,
    /// How long the headers of a request may take to arrive, and a connection to stay idle.
    pub header_timeout: Duration,
    /// The largest headers, with the first line.
    pub header_bytes: usize,
}

/// Time until the next attempt where a connection cannot be accepted: the process has no file
/// descriptor left, and others must end first.
const RETRY: Duration = Duration::from_millis(100);

/// Serves until shutdown, then until the requests under way have ended.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.header_read_timeout(limits.header_timeout).max_header_size(limits.header_bytes);
    let serve_one = |stream: TcpStream, peer, place| {
        // Events must not wait for one another.
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            // hyper wants a future that borrows nothing.
            router.clone().call(request)
        });
        let connection =
            http.clone().timer(Alarm::default()).serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // Its end is the client's business, orderly or not.
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "a connection broke");
            }
            drop::<OwnedSemaphorePermit>(place);
        });
    };
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("nobody closes it");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => serve_one(stream, peer, place),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    // The system has accepted others for us, and their requests may be on the way.
    while let Ok(place) = places.clone().try_acquire_owned()
        && let Some(Ok((stream, peer))) = listener.accept().now_or_never()
    {
        serve_one(stream, peer, place);
    }
    drop(listener);
    connections.shutdown().await;
}
