//! Uploads that are answered before they are stored (`Prefer: respond-async`): what was accepted is stored, exactly
//! once, even if the process that accepted it dies.

use std::io::Write;
use std::time::Duration;

use axum_test::TestResponse;
use serde_json::{Value, json};
use sparsity_planner::api::layers::transfers::{TransferLimits, WaitingLimits};
use sparsity_planner::store::uploads::claim_upload;

use crate::support::process::{Process, script};
use crate::support::wait::until_some;
use crate::support::{
    ACCEPTED, App, CREATED, NO_CONTENT, NOT_FOUND, OK, TRANSFERS, empty_database, problem,
};

const RUNS: &str = "/v1/families/mine/runs";
const HEADER: &str = "external_id,nonzero_params,sparsity,data,loss\n";

async fn app_with(limits: TransferLimits) -> App {
    let app = App::with_transfers(limits).await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    app
}

async fn app() -> App {
    app_with(TRANSFERS).await
}

/// This many rows of CSV; some thousands go through the staging table.
fn rows(count: u32) -> String {
    (0..count).map(|i| format!("run-{i},{},0.{},2e9,2.5\n", 1_000_000 + i, i % 10)).collect()
}

async fn send(app: &App, query: &str, body: impl Into<Vec<u8>>) -> TestResponse {
    let request = app.server.post(&format!("{RUNS}{query}")).bytes(body.into().into());
    request.content_type("text/csv").add_header("prefer", "respond-async, wait=5").await
}

fn accepted(answer: &TestResponse) -> String {
    answer.assert_status(ACCEPTED);
    assert_eq!(answer.header("preference-applied"), "respond-async");
    let location = answer.header("location").to_str().unwrap().to_owned();
    let upload: Value = answer.json();
    assert_eq!(location, format!("/v1/families/mine/uploads/{}", upload["id"].as_str().unwrap()));
    assert_eq!((&upload["state"], &upload["result"]), (&json!("queued"), &Value::Null));
    location
}

async fn ended(app: &App, location: &str) -> Value {
    let find = async || {
        let upload: Value = app.get(location).await.json();
        (!upload["finished_at"].is_null()).then_some(upload)
    };
    until_some(find, &format!("{location} ends")).await
}

async fn count(app: &App, table: &str) -> i64 {
    let count = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&app.pool).await.unwrap()
}

#[tokio::test]
async fn an_upload_is_answered_before_it_is_stored_and_ends_as_any_other() {
    let app = app().await;
    // One upload is a single batch, the other has many compressed pieces.
    let few = format!("{HEADER}{}", rows(10));
    let many = {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        packed.write_all(format!("{HEADER}{}bad,1,2,3,4\n", rows(100_000)).as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    assert!(many.len() > 2 << 20);
    let first = accepted(&send(&app, "", few.clone()).await);
    let second = app.server.post(&format!("{RUNS}?on_error=skip")).bytes(many.clone().into());
    let second = second.content_type("text/csv").add_header("content-encoding", "gzip");
    let second = accepted(&second.add_header("prefer", "respond-async").await);
    assert_eq!((count(&app, "runs").await, count(&app, "upload_pieces").await > 2), (0, true));
    let metrics = app.get("/metrics").await.text();
    assert!(metrics.contains("sparsity_planner_waiting_uploads_queued 2"), "{metrics}");

    app.stores_uploads();
    let (first, second) = (ended(&app, &first).await, ended(&app, &second).await);
    assert_eq!((&first["state"], &first["error"]), (&json!("succeeded"), &Value::Null));
    assert_eq!((count(&app, "runs").await, count(&app, "upload_pieces").await), (100_000, 0));
    assert_eq!(second["bytes"], many.len());
    assert_eq!(second["result"]["created"], 99_990);
    // The result equals the answer to an upload without the preference.
    app.post("/v1/families", json!({"name": "other"})).await.assert_status(CREATED);
    let upload = app.server.post("/v1/families/other/runs").bytes(few.into());
    assert_eq!(first["result"], upload.content_type("text/csv").await.json::<Value>());
    let upload = app.server.post("/v1/families/other/runs?on_error=skip").bytes(many.into());
    let upload = upload.content_type("text/csv").add_header("content-encoding", "gzip").await;
    assert_eq!(second["result"], upload.json::<Value>());

    let list: Value = app.get("/v1/families/mine/uploads?limit=1").await.json();
    assert_eq!(list["items"][0]["id"], second["id"]);
    assert_eq!(list["items"][0]["result"], Value::Null);
    let next = list["next_cursor"].as_str().unwrap();
    let list: Value = app.get(&format!("/v1/families/mine/uploads?cursor={next}")).await.json();
    assert_eq!(list["items"][0]["id"], first["id"]);
    // The audit log has an event for the acceptance and one for the storing.
    let noted = async || {
        let list: Value = app.get("/v1/audit-events?family=mine").await.json();
        let items = list["items"].as_array().unwrap().iter();
        let target = format!("/v1/families/mine/uploads/{}", first["id"].as_str().unwrap());
        let mut told: Vec<_> = items.filter(|item| item["target"] == target).collect();
        told.sort_by_key(|item| item["status"].as_u64());
        let told: Vec<_> = told.iter().map(|item| (&item["status"], &item["method"])).collect();
        (told == [(&json!(200), &json!("POST")), (&json!(202), &json!("POST"))]).then_some(())
    };
    until_some(noted, "both are in the log").await;
    let metrics = app.get("/metrics").await.text();
    let counted = r#"waiting_upload_duration_seconds_count{outcome="succeeded"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn what_is_wrong_is_told_at_once_or_as_the_end_of_the_upload() {
    let app = app().await;
    app.stores_uploads();
    // Errors that can be found before the first row are answered at once.
    problem(&send(&app, "?map=x", HEADER).await, 422, "invalid");
    let kind = app.server.post(RUNS).bytes("a".into()).content_type("image/png");
    problem(&kind.add_header("prefer", "respond-async").await, 415, "unsupported-media-type");
    let nowhere = app.server.post("/v1/families/none/runs").bytes(HEADER.into());
    let nowhere = nowhere.content_type("text/csv").add_header("prefer", "respond-async").await;
    problem(&nowhere, 404, "not-found");
    assert_eq!(count(&app, "uploads").await, 0);

    let wrong = format!("{HEADER}a,1e7,0.5,2e10,2.5\nb,1e7,50,2e10,2.5\n");
    let upload = ended(&app, &accepted(&send(&app, "", wrong.clone()).await)).await;
    assert_eq!((&upload["state"], &upload["result"]), (&json!("failed"), &Value::Null));
    let answered = app.server.post(RUNS).bytes(wrong.clone().into()).content_type("text/csv").await;
    assert_eq!(upload["error"], answered.json::<Value>());
    assert_eq!((count(&app, "runs").await, count(&app, "upload_pieces").await), (0, 0));
    // A dry run stores nothing, and its result is what it found.
    let upload = ended(&app, &accepted(&send(&app, "?dry_run=true", wrong).await)).await;
    assert_eq!(upload["result"]["preview"]["runs"][0]["external_id"], "a");
    assert_eq!((&upload["result"]["created"], count(&app, "runs").await), (&json!(1), 0));
    // Uploads are deleted with their family.
    let location = accepted(&send(&app, "", HEADER).await);
    app.server.delete("/v1/families/mine").await.assert_status(NO_CONTENT);
    app.get(&location).await.assert_status(NOT_FOUND);
    assert_eq!((count(&app, "uploads").await, count(&app, "upload_pieces").await), (0, 0));
}

#[tokio::test]
async fn what_a_dead_process_left_is_stored_by_another_and_given_up_when_it_kills_them() {
    let app = app().await;
    let body = format!("{HEADER}{}", rows(3_000));
    let (left, deadly) = (send(&app, "", body).await, send(&app, "", HEADER).await);
    let (left, deadly) = (accepted(&left), accepted(&deadly));
    // Imitates processes that claim an upload and then die.
    let claim = async || {
        let (token, now) = (app.clock.new_id(), app.clock.now());
        claim_upload(&app.pool, token, Duration::ZERO, now).await.unwrap().unwrap()
    };
    let claimed = claim().await;
    assert!(left.ends_with(&claimed.id.to_string()));
    let upload: Value = app.get(&left).await.json();
    assert_eq!(upload["state"], "running");
    sqlx::query("UPDATE uploads SET attempts = 3 WHERE id <> $1")
        .bind(claimed.id)
        .execute(&app.pool)
        .await
        .unwrap();
    app.stores_uploads();
    assert_eq!(ended(&app, &left).await["result"]["created"], 3_000);
    assert_eq!(ended(&app, &deadly).await["error"]["type"], "/problems/worker-lost");
}

#[tokio::test]
async fn an_upload_is_told_of_earlier_ones_that_are_stored_after_it() {
    let app = app().await;
    let sent_now = async || {
        let request = app.server.post(RUNS).text(format!("{HEADER}run-0,1e6,0.5,2e9,3.5\n"));
        let answer: Value = request.content_type("text/csv").await.json();
        answer["warnings"].clone()
    };
    assert_eq!(sent_now().await, json!([]));
    let earlier = accepted(&send(&app, "", format!("{HEADER}{}", rows(2))).await);
    let warnings = sent_now().await;
    assert_eq!(warnings[0]["code"], "uploads_waiting", "{warnings}");
    app.stores_uploads();
    ended(&app, &earlier).await;
    assert_eq!(sent_now().await, json!([]));
}

#[tokio::test]
async fn limits_of_what_waits_are_kept_and_named() {
    let waiting = TRANSFERS.waiting;
    let limited = |waiting| TransferLimits { waiting, ..TRANSFERS };
    let app = app_with(limited(WaitingLimits { each: 2, bytes: 1_000, ..waiting })).await;
    let refused = async |app: &App, body: String, setting: &str| {
        let refused = send(app, "", body).await;
        problem(&refused, 503, "unavailable");
        assert!(refused.text().contains(setting), "{}", refused.text());
    };
    refused(&app, "x".repeat(1_001), "--waiting-upload-bytes").await;
    accepted(&send(&app, "", "x".repeat(600)).await);
    refused(&app, "x".repeat(600), "--waiting-upload-bytes").await;
    accepted(&send(&app, "", "x".repeat(400)).await);
    refused(&app, "x".to_owned(), "--waiting-uploads-per-key").await;
    assert_eq!(count(&app, "upload_pieces").await, 2);
    // Uploads that have ended no longer count as waiting.
    app.stores_uploads();
    let list: Value = app.get("/v1/families/mine/uploads").await.json();
    for upload in list["items"].as_array().unwrap() {
        ended(&app, &format!("/v1/families/mine/uploads/{}", upload["id"].as_str().unwrap())).await;
    }
    accepted(&send(&app, "", format!("{HEADER}{}", rows(2))).await);
    let app = app_with(TransferLimits { upload_bytes: 100, ..TRANSFERS }).await;
    problem(&send(&app, "", "x".repeat(101)).await, 413, "too-large");
    assert_eq!(count(&app, "upload_pieces").await, 0);

    // If none may wait, each upload is answered when it is stored.
    let app = app_with(limited(WaitingLimits { each: 0, ..waiting })).await;
    let stored = send(&app, "", format!("{HEADER}{}", rows(2))).await;
    stored.assert_status(OK);
    assert!(stored.maybe_header("preference-applied").is_none());
    assert_eq!(stored.json::<Value>()["created"], 2);
}

#[tokio::test]
async fn results_are_forgotten_after_their_days() {
    let app = app().await;
    let location = accepted(&send(&app, "", format!("{HEADER}{}", rows(2))).await);
    app.stores_uploads();
    ended(&app, &location).await;
    sqlx::query("UPDATE uploads SET finished_at = now() - interval '8 days'")
        .execute(&app.pool)
        .await
        .unwrap();
    // Each replica deletes old results when it starts. The clock of the first one differs too much from the
    // database's, so it must delete none.
    app.stores_uploads();
    let other = app.replica_with_the_systems_clock().await;
    app.get(&location).await.assert_status(OK);
    other.stores_uploads();
    let is_gone = async || (app.get(&location).await.status_code() == NOT_FOUND).then_some(());
    until_some(is_gone, "it is forgotten").await;
}

/// This is what the answer 202 promises.
#[tokio::test]
async fn what_a_killed_service_accepted_is_stored_by_another() {
    let url = empty_database().await;
    let mut accepting = Process::serve(&url, &["--waiting-uploads-at-once", "0"]).await;
    let accept = r#"
        curl -sS --fail-with-body -X POST -H 'Content-Type: application/json' -d '{"name": "mine"}' \
            "$BASE/v1/families" > /dev/null
        (echo external_id,nonzero_params,sparsity,data,loss
            for i in $(seq 20000); do echo "run-$i,1e7,0.5,2e10,2.5"; done) |
            curl -sS --fail-with-body -X POST -H 'Content-Type: text/csv' -H 'Prefer: respond-async' \
                --data-binary @- -o /dev/null -w '%{http_code} %header{location}' "$BASE/v1/families/mine/runs"
    "#;
    let answer = script(accepting.base(), accept);
    let location = answer.strip_prefix("202 ").unwrap();
    accepting.signal("-KILL");
    accepting.ended();

    let other = Process::serve(&url, &[]).await;
    let find = async || {
        let ask = format!("curl -sS --fail-with-body \"$BASE{location}\"");
        let upload: Value = serde_json::from_str(&script(other.base(), &ask)).unwrap();
        (!upload["finished_at"].is_null()).then_some(upload)
    };
    let upload = until_some(find, "the upload ends").await;
    assert_eq!(
        (&upload["state"], &upload["result"]["created"]),
        (&json!("succeeded"), &json!(20_000))
    );
}
