//! The log of writes.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgExecutor;

use crate::domain::audit::{AuditEvent, AuditFilter};
use crate::domain::page::{Page, PageRequest};
use crate::store::StoreError;

/// Stores events; those that are stored already stay.
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

/// A page of events.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.audit_events.list", level = "debug", skip_all)]
pub async fn list_audit_events(
    db: impl PgExecutor<'_>,
    filter: &AuditFilter,
    request: PageRequest,
) -> Result<Page<AuditEvent>, StoreError> {
    let events = sqlx::query_as!(
        AuditEvent,
        r#"
        SELECT * FROM audit_events
        WHERE ($1::uuid IS NULL OR id < $1)
            AND ($3::text IS NULL OR actor = $3)
            AND ($4::text IS NULL OR family = $4)
            AND ($5::timestamptz IS NULL OR at >= $5)
            AND ($6::timestamptz IS NULL OR at < $6)
        ORDER BY id DESC
        LIMIT $2
        "#,
        request.after,
        request.fetch(),
        filter.actor,
        filter.family,
        filter.from,
        filter.to,
    )
    .fetch_all(db)
    .await?;
    Ok(request.page(events, |event: &AuditEvent| event.id))
}

/// How far the clock of the database is ahead of a time that was read a moment ago.
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

/// Deletes at most `most` events that are older than so many days by the clock of the database; how many they were.
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
            SELECT id FROM audit_events WHERE at < clock_timestamp() - make_interval(days => $1)
            ORDER BY at
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
