//! Health, the OpenAPI document with its examples and browser, the manual, and headers that all answers share.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use sparsity_planner::api::state::RequestLimits;

use crate::support::wait::until;
use crate::support::{App, LIMITS, NOT_FOUND, OK, problem};

#[tokio::test]
async fn it_is_alive_and_ready() {
    let app = App::new().await;
    assert_eq!(app.get("/healthz").await.json::<Value>()["status"], "ok");
    assert_eq!(app.get("/readyz").await.json::<Value>()["status"], "ready");
    app.pool.close().await;
    app.get("/healthz").await.assert_status(OK);
    // The result of a check is reused for a moment, so the failure is not seen at once.
    let is_away = async || app.get("/readyz").await.status_code() != OK;
    until(is_away, "it is seen that the database is away").await;
    let response = app.get("/readyz").await;
    problem(&response, 503, "unavailable");
    assert_eq!(response.header("retry-after"), "1");
    let response = app.get("/v1/families").await;
    problem(&response, 503, "unavailable");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let request_timeout = Duration::from_millis(500);
    let app = App::with_limits(RequestLimits { request_timeout, ..LIMITS }).await;
    let mut transaction = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE families").execute(&mut *transaction).await.unwrap();
    problem(&app.get("/v1/families/t5-c4").await, 408, "request-timeout");
    transaction.rollback().await.unwrap();
    app.get("/v1/families/t5-c4").await.assert_status(OK);
}

#[tokio::test]
async fn the_document_and_its_browser_are_served_from_the_binary() {
    let app = App::new().await;
    let document: Value = app.get("/openapi.json").await.json();
    let committed: Value =
        serde_json::from_str(include_str!("../../openapi/openapi.json")).unwrap();
    assert_eq!(document, committed);
    let page = app.get("/docs/").await;
    page.assert_status(OK);
    // Everything that the page loads has a relative address: nothing comes from another host.
    assert!(!page.text().contains("https://"), "{}", page.text());
    app.get("/docs/swagger-ui-bundle.js").await.assert_status(OK);
}

/// The examples of the document are the answers of a new installation to requests with the example parameters.
/// `UPDATE_EXAMPLES=1` rewrites them.
#[tokio::test]
async fn the_examples_in_the_document_are_real() {
    let app = App::new().await;
    let document: Value = app.get("/openapi.json").await.json();
    let mut checked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let operation = &item["get"];
        let id = operation["operationId"].as_str().unwrap_or_default();
        let Some(example) =
            operation["responses"]["200"]["content"]["application/json"].get("example")
        else {
            continue;
        };
        let (mut url, mut query) = (path.clone(), Vec::new());
        for parameter in operation["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            let Some(value) = parameter.get("example") else { continue };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match parameter["in"].as_str().unwrap() {
                "path" => url = url.replace(&format!("{{{name}}}"), &value),
                _ => query.push(format!("{name}={value}")),
            }
        }
        let response = app.get(&format!("{url}?{}", query.join("&"))).await;
        response.assert_status(OK);
        let answer: Value = response.json();
        if std::env::var_os("UPDATE_EXAMPLES").is_some() {
            let file = format!("{}/openapi/examples/{id}.json", env!("CARGO_MANIFEST_DIR"));
            let text = serde_json::to_string_pretty(&answer).unwrap();
            std::fs::write(file, format!("{text}\n")).unwrap();
        } else {
            assert_eq!(&answer, example, "{id}");
        }
        checked += 1;
    }
    assert_eq!(checked, sparsity_planner::api::document::EXAMPLES.len());
}

/// If an unknown parameter were ignored, the answer would be to another question than the caller meant.
#[tokio::test]
async fn unknown_parameters_are_refused_by_every_operation() {
    let app = App::new().await;
    let document: Value = app.get("/openapi.json").await.json();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let example = |name: &str| match name {
                "id" => "0190b6c0-0000-7000-8000-000000000000",
                "version" => "1",
                "family" => "t5-c4",
                _ => "thing",
            };
            let mut at = path.clone();
            while let (Some(open), Some(close)) = (at.find('{'), at.find('}')) {
                let name = at[open + 1..close].to_owned();
                at.replace_range(open..=close, example(&name));
            }
            let method = method.to_uppercase().parse().unwrap();
            let response = app
                .server
                .method(method, &format!("{at}?of_no_meaning=1"))
                .json(&serde_json::json!({}))
                .await;
            assert_eq!(problem(&response, 422, "invalid"), ["/of_no_meaning"], "{at}: {operation}");
            asked += 1;
        }
    }
    assert!(asked > 45, "{asked}");
    // A method that the path does not have is reported before an unknown parameter.
    let trace = app.server.method(axum::http::Method::TRACE, "/v1/families?limit=1").await;
    assert_eq!(trace.status_code(), 405);
}

#[tokio::test]
async fn no_cache_keeps_what_may_change() {
    let app = App::new().await;
    for (path, kept) in [
        ("/v1/families", "private, no-cache"),
        ("/v1/families/nobodys", "private, no-cache"),
        ("/v1/families/t5-c4/refits", "private, no-cache"),
        (
            "/v1/families/t5-c4/prediction?nonzero_params=1e8&sparsity=0&data=1e10",
            "private, no-cache",
        ),
        (
            "/v1/families/t5-c4/prediction?nonzero_params=1e8&sparsity=0&data=1e10&law_version=1",
            "private, max-age=3600",
        ),
    ] {
        assert_eq!(app.get(path).await.header("cache-control"), kept, "{path}");
    }
}

/// Structs and enums must be sent by name: serde's forms by position must not become part of the API.
#[tokio::test]
async fn an_array_is_taken_for_no_object_and_a_number_for_no_word() {
    let app = App::new().await;
    for (path, body, pointer) in [
        (
            "/v1/families/t5-c4/optimal-sparsities",
            json!({"points": [[1e7, 1e20, "dense"]]}),
            "/points/0",
        ),
        ("/v1/families", json!({"name": "a", "pruning": [0.25, 0.75, 3]}), "/pruning"),
        (
            "/v1/families/t5-c4/suggestions",
            json!({"target": {"prediction": [1e7, 0.5, 1e9]}, "compute": 1e20}),
            "/target/prediction",
        ),
        (
            "/v1/hardware-profiles",
            json!({"name": "a", "cost": {"points": [[0.5, 0.8]]}, "source": "x", "storage": 3}),
            "/storage",
        ),
    ] {
        let response = app.post(path, body.clone()).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer], "{path} {body}");
        assert!(!response.text().contains("struct "), "{}", response.text());
    }
}

#[tokio::test]
async fn the_manual_is_part_of_the_service() {
    let app = App::new().await;
    let begin = app.get("/book").await;
    assert_eq!(
        (begin.status_code(), begin.header("location")),
        (StatusCode::PERMANENT_REDIRECT, "book/introduction".parse().unwrap())
    );
    let page = app.get("/book/trust").await;
    page.assert_status(OK);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let text = page.text();
    assert!(
        text.contains("<code id=\"forecasts_missed\">") && text.contains("href=\"../book/plans\"")
    );
    let style = text.split("href=\"../").find_map(|rest| rest.split_once("book.css")).unwrap().0;
    app.get(&format!("/{style}book.css")).await.assert_status(OK);
    let tag = page.header("etag");
    let again = app.server.get("/book/trust").add_header("if-none-match", tag).await;
    assert_eq!(again.status_code(), StatusCode::NOT_MODIFIED);
    app.get("/book/decisions/0001-refits-in-a-plain-table").await.assert_status(OK);
    assert_eq!(app.get("/book/pictures/gain.png").await.header("content-type"), "image/png");
    for none in ["/book/SUMMARY", "/book/nothing", "/book/../Cargo", "/book/nothing.png"] {
        assert_eq!(app.get(none).await.status_code(), NOT_FOUND, "{none}");
    }
    let problem = app.get("/problems/not-identified").await;
    assert_eq!(problem.header("location"), "../book/problems#not-identified");
    assert!(app.get("/book/problems").await.text().contains("<code id=\"not-identified\">"));
}

#[tokio::test]
async fn answers_are_compressed_for_who_takes_it_where_that_is_worth_it() {
    let app = App::new().await;
    let contours = "/v1/families/t5-c4/contours?flop_mode=sparse&levels=0.5,0.75";
    let plain = app.get(contours).await;
    plain.assert_status(OK);
    assert!(plain.maybe_header("content-encoding").is_none());
    for (coding, magic) in [("gzip", &b"\x1f\x8b"[..]), ("zstd", &b"\x28\xb5\x2f\xfd"[..])] {
        let small = app.server.get(contours).add_header("accept-encoding", coding).await;
        assert_eq!(small.header("content-encoding"), coding);
        let mut varies = small.iter_headers_by_name("vary");
        assert!(varies.any(|value| value == "accept-encoding"));
        let bytes = small.as_bytes();
        assert!(bytes.starts_with(magic) && bytes.len() < plain.as_bytes().len());
        // The compressed bytes differ, so the tag is weak; the service still recognises it.
        let tag = small.header("etag").to_str().unwrap().to_owned();
        assert_eq!(tag, format!("W/{}", plain.header("etag").to_str().unwrap()));
        let again = app.server.get(contours).add_header("if-none-match", tag).await;
        assert_eq!(again.status_code(), StatusCode::NOT_MODIFIED);
    }
    // The answer to a single question is too short to be worth compressing.
    let question = "/v1/families/t5-c4/prediction?nonzero_params=1e7&sparsity=0.5&data=1e10";
    let answer = app.server.get(question).add_header("accept-encoding", "gzip").await;
    assert!(answer.maybe_header("content-encoding").is_none());
}
