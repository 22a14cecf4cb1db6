//! Extractor of the caller, whom the guard has identified.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::api::layers::owner::Owner;
use crate::api::state::AppState;
use crate::api::wire::problem::ApiError;
use crate::live::keyring::Caller;

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::Internal(anyhow::anyhow!("no guard stands before this")))
    }
}

impl FromRequestParts<AppState> for Owner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        Ok(Self::of(&state.throttle, &parts.extensions, &parts.headers))
    }
}
