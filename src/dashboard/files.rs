//! The dashboard's and manual's files, which are embedded in the program, and how they are sent.

use std::borrow::Cow;
use std::sync::LazyLock;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

#[derive(RustEmbed)]
#[folder = "src/dashboard/static"]
pub(super) struct Files;

#[derive(RustEmbed)]
#[folder = "docs"]
pub(super) struct Pages;

/// Cache for good: the address changes whenever any file does.
pub(super) const KEEP: &str = "public, max-age=31536000, immutable";
/// Revalidate every time.
pub(super) const REVALIDATE: &str = "no-cache";

/// A digest that identifies the version of all files together.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<_> = Files::iter().collect();
    names.sort_unstable();
    let mut digest = Sha256::new();
    for name in names {
        digest.update(name.as_bytes());
        digest.update(Files::get(&name).expect("it was just listed").metadata.sha256_hash());
    }
    let mut pages: Vec<_> = Pages::iter().collect();
    pages.sort_unstable();
    for page in pages {
        digest.update(page.as_bytes());
        digest.update(Pages::get(&page).expect("it was just listed").metadata.sha256_hash());
    }
    hex::encode(&digest.finalize()[..8])
});

/// The content of a file, without a copy if it is embedded.
pub(super) fn data(file: EmbeddedFile) -> Bytes {
    match file.data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => data.into(),
    }
}

/// Sends the body, or 304 if the caller already has it. All files share one ETag, as they change together.
pub(super) fn send(
    headers: &HeaderMap,
    kind: &str,
    freshness: &'static str,
    body: Bytes,
) -> Response {
    let tag = format!("\"{}\"", *VERSION);
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|entry| entry.trim().trim_start_matches("W/") == tag);
    let common = [(header::ETAG, tag), (header::CACHE_CONTROL, freshness.to_owned())];
    if known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, kind.to_owned())], body).into_response()
}
