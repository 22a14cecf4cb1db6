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

/// A requested fit.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Refit)]
pub struct RefitView {
    /// Id of the refit.
    id: Uuid,
    /// Name of the family.
    #[schema(example = "my-models")]
    family: String,
    /// State of the refit.
    state: RefitStateView,
    /// Share of the work that is done, from 0 to 1.
    #[schema(example = 0.5, minimum = 0, maximum = 1)]
    progress: f64,
    /// The phase that the work is in.
    #[schema(example = "resampling")]
    phase: String,
    /// The options of the fit.
    options: FitOptionsView,
    /// Version of the law that is fitted again and compared; null where the refit makes a new law.
    #[schema(example = json!(null))]
    reproduces: Option<i32>,
    /// The resulting law; null until there is one.
    law: Option<RefitLaw>,
    /// Why the refit failed; null where it did not.
    error: Option<Problem>,
    /// When the refit was requested.
    created_at: DateTime<Utc>,
    /// When a worker first took the refit.
    started_at: Option<DateTime<Utc>>,
    /// When the refit ended.
    finished_at: Option<DateTime<Utc>>,
}

/// A page of refits.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefitList {
    /// The refits, newest first.
    pub(super) items: Vec<RefitView>,
    /// Where the next page starts; null at the end.
    pub(super) next_cursor: Option<String>,
}

/// Which refits to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RefitsParams {
    /// The most items per page.
    #[serde(default = "PageParams::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u16,
    /// `next_cursor` of the previous page.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Show only refits in this state.
    #[param(inline)]
    state: Option<RefitStateView>,
}

impl RefitsParams {
    pub(super) fn check(self) -> Result<(Option<RefitState>, PageRequest), ApiError> {
        let request = PageParams { limit: self.limit, cursor: self.cursor }.check()?;
        Ok((self.state.map(RefitState::from), request))
    }
}

/// The law that resulted from a refit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefitLaw {
    /// Id of the law.
    pub(crate) id: Uuid,
    /// Version of the law within the family.
    #[schema(example = 1)]
    pub(crate) version: i32,
}

/// State of a refit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RefitState)]
pub enum RefitStateView {
    /// Waiting for a worker.
    Queued,
    /// A worker is fitting.
    Running,
    /// Finished with a law.
    Succeeded,
    /// Finished with an error.
    Failed,
    /// Stopped on request.
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
            // Four digits are enough for anybody who watches the progress.
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
