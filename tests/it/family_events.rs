//! The stream of events of a family.

use std::time::Duration;

use axum_test::TestResponse;
use chrono::TimeDelta;
use serde_json::{Value, json};
use sparsity_planner::api::layers::owner::Owner;

use crate::support::wait::until;
use crate::support::{ACCEPTED, App, LIMITS, NO_CONTENT, OK, problem, run};

const RUNS: &str = "/v1/families/mine/runs";
const EVENTS: &str = "/v1/families/mine/events";

async fn patch(app: &App, path: &str, body: Value) -> TestResponse {
    app.server.patch(path).json(&body).await
}

/// Whether an event says that this many runs were added, changed and removed since the law.
fn since(added: i64, changed: i64, removed: i64) -> impl Fn(&str, &Value) -> bool {
    let expected = json!({"added": added, "changed": changed, "removed": removed});
    move |kind, data| kind == "family" && data["runs"]["since_law"] == expected
}

#[tokio::test]
async fn a_family_is_told_of_as_it_stands_and_as_it_changes() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let mut events = app.events(EVENTS).await;
    let (kind, first) = events.next().await.unwrap();
    assert_eq!(kind, "family");
    let updated_at = &first["updated_at"];
    let expected = json!({
        "family": "mine", "updated_at": updated_at, "active_law": null, "pinned": false,
        "newest_law": null, "runs": {"all": 48, "used": 48, "since_law": null}
    });
    assert_eq!(first, expected);

    // The events of a refit from beginning to end, and of its law.
    let refit = app.post("/v1/families/mine/refits", json!({"starts": 4, "bootstrap": 100})).await;
    refit.assert_status(ACCEPTED);
    let refit: Value = refit.json();
    let mut ended = None;
    let law = events.until(|kind, data| kind == "family" && data["newest_law"] == 1);
    let law = law.await;
    assert_eq!(law["active_law"]["version"], 1);
    assert_eq!(
        law["runs"],
        json!({"all": 48, "used": 48, "since_law": {"added": 0, "changed": 0, "removed": 0}})
    );
    while ended.is_none() {
        let (kind, data) = events.next().await.unwrap();
        assert_eq!((&*kind, &data["id"]), ("refit", &refit["id"]), "{data}");
        ended = (data["state"] == "succeeded").then_some(data);
    }
    assert_eq!(ended.unwrap()["law"]["id"], law["active_law"]["id"]);

    // The runs, compared with those of the law.
    app.post(RUNS, json!([run("new-1"), run("new-2")])).await.assert_status(OK);
    let now = events.until(since(2, 0, 0)).await;
    assert_eq!((&now["runs"]["all"], &now["runs"]["used"]), (&json!(50), &json!(50)));
    let demo = format!("{RUNS}/by-external-id/demo-01");
    let reason = json!({"excluded": true, "exclusion_reason": "diverged"});
    patch(&app, &demo, reason).await.assert_status(OK);
    let now = events.until(since(2, 0, 1)).await;
    assert_eq!((&now["runs"]["all"], &now["runs"]["used"]), (&json!(50), &json!(49)));
    patch(&app, &demo, json!({"excluded": false})).await.assert_status(OK);
    events.until(since(2, 0, 0)).await;
    app.server.delete(&format!("{RUNS}/by-external-id/new-2")).await.assert_status(NO_CONTENT);
    events.until(since(1, 0, 0)).await;
    let listed: Value = app.get(&format!("{RUNS}?external_id=demo-02")).await.json();
    let again = &listed["items"][0];
    let measured = json!({
        "external_id": "demo-02", "nonzero_params": again["nonzero_params"],
        "sparsity": again["sparsity"], "data": again["data"],
        "loss": again["loss"].as_f64().unwrap() + 0.01
    });
    app.post(RUNS, measured).await.assert_status(OK);
    events.until(since(1, 1, 0)).await;

    app.clock.advance(TimeDelta::hours(1));
    patch(&app, "/v1/families/mine", json!({"description": "x"})).await.assert_status(OK);
    events.until(|kind, data| kind == "family" && data["updated_at"] != *updated_at).await;
    let pin = app.server.put("/v1/families/mine/active-law").json(&json!({"version": 1})).await;
    pin.assert_status(OK);
    events.until(|kind, data| kind == "family" && data["pinned"] == true).await;

    app.server.delete("/v1/families/mine").await.assert_status(NO_CONTENT);
    assert_eq!(events.next().await.unwrap(), ("deleted".to_owned(), json!({"family": "mine"})));
    assert_eq!(events.next().await, None);
    problem(&app.get(EVENTS).await, 404, "not-found");
}

#[tokio::test]
async fn a_new_law_is_told_of_with_what_came_since_however_long_counting_takes() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    // The first count waits for a locked table. A slow count delays the next one by many times its duration, so
    // without the refit's event it would come only after the refit.
    let mut held = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE law_runs IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let mut events = app.events(EVENTS).await;
    let first = async {
        let first = events.next().await.unwrap();
        assert_eq!(first.1["runs"]["since_law"], Value::Null);
    };
    let release = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        held.rollback().await.unwrap();
    };
    tokio::join!(first, release);
    app.refit("mine", json!({"starts": 4, "bootstrap": 0})).await;
    let law = events.until(|kind, data| kind == "family" && data["newest_law"] == 1).await;
    let none = json!({"added": 0, "changed": 0, "removed": 0});
    assert_eq!(law["runs"], json!({"all": 48, "used": 48, "since_law": none}));
}

#[tokio::test]
async fn runs_that_a_law_leaves_out_by_its_own_options_are_not_new() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let mut unweighted = run("unweighted");
    unweighted["tags"] = json!({"quality": "poor"});
    let mut pretrained = run("pretrained");
    pretrained["start"] = json!("pretrained");
    app.post(RUNS, json!([unweighted, pretrained])).await.assert_status(OK);
    app.clock.advance(TimeDelta::hours(1));
    let weights = json!([{"tag": "quality", "value": "poor", "weight": 0}]);
    let refit = app.refit("mine", json!({"starts": 4, "bootstrap": 0, "weights": weights})).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let mut events = app.events(EVENTS).await;
    let now = events.until(|kind, _| kind == "family").await;
    let none = json!({"added": 0, "changed": 0, "removed": 0});
    assert_eq!(now["runs"], json!({"all": 50, "used": 50, "since_law": none}));
    app.clock.advance(TimeDelta::hours(1));
    let mut later = run("later");
    later["start"] = json!("pretrained");
    app.post(RUNS, later).await.assert_status(OK);
    events.until(since(1, 0, 0)).await;
}

#[tokio::test]
async fn of_a_published_law_it_is_not_known_what_came_since() {
    let app = App::new().await;
    let mut events = app.events("/v1/families/t5-c4/events").await;
    let (_, first) = events.next().await.unwrap();
    assert_eq!(first["active_law"]["version"], 1);
    assert_eq!(first["runs"], json!({"all": 0, "used": 0, "since_law": null}));
}

#[tokio::test]
async fn what_other_processes_do_is_seen_where_nothing_is_heard() {
    let app = App::new().await;
    app.demo_family("mine").await;
    // Neither replica receives announcements, as behind a pooler in transaction mode.
    let other = app.replica().await;
    let mut events = app.events(EVENTS).await;
    events.next().await.unwrap();
    other.post(RUNS, run("theirs")).await.assert_status(OK);
    events.until(|kind, data| kind == "family" && data["runs"]["used"] == 49).await;
    // An exclusion adds no run and is not announced here, so it is seen only when the runs are counted again.
    let reason = json!({"excluded": true, "exclusion_reason": "diverged"});
    let path = format!("{RUNS}/by-external-id/theirs");
    patch(&other, &path, reason).await.assert_status(OK);
    events.until(|kind, data| kind == "family" && data["runs"]["used"] == 48).await;
    let refit = other.post("/v1/families/mine/refits", json!({})).await;
    refit.assert_status(ACCEPTED);
    let path = refit.header("location").to_str().unwrap().to_owned();
    let queued = events.until(|kind, _| kind == "refit").await;
    assert_eq!(queued["state"], "queued");
    other.server.delete(&path).await.assert_status(OK);
    events.until(|kind, data| kind == "refit" && data["state"] == "cancelled").await;
    // A new stream begins with refits that wait or run; this one has ended.
    let mut late = app.events(EVENTS).await;
    assert_eq!(late.next().await.unwrap().0, "family");
    other.server.delete("/v1/families/mine").await.assert_status(NO_CONTENT);
    assert_eq!(late.next().await.unwrap().0, "deleted");
}

#[tokio::test]
async fn streams_of_a_family_share_their_looks_and_count_runs_once() {
    let app = App::new().await;
    app.demo_family("mine").await;
    let mut streams = Vec::new();
    for _ in 0..LIMITS.streams.each {
        let mut events = app.events(EVENTS).await;
        events.next().await.unwrap();
        streams.push(events);
    }
    assert_eq!(app.family_watch.followed(), 1);
    let refused = app.get(EVENTS).await;
    problem(&refused, 503, "unavailable");
    assert!(refused.text().contains("--event-streams-per-key"), "{}", refused.text());
    // All streams share the same reads of the database, and if nothing happens most reads do not count the runs.
    let uncounted = || {
        let (looks, counts) = app.family_watch.looks();
        looks - counts
    };
    let before = uncounted();
    until(async || uncounted() >= before + 3, "it is looked at without counting").await;
    app.post(RUNS, run("new")).await.assert_status(OK);
    for events in &mut streams {
        events.until(|kind, data| kind == "family" && data["runs"]["all"] == 49).await;
    }
    drop(streams);
    until(async || app.family_watch.followed() == 0, "nobody follows it").await;
    // All places of the closed streams are free again.
    let places: Vec<_> = std::iter::from_fn(|| app.streams.try_enter(Owner::Unknown)).collect();
    assert_eq!(places.len(), LIMITS.streams.each);
}

#[tokio::test]
async fn a_stream_ends_with_its_service_and_refuses_what_it_does_not_know() {
    let app = App::new().await;
    app.demo_family("mine").await;
    problem(&app.get("/v1/families/none/events").await, 404, "not-found");
    let refused = app.get(&format!("{EVENTS}?state=queued")).await;
    assert_eq!(refused.status_code(), 422, "{}", refused.text());
    let mut events = app.events(EVENTS).await;
    events.next().await.unwrap();
    app.shutdown.cancel();
    assert_eq!(events.next().await, None);
}
