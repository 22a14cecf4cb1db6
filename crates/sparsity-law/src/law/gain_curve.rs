//! The effect of sparsity on the effective size of a model, where the law's own coefficients do not describe it.
//!
//! A law with such a curve is `L = A (g(S) N)^(-b_N) + (a_D / D)^b_D + c`: a model with `N` non-zeros is worth a dense
//! model of `g(S) N` parameters, and the rest is a law of dense models. The seven coefficients cannot express it: with
//! a lender's gain `(A' x^b + C')^(1/b')` and the law's own `b_N`, the capacity is that sum raised to the power
//! `b_N / b'`.

use serde::{Deserialize, Serialize};

use super::quantity::Density;

/// The gain `g(S)`: size of the dense model that is as good, relative to the non-zero parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GainCurve {
    /// The gain of another family's law.
    Borrowed(BorrowedGain),
    /// `(1 - m S) / (1 - S)`: the mean number of parameters over training, relative to the number at its end (Jin and
    /// others, arXiv 2501.12486).
    AverageParams {
        /// `m`: mean sparsity over training as a share of the final one, 0 to 1.
        mean_share: f64,
    },
}

/// The gain of a law: `((a_S (1-S)^b_S + c_S) / (a_S + c_S))^(-1/b_N)`, which does not depend on size or data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BorrowedGain {
    /// `a_S` of the lender; only its ratio to `c_S` matters.
    pub a_s: f64,
    /// `b_S` of the lender.
    pub b_s: f64,
    /// `c_S` of the lender.
    pub c_s: f64,
    /// `b_N` of the lender.
    pub b_n: f64,
}

impl GainCurve {
    /// Whether the gain rises without end as the sparsity approaches 1.
    #[must_use]
    pub fn has_no_limit(&self) -> bool {
        matches!(self, Self::AverageParams { mean_share } if *mean_share < 1.0)
    }

    /// `ln g`; 0 for a dense model.
    #[must_use]
    pub fn ln_gain(&self, density: Density) -> f64 {
        let x = density.get();
        match *self {
            Self::Borrowed(BorrowedGain { a_s, b_s, c_s, b_n }) => {
                // Fraction of the capacity that zeros take away; it keeps its digits where it is small.
                let gone = -(b_s * x.ln()).exp_m1() * a_s / (a_s + c_s);
                -(-gone).ln_1p() / b_n
            }
            Self::AverageParams { mean_share } => kept(mean_share, x).ln() - x.ln(),
        }
    }

    /// `d ln g / dy` in `y = -ln(1 - S)`; at `S = 0` this is also the slope of `g` in `S`. Never negative.
    #[must_use]
    pub fn ln_gain_slope(&self, density: Density) -> f64 {
        let x = density.get();
        match *self {
            Self::Borrowed(BorrowedGain { a_s, b_s, c_s, b_n }) => {
                let sparse = a_s * x.powf(b_s);
                b_s * sparse / (sparse + c_s) / b_n
            }
            Self::AverageParams { mean_share } => (1.0 - mean_share) / kept(mean_share, x),
        }
    }

    /// The gain `g`; 1 for a dense model.
    #[must_use]
    pub fn gain(&self, density: Density) -> f64 {
        self.ln_gain(density).exp()
    }
}

/// `1 - m S` as a function of the density.
fn kept(mean_share: f64, x: f64) -> f64 {
    1.0 - mean_share * (1.0 - x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{CoefficientValues, Coefficients, Sparsity, T5_C4, VIT_JFT};
    use proptest::prelude::*;

    fn borrowed(law: &Coefficients) -> GainCurve {
        GainCurve::Borrowed(BorrowedGain::of(law).unwrap())
    }

    proptest! {
        #[test]
        fn a_borrowed_gain_is_that_of_the_lender(x in 1e-6..1.0f64, t5 in any::<bool>()) {
            let law = if t5 { T5_C4.coefficients() } else { VIT_JFT.coefficients() };
            let density = Density::new(x).unwrap();
            let got = borrowed(law).gain(density);
            // A few roundings of a power.
            prop_assert!((got / law.gain(density) - 1.0).abs() < 1e-13);
        }

        #[test]
        fn the_slope_is_the_derivative(y in 0.0..8.0f64, m in 0.0..1.0f64, which in 0..3) {
            let curve = match which {
                0 => borrowed(T5_C4.coefficients()),
                1 => borrowed(VIT_JFT.coefficients()),
                _ => GainCurve::AverageParams { mean_share: m },
            };
            let at = |y: f64| Density::clamped((-y).exp());
            let step = 1e-5;
            let (below, above) = (y.max(step) - step, y.max(step) + step);
            let difference = (curve.ln_gain(at(above)) - curve.ln_gain(at(below))) / (above - below);
            // Truncation and rounding errors of a central difference.
            prop_assert!((difference - curve.ln_gain_slope(at(y.max(step)))).abs() < 1e-8);
        }
    }

    #[test]
    fn a_dense_model_gains_nothing() {
        for curve in
            [borrowed(T5_C4.coefficients()), GainCurve::AverageParams { mean_share: 0.625 }]
        {
            assert_eq!(curve.gain(Density::DENSE), 1.0);
        }
        // 75 % zeros with the paper's schedule: on average 2.125 parameters over training for each one that stays.
        let curve = GainCurve::AverageParams { mean_share: 0.625 };
        let gain = curve.gain(Sparsity::new(0.75).unwrap().density());
        assert!((gain - 2.125).abs() < 1e-12, "{gain}");
    }

    #[test]
    fn only_a_law_of_its_own_lends() {
        let dense = CoefficientValues { a_s: 0.0, ..T5_C4.coefficients().values() };
        let dense = Coefficients::reduced(dense).unwrap();
        assert_eq!(BorrowedGain::of(&dense), None);
        let borrower = dense.with_gain(borrowed(VIT_JFT.coefficients())).unwrap();
        assert_eq!(BorrowedGain::of(&borrower), None);
        assert!(T5_C4.coefficients().with_gain(borrowed(VIT_JFT.coefficients())).is_none());
    }
}
