//! The main loop of a worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::background::stand_back;
use crate::clock::Clock;
use crate::domain::refit::{ClaimedRefit, RefitFailure, RefitFailureKind};
use crate::jobs::refit;
use crate::jobs::watch::{Watch, patiently};
use crate::store::StoreError;
use crate::store::refits::{self, CHANNEL, MAX_ATTEMPTS, RefitOutcome, Renewal};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{Span, Traces};

/// Configuration of a worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerConfig {
    /// Number of threads that fit.
    pub fit_threads: usize,
    /// Most work of a refit, as runs times starts and resamples, to be run beside a larger one.
    pub small_work: i64,
    /// How long a worker may be silent before it is taken for dead.
    pub lease: Duration,
    /// How often the queue is checked without an announcement.
    pub poll_interval: Duration,
}

/// What a worker needs to run.
#[derive(Debug)]
pub struct WorkerParts {
    /// Connections to the database.
    pub pool: PgPool,
    /// Pool whose connections listen for new refits; without it the queue is only polled.
    pub listening: Option<PgPool>,
    /// Source of the time.
    pub clock: Arc<Clock>,
    /// Metrics that count its refits.
    pub metrics: Metrics,
    /// Where its refits are traced.
    pub traces: Traces,
    /// Cancelled to stop the worker.
    pub shutdown: CancellationToken,
}

/// A worker. It claims refits one at a time and runs each on threads of its own. Small refits run beside a large one,
/// also one at a time, so that a fit of seconds need not wait for one of minutes.
#[derive(Debug)]
pub struct Worker {
    parts: WorkerParts,
    config: WorkerConfig,
    threads: Arc<rayon::ThreadPool>,
    /// Threads for small refits.
    beside: Arc<rayon::ThreadPool>,
    /// Whether a refit is running beside which small ones may run.
    busy: watch::Sender<bool>,
}

/// Which refits a loop of the worker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Any refit.
    All,
    /// Small refits, while another one is running.
    Small,
}

/// Why the loop told a fit to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interruption {
    Cancelled,
    LeaseLost,
    Shutdown,
    /// The node that holds its runs is unreachable.
    PartAway,
}

impl Worker {
    /// Creates a worker with its own threads.
    ///
    /// # Errors
    /// If the system does not provide the threads.
    pub fn new(
        parts: WorkerParts,
        config: WorkerConfig,
    ) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = |threads: usize, name: &'static str| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(move |index| format!("{name}-{index}"))
                .start_handler(|_| stand_back())
                .build()
                .map(Arc::new)
        };
        let (threads, beside) = (pool(config.fit_threads, "fit")?, pool(1, "small-fit")?);
        Ok(Self { parts, config, threads, beside, busy: watch::Sender::new(false) })
    }

    /// Starts [`Self::run`] on a thread of its own with low priority: reading and storing a refit of many runs occupies
    /// that thread for milliseconds at a time.
    #[must_use]
    pub fn start(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            // Aborting this task also stops the work on the thread.
            let broken_off = CancellationToken::new();
            let _broken_off = broken_off.clone().drop_guard();
            let runtime = Handle::current();
            let worked = tokio::task::spawn_blocking(move || {
                stand_back();
                runtime.block_on(broken_off.run_until_cancelled(self.run()));
            });
            if let Err(error) = worked.await
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        })
    }

    /// Works until shutdown. If the database becomes unreachable, waits until it is back.
    pub async fn run(self) {
        tokio::join!(self.work_through(Lane::All), self.work_through(Lane::Small));
    }

    async fn work_through(&self, lane: Lane) {
        let mut listener = None;
        while !self.parts.shutdown.is_cancelled() {
            if lane == Lane::Small {
                let mut busy = self.busy.subscribe();
                tokio::select! {
                    // Waiting cannot fail, as the sender lives as long as this worker.
                    _ = busy.wait_for(|busy| *busy) => {}
                    () = self.parts.shutdown.cancelled() => return,
                }
            }
            // Listening begins before the queue is checked, so that no refit is missed in between.
            if listener.is_none() && lane == Lane::All {
                listener = self.listen().await;
            }
            match self.claim(lane).await {
                Ok(Some(claimed)) => {
                    let traced = self.parts.traces.refit(&claimed);
                    let trace_id = traced.trace_id();
                    let span = tracing::info_span!(
                        "job.refit",
                        refit = %claimed.id,
                        trace_id = trace_id.as_deref().map(display)
                    );
                    if lane == Lane::All {
                        self.busy.send_replace(true);
                    }
                    self.work(claimed, traced, &mut listener, lane).instrument(span).await;
                    if lane == Lane::All {
                        self.busy.send_replace(false);
                    }
                }
                Ok(None) => self.wait(&mut listener).await,
                Err(error) => {
                    tracing::warn!(%error, "looking for refits");
                    self.wait(&mut None).await;
                }
            }
        }
    }

    async fn listen(&self) -> Option<PgListener> {
        let mut listener = PgListener::connect_with(self.parts.listening.as_ref()?).await.ok()?;
        listener.listen(CHANNEL).await.ok()?;
        Some(listener)
    }

    /// Waits for an announcement, the next poll of the queue, or shutdown.
    async fn wait(&self, listener: &mut Option<PgListener>) {
        tokio::select! {
            () = announced(listener) => {}
            () = tokio::time::sleep(self.config.poll_interval) => {}
            () = self.parts.shutdown.cancelled() => {}
        }
    }

    async fn claim(&self, lane: Lane) -> Result<Option<ClaimedRefit>, StoreError> {
        let (pool, token) = (&self.parts.pool, self.parts.clock.new_id());
        let most_work = (lane == Lane::Small).then_some(self.config.small_work);
        refits::claim_refit(pool, token, self.config.lease, self.parts.clock.now(), most_work).await
    }

    /// Runs a claimed refit to its end and stores its outcome.
    async fn work(
        &self,
        claimed: ClaimedRefit,
        span: Span,
        listener: &mut Option<PgListener>,
        lane: Lane,
    ) {
        tracing::info!(attempt = claimed.attempts, "refit claimed");
        let started = Instant::now();
        let outcome = if claimed.attempts > MAX_ATTEMPTS {
            let detail = format!("{MAX_ATTEMPTS} workers took it and none came back");
            Ok(RefitOutcome::Failed(RefitFailure { kind: RefitFailureKind::WorkerLost, detail }))
        } else {
            self.compute(&claimed, &span, listener, lane).await
        };
        let saving = span.child("saving");
        let stored = match &outcome {
            Ok(outcome) => self.finish(&claimed, outcome).await,
            Err(Interruption::Cancelled) => self.finish(&claimed, &RefitOutcome::Cancelled).await,
            Err(Interruption::Shutdown) => {
                refits::release_refit(&self.parts.pool, &claimed).await.map(|()| true)
            }
            Err(Interruption::PartAway) => self.postpone(&claimed).await,
            Err(Interruption::LeaseLost) => Ok(false),
        };
        saving.end();
        let how = match (stored, outcome) {
            (Ok(true), Ok(RefitOutcome::Failed(failure))) => {
                span.failed(failure.kind.as_str());
                tracing::warn!(
                    kind = failure.kind.as_str(),
                    detail = failure.detail,
                    "refit failed"
                );
                "failed"
            }
            (Ok(true), outcome) => {
                let how = match outcome {
                    Ok(_) => "succeeded",
                    Err(Interruption::Shutdown) => "given back",
                    Err(Interruption::PartAway) => "postponed",
                    Err(_) => "cancelled",
                };
                tracing::info!(how, "refit ended");
                how
            }
            (Ok(false), _) => {
                tracing::warn!("the refit is another worker's now, or gone");
                "lost"
            }
            // The refit will be run again: after the pause if a node of the database is unreachable, otherwise when the
            // lease expires.
            (Err(error), _) => {
                if error.is_unavailable() {
                    let _ = self.postpone(&claimed).await;
                }
                span.failed("not stored");
                tracing::error!(%error, "the outcome of a refit was not stored");
                "not stored"
            }
        };
        span.note("refit.outcome", how);
        self.parts.metrics.refit_ended(how, started.elapsed());
    }

    /// Postpones the refit by the length of a lease, so that others are worked on meanwhile.
    async fn postpone(&self, claimed: &ClaimedRefit) -> Result<bool, StoreError> {
        tracing::warn!("the runs of a refit cannot be read for now, and it waits");
        let (token, pause) = (self.parts.clock.new_id(), self.config.lease);
        refits::postpone_refit(&self.parts.pool, claimed, token, pause).await
    }

    async fn finish(
        &self,
        claimed: &ClaimedRefit,
        outcome: &RefitOutcome,
    ) -> Result<bool, StoreError> {
        let store = || refits::finish_refit(&self.parts.pool, &self.parts.clock, claimed, outcome);
        patiently("storing the outcome of a refit", || self.parts.shutdown.is_cancelled(), store)
            .await
    }

    /// Runs the fit on the worker's threads and renews the lease meanwhile.
    async fn compute(
        &self,
        claimed: &ClaimedRefit,
        span: &Span,
        listener: &mut Option<PgListener>,
        lane: Lane,
    ) -> Result<RefitOutcome, Interruption> {
        let watch = Arc::new(Watch::new(span.clone()));
        let work = refit::run(
            self.parts.pool.clone(),
            self.parts.clock.clone(),
            claimed.clone(),
            match lane {
                Lane::All => self.threads.clone(),
                Lane::Small => self.beside.clone(),
            },
            watch.clone(),
        );
        tokio::pin!(work);
        // Short enough for several renewals per lease, and for people to see progress.
        let interval = (self.config.lease / 8).min(Duration::from_millis(250));
        let mut interruption = None;
        loop {
            tokio::select! {
                outcome = &mut work => return match (interruption, outcome) {
                    (Some(interruption), _) => Err(interruption),
                    (None, Ok(outcome)) => Ok(outcome),
                    // The lease will expire, and the refit is tried again.
                    (None, Err(error)) => {
                        tracing::warn!(%error, "loading the runs of a refit");
                        Err(Interruption::LeaseLost)
                    }
                },
                () = self.parts.shutdown.cancelled(), if interruption.is_none() => {
                    interruption = Some(Interruption::Shutdown);
                }
                // The announcement may be that this refit was cancelled.
                () = tick(interval, listener), if interruption.is_none() => {
                    interruption = self.renew(claimed, &watch).await;
                    // The node that it waits for may not answer for hours.
                    if interruption == Some(Interruption::PartAway) {
                        return Err(Interruption::PartAway);
                    }
                }
            }
            if interruption.is_some() {
                watch.stop.store(true, Ordering::Relaxed);
            }
        }
    }

    async fn renew(&self, claimed: &ClaimedRefit, watch: &Watch) -> Option<Interruption> {
        let lease = self.config.lease;
        let (phase, progress) = watch.progress();
        let renewal =
            refits::renew_lease(&self.parts.pool, claimed, lease, phase.as_str(), progress).await;
        match renewal {
            // The database answers, so only the node that holds the runs is unreachable.
            Ok(Renewal::Held) => watch.waits_for_a_part().then_some(Interruption::PartAway),
            Ok(Renewal::CancelRequested) => Some(Interruption::Cancelled),
            Ok(Renewal::Lost) => Some(Interruption::LeaseLost),
            // While the database is unreachable nobody else can claim the refit. When it is back, the next renewal
            // shows who holds the lease.
            Err(error) => {
                tracing::warn!(%error, "renewing the lease of a refit");
                None
            }
        }
    }
}

/// Waits for an announcement; for ever if there is no listener.
async fn announced(listener: &mut Option<PgListener>) {
    match listener {
        Some(listening) => {
            if let Err(error) = listening.recv().await {
                tracing::warn!(%error, "listening for refits");
                *listener = None;
            }
        }
        None => std::future::pending().await,
    }
}

/// Waits for the interval to pass or for an announcement.
async fn tick(interval: Duration, listener: &mut Option<PgListener>) {
    tokio::select! {
        () = announced(listener) => {}
        () = tokio::time::sleep(interval) => {}
    }
}
