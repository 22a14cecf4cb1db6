//! What a law says of sparsity: its form.

use serde::{Deserialize, Serialize};

named! {
    /// The form of a law: what it says of sparsity. What it says of size and data is the same in all.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum LawForm {
        /// `(a_S (1-S)^b_S + c_S) N^(-b_N)`: the paper's, and where nothing else is said.
        Sparse = "sparse",
        /// `A N^(-b_N)`: nothing, unless it borrows a [`super::GainCurve`].
        Dense = "dense",
        /// `A_j N^(-b_N)`: one free capacity at each sparsity that runs have, and nothing between them.
        Levels = "levels",
        /// `A Nbar^(-b_N)` with the mean number of parameters over training.
        AverageParams = "average_params",
        /// `a N_total^(-alpha) + c (1-S)^(-lambda) + d (1-S)^(-delta) N_total^(-gamma)`: mixtures of experts
        /// (Abnar and others, arXiv 2501.12370).
        Experts = "experts",
    }
}

impl LawForm {
    /// Whether it has coefficients of its own beside or in place of the paper's seven.
    #[must_use]
    pub const fn has_own_coefficients(self) -> bool {
        matches!(self, Self::Levels | Self::Experts)
    }
}
