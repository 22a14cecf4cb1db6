//! Connections with something under way that must not come back to the pool before its end.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

/// A connection on which rows are copied in, or many are read out. Unless it is [`Self::finished`] it is closed when it is
/// dropped, whatever it is at.
///
/// A `COPY` that is dropped before its end would leave its answer for whoever uses the connection next, and each answer
/// after that would be taken for another's. Rows that nobody took would be read to their end first, on a thread that serves.
#[derive(Debug)]
pub struct Unfinished(Option<PoolConnection<Postgres>>);

impl Unfinished {
    /// With nothing under way yet.
    #[must_use]
    pub const fn new(connection: PoolConnection<Postgres>) -> Self {
        Self(Some(connection))
    }

    /// Every statement on it has been answered to its end: it goes back to its pool.
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
            // Not back to the pool.
            drop(connection.detach());
        }
    }
}
