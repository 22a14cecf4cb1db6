//! Partitions the table of runs by family, for a server on which one table of all runs has become unwieldy.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::store::StoreError;

/// Partitions the table of runs into `parts` partitions by a hash of the family. Returns `false` if it is partitioned
/// already.
///
/// It all happens in one transaction, during which nobody else can read or write the runs. Indexes, constraints, rules,
/// triggers and views on the table are recreated as they were; privileges that other roles had on the table and on the
/// views are not.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.partition", level = "debug", skip_all)]
pub async fn partition_runs(db: &mut PgConnection, parts: u16) -> Result<bool, StoreError> {
    let mut transaction = db.begin().await?;
    execute(&mut transaction, "LOCK TABLE runs IN ACCESS EXCLUSIVE MODE").await?;
    let is_whole = "SELECT 'whole' FROM pg_class WHERE oid = 'runs'::regclass AND relkind = 'r'";
    if find_texts(&mut transaction, is_whole).await?.is_empty() {
        return Ok(false);
    }
    // Indexes that belong to constraints are recreated together with them.
    let indexes = "SELECT pg_get_indexdef(indexrelid) FROM pg_index
        WHERE indrelid = 'runs'::regclass
            AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)";
    let constraints = "SELECT format(
            'ALTER TABLE runs ADD CONSTRAINT %I %s', conname,
            -- A key of a table in parts has in it what the parts go by.
            CASE contype WHEN 'p' THEN 'PRIMARY KEY (family_id, id)' ELSE pg_get_constraintdef(oid) END
        )
        FROM pg_constraint WHERE conrelid = 'runs'::regclass AND contype IN ('p', 'u', 'f')";
    let triggers = "SELECT pg_get_triggerdef(oid) FROM pg_trigger
        WHERE tgrelid = 'runs'::regclass AND NOT tgisinternal";
    let comment = "SELECT format('COMMENT ON TABLE runs IS %L', obj_description('runs'::regclass))";
    let view_of = |what: &str| {
        format!(
            "SELECT DISTINCT format({what})
            FROM pg_depend
                JOIN pg_rewrite ON pg_rewrite.oid = objid AND classid = 'pg_rewrite'::regclass
                JOIN pg_class ON pg_class.oid = ev_class
            WHERE refobjid = 'runs'::regclass AND relkind = 'v'"
        )
    };
    let drop_views = view_of("'DROP VIEW %I', relname");
    let views = view_of("'CREATE VIEW %I AS %s', relname, pg_get_viewdef(pg_class.oid)");
    let view_comments =
        view_of("'COMMENT ON VIEW %I IS %L', relname, obj_description(pg_class.oid)");
    let mut after = Vec::new();
    for made in [constraints, indexes, triggers, comment, &views, &view_comments] {
        after.extend(find_texts(&mut transaction, made).await?);
    }
    for drop in find_texts(&mut transaction, &drop_views).await? {
        execute(&mut transaction, &drop).await?;
    }
    execute(&mut transaction, "ALTER TABLE runs RENAME TO runs_whole").await?;
    execute(
        &mut transaction,
        "CREATE TABLE runs (
            LIKE runs_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING COMMENTS
        ) PARTITION BY HASH (family_id)",
    )
    .await?;
    for part in 0..parts {
        let create = format!(
            "CREATE TABLE runs_{part} PARTITION OF runs FOR VALUES WITH (MODULUS {parts}, REMAINDER {part})"
        );
        execute(&mut transaction, &create).await?;
    }
    execute(&mut transaction, "INSERT INTO runs SELECT * FROM runs_whole").await?;
    // The old table's constraints and indexes still hold the names that are needed below.
    execute(&mut transaction, "DROP TABLE runs_whole").await?;
    for made in after {
        execute(&mut transaction, &made).await?;
    }
    transaction.commit().await?;
    // Without waiting for autovacuum, as the planner needs these statistics for every query on runs.
    execute(db, "ANALYZE runs").await?;
    Ok(true)
}

async fn execute(db: &mut PgConnection, sql: &str) -> Result<(), StoreError> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await?;
    Ok(())
}

async fn find_texts(db: &mut PgConnection, sql: &str) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(db).await?)
}
