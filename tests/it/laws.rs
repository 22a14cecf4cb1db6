//! `/v1/families/{family}/laws`, and which of the laws answers.

use serde_json::{Value, json};

use crate::support::{App, CREATED, OK, problem};

fn coefficients() -> Value {
    json!({"a_s": 16.8, "b_s": 0.72, "c_s": 45.0, "b_n": 0.245, "a_d": 6.9e8, "b_d": 0.2, "c": 0.65})
}

#[tokio::test]
async fn published_coefficients_are_imported_and_answer() {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    let law = json!({"coefficients": coefficients(), "reference": "internal report 7", "runs": 12});
    let created = app.post("/v1/families/mine/laws", law).await;
    created.assert_status(CREATED);
    assert_eq!(created.header("location"), "/v1/families/mine/laws/1");
    let law: Value = app.get("/v1/families/mine/laws/1").await.json();
    assert_eq!(law, created.json::<Value>());
    assert_eq!(law["active"], true);
    assert_eq!(law["coefficients"], coefficients());
    let answer: Value = app
        .get("/v1/families/mine/prediction?nonzero_params=1e8&sparsity=0.5&data=1e10")
        .await
        .json();
    assert_eq!(answer["law"]["source"], "published");
    assert_eq!(answer["warnings"][0]["code"], "unknown_support");
}

#[tokio::test]
async fn coefficients_are_checked_by_name() {
    let app = App::new().await;
    let mut bad = coefficients();
    bad["b_n"] = json!(0);
    let law = json!({"coefficients": bad, "reference": " "});
    let response = app.post("/v1/families/t5-c4/laws", law).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/coefficients/b_n", "/reference"]);
    for time in ["+262142-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "yesterday"] {
        let law = json!({"coefficients": coefficients(), "reference": "x", "fitted_at": time});
        let response = app.post("/v1/families/t5-c4/laws", law).await;
        assert_eq!(problem(&response, 422, "invalid"), ["/fitted_at"], "{time}");
    }
    let law = json!({"coefficients": {"a_s": 1}, "reference": "x"});
    let response = app.post("/v1/families/t5-c4/laws", law).await;
    let missing =
        ["b_s", "c_s", "b_n", "a_d", "b_d", "c"].map(|name| format!("/coefficients/{name}"));
    assert_eq!(problem(&response, 422, "invalid"), missing);
}

#[tokio::test]
async fn the_newest_fit_answers_unless_another_law_is_pinned() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let import = json!({"coefficients": coefficients(), "reference": "x"});
    app.post("/v1/families/mine/laws", import.clone()).await.assert_status(CREATED);
    let active = || async {
        let family: Value = app.get("/v1/families/mine").await.json();
        (family["active_law"]["version"].as_i64().unwrap(), family["pinned"].as_bool().unwrap())
    };
    assert_eq!(active().await, (1, false));
    app.refit("mine", json!({"starts": 4})).await;
    assert_eq!(active().await, (2, false));
    // A law that is imported after the fit does not become active by itself.
    app.post("/v1/families/mine/laws", import).await.assert_status(CREATED);
    assert_eq!(active().await, (2, false));

    let pin = |version: Value| {
        app.server.put("/v1/families/mine/active-law").json(&json!({"version": version}))
    };
    pin(json!(3)).await.assert_status(OK);
    assert_eq!(active().await, (3, true));
    app.refit("mine", json!({"starts": 4, "seed": 1})).await;
    assert_eq!(active().await, (3, true));
    let list: Value = app.get("/v1/families/mine/laws").await.json();
    let versions: Vec<(i64, bool)> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|law| (law["version"].as_i64().unwrap(), law["active"].as_bool().unwrap()))
        .collect();
    assert_eq!(versions, [(4, false), (3, true), (2, false), (1, false)]);
    pin(Value::Null).await.assert_status(OK);
    assert_eq!(active().await, (4, false));
    assert_eq!(problem(&pin(json!(9)).await, 422, "invalid"), ["/version"]);
    let response = app.server.put("/v1/families/mine/active-law").json(&json!({})).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/version"]);
}

#[tokio::test]
async fn a_law_keeps_the_settings_it_was_made_with() {
    let app = App::new().await;
    let question =
        "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse";
    let before: Value = app.get(question).await.json();
    let changes = json!({"flops_per_param": 12, "pruning": {"start": 0, "end": 1, "exponent": 1}});
    app.server.patch("/v1/families/t5-c4").json(&changes).await.assert_status(OK);
    assert_eq!(app.get(question).await.json::<Value>(), before);
}

#[tokio::test]
async fn a_law_that_is_known_is_not_sent_again() {
    let app = App::new().await;
    let path = "/v1/families/t5-c4/laws/1";
    let first = app.get(path).await;
    let etag = first.header("etag");
    let again = app.server.get(path).add_header("if-none-match", etag.clone()).await;
    assert_eq!(again.status_code(), 304);
    assert_eq!(again.text(), "");
    let other = app.server.get(path).add_header("if-none-match", "\"other\"").await;
    other.assert_status(OK);
    // Another law is active now, so the ETag of this one changes.
    let import = json!({"coefficients": coefficients(), "reference": "x"});
    app.post("/v1/families/t5-c4/laws", import).await.assert_status(CREATED);
    app.server.get(path).add_header("if-none-match", etag).await.assert_status(OK);
    problem(&app.get("/v1/families/t5-c4/laws/9").await, 404, "not-found");
    problem(&app.get("/v1/families/t5-c4/laws/x").await, 404, "not-found");
}
