//! Cache of recently used hardware profiles.

use std::sync::Arc;

use sqlx::PgPool;

use crate::domain::profile::HardwareProfile;
use crate::domain::text::ProfileName;
use crate::live::remembered::Remembered;
use crate::store::{StoreError, profiles};

/// Hardware profiles in memory, so that a question that names a profile needs no database access.
pub type ProfileCache = Remembered<ProfileName, Arc<HardwareProfile>>;

/// Largest number of cached profiles; when it is exceeded, all are dropped.
const MOST_PROFILES: usize = 1_000;

/// Finds the hardware profile of this name in its present version; `None` if there is none.
///
/// # Errors
/// If the database must be queried and does not answer.
pub async fn find_profile(
    cache: &ProfileCache,
    pool: &PgPool,
    name: ProfileName,
) -> Result<Option<Arc<HardwareProfile>>, StoreError> {
    if let Some(known) = cache.find(|profiles| profiles.get(&name).cloned()) {
        return Ok(Some(known));
    }
    let generation = cache.generation();
    let Some(profile) = profiles::find_profile(pool, &name).await? else { return Ok(None) };
    let profile = Arc::new(profile);
    cache.remember(generation, |profiles| {
        if profiles.len() >= MOST_PROFILES {
            profiles.clear();
        }
        profiles.insert(name, profile.clone());
    });
    Ok(Some(profile))
}
