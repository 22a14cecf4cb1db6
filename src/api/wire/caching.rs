//! ETags and cache headers: an answer that depends only on a law need not be computed or sent twice.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::api::layers::owner::Owner;
use crate::api::state::AppState;
use crate::api::wire::problem::ApiError;

/// ETags of the answers that the caller already has (`If-None-Match`). A separate extractor, as axum's extractor of all
/// headers would clone them all.
#[derive(Debug, Clone, Default)]
pub struct KnownTags(Vec<HeaderValue>);

impl<S: Sync> FromRequestParts<S> for KnownTags {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect()))
    }
}

impl KnownTags {
    fn contain(&self, tag: &str) -> bool {
        self.0
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .map(|entry| entry.trim().trim_start_matches("W/"))
            .any(|entry| entry == tag || entry == "*")
    }
}

/// How long an answer may be reused without revalidation.
#[derive(Debug, Clone, Copy)]
pub enum Freshness {
    /// Revalidate every time: another law may answer by now.
    Revalidate,
    /// The request names the version of its law, whose answers never change.
    Pinned,
    /// The database cannot say which law answers now; this one did at that time.
    AsOf(DateTime<Utc>),
}

/// Header of an answer given while the database is unreachable: when its law was last known to be the one that answers.
pub const AS_OF: HeaderName = HeaderName::from_static("x-as-of");

impl Freshness {
    const fn cache_control(self) -> HeaderValue {
        match self {
            Self::Revalidate | Self::AsOf(_) => HeaderValue::from_static("private, no-cache"),
            // An hour and not for ever, as a newer version of the service may word the answer differently.
            Self::Pinned => HeaderValue::from_static("private, max-age=3600"),
        }
    }

    /// The same for an answer without a part that may be available in a moment.
    #[must_use]
    pub const fn revalidated(self) -> Self {
        match self {
            Self::Pinned => Self::Revalidate,
            Self::Revalidate | Self::AsOf(_) => self,
        }
    }

    /// Adds to an answer the time as of which its law answers, if that is not now.
    pub fn mark(self, response: &mut Response) {
        if let Self::AsOf(time) = self {
            let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
            // Digits and punctuation are always a valid header value.
            if let Ok(time) = HeaderValue::try_from(time) {
                response.headers_mut().insert(AS_OF, time);
            }
        }
    }
}

/// The ETag of an answer, and whether the caller has it already.
#[derive(Debug, Clone)]
pub struct Validator {
    tag: Option<HeaderValue>,
    freshness: Freshness,
    known: bool,
}

impl Validator {
    /// `tag` identifies the state on which the answer depends; the version of the service is appended to it.
    #[must_use]
    pub fn new(known: &KnownTags, tag: &str, freshness: Freshness) -> Self {
        let tag = ["\"", tag, ".", env!("CARGO_PKG_VERSION"), "\""].concat();
        let known = known.contain(&tag);
        // Ids and numbers are always a valid header value.
        Self { tag: HeaderValue::try_from(tag).ok(), freshness, known }
    }

    /// A 304 response, if the caller already has the answer.
    #[must_use]
    pub fn not_modified(&self) -> Option<Response> {
        self.known.then(|| self.clone().attach(StatusCode::NOT_MODIFIED))
    }

    /// Adds the ETag and cache headers to the answer.
    pub fn attach(self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        let headers = response.headers_mut();
        if let Some(tag) = self.tag {
            headers.insert(header::ETAG, tag);
        }
        headers.insert(header::CACHE_CONTROL, self.freshness.cache_control());
        if matches!(self.freshness, Freshness::Pinned) {
            // Within its lifetime the answer is not revalidated, so a browser must not reuse what one key received for
            // another key, or for a request without a key.
            headers.append(header::VARY, HeaderValue::from_static("authorization"));
        }
        self.freshness.mark(&mut response);
        response
    }
}

/// Size that fits most answers, so that the buffer rarely has to grow.
const USUAL_BYTES: usize = 4096;

/// Renders an answer as JSON.
///
/// # Errors
/// [`ApiError::Internal`] if it cannot be serialised.
pub fn json(answer: &impl Serialize) -> Result<Response, ApiError> {
    let mut body = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut body, answer).map_err(|error| ApiError::Internal(error.into()))?;
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// Sends an answer with its ETag, or 304 if the caller already has it. For answers that take long: `body` computes the
/// response on a separate thread.
///
/// # Errors
/// Those of `body`.
pub async fn cached_apart(
    (state, owner): (&AppState, Owner),
    known: &KnownTags,
    tag: &str,
    freshness: Freshness,
    body: impl FnOnce() -> Result<Response, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let validator = Validator::new(known, tag, freshness);
    match validator.not_modified() {
        Some(response) => Ok(response),
        None => Ok(validator.attach(state.threads.run(owner, body).await?)),
    }
}

/// Sends an answer as JSON with its ETag, or 304 if the caller already has it.
///
/// # Errors
/// Those of `answer`.
pub fn cached<T: Serialize>(
    known: &KnownTags,
    tag: &str,
    freshness: Freshness,
    answer: impl FnOnce() -> Result<T, ApiError>,
) -> Result<Response, ApiError> {
    let validator = Validator::new(known, tag, freshness);
    match validator.not_modified() {
        Some(response) => Ok(response),
        None => Ok(validator.attach(json(&answer()?)?)),
    }
}
