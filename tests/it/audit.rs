//! The audit log: it contains what was done, and no event appears before one that was already seen.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::Method;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sparsity_planner::api::layers::needs::scope_of;
use sparsity_planner::domain::access::{KeyText, Scope};
use sqlx::AssertSqlSafe;

use crate::access::{get, key, with};
use crate::support::wait::{until, until_some};
use crate::support::{App, CREATED, OK, StatusCode, problem, run};

/// The events of the log, once there are this many, the oldest first, without the fields that differ each time.
async fn events(app: &App, key: &KeyText, query: &str, count: usize) -> Vec<Value> {
    let find = async || {
        let list: Value = get(app, key, &format!("/v1/audit-events{query}")).await.json();
        let items = list["items"].as_array().unwrap().clone();
        (items.len() >= count).then_some(items)
    };
    let mut items = until_some(find, "the events are in the log").await;
    assert_eq!(items.len(), count, "{items:?}");
    items.reverse();
    items
}

#[tokio::test]
async fn writes_and_refusals_are_in_the_audit_log() {
    let app = App::new().await;
    let (reader, admin) = (key(&app, Scope::Read, &[]).await, key(&app, Scope::Admin, &[]).await);
    let create = |key| {
        let body = json!({"name": "mine"});
        with(&app, key, &Method::POST, "/v1/families").add_header("x-request-id", "r-1").json(&body)
    };
    create(&reader).await.assert_status(StatusCode::FORBIDDEN);
    // Refusals are collected for a moment before they are stored, writes are not; so wait for the refusal first.
    events(&app, &admin, "", 1).await;
    create(&admin).await.assert_status(CREATED);
    // Failed writes and reads are not in the log.
    problem(&create(&admin).await, 409, "family-exists");
    get(&app, &admin, "/v1/keys").await.assert_status(OK);
    let plan = json!({"flop_mode": "sparse", "compute": 1e21});
    with(&app, &admin, &Method::POST, "/v1/families/t5-c4/plans")
        .json(&plan)
        .await
        .assert_status(OK);
    app.clock.advance(TimeDelta::minutes(1));
    let runs = json!([run("a"), run("b")]);
    let upload = with(&app, &admin, &Method::POST, "/v1/families/mine/runs").json(&runs).await;
    upload.assert_status(OK);
    let path = format!("/v1/keys/{}", reader.id());
    with(&app, &admin, &Method::DELETE, &path).await.assert_status(OK);

    let found = events(&app, &admin, "", 4).await;
    let told: Vec<_> = found
        .iter()
        .map(|e| json!([e["method"], e["path"], e["target"], e["family"], e["status"]]))
        .collect();
    let families = "/v1/families";
    let uploaded = "/v1/families/mine/runs";
    assert_eq!(
        told,
        [
            json!(["POST", families, families, null, 403]),
            json!(["POST", families, "/v1/families/mine", "mine", 201]),
            json!(["POST", "/v1/families/{family}/runs", uploaded, "mine", 200]),
            json!(["DELETE", "/v1/keys/{id}", path, null, 200]),
        ]
    );
    assert_eq!(found[0]["actor"], reader.id().to_string());
    assert_eq!(found[0]["request_id"], "r-1");
    assert_eq!(found[1]["actor_name"], "test");
    assert_eq!(found[2]["at"], "2026-03-01T12:01:00Z");

    let by = format!("?actor={}", reader.id());
    assert_eq!(events(&app, &admin, &by, 1).await[0]["status"], 403);
    assert_eq!(events(&app, &admin, "?family=mine", 2).await.len(), 2);
    // `from` and `to` refer to the time of storing, by the clock of the database.
    let third = found[2]["stored_at"].as_str().unwrap();
    let (before, from) = (format!("?to={third}&family=mine"), format!("?from={third}"));
    assert_eq!(events(&app, &admin, &before, 1).await, found[1..2]);
    assert_eq!(events(&app, &admin, &from, 2).await, found[2..]);
    let page: Value = get(&app, &admin, "/v1/audit-events?limit=3").await.json();
    let rest = format!("?cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(events(&app, &admin, &rest, 1).await[0], found[0]);
    let cursor = format!("?cursor={}", admin.id().simple());
    for wrong in ["?actor=%00", "?family=A", "?from=yesterday", "?by=me", "?limit=0", &cursor] {
        let answer = get(&app, &admin, &format!("/v1/audit-events{wrong}")).await;
        problem(&answer, 422, "invalid");
    }
}

/// Stores an event with a time long ago.
const LATE: &str = "INSERT INTO audit_events (id, at, actor, method, path, target, status)
                    VALUES (gen_random_uuid(), '2026-01-01', 'late', 'POST', '/', '/', 200)";

#[tokio::test]
async fn a_range_of_the_audit_log_that_was_read_never_changes() {
    let app = App::new().await;
    let admin = key(&app, Scope::Admin, &[]).await;
    let read = async |query: &str| -> Value {
        get(&app, &admin, &format!("/v1/audit-events{query}")).await.json()
    };
    let actors = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["actor"].as_str().unwrap().to_owned()).collect()
    };
    let write = async |name: &str| {
        let body = json!({"name": name});
        let created = with(&app, &admin, &Method::POST, "/v1/families").json(&body).await;
        created.assert_status(CREATED);
    };
    assert_eq!(read("").await, json!({"items": [], "next_cursor": null, "until": null}));
    write("first").await;
    events(&app, &admin, "", 1).await;
    let first = read("").await;
    let until = first["until"].as_str().unwrap();

    // While this event is stored but not committed, the event of a later write waits, so that it is not seen first.
    let mut held = app.pool.begin().await.unwrap();
    sqlx::query(LATE).execute(&mut *held).await.unwrap();
    write("second").await;
    let waits = async || -> bool {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database
             WHERE locktype = 'advisory' AND NOT granted AND datname = current_database())",
        )
        .fetch_one(&app.pool)
        .await
        .unwrap()
    };
    crate::support::wait::until(waits, "the second event waits").await;
    assert_eq!(read("").await, first);
    held.commit().await.unwrap();

    let all = events(&app, &admin, "", 3).await;
    assert_eq!(all[1]["actor"], "late");
    assert_eq!(all[2]["target"], "/v1/families/second");
    assert_eq!(read(&format!("?to={until}")).await["items"], first["items"]);
    let new = read(&format!("?from={until}")).await;
    assert_eq!(actors(&new), [admin.id().to_string(), "late".to_owned()]);
    // `until` refers to all events, whichever are requested.
    assert_eq!(read("?actor=late").await["until"], new["until"]);

    // It also holds if the clock of the database is set back.
    for statement in [
        "ALTER TABLE audit_events DISABLE TRIGGER audit_events_place",
        "UPDATE audit_events SET stored_at = now() + interval '1 hour'
         WHERE stored_at = (SELECT max(stored_at) FROM audit_events)",
        "ALTER TABLE audit_events ENABLE TRIGGER audit_events_place",
    ] {
        sqlx::query(statement).execute(&app.pool).await.unwrap();
    }
    let ahead = read("").await;
    sqlx::query(LATE).execute(&app.pool).await.unwrap();
    let until = ahead["until"].as_str().unwrap();
    assert_eq!(read(&format!("?to={until}")).await["items"], ahead["items"]);
    assert_eq!(actors(&read(&format!("?from={until}")).await), ["late"]);
}

#[tokio::test]
async fn refusals_that_are_alike_are_counted_and_leave_room_for_writes() {
    let app = App::new().await;
    let (reader, admin) = (key(&app, Scope::Read, &[]).await, key(&app, Scope::Admin, &[]).await);
    for _ in 0..20 {
        let refused = with(&app, &reader, &Method::POST, "/v1/families").json(&json!({})).await;
        refused.assert_status(StatusCode::FORBIDDEN);
    }
    let body = json!({"name": "mine"});
    with(&app, &admin, &Method::POST, "/v1/families").json(&body).await.assert_status(CREATED);
    let list = async || -> Vec<Value> {
        let list: Value = get(&app, &admin, "/v1/audit-events").await.json();
        list["items"].as_array().unwrap().clone()
    };
    let times = |items: &[Value], status: u16| -> i64 {
        let alike = items.iter().filter(|item| item["status"] == status);
        alike.map(|item| item["times"].as_i64().unwrap()).sum()
    };
    let all = async || {
        let items = list().await;
        times(&items, 403) == 20 && times(&items, 201) == 1
    };
    until(all, "all are there").await;
    assert!(list().await.len() < 20);
}

/// Counts the notes of writes that are not in the log yet.
const NOTED: &str = "SELECT count(*) FROM audit_notes";

#[tokio::test]
async fn a_write_is_noted_in_its_transaction_or_not_done() {
    let app = App::new().await;
    let admin = key(&app, Scope::Admin, &[]).await;
    // This lock keeps services from moving notes into the log.
    let mut held = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE audit_events IN EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let body = json!({"name": "mine"});
    let create = with(&app, &admin, &Method::POST, "/v1/families").json(&body);
    create.await.assert_status(CREATED);
    let runs = json!([run("a")]);
    let upload = with(&app, &admin, &Method::POST, "/v1/families/mine/runs").json(&runs).await;
    upload.assert_status(OK);
    for table in ["families", "runs"] {
        let same = format!(
            "SELECT EXISTS (SELECT 1 FROM {table} JOIN audit_notes ON {table}.xmin = audit_notes.xmin)"
        );
        let same: bool =
            sqlx::query_scalar(AssertSqlSafe(same)).fetch_one(&app.pool).await.unwrap();
        assert!(same, "{table} and their notes");
    }
    // Writes that are refused, dry runs or rolled back leave no note.
    let wrong = json!([run("b"), {"external_id": "c"}]);
    let refused = with(&app, &admin, &Method::POST, "/v1/families/mine/runs").json(&wrong).await;
    refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
    let rehearsed = "/v1/families/mine/runs?dry_run=true";
    with(&app, &admin, &Method::POST, rehearsed).json(&json!([run("b")])).await.assert_status(OK);
    let again = with(&app, &admin, &Method::POST, "/v1/families").json(&body).await;
    again.assert_status(StatusCode::CONFLICT);
    let noted: i64 = sqlx::query_scalar(NOTED).fetch_one(&app.pool).await.unwrap();
    assert_eq!(noted, 2);
    held.rollback().await.unwrap();
    events(&app, &admin, "", 2).await;
    let left: i64 = sqlx::query_scalar(NOTED).fetch_one(&app.pool).await.unwrap();
    assert_eq!(left, 0);
}

/// The note of a process that was killed is put into the log by another one.
#[tokio::test]
async fn notes_of_a_process_that_is_gone_are_put_into_the_log() {
    let app = App::new().await;
    let admin = key(&app, Scope::Admin, &[]).await;
    let note = json!({
        "id": admin.id(), "at": "2026-03-01T12:00:00.000001Z", "actor": "gone", "actor_name": null, "address": null,
        "method": "POST", "path": "/v1/families", "target": "/v1/families/a", "family": "a", "status": 201,
        "times": 1, "request_id": null
    });
    sqlx::query("INSERT INTO audit_notes (id, event) VALUES ($1, $2)")
        .bind(admin.id())
        .bind(note)
        .execute(&app.pool)
        .await
        .unwrap();
    let found = &events(&app, &admin, "?actor=gone", 1).await[0];
    assert_eq!(
        (&found["family"], &found["at"]),
        (&json!("a"), &json!("2026-03-01T12:00:00.000001Z"))
    );
}

#[tokio::test]
async fn every_operation_that_writes_is_in_the_audit_log() {
    let app = App::new().await;
    let admin = key(&app, Scope::Admin, &[]).await;
    let send = async |method: &str, path: &str, body: Value| -> Value {
        let method: Method = method.parse().unwrap();
        let request = with(&app, &admin, &method, path);
        let answer = if body.is_null() { request.await } else { request.json(&body).await };
        assert!(answer.status_code().is_success(), "{method} {path}: {}", answer.text());
        if answer.text().is_empty() { Value::Null } else { answer.json() }
    };
    send("POST", "/v1/families", json!({"name": "mine"})).await;
    send("PATCH", "/v1/families/mine", json!({"description": "ours"})).await;
    send("PUT", "/v1/families/mine/mappings/nightly", json!({"map": {"loss": "val_loss"}})).await;
    send("DELETE", "/v1/families/mine/mappings/nightly", Value::Null).await;
    send("POST", "/v1/families/mine/runs", json!([run("a"), run("b")])).await;
    let list: Value = get(&app, &admin, "/v1/families/mine/runs").await.json();
    let id = list["items"][0]["id"].as_str().unwrap();
    let excluded = json!({"excluded": true, "exclusion_reason": "diverged"});
    send("PATCH", &format!("/v1/families/mine/runs/{id}"), excluded.clone()).await;
    send("DELETE", &format!("/v1/families/mine/runs/{id}"), Value::Null).await;
    let named = "/v1/families/mine/runs/by-external-id/a";
    send("PATCH", named, excluded).await;
    send("DELETE", named, Value::Null).await;
    let law = json!({
        "coefficients": {"a_s": 16.8, "b_s": 0.722, "c_s": 45.0, "b_n": 0.245, "a_d": 6.9e8, "b_d": 0.203, "c": 0.651},
        "reference": "a paper"
    });
    send("POST", "/v1/families/mine/laws", law).await;
    send("PUT", "/v1/families/mine/active-law", json!({"version": 1})).await;
    let forecast =
        json!({"external_id": "f", "nonzero_params": 1e7, "sparsity": 0.5, "data": 1e10});
    send("POST", "/v1/families/mine/forecasts", forecast).await;
    send("POST", "/v1/families/mine/runs", json!([run("c")])).await;
    let refit = send("POST", "/v1/families/mine/refits", json!({})).await;
    send("DELETE", &format!("/v1/refits/{}", refit["id"].as_str().unwrap()), Value::Null).await;
    let profile = json!({"name": "chip", "cost": {"prunable_share": 0.9, "efficiency": 0.5}});
    send("POST", "/v1/hardware-profiles", profile).await;
    send(
        "PATCH",
        "/v1/hardware-profiles/chip",
        json!({"cost": {"prunable_share": 0.8, "efficiency": 0.5}}),
    )
    .await;
    send("DELETE", "/v1/hardware-profiles/chip", Value::Null).await;
    let made = send("POST", "/v1/keys", json!({"name": "k", "scope": "read"})).await;
    send("DELETE", &format!("/v1/keys/{}", made["id"].as_str().unwrap()), Value::Null).await;
    send("DELETE", "/v1/families/mine", Value::Null).await;

    let document: Value = app.get("/openapi.json").await.json();
    let mut writes = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            let scope = scope_of(&method, path);
            if method != "GET" && scope > Some(Scope::Read) {
                writes.insert((method, path.clone()));
            }
        }
    }
    assert!(writes.len() > 15);
    let all_are_there = async || {
        let list: Value = get(&app, &admin, "/v1/audit-events?limit=1000").await.json();
        let items = list["items"].as_array().unwrap().iter();
        let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
        let noted: BTreeSet<_> =
            items.map(|item| (text(item, "method"), text(item, "path"))).collect();
        (noted == writes).then_some(())
    };
    until_some(all_are_there, "each is in the log").await;
}

#[tokio::test]
async fn a_write_whose_caller_does_not_wait_is_neither_done_nor_in_the_audit_log() {
    let app = App::new().await;
    let admin = key(&app, Scope::Admin, &[]).await;
    let mut transaction = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE families").execute(&mut *transaction).await.unwrap();
    let delete = with(&app, &admin, &Method::DELETE, "/v1/families/t5-c4");
    let waited = tokio::time::timeout(Duration::from_millis(300), async { delete.await }).await;
    assert!(waited.is_err(), "it waits for the lock");
    transaction.rollback().await.unwrap();
    app.get("/v1/families/t5-c4").await.assert_status(StatusCode::UNAUTHORIZED);
    get(&app, &admin, "/v1/families/t5-c4").await.assert_status(OK);
    let noted: i64 = sqlx::query_scalar(NOTED).fetch_one(&app.pool).await.unwrap();
    assert_eq!(noted, 0);
    assert_eq!(get(&app, &admin, "/v1/audit-events").await.json::<Value>()["items"], json!([]));
}

#[tokio::test]
async fn old_events_are_deleted() {
    let app = App::new().await;
    let old = "INSERT INTO audit_events (id, at, stored_at, actor, method, path, target, status)
               SELECT gen_random_uuid(), now(), $1, 'anonymous', 'POST', '/', '/', 200
               FROM generate_series(1, 2500)";
    let now: DateTime<Utc> = sqlx::query_scalar("SELECT now()").fetch_one(&app.pool).await.unwrap();
    // Without the trigger, events can be stored with the times that they would have had then.
    sqlx::query("ALTER TABLE audit_events DISABLE TRIGGER audit_events_place")
        .execute(&app.pool)
        .await
        .unwrap();
    for days in [366, 364] {
        sqlx::query(old).bind(now - TimeDelta::days(days)).execute(&app.pool).await.unwrap();
    }
    // Each replica deletes old events when it starts. The clock of this one differs so much from the database's that
    // it must delete none.
    assert!((now - app.clock.now()).abs() > TimeDelta::days(1));
    drop(app.replica().await);
    let other = app.replica_with_the_systems_clock().await;
    let old = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM audit_events WHERE stored_at < $1")
            .bind(now - TimeDelta::days(365))
            .fetch_one(&other.pool)
            .await
            .unwrap()
    };
    until(async || old().await == 0, "old events are deleted").await;
    let left: Vec<DateTime<Utc>> =
        sqlx::query_scalar("SELECT DISTINCT stored_at FROM audit_events")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    assert_eq!(left, [now - TimeDelta::days(364)]);
}
