//! Hardware profiles.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sparsity_law::law::StorageFormat;
use sqlx::PgExecutor;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::page::{Page, PageRequest};
use crate::domain::profile::{GivenCost, HardwareProfile, ProfileCost, ProfileSettings, Rates};
use crate::domain::text::{Pattern, ProfileName};
use crate::store::StoreError;

/// Channel on which the database announces profiles that changed; the payload is the profile's name.
pub const CHANNEL: &str = "sparsity_planner_profiles";

#[derive(Debug)]
struct ProfileRow {
    id: Uuid,
    name: String,
    prunable_share: Option<f64>,
    efficiency: Option<f64>,
    points: Option<Json<Vec<(f64, f64)>>>,
    patterns: Vec<String>,
    pattern_costs: Json<BTreeMap<String, f64>>,
    storage: String,
    source: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    flops_per_second: Option<f64>,
    utilisation: Option<f64>,
    devices: Option<i32>,
    price_per_hour: Option<f64>,
    expert_costs: Json<BTreeMap<u32, f64>>,
}

impl TryFrom<ProfileRow> for HardwareProfile {
    type Error = StoreError;

    fn try_from(row: ProfileRow) -> Result<Self, StoreError> {
        let corrupt =
            |detail| StoreError::Corrupt { table: "hardware_profiles", id: row.id, detail };
        let cost = match (row.prunable_share, row.efficiency, row.points) {
            (Some(share), Some(efficiency), None) => ProfileCost::of_share(share, efficiency)
                .map_err(|(field, e)| corrupt(format!("{field} {e}")))?,
            (None, None, Some(Json(points))) => ProfileCost::of_points(points)
                .map_err(|e| corrupt(format!("point {} {}", e.point, e.error)))?,
            _ => return Err(corrupt("neither a share nor points".to_owned())),
        };
        let pattern = |name: &str| Pattern::new(name).map_err(|e| corrupt(e.to_string()));
        let costs = row.pattern_costs.0.iter().map(|(name, cost)| Ok((pattern(name)?, *cost)));
        let storage = StorageFormat::of_name(&row.storage);
        let settings = ProfileSettings {
            cost,
            patterns: row.patterns.iter().map(|name| pattern(name)).collect::<Result<_, _>>()?,
            pattern_costs: costs.collect::<Result<_, StoreError>>()?,
            storage: storage.ok_or_else(|| corrupt(format!("storage {}", row.storage)))?,
            expert_costs: row.expert_costs.0,
            rates: Rates {
                flops_per_second: row.flops_per_second,
                utilisation: row.utilisation,
                devices: row.devices.and_then(|devices| u32::try_from(devices).ok()),
                price_per_hour: row.price_per_hour,
            },
            source: row.source,
        };
        Ok(Self {
            id: row.id,
            name: ProfileName::new(&row.name).map_err(|e| corrupt(e.to_string()))?,
            settings,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// The settings in the form of columns.
struct ProfileColumns {
    prunable_share: Option<f64>,
    efficiency: Option<f64>,
    points: Option<serde_json::Value>,
    patterns: Vec<String>,
    pattern_costs: serde_json::Value,
    devices: Option<i32>,
    expert_costs: serde_json::Value,
}

impl From<&ProfileSettings> for ProfileColumns {
    fn from(settings: &ProfileSettings) -> Self {
        let (share, points) = match settings.cost.given() {
            GivenCost::Share { prunable_share, efficiency } => {
                (Some((*prunable_share, *efficiency)), None)
            }
            GivenCost::Points(points) => (None, Some(serde_json::json!(points))),
        };
        let (prunable_share, efficiency) = share.unzip();
        let costs = settings.pattern_costs.iter();
        Self {
            prunable_share,
            efficiency,
            points,
            patterns: settings.patterns.iter().map(|p| p.as_str().to_owned()).collect(),
            pattern_costs: costs.map(|(p, cost)| (p.as_str().to_owned(), *cost)).collect(),
            expert_costs: serde_json::json!(settings.expert_costs),
            // The number is validated to be at most a hundred million.
            devices: settings.rates.devices.and_then(|devices| i32::try_from(devices).ok()),
        }
    }
}

/// Stores a new profile.
///
/// # Errors
/// [`StoreError::ProfileNameTaken`].
#[tracing::instrument(name = "db.profiles.insert", level = "debug", skip_all)]
pub async fn insert_profile(
    db: impl PgExecutor<'_>,
    profile: &HardwareProfile,
) -> Result<(), StoreError> {
    let columns = ProfileColumns::from(&profile.settings);
    sqlx::query!(
        r#"
        INSERT INTO hardware_profiles (
            id, name, prunable_share, efficiency, points, patterns, pattern_costs, storage, source,
            created_at, updated_at, flops_per_second, utilisation, devices, price_per_hour,
            expert_costs
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
        "#,
        profile.id,
        profile.name.as_str(),
        columns.prunable_share,
        columns.efficiency,
        columns.points,
        &columns.patterns,
        columns.pattern_costs,
        profile.settings.storage.as_str(),
        profile.settings.source,
        profile.created_at,
        profile.updated_at,
        profile.settings.rates.flops_per_second,
        profile.settings.rates.utilisation,
        columns.devices,
        profile.settings.rates.price_per_hour,
        columns.expert_costs,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Finds a profile by its name.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.profiles.find", level = "debug", skip_all)]
pub async fn find_profile(
    db: impl PgExecutor<'_>,
    name: &ProfileName,
) -> Result<Option<HardwareProfile>, StoreError> {
    sqlx::query_as!(
        ProfileRow,
        r#"
        SELECT id, name, prunable_share, efficiency, points AS "points: _", patterns,
            pattern_costs AS "pattern_costs: _", storage, source, created_at, updated_at,
            flops_per_second, utilisation, devices, price_per_hour,
            expert_costs AS "expert_costs: _"
        FROM hardware_profiles
        WHERE name = $1
        "#,
        name.as_str()
    )
    .fetch_optional(db)
    .await?
    .map(HardwareProfile::try_from)
    .transpose()
}

/// Finds a profile by its name and locks it until the transaction ends.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.profiles.find_for_update", level = "debug", skip_all)]
pub async fn find_profile_for_update(
    db: impl PgExecutor<'_>,
    name: &ProfileName,
) -> Result<Option<HardwareProfile>, StoreError> {
    sqlx::query_as!(
        ProfileRow,
        r#"
        SELECT id, name, prunable_share, efficiency, points AS "points: _", patterns,
            pattern_costs AS "pattern_costs: _", storage, source, created_at, updated_at,
            flops_per_second, utilisation, devices, price_per_hour,
            expert_costs AS "expert_costs: _"
        FROM hardware_profiles
        WHERE name = $1
        FOR UPDATE
        "#,
        name.as_str()
    )
    .fetch_optional(db)
    .await?
    .map(HardwareProfile::try_from)
    .transpose()
}

/// A page of profiles.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.profiles.list", level = "debug", skip_all)]
pub async fn list_profiles(
    db: impl PgExecutor<'_>,
    request: PageRequest,
) -> Result<Page<HardwareProfile>, StoreError> {
    let rows = sqlx::query_as!(
        ProfileRow,
        r#"
        SELECT id, name, prunable_share, efficiency, points AS "points: _", patterns,
            pattern_costs AS "pattern_costs: _", storage, source, created_at, updated_at,
            flops_per_second, utilisation, devices, price_per_hour,
            expert_costs AS "expert_costs: _"
        FROM hardware_profiles
        WHERE $1::uuid IS NULL OR id < $1
        ORDER BY id DESC
        LIMIT $2
        "#,
        request.after,
        request.fetch(),
    )
    .fetch_all(db)
    .await?;
    let profiles = rows.into_iter().map(HardwareProfile::try_from).collect::<Result<_, _>>()?;
    Ok(request.page(profiles, |profile: &HardwareProfile| profile.id))
}

/// Replaces the settings of a profile.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.profiles.update", level = "debug", skip_all)]
pub async fn update_profile(
    db: impl PgExecutor<'_>,
    profile: &HardwareProfile,
) -> Result<(), StoreError> {
    let columns = ProfileColumns::from(&profile.settings);
    sqlx::query!(
        r#"
        UPDATE hardware_profiles
        SET prunable_share = $2, efficiency = $3, points = $4, patterns = $5, pattern_costs = $6,
            storage = $7, source = $8, updated_at = $9, flops_per_second = $10, utilisation = $11,
            devices = $12, price_per_hour = $13, expert_costs = $14
        WHERE id = $1
        "#,
        profile.id,
        columns.prunable_share,
        columns.efficiency,
        columns.points,
        &columns.patterns,
        columns.pattern_costs,
        profile.settings.storage.as_str(),
        profile.settings.source,
        profile.updated_at,
        profile.settings.rates.flops_per_second,
        profile.settings.rates.utilisation,
        columns.devices,
        profile.settings.rates.price_per_hour,
        columns.expert_costs,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes a profile; returns `false` if there is none of this name.
///
/// # Errors
/// [`StoreError::Database`].
#[tracing::instrument(name = "db.profiles.delete", level = "debug", skip_all)]
pub async fn delete_profile(
    db: impl PgExecutor<'_>,
    name: &ProfileName,
) -> Result<bool, StoreError> {
    let deleted = sqlx::query!("DELETE FROM hardware_profiles WHERE name = $1", name.as_str())
        .execute(db)
        .await?;
    Ok(deleted.rows_affected() > 0)
}
