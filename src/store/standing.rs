//! The current state of families, for those who follow them.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::domain::standing::{Glance, RefitGlance, RunCounts, SinceLaw};
use crate::domain::text::FamilyName;
use crate::store::StoreError;

/// The part of a family's state that is cheap to find: a few rows by their indexes, however many runs it has. `None` if
/// the family is gone.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.standing.find_glance", level = "debug", skip_all)]
pub async fn find_glance(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
) -> Result<Option<Glance>, StoreError> {
    let row = sqlx::query!(
        r#"
        SELECT families.name, families.updated_at, pinned_law_id IS NOT NULL AS "pinned!",
            active.id AS "law_id?", active.version AS "version?",
            (SELECT max(version) FROM laws WHERE laws.family_id = families.id) AS newest_law,
            -- A refit that only fits a law again did not make it.
            (
                SELECT min(started_at) FROM refits
                WHERE refits.law_id = active.id AND reproduces_law_id IS NULL
            ) AS refit_began,
            (SELECT id FROM runs WHERE family_id = $1 ORDER BY id DESC LIMIT 1) AS newest_run
        FROM families
            LEFT JOIN answering_laws ON answering_laws.family_id = families.id
            LEFT JOIN laws AS active ON active.id = answering_laws.law_id
        WHERE families.id = $1
        "#,
        family_id
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        let family = FamilyName::new(&row.name).map_err(|error| StoreError::Corrupt {
            table: "families",
            id: family_id,
            detail: error.to_string(),
        })?;
        Ok(Glance {
            family,
            updated_at: row.updated_at,
            active_law: row.version.zip(row.law_id),
            pinned: row.pinned,
            newest_law: row.newest_law,
            refit_began: row.refit_began,
            newest_run: row.newest_run,
        })
    })
    .transpose()
}

/// How far a family's refits are: all that are queued or running, and the `newest` most recent ones.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.standing.list_refits", level = "debug", skip_all)]
pub async fn list_refit_glances(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    newest: i64,
) -> Result<Vec<RefitGlance>, StoreError> {
    let refits = sqlx::query_as!(
        RefitGlance,
        r#"
        SELECT id AS "id!", state AS "state!", phase AS "phase!", progress AS "progress!"
        FROM (
            (
                SELECT id, state, phase, progress FROM refits
                WHERE family_id = $1 ORDER BY id DESC LIMIT $2
            )
            UNION
            (
                SELECT id, state, phase, progress FROM refits
                WHERE family_id = $1 AND state IN ('queued', 'running')
            )
        ) AS seen
        ORDER BY id
        "#,
        family_id,
        newest
    )
    .fetch_all(db)
    .await?;
    Ok(refits)
}

/// Counts a family's runs, and how they changed since the refit of a law began. `since` holds the law's id and that
/// time: a law keeps its runs as they were, and each is compared with its present values. Reads all runs of the family.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.standing.count_runs", level = "debug", skip_all)]
pub async fn count_runs(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    since: Option<(Uuid, DateTime<Utc>)>,
) -> Result<RunCounts, StoreError> {
    let (law_id, began) = since.unzip();
    let row = sqlx::query!(
        r#"
        WITH was AS (
            SELECT of.run_id, of.nonzero_params, of.sparsity, of.data, of.loss
            FROM law_runs CROSS JOIN LATERAL unnest(
                law_runs.run_id, law_runs.nonzero_params, law_runs.sparsity, law_runs.data, law_runs.loss
            ) AS of (run_id, nonzero_params, sparsity, data, loss)
            WHERE law_id = $2
        )
        SELECT count(*) AS "all!", count(*) FILTER (WHERE NOT excluded) AS "used!",
            -- What was there already and has no part in the law has none by the law's own options.
            count(*) FILTER (
                WHERE NOT excluded AND run_id IS NULL AND updated_at >= $3
            ) AS "added!",
            count(*) FILTER (
                WHERE NOT excluded AND (runs.nonzero_params, runs.sparsity, runs.data, runs.loss)
                    <> (was.nonzero_params, was.sparsity, was.data, was.loss)
            ) AS "changed!",
            (SELECT count(*) FROM was) - count(run_id) FILTER (WHERE NOT excluded) AS "removed!"
        FROM runs LEFT JOIN was ON run_id = runs.id
        WHERE family_id = $1
        "#,
        family_id,
        law_id,
        began
    )
    .fetch_one(db)
    .await?;
    let since_law =
        since.map(|_| SinceLaw { added: row.added, changed: row.changed, removed: row.removed });
    Ok(RunCounts { all: row.all, used: row.used, since_law })
}
