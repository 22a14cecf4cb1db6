//! ETags: what depends only on a law need not be computed or sent twice.

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
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

/// The answer with its ETag, or 304 where the caller has it already.
///
/// `tag` names the state that the answer depends on; the version of the service is added to it.
///
/// # Errors
/// Those of `answer`.
pub fn cached<T: Serialize>(
    request: &HeaderMap,
    tag: &str,
    freshness: Freshness,
    answer: impl FnOnce() -> Result<T, ApiError>,
) -> Result<Response, ApiError> {
    let tag = format!("\"{tag}.{}\"", env!("CARGO_PKG_VERSION"));
    let known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(|entry| entry.trim().trim_start_matches("W/"))
        .any(|entry| entry == tag || entry == "*");
    let headers =
        [(header::ETAG, tag), (header::CACHE_CONTROL, freshness.cache_control().to_owned())];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, Json(answer()?)).into_response())
}
