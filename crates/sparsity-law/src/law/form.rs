//! Forms of a law: how it describes the effect of sparsity.

use serde::{Deserialize, Serialize};

named! {
    /// The form of a law: how the loss depends on size and sparsity. All forms add a power of the data and a constant.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum LawForm {
        /// `(a_S (1-S)^b_S + c_S) N^(-b_N)`: the form of the paper, and the default.
        Sparse = "sparse",
        /// `A N^(-b_N)`: no effect of sparsity, unless the law borrows a [`super::GainCurve`].
        Dense = "dense",
        /// `A_j N^(-b_N)`: one free capacity for each sparsity of the runs, and nothing between those sparsities.
        Levels = "levels",
        /// `A Nbar^(-b_N)`, with `Nbar` the mean number of parameters over training.
        AverageParams = "average_params",
        /// `a N_total^(-alpha) + c (1-S)^(-lambda) + d (1-S)^(-delta) N_total^(-gamma)`: mixtures of experts (Abnar and
        /// others, arXiv 2501.12370).
        Experts = "experts",
    }
}

impl LawForm {
    /// Whether a law of this form has coefficients besides, or in place of, the seven of the paper.
    #[must_use]
    pub const fn has_own_coefficients(self) -> bool {
        matches!(self, Self::Levels | Self::Experts)
    }
}
