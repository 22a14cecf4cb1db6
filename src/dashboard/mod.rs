//! The dashboard, a page that uses only the public API, and the manual.
//!
//! The files are embedded in the program, so the dashboard works without a network. They are plain HTML, CSS and
//! JavaScript modules, served as they are in `static`. Only their address is generated: it contains a digest of all of
//! them, so that browsers cache them for good and never mix two versions. The pictures are the service's own, as SVG.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use crate::dashboard::files::{Files, KEEP, REVALIDATE, VERSION, data, send};

mod book;
mod files;

/// Routes of the dashboard and the manual.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(get_page))
        .route("/dashboard/{version}/{*path}", get(get_file))
        .merge(book::router())
}

/// Views that are loaded at once: the list of families, and what is used most of a family. The others are loaded when
/// they are opened, or after the first view is drawn.
const FIRST_VIEWS: [&str; 3] = ["views/answer.js", "views/families.js", "views/family.js"];

/// The page, with links to the files of this version. The modules needed at the start are preloaded: a browser that
/// discovers them one by one would also request them one after the other.
static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
    let page = Files::get("index.html").expect("the page is a file of the folder").data;
    let page = String::from_utf8(page.into_owned()).expect("the page is UTF-8");
    let at_once = |name: &str| !name.starts_with("views/") || FIRST_VIEWS.contains(&name);
    let mut modules: Vec<_> =
        Files::iter().filter(|name| name.ends_with(".js") && at_once(name)).collect();
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
    // A page of another version may still be open, or another replica may run another version: in both cases these
    // files are better than none.
    let freshness = if version == *VERSION { KEEP } else { REVALIDATE };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_its_files_by_version() {
        let page = std::str::from_utf8(&PAGE).unwrap();
        assert!(!page.contains('@'), "{page}");
        assert!(page.contains(&format!("\"dashboard/{}/app.js", *VERSION)));
        assert!(page.contains(&format!("\"dashboard/{}/views/answer.js", *VERSION)));
        assert!(!page.contains("/views/runs.js"), "what is opened later is loaded later");
        for view in FIRST_VIEWS {
            assert!(Files::get(view).is_some(), "{view}");
        }
    }
}
