//! Mean Huber loss of the residuals, with its gradient and Hessian in one pass.

use nalgebra::{SMatrix, SVector};

use super::config::Residual;
use super::normalised::{COUNT, Normalised, Point};

/// Gradient in the coordinates of a [`Point`].
pub(super) type Gradient = SVector<f64, COUNT>;
/// Hessian in the coordinates of a [`Point`].
pub(super) type Hessian = SMatrix<f64, COUNT, COUNT>;

/// Value and derivatives at a point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evaluation {
    pub value: f64,
    pub gradient: Gradient,
    pub hessian: Hessian,
}

impl Evaluation {
    /// Makes a Newton step leave this coordinate where it is.
    pub fn hold(&mut self, place: usize) {
        self.gradient[place] = 0.0;
        self.hessian.row_mut(place).fill(0.0);
        self.hessian.column_mut(place).fill(0.0);
        self.hessian[(place, place)] = 1.0;
    }
}

/// A run that counts, and how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weighted {
    /// Place among the normalised runs.
    pub run: u32,
    /// Share of this run in the mean; all shares sum to 1.
    pub share: f64,
}

/// `sum_i w_i Huber(r_i, delta) / delta^2` over weighted runs, as a function of the logarithms of
/// the normalised coefficients.
///
/// Divided by `delta^2` a good fit is of order 1. Left at its natural 1e-6 a default gradient
/// tolerance would stop at once, which is what happened to the published T5 fit.
#[derive(Debug, Clone)]
pub(super) struct Objective<'a> {
    pub runs: &'a Normalised,
    pub weighted: Vec<Weighted>,
    pub residual: Residual,
    /// Delta in the unit of the normalised residual.
    pub delta: f64,
}

/// Exponents of powers are cut off here, so that products of several of them stay finite.
const MOST_EXPONENT: f64 = 600.0;

/// The law's parts at one run, in units of `L0`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// The law.
    pub loss: f64,
    /// `df/d theta`.
    pub slope: [f64; COUNT],
    /// `b_S ln x`, `-b_N ln n` and `-b_D ln d`.
    exponents: [f64; 3],
}

/// Powers of each level at one point.
struct Tables {
    amplitudes: [f64; 4],
    exponents: [f64; 3],
    x: Vec<f64>,
    n: Vec<f64>,
    d: Vec<f64>,
}

impl Tables {
    fn new(runs: &Normalised, point: &Point) -> Self {
        let [ln_a, ln_bs, ln_cs, ln_bn, ln_e, ln_bd, ln_c] = *point;
        let [b_s, b_n, b_d] = [ln_bs, ln_bn, ln_bd].map(f64::exp);
        let powers = |levels: &[f64], exponent: f64| {
            levels.iter().map(|level| (exponent * level).min(MOST_EXPONENT).exp()).collect()
        };
        Self {
            amplitudes: [ln_a, ln_cs, ln_e, ln_c].map(f64::exp),
            exponents: [b_s, b_n, b_d],
            x: powers(&runs.ln_x.values, b_s),
            n: powers(&runs.ln_n.values, -b_n),
            d: powers(&runs.ln_d.values, -b_d),
        }
    }

    #[inline(always)]
    fn parts(&self, runs: &Normalised, run: usize) -> Parts {
        let (ix, i_n, id) = (
            runs.ln_x.index[run] as usize,
            runs.ln_n.index[run] as usize,
            runs.ln_d.index[run] as usize,
        );
        let [a, c_s, e, c] = self.amplitudes;
        let [b_s, b_n, b_d] = self.exponents;
        let sparse = a * self.x[ix] * self.n[i_n];
        let rest = c_s * self.n[i_n];
        let data = e * self.d[id];
        let p = b_s * runs.ln_x.values[ix];
        let q = -b_n * runs.ln_n.values[i_n];
        let v = -b_d * runs.ln_d.values[id];
        Parts {
            // Where every term underflows the logarithm must stay finite.
            loss: (sparse + rest + data + c).max(f64::MIN_POSITIVE),
            slope: [sparse, sparse * p, rest, (sparse + rest) * q, data, data * v, c],
            exponents: [p, q, v],
        }
    }
}

impl<'a> Objective<'a> {
    /// The objective over all runs with these weights.
    pub fn new(runs: &'a Normalised, weights: &[f64], residual: Residual, delta: f64) -> Self {
        let delta = match residual {
            Residual::Log => delta,
            // The residual is divided by L0, and so is delta.
            Residual::Linear => delta / runs.loss_unit(),
        };
        Self { runs, weighted: shares(weights), residual, delta }
    }

    /// The same objective over the same runs with other weights.
    pub fn reweighted(&self, weights: &[f64]) -> Self {
        let Self { runs, residual, delta, .. } = *self;
        Self { runs, weighted: shares(weights), residual, delta }
    }

    /// The same objective with another delta, in the unit of the normalised residual.
    pub fn with_delta(&self, delta: f64) -> Self {
        Self { delta, weighted: self.weighted.clone(), ..*self }
    }

    /// Residual of a run that is predicted to be `loss`, in the unit of `delta`.
    #[inline(always)]
    fn residual(&self, loss: f64, run: usize) -> f64 {
        match self.residual {
            Residual::Log => loss.ln() - self.runs.ln_l[run],
            Residual::Linear => loss - self.runs.l[run],
        }
    }

    /// Residuals of all runs and their derivatives by the coordinates: `(r_i, dr_i/d theta)`.
    pub fn residuals(&self, point: &Point) -> Vec<(f64, Gradient)> {
        let tables = Tables::new(self.runs, point);
        (0..self.runs.len())
            .map(|run| {
                let parts = tables.parts(self.runs, run);
                let per_loss = match self.residual {
                    Residual::Log => parts.loss.recip(),
                    Residual::Linear => 1.0,
                };
                (self.residual(parts.loss, run), Gradient::from(parts.slope) * per_loss)
            })
            .collect()
    }

    /// Absolute residuals of the runs that count.
    pub fn absolute_residuals(&self, point: &Point) -> Vec<f64> {
        let tables = Tables::new(self.runs, point);
        let residual = |weighted: &Weighted| {
            let run = weighted.run as usize;
            self.residual(tables.parts(self.runs, run).loss, run).abs()
        };
        self.weighted.iter().map(residual).collect()
    }

    /// Normal equations of the four amplitudes at the exponents of `point`, whose amplitudes are 1:
    /// least squares of the relative errors of the loss.
    pub fn linear_system(&self, point: &Point) -> (SMatrix<f64, 4, 4>, SVector<f64, 4>) {
        let tables = Tables::new(self.runs, point);
        let mut gram = SMatrix::zeros();
        let mut moment = SVector::zeros();
        for &Weighted { run, share } in &self.weighted {
            let run = run as usize;
            let [sparse, _, rest, _, data, _, constant] = tables.parts(self.runs, run).slope;
            let basis = SVector::from([sparse, rest, data, constant]) / self.runs.l[run];
            gram += basis * basis.transpose() * share;
            moment += basis * share;
        }
        (gram, moment)
    }

    /// The value alone.
    pub fn value(&self, point: &Point) -> f64 {
        let tables = Tables::new(self.runs, point);
        let huber = |weighted: &Weighted| {
            let run = weighted.run as usize;
            let u = (self.residual(tables.parts(self.runs, run).loss, run) / self.delta).abs();
            weighted.share * if u <= 1.0 { 0.5 * u * u } else { u - 0.5 }
        };
        self.weighted.iter().map(huber).sum()
    }

    /// Value, gradient and Hessian in one pass, with the Huber loss turning linear at `delta`;
    /// the value is in units of `delta^2`.
    ///
    /// The second derivative of the Huber loss jumps at `delta`; there the Hessian is that of the
    /// quadratic side.
    pub fn evaluate(&self, point: &Point, delta: f64) -> Evaluation {
        let tables = Tables::new(self.runs, point);
        let per_delta = delta.recip();
        let mut value = 0.0;
        let mut g = [0.0; COUNT];
        // Upper triangle, row by row.
        let mut h = [0.0; COUNT * (COUNT + 1) / 2];
        for &Weighted { run, share } in &self.weighted {
            let run = run as usize;
            let parts = tables.parts(self.runs, run);
            let u = self.residual(parts.loss, run) * per_delta;
            let inside = u.abs() <= 1.0;
            let (huber, slope) =
                if inside { (0.5 * u * u, u) } else { (u.abs() - 0.5, u.signum()) };
            value += share * huber;
            // f is the law, r the residual; first and second derivative of the Huber loss by f.
            let curvature = if inside { per_delta * per_delta } else { 0.0 };
            let (by_f, by_f2) = match self.residual {
                Residual::Log => {
                    let per_loss = parts.loss.recip();
                    let by_f = slope * per_delta * per_loss;
                    (by_f, (curvature * per_loss - by_f) * per_loss)
                }
                Residual::Linear => (slope * per_delta, curvature),
            };
            let (by_f, by_f2) = (share * by_f, share * by_f2);
            let s = &parts.slope;
            for (total, slope) in g.iter_mut().zip(s) {
                *total += by_f * slope;
            }
            if by_f2 != 0.0 {
                let mut cell = 0;
                for i in 0..COUNT {
                    let scaled = by_f2 * s[i];
                    for slope in &s[i..] {
                        h[cell] += scaled * slope;
                        cell += 1;
                    }
                }
            }
            // Second derivatives of the law, which is a sum of exponentials of exponentials: here
            // what they have beyond the slopes themselves.
            let [p, q, v] = parts.exponents;
            h[3] += by_f * s[0] * q;
            h[7] += by_f * s[1] * p;
            h[9] += by_f * s[1] * q;
            h[14] += by_f * s[2] * q;
            h[18] += by_f * s[3] * q;
            h[25] += by_f * s[5] * v;
        }
        // What is a slope again: the sums of those are the gradient.
        for (cell, place) in
            [(0, 0), (1, 1), (7, 1), (13, 2), (18, 3), (22, 4), (23, 5), (25, 5), (27, 6)]
        {
            h[cell] += g[place];
        }
        let mut hessian = Hessian::zeros();
        let mut cell = 0;
        for i in 0..COUNT {
            for j in i..COUNT {
                hessian[(i, j)] = h[cell];
                hessian[(j, i)] = h[cell];
                cell += 1;
            }
        }
        Evaluation { value, gradient: g.into(), hessian }
    }
}

/// Weights as shares of their sum; runs without weight are left out.
fn shares(weights: &[f64]) -> Vec<Weighted> {
    let total: f64 = weights.iter().sum();
    (0..)
        .zip(weights)
        .filter(|(_, weight)| **weight > 0.0)
        .map(|(run, weight)| Weighted { run, share: weight / total })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::Observations;
    use crate::fit::normalised::BOUNDS;
    use crate::fit::testing;
    use crate::law::T5_C4;
    use proptest::prelude::*;

    fn runs() -> Normalised {
        Normalised::new(&Observations::new(testing::grid(T5_C4.coefficients(), 0.01, 1)))
    }

    fn objective(runs: &Normalised, residual: Residual) -> Objective<'_> {
        let weights: Vec<f64> = (0..runs.len()).map(|run| (run % 3) as f64).collect();
        Objective::new(runs, &weights, residual, 0.02)
    }

    proptest! {
        #[test]
        fn gradient_and_hessian_are_the_derivatives(
            point in prop::array::uniform7(-1.5..1.0f64), linear in any::<bool>(),
        ) {
            let runs = runs();
            let objective =
                objective(&runs, if linear { Residual::Linear } else { Residual::Log });
            let here = objective.evaluate(&point, objective.delta);
            prop_assert!((objective.value(&point) / here.value - 1.0).abs() < 1e-12);
            let step = 1e-6;
            for i in 0..COUNT {
                let at = |delta: f64| {
                    let mut moved = point;
                    moved[i] += delta;
                    objective.evaluate(&moved, objective.delta)
                };
                let (above, below) = (at(step), at(-step));
                // Rounding over the step, and one run's kink of the second derivative inside it.
                let close = |difference: f64, got: f64, scale: f64| {
                    (difference - got).abs() < 2e-5 * (1.0 + scale)
                };
                let difference = (above.value - below.value) / (2.0 * step);
                prop_assert!(close(difference, here.gradient[i], here.gradient[i].abs()));
                // The Hessian jumps where a run's residual passes delta: compare away from there.
                let jumps = objective.residuals(&point).iter().any(|(r, _)| {
                    (r.abs() / objective.delta - 1.0).abs() < 1e-3
                });
                if !jumps {
                    for j in 0..COUNT {
                        let difference = (above.gradient[j] - below.gradient[j]) / (2.0 * step);
                        let scale = here.hessian.amax();
                        prop_assert!(close(difference, here.hessian[(i, j)], scale),
                            "{i} {j}: {difference} {}", here.hessian[(i, j)]);
                    }
                }
            }
        }

        #[test]
        fn it_is_finite_everywhere_in_the_box(share in prop::array::uniform7(0.0..=1.0f64)) {
            let runs = runs();
            let mut point = [0.0; COUNT];
            for i in 0..COUNT {
                point[i] = BOUNDS[i].0 + share[i] * (BOUNDS[i].1 - BOUNDS[i].0);
            }
            for residual in [Residual::Log, Residual::Linear] {
                let objective = objective(&runs, residual);
                let here = objective.evaluate(&point, objective.delta);
                prop_assert!(here.value.is_finite());
                prop_assert!(here.gradient.iter().chain(here.hessian.iter()).all(|x| x.is_finite()));
            }
        }
    }
}
