//! The schema: applied once even if many services start, and documented by comments on every table and column.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use sparsity_planner::store::{self, Schema};
use sqlx::PgPool;

use crate::support::process::{Process, planner, script, succeeded};
use crate::support::{database, empty_database};

#[tokio::test]
async fn five_replicas_migrate_at_once() {
    let url = empty_database().await;
    let replicas = (0..5).map(|_| async {
        let pool = store::connect(url.parse().unwrap(), 2, Duration::from_secs(30)).await.unwrap();
        store::migrate(&pool).await.unwrap();
        let usable = Schema::Usable { newer: vec![] };
        assert_eq!(store::find_schema(&pool).await.unwrap(), usable);
        pool.close().await;
    });
    join_all(replicas).await;
}

#[tokio::test]
async fn every_table_and_column_is_commented() {
    let pool = database().await;
    let bare: Vec<String> = sqlx::query_scalar(
        "SELECT relname || '.' || attname
         FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0
             AND NOT relispartition AND NOT attisdropped
             AND relname <> '_sqlx_migrations' AND col_description(attrelid, attnum) IS NULL",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(bare, [""; 0]);
    let commented: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
             AND obj_description(oid) IS NOT NULL",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(commented, 14);
}

#[tokio::test]
async fn every_constraint_has_the_name_that_its_migration_gives_it() {
    let pool = database().await;
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT conname::text FROM pg_constraint
         JOIN pg_class ON pg_class.oid = conrelid
         WHERE relnamespace = 'public'::regnamespace AND relname <> '_sqlx_migrations'
             AND NOT relispartition AND contype <> 'n'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(names.len() > 20, "{names:?}");
    let migrations = concat!(
        include_str!("../../migrations/20261124090000_families_runs_laws_refits.sql"),
        include_str!("../../migrations/20261124180000_law_intervals.sql"),
        include_str!("../../migrations/20261124190000_hardware_profiles.sql"),
        include_str!("../../migrations/20261124210000_forecasts.sql"),
        include_str!("../../migrations/20261125110000_api_keys.sql"),
        include_str!("../../migrations/20261125110100_audit_events.sql"),
        include_str!("../../migrations/20261125151500_refit_trace.sql"),
        include_str!("../../migrations/20261129100000_runs_brought.sql"),
        include_str!("../../migrations/20261129100100_mappings.sql"),
        include_str!("../../migrations/20261129140000_forms.sql"),
        include_str!("../../migrations/20261129141000_schedules.sql"),
        include_str!("../../migrations/20261129150000_budgets_and_experts.sql"),
        include_str!("../../migrations/20261130100000_refit_turns.sql"),
        include_str!("../../migrations/20261130100100_audit_refusals.sql"),
        include_str!("../../migrations/20261130120000_audit_stored_at.sql"),
        include_str!("../../migrations/20261130140000_forecast_currencies.sql"),
        include_str!("../../migrations/20261130160000_uploads.sql"),
        include_str!("../../migrations/20261130161000_audit_notes.sql"),
    );
    let words: Vec<&str> = migrations.split_whitespace().collect();
    for name in names {
        assert!(
            words.windows(2).any(|pair| pair == ["CONSTRAINT", &name]),
            "{name} is PostgreSQL's"
        );
    }
}

/// Statements that remove or change something that earlier versions may use.
const TAKING: [&str; 6] =
    ["DROP TABLE", "DROP COLUMN", "RENAME", "DROP FUNCTION", "DROP CONSTRAINT", " TYPE "];

#[test]
fn a_migration_that_takes_away_is_named_so_that_older_versions_notice() {
    let mut seen = 0;
    for entry in std::fs::read_dir("migrations").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (_, description) = name.split_once('_').unwrap();
        let sql = std::fs::read_to_string(&path).unwrap();
        let code = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
        let code = code.collect::<Vec<_>>().join(" ").to_uppercase();
        let taking = TAKING.iter().find(|words| code.contains(**words));
        let named = description.starts_with("contract_");
        assert!(named || taking.is_none(), "{name}: {taking:?}, see docs/operating.md");
        seen += 1;
    }
    assert!(seen >= 9, "{seen}");
}

#[tokio::test]
async fn runs_are_put_into_parts_by_command_under_a_service_that_goes_on() {
    let url = empty_database().await;
    let service = Process::serve(&url, &[]).await;
    let upload = |ids: &str| {
        let body = format!(
            "for i in {ids}; do echo \"$i,1e7,0.5,2e10,2.5\"; done \
             | (echo external_id,nonzero_params,sparsity,data,loss; cat) \
             | curl -sS --fail-with-body -H 'Content-Type: text/csv' --data-binary @- $BASE/v1/families/t5-c4/runs"
        );
        let answer: Value = serde_json::from_str(&script(service.base(), &body)).unwrap();
        (answer["created"].as_u64().unwrap(), answer["unchanged"].as_u64().unwrap())
    };
    assert_eq!(upload("a b"), (2, 0));
    let pool = PgPool::connect(&url).await.unwrap();
    let objects = async || -> Vec<String> {
        sqlx::query_scalar(
            "SELECT conname::text FROM pg_constraint WHERE conrelid = 'runs'::regclass AND contype <> 'n'
             UNION ALL SELECT indexname FROM pg_indexes WHERE tablename = 'runs'
             UNION ALL SELECT tgname FROM pg_trigger WHERE tgrelid = 'runs'::regclass AND NOT tgisinternal
             UNION ALL SELECT attname || col_description(attrelid, attnum) FROM pg_attribute
                 WHERE attrelid = 'runs'::regclass AND attnum > 0 AND NOT attisdropped
             UNION ALL SELECT obj_description('runs'::regclass)
             UNION ALL SELECT obj_description('forecast_scores'::regclass)
             UNION ALL SELECT pg_get_viewdef('forecast_scores')
             ORDER BY 1",
        )
        .fetch_all(&pool)
        .await
        .unwrap()
    };
    let before = objects().await;
    succeeded(&planner(&url, &["migrate", "--partitions", "4"]));
    assert_eq!(objects().await, before);
    let parts: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_inherits WHERE inhparent = 'runs'::regclass")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(parts, 4);
    assert_eq!(upload("b c"), (1, 1));
    let refused = planner(&url, &["migrate", "--partitions", "8"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in parts already"));
    succeeded(&planner(&url, &["migrate"]));
}

/// Citus is not installed here: functions and a view with the same names and signatures record the calls.
const STAND_IN: &[&str] = &[
    "CREATE TABLE asked (number serial, what text)",
    "CREATE TABLE lies (table_name regclass PRIMARY KEY, citus_table_type text, distribution_column text)",
    "CREATE VIEW citus_tables AS SELECT * FROM lies",
    "CREATE TABLE pg_dist_local_group (groupid int PRIMARY KEY)",
    "INSERT INTO pg_dist_local_group VALUES (0)",
    "CREATE TABLE in_the_way (nodename text, nodeport int, command text)",
    "CREATE FUNCTION run_command_on_workers(
        command text, parallel boolean DEFAULT true, OUT nodename text, OUT nodeport int, OUT success boolean, OUT result text
    ) RETURNS SETOF record LANGUAGE sql AS $$
        SELECT nodename, nodeport, true, CASE WHEN run_command_on_workers.command LIKE in_the_way.command THEN 't' ELSE 'f' END
        FROM in_the_way
    $$",
    "CREATE FUNCTION citus_get_active_worker_nodes(OUT node_name text, OUT node_port bigint) RETURNS SETOF record
        LANGUAGE sql AS $$SELECT 'worker', 5432::bigint$$",
    "CREATE FUNCTION create_reference_table(table_name regclass) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        -- Where it is on every node, Citus knows tables that refer to it, and takes no two changes of them in one statement.
        INSERT INTO asked (what) VALUES (format('every node: %s %s, %s', table_name,
            current_setting('citus.enable_unsafe_triggers'), (SELECT string_agg(pg_get_constraintdef(oid), ' ')
                FROM pg_constraint WHERE conname IN ('runs_pkey', 'forecasts_pkey'))));
        INSERT INTO lies VALUES (table_name, 'reference', '<none>');
    END $$",
    "CREATE FUNCTION create_distributed_table(
        table_name regclass, distribution_column text, distribution_type text DEFAULT 'hash',
        colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL
    ) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT count(*) FROM asked) = coalesce(current_setting('stand_in.fails_after', true), '99')::int THEN
            RAISE EXCEPTION 'a node is away' USING ERRCODE = '08006';
        END IF;
        INSERT INTO asked (what) VALUES (format('%s by %s beside %s, key %s', table_name, distribution_column,
            colocate_with, (SELECT pg_get_constraintdef(oid) FROM pg_constraint
                WHERE conrelid = create_distributed_table.table_name AND contype = 'p')));
        INSERT INTO lies VALUES (table_name, 'distributed', distribution_column);
    END $$",
];

#[tokio::test]
async fn the_layout_of_several_nodes_is_applied_statement_by_statement_or_refused() {
    let url = empty_database().await;
    let distribute = || planner(&url, &["migrate", "--distribute"]);
    let refused = |output: std::process::Output, why: &str| {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(why), "{message}");
    };
    refused(distribute(), "the database has no Citus");
    let pool = PgPool::connect(&url).await.unwrap();
    let execute = async |sql: &'static str| sqlx::query(sql).execute(&pool).await.unwrap();
    for statement in STAND_IN {
        execute(statement).await;
    }
    let asked = async || -> Vec<String> {
        sqlx::query_scalar("SELECT what FROM asked ORDER BY number").fetch_all(&pool).await.unwrap()
    };
    for (setup, why, undo) in [
        (
            "UPDATE pg_dist_local_group SET groupid = 1",
            "name its coordinator",
            "UPDATE pg_dist_local_group SET groupid = 0",
        ),
        (
            "ALTER FUNCTION citus_get_active_worker_nodes RENAME TO nodes; \
             CREATE FUNCTION citus_get_active_worker_nodes(OUT node_name text) RETURNS SETOF text LANGUAGE sql \
             AS $$SELECT 'none' WHERE false$$",
            "citus_add_node",
            "DROP FUNCTION citus_get_active_worker_nodes; \
             ALTER FUNCTION nodes RENAME TO citus_get_active_worker_nodes",
        ),
        // This is what an earlier version of the documentation advised.
        (
            "INSERT INTO lies VALUES ('laws', 'distributed', 'family_id')",
            "laws is distributed by family_id already, and would have to be on every node",
            "DELETE FROM lies",
        ),
        (
            "INSERT INTO in_the_way VALUES ('worker', 5432, '%laws%')",
            "the worker worker:5432 has a table laws of its own",
            "DELETE FROM in_the_way",
        ),
    ] {
        sqlx::raw_sql(setup).execute(&pool).await.unwrap();
        refused(distribute(), why);
        sqlx::raw_sql(undo).execute(&pool).await.unwrap();
    }
    assert!(asked().await.is_empty());

    // The command is interrupted, and started again.
    let fails =
        format!("ALTER DATABASE {} SET stand_in.fails_after = 3", url.rsplit_once('/').unwrap().1);
    sqlx::query(sqlx::AssertSqlSafe(fails.clone())).execute(&pool).await.unwrap();
    refused(distribute(), "a node is away");
    let works = fails.replace("= 3", "= 99");
    sqlx::query(sqlx::AssertSqlSafe(works)).execute(&pool).await.unwrap();
    succeeded(&distribute());
    let key = "key PRIMARY KEY (family_id, id)";
    assert_eq!(
        asked().await,
        [
            "every node: families on, PRIMARY KEY (family_id, id) PRIMARY KEY (family_id, id)"
                .to_owned(),
            "every node: laws on, PRIMARY KEY (family_id, id) PRIMARY KEY (family_id, id)"
                .to_owned(),
            format!("runs by family_id beside none, {key}"),
            format!("forecasts by family_id beside runs, {key}"),
            "law_runs by law_id beside none, key PRIMARY KEY (law_id)".to_owned(),
            "law_resamples by law_id beside law_runs, key PRIMARY KEY (law_id)".to_owned(),
        ]
    );
    refused(distribute(), "distributed already");
    // The service works with the new keys, and says where it may not start.
    let service = Process::serve(&url, &[]).await;
    let upload = "curl -sS --fail-with-body -H 'Content-Type: application/json' -d \
        '{\"external_id\": \"a\", \"nonzero_params\": 1e7, \"sparsity\": 0.5, \"data\": 2e10, \"loss\": 2.5}' \
        $BASE/v1/families/t5-c4/runs";
    assert!(script(service.base(), upload).contains("\"created\":1"));
    assert!(script(service.base(), upload).contains("\"unchanged\":1"));
    drop(service);
    execute("UPDATE pg_dist_local_group SET groupid = 1").await;
    refused(planner(&url, &["serve", "--bind", "127.0.0.1:0"]), "names a worker of Citus");
}

/// Tables on a worker node would be in the way when the coordinator's are distributed.
#[tokio::test]
async fn on_a_worker_of_citus_nothing_is_migrated() {
    let url = empty_database().await;
    let pool = PgPool::connect(&url).await.unwrap();
    let worker = "CREATE TABLE pg_dist_local_group AS SELECT 2 AS groupid";
    sqlx::query(worker).execute(&pool).await.unwrap();
    for command in [&["migrate"][..], &["serve", "--bind", "127.0.0.1:0"]] {
        let refused = planner(&url, command);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("names a worker of Citus"), "{said}");
    }
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&pool).await.unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_table_in_parts_is_not_distributed() {
    let url = empty_database().await;
    succeeded(&planner(&url, &["migrate", "--partitions", "2"]));
    let pool = PgPool::connect(&url).await.unwrap();
    for statement in STAND_IN {
        sqlx::query(*statement).execute(&pool).await.unwrap();
    }
    let refused = planner(&url, &["migrate", "--distribute"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is in parts"));
}
