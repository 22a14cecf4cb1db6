//! Whether a pooler stands before the database, and lends its connections by transaction.
//!
//! Behind such a pooler (PgBouncer with `pool_mode = transaction`, for instance) what one statement sets
//! up for a session is gone, or somebody else's, at the next: LISTEN is accepted and never heard, and the
//! notification disturbs whoever uses that connection then. Nothing announces the mode, so it is tried:
//! while one connection is inside a transaction, the other must still be where it was.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::time::timeout;

/// How a connection is related to a session of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// It is one, for as long as it is open.
    Sessions,
    /// It is lent one for each transaction.
    Transactions,
}

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub enum PoolingError {
    /// A pooler lends by transaction and loses prepared statements on the way.
    #[error(
        "a pooler before the database lends its connections by transaction and loses prepared statements: \
         use PgBouncer 1.21 or newer with max_prepared_statements above 0, or pool_mode = session, or the \
         database's own address"
    )]
    NoStatements,
    /// The database does not answer, or no two connections are to be had.
    #[error(transparent)]
    Database(sqlx::Error),
}

/// How often it is tried: with many clients a pooler may hand out another session by chance.
const ROUNDS: usize = 3;

/// SQLSTATE of a statement that was prepared in another session.
const UNKNOWN_STATEMENT: &str = "26000";
/// SQLSTATE of a statement that somebody else has prepared by the same name.
const TAKEN_STATEMENT: &str = "42P05";

/// Tries what stands at this address, with two connections that are closed again.
///
/// # Errors
/// [`PoolingError`]; of the database, also where two connections are not to be had within `limit`.
#[tracing::instrument(name = "db.pooling.find", level = "debug", skip_all)]
pub async fn find_pooling(
    options: &PgConnectOptions,
    limit: Duration,
) -> Result<Pooling, PoolingError> {
    let tried = async {
        let mut one = PgConnection::connect_with(options).await?;
        let mut other = PgConnection::connect_with(options).await?;
        let mut pooling = Pooling::Sessions;
        for _ in 0..ROUNDS {
            let before = session(&mut one).await?;
            let mut transaction = other.begin().await?;
            let lent = session(&mut transaction).await?;
            let now = session(&mut one).await?;
            transaction.rollback().await?;
            if lent == before || now != before {
                pooling = Pooling::Transactions;
                break;
            }
        }
        one.close().await?;
        other.close().await?;
        Ok(pooling)
    };
    let outcome = timeout(limit, tried).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    outcome.map_err(|error| {
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            Some(UNKNOWN_STATEMENT | TAKEN_STATEMENT) => PoolingError::NoStatements,
            _ => PoolingError::Database(error),
        }
    })
}

/// The session that a connection is in, by its process of the server. As a prepared statement, as all of
/// this program's are.
async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let statement = sqlx::query("SELECT pg_backend_pid()");
    connection.fetch_one(statement).await?.try_get(0)
}
