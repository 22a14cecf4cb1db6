//! Training runs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures_util::stream::{BoxStream, Stream, StreamExt, TryChunksError, TryStreamExt};
use sparsity_law::fit::Observation;
use sparsity_law::law::{Data, Loss, NonzeroParams, Sparsity};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection, PgExecutor, PgTransaction};
use tokio::task::coop::consume_budget;
use uuid::Uuid;

use crate::domain::page::{Page, PageRequest};
use crate::domain::run::{Run, RunFilter, SubmittedRun, TrainingStart};
use crate::domain::text::Pattern;
use crate::store::StoreError;
use crate::store::scores::announce_scores;

#[derive(Debug)]
struct RunRow {
    id: Uuid,
    external_id: String,
    nonzero_params: f64,
    sparsity: f64,
    data: f64,
    loss: f64,
    start: String,
    pretraining_data: Option<f64>,
    unique_data: Option<f64>,
    pattern: Option<String>,
    tags: Json<BTreeMap<String, String>>,
    exclusion_reason: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<RunRow> for Run {
    type Error = StoreError;

    fn try_from(row: RunRow) -> Result<Self, StoreError> {
        let corrupt = |detail| StoreError::Corrupt { table: "runs", id: row.id, detail };
        let start = match row.start.as_str() {
            "scratch" => TrainingStart::Scratch,
            "pretrained" => TrainingStart::Pretrained,
            other => return Err(corrupt(format!("start {other}"))),
        };
        let pattern = row.pattern.as_deref().map(Pattern::new).transpose();
        Ok(Self {
            id: row.id,
            submitted: SubmittedRun {
                external_id: row.external_id,
                observation: observation(row.nonzero_params, row.sparsity, row.data, row.loss)
                    .map_err(|e| corrupt(e.to_string()))?,
                start,
                pretraining_data: row
                    .pretraining_data
                    .map(Data::new)
                    .transpose()
                    .map_err(|e| corrupt(e.to_string()))?,
                unique_data: row
                    .unique_data
                    .map(Data::new)
                    .transpose()
                    .map_err(|e| corrupt(e.to_string()))?,
                pattern: pattern.map_err(|e| corrupt(e.to_string()))?,
                tags: row.tags.0,
                exclusion_reason: row.exclusion_reason,
            },
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

fn observation(
    nonzero_params: f64,
    sparsity: f64,
    data: f64,
    loss: f64,
) -> Result<Observation, sparsity_law::law::DomainError> {
    Ok(Observation {
        nonzero_params: NonzeroParams::new(nonzero_params)?,
        sparsity: Sparsity::new(sparsity)?,
        data: Data::new(data)?,
        loss: Loss::new(loss)?,
    })
}

impl RunFilter {
    /// The required tags, nested under the family's id as in the index; `None` if the filter has no tags, so that no
    /// index is needed.
    fn tags(&self, family_id: Uuid) -> Option<serde_json::Value> {
        (!self.tags.is_empty()).then(|| serde_json::json!({ family_id.to_string(): self.tags }))
    }
}

/// Begins a transaction for [`list_runs`] or [`export_runs`] with this filter.
///
/// With tags or a name in the filter, the statement is planned for its actual values: how rare a tag is decides whether
/// its index or the family's helps, and a name has an index that finds one run. After some executions PostgreSQL would
/// otherwise settle on one plan for all values.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.begin_filtered", level = "debug", skip_all)]
pub async fn begin_filtered<'c>(
    connection: &'c mut PgConnection,
    filter: &RunFilter,
) -> Result<PgTransaction<'c>, StoreError> {
    let mut transaction = connection.begin().await?;
    if !filter.tags.is_empty() || filter.external_id.is_some() {
        sqlx::query!("SET LOCAL plan_cache_mode = 'force_custom_plan'")
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction)
}

/// A page of a family's runs.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.list", level = "debug", skip_all)]
pub async fn list_runs(
    connection: &mut PgConnection,
    family_id: Uuid,
    filter: &RunFilter,
    request: PageRequest,
) -> Result<Page<Run>, StoreError> {
    let mut transaction = begin_filtered(connection, filter).await?;
    let rows = sqlx::query_as!(
        RunRow,
        r#"
        SELECT id, external_id, nonzero_params, sparsity, data, loss, start, pretraining_data,
            unique_data, pattern, tags AS "tags: _", exclusion_reason, created_at, updated_at
        FROM runs
        WHERE family_id = $1
            AND ($2::uuid IS NULL OR id < $2)
            AND ($4::float8 IS NULL OR nonzero_params >= $4)
            AND ($5::float8 IS NULL OR nonzero_params <= $5)
            AND ($6::float8 IS NULL OR sparsity >= $6)
            AND ($7::float8 IS NULL OR sparsity <= $7)
            AND ($8::float8 IS NULL OR data >= $8)
            AND ($9::float8 IS NULL OR data <= $9)
            AND ($10::float8 IS NULL OR loss >= $10)
            AND ($11::float8 IS NULL OR loss <= $11)
            AND ($12::text IS NULL OR pattern = $12)
            AND ($13::text IS NULL OR start = $13)
            AND ($14::boolean IS NULL OR excluded = $14)
            AND ($15::jsonb IS NULL OR jsonb_set('{}', ARRAY[family_id::text], tags) @> $15)
            AND ($16::text IS NULL OR external_id = $16)
        ORDER BY id DESC
        LIMIT $3
        "#,
        family_id,
        request.after,
        request.fetch(),
        filter.nonzero_params.0,
        filter.nonzero_params.1,
        filter.sparsity.0,
        filter.sparsity.1,
        filter.data.0,
        filter.data.1,
        filter.loss.0,
        filter.loss.1,
        filter.pattern.as_ref().map(Pattern::as_str),
        filter.start.map(TrainingStart::as_str),
        filter.excluded,
        filter.tags(family_id),
        filter.external_id,
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let runs = rows.into_iter().map(Run::try_from).collect::<Result<_, _>>()?;
    Ok(request.page(runs, |run: &Run| run.id))
}

/// All of a family's runs that match a filter, in order of arrival and in batches.
///
/// It is one statement, and so one snapshot of the database. Rows are read as the stream is polled, so memory use stays
/// flat.
///
/// # Errors
/// [`StoreError::Database`].
pub fn export_runs<'e>(
    connection: &'e mut PgConnection,
    family_id: Uuid,
    filter: &RunFilter,
) -> BoxStream<'e, Result<Vec<SubmittedRun>, StoreError>> {
    const BATCH: usize = 500;
    let rows = sqlx::query_as!(
        RunRow,
        r#"
        SELECT id, external_id, nonzero_params, sparsity, data, loss, start, pretraining_data,
            unique_data, pattern, tags AS "tags: _", exclusion_reason, created_at, updated_at
        FROM runs
        WHERE family_id = $1
            AND ($2::float8 IS NULL OR nonzero_params >= $2)
            AND ($3::float8 IS NULL OR nonzero_params <= $3)
            AND ($4::float8 IS NULL OR sparsity >= $4)
            AND ($5::float8 IS NULL OR sparsity <= $5)
            AND ($6::float8 IS NULL OR data >= $6)
            AND ($7::float8 IS NULL OR data <= $7)
            AND ($8::float8 IS NULL OR loss >= $8)
            AND ($9::float8 IS NULL OR loss <= $9)
            AND ($10::text IS NULL OR pattern = $10)
            AND ($11::text IS NULL OR start = $11)
            AND ($12::boolean IS NULL OR excluded = $12)
            AND ($13::jsonb IS NULL OR jsonb_set('{}', ARRAY[family_id::text], tags) @> $13)
            AND ($14::text IS NULL OR external_id = $14)
        ORDER BY id
        "#,
        family_id,
        filter.nonzero_params.0,
        filter.nonzero_params.1,
        filter.sparsity.0,
        filter.sparsity.1,
        filter.data.0,
        filter.data.1,
        filter.loss.0,
        filter.loss.1,
        filter.pattern.as_ref().map(Pattern::as_str),
        filter.start.map(TrainingStart::as_str),
        filter.excluded,
        filter.tags(family_id),
        filter.external_id,
    )
    .fetch(connection);
    let batches = rows.try_chunks(BATCH).map(|batch| {
        let rows = batch.map_err(|TryChunksError(_, error)| error)?;
        rows.into_iter().map(|row| Run::try_from(row).map(|run| run.submitted)).collect()
    });
    batches.boxed()
}

/// The runs on which laws of a family are fitted: all that are not excluded.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.list_fit", level = "debug", skip_all)]
pub async fn list_fit_runs(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
) -> Result<Vec<Run>, StoreError> {
    let rows = sqlx::query_as!(
        RunRow,
        r#"
        SELECT id, external_id, nonzero_params, sparsity, data, loss, start, pretraining_data,
            unique_data, pattern, tags AS "tags: _", exclusion_reason, created_at, updated_at
        FROM runs
        WHERE family_id = $1 AND NOT excluded
        "#,
        family_id
    )
    .fetch(db);
    in_turns(rows.map(|row| Run::try_from(row?))).await
}

/// Collects rows and yields to other tasks in between: rows that have already arrived would otherwise be ready one
/// after the other without ever yielding.
async fn in_turns<T>(
    rows: impl Stream<Item = Result<T, StoreError>>,
) -> Result<Vec<T>, StoreError> {
    let turn = async |row: T| {
        consume_budget().await;
        Ok(row)
    };
    rows.and_then(turn).try_collect().await
}

/// The measurements of the runs that a refit without options would use, at most `most` of them. Each comes with its
/// unique data, if known.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.list_fit_observations", level = "debug", skip_all)]
pub async fn list_fit_observations(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    most: i64,
) -> Result<Vec<(Observation, Option<Data>)>, StoreError> {
    let rows = sqlx::query!(
        r#"
        -- Unstructured runs from scratch; neither names nor tags, which take most of a run.
        SELECT id, nonzero_params, sparsity, data, loss, unique_data
        FROM runs
        WHERE family_id = $1 AND NOT excluded AND start = 'scratch' AND pattern IS NULL
        LIMIT $2
        "#,
        family_id,
        most
    )
    .fetch(db);
    // Converted row by row, because the database's rows take several times the memory of the result.
    let kept = rows.map(|row| {
        let row = row?;
        let unique = row.unique_data.map(Data::new).transpose();
        let run = observation(row.nonzero_params, row.sparsity, row.data, row.loss);
        run.and_then(|run| Ok((run, unique?))).map_err(|error| StoreError::Corrupt {
            table: "runs",
            id: row.id,
            detail: error.to_string(),
        })
    });
    in_turns(kept).await
}

/// Number of runs that a refit would use.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.count_fit", level = "debug", skip_all)]
pub async fn count_fit_runs(db: impl PgExecutor<'_>, family_id: Uuid) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM runs WHERE family_id = $1 AND NOT excluded"#,
        family_id
    );
    Ok(count.fetch_one(db).await?)
}

/// Whether any run that a refit would use has this tag, whatever its value.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.find_fit_tag", level = "debug", skip_all)]
pub async fn find_fit_tag(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    tag: &str,
) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"
        SELECT true AS "found!" FROM runs WHERE family_id = $1 AND NOT excluded AND tags ? $2 LIMIT 1
        "#,
        family_id,
        tag
    )
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Those of the given `external_id`s whose runs a refit would use.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.list_fit_names", level = "debug", skip_all)]
pub async fn list_fit_run_names(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    external_ids: &[String],
) -> Result<Vec<String>, StoreError> {
    let names = sqlx::query_scalar!(
        r#"
        SELECT external_id FROM runs
        WHERE family_id = $1 AND NOT excluded AND external_id = ANY ($2)
        "#,
        family_id,
        external_ids
    )
    .fetch_all(db)
    .await?;
    Ok(names)
}

/// Finds a run of a family by its id.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.find", level = "debug", skip_all)]
pub async fn find_run(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    id: Uuid,
) -> Result<Option<Run>, StoreError> {
    sqlx::query_as!(
        RunRow,
        r#"
        SELECT id, external_id, nonzero_params, sparsity, data, loss, start, pretraining_data,
            unique_data, pattern, tags AS "tags: _", exclusion_reason, created_at, updated_at
        FROM runs
        WHERE family_id = $1 AND id = $2
        "#,
        family_id,
        id
    )
    .fetch_optional(db)
    .await?
    .map(Run::try_from)
    .transpose()
}

/// Finds the id of the run with this `external_id`.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.find_id", level = "debug", skip_all)]
pub async fn find_run_id(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    external_id: &str,
) -> Result<Option<Uuid>, StoreError> {
    let id = sqlx::query_scalar!(
        "SELECT id FROM runs WHERE family_id = $1 AND external_id = $2",
        family_id,
        external_id
    )
    .fetch_optional(db)
    .await?;
    Ok(id)
}

/// Excludes a run from fits for the given reason, or includes it again with `None`. Returns the run in its new state;
/// `None` if there is no such run.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.update_exclusion", level = "debug", skip_all)]
pub async fn update_run_exclusion(
    transaction: &mut PgConnection,
    family_id: Uuid,
    id: Uuid,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Option<Run>, StoreError> {
    let updated = sqlx::query_as!(
        RunRow,
        r#"
        UPDATE runs
        SET excluded = $3::text IS NOT NULL, exclusion_reason = $3, updated_at = $4
        WHERE family_id = $1 AND id = $2
        RETURNING id, external_id, nonzero_params, sparsity, data, loss, start, pretraining_data,
            unique_data, pattern, tags AS "tags: _", exclusion_reason, created_at, updated_at
        "#,
        family_id,
        id,
        reason,
        now
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if updated.is_some() {
        announce_scores(transaction, family_id).await?;
    }
    updated.map(Run::try_from).transpose()
}

/// Deletes a run; returns `false` if there is no such run.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.delete", level = "debug", skip_all)]
pub async fn delete_run(
    transaction: &mut PgConnection,
    family_id: Uuid,
    id: Uuid,
) -> Result<bool, StoreError> {
    let deleted = sqlx::query!("DELETE FROM runs WHERE family_id = $1 AND id = $2", family_id, id)
        .execute(&mut *transaction)
        .await?;
    let is_deleted = deleted.rows_affected() > 0;
    if is_deleted {
        announce_scores(transaction, family_id).await?;
    }
    Ok(is_deleted)
}
