//! How far the database has written its write-ahead log (WAL), and how far a streaming replica has replayed it.
//! Positions are in bytes.

use sqlx::PgExecutor;

use crate::store::StoreError;

/// Identifies a database; the same for its streaming replicas, and for no other database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// System identifier of the cluster, which its replicas share.
    pub system: i64,
    /// The database within the cluster.
    pub database: i64,
}

/// Finds out which database this is.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.positions.find_identity", level = "debug", skip_all)]
pub async fn find_identity(db: impl PgExecutor<'_>) -> Result<Identity, StoreError> {
    let identity = sqlx::query_as!(
        Identity,
        r#"
        -- Both functions are open to every role.
        SELECT system_identifier AS "system!", d.oid::bigint AS "database!"
        FROM pg_control_system(), pg_database AS d
        WHERE d.datname = current_database()
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(identity)
}

/// Where a primary's log ends: everything committed so far lies below this position.
///
/// # Errors
/// [`StoreError::Database`]; also if this is a replica.
#[tracing::instrument(name = "db.positions.find_written", level = "debug", skip_all)]
pub async fn find_written(db: impl PgExecutor<'_>) -> Result<i64, StoreError> {
    let written = sqlx::query_scalar!(
        r#"
        -- The end of what is inserted and not of what is flushed: so a commit that does not wait for the disk
        -- (synchronous_commit = off) is below it too. Where the last record fills its page, the next would
        -- begin behind the header of another page, which a replica has not replayed until there is one.
        SELECT (log.end - CASE
            WHEN log.end % current_setting('wal_block_size')::bigint = 24 THEN 24
            WHEN log.end % pg_size_bytes(current_setting('wal_segment_size')) = 40 THEN 40
            ELSE 0 END)::bigint AS "written!"
        FROM (SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS end) AS log
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(written)
}

/// How far a replica has replayed the log: everything below this position can be read there. `None` if this is not a
/// replica, or no longer one.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.positions.find_replayed", level = "debug", skip_all)]
pub async fn find_replayed(db: impl PgExecutor<'_>) -> Result<Option<i64>, StoreError> {
    let replayed = sqlx::query_scalar!(
        r#"
        -- A primary that was a replica remembers how far it had replayed, which says nothing any more.
        SELECT CASE WHEN pg_is_in_recovery()
            THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint END AS replayed
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(replayed)
}
