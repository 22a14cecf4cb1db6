//! The evidence behind a fit: the Jacobian of the residuals at the law.

use nalgebra::{DMatrix, DVector};
use statrs::distribution::{ContinuousCDF, Normal};

use super::bootstrap::widening;
use super::normalised::{COUNT, Point};
use super::objective::{Gradient, Objective};
use super::observations::Observations;
use super::parameters::Parameters;
use super::report::FittedRun;
use crate::law::{CoefficientName, Coefficients};

/// Distance from the law, in robust standard deviations, beyond which a run is called an outlier: 4 or, where
/// there are thousands of runs, the distance that one of them exceeds by chance in one of twenty such sets.
#[must_use]
pub fn outlying_distance(runs: usize) -> f64 {
    let chance = 0.05 / runs.max(1) as f64;
    Normal::standard().inverse_cdf(1.0 - chance / 2.0).max(4.0)
}

/// Singular values below this share of the largest are zero to rounding.
const SINGULAR: f64 = 1e-10;

/// Median absolute deviation of a normal distribution, in standard deviations.
const MAD_OF_NORMAL: f64 = 0.674_489_750_196_081_7;

/// Residuals at a law, and the influence of each run and coefficient on it.
pub(super) struct Jacobian {
    places: Vec<usize>,
    residuals: Vec<f64>,
    leverages: Vec<f64>,
    /// `s^T (J^T W J)^-1 s` of each run, with shares as weights: the variance of its prediction, in units of the
    /// noise squared over the number of runs. Infinite where there is no inverse.
    spreads: Vec<f64>,
    pub noise: f64,
    pub correlations: Vec<Vec<f64>>,
    pub condition: Option<f64>,
}

impl Jacobian {
    /// Computes the Jacobian at a point; `unit` is the size of one normalised residual, in the unit of the residual.
    pub fn new(
        objective: &Objective<'_>,
        parameters: &Parameters,
        point: &Point,
        unit: f64,
    ) -> Self {
        let places: Vec<usize> = (0..COUNT).filter(|place| parameters.is_free(*place)).collect();
        let rows = objective.residuals(point);
        let (count, free) = (rows.len(), places.len());
        let shares = objective.all_shares();
        let slopes: Vec<Gradient> = rows
            .iter()
            .map(|(_, gradient)| parameters.restrict_gradient(point, gradient))
            .collect();
        // Information matrix of weighted least squares: J^T W J.
        let mut information = DMatrix::<f64>::zeros(free, free);
        for (slope, share) in slopes.iter().zip(&shares) {
            for (i, &row) in places.iter().enumerate() {
                for (j, &column) in places.iter().enumerate() {
                    information[(i, j)] += share * slope[row] * slope[column];
                }
            }
        }
        let residuals: Vec<f64> = rows.iter().map(|(residual, _)| residual * unit).collect();
        let noise = robust_deviation(&residuals) * widening(count, free);
        let mut jacobian = Self {
            places,
            residuals,
            leverages: vec![0.0; count],
            spreads: vec![f64::INFINITY; count],
            noise,
            correlations: Vec::new(),
            condition: None,
        };
        jacobian.invert(&information, &slopes, &shares);
        jacobian
    }

    /// Fills in what needs the inverse of the information matrix, if there is one.
    fn invert(&mut self, information: &DMatrix<f64>, slopes: &[Gradient], shares: &[f64]) {
        let free = self.places.len();
        let lengths: Vec<f64> = (0..free).map(|i| information[(i, i)].sqrt()).collect();
        if lengths.iter().any(|length| *length == 0.0 || !length.is_finite()) {
            return;
        }
        let scaled =
            DMatrix::from_fn(free, free, |i, j| information[(i, j)] / (lengths[i] * lengths[j]));
        let eigen = scaled.symmetric_eigen();
        let (least, most) = (eigen.eigenvalues.min(), eigen.eigenvalues.max());
        if least <= SINGULAR * SINGULAR * most {
            return;
        }
        self.condition = Some((most / least).sqrt());
        let inverse = &eigen.eigenvectors
            * DMatrix::from_diagonal(&eigen.eigenvalues.map(f64::recip))
            * eigen.eigenvectors.transpose();
        let correlation = |i: usize, j: usize| {
            let spread = (inverse[(i, i)] * inverse[(j, j)]).sqrt();
            if i == j { 1.0 } else { (inverse[(i, j)] / spread).clamp(-1.0, 1.0) }
        };
        self.correlations =
            (0..free).map(|i| (0..free).map(|j| correlation(i, j)).collect()).collect();
        let both = self.leverages.iter_mut().zip(&mut self.spreads);
        for (((leverage, spread), slope), share) in both.zip(slopes).zip(shares) {
            let row = DVector::from_fn(free, |i, _| slope[self.places[i]] / lengths[i]);
            *spread = row.dot(&(&inverse * &row));
            *leverage = (share * *spread).clamp(0.0, 1.0);
        }
    }

    /// Coefficients of the rows and columns of the correlations.
    pub fn fitted(&self) -> Vec<CoefficientName> {
        self.places.iter().map(|place| CoefficientName::ALL[*place]).collect()
    }

    /// Residuals of all runs, those without weight included, in the unit of the residual.
    pub fn residuals(&self) -> &[f64] {
        &self.residuals
    }

    /// Variance of each prediction; see the field `spreads`.
    pub fn spreads(&self) -> &[f64] {
        &self.spreads
    }

    /// Residuals scaled up to the noise of a new run, without those of the runs marked in `left_out`: a new run is
    /// assumed not to diverge.
    pub fn widened_residuals(&self, left_out: &[bool]) -> Vec<f64> {
        let widening = widening(self.residuals.len(), self.places.len());
        let kept = self.residuals.iter().zip(left_out).filter(|(_, left_out)| !**left_out);
        kept.map(|(residual, _)| residual * widening).collect()
    }

    /// Which runs lie so far from the law that they count as diverged. No run does where many are that far: then
    /// nothing sets them apart.
    pub fn diverged(&self) -> Vec<bool> {
        let distance = DIVERGED * self.noise.max(LEAST_NOISE);
        let enough = self.residuals.len() > self.places.len();
        far_off(&self.residuals, if enough { distance } else { f64::INFINITY })
    }

    /// Prediction, residual and leverage of each run.
    pub fn runs(&self, runs: &Observations, law: &Coefficients) -> Vec<FittedRun> {
        let distance = outlying_distance(runs.len()) * self.noise.max(LEAST_NOISE);
        runs.as_slice()
            .iter()
            .zip(self.residuals.iter().zip(&self.leverages))
            .map(|(run, (&residual, &leverage))| FittedRun {
                predicted: law.loss(run.sparsity.density(), run.nonzero_params, run.data),
                residual,
                leverage,
                // With no more runs than coefficients, the law passes through all of them.
                outlier: self.residuals.len() > self.places.len() && residual.abs() > distance,
            })
            .collect()
    }
}

/// Which residuals are larger than `distance`; none where more than a share of [`FEW`] are.
pub(super) fn far_off(residuals: &[f64], distance: f64) -> Vec<bool> {
    let far: Vec<bool> = residuals.iter().map(|residual| residual.abs() > distance).collect();
    let count = far.iter().filter(|far| **far).count();
    if count as f64 <= FEW * far.len() as f64 { far } else { vec![false; far.len()] }
}

/// Distance from the law, in robust standard deviations, beyond which a run is taken to have diverged.
pub(super) const DIVERGED: f64 = 8.0;

/// Largest share of the runs that may count as diverged.
const FEW: f64 = 0.15;

/// Noise below this is rounding, which must not make a run an outlier.
pub(super) const LEAST_NOISE: f64 = 1e-7;

/// Standard deviation of a normal distribution that has the same median of absolute values.
pub(super) fn robust_deviation(residuals: &[f64]) -> f64 {
    let mut absolute: Vec<f64> = residuals.iter().map(|residual| residual.abs()).collect();
    crate::law::quantile(&mut absolute, 0.5) / MAD_OF_NORMAL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_runs_have_far_ones_by_chance() {
        assert_eq!(outlying_distance(48), 4.0);
        // R: qnorm(1 - 0.05 / 1e5 / 2)
        assert!((outlying_distance(100_000) - 5.026_3).abs() < 1e-3);
    }
}
