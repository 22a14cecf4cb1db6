//! Uploads and exports that take long: how many at once, how large, and for how long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::api::wire::problem::ApiError;
use crate::intake::IngestLimits;

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
    /// How long those under way may go on when the service stops.
    pub drain: Duration,
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

    /// A place for one more, waited for half as long as a silence may last: so that the answer says why.
    ///
    /// # Errors
    /// [`ApiError::TransfersBusy`].
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(self.limits.silence / 2, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(closed)) => Err(ApiError::Internal(closed.into())),
            Err(_) => Err(ApiError::TransfersBusy),
        }
    }

    /// Does the work, unless the service stops and the time that is left then is over.
    ///
    /// # Errors
    /// Those of the work; [`ApiError::Stopping`].
    pub(crate) async fn until_stopped<T>(
        &self,
        shutdown: &CancellationToken,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let stopped = async {
            shutdown.cancelled().await;
            tokio::time::sleep(self.limits.drain).await;
        };
        tokio::select! {
            done = work => done,
            () = stopped => Err(ApiError::Stopping),
        }
    }
}
