//! Laws in memory: while announcements arrive, questions need no database, and every replica learns of another active
//! law.

use axum_test::TestResponse;
use serde_json::{Value, json};
use sparsity_planner::domain::text::ProfileName;
use sqlx::postgres::PgListener;
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::process::{Process, planner, succeeded};
use crate::support::wait::until;
use crate::support::{App, CREATED, NO_CONTENT, NOT_FOUND, OK, empty_database, problem};

const QUESTION: &str =
    "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse";

async fn import(app: &App) {
    let law = json!({"coefficients": {"a_s": 16.8, "b_s": 0.72, "c_s": 45.0, "b_n": 0.245,
        "a_d": 6.9e8, "b_d": 0.2, "c": 0.65}, "reference": "x"});
    app.post("/v1/families/t5-c4/laws", law).await.assert_status(CREATED);
}

async fn answering_version(app: &App) -> i64 {
    version(&app.get(QUESTION).await).unwrap()
}

/// Waits until a replica's answer is as expected.
async fn until_answered(app: &App, expected: impl Fn(&TestResponse) -> bool) {
    until(async || expected(&app.get(QUESTION).await), "the answer is as expected").await;
}

/// The version of the law that an answer names.
fn version(answer: &TestResponse) -> Option<i64> {
    answer.json::<Value>()["law"]["version"].as_i64()
}

/// Imitates a worker node of Citus by a table with the name of the one by which such a node is recognised.
#[tokio::test]
async fn a_node_on_which_others_are_not_heard_announces_nothing_and_is_refused() {
    let database = empty_database().await;
    succeeded(&planner(&database, &["migrate"]));
    let mut listening = PgListener::connect(&database).await.unwrap();
    listening.listen("sparsity_planner_laws").await.unwrap();
    let pool = PgPool::connect(&database).await.unwrap();
    sqlx::query("CREATE TABLE pg_dist_local_group (groupid int)").execute(&pool).await.unwrap();
    let is_coordinator = async |is: bool| {
        let group = format!(
            "WITH gone AS (DELETE FROM pg_dist_local_group)
            INSERT INTO pg_dist_local_group VALUES ({})",
            i32::from(!is)
        );
        sqlx::query(AssertSqlSafe(group)).execute(&pool).await.unwrap();
        sqlx::query("UPDATE families SET name = name WHERE name = 't5-c4'")
            .execute(&pool)
            .await
            .unwrap();
    };
    for is in [true, false] {
        is_coordinator(is).await;
    }
    sqlx::query("SELECT pg_notify('sparsity_planner_laws', 'the end')")
        .execute(&pool)
        .await
        .unwrap();
    for heard in ["t5-c4", "the end"] {
        assert_eq!(listening.recv().await.unwrap().payload(), heard);
    }
    let output = planner(&database, &["serve", "--bind", "127.0.0.1:0"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("name its coordinator"), "{said}");
    is_coordinator(true).await;
    drop(Process::serve(&database, &[]).await);
}

#[tokio::test]
async fn a_question_needs_no_database_while_announcements_are_followed() {
    let app = App::new().await;
    app.follow().await;
    let before: Value = app.get(QUESTION).await.json();
    let pinned = format!("{QUESTION}&law_version=1");
    app.get(&pinned).await.assert_status(OK);
    let mut transaction = app.pool.begin().await.unwrap();
    let lock = "LOCK TABLE families, laws, law_resamples";
    sqlx::query(lock).execute(&mut *transaction).await.unwrap();
    assert_eq!(app.get(QUESTION).await.json::<Value>(), before);
    app.get(&pinned).await.assert_status(OK);
    transaction.rollback().await.unwrap();
}

#[tokio::test]
async fn every_replica_hears_of_another_law() {
    let here = App::new().await;
    here.follow().await;
    let there = here.replica().await;
    there.follow().await;
    for app in [&here, &there] {
        assert_eq!(answering_version(app).await, 1);
    }
    import(&here).await;
    // The replica that made the change uses it at once.
    assert_eq!(answering_version(&here).await, 2);
    until_answered(&there, |answer| version(answer) == Some(2)).await;
    let pin = json!({"version": 1});
    there.server.put("/v1/families/t5-c4/active-law").json(&pin).await.assert_status(OK);
    assert_eq!(answering_version(&there).await, 1);
    until_answered(&here, |answer| version(answer) == Some(1)).await;
    // A deleted family disappears on every replica.
    here.server.delete("/v1/families/t5-c4").await;
    problem(&here.get(QUESTION).await, 404, "not-found");
    until_answered(&there, |answer| answer.status_code() == NOT_FOUND).await;
}

#[tokio::test]
async fn the_law_of_a_refit_answers_whoever_heard_of_it() {
    let app = App::with_worker().await;
    app.follow().await;
    app.demo_family("mine").await;
    let question = "/v1/families/mine/prediction?nonzero_params=1e7&sparsity=0.5&data=3e10";
    for version in 1..=3 {
        app.refit("mine", json!({"starts": 2, "bootstrap": 0, "holdout": []})).await;
        let answer: Value = app.get(question).await.json();
        assert_eq!(answer["law"]["version"], version);
    }
}

#[tokio::test]
async fn a_replica_that_lost_its_connection_says_so_and_catches_up() {
    let app = App::new().await;
    let ready =
        || async { app.get("/readyz").await.json::<Value>()["follows_announcements"].clone() };
    assert_eq!(ready().await, false);
    app.follow().await;
    assert_eq!(ready().await, true);
    assert_eq!(answering_version(&app).await, 1);
    // Changes that were announced while the replica did not listen are not missed.
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()
                   AND (query LIKE 'LISTEN%' OR query LIKE '%still listens%')";
    sqlx::query(sql).execute(&app.pool).await.unwrap();
    app.until_followed(false).await;
    let other = app.replica().await;
    import(&other).await;
    assert_eq!(answering_version(&app).await, 2);
    app.until_followed(true).await;
    assert_eq!(answering_version(&app).await, 2);
}

#[tokio::test]
async fn a_hardware_profile_is_kept_in_memory_and_every_replica_hears_of_its_change() {
    let here = App::new().await;
    here.follow().await;
    let there = here.replica().await;
    there.follow().await;
    let profile =
        json!({"name": "mine", "cost": {"prunable_share": 1.0, "efficiency": 1.0}, "source": "x"});
    here.post("/v1/hardware-profiles", profile).await.assert_status(CREATED);
    let question = QUESTION.replace("flop_mode=sparse", "flop_mode=mine");
    let sparsity = async |app: &App| {
        let answer = app.get(&question).await;
        answer.assert_status(OK);
        answer.json::<Value>()["sparsity"].as_f64().unwrap()
    };
    let free = sparsity(&there).await;
    // The announcement of the profile's creation may arrive in between; the profile is then not remembered the first
    // time.
    let known = || {
        let is_mine = |name: &ProfileName| name.as_str() == "mine";
        there.profiles.find(|profiles| profiles.keys().any(is_mine).then_some(())).is_some()
    };
    let asked = async || {
        sparsity(&there).await;
        known()
    };
    until(asked, "the profile is remembered").await;
    let mut transaction = here.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE hardware_profiles").execute(&mut *transaction).await.unwrap();
    assert_eq!(sparsity(&there).await, free);
    transaction.rollback().await.unwrap();

    let path = "/v1/hardware-profiles/mine";
    let dear = json!({"cost": {"prunable_share": 0.1, "efficiency": 1.0}});
    here.server.patch(path).json(&dear).await.assert_status(OK);
    // The replica that made the change sees it at once, the other one when it hears of it.
    assert!(sparsity(&here).await < free);
    until(async || sparsity(&there).await < free, "the other replica hears of the change").await;
    here.server.delete(path).await.assert_status(NO_CONTENT);
    problem(&here.get(&question).await, 422, "invalid");
}
