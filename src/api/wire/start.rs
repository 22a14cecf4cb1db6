//! What a run started from, in its JSON form.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::run::Start;

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

impl From<Start> for StartView {
    fn from(start: Start) -> Self {
        match start {
            Start::Scratch => Self::Scratch,
            Start::Pretrained => Self::Pretrained,
        }
    }
}

impl From<StartView> for Start {
    fn from(start: StartView) -> Self {
        match start {
            StartView::Scratch => Self::Scratch,
            StartView::Pretrained => Self::Pretrained,
        }
    }
}
