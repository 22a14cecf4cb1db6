//! A streaming replica of the database: how far it has caught up, and connections to it that show what a request needs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool, Postgres};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::store::positions::{self, Identity, find_identity};
use crate::store::{StoreError, of_ours};
use crate::telemetry::metrics::Metrics;

/// How often the primary is asked for the end of its log, and the replica for the position that it has replayed.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long either of them may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// How long a read waits for a connection to the replica before it goes to the primary.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether reads are answered by the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// Reads are answered by the replica.
    Used,
    /// It lags further behind than allowed, or the lag cannot be determined because the primary does not answer.
    Behind,
    /// It does not answer, or is not a replica of the service's database.
    Away,
}

/// State of the replica, and an upper bound of its lag.
#[derive(Debug, Clone, Copy)]
pub struct ReplicaHealth {
    /// Whether the replica is used.
    pub state: ReplicaState,
    /// Upper bound of the lag; `None` if it is unknown, which means more than is allowed.
    pub lag: Option<Duration>,
}

/// A request's attempt to read from the replica.
#[derive(Debug)]
pub struct Attempt {
    replica: Replica,
    /// Log position that the request sent.
    after: Option<i64>,
    /// Whether the request has read from the replica.
    used: AtomicBool,
}

impl Attempt {
    /// An attempt to read from this replica everything that was written before `after`, if the caller sent a position.
    #[must_use]
    pub fn new(replica: Replica, after: Option<i64>) -> Self {
        Self { replica, after, used: AtomicBool::new(false) }
    }

    /// Whether something was read from the replica.
    #[must_use]
    pub fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// A connection to the replica, if the replica shows what the request needs. Counted in the metrics either way.
    pub async fn connection(&self) -> Option<PoolConnection<Postgres>> {
        let found = self.replica.connection(self.after).await;
        self.replica.0.metrics.read_from(found.as_ref().err().copied().unwrap_or("replica"));
        let connection = found.ok()?;
        self.used.store(true, Ordering::Relaxed);
        Some(connection)
    }
}

/// A streaming replica that may answer reads.
#[derive(Debug, Clone)]
pub struct Replica(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    primary: PgPool,
    replica: PgPool,
    options: PgConnectOptions,
    identity: Identity,
    max_lag: Duration,
    known: Mutex<Known>,
    metrics: Metrics,
}

/// What is known of the primary's log positions and of the replica.
#[derive(Debug)]
struct Known {
    /// End of the log after the last write of this process.
    written: i64,
    /// When a write ended whose position is not known yet. Until it is known, only the primary may answer.
    unsettled: Option<Instant>,
    /// Ends of the log at times within the last `max_lag`, oldest first.
    ends: VecDeque<(Instant, i64)>,
    state: ReplicaState,
    lag: Option<Duration>,
}

impl Known {
    /// Records the end of the log at a time.
    fn ended(&mut self, at: Instant, end: i64) {
        self.ends.push_back((at, end));
        if self.unsettled.is_some_and(|unsettled| unsettled <= at) {
            self.unsettled = None;
            self.written = self.written.max(end);
        }
    }

    fn forget(&mut self, now: Instant, max_lag: Duration) {
        while self.ends.front().is_some_and(|(at, _)| now.duration_since(*at) > max_lag) {
            self.ends.pop_front();
        }
    }

    /// The position that the replica must have replayed for a request that sent `after`; `None` if only the primary may
    /// answer.
    fn needed(&mut self, now: Instant, max_lag: Duration, after: Option<i64>) -> Option<i64> {
        if self.unsettled.is_some() {
            return None;
        }
        self.forget(now, max_lag);
        let (_, oldest) = self.ends.front()?;
        Some(self.written.max(*oldest).max(after.unwrap_or(0)))
    }

    /// Upper bound of the age of what a replica shows that has replayed up to `replayed`; `None` if unknown.
    fn lag(&self, now: Instant, replayed: i64) -> Option<Duration> {
        let shown = self.ends.iter().rev().find(|(_, end)| *end <= replayed);
        shown.map(|(at, _)| now.duration_since(*at))
    }
}

impl Replica {
    /// Sets up a replica of the database behind `primary`. The replica need not be reachable yet.
    ///
    /// # Errors
    /// If the primary cannot be identified.
    pub async fn open(
        primary: &PgPool,
        options: PgConnectOptions,
        max_lag: Duration,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let identity = find_identity(primary).await?;
        let options = of_ours(options);
        let limits = primary.options();
        let replica = PgPoolOptions::new()
            .max_connections(limits.get_max_connections())
            .acquire_timeout(limits.get_acquire_timeout().min(PATIENCE))
            // There may be several servers behind one address, so each connection is checked.
            .after_connect(move |connection, _| Box::pin(same(connection, identity)))
            .connect_lazy_with(options.clone());
        let known = Mutex::new(Known {
            written: 0,
            unsettled: None,
            ends: VecDeque::new(),
            // Until the first check, which also logs it if the replica is unreachable.
            state: ReplicaState::Behind,
            lag: None,
        });
        let primary = primary.clone();
        let inner = Inner { primary, replica, options, identity, max_lag, known, metrics };
        Ok(Self(Arc::new(inner)))
    }

    /// The replica's present state.
    #[must_use]
    pub fn health(&self) -> ReplicaHealth {
        let known = self.known();
        ReplicaHealth { state: known.state, lag: known.lag }
    }

    /// Watches primary and replica until shutdown.
    pub async fn watch(&self, shutdown: &CancellationToken) {
        let watch = async {
            let mut connection = None;
            loop {
                tokio::join!(self.ask_primary(), self.ask_replica(&mut connection));
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = watch => {}
            () = shutdown.cancelled() => {}
        }
        self.0.replica.close().await;
    }

    /// Records that all reads of this process must see everything committed so far. Await it before anybody is told of
    /// the write.
    pub async fn note_written(&self) -> Option<i64> {
        let begun = Instant::now();
        let written = timeout(ANSWER, positions::find_written(&self.0.primary)).await;
        let mut known = self.known();
        if let Ok(Ok(written)) = written {
            known.written = known.written.max(written);
            Some(written)
        } else {
            known.unsettled = known.unsettled.max(Some(begun));
            None
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock()
    }

    async fn ask_primary(&self) {
        let at = Instant::now();
        // Without an answer the recorded ends grow old and are dropped, so the replica counts as behind.
        if let Ok(Ok(end)) = timeout(ANSWER, positions::find_written(&self.0.primary)).await {
            let mut known = self.known();
            known.ended(at, end);
            known.forget(Instant::now(), self.0.max_lag);
        }
    }

    async fn ask_replica(&self, connection: &mut Option<PgConnection>) {
        let asked = timeout(ANSWER, async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => {
                    let mut open = self.0.options.connect().await?;
                    same(&mut open, self.0.identity).await?;
                    open
                }
            };
            let replayed = positions::find_replayed(&mut open).await?;
            *connection = Some(open);
            Ok::<_, StoreError>(replayed)
        });
        let cause = match asked.await {
            Ok(Ok(Some(replayed))) => return self.heard(replayed),
            // The next connection may lead to another server.
            Ok(Ok(None)) => {
                *connection = None;
                "it is not a replica".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer in time".to_owned(),
        };
        self.turn(ReplicaState::Away, None, &cause);
    }

    fn heard(&self, replayed: i64) {
        let now = Instant::now();
        let lag = self.known().lag(now, replayed).filter(|lag| *lag <= self.0.max_lag);
        let state = if lag.is_some() { ReplicaState::Used } else { ReplicaState::Behind };
        self.turn(state, lag, "what it shows is too old, or the primary does not say how old");
    }

    fn turn(&self, state: ReplicaState, lag: Option<Duration>, cause: &str) {
        let mut known = self.known();
        let before = std::mem::replace(&mut known.state, state);
        known.lag = lag;
        drop(known);
        match (before, state) {
            (before, now) if before == now => {}
            (_, ReplicaState::Used) => tracing::info!("reads are answered by the replica"),
            (_, ReplicaState::Behind | ReplicaState::Away) => {
                tracing::warn!(?state, cause, "reads are answered by the primary");
            }
        }
    }

    /// Marks the beginning of a write.
    #[must_use]
    pub fn writing(&self) -> Writing<'_> {
        Writing { replica: self, noted: false }
    }

    /// Counts a read that failed on the replica.
    pub fn note_failed_read(&self) {
        self.0.metrics.read_from("failed");
    }

    /// A connection to the replica that shows what the request needs, or a word that says why there is none.
    async fn connection(
        &self,
        after: Option<i64>,
    ) -> Result<PoolConnection<Postgres>, &'static str> {
        let now = Instant::now();
        let needed = {
            let mut known = self.known();
            if known.state == ReplicaState::Away {
                return Err("away");
            }
            known.needed(now, self.0.max_lag, after).ok_or("behind")?
        };
        let asked = timeout(PATIENCE, async {
            let mut connection = self.0.replica.acquire().await?;
            let replayed = positions::find_replayed(&mut *connection).await?;
            Ok::<_, StoreError>((connection, replayed))
        });
        match asked.await {
            Ok(Ok((connection, Some(replayed)))) if replayed >= needed => Ok(connection),
            Ok(Ok((_, Some(_)))) => Err("behind"),
            Ok(Ok((mut promoted, None))) => {
                promoted.close_on_drop();
                Err("away")
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "no connection to the replica");
                Err("away")
            }
            Err(_) => Err("away"),
        }
    }
}

/// Checks that a connection leads to a replica of the expected database, or to that database itself.
async fn same(connection: &mut PgConnection, expected: Identity) -> Result<(), sqlx::Error> {
    match find_identity(connection).await {
        Ok(found) if found == expected => Ok(()),
        Ok(_) => Err(sqlx::Error::Configuration(
            "--read-database-url leads to another database, and not to a streaming replica".into(),
        )),
        Err(StoreError::Database(error)) => Err(error),
        Err(error) => Err(sqlx::Error::Configuration(error.into())),
    }
}

/// A write in progress. If it is dropped before it ended, because its caller did not wait for the answer, the write may
/// have been stored all the same.
pub struct Writing<'a> {
    replica: &'a Replica,
    noted: bool,
}

impl Writing<'_> {
    /// Marks the write as ended. Returns the end of the primary's log after it; `None` if the primary does not answer.
    pub async fn ended(mut self) -> Option<i64> {
        let written = self.replica.note_written().await;
        self.noted = true;
        written
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.noted {
            self.replica.known().unsettled = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MAX_LAG: Duration = Duration::from_secs(10);

    fn known() -> Known {
        let state = ReplicaState::Used;
        Known { written: 0, unsettled: None, ends: VecDeque::new(), state, lag: None }
    }

    #[test]
    fn a_read_needs_the_writes_its_own_position_and_what_is_not_too_old() {
        let (mut known, start) = (known(), Instant::now());
        assert_eq!(known.needed(start, MAX_LAG, None), None, "nothing bounds the age yet");
        known.ended(start, 100);
        known.ended(start + 6 * SECOND, 300);
        assert_eq!(known.needed(start + 7 * SECOND, MAX_LAG, None), Some(100));
        assert_eq!(known.needed(start + 7 * SECOND, MAX_LAG, Some(700)), Some(700));
        known.written = 200;
        assert_eq!(known.needed(start + 7 * SECOND, MAX_LAG, Some(150)), Some(200));
        assert_eq!(known.needed(start + 11 * SECOND, MAX_LAG, None), Some(300));
        assert_eq!(known.needed(start + 17 * SECOND, MAX_LAG, None), None, "the primary is silent");
    }

    #[test]
    fn a_write_of_unknown_position_is_read_from_the_primary_until_the_next_end() {
        let (mut known, start) = (known(), Instant::now());
        known.ended(start, 100);
        known.unsettled = Some(start + SECOND);
        // This end was read before the write ended.
        known.ended(start, 150);
        assert_eq!(known.needed(start + 2 * SECOND, MAX_LAG, None), None);
        known.ended(start + 2 * SECOND, 200);
        assert_eq!(known.needed(start + 2 * SECOND, MAX_LAG, None), Some(200));
    }

    #[test]
    fn what_a_replica_shows_is_as_old_as_the_last_end_that_it_has_passed() {
        let (mut known, start) = (known(), Instant::now());
        known.ended(start, 100);
        known.ended(start + SECOND, 100);
        known.ended(start + 2 * SECOND, 300);
        let now = start + 3 * SECOND;
        assert_eq!(known.lag(now, 99), None);
        assert_eq!(known.lag(now, 100), Some(2 * SECOND));
        assert_eq!(known.lag(now, 300), Some(SECOND));
    }
}
