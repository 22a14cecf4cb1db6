//! How a running refit communicates with its worker's loop, and how it waits for an unreachable database.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sparsity_law::fit::Phase;

use crate::store::StoreError;
use crate::telemetry::traces::Span;

/// How often a database operation of a refit is retried while the database is unreachable.
const ATTEMPTS: u32 = 240;

/// Pause before each retry: shorter than the polling interval of workers that look for expired leases.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a refit tries to read its runs while that fails although the queue of refits can be read.
const PART_PATIENCE: Duration = Duration::from_secs(3);

/// Longest time that reading the runs may take.
const LONGEST_READ: Duration = Duration::from_secs(600);

/// State shared between the threads that fit and the loop that watches them.
#[derive(Debug, Default)]
pub struct Watch {
    /// Set to stop the fit.
    pub stop: AtomicBool,
    /// Index of the phase in [`Phase::ALL`].
    phase: AtomicU8,
    /// Share of the work that is done, as the bits of an `f64`.
    progress: AtomicU64,
    /// The refit's span in traces.
    span: Span,
    /// The span of the current stage.
    stage: Mutex<Option<Span>>,
    /// When reading the runs began, and whether it has failed since; `None` while nothing is read.
    reading: Mutex<Option<(Instant, bool)>>,
}

impl Watch {
    /// State of a refit that has not begun.
    pub fn new(span: Span) -> Self {
        Self { span, ..Self::default() }
    }

    pub fn advance(&self, phase: Phase, share: f64) {
        // Threads report out of order, so only increases count. The bits of shares from 0 to 1 sort like the shares.
        self.progress.fetch_max(share.to_bits(), Ordering::Relaxed);
        if self.phase.fetch_max(phase as u8, Ordering::Relaxed) < phase as u8 {
            self.enter(phase.as_str());
        }
    }

    /// Starts a stage in traces, ending the previous one.
    pub fn enter(&self, stage: &'static str) {
        self.set_stage(Some(self.span.child(stage)));
    }

    /// Ends the current stage in traces.
    pub fn leave(&self) {
        self.set_stage(None);
    }

    /// Notes that the refit begins to read its runs, or has finished reading them.
    pub fn read(&self, begins: bool) {
        *self.reading.lock() = begins.then(|| (Instant::now(), false));
    }

    /// Notes that reading the runs has just failed.
    pub fn fail_to_read(&self) {
        if let Some((_, failed)) = &mut *self.reading.lock() {
            *failed = true;
        }
    }

    /// Whether reading the runs has taken too long although the database otherwise answers.
    pub fn waits_for_a_part(&self) -> bool {
        let reading = *self.reading.lock();
        reading.is_some_and(|(since, failed)| {
            since.elapsed() > if failed { PART_PATIENCE } else { LONGEST_READ }
        })
    }

    fn set_stage(&self, stage: Option<Span>) {
        *self.stage.lock() = stage;
    }

    pub fn progress(&self) -> (Phase, f64) {
        let phase = Phase::ALL[usize::from(self.phase.load(Ordering::Relaxed))];
        (phase, f64::from_bits(self.progress.load(Ordering::Relaxed)))
    }
}

/// Performs a database operation of a refit, and retries it while the database is unreachable: giving up would mean
/// doing the refit's work again.
pub async fn patiently<T, W: Future<Output = Result<T, StoreError>>>(
    what: &'static str,
    is_stopped: impl Fn() -> bool,
    work: impl Fn() -> W,
) -> Result<T, StoreError> {
    let mut left = ATTEMPTS;
    loop {
        match work().await {
            Err(error) if error.is_unavailable() && left > 0 && !is_stopped() => {
                tracing::warn!(%error, "{what}");
                left -= 1;
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}
