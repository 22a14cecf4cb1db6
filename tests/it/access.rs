//! Access control: keys, scopes, families, and how soon a change of keys takes effect.

use std::time::Duration;

use axum::http::{HeaderValue, Method};
use axum_test::{TestRequest, TestResponse};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sparsity_planner::api::layers::throttle::{Rate, ThrottleConfig};
use sparsity_planner::domain::access::{Families, KeyText, Scope};
use sparsity_planner::domain::api_key::ApiKey;
use sparsity_planner::domain::text::FamilyName;
use sparsity_planner::store::keys;
use tokio_util::sync::CancellationToken;

use crate::support::process::{Process, planner, script, succeeded};
use crate::support::wait::until;
use crate::support::{
    ACCEPTED, App, CREATED, NO_CONTENT, NOT_FOUND, OK, ORIGIN, StatusCode, empty_database, problem,
    run,
};

const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

/// Stores a key like the command line does, without telling the service.
async fn stored_key(
    app: &App,
    scope: Scope,
    families: &[&str],
    expires_at: Option<DateTime<Utc>>,
) -> KeyText {
    let families = match families {
        [] => Families::All,
        names => Families::Only(names.iter().map(|name| FamilyName::new(name).unwrap()).collect()),
    };
    let key = ApiKey {
        id: app.clock.new_id(),
        name: "test".to_owned(),
        scope,
        families,
        created_by: "cli".to_owned(),
        created_at: app.clock.now(),
        expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    let text = KeyText::random(key.id).unwrap();
    keys::insert_key(&app.pool, &key, &text.hash()).await.unwrap();
    text
}

/// Creates a key and has the service read it.
pub async fn key(app: &App, scope: Scope, families: &[&str]) -> KeyText {
    let key = stored_key(app, scope, families, None).await;
    app.access.read_again().await.unwrap();
    key
}

async fn revoke(app: &App, key: &KeyText) {
    keys::update_key_revoked(&app.pool, key.id(), app.clock.now()).await.unwrap();
}

/// A request that is sent with a key.
pub fn with(app: &App, key: &KeyText, method: &Method, path: &str) -> TestRequest {
    app.server.method(method.clone(), path).authorization_bearer(key.reveal())
}

pub async fn get(app: &App, key: &KeyText, path: &str) -> TestResponse {
    with(app, key, &Method::GET, path).await
}

/// Waits until a request with this key is answered with this status.
async fn until_answered(app: &App, key: &KeyText, status: StatusCode) {
    let is_so = async || get(app, key, "/v1/families").await.status_code() == status;
    until(is_so, &format!("the key is answered with {status}")).await;
}

#[tokio::test]
async fn the_first_key_closes_the_service_for_good() {
    let app = App::new().await;
    app.get("/v1/families").await.assert_status(OK);
    // Nobody who reaches an open service may create its first key over HTTP and so lock its owner out.
    let mine = json!({"name": "mine", "scope": "admin"});
    problem(&app.post("/v1/keys", mine).await, 403, "forbidden");
    let only = key(&app, Scope::Read, &[]).await;
    let refused = app.get("/v1/families").await;
    problem(&refused, 401, "unauthenticated");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    for open in ["/healthz", "/readyz", "/docs/", "/openapi.json", "/book/problems"] {
        app.get(open).await.assert_status(OK);
    }
    // What does not exist, and which methods a path has, is answered without a key.
    problem(&app.get("/v1/nothing").await, 404, "not-found");
    problem(&app.server.put("/v1/families").await, 405, "method-not-allowed");
    get(&app, &only, "/v1/families").await.assert_status(OK);
    revoke(&app, &only).await;
    app.access.read_again().await.unwrap();
    problem(&get(&app, &only, "/v1/families").await, 401, "unauthenticated");
    problem(&app.get("/v1/families").await, 401, "unauthenticated");
    // A restart does not open the service again.
    problem(&app.replica().await.get("/v1/families").await, 401, "unauthenticated");
}

/// Every operation of the OpenAPI document with the scope that it names; the paths lead to nothing that exists.
fn operations() -> Vec<(Method, String, Scope)> {
    let document = serde_json::to_value(sparsity_planner::api::document::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(scope) = operation["security"][0]["bearer"][0].as_str() else { continue };
            let path = path
                .replace("{family}", "none")
                .replace("{profile}", "none")
                .replace("{version}", "1")
                .replace("{id}", "0197f0c2-a4b0-7c3c-9a52-f6d1e8b4a7c3");
            let method = method.to_uppercase().parse().unwrap();
            found.push((method, path, Scope::of_name(scope).unwrap()));
        }
    }
    assert!(found.len() > 40, "{found:?}");
    found
}

/// Number of rows in the tables together.
async fn rows(app: &App) -> i64 {
    sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM families) + (SELECT count(*) FROM runs)
             + (SELECT count(*) FROM laws) + (SELECT count(*) FROM refits)
             + (SELECT count(*) FROM forecasts) + (SELECT count(*) FROM hardware_profiles)
             + (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL)",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn every_operation_is_for_those_who_have_its_scope() {
    let app = App::new().await;
    let holders = [
        (Scope::Read, key(&app, Scope::Read, &[]).await),
        (Scope::Write, key(&app, Scope::Write, &[]).await),
        (Scope::Admin, key(&app, Scope::Admin, &[]).await),
    ];
    let before = rows(&app).await;
    for (method, path, needed) in operations() {
        let bare = app.server.method(method.clone(), &path).await;
        problem(&bare, 401, "unauthenticated");
        for (has, key) in &holders {
            let answer = with(&app, key, &method, &path).json(&json!({"name": 7})).await;
            let status = answer.status_code().as_u16();
            if *has < needed {
                problem(&answer, 403, "forbidden");
                let detail = answer.json::<Value>()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains(needed.as_str()), "{method} {path}: {detail}");
            } else {
                assert!(![401, 403, 500].contains(&status), "{method} {path} {has:?}: {status}");
            }
        }
    }
    assert_eq!(rows(&app).await, before);
}

#[tokio::test]
async fn everybody_may_ask_who_they_are() {
    let app = App::new().await;
    let open: Value = app.get("/v1/caller").await.json();
    let expected = json!({
        "kind": "anonymous", "actor": "anonymous", "name": null, "scope": "admin", "families": null,
        "expires_at": null
    });
    assert_eq!(open, expected);
    let expires_at = app.clock.now() + TimeDelta::hours(1);
    let key = stored_key(&app, Scope::Write, &["mine", "t5-c4"], Some(expires_at)).await;
    app.access.read_again().await.unwrap();
    let response = get(&app, &key, "/v1/caller").await;
    assert_eq!(response.header("cache-control"), "no-store");
    let caller: Value = response.json();
    let expected = json!({
        "kind": "key", "actor": key.id(), "name": "test", "scope": "write",
        "families": ["mine", "t5-c4"], "expires_at": expires_at
    });
    assert_eq!(caller, expected);
    problem(&app.get("/v1/caller").await, 401, "unauthenticated");
}

#[tokio::test]
async fn what_a_browser_keeps_for_one_key_is_not_for_another() {
    let app = App::new().await;
    let reader = key(&app, Scope::Read, &[]).await;
    let vary = async |path: &str| {
        let response = get(&app, &reader, path).await;
        response.assert_status(OK);
        let values: Vec<_> = response.iter_headers_by_name("vary").cloned().collect();
        values.iter().any(|value| value == "authorization")
    };
    let question =
        "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse";
    // Browsers must ask the service each time for this answer, and a request without its key is refused anyway.
    assert!(!vary(question).await);
    assert!(vary(&format!("{question}&law_version=1")).await);
    assert!(vary("/v1/families/t5-c4/gain?law_version=1").await);
}

#[tokio::test]
async fn a_key_that_reads_cannot_write_what_a_key_that_writes_can() {
    let app = App::new().await;
    let (reader, writer) = (key(&app, Scope::Read, &[]).await, key(&app, Scope::Write, &[]).await);
    let admin = key(&app, Scope::Admin, &[]).await;
    let family = json!({"name": "mine"});
    let create = |key| with(&app, key, &Method::POST, "/v1/families").json(&family);
    problem(&create(&reader).await, 403, "forbidden");
    get(&app, &reader, "/v1/families/mine").await.assert_status(NOT_FOUND);
    create(&writer).await.assert_status(CREATED);
    get(&app, &reader, "/v1/families/mine").await.assert_status(OK);
    // A question needs no right to write, even if it is sent by POST.
    let plan = json!({"flop_mode": "sparse", "compute": 1e21});
    let asked = with(&app, &reader, &Method::POST, "/v1/families/t5-c4/plans").json(&plan).await;
    asked.assert_status(OK);
    let delete = |key| with(&app, key, &Method::DELETE, "/v1/families/mine");
    problem(&delete(&writer).await, 403, "forbidden");
    delete(&admin).await.assert_status(NO_CONTENT);
}

#[tokio::test]
async fn a_key_for_some_families_sees_and_touches_only_these() {
    let app = App::new().await;
    app.demo_family("theirs").await;
    let refit = app.post("/v1/families/theirs/refits", json!({})).await;
    refit.assert_status(ACCEPTED);
    let theirs = refit.header("location").to_str().unwrap().to_owned();
    let key = key(&app, Scope::Admin, &["mine", "t5-c4"]).await;

    let create = |name| {
        let body = json!({"name": name});
        with(&app, &key, &Method::POST, "/v1/families").json(&body)
    };
    create("mine").await.assert_status(CREATED);
    problem(&create("other").await, 403, "forbidden");
    let list: Value = get(&app, &key, "/v1/families").await.json();
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|f| &f["name"]).collect();
    assert_eq!(names, ["mine", "t5-c4"]);

    // The answer must not reveal whether the family exists.
    let paths = ["theirs", "none", "theirs/laws", "%74heirs", "theirs%2Fruns", "mine%2F..", "MINE"];
    for path in paths {
        let path = format!("/v1/families/{path}");
        problem(&get(&app, &key, &path).await, 403, "forbidden");
    }
    get(&app, &key, "/v1/families/mine").await.assert_status(OK);
    get(&app, &key, "/v1/families/%6dine").await.assert_status(OK);
    let runs = with(&app, &key, &Method::POST, "/v1/families/mine/runs");
    runs.json(&run("a")).await.assert_status(OK);

    // Refits of other families are not found.
    problem(&get(&app, &key, &theirs).await, 404, "not-found");
    problem(&get(&app, &key, &format!("{theirs}/events")).await, 404, "not-found");
    problem(&with(&app, &key, &Method::DELETE, &theirs).await, 404, "not-found");
    let state: String =
        sqlx::query_scalar("SELECT state FROM refits").fetch_one(&app.pool).await.unwrap();
    assert_eq!(state, "queued");
    let mine = with(&app, &key, &Method::POST, "/v1/families/mine/refits").await;
    let mine = mine.header("location").to_str().unwrap().to_owned();
    get(&app, &key, &mine).await.assert_status(OK);

    // Both families of a comparison must be among those of the key.
    let compare = |a: &str, b: &str| format!("/v1/compare?a={a}&b={b}&flop_mode=dense");
    problem(&get(&app, &key, &compare("mine", "theirs")).await, 403, "forbidden");
    problem(&get(&app, &key, &compare("theirs", "mine")).await, 403, "forbidden");
    problem(&get(&app, &key, &compare("mine", "mine")).await, 409, "no-law");

    // Shared objects can be read but not changed, and keys are not accessible.
    get(&app, &key, "/v1/hardware-profiles").await.assert_status(OK);
    let path = "/v1/hardware-profiles/example-block-sparse";
    problem(&with(&app, &key, &Method::DELETE, path).await, 403, "forbidden");
    problem(&get(&app, &key, "/v1/keys").await, 403, "forbidden");
    let more = json!({"name": "more", "scope": "admin"});
    let more = with(&app, &key, &Method::POST, "/v1/keys").json(&more).await;
    problem(&more, 403, "forbidden");
}

#[tokio::test]
async fn a_key_ends_when_it_expires() {
    let app = App::new().await;
    let end = app.clock.now() + TimeDelta::days(1);
    let key = stored_key(&app, Scope::Read, &[], Some(end)).await;
    app.access.read_again().await.unwrap();
    app.clock.advance(TimeDelta::days(1) - TimeDelta::microseconds(1));
    get(&app, &key, "/v1/families").await.assert_status(OK);
    app.clock.advance(TimeDelta::microseconds(1));
    problem(&get(&app, &key, "/v1/families").await, 401, "unauthenticated");
    // A service whose keys have all expired stays closed.
    app.access.read_again().await.unwrap();
    problem(&app.get("/v1/families").await, 401, "unauthenticated");
}

#[tokio::test]
async fn administrators_create_and_revoke_keys() {
    let app = App::new().await;
    let admin = key(&app, Scope::Admin, &[]).await;
    let create = |body: Value| with(&app, &admin, &Method::POST, "/v1/keys").json(&body);
    let created = create(json!({"name": "ci", "scope": "write", "families": ["mine"]})).await;
    created.assert_status(CREATED);
    assert_eq!(created.header("cache-control"), "no-store");
    let path = created.header("location").to_str().unwrap().to_owned();
    let created: Value = created.json();
    let text = KeyText::parse(created["key"].as_str().unwrap()).unwrap();
    assert_eq!(created["created_by"], admin.id().to_string());
    // The new key works at once.
    get(&app, &text, "/v1/families").await.assert_status(OK);

    let mut shown: Value = get(&app, &admin, &path).await.json();
    assert_eq!(shown["families"], json!(["mine"]));
    shown["key"] = created["key"].clone();
    assert_eq!(shown, created);
    // Neither the stored row nor the answers contain the secret.
    let secret = text.reveal().rsplit('_').next().unwrap().to_owned();
    let list = get(&app, &admin, "/v1/keys").await.text();
    assert!(list.contains("\"ci\"") && !list.contains(&secret), "{list}");
    let stored: String = sqlx::query_scalar("SELECT string_agg(k::text, ' ') FROM api_keys k")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert!(stored.contains("ci") && !stored.contains(&secret), "{stored}");

    let wrong = json!({"name": "", "scope": "read", "families": ["a", "B"], "expires_at": "2020-01-01T00:00:00Z"});
    let pointers = problem(&create(wrong).await, 422, "invalid");
    assert_eq!(pointers, ["/name", "/families/1", "/expires_at"]);
    let pointers = problem(&create(json!({"name": "x", "scope": "root"})).await, 422, "invalid");
    assert_eq!(pointers, ["/scope"]);
    let none = json!({"name": "x", "scope": "read", "families": []});
    assert_eq!(problem(&create(none).await, 422, "invalid"), ["/families"]);

    let revoked = with(&app, &admin, &Method::DELETE, &path).await;
    revoked.assert_status(OK);
    let revoked_at = revoked.json::<Value>()["revoked_at"].clone();
    assert!(revoked_at.is_string());
    problem(&get(&app, &text, "/v1/families").await, 401, "unauthenticated");
    app.clock.advance(TimeDelta::hours(1));
    let again: Value = with(&app, &admin, &Method::DELETE, &path).await.json();
    assert_eq!(again["revoked_at"], revoked_at);
    problem(&get(&app, &admin, "/v1/keys/none").await, 404, "not-found");
}

#[tokio::test]
async fn every_replica_hears_of_keys() {
    let here = App::new().await;
    here.follow().await;
    let there = here.replica().await;
    there.follow().await;
    there.get("/v1/families").await.assert_status(OK);
    // The first key closes both replicas.
    let key = stored_key(&here, Scope::Read, &[], None).await;
    for app in [&here, &there] {
        until_answered(app, &key, OK).await;
        let closed = async || app.get("/v1/families").await.status_code() == UNAUTHORIZED;
        until(closed, "who has no key is refused").await;
        problem(&app.get("/v1/families").await, 401, "unauthenticated");
    }
    revoke(&here, &key).await;
    until_answered(&there, &key, UNAUTHORIZED).await;
    until_answered(&here, &key, UNAUTHORIZED).await;
}

#[tokio::test]
async fn a_replica_that_hears_nothing_reads_the_keys_at_its_interval() {
    let here = App::new().await;
    let key = key(&here, Scope::Read, &[]).await;
    let deaf = here.replica_reading_keys_every(Duration::from_millis(200)).await;
    let stop = CancellationToken::new();
    let (access, stopped) = (deaf.access.clone(), stop.clone());
    let keeping = tokio::spawn(async move { access.keep(&stopped).await });
    until_answered(&deaf, &key, OK).await;
    revoke(&here, &key).await;
    until_answered(&deaf, &key, UNAUTHORIZED).await;
    stop.cancel();
    keeping.await.unwrap();
    // A replica that cannot read the keys lets nobody in, and says when to ask again.
    until_answered(&deaf, &key, StatusCode::SERVICE_UNAVAILABLE).await;
    let refused = get(&deaf, &key, "/v1/families").await;
    problem(&refused, 503, "unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    deaf.get("/healthz").await.assert_status(OK);
}

#[tokio::test]
async fn a_key_of_a_moment_ago_is_asked_for() {
    let app = App::new().await;
    key(&app, Scope::Read, &[]).await;
    let new = stored_key(&app, Scope::Write, &[], None).await;
    get(&app, &new, "/v1/families").await.assert_status(OK);
    // The first key is looked up in the same way and closes the service: requests that it does not allow are refused
    // at once.
    let open = App::new().await;
    let nobodys = KeyText::random(new.id()).unwrap();
    get(&open, &nobodys, "/v1/families").await.assert_status(OK);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = stored_key(&open, Scope::Read, &["t5-c4"], None).await;
    problem(&get(&open, &first, "/v1/families/vit-jft").await, 403, "forbidden");
    problem(&open.get("/v1/families").await, 401, "unauthenticated");
    // The id of a known key with another secret is refused.
    let forged = KeyText::random(new.id()).unwrap();
    problem(&get(&app, &forged, "/v1/families").await, 401, "unauthenticated");
}

#[tokio::test]
async fn a_known_key_needs_no_database() {
    let app = App::new().await;
    app.follow().await;
    let key = key(&app, Scope::Read, &[]).await;
    let question = "/v1/families/t5-c4/prediction?nonzero_params=1e8&sparsity=0.5&data=1e10";
    get(&app, &key, question).await.assert_status(OK);
    let mut transaction = app.pool.begin().await.unwrap();
    let lock = "LOCK TABLE families, laws, law_resamples, api_keys";
    sqlx::query(lock).execute(&mut *transaction).await.unwrap();
    get(&app, &key, question).await.assert_status(OK);
    transaction.rollback().await.unwrap();
}

#[tokio::test]
async fn whatever_is_no_key_is_refused_and_not_repeated() {
    let app = App::new().await;
    let key = key(&app, Scope::Read, &[]).await;
    let text = key.reveal();
    let garbled = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer hunter2".to_owned(),
        "Basic aHVudGVyMjpodW50ZXIy".to_owned(),
        format!("Bearer {}", &text[..99]),
        format!("Bearer {text}, Bearer {text}"),
        text.clone(),
        format!("Bearer {}", "hunter2".repeat(10_000)),
    ];
    for value in garbled {
        let answer =
            app.server.get("/v1/families").add_header("authorization", value.clone()).await;
        problem(&answer, 401, "unauthenticated");
        let answer = answer.text();
        assert!(!answer.contains("hunter2") && !answer.contains(&text[..50]), "{answer}");
    }
    let unreadable = HeaderValue::from_bytes(b"Bearer \xff").unwrap();
    let answer = app.server.get("/v1/families").add_header("authorization", unreadable).await;
    problem(&answer, 401, "unauthenticated");
    let bearer = format!("Bearer {text}");
    let twice = app.server.get("/v1/families");
    let twice = twice.add_header("authorization", bearer.clone());
    problem(&twice.add_header("authorization", bearer).await, 401, "unauthenticated");
}

#[tokio::test]
async fn the_last_use_of_a_key_is_reported_in_time() {
    let app = App::new().await;
    let key = key(&app, Scope::Admin, &[]).await;
    let path = format!("/v1/keys/{}", key.id());
    app.access.report().await;
    assert_eq!(get(&app, &key, &path).await.json::<Value>()["last_used_at"], Value::Null);
    app.clock.advance(TimeDelta::hours(1));
    get(&app, &key, "/v1/families").await.assert_status(OK);
    // Reading the keys again in between does not discard the time of the last use.
    app.access.read_again().await.unwrap();
    app.access.report().await;
    let shown: Value = get(&app, &key, &path).await.json();
    assert_eq!(shown["last_used_at"], "2026-03-01T13:00:00Z");
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let app = App::new().await;
    app.demo_family("mine").await;
    // No worker runs, so the refit stays queued.
    let refit = app.post("/v1/families/mine/refits", json!({})).await;
    let refit = format!("{}/events", refit.header("location").to_str().unwrap());
    for path in [&*refit, "/v1/families/mine/events"] {
        let key = key(&app, Scope::Read, &["mine"]).await;
        let mut events = app.events_by(&key.reveal(), path).await;
        events.until(|kind, data| kind == "refit" && data["state"] == "queued").await;
        revoke(&app, &key).await;
        app.access.read_again().await.unwrap();
        assert_eq!(events.next().await, None);
    }
    let other = key(&app, Scope::Read, &["other"]).await;
    problem(&get(&app, &other, "/v1/families/mine/events").await, 403, "forbidden");
    problem(&app.get("/v1/families/mine/events").await, 401, "unauthenticated");
}

#[tokio::test]
async fn a_key_has_its_quota() {
    let per_key = Rate::per_second(1, 3);
    let app = App::with_throttle(ThrottleConfig { per_key, ..ThrottleConfig::unlimited() }).await;
    let (one, other) = (key(&app, Scope::Read, &[]).await, key(&app, Scope::Read, &[]).await);
    // Three requests may come at once, and one more each second.
    let mut refused = None;
    for _ in 0..1000 {
        let answer = get(&app, &one, "/v1/hardware-profiles/none").await;
        if answer.status_code() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the quota is used up");
    problem(&refused, 429, "too-many-requests");
    assert_eq!(refused.header("retry-after"), "1");
    get(&app, &other, "/v1/families").await.assert_status(OK);
    app.get("/readyz").await.assert_status(OK);
}

#[tokio::test]
async fn what_finds_no_room_is_turned_away_at_once() {
    let app =
        App::with_throttle(ThrottleConfig { concurrent: 1, ..ThrottleConfig::unlimited() }).await;
    let mut transaction = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE families").execute(&mut *transaction).await.unwrap();
    let held = app.get("/v1/families/t5-c4");
    let others = async {
        let refused = app.get("/v1/hardware-profiles").await;
        problem(&refused, 503, "unavailable");
        assert_eq!(refused.header("retry-after"), "1");
        app.get("/readyz").await.assert_status(OK);
        transaction.rollback().await.unwrap();
    };
    let (held, ()) = tokio::join!(held, others);
    held.assert_status(OK);
    app.get("/v1/hardware-profiles").await.assert_status(OK);
}

/// Requests with unknown keys must not take the places of requests with known ones while they are looked up.
#[tokio::test]
async fn a_key_that_is_looked_up_takes_no_place_meanwhile() {
    let throttle = ThrottleConfig { concurrent: 1, ..ThrottleConfig::unlimited() };
    let app = App::with_throttle(throttle).await;
    let known = key(&app, Scope::Read, &[]).await;
    get(&app, &known, "/v1/families").await.assert_status(OK);
    let mut transaction = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE api_keys").execute(&mut *transaction).await.unwrap();
    let unknown = KeyText::random(app.clock.new_id()).unwrap();
    let asked = get(&app, &unknown, "/v1/families");
    let others = async {
        let is_looked_up = async || -> bool {
            sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = 'api_keys'::regclass AND NOT granted)",
            )
            .fetch_one(&app.pool)
            .await
            .unwrap()
        };
        until(is_looked_up, "the key is looked up").await;
        get(&app, &known, "/v1/families").await.assert_status(OK);
        transaction.rollback().await.unwrap();
    };
    let (asked, ()) = tokio::join!(asked, others);
    problem(&asked, 401, "unauthenticated");
}

#[tokio::test]
async fn only_pages_of_configured_origins_may_ask() {
    let app = App::new().await;
    let ask = |origin| app.server.get("/v1/families").add_header("origin", origin);
    let answer = ask(ORIGIN).await;
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    assert!(answer.maybe_header("access-control-allow-credentials").is_none());
    let answer = ask("https://example.org").await;
    assert!(answer.maybe_header("access-control-allow-origin").is_none());
    // A preflight request needs no key, and pages of the allowed origin can read a refusal.
    key(&app, Scope::Read, &[]).await;
    let preflight = app
        .server
        .method(Method::OPTIONS, "/v1/families")
        .add_header("origin", ORIGIN)
        .add_header("access-control-request-method", "POST")
        .add_header("access-control-request-headers", "authorization,content-type")
        .await;
    preflight.assert_status(OK);
    assert_eq!(preflight.header("access-control-allow-origin"), ORIGIN);
    let allowed = preflight.header("access-control-allow-headers").to_str().unwrap().to_owned();
    assert!(allowed.contains("authorization"), "{allowed}");
    let refused = ask(ORIGIN).await;
    problem(&refused, 401, "unauthenticated");
    assert_eq!(refused.header("access-control-allow-origin"), ORIGIN);
}

#[tokio::test]
async fn browsers_are_told_not_to_guess_tell_or_embed() {
    let app = App::new().await;
    let page = app.get("/docs/").await;
    let policy = page.header("content-security-policy").to_str().unwrap().to_owned();
    for rule in ["default-src 'self'", "script-src 'self';", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    // The policy forbids inline scripts, so the page must not have any.
    assert!(!page.text().replace(" </script>", "</script>").contains("<script>"));
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cross-origin-opener-policy"), "same-origin");
    let picture = app
        .server
        .get("/v1/families/t5-c4/contours?flop_mode=sparse")
        .add_header("accept", "image/svg+xml")
        .await;
    picture.assert_status(OK);
    assert_eq!(picture.header("content-security-policy"), policy);
    for path in ["/docs/", "/v1/families", "/v1/nothing", "/healthz"] {
        let answer = app.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
}

#[tokio::test]
async fn a_key_expires_at_a_time_that_can_be_written() {
    let app = App::new().await;
    let admin = key(&app, Scope::Admin, &[]).await;
    let create = async |expires_at: &str| {
        let body = json!({"name": "a", "scope": "read", "expires_at": expires_at});
        with(&app, &admin, &Method::POST, "/v1/keys").json(&body).await
    };
    create("9999-12-31T23:59:59Z").await.assert_status(CREATED);
    let refused = create("+10000-01-01T00:00:00Z").await;
    assert_eq!(problem(&refused, 422, "invalid"), ["/expires_at"]);
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_key() {
    let url = empty_database().await;
    let output = planner(&url, &["serve", "--bind", "0.0.0.0:0"]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    for way in ["keys create", "127.0.0.1", "--insecure-no-auth"] {
        assert!(message.contains(way), "{message}");
    }
    // On loopback the service needs no key; with a key it may listen anywhere.
    drop(Process::serve(&url, &[]).await);
    succeeded(&planner(&url, &["keys", "create", "--name", "a", "--scope", "admin"]));
    let service = Process::serve_on("0.0.0.0:0", &url, &[], &[]).await;
    let base = service.base().replace("0.0.0.0", "127.0.0.1");
    let status = script(&base, "curl -sS -o /dev/null -w '%{http_code}' $BASE/v1/families");
    assert_eq!(status, "401");
}

#[tokio::test]
async fn keys_are_created_listed_and_revoked_by_command() {
    let url = empty_database().await;
    let mut service =
        Process::serve(&url, &["--log", "trace", "--failures-per-address", "3"]).await;
    let create = ["keys", "create", "--name", "ci", "--scope", "write", "--family", "t5-c4"];
    let output = planner(&url, &[&create[..], &["--expires-in-days", "30"]].concat());
    // Standard output has the key and nothing else, so that scripts can use it.
    let key = succeeded(&output).trim_end().to_owned();
    let text = KeyText::parse(&key).unwrap();
    let secret = key.rsplit('_').next().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains(secret));

    let ask =
        format!("curl -sS -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {key}' $BASE");
    let until_status = async |status: &str| {
        let asked = async || script(service.base(), &format!("{ask}/v1/families/t5-c4")) == status;
        until(asked, &format!("the key is answered with {status}")).await;
    };
    until_status("200").await;
    assert_eq!(script(service.base(), &format!("{ask}/v1/families/vit-jft")), "403");
    let listed: Value =
        serde_json::from_str(&succeeded(&planner(&url, &["keys", "list"]))).unwrap();
    assert_eq!(listed[0]["id"], text.id().to_string());
    assert_eq!(listed[0]["families"], json!(["t5-c4"]));
    assert!(!listed.to_string().contains(secret));

    let id = text.id().to_string();
    succeeded(&planner(&url, &["keys", "revoke", &id]));
    until_status("401").await;
    // Refused keys are counted by address: after a few the sender is told to wait.
    let failures = "for i in 1 2 3 4; do curl -sS -D - $BASE/v1/families; done";
    let answers = script(service.base(), failures).to_lowercase();
    assert!(answers.contains("429 too many requests"), "{answers}");
    assert!(answers.contains("retry-after: "), "{answers}");

    let log = service.stop();
    assert!(log.contains("/v1/families/t5-c4"), "{log:.500}");
    assert!(!log.contains(secret), "the log has the key");
    // The time of its last use was stored when the service stopped.
    let listed: Value =
        serde_json::from_str(&succeeded(&planner(&url, &["keys", "list"]))).unwrap();
    assert!(listed[0]["last_used_at"].is_string(), "{listed}");

    for wrong in [
        &["keys", "revoke", &id.replace('0', "1")][..],
        &["keys", "create", "--name", "", "--scope", "read"],
    ] {
        assert!(!planner(&url, wrong).status.success(), "{wrong:?}");
    }
}
