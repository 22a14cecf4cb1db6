//! Refits as they are shown and listed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::wire::extract::PageParams;
use crate::api::wire::fit_options::FitOptionsView;
use crate::api::wire::problem::{ApiError, Problem, ProblemKind};
use crate::domain::page::PageRequest;
use crate::domain::refit::{Refit, RefitState};

/// A fit that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Refit)]
pub struct RefitView {
    /// Id of the refit.
    id: Uuid,
    /// Name of the family.
    #[schema(example = "my-models")]
    family: String,
    /// Where it is in its life.
    state: RefitStateView,
    /// Share of the work that is done, 0 to 1.
    #[schema(example = 0.5, minimum = 0, maximum = 1)]
    progress: f64,
    /// What it is at.
    #[schema(example = "resampling")]
    phase: String,
    /// What it runs with.
    options: FitOptionsView,
    /// Version of the law that it fits again and compares; null where it makes a new one.
    #[schema(example = json!(null))]
    reproduces: Option<i32>,
    /// The law that came of it.
    law: Option<RefitLaw>,
    /// Why it failed.
    error: Option<Problem>,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When a worker first took it.
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

/// A page of refits.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefitList {
    /// Newest first.
    pub(super) items: Vec<RefitView>,
    /// Where the next page starts; null at the end.
    pub(super) next_cursor: Option<String>,
}

/// Which refits to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RefitsParams {
    /// The most items of the page.
    #[serde(default = "PageParams::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u16,
    /// `next_cursor` of the page before.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Only refits in this state.
    #[param(inline)]
    state: Option<RefitStateView>,
}

impl RefitsParams {
    pub(super) fn check(self) -> Result<(Option<RefitState>, PageRequest), ApiError> {
        let request = PageParams { limit: self.limit, cursor: self.cursor }.check()?;
        Ok((self.state.map(RefitState::from), request))
    }
}

/// The law that came of a refit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefitLaw {
    /// Id of the law.
    pub(crate) id: Uuid,
    /// Its version within the family.
    #[schema(example = 1)]
    pub(crate) version: i32,
}

/// Where a refit is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RefitState)]
pub enum RefitStateView {
    /// Waiting for a worker.
    Queued,
    /// A worker is at it.
    Running,
    /// There is a law.
    Succeeded,
    /// There is an error.
    Failed,
    /// Somebody asked to stop it.
    Cancelled,
}

impl From<RefitState> for RefitStateView {
    fn from(state: RefitState) -> Self {
        match state {
            RefitState::Queued => Self::Queued,
            RefitState::Running => Self::Running,
            RefitState::Succeeded => Self::Succeeded,
            RefitState::Failed => Self::Failed,
            RefitState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<RefitStateView> for RefitState {
    fn from(state: RefitStateView) -> Self {
        match state {
            RefitStateView::Queued => Self::Queued,
            RefitStateView::Running => Self::Running,
            RefitStateView::Succeeded => Self::Succeeded,
            RefitStateView::Failed => Self::Failed,
            RefitStateView::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Refit> for RefitView {
    fn from(refit: Refit) -> Self {
        Self {
            id: refit.id,
            family: refit.family,
            state: refit.state.into(),
            // As many digits as anybody looks at.
            progress: (refit.progress * 1e4).round() / 1e4,
            phase: refit.phase,
            options: FitOptionsView::new(refit.options, None),
            reproduces: refit.reproduces,
            law: refit.law.map(|(version, id)| RefitLaw { id, version }),
            error: refit
                .error
                .map(|error| Problem::new(ProblemKind::from(error.kind), error.detail)),
            created_at: refit.created_at,
            started_at: refit.started_at,
            finished_at: refit.finished_at,
        }
    }
}
