//! `/v1/families/{family}/optimal-sparsity/history`: one question, asked of each law that a family had.

use serde_json::{Value, json};
use sparsity_planner::api::layers::answer_points::BulkLimits;
use sparsity_planner::api::state::RequestLimits;

use crate::support::{App, CREATED, LIMITS, NO_CONTENT, NOT_FOUND, OK, StatusCode, problem, run};

const QUESTION: &str = "nonzero_params=1e8&compute=1e20&flop_mode=sparse";
const QUICK: [(&str, i64); 2] = [("starts", 2), ("bootstrap", 100)];

/// Options of a quick refit, together with these.
fn quick(others: Value) -> Value {
    let mut options = json!({"holdout": []});
    for (name, value) in QUICK {
        options[name] = json!(value);
    }
    for (name, value) in others.as_object().unwrap() {
        options[name] = value.clone();
    }
    options
}

async fn history(app: &App, query: &str) -> Value {
    let path = format!("/v1/families/mine/optimal-sparsity/history?{query}");
    let response = app.get(&path).await;
    assert_eq!(response.status_code(), OK, "{}", response.text());
    response.json()
}

fn versions(history: &Value) -> Vec<i64> {
    let items = history["items"].as_array().unwrap().iter();
    items.map(|item| item["law"]["version"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn each_law_answers_as_it_does_by_its_version_and_what_changed_is_said() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    assert_eq!(history(&app, QUESTION).await, json!({"items": [], "next_cursor": null}));
    app.refit("mine", quick(json!({}))).await;
    // One run is added, one is measured again, and two are removed.
    let path = "/v1/families/mine/runs";
    let corrected: Value = app.get(&format!("{path}?external_id=demo-03")).await.json();
    let was = &corrected["items"][0];
    let mut again = json!({"external_id": "demo-03", "loss": 3.0});
    for field in ["nonzero_params", "sparsity", "data"] {
        again[field] = was[field].clone();
    }
    app.post(path, json!([run("one-more"), again])).await.assert_status(OK);
    let out = json!({"excluded": true, "exclusion_reason": "diverged"});
    let by_name = |name: &str| format!("{path}/by-external-id/{name}");
    app.server.patch(&by_name("demo-01")).json(&out).await.assert_status(OK);
    app.server.delete(&by_name("demo-02")).await.assert_status(NO_CONTENT);
    app.refit("mine", quick(json!({"seed": 7, "bootstrap": 120}))).await;
    // A what-if is not part of the history.
    app.refit("mine", quick(json!({"without": ["demo-04"]}))).await;
    let settings = json!({"flops_per_param": 8, "objective": {"residual": "log", "delta": 0.001}});
    app.server.patch("/v1/families/mine").json(&settings).await.assert_status(OK);
    app.refit("mine", quick(json!({"seed": 7, "bootstrap": 120}))).await;

    let found = history(&app, QUESTION).await;
    assert_eq!(versions(&found), [4, 2, 1]);
    assert_eq!(found["next_cursor"], Value::Null);
    for item in found["items"].as_array().unwrap() {
        let version = &item["law"]["version"];
        let path = format!("/v1/families/mine/optimal-sparsity?{QUESTION}&law_version={version}");
        assert_eq!(item["answer"], app.get(&path).await.json::<Value>());
        assert_eq!((&item["problem"], &item["answer"]["law"]), (&Value::Null, &item["law"]));
        let law: Value = app.get(&format!("/v1/families/mine/laws/{version}")).await.json();
        assert_eq!(item["runs"], law["runs"]);
    }
    let changes: Vec<_> =
        found["items"].as_array().unwrap().iter().map(|item| &item["changes"]).collect();
    let change = |option: &str, before: Value, after: Value| json!({"option": option, "before": before, "after": after});
    let expected = json!({
        "since": 2,
        "runs": {"added": 0, "changed": 0, "removed": 0},
        "options": [
            change("objective", json!({"residual": "log", "delta": "auto"}), settings["objective"].clone()),
            change("flops_per_param", json!(6.0), json!(8.0)),
        ]
    });
    assert_eq!(*changes[0], expected);
    let expected = json!({
        "since": 1,
        "runs": {"added": 1, "changed": 1, "removed": 2},
        "options": [change("bootstrap", json!(100), json!(120)), change("seed", json!(0), json!(7))]
    });
    assert_eq!(*changes[1], expected);
    assert_eq!(*changes[2], Value::Null);

    // `intervals=false` leaves intervals out, and `next_cursor` leads to the next page.
    let first = history(&app, &format!("{QUESTION}&intervals=false&limit=1")).await;
    assert_eq!((versions(&first), &first["next_cursor"]), (vec![4], &json!("4")));
    assert_eq!(first["items"][0]["answer"].get("interval"), None);
    assert_eq!(first["items"][0]["changes"], *changes[0]);
    let second = history(&app, &format!("{QUESTION}&limit=2&cursor=4")).await;
    assert_eq!((versions(&second), &second["next_cursor"]), (vec![2, 1], &Value::Null));
}

#[tokio::test]
async fn a_history_is_sent_once_until_there_is_another_law() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    app.refit("mine", quick(json!({}))).await;
    let path = format!("/v1/families/mine/optimal-sparsity/history?{QUESTION}");
    let tag = app.get(&path).await.header("etag");
    let again = async || app.server.get(&path).add_header("if-none-match", tag.clone()).await;
    again().await.assert_status(StatusCode::NOT_MODIFIED);
    app.refit("mine", quick(json!({"seed": 1}))).await;
    let other = again().await;
    other.assert_status(OK);
    assert_ne!(other.header("etag"), tag);
    // In the mode of a hardware profile the answer also changes with the profile.
    let profile = json!({"name": "slow", "cost": {"prunable_share": 0.9, "efficiency": 0.5}, "source": "a guess"});
    app.post("/v1/hardware-profiles", profile).await.assert_status(CREATED);
    let path = path.replace("=sparse", "=slow");
    let of_profile = app.get(&path).await;
    let changed = json!({"cost": {"prunable_share": 0.9, "efficiency": 0.6}});
    app.server.patch("/v1/hardware-profiles/slow").json(&changed).await.assert_status(OK);
    let now = app.get(&path).await;
    assert_ne!(now.header("etag"), of_profile.header("etag"));
    assert_ne!(now.json::<Value>(), of_profile.json::<Value>());
}

#[tokio::test]
async fn a_law_that_does_not_know_has_a_problem_in_place_of_an_answer() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let coefficients =
        json!({"a": 482.01, "b_n": 0.3478, "a_d": 2085.43, "b_d": 0.3658, "c": 1.8172});
    let dense = json!({"form": "dense", "coefficients": coefficients, "reference": "elsewhere"});
    app.post("/v1/families/mine/laws", dense).await.assert_status(CREATED);
    app.refit("mine", quick(json!({}))).await;
    let found = history(&app, QUESTION).await;
    assert_eq!(versions(&found), [2, 1]);
    // Since a published law has no known runs and options, changes to it are unknown.
    let fitted = &found["items"][0];
    assert_eq!(fitted["changes"], json!({"since": 1, "runs": null, "options": []}));
    assert!(fitted["answer"]["sparsity"].is_number() && fitted["problem"].is_null());
    // A law of the form `dense` does not know the effect of sparsity.
    let dense = &found["items"][1];
    assert_eq!((&dense["answer"], &dense["runs"]), (&Value::Null, &Value::Null));
    let path = format!("/v1/families/mine/optimal-sparsity?{QUESTION}&law_version=1");
    let refused = app.get(&path).await;
    problem(&refused, 409, "undetermined");
    assert_eq!(dense["problem"], refused.json::<Value>());
}

#[tokio::test]
async fn so_many_laws_are_asked_and_no_more() {
    let limits = RequestLimits {
        history_laws: 2,
        compared_runs: 95,
        bulk: BulkLimits { members: 200, searched: 150, ..LIMITS.bulk },
        ..LIMITS
    };
    let app = App::with_limits(limits).await;
    tokio::spawn(app.worker().run());
    app.demo_family("mine").await;
    for seed in 0..2 {
        app.refit("mine", quick(json!({"seed": seed}))).await;
    }
    let path = "/v1/families/mine/optimal-sparsity/history";
    let refused = app.get(&format!("{path}?{QUESTION}&limit=3")).await;
    assert_eq!(problem(&refused, 422, "invalid"), ["/limit"]);
    assert!(
        refused.text().contains("between 1 and 2 (--max-history-laws), not 3"),
        "{}",
        refused.text()
    );
    for (query, field) in
        [("limit=0", "/limit"), ("cursor=x", "/cursor"), ("max_sparsity=2", "/max_sparsity")]
    {
        let refused = app.get(&format!("{path}?{QUESTION}&{query}")).await;
        assert_eq!(problem(&refused, 422, "invalid"), [field]);
    }
    app.get(&format!("/v1/families/nobody/optimal-sparsity/history?{QUESTION}"))
        .await
        .assert_status(NOT_FOUND);
    // There are two laws with 100 resamples each, and in the mode of a profile each resample is searched.
    app.get(&format!("{path}?{QUESTION}")).await.assert_status(OK);
    let searched = QUESTION.replace("=sparse", "=example-block-sparse");
    let refused = app.get(&format!("{path}?{searched}")).await;
    assert_eq!(problem(&refused, 422, "invalid"), ["/limit"]);
    assert!(
        refused
            .text()
            .contains("2 laws ask 200 resampled laws, more than 150 (--max-searched-laws)"),
        "{}",
        refused.text()
    );
    app.get(&format!("{path}?{searched}&limit=1")).await.assert_status(OK);
    app.get(&format!("{path}?{searched}&intervals=false")).await.assert_status(OK);
    // The runs of both laws are the same, so they need not be read; once they differ, 48 and 49 are more than the
    // limit of 95.
    let found = history(&app, QUESTION).await;
    assert_eq!(
        found["items"][0]["changes"]["runs"],
        json!({"added": 0, "changed": 0, "removed": 0})
    );
    app.post("/v1/families/mine/runs", json!([run("one-more")])).await.assert_status(OK);
    app.refit("mine", quick(json!({}))).await;
    let found = history(&app, QUESTION).await;
    assert_eq!((versions(&found), &found["next_cursor"]), (vec![3, 2], &json!("2")));
    assert_eq!(found["items"][0]["changes"]["runs"], Value::Null);
}

#[tokio::test]
async fn a_history_leaves_the_laws_in_memory_that_are_asked_again() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    for seed in 0..3 {
        app.refit("mine", quick(json!({"seed": seed}))).await;
    }
    let question = format!("/v1/families/mine/optimal-sparsity?{QUESTION}");
    let answer: Value = app.get(&question).await.json();
    let (laws, bytes) = app.laws.size().await;
    assert_eq!(versions(&history(&app, QUESTION).await), [3, 2, 1]);
    assert_eq!(app.laws.size().await, (laws, bytes));
    let lookups = app.laws.lookups();
    assert_eq!(app.get(&question).await.json::<Value>(), answer);
    assert_eq!(app.laws.lookups(), lookups + u64::from(!app.laws.is_followed()));
}
