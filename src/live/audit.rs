//! Background work of the audit log. Notes of writes are stored together with the writes, and are moved into the log
//! here. Refusals are collected in memory until they are stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::audit::AuditEvent;
use crate::store::{StoreError, audit};

/// Most refusals waiting to be stored, counting similar ones as one. Further ones are counted and lost.
const REFUSALS: usize = 256;

/// How long refusals are collected before they are stored.
const COLLECTING: Duration = Duration::from_millis(250);

/// Largest difference between the clocks of this machine and of the database with which old events are deleted: by a
/// wrong clock every event may look old.
pub(crate) const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(5);

/// Notes moved into the log by one statement.
const BATCH: i64 = 500;

/// Time between two looks for notes of other processes, which were killed before they moved them into the log.
const LOOKING_INTERVAL: Duration = Duration::from_secs(1);

/// Old events deleted by one statement.
const DELETED_AT_ONCE: i64 = 1_000;

/// Time before a failed attempt to store notes is repeated.
const RETRY: Duration = Duration::from_secs(1);

/// Time between two looks for old events.
const CLEANING_INTERVAL: Duration = Duration::from_secs(3600);

/// Handle to the audit log: takes refusals, and is told of new notes.
#[derive(Debug, Clone)]
pub struct AuditLog {
    refusals: Arc<Refusals>,
    noted: Arc<Notify>,
}

/// Refusals to be stored: similar ones of a caller are kept as one event with a count.
#[derive(Debug, Default)]
struct Refusals {
    events: Mutex<HashMap<Alike, AuditEvent>>,
    lost: AtomicU64,
    more: Notify,
}

/// What similar refusals have in common: actor, method, path template and family.
type Alike = (String, String, String, Option<String>);

impl Refusals {
    fn add(&self, event: AuditEvent) {
        let AuditEvent { actor, method, path, family, .. } = &event;
        let alike = (actor.clone(), method.clone(), path.clone(), family.clone());
        let mut events = self.events.lock();
        if let Some(known) = events.get_mut(&alike) {
            known.times = known.times.saturating_add(1);
        } else if events.len() < REFUSALS {
            events.insert(alike, event);
            self.more.notify_one();
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self) -> Vec<AuditEvent> {
        let events = std::mem::take(&mut *self.events.lock());
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "refusals find no place in the audit log");
        }
        events.into_values().collect()
    }
}

impl AuditLog {
    /// An audit log, and the writer that stores its events. Events older than `retention_days` are deleted; `None`
    /// keeps them for ever.
    #[must_use]
    pub fn new(
        pool: PgPool,
        clock: Arc<Clock>,
        retention_days: Option<u32>,
    ) -> (Self, AuditWriter) {
        let log = Self { refusals: Arc::default(), noted: Arc::default() };
        (log.clone(), AuditWriter { pool, clock, log, retention_days })
    }

    /// Tells the writer that a write was committed together with its note.
    pub(crate) fn wake(&self) {
        self.noted.notify_one();
    }

    /// Records a refusal.
    pub(crate) fn note_refusal(&self, event: AuditEvent) {
        self.refusals.add(event);
    }
}

/// Stores the refusals of an [`AuditLog`], and moves the notes of writes into the log.
#[derive(Debug)]
pub struct AuditWriter {
    pool: PgPool,
    clock: Arc<Clock>,
    log: AuditLog,
    retention_days: Option<u32>,
}

impl AuditWriter {
    /// Runs until it is stopped, and then stores what is left.
    pub async fn run(self, stop: CancellationToken) {
        let mut cleaning = tokio::time::interval(CLEANING_INTERVAL);
        let mut looking = tokio::time::interval(LOOKING_INTERVAL);
        looking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refusals = Vec::new();
        loop {
            let done = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.log.noted.notified() => self.move_notes().await,
                _ = looking.tick() => self.move_notes().await,
                () = self.log.refusals.more.notified() => {
                    tokio::time::sleep(COLLECTING).await;
                    refusals.extend(self.log.refusals.take());
                    true
                }
                _ = cleaning.tick() => {
                    if self.clean().await {
                        // Continue at once, but only after new notes.
                        cleaning.reset_immediately();
                    }
                    true
                }
            };
            if !(self.store(&mut refusals).await && done) {
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
        refusals.extend(self.log.refusals.take());
        self.move_notes().await;
        if !self.store(&mut refusals).await {
            tracing::warn!(events = refusals.len(), "the last refusals are not in the audit log");
        }
    }

    /// Moves the notes of writes into the log; returns `false` if it should be retried.
    async fn move_notes(&self) -> bool {
        loop {
            match audit::move_audit_notes(&self.pool, BATCH).await {
                Ok(moved) if moved < BATCH.cast_unsigned() => return true,
                Ok(_) => {}
                // The notes stay in the database, so nothing is lost.
                Err(error) => {
                    tracing::warn!(%error, "putting writes into the audit log");
                    return false;
                }
            }
        }
    }

    /// Stores the refusals and clears the batch; returns `false`, keeping it, if it should be retried.
    async fn store(&self, batch: &mut Vec<AuditEvent>) -> bool {
        if batch.is_empty() {
            return true;
        }
        match audit::insert_audit_events(&self.pool, batch).await {
            Ok(()) => {}
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "storing the audit log");
                return false;
            }
            // A retry would fail as well, and would block the events behind it.
            Err(error) => {
                tracing::error!(%error, events = batch.len(), "events of the audit log are lost");
            }
        }
        batch.clear();
        true
    }

    /// Deletes some of the events that are too old; returns whether there may be more.
    async fn clean(&self) -> bool {
        let Some(days) = self.retention_days else { return false };
        let days = i32::try_from(days).unwrap_or(i32::MAX);
        match self.delete(days).await {
            Ok(deleted) => deleted > 0,
            Err(error) => {
                tracing::warn!(%error, "deleting old events of the audit log");
                false
            }
        }
    }

    async fn delete(&self, days: i32) -> Result<u64, StoreError> {
        let ahead = audit::find_clock_difference(&self.pool, self.clock.now()).await?;
        if ahead.abs() > CLOCKS_DIFFER {
            tracing::error!(
                seconds = ahead.num_seconds(),
                "no old events of the audit log are deleted: the clock of the database is this far ahead of that of \
                 this machine, and one of them is wrong"
            );
            return Ok(0);
        }
        audit::delete_audit_events(&self.pool, days, DELETED_AT_ONCE).await
    }
}
