//! Lines of equal optimal sparsity.
//!
//! `S_opt` depends on `N` and `C` only through `M = C / C_chin(N)`, so the budgets at which a given sparsity is optimal
//! form a straight line in `(log N, log C)`, parallel to the Chinchilla line.

use super::coefficients::Coefficients;
use super::cost::TrainingCost;
use super::numeric::{Sloped, curved_contour_ratio};
use super::optimum::Condition;
use super::quantity::{Density, NonzeroParams};

/// `ln M` at which the sparsity `1 - x` is optimal:
///
/// ```text
/// M(S) = c_mul(S) [ (ln c_mul)' (1-S)^(1-b_S) / s0 ]^(1/b_D),   s0 = a_S b_S / (b_N (a_S + c_S))
/// ```
///
/// the root of the optimality condition of [`super::optimal_sparsity`], solved for the budget. At density 1 it is the
/// budget up to which zeros do not lower the loss.
///
/// In dense and sparse mode `M` rises with `S`, and every sparsity is optimal at some budget. On other hardware a root
/// of the condition is only *locally* best: `S_opt` still never falls as the budget grows, but it may jump over a
/// sparsity, which is then optimal at no budget. A search at the budget of the root detects this, and the result is
/// `None`.
///
/// At a kink of the step cost, and at `S = 0`, one sparsity is optimal over a range of budgets; the result is the upper
/// end of that range. Where the optimum jumps away from that sparsity, the upper end is found by bisection.
///
/// The result is always `None` for a cost without optima ([`TrainingCost::has_optimum`]).
///
/// ```
/// use sparsity_law::law::*;
///
/// let law = VIT_JFT.coefficients();
/// let ratio = |mode: FlopMode, sparsity: f64| -> Result<f64, DomainError> {
///     let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode);
///     let ratio = ln_contour_ratio(law, &cost, Sparsity::new(sparsity)?.density());
///     Ok(ratio.expect("every sparsity is best at some budget in these modes").exp())
/// };
/// // 75 % is best at 6.56 times the compute that is Chinchilla's for a dense model of the size.
/// assert!((ratio(FlopMode::Sparse, 0.75)? - 6.56).abs() < 5e-3);
/// assert!((ratio(FlopMode::Dense, 0.75)? - 18.3).abs() < 5e-2);
/// // Up to these zeros do not lower the loss.
/// assert!((ratio(FlopMode::Sparse, 0.0)? - 0.422).abs() < 5e-4);
/// assert!((ratio(FlopMode::Dense, 0.0)? - 1.27).abs() < 5e-3);
/// # Ok::<(), DomainError>(())
/// ```
#[must_use]
pub fn ln_contour_ratio(law: &Coefficients, cost: &TrainingCost, density: Density) -> Option<f64> {
    if !cost.has_optimum() {
        return None;
    }
    if law.gain_curve().is_some() {
        return curved_contour_ratio(law, cost, density);
    }
    let v = law.values();
    let ln_x = density.get().ln();
    let ratio = |ln_multiplier: f64, ln_slope: f64| {
        ln_multiplier + (ln_slope + (1.0 - v.b_s) * ln_x - law.gain_slope().ln()) / v.b_d
    };
    let curve = match cost.saved_share() {
        Ok(m) => {
            // (ln c_mul)' = (1 - m) / (x (1 - m (1 - x)))
            let slope = (1.0 - m).ln() - ln_x - (-m * (1.0 - density.get())).ln_1p();
            return Some(ratio(cost.multiplier(density).ln(), slope));
        }
        Err(curve) => curve,
    };
    let node = curve.at_density(density);
    let optimum = |ln_ratio: f64| {
        // The ratio is the same at every size, so it is computed at one parameter.
        let ln_data = ln_ratio + law.ln_chinchilla_data(NonzeroParams::ONE);
        let condition = Condition::new(law, 0.0, ln_data);
        let best = curve.at_density(condition.best(curve, None));
        // Allows for rounding of the logarithms, which are up to a few tens.
        let is_here = condition.loss(&node) <= condition.loss(&best) * (1.0 + 1e-12);
        (best.density, is_here)
    };
    // (ln c_mul)' = w / x
    let mut high = ratio(node.ln_multiplier, node.ln_elasticity_above - ln_x);
    if !high.is_finite() {
        return None;
    }
    let (_, is_here) = optimum(high);
    if is_here {
        return Some(high);
    }
    if density < Density::DENSE && !node.is_kink() {
        return None;
    }
    let mut low = high - RANGE;
    while high - low > RANGE_DIGITS {
        let middle = 0.5 * (low + high);
        if optimum(middle).0 >= density { low = middle } else { high = middle }
    }
    let (_, is_here) = optimum(low);
    is_here.then_some(low)
}

/// How far below the root the bisection of [`ln_contour_ratio`] begins, in `ln M`: a factor of 1e13.
const RANGE: f64 = 30.0;
/// Width in `ln M` at which that bisection stops.
const RANGE_DIGITS: f64 = 1e-9;

/// Compute at which a model of `N` non-zeros has the Chinchilla ratio `M = e^ln_ratio`: `C = M k N D_chin(N)`, in
/// FLOPs.
///
/// ```
/// use sparsity_law::law::*;
///
/// let law = T5_C4.coefficients();
/// let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Sparse);
/// let half = Density::new(0.5)?;
/// let ratio = ln_contour_ratio(law, &cost, half).expect("every sparsity has its budget");
/// // A line of the contour picture, at three sizes: there 50 % is the best sparsity.
/// for size in [1e7, 1e8, 1e9] {
///     let n = NonzeroParams::new(size)?;
///     let c = Compute::new(contour_compute(law, &cost, n, ratio))?;
///     assert!((optimal_density(law, &cost, n, c).sparsity().get() - 0.5).abs() < 1e-9);
/// }
/// # Ok::<(), DomainError>(())
/// ```
#[must_use]
pub fn contour_compute(
    law: &Coefficients,
    cost: &TrainingCost,
    nonzero_params: NonzeroParams,
    ln_ratio: f64,
) -> f64 {
    let ln_size = (cost.flops_per_param().get() * nonzero_params.get()).ln();
    (ln_ratio + ln_size + law.ln_chinchilla_data(nonzero_params)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        Compute, FlopMode, FlopsPerParam, PruningSchedule, Sparsity, StepCost, T5_C4, VIT_JFT,
        optimal_sparsity,
    };
    use proptest::prelude::*;

    fn cost(mode: FlopMode) -> TrainingCost {
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode)
    }

    /// Tolerance for a table of ratios with three or four digits.
    const THREE_DIGITS: f64 = 3e-3;

    #[test]
    fn ratios_of_the_published_laws() {
        let rows = [
            (VIT_JFT.coefficients(), FlopMode::Sparse, [0.422, 1.676, 6.56, 25.4]),
            (VIT_JFT.coefficients(), FlopMode::Dense, [1.27, 4.817, 18.3, 69.2]),
            (T5_C4.coefficients(), FlopMode::Sparse, [0.024, 2.458, 160.0, 7047.0]),
            (T5_C4.coefficients(), FlopMode::Dense, [3.01, 71.1, 1677.0, 39557.0]),
        ];
        for (law, mode, ratios) in rows {
            for (expected, sparsity) in ratios.into_iter().zip([0.0, 0.5, 0.75, 0.875]) {
                let density = Sparsity::new(sparsity).unwrap().density();
                let got = ln_contour_ratio(law, &cost(mode), density).unwrap().exp();
                // One of the ratios is given to two digits only.
                let tolerance = if expected < 0.1 { 2e-2 } else { THREE_DIGITS };
                assert!((got / expected - 1.0).abs() < tolerance, "{mode:?} {sparsity}: {got}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_optimum_on_a_contour_is_its_level(
            sparsity in 0.0..0.98f64, ln_n in 13.0..24.0f64, sparse in any::<bool>(),
        ) {
            let law = VIT_JFT.coefficients();
            let cost = cost(if sparse { FlopMode::Sparse } else { FlopMode::Dense });
            let density = Sparsity::new(sparsity).unwrap().density();
            let n = NonzeroParams::new(ln_n.exp()).unwrap();
            let ln_ratio = ln_contour_ratio(law, &cost, density).unwrap();
            let compute = contour_compute(law, &cost, n, ln_ratio);
            let best = optimal_sparsity(law, &cost, n, Compute::new(compute).unwrap()).unwrap();
            prop_assert!((best.sparsity().get() - sparsity).abs() < 1e-9);
        }

        #[test]
        fn on_any_hardware_a_contour_is_a_global_optimum_or_is_not_there(
            share in 0.05..1.0f64, efficiency in 0.05..1.0f64, sparsity in 0.0..0.98f64,
            t5 in any::<bool>(),
        ) {
            let law = if t5 { T5_C4.coefficients() } else { VIT_JFT.coefficients() };
            let step = StepCost::of_share(share, efficiency).unwrap();
            let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), step);
            let density = Sparsity::new(sparsity).unwrap().density();
            let n = NonzeroParams::new(1e8).unwrap();
            // The case is replaced by another one; too many rejected cases fail the test.
            let Some(ln_ratio) = ln_contour_ratio(law, &cost, density) else {
                return Err(TestCaseError::reject("no budget asks for this sparsity"));
            };
            let compute = Compute::new(contour_compute(law, &cost, n, ln_ratio)).unwrap();
            let best = optimal_sparsity(law, &cost, n, compute).unwrap();
            let here = law.loss(density, n, cost.data(density, n, compute).unwrap());
            prop_assert!(here <= best.loss * (1.0 + 1e-12));
        }
    }

    #[test]
    fn a_sparsity_that_the_optimum_jumps_over_has_no_contour() {
        let law = VIT_JFT.coefficients();
        // No gain below 40 %, and all of the ideal gain soon after.
        let step = StepCost::of_points(&[(0.4, 1.0), (0.5, 0.3), (1.0, 0.01)]).unwrap();
        let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), step);
        let at = |s: f64| ln_contour_ratio(law, &cost, Sparsity::new(s).unwrap().density());
        assert_eq!((at(0.4), at(0.45)), (None, None));
        assert!(at(0.0).unwrap() < at(0.95).unwrap());
        // Cheap at one half only.
        let step = StepCost::of_points(&[(0.45, 1.0), (0.5, 0.4), (0.55, 1.0)]).unwrap();
        let kink = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), step);
        // Zero and a kink are optimal over a range of budgets, and the result is its upper end.
        let n = NonzeroParams::new(1e8).unwrap();
        for (cost, sparsity) in [(&cost, 0.0), (&kink, 0.0), (&kink, 0.5)] {
            let density = Sparsity::new(sparsity).unwrap().density();
            let ln_ratio = ln_contour_ratio(law, cost, density).unwrap();
            let optimum = |ln_ratio: f64| {
                let compute = Compute::new(contour_compute(law, cost, n, ln_ratio)).unwrap();
                optimal_sparsity(law, cost, n, compute).unwrap().sparsity().get()
            };
            assert_eq!(optimum(ln_ratio - 1e-6), sparsity);
            assert!(optimum(ln_ratio + 1e-6) > sparsity);
        }
    }
}
