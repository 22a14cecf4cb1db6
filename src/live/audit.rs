//! The audit log: where notes of writes are left, and who stores them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::audit::AuditEvent;
use crate::store::{StoreError, audit};

/// Notes of writes that wait to be stored, at most: a write that would find no place for its note is not let in.
const QUEUE: usize = 8_192;

/// Refusals that wait to be stored, at most: what is alike is one. Others are counted and lost.
const REFUSALS: usize = 256;

/// How long refusals are collected.
const COLLECTING: Duration = Duration::from_millis(250);

/// The most by which the clocks of this machine and of the database may differ for old events to be deleted: by a
/// clock that is wrong all of them are old.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(5);

/// Notes that are stored by one statement.
const BATCH: usize = 500;

/// Old events that are deleted by one statement.
const DELETED_AT_ONCE: i64 = 1_000;

/// Time between two attempts to store notes.
const RETRY: Duration = Duration::from_secs(1);

/// Time between two looks for old events.
const CLEANING_INTERVAL: Duration = Duration::from_secs(3600);

/// Where notes are left.
#[derive(Debug, Clone)]
pub struct AuditLog {
    writes: mpsc::Sender<AuditEvent>,
    refusals: Arc<Refusals>,
}

/// A place for the note of a write, which is there whatever else is noted meanwhile.
#[derive(Debug)]
pub struct NotePlace(mpsc::OwnedPermit<AuditEvent>);

impl NotePlace {
    /// Leaves the note.
    pub(crate) fn note(self, event: AuditEvent) {
        self.0.send(event);
    }
}

/// Refusals that are to be stored, each kind of each key once.
#[derive(Debug, Default)]
struct Refusals {
    events: Mutex<HashMap<Alike, AuditEvent>>,
    lost: AtomicU64,
    more: Notify,
}

/// What refusals that are one event have in common: who was refused, the method, the path's template and the family.
type Alike = (String, String, String, Option<String>);

impl Refusals {
    fn add(&self, event: AuditEvent) {
        let AuditEvent { actor, method, path, family, .. } = &event;
        let alike = (actor.clone(), method.clone(), path.clone(), family.clone());
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
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
        let events =
            std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "refusals find no place in the audit log");
        }
        events.into_values().collect()
    }
}

impl AuditLog {
    /// A log, and who stores what is left in it. Events are deleted when they are older than so many
    /// days; with `None` never.
    #[must_use]
    pub fn new(
        pool: PgPool,
        clock: Arc<Clock>,
        retention_days: Option<u32>,
    ) -> (Self, AuditWriter) {
        let (writes, queue) = mpsc::channel(QUEUE);
        let refusals = Arc::<Refusals>::default();
        let log = Self { writes, refusals: refusals.clone() };
        (log, AuditWriter { pool, clock, queue, refusals, retention_days })
    }

    /// A place for the note of a write that is about to be let in; none where so many wait already that they cannot
    /// be stored, as the database is away.
    #[must_use]
    pub(crate) fn place(&self) -> Option<NotePlace> {
        self.writes.clone().try_reserve_owned().ok().map(NotePlace)
    }

    /// Notes a refusal.
    pub(crate) fn note_refusal(&self, event: AuditEvent) {
        self.refusals.add(event);
    }
}

/// Stores what is left in an [`AuditLog`].
#[derive(Debug)]
pub struct AuditWriter {
    pool: PgPool,
    clock: Arc<Clock>,
    queue: mpsc::Receiver<AuditEvent>,
    refusals: Arc<Refusals>,
    retention_days: Option<u32>,
}

impl AuditWriter {
    /// Works until it is told to stop, and then stores what is still there.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut cleaning = tokio::time::interval(CLEANING_INTERVAL);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                received = self.queue.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        // Nobody is left who could leave a note.
                        return;
                    }
                }
                () = self.refusals.more.notified() => {
                    tokio::time::sleep(COLLECTING).await;
                    batch.extend(self.refusals.take());
                }
                _ = cleaning.tick() => {
                    if self.clean().await {
                        // New notes come first.
                        cleaning.reset_immediately();
                    }
                }
                () = stop.cancelled() => break,
            }
            while !batch.is_empty() && !self.store(&mut batch).await {
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
        batch.extend(self.refusals.take());
        loop {
            while batch.len() < BATCH
                && let Ok(event) = self.queue.try_recv()
            {
                batch.push(event);
            }
            if batch.is_empty() {
                return;
            }
            if !self.store(&mut batch).await {
                tracing::warn!(
                    events = batch.len() + self.queue.len(),
                    "the end of the audit log is lost"
                );
                return;
            }
        }
    }

    /// Stores a batch, which is empty afterwards; `false` where it may work later.
    async fn store(&self, batch: &mut Vec<AuditEvent>) -> bool {
        match audit::insert_audit_events(&self.pool, batch).await {
            Ok(()) => {}
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "storing the audit log");
                return false;
            }
            // It would not work later either, and others wait behind it.
            Err(error) => {
                tracing::error!(%error, events = batch.len(), "events of the audit log are lost");
            }
        }
        batch.clear();
        true
    }

    /// Deletes some of the events that are too old; whether there may be more.
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
