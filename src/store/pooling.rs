//! Detects a pooler in front of the database that lends its connections per transaction.
//!
//! Behind such a pooler (for example PgBouncer with `pool_mode = transaction`), what one statement sets up for its
//! session is gone, or belongs to somebody else, by the next statement: LISTEN is accepted but its notifications never
//! arrive, and they disturb whoever uses that connection at the time. No pooler reports its mode, so it is found by
//! experiment: while a second connection is inside a transaction, the first must still be in the same session as
//! before.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::time::timeout;

/// How a client connection relates to a session of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The connection is one session for as long as it is open.
    Sessions,
    /// The connection is lent a session for each transaction.
    Transactions,
}

/// Why the pooling mode could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum PoolingError {
    /// A pooler lends connections per transaction and does not keep prepared statements.
    #[error(
        "a pooler before the database lends its connections by transaction and loses prepared statements: \
         use PgBouncer 1.21 or newer with max_prepared_statements above 0, or pool_mode = session, or the \
         database's own address"
    )]
    NoStatements,
    /// The database does not answer, or two connections cannot be opened.
    #[error(transparent)]
    Database(sqlx::Error),
}

/// How often the experiment is repeated: with many clients a pooler may return the same session by chance.
const ROUNDS: usize = 3;

/// SQLSTATE of a prepared statement that this session does not know.
const UNKNOWN_STATEMENT: &str = "26000";
/// SQLSTATE of a prepared statement whose name is taken in this session.
const TAKEN_STATEMENT: &str = "42P05";

/// Finds out the pooling mode with two connections, which are closed afterwards.
///
/// # Errors
/// [`PoolingError`]; its `Database` also if two connections cannot be had within `limit`.
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

/// The session of a connection, as the id of its server process. Uses a prepared statement, like every query of this
/// program.
async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let statement = sqlx::query("SELECT pg_backend_pid()");
    connection.fetch_one(statement).await?.try_get(0)
}
