//! Frequent requests read an index and never the whole table of runs. This is checked by PostgreSQL's own statistics
//! for the statements that the service really sends.

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use crate::support::wait::{until, until_some};
use crate::support::{App, CREATED, NO_CONTENT, OK, database_of, run};

/// Fills the tables with families and runs.
async fn fill(pool: &PgPool) {
    for statement in [
        "INSERT INTO families (id, name, description, data_unit, flops_per_param, pruning_start,
             pruning_end, pruning_exponent, residual, delta, created_at, updated_at)
         SELECT gen_random_uuid(), 'family-' || i, '', 'tokens', 6, 0.25, 0.75, 3, 'log', 0.001,
             now(), now()
         FROM generate_series(1, 100) AS i",
        "INSERT INTO runs (id, family_id, external_id, nonzero_params, sparsity, data, loss, start,
             tags, excluded, created_at, updated_at)
         SELECT gen_random_uuid(), families.id, 'run-' || i, 1e6 * (1 + i % 8), 0.25 * (i % 4),
             1e9 * (1 + i % 5), 2 + random(), 'scratch',
             jsonb_build_object('seed', (i % 10)::text, 'run', i || name), false, now(), now()
         FROM families, generate_series(1, 400) AS i WHERE name LIKE 'family-%'",
        "ANALYZE families",
        "ANALYZE runs",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
}

async fn scans(session: &mut PgConnection) -> (i64, i64) {
    sqlx::query_as("SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'runs'")
        .fetch_one(session)
        .await
        .unwrap()
}

#[tokio::test]
async fn no_hot_path_reads_the_whole_table_of_runs() {
    let app = App::with_worker().await;
    fill(&app.pool).await;
    let runs = "/v1/families/family-7/runs";
    // More executions than PostgreSQL needs to choose a generic plan.
    for _ in 0..8 {
        let page: Value = app.get(runs).await.json();
        let next = page["next_cursor"].as_str().unwrap();
        let id = page["items"][0]["id"].as_str().unwrap();
        for path in [
            format!("{runs}?cursor={next}"),
            format!("{runs}?min_loss=2.5&max_sparsity=0.5&excluded=false"),
            format!("{runs}?tags=seed:3"),
            format!("{runs}?tags=run:7family-7"),
            format!("{runs}/{id}"),
        ] {
            app.get(&path).await.assert_status(OK);
        }
        for query in ["", "?tags=seed:3", "?min_data=2e9"] {
            let export = app.server.get(&format!("{runs}{query}"));
            export.add_header("accept", "application/x-ndjson").await.assert_status(OK);
        }
        app.post(runs, json!([run("run-1"), run("new")])).await.assert_status(OK);
        let many: Vec<Value> = (0..3000).map(|i| run(&format!("run-{i}"))).collect();
        app.post(runs, json!(many)).await.assert_status(OK);
    }
    let forecast =
        json!({"external_id": "f", "nonzero_params": 1e7, "sparsity": 0.5, "data": 1e10});
    app.post("/v1/families/t5-c4/forecasts", forecast).await.assert_status(CREATED);
    app.get("/v1/families/t5-c4/forecasts").await.assert_status(OK);
    app.refit("family-8", json!({"starts": 1, "bootstrap": 0, "holdout": []})).await;
    app.server.delete("/v1/families/family-9").await.assert_status(NO_CONTENT);

    // Keep one session, as a pool might open another one, which would count as not ended.
    let mut watcher = database_of(&app.pool).await.acquire().await.unwrap();
    app.pool.close().await;
    // Sessions report their statistics when they end, which takes PostgreSQL some time.
    let find = async || {
        let sessions: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
                 AND backend_type = 'client backend'",
        )
        .fetch_one(&mut *watcher)
        .await
        .unwrap();
        let counted = scans(&mut watcher).await;
        (sessions == 0).then_some(counted)
    };
    let counted = until_some(find, "all sessions end").await;
    assert!(counted.1 > 100, "{counted:?}");
    assert_eq!(counted.0, 0);
}

/// What is remembered beside the cache names laws by their ids only, so the limit of the cache bounds the memory of laws.
#[tokio::test]
async fn laws_take_no_more_memory_than_they_may() {
    const MOST: u64 = 64 * 1024;
    let app = App::with_law_cache(MOST).await;
    app.follow().await;
    app.demo_family("demo").await;
    tokio::spawn(app.worker().run());
    let mut laws = Vec::new();
    for seed in 0..3 {
        let options = json!({"seed": seed, "starts": 1, "bootstrap": 500, "holdout": []});
        let refit = app.refit("demo", options).await;
        laws.push(refit["law"]["version"].as_i64().unwrap());
    }
    let question =
        "/v1/families/demo/optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse";
    let mut answers = Vec::new();
    for round in 0..2 {
        for (i, law) in laws.iter().enumerate() {
            let response = app.get(&format!("{question}&law_version={law}")).await;
            response.assert_status(OK);
            let answer = response.json::<Value>()["interval"].clone();
            assert!(answer.is_object(), "{answer}");
            if round == 0 {
                answers.push(answer);
            } else {
                assert_eq!(answers[i], answer, "an answer is the same after its law was put out");
            }
        }
    }
    let (kept, bytes) = app.laws.size().await;
    assert!(bytes <= MOST, "{bytes} bytes of {kept} laws");
    assert!(kept < laws.len() as u64, "{kept} laws of 500 resamples need more than {MOST} bytes");
}

/// A client that polls a finished refit must not make other requests wait for the database.
#[tokio::test]
async fn a_finished_refit_that_is_polled_forgets_no_law() {
    let app = App::new().await;
    app.follow().await;
    app.demo_family("demo").await;
    tokio::spawn(app.worker().run());
    let options = json!({"starts": 1, "bootstrap": 0, "holdout": []});
    let refit = app.refit("demo", options).await;
    let question =
        "/v1/families/demo/optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse";
    let path = format!("/v1/refits/{}", refit["id"].as_str().unwrap());
    app.get(&path).await.assert_status(OK);
    let settled = async || {
        app.get(question).await.assert_status(OK);
        let before = app.laws.lookups();
        for _ in 0..3 {
            app.get(&path).await.assert_status(OK);
            app.get(question).await.assert_status(OK);
        }
        app.laws.lookups() == before
    };
    // An announcement that is still on its way may arrive in between.
    until(settled, "questions are answered from memory while a finished refit is polled").await;
}
