//! The laws of resampled runs, prepared for intervals that are asked thousands of times a second.
//!
//! The logarithms that depend on a law alone are computed once, and kept by columns so that a loop over the laws is
//! vector instructions. Every answer is the same function of the laws as in [`Ensemble::interval`],
//! and the tests hold the one to the other.

use pulp::{Arch, Simd, WithSimd};

use super::branchless::{exp, ln};
use super::coefficients::Coefficients;
use super::cost::TrainingCost;
use super::ensemble::{Ensemble, Interval};
use super::optimum::root;
use super::order::{Place, Sample, select};
use super::quantity::{Compute, Data, Density, NonzeroParams};

/// An ensemble with the logarithms that answers need.
///
/// Beside the columns of the ensemble, which it shares, it keeps only what costs a logarithm or an exponential to work
/// out: a sum, a product or a quotient of coefficients is computed again for each question.
#[derive(Debug, Clone)]
pub struct PreparedEnsemble {
    ensemble: Ensemble,
    ln_a_d: Vec<f64>,
    /// `ln b_D + b_D ln a_D - ln a_S - ln b_S`, see [`ConditionColumns`].
    level: Vec<f64>,
    /// `ln D_chin` at one parameter.
    chinchilla: Vec<f64>,
    pub(super) new_run: NewRun,
    /// The widest vectors of this processor.
    pub(super) arch: Arch,
}

/// What a new run measures by each law: `factor loss + shift`.
#[derive(Debug, Clone)]
pub(super) struct NewRun {
    /// Empty where all are 1.
    factor: Vec<f64>,
    /// Empty where all are 0.
    shift: Vec<f64>,
}

impl NewRun {
    /// Of the noise of each law, by `measured` as [`PreparedEnsemble::new`] has it.
    fn new(noise: &[f64], measured: impl Fn(f64, f64) -> f64) -> Self {
        let column = |of: &dyn Fn(f64) -> f64, unless: f64| -> Vec<f64> {
            let needed = noise.iter().any(|noise| of(*noise) != unless);
            let each = noise.iter().filter(|_| needed).map(|noise| of(*noise));
            each.collect()
        };
        Self {
            factor: column(&|noise| measured(1.0, noise) - measured(0.0, noise), 1.0),
            shift: column(&|noise| measured(0.0, noise), 0.0),
        }
    }

    /// The factor of each law; `None` where all are 1.
    pub fn factors(&self) -> Option<&[f64]> {
        Some(&*self.factor).filter(|factor| !factor.is_empty())
    }

    /// Makes the losses of all laws what a new run measures, apart from noise that carries it below 0.
    pub fn apply(&self, losses: &mut [f64]) {
        for (loss, factor) in losses.iter_mut().zip(&self.factor) {
            *loss *= factor;
        }
        for (loss, shift) in losses.iter_mut().zip(&self.shift) {
            *loss += shift;
        }
    }

    /// The same for the losses of some laws.
    pub fn apply_to(&self, losses: &mut [f64], laws: &[u16]) {
        let each = |losses: &mut [f64], column: &[f64], change: fn(&mut f64, f64)| {
            // An empty column changes nothing.
            for (loss, law) in losses.iter_mut().zip(laws) {
                if let Some(by) = column.get(usize::from(*law)) {
                    change(loss, *by);
                }
            }
        };
        each(losses, &self.factor, |loss, factor| *loss *= factor);
        each(losses, &self.shift, |loss, shift| *loss += shift);
    }
}

/// Intervals of what follows from an optimum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimumIntervals {
    /// Of the loss at the optimum.
    pub loss: Interval,
    /// Of the loss of the dense alternative.
    pub dense_loss: Interval,
    /// Of the gain at the optimum.
    pub gain: Interval,
}

/// How far a sparsity may lie from that of the direct computation.
const PRECISION: f64 = 1e-9;
/// A last step of Newton's method that is so short has found the root.
const SETTLED: f64 = 0.01 * PRECISION;
/// Newton steps within which a root is found from a start nearby; past that it is bracketed.
const STEPS: usize = 8;
/// Steps that are taken for many roots at once: the start of each is one step from there already. One that has
/// not settled then is found on its own.
const VECTOR_STEPS: usize = 4;

impl PreparedEnsemble {
    /// Memory that one law takes beside its ensemble: three columns, and one or two of what a new run measures.
    pub const BYTES_OF_LAW: usize = 5 * size_of::<f64>();

    /// Prepares an ensemble. `measured` is what a new run would show, a linear function of the
    /// predicted loss and a member's noise.
    #[must_use]
    pub fn new(ensemble: &Ensemble, measured: impl Fn(f64, f64) -> f64) -> Self {
        let laws = || ensemble.members().map(|member| member.coefficients);
        let level = |law: Coefficients| {
            let v = law.values();
            v.b_d.ln() + v.b_d * v.a_d.ln() - v.a_s.ln() - v.b_s.ln()
        };
        Self {
            ln_a_d: laws().map(|law| law.values().a_d.ln()).collect(),
            level: laws().map(level).collect(),
            chinchilla: laws().map(|law| law.ln_chinchilla_data(NonzeroParams::ONE)).collect(),
            new_run: NewRun::new(ensemble.noise(), measured),
            ensemble: ensemble.clone(),
            arch: Arch::new(),
        }
    }

    /// Nominal coverage of the intervals.
    #[must_use]
    pub const fn level(&self) -> f64 {
        self.ensemble.level()
    }

    /// Share of the laws beyond each end of an interval.
    pub(super) const fn tail(&self) -> f64 {
        self.ensemble.tail()
    }

    /// The laws that were prepared.
    #[must_use]
    pub const fn ensemble(&self) -> &Ensemble {
        &self.ensemble
    }

    /// How many laws there are.
    pub(super) fn count(&self) -> usize {
        self.ln_a_d.len()
    }

    /// What their losses need.
    pub(super) fn columns(&self) -> LossColumns<'_> {
        let [a_s, b_s, c_s, b_n, _, b_d, c] = self.ensemble.columns();
        LossColumns { a_s, b_s, c_s, b_n, ln_a_d: &self.ln_a_d, b_d, c }
    }

    /// What their optimality conditions need.
    pub(super) fn conditions(&self) -> ConditionColumns<'_> {
        let [_, b_s, _, b_n, _, b_d, _] = self.ensemble.columns();
        ConditionColumns { level: &self.level, b_s, b_n, b_d }
    }

    /// `first + second ln N` of a law is its `ln D_chin`.
    pub(super) fn chinchilla(&self, law: usize) -> [f64; 2] {
        let [_, _, _, b_n, _, b_d, _] = self.ensemble.columns();
        [self.chinchilla[law], b_n[law] / b_d[law]]
    }

    /// The loss by each law, in the order of the members.
    #[must_use]
    pub fn losses(&self, density: Density, nonzero_params: NonzeroParams, data: Data) -> Vec<f64> {
        if self.ensemble.has_curves() {
            let laws = self.ensemble.members();
            return laws.map(|law| law.coefficients.loss(density, nonzero_params, data)).collect();
        }
        let mut losses = vec![0.0; self.count()];
        let at = Point::new(density, nonzero_params, data);
        self.arch.dispatch(LossLoop { laws: self.columns(), at, losses: &mut losses });
        losses
    }

    /// What a new run with each law's noise would measure, at the losses of [`Self::losses`].
    #[must_use]
    pub fn new_runs(&self, losses: &[f64]) -> Vec<f64> {
        let mut runs = losses.to_vec();
        self.new_run.apply(&mut runs);
        // No run has a loss below 0, however large the noise.
        runs.iter_mut().for_each(|run| *run = run.max(0.0));
        runs
    }

    /// The interval of answers that were computed from the members one by one, none of them NaN.
    #[must_use]
    pub fn interval_of(&self, mut values: Vec<f64>) -> Interval {
        self.interval_by(&mut values, |value| value)
    }

    /// The interval of a rising function of the values.
    fn interval_by(&self, values: &mut [f64], map: impl Fn(f64) -> f64) -> Interval {
        let sample = Sample::of(values);
        let [low, high] = [self.tail(), 1.0 - self.tail()].map(|share| {
            let place = Place::new(share, values.len());
            place.between(sample.order_statistics(values, place.below).map(&map))
        });
        Interval::cut(self.level(), low, high)
    }

    /// The intervals of the loss and [`Coefficients::gain`] at `density` and `data`, and of the loss of
    /// a dense model with `dense_data`, which share most of their terms.
    #[must_use]
    pub fn optimum_intervals(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
        dense_data: Data,
    ) -> OptimumIntervals {
        if self.ensemble.has_curves() {
            let dense = self.losses(Density::DENSE, nonzero_params, dense_data);
            return OptimumIntervals {
                loss: self.interval_of(self.losses(density, nonzero_params, data)),
                dense_loss: self.interval_of(dense),
                gain: self.gain_interval(density),
            };
        }
        let n = self.count();
        let (mut losses, mut dense, mut ln_gains) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        self.arch.dispatch(OptimumLoop {
            laws: self.columns(),
            at: Point::new(density, nonzero_params, data),
            ln_dense_d: dense_data.get().ln(),
            losses: &mut losses,
            dense: &mut dense,
            ln_gains: &mut ln_gains,
        });
        OptimumIntervals {
            loss: self.interval_of(losses),
            dense_loss: self.interval_of(dense),
            gain: match density == Density::DENSE {
                true => self.gain_interval(density),
                false => self.interval_by(&mut ln_gains, f64::exp),
            },
        }
    }

    /// The interval of [`Coefficients::gain`].
    #[must_use]
    pub fn gain_interval(&self, density: Density) -> Interval {
        if density == Density::DENSE {
            return Interval { level: self.level(), low: 1.0, high: 1.0 };
        }
        if self.ensemble.has_curves() {
            let gains = self.ensemble.members().map(|law| law.coefficients.gain(density));
            return self.interval_of(gains.collect());
        }
        let laws = self.columns();
        let mut ln_gains: Vec<f64> = (0..self.count())
            .map(|law| ln_gain(laws.capacity(law, density.get().ln()), laws.of_gain(law)))
            .collect();
        self.interval_by(&mut ln_gains, f64::exp)
    }

    /// The interval of [`super::chinchilla_ratio`].
    #[must_use]
    pub fn chinchilla_interval(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Interval {
        let ln_n = nonzero_params.get().ln();
        let ln_data = compute.get().ln() - cost.flops_per_param().get().ln() - ln_n;
        let ln_ratio = |law: usize| {
            let [at_one, by_size] = self.chinchilla(law);
            ln_data - (at_one + by_size * ln_n)
        };
        let mut ln_ratios: Vec<f64> = (0..self.count()).map(ln_ratio).collect();
        self.interval_by(&mut ln_ratios, f64::exp)
    }

    /// The interval of the optimal sparsity, to within `1e-9`; `near` is the optimum of the law of all
    /// runs. `None` for a cost whose condition may have several roots, or none.
    #[must_use]
    pub fn sparsity_interval(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        near: Density,
    ) -> Option<Interval> {
        let plain = !self.ensemble.has_curves() && cost.has_optimum();
        let m = cost.saved_share().ok().filter(|_| plain)?;
        let ln_n = nonzero_params.get().ln();
        let ln_c = compute.get().ln() - cost.flops_per_param().get().ln();
        let ln_kept = (1.0 - m).ln();
        let n = self.count();
        let (mut at_zero, mut roots) = (vec![0.0; n], vec![0.0; n]);
        self.arch.dispatch(EstimateLoop {
            laws: self.conditions(),
            at: [ln_kept, ln_n, ln_c],
            m,
            start: -near.get().ln(),
            at_zero: &mut at_zero,
            estimates: &mut roots,
        });
        let conditions =
            Conditions { laws: self.conditions(), at_zero: &at_zero, m, arch: self.arch };
        let sample = Sample::of(&roots);
        let [low, high] = [self.tail(), 1.0 - self.tail()].map(|share| {
            let place = Place::new(share, roots.len());
            let found = if m == 0.0 {
                sample.order_statistics(&mut roots, place.below)
            } else {
                conditions
                    .order_statistics(&sample, &roots, place.below)
                    .unwrap_or_else(|| select(&mut conditions.roots(), place.below))
            };
            // S rises with y, so order statistics of the one are those of the other.
            place.between(found.map(|y| Density::clamped((-y).exp()).sparsity().get()))
        });
        Some(Interval { level: self.level(), low, high })
    }
}

/// Where the laws are asked, by logarithms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub ln_x: f64,
    pub ln_n: f64,
    pub ln_d: f64,
}

impl Point {
    fn new(density: Density, nonzero_params: NonzeroParams, data: Data) -> Self {
        Self { ln_x: density.get().ln(), ln_n: nonzero_params.get().ln(), ln_d: data.get().ln() }
    }
}

/// What the loss of some laws needs, by columns of one length.
#[derive(Debug, Clone, Copy)]
pub(super) struct LossColumns<'a> {
    pub a_s: &'a [f64],
    pub b_s: &'a [f64],
    pub c_s: &'a [f64],
    pub b_n: &'a [f64],
    pub ln_a_d: &'a [f64],
    pub b_d: &'a [f64],
    pub c: &'a [f64],
}

impl<'a> LossColumns<'a> {
    /// Those of laws that [`Self::gathered`] has put together.
    pub fn of(gathered: &'a [f64], laws: usize) -> Self {
        let column = |place: usize| &gathered[place * laws..(place + 1) * laws];
        let [a_s, b_s, c_s, b_n, ln_a_d, b_d, c] = std::array::from_fn(column);
        Self { a_s, b_s, c_s, b_n, ln_a_d, b_d, c }
    }

    /// The capacity coefficient of one law where the density has this logarithm.
    #[inline(always)]
    pub fn capacity(&self, law: usize, ln_x: f64) -> f64 {
        self.a_s[law] * exp(self.b_s[law] * ln_x) + self.c_s[law]
    }

    /// `1 / (a_S + c_S)` and `-1 / b_N` of one law, for [`ln_gain`].
    #[inline(always)]
    pub fn of_gain(&self, law: usize) -> [f64; 2] {
        [(self.a_s[law] + self.c_s[law]).recip(), -self.b_n[law].recip()]
    }

    /// The columns of some laws, one after the other.
    pub fn gathered(&self, laws: &[u16]) -> Vec<f64> {
        let Self { a_s, b_s, c_s, b_n, ln_a_d, b_d, c } = *self;
        let mut gathered = Vec::with_capacity(7 * laws.len());
        for column in [a_s, b_s, c_s, b_n, ln_a_d, b_d, c] {
            gathered.extend(laws.iter().map(|law| column[usize::from(*law)]));
        }
        gathered
    }
}

/// The logarithm of the gain of a law with this capacity coefficient, see [`LossColumns::of_gain`].
#[inline(always)]
pub(super) fn ln_gain(capacity: f64, [per_dense, exponent]: [f64; 2]) -> f64 {
    exponent * ln(capacity * per_dense)
}

/// The loop of [`PreparedEnsemble::losses`]. A struct and no closure, as a closure is not compiled for
/// the wider vectors unless the compiler happens to inline it.
pub(super) struct LossLoop<'a> {
    pub laws: LossColumns<'a>,
    pub at: Point,
    pub losses: &'a mut [f64],
}

impl WithSimd for LossLoop<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { laws, at: Point { ln_x, ln_n, ln_d }, losses } = self;
        let n = losses.len();
        // Slices of one length: no bounds are checked in the loop.
        let (a_s, b_s, c_s) = (&laws.a_s[..n], &laws.b_s[..n], &laws.c_s[..n]);
        let (b_n, ln_a_d, b_d) = (&laws.b_n[..n], &laws.ln_a_d[..n], &laws.b_d[..n]);
        let c = &laws.c[..n];
        for i in 0..n {
            let capacity = a_s[i] * exp(b_s[i] * ln_x) + c_s[i];
            losses[i] = capacity * exp(-b_n[i] * ln_n) + exp(b_d[i] * (ln_a_d[i] - ln_d)) + c[i];
        }
    }
}

/// The loop of [`PreparedEnsemble::optimum_intervals`].
struct OptimumLoop<'a> {
    laws: LossColumns<'a>,
    at: Point,
    ln_dense_d: f64,
    losses: &'a mut [f64],
    dense: &'a mut [f64],
    ln_gains: &'a mut [f64],
}

impl WithSimd for OptimumLoop<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { laws, at: Point { ln_x, ln_n, ln_d }, ln_dense_d, losses, dense, ln_gains } =
            self;
        let n = losses.len();
        let (dense, ln_gains) = (&mut dense[..n], &mut ln_gains[..n]);
        let (a_s, b_s, c_s) = (&laws.a_s[..n], &laws.b_s[..n], &laws.c_s[..n]);
        let (b_n, ln_a_d, b_d) = (&laws.b_n[..n], &laws.ln_a_d[..n], &laws.b_d[..n]);
        let c = &laws.c[..n];
        for i in 0..n {
            let capacity = a_s[i] * exp(b_s[i] * ln_x) + c_s[i];
            let size = exp(-b_n[i] * ln_n);
            losses[i] = capacity * size + exp(b_d[i] * (ln_a_d[i] - ln_d)) + c[i];
            let dense_data = exp(b_d[i] * (ln_a_d[i] - ln_dense_d));
            dense[i] = (a_s[i] + c_s[i]) * size + dense_data + c[i];
            ln_gains[i] = capacity;
        }
        for i in 0..n {
            let of_gain = [(a_s[i] + c_s[i]).recip(), -b_n[i].recip()];
            ln_gains[i] = ln_gain(ln_gains[i], of_gain);
        }
    }
}

/// What the optimality conditions of some laws need, by columns of one length. In `y = -ln(1 - S)` (see
/// [`super::optimal_density`]):
///
/// ```text
/// F(y) = F0 + slope y + bend ln(1 - m (1 - e^-y)),   slope = b_S + b_D,  bend = b_D - 1
/// F0   = ln(1 - m) + level + (b_D + b_N) ln N - b_D ln(C / k)
/// level = ln b_D + b_D ln a_D - ln a_S - ln b_S
/// ```
#[derive(Debug, Clone, Copy)]
pub(super) struct ConditionColumns<'a> {
    pub level: &'a [f64],
    pub b_s: &'a [f64],
    pub b_n: &'a [f64],
    pub b_d: &'a [f64],
}

impl<'a> ConditionColumns<'a> {
    /// Those of laws that [`Self::gathered`] has put together.
    pub fn of(gathered: &'a [f64], laws: usize) -> Self {
        let column = |place: usize| &gathered[place * laws..(place + 1) * laws];
        let [level, b_s, b_n, b_d] = std::array::from_fn(column);
        Self { level, b_s, b_n, b_d }
    }

    /// The columns of some laws, one after the other.
    pub fn gathered(&self, laws: impl ExactSizeIterator<Item = usize> + Clone) -> Vec<f64> {
        let Self { level, b_s, b_n, b_d } = *self;
        let mut gathered = Vec::with_capacity(4 * laws.len());
        for column in [level, b_s, b_n, b_d] {
            gathered.extend(laws.clone().map(|law| column[law]));
        }
        gathered
    }

    /// Slope and bend of one law.
    #[inline(always)]
    pub fn line(&self, law: usize) -> [f64; 2] {
        line(self.b_s[law], self.b_d[law])
    }

    /// `F(0)` of one law, where `ln(1 - m)`, `ln N` and `ln(C / k)` are these.
    #[inline(always)]
    pub fn at_zero(&self, law: usize, [ln_kept, ln_n, ln_c]: [f64; 3]) -> f64 {
        let by_size = self.b_d[law] + self.b_n[law];
        ln_kept + self.level[law] + by_size * ln_n - self.b_d[law] * ln_c
    }
}

/// Slope and bend of a law's optimality condition.
#[inline(always)]
fn line(b_s: f64, b_d: f64) -> [f64; 2] {
    [b_s + b_d, b_d - 1.0]
}

/// `F(0)` of each law, and its root by one step of Newton's method from `start`: the root itself where `m`
/// is 0.
pub(super) struct EstimateLoop<'a> {
    pub laws: ConditionColumns<'a>,
    /// `ln(1 - m)`, `ln N` and `ln(C / k)`.
    pub at: [f64; 3],
    pub m: f64,
    pub start: f64,
    pub at_zero: &'a mut [f64],
    pub estimates: &'a mut [f64],
}

impl WithSimd for EstimateLoop<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { laws, at, m, start, at_zero, estimates } = self;
        let mx = m * (-start).exp();
        let kept = 1.0 - m + mx;
        let (ln_kept_there, fall) = (kept.ln(), mx / kept);
        let n = at_zero.len();
        let ConditionColumns { level, b_s, b_n, b_d } = laws;
        // Slices of one length: no bounds are checked in the loop.
        let laws =
            ConditionColumns { level: &level[..n], b_s: &b_s[..n], b_n: &b_n[..n], b_d: &b_d[..n] };
        let estimates = &mut estimates[..n];
        for i in 0..n {
            let [slope, bend] = laws.line(i);
            let zero = laws.at_zero(i, at);
            let value = zero + slope * start + bend * ln_kept_there;
            let y = start - value / (slope - bend * fall);
            at_zero[i] = zero;
            estimates[i] = if zero >= 0.0 || y < 0.0 { 0.0 } else { y };
        }
    }
}

/// How many laws have `F(y) >= 0`, where `1 - m (1 - e^-y)` has this logarithm.
struct CountLoop<'a> {
    conditions: &'a Conditions<'a>,
    y: f64,
    ln_kept: f64,
}

impl WithSimd for CountLoop<'_> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        let Self { conditions: &Conditions { laws, at_zero, .. }, y, ln_kept } = self;
        let n = at_zero.len();
        let (b_s, b_d) = (&laws.b_s[..n], &laws.b_d[..n]);
        let turned = |i: usize| {
            let [slope, bend] = line(b_s[i], b_d[i]);
            at_zero[i] + slope * y + bend * ln_kept >= 0.0
        };
        (0..n).map(|i| usize::from(turned(i))).sum()
    }
}

/// Newton's method for the roots of some laws, from starts nearby; `last` is how far the last step went.
pub(super) struct RootLoop<'a> {
    pub at_zero: &'a [f64],
    pub laws: ConditionColumns<'a>,
    pub m: f64,
    /// Roots below it are this: 0 for the best sparsity, which is 0 where F is not negative there.
    pub floor: f64,
    pub roots: &'a mut [f64],
    pub last: &'a mut [f64],
}

impl WithSimd for RootLoop<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { at_zero, laws, m, floor, roots, last } = self;
        let n = roots.len();
        let (at_zero, b_s, b_d) = (&at_zero[..n], &laws.b_s[..n], &laws.b_d[..n]);
        let last = &mut last[..n];
        for _ in 0..VECTOR_STEPS {
            for i in 0..n {
                let y = roots[i];
                let mx = m * exp(-y);
                let kept = 1.0 - m + mx;
                let [slope, bend] = line(b_s[i], b_d[i]);
                let value = at_zero[i] + slope * y + bend * ln(kept);
                let next = y - value / (slope - bend * mx / kept);
                let next = if next <= floor { floor } else { next };
                last[i] = next - y;
                roots[i] = next;
            }
        }
    }
}

/// The optimality conditions of some laws at one question, by columns of one length.
pub(super) struct Conditions<'a> {
    pub laws: ConditionColumns<'a>,
    /// `F(0)`.
    pub at_zero: &'a [f64],
    pub m: f64,
    pub arch: Arch,
}

impl Conditions<'_> {
    /// The root of one law, from a start nearby.
    fn root(&self, index: usize, start: f64) -> f64 {
        let at_zero = self.at_zero[index];
        let [slope, bend] = self.laws.line(index);
        if at_zero >= 0.0 {
            return 0.0;
        }
        let mut y = start;
        for _ in 0..STEPS {
            let mx = self.m * (-y).exp();
            let kept = 1.0 - self.m + mx;
            let value = at_zero + slope * y + bend * kept.ln();
            let step = value / (slope - bend * mx / kept);
            y = (y - step).max(0.0);
            if step.abs() <= SETTLED {
                return y;
            }
        }
        root(at_zero, slope, bend, self.m)
    }

    /// The roots of some laws by their indices, from starts nearby.
    pub fn solve(&self, starts: &mut [(usize, f64)]) {
        let count = starts.len();
        let gathered = self.laws.gathered(starts.iter().map(|(index, _)| *index));
        let at_zero: Vec<f64> = starts.iter().map(|(index, _)| self.at_zero[*index]).collect();
        let mut roots: Vec<f64> = starts.iter().map(|(_, start)| *start).collect();
        let mut last = vec![f64::INFINITY; count];
        self.arch.dispatch(RootLoop {
            at_zero: &at_zero,
            laws: ConditionColumns::of(&gathered, count),
            m: self.m,
            floor: 0.0,
            roots: &mut roots,
            last: &mut last,
        });
        for ((index, start), (root, last)) in starts.iter_mut().zip(roots.into_iter().zip(last)) {
            let settled = last.abs() <= SETTLED;
            let next = if root.is_finite() { root } else { *start };
            *start = if settled { root } else { self.root(*index, next) };
        }
    }

    /// All roots.
    fn roots(&self) -> Vec<f64> {
        let start = |law: usize| (-self.at_zero[law] / self.laws.line(law)[0]).max(0.0);
        (0..self.at_zero.len()).map(|law| self.root(law, start(law))).collect()
    }

    /// How many roots are at most `y`: as `F` rises, those of the laws with `F(y) >= 0`.
    fn at_most(&self, y: f64) -> usize {
        if y < 0.0 {
            return 0;
        }
        let ln_kept = (-self.m * -(-y).exp_m1()).ln_1p();
        self.arch.dispatch(CountLoop { conditions: self, y, ln_kept })
    }

    /// Two neighbouring order statistics of the roots to within the precision: those of the laws whose
    /// estimates lie near are solved for, and all laws are asked on which side of them their roots are.
    /// `None` where they say that it was another law.
    fn order_statistics(
        &self,
        sample: &Sample,
        estimates: &[f64],
        below: usize,
    ) -> Option<[f64; 2]> {
        let mut near = sample.nearest(estimates, below)?;
        let first = near.first_place;
        self.solve(&mut near.entries);
        near.entries.sort_unstable_by(|(_, a), (_, b)| a.total_cmp(b));
        let place = |place: usize| near.entries.get(place - first).map(|&(_, y)| y);
        let is_at = |y: f64, place: usize| {
            self.at_most(y + PRECISION) > place && self.at_most(y - PRECISION) <= place
        };
        let found = [place(below)?, place((below + 1).min(estimates.len() - 1))?];
        (is_at(found[0], below) && is_at(found[1], (below + 1).min(estimates.len() - 1)))
            .then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        CoefficientValues, FlopMode, FlopsPerParam, Member, PruningSchedule, T5_C4,
        chinchilla_ratio, optimal_density, optimal_sparsity,
    };
    use proptest::prelude::*;

    /// Laws that scatter about the published one.
    fn ensemble(count: u32) -> Ensemble {
        let v = T5_C4.coefficients().values();
        let member = |i: u32| {
            let wave = |phase: u32, size: f64| (size * (f64::from(i * phase)).sin()).exp();
            let values = CoefficientValues {
                a_s: v.a_s * wave(3, 0.4),
                b_s: v.b_s * wave(5, 0.3),
                c_s: v.c_s * wave(7, 0.3),
                b_n: v.b_n * wave(11, 0.1),
                a_d: v.a_d * wave(13, 2.0),
                b_d: v.b_d * wave(17, 0.9),
                c: v.c,
            };
            let noise = 0.01 * f64::from(i * 19).sin();
            Member { coefficients: Coefficients::new(values).unwrap(), noise }
        };
        Ensemble::new((0..count).map(member), 0.95, 0.0144).unwrap()
    }

    fn measured(loss: f64, noise: f64) -> f64 {
        loss * (-noise).exp()
    }

    /// Both ends are equal but for rounding.
    fn same(fast: Interval, direct: Interval) -> bool {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-11 * b.abs();
        close(fast.low, direct.low) && close(fast.high, direct.high)
    }

    proptest! {
        #[test]
        fn every_interval_is_that_of_the_direct_computation(
            ln_n in 5.0..30.0f64, ln_c in 30.0..70.0f64, ln_x in -5.0..0.0f64,
            sparse in any::<bool>(), count in prop::sample::select(vec![1u32, 2, 40, 500, 1000]),
        ) {
            let mode = if sparse { FlopMode::Sparse } else { FlopMode::Dense };
            let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode);
            let n = NonzeroParams::new(ln_n.exp()).unwrap();
            let c = Compute::new(ln_c.exp()).unwrap();
            let x = Density::new(ln_x.exp()).unwrap();
            let ensemble = ensemble(count);
            let prepared = PreparedEnsemble::new(&ensemble, measured);
            let best = |law: &Coefficients| optimal_sparsity(law, &cost, n, c);
            prop_assume!(best(T5_C4.coefficients()).is_ok());
            let near = best(T5_C4.coefficients()).unwrap();

            let fast = prepared.sparsity_interval(&cost, n, c, near.density).unwrap();
            let direct = ensemble.interval(|member| {
                optimal_density(&member.coefficients, &cost, n, c).sparsity().get()
            });
            prop_assert!((fast.low - direct.low).abs() < 2.0 * PRECISION, "{fast:?} {direct:?}");
            prop_assert!((fast.high - direct.high).abs() < 2.0 * PRECISION, "{fast:?} {direct:?}");

            let losses = prepared.losses(x, n, near.data);
            let direct = ensemble.interval(|member| member.coefficients.loss(x, n, near.data));
            prop_assert!(same(prepared.interval_of(losses.clone()), direct));
            let direct = ensemble.interval(|member| {
                measured(member.coefficients.loss(x, n, near.data), member.noise)
            });
            prop_assert!(same(prepared.interval_of(prepared.new_runs(&losses)), direct));
            let dense_data = Data::new(2.0 * near.data.get()).unwrap();
            let optimum = prepared.optimum_intervals(x, n, near.data, dense_data);
            prop_assert_eq!(optimum.loss, prepared.interval_of(losses));
            let direct = ensemble.interval(|member| member.coefficients.gain(x));
            prop_assert!(same(optimum.gain, direct));
            let direct = ensemble
                .interval(|member| member.coefficients.loss(Density::DENSE, n, dense_data));
            prop_assert!(same(optimum.dense_loss, direct));
            let direct =
                ensemble.interval(|member| chinchilla_ratio(&member.coefficients, &cost, n, c));
            prop_assert!(same(prepared.chinchilla_interval(&cost, n, c), direct));
        }
    }

    #[test]
    fn a_law_that_knows_no_data_predicts_the_same_for_all_amounts() {
        let v = T5_C4.coefficients().values();
        let law = Coefficients::reduced(CoefficientValues { a_d: 0.0, ..v }).unwrap();
        let ensemble =
            Ensemble::new([Member { coefficients: law, noise: 0.0 }], 0.95, 0.025).unwrap();
        let prepared = PreparedEnsemble::new(&ensemble, measured);
        let (x, n) = (Density::DENSE, NonzeroParams::new(1e8).unwrap());
        let loss = prepared.losses(x, n, Data::new(1e9).unwrap())[0];
        assert!((loss - law.loss(x, n, Data::new(1e9).unwrap())).abs() < 1e-12);
    }
}
