//! Finding the law that a question is put to.

use std::sync::Arc;

use crate::api::questions::law::AskedLaw;
use crate::api::resources::families::existing;
use crate::api::state::AppState;
use crate::api::wire::caching::Freshness;
use crate::api::wire::problem::ApiError;
use crate::domain::text::FamilyName;
use crate::live::laws::Found;

/// As [`any_law`], for a question that laws with coefficients of their own do not answer.
///
/// # Errors
/// [`ApiError::NotFound`], [`ApiError::NoLaw`]; [`ApiError::Undetermined`] of such a law.
pub async fn asked_law(
    state: &AppState,
    name: &FamilyName,
    version: Option<i32>,
) -> Result<(Arc<AskedLaw>, Freshness), ApiError> {
    let (law, freshness) = any_law(state, name, version).await?;
    law.require_curve()?;
    Ok((law, freshness))
}

/// The law that a question is put to: a version, or the one that answers now. While the database is away it may be one
/// of a moment before, which [`Freshness::AsOf`] says.
///
/// # Errors
/// [`ApiError::NotFound`], [`ApiError::NoLaw`].
pub async fn any_law(
    state: &AppState,
    name: &FamilyName,
    version: Option<i32>,
) -> Result<(Arc<AskedLaw>, Freshness), ApiError> {
    let freshness = if version.is_some() { Freshness::Pinned } else { Freshness::Revalidate };
    if let Some(Found { law, as_of }) = state.laws.find(&state.pool, name, version).await? {
        return Ok((law, as_of.map_or(freshness, Freshness::AsOf)));
    }
    // Only where there is no answer does it matter why.
    existing(&state.pool, name).await?;
    match version {
        Some(version) => Err(ApiError::NotFound { what: "law", name: version.to_string() }),
        None => Err(ApiError::NoLaw),
    }
}
