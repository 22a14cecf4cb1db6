//! Every line of SQL.
//!
//! Functions take an executor, so the caller owns the transaction. Row types are private; rows become checked values
//! before they leave this module. There is only one kind of database, so there are no repository traits.
//!
//! | verb | meaning |
//! |---|---|
//! | `insert_`, `update_`, `delete_` | write |
//! | `find_` | one or none |
//! | `list_` | a page, newest first |
//! | `claim_`, `renew_`, `finish_` | the life cycle of a refit |
//! | `lock_` | keeps others from writing until the transaction ends |

pub mod audit;
pub mod distribution;
pub mod families;
pub mod forecasts;
pub mod keys;
pub mod law_evidence;
mod law_origin;
pub mod laws;
pub mod mappings;
pub mod partitions;
pub mod pooling;
pub mod positions;
pub mod profiles;
pub mod refits;
pub mod runs;
mod schedules;
pub mod scores;
pub mod staging;
pub mod standing;
pub mod unfinished;
pub mod uploads;
mod zeros;

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use crate::domain::api_key::MOST_KEYS;

/// Why the store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another family has the name.
    #[error("a family of this name exists already")]
    FamilyNameTaken,
    /// Another hardware profile has the name.
    #[error("a hardware profile of this name exists already")]
    ProfileNameTaken,
    /// There are already as many valid keys as the services keep in memory.
    #[error("there are {} valid API keys, the most there can be", MOST_KEYS)]
    TooManyKeys,
    /// The family was deleted meanwhile.
    #[error("the family does not exist any more")]
    FamilyGone,
    /// Another law of the family was stored under this version at the same time.
    #[error("another law was stored at the same time")]
    LawVersionTaken,
    /// The family has a queued refit already.
    #[error("a refit of this family is queued already")]
    RefitQueued,
    /// The sparsity pattern that a run would keep contradicts the run's new sparsity; nothing was stored.
    #[error("a run would keep a pattern that its sparsity contradicts")]
    PatternContradicted,
    /// The lease on a piece of work belongs to another process now, or is gone: no result may be stored.
    #[error("the lease is another process's now")]
    LeaseLost,
    /// A row violates a rule that the database should have enforced.
    #[error("the row {id} of {table} holds what the service would not have stored: {detail}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        id: Uuid,
        /// What is wrong with it.
        detail: String,
    },
    /// Any other error of the database.
    #[error(transparent)]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    /// Recognises constraint violations by the constraint's name.
    fn from(error: sqlx::Error) -> Self {
        let violated = error.as_database_error().and_then(violated);
        match violated.as_deref() {
            Some("families_name_key") => Self::FamilyNameTaken,
            Some("hardware_profiles_name_key") => Self::ProfileNameTaken,
            Some(
                "runs_family_id_fkey"
                | "laws_family_id_fkey"
                | "refits_family_id_fkey"
                | "forecasts_family_id_fkey"
                | "mappings_family_id_fkey"
                | "uploads_family_id_fkey",
            ) => Self::FamilyGone,
            Some("laws_family_id_version_key") => Self::LawVersionTaken,
            Some("runs_kept_pattern") => Self::PatternContradicted,
            Some("refits_one_queued_per_family_key") => Self::RefitQueued,
            _ => Self::Database(error),
        }
    }
}

/// The name of the constraint that an error reports. On a shard of a distributed table (Citus), the shard's number is
/// stripped from the end of the name. The coordinator may pass on a node's error with the name in the message only.
fn violated(error: &(dyn DatabaseError + 'static)) -> Option<String> {
    let is_violation = error.code().is_some_and(|code| code.starts_with(INTEGRITY));
    let name = match error.constraint() {
        Some(name) => name,
        // Raised by our own function `kept_pattern`.
        None if error.message().starts_with(KEPT_PATTERN) => "runs_kept_pattern",
        // For example: unique constraint "laws_family_id_version_key_102040". The other words may be in any language.
        None if is_violation => error.message().split('"').skip(1).step_by(2).last()?,
        None => return None,
    };
    let shard = name.rsplit_once('_').filter(|(_, number)| {
        number.len() > 1 && number.bytes().all(|digit| digit.is_ascii_digit())
    });
    Some(shard.map_or(name, |(name, _)| name).to_owned())
}

/// Message of the function `kept_pattern`; Citus passes it on without the name of the constraint.
const KEPT_PATTERN: &str = "a run would keep a pattern that its sparsity contradicts";

/// SQLSTATE class of constraint violations.
const INTEGRITY: &str = "23";

impl StoreError {
    /// Whether the database's disk is full: nothing can be stored until somebody makes room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| code == DISK_FULL)
    }

    /// Whether the database is temporarily unavailable, as opposed to rejecting the request: the same request may
    /// succeed in a moment.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        let Self::Database(error) = self else { return false };
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            // The protocol is out of step on this connection, as a pooler may cause; another connection is not
            // affected.
            | sqlx::Error::Protocol(_) => true,
            sqlx::Error::Database(error) => {
                error.code().is_some_and(|code| may_pass(&code))
                    || NODE_LOST.iter().any(|lost| error.message().starts_with(lost))
            }
            _ => false,
        }
    }
}

/// Messages that Citus sends with the SQLSTATE of an internal error: when a node that takes part in a transaction is
/// unreachable, and when the coordinator stops while waiting for a node.
const NODE_LOST: [&str; 2] =
    ["failure on connection marked as essential", "postmaster was shut down"];

/// SQLSTATE `disk_full`.
const DISK_FULL: &str = "53100";

/// Whether the condition behind this SQLSTATE may be over in a moment.
fn may_pass(code: &str) -> bool {
    match code {
        // read_only_sql_transaction: a standby, or a primary that was set to read only because its disk is full or a
        // new primary is taking over.
        "25006" => true,
        // idle_in_transaction_session_timeout, transaction_timeout.
        "25P03" | "25P04" => true,
        // serialization_failure, deadlock_detected, lock_not_available: two transactions wanted the same rows, and this
        // one was rolled back.
        "40001" | "40P01" | "55P03" => true,
        // system_error, io_error: the operating system failed to read or write.
        "58000" | "58030" => true,
        // invalid_catalog_name: the database is being created or restored.
        "3D000" => true,
        // Classes: connection; password (somebody may be changing it); resources (full disk, memory, connections);
        // operator intervention.
        _ => ["08", "28", "53", "57"].iter().any(|class| code.starts_with(class)),
    }
}

/// The embedded migrations: what `migrate` applies and `readyz` expects. Migrations of newer versions in the database
/// are not an error; see [`Schema`].
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!();
    migrator.set_ignore_missing(true);
    // The migrator's lock would belong to the session, and a pooler may lend that session to somebody else before it is
    // unlocked.
    migrator.set_locking(false);
    migrator
});

/// Key of the advisory lock held during a migration.
const MIGRATION_LOCK: i64 = 0x7370_6172_7369_7479;

/// First word in the name of a migration that removes or changes something that earlier versions use. All other
/// migrations only add, so versions that do not know them keep working.
const CONTRACT: &str = "contract";

/// How the database's schema relates to this version of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// The schema lacks migrations that this version knows.
    Older,
    /// The schema has all migrations of this version, and perhaps newer ones that only add.
    Usable {
        /// Versions of the migrations that this version does not know.
        newer: Vec<i64>,
    },
    /// A newer version has removed something that this version may use.
    Contracted {
        /// The first migration that removed something.
        version: i64,
    },
}

/// Why the schema cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The schema is too new.
    #[error(
        "the database has migration {version} of a newer version of this program, which takes away what \
         this version uses: start the newer version"
    )]
    Contracted {
        /// The version of the migration.
        version: i64,
    },
    /// A migration failed.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
}

/// Opens a connection pool.
///
/// # Errors
/// If the database cannot be reached within `acquire_timeout`.
pub async fn connect(
    options: PgConnectOptions,
    max_connections: u32,
    acquire_timeout: Duration,
) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(acquire_timeout)
        .connect_with(of_ours(options))
        .await
}

/// Adds the settings that all our connections share: the application's name, and no setting that poolers refuse by
/// default. `extra_float_digits` is not needed, since PostgreSQL 12 and later write every digit of a float without it.
#[must_use]
pub fn of_ours(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("sparsity-planner").extra_float_digits(None)
}

/// Brings the schema up to date.
///
/// Replicas that start together wait for one another, by an advisory lock that lasts for a transaction. Nothing is
/// written if there is nothing to do, so a version also starts on a database that is read only for now, and on the
/// schema of a newer version.
///
/// # Errors
/// If a migration fails, or the database is too new for this version.
pub async fn migrate(pool: &PgPool) -> Result<(), SchemaError> {
    match find_schema(pool).await {
        Ok(Schema::Usable { newer }) => {
            if !newer.is_empty() {
                tracing::warn!(?newer, "the schema is of a newer version of this program");
            }
            Ok(())
        }
        Ok(Schema::Contracted { version }) => Err(SchemaError::Contracted { version }),
        // An error most likely means a database without any tables. If it is anything else, the migrator reports it.
        Ok(Schema::Older) | Err(_) => {
            let mut alone = pool.begin().await.map_err(MigrateError::Execute)?;
            sqlx::query!("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
                .execute(&mut *alone)
                .await
                .map_err(MigrateError::Execute)?;
            MIGRATOR.run(pool).await?;
            Ok(alone.commit().await.map_err(MigrateError::Execute)?)
        }
    }
}

/// How the database's schema relates to this version of the program.
///
/// # Errors
/// If the database does not answer, or has no schema at all.
#[tracing::instrument(name = "db.schema.find", level = "debug", skip_all)]
pub async fn find_schema(db: impl PgExecutor<'_>) -> Result<Schema, StoreError> {
    let applied = sqlx::query!(
        r#"
        -- One row a migration; sqlx keeps this table.
        SELECT version, description, checksum FROM _sqlx_migrations WHERE success ORDER BY version
        "#
    )
    .fetch_all(db)
    .await?;
    let known = |version| MIGRATOR.iter().find(|migration| migration.version == version);
    let unknown: Vec<_> = applied.iter().filter(|row| known(row.version).is_none()).collect();
    if let Some(row) = unknown.iter().find(|row| row.description.starts_with(CONTRACT)) {
        return Ok(Schema::Contracted { version: row.version });
    }
    let is_applied = |migration: &Migration| {
        let row = applied.iter().find(|row| row.version == migration.version);
        row.is_some_and(|row| row.checksum == *migration.checksum)
    };
    if !MIGRATOR.iter().all(is_applied) {
        return Ok(Schema::Older);
    }
    Ok(Schema::Usable { newer: unknown.iter().map(|row| row.version).collect() })
}

/// The encoding in which the database stores text, such as `UTF8`.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.schema.find_encoding", level = "debug", skip_all)]
pub async fn find_encoding(db: impl PgExecutor<'_>) -> Result<String, StoreError> {
    let encoding =
        sqlx::query_scalar!(r#"SELECT current_setting('server_encoding') AS "encoding!""#);
    Ok(encoding.fetch_one(db).await?)
}

/// Sends `word` to everybody who listens on `channel`, when the transaction commits.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.announcements.insert", level = "debug", skip_all)]
pub async fn announce(
    db: impl PgExecutor<'_>,
    channel: &str,
    word: &str,
) -> Result<(), StoreError> {
    sqlx::query!("SELECT pg_notify($1, $2)", channel, word).execute(db).await?;
    Ok(())
}

/// Whether announcements of the database reach this connection: they do not on a worker of Citus, where only the
/// coordinator announces. Needs no schema, so it can be called before anything is created.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.announcements.find_here", level = "debug", skip_all)]
pub async fn find_announces_here(db: &mut PgConnection) -> Result<bool, StoreError> {
    // Mirrors the SQL function announces_here(). The table belongs to Citus and does not exist where queries are
    // checked at compile time, so the query is a plain string.
    let is_citus = "SELECT to_regclass('pg_dist_local_group') IS NOT NULL";
    if !sqlx::query_scalar(is_citus).fetch_one(&mut *db).await? {
        return Ok(true);
    }
    let is_first = "SELECT coalesce(min(groupid) = 0, true) FROM pg_dist_local_group";
    Ok(sqlx::query_scalar(is_first).fetch_one(db).await?)
}

/// Checks that a connection still works by a query that reads nothing.
///
/// # Errors
/// If it does not.
pub async fn find_answer(listening: &mut PgListener) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        -- Whether somebody still listens.
        SELECT 1 AS answer
        "#
    )
    .fetch_one(listening)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::error::ErrorKind;

    use super::*;

    /// A database error: SQLSTATE, message, and the constraint if one is violated.
    #[derive(Debug)]
    struct Said(&'static str, &'static str, Option<&'static str>);

    impl std::fmt::Display for Said {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.1)
        }
    }

    impl std::error::Error for Said {}

    impl DatabaseError for Said {
        fn message(&self) -> &str {
            self.1
        }

        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.0.into())
        }

        fn constraint(&self) -> Option<&str> {
            self.2
        }

        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::UniqueViolation
        }
    }

    #[test]
    fn constraints_are_known_by_their_name_also_on_a_shard_and_from_another_node() {
        let said = |message, constraint| {
            StoreError::from(sqlx::Error::Database(Box::new(Said("23505", message, constraint))))
        };
        for (message, constraint) in [
            ("duplicate key", Some("laws_family_id_version_key")),
            ("duplicate key", Some("laws_family_id_version_key_102040")),
            (
                "duplicate key violates unique constraint \"laws_family_id_version_key_102040\"",
                None,
            ),
            (
                "Eintrag in Relation \"laws_102040\" verletzt \"laws_family_id_version_key_102040\"",
                None,
            ),
        ] {
            let error = said(message, constraint);
            assert!(matches!(error, StoreError::LawVersionTaken), "{error:?}");
        }
        let kept = said("a run would keep a pattern that its sparsity contradicts", None);
        assert!(matches!(kept, StoreError::PatternContradicted), "{kept:?}");
        for (message, constraint) in [("duplicate key", None), ("x", Some("laws_102040"))] {
            assert!(matches!(said(message, constraint), StoreError::Database(_)));
        }
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        // connection_failure, invalid_password, read_only_sql_transaction, transaction_timeout,
        // serialization_failure, deadlock_detected, disk_full, out_of_memory, too_many_connections,
        // lock_not_available, query_canceled, admin_shutdown, crash_shutdown, cannot_connect_now, io_error
        for code in [
            "08006", "28P01", "25006", "25P04", "40001", "40P01", "53100", "53200", "53300",
            "55P03", "57014", "57P01", "57P02", "57P03", "58030", "3D000",
        ] {
            assert!(may_pass(code), "{code}");
        }
        // numeric_value_out_of_range, not_null_violation, unique_violation, in_failed_sql_transaction,
        // insufficient_privilege, undefined_table, undefined_file, internal_error, data_corrupted
        for code in
            ["22003", "23502", "23505", "25P02", "42501", "42P01", "58P01", "XX000", "XX001"]
        {
            assert!(!may_pass(code), "{code}");
        }
        for error in [
            sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
            sqlx::Error::PoolTimedOut,
            sqlx::Error::PoolClosed,
            sqlx::Error::Protocol("unexpected message: NotificationResponse".to_owned()),
        ] {
            assert!(StoreError::Database(error).is_unavailable());
        }
        let internal = |message| {
            StoreError::from(sqlx::Error::Database(Box::new(Said("XX000", message, None))))
        };
        for lost in [
            "failure on connection marked as essential: 10.0.0.7:5432",
            "postmaster was shut down, exiting",
        ] {
            assert!(internal(lost).is_unavailable());
        }
        assert!(!internal("cache lookup failed for type 17").is_unavailable());
        assert!(!StoreError::Database(sqlx::Error::RowNotFound).is_unavailable());
        assert!(!StoreError::FamilyGone.is_unavailable());
    }
}
