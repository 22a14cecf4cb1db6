//! How the runs influence a law of a form with its own coefficients: the Jacobian of the residuals at the law.

use nalgebra::{DMatrix, DVector};

use super::bootstrap::widening;
use super::config::Residual;
use super::diagnostics::robust_deviation;
use super::gauss_newton::Engine;
use super::model::{FormModel, Kind, Point};

/// Singular values below this share of the largest are zero to rounding.
const SINGULAR: f64 = 1e-10;
/// Singular values below this share of the largest belong to combinations of coefficients that are not determined.
const RANK: f64 = 1e-6;
/// Smallest logarithm of an amplitude, relative to the loss, and range of the logarithms of exponents, at the
/// point where the rank is computed: a term that vanishes in the fit has no shape that runs could tell.
const LEAST_PART: f64 = -3.0;
const EXPONENT: (f64, f64) = (-2.3, 0.7);
const LEAST_SIGNED: f64 = 0.1;

/// Residuals at a law, and the influence of each run on it.
pub(super) struct Sensitivity {
    /// Residuals of all runs, those without weight included, in the unit of the residual.
    pub residuals: Vec<f64>,
    /// Share of its own prediction that each run determines, 0 to 1.
    pub leverages: Vec<f64>,
    /// Variance of each run's prediction, in units of the noise squared over the number of runs, as for the
    /// paper's form.
    pub spreads: Vec<f64>,
    /// Robust standard deviation of the residuals of the runs with weight, corrected for the number of coefficients.
    pub noise: f64,
    /// Ratio of the largest to the smallest singular value of the Jacobian, its columns scaled to unit length.
    pub condition: Option<f64>,
    slopes: Vec<DVector<f64>>,
}

/// Residuals of the rows, and their slopes by the free coordinates, in the unit of the rows.
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

/// `J^T W J` with its columns scaled to unit length, and the original lengths; a column of zeros is left as it is.
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

/// Number of combinations of the coefficients that the runs tell apart, at a point where every term is present and
/// curved.
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
    /// Computes the influence of the runs with these shares at a point. `unit` is the size of one residual of the
    /// rows, in the unit of the residual.
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

    /// Fills in what needs the inverse of the information matrix, if there is one.
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

    /// Slopes of the residuals of the given runs by one coefficient.
    pub fn column(&self, coefficient: usize, places: &[usize]) -> DVector<f64> {
        DVector::from_fn(places.len(), |run, _| self.slopes[places[run]][coefficient])
    }

    /// Residuals of the given runs.
    pub fn residuals_of(&self, places: &[usize]) -> DVector<f64> {
        DVector::from_fn(places.len(), |run, _| self.residuals[places[run]])
    }
}
