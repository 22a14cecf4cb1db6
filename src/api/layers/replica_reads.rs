//! Reads from a streaming replica of the database.
//!
//! A replica lags behind its primary by an unbounded time. One comparison makes it safe to read from: a request *needs*
//! a position of the primary's log, and a connection to the replica may serve it if the replica has replayed that far.
//! This is checked on the connection itself, before anything is read with it. Otherwise the primary answers. The
//! position needed is the furthest of
//!
//! - the end of the primary's log after the last write that this process answered, whoever sent it;
//! - the position that the caller sends in `x-read-after`, which it took from the answer to a write: for writes that
//!   another process answered;
//! - the end of the log at some time within the last `--read-max-lag-ms`.
//!
//! The first is kept per process and not per key or address: a job may write with one key and read with another, from a
//! machine with many addresses. The price is that other callers also read from the primary while the replica catches
//! up.
//!
//! `FROM_REPLICA` lists the operations that the replica may answer. Questions to laws and profiles are not among them:
//! laws and profiles are cached until the primary announces a change, which the replica may not have replayed yet.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::time::timeout;

use crate::api::layers::needs::{Need, need};
use crate::api::state::AppState;
use crate::api::wire::problem::ApiError;
use crate::domain::access::Scope;
use crate::live::replica::{Attempt, Replica};
use crate::store::StoreError;

/// Header with a log position: in an answer, that of the write; in a request, that of a write which must be visible.
pub const READ_AFTER: HeaderName = HeaderName::from_static("x-read-after");

/// Paths that the replica may answer, for GET: those that show stored rows as they are and decide nothing.
const FROM_REPLICA: [&str; 12] = [
    "/v1/families",
    "/v1/families/{family}",
    "/v1/families/{family}/forecasts",
    "/v1/families/{family}/forecasts/calibration",
    "/v1/families/{family}/forecasts/{id}",
    "/v1/families/{family}/laws",
    "/v1/families/{family}/laws/compare",
    "/v1/families/{family}/laws/{version}",
    "/v1/families/{family}/runs",
    "/v1/families/{family}/runs/{id}",
    "/v1/hardware-profiles",
    "/v1/hardware-profiles/{profile}",
];

/// Database access of a handler that only reads, from the replica where possible.
#[derive(Debug)]
pub struct Reads {
    primary: PgPool,
    attempt: Option<Arc<Attempt>>,
}

impl FromRequestParts<AppState> for Reads {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let attempt = parts.extensions.get::<Arc<Attempt>>().cloned();
        Ok(Self { primary: state.pool.clone(), attempt })
    }
}

impl Reads {
    /// A connection for all reads of this request.
    ///
    /// # Errors
    /// If no connection can be had, not even to the primary.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        if let Some(attempt) = &self.attempt
            && let Some(connection) = attempt.connection().await
        {
            return Ok(connection);
        }
        Ok(self.primary.acquire().await?)
    }
}

/// Middleware, behind the guard, of a service that has a replica.
pub async fn by_replica(
    State((replica, patience)): State<(Replica, Duration)>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let writes = matches!(need(request.method(), path), Need::Scope(scope) if scope > Scope::Read)
        && !request.method().is_safe();
    // Whoever learns that a refit has ended must also see what it wrote.
    let tells = request.method() == Method::GET && path == Some("/v1/refits/{id}");
    if writes || tells {
        let writing = replica.writing();
        let mut response = next.run(request).await;
        // Also after an error, which does not always mean that nothing was stored.
        if let Some(written) = writing.ended().await {
            response.headers_mut().insert(READ_AFTER, HeaderValue::from(written));
        }
        return response;
    }
    if request.method() != Method::GET || !path.is_some_and(|path| FROM_REPLICA.contains(&path)) {
        return next.run(request).await;
    }
    let after = match read_after(request.headers()) {
        Ok(after) => after,
        Err(error) => return error.into_response(),
    };
    // GET requests have no body, so the request can be repeated.
    let (parts, _) = request.into_parts();
    let mut first = Request::from_parts(parts.clone(), Body::empty());
    let attempt = Arc::new(Attempt::new(replica.clone(), after));
    first.extensions_mut().insert(attempt.clone());
    let answered = timeout(patience, next.clone().run(first)).await;
    match answered {
        Ok(response) if response.status() != StatusCode::SERVICE_UNAVAILABLE => return response,
        Ok(response) if !attempt.was_used() => return response,
        // The read failed on the replica or takes too long: replay may have cancelled its query, or the server is
        // stopping or hangs.
        _ => {}
    }
    tracing::warn!("the replica failed a read, which is answered by the primary");
    replica.note_failed_read();
    next.run(Request::from_parts(parts, Body::empty())).await
}

/// The position that a caller sends.
fn read_after(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(sent) = headers.get(READ_AFTER) else { return Ok(None) };
    let position = sent.to_str().ok().and_then(|sent| sent.parse().ok()).filter(|sent| *sent >= 0);
    position.map(Some).ok_or_else(|| {
        ApiError::field("/x-read-after", "must be as an answer to a write carried it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_position_is_refused() {
        let sent = |text: &'static str| {
            read_after(&HeaderMap::from_iter([(READ_AFTER, HeaderValue::from_static(text))]))
        };
        assert_eq!(sent("23").unwrap(), Some(23));
        for text in ["", "-1", "0/16B3748", "1e3", "99999999999999999999"] {
            assert!(matches!(sent(text), Err(ApiError::Invalid(_))), "{text}");
        }
        assert_eq!(read_after(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn only_operations_that_read_are_answered_by_the_replica() {
        for path in FROM_REPLICA {
            assert_eq!(need(&Method::GET, Some(path)), Need::Scope(Scope::Read), "{path}");
        }
    }
}
