//! API keys.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::domain::access::{Families, KeyHash, Scope};
use crate::domain::api_key::{ApiKey, MOST_KEYS};
use crate::domain::page::{Page, PageRequest};
use crate::domain::text::FamilyName;
use crate::store::StoreError;

/// Channel on which changes of the keys are announced.
pub const CHANNEL: &str = "sparsity_planner_keys";

#[derive(Debug)]
struct KeyRow {
    id: Uuid,
    name: String,
    hash: Vec<u8>,
    scope: String,
    families: Option<Vec<String>>,
    created_by: String,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl TryFrom<KeyRow> for (ApiKey, KeyHash) {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        let corrupt = |detail| StoreError::Corrupt { table: "api_keys", id: row.id, detail };
        let families = match row.families {
            None => Families::All,
            Some(names) => {
                let names = names.iter().map(|name| FamilyName::new(name));
                let names: Result<_, _> = names.collect();
                Families::Only(names.map_err(|error| corrupt(error.to_string()))?)
            }
        };
        let key = ApiKey {
            id: row.id,
            name: row.name,
            scope: Scope::of_name(&row.scope)
                .ok_or_else(|| corrupt(format!("scope {}", row.scope)))?,
            families,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        };
        let hash = KeyHash::from_bytes(&row.hash)
            .ok_or_else(|| corrupt("a hash of another length".to_owned()))?;
        Ok((key, hash))
    }
}

fn without_hash(row: KeyRow) -> Result<ApiKey, StoreError> {
    <(ApiKey, KeyHash)>::try_from(row).map(|(key, _)| key)
}

/// Stores a new key.
///
/// # Errors
/// [`StoreError::TooManyKeys`] if there are [`MOST_KEYS`] valid keys already.
#[tracing::instrument(name = "db.keys.insert", level = "debug", skip_all)]
pub async fn insert_key(
    db: impl PgExecutor<'_>,
    key: &ApiKey,
    hash: &KeyHash,
) -> Result<(), StoreError> {
    let families = key.families.names();
    let inserted = sqlx::query!(
        r#"
        -- Two that come at once may both be let in: the limit is there for the memory of the services,
        -- and one key more does not matter.
        INSERT INTO api_keys (
            id, name, hash, scope, families, created_by, created_at, expires_at
        )
        SELECT $1, $2, $3, $4, $5, $6, $7, $8
        WHERE (
            SELECT count(*) FROM api_keys
            WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $7)
        ) < $9
        "#,
        key.id,
        key.name,
        hash.as_bytes(),
        key.scope.as_str(),
        families.as_deref(),
        key.created_by,
        key.created_at,
        key.expires_at,
        MOST_KEYS,
    )
    .execute(db)
    .await?;
    if inserted.rows_affected() == 0 { Err(StoreError::TooManyKeys) } else { Ok(()) }
}

/// Every key that is neither revoked nor expired, with its hash.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.keys.list_valid", level = "debug", skip_all)]
pub async fn list_valid_keys(
    db: impl PgExecutor<'_>,
    now: DateTime<Utc>,
) -> Result<Vec<(ApiKey, KeyHash)>, StoreError> {
    sqlx::query_as!(
        KeyRow,
        r#"
        SELECT * FROM api_keys
        WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)
        "#,
        now
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .map(TryFrom::try_from)
    .collect()
}

/// Whether any key was ever created, valid or not.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.keys.find_any", level = "debug", skip_all)]
pub async fn find_any_key(db: impl PgExecutor<'_>) -> Result<bool, StoreError> {
    let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM api_keys) AS "any!""#);
    Ok(any.fetch_one(db).await?)
}

/// Finds a key by its id.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.keys.find", level = "debug", skip_all)]
pub async fn find_key(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<ApiKey>, StoreError> {
    sqlx::query_as!(KeyRow, "SELECT * FROM api_keys WHERE id = $1", id)
        .fetch_optional(db)
        .await?
        .map(without_hash)
        .transpose()
}

/// A page of keys, including those that are no longer valid.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.keys.list", level = "debug", skip_all)]
pub async fn list_keys(
    db: impl PgExecutor<'_>,
    request: PageRequest,
) -> Result<Page<ApiKey>, StoreError> {
    let rows = sqlx::query_as!(
        KeyRow,
        r#"
        SELECT * FROM api_keys
        WHERE $1::uuid IS NULL OR id < $1
        ORDER BY id DESC
        LIMIT $2
        "#,
        request.after,
        request.fetch(),
    )
    .fetch_all(db)
    .await?;
    let keys = rows.into_iter().map(without_hash).collect::<Result<_, _>>()?;
    Ok(request.page(keys, |key: &ApiKey| key.id))
}

/// Revokes a key and returns its new state; a key that is revoked already keeps its time of revocation. `None` if there
/// is no such key.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.keys.update_revoked", level = "debug", skip_all)]
pub async fn update_key_revoked(
    db: impl PgExecutor<'_>,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<ApiKey>, StoreError> {
    sqlx::query_as!(
        KeyRow,
        r#"
        UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1
        RETURNING *
        "#,
        id,
        now
    )
    .fetch_optional(db)
    .await?
    .map(without_hash)
    .transpose()
}

/// Stores when keys were last used, keeping a later use that another service has reported.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.keys.update_last_uses", level = "debug", skip_all)]
pub async fn update_last_uses(
    db: impl PgExecutor<'_>,
    uses: &[(Uuid, DateTime<Utc>)],
) -> Result<(), StoreError> {
    let (ids, times): (Vec<Uuid>, Vec<DateTime<Utc>>) = uses.iter().copied().unzip();
    sqlx::query!(
        r#"
        -- greatest passes over NULL.
        UPDATE api_keys
        SET last_used_at = greatest(last_used_at, used.at)
        FROM unnest($1::uuid[], $2::timestamptz[]) AS used (id, at)
        WHERE api_keys.id = used.id
        "#,
        &ids,
        &times,
    )
    .execute(db)
    .await?;
    Ok(())
}
