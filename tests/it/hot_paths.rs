//! What is asked often reads an index, not the whole table of runs: PostgreSQL's own counts say so of the
//! statements that the service really sends.

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::wait::until_some;
use crate::support::{App, CREATED, NO_CONTENT, OK, database_of, run};

/// So many families of so many runs.
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

async fn scans(pool: &PgPool) -> (i64, i64) {
    sqlx::query_as("SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'runs'")
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn no_hot_path_reads_the_whole_table_of_runs() {
    let app = App::with_worker().await;
    fill(&app.pool).await;
    let runs = "/v1/families/family-7/runs";
    // More often than it takes PostgreSQL to settle for a plan.
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

    let watcher = database_of(&app.pool).await;
    app.pool.close().await;
    // Sessions hand in their counts when they end, which PostgreSQL does in its own time.
    let find = async || {
        let sessions: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
                 AND backend_type = 'client backend'",
        )
        .fetch_one(&watcher)
        .await
        .unwrap();
        let counted = scans(&watcher).await;
        (sessions == 0).then_some(counted)
    };
    let counted = until_some(find, "all sessions end").await;
    assert!(counted.1 > 100, "{counted:?}");
    assert_eq!(counted.0, 0);
}
