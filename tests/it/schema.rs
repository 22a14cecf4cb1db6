//! The schema: applied once however many start, and commented throughout.

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
    assert_eq!(commented, 11);
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
    );
    let words: Vec<&str> = migrations.split_whitespace().collect();
    for name in names {
        assert!(
            words.windows(2).any(|pair| pair == ["CONSTRAINT", &name]),
            "{name} is PostgreSQL's"
        );
    }
}

/// What takes away or changes something that earlier versions may use.
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
