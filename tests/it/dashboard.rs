//! The page at `/` and its files, as a browser requests them.

use std::collections::HashSet;

use axum_test::TestResponse;

use crate::support::{App, OK, problem};

/// Paths of the files that the page names.
fn files(page: &str) -> HashSet<String> {
    let parts = page.split(['"', '\'']).filter(|part| part.starts_with("dashboard/"));
    // The page names them relative to itself.
    parts.map(|part| format!("/{part}")).collect()
}

fn assert_header(response: &TestResponse, name: &str, value: &str) {
    assert_eq!(response.header(name), value, "{name}");
}

#[tokio::test]
async fn the_page_allows_nothing_of_others_and_names_nothing_of_theirs() {
    let app = App::new().await;
    let page = app.get("/").await;
    page.assert_status(OK);
    assert_header(&page, "content-type", "text/html; charset=utf-8");
    assert_header(&page, "cache-control", "no-cache");
    assert_header(&page, "x-content-type-options", "nosniff");
    let policy = page.header("content-security-policy");
    let policy = policy.to_str().unwrap();
    assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"));
    let text = page.text();
    assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
    // The content security policy forbids inline scripts.
    assert!(!text.contains("<script>"), "{text}");
}

#[tokio::test]
async fn every_file_that_the_page_names_is_there_and_kept_for_good() {
    let app = App::new().await;
    let named = files(&app.get("/").await.text());
    assert!(named.len() > 15, "{named:?}");
    for address in named {
        let file = app.get(&address).await;
        file.assert_status(OK);
        assert_header(&file, "cache-control", "public, max-age=31536000, immutable");
        let (_, ending) = address.rsplit_once('.').unwrap();
        let kind = match ending {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        assert_header(&file, "content-type", kind);
        assert!(!file.as_bytes().is_empty(), "{address}");
    }
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let app = App::new().await;
    let page = app.get("/").await;
    let tag = page.header("etag").to_str().unwrap().to_owned();
    let again = app.server.get("/").add_header("if-none-match", format!("W/{tag}, \"x\"")).await;
    again.assert_status(axum::http::StatusCode::NOT_MODIFIED);
    assert!(again.as_bytes().is_empty());
    assert_header(&again, "etag", &tag);
    app.server.get("/").add_header("if-none-match", "\"x\"").await.assert_status(OK);
}

#[tokio::test]
async fn unknown_files_are_problems_and_another_version_is_not_kept() {
    let app = App::new().await;
    for path in ["nothing.js", "index.html", "../mod.rs", "%2e%2e/mod.rs", "views"] {
        problem(&app.get(&format!("/dashboard/1/{path}")).await, 404, "not-found");
    }
    let old = app.get("/dashboard/0123456789abcdef/app.js").await;
    old.assert_status(OK);
    assert_header(&old, "cache-control", "no-cache");
}
