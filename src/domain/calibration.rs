//! How often forecasts came true: shares and errors, computed from sums by month, without input or output.

use chrono::NaiveDate;
use sparsity_law::law::Interval;
use statrs::distribution::{Beta, ContinuousCDF};

/// Sums over the forecasts whose runs arrived in one calendar month (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Month {
    /// First day of the month.
    pub start: NaiveDate,
    /// Forecasts that have a run.
    pub scored: i64,
    /// Forecasts whose run differs from the plan.
    pub not_as_planned: i64,
    /// Forecasts whose run is as planned but excluded from fits.
    pub excluded: i64,
    /// All other forecasts: those that count.
    pub counted: i64,
    /// Counted forecasts that have a prediction interval.
    pub with_interval: i64,
    /// Counted forecasts whose prediction interval contains the measured loss.
    pub inside: i64,
    /// Sum of the nominal coverages of these intervals.
    pub levels: f64,
    /// Sum of the errors of the counted forecasts.
    pub errors: f64,
    /// Sum of the squared errors of the counted forecasts.
    pub squared_errors: f64,
    /// Sum of the relative errors of the counted forecasts.
    pub relative_errors: f64,
    /// Sum of the squared relative errors of the counted forecasts.
    pub squared_relative_errors: f64,
}

impl Month {
    /// Adds all earlier months to this one.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        Self {
            start: self.start,
            scored: self.scored + before.scored,
            not_as_planned: self.not_as_planned + before.not_as_planned,
            excluded: self.excluded + before.excluded,
            counted: self.counted + before.counted,
            with_interval: self.with_interval + before.with_interval,
            inside: self.inside + before.inside,
            levels: self.levels + before.levels,
            errors: self.errors + before.errors,
            squared_errors: self.squared_errors + before.squared_errors,
            relative_errors: self.relative_errors + before.relative_errors,
            squared_relative_errors: self.squared_relative_errors + before.squared_relative_errors,
        }
    }

    /// Share of prediction intervals that contain the measured loss; `None` if there are no intervals.
    #[must_use]
    pub fn share_inside(&self) -> Option<f64> {
        mean(self.inside as f64, self.with_interval)
    }

    /// Mean nominal coverage of the prediction intervals; `None` if there are none.
    #[must_use]
    pub fn nominal(&self) -> Option<f64> {
        mean(self.levels, self.with_interval)
    }

    /// Mean and root mean square of `measured - predicted`; `None` if no forecast counts.
    #[must_use]
    pub fn error(&self) -> Option<(f64, f64)> {
        mean(self.errors, self.counted).zip(rms(self.squared_errors, self.counted))
    }

    /// Mean and root mean square of `(measured - predicted) / predicted`; `None` if no forecast counts.
    #[must_use]
    pub fn relative_error(&self) -> Option<(f64, f64)> {
        mean(self.relative_errors, self.counted)
            .zip(rms(self.squared_relative_errors, self.counted))
    }
}

fn mean(sum: f64, count: i64) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

fn rms(squares: f64, count: i64) -> Option<f64> {
    mean(squares, count).map(f64::sqrt)
}

/// Running totals: each month together with all before it.
#[must_use]
pub fn cumulative(months: &[Month]) -> Vec<Month> {
    let add = |total: &mut Month, month: &Month| {
        *total = month.after(total);
        Some(*total)
    };
    months.iter().scan(Month::default(), add).collect()
}

/// The exact (Clopper-Pearson) interval of a share, given `inside` of `count` observations: the shares that a binomial
/// test would not reject. `None` if there are no observations.
///
/// ```text
/// low:  I(low;  k, n - k + 1) = (1 - level) / 2        0 where k = 0
/// high: I(high; k + 1, n - k) = (1 + level) / 2        1 where k = n
/// ```
#[must_use]
pub fn exact_interval(inside: i64, count: i64, level: f64) -> Option<Interval> {
    if count <= 0 || !(0..=count).contains(&inside) {
        return None;
    }
    let (k, n) = (inside as f64, count as f64);
    let low = if inside == 0 { 0.0 } else { beta_quantile(k, n - k + 1.0, (1.0 - level) / 2.0)? };
    let high =
        if inside == count { 1.0 } else { beta_quantile(k + 1.0, n - k, (1.0 + level) / 2.0)? };
    Some(Interval { level, low, high })
}

/// Quantile of the beta distribution, by bisection down to the last bit, which works for any of its shapes.
fn beta_quantile(a: f64, b: f64, share: f64) -> Option<f64> {
    let beta = Beta::new(a, b).ok()?;
    let (mut low, mut high) = (0.0, 1.0);
    loop {
        let middle: f64 = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return Some(middle);
        }
        if beta.cdf(middle) < share { low = middle } else { high = middle }
    }
}

/// The record of one law's forecasts. It covers those that had a prediction interval and whose run is as planned and
/// included in fits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ForecastRecord {
    /// Number of these forecasts.
    pub scored: i64,
    /// Number of runs inside their prediction interval.
    pub inside: i64,
    /// Mean nominal coverage of the intervals, from 0 to 1.
    pub nominal: f64,
}

/// Coverage of the interval of a share; it is wrong once in forty on the side that matters.
const LEVEL: f64 = 0.95;

impl ForecastRecord {
    /// The largest share of forecasts that could come true in the long run, given this record: the upper end of the
    /// exact 95 % interval. 1 if there are no forecasts.
    #[must_use]
    pub fn most_inside(&self) -> f64 {
        exact_interval(self.inside, self.scored, LEVEL).map_or(1.0, |interval| interval.high)
    }

    /// Whether fewer forecasts came true than their intervals promised, by more than chance explains.
    #[must_use]
    pub fn misses(&self) -> bool {
        self.most_inside() < self.nominal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The reference values have six digits.
    const SIX_DIGITS: f64 = 1e-6;

    #[test]
    fn known_intervals_of_a_share() {
        // With none or all inside, an end of the interval is 1 - 0.025^(1/n) or 0.025^(1/n).
        let none = exact_interval(0, 10, 0.95).unwrap();
        assert_eq!(none.low, 0.0);
        assert!((none.high - (1.0 - 0.025_f64.powf(0.1))).abs() < SIX_DIGITS);
        let all = exact_interval(10, 10, 0.95).unwrap();
        assert_eq!(all.high, 1.0);
        assert!((all.low - 0.025_f64.powf(0.1)).abs() < SIX_DIGITS);
        // R: binom.test(8, 10)$conf.int
        let most = exact_interval(8, 10, 0.95).unwrap();
        assert!((most.low - 0.443_904_5).abs() < SIX_DIGITS, "{most:?}");
        assert!((most.high - 0.974_789_3).abs() < SIX_DIGITS, "{most:?}");
        assert_eq!(exact_interval(0, 0, 0.95), None);
    }

    #[test]
    fn a_million_forecasts_have_a_narrow_interval() {
        let interval = exact_interval(950_000, 1_000_000, 0.95).unwrap();
        assert!(interval.contains(0.95) && interval.high - interval.low < 1e-3, "{interval:?}");
    }

    #[test]
    fn totals_run_over_the_months() {
        let month = |start: &str, inside, errors| Month {
            start: start.parse().unwrap(),
            scored: 3,
            counted: 2,
            with_interval: 2,
            inside,
            levels: 1.9,
            errors,
            squared_errors: errors * errors,
            ..Month::default()
        };
        let months = [month("2026-01-01", 2, 0.4), month("2026-03-01", 1, -0.2)];
        let total = cumulative(&months);
        assert_eq!((total[0].scored, total[1].scored, total[1].start), (3, 6, months[1].start));
        assert_eq!((total[1].share_inside(), total[1].nominal()), (Some(0.75), Some(0.95)));
        let (mean, rms) = total[1].error().unwrap();
        assert!((mean - 0.05).abs() < 1e-15 && (rms - 0.05_f64.sqrt()).abs() < 1e-15);
        assert_eq!((Month::default().error(), Month::default().share_inside()), (None, None));
    }

    proptest! {
        #[test]
        fn an_exact_interval_holds_the_share(count in 1..5000i64, share in 0.0..=1.0f64) {
            let inside = (count as f64 * share) as i64;
            let interval = exact_interval(inside, count, 0.95).unwrap();
            prop_assert!(interval.contains(inside as f64 / count as f64));
            prop_assert!(0.0 <= interval.low && interval.high <= 1.0);
        }
    }

    #[test]
    fn one_miss_is_chance_and_two_of_two_are_not() {
        let record = |scored, inside| ForecastRecord { scored, inside, nominal: 0.95 };
        for chance in [(0, 0), (1, 0), (1, 1), (10, 9), (20, 17), (1000, 945)] {
            assert!(!record(chance.0, chance.1).misses(), "{chance:?}");
        }
        for missed in [(2, 0), (10, 6), (20, 14), (1000, 920)] {
            assert!(record(missed.0, missed.1).misses(), "{missed:?}");
        }
        // 1 - 0.025^(1/10).
        assert!((record(10, 0).most_inside() - 0.308_497).abs() < 1e-6);
        assert_eq!(ForecastRecord::default().most_inside(), 1.0);
    }
}
