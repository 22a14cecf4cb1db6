//! ETags: what depends only on a law need not be computed or sent twice.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::ApiError;

/// How long an answer may be used without asking again.
#[derive(Debug, Clone, Copy)]
pub enum Freshness {
    /// Ask every time: another law may be active by now.
    Revalidate,
    /// It names the version of its law, which never changes its answers.
    Pinned,
}

impl Freshness {
    const fn cache_control(self) -> &'static str {
        match self {
            Self::Revalidate => "private, no-cache",
            // An hour and not for ever: another version of the service may word an answer anew.
            Self::Pinned => "private, max-age=3600",
        }
    }
}

/// The ETag of an answer, and whether the caller has it already.
#[derive(Debug)]
pub struct Validator {
    headers: [(HeaderName, String); 2],
    known: bool,
}

impl Validator {
    /// `tag` names the state that the answer depends on; the version of the service is added to it.
    #[must_use]
    pub fn new(request: &HeaderMap, tag: &str, freshness: Freshness) -> Self {
        let tag = format!("\"{tag}.{}\"", env!("CARGO_PKG_VERSION"));
        let known = request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .map(|entry| entry.trim().trim_start_matches("W/"))
            .any(|entry| entry == tag || entry == "*");
        let cache_control = freshness.cache_control().to_owned();
        Self { headers: [(header::ETAG, tag), (header::CACHE_CONTROL, cache_control)], known }
    }

    /// 304 where the caller has the answer.
    #[must_use]
    pub fn not_modified(&self) -> Option<Response> {
        self.known.then(|| (StatusCode::NOT_MODIFIED, self.headers.clone()).into_response())
    }

    /// The answer with its ETag.
    pub fn attach(self, answer: impl IntoResponse) -> Response {
        (self.headers, answer).into_response()
    }
}

/// The answer with its ETag, or 304 where the caller has it already.
///
/// # Errors
/// Those of `answer`.
pub fn cached<T: Serialize>(
    request: &HeaderMap,
    tag: &str,
    freshness: Freshness,
    answer: impl FnOnce() -> Result<T, ApiError>,
) -> Result<Response, ApiError> {
    let validator = Validator::new(request, tag, freshness);
    match validator.not_modified() {
        Some(response) => Ok(response),
        None => Ok(validator.attach(Json(answer()?))),
    }
}
