//! Model families.

use chrono::{DateTime, Utc};
use sparsity_law::fit::{Delta, Residual};
use sparsity_law::law::FlopsPerParam;
use sqlx::PgExecutor;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::family::{Family, FamilySettings};
use crate::domain::page::{Page, PageRequest};
use crate::domain::text::FamilyName;
use crate::store::StoreError;
use crate::store::schedules::{ScheduleColumn, ScheduleColumns};
use crate::store::zeros::{GridColumn, grid_column, zeros};

#[derive(Debug)]
struct FamilyRow {
    id: Uuid,
    name: String,
    description: String,
    data_unit: String,
    tokens_per_data_unit: Option<f64>,
    flops_per_param: f64,
    pruning_start: f64,
    pruning_end: f64,
    pruning_exponent: f64,
    residual: String,
    delta: f64,
    delta_auto: bool,
    pinned_law_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    pruning_schedule: Option<Json<ScheduleColumn>>,
    pruning_pattern_start: Option<f64>,
    zeros: String,
    experts: Option<Json<GridColumn>>,
}

impl TryFrom<FamilyRow> for Family {
    type Error = StoreError;

    fn try_from(row: FamilyRow) -> Result<Self, StoreError> {
        let corrupt = |detail| StoreError::Corrupt { table: "families", id: row.id, detail };
        let pruning = ScheduleColumns {
            start: row.pruning_start,
            end: row.pruning_end,
            exponent: row.pruning_exponent,
            schedule: row.pruning_schedule.map(|schedule| schedule.0),
            pattern_start: row.pruning_pattern_start,
        };
        let settings = FamilySettings {
            description: row.description,
            data_unit: row.data_unit,
            tokens_per_data_unit: row.tokens_per_data_unit,
            flops_per_param: FlopsPerParam::new(row.flops_per_param)
                .map_err(|e| corrupt(e.to_string()))?,
            pruning: pruning.schedule().map_err(corrupt)?,
            zeros: zeros(&row.zeros, row.experts.map(|grid| grid.0)).map_err(corrupt)?,
            residual: Residual::of_name(&row.residual)
                .ok_or_else(|| corrupt(format!("residual {}", row.residual)))?,
            delta: if row.delta_auto { Delta::Auto } else { Delta::Fixed(row.delta) },
        };
        Ok(Self {
            id: row.id,
            name: FamilyName::new(&row.name).map_err(|e| corrupt(e.to_string()))?,
            settings,
            pinned_law_id: row.pinned_law_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Value of the column `delta` where the fit chooses delta itself: the one that a version which does not know such
/// families would use.
const UNUSED_DELTA: f64 = 1e-3;

/// Stores a new family.
///
/// # Errors
/// [`StoreError::FamilyNameTaken`].
#[tracing::instrument(name = "db.families.insert", level = "debug", skip_all)]
pub async fn insert_family(db: impl PgExecutor<'_>, family: &Family) -> Result<(), StoreError> {
    let settings = &family.settings;
    let pruning = ScheduleColumns::from(&settings.pruning);
    sqlx::query!(
        r#"
        INSERT INTO families (
            id, name, description, data_unit, tokens_per_data_unit, flops_per_param,
            pruning_start, pruning_end, pruning_exponent, residual, delta, created_at, updated_at,
            delta_auto, pruning_schedule, pruning_pattern_start, zeros, experts
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
        "#,
        family.id,
        family.name.as_str(),
        settings.description,
        settings.data_unit,
        settings.tokens_per_data_unit,
        settings.flops_per_param.get(),
        pruning.start,
        pruning.end,
        pruning.exponent,
        settings.residual.as_str(),
        settings.delta.fixed().unwrap_or(UNUSED_DELTA),
        family.created_at,
        family.updated_at,
        settings.delta == Delta::Auto,
        pruning.schedule.map(Json) as _,
        pruning.pattern_start,
        settings.zeros.as_str(),
        grid_column(&settings.zeros).map(Json) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Finds a family by its name.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.families.find", level = "debug", skip_all)]
pub async fn find_family(
    db: impl PgExecutor<'_>,
    name: &FamilyName,
) -> Result<Option<Family>, StoreError> {
    sqlx::query_as!(
        FamilyRow,
        r#"
        SELECT id, name, description, data_unit, tokens_per_data_unit, flops_per_param, pruning_start,
            pruning_end, pruning_exponent, residual, delta, delta_auto, pinned_law_id, created_at,
            updated_at, pruning_schedule AS "pruning_schedule: _", pruning_pattern_start, zeros,
            experts AS "experts: _"
        FROM families
        WHERE name = $1
        "#,
        name.as_str()
    )
    .fetch_optional(db)
    .await?
    .map(Family::try_from)
    .transpose()
}

/// Finds a family by its id.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.families.find_by_id", level = "debug", skip_all)]
pub async fn find_family_by_id(
    db: impl PgExecutor<'_>,
    id: Uuid,
) -> Result<Option<Family>, StoreError> {
    sqlx::query_as!(
        FamilyRow,
        r#"
        SELECT id, name, description, data_unit, tokens_per_data_unit, flops_per_param, pruning_start,
            pruning_end, pruning_exponent, residual, delta, delta_auto, pinned_law_id, created_at,
            updated_at, pruning_schedule AS "pruning_schedule: _", pruning_pattern_start, zeros,
            experts AS "experts: _"
        FROM families
        WHERE id = $1
        "#,
        id
    )
    .fetch_optional(db)
    .await?
    .map(Family::try_from)
    .transpose()
}

/// Finds a family by its name and locks it until the transaction ends, so that its settings, runs and laws can be
/// compared and changed as one.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.families.find_for_update", level = "debug", skip_all)]
pub async fn find_family_for_update(
    db: impl PgExecutor<'_>,
    name: &FamilyName,
) -> Result<Option<Family>, StoreError> {
    sqlx::query_as!(
        FamilyRow,
        r#"
        -- NO KEY: rows that merely refer to the family may still be inserted.
        SELECT id, name, description, data_unit, tokens_per_data_unit, flops_per_param, pruning_start,
            pruning_end, pruning_exponent, residual, delta, delta_auto, pinned_law_id, created_at,
            updated_at, pruning_schedule AS "pruning_schedule: _", pruning_pattern_start, zeros,
            experts AS "experts: _"
        FROM families
        WHERE name = $1
        FOR NO KEY UPDATE
        "#,
        name.as_str()
    )
    .fetch_optional(db)
    .await?
    .map(Family::try_from)
    .transpose()
}

/// A page of families; of those named in `only`, if given.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.families.list", level = "debug", skip_all)]
pub async fn list_families(
    db: impl PgExecutor<'_>,
    request: PageRequest,
    only: Option<&[String]>,
) -> Result<Page<Family>, StoreError> {
    let rows = sqlx::query_as!(
        FamilyRow,
        r#"
        SELECT id, name, description, data_unit, tokens_per_data_unit, flops_per_param, pruning_start,
            pruning_end, pruning_exponent, residual, delta, delta_auto, pinned_law_id, created_at,
            updated_at, pruning_schedule AS "pruning_schedule: _", pruning_pattern_start, zeros,
            experts AS "experts: _"
        FROM families
        WHERE ($1::uuid IS NULL OR id < $1) AND ($3::text[] IS NULL OR name = ANY ($3))
        ORDER BY id DESC
        LIMIT $2
        "#,
        request.after,
        request.fetch(),
        only,
    )
    .fetch_all(db)
    .await?;
    let families = rows.into_iter().map(Family::try_from).collect::<Result<_, _>>()?;
    Ok(request.page(families, |family: &Family| family.id))
}

/// Replaces the settings of a family.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.families.update", level = "debug", skip_all)]
pub async fn update_family(db: impl PgExecutor<'_>, family: &Family) -> Result<(), StoreError> {
    let settings = &family.settings;
    let pruning = ScheduleColumns::from(&settings.pruning);
    sqlx::query!(
        r#"
        UPDATE families
        SET description = $2, data_unit = $3, tokens_per_data_unit = $4, flops_per_param = $5,
            pruning_start = $6, pruning_end = $7, pruning_exponent = $8, residual = $9, delta = $10,
            updated_at = $11, delta_auto = $12, pruning_schedule = $13, pruning_pattern_start = $14,
            zeros = $15, experts = $16
        WHERE id = $1
        "#,
        family.id,
        settings.description,
        settings.data_unit,
        settings.tokens_per_data_unit,
        settings.flops_per_param.get(),
        pruning.start,
        pruning.end,
        pruning.exponent,
        settings.residual.as_str(),
        settings.delta.fixed().unwrap_or(UNUSED_DELTA),
        family.updated_at,
        settings.delta == Delta::Auto,
        pruning.schedule.map(Json) as _,
        pruning.pattern_start,
        settings.zeros.as_str(),
        grid_column(&settings.zeros).map(Json) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Pins the law that answers; `None` lets the newest fit answer.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.families.update_pinned_law", level = "debug", skip_all)]
pub async fn update_pinned_law(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    law_id: Option<Uuid>,
) -> Result<(), StoreError> {
    sqlx::query!("UPDATE families SET pinned_law_id = $2 WHERE id = $1", family_id, law_id)
        .execute(db)
        .await?;
    Ok(())
}

/// Whether a family has runs or laws, whose numbers depend on its data unit.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.families.find_in_use", level = "debug", skip_all)]
pub async fn find_family_in_use(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
) -> Result<bool, StoreError> {
    let in_use = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (SELECT 1 FROM runs WHERE family_id = $1)
            OR EXISTS (SELECT 1 FROM laws WHERE family_id = $1) AS "in_use!"
        "#,
        family_id
    )
    .fetch_one(db)
    .await?;
    Ok(in_use)
}

/// Deletes a family with its runs, laws and refits; returns `false` if there is no such family.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.families.delete", level = "debug", skip_all)]
pub async fn delete_family(db: impl PgExecutor<'_>, name: &FamilyName) -> Result<bool, StoreError> {
    let deleted =
        sqlx::query!("DELETE FROM families WHERE name = $1", name.as_str()).execute(db).await?;
    Ok(deleted.rows_affected() > 0)
}
