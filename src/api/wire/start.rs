//! What a run started from, in its JSON form.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::run::TrainingStart;

/// What a run started from.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Start)]
pub enum StartView {
    /// Random weights.
    Scratch,
    /// A pretrained dense checkpoint.
    Pretrained,
}

impl From<TrainingStart> for StartView {
    fn from(start: TrainingStart) -> Self {
        match start {
            TrainingStart::Scratch => Self::Scratch,
            TrainingStart::Pretrained => Self::Pretrained,
        }
    }
}

impl From<StartView> for TrainingStart {
    fn from(start: StartView) -> Self {
        match start {
            StartView::Scratch => Self::Scratch,
            StartView::Pretrained => Self::Pretrained,
        }
    }
}
