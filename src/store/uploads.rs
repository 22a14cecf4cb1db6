//! Uploads that are answered before they are stored.
//!
//! The body is in the database from before its request is answered until its runs are stored, so an accepted upload
//! survives the process that accepted it. A process claims an upload and holds a lease on it, as with refits. The
//! upload is finished in the same transaction that stores its runs, so no crash can fall between the two.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::domain::audit::AuditEvent;
use crate::domain::page::{Page, PageRequest};
use crate::domain::upload::{ClaimedUpload, Upload, UploadOutcome, UploadRequest, UploadState};
use crate::store::StoreError;

/// Key of the advisory lock held while checking whether one more upload may wait.
const WAITING_LOCK: i64 = 0x7370_6172_7570_6c64;

/// Stores a piece of a body. The upload itself is inserted last, in the same transaction.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.insert_piece", level = "debug", skip_all)]
pub async fn insert_upload_piece(
    db: impl PgExecutor<'_>,
    upload_id: Uuid,
    number: i32,
    bytes: &[u8],
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO upload_pieces (upload_id, number, bytes) VALUES ($1, $2, $3)",
        upload_id,
        number,
        bytes
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Counts of the uploads that are not stored yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitingUploads {
    /// Uploads waiting for a process.
    pub queued: i64,
    /// Uploads being stored by a process.
    pub running: i64,
    /// Total size of their bodies, in bytes.
    pub bytes: i64,
    /// How many of them one caller requested.
    pub of_caller: i64,
}

/// Counts the uploads that are not stored yet, and how many of them `requested_by` requested.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.find_waiting", level = "debug", skip_all)]
pub async fn find_waiting_uploads(
    db: impl PgExecutor<'_>,
    requested_by: &str,
) -> Result<WaitingUploads, StoreError> {
    let waiting = sqlx::query_as!(
        WaitingUploads,
        r#"
        SELECT count(*) FILTER (WHERE state = 'queued') AS "queued!",
            count(*) FILTER (WHERE state = 'running') AS "running!",
            coalesce(sum(bytes), 0)::bigint AS "bytes!",
            count(*) FILTER (WHERE requested_by = $1) AS "of_caller!"
        FROM uploads
        WHERE state IN ('queued', 'running')
        "#,
        requested_by
    );
    Ok(waiting.fetch_one(db).await?)
}

/// Counts the uploads to a family that arrived until `until` and are not stored yet.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.count_waiting", level = "debug", skip_all)]
pub async fn count_waiting_uploads(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    until: DateTime<Utc>,
) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!" FROM uploads
        WHERE family_id = $1 AND state IN ('queued', 'running') AND created_at <= $2
        "#,
        family_id,
        until
    );
    Ok(count.fetch_one(db).await?)
}

/// Like [`find_waiting_uploads`], for a caller that is about to insert another upload: holds a lock until the
/// transaction ends, so that nobody else inserts one meanwhile.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.lock_waiting", level = "debug", skip_all)]
pub async fn lock_waiting_uploads(
    transaction: &mut PgConnection,
    requested_by: &str,
) -> Result<WaitingUploads, StoreError> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", WAITING_LOCK)
        .execute(&mut *transaction)
        .await?;
    find_waiting_uploads(transaction, requested_by).await
}

/// Stores an upload whose pieces are already stored.
///
/// # Errors
/// [`StoreError::FamilyGone`].
#[tracing::instrument(name = "db.uploads.insert", level = "debug", skip_all)]
pub async fn insert_upload(
    db: impl PgExecutor<'_>,
    id: Uuid,
    family_id: Uuid,
    request: &UploadRequest,
    bytes: i64,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        INSERT INTO uploads (
            id, family_id, state, query, content_type, content_encoding, bytes, requested_by, note,
            attempts, created_at
        )
        VALUES ($1, $2, 'queued', $3, $4, $5, $6, $7, $8, 0, $9)
        "#,
        id,
        family_id,
        request.query,
        request.content_type,
        request.content_encoding,
        bytes,
        request.requested_by,
        request.note.as_ref().map(Json) as _,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

#[derive(Debug)]
struct UploadRow {
    id: Uuid,
    state: String,
    bytes: i64,
    result: Option<Value>,
    error: Option<Value>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<UploadRow> for Upload {
    type Error = StoreError;

    fn try_from(row: UploadRow) -> Result<Self, StoreError> {
        let state = UploadState::of_name(&row.state);
        let state = state.ok_or_else(|| StoreError::Corrupt {
            table: "uploads",
            id: row.id,
            detail: format!("state {}", row.state),
        })?;
        Ok(Self {
            id: row.id,
            state,
            bytes: row.bytes,
            result: row.result,
            error: row.error,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// Finds an upload of a family by its id.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.find", level = "debug", skip_all)]
pub async fn find_upload(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    id: Uuid,
) -> Result<Option<Upload>, StoreError> {
    sqlx::query_as!(
        UploadRow,
        r#"
        SELECT id, state, bytes, result, error, created_at, started_at, finished_at
        FROM uploads
        WHERE family_id = $1 AND id = $2
        "#,
        family_id,
        id
    )
    .fetch_optional(db)
    .await?
    .map(Upload::try_from)
    .transpose()
}

/// A page of a family's uploads, newest first, without their results and errors.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.list", level = "debug", skip_all)]
pub async fn list_uploads(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    request: PageRequest,
) -> Result<Page<Upload>, StoreError> {
    let rows = sqlx::query_as!(
        UploadRow,
        r#"
        SELECT id, state, bytes, NULL::jsonb AS result, NULL::jsonb AS error, created_at, started_at,
            finished_at
        FROM uploads
        WHERE family_id = $1 AND ($2::uuid IS NULL OR id < $2)
        ORDER BY id DESC
        LIMIT $3
        "#,
        family_id,
        request.after,
        request.fetch()
    )
    .fetch_all(db)
    .await?;
    let uploads = rows.into_iter().map(Upload::try_from).collect::<Result<_, _>>()?;
    Ok(request.page(uploads, |upload: &Upload| upload.id))
}

/// Claims an upload for the length of a lease: a queued one, or one whose process is dead. One upload per caller is
/// stored at a time, and the caller whose last turn is longest ago is next.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.claim", level = "debug", skip_all)]
pub async fn claim_upload(
    db: impl PgExecutor<'_>,
    lease_token: Uuid,
    lease: Duration,
    now: DateTime<Utc>,
) -> Result<Option<ClaimedUpload>, StoreError> {
    let row = sqlx::query!(
        r#"
        UPDATE uploads
        SET state = 'running', attempts = attempts + 1, lease_token = $1,
            started_at = $2,
            lease_expires_at = now() + make_interval(secs => $3)
        WHERE id = (
            SELECT id FROM uploads AS waiting
            WHERE (state = 'queued'
                    OR (state = 'running' AND lease_expires_at <= now())
                    -- No lease is longer than an hour: the database's clock was set back.
                    OR (state = 'running' AND lease_expires_at > now() + make_interval(hours => 1)))
                AND NOT EXISTS (
                    SELECT 1 FROM uploads AS other
                    WHERE other.requested_by = waiting.requested_by AND other.id <> waiting.id
                        AND other.state = 'running' AND other.lease_expires_at > now()
                )
            ORDER BY (
                    SELECT max(started_at) FROM uploads AS before
                    WHERE before.requested_by = waiting.requested_by AND started_at IS NOT NULL
                ) NULLS FIRST,
                -- One that was given back comes after others, so that none waits for a part of the database with it.
                started_at NULLS FIRST, created_at, id
            LIMIT 1
            FOR UPDATE SKIP LOCKED
        )
        RETURNING id, family_id, query, content_type, content_encoding, requested_by,
            note AS "note: Json<AuditEvent>", attempts
        "#,
        lease_token,
        now,
        lease.as_secs_f64()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| ClaimedUpload {
        id: row.id,
        family_id: row.family_id,
        request: UploadRequest {
            query: row.query,
            content_type: row.content_type,
            content_encoding: row.content_encoding,
            requested_by: row.requested_by,
            note: row.note.map(|note| note.0),
        },
        lease_token,
        attempts: row.attempts,
    }))
}

/// Renews the lease; returns `false` if another process holds it now, or the upload is gone.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.renew_lease", level = "debug", skip_all)]
pub async fn renew_upload_lease(
    db: impl PgExecutor<'_>,
    claimed: &ClaimedUpload,
    lease: Duration,
) -> Result<bool, StoreError> {
    let renewed = sqlx::query!(
        r#"
        UPDATE uploads SET lease_expires_at = now() + make_interval(secs => $3)
        WHERE id = $1 AND lease_token = $2
        "#,
        claimed.id,
        claimed.lease_token,
        lease.as_secs_f64()
    )
    .execute(db)
    .await?;
    Ok(renewed.rows_affected() > 0)
}

/// Gives a claimed upload back, so that another process takes it at once. The claim does not count as an attempt.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.release", level = "debug", skip_all)]
pub async fn release_upload(
    db: impl PgExecutor<'_>,
    claimed: &ClaimedUpload,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        UPDATE uploads
        SET state = 'queued', attempts = attempts - 1, lease_token = NULL, lease_expires_at = NULL
        WHERE id = $1 AND lease_token = $2
        "#,
        claimed.id,
        claimed.lease_token
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Finds a piece of a body; `None` after the last.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.find_piece", level = "debug", skip_all)]
pub async fn find_upload_piece(
    db: impl PgExecutor<'_>,
    upload_id: Uuid,
    number: i32,
) -> Result<Option<Vec<u8>>, StoreError> {
    let piece = sqlx::query_scalar!(
        "SELECT bytes FROM upload_pieces WHERE upload_id = $1 AND number = $2",
        upload_id,
        number
    );
    Ok(piece.fetch_optional(db).await?)
}

/// Ends a claimed upload and deletes its body, in the transaction that stores its runs.
///
/// # Errors
/// [`StoreError::LeaseLost`] if another process holds the lease now, or the upload is gone: then nothing may be stored.
#[tracing::instrument(name = "db.uploads.finish", level = "debug", skip_all)]
pub async fn finish_upload(
    transaction: &mut PgConnection,
    claimed: &ClaimedUpload,
    outcome: &UploadOutcome,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (state, result, error) = match outcome {
        UploadOutcome::Succeeded(result) => (UploadState::Succeeded, Some(result), None),
        UploadOutcome::Failed(error) => (UploadState::Failed, None, Some(error)),
    };
    let finished = sqlx::query!(
        r#"
        UPDATE uploads
        SET state = $3, result = $4, error = $5, finished_at = $6, lease_token = NULL,
            lease_expires_at = NULL
        WHERE id = $1 AND lease_token = $2
        "#,
        claimed.id,
        claimed.lease_token,
        state.as_str(),
        result,
        error,
        now
    )
    .execute(&mut *transaction)
    .await?;
    if finished.rows_affected() == 0 {
        return Err(StoreError::LeaseLost);
    }
    sqlx::query!("DELETE FROM upload_pieces WHERE upload_id = $1", claimed.id)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Deletes at most `most` uploads that ended more than `days` days ago by the database's clock, and returns their
/// number.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.uploads.delete", level = "debug", skip_all)]
pub async fn delete_uploads(
    db: impl PgExecutor<'_>,
    days: i32,
    most: i64,
) -> Result<u64, StoreError> {
    let deleted = sqlx::query!(
        r#"
        DELETE FROM uploads
        WHERE id IN (
            SELECT id FROM uploads
            WHERE finished_at < now() - make_interval(days => $1)
            ORDER BY finished_at
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        days,
        most
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
