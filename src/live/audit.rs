//! The audit log: where notes of writes are left, and who stores them.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::audit::AuditEvent;
use crate::store::audit;

/// Notes that wait to be stored, at most; more are lost, and the log says so.
const QUEUE: usize = 8_192;

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
pub struct AuditLog(mpsc::Sender<AuditEvent>);

impl AuditLog {
    /// A log, and who stores what is left in it. Events are deleted when they are older than so many
    /// days; with `None` never.
    #[must_use]
    pub fn new(
        pool: PgPool,
        clock: Arc<Clock>,
        retention_days: Option<u32>,
    ) -> (Self, AuditWriter) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self(sender), AuditWriter { pool, clock, queue, retention_days })
    }

    /// Leaves a note.
    pub(crate) fn note(&self, event: AuditEvent) {
        if let Err(error) = self.0.try_send(event) {
            let (mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event)) =
                error;
            let AuditEvent { actor, method, target, status, .. } = event;
            tracing::warn!(actor, method, target, status, "an event of the audit log is lost");
        }
    }
}

/// Stores what is left in an [`AuditLog`].
#[derive(Debug)]
pub struct AuditWriter {
    pool: PgPool,
    clock: Arc<Clock>,
    queue: mpsc::Receiver<AuditEvent>,
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
        let before = self.clock.now() - TimeDelta::days(days.into());
        match audit::delete_audit_events(&self.pool, before, DELETED_AT_ONCE).await {
            Ok(deleted) => deleted > 0,
            Err(error) => {
                tracing::warn!(%error, "deleting old events of the audit log");
                false
            }
        }
    }
}
