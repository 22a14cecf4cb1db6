//! File locks between the processes that share a private server.
//!
//! The kernel frees them when a process ends, however it ends. Waiting is a poll of `try_lock`:
//! a blocked `lock` call could neither be bounded nor given up with the future that waits for it.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::postgres::error::{PostgresError, at};

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(25);

/// A lock held until dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Waits up to `limit` to be the only holder; `path` is for the error.
    pub(crate) async fn exclusive(
        file: File,
        path: &Path,
        limit: Duration,
    ) -> Result<Lock, PostgresError> {
        let end = Instant::now() + limit;
        while !taken(file.try_lock(), path)? {
            still_time(end, path)?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(Lock(file))
    }

    /// [`Lock::exclusive`] for a thread that may block.
    pub(crate) fn exclusive_blocking(
        file: File,
        path: &Path,
        limit: Duration,
    ) -> Result<Lock, PostgresError> {
        let end = Instant::now() + limit;
        while !taken(file.try_lock(), path)? {
            still_time(end, path)?;
            thread::sleep(PAUSE);
        }
        Ok(Lock(file))
    }

    /// Takes the lock at once, shared with others that do so, unless somebody holds it alone.
    pub(crate) fn shared(file: File, path: &Path) -> Result<Option<Lock>, PostgresError> {
        Ok(taken(file.try_lock_shared(), path)?.then_some(Lock(file)))
    }

    /// Takes the lock at once unless anybody holds it.
    pub(crate) fn alone(file: File, path: &Path) -> Result<Option<Lock>, PostgresError> {
        Ok(taken(file.try_lock(), path)?.then_some(Lock(file)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child being forked just now holds the open file for a moment.
        let _ = self.0.unlock();
    }
}

fn taken(attempt: Result<(), TryLockError>, path: &Path) -> Result<bool, PostgresError> {
    match attempt {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(at("lock", path)(error)),
    }
}

fn still_time(end: Instant, path: &Path) -> Result<(), PostgresError> {
    if Instant::now() < end { Ok(()) } else { Err(PostgresError::Busy { path: path.into() }) }
}
