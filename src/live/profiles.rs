//! Hardware profiles that were asked lately.

use std::sync::Arc;

use sqlx::PgPool;

use crate::domain::profile::HardwareProfile;
use crate::domain::text::ProfileName;
use crate::live::remembered::Remembered;
use crate::store::{StoreError, profiles};

/// Hardware profiles in memory, so that a question that names one does no database work.
pub type ProfileCache = Remembered<ProfileName, Arc<HardwareProfile>>;

/// Profiles that are remembered at most; past that all are forgotten.
const MOST_PROFILES: usize = 1_000;

/// The profile of a name, as the database has it now; `None` where there is none.
///
/// # Errors
/// Where the database has to be asked and does not answer.
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
