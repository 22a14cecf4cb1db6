//! What the runs leave open: the laws of resampled runs, and the intervals that follow from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::coefficients::{CoefficientName, Coefficients};
use super::form_law::FormLaw;
use crate::pace::step;

/// A law that other runs of the same kind might have given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// Its coefficients.
    pub coefficients: Coefficients,
    /// A residual that a new run might have, in the unit of the fit's residual.
    pub noise: f64,
}

/// The laws of bootstrap resamples, from which every derived answer gets its interval: the answer
/// is computed from each, and the interval holds the middle of what comes out.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble {
    members: Vec<Member>,
    /// The laws of the members, of a form that their coefficients do not hold; empty of other forms.
    forms: Vec<FormLaw>,
    level: f64,
    tail: f64,
}

/// A closed interval with its nominal coverage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Nominal coverage.
    pub level: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// An interval whose ends are finite.
    pub(super) fn cut(level: f64, low: f64, high: f64) -> Self {
        let cut = |value: f64| value.clamp(-LARGEST_END, LARGEST_END);
        Self { level, low: cut(low), high: cut(high) }
    }

    /// The interval of a value that something else moves too, apart from what made this interval: from `below`
    /// it to `above` it. The ways to each end add up as those of independent errors do.
    #[must_use]
    pub fn widened(&self, value: f64, below: f64, above: f64) -> Self {
        let low = value - (value - self.low).max(0.0).hypot(below.min(0.0));
        let high = value + (self.high - value).max(0.0).hypot(above.max(0.0));
        Self::cut(self.level, low.min(self.low), high.max(self.high))
    }

    /// Whether the two have no point in common.
    #[must_use]
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.low > other.high || self.high < other.low
    }

    /// Whether it holds the value.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Ends beyond this are cut: a ratio that overflows says no more than that it is unbounded.
const LARGEST_END: f64 = 1e300;

impl Ensemble {
    /// An ensemble of nominal coverage `level` whose intervals leave out the share `tail` of the
    /// members at each end; `None` without members.
    #[must_use]
    pub fn new(members: Vec<Member>, level: f64, tail: f64) -> Option<Self> {
        (!members.is_empty()).then_some(Self { members, forms: Vec::new(), level, tail })
    }

    /// The laws of resamples by a form with coefficients of its own, each with a residual that a new run might have;
    /// the members hold what of them the seven coefficients do. `None` without any.
    #[must_use]
    pub fn of_forms(laws: Vec<(FormLaw, f64)>, level: f64, tail: f64) -> Option<Self> {
        let member = |(law, noise): &(FormLaw, f64)| Member {
            coefficients: law.coefficients(),
            noise: *noise,
        };
        let members = laws.iter().map(member).collect();
        let forms = laws.into_iter().map(|(law, _)| law).collect();
        Some(Self { forms, ..Self::new(members, level, tail)? })
    }

    /// Of a form with coefficients of its own the law of each member, in their order; empty of other forms.
    #[must_use]
    pub fn forms(&self) -> &[FormLaw] {
        &self.forms
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Nominal coverage of its intervals.
    #[must_use]
    pub const fn level(&self) -> f64 {
        self.level
    }

    /// Share of the members beyond each end.
    #[must_use]
    pub const fn tail(&self) -> f64 {
        self.tail
    }

    /// The interval of a derived answer. A member without one (not a number) is left out.
    ///
    /// ```
    /// use sparsity_law::law::*;
    ///
    /// // Three laws that other runs might have given; a fit makes a thousand.
    /// let truth = T5_C4.coefficients().values();
    /// let members = [0.9, 1.0, 1.1].map(|factor| Member {
    ///     coefficients: Coefficients::new(CoefficientValues { a_s: truth.a_s * factor, ..truth })
    ///         .expect("a positive coefficient"),
    ///     noise: 0.0,
    /// });
    /// let ensemble = Ensemble::new(members.to_vec(), 0.95, 0.025).expect("there are members");
    /// let (x, n, d) = (Density::new(0.25)?, NonzeroParams::new(1e8)?, Data::new(3e10)?);
    /// let interval = ensemble.interval(|member| member.coefficients.loss(x, n, d));
    /// assert!(interval.contains(T5_C4.coefficients().loss(x, n, d)));
    /// assert_eq!(interval.level, 0.95);
    /// # Ok::<(), DomainError>(())
    /// ```
    #[must_use]
    pub fn interval(&self, answer: impl Fn(&Member) -> f64) -> Interval {
        let answers = self.members.iter().map(|member| {
            step();
            answer(member)
        });
        self.interval_of(answers.collect())
    }

    /// The interval of each coefficient that the laws have.
    #[must_use]
    pub fn coefficient_intervals(&self) -> BTreeMap<CoefficientName, Interval> {
        CoefficientName::ALL
            .into_iter()
            // All members are of one form: there is at least one.
            .filter(|name| self.members[0].coefficients.has(*name))
            .map(|name| {
                let value =
                    |member: &Member| member.coefficients.values().to_array()[name as usize];
                (name, self.interval(value))
            })
            .collect()
    }

    /// The interval of answers that were computed from the members one by one.
    #[must_use]
    pub fn interval_of(&self, mut values: Vec<f64>) -> Interval {
        values.retain(|value| !value.is_nan());
        let low = quantile(&mut values, self.tail);
        let high = quantile(&mut values, 1.0 - self.tail);
        Interval::cut(self.level, low, high)
    }
}

/// Quantile of unordered values, linear between order statistics (type 7 of Hyndman and Fan); 0 of
/// none at all.
#[must_use]
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let place = share.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    // Between 0 and the last index.
    let below = place.floor() as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    let weight = place - below as f64;
    if weight == 0.0 || low == high { low } else { low * (1.0 - weight) + high * weight }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::T5_C4;

    fn ensemble(tail: f64) -> Ensemble {
        let member = |noise| Member { coefficients: *T5_C4.coefficients(), noise };
        Ensemble::new((0..101).map(|i| member(f64::from((i * 37) % 101))).collect(), 0.9, tail)
            .unwrap()
    }

    #[test]
    fn an_interval_leaves_out_a_tail_at_each_end() {
        let interval = ensemble(0.05).interval(|member| member.noise);
        assert_eq!(interval, Interval { level: 0.9, low: 5.0, high: 95.0 });
        let all = ensemble(0.0).interval(|member| member.noise);
        assert_eq!((all.low, all.high), (0.0, 100.0));
    }

    #[test]
    fn an_interval_is_widened_as_independent_errors_add_up() {
        let interval = Interval { level: 0.9, low: -3.0, high: 5.0 };
        let wider = interval.widened(0.0, -4.0, 12.0);
        assert_eq!(wider, Interval { level: 0.9, low: -5.0, high: 13.0 });
        assert_eq!(interval.widened(1.0, 0.0, 0.0), interval);
        // What moves to one side only widens that.
        assert_eq!(interval.widened(0.0, 0.0, 12.0), Interval { high: 13.0, ..interval });
        // A value outside leaves none of the interval out.
        let outside = interval.widened(7.0, -1.0, 2.0);
        assert!(outside.low <= interval.low && outside.high == 9.0, "{outside:?}");
    }

    #[test]
    fn ends_are_finite_whatever_the_members_say() {
        let odd = ensemble(0.05).interval(|member| match member.noise as u32 {
            0..40 => f64::NAN,
            40..60 => f64::NEG_INFINITY,
            _ => f64::INFINITY,
        });
        assert_eq!((odd.low, odd.high), (-1e300, 1e300));
        assert!(Ensemble::new(Vec::new(), 0.9, 0.05).is_none());
    }

    #[test]
    fn quantiles_are_linear_between_values() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&mut values, 0.5), 2.5);
        assert_eq!(quantile(&mut values, 0.0), 1.0);
        assert_eq!(quantile(&mut values, 1.0), 4.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
