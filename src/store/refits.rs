//! Refits: the queue of fits, and their outcomes.
//!
//! A worker claims a refit in a short transaction and holds a lease on it while it computes with no
//! connection. It renews the lease with its progress; a worker that dies lets it expire, and
//! another claims the refit. Only the holder of the lease can finish it, in one transaction that
//! stores the law and the state together.
//!
//! Leases are measured by the database's clock, which all workers share: the clocks of their machines may differ by
//! more than a lease.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sparsity_law::law::Ensemble;
use sqlx::types::Json;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::clock::Clock;
use crate::domain::law::LawContent;
use crate::domain::law_run::LawRun;
use crate::domain::page::{Page, PageRequest};
use crate::domain::refit::{ClaimedRefit, Refit, RefitFailure, RefitOptions, RefitState};
use crate::store::law_evidence::{insert_law_resamples, insert_law_runs};
use crate::store::{StoreError, laws};

/// Channel on which a new refit is announced to waiting workers.
pub const CHANNEL: &str = "sparsity_planner_refits";

/// How often a refit is claimed before it is given up. A worker that dies uses up one claim.
pub const MAX_ATTEMPTS: i32 = 3;

#[derive(Debug)]
struct RefitRow {
    id: Uuid,
    family: String,
    state: String,
    phase: String,
    progress: f64,
    options: Json<RefitOptions>,
    reproduces: Option<i32>,
    law_version: Option<i32>,
    law_id: Option<Uuid>,
    error: Option<Json<RefitFailure>>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<RefitRow> for Refit {
    type Error = StoreError;

    fn try_from(row: RefitRow) -> Result<Self, StoreError> {
        let state = RefitState::of_name(&row.state);
        let state = state.ok_or_else(|| StoreError::Corrupt {
            table: "refits",
            id: row.id,
            detail: format!("state {}", row.state),
        })?;
        Ok(Self {
            id: row.id,
            family: row.family,
            state,
            phase: row.phase,
            progress: row.progress,
            options: row.options.0,
            reproduces: row.reproduces,
            law: row.law_version.zip(row.law_id),
            error: row.error.map(|error| error.0),
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// A refit to be queued.
#[derive(Debug)]
pub struct NewRefit<'a> {
    /// Id of the refit, a UUIDv7.
    pub id: Uuid,
    /// The family whose runs are fitted.
    pub family_id: Uuid,
    /// Options of the fit.
    pub options: &'a RefitOptions,
    /// The law to reproduce, for a refit that checks a law instead of making one.
    pub reproduces_law_id: Option<Uuid>,
    /// The `traceparent` of the trace that the worker continues.
    pub trace_context: Option<&'a str>,
    /// Who requested the refit, as named in the audit log; requesters take turns.
    pub requested_by: &'a str,
    /// Estimated work: runs times starts and resamples.
    pub work: i64,
}

/// Queues a refit; waiting workers are notified when the transaction commits.
///
/// # Errors
/// [`StoreError::RefitQueued`] if the family has one queued already (a what-if refit counts apart from the others);
/// [`StoreError::FamilyGone`].
#[tracing::instrument(name = "db.refits.insert", level = "debug", skip_all)]
pub async fn insert_refit(
    db: impl PgExecutor<'_>,
    refit: &NewRefit<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        WITH refit AS (
            INSERT INTO refits (
                id, family_id, state, phase, progress, options, attempts, cancel_requested,
                created_at, reproduces_law_id, trace_context, requested_by, work
            )
            VALUES ($1, $2, 'queued', 'queued', 0, $3, 0, false, $4, $5, $6, $7, $8)
            RETURNING id
        )
        SELECT pg_notify('sparsity_planner_refits', id::text) FROM refit
        "#,
        refit.id,
        refit.family_id,
        Json(refit.options) as _,
        now,
        refit.reproduces_law_id,
        refit.trace_context,
        refit.requested_by,
        refit.work
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Finds a refit by its id.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.find", level = "debug", skip_all)]
pub async fn find_refit(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Refit>, StoreError> {
    sqlx::query_as!(
        RefitRow,
        r#"
        SELECT refits.id, families.name AS family, state, phase, progress,
            refits.options AS "options: _", checked.version AS "reproduces?",
            laws.version AS "law_version?", law_id, error AS "error: _", refits.created_at,
            started_at, finished_at
        FROM refits
            JOIN families ON families.id = refits.family_id
            LEFT JOIN laws ON laws.id = law_id
            LEFT JOIN laws AS checked ON checked.id = reproduces_law_id
        WHERE refits.id = $1
        "#,
        id
    )
    .fetch_optional(db)
    .await?
    .map(Refit::try_from)
    .transpose()
}

/// A page of a family's refits: those in the given state, or all.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.list", level = "debug", skip_all)]
pub async fn list_refits(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    state: Option<RefitState>,
    request: PageRequest,
) -> Result<Page<Refit>, StoreError> {
    let rows = sqlx::query_as!(
        RefitRow,
        r#"
        SELECT refits.id, families.name AS family, state, phase, progress,
            refits.options AS "options: _", checked.version AS "reproduces?",
            laws.version AS "law_version?", law_id, error AS "error: _", refits.created_at,
            started_at, finished_at
        FROM refits
            JOIN families ON families.id = refits.family_id
            LEFT JOIN laws ON laws.id = law_id AND laws.family_id = refits.family_id
            LEFT JOIN laws AS checked
                ON checked.id = reproduces_law_id AND checked.family_id = refits.family_id
        WHERE refits.family_id = $1 AND ($2::uuid IS NULL OR refits.id < $2)
            AND ($3::text IS NULL OR state = $3)
        ORDER BY refits.id DESC
        LIMIT $4
        "#,
        family_id,
        request.after,
        state.map(RefitState::as_str),
        request.fetch()
    )
    .fetch_all(db)
    .await?;
    let refits = rows.into_iter().map(Refit::try_from).collect::<Result<_, _>>()?;
    Ok(request.page(refits, |refit: &Refit| refit.id))
}

/// How many refits are queued and running, over all replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Queue {
    /// Number of queued refits.
    pub queued: i64,
    /// Number of running refits.
    pub running: i64,
    /// When the refit that has waited longest was requested.
    pub oldest: Option<DateTime<Utc>>,
}

/// Counts the refits in the queue.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.find_queue", level = "debug", skip_all)]
pub async fn find_queue(db: impl PgExecutor<'_>) -> Result<Queue, StoreError> {
    let queue = sqlx::query_as!(
        Queue,
        r#"
        -- The index of what workers look for holds these and no others.
        SELECT
            count(*) FILTER (WHERE state = 'queued') AS "queued!",
            count(*) FILTER (WHERE state = 'running') AS "running!",
            min(created_at) FILTER (WHERE state = 'queued') AS oldest
        FROM refits
        WHERE state IN ('queued', 'running')
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(queue)
}

/// The id and options of a family's queued refit: of the queued what-if if `what_if` is set, otherwise of the ordinary
/// one.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.find_queued", level = "debug", skip_all)]
pub async fn find_queued_refit(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    what_if: bool,
) -> Result<Option<(Uuid, RefitOptions)>, StoreError> {
    let row = sqlx::query!(
        r#"
        SELECT id, options AS "options: Json<RefitOptions>"
        FROM refits
        WHERE family_id = $1 AND what_if = $2 AND state = 'queued'
        "#,
        family_id,
        what_if
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.id, row.options.0)))
}

/// Requests that a refit stops: a queued one is cancelled at once, a running one by its worker. Returns `false` if
/// there is no such refit; a finished one stays as it is.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.cancel", level = "debug", skip_all)]
pub async fn cancel_refit(
    db: impl PgExecutor<'_>,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let asked = sqlx::query!(
        r#"
        WITH refit AS (
            UPDATE refits
            SET cancel_requested = cancel_requested OR state IN ('queued', 'running'),
                finished_at = CASE state WHEN 'queued' THEN $2 ELSE finished_at END,
                phase = CASE state WHEN 'queued' THEN 'cancelled' ELSE phase END,
                state = CASE state WHEN 'queued' THEN 'cancelled' ELSE state END
            WHERE id = $1
            RETURNING id
        )
        -- Its worker listens, and need not wait for its next look.
        SELECT pg_notify('sparsity_planner_refits', id::text) FROM refit
        "#,
        id,
        now
    )
    .fetch_optional(db)
    .await?;
    Ok(asked.is_some())
}

/// Claims a refit for the length of a lease: a queued one, or a running one whose worker is dead.
///
/// With `most_work`, only a queued refit of at most that much work is claimed. Requesters take turns: the one whose
/// last turn is longest ago is next; among that requester's refits, the family whose last turn is longest ago; and of
/// those, the oldest refit.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.claim", level = "debug", skip_all)]
pub async fn claim_refit(
    db: impl PgExecutor<'_>,
    lease_token: Uuid,
    lease: Duration,
    now: DateTime<Utc>,
    most_work: Option<i64>,
) -> Result<Option<ClaimedRefit>, StoreError> {
    let row = sqlx::query!(
        r#"
        UPDATE refits
        SET state = 'running', phase = 'starting', progress = 0, attempts = attempts + 1,
            lease_token = $1, started_at = coalesce(started_at, $2),
            lease_expires_at = now() + make_interval(secs => $3)
        WHERE id = (
            SELECT id FROM refits AS waiting
            WHERE ((state = 'queued' AND ($4::bigint IS NULL OR work <= $4))
                    -- Not beside another: that may be the one whose lease has expired, as the database was away.
                    OR ($4::bigint IS NULL AND state = 'running'
                        AND lease_expires_at <= now())
                    -- No lease is longer than an hour (--lease-ms): the database's clock was set back. A
                    -- worker that lives renews within a moment.
                    OR ($4::bigint IS NULL AND state = 'running'
                        AND lease_expires_at > now() + make_interval(hours => 1)))
            ORDER BY (
                    SELECT max(started_at) FROM refits AS before
                    WHERE before.requested_by = waiting.requested_by AND started_at IS NOT NULL
                ) NULLS FIRST, (
                    SELECT max(started_at) FROM refits AS before
                    WHERE before.family_id = waiting.family_id AND started_at IS NOT NULL
                ) NULLS FIRST, created_at, id
            LIMIT 1
            -- Two workers that look at once take different refits, or one goes away empty.
            FOR UPDATE SKIP LOCKED
        )
        RETURNING id, family_id, options AS "options: Json<RefitOptions>", reproduces_law_id,
            trace_context, attempts
        "#,
        lease_token,
        now,
        lease.as_secs_f64(),
        most_work
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| ClaimedRefit {
        id: row.id,
        family_id: row.family_id,
        options: row.options.0,
        reproduces_law_id: row.reproduces_law_id,
        trace_context: row.trace_context,
        lease_token,
        attempts: row.attempts,
    }))
}

/// Runs the query of [`claim_refit`] in a way that matches no refit. An error means that no refit could be claimed at
/// present: for example because the database is read only, or the node that holds the queue is unreachable.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.find_claimable", level = "debug", skip_all)]
pub async fn find_claimable(db: impl PgExecutor<'_>) -> Result<(), StoreError> {
    const NO_WORK: Option<i64> = Some(-1);
    let nobody = Uuid::nil();
    claim_refit(db, nobody, Duration::ZERO, DateTime::UNIX_EPOCH, NO_WORK).await.map(drop)
}

/// The store's answer to a worker that renews its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease is renewed: go on.
    Held,
    /// Somebody requested that the refit stops.
    CancelRequested,
    /// Another worker holds the lease now, or the refit is gone.
    Lost,
}

/// Renews the lease and stores phase and progress.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.renew_lease", level = "debug", skip_all)]
pub async fn renew_lease(
    db: impl PgExecutor<'_>,
    claimed: &ClaimedRefit,
    lease: Duration,
    phase: &str,
    progress: f64,
) -> Result<Renewal, StoreError> {
    let cancel_requested = sqlx::query_scalar!(
        r#"
        UPDATE refits
        SET lease_expires_at = now() + make_interval(secs => $3), phase = $4,
            progress = $5
        WHERE id = $1 AND lease_token = $2
        RETURNING cancel_requested
        "#,
        claimed.id,
        claimed.lease_token,
        lease.as_secs_f64(),
        phase,
        progress
    )
    .fetch_optional(db)
    .await?;
    Ok(match cancel_requested {
        Some(true) => Renewal::CancelRequested,
        Some(false) => Renewal::Held,
        None => Renewal::Lost,
    })
}

/// Gives a claimed refit back, so that the next worker takes it at once. The claim does not count as an attempt.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.release", level = "debug", skip_all)]
pub async fn release_refit(
    db: impl PgExecutor<'_>,
    claimed: &ClaimedRefit,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        -- It stays 'running' with an expired lease: the family may have queued another meanwhile.
        WITH refit AS (
            UPDATE refits
            SET lease_expires_at = now(), attempts = attempts - 1,
                phase = 'interrupted'
            WHERE id = $1 AND lease_token = $2
            RETURNING id
        )
        SELECT pg_notify('sparsity_planner_refits', id::text) FROM refit
        "#,
        claimed.id,
        claimed.lease_token
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Postpones a claimed refit by `pause`, for when the queue can be reached but the node that holds its runs cannot. The
/// claim does not count as an attempt. `waiting_token` becomes the lease's token, which no worker holds. Returns
/// `false` if the lease was lost.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.postpone", level = "debug", skip_all)]
pub async fn postpone_refit(
    db: impl PgExecutor<'_>,
    claimed: &ClaimedRefit,
    waiting_token: Uuid,
    pause: Duration,
) -> Result<bool, StoreError> {
    let postponed = sqlx::query!(
        r#"
        UPDATE refits
        SET lease_token = $3, lease_expires_at = now() + make_interval(secs => $4),
            attempts = attempts - 1, phase = 'waiting'
        WHERE id = $1 AND lease_token = $2
        "#,
        claimed.id,
        claimed.lease_token,
        waiting_token,
        pause.as_secs_f64()
    )
    .execute(db)
    .await?;
    Ok(postponed.rows_affected() > 0)
}

/// A law made by a refit, with its evidence.
#[derive(Debug, Clone)]
pub struct NewLaw {
    /// The law itself.
    pub content: LawContent,
    /// The laws fitted on resampled runs.
    pub ensemble: Option<Ensemble>,
    /// The runs on which the law was fitted.
    pub runs: Vec<LawRun>,
}

/// How a claimed refit ended.
#[derive(Debug, Clone)]
pub enum RefitOutcome {
    /// It made a law.
    Succeeded(Box<NewLaw>),
    /// The law to check, with this id, came out the same.
    Reproduced(Uuid),
    /// It failed.
    Failed(RefitFailure),
    /// It was cancelled on request.
    Cancelled,
}

/// Ends a claimed refit. Law and state are stored together, and only by the holder of the lease: returns `false`, and
/// stores nothing, if the lease belongs to another worker now.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.refits.finish", level = "debug", skip_all)]
pub async fn finish_refit(
    pool: &PgPool,
    clock: &Clock,
    claimed: &ClaimedRefit,
    outcome: &RefitOutcome,
) -> Result<bool, StoreError> {
    let now = clock.now();
    let mut transaction = pool.begin().await?;
    // The family is locked first: others lock in the same order, and it serialises the versions of laws.
    sqlx::query!("SELECT id FROM families WHERE id = $1 FOR NO KEY UPDATE", claimed.family_id)
        .fetch_optional(&mut *transaction)
        .await?;
    let held = sqlx::query_scalar!(
        "SELECT id FROM refits WHERE id = $1 AND lease_token = $2 FOR UPDATE",
        claimed.id,
        claimed.lease_token
    )
    .fetch_optional(&mut *transaction)
    .await?
    .is_some();
    if !held {
        return Ok(false);
    }
    let (state, law_id, error) = match outcome {
        RefitOutcome::Succeeded(new) => {
            let law = laws::insert_law(
                &mut *transaction,
                clock.new_id(),
                claimed.family_id,
                &new.content,
                now,
            )
            .await?;
            insert_law_runs(&mut *transaction, law.id, &new.runs).await?;
            if let Some(ensemble) = &new.ensemble {
                insert_law_resamples(&mut *transaction, law.id, ensemble).await?;
            }
            (RefitState::Succeeded, Some(law.id), None)
        }
        RefitOutcome::Reproduced(law_id) => (RefitState::Succeeded, Some(*law_id), None),
        RefitOutcome::Failed(failure) => (RefitState::Failed, None, Some(Json(failure))),
        RefitOutcome::Cancelled => (RefitState::Cancelled, None, None),
    };
    sqlx::query!(
        r#"
        UPDATE refits
        SET state = $2, phase = $2, law_id = $3, error = $4, finished_at = $5,
            progress = CASE $2 WHEN 'succeeded' THEN 1 ELSE progress END,
            lease_token = NULL, lease_expires_at = NULL
        WHERE id = $1
        "#,
        claimed.id,
        state.as_str(),
        law_id,
        error as _,
        now
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}
