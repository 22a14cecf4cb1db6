//! File locks between the processes that share a private server.
//!
//! The kernel releases them when a process ends, in whatever way. Waiting polls `try_lock`, because a blocking `lock`
//! call could neither be limited in time nor be cancelled together with the future that waits for it.

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
    /// Waits up to `limit` until no other process holds the lock; `path` is only used in the error.
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

    /// Tries to take the lock shared with other holders; `None` if somebody holds it exclusively.
    pub(crate) fn shared(file: File, path: &Path) -> Result<Option<Lock>, PostgresError> {
        Ok(taken(file.try_lock_shared(), path)?.then_some(Lock(file)))
    }

    /// Tries to take the lock exclusively; `None` if anybody holds it.
    pub(crate) fn alone(file: File, path: &Path) -> Result<Option<Lock>, PostgresError> {
        Ok(taken(file.try_lock(), path)?.then_some(Lock(file)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that is being forked at this moment still has it open for a while.
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
