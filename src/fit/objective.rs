//! Mean Huber loss of the residuals, with its gradient.

use super::config::{Residual, ValidFitConfig};
use super::normalised::{BOUNDS, COUNT, Normalised, Point};

/// `mean_i Huber(r_i, delta) / delta^2` over the runs, as a function of the logarithms of the
/// normalised coefficients.
///
/// Divided by `delta^2` a good fit is of order 1. Left at its natural 1e-6 a default gradient
/// tolerance would stop at once, which is what happened to the published T5 fit.
///
/// Outside [`BOUNDS`] the value is that of the nearest point inside plus the squared distance, so
/// it is finite everywhere and a descent that strays is led back.
#[derive(Debug)]
pub(super) struct Objective {
    runs: Normalised,
    residual: Residual,
    /// Delta in the unit of the normalised residual.
    delta: f64,
    /// Factor from the scaled mean to the mean Huber loss in raw units.
    scale: f64,
}

impl Objective {
    pub fn new(runs: Normalised, config: &ValidFitConfig) -> Self {
        let config = config.get();
        let delta = match config.residual {
            Residual::Log => config.delta,
            // The residual is divided by L0, and so is delta.
            Residual::Linear => config.delta / runs.loss_unit(),
        };
        Self { runs, residual: config.residual, delta, scale: config.delta * config.delta }
    }

    pub const fn runs(&self) -> &Normalised {
        &self.runs
    }

    /// The scaled objective in raw units: the mean Huber loss.
    pub fn raw(&self, scaled: f64) -> f64 {
        scaled * self.scale
    }

    /// Value and gradient in one pass over the runs.
    pub fn evaluate(&self, point: &Point) -> (f64, Point) {
        let mut inside = *point;
        for (value, (low, high)) in inside.iter_mut().zip(BOUNDS) {
            *value = value.clamp(low, high);
        }
        let (mut value, mut gradient) = self.evaluate_inside(&inside);
        for i in 0..COUNT {
            let outside = point[i] - inside[i];
            if outside != 0.0 {
                value += outside * outside;
                gradient[i] = 2.0 * outside;
            }
        }
        (value, gradient)
    }

    fn evaluate_inside(&self, point: &Point) -> (f64, Point) {
        let [ln_a, ln_bs, ln_cs, ln_bn, ln_e, ln_bd, ln_c] = *point;
        let (b_s, b_n, b_d, c) = (ln_bs.exp(), ln_bn.exp(), ln_bd.exp(), ln_c.exp());
        let runs = &self.runs;
        let columns = runs.ln_x.iter().zip(&runs.ln_n).zip(&runs.ln_d).zip(&runs.ln_l);
        let (mut sum, mut gradient) = (0.0, [0.0; COUNT]);
        for (((&ln_x, &ln_n), &ln_d), &ln_l) in columns {
            // The law is a sum of three terms, each the exponential of something linear.
            let sparse = (ln_a + b_s * ln_x - b_n * ln_n).exp();
            let rest = (ln_cs - b_n * ln_n).exp();
            let data = (ln_e - b_d * ln_d).exp();
            let loss = sparse + rest + data + c;
            // Residual r and the factor dr/df.
            let (r, per_loss) = match self.residual {
                Residual::Log => (loss.ln() - ln_l, loss.recip()),
                Residual::Linear => (loss - ln_l.exp(), 1.0),
            };
            let scaled = r / self.delta;
            let (huber, slope) = if scaled.abs() <= 1.0 {
                (0.5 * scaled * scaled, scaled)
            } else {
                (scaled.abs() - 0.5, scaled.signum())
            };
            sum += huber;
            let weight = slope / self.delta * per_loss;
            let terms = [
                sparse,
                sparse * b_s * ln_x,
                rest,
                -(sparse + rest) * b_n * ln_n,
                data,
                -data * b_d * ln_d,
                c,
            ];
            for (total, term) in gradient.iter_mut().zip(terms) {
                *total += weight * term;
            }
        }
        let mean = (runs.ln_x.len() as f64).recip();
        (sum * mean, gradient.map(|total| total * mean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::testing;
    use crate::fit::{FitConfig, Observations};
    use crate::law::T5_C4;
    use proptest::prelude::*;

    fn objective(residual: Residual) -> Objective {
        let runs = Observations::new(testing::grid(T5_C4.coefficients(), 0.01, 1));
        let config = FitConfig { residual, delta: 0.02, ..FitConfig::default() };
        Objective::new(Normalised::new(&runs), &config.check().unwrap())
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_derivative(
            point in prop::array::uniform7(-1.5..1.0f64), linear in any::<bool>(),
        ) {
            let objective = objective(if linear { Residual::Linear } else { Residual::Log });
            let (_, gradient) = objective.evaluate(&point);
            for i in 0..COUNT {
                let step = 1e-6;
                let at = |delta: f64| {
                    let mut moved = point;
                    moved[i] += delta;
                    objective.evaluate(&moved).0
                };
                let difference = (at(step) - at(-step)) / (2.0 * step);
                // Rounding over the step, and one run's kink of the second derivative inside it.
                let tolerance = 1e-5 * (1.0 + gradient[i].abs());
                prop_assert!((difference - gradient[i]).abs() < tolerance,
                    "coordinate {i}: {difference} against {}", gradient[i]);
            }
        }

        #[test]
        fn it_is_finite_everywhere(point in prop::array::uniform7(-1e6..1e6f64)) {
            for residual in [Residual::Log, Residual::Linear] {
                let (value, gradient) = objective(residual).evaluate(&point);
                prop_assert!(value.is_finite() && gradient.iter().all(|g| g.is_finite()));
            }
        }
    }
}
