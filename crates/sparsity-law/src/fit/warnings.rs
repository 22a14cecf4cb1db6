//! What a fit warns of.

use serde::{Deserialize, Serialize};

named! {
    /// Stable code of a warning.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum WarningCode {
        /// Fewer runs than one more than there are coefficients.
        TooFewRuns = "too_few_runs",
        /// The runs do not determine every coefficient: too few levels of a quantity, or too few runs.
        NotIdentified = "not_identified",
        /// The residuals differ by groups of runs: sizes, sparsities, amounts of data.
        LackOfFit = "lack_of_fit",
        /// Some runs look like checkpoints of one training.
        Checkpoints = "checkpoints",
        /// Hardly more clusters of runs than coefficients.
        FewClusters = "few_clusters",
        /// The same measurement is there under several names.
        Duplicates = "duplicates",
        /// Laws of the smaller runs mispredict the larger ones.
        ExtrapolatesBadly = "extrapolates_badly",
        /// A quantity never varies: its term cannot be told from another.
        NotSeparable = "not_separable",
        /// Fewer than four distinct sizes.
        FewNonzeroParamsLevels = "few_nonzero_params_levels",
        /// Fewer than four distinct amounts of data.
        FewDataLevels = "few_data_levels",
        /// Fewer than four distinct sparsities.
        FewSparsityLevels = "few_sparsity_levels",
        /// The largest amount of data is less than ten times the smallest.
        NarrowData = "narrow_data",
        /// Size and data of the runs lie on a line: what one does cannot be told from what the other does.
        Collinear = "collinear",
        /// Two coefficients make up for each other.
        Correlated = "correlated",
        /// An exponent whose interval spans more than a factor of three.
        WeaklyDetermined = "weakly_determined",
        /// A coefficient ended at the edge of where it is sought.
        AtBound = "at_bound",
        /// The fitted gain rises faster at `S = 0` than the density falls.
        Unphysical = "unphysical",
        /// Few starts reached the best objective.
        StartsDisagree = "starts_disagree",
        /// Runs that lie far off the law.
        Outliers = "outliers",
        /// Many resamples determined no law.
        ResamplesFailed = "resamples_failed",
    }
}

/// One thing that the runs cannot tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Which one.
    pub code: WarningCode,
    /// A sentence for a person.
    pub detail: String,
}
