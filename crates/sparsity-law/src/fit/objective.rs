//! Mean Huber loss of the residuals, with gradient and Hessian computed in one pass.

use nalgebra::{SMatrix, SVector};
use pulp::Arch;

use super::config::Residual;
pub(super) use super::derivatives::{Evaluation, Gradient, Hessian, solve};
use super::linearised::Linear;
use super::normalised::{Normalised, Point};
use super::passes::{Evaluate, LawAtPoint, LinearSystem, Residuals, RunColumns};

/// `sum_i w_i Huber(r_i, delta) / delta^2` over weighted runs, as a function of the logarithms of the normalised
/// coefficients.
///
/// Dividing by `delta^2` makes the value of a good fit of order 1. At its natural size of 1e-6, a default gradient
/// tolerance would stop at once, which is what happened to the published T5 fit.
#[derive(Debug, Clone)]
pub(super) struct Objective<'a> {
    pub runs: &'a Normalised,
    pub residual: Residual,
    /// Where the Huber loss turns linear, in the unit of the normalised residual.
    pub delta: f64,
    /// The runs with a positive weight.
    columns: RunColumns,
    /// Selects the widest vectors of this processor.
    arch: Arch,
}

impl<'a> Objective<'a> {
    /// The objective over all runs with these weights; `delta` is in the unit of the residual.
    pub fn new(runs: &'a Normalised, weights: &[f64], residual: Residual, delta: f64) -> Self {
        let delta = match residual {
            Residual::Log => delta,
            // The residual is divided by L0, and so is delta.
            Residual::Linear => delta / runs.loss_unit(),
        };
        let columns = RunColumns::new(runs, residual, weights);
        Self { runs, residual, delta, columns, arch: Arch::new() }
    }

    /// The same objective over the same runs with other weights.
    pub fn reweighted(&self, weights: &[f64]) -> Self {
        self.over(self.runs, weights)
    }

    /// The same objective over other runs in the same units.
    pub fn over<'b>(&self, runs: &'b Normalised, weights: &[f64]) -> Objective<'b> {
        let Self { residual, delta, arch, .. } = *self;
        let columns = RunColumns::new(runs, residual, weights);
        Objective { runs, residual, delta, columns, arch }
    }

    /// The same objective with another delta, in the unit of the normalised residual.
    pub fn with_delta(&self, delta: f64) -> Self {
        Self { delta, columns: self.columns.clone(), ..*self }
    }

    /// Indices, among the normalised runs, of the runs with a positive weight.
    pub fn places(&self) -> &[u32] {
        self.columns.places()
    }

    /// Shares of the runs with a positive weight; they sum to 1.
    pub fn shares(&self) -> &[f64] {
        self.columns.shares()
    }

    /// Shares of all runs; 0 for runs without weight.
    pub fn all_shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.runs.len()];
        for (place, share) in self.places().iter().zip(self.shares()) {
            shares[*place as usize] = *share;
        }
        shares
    }

    /// Residuals of all runs, each with its derivatives by the coordinates: `(r_i, dr_i/d theta)`.
    pub fn residuals(&self, point: &Point) -> Vec<(f64, Gradient)> {
        let law = LawAtPoint::new(point);
        (0..self.runs.len())
            .map(|run| {
                let Normalised { ln_x, ln_n, ln_d, ln_l, l, .. } = self.runs;
                let parts = law.parts(ln_x[run], ln_n[run], ln_d[run]);
                let (residual, per_loss) = match self.residual {
                    Residual::Log => (parts.loss.ln() - ln_l[run], parts.loss.recip()),
                    Residual::Linear => (parts.loss - l[run], 1.0),
                };
                (residual, Gradient::from(parts.slope) * per_loss)
            })
            .collect()
    }

    /// Absolute residuals of the runs with a positive weight.
    pub fn absolute_residuals(&self, point: &Point) -> Vec<f64> {
        let mut found = self.columns.room();
        let Self { columns, residual, .. } = self;
        let pass = Residuals {
            columns,
            residual: *residual,
            law: LawAtPoint::new(point),
            found: &mut found,
        };
        self.arch.dispatch(pass);
        found.truncate(self.columns.len());
        for residual in &mut found {
            *residual = residual.abs();
        }
        found
    }

    /// Normal equations of the four amplitudes for least squares of the relative errors of the loss, at the
    /// exponents of `point`, whose amplitudes must be 1.
    pub fn linear_system(&self, point: &Point) -> (SMatrix<f64, 4, 4>, SVector<f64, 4>) {
        let Self { columns, residual, .. } = self;
        self.arch.dispatch(LinearSystem {
            columns,
            residual: *residual,
            law: LawAtPoint::new(point),
        })
    }

    /// Number of runs with a positive weight.
    pub fn count(&self) -> usize {
        self.columns.len()
    }

    /// Allocates the columns for [`Self::linearise`].
    pub fn linear(&self) -> Linear {
        Linear::new(self.arch, &self.columns)
    }

    /// Linearises the residuals in the coordinates about a point, in units of `delta`.
    pub fn linearise(&self, point: &Point, delta: f64, linear: &mut Linear) {
        linear.take(&self.columns, self.residual, LawAtPoint::new(point), delta);
    }

    /// The value without derivatives, in units of `delta^2`.
    pub fn value(&self, point: &Point) -> f64 {
        let huber = |(residual, share): (f64, &f64)| {
            let u = residual / self.delta;
            share * if u <= 1.0 { 0.5 * u * u } else { u - 0.5 }
        };
        self.absolute_residuals(point).into_iter().zip(self.shares()).map(huber).sum()
    }

    /// Value, gradient and Hessian in one pass, with the Huber loss turning linear at `delta`. The value is in
    /// units of `delta^2`.
    ///
    /// The second derivative of the Huber loss jumps at `delta`; exactly there the Hessian is that of the
    /// quadratic side.
    pub fn evaluate(&self, point: &Point, delta: f64) -> Evaluation {
        let Self { columns, residual, .. } = self;
        let law = LawAtPoint::new(point);
        self.arch.dispatch(Evaluate { columns, residual: *residual, law, delta })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::Observations;
    use crate::fit::normalised::{BOUNDS, COUNT};
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
        fn equations_are_solved_where_the_matrix_is_positive_definite(
            cells in prop::collection::vec(-1.0..1.0f64, COUNT * COUNT),
            shift in -0.5..1.0f64, x in prop::array::uniform7(-1.0..1.0f64),
        ) {
            let root = Hessian::from_fn(|i, j| cells[COUNT * i + j]);
            let h = root * root.transpose() + Hessian::identity() * shift;
            let g = h * Gradient::from(x);
            let factors = nalgebra::Cholesky::new(h);
            let found = solve(&h, &g);
            prop_assert_eq!(found.is_some(), factors.is_some());
            if let (Some(found), Some(factors)) = (found, factors) {
                let expected = factors.solve(&g);
                let least = h.symmetric_eigenvalues().min();
                prop_assert!((found - expected).amax() < 1e-12 / least.min(1.0));
            }
        }

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
                // Allows for rounding over the step, and for one run whose second derivative jumps inside it.
                let close = |difference: f64, got: f64, scale: f64| {
                    (difference - got).abs() < 2e-5 * (1.0 + scale)
                };
                let difference = (above.value - below.value) / (2.0 * step);
                prop_assert!(close(difference, here.gradient[i], here.gradient[i].abs()));
                // The Hessian jumps where a residual passes delta, so compare only away from there.
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
