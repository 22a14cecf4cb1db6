//! Support for a proxy that exposes the service under a path prefix, such as `/planner`.
//!
//! Some proxies strip the prefix before they forward a request, some do not, and some send it in `X-Forwarded-Prefix`.
//! In each case requests reach the same routes, and `Location` headers lead back through the proxy. The pages need no
//! rewriting, as their links are relative.

use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::state::AppState;

/// Header in which a proxy sends the prefix that it stripped.
const FORWARDED: &str = "x-forwarded-prefix";
/// Longest prefix, in bytes.
const LONGEST: usize = 200;

/// Parses a prefix: it begins with a slash, ends without one (a trailing slash is removed), and consists of characters
/// that need no escaping in a URL.
///
/// # Errors
/// A sentence that says what the prefix must be.
pub fn base_path(text: &str) -> Result<String, String> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let plain = |part: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        !part.is_empty() && part.chars().all(letter) && part != "." && part != ".."
    };
    let parts = path.strip_prefix('/').map(|path| path.split('/').all(plain));
    if parts == Some(true) && path.len() <= LONGEST {
        Ok(path.to_owned())
    } else {
        Err("must be a path such as /planner, of letters, digits, `-`, `.`, `_` and `~`".to_owned())
    }
}

/// The prefix for a request: from the header of a trusted proxy, or else as configured.
fn prefix(state: &AppState, request: &Request) -> Option<String> {
    let said = |headers: &HeaderMap| base_path(headers.get(FORWARDED)?.to_str().ok()?).ok();
    let trusted = state.throttle.comes_by_proxy(request.extensions());
    let forwarded = trusted.then(|| said(request.headers())).flatten();
    forwarded.or_else(|| state.base_path.clone())
}

/// The URI with the prefix removed from its path; `None` if the path does not begin with it.
fn below(uri: &Uri, prefix: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    if !rest.starts_with('/') {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}

/// Middleware that removes the prefix from requests and adds it to `Location`.
pub async fn behind_path(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(prefix) = prefix(&state, &request) else { return next.run(request).await };
    if request.uri().path() == prefix {
        // Without the trailing slash, the page's relative links would lead outside the prefix.
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let there = [(header::LOCATION, format!("{prefix}/{query}"))];
        return (StatusCode::PERMANENT_REDIRECT, there).into_response();
    }
    if let Some(uri) = below(request.uri(), &prefix) {
        *request.uri_mut() = uri;
    }
    let mut response = next.run(request).await;
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let ours = location.filter(|path| path.starts_with('/') && !path.starts_with("//"));
    if let Some(there) = ours.and_then(|path| HeaderValue::try_from(format!("{prefix}{path}")).ok())
    {
        response.headers_mut().insert(header::LOCATION, there);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_plain() {
        assert_eq!(base_path("/planner").unwrap(), "/planner");
        assert_eq!(base_path("/a/b-c_1.2~/").unwrap(), "/a/b-c_1.2~");
        let long = format!("/{}", "a".repeat(LONGEST));
        for text in [
            "",
            "/",
            "planner",
            "//evil.example",
            "/a//b",
            "/a/../b",
            "/a b",
            "/a?b",
            "/%2e",
            &long,
        ] {
            base_path(text).unwrap_err();
        }
    }

    #[test]
    fn only_what_stands_below_the_path_is_taken_away() {
        let below = |uri: &'static str| {
            below(&Uri::from_static(uri), "/planner").map(|uri| uri.to_string())
        };
        assert_eq!(below("/planner/v1/families?limit=1").as_deref(), Some("/v1/families?limit=1"));
        assert_eq!(below("/planner/").as_deref(), Some("/"));
        assert_eq!(below("/planners/v1"), None);
        assert_eq!(below("/v1/planner/"), None);
    }
}
