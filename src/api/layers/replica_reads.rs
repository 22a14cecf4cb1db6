//! Reads from a streaming replica of the database.
//!
//! A replica is behind its primary by moments that nobody bounds. One comparison makes it safe to read
//! from: a request *needs* a position of the primary's log, and a connection to the replica serves it where
//! the replica has replayed that far, which the connection is asked itself, before anything is read with
//! it. Otherwise the primary answers. Needed is the furthest of
//!
//! - where the primary's log ended after the last write that this process answered, whoever sent it;
//! - what the caller sends in `x-read-after`, which answers to writes carry: for a write that another
//!   process answered;
//! - where the log ended at some time within the last `--read-max-lag-ms`.
//!
//! The first is kept for the process and not for each key or address: a job may write with one key and read
//! with another, from a machine with many addresses. What it costs is that others read from the primary too
//! for the moments in which the replica catches up.
//!
//! Which operations may be answered by the replica says `FROM_REPLICA`. Laws and profiles that questions
//! are put to are not among them: they are remembered until the primary announces another, and a
//! replica may not have it yet.

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

/// Header with a position: of a write in its answer, and of the write to be seen in a request.
pub const READ_AFTER: HeaderName = HeaderName::from_static("x-read-after");

/// What the replica may answer, by GET: what shows stored rows as they are, and decides nothing.
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

/// Reads for a handler, from the replica where it will do.
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
    /// The connection for all that this request reads.
    ///
    /// # Errors
    /// Where there is none, to the primary either.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        if let Some(attempt) = &self.attempt
            && let Some(connection) = attempt.connection().await
        {
            return Ok(connection);
        }
        Ok(self.primary.acquire().await?)
    }
}

/// The layer of a service that has a replica, behind the guard.
pub async fn by_replica(
    State((replica, patience)): State<(Replica, Duration)>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let writes = matches!(need(request.method(), path), Need::Scope(scope) if scope > Scope::Read)
        && !request.method().is_safe();
    // Who is told that a refit has ended is told of what was written with it.
    let tells = request.method() == Method::GET && path == Some("/v1/refits/{id}");
    if writes || tells {
        let writing = replica.writing();
        let mut response = next.run(request).await;
        // Also after an error: it does not always mean that nothing was stored.
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
    // There is no body that could be read only once.
    let (parts, _) = request.into_parts();
    let mut first = Request::from_parts(parts.clone(), Body::empty());
    let attempt = Arc::new(Attempt::new(replica.clone(), after));
    first.extensions_mut().insert(attempt.clone());
    let answered = timeout(patience, next.clone().run(first)).await;
    match answered {
        Ok(response) if response.status() != StatusCode::SERVICE_UNAVAILABLE => return response,
        Ok(response) if !attempt.was_used() => return response,
        // It failed the replica, or the replica takes too long: a query that is cancelled for the sake of
        // replay, a server that stops or stands still.
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
