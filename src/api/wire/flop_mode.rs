//! The FLOP modes other than hardware profiles, as answers name them.

use serde::Serialize;
use sparsity_law::law::FlopMode;
use utoipa::ToSchema;

/// A FLOP mode other than a hardware profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FlopMode)]
pub enum FlopModeView {
    /// Zeros cost as much as other parameters.
    Dense,
    /// Zeros are free.
    Sparse,
}

impl From<FlopMode> for FlopModeView {
    fn from(mode: FlopMode) -> Self {
        match mode {
            FlopMode::Dense => Self::Dense,
            FlopMode::Sparse => Self::Sparse,
        }
    }
}
