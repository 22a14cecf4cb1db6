//! Mappings that are kept for families.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::domain::mapping::{Mapping, MappingSettings};
use crate::domain::page::{Page, PageRequest};
use crate::domain::text::MappingName;
use crate::store::StoreError;

#[derive(Debug)]
struct MappingRow {
    id: Uuid,
    name: String,
    settings: Json<MappingSettings>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<MappingRow> for Mapping {
    type Error = StoreError;

    fn try_from(row: MappingRow) -> Result<Self, StoreError> {
        let corrupt = |detail| StoreError::Corrupt { table: "mappings", id: row.id, detail };
        Ok(Self {
            id: row.id,
            name: MappingName::new(&row.name).map_err(|error| corrupt(error.to_string()))?,
            settings: row.settings.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Stores a mapping of a family, replacing the one of the same name. Returns the stored mapping and whether it is new,
/// or `None` if the family already has `most` other mappings. Needs a transaction: it locks the family's row until the
/// end, so that only one caller at a time does this.
///
/// # Errors
/// [`StoreError::FamilyGone`].
#[tracing::instrument(name = "db.mappings.upsert", level = "debug", skip_all)]
pub async fn upsert_mapping(
    transaction: &mut PgConnection,
    family_id: Uuid,
    mapping: &Mapping,
    most: u32,
) -> Result<Option<(Mapping, bool)>, StoreError> {
    // The lock lets one caller at a time count and insert.
    let family =
        sqlx::query_scalar!("SELECT id FROM families WHERE id = $1 FOR NO KEY UPDATE", family_id)
            .fetch_optional(&mut *transaction)
            .await?;
    if family.is_none() {
        return Err(StoreError::FamilyGone);
    }
    let row = sqlx::query_as!(
        MappingRow,
        r#"
        INSERT INTO mappings (id, family_id, name, settings, created_at, updated_at)
        SELECT $1, $2, $3, $4, $5, $5
        WHERE (SELECT count(*) FROM mappings WHERE family_id = $2 AND name <> $3) < $6
        ON CONFLICT ON CONSTRAINT mappings_family_id_name_key DO UPDATE
        SET settings = excluded.settings, updated_at = excluded.updated_at
        RETURNING id, name, settings AS "settings: _", created_at, updated_at
        "#,
        mapping.id,
        family_id,
        mapping.name.as_str(),
        serde_json::json!(mapping.settings),
        mapping.updated_at,
        i64::from(most),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let kept = Mapping::try_from(row)?;
    let is_new = kept.id == mapping.id;
    Ok(Some((kept, is_new)))
}

/// Finds a family's mapping by its name.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.mappings.find", level = "debug", skip_all)]
pub async fn find_mapping(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    name: &MappingName,
) -> Result<Option<Mapping>, StoreError> {
    sqlx::query_as!(
        MappingRow,
        r#"
        SELECT id, name, settings AS "settings: _", created_at, updated_at
        FROM mappings
        WHERE family_id = $1 AND name = $2
        "#,
        family_id,
        name.as_str()
    )
    .fetch_optional(db)
    .await?
    .map(Mapping::try_from)
    .transpose()
}

/// A page of a family's mappings.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.mappings.list", level = "debug", skip_all)]
pub async fn list_mappings(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    request: PageRequest,
) -> Result<Page<Mapping>, StoreError> {
    let rows = sqlx::query_as!(
        MappingRow,
        r#"
        SELECT id, name, settings AS "settings: _", created_at, updated_at
        FROM mappings
        WHERE family_id = $1 AND ($2::uuid IS NULL OR id < $2)
        ORDER BY id DESC
        LIMIT $3
        "#,
        family_id,
        request.after,
        request.fetch(),
    )
    .fetch_all(db)
    .await?;
    let mappings = rows.into_iter().map(Mapping::try_from).collect::<Result<_, _>>()?;
    Ok(request.page(mappings, |mapping: &Mapping| mapping.id))
}

/// Deletes a mapping; returns `false` if there is none of this name.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.mappings.delete", level = "debug", skip_all)]
pub async fn delete_mapping(
    db: impl PgExecutor<'_>,
    family_id: Uuid,
    name: &MappingName,
) -> Result<bool, StoreError> {
    let deleted = sqlx::query!(
        "DELETE FROM mappings WHERE family_id = $1 AND name = $2",
        family_id,
        name.as_str()
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected() > 0)
}
