//! The schema: applied once however many start, and commented throughout.

use std::time::Duration;

use futures_util::future::join_all;
use sparsity_planner::store::{self, Schema};

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
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
             AND relname <> '_sqlx_migrations' AND col_description(attrelid, attnum) IS NULL",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(bare, [""; 0]);
    let commented: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
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
             AND contype <> 'n'",
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
