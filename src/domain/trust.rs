//! How far an answer can be trusted: one level, and the reasons for it.
//!
//! People, web pages and pipelines all act on the same level, so it is decided in one place, from thresholds that are
//! settings (`docs/trust.md`).

use sparsity_law::named;

use crate::domain::calibration::ForecastRecord;

named! {
    /// How far an answer can be trusted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum TrustLevel {
        /// No check raises a doubt.
        Good = "good",
        /// The answer may be farther off than its interval says, or is poorly determined; the reasons tell.
        Weak = "weak",
        /// The answer should not be acted on.
        None = "none",
    }
}

named! {
    /// A reason why an answer is not simply good.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum TrustCode {
        /// The runs of the law do not determine every coefficient.
        NotIdentified = "not_identified",
        /// The deviations of the runs from the law are alike within groups of runs, rather than independent.
        LackOfFit = "lack_of_fit",
        /// Laws fitted on the smaller runs mispredict the larger ones.
        ExtrapolatesBadly = "extrapolates_badly",
        /// Some runs look like checkpoints of the same training.
        Checkpoints = "checkpoints",
        /// The same measurement is stored under several names.
        Duplicates = "duplicates",
        /// There are hardly more clusters of runs to resample than coefficients.
        FewClusters = "few_clusters",
        /// A pattern is assumed to be worth its nominal sparsity.
        UnmeasuredPattern = "unmeasured_pattern",
        /// How fast repeated data wears out is assumed: no run of the law shows it.
        RepetitionAssumed = "repetition_assumed",
        /// It is not known how well the law fits its runs.
        NotChecked = "not_checked",
        /// The coefficients are not those that fit the runs best.
        NotOptimum = "not_optimum",
        /// The data of two compared families is counted in different units.
        OtherDataUnit = "other_data_unit",
        /// The interval of the answer is wide.
        WideInterval = "wide_interval",
        /// The answer has no interval.
        NoIntervals = "no_intervals",
        /// The question lies far outside the range of the runs.
        Extrapolation = "extrapolation",
        /// The sizes and data of the runs are correlated.
        Collinear = "collinear",
        /// Different starting points of the fit led to different laws.
        StartsDisagree = "starts_disagree",
        /// Many resamples did not determine a law.
        ResamplesFailed = "resamples_failed",
        /// Fewer forecasts of the law came true than their intervals promised.
        ForecastsMissed = "forecasts_missed",
        /// The effect of sparsity is taken from another family's law.
        BorrowedGain = "borrowed_gain",
        /// Another form of the law predicts equally well but gives another answer.
        FormsDisagree = "forms_disagree",
    }
}

/// How far an answer can be trusted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The level of trust.
    pub level: TrustLevel,
    /// The reasons, each once; empty for a good answer.
    pub because: Vec<TrustCode>,
}

impl Trust {
    /// An answer about which there is no doubt so far.
    pub const GOOD: Self = Self { level: TrustLevel::Good, because: Vec::new() };

    /// Lowers the level to `level`, unless it is lower already, and records the reason.
    pub fn doubt(&mut self, level: TrustLevel, code: TrustCode) {
        self.level = self.level.max(level);
        if !self.because.contains(&code) {
            self.because.push(code);
        }
    }

    /// Removes a reason for which an answer was weak. The level becomes good again if no reason is left.
    pub fn withdraw(&mut self, code: TrustCode) {
        self.because.retain(|because| *because != code);
        if self.because.is_empty() {
            self.level = TrustLevel::Good;
        }
    }
}

/// The two thresholds of one quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Above this value an answer is weak.
    pub weak: f64,
    /// Above this value an answer is worth nothing.
    pub none: f64,
}

impl Threshold {
    /// The level for a value.
    #[must_use]
    pub fn level(self, value: f64) -> TrustLevel {
        // NaN counts as larger than everything.
        if value <= self.weak {
            TrustLevel::Good
        } else if value <= self.none {
            TrustLevel::Weak
        } else {
            TrustLevel::None
        }
    }
}

/// The thresholds above which an answer is weak or worth nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrustPolicy {
    /// Width of the interval of a sparsity, from 0 to 1.
    pub sparsity_width: Threshold,
    /// Width of the interval of a loss or another positive number, divided by the number.
    pub relative_width: Threshold,
    /// Factor by which a quantity lies outside the range of the runs.
    pub extrapolation: Threshold,
    /// A share of forecasts, from 0 to 1. If no more than this share of a law's forecasts can come true in the long
    /// run, as [`ForecastRecord::most_inside`] estimates it, the law's answers are worth nothing.
    pub forecasts_inside: f64,
}

impl Default for TrustPolicy {
    fn default() -> Self {
        Self {
            sparsity_width: Threshold { weak: 0.2, none: 0.5 },
            relative_width: Threshold { weak: 0.05, none: 0.25 },
            extrapolation: Threshold { weak: 10.0, none: 1000.0 },
            forecasts_inside: 0.5,
        }
    }
}

/// The width of an answer's interval, by the kind of answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Width {
    /// Width of the interval of a sparsity.
    Sparsity(f64),
    /// Width of the interval of a positive number, divided by the number.
    Relative(f64),
}

impl TrustPolicy {
    /// The level that the record of a law's forecasts calls for; `None` if the record raises no doubt.
    #[must_use]
    pub fn of_forecasts(&self, record: &ForecastRecord) -> Option<TrustLevel> {
        let level = if record.most_inside() <= self.forecasts_inside {
            TrustLevel::None
        } else {
            TrustLevel::Weak
        };
        record.misses().then_some(level)
    }

    /// The trust in an answer, given the trust in its law. `width` is the width of the answer's interval, `None` if
    /// there is none or it was not asked for. `factor` is the largest factor by which the question lies outside the
    /// range of the runs, 1 if it lies inside.
    #[must_use]
    pub fn of_answer(&self, of_law: &Trust, width: Option<Width>, factor: f64) -> Trust {
        let mut trust = of_law.clone();
        match width {
            None => trust.doubt(TrustLevel::Weak, TrustCode::NoIntervals),
            Some(width) => {
                let level = match width {
                    Width::Sparsity(width) => self.sparsity_width.level(width),
                    Width::Relative(width) => self.relative_width.level(width),
                };
                if level > TrustLevel::Good {
                    trust.doubt(level, TrustCode::WideInterval);
                }
            }
        }
        let level = self.extrapolation.level(factor);
        if level > TrustLevel::Good {
            trust.doubt(level, TrustCode::Extrapolation);
        }
        trust
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_reason_decides_and_every_reason_is_named_once() {
        let policy = TrustPolicy::default();
        assert_eq!(policy.of_answer(&Trust::GOOD, Some(Width::Sparsity(0.1)), 1.0), Trust::GOOD);
        let mut of_law = Trust::GOOD;
        of_law.doubt(TrustLevel::Weak, TrustCode::NotChecked);
        of_law.doubt(TrustLevel::Weak, TrustCode::NotChecked);
        let trust = policy.of_answer(&of_law, Some(Width::Relative(0.06)), 2000.0);
        assert_eq!(trust.level, TrustLevel::None);
        let codes: Vec<_> = trust.because.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes, ["not_checked", "wide_interval", "extrapolation"]);
        let unknown = policy.of_answer(&Trust::GOOD, None, 1.0);
        assert_eq!(
            (unknown.level, &*unknown.because),
            (TrustLevel::Weak, &[TrustCode::NoIntervals][..])
        );
        assert_eq!(policy.sparsity_width.level(f64::NAN), TrustLevel::None);
        of_law.withdraw(TrustCode::NotChecked);
        assert_eq!(of_law, Trust::GOOD);
    }

    #[test]
    fn each_threshold_is_kept_at_its_ends() {
        let threshold = Threshold { weak: 0.2, none: 0.5 };
        let levels = [0.2, 0.21, 0.5, 0.51].map(|value| threshold.level(value));
        use TrustLevel::{Good, None, Weak};
        assert_eq!(levels, [Good, Weak, Weak, None]);
    }

    #[test]
    fn forecasts_that_miss_lower_the_level() {
        let policy = TrustPolicy::default();
        let level =
            |scored, inside| policy.of_forecasts(&ForecastRecord { scored, inside, nominal: 0.95 });
        assert_eq!(level(1, 0), None);
        assert_eq!(level(3, 0), Some(TrustLevel::Weak));
        assert_eq!(level(10, 0), Some(TrustLevel::None));
        assert_eq!(level(40, 38), None);
    }

    #[test]
    fn codes_are_found_by_their_names() {
        for code in TrustCode::ALL {
            assert_eq!(TrustCode::of_name(code.as_str()), Some(code));
        }
        assert_eq!(TrustCode::of_name("interpolated"), None);
    }
}
