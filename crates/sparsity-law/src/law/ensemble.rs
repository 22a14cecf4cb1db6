//! What the runs leave open: the laws of resampled runs, and the intervals that follow from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::coefficients::{CoefficientName, CoefficientValues, Coefficients};
use super::form_law::FormLaw;
use super::gain_curve::GainCurve;
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
///
/// The coefficients are kept by columns, 64 bytes a law, and are shared by all clones.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble {
    columns: Arc<MemberColumns>,
    /// The gain curve of each member, in their order; empty where the members have none.
    curves: Arc<[Option<GainCurve>]>,
    /// The laws of the members, of a form that their coefficients do not hold; empty of other forms.
    forms: Arc<[FormLaw]>,
    level: f64,
    tail: f64,
}

/// The coefficients and the noise of the members of an ensemble, each as a column in the order of the members.
#[derive(Debug, PartialEq)]
struct MemberColumns {
    /// In the order of [`CoefficientName::ALL`].
    coefficients: [Vec<f64>; 7],
    /// A residual that a new run might have, in the unit of the fit's residual.
    noise: Vec<f64>,
}

impl MemberColumns {
    fn values(&self, place: usize) -> CoefficientValues {
        CoefficientValues::from_array(self.coefficients.each_ref().map(|column| column[place]))
    }
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
    /// Memory that one member takes, apart from a gain curve or a form of its own.
    pub const BYTES_OF_MEMBER: usize = size_of::<CoefficientValues>() + size_of::<f64>();

    /// An ensemble of nominal coverage `level` whose intervals leave out the share `tail` of the
    /// members at each end; `None` without members.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Member>, level: f64, tail: f64) -> Option<Self> {
        let members = members.into_iter();
        let column = || Vec::with_capacity(members.size_hint().0);
        let mut columns: [Vec<f64>; 7] = std::array::from_fn(|_| column());
        let (mut noises, mut curves) = (column(), Vec::new());
        for Member { coefficients, noise } in members {
            for (column, value) in columns.iter_mut().zip(coefficients.values().to_array()) {
                column.push(value);
            }
            noises.push(noise);
            curves.push(coefficients.gain_curve().copied());
        }
        if curves.iter().all(Option::is_none) {
            curves.clear();
        }
        let columns = MemberColumns { coefficients: columns, noise: noises };
        Self::of_columns(columns, curves, level, tail)
    }

    /// The ensemble of members whose coefficients are given by columns of one length, in the order of
    /// [`CoefficientName::ALL`], without gain curves; `None` without members.
    ///
    /// # Errors
    /// What is wrong, where columns have different lengths or coefficients are out of range
    /// ([`Coefficients::reduced`]).
    pub fn from_columns(
        coefficients: [Vec<f64>; 7],
        noise: Vec<f64>,
        level: f64,
        tail: f64,
    ) -> Result<Option<Self>, String> {
        if coefficients.iter().any(|column| column.len() != noise.len()) {
            return Err("columns of different lengths".to_owned());
        }
        let columns = MemberColumns { coefficients, noise };
        for place in 0..columns.noise.len() {
            Coefficients::try_from(columns.values(place))?;
        }
        Ok(Self::of_columns(columns, Vec::new(), level, tail))
    }

    fn of_columns(
        columns: MemberColumns,
        curves: Vec<Option<GainCurve>>,
        level: f64,
        tail: f64,
    ) -> Option<Self> {
        (!columns.noise.is_empty()).then(|| Self {
            columns: Arc::new(columns),
            curves: curves.into(),
            forms: Arc::default(),
            level,
            tail,
        })
    }

    /// The laws of resamples by a form with coefficients of its own, each with a residual that a new run might have;
    /// the members hold what of them the seven coefficients do. `None` without any.
    #[must_use]
    pub fn of_forms(laws: Vec<(FormLaw, f64)>, level: f64, tail: f64) -> Option<Self> {
        let member = |(law, noise): &(FormLaw, f64)| Member {
            coefficients: law.coefficients(),
            noise: *noise,
        };
        let ensemble = Self::new(laws.iter().map(member), level, tail)?;
        Some(Self { forms: laws.into_iter().map(|(law, _)| law).collect(), ..ensemble })
    }

    /// Of a form with coefficients of its own the law of each member, in their order; empty of other forms.
    #[must_use]
    pub fn forms(&self) -> &[FormLaw] {
        &self.forms
    }

    /// Number of members, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.columns.noise.len()
    }

    /// The member at a place below [`Self::count`].
    ///
    /// # Panics
    /// Where there is no such place.
    #[must_use]
    pub fn member(&self, place: usize) -> Member {
        let curve = self.curves.get(place).copied().flatten();
        let coefficients = Coefficients::of_parts(self.columns.values(place), curve);
        Member { coefficients, noise: self.columns.noise[place] }
    }

    /// The members in their order.
    #[must_use]
    pub fn members(&self) -> impl ExactSizeIterator<Item = Member> + Clone {
        (0..self.count()).map(|place| self.member(place))
    }

    /// One coefficient of all members, in their order.
    #[must_use]
    pub fn column(&self, name: CoefficientName) -> &[f64] {
        &self.columns.coefficients[name as usize]
    }

    /// The noise of all members, in their order.
    #[must_use]
    pub fn noise(&self) -> &[f64] {
        &self.columns.noise
    }

    /// The coefficients of all members by columns, in the order of [`CoefficientName::ALL`].
    pub(super) fn columns(&self) -> &[Vec<f64>; 7] {
        &self.columns.coefficients
    }

    /// Whether members have gain curves, which no column holds.
    pub(super) fn has_curves(&self) -> bool {
        !self.curves.is_empty()
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
    /// let ensemble = Ensemble::new(members, 0.95, 0.025).expect("there are members");
    /// let (x, n, d) = (Density::new(0.25)?, NonzeroParams::new(1e8)?, Data::new(3e10)?);
    /// let interval = ensemble.interval(|member| member.coefficients.loss(x, n, d));
    /// assert!(interval.contains(T5_C4.coefficients().loss(x, n, d)));
    /// assert_eq!(interval.level, 0.95);
    /// # Ok::<(), DomainError>(())
    /// ```
    #[must_use]
    pub fn interval(&self, answer: impl Fn(&Member) -> f64) -> Interval {
        let answers = self.members().map(|member| {
            step();
            answer(&member)
        });
        self.interval_of(answers.collect())
    }

    /// The interval of each coefficient that the laws have.
    #[must_use]
    pub fn coefficient_intervals(&self) -> BTreeMap<CoefficientName, Interval> {
        CoefficientName::ALL
            .into_iter()
            // All members are of one form: there is at least one.
            .filter(|name| self.member(0).coefficients.has(*name))
            .map(|name| (name, self.interval_of(self.column(name).to_vec())))
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
    use crate::law::{BorrowedGain, T5_C4};

    fn ensemble(tail: f64) -> Ensemble {
        let member = |noise| Member { coefficients: *T5_C4.coefficients(), noise };
        Ensemble::new((0..101).map(|i| member(f64::from((i * 37) % 101))), 0.9, tail).unwrap()
    }

    #[test]
    fn an_interval_leaves_out_a_tail_at_each_end() {
        let interval = ensemble(0.05).interval(|member| member.noise);
        assert_eq!(interval, Interval { level: 0.9, low: 5.0, high: 95.0 });
        let all = ensemble(0.0).interval(|member| member.noise);
        assert_eq!((all.low, all.high), (0.0, 100.0));
    }

    #[test]
    fn columns_hold_the_members() {
        let dense = CoefficientValues { a_s: 0.0, ..T5_C4.coefficients().values() };
        let curve = GainCurve::Borrowed(BorrowedGain::of(T5_C4.coefficients()).unwrap());
        let own = *T5_C4.coefficients();
        let lent = Coefficients::reduced(dense).unwrap().with_gain(curve).unwrap();
        let members = [own, lent].map(|coefficients| Member { coefficients, noise: 0.5 });
        let ensemble = Ensemble::new(members, 0.9, 0.05).unwrap();
        assert!(ensemble.has_curves() && ensemble.members().eq(members));

        let plain = Ensemble::new([members[0]; 3], 0.9, 0.05).unwrap();
        assert!(!plain.has_curves());
        let columns = || CoefficientName::ALL.map(|name| plain.column(name).to_vec());
        let again = Ensemble::from_columns(columns(), plain.noise().to_vec(), 0.9, 0.05);
        assert_eq!(again, Ok(Some(plain.clone())));
        assert_eq!(Ensemble::from_columns(Default::default(), Vec::new(), 0.9, 0.05), Ok(None));
        let short = Ensemble::from_columns(columns(), vec![0.5; 2], 0.9, 0.05).unwrap_err();
        assert_eq!(short, "columns of different lengths");
        let mut bad = columns();
        bad[CoefficientName::BD as usize][1] = -1.0;
        let bad = Ensemble::from_columns(bad, vec![0.5; 3], 0.9, 0.05).unwrap_err();
        assert_eq!(bad, "b_d must be between 1e-300 and 1e300, not -1");
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
        assert!(Ensemble::new([], 0.9, 0.05).is_none());
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
