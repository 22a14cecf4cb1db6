//! Storing submitted runs: a few as parameters of one statement, many by COPY into a temporary table and from there by
//! the same statement.
//!
//! The temporary table lives as long as the transaction, so an upload that ends early leaves nothing behind. No
//! migration creates the table, so statements on it cannot be checked at compile time; the one that merges shares its
//! text with the statement that is checked.

use futures_util::{Stream, StreamExt};
use sparsity_law::fit::Observation;
use sparsity_law::law::{Data, Sparsity};
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use crate::clock::Clock;
use crate::domain::numbered_run::{ContradictedRow, NumberedRun, RepeatedRow};
use crate::domain::run::{Brought, Merged};
use crate::domain::text::Pattern;
use crate::store::StoreError;
use crate::store::scores::announce_scores;
use crate::store::unfinished::Unfinished;

/// Begins a transaction for [`stage_runs`].
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.begin_staging", level = "debug", skip_all)]
pub async fn begin_staging(pool: &PgPool) -> Result<Unfinished, StoreError> {
    let mut staging = Unfinished::new(pool.acquire().await?);
    // Not sqlx's transaction guard, which would roll back when it is dropped: here the connection is closed instead.
    sqlx::query("BEGIN").execute(&mut *staging).await?;
    Ok(staging)
}

/// Commits what was done since [`begin_staging`], and gives the connection back.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.commit_staging", level = "debug", skip_all)]
pub async fn commit_staging(mut staging: Unfinished) -> Result<(), StoreError> {
    sqlx::query("COMMIT").execute(&mut *staging).await?;
    // Every statement on it has been answered to its end.
    staging.finished();
    Ok(())
}

/// Writes batches of runs into the temporary table, and returns the number of runs. Call it once per transaction.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.stage", level = "debug", skip_all)]
pub async fn stage_runs(
    transaction: &mut PgConnection,
    clock: &Clock,
    batches: impl Stream<Item = Vec<NumberedRun>>,
) -> Result<u64, StoreError> {
    sqlx::query(
        "CREATE TEMPORARY TABLE staged_runs (
            id uuid NOT NULL, row_number bigint NOT NULL, external_id text NOT NULL,
            nonzero_params float8 NOT NULL, sparsity float8 NOT NULL, data float8 NOT NULL,
            loss float8 NOT NULL, start text NOT NULL, pretraining_data float8,
            unique_data float8, pattern text, tags jsonb NOT NULL, exclusion_reason text,
            brought smallint NOT NULL
        ) ON COMMIT DROP",
    )
    .execute(&mut *transaction)
    .await?;
    let mut copy = transaction.copy_in_raw("COPY staged_runs FROM STDIN (FORMAT binary)").await?;
    // Signature, flags, and the length of the header extension.
    let mut buffer = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    let mut total = 0;
    let mut batches = std::pin::pin!(batches);
    while let Some(batch) = batches.next().await {
        total += batch.len() as u64;
        for run in &batch {
            encode(&mut buffer, clock.new_id(), run);
        }
        copy.send(buffer.as_slice()).await?;
        buffer.clear();
    }
    buffer.extend((-1_i16).to_be_bytes());
    copy.send(buffer.as_slice()).await?;
    copy.finish().await?;
    Ok(total)
}

/// Encodes a tuple in the binary format of COPY: the number of fields, then each field preceded by its length.
fn encode(buffer: &mut Vec<u8>, id: Uuid, submitted: &NumberedRun) {
    const FIELDS: i16 = 14;
    let NumberedRun { row, run, brought } = submitted;
    buffer.extend(FIELDS.to_be_bytes());
    let mut field = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => {
            let length =
                i32::try_from(bytes.len()).expect("texts are limited before they come here");
            buffer.extend(length.to_be_bytes());
            buffer.extend(bytes);
        }
        None => buffer.extend((-1_i32).to_be_bytes()),
    };
    field(Some(id.as_bytes()));
    field(Some(&row.to_be_bytes()));
    field(Some(run.external_id.as_bytes()));
    let measured = &run.observation;
    for number in [
        measured.nonzero_params.get(),
        measured.sparsity.get(),
        measured.data.get(),
        measured.loss.get(),
    ] {
        field(Some(&number.to_be_bytes()));
    }
    field(Some(run.start.as_str().as_bytes()));
    let pretraining_data = run.pretraining_data.map(|data| Data::get(data).to_be_bytes());
    field(pretraining_data.as_ref().map(<[u8; 8]>::as_slice));
    let unique_data = run.unique_data.map(|data| Data::get(data).to_be_bytes());
    field(unique_data.as_ref().map(<[u8; 8]>::as_slice));
    field(run.pattern.as_ref().map(|pattern| pattern.as_str().as_bytes()));
    // The version byte of jsonb's binary format, then the JSON text.
    let mut tags = vec![1];
    serde_json::to_writer(&mut tags, &run.tags).expect("texts are JSON");
    field(Some(&tags));
    field(run.exclusion_reason.as_deref().map(str::as_bytes));
    field(Some(&brought.bits().to_be_bytes()));
}

/// Removes staged rows whose run is named by an earlier row. Returns the first `named` of them in order of rows, and
/// their total number.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.delete_repeated_rows", level = "debug", skip_all)]
pub async fn delete_repeated_rows(
    transaction: &mut PgConnection,
    named: usize,
) -> Result<(Vec<RepeatedRow>, u64), StoreError> {
    let named = i64::try_from(named).unwrap_or(i64::MAX);
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        r#"
        WITH numbered AS (
            SELECT id, row_number, first_value(row_number) OVER (
                    PARTITION BY external_id COLLATE "C" ORDER BY row_number
                ) AS first_row
            FROM staged_runs
        ), deleted AS (
            DELETE FROM staged_runs USING numbered
            WHERE staged_runs.id = numbered.id AND numbered.row_number <> numbered.first_row
            RETURNING numbered.row_number, numbered.first_row
        )
        SELECT row_number, first_row, count(*) OVER () FROM deleted ORDER BY row_number LIMIT $1
        "#,
    )
    .bind(named)
    .fetch_all(&mut *transaction)
    .await?;
    let total = rows.first().map_or(0, |(_, _, total)| total.cast_unsigned());
    let repeated = rows.into_iter().map(|(row, first, _)| RepeatedRow {
        row: row.cast_unsigned(),
        first: first.cast_unsigned(),
    });
    Ok((repeated.collect(), total))
}

/// Finds those of a few submitted runs that would keep a stored pattern which their new sparsity contradicts.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.list_contradicted", level = "debug", skip_all)]
pub async fn list_contradicted_rows(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    submitted: &[NumberedRun],
) -> Result<Vec<ContradictedRow>, StoreError> {
    let keeping = |run: &&NumberedRun| !run.brought.has(Brought::PATTERN);
    let keeping: Vec<&NumberedRun> = submitted.iter().filter(keeping).collect();
    let rows = sqlx::query!(
        r#"
        SELECT submitted.row_number AS "row_number!", submitted.sparsity AS "sparsity!",
            runs.pattern AS "pattern!"
        FROM unnest($2::bigint[], $3::text[], $4::float8[]) AS submitted (
                row_number, external_id, sparsity
            )
            JOIN runs ON runs.family_id = $1 AND runs.external_id = submitted.external_id
        WHERE runs.pattern IS NOT NULL AND runs.sparsity <> submitted.sparsity
            AND pattern_contradicts(runs.pattern, submitted.sparsity)
        ORDER BY submitted.row_number
        "#,
        family_id,
        &keeping.iter().map(|run| run.row.cast_signed()).collect::<Vec<_>>(),
        &keeping.iter().map(|run| run.run.external_id.clone()).collect::<Vec<_>>(),
        &keeping.iter().map(|run| run.run.observation.sparsity.get()).collect::<Vec<_>>()
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter();
    rows.map(|row| contradicted(family_id, row.row_number, row.sparsity, &row.pattern)).collect()
}

/// Removes staged rows whose run would keep a stored pattern which the new sparsity contradicts. Returns the first
/// `named` of them in order of rows, and their total number.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.runs.delete_contradicted_rows", level = "debug", skip_all)]
pub async fn delete_contradicted_rows(
    transaction: &mut PgConnection,
    family_id: Uuid,
    named: usize,
) -> Result<(Vec<ContradictedRow>, u64), StoreError> {
    let named = i64::try_from(named).unwrap_or(i64::MAX);
    let rows: Vec<(i64, f64, String, i64)> = sqlx::query_as(
        r#"
        WITH deleted AS (
            DELETE FROM staged_runs USING runs
            WHERE runs.family_id = $1 AND runs.external_id = staged_runs.external_id
                AND staged_runs.brought & 4 = 0 AND runs.pattern IS NOT NULL
                AND runs.sparsity <> staged_runs.sparsity
                AND pattern_contradicts(runs.pattern, staged_runs.sparsity)
            RETURNING staged_runs.row_number, staged_runs.sparsity, runs.pattern
        )
        SELECT row_number, sparsity, pattern, count(*) OVER ()
        FROM deleted ORDER BY row_number LIMIT $2
        "#,
    )
    .bind(family_id)
    .bind(named)
    .fetch_all(&mut *transaction)
    .await?;
    let total = rows.first().map_or(0, |(.., total)| total.cast_unsigned());
    let rows = rows.into_iter();
    let rows =
        rows.map(|(row, sparsity, pattern, _)| contradicted(family_id, row, sparsity, &pattern));
    Ok((rows.collect::<Result<_, _>>()?, total))
}

fn contradicted(
    family_id: Uuid,
    row: i64,
    sparsity: f64,
    pattern: &str,
) -> Result<ContradictedRow, StoreError> {
    let corrupt = |detail: String| StoreError::Corrupt { table: "runs", id: family_id, detail };
    Ok(ContradictedRow {
        row: row.cast_unsigned(),
        pattern: Pattern::new(pattern).map_err(|error| corrupt(error.to_string()))?,
        sparsity: Sparsity::new(sparsity).map_err(|error| corrupt(error.to_string()))?,
    })
}

/// Merges the staged runs into a family's runs; `total` is the number of staged runs. If the merge is refused, they
/// stay staged.
///
/// # Errors
/// Those of the merge. After [`StoreError::PatternContradicted`] the transaction can go on.
#[tracing::instrument(name = "db.runs.try_merge_staged", level = "debug", skip_all)]
pub async fn try_merge_staged_runs(
    transaction: &mut PgConnection,
    clock: &Clock,
    family_id: Uuid,
    total: u64,
) -> Result<Merged, StoreError> {
    sqlx::query("SAVEPOINT merging").execute(&mut *transaction).await?;
    let merged = merge_staged_runs(transaction, clock, family_id, total).await;
    if matches!(merged, Err(StoreError::PatternContradicted)) {
        sqlx::query("ROLLBACK TO SAVEPOINT merging").execute(&mut *transaction).await?;
    }
    merged
}

/// Passes a macro the statement that merges runs: `WITH submitted AS NOT MATERIALIZED (`, the given `SELECT` of the
/// runs, and the rest. `$1` is the family, `$2` the time.
///
/// New runs are inserted, and runs whose values differ are updated. A run is identified by its `external_id` within the
/// family, and none may be submitted twice. A stored run keeps the optional fields that the submission does not contain
/// ([`crate::domain::run::Brought`]). If a kept pattern contradicts the new sparsity, the whole statement fails and
/// stores nothing.
///
/// Batches over the same runs wait for each other and do not deadlock, because rows are locked in the byte order of
/// their ids.
macro_rules! merge_statement {
    ($query:ident, $submitted:literal $(, $parameter:expr)*) => {
        $query!(
            "WITH submitted AS NOT MATERIALIZED (",
            $submitted,
            r#"
        ), merged AS (
            INSERT INTO runs (
                id, family_id, external_id, nonzero_params, sparsity, data, loss, start,
                pretraining_data, unique_data, pattern, tags, excluded, exclusion_reason, created_at,
                updated_at, brought, unique_brought
            )
            SELECT id, $1, external_id, nonzero_params, sparsity, data, loss, start,
                pretraining_data, unique_data, pattern, tags, exclusion_reason IS NOT NULL,
                exclusion_reason, $2, $2, brought & 31, brought & 32 > 0
            FROM submitted
            ORDER BY external_id COLLATE "C"
            ON CONFLICT ON CONSTRAINT runs_family_id_external_id_key DO UPDATE
            SET nonzero_params = excluded.nonzero_params, sparsity = excluded.sparsity,
                data = excluded.data, loss = excluded.loss,
                start = CASE WHEN excluded.brought & 1 > 0 THEN excluded.start ELSE runs.start END,
                pretraining_data = CASE WHEN excluded.brought & 2 > 0
                    THEN excluded.pretraining_data ELSE runs.pretraining_data END,
                unique_data = CASE WHEN excluded.unique_brought
                    THEN excluded.unique_data ELSE runs.unique_data END,
                pattern = CASE WHEN excluded.brought & 4 > 0 THEN excluded.pattern
                    WHEN runs.pattern IS NULL OR runs.sparsity = excluded.sparsity THEN runs.pattern
                    ELSE kept_pattern(runs.pattern, excluded.sparsity) END,
                tags = CASE WHEN excluded.brought & 8 > 0 THEN excluded.tags ELSE runs.tags END,
                excluded = CASE WHEN excluded.brought & 16 > 0
                    THEN excluded.excluded ELSE runs.excluded END,
                exclusion_reason = CASE WHEN excluded.brought & 16 > 0
                    THEN excluded.exclusion_reason ELSE runs.exclusion_reason END,
                updated_at = excluded.updated_at
            WHERE (
                    runs.nonzero_params, runs.sparsity, runs.data, runs.loss
                ) IS DISTINCT FROM (
                    excluded.nonzero_params, excluded.sparsity, excluded.data, excluded.loss
                )
                OR (excluded.brought & 1 > 0 AND runs.start <> excluded.start)
                OR (excluded.brought & 2 > 0
                    AND runs.pretraining_data IS DISTINCT FROM excluded.pretraining_data)
                OR (excluded.unique_brought
                    AND runs.unique_data IS DISTINCT FROM excluded.unique_data)
                OR (excluded.brought & 4 > 0 AND runs.pattern IS DISTINCT FROM excluded.pattern)
                OR (excluded.brought & 8 > 0 AND runs.tags <> excluded.tags)
                OR (excluded.brought & 16 > 0
                    AND runs.exclusion_reason IS DISTINCT FROM excluded.exclusion_reason)
            RETURNING id
        )
        -- A new run has the id that it came with, another the one that it had.
        SELECT count(submitted.id) AS "created!", count(*) - count(submitted.id) AS "updated!"
        FROM merged LEFT JOIN submitted USING (id)
        "#
            $(, $parameter)*
        )
    };
}

macro_rules! checked {
    ($begin:literal, $submitted:literal, $rest:literal $(, $parameter:expr)*) => {
        sqlx::query!($begin + $submitted + $rest $(, $parameter)*)
    };
}

macro_rules! unchecked {
    ($begin:literal, $submitted:literal, $rest:literal) => {
        sqlx::query_as(concat!($begin, $submitted, $rest))
    };
}

/// Announces that a family's runs changed, as one of them may resolve a forecast.
async fn announce_changed(
    transaction: &mut PgConnection,
    family_id: Uuid,
    changed: i64,
) -> Result<(), StoreError> {
    if changed > 0 { announce_scores(transaction, family_id).await } else { Ok(()) }
}

/// Merges a few runs, none of them named twice, into a family's runs within a transaction: all or none.
///
/// # Errors
/// [`StoreError::FamilyGone`], [`StoreError::PatternContradicted`].
#[tracing::instrument(name = "db.runs.merge", level = "debug", skip_all)]
pub async fn merge_runs(
    transaction: &mut PgConnection,
    clock: &Clock,
    family_id: Uuid,
    submitted: &[NumberedRun],
) -> Result<Merged, StoreError> {
    let brought: Vec<i16> = submitted.iter().map(|run| run.brought.bits()).collect();
    let runs: Vec<_> = submitted.iter().map(|submitted| &submitted.run).collect();
    let column = |of: fn(&Observation) -> f64| -> Vec<f64> {
        runs.iter().map(|run| of(&run.observation)).collect()
    };
    let changes = merge_statement!(
        checked,
        r#"
            SELECT * FROM unnest(
                $3::uuid[], $4::text[], $5::float8[], $6::float8[], $7::float8[], $8::float8[],
                $9::text[], $10::float8[], $11::float8[], $12::text[], $13::jsonb[], $14::text[],
                $15::smallint[]
            ) AS submitted (
                id, external_id, nonzero_params, sparsity, data, loss, start, pretraining_data,
                unique_data, pattern, tags, exclusion_reason, brought
            )"#,
        family_id,
        clock.now(),
        // Ids ascend in order of arrival.
        &runs.iter().map(|_| clock.new_id()).collect::<Vec<_>>(),
        &runs.iter().map(|run| run.external_id.clone()).collect::<Vec<_>>(),
        &column(|run| run.nonzero_params.get()),
        &column(|run| run.sparsity.get()),
        &column(|run| run.data.get()),
        &column(|run| run.loss.get()),
        &runs.iter().map(|run| run.start.as_str().to_owned()).collect::<Vec<_>>(),
        &runs.iter().map(|run| run.pretraining_data.map(Data::get)).collect::<Vec<_>>()
            as &[Option<f64>],
        &runs.iter().map(|run| run.unique_data.map(Data::get)).collect::<Vec<_>>()
            as &[Option<f64>],
        &runs
            .iter()
            .map(|run| run.pattern.as_ref().map(|p| p.as_str().to_owned()))
            .collect::<Vec<_>>() as &[Option<String>],
        &runs.iter().map(|run| serde_json::json!(run.tags)).collect::<Vec<_>>(),
        &runs.iter().map(|run| run.exclusion_reason.clone()).collect::<Vec<_>>()
            as &[Option<String>],
        &brought
    )
    .fetch_one(&mut *transaction)
    .await?;
    announce_changed(transaction, family_id, changes.created + changes.updated).await?;
    Ok(Merged::of(runs.len() as u64, changes.created, changes.updated))
}

/// Merges the staged runs into a family's runs; `total` is the number of staged runs.
///
/// # Errors
/// [`StoreError::FamilyGone`], [`StoreError::PatternContradicted`].
#[tracing::instrument(name = "db.runs.merge_staged", level = "debug", skip_all)]
async fn merge_staged_runs(
    transaction: &mut PgConnection,
    clock: &Clock,
    family_id: Uuid,
    total: u64,
) -> Result<Merged, StoreError> {
    let (created, updated): (i64, i64) = merge_statement!(unchecked, "SELECT * FROM staged_runs")
        .bind(family_id)
        .bind(clock.now())
        .fetch_one(&mut *transaction)
        .await?;
    announce_changed(transaction, family_id, created + updated).await?;
    Ok(Merged::of(total, created, updated))
}
