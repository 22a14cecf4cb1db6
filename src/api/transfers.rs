//! Uploads and exports that take long: how many at once, how large, and for how long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::ApiError;
use crate::ingest::IngestLimits;

/// What one upload or export may cost.
#[derive(Debug, Clone, Copy)]
pub struct TransferLimits {
    /// The most bytes of an upload as it is sent.
    pub upload_bytes: u64,
    /// What is in them.
    pub ingest: IngestLimits,
    /// How many may be under way.
    pub at_once: usize,
    /// How long one may take.
    pub timeout: Duration,
    /// How long the other side may send nothing, or take nothing.
    pub silence: Duration,
}

/// Uploads and exports under way. Each holds a connection to the database and up to a few megabytes.
#[derive(Debug, Clone)]
pub struct Transfers {
    /// What one may cost.
    pub limits: TransferLimits,
    permits: Arc<Semaphore>,
}

impl Transfers {
    /// None under way.
    #[must_use]
    pub fn new(limits: TransferLimits) -> Self {
        Self { limits, permits: Arc::new(Semaphore::new(limits.at_once.max(1))) }
    }

    /// A place for one more, waited for as long as a silence may last.
    ///
    /// # Errors
    /// [`ApiError::TransfersBusy`].
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(self.limits.silence, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(closed)) => Err(ApiError::Internal(closed.into())),
            Err(_) => Err(ApiError::TransfersBusy),
        }
    }
}
