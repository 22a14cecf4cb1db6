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
pub mod families;
pub mod forecasts;
pub mod keys;
pub mod law_evidence;
pub mod laws;
pub mod profiles;
pub mod refits;
pub mod runs;
pub mod staging;

use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

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
    #[error("there are {} valid API keys, the most there can be", keys::MOST_KEYS)]
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
        let constraint = error.as_database_error().and_then(|error| error.constraint());
        match constraint {
            Some("families_name_key") => Self::FamilyNameTaken,
            Some("hardware_profiles_name_key") => Self::ProfileNameTaken,
            Some(
                "runs_family_id_fkey"
                | "laws_family_id_fkey"
                | "refits_family_id_fkey"
                | "forecasts_family_id_fkey",
            ) => Self::FamilyGone,
            Some("laws_family_id_version_key") => Self::LawVersionTaken,
            Some("refits_one_queued_per_family_key") => Self::RefitQueued,
            _ => Self::Database(error),
        }
    }
}

impl StoreError {
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
            | sqlx::Error::WorkerCrashed => true,
            // Classes of SQLSTATE: connection, resources, operator intervention.
            sqlx::Error::Database(error) => error
                .code()
                .is_some_and(|code| ["08", "53", "57"].iter().any(|class| code.starts_with(class))),
            _ => false,
        }
    }
}

/// The schema, embedded: what `migrate` applies and `readyz` expects.
static MIGRATOR: Migrator = sqlx::migrate!();

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
        .connect_with(options.application_name("sparsity-planner"))
        .await
}

/// Brings the schema up to date. Replicas that start together wait for one another: the migrator
/// holds an advisory lock.
///
/// # Errors
/// Where a migration fails, or the database is newer than this binary.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    MIGRATOR.run(pool).await
}

/// Whether the database answers and has every migration that this binary knows.
///
/// # Errors
/// Where it does not answer.
pub async fn is_migrated(pool: &PgPool) -> Result<bool, StoreError> {
    let applied = sqlx::query_scalar!(
        r#"
        -- One row a migration; sqlx keeps this table.
        SELECT version FROM _sqlx_migrations WHERE success
        "#
    )
    .fetch_all(pool)
    .await?;
    Ok(MIGRATOR.iter().all(|migration| applied.contains(&migration.version)))
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Where the next page starts: after this id. `None` at the end.
    pub next: Option<Uuid>,
}

/// A request for a page: ids below `after`, at most `limit` of them.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest {
    /// How many items.
    pub limit: u16,
    /// The last id of the page before.
    pub after: Option<Uuid>,
}

impl PageRequest {
    /// One more than asked for, to see whether there is a next page.
    fn fetch(self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Cuts a fetched list to the page.
    fn page<T>(self, mut items: Vec<T>, id: impl Fn(&T) -> Uuid) -> Page<T> {
        let more = items.len() > usize::from(self.limit);
        items.truncate(usize::from(self.limit));
        let next = if more { items.last().map(id) } else { None };
        Page { items, next }
    }
}
