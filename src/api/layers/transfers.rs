//! Limits on uploads and exports that take long: how many at once, how large, and for how long.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::api::layers::owner::Owner;
use crate::api::layers::places::{Place, Places};
use crate::api::wire::problem::ApiError;
use crate::intake::IngestLimits;

/// Limits on one upload or export.
#[derive(Debug, Clone, Copy)]
pub struct TransferLimits {
    /// Largest upload as it is sent, in bytes.
    pub upload_bytes: u64,
    /// Limits on the content of an upload.
    pub ingest: IngestLimits,
    /// Most uploads in progress at once.
    pub at_once: usize,
    /// Most exports in progress at once.
    pub exports: usize,
    /// Most uploads, and most exports, of one owner in progress at once.
    pub each: usize,
    /// Limits on uploads that are answered before they are stored.
    pub waiting: WaitingLimits,
    /// How long one transfer may take.
    pub timeout: Duration,
    /// How long the client may neither send nor read anything.
    pub silence: Duration,
    /// How long transfers in progress may continue when the service stops.
    pub drain: Duration,
}

/// Limits on uploads that are answered before they are stored.
#[derive(Debug, Clone, Copy)]
pub struct WaitingLimits {
    /// Number of such uploads that a process stores at once.
    pub at_once: usize,
    /// Most such uploads of one owner that may wait; 0 turns them off, so that each upload is answered once it is
    /// stored.
    pub each: u32,
    /// Most bytes of all waiting uploads together, as they were sent.
    pub bytes: u64,
    /// Days for which results are kept.
    pub kept_days: u32,
    /// How long a process that stores an upload may be silent before it is taken for dead.
    pub lease: Duration,
}

/// The uploads and exports in progress. Each holds a database connection and up to a few megabytes of memory.
#[derive(Debug, Clone)]
pub struct Transfers {
    /// The limits on each of them.
    pub limits: TransferLimits,
    uploads: Places<Owner>,
    exports: Places<Owner>,
}

impl Transfers {
    /// No transfers are in progress.
    #[must_use]
    pub fn new(limits: TransferLimits) -> Self {
        Self {
            limits,
            uploads: Places::new(limits.at_once, limits.each),
            exports: Places::new(limits.exports, limits.each),
        }
    }

    /// Waits for a place for an upload, for up to half of the allowed silence, so that there is time left to answer why
    /// there is none.
    ///
    /// # Errors
    /// [`ApiError::TransfersBusy`].
    pub(crate) async fn upload(&self, owner: Owner) -> Result<Place<Owner>, ApiError> {
        self.place(&self.uploads, owner, "--transfers").await
    }

    /// Waits for a place for an upload without a time limit: for uploads that no client waits for.
    pub(crate) async fn upload_at_some_time(&self, owner: Owner) -> Place<Owner> {
        self.uploads.enter(owner).await
    }

    /// Like [`Self::upload`] for an export. Exports have places of their own, so that slow readers do not hold up
    /// uploads.
    ///
    /// # Errors
    /// [`ApiError::TransfersBusy`].
    pub(crate) async fn export(&self, owner: Owner) -> Result<Place<Owner>, ApiError> {
        self.place(&self.exports, owner, "--exports").await
    }

    async fn place(
        &self,
        places: &Places<Owner>,
        owner: Owner,
        setting: &'static str,
    ) -> Result<Place<Owner>, ApiError> {
        let place = tokio::time::timeout(self.limits.silence / 2, places.enter(owner)).await;
        place.map_err(|_| ApiError::TransfersBusy { setting })
    }

    /// Does the work, unless the service stops and the time for transfers to finish is over.
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
