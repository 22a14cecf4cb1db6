//! The dashboard, a page that reads only the public API, and the manual.
//!
//! Its files are part of the program, so it works where there is no network. They are plain HTML,
//! CSS and modules of JavaScript, as they stand in `static`: nothing is generated but the address
//! they are served under, which holds a digest of them all, so that a browser keeps them for good
//! and never mixes two versions. The plotting library stands beside them, as it was published and
//! compressed (`plotly/README.md`).

use std::io::Read;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::read::GzDecoder;

use crate::dashboard::files::{Files, KEEP, PLOTLY, REVALIDATE, VERSION, data, send};

mod book;
mod files;

/// The name under which it is served, beside the files.
const PLOTLY_NAME: &str = "plotly.js";

/// The page and its files.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(get_page))
        .route("/dashboard/{version}/{*path}", get(get_file))
        .merge(book::router())
}

/// The page, which names the files of this version. The modules are named too: a browser that learns
/// of them one by one asks for them one after the other.
static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
    let page = Files::get("index.html").expect("the page is a file of the folder").data;
    let page = String::from_utf8(page.into_owned()).expect("the page is UTF-8");
    let mut modules: Vec<_> = Files::iter().filter(|name| name.ends_with(".js")).collect();
    modules.sort_unstable();
    let preload =
        |name| format!("<link rel=\"modulepreload\" href=\"dashboard/@VERSION@/{name}\">");
    let preloads: Vec<_> = modules.into_iter().map(preload).collect();
    page.replace("@PRELOADS@", &preloads.join("\n")).replace("@VERSION@", &VERSION).into()
});

async fn get_page(headers: HeaderMap) -> Response {
    send(&headers, "text/html; charset=utf-8", REVALIDATE, PAGE.clone())
}

async fn get_file(Path((version, path)): Path<(String, String)>, headers: HeaderMap) -> Response {
    // A page of another version may still be open, and another replica may be of another version:
    // either is better served with these files than with none.
    let freshness = if version == *VERSION { KEEP } else { REVALIDATE };
    if path == PLOTLY_NAME {
        return send_plotly(&headers, freshness);
    }
    match Files::get(&path).filter(|_| path != "index.html") {
        Some(file) => {
            let kind = file.metadata.mimetype().to_owned();
            let kind =
                if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind };
            send(&headers, &kind, freshness, data(file))
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn send_plotly(headers: &HeaderMap, freshness: &'static str) -> Response {
    const KIND: &str = "text/javascript; charset=utf-8";
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut response = if accepted.filter_map(|value| value.to_str().ok()).any(accepts_gzip) {
        let mut response = send(headers, KIND, freshness, Bytes::from_static(PLOTLY));
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        let mut script = Vec::new();
        GzDecoder::new(PLOTLY)
            .read_to_end(&mut script)
            .expect("the file is whole, which a test checks");
        send(headers, KIND, freshness, script.into())
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}

fn accepts_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        named && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_page_names_its_files_by_version() {
        let page = std::str::from_utf8(&PAGE).unwrap();
        assert!(!page.contains('@'), "{page}");
        assert!(page.contains(&format!("\"dashboard/{}/app.js", *VERSION)));
        assert!(page.contains(&format!("\"dashboard/{}/views/runs.js", *VERSION)));
    }

    #[test]
    fn the_plotting_library_is_as_it_was_published() {
        let mut script = String::new();
        GzDecoder::new(PLOTLY).read_to_string(&mut script).unwrap();
        assert!(script.contains("Licensed under the MIT license"));
        let readme = include_str!("plotly/README.md");
        assert!(readme.contains(&hex::encode(Sha256::digest(&script))));
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        assert!(accepts_gzip("deflate, GZIP;q=0.5"));
        assert!(!accepts_gzip("gzip;q=0, identity"));
        assert!(!accepts_gzip("br"));
    }
}
