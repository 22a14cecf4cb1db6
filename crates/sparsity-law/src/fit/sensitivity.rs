//! How the runs bear on a law of a form with coefficients of its own: the Jacobian of the residuals at it.

use nalgebra::{DMatrix, DVector};

use super::bootstrap::widening;
use super::config::Residual;
use super::diagnostics::robust_deviation;
use super::gauss_newton::Engine;
use super::model::{FormModel, Kind, Point};

/// Relative singular value that is zero to rounding.
const SINGULAR: f64 = 1e-10;
/// Singular value, relative to the largest, below which a combination of coefficients is not determined.
const RANK: f64 = 1e-6;
/// Least part of the loss, in its logarithm, that a term is taken to have, and ranges of exponents, where it is asked
/// whether runs tell its shape: one that vanishes in the fit has none.
const LEAST_PART: f64 = -3.0;
const EXPONENT: (f64, f64) = (-2.3, 0.7);
const LEAST_SIGNED: f64 = 0.1;

/// The residuals, and how each run bears on them.
pub(super) struct Sensitivity {
    /// In the residual's own unit, of all runs, those without weight included.
    pub residuals: Vec<f64>,
    /// Share of its own prediction that each run determines.
    pub leverages: Vec<f64>,
    /// As of the paper's form: times the noise squared over the number of runs, the variance of a prediction.
    pub spreads: Vec<f64>,
    /// Robust standard deviation of the residuals of the runs with weight, widened for the coefficients.
    pub noise: f64,
    /// Ratio of the largest to the smallest singular value of the Jacobian with columns of unit length.
    pub condition: Option<f64>,
    slopes: Vec<DVector<f64>>,
}

/// Slopes of the residual by the free coordinates, in the unit of the rows.
fn slopes(engine: &Engine<'_>, model: FormModel, at: &Point) -> (Vec<f64>, Vec<DVector<f64>>) {
    let kinds = model.kinds();
    let places: Vec<usize> = (0..kinds.len()).filter(|place| kinds[*place] != Kind::Held).collect();
    let mut slope = vec![0.0; at.len()];
    let rows = engine.table.rows.iter().map(|row| {
        let loss = model.evaluate(at, row, &mut slope);
        let per = match engine.residual {
            Residual::Log => loss.max(f64::MIN_POSITIVE).recip(),
            Residual::Linear => 1.0,
        };
        let of = DVector::from_fn(places.len(), |i, _| slope[places[i]] * per);
        (engine.residual(loss, row), of)
    });
    rows.unzip()
}

/// `J^T W J` with columns of unit length, and these lengths; a column of zeros is left as it is.
fn information(slopes: &[DVector<f64>], shares: &[f64]) -> (DMatrix<f64>, Vec<f64>) {
    let free = slopes.first().map_or(0, DVector::len);
    let mut sum = DMatrix::<f64>::zeros(free, free);
    for (slope, share) in slopes.iter().zip(shares).filter(|(_, share)| **share > 0.0) {
        sum.ger(*share, slope, slope, 1.0);
    }
    let lengths: Vec<f64> = (0..free).map(|i| sum[(i, i)].sqrt()).collect();
    let part = |i: usize, j: usize| {
        let lengths = lengths[i] * lengths[j];
        if lengths > 0.0 { sum[(i, j)] / lengths } else { 0.0 }
    };
    (DMatrix::from_fn(free, free, part), lengths)
}

/// How many combinations of the coefficients the runs tell apart, with every term there and bent.
pub(super) fn rank(engine: &Engine<'_>, model: FormModel, at: &Point) -> usize {
    let mut shaped = at.clone();
    for (value, kind) in shaped.iter_mut().zip(model.kinds()) {
        *value = match kind {
            Kind::Amplitude => value.max(LEAST_PART),
            Kind::Exponent => value.clamp(EXPONENT.0, EXPONENT.1),
            Kind::Signed => value.abs().max(LEAST_SIGNED).copysign(*value),
            Kind::Held => *value,
        };
    }
    let (_, slopes) = slopes(engine, model, &shaped);
    let shares: Vec<f64> = engine.table.rows.iter().map(|row| row.share).collect();
    let (scaled, _) = information(&slopes, &shares);
    if scaled.iter().any(|value| !value.is_finite()) {
        return 0;
    }
    let values = scaled.symmetric_eigenvalues();
    let most = values.max();
    values.iter().filter(|value| **value > RANK * RANK * most).count()
}

impl Sensitivity {
    /// At a point, of the runs with these shares; `unit` is what one residual of the rows is in the residual's own unit.
    pub fn new(
        engine: &Engine<'_>,
        model: FormModel,
        at: &Point,
        (shares, unit): (&[f64], f64),
    ) -> Self {
        let (residuals, slopes) = slopes(engine, model, at);
        let residuals: Vec<f64> = residuals.into_iter().map(|residual| residual * unit).collect();
        let weighed: Vec<f64> = (residuals.iter().zip(shares))
            .filter(|(_, share)| **share > 0.0)
            .map(|(residual, _)| *residual)
            .collect();
        let noise = robust_deviation(&weighed) * widening(weighed.len(), model.free());
        let count = residuals.len();
        let mut found = Self {
            residuals,
            leverages: vec![0.0; count],
            spreads: vec![f64::INFINITY; count],
            noise,
            condition: None,
            slopes,
        };
        found.invert(shares);
        found
    }

    /// Everything that needs the inverse of the information, if it has one.
    fn invert(&mut self, shares: &[f64]) {
        let (scaled, lengths) = information(&self.slopes, shares);
        if lengths.iter().any(|length| *length == 0.0 || !length.is_finite()) {
            return;
        }
        let eigen = scaled.symmetric_eigen();
        let (least, most) = (eigen.eigenvalues.min(), eigen.eigenvalues.max());
        if least <= SINGULAR * SINGULAR * most {
            return;
        }
        self.condition = Some((most / least).sqrt());
        let inverse = &eigen.eigenvectors
            * DMatrix::from_diagonal(&eigen.eigenvalues.map(f64::recip))
            * eigen.eigenvectors.transpose();
        for (place, slope) in self.slopes.iter().enumerate() {
            let row = DVector::from_fn(slope.len(), |i, _| slope[i] / lengths[i]);
            self.spreads[place] = row.dot(&(&inverse * &row));
            self.leverages[place] = (shares[place] * self.spreads[place]).clamp(0.0, 1.0);
        }
    }

    /// The slopes by one coefficient of the runs at these places.
    pub fn column(&self, coefficient: usize, places: &[usize]) -> DVector<f64> {
        DVector::from_fn(places.len(), |run, _| self.slopes[places[run]][coefficient])
    }

    /// The residuals at these places.
    pub fn residuals_of(&self, places: &[usize]) -> DVector<f64> {
        DVector::from_fn(places.len(), |run, _| self.residuals[places[run]])
    }
}
