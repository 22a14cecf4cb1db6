//! What browsers are told: what a page may do, and which pages of others may ask.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use tower_http::cors::CorsLayer;

/// What a page of this service may load: its own files, styles within it (pictures and the browser of
/// the document have some), images that it made itself. No frame may hold it.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data: blob:; connect-src 'self'; font-src 'self' data:; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// Adds the headers that keep browsers from guessing, telling and embedding.
#[must_use]
pub fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    // A picture that is opened by itself is a document too.
    let is_page = content_type.is_some_and(|content_type| {
        content_type.starts_with(b"text/html") || content_type.starts_with(b"image/svg+xml")
    });
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if is_page {
        headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        );
    }
    response
}

/// How long a browser remembers that it may ask.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Lets pages of these origins ask; `None` where there are none. Cookies mean nothing here, so none are
/// let through: a page has to have a key.
pub fn cross_origin(origins: &[HeaderValue]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let request_id = HeaderName::from_static("x-request-id");
    let layer = CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            request_id.clone(),
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            request_id,
        ])
        .max_age(MAX_AGE);
    Some(layer)
}
