//! What a fit warns of.

use serde::{Deserialize, Serialize};

/// Stable code of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// Fewer runs than one more than there are coefficients.
    TooFewRuns,
    /// A quantity never varies: its term cannot be told from another.
    NotSeparable,
    /// Fewer than four distinct sizes.
    FewNonzeroParamsLevels,
    /// Fewer than four distinct amounts of data.
    FewDataLevels,
    /// Fewer than four distinct sparsities.
    FewSparsityLevels,
    /// The largest amount of data is less than ten times the smallest.
    NarrowData,
    /// Size and data of the runs lie on a line: what one does cannot be told from what the other does.
    Collinear,
    /// Two coefficients make up for each other.
    Correlated,
    /// An exponent whose interval spans more than a factor of three.
    WeaklyDetermined,
    /// A coefficient ended at the edge of where it is sought.
    AtBound,
    /// The fitted gain rises faster at `S = 0` than the density falls.
    Unphysical,
    /// Few starts reached the best objective.
    StartsDisagree,
    /// Runs that lie far off the law.
    Outliers,
    /// Many resamples determined no law.
    ResamplesFailed,
}

impl WarningCode {
    /// The code in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooFewRuns => "too_few_runs",
            Self::NotSeparable => "not_separable",
            Self::FewNonzeroParamsLevels => "few_nonzero_params_levels",
            Self::FewDataLevels => "few_data_levels",
            Self::FewSparsityLevels => "few_sparsity_levels",
            Self::NarrowData => "narrow_data",
            Self::Collinear => "collinear",
            Self::Correlated => "correlated",
            Self::WeaklyDetermined => "weakly_determined",
            Self::AtBound => "at_bound",
            Self::Unphysical => "unphysical",
            Self::StartsDisagree => "starts_disagree",
            Self::Outliers => "outliers",
            Self::ResamplesFailed => "resamples_failed",
        }
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
