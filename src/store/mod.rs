//! Every line of SQL.
//!
//! Functions take an executor, so the caller owns the transaction; rows are private and become
//! checked values before they leave. There is one database, so there are no repository traits.
//!
//! | verb | meaning |
//! |---|---|
//! | `insert_`, `update_`, `delete_` | write |
//! | `find_` | one or none |
//! | `list_` | a page, newest first |
//! | `claim_`, `renew_`, `finish_` | the life of a refit |
//! | `lock_` | keep others from writing until the transaction ends |

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

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another family has the name.
    #[error("a family of this name exists already")]
    FamilyNameTaken,
    /// Another hardware profile has the name.
    #[error("a hardware profile of this name exists already")]
    ProfileNameTaken,
    /// There are as many valid keys as the services keep in memory.
    #[error("there are {} valid API keys, the most there can be", MOST_KEYS)]
    TooManyKeys,
    /// The family was deleted meanwhile.
    #[error("the family does not exist any more")]
    FamilyGone,
    /// Another law of the family got the version at the same time.
    #[error("another law was stored at the same time")]
    LawVersionTaken,
    /// The family has a queued refit already.
    #[error("a refit of this family is queued already")]
    RefitQueued,
    /// A run would keep a pattern that its new sparsity contradicts; nothing was stored.
    #[error("a run would keep a pattern that its sparsity contradicts")]
    PatternContradicted,
    /// What a process works on is another's now, or gone: nothing of its work may be stored.
    #[error("the lease is another process's now")]
    LeaseLost,
    /// A row breaks a rule that the database should have kept.
    #[error("the row {id} of {table} holds what the service would not have stored: {detail}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        id: Uuid,
        /// What is wrong with it.
        detail: String,
    },
    /// Anything else that the database says.
    #[error(transparent)]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    /// Recognises violations by the name of the constraint.
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

/// The constraint that an error names. Where the table is one of the shards of a distributed one (Citus), it has the
/// number of the shard behind its name; and where the coordinator passes on what a node said, it may stand in the
/// message alone.
fn violated(error: &(dyn DatabaseError + 'static)) -> Option<String> {
    let is_violation = error.code().is_some_and(|code| code.starts_with(INTEGRITY));
    let name = match error.constraint() {
        Some(name) => name,
        // The words of our own function.
        None if error.message().starts_with(KEPT_PATTERN) => "runs_kept_pattern",
        // unique constraint "laws_family_id_version_key_102040"; the other words may be of any language.
        None if is_violation => error.message().split('"').skip(1).step_by(2).last()?,
        None => return None,
    };
    let shard = name.rsplit_once('_').filter(|(_, number)| {
        number.len() > 1 && number.bytes().all(|digit| digit.is_ascii_digit())
    });
    Some(shard.map_or(name, |(name, _)| name).to_owned())
}

/// What the function `kept_pattern` says; Citus passes it on without the name of the constraint.
const KEPT_PATTERN: &str = "a run would keep a pattern that its sparsity contradicts";

/// Class of the SQLSTATEs of violated constraints.
const INTEGRITY: &str = "23";

impl StoreError {
    /// Whether the disk of the database is full: nothing can be stored until somebody makes room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| code == DISK_FULL)
    }

    /// Whether the database is out of reach rather than in disagreement: the same request may
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
            // The conversation with the server is out of step, as a pooler brings about: another connection
            // has one of its own.
            | sqlx::Error::Protocol(_) => true,
            sqlx::Error::Database(error) => {
                error.code().is_some_and(|code| may_pass(&code))
                    || NODE_LOST.iter().any(|lost| error.message().starts_with(lost))
            }
            _ => false,
        }
    }
}

/// What Citus says, by the SQLSTATE of an internal error, where a node that takes part in a transaction is away, and where
/// the coordinator stops while it waits for one.
const NODE_LOST: [&str; 2] =
    ["failure on connection marked as essential", "postmaster was shut down"];

/// What PostgreSQL says where its disk is full: `disk_full`.
const DISK_FULL: &str = "53100";

/// Whether what this SQLSTATE says may be over in a moment.
fn may_pass(code: &str) -> bool {
    match code {
        // A standby, or a primary that somebody set to read only: the disk is full, or a new primary is on.
        "25006" => true,
        // The transaction was idle, or took, for too long.
        "25P03" | "25P04" => true,
        // Two transactions wanted the same rows, and this one was told to go.
        "40001" | "40P01" | "55P03" => true,
        // The system beneath failed to read or write.
        "58000" | "58030" => true,
        // The database is being made or restored.
        "3D000" => true,
        // Classes: connection; password, which somebody changes; resources (a full disk, memory,
        // connections); intervention of an operator.
        _ => ["08", "28", "53", "57"].iter().any(|class| code.starts_with(class)),
    }
}

/// The schema, embedded: what `migrate` applies and `readyz` expects. Migrations of newer versions are
/// no error: see [`Schema`].
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!();
    migrator.set_ignore_missing(true);
    // It would lock for a session, which a pooler may lend to somebody else before it is unlocked.
    migrator.set_locking(false);
    migrator
});

/// Held by whoever migrates a database.
const MIGRATION_LOCK: i64 = 0x7370_6172_7369_7479;

/// First word of the name of a migration that takes away or changes what earlier versions use. Others only
/// add, so that versions that do not know them go on working.
const CONTRACT: &str = "contract";

/// How the schema stands to this version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// It lacks migrations that this version knows.
    Older,
    /// It has them all, and perhaps others that only add.
    Usable {
        /// Those that this version does not know.
        newer: Vec<i64>,
    },
    /// A newer version has taken away what this one may use.
    Contracted {
        /// The first migration that did.
        version: i64,
    },
}

/// Why the schema is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is too new.
    #[error(
        "the database has migration {version} of a newer version of this program, which takes away what \
         this version uses: start the newer version"
    )]
    Contracted {
        /// The migration.
        version: i64,
    },
    /// A migration failed.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
}

/// Opens the pool.
///
/// # Errors
/// Where the database cannot be reached within `acquire_timeout`.
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

/// Says who connects, and asks for no setting that poolers refuse by default: without `extra_float_digits`
/// PostgreSQL writes every digit of a float since version 12.
#[must_use]
pub fn of_ours(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("sparsity-planner").extra_float_digits(None)
}

/// Brings the schema up to date. Replicas that start together wait for one another: the migrator
/// holds an advisory lock of a transaction. Where there is nothing to do nothing is written, so that a version also starts
/// on a database that is read only for now, and beside the schema of a newer one.
///
/// # Errors
/// Where a migration fails, or the database is too new for this version.
pub async fn migrate(pool: &PgPool) -> Result<(), SchemaError> {
    match find_schema(pool).await {
        Ok(Schema::Usable { newer }) => {
            if !newer.is_empty() {
                tracing::warn!(?newer, "the schema is of a newer version of this program");
            }
            Ok(())
        }
        Ok(Schema::Contracted { version }) => Err(SchemaError::Contracted { version }),
        // An error: most likely a database without any table. The migrator says what else it is.
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

/// How the database's schema stands to this version.
///
/// # Errors
/// Where it does not answer, or has no schema at all.
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

/// The encoding that the database keeps its text in, such as `UTF8`.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.schema.find_encoding", level = "debug", skip_all)]
pub async fn find_encoding(db: impl PgExecutor<'_>) -> Result<String, StoreError> {
    let encoding =
        sqlx::query_scalar!(r#"SELECT current_setting('server_encoding') AS "encoding!""#);
    Ok(encoding.fetch_one(db).await?)
}

/// Announces a word on a channel, to whoever listens there.
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

/// Whether what the database announces is heard where the connection leads: not on a worker of Citus, whose coordinator
/// announces. Needs no schema, so that it can be asked before anything is done there.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.announcements.find_here", level = "debug", skip_all)]
pub async fn find_announces_here(db: &mut PgConnection) -> Result<bool, StoreError> {
    // As announces_here() says it. The table is Citus' and is not there where queries are checked.
    let is_citus = "SELECT to_regclass('pg_dist_local_group') IS NOT NULL";
    if !sqlx::query_scalar(is_citus).fetch_one(&mut *db).await? {
        return Ok(true);
    }
    let is_first = "SELECT coalesce(min(groupid) = 0, true) FROM pg_dist_local_group";
    Ok(sqlx::query_scalar(is_first).fetch_one(db).await?)
}

/// Asks for nothing but an answer: whether a connection still is one.
///
/// # Errors
/// Where it is not.
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

    /// What a database says: an SQLSTATE, a message, and where one is violated a constraint.
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
