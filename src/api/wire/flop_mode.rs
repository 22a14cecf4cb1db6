//! The FLOP modes that are no hardware profile, as answers name them.

use serde::Serialize;
use sparsity_law::law::FlopMode;
use utoipa::ToSchema;

/// The FLOP modes that are no hardware profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FlopMode)]
pub enum FlopModeView {
    /// Zeros cost as much as other parameters.
    Dense,
    /// Zeros are free.
    Sparse,
}

impl From<FlopModeView> for FlopMode {
    fn from(mode: FlopModeView) -> Self {
        match mode {
            FlopModeView::Dense => Self::Dense,
            FlopModeView::Sparse => Self::Sparse,
        }
    }
}
