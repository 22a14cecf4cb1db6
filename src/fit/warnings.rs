//! What the runs cannot tell, said with a stable code and a sentence.

use super::normalised::{BOUNDS, Point};
use super::observations::Observations;
use crate::law::{CoefficientName, Coefficients};

/// Stable code of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarningCode {
    /// Fewer runs than one more than there are coefficients.
    TooFewRuns,
    /// Fewer than four distinct sizes.
    FewNonzeroParamsLevels,
    /// Fewer than four distinct amounts of data.
    FewDataLevels,
    /// Fewer than four distinct sparsities.
    FewSparsityLevels,
    /// The largest amount of data is less than ten times the smallest.
    NarrowData,
    /// A coefficient ended at the edge of where it is sought.
    AtBound,
    /// The fitted gain rises faster at `S = 0` than the density falls.
    Unphysical,
    /// Few starts reached the best objective.
    StartsDisagree,
}

impl WarningCode {
    /// The code in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooFewRuns => "too_few_runs",
            Self::FewNonzeroParamsLevels => "few_nonzero_params_levels",
            Self::FewDataLevels => "few_data_levels",
            Self::FewSparsityLevels => "few_sparsity_levels",
            Self::NarrowData => "narrow_data",
            Self::AtBound => "at_bound",
            Self::Unphysical => "unphysical",
            Self::StartsDisagree => "starts_disagree",
        }
    }
}

/// One thing that the runs cannot tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Which one.
    pub code: WarningCode,
    /// A sentence for a person.
    pub detail: String,
}

/// Fewest runs without a warning: one more than coefficients.
const FEWEST_RUNS: usize = 8;
/// Fewest distinct values of each quantity without a warning.
const FEWEST_LEVELS: usize = 4;
/// Smallest ratio of the largest to the smallest amount of data without a warning.
const NARROWEST_DATA: f64 = 10.0;
/// Smallest share of starts that agree with the best without a warning. Well below the 65 % of the
/// paper's ViT runs, where the Huber loss has kinks that hold descents up; were the share of all
/// starts this small, the default number would still find the best with a chance above 99.9 %.
const FEWEST_AGREEING: f64 = 0.2;

/// Looks for everything that can be said without resampling.
pub(super) fn find(
    runs: &Observations,
    coefficients: &Coefficients,
    point: &Point,
    agreement: f64,
) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn = |code, detail| found.push(Warning { code, detail });

    if runs.len() < FEWEST_RUNS {
        let detail = format!(
            "{} runs for seven coefficients: many different laws fit them equally well",
            runs.len()
        );
        warn(WarningCode::TooFewRuns, detail);
    }
    let levels = [
        (
            WarningCode::FewNonzeroParamsLevels,
            "sizes (nonzero_params)",
            runs.distinct(|run| run.nonzero_params.get()),
        ),
        (WarningCode::FewDataLevels, "amounts of data", runs.distinct(|run| run.data.get())),
        (
            WarningCode::FewSparsityLevels,
            "sparsities",
            runs.distinct(|run| run.sparsity.density().get()),
        ),
    ];
    for (code, what, levels) in levels {
        if levels < FEWEST_LEVELS {
            let detail = format!(
                "the runs have {levels} different {what}; at least {FEWEST_LEVELS} are needed to \
                 tell the shape of a curve from its height"
            );
            warn(code, detail);
        }
    }
    let data = runs.as_slice().iter().map(|run| run.data.get());
    let (least, most) = data.fold((f64::INFINITY, 0.0_f64), |(a, b), d| (a.min(d), b.max(d)));
    if most < NARROWEST_DATA * least {
        let detail = format!(
            "the amounts of data span a factor of {:.1}: how the loss falls beyond them is hardly \
             determined",
            most / least
        );
        warn(WarningCode::NarrowData, detail);
    }
    for ((name, value), (low, high)) in CoefficientName::ALL.into_iter().zip(point).zip(BOUNDS) {
        if *value <= low || *value >= high {
            let detail = format!(
                "{} ended at the edge of the values that are tried: the runs do not determine it",
                name.as_str()
            );
            warn(WarningCode::AtBound, detail);
        }
    }
    let slope = coefficients.gain_slope();
    if slope > 1.0 {
        let detail = format!(
            "the gain starts with slope {slope:.3} > 1: by this law a slightly sparse model would \
             beat a dense one of the same total size"
        );
        warn(WarningCode::Unphysical, detail);
    }
    if agreement < FEWEST_AGREEING {
        let detail = format!(
            "only {:.0} % of the starts reached the best objective: there may be a better one",
            agreement * 100.0
        );
        warn(WarningCode::StartsDisagree, detail);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::testing::grid;
    use crate::law::T5_C4;

    fn codes(
        runs: Vec<crate::fit::Observation>,
        point: Point,
        agreement: f64,
    ) -> Vec<&'static str> {
        find(&Observations::new(runs), T5_C4.coefficients(), &point, agreement)
            .into_iter()
            .map(|warning| warning.code.as_str())
            .collect()
    }

    #[test]
    fn a_full_grid_gives_no_warning() {
        assert_eq!(codes(grid(T5_C4.coefficients(), 0.0, 0), [0.0; 7], 1.0), [""; 0]);
    }

    #[test]
    fn each_shortcoming_has_its_code() {
        let all = grid(T5_C4.coefficients(), 0.0, 0);
        let few: Vec<_> = all.iter().copied().take(5).collect();
        assert_eq!(codes(few, [0.0; 7], 1.0)[0], "too_few_runs");
        let narrow: Vec<_> = all.iter().copied().filter(|run| run.data.get() < 5e9).collect();
        assert_eq!(codes(narrow, [0.0; 7], 1.0), ["few_data_levels", "narrow_data"]);
        let mut point = [0.0; 7];
        point[2] = BOUNDS[2].0;
        assert_eq!(codes(all.clone(), point, 1.0), ["at_bound"]);
        assert_eq!(codes(all, [0.0; 7], 0.1), ["starts_disagree"]);
    }
}
