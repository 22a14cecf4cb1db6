//! How far an answer can be trusted: one word, and why.
//!
//! A person, a page and a pipeline act on the same word, so it is decided in one place, from thresholds that are
//! settings (`docs/trust.md`).

use sparsity_law::named;

use crate::domain::calibration::ForecastRecord;

named! {
    /// How far an answer can be trusted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum TrustLevel {
        /// Nothing that is looked at speaks against it.
        Good = "good",
        /// It may be farther off than its interval says, or is hardly determined: read why.
        Weak = "weak",
        /// Not to be acted on.
        None = "none",
    }
}

named! {
    /// Why an answer is not simply good.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum TrustCode {
        /// The runs behind the law do not determine every coefficient.
        NotIdentified = "not_identified",
        /// The runs scatter about the law by groups, and not each by itself.
        LackOfFit = "lack_of_fit",
        /// Laws fitted on the smaller runs mispredict the larger ones.
        ExtrapolatesBadly = "extrapolates_badly",
        /// Runs look like checkpoints of the same training.
        Checkpoints = "checkpoints",
        /// The same measurement is there under several names.
        Duplicates = "duplicates",
        /// Hardly more clusters of runs were resampled than there are coefficients.
        FewClusters = "few_clusters",
        /// A pattern is taken to be worth its nominal sparsity.
        UnmeasuredPattern = "unmeasured_pattern",
        /// Nothing is known of how the law fits its runs.
        NotChecked = "not_checked",
        /// The coefficients are not those that fit their own runs best.
        NotOptimum = "not_optimum",
        /// The interval is wide.
        WideInterval = "wide_interval",
        /// There is no interval.
        NoIntervals = "no_intervals",
        /// The question lies far outside the runs.
        Extrapolation = "extrapolation",
        /// Size and data of the runs go together.
        Collinear = "collinear",
        /// Starts of the fit disagree.
        StartsDisagree = "starts_disagree",
        /// Many resamples determined no law.
        ResamplesFailed = "resamples_failed",
        /// Fewer forecasts by the law came true than their intervals promised.
        ForecastsMissed = "forecasts_missed",
        /// What sparsity does is taken from another family's law.
        BorrowedGain = "borrowed_gain",
        /// Another form that predicts no worse has another answer.
        FormsDisagree = "forms_disagree",
    }
}

/// How far an answer can be trusted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The word.
    pub level: TrustLevel,
    /// Why; empty for a good answer. Each code once.
    pub because: Vec<TrustCode>,
}

impl Trust {
    /// Nothing speaks against it yet.
    pub const GOOD: Self = Self { level: TrustLevel::Good, because: Vec::new() };

    /// Lowers the level, and says why.
    pub fn doubt(&mut self, level: TrustLevel, code: TrustCode) {
        self.level = self.level.max(level);
        if !self.because.contains(&code) {
            self.because.push(code);
        }
    }

    /// Takes back a reason by which an answer was weak.
    pub fn withdraw(&mut self, code: TrustCode) {
        self.because.retain(|because| *because != code);
        if self.because.is_empty() {
            self.level = TrustLevel::Good;
        }
    }
}

/// Two thresholds of the same thing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Above this an answer is weak.
    pub weak: f64,
    /// Above this it is worth nothing.
    pub none: f64,
}

impl Threshold {
    /// What a value says.
    #[must_use]
    pub fn level(self, value: f64) -> TrustLevel {
        // Not a number is above everything.
        if value <= self.weak {
            TrustLevel::Good
        } else if value <= self.none {
            TrustLevel::Weak
        } else {
            TrustLevel::None
        }
    }
}

/// From what on an answer is weak, or worth nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrustPolicy {
    /// Width of the interval of a sparsity, from 0 to 1.
    pub sparsity_width: Threshold,
    /// Width of the interval of a loss or another positive number, over the number.
    pub relative_width: Threshold,
    /// How many times a quantity lies outside the runs.
    pub extrapolation: Threshold,
    /// Answers are worth nothing where at most this share of the law's forecasts may come true, from 0 to 1.
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

/// What an answer is about, and how wide its interval is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Width {
    /// Of a sparsity.
    Sparsity(f64),
    /// Of a positive number, over the number.
    Relative(f64),
}

impl TrustPolicy {
    /// How far answers of a law can be trusted whose forecasts came out so; `None` where nothing speaks against it.
    #[must_use]
    pub fn of_forecasts(&self, record: &ForecastRecord) -> Option<TrustLevel> {
        let level = if record.most_inside() <= self.forecasts_inside {
            TrustLevel::None
        } else {
            TrustLevel::Weak
        };
        record.misses().then_some(level)
    }

    /// What is added to what is known of the law: the width of the answer's interval, `None` where there is
    /// none or it was not asked for, and the largest factor by which the question lies outside the runs, 1
    /// inside.
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
