//! What a refit is told while it runs, and how it waits for a database that is away.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sparsity_law::fit::Phase;

use crate::store::StoreError;
use crate::telemetry::traces::Span;

/// How often what a refit needs of the database is tried again while that is away.
const ATTEMPTS: u32 = 240;

/// Pause before each: shorter than that of workers who look for a refit whose lease is over.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a refit tries to read runs that cannot be read while the queue of refits can.
const PART_PATIENCE: Duration = Duration::from_secs(3);

/// The longest that runs may take to be read.
const LONGEST_READ: Duration = Duration::from_secs(600);

/// What the threads that fit and the loop that watches them tell each other.
#[derive(Debug, Default)]
pub struct Watch {
    /// Set to stop the fit.
    pub stop: AtomicBool,
    /// Place of the phase in [`Phase::ALL`].
    phase: AtomicU8,
    /// Share of the work that is done, as the bits of a double.
    progress: AtomicU64,
    /// The refit in traces.
    span: Span,
    /// What it is at, in traces.
    stage: Mutex<Option<Span>>,
    /// Since when its runs are read, and whether that has failed.
    reading: Mutex<Option<(Instant, bool)>>,
}

impl Watch {
    /// Nothing told yet.
    pub fn new(span: Span) -> Self {
        Self { span, ..Self::default() }
    }

    pub fn advance(&self, phase: Phase, share: f64) {
        // Threads report out of order; shares of 0..1 order as their bits do.
        self.progress.fetch_max(share.to_bits(), Ordering::Relaxed);
        if self.phase.fetch_max(phase as u8, Ordering::Relaxed) < phase as u8 {
            self.enter(phase.as_str());
        }
    }

    /// Begins a stage in traces, which ends the one before.
    pub fn enter(&self, stage: &'static str) {
        self.set_stage(Some(self.span.child(stage)));
    }

    /// Ends the last stage in traces.
    pub fn leave(&self) {
        self.set_stage(None);
    }

    /// Says that the refit begins to read its runs, or is done with it.
    pub fn read(&self, begins: bool) {
        *self.reading.lock() = begins.then(|| (Instant::now(), false));
    }

    /// Says that its runs could not be read just now.
    pub fn fail_to_read(&self) {
        if let Some((_, failed)) = &mut *self.reading.lock() {
            *failed = true;
        }
    }

    /// Whether it has tried to read its runs for longer than is of use, in a database that answers otherwise.
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

/// Does what a refit needs of the database, and waits for one that is away: otherwise its work would have
/// to be done again.
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
