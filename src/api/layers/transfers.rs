//! Uploads and exports that take long: how many at once, how large, and for how long.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::api::layers::owner::Owner;
use crate::api::layers::places::{Place, Places};
use crate::api::wire::problem::ApiError;
use crate::intake::IngestLimits;

/// What one upload or export may cost.
#[derive(Debug, Clone, Copy)]
pub struct TransferLimits {
    /// The most bytes of an upload as it is sent.
    pub upload_bytes: u64,
    /// What is in them.
    pub ingest: IngestLimits,
    /// How many uploads may be under way.
    pub at_once: usize,
    /// How many exports may be under way.
    pub exports: usize,
    /// How many uploads, and how many exports, of one owner may be under way.
    pub each: usize,
    /// Uploads that are answered before they are stored.
    pub waiting: WaitingLimits,
    /// How long one may take.
    pub timeout: Duration,
    /// How long the other side may send nothing, or take nothing.
    pub silence: Duration,
    /// How long those under way may go on when the service stops.
    pub drain: Duration,
}

/// What uploads that are answered before they are stored may take.
#[derive(Debug, Clone, Copy)]
pub struct WaitingLimits {
    /// How many of them a process stores at once.
    pub at_once: usize,
    /// How many of one owner may wait; 0 where none may, and each is answered when it is stored.
    pub each: u32,
    /// The most bytes of all that wait, as they were sent.
    pub bytes: u64,
    /// Days that is kept what became of them.
    pub kept_days: u32,
    /// How long a process that stores one and says nothing is believed to live.
    pub lease: Duration,
}

/// Uploads and exports under way. Each holds a connection to the database and up to a few megabytes.
#[derive(Debug, Clone)]
pub struct Transfers {
    /// What one may cost.
    pub limits: TransferLimits,
    uploads: Places<Owner>,
    exports: Places<Owner>,
}

impl Transfers {
    /// None under way.
    #[must_use]
    pub fn new(limits: TransferLimits) -> Self {
        Self {
            limits,
            uploads: Places::new(limits.at_once, limits.each),
            exports: Places::new(limits.exports, limits.each),
        }
    }

    /// A place for one more upload, waited for half as long as a silence may last: so that the answer says why.
    ///
    /// # Errors
    /// [`ApiError::TransfersBusy`].
    pub(crate) async fn upload(&self, owner: Owner) -> Result<Place<Owner>, ApiError> {
        self.place(&self.uploads, owner, "--transfers").await
    }

    /// A place for one more upload, waited for as long as it takes: for what nobody waits for.
    pub(crate) async fn upload_at_some_time(&self, owner: Owner) -> Place<Owner> {
        self.uploads.enter(owner).await
    }

    /// A place for one more export, as of [`Self::upload`]: who takes one slowly holds up no upload.
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
