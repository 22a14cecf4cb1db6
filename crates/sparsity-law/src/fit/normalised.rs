//! The coordinates in which a law is fitted.
//!
//! `N`, `D` and `L` are divided by their geometric means over the runs, so that all of them are near 1. The
//! coordinates are the logarithms of the coefficients, so that these stay positive:
//!
//! ```text
//! f / L0 = (a x^b_S + c_S) n^(-b_N) + e d^(-b_D) + c,   n = N/N0, d = D/D0,
//! a_S = L0 N0^b_N a,  c_S = L0 N0^b_N c_S',  a_D = D0 (L0 e)^(1/b_D),  c = L0 c'
//! ```

use super::observations::Observations;
use crate::law::{CoefficientName, CoefficientValues, Coefficients, DomainError};

/// Number of coefficients.
pub(super) const COUNT: usize = 7;

/// Logarithms of the normalised coefficients `[a, b_S, c_S', b_N, e, b_D, c']`.
pub(super) type Point = [f64; COUNT];

/// Indices of the coordinates in a [`Point`].
pub(super) mod at {
    /// `ln a`.
    pub const A: usize = 0;
    /// `ln b_S`.
    pub const BS: usize = 1;
    /// `ln c_S'`.
    pub const CS: usize = 2;
    /// `ln b_N`.
    pub const BN: usize = 3;
    /// `ln e`.
    pub const E: usize = 4;
    /// `ln b_D`.
    pub const BD: usize = 5;
    /// `ln c'`.
    pub const C: usize = 6;
}

/// Box in which the coordinates are searched. Amplitudes below e^-30, for a loss near 1, are below its rounding;
/// exponents outside 1e-3..20 describe no training run. Over the widest ranges of `N` and `D` the powers could
/// still overflow, so [`passes`](super::passes) cuts off their exponents.
pub(super) const BOUNDS: [(f64, f64); COUNT] = {
    const AMPLITUDE: (f64, f64) = (-30.0, 30.0);
    const EXPONENT: (f64, f64) = (-6.907_755_278_982_137, 2.995_732_273_553_991);
    [AMPLITUDE, EXPONENT, AMPLITUDE, EXPONENT, AMPLITUDE, EXPONENT, AMPLITUDE]
};

/// Units of the normalised quantities, and the runs in these units.
#[derive(Debug, Clone)]
pub(super) struct Normalised {
    pub ln_n0: f64,
    pub ln_d0: f64,
    pub ln_l0: f64,
    /// `ln (1 - S)` of each run.
    pub ln_x: Vec<f64>,
    /// `ln (N / N0)` of each run.
    pub ln_n: Vec<f64>,
    /// `ln (D / D0)` of each run.
    pub ln_d: Vec<f64>,
    /// `ln (L / L0)` of each run.
    pub ln_l: Vec<f64>,
    /// `L / L0` of each run.
    pub l: Vec<f64>,
}

impl Normalised {
    pub fn new(runs: &Observations) -> Self {
        let column = |of: fn(&super::Observation) -> f64| -> Vec<f64> {
            runs.as_slice().iter().map(|run| of(run).ln()).collect()
        };
        let ln_x = column(|run| run.sparsity.density().get());
        let (ln_n0, ln_n) = centred(column(|run| run.nonzero_params.get()));
        let (ln_d0, ln_d) = centred(column(|run| run.data.get()));
        let (ln_l0, ln_l) = centred(column(|run| run.loss.get()));
        let l = ln_l.iter().map(|ln_l| ln_l.exp()).collect();
        Self { ln_n0, ln_d0, ln_l0, ln_x, ln_n, ln_d, ln_l, l }
    }

    /// A subset of the runs, by index, in the same units.
    pub fn only(&self, runs: &[u32]) -> Self {
        let pick = |column: &[f64]| runs.iter().map(|run| column[*run as usize]).collect();
        Self {
            ln_x: pick(&self.ln_x),
            ln_n: pick(&self.ln_n),
            ln_d: pick(&self.ln_d),
            ln_l: pick(&self.ln_l),
            l: pick(&self.l),
            ..*self
        }
    }

    /// Number of runs.
    pub fn len(&self) -> usize {
        self.ln_l.len()
    }

    /// `L0`, the unit of the loss.
    pub fn loss_unit(&self) -> f64 {
        self.ln_l0.exp()
    }

    /// The point that corresponds to coefficients in raw units.
    pub fn point(&self, law: &Coefficients) -> Point {
        let v = law.values();
        let ln_capacity = self.ln_l0 + v.b_n * self.ln_n0;
        [
            v.a_s.ln() - ln_capacity,
            v.b_s.ln(),
            v.c_s.ln() - ln_capacity,
            v.b_n.ln(),
            v.b_d * (v.a_d.ln() - self.ln_d0) - self.ln_l0,
            v.b_d.ln(),
            v.c.ln() - self.ln_l0,
        ]
    }

    /// The coefficients of a point, in raw units. A term that is switched off (`ln a`, `ln e` or `ln b_N` minus
    /// infinity) is missing from the law: the runs cannot tell it from another.
    ///
    /// # Errors
    /// Names the coefficient that is out of the range of an f64: `a_D = D0 e^(1/b_D)` overflows where `b_D` is tiny.
    pub fn coefficients(
        &self,
        point: &Point,
    ) -> Result<Coefficients, (CoefficientName, DomainError)> {
        let [ln_a, ln_bs, ln_cs, ln_bn, ln_e, ln_bd, ln_c] = *point;
        let (b_n, b_d) = (ln_bn.exp(), ln_bd.exp());
        let ln_capacity = self.ln_l0 + b_n * self.ln_n0;
        Coefficients::reduced(CoefficientValues {
            a_s: (ln_capacity + ln_a).exp(),
            b_s: ln_bs.exp(),
            c_s: (ln_capacity + ln_cs).exp(),
            b_n,
            a_d: (self.ln_d0 + (self.ln_l0 + ln_e) / b_d).exp(),
            b_d,
            c: (self.ln_l0 + ln_c).exp(),
        })
    }
}

/// Mean of the logarithms, and the logarithms less their mean.
fn centred(mut logs: Vec<f64>) -> (f64, Vec<f64>) {
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    for log in &mut logs {
        *log -= mean;
    }
    (mean, logs)
}
