//! The answers of a thousand laws and how they change from question to question, as [windows](super::window) need them.
//!
//! The derivatives are those of the law `L = (a_S x^b_S + c_S) N^-b_N + (a_D / D)^b_D + c` in the logarithms of its
//! arguments, where it is a sum of exponentials of linear functions.

use pulp::{Simd, WithSimd};

use super::branchless::exp;
use super::cost::TrainingCost;
use super::prepared::{
    ConditionColumns, Conditions, EstimateLoop, LossColumns, LossLoop, NewRun, Point,
    PreparedEnsemble, RootLoop, ln_gain,
};
use super::quantity::Density;
use super::window::{Answer, Jets, Region};

/// Largest value of `|p (1 - p) (1 - 2p)|`, the absolute second derivative of a logistic function.
const LOGISTIC_BEND: f64 = 0.096_225_044_864_937_63;

/// Bound on the terms of third and higher order of an exponential whose exponent changes by at most `change`, relative
/// to its value.
#[inline(always)]
fn third_order(change: f64) -> f64 {
    // e^s <= 1 / (1 - s)
    let bound = change * change * change / 6.0 / (1.0 - change);
    if change < 1.0 { bound } else { f64::INFINITY }
}

/// The mean loss, or the loss of a new run, over `-ln(1 - S)`, `ln N` and `ln D`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Losses<'a> {
    pub laws: &'a PreparedEnsemble,
    /// Whether to answer with the loss of a new run, which includes the noise of each law.
    pub of_new_run: bool,
}

impl Answer<3> for Losses<'_> {
    fn jets(&self, region: &Region<3>) -> Jets {
        let count = self.laws.count();
        let column = || vec![0.0; count];
        let mut found = LossJets {
            values: column(),
            slopes: [column(), column(), column()],
            bends: [column(), column(), column(), column()],
            rest: column(),
        };
        let [y, n, d] = region.half;
        self.laws.arch.dispatch(LossJetsLoop {
            laws: self.laws.columns(),
            noise: self.of_new_run.then_some(&self.laws.new_run),
            region,
            found: &mut found,
        });
        let LossJets { values, slopes: [by_y, by_n, by_d], bends: [yy, nn, dd, yn], rest } = found;
        let terms = vec![
            (y, by_y),
            (n, by_n),
            (d, by_d),
            (0.5 * y * y, yy),
            (0.5 * n * n, nn),
            (0.5 * d * d, dd),
            (y * n, yn),
        ];
        Jets { values, terms, rest }
    }

    fn values(&self, [y, ln_n, ln_d]: [f64; 3], laws: &[u16]) -> Vec<f64> {
        let mut losses = vec![0.0; laws.len()];
        let gathered = self.laws.columns().gathered(laws);
        let at = Point { ln_x: -y, ln_n, ln_d };
        let laws_alone = LossColumns::of(&gathered, laws.len());
        self.laws.arch.dispatch(LossLoop { laws: laws_alone, at, losses: &mut losses });
        if self.of_new_run {
            self.laws.new_run.apply_to(&mut losses, laws);
        }
        losses
    }
}

struct LossJets {
    values: Vec<f64>,
    slopes: [Vec<f64>; 3],
    bends: [Vec<f64>; 4],
    rest: Vec<f64>,
}

struct LossJetsLoop<'a> {
    laws: LossColumns<'a>,
    noise: Option<&'a NewRun>,
    region: &'a Region<3>,
    found: &'a mut LossJets,
}

impl WithSimd for LossJetsLoop<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { laws, noise, region, found } = self;
        let LossColumns { a_s, b_s, c_s, b_n, ln_a_d, b_d, c } = laws;
        let n = found.values.len();
        let (a_s, b_s, c_s, b_n) = (&a_s[..n], &b_s[..n], &c_s[..n], &b_n[..n]);
        let (ln_a_d, b_d, c) = (&ln_a_d[..n], &b_d[..n], &c[..n]);
        let LossJets { values, slopes: [by_y, by_n, by_d], bends: [yy, nn, dd, yn], rest } = found;
        let (values, rest) = (&mut values[..n], &mut rest[..n]);
        let (by_y, by_n, by_d) = (&mut by_y[..n], &mut by_n[..n], &mut by_d[..n]);
        let (yy, nn, dd, yn) = (&mut yy[..n], &mut nn[..n], &mut dd[..n], &mut yn[..n]);
        let ([y, ln_n, ln_d], [half_y, half_n, half_d]) = (region.centre, region.half);
        for i in 0..n {
            let size = exp(-b_n[i] * ln_n);
            let pruned = a_s[i] * exp(-b_s[i] * y) * size;
            let kept = c_s[i] * size;
            let data = exp(b_d[i] * (ln_a_d[i] - ln_d));
            values[i] = pruned + kept + data + c[i];
            by_y[i] = -b_s[i] * pruned;
            by_n[i] = -b_n[i] * (pruned + kept);
            by_d[i] = -b_d[i] * data;
            yy[i] = b_s[i] * b_s[i] * pruned;
            nn[i] = b_n[i] * b_n[i] * (pruned + kept);
            dd[i] = b_d[i] * b_d[i] * data;
            yn[i] = b_s[i] * b_n[i] * pruned;
            let of_size = b_n[i] * half_n;
            rest[i] = pruned * third_order(b_s[i] * half_y + of_size)
                + kept * third_order(of_size)
                + data * third_order(b_d[i] * half_d);
        }
        let Some(noise) = noise else { return };
        noise.apply(values);
        let Some(factors) = noise.factors() else { return };
        for column in [by_y, by_n, by_d, yy, nn, dd, yn, &mut *rest] {
            for (each, factor) in column.iter_mut().zip(factors) {
                *each *= factor;
            }
        }
        for each in rest {
            *each = each.abs();
        }
    }
}

/// The logarithm of the gain over `-ln(1 - S)`: `-ln(cap(x) / cap(1)) / b_N`.
#[derive(Debug, Clone, Copy)]
pub(super) struct LnGains<'a>(pub &'a PreparedEnsemble);

impl LnGains<'_> {
    /// The logarithm of the gain by one law, and the share of its capacity that still falls with sparsity.
    fn at(&self, law: usize, y: f64) -> (f64, f64) {
        let laws = self.0.columns();
        let pruned = laws.a_s[law] * exp(-laws.b_s[law] * y);
        let capacity = pruned + laws.c_s[law];
        (ln_gain(capacity, laws.of_gain(law)), pruned / capacity)
    }
}

impl Answer<1> for LnGains<'_> {
    fn jets(&self, region: &Region<1>) -> Jets {
        let ([y], [half]) = (region.centre, region.half);
        let laws = self.0.columns();
        let count = self.0.count();
        let (mut values, mut slopes) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (mut bends, mut rest) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for law in 0..count {
            let (value, share) = self.at(law, y);
            let (b_s, [_, exponent]) = (laws.b_s[law], laws.of_gain(law));
            values.push(value);
            slopes.push(-exponent * b_s * share);
            bends.push(exponent * b_s * b_s * share * (1.0 - share));
            let change = b_s * half;
            rest.push(exponent.abs() * LOGISTIC_BEND * change * change * change / 6.0);
        }
        Jets { values, terms: vec![(half, slopes), (0.5 * half * half, bends)], rest }
    }

    fn values(&self, [y]: [f64; 1], laws: &[u16]) -> Vec<f64> {
        laws.iter().map(|law| self.at(usize::from(*law), y).0).collect()
    }
}

/// `-ln D_chin` over `ln N`: the part of the logarithm of the Chinchilla ratio that depends on the law.
#[derive(Debug, Clone, Copy)]
pub(super) struct LnChinchilla<'a>(pub &'a PreparedEnsemble);

impl LnChinchilla<'_> {
    fn at(&self, law: usize, ln_n: f64) -> f64 {
        let [at_one, by_size] = self.0.chinchilla(law);
        -(at_one + by_size * ln_n)
    }
}

impl Answer<1> for LnChinchilla<'_> {
    fn jets(&self, region: &Region<1>) -> Jets {
        let ([ln_n], [half]) = (region.centre, region.half);
        let count = self.0.count();
        Jets {
            values: (0..count).map(|law| self.at(law, ln_n)).collect(),
            terms: vec![(half, (0..count).map(|law| self.0.chinchilla(law)[1]).collect())],
            rest: vec![0.0; count],
        }
    }

    fn values(&self, [ln_n]: [f64; 1], laws: &[u16]) -> Vec<f64> {
        laws.iter().map(|law| self.at(usize::from(*law), ln_n)).collect()
    }
}

/// The roots of the optimality conditions (see [`super::optimal_density`]) over `ln N` and `ln C`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roots<'a> {
    laws: &'a PreparedEnsemble,
    m: f64,
    ln_flops_per_param: f64,
    /// Point in `y` at which the search for the roots starts.
    start: f64,
}

impl<'a> Roots<'a> {
    /// The roots for laws with columns, where the cost is linear in the sparsity and has an optimum; `None` otherwise.
    /// `near` is the optimal density by the law of all runs.
    pub fn new(laws: &'a PreparedEnsemble, cost: &TrainingCost, near: Density) -> Option<Self> {
        let m = cost.saved_share().ok().filter(|_| cost.has_optimum())?;
        let ln_flops_per_param = cost.flops_per_param().get().ln();
        Some(Self { laws, m, ln_flops_per_param, start: -near.get().ln() })
    }

    /// `ln(1 - m)`, `ln N` and `ln(C / k)` of a question.
    fn at(&self, [ln_n, ln_c]: [f64; 2]) -> [f64; 3] {
        [(1.0 - self.m).ln(), ln_n, ln_c - self.ln_flops_per_param]
    }

    /// Solves the conditions of all laws, given `F(0)` of each. Returns the roots, which may be negative, and the size of
    /// the last step of each.
    fn solve(&self, at_zero: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut roots, mut last) =
            (vec![self.start; at_zero.len()], vec![f64::INFINITY; at_zero.len()]);
        self.laws.arch.dispatch(RootLoop {
            at_zero,
            laws: self.laws.conditions(),
            m: self.m,
            floor: f64::NEG_INFINITY,
            roots: &mut roots,
            last: &mut last,
        });
        (roots, last)
    }
}

impl Answer<2> for Roots<'_> {
    const FLOOR: f64 = 0.0;

    fn jets(&self, region: &Region<2>) -> Jets {
        let count = self.laws.count();
        let (laws, at) = (self.laws.conditions(), self.at(region.centre));
        let at_zero: Vec<f64> = (0..count).map(|law| laws.at_zero(law, at)).collect();
        let (values, last) = self.solve(&at_zero);
        let [half_n, half_c] = region.half;
        let column = || Vec::<f64>::with_capacity(count);
        let (mut by_n, mut by_c, mut nn) = (column(), column(), column());
        let (mut nc, mut cc, mut rest) = (column(), column(), column());
        for law in 0..count {
            let [slope, bend] = laws.line(law);
            let mx = self.m * exp(-values[law]);
            let pruned = mx / (1.0 - self.m + mx);
            // The first and the second derivative of F in y.
            let (rise, bent) = (slope - bend * pruned, bend * pruned * (1.0 - pruned));
            // The derivatives of F in ln N and ln C.
            let (n, c) = (laws.b_d[law] + laws.b_n[law], -laws.b_d[law]);
            by_n.push(-n / rise);
            by_c.push(-c / rise);
            let second = -bent / (rise * rise * rise);
            nn.push(second * n * n);
            nc.push(second * n * c);
            cc.push(second * c * c);
            // Bound on the third derivative of the root in a constant that is added to F.
            let least = slope.min(slope - bend);
            let (bent, turned) = (0.25 * bend.abs(), LOGISTIC_BEND * bend.abs());
            let third = (turned + 3.0 * bent * bent / least) / least.powi(4);
            let change = n.abs() * half_n + c.abs() * half_c;
            rest.push(third * change * change * change / 6.0 + 2.0 * last[law].abs());
        }
        let terms = vec![
            (half_n, by_n),
            (half_c, by_c),
            (0.5 * half_n * half_n, nn),
            (half_n * half_c, nc),
            (0.5 * half_c * half_c, cc),
        ];
        Jets { values, terms, rest }
    }

    /// The optima as [`PreparedEnsemble::sparsity_interval`] finds them: 0 where dense is best.
    fn values(&self, [ln_n, ln_c]: [f64; 2], laws: &[u16]) -> Vec<f64> {
        let gathered = self.laws.conditions().gathered(laws.iter().map(|law| usize::from(*law)));
        let laws = ConditionColumns::of(&gathered, laws.len());
        let (mut at_zero, mut roots) = (vec![0.0; laws.b_d.len()], vec![0.0; laws.b_d.len()]);
        self.laws.arch.dispatch(EstimateLoop {
            laws,
            at: self.at([ln_n, ln_c]),
            m: self.m,
            start: self.start,
            at_zero: &mut at_zero,
            estimates: &mut roots,
        });
        if self.m == 0.0 {
            return roots;
        }
        let conditions = Conditions { laws, at_zero: &at_zero, m: self.m, arch: self.laws.arch };
        let mut starts: Vec<(usize, f64)> = roots.into_iter().enumerate().collect();
        conditions.solve(&mut starts);
        starts.into_iter().map(|(_, root)| root).collect()
    }
}
