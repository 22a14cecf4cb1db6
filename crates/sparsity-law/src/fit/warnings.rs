//! The warnings of a fit.

use serde::{Deserialize, Serialize};

named! {
    /// Stable code of a warning.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum WarningCode {
        /// There are no more runs than coefficients.
        TooFewRuns = "too_few_runs",
        /// The runs do not determine every coefficient: there are too few levels of a quantity, or too few runs.
        NotIdentified = "not_identified",
        /// The residuals differ between groups of runs: by size, sparsity or amount of data.
        LackOfFit = "lack_of_fit",
        /// Some runs look like checkpoints of the same training.
        Checkpoints = "checkpoints",
        /// There are hardly more clusters of runs than coefficients, or not even as many.
        FewClusters = "few_clusters",
        /// Some runs repeat the size, sparsity, data and loss of another run.
        Duplicates = "duplicates",
        /// Laws fitted on the smaller runs mispredict the larger ones.
        ExtrapolatesBadly = "extrapolates_badly",
        /// A quantity has the same value in all runs, so its term cannot be told from another.
        NotSeparable = "not_separable",
        /// Fewer than four distinct sizes.
        FewNonzeroParamsLevels = "few_nonzero_params_levels",
        /// Fewer than four distinct amounts of data.
        FewDataLevels = "few_data_levels",
        /// Fewer than four distinct sparsities.
        FewSparsityLevels = "few_sparsity_levels",
        /// The largest amount of data is less than ten times the smallest.
        NarrowData = "narrow_data",
        /// Size and data of the runs lie nearly on a line, so their effects cannot be told apart.
        Collinear = "collinear",
        /// Two coefficients compensate for each other.
        Correlated = "correlated",
        /// The interval of an exponent spans more than a factor of three.
        WeaklyDetermined = "weakly_determined",
        /// A coefficient ended at the edge of its search range, or its term vanished.
        AtBound = "at_bound",
        /// The fitted gain rises faster at `S = 0` than the density falls.
        Unphysical = "unphysical",
        /// Few of the starts reached the best objective and give the same answers.
        StartsDisagree = "starts_disagree",
        /// Some runs lie far off the law.
        Outliers = "outliers",
        /// Many resamples determined no law.
        ResamplesFailed = "resamples_failed",
    }
}

/// A warning about something that the runs cannot tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Code of the warning, for programs.
    pub code: WarningCode,
    /// Explanation in a sentence, for people.
    pub detail: String,
}
