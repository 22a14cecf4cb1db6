//! Cost of a training step on ideal hardware, where nothing was measured.

named! {
    /// The FLOP modes that need no measurement: the two extremes between which real hardware lies.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum FlopMode {
        /// Zeros cost as much as other parameters, as on today's dense hardware.
        Dense = "dense",
        /// Zeros are free: the hardware turns all of the sparsity into saved FLOPs.
        Sparse = "sparse",
    }
}
