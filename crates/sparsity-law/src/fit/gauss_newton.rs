//! Fits the forms with their own coefficients, and all forms when they are compared.
//!
//! A [`FormModel`] gives its value and gradient by its free coordinates; this engine minimises the Huber loss over
//! them by damped, reweighted Gauss-Newton steps. It is slower than the engine of the paper's form, uses no second
//! derivatives, and stops short of the kinks of a delta far below the noise.

use nalgebra::{Cholesky, DMatrix};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::config::Residual;
use super::descent::Termination;
use super::model::{FormModel, Kind, Point, Row, Table};
use super::starts::{Stream, generator};
use crate::law::quantile;

/// Smallest amplitude of a start, relative to the loss: a descent could not bring back a term that is absent.
const LEAST_AMPLITUDE: f64 = 1e-3;
/// Sweeps of coordinate descent over the amplitudes; a start need not be exact.
const SWEEPS: usize = 50;

/// Fits of any form to the rows of a table.
#[derive(Clone, Copy)]
pub(super) struct Engine<'a> {
    pub table: &'a Table,
    pub residual: Residual,
    /// Where the Huber loss turns linear, in the unit of the normalised residual.
    pub delta: f64,
    pub seed: u64,
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
}

/// The linear system of a step.
struct Normal {
    /// Gauss-Newton matrix of the runs whose residuals are within delta.
    curvature: DMatrix<f64>,
    /// Gauss-Newton matrix of all runs, with the weights of the Huber loss.
    weighted: DMatrix<f64>,
    gradient: Point,
}

/// Where a descent ended.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    /// The objective, in units of `delta^2`.
    pub value: f64,
    pub point: Point,
    pub evaluations: u32,
    pub termination: Termination,
}

impl Engine<'_> {
    /// The residual of a predicted loss, in the unit of the rows.
    pub fn residual(&self, loss: f64, row: &Row) -> f64 {
        match self.residual {
            Residual::Log => loss.max(f64::MIN_POSITIVE).ln() - row.ln_l,
            Residual::Linear => loss - row.ln_l.exp(),
        }
    }

    /// Absolute residuals of the runs with a positive share.
    pub fn absolute_residuals(&self, model: FormModel, at: &Point, shares: &[f64]) -> Vec<f64> {
        let mut slope = vec![0.0; at.len()];
        let rows = self.table.rows.iter().zip(shares).filter(|(_, share)| **share > 0.0);
        rows.map(|(row, _)| self.residual(model.evaluate(at, row, &mut slope), row).abs()).collect()
    }

    /// A start: exponents are drawn at random, and the amplitudes fitted to the runs. Given the exponents, the
    /// loss is linear in the amplitudes.
    pub fn start(&self, model: FormModel, shares: &[f64], rng: &mut ChaCha8Rng) -> Point {
        let mut at = model.start(rng);
        let kinds = model.kinds();
        let places: Vec<usize> =
            (0..kinds.len()).filter(|place| kinds[*place] == Kind::Amplitude).collect();
        for place in &places {
            at[*place] = 0.0;
        }
        let count = places.len();
        let (mut gram, mut moment) = (DMatrix::<f64>::zeros(count, count), Point::zeros(count));
        let mut slope = vec![0.0; at.len()];
        for (row, share) in self.table.rows.iter().zip(shares).filter(|(_, share)| **share > 0.0) {
            model.evaluate(&at, row, &mut slope);
            // Relative to the loss, so that every run counts the same.
            let part = Point::from_fn(count, |i, _| slope[places[i]] * (-row.ln_l).exp());
            gram.ger(*share, &part, &part, 1.0);
            moment.axpy(*share, &part, 1.0);
        }
        let mut amplitudes = Point::repeat(count, 0.25);
        for _ in 0..SWEEPS {
            for i in 0..count {
                let rest = gram.row(i).dot(&amplitudes.transpose()) - gram[(i, i)] * amplitudes[i];
                let best = (moment[i] - rest) / gram[(i, i)];
                // The amplitude of a level without counted runs stays at its initial value.
                let best = if best.is_finite() { best } else { 0.25 };
                amplitudes[i] = best.clamp(LEAST_AMPLITUDE, 1e3);
            }
        }
        for (place, amplitude) in places.iter().zip(amplitudes.iter()) {
            at[*place] = amplitude.ln();
        }
        at
    }

    /// Mean Huber loss over the runs with a positive share, in units of `delta^2`.
    pub fn value(&self, model: FormModel, at: &Point, shares: &[f64], delta: f64) -> f64 {
        let mut slope = vec![0.0; at.len()];
        let mut sum = 0.0;
        for (row, share) in self.table.rows.iter().zip(shares) {
            if *share > 0.0 {
                let u = (self.residual(model.evaluate(at, row, &mut slope), row) / delta).abs();
                sum += share * if u <= 1.0 { 0.5 * u * u } else { u - 0.5 };
            }
        }
        sum
    }

    /// The best of descents from the points `near` and from `fresh` random starts; `None` if stopped.
    pub fn fit(
        &self,
        model: FormModel,
        shares: &[f64],
        near: &[&Point],
        fresh: usize,
        stream: u32,
    ) -> Option<Point> {
        let mut rng = generator(self.seed, Stream::Rivals(stream));
        let starts: Vec<Point> = near
            .iter()
            .map(|near| (*near).clone())
            .chain((0..fresh).map(|_| model.start(&mut rng)))
            .collect();
        let found: Vec<Reached> = starts
            .into_par_iter()
            .map(|start| self.descend(model, start, shares, MOST_STEPS))
            .collect::<Option<_>>()?;
        found.into_iter().min_by(|a, b| a.value.total_cmp(&b.value)).map(|found| found.point)
    }

    /// Descends in stages of falling delta, each of at most `most_steps` steps: close to least squares, no single
    /// residual holds up a descent. `None` if stopped.
    pub fn descend(
        &self,
        model: FormModel,
        mut at: Point,
        shares: &[f64],
        most_steps: usize,
    ) -> Option<Reached> {
        let mut delta = f64::INFINITY;
        let mut evaluations = 0;
        let mut termination = Termination::Converged;
        while delta > self.delta {
            let median = self.median(model, &at, shares);
            delta = self.delta.max(median.min(delta * 0.3));
            let (steps, ended) = self.stage(model, &mut at, shares, delta, most_steps)?;
            (evaluations, termination) = (evaluations + steps, ended);
        }
        let value = self.value(model, &at, shares, self.delta);
        Some(Reached { value, point: at, evaluations, termination })
    }

    /// Descends from a point that is already near the minimum, until a step improves the value by at most
    /// `tolerance` of it. `None` if stopped.
    ///
    /// Uses the curvature of the Huber loss, in which runs beyond delta have none. Near the minimum this takes few
    /// steps, whereas reweighted steps only come closer by a constant factor each. Coordinates that would leave
    /// their range stay at its end.
    pub fn polish(
        &self,
        model: FormModel,
        mut at: Point,
        shares: &[f64],
        tolerance: f64,
    ) -> Option<Reached> {
        let kinds = model.kinds();
        let mut damping = 1e-4;
        let mut value = self.value(model, &at, shares, self.delta);
        let mut evaluations = 1;
        let mut termination = Termination::Budget;
        for _ in 0..MOST_POLISHING {
            if (self.should_stop)() {
                return None;
            }
            let Normal { mut curvature, mut weighted, mut gradient } =
                self.normal_equations(model, &at, shares, self.delta);
            evaluations += 1;
            for (place, kind) in kinds.iter().enumerate() {
                let (low, high) = kind.range();
                let outwards = (at[place] <= low && gradient[place] > 0.0)
                    || (at[place] >= high && gradient[place] < 0.0);
                if outwards {
                    gradient[place] = 0.0;
                    for matrix in [&mut curvature, &mut weighted] {
                        matrix.row_mut(place).fill(0.0);
                        matrix.column_mut(place).fill(0.0);
                        matrix[(place, place)] = 1.0;
                    }
                }
            }
            let mut gained = None;
            while damping < 1e12 {
                let mut damped = curvature.clone();
                for place in 0..kinds.len() {
                    damped[(place, place)] += damping * weighted[(place, place)].max(1e-12);
                }
                let Some(factors) = Cholesky::new(damped) else {
                    damping *= 10.0;
                    continue;
                };
                let mut next = &at - factors.solve(&gradient);
                for (coordinate, kind) in next.iter_mut().zip(&kinds) {
                    let (low, high) = kind.range();
                    *coordinate = coordinate.clamp(low, high);
                }
                let reached = self.value(model, &next, shares, self.delta);
                evaluations += 1;
                if reached < value {
                    gained = Some(value - reached);
                    (at, value) = (next, reached);
                    damping = (damping * 0.2).max(1e-12);
                    break;
                }
                damping *= 6.0;
            }
            match gained {
                None => {
                    termination = Termination::Stalled;
                    break;
                }
                Some(gained) if gained <= tolerance * value => {
                    termination = Termination::Converged;
                    break;
                }
                Some(_) => {}
            }
        }
        Some(Reached { value, point: at, evaluations, termination })
    }

    fn median(&self, model: FormModel, at: &Point, shares: &[f64]) -> f64 {
        quantile(&mut self.absolute_residuals(model, at, shares), 0.5)
    }

    /// Takes damped Gauss-Newton steps with the weights of the Huber loss. Returns the number of evaluations and
    /// why the stage ended; `None` if stopped.
    fn stage(
        &self,
        model: FormModel,
        at: &mut Point,
        shares: &[f64],
        delta: f64,
        most_steps: usize,
    ) -> Option<(u32, Termination)> {
        let kinds = model.kinds();
        let free = kinds.len();
        let mut damping = 1e-3;
        let mut value = self.value(model, at, shares, delta);
        let mut evaluations = 1;
        for _ in 0..most_steps {
            if (self.should_stop)() {
                return None;
            }
            let Normal { weighted: matrix, gradient, .. } =
                self.normal_equations(model, at, shares, delta);
            let (mut moved, mut tried) = (false, false);
            evaluations += 1;
            while damping < 1e12 {
                let mut damped = matrix.clone();
                for place in 0..free {
                    damped[(place, place)] += damping * matrix[(place, place)].max(1e-12);
                }
                let Some(factors) = Cholesky::new(damped) else {
                    damping *= 10.0;
                    continue;
                };
                let mut next = &*at - factors.solve(&gradient);
                for (coordinate, kind) in next.iter_mut().zip(&kinds) {
                    let (low, high) = kind.range();
                    *coordinate = coordinate.clamp(low, high);
                }
                let reached = self.value(model, &next, shares, delta);
                evaluations += 1;
                if reached < value {
                    let gained = value - reached;
                    (*at, value, moved) = (next, reached, gained > TOLERANCE * value);
                    tried = true;
                    damping = (damping * 0.2).max(1e-12);
                    break;
                }
                damping *= 6.0;
            }
            if !moved {
                let ended = if tried { Termination::Converged } else { Termination::Stalled };
                return Some((evaluations, ended));
            }
        }
        Some((evaluations, Termination::Budget))
    }

    fn normal_equations(&self, model: FormModel, at: &Point, shares: &[f64], delta: f64) -> Normal {
        let free = at.len();
        let mut matrix = DMatrix::zeros(free, free);
        let mut curvature = DMatrix::zeros(free, free);
        let mut gradient = Point::zeros(free);
        let mut slope = vec![0.0; free];
        for (row, share) in self.table.rows.iter().zip(shares) {
            if *share <= 0.0 {
                continue;
            }
            let loss = model.evaluate(at, row, &mut slope);
            let residual = self.residual(loss, row);
            if self.residual == Residual::Log {
                let per_loss = loss.max(f64::MIN_POSITIVE).recip();
                slope.iter_mut().for_each(|slope| *slope *= per_loss);
            }
            let inside = residual.abs() <= delta;
            let weight = share * (delta / residual.abs()).min(1.0) / (delta * delta);
            for i in 0..free {
                gradient[i] += weight * residual * slope[i];
                for j in 0..=i {
                    let part = weight * slope[i] * slope[j];
                    matrix[(i, j)] += part;
                    if inside {
                        curvature[(i, j)] += part;
                    }
                }
            }
        }
        for i in 0..free {
            for j in 0..i {
                matrix[(j, i)] = matrix[(i, j)];
                curvature[(j, i)] = curvature[(i, j)];
            }
        }
        Normal { curvature, weighted: matrix, gradient }
    }
}

/// Largest number of steps of one stage; about twenty are usual.
pub(super) const MOST_STEPS: usize = 200;
/// Improvement of a step, relative to the value, below which a stage ends.
const TOLERANCE: f64 = 1e-12;
/// Largest number of steps of one stage for a resample or a hold-out, which is polished afterwards.
pub(super) const FEW_STEPS: usize = 40;
/// Improvement, relative to the value, below which polishing a resample ends: far below the differences between
/// resamples.
pub(super) const ENOUGH: f64 = 1e-8;
/// Improvement, relative to the value, below which polishing the law of all runs ends.
pub(super) const FULL: f64 = 1e-13;
/// Largest number of steps of one polishing. Ten coefficients that compensate for each other have long flat valleys.
const MOST_POLISHING: usize = 150;
