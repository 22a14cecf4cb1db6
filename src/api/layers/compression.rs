//! Answers compressed for callers that take it, where that is worth it.

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Response, header};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::Predicate;

/// Smaller answers fit into one packet anyway.
const LEAST: u64 = 1024;
/// Larger ones would hold up the thread that sends them; for these there are Arrow and Parquet, which are compressed
/// within.
const MOST: u64 = 1024 * 1024;

/// Which answers are compressed.
#[derive(Debug, Clone, Copy)]
pub struct Worthwhile;

impl Predicate for Worthwhile {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_text = ["application/json", "application/problem+json", "image/svg+xml", "text/"]
            .iter()
            .any(|text| kind.starts_with(text));
        // What is streamed has no size before its end.
        let size = response.body().size_hint().exact().unwrap_or_default();
        is_text && (LEAST..=MOST).contains(&size)
    }
}

/// Compresses by `Accept-Encoding`: gzip or zstd.
#[must_use]
pub fn compressed() -> CompressionLayer<Worthwhile> {
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(Worthwhile)
}

/// Weakens the tag of an answer that was compressed: a strong one names the bytes.
#[must_use]
pub fn with_weak_tag(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    if headers.contains_key(header::CONTENT_ENCODING)
        && let Some(tag) = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok())
        && !tag.starts_with("W/")
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{tag}"))
    {
        headers.insert(header::ETAG, weak);
    }
    response
}
