//! Exports: all runs of a family as a stream that can be uploaded again unchanged.

use axum_test::TestResponse;
use serde_json::{Value, json};

use crate::support::{App, CREATED, OK, problem};

const RUNS: &str = "/v1/families/mine/runs";

async fn export(app: &App, path: &str, kind: &str) -> TestResponse {
    let response = app.server.get(path).add_header("accept", kind).await;
    response.assert_status(OK);
    assert_eq!(response.header("content-type"), kind);
    assert_eq!(response.header("vary"), "accept");
    response
}

/// Runs with every field that a run can have.
async fn varied() -> App {
    let app = App::new().await;
    for name in ["mine", "other"] {
        app.post("/v1/families", json!({"name": name})).await.assert_status(CREATED);
    }
    let runs = json!([
        {"external_id": "plain", "nonzero_params": 1e7, "sparsity": 0, "data": 2e10, "loss": 2.5},
        {"external_id": " \"quoted\", ünïcode; =1+1 ", "nonzero_params": 1e18, "sparsity": 1.0 - 1e-16,
            "data": 1e-6, "loss": 0.1 + 0.2, "tags": {"team": "a, b", "k\"": "{}", "n": "7"}},
        {"external_id": "1e5", "total_params": 3e7, "sparsity": 0.6, "data": 1e30, "loss": 1e-12,
            "start": "pretrained", "pretraining_data": 1.0 / 3.0, "unique_data": 2.0 / 3.0, "pattern": "2:4",
            "exclusion_reason": "two\nlines, and \"quotes\""},
    ]);
    app.post(RUNS, runs).await.assert_status(OK);
    // Enough runs for several batches and row groups.
    sqlx::query(
        "INSERT INTO runs (id, family_id, external_id, nonzero_params, sparsity, data, loss, start,
             tags, excluded, created_at, updated_at)
         SELECT gen_random_uuid(), families.id, 'run-' || i, 1e6 + i, 0.5, 1e9, 2 + random(),
             'scratch', jsonb_build_object('i', (i % 100)::text), false, now(), now()
         FROM families, generate_series(1, 12000) AS i WHERE name = 'mine'",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    app
}

#[tokio::test]
async fn what_comes_out_goes_in_again_and_comes_out_the_same() {
    let app = varied().await;
    let mut kinds = vec!["application/x-ndjson", "text/csv"];
    if cfg!(feature = "parquet") {
        kinds.push("application/vnd.apache.parquet");
    }
    let lines = export(&app, RUNS, "application/x-ndjson").await.text();
    assert_eq!(lines.lines().count(), 12_003);
    let other = "/v1/families/other/runs";
    for kind in kinds {
        sqlx::query(
            "DELETE FROM runs USING families WHERE family_id = families.id AND name = 'other'",
        )
        .execute(&app.pool)
        .await
        .unwrap();
        let bytes = export(&app, RUNS, kind).await.as_bytes().clone();
        let again = app.server.post(other).bytes(bytes.clone()).content_type(kind).await;
        again.assert_status(OK);
        assert_eq!(again.json::<Value>()["created"], 12_003, "{kind}");
        let back = export(&app, other, "application/x-ndjson").await.text();
        assert!(back == lines, "{kind}");
        // The same for an upload into the family that the export came from.
        let same = app.server.post(RUNS).bytes(bytes).content_type(kind).await;
        assert_eq!(same.json::<Value>()["unchanged"], 12_003, "{kind}");
    }
}

#[tokio::test]
async fn filters_choose_what_is_exported() {
    let app = varied().await;
    for (query, count) in [
        ("tags=i:7", 120),
        ("excluded=true", 1),
        ("pattern=2:4", 1),
        ("min_data=1e10&max_sparsity=0.1", 1),
        ("max_loss=0.000001&excluded=false", 0),
    ] {
        let path = format!("{RUNS}?{query}");
        let lines = export(&app, &path, "application/x-ndjson").await.text();
        assert_eq!(lines.lines().count(), count, "{query}");
        let table = export(&app, &path, "text/csv").await.text();
        assert!(table.starts_with("external_id,nonzero_params,sparsity,"), "{table}");
    }
    let refused = async |query: &str, accept: &str| {
        app.server.get(&format!("{RUNS}?{query}")).add_header("accept", accept).await
    };
    let response = refused("limit=5&cursor=x", "text/csv").await;
    assert_eq!(problem(&response, 422, "invalid"), ["/limit", "/cursor"]);
    problem(&refused("", "image/png").await, 406, "not-acceptable");
    // The `Accept` header of a browser still gets a page.
    let page = refused("limit=1", "text/html, */*;q=0.8").await;
    assert_eq!(page.json::<Value>()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_empty_family_is_an_empty_stream() {
    let app = App::new().await;
    let path = "/v1/families/t5-c4/runs";
    assert_eq!(export(&app, path, "application/x-ndjson").await.text(), "");
    let header = export(&app, path, "text/csv").await.text();
    assert_eq!(header.lines().count(), 1);
    if cfg!(feature = "parquet") {
        let kind = "application/vnd.apache.parquet";
        let file = export(&app, path, kind).await.as_bytes().clone();
        let again = app.server.post(path).bytes(file).content_type(kind).await;
        assert_eq!(again.json::<Value>()["created"], 0);
    }
}
