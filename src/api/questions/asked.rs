//! Finding the law that a question is put to.

use std::sync::Arc;

use crate::api::questions::law::AskedLaw;
use crate::api::resources::families::existing;
use crate::api::state::AppState;
use crate::api::wire::caching::Freshness;
use crate::api::wire::problem::ApiError;
use crate::domain::text::FamilyName;
use crate::live::laws::Found;

/// Like [`any_law`], for a question that only laws of the seven coefficients can answer.
///
/// # Errors
/// [`ApiError::NotFound`] or [`ApiError::NoLaw`]; [`ApiError::Undetermined`] for laws of the forms `levels` and
/// `experts`.
pub async fn asked_law(
    state: &AppState,
    name: &FamilyName,
    version: Option<i32>,
) -> Result<(Arc<AskedLaw>, Freshness), ApiError> {
    let (law, freshness) = any_law(state, name, version).await?;
    law.require_curve()?;
    Ok((law, freshness))
}

/// Finds the law that a question is put to: the given version, or the active one. While the database is not reachable,
/// this may be the law of a moment ago, and [`Freshness::AsOf`] says so.
///
/// # Errors
/// [`ApiError::NotFound`] if there is no such family or version; [`ApiError::NoLaw`] if the family has no law yet.
pub async fn any_law(
    state: &AppState,
    name: &FamilyName,
    version: Option<i32>,
) -> Result<(Arc<AskedLaw>, Freshness), ApiError> {
    let freshness = if version.is_some() { Freshness::Pinned } else { Freshness::Revalidate };
    if let Some(Found { law, as_of }) = state.laws.find(&state.pool, name, version).await? {
        return Ok((law, as_of.map_or(freshness, Freshness::AsOf)));
    }
    // The reason is only looked up once there is no law to answer.
    existing(&state.pool, name).await?;
    match version {
        Some(version) => Err(ApiError::NotFound { what: "law", name: version.to_string() }),
        None => Err(ApiError::NoLaw),
    }
}
