//! The audit log: events that record writes.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgExecutor;
use sqlx::types::Json;

use uuid::Uuid;

use crate::domain::audit::{AuditEvent, AuditFilter, StoredAuditEvent};
use crate::domain::page::{Page, PageRequest};
use crate::store::StoreError;

/// Stores events; those that are stored already are left as they are.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.audit_events.insert", level = "debug", skip_all)]
pub async fn insert_audit_events(
    db: impl PgExecutor<'_>,
    events: &[AuditEvent],
) -> Result<(), StoreError> {
    fn column<T>(events: &[AuditEvent], value: impl Fn(&AuditEvent) -> T) -> Vec<T> {
        events.iter().map(value).collect()
    }
    sqlx::query!(
        r#"
        -- A batch is sent again where it is not known whether it arrived.
        INSERT INTO audit_events (
            id, at, actor, actor_name, address, method, path, target, family, status, request_id,
            times
        )
        SELECT * FROM unnest(
            $1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::text[], $8::text[], $9::text[], $10::smallint[], $11::text[],
            $12::integer[]
        )
        ON CONFLICT (id) DO NOTHING
        "#,
        &column(events, |event| event.id),
        &column(events, |event| event.at),
        &column(events, |event| event.actor.clone()),
        &column(events, |event| event.actor_name.clone()) as &[Option<String>],
        &column(events, |event| event.address.clone()) as &[Option<String>],
        &column(events, |event| event.method.clone()),
        &column(events, |event| event.path.clone()),
        &column(events, |event| event.target.clone()),
        &column(events, |event| event.family.clone()) as &[Option<String>],
        &column(events, |event| event.status),
        &column(events, |event| event.request_id.clone()) as &[Option<String>],
        &column(events, |event| event.times),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Records a write within its own transaction; [`move_audit_notes`] later moves the note into the log. It does not go
/// there directly, because inserting into the log waits until all earlier inserts have committed.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.audit_notes.insert", level = "debug", skip_all)]
pub async fn insert_audit_note(
    db: impl PgExecutor<'_>,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    sqlx::query!("INSERT INTO audit_notes (id, event) VALUES ($1, $2)", event.id, Json(event) as _)
        .execute(db)
        .await?;
    Ok(())
}

/// Moves at most `most` notes of writes into the log, in the order of their ids, and returns their number. At any time
/// a note is in exactly one of the two tables, and no two processes move the same one.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.audit_notes.move", level = "debug", skip_all)]
pub async fn move_audit_notes(db: impl PgExecutor<'_>, most: i64) -> Result<u64, StoreError> {
    let moved = sqlx::query!(
        r#"
        WITH taken AS (
            DELETE FROM audit_notes
            WHERE id IN (SELECT id FROM audit_notes ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
            RETURNING id, event
        )
        INSERT INTO audit_events (
            id, at, actor, actor_name, address, method, path, target, family, status, request_id,
            times
        )
        SELECT taken.id, at, actor, actor_name, address, method, path, target, family, status,
            request_id, times
        FROM taken, jsonb_to_record(event) AS noted (
            at timestamptz, actor text, actor_name text, address text, method text, path text,
            target text, family text, status smallint, request_id text, times integer
        )
        ORDER BY taken.id
        "#,
        most
    )
    .execute(db)
    .await?;
    Ok(moved.rows_affected())
}

/// The time before which the log no longer changes, except that old events are deleted; `None` if the log is empty.
/// Everything stored from now on is stored at this time or later.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.audit_events.find_until", level = "debug", skip_all)]
pub async fn find_audit_until(
    db: impl PgExecutor<'_>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let until = sqlx::query_scalar!(
        r#"
        -- Events are committed in the order of this time, so that none before the latest one is still to come.
        SELECT max(stored_at) + interval '1 microsecond' AS until FROM audit_events
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(until)
}

/// A page of events, the most recently stored first; `after` is a position ([`is_position`]).
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.audit_events.list", level = "debug", skip_all)]
pub async fn list_audit_events(
    db: impl PgExecutor<'_>,
    filter: &AuditFilter,
    request: PageRequest,
) -> Result<Page<StoredAuditEvent>, StoreError> {
    let after = request.after.and_then(time_at);
    let events = sqlx::query!(
        r#"
        SELECT * FROM audit_events
        WHERE ($1::timestamptz IS NULL OR stored_at < $1)
            AND ($3::text IS NULL OR actor = $3)
            AND ($4::text IS NULL OR family = $4)
            AND ($5::timestamptz IS NULL OR stored_at >= $5)
            AND ($6::timestamptz IS NULL OR stored_at < $6)
        ORDER BY stored_at DESC
        LIMIT $2
        "#,
        after,
        request.fetch(),
        filter.actor,
        filter.family,
        filter.from,
        filter.to,
    )
    .map(|row| StoredAuditEvent {
        stored_at: row.stored_at,
        event: AuditEvent {
            id: row.id,
            at: row.at,
            actor: row.actor,
            actor_name: row.actor_name,
            address: row.address,
            method: row.method,
            path: row.path,
            target: row.target,
            family: row.family,
            status: row.status,
            times: row.times,
            request_id: row.request_id,
        },
    })
    .fetch_all(db)
    .await?;
    Ok(request.page(events, |stored: &StoredAuditEvent| position(stored.stored_at)))
}

/// The position of an event in the log: the time when it was stored, in microseconds, which is different for any two
/// events. It stays valid when the event has been deleted.
fn position(stored_at: DateTime<Utc>) -> Uuid {
    Uuid::from_u128(u128::try_from(stored_at.timestamp_micros()).unwrap_or(0))
}

/// Whether `after` is a position at which a page can start.
#[must_use]
pub fn is_position(after: Uuid) -> bool {
    time_at(after).is_some()
}

/// The time that a position stands for.
fn time_at(position: Uuid) -> Option<DateTime<Utc>> {
    i64::try_from(position.as_u128()).ok().and_then(DateTime::from_timestamp_micros)
}

/// How far the database's clock is ahead of `now`, which the caller has just read.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.audit_events.find_clock", level = "debug", skip_all)]
pub async fn find_clock_difference(
    db: impl PgExecutor<'_>,
    now: DateTime<Utc>,
) -> Result<TimeDelta, StoreError> {
    let theirs = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(db).await?;
    Ok(theirs - now)
}

/// Deletes at most `most` events that were stored more than `days` days ago by the database's clock, and returns their
/// number.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.audit_events.delete", level = "debug", skip_all)]
pub async fn delete_audit_events(
    db: impl PgExecutor<'_>,
    days: i32,
    most: i64,
) -> Result<u64, StoreError> {
    let deleted = sqlx::query!(
        r#"
        -- A few at a time, so that no statement takes long. Another replica may be at the same ones.
        DELETE FROM audit_events
        WHERE id IN (
            SELECT id FROM audit_events
            WHERE stored_at < now() - make_interval(days => $1)
            ORDER BY stored_at
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        days,
        most,
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
