//! The laws of resampled runs, prepared for intervals that are asked thousands of times a second.
//!
//! What depends on a law alone is computed once, and kept by columns so that a loop over the laws is
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

/// An ensemble by columns.
#[derive(Debug, Clone)]
pub struct PreparedEnsemble {
    pub(super) a_s: Vec<f64>,
    pub(super) b_s: Vec<f64>,
    pub(super) c_s: Vec<f64>,
    pub(super) b_n: Vec<f64>,
    pub(super) ln_a_d: Vec<f64>,
    pub(super) b_d: Vec<f64>,
    pub(super) c: Vec<f64>,
    /// A new run measures `factor loss + shift`.
    pub(super) new_run: Columns<2>,
    /// `1 / (a_S + c_S)` and `-1 / b_N`.
    pub(super) gain: Columns<2>,
    /// `ln D_chin = first + second ln N`.
    pub(super) chinchilla: Columns<2>,
    pub(super) optimality: Optimality,
    /// The laws themselves, where they have gain curves, which are in no column; empty otherwise.
    pub(super) curved: Vec<Coefficients>,
    pub(super) level: f64,
    pub(super) tail: f64,
    /// The widest vectors of this processor.
    pub(super) arch: Arch,
}

type Columns<const N: usize> = [Vec<f64>; N];

/// The optimality conditions in `y = -ln(1 - S)` (see [`super::optimal_density`]), by columns:
///
/// ```text
/// F(y) = F0 + slope y + bend ln(1 - m (1 - e^-y)),   slope = b_S + b_D,  bend = b_D - 1
/// F0   = ln(1 - m) + level + (b_D + b_N) ln N - b_D ln(C / k)
/// level = ln b_D + b_D ln a_D - ln a_S - ln b_S
/// ```
#[derive(Debug, Clone)]
pub(super) struct Optimality {
    pub level: Vec<f64>,
    pub by_size: Vec<f64>,
    pub slope: Vec<f64>,
    pub bend: Vec<f64>,
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
    /// Memory that one law takes.
    pub const BYTES_OF_LAW: usize = 17 * size_of::<f64>();

    /// Prepares an ensemble. `measured` is what a new run would show, a linear function of the
    /// predicted loss and a member's noise.
    #[must_use]
    pub fn new(ensemble: &Ensemble, measured: impl Fn(f64, f64) -> f64) -> Self {
        let members = ensemble.members();
        let column = |of: &dyn Fn(&Coefficients) -> f64| -> Vec<f64> {
            members.iter().map(|member| of(&member.coefficients)).collect()
        };
        let shift = members.iter().map(|member| measured(0.0, member.noise));
        let factor =
            members.iter().map(|member| measured(1.0, member.noise) - measured(0.0, member.noise));
        Self {
            a_s: column(&|law| law.values().a_s),
            b_s: column(&|law| law.values().b_s),
            c_s: column(&|law| law.values().c_s),
            b_n: column(&|law| law.values().b_n),
            ln_a_d: column(&|law| law.values().a_d.ln()),
            b_d: column(&|law| law.values().b_d),
            c: column(&|law| law.values().c),
            new_run: [factor.collect(), shift.collect()],
            gain: [
                column(&|law| (law.values().a_s + law.values().c_s).recip()),
                column(&|law| -law.values().b_n.recip()),
            ],
            chinchilla: [
                column(&|law| law.ln_chinchilla_data(NonzeroParams::ONE)),
                column(&|law| law.values().b_n / law.values().b_d),
            ],
            optimality: Optimality {
                level: column(&|law| {
                    let v = law.values();
                    v.b_d.ln() + v.b_d * v.a_d.ln() - v.a_s.ln() - v.b_s.ln()
                }),
                by_size: column(&|law| law.values().b_d + law.values().b_n),
                slope: column(&|law| law.values().b_s + law.values().b_d),
                bend: column(&|law| law.values().b_d - 1.0),
            },
            curved: members
                .iter()
                .map(|member| member.coefficients)
                .filter(|law| law.gain_curve().is_some())
                .collect(),
            level: ensemble.level(),
            tail: ensemble.tail(),
            arch: Arch::new(),
        }
    }

    /// Nominal coverage of the intervals.
    #[must_use]
    pub const fn level(&self) -> f64 {
        self.level
    }

    /// How many laws there are.
    pub(super) const fn count(&self) -> usize {
        self.b_d.len()
    }

    /// What their losses need.
    pub(super) fn columns(&self) -> LossColumns<'_> {
        let Self { a_s, b_s, c_s, b_n, ln_a_d, b_d, c, .. } = self;
        LossColumns { a_s, b_s, c_s, b_n, ln_a_d, b_d, c }
    }

    /// What their optimality conditions need.
    pub(super) fn conditions(&self) -> ConditionColumns<'_> {
        let Optimality { level, by_size, slope, bend } = &self.optimality;
        ConditionColumns { level, by_size, b_d: &self.b_d, slope, bend }
    }

    /// The loss by each law, in the order of the members.
    #[must_use]
    pub fn losses(&self, density: Density, nonzero_params: NonzeroParams, data: Data) -> Vec<f64> {
        if !self.curved.is_empty() {
            let loss = |law: &Coefficients| law.loss(density, nonzero_params, data);
            return self.curved.iter().map(loss).collect();
        }
        let mut losses = vec![0.0; self.a_s.len()];
        let at = Point::new(density, nonzero_params, data);
        self.arch.dispatch(LossLoop { laws: self.columns(), at, losses: &mut losses });
        losses
    }

    /// What a new run with each law's noise would measure, at the losses of [`Self::losses`].
    #[must_use]
    pub fn new_runs(&self, losses: &[f64]) -> Vec<f64> {
        let [factor, shift] = &self.new_run;
        let run = |((loss, factor), shift): ((&f64, &f64), &f64)| {
            // No run has a loss below 0, however large the noise.
            (loss * factor + shift).max(0.0)
        };
        losses.iter().zip(factor).zip(shift).map(run).collect()
    }

    /// The interval of answers that were computed from the members one by one, none of them NaN.
    #[must_use]
    pub fn interval_of(&self, mut values: Vec<f64>) -> Interval {
        self.interval_by(&mut values, |value| value)
    }

    /// The interval of a rising function of the values.
    fn interval_by(&self, values: &mut [f64], map: impl Fn(f64) -> f64) -> Interval {
        let sample = Sample::of(values);
        let [low, high] = [self.tail, 1.0 - self.tail].map(|share| {
            let place = Place::new(share, values.len());
            place.between(sample.order_statistics(values, place.below).map(&map))
        });
        Interval::cut(self.level, low, high)
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
        if !self.curved.is_empty() {
            let dense = self.losses(Density::DENSE, nonzero_params, dense_data);
            return OptimumIntervals {
                loss: self.interval_of(self.losses(density, nonzero_params, data)),
                dense_loss: self.interval_of(dense),
                gain: self.gain_interval(density),
            };
        }
        let n = self.a_s.len();
        let (mut losses, mut dense, mut ln_gains) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        self.arch.dispatch(OptimumLoop {
            laws: self,
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
            return Interval { level: self.level, low: 1.0, high: 1.0 };
        }
        if !self.curved.is_empty() {
            return self.interval_of(self.curved.iter().map(|law| law.gain(density)).collect());
        }
        let (ln_x, [per_dense, exponent]) = (density.get().ln(), &self.gain);
        let ln_gain = |law: usize| {
            let capacity = self.a_s[law] * exp(self.b_s[law] * ln_x) + self.c_s[law];
            exponent[law] * ln(capacity * per_dense[law])
        };
        let mut ln_gains: Vec<f64> = (0..self.count()).map(ln_gain).collect();
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
        let [at_one, by_size] = &self.chinchilla;
        let ln_ratio = |(at_one, by_size): (&f64, &f64)| ln_data - (at_one + by_size * ln_n);
        let mut ln_ratios: Vec<f64> = at_one.iter().zip(by_size).map(ln_ratio).collect();
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
        let plain = self.curved.is_empty() && cost.has_optimum();
        let m = cost.saved_share().ok().filter(|_| plain)?;
        let ln_n = nonzero_params.get().ln();
        let ln_c = compute.get().ln() - cost.flops_per_param().get().ln();
        let ln_kept = (1.0 - m).ln();
        let n = self.b_d.len();
        let (mut at_zero, mut roots) = (vec![0.0; n], vec![0.0; n]);
        self.arch.dispatch(EstimateLoop {
            laws: self.conditions(),
            at: [ln_kept, ln_n, ln_c],
            m,
            start: -near.get().ln(),
            at_zero: &mut at_zero,
            estimates: &mut roots,
        });
        let Optimality { slope, bend, .. } = &self.optimality;
        let conditions = Conditions { slope, bend, at_zero: &at_zero, m, arch: self.arch };
        let sample = Sample::of(&roots);
        let [low, high] = [self.tail, 1.0 - self.tail].map(|share| {
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
        Some(Interval { level: self.level, low, high })
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
    laws: &'a PreparedEnsemble,
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
        let (c, [per_dense, exponent]) = (&laws.c[..n], &laws.gain);
        let (per_dense, exponent) = (&per_dense[..n], &exponent[..n]);
        for i in 0..n {
            let capacity = a_s[i] * exp(b_s[i] * ln_x) + c_s[i];
            let size = exp(-b_n[i] * ln_n);
            losses[i] = capacity * size + exp(b_d[i] * (ln_a_d[i] - ln_d)) + c[i];
            let dense_data = exp(b_d[i] * (ln_a_d[i] - ln_dense_d));
            dense[i] = (a_s[i] + c_s[i]) * size + dense_data + c[i];
            ln_gains[i] = capacity * per_dense[i];
        }
        for i in 0..n {
            ln_gains[i] = exponent[i] * ln(ln_gains[i]);
        }
    }
}

/// What the optimality conditions of some laws need, by columns of one length.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConditionColumns<'a> {
    pub level: &'a [f64],
    pub by_size: &'a [f64],
    pub b_d: &'a [f64],
    pub slope: &'a [f64],
    pub bend: &'a [f64],
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
        let Self { laws, at: [ln_kept, ln_n, ln_c], m, start, at_zero, estimates } = self;
        let mx = m * (-start).exp();
        let kept = 1.0 - m + mx;
        let (ln_kept_there, fall) = (kept.ln(), mx / kept);
        let n = at_zero.len();
        let ConditionColumns { level, by_size, b_d, slope, bend } = laws;
        let (estimates, b_d) = (&mut estimates[..n], &b_d[..n]);
        let (level, by_size) = (&level[..n], &by_size[..n]);
        let (slope, bend) = (&slope[..n], &bend[..n]);
        for i in 0..n {
            let zero = ln_kept + level[i] + by_size[i] * ln_n - b_d[i] * ln_c;
            let value = zero + slope[i] * start + bend[i] * ln_kept_there;
            let y = start - value / (slope[i] - bend[i] * fall);
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
        let Self { conditions: &Conditions { slope, bend, at_zero, .. }, y, ln_kept } = self;
        let n = at_zero.len();
        let (slope, bend) = (&slope[..n], &bend[..n]);
        let turned = |i: usize| at_zero[i] + slope[i] * y + bend[i] * ln_kept >= 0.0;
        (0..n).map(|i| usize::from(turned(i))).sum()
    }
}

/// Newton's method for the roots of some laws, from starts nearby; `last` is how far the last step went.
pub(super) struct RootLoop<'a> {
    pub at_zero: &'a [f64],
    pub slope: &'a [f64],
    pub bend: &'a [f64],
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
        let Self { at_zero, slope, bend, m, floor, roots, last } = self;
        let n = roots.len();
        let (at_zero, slope, bend) = (&at_zero[..n], &slope[..n], &bend[..n]);
        let last = &mut last[..n];
        for _ in 0..VECTOR_STEPS {
            for i in 0..n {
                let y = roots[i];
                let mx = m * exp(-y);
                let kept = 1.0 - m + mx;
                let value = at_zero[i] + slope[i] * y + bend[i] * ln(kept);
                let next = y - value / (slope[i] - bend[i] * mx / kept);
                let next = if next <= floor { floor } else { next };
                last[i] = next - y;
                roots[i] = next;
            }
        }
    }
}

/// The optimality conditions of some laws at one question, by columns of one length.
pub(super) struct Conditions<'a> {
    pub slope: &'a [f64],
    pub bend: &'a [f64],
    /// `F(0)`.
    pub at_zero: &'a [f64],
    pub m: f64,
    pub arch: Arch,
}

impl Conditions<'_> {
    /// `F(0)`, slope and bend of each law.
    fn each(&self) -> impl Iterator<Item = ((&f64, &f64), &f64)> {
        self.at_zero.iter().zip(self.slope).zip(self.bend)
    }

    /// The root of one law, from a start nearby.
    fn root(&self, index: usize, start: f64) -> f64 {
        let at_zero = self.at_zero[index];
        let (slope, bend) = (self.slope[index], self.bend[index]);
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
        let column = |of: &dyn Fn(usize) -> f64| -> Vec<f64> {
            starts.iter().map(|(index, _)| of(*index)).collect()
        };
        let mut roots: Vec<f64> = starts.iter().map(|(_, start)| *start).collect();
        let mut last = vec![f64::INFINITY; roots.len()];
        self.arch.dispatch(RootLoop {
            at_zero: &column(&|index| self.at_zero[index]),
            slope: &column(&|index| self.slope[index]),
            bend: &column(&|index| self.bend[index]),
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
        let start = |at_zero: f64, slope: f64| (-at_zero / slope).max(0.0);
        let each = self.each().enumerate();
        each.map(|(index, ((at_zero, slope), _))| self.root(index, start(*at_zero, *slope)))
            .collect()
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
        Ensemble::new((0..count).map(member).collect(), 0.95, 0.0144).unwrap()
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
            Ensemble::new(vec![Member { coefficients: law, noise: 0.0 }], 0.95, 0.025).unwrap();
        let prepared = PreparedEnsemble::new(&ensemble, measured);
        let (x, n) = (Density::DENSE, NonzeroParams::new(1e8).unwrap());
        let loss = prepared.losses(x, n, Data::new(1e9).unwrap())[0];
        assert!((loss - law.loss(x, n, Data::new(1e9).unwrap())).abs() < 1e-12);
    }
}
