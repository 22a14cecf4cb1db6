//! What-ifs: laws without some runs, which change nothing else.

use serde_json::{Value, json};

use crate::support::{ACCEPTED, App, OK, problem};

const QUESTION: &str = "optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse";

#[tokio::test]
async fn a_what_if_leaves_runs_and_answers_as_they_are() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    app.refit("mine", json!({"starts": 4, "bootstrap": 100})).await;
    let runs: Value = app.get("/v1/families/mine/runs?limit=1000").await.json();
    let family: Value = app.get("/v1/families/mine").await.json();
    let answer: Value = app.get(&format!("/v1/families/mine/{QUESTION}")).await.json();

    // The order of the names and repeated ones make no difference.
    let without = json!(["demo-07", "demo-02", "demo-44", "demo-13", "demo-02"]);
    let options = json!({"starts": 4, "bootstrap": 100, "without": without});
    let refit = app.refit("mine", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let sorted = json!(["demo-02", "demo-07", "demo-13", "demo-44"]);
    assert_eq!(refit["options"]["without"], sorted);
    assert_eq!(refit["law"]["version"], 2);

    let law: Value = app.get("/v1/families/mine/laws/2").await.json();
    assert_eq!((&law["what_if"], &law["active"]), (&json!(true), &json!(false)));
    assert_eq!((&law["runs"], &law["options"]["without"]), (&json!(44), &sorted));
    let listed: Value =
        app.get("/v1/families/mine/fit-quality?law_version=2&limit=1000").await.json();
    let listed = listed["items"].as_array().unwrap();
    assert_eq!(listed.len(), 44);
    assert!(!listed.iter().any(|run| run["external_id"] == "demo-07"));

    // The runs, the family and its answers have not changed.
    assert_eq!(app.get("/v1/families/mine/runs?limit=1000").await.json::<Value>(), runs);
    assert_eq!(app.get("/v1/families/mine").await.json::<Value>(), family);
    let again: Value = app.get(&format!("/v1/families/mine/{QUESTION}")).await.json();
    assert_eq!(again, answer);
    assert_eq!(answer["law"]["version"], 1);

    // Asked by its version, the what-if answers and says what it is.
    let what_if: Value =
        app.get(&format!("/v1/families/mine/{QUESTION}&law_version=2")).await.json();
    assert_ne!(what_if["sparsity"], answer["sparsity"]);
    let warnings = what_if["warnings"].as_array().unwrap();
    let said = warnings.iter().find(|warning| warning["code"] == "what_if").unwrap();
    assert_eq!(
        said["detail"],
        "a what-if, fitted without 4 runs that other fits use (demo-02, demo-07, demo-13 and 1 more): it \
         answers only where its version is asked for"
    );
    let compared: Value = app.get("/v1/families/mine/laws/compare?a=1&b=2").await.json();
    assert_eq!(compared["common_runs"]["runs"], 48);

    // It cannot be made active.
    let pinned = app.server.put("/v1/families/mine/active-law").json(&json!({"version": 2})).await;
    assert_eq!(problem(&pinned, 422, "invalid"), ["/version"]);
    // The next law of all runs gets the next version and becomes active.
    app.refit("mine", json!({"starts": 4, "bootstrap": 100})).await;
    let laws: Value = app.get("/v1/families/mine/laws").await.json();
    let flags: Vec<_> =
        laws["items"].as_array().unwrap().iter().map(|law| &law["active"]).collect();
    assert_eq!(flags, [true, false, false]);
    // It can be fitted again from its own runs like any other law.
    let again = app.refit("mine", json!({"reproduces": 2})).await;
    assert_eq!((&again["state"], &again["law"]["version"]), (&json!("succeeded"), &json!(2)));
}

#[tokio::test]
async fn a_family_with_a_what_if_alone_has_no_law() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let options = json!({"starts": 2, "bootstrap": 0, "without": ["demo-01"]});
    let refit = app.refit("mine", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    problem(&app.get(&format!("/v1/families/mine/{QUESTION}")).await, 409, "no-law");
    app.get(&format!("/v1/families/mine/{QUESTION}&law_version=1")).await.assert_status(OK);
    let families: Value = app.get("/v1/families").await.json();
    let mine = families["items"].as_array().unwrap().iter().find(|f| f["name"] == "mine").unwrap();
    assert_eq!(mine["active_law"], Value::Null);
}

#[tokio::test]
async fn runs_that_no_fit_uses_cannot_be_left_out() {
    let app = App::new().await;
    app.demo_family("mine").await;
    app.demo_family("other").await;
    let runs: Value = app.get("/v1/families/mine/runs?limit=1").await.json();
    let (id, name) = (&runs["items"][0]["id"], &runs["items"][0]["external_id"]);
    let exclude = json!({"excluded": true, "exclusion_reason": "diverged"});
    let path = format!("/v1/families/mine/runs/{}", id.as_str().unwrap());
    app.server.patch(&path).json(&exclude).await.assert_status(OK);
    let asked = json!({"without": ["demo-01", name, "elsewhere"]});
    let refused = app.post("/v1/families/mine/refits", asked).await;
    assert_eq!(problem(&refused, 422, "invalid"), ["/without/1", "/without/2"]);
    for (without, pointer) in [
        (json!(["a\u{0}b"]), "/without/0"),
        (json!([""]), "/without/0"),
        (json!([7]), "/without/0"),
        (json!(vec!["demo-01"; 1001]), "/without"),
    ] {
        let refused = app.post("/v1/families/mine/refits", json!({"without": without})).await;
        assert_eq!(problem(&refused, 422, "invalid"), [pointer]);
    }
    let both = json!({"without": ["demo-01"], "reproduces": 1});
    let refused = app.post("/v1/families/mine/refits", both).await;
    assert_eq!(problem(&refused, 422, "invalid"), ["/reproduces"]);
}

#[tokio::test]
async fn a_what_if_waits_beside_the_refit_and_is_not_taken_for_another() {
    let app = App::new().await;
    app.demo_family("mine").await;
    let ask = |options: Value| app.post("/v1/families/mine/refits", options);
    let plain = ask(json!({})).await;
    plain.assert_status(ACCEPTED);
    let what_if = ask(json!({"without": ["demo-01", "demo-02"]})).await;
    what_if.assert_status(ACCEPTED);
    assert_ne!(plain.header("location"), what_if.header("location"));
    let again = ask(json!({"without": ["demo-02", "demo-01"]})).await;
    again.assert_status(OK);
    assert_eq!(again.header("location"), what_if.header("location"));
    problem(&ask(json!({"without": ["demo-03"]})).await, 409, "what-if-queued");
    problem(
        &ask(json!({"without": ["demo-01", "demo-02"], "seed": 1})).await,
        409,
        "what-if-queued",
    );
    let again = ask(json!({"seed": 1})).await;
    again.assert_status(OK);
    assert_eq!(again.header("location"), plain.header("location"));
}
