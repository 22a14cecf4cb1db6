//! The evidence behind a law: the laws fitted on resampled runs, and the runs themselves.
//!
//! Like the law, both are immutable. They are large, so they are stored column by column in tables of their own, and
//! read only where they are needed.

use std::collections::HashMap;

use sparsity_law::fit::{FittedRun, Observation};
use sparsity_law::law::{CoefficientName, Data, Ensemble, FormLaw, Loss, NonzeroParams, Sparsity};
use sqlx::types::Json;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::domain::law::LawShape;
use crate::domain::law_run::{LawRun, NamedLawRun, RunChanges};
use crate::store::StoreError;

/// Stores the laws fitted on resampled runs.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.law_resamples.insert", level = "debug", skip_all)]
pub async fn insert_law_resamples(
    db: impl PgExecutor<'_>,
    law_id: Uuid,
    ensemble: &Ensemble,
) -> Result<(), StoreError> {
    let column = |name: CoefficientName| ensemble.column(name);
    let forms: Vec<f64> = ensemble.forms().iter().flat_map(FormLaw::values).collect();
    let forms = Some(forms).filter(|forms| !forms.is_empty());
    sqlx::query!(
        r#"
        INSERT INTO law_resamples (
            law_id, level, tail, a_s, b_s, c_s, b_n, a_d, b_d, c, noise, form_values
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        "#,
        law_id,
        ensemble.level(),
        ensemble.tail(),
        column(CoefficientName::AS),
        column(CoefficientName::BS),
        column(CoefficientName::CS),
        column(CoefficientName::BN),
        column(CoefficientName::AD),
        column(CoefficientName::BD),
        column(CoefficientName::C),
        ensemble.noise(),
        forms.as_deref()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The resampled laws of a law; `None` if it has none.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.law_resamples.find", level = "debug", skip_all)]
pub async fn find_law_resamples(
    db: impl PgExecutor<'_>,
    law_id: Uuid,
) -> Result<Option<Ensemble>, StoreError> {
    let row = sqlx::query!(
        r#"
        SELECT level, tail, a_s, b_s, c_s, b_n, a_d, b_d, c, noise, form_values,
            (SELECT shape FROM laws WHERE id = law_id) AS "shape: Json<LawShape>"
        FROM law_resamples WHERE law_id = $1
        "#,
        law_id
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let corrupt = |detail: &str| StoreError::Corrupt {
        table: "law_resamples",
        id: law_id,
        detail: detail.to_owned(),
    };
    if let Some(values) = &row.form_values {
        let law = row.shape.and_then(|shape| shape.0.law);
        let law = law.ok_or_else(|| corrupt("coefficients of a form, and no such law"))?;
        let of_one = law.count();
        if values.len() != of_one * row.noise.len() {
            return Err(corrupt("columns of different lengths"));
        }
        let members = values.chunks(of_one).zip(&row.noise).map(|(values, noise)| {
            let law = law.with_values(values);
            law.map(|law| (law, *noise)).ok_or_else(|| corrupt("a coefficient out of range"))
        });
        let members = members.collect::<Result<Vec<_>, StoreError>>()?;
        return Ok(Ensemble::of_forms(members, row.level, row.tail));
    }
    let columns = [row.a_s, row.b_s, row.c_s, row.b_n, row.a_d, row.b_d, row.c];
    Ensemble::from_columns(columns, row.noise, row.level, row.tail).map_err(|e| corrupt(&e))
}

/// Stores the runs on which a law was fitted.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.law_runs.insert", level = "debug", skip_all)]
pub async fn insert_law_runs(
    db: impl PgExecutor<'_>,
    law_id: Uuid,
    runs: &[LawRun],
) -> Result<(), StoreError> {
    let column = |of: fn(&LawRun) -> f64| -> Vec<f64> { runs.iter().map(of).collect() };
    let repeats = runs.iter().any(|run| run.unique_data.is_some());
    let unique: Option<Vec<Option<f64>>> =
        repeats.then(|| runs.iter().map(|run| run.unique_data.map(Data::get)).collect());
    let clusters: Option<Vec<i32>> =
        runs.iter().map(|run| run.cluster.map(u32::cast_signed)).collect();
    let levels: Option<Vec<i32>> = runs.iter().map(|run| run.level.map(u32::cast_signed)).collect();
    sqlx::query!(
        r#"
        INSERT INTO law_runs (
            law_id, run_id, nonzero_params, sparsity, data, loss, weight, predicted, residual,
            leverage, outlier, unique_data, clusters, levels
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        "#,
        law_id,
        &runs.iter().map(|run| run.run_id).collect::<Vec<_>>(),
        &column(|run| run.observation.nonzero_params.get()),
        &column(|run| run.observation.sparsity.get()),
        &column(|run| run.observation.data.get()),
        &column(|run| run.observation.loss.get()),
        &column(|run| run.weight),
        &column(|run| run.fitted.predicted),
        &column(|run| run.fitted.residual),
        &column(|run| run.fitted.leverage),
        &runs.iter().map(|run| run.fitted.outlier).collect::<Vec<_>>(),
        // NULL if no run repeats its data.
        unique.as_deref() as Option<&[Option<f64>]>,
        // NULL if each run was drawn on its own.
        clusters.as_deref() as Option<&[i32]>,
        // NULL if the level of a run is given by its sparsity.
        levels.as_deref() as Option<&[i32]>
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Size, sparsity and data of every `step`th run of a law in their order, starting with the first, and of the last.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.law_runs.list_models", level = "debug", skip_all)]
pub async fn list_law_models(
    db: impl PgExecutor<'_>,
    law_id: Uuid,
    step: i64,
) -> Result<Vec<(NonzeroParams, Sparsity, Data)>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT fitted.nonzero_params AS "nonzero_params!", fitted.sparsity AS "sparsity!",
            fitted.data AS "data!"
        FROM law_runs
            CROSS JOIN unnest(law_runs.nonzero_params, law_runs.sparsity, law_runs.data)
                WITH ORDINALITY AS fitted (nonzero_params, sparsity, data, place)
        WHERE law_runs.law_id = $1
            AND ((fitted.place - 1) % $2 = 0 OR fitted.place = cardinality(law_runs.data))
        ORDER BY fitted.place
        "#,
        law_id,
        step
    )
    .fetch_all(db)
    .await?;
    let corrupt = |e: sparsity_law::law::DomainError| StoreError::Corrupt {
        table: "law_runs",
        id: law_id,
        detail: e.to_string(),
    };
    rows.into_iter()
        .map(|row| {
            Ok((
                NonzeroParams::new(row.nonzero_params).map_err(corrupt)?,
                Sparsity::new(row.sparsity).map_err(corrupt)?,
                Data::new(row.data).map_err(corrupt)?,
            ))
        })
        .collect()
}

/// Counts how the runs changed between the laws of each pair, given as (newer, older). Reads all runs of both; a pair
/// is left out if one of its laws has no runs stored.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.law_runs.count_changes", level = "debug", skip_all)]
pub async fn count_law_run_changes(
    db: impl PgExecutor<'_>,
    pairs: &[(Uuid, Uuid)],
) -> Result<HashMap<(Uuid, Uuid), RunChanges>, StoreError> {
    let mut ids: Vec<Uuid> = pairs.iter().flat_map(|(newer, older)| [*newer, *older]).collect();
    ids.sort_unstable();
    ids.dedup();
    // Reads the runs of each law without a join, as two laws may be stored on different nodes.
    let rows = sqlx::query!(
        r#"
        SELECT law_id, run_id, nonzero_params, sparsity, data, loss,
            unique_data AS "unique_data: Vec<Option<f64>>"
        FROM law_runs WHERE law_id = ANY ($1)
        "#,
        &ids
    )
    .fetch_all(db)
    .await?;
    let measured: HashMap<Uuid, HashMap<Uuid, Measured>> = rows
        .into_iter()
        .map(|row| {
            let numbers =
                row.nonzero_params.into_iter().zip(row.sparsity).zip(row.data).zip(row.loss);
            let unique = row.unique_data.into_iter().flatten().chain(std::iter::repeat(None));
            let runs = row.run_id.into_iter().zip(numbers.zip(unique));
            (row.law_id, runs.collect())
        })
        .collect();
    let of_pair = |pair: &(Uuid, Uuid)| {
        let (now, was) = (measured.get(&pair.0)?, measured.get(&pair.1)?);
        Some((*pair, run_changes(now, was)))
    };
    Ok(pairs.iter().filter_map(of_pair).collect())
}

/// Parameters, sparsity, data, loss and unique data of a run.
type Measured = ((((f64, f64), f64), f64), Option<f64>);

/// Counts the runs that were added, changed and removed from one law to the next.
fn run_changes(now: &HashMap<Uuid, Measured>, was: &HashMap<Uuid, Measured>) -> RunChanges {
    let mut changes = RunChanges::default();
    for (run, measured) in now {
        match was.get(run) {
            None => changes.added += 1,
            Some(before) => changes.changed += i64::from(before != measured),
        }
    }
    changes.removed = was.keys().filter(|run| !now.contains_key(run)).count() as i64;
    changes
}

/// Runs of a law in canonical order, outliers only or all: `limit` of them, starting at place `first` (from 0). Each
/// comes with its place.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.law_runs.list", level = "debug", skip_all)]
pub async fn list_law_runs(
    pool: &PgPool,
    law_id: Uuid,
    outliers_only: bool,
    first: i64,
    limit: i64,
) -> Result<Vec<(i64, NamedLawRun)>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT fitted.place - 1 AS "place!", fitted.run_id AS "run_id!",
            fitted.nonzero_params AS "nonzero_params!", fitted.sparsity AS "sparsity!",
            fitted.data AS "data!", fitted.loss AS "loss!", fitted.weight AS "weight!",
            fitted.predicted AS "predicted!", fitted.residual AS "residual!",
            fitted.leverage AS "leverage!", fitted.outlier AS "outlier!",
            fitted.unique_data AS "unique_data?", fitted.cluster AS "cluster?",
            fitted.level AS "level?", laws.family_id AS "family_id!"
        FROM law_runs
            JOIN laws ON laws.id = law_runs.law_id
            CROSS JOIN unnest(
                law_runs.run_id, law_runs.nonzero_params, law_runs.sparsity, law_runs.data,
                law_runs.loss, law_runs.weight, law_runs.predicted, law_runs.residual,
                law_runs.leverage, law_runs.outlier, law_runs.unique_data, law_runs.clusters,
                law_runs.levels
            ) WITH ORDINALITY AS fitted (
                run_id, nonzero_params, sparsity, data, loss, weight, predicted, residual, leverage,
                outlier, unique_data, cluster, level, place
            )
        WHERE law_runs.law_id = $1 AND fitted.place > $2 AND (fitted.outlier OR NOT $3)
        ORDER BY fitted.place
        LIMIT $4
        "#,
        law_id,
        first,
        outliers_only,
        limit
    )
    .fetch_all(pool)
    .await?;
    let Some(family_id) = rows.first().map(|row| row.family_id) else { return Ok(Vec::new()) };
    // A separate statement, as the runs of laws are distributed by law, and runs by family.
    let named = sqlx::query!(
        "SELECT id, external_id FROM runs WHERE family_id = $1 AND id = ANY ($2)",
        family_id,
        &rows.iter().map(|row| row.run_id).collect::<Vec<_>>()
    )
    .fetch_all(pool)
    .await?;
    let mut names: HashMap<Uuid, String> =
        named.into_iter().map(|run| (run.id, run.external_id)).collect();
    rows.into_iter()
        .map(|row| {
            let corrupt = |e: sparsity_law::law::DomainError| StoreError::Corrupt {
                table: "law_runs",
                id: law_id,
                detail: e.to_string(),
            };
            let observation = Observation {
                nonzero_params: NonzeroParams::new(row.nonzero_params).map_err(corrupt)?,
                sparsity: Sparsity::new(row.sparsity).map_err(corrupt)?,
                data: Data::new(row.data).map_err(corrupt)?,
                loss: Loss::new(row.loss).map_err(corrupt)?,
            };
            let fitted = FittedRun {
                predicted: row.predicted,
                residual: row.residual,
                leverage: row.leverage,
                outlier: row.outlier,
            };
            let unique_data = row.unique_data.map(Data::new).transpose().map_err(corrupt)?;
            let (run_id, weight) = (row.run_id, row.weight);
            let external_id = names.remove(&run_id);
            let cluster = row.cluster.map(i32::cast_unsigned);

            let level = row.level.map(i32::cast_unsigned);
            let run = LawRun { run_id, observation, unique_data, cluster, level, weight, fitted };
            Ok((row.place, NamedLawRun { run, external_id }))
        })
        .collect()
}
