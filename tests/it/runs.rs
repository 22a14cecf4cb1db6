//! `/v1/families/{family}/runs`.

use serde_json::{Value, json};

use crate::support::{App, CREATED, NO_CONTENT, NOT_FOUND, OK, problem, run};

const RUNS: &str = "/v1/families/mine/runs";

async fn app() -> App {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    app
}

fn with(mut run: Value, field: &str, value: Value) -> Value {
    run[field] = value;
    run
}

#[tokio::test]
async fn a_retry_is_safe_and_a_correction_is_an_update() {
    let app = app().await;
    let counts = |response: Value| {
        [&response["created"], &response["updated"], &response["unchanged"]]
            .map(|count| count.as_u64().unwrap())
    };
    let two = json!([run("a"), run("b")]);
    assert_eq!(counts(app.post(RUNS, two.clone()).await.json()), [2, 0, 0]);
    assert_eq!(counts(app.post(RUNS, two).await.json()), [0, 0, 2]);
    let corrected = json!([with(run("a"), "loss", json!(2.4)), run("b"), run("c")]);
    assert_eq!(counts(app.post(RUNS, corrected).await.json()), [1, 1, 1]);
    assert_eq!(counts(app.post(RUNS, run("c")).await.json()), [0, 0, 1]);
    assert_eq!(counts(app.post(RUNS, json!([])).await.json()), [0, 0, 0]);
}

#[tokio::test]
async fn a_run_comes_back_as_it_was_sent() {
    let app = app().await;
    let sent = json!({
        "external_id": "x", "total_params": 3e7, "sparsity": 0.6, "data": 1e10,
        "loss": 0.1 + 0.2, "start": "pretrained", "pattern": "2:4", "tags": {"team": "a", "ü": "ß"},
    });
    app.post(RUNS, sent).await.assert_status(OK);
    let list: Value = app.get(RUNS).await.json();
    let run = &list["items"][0];
    let id = run["id"].as_str().unwrap();
    assert_eq!(&app.get(&format!("{RUNS}/{id}")).await.json::<Value>(), run);
    insta::assert_json_snapshot!(run, {".id" => "[id]"}, @r#"
    {
      "created_at": "2026-03-01T12:00:00Z",
      "data": 10000000000.0,
      "excluded": false,
      "exclusion_reason": null,
      "external_id": "x",
      "id": "[id]",
      "loss": 0.30000000000000004,
      "nonzero_params": 12000000.0,
      "pattern": "2:4",
      "pretraining_data": null,
      "sparsity": 0.6,
      "start": "pretrained",
      "tags": {
        "team": "a",
        "ü": "ß"
      },
      "total_params": 30000000.0,
      "unique_data": null,
      "updated_at": "2026-03-01T12:00:00Z"
    }
    "#);
}

#[tokio::test]
async fn one_wrong_row_and_nothing_is_stored() {
    let app = app().await;
    let rows = json!([
        run("a"),
        with(run("b"), "loss", json!(-1)),
        with(run("c"), "sparsity", json!("half")),
        run("a"),
        with(run("d"), "steps", json!(7)),
        {"external_id": "e"},
        with(run("f\u{0}"), "tags", json!({"k\u{0}": "v"})),
        7,
    ]);
    let response = app.post(RUNS, rows.clone()).await;
    assert_eq!(
        problem(&response, 422, "invalid"),
        [
            "/1/loss",
            "/2/sparsity",
            "/3/external_id",
            "/4/steps",
            "/5/sparsity",
            "/5/data",
            "/5/loss",
            "/5/nonzero_params",
            "/6/external_id",
            "/6/tags",
            "/7",
        ]
    );
    assert_eq!(app.get(RUNS).await.json::<Value>()["items"], json!([]));

    let response = app.post(&format!("{RUNS}?on_error=skip"), rows).await;
    response.assert_status(OK);
    let result: Value = response.json();
    assert_eq!(result["created"], 1);
    assert_eq!(
        result["rejected"][0],
        json!({"row": 1, "field": "loss", "detail": "must be between 1e-12 and 1e12, not -1"})
    );
    let rows: Vec<u64> = result["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rejection| rejection["row"].as_u64().unwrap())
        .collect();
    assert_eq!(rows, [1, 2, 3, 4, 5, 5, 5, 5, 6, 6, 7]);
}

#[tokio::test]
async fn rows_that_no_run_can_be_read_from_are_refused() {
    let app = app().await;
    let text =
        r#"[{"external_id": "a", "nonzero_params": 1e7, "sparsity": 0, "data": 1e999, "loss": 2}]"#;
    let response = app.server.post(RUNS).text(text).content_type("application/json").await;
    assert_eq!(problem(&response, 422, "invalid"), ["/0"]);
    // An array is not a run, even if its values are in the order of the fields.
    let text = r#"[["a", 1e6, null, 0.5, 1e9, 3, null, null, {}]]"#;
    let response = app.server.post(RUNS).text(text).content_type("application/json").await;
    assert_eq!(problem(&response, 422, "invalid"), ["/0"]);
    assert_eq!(app.get(RUNS).await.json::<Value>()["items"], json!([]));
}

#[tokio::test]
async fn lists_are_filtered() {
    let app = app().await;
    let rows = json!([
        with(run("a"), "sparsity", json!(0)),
        with(run("b"), "pattern", json!("2:4")),
        with(run("c"), "start", json!("pretrained")),
        with(run("d"), "tags", json!({"team": "x", "seed": "1"})),
        with(run("e"), "loss", json!(9.0)),
    ]);
    app.post(RUNS, rows).await.assert_status(OK);
    for (query, expected) in [
        ("", vec!["e", "d", "c", "b", "a"]),
        ("max_sparsity=0.2", vec!["a"]),
        ("min_loss=3", vec!["e"]),
        ("max_loss=3&min_sparsity=0.4&min_data=1e9&max_nonzero_params=1e9", vec!["d", "c", "b"]),
        ("pattern=2:4", vec!["b"]),
        ("start=pretrained", vec!["c"]),
        ("tags=team:x", vec!["d"]),
        ("tags=team:x,seed:2", vec![]),
        ("excluded=true", vec![]),
        ("limit=2", vec!["e", "d"]),
    ] {
        let list: Value = app.get(&format!("{RUNS}?{query}")).await.json();
        let ids: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["external_id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, expected, "{query}");
    }
    for (query, pointer) in [
        ("min_loss=NaN", "/min_loss"),
        ("pattern=x", "/pattern"),
        ("tags=team", "/tags"),
        ("tags=%00:a", "/tags"),
        ("start=cold", "/start"),
        ("excluded=maybe", "/excluded"),
        ("other=1", "/other"),
    ] {
        let response = app.get(&format!("{RUNS}?{query}")).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer], "{query}");
    }
}

#[tokio::test]
async fn a_run_is_excluded_with_a_reason_and_taken_in_again() {
    let app = app().await;
    app.post(RUNS, run("a")).await.assert_status(OK);
    let id = app.get(RUNS).await.json::<Value>()["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("{RUNS}/{id}");
    let patch = |body: Value| app.server.patch(&path).json(&body);

    let response = patch(json!({"excluded": true})).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/exclusion_reason"]);
    let response = patch(json!({"excluded": false, "exclusion_reason": "x"})).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/exclusion_reason"]);
    let excluded = patch(json!({"excluded": true, "exclusion_reason": "diverged"})).await;
    assert_eq!(excluded.json::<Value>()["exclusion_reason"], "diverged");
    // Sent again it is the same run, and stays excluded.
    app.post(RUNS, with(run("a"), "loss", json!(2.0))).await.assert_status(OK);
    assert_eq!(app.get(&path).await.json::<Value>()["excluded"], true);
    let taken_in = patch(json!({"excluded": false})).await;
    assert_eq!(taken_in.json::<Value>()["excluded"], false);

    app.server.delete(&path).await.assert_status(NO_CONTENT);
    app.get(&path).await.assert_status(NOT_FOUND);
    patch(json!({"excluded": false})).await.assert_status(NOT_FOUND);
    problem(&app.get(&format!("{RUNS}/not-an-id")).await, 404, "not-found");
}

#[tokio::test]
async fn batches_over_the_same_runs_neither_deadlock_nor_double() {
    let app = app().await;
    let forward: Vec<Value> = (0..300).map(|i| run(&format!("r{i}"))).collect();
    let backward: Vec<Value> = forward.iter().rev().cloned().collect();
    let both =
        futures_util::future::join_all([&forward, &backward, &forward, &backward].map(|rows| {
            let app = &app;
            async move { app.post(RUNS, json!(rows)).await.json::<Value>() }
        }));
    let created: u64 = both.await.iter().map(|result| result["created"].as_u64().unwrap()).sum();
    assert_eq!(created, 300);
}
