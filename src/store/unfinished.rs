//! Connections with an operation in progress, which must not return to the pool before it ends.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

/// A connection on which rows are copied in, or many rows are read out. It is closed when it is dropped, unless
/// [`Self::finished`] was called.
///
/// A `COPY` that is abandoned would leave its response on the connection, and whoever uses it next would take every
/// response for that of another statement. Rows that nobody has read would first be read to their end, on a thread that
/// serves requests.
#[derive(Debug)]
pub struct Unfinished(Option<PoolConnection<Postgres>>);

impl Unfinished {
    /// Wraps a connection on which no operation has begun yet.
    #[must_use]
    pub const fn new(connection: PoolConnection<Postgres>) -> Self {
        Self(Some(connection))
    }

    /// Returns the connection to its pool. Call it once every statement has been answered to its end.
    pub fn finished(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Unfinished {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect("it is taken out at its end only")
    }
}

impl DerefMut for Unfinished {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("it is taken out at its end only")
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // Detached, so that it is closed and does not go back to the pool.
            drop(connection.detach());
        }
    }
}
