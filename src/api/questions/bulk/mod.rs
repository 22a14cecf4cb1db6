//! Questions for up to 100,000 points at once, given as a list or as a grid.

use utoipa_axum::router::OpenApiRouter;

use crate::api::state::AppState;

mod optima;
mod points;
mod predictions;

/// Routes of these questions.
pub fn router() -> OpenApiRouter<AppState> {
    predictions::router().merge(optima::router())
}
