//! Optimal sparsities of many laws at one question, for intervals that are asked thousands of times
//! a second.
//!
//! What depends on a law alone is computed once. At a question, the optimality condition of each law
//! in `y = -ln(1 - S)` (see [`super::optimal_density`]) is
//!
//! ```text
//! F(y) = F0 + slope y + bend ln(1 - m (1 - e^-y)),   slope = b_S + b_D,  bend = b_D - 1
//! F0   = ln(1 - m) + level + (b_D + b_N) ln N - b_D ln(C / k)
//! level = ln b_D + b_D ln a_D - ln a_S - ln b_S
//! ```
//!
//! and the root of the law of all runs is a good start for Newton's method at the others.

use super::coefficients::Coefficients;
use super::cost::TrainingCost;
use super::ensemble::{Ensemble, Interval};
use super::quantity::{Compute, Density, NonzeroParams};

/// One law, prepared.
#[derive(Debug, Clone, Copy)]
struct Prepared {
    level: f64,
    by_size: f64,
    b_d: f64,
    slope: f64,
    bend: f64,
}

impl Prepared {
    fn new(law: &Coefficients) -> Self {
        let v = law.values();
        Self {
            level: v.b_d.ln() + v.b_d * v.a_d.ln() - v.a_s.ln() - v.b_s.ln(),
            by_size: v.b_d + v.b_n,
            b_d: v.b_d,
            slope: v.b_s + v.b_d,
            bend: v.b_d - 1.0,
        }
    }
}

/// The laws of an ensemble, prepared for optimal sparsities.
#[derive(Debug, Clone)]
pub struct Optima {
    laws: Vec<Prepared>,
    level: f64,
    tail: f64,
}

/// Newton steps within which a root is found from a start nearby; past that it is bracketed.
const STEPS: usize = 8;
/// Change of `y` at which a root is found: of `S`, no more than this.
const PRECISION: f64 = 1e-9;

impl Optima {
    /// Memory that one law takes.
    pub const BYTES_OF_LAW: usize = size_of::<Prepared>();

    /// Prepares an ensemble whose laws know what size, sparsity and data do.
    #[must_use]
    pub fn new(ensemble: &Ensemble) -> Self {
        Self {
            laws: ensemble.members().iter().map(|m| Prepared::new(&m.coefficients)).collect(),
            level: ensemble.level(),
            tail: ensemble.tail(),
        }
    }

    /// The interval of the optimal sparsity, as [`Ensemble::interval`] of it to within `1e-9`; `near`
    /// is the optimum of the law of all runs. `None` for a cost whose condition may have several
    /// roots.
    #[must_use]
    pub fn interval(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        near: Density,
    ) -> Option<Interval> {
        let m = cost.saved_share().ok()?;
        let ln_n = nonzero_params.get().ln();
        let ln_c = compute.get().ln() - cost.flops_per_param().get().ln();
        let (ln_kept, start) = ((1.0 - m).ln(), -near.get().ln());
        let root = |law: &Prepared| {
            let at_zero = ln_kept + law.level + law.by_size * ln_n - law.b_d * ln_c;
            if at_zero >= 0.0 {
                0.0
            } else if m == 0.0 {
                -at_zero / law.slope
            } else {
                newton(law, at_zero, m, start)
            }
        };
        let mut roots: Vec<f64> = self.laws.iter().map(root).collect();
        let sparsity = |y: f64| Density::clamped((-y).exp()).sparsity().get();
        // S rises with y, so order statistics of the one are those of the other.
        let mut quantile = |share: f64| {
            let place = share.clamp(0.0, 1.0) * (roots.len() - 1) as f64;
            let (below, weight) = (place.floor() as usize, place.fract());
            let (_, &mut low, above) = roots.select_nth_unstable_by(below, f64::total_cmp);
            let low = sparsity(low);
            match above.iter().copied().min_by(f64::total_cmp) {
                Some(high) if weight > 0.0 => low * (1.0 - weight) + sparsity(high) * weight,
                _ => low,
            }
        };
        let (low, high) = (quantile(self.tail), quantile(1.0 - self.tail));
        Some(Interval { level: self.level, low, high })
    }
}

/// Root of `at_zero + slope y + bend ln(1 - m (1 - e^-y))` for `at_zero < 0`.
fn newton(law: &Prepared, at_zero: f64, m: f64, start: f64) -> f64 {
    let mut y = start;
    for _ in 0..STEPS {
        let mx = m * (-y).exp();
        let kept = 1.0 - m + mx;
        let value = at_zero + law.slope * y + law.bend * kept.ln();
        let step = value / (law.slope - law.bend * mx / kept);
        y = (y - step).max(0.0);
        if step.abs() <= PRECISION {
            return y;
        }
    }
    super::optimum::root(at_zero, law.slope, law.bend, m)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        CoefficientValues, FlopMode, FlopsPerParam, Member, PruningSchedule, T5_C4,
        optimal_sparsity,
    };
    use proptest::prelude::*;

    /// Laws that scatter about the published one.
    fn ensemble() -> Ensemble {
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
            Member { coefficients: Coefficients::new(values).unwrap(), noise: 0.0 }
        };
        Ensemble::new((0..500).map(member).collect(), 0.95, 0.0144).unwrap()
    }

    proptest! {
        #[test]
        fn the_interval_is_that_of_the_direct_computation(
            ln_n in 5.0..30.0f64, ln_c in 30.0..70.0f64, sparse in any::<bool>(),
        ) {
            let mode = if sparse { FlopMode::Sparse } else { FlopMode::Dense };
            let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode);
            let n = NonzeroParams::new(ln_n.exp()).unwrap();
            let c = Compute::new(ln_c.exp()).unwrap();
            let ensemble = ensemble();
            let best = |law: &Coefficients| optimal_sparsity(law, &cost, n, c);
            prop_assume!(best(T5_C4.coefficients()).is_ok());
            let near = best(T5_C4.coefficients()).unwrap().density;
            let fast = Optima::new(&ensemble).interval(&cost, n, c, near).unwrap();
            let direct = ensemble.interval(|member| {
                crate::law::optimal_density(&member.coefficients, &cost, n, c).sparsity().get()
            });
            prop_assert!((fast.low - direct.low).abs() < 2.0 * PRECISION, "{fast:?} {direct:?}");
            prop_assert!((fast.high - direct.high).abs() < 2.0 * PRECISION, "{fast:?} {direct:?}");
        }
    }
}
