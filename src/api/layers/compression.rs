//! Compression of answers, for callers that accept it and where it is worthwhile.

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Response, header};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::Predicate;

/// Smallest answer that is compressed, in bytes; smaller ones fit into one packet anyway.
const LEAST: u64 = 1024;
/// Largest answer that is compressed, in bytes. Compressing larger ones would block the thread that sends them; Arrow
/// and Parquet, which have compression of their own, are there for these.
const MOST: u64 = 1024 * 1024;

/// Predicate for answers that are worth compressing.
#[derive(Debug, Clone, Copy)]
pub struct Worthwhile;

impl Predicate for Worthwhile {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_text = ["application/json", "application/problem+json", "image/svg+xml", "text/"]
            .iter()
            .any(|text| kind.starts_with(text));
        // Streamed answers have no known size.
        let size = response.body().size_hint().exact().unwrap_or_default();
        is_text && (LEAST..=MOST).contains(&size)
    }
}

/// The layer that compresses according to `Accept-Encoding`, with gzip or zstd.
#[must_use]
pub fn compressed() -> CompressionLayer<Worthwhile> {
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(Worthwhile)
}

/// Makes the ETag of a compressed answer a weak one, as a strong one would identify the exact bytes.
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
