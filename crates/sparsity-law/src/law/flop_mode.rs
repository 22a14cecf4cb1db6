//! What a step costs where nothing was measured.

named! {
    /// The FLOP modes that need no measurement: the two ends between which hardware lies.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum FlopMode {
        /// Zeros cost as much as other parameters: today's dense hardware.
        Dense = "dense",
        /// Zeros are free: the hardware gains all that sparsity offers.
        Sparse = "sparse",
    }
}
