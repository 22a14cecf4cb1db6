//! Lines of equal optimal sparsity.
//!
//! `S_opt` depends on `N` and `C` only through `M = C / C_chin(N)`, so the budgets at which one
//! sparsity is optimal lie on a straight line in `(log N, log C)`, parallel to the Chinchilla line.

use super::coefficients::Coefficients;
use super::cost::TrainingCost;
use super::quantity::{Density, NonzeroParams};

/// `ln M` at which the sparsity `1 - x` is optimal:
///
/// ```text
/// M(S) = c_mul(S) [ (ln c_mul)' (1-S)^(1-b_S) / s0 ]^(1/b_D),   s0 = a_S b_S / (b_N (a_S + c_S))
/// ```
///
/// the root of the optimality condition of [`super::optimal_sparsity`], solved for the budget. At
/// density 1 it is the budget up to which no zeros pay.
#[must_use]
pub fn ln_contour_ratio(law: &Coefficients, cost: &TrainingCost, density: Density) -> f64 {
    let v = law.values();
    let (x, m) = (density.get(), cost.saved_share());
    let multiplier = cost.multiplier(density).ln();
    // (ln c_mul)' = (1 - m) / (x (1 - m (1 - x)))
    let slope = (1.0 - m).ln() - x.ln() - (-m * (1.0 - x)).ln_1p();
    multiplier + (slope + (1.0 - v.b_s) * x.ln() - law.gain_slope().ln()) / v.b_d
}

/// Compute at which a model of `N` non-zeros has the chinchilla ratio `e^ln_ratio`:
/// `C = M k N D_chin(N)`.
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
        Compute, FlopMode, FlopsPerParam, PruningSchedule, Sparsity, T5_C4, VIT_JFT,
        optimal_sparsity,
    };
    use proptest::prelude::*;

    fn cost(mode: FlopMode) -> TrainingCost {
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode)
    }

    /// The table of LAW's section 4 gives three or four digits.
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
                let got = ln_contour_ratio(law, &cost(mode), density).exp();
                // One ratio is given to two digits.
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
            let compute = contour_compute(law, &cost, n, ln_contour_ratio(law, &cost, density));
            let best = optimal_sparsity(law, &cost, n, Compute::new(compute).unwrap()).unwrap();
            prop_assert!((best.sparsity().get() - sparsity).abs() < 1e-9);
        }
    }
}
