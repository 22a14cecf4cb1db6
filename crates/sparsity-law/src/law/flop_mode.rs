//! What a step costs where nothing was measured.

/// The FLOP modes that need no measurement: the two ends between which hardware lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlopMode {
    /// Zeros cost as much as other parameters: today's dense hardware.
    Dense,
    /// Zeros are free: the hardware gains all that sparsity offers.
    Sparse,
}

impl FlopMode {
    /// The name in JSON and in a query.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }
}
