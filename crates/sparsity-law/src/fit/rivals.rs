//! Forms of the law beside each other: fitted on the same runs, judged by how they predict runs that they have not seen.
//!
//! All of them go through one engine: a model gives its value and gradient by its free coordinates, the engine minimises
//! the Huber loss over these by damped Gauss-Newton steps, reweighted, from many starts. It is slower than the engine of
//! the paper's form and knows no second derivatives, and is used only to compare.
//!
//! The folds are those of the rolling hold-outs: the runs below a limit of size, data or their product are fitted, the
//! others predicted. A prediction counts only where every form can make it, so that all errors are of the same
//! predictions. Their uncertainty comes from resampling the runs that were predicted; that of a difference from the
//! same draws.

use nalgebra::{Cholesky, DMatrix, DVector};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::{Residual, ValidFitConfig};
use super::control::{Control, FitError};
use super::observations::{Observation, Observations, levels};
use super::starts::{Stream, generator};
use crate::law::{
    CoefficientValues, ExpertCoefficients, Interval, LawForm, LevelCapacity, LevelLaw, RivalLaw,
    quantile,
};

/// The forms that the runs can carry, the one that predicts best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rivals {
    /// Laws that were fitted on the runs below a limit.
    pub rounds: usize,
    /// Predictions that all of them made.
    pub predictions: usize,
    /// The forms.
    pub forms: Vec<Rival>,
    /// Forms that these runs cannot carry.
    pub refused: Vec<RefusedForm>,
}

/// One form among others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rival {
    /// Number of coefficients that were fitted.
    pub free: usize,
    /// Mean Huber loss over all runs.
    pub objective: f64,
    /// Root of the mean squared residual of the predictions; `None` where there was none.
    pub holdout_error: Option<f64>,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Interval of how much that is above the error of the form that it is compared with.
    pub excess: Option<Interval>,
    /// Whether it predicts no worse than that form, as far as these predictions tell.
    pub no_worse: bool,
    /// The law of all runs.
    pub law: RivalLaw,
}

/// A form that was not fitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedForm {
    /// The form.
    pub form: LawForm,
    /// Why.
    pub reason: String,
}

/// The most runs that are compared on; of more, as many evenly spaced in canonical order.
const MOST_RUNS: usize = 2000;
/// Shares of the runs below each limit.
const SHARES: [f64; 7] = [0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.92];
/// Random starts of each form on all runs.
const STARTS: usize = 24;
/// Random starts in each round, beside the law of all runs.
const FRESH_STARTS: usize = 2;
/// Draws of the predicted runs.
const DRAWS: usize = 1000;
/// Values of a quantity closer than this share are one level.
const LEVEL: f64 = 0.02;
/// Distance from the law of all runs, in its robust standard deviations, beyond which a run is taken to have diverged
/// and no form is blamed for it.
const DIVERGED: f64 = 8.0;
/// Median absolute deviation of a normal distribution, in standard deviations.
const MAD_OF_NORMAL: f64 = 0.674_489_750_196_081_7;

/// Fits every form that the runs can carry and ranks them. `active` is the form that the others are compared with,
/// `delta` where its fit let the Huber loss turn linear, `mean_share` the mean sparsity over training as a share of the
/// final one.
///
/// # Errors
/// [`FitError::NoRuns`], [`FitError::Stopped`].
pub fn rank_forms(
    runs: &Observations,
    active: LawForm,
    delta: f64,
    mean_share: f64,
    config: &ValidFitConfig,
    control: &Control<'_>,
) -> Result<Rivals, FitError> {
    if runs.is_empty() {
        return Err(FitError::NoRuns);
    }
    let table = Table::new(runs, mean_share);
    let options = config.get();
    let engine = Engine {
        table: &table,
        residual: options.residual,
        delta: match options.residual {
            Residual::Log => delta,
            Residual::Linear => delta / table.loss_unit(),
        },
        seed: options.seed,
        should_stop: control.should_stop,
    };
    let (mut models, mut refused) = (Vec::new(), Vec::new());
    for form in [LawForm::Sparse, LawForm::Levels, LawForm::AverageParams, LawForm::Experts] {
        let model = Model { form, levels: table.densities.len() };
        match table.refusal(model) {
            None => models.push(model),
            Some(reason) => refused.push(RefusedForm { form, reason }),
        }
    }
    let everyone = vec![true; table.rows.len()];
    let whole: Vec<Point> = models
        .par_iter()
        .enumerate()
        .map(|(place, model)| engine.fit(*model, &everyone, &[], STARTS, place as u32))
        .collect::<Option<_>>()
        .ok_or(FitError::Stopped)?;
    let rounds = engine.rounds(&models, &whole).ok_or(FitError::Stopped)?;
    Ok(engine.sum_up(active, options.confidence, (&models, &whole), &rounds, refused))
}

/// Logarithms of amplitudes and positive exponents, and exponents of either sign.
type Point = DVector<f64>;

/// A form over runs with so many levels of sparsity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Model {
    form: LawForm,
    levels: usize,
}

/// One run in units near 1.
#[derive(Debug, Clone, Copy)]
struct Row {
    ln_x: f64,
    /// `ln` of the gain by mean parameters.
    ln_mean: f64,
    ln_n: f64,
    ln_d: f64,
    ln_l: f64,
    level: usize,
    share: f64,
}

/// The runs and their units.
struct Table {
    rows: Vec<Row>,
    runs: Vec<Observation>,
    /// The levels of the density, falling.
    densities: Vec<f64>,
    sizes: usize,
    amounts: usize,
    ln_n0: f64,
    ln_d0: f64,
    ln_l0: f64,
    mean_share: f64,
}

/// What a model's coordinate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Amplitude,
    Exponent,
    /// Of either sign.
    Signed,
}

impl Kind {
    const fn range(self) -> (f64, f64) {
        match self {
            Self::Amplitude => (-30.0, 30.0),
            Self::Exponent => (-6.9, 3.0),
            Self::Signed => (-4.0, 4.0),
        }
    }
}

impl Model {
    fn kinds(self) -> Vec<Kind> {
        use Kind::{Amplitude, Exponent, Signed};
        match self.form {
            // ln a, ln b_S, ln c_S, ln b_N, ln e, ln b_D, ln c
            LawForm::Sparse => {
                vec![Amplitude, Exponent, Amplitude, Exponent, Amplitude, Exponent, Amplitude]
            }
            // ln A, ln b_N, ln e, ln b_D, ln c
            LawForm::AverageParams | LawForm::Dense => {
                vec![Amplitude, Exponent, Amplitude, Exponent, Amplitude]
            }
            // ln A_j, ln b_N, ln e, ln b_D, ln c
            LawForm::Levels => {
                let mut kinds = vec![Amplitude; self.levels];
                kinds.extend([Exponent, Amplitude, Exponent, Amplitude]);
                kinds
            }
            // ln a, ln alpha, ln b, ln beta, ln c, lambda, ln d, delta, ln gamma, ln e
            LawForm::Experts => vec![
                Amplitude, Exponent, Amplitude, Exponent, Amplitude, Signed, Amplitude, Signed,
                Exponent, Amplitude,
            ],
        }
    }

    fn free(self) -> usize {
        self.kinds().len()
    }

    /// The loss in its unit, and its gradient by the coordinates.
    fn evaluate(self, at: &Point, row: &Row, slope: &mut [f64]) -> f64 {
        slope.fill(0.0);
        match self.form {
            LawForm::Sparse => {
                let (b_s, b_n, b_d) = (at[1].exp(), at[3].exp(), at[5].exp());
                let size = -b_n * row.ln_n;
                let sparse = (at[0] + b_s * row.ln_x + size).exp();
                let rest = (at[2] + size).exp();
                let data = (at[4] - b_d * row.ln_d).exp();
                let c = at[6].exp();
                slope.copy_from_slice(&[
                    sparse,
                    sparse * b_s * row.ln_x,
                    rest,
                    (sparse + rest) * size,
                    data,
                    -data * b_d * row.ln_d,
                    c,
                ]);
                sparse + rest + data + c
            }
            LawForm::AverageParams | LawForm::Dense | LawForm::Levels => {
                let (first, counted) = match self.form {
                    LawForm::Levels => (row.level, self.levels),
                    _ => (0, 1),
                };
                let mean = if self.form == LawForm::AverageParams { row.ln_mean } else { 0.0 };
                let rest = counted;
                let (b_n, b_d) = (at[rest].exp(), at[rest + 2].exp());
                let size = -b_n * (row.ln_n + mean);
                let capacity = (at[first] + size).exp();
                let data = (at[rest + 1] - b_d * row.ln_d).exp();
                let c = at[rest + 3].exp();
                slope[first] = capacity;
                slope[rest] = capacity * size;
                slope[rest + 1] = data;
                slope[rest + 2] = -data * b_d * row.ln_d;
                slope[rest + 3] = c;
                capacity + data + c
            }
            LawForm::Experts => {
                let (alpha, beta, gamma) = (at[1].exp(), at[3].exp(), at[8].exp());
                let (lambda, delta) = (at[5], at[7]);
                let ln_total = row.ln_n - row.ln_x;
                let size = (at[0] - alpha * ln_total).exp();
                let data = (at[2] - beta * row.ln_d).exp();
                let density = (at[4] - lambda * row.ln_x).exp();
                let both = (at[6] - delta * row.ln_x - gamma * ln_total).exp();
                let e = at[9].exp();
                slope.copy_from_slice(&[
                    size,
                    -size * alpha * ln_total,
                    data,
                    -data * beta * row.ln_d,
                    density,
                    -density * row.ln_x,
                    both,
                    -both * row.ln_x,
                    -both * gamma * ln_total,
                    e,
                ]);
                size + data + density + both + e
            }
        }
    }

    /// A start: exponents drawn at random, amplitudes of equal parts of the loss.
    fn start(self, rng: &mut ChaCha8Rng) -> Point {
        let kinds = self.kinds();
        let draw = |kind: &Kind| match kind {
            Kind::Amplitude => -1.6 + 0.8 * (rng.random::<f64>() - 0.5),
            Kind::Exponent => -3.0 + 3.3 * rng.random::<f64>(),
            Kind::Signed => -0.5 + rng.random::<f64>(),
        };
        Point::from_iterator(kinds.len(), kinds.iter().map(draw))
    }

    /// The law in raw units.
    fn law(self, at: &Point, table: &Table) -> RivalLaw {
        let Table { ln_n0, ln_d0, ln_l0, .. } = *table;
        let a_d = |ln_e: f64, b_d: f64| (ln_d0 + (ln_l0 + ln_e) / b_d).exp();
        match self.form {
            LawForm::Sparse => {
                let (b_n, b_d) = (at[3].exp(), at[5].exp());
                let capacity = ln_l0 + b_n * ln_n0;
                RivalLaw::Sparse(CoefficientValues {
                    a_s: (at[0] + capacity).exp(),
                    b_s: at[1].exp(),
                    c_s: (at[2] + capacity).exp(),
                    b_n,
                    a_d: a_d(at[4], b_d),
                    b_d,
                    c: (at[6] + ln_l0).exp(),
                })
            }
            LawForm::AverageParams | LawForm::Dense => {
                let (b_n, b_d) = (at[1].exp(), at[3].exp());
                let coefficients = CoefficientValues {
                    a_s: 0.0,
                    b_s: 1.0,
                    c_s: (at[0] + ln_l0 + b_n * ln_n0).exp(),
                    b_n,
                    a_d: a_d(at[2], b_d),
                    b_d,
                    c: (at[4] + ln_l0).exp(),
                };
                RivalLaw::AverageParams { coefficients, mean_share: table.mean_share }
            }
            LawForm::Levels => {
                let rest = self.levels;
                let (b_n, b_d) = (at[rest].exp(), at[rest + 2].exp());
                let dense = table.densities.iter().position(|x| (x - 1.0).abs() <= LEVEL);
                let level = |place: usize| LevelCapacity {
                    sparsity: 1.0 - table.densities[place],
                    runs: table.rows.iter().filter(|row| row.level == place).count(),
                    a: (at[place] + ln_l0 + b_n * ln_n0).exp(),
                    gain: dense.map(|dense| ((at[dense] - at[place]) / b_n).exp()),
                };
                RivalLaw::Levels(LevelLaw {
                    levels: (0..self.levels).map(level).collect(),
                    b_n,
                    a_d: a_d(at[rest + 1], b_d),
                    b_d,
                    c: (at[rest + 3] + ln_l0).exp(),
                })
            }
            LawForm::Experts => {
                let (alpha, beta, gamma) = (at[1].exp(), at[3].exp(), at[8].exp());
                RivalLaw::Experts(ExpertCoefficients {
                    e: (at[9] + ln_l0).exp(),
                    a: (at[0] + ln_l0 + alpha * ln_n0).exp(),
                    alpha,
                    b: (at[2] + ln_l0 + beta * ln_d0).exp(),
                    beta,
                    c: (at[4] + ln_l0).exp(),
                    lambda: at[5],
                    d: (at[6] + ln_l0 + gamma * ln_n0).exp(),
                    delta: at[7],
                    gamma,
                })
            }
        }
    }
}

impl Table {
    fn new(runs: &Observations, mean_share: f64) -> Self {
        let step = runs.len().div_ceil(MOST_RUNS).max(1);
        let kept: Vec<usize> = (0..runs.len()).step_by(step).collect();
        let chosen: Vec<Observation> = kept.iter().map(|place| runs.as_slice()[*place]).collect();
        let total: f64 = kept.iter().map(|place| runs.weights()[*place]).sum();
        let count = chosen.len() as f64;
        let mean = |of: fn(&Observation) -> f64| {
            chosen.iter().map(|run| of(run).ln()).sum::<f64>() / count
        };
        let ln_n0 = mean(|run| run.nonzero_params.get());
        let ln_d0 = mean(|run| run.data.get());
        let ln_l0 = mean(|run| run.loss.get());
        let mut densities: Vec<f64> =
            chosen.iter().map(|run| run.sparsity.density().get()).collect();
        densities.sort_by(|a, b| b.total_cmp(a));
        densities.dedup_by(|next, kept| *next >= *kept * (1.0 - LEVEL));
        let row = |(run, place): (&Observation, &usize)| {
            let x = run.sparsity.density().get();
            Row {
                ln_x: x.ln(),
                ln_mean: (1.0 - mean_share * (1.0 - x)).ln() - x.ln(),
                ln_n: run.nonzero_params.get().ln() - ln_n0,
                ln_d: run.data.get().ln() - ln_d0,
                ln_l: run.loss.get().ln() - ln_l0,
                // Levels fall, and the first is the largest density.
                level: densities
                    .partition_point(|level| *level >= x * (1.0 - 1e-12))
                    .saturating_sub(1),
                share: runs.weights()[*place] / total,
            }
        };
        Self {
            rows: chosen.iter().zip(&kept).map(row).collect(),
            sizes: distinct(&chosen, |run| run.nonzero_params.get()),
            amounts: distinct(&chosen, |run| run.data.get()),
            runs: chosen,
            densities,
            ln_n0,
            ln_d0,
            ln_l0,
            mean_share,
        }
    }

    fn loss_unit(&self) -> f64 {
        self.ln_l0.exp()
    }

    /// Why these runs cannot carry a form; `None` where they can.
    fn refusal(&self, model: Model) -> Option<String> {
        let count = self.densities.len();
        let needed = match model.form {
            LawForm::Sparse | LawForm::Experts => 3,
            _ => 2,
        };
        if count < needed {
            return Some(format!(
                "the runs have {count} different {} of sparsity, and it needs {needed}",
                if count == 1 { "value" } else { "values" }
            ));
        }
        for (have, quantity) in [(self.sizes, "nonzero_params"), (self.amounts, "data")] {
            if have < 3 {
                return Some(format!(
                    "the runs have {have} different {} of {quantity}, and it needs 3",
                    if have == 1 { "value" } else { "values" }
                ));
            }
        }
        let (runs, free) = (self.rows.len(), model.free());
        // Half of the runs are left to fit in a round.
        let enough = 2 * free + 1;
        (runs < enough).then(|| {
            format!("it has {free} coefficients, and {runs} runs are too few to hold some of them out: it needs {enough}")
        })
    }
}

/// How many levels a quantity has.
fn distinct(runs: &[Observation], of: fn(&Observation) -> f64) -> usize {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.dedup_by(|next, kept| *next - *kept <= LEVEL * *kept);
    values.len()
}

struct Engine<'a> {
    table: &'a Table,
    residual: Residual,
    /// In the unit of the normalised residual.
    delta: f64,
    seed: u64,
    should_stop: &'a (dyn Fn() -> bool + Sync),
}

/// What the laws of the runs below one limit said of the others: by run and form.
struct Round {
    /// Place of each predicted run, and the residual of each form.
    predictions: Vec<(usize, Vec<f64>)>,
}

impl Engine<'_> {
    fn residual(&self, loss: f64, row: &Row) -> f64 {
        match self.residual {
            Residual::Log => loss.max(f64::MIN_POSITIVE).ln() - row.ln_l,
            Residual::Linear => loss - row.ln_l.exp(),
        }
    }

    /// Mean Huber loss over the runs that count, in units of `delta^2`.
    fn value(&self, model: Model, at: &Point, seen: &[bool], delta: f64) -> f64 {
        let mut slope = vec![0.0; at.len()];
        let mut sum = 0.0;
        for (row, seen) in self.table.rows.iter().zip(seen) {
            if *seen {
                let u = (self.residual(model.evaluate(at, row, &mut slope), row) / delta).abs();
                sum += row.share * if u <= 1.0 { 0.5 * u * u } else { u - 0.5 };
            }
        }
        sum
    }

    /// The best of descents from points near and from random starts; `None` where it was stopped.
    fn fit(
        &self,
        model: Model,
        seen: &[bool],
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
        let found: Vec<(f64, Point)> = starts
            .into_par_iter()
            .map(|start| self.descend(model, start, seen))
            .collect::<Option<_>>()?;
        found.into_iter().min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, point)| point)
    }

    /// Through falling deltas, as near least squares no residual holds a descent up.
    fn descend(&self, model: Model, mut at: Point, seen: &[bool]) -> Option<(f64, Point)> {
        let mut delta = f64::INFINITY;
        while delta > self.delta {
            let median = self.median(model, &at, seen);
            delta = self.delta.max(median.min(delta * 0.3));
            self.stage(model, &mut at, seen, delta)?;
        }
        Some((self.value(model, &at, seen, self.delta), at))
    }

    fn median(&self, model: Model, at: &Point, seen: &[bool]) -> f64 {
        let mut slope = vec![0.0; at.len()];
        let rows = self.table.rows.iter().zip(seen).filter(|(_, seen)| **seen);
        let mut residuals: Vec<f64> = rows
            .map(|(row, _)| self.residual(model.evaluate(at, row, &mut slope), row).abs())
            .collect();
        quantile(&mut residuals, 0.5)
    }

    /// Damped Gauss-Newton steps with Huber's weights.
    fn stage(&self, model: Model, at: &mut Point, seen: &[bool], delta: f64) -> Option<()> {
        let kinds = model.kinds();
        let free = kinds.len();
        let mut damping = 1e-3;
        let mut value = self.value(model, at, seen, delta);
        for _ in 0..MOST_STEPS {
            if (self.should_stop)() {
                return None;
            }
            let (matrix, gradient) = self.normal_equations(model, at, seen, delta);
            let mut moved = false;
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
                let reached = self.value(model, &next, seen, delta);
                if reached < value {
                    let gained = value - reached;
                    (*at, value, moved) = (next, reached, gained > TOLERANCE * value);
                    damping = (damping * 0.2).max(1e-12);
                    break;
                }
                damping *= 6.0;
            }
            if !moved {
                break;
            }
        }
        Some(())
    }

    fn normal_equations(
        &self,
        model: Model,
        at: &Point,
        seen: &[bool],
        delta: f64,
    ) -> (DMatrix<f64>, Point) {
        let free = at.len();
        let mut matrix = DMatrix::zeros(free, free);
        let mut gradient = Point::zeros(free);
        let mut slope = vec![0.0; free];
        for (row, seen) in self.table.rows.iter().zip(seen) {
            if !*seen {
                continue;
            }
            let loss = model.evaluate(at, row, &mut slope);
            let residual = self.residual(loss, row);
            if self.residual == Residual::Log {
                let per_loss = loss.max(f64::MIN_POSITIVE).recip();
                slope.iter_mut().for_each(|slope| *slope *= per_loss);
            }
            let weight = row.share * (delta / residual.abs()).min(1.0) / (delta * delta);
            for i in 0..free {
                gradient[i] += weight * residual * slope[i];
                for j in 0..=i {
                    matrix[(i, j)] += weight * slope[i] * slope[j];
                }
            }
        }
        for i in 0..free {
            for j in 0..i {
                matrix[(j, i)] = matrix[(i, j)];
            }
        }
        (matrix, gradient)
    }

    /// Every round that all forms can take part in.
    fn rounds(&self, models: &[Model], whole: &[Point]) -> Option<Vec<Round>> {
        let quantities: [fn(&Observation) -> f64; 3] = [
            |run| run.nonzero_params.get(),
            |run| run.data.get(),
            |run| run.nonzero_params.get() * run.data.get(),
        ];
        let mut limits = Vec::new();
        for value in quantities {
            let mut values: Vec<f64> = self.table.runs.iter().map(value).collect();
            let mut of = SHARES.map(|share| quantile(&mut values, share)).to_vec();
            of.dedup_by(|next, kept| *next <= *kept * (1.0 + 1e-3));
            limits.extend(of.into_iter().map(|limit| (value, limit)));
        }
        let diverged = self.diverged(models, whole);
        let rounds: Option<Vec<Option<Round>>> = limits
            .par_iter()
            .enumerate()
            .map(|(place, (value, limit))| {
                self.round(models, whole, &diverged, (place, *value, *limit))
            })
            .collect();
        Some(rounds?.into_iter().flatten().collect())
    }

    /// Runs that lie far off by every form.
    fn diverged(&self, models: &[Model], whole: &[Point]) -> Vec<bool> {
        let mut far = vec![true; self.table.rows.len()];
        for (model, at) in models.iter().zip(whole) {
            let mut slope = vec![0.0; at.len()];
            let residuals: Vec<f64> = (self.table.rows.iter())
                .map(|row| self.residual(model.evaluate(at, row, &mut slope), row).abs())
                .collect();
            let limit =
                DIVERGED * (quantile(&mut residuals.clone(), 0.5) / MAD_OF_NORMAL).max(1e-7);
            for (far, residual) in far.iter_mut().zip(&residuals) {
                *far &= *residual > limit;
            }
        }
        far
    }

    /// `Some(None)` where some form cannot take part.
    fn round(
        &self,
        models: &[Model],
        whole: &[Point],
        diverged: &[bool],
        (place, value, limit): (usize, fn(&Observation) -> f64, f64),
    ) -> Option<Option<Round>> {
        let table = self.table;
        let seen: Vec<bool> =
            table.runs.iter().map(|run| value(run) < limit * (1.0 - 1e-3)).collect();
        let kept: Vec<Observation> =
            table.runs.iter().zip(&seen).filter(|(_, seen)| **seen).map(|(run, _)| *run).collect();
        let most = models.iter().map(|model| model.free()).max().unwrap_or(0);
        let densities = levels(kept.iter().map(|run| run.sparsity.density().get()).collect()).len();
        let sizes = distinct(&kept, |run| run.nonzero_params.get());
        let amounts = distinct(&kept, |run| run.data.get());
        let usable = kept.len() > most
            && kept.len() < table.runs.len()
            && densities >= table.densities.len().min(3)
            && sizes >= 3
            && amounts >= 3;
        if !usable {
            return Some(None);
        }
        let mut fitted = Vec::with_capacity(models.len());
        for (of, (model, near)) in models.iter().zip(whole).enumerate() {
            let stream = 1000 * (place as u32 + 1) + of as u32;
            fitted.push(self.fit(*model, &seen, &[near], FRESH_STARTS, stream)?);
        }
        let known = |level: usize| {
            table.rows.iter().zip(&seen).any(|(row, seen)| *seen && row.level == level)
        };
        let mut predictions = Vec::new();
        for (run, row) in table.rows.iter().enumerate() {
            if seen[run] || diverged[run] || !known(row.level) {
                continue;
            }
            let residual = |(model, at): (&Model, &Point)| {
                let mut slope = vec![0.0; at.len()];
                self.residual(model.evaluate(at, row, &mut slope), row)
            };
            predictions.push((run, models.iter().zip(&fitted).map(residual).collect()));
        }
        Some((!predictions.is_empty()).then_some(Round { predictions }))
    }

    fn sum_up(
        &self,
        active: LawForm,
        confidence: f64,
        (models, whole): (&[Model], &[Point]),
        rounds: &[Round],
        refused: Vec<RefusedForm>,
    ) -> Rivals {
        let unit = match self.residual {
            Residual::Log => 1.0,
            Residual::Linear => self.table.loss_unit(),
        };
        let count = self.table.rows.len();
        // By run: squared errors of each form over all rounds, and how many predictions they are of.
        let mut squares = vec![vec![0.0; count]; models.len()];
        let mut made = vec![0.0; count];
        for (run, residuals) in rounds.iter().flat_map(|round| &round.predictions) {
            made[*run] += 1.0;
            for (of, residual) in squares.iter_mut().zip(residuals) {
                of[*run] += (residual * unit).powi(2);
            }
        }
        let error = |of: usize, drawn: &[f64]| {
            let predictions: f64 = made.iter().zip(drawn).map(|(made, drawn)| made * drawn).sum();
            let sum: f64 =
                squares[of].iter().zip(drawn).map(|(square, drawn)| square * drawn).sum();
            (sum / predictions).sqrt()
        };
        let predicted: Vec<usize> = (0..count).filter(|run| made[*run] > 0.0).collect();
        let draws: Vec<Vec<f64>> = (0..DRAWS as u32)
            .map(|draw| {
                let mut rng = generator(self.seed, Stream::Rivals(1_000_000 + draw));
                let mut drawn = vec![0.0; count];
                for _ in 0..predicted.len() {
                    drawn[predicted[rng.random_range(0..predicted.len())]] += 1.0;
                }
                drawn
            })
            .collect();
        let everything = vec![1.0; count];
        let tail = (1.0 - confidence) / 2.0;
        let interval = |mut values: Vec<f64>| {
            let (low, high) = (quantile(&mut values, tail), quantile(&mut values, 1.0 - tail));
            Interval { level: confidence, low, high }
        };
        let base = models.iter().position(|model| model.form == active);
        let seen = vec![true; count];
        let scale = (self.delta * unit).powi(2);
        let mut forms: Vec<Rival> = models
            .iter()
            .zip(whole)
            .enumerate()
            .map(|(of, (model, at))| {
                let there = !predicted.is_empty();
                let excess = base.filter(|_| there).map(|base| {
                    interval(
                        draws.iter().map(|drawn| error(of, drawn) - error(base, drawn)).collect(),
                    )
                });
                Rival {
                    free: model.free(),
                    objective: scale * self.value(*model, at, &seen, self.delta),
                    holdout_error: there.then(|| error(of, &everything)),
                    interval: there
                        .then(|| interval(draws.iter().map(|drawn| error(of, drawn)).collect())),
                    no_worse: excess.is_some_and(|excess| excess.low <= 0.0),
                    excess,
                    law: model.law(at, self.table),
                }
            })
            .collect();
        let key = |rival: &Rival| rival.holdout_error.unwrap_or(rival.objective);
        forms.sort_by(|a, b| key(a).total_cmp(&key(b)));
        let predictions = rounds.iter().map(|round| round.predictions.len()).sum();
        Rivals { rounds: rounds.len(), predictions, forms, refused }
    }
}

/// Steps of one stage at most; it takes some twenty.
const MOST_STEPS: usize = 200;
/// Improvement of a step, relative to the value, below which there is no other.
const TOLERANCE: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::testing::{grid, shuffled};
    use crate::fit::{FitConfig, fit};
    use crate::law::{Coefficients, GainCurve, Loss, T5_C4};
    use proptest::prelude::*;

    fn config(residual: Residual) -> ValidFitConfig {
        FitConfig { bootstrap: 0, holdout: Vec::new(), residual, ..FitConfig::default() }
            .check()
            .unwrap()
    }

    fn ranked(runs: Vec<Observation>, delta: f64) -> Rivals {
        let runs = Observations::new(runs);
        rank_forms(&runs, LawForm::Sparse, delta, 0.625, &config(Residual::Log), &Control::NONE)
            .unwrap()
    }

    fn of(rivals: &Rivals, form: LawForm) -> &Rival {
        rivals.forms.iter().find(|rival| rival.law.form() == form).unwrap()
    }

    /// The same runs with the losses of another law, and relative noise.
    fn relabelled(noise: f64, law: impl Fn(&Observation) -> f64) -> Vec<Observation> {
        let truth = T5_C4.coefficients();
        let runs = grid(truth, noise, 9).into_iter();
        runs.map(|run| {
            let plain = truth.loss(run.sparsity.density(), run.nonzero_params, run.data);
            Observation { loss: Loss::new(run.loss.get() / plain * law(&run)).unwrap(), ..run }
        })
        .collect()
    }

    fn counting_means() -> Coefficients {
        let v = T5_C4.coefficients().values();
        let dense = CoefficientValues { a_s: 0.0, b_s: 1.0, c_s: 2.0 * (v.a_s + v.c_s), ..v };
        let curve = GainCurve::AverageParams { mean_share: 0.625 };
        Coefficients::reduced(dense).unwrap().with_gain(curve).unwrap()
    }

    const EXPERTS: ExpertCoefficients = ExpertCoefficients {
        e: 0.9,
        a: 900.0,
        alpha: 0.5,
        b: 4000.0,
        beta: 0.4,
        c: 0.5,
        lambda: -0.2,
        d: 12.0,
        delta: 0.2,
        gamma: 0.15,
    };

    proptest! {
        #[test]
        fn gradients_are_the_derivatives(
            coordinates in prop::array::uniform10(-1.5..1.0f64), run in 0..64_usize,
        ) {
            let table = Table::new(&Observations::new(grid(T5_C4.coefficients(), 0.01, 1)), 0.625);
            for form in LawForm::ALL {
                let model = Model { form, levels: table.densities.len() };
                let free = model.free();
                let at = Point::from_iterator(free, coordinates.iter().copied().take(free));
                let row = &table.rows[run];
                let (mut slope, mut unused) = (vec![0.0; free], vec![0.0; free]);
                let value = model.evaluate(&at, row, &mut slope);
                for place in 0..free {
                    let mut moved = |by: f64| {
                        let mut at = at.clone();
                        at[place] += by;
                        model.evaluate(&at, row, &mut unused)
                    };
                    let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                    prop_assert!((difference - slope[place]).abs() < 1e-7 * (1.0 + value.abs()), "{form:?} {place}");
                }
            }
        }
    }

    #[test]
    fn the_engine_finds_what_the_papers_fit_finds() {
        for (residual, delta) in
            [(Residual::Log, 1e-3), (Residual::Log, 1e-2), (Residual::Linear, 1e-2)]
        {
            let runs = Observations::new(grid(T5_C4.coefficients(), 0.005, 7));
            let given = FitConfig { delta: delta.into(), ..config(residual).get().clone() };
            let report =
                fit(&runs.clone().into(), &given.check().unwrap(), &Control::NONE).unwrap();
            let rivals =
                rank_forms(&runs, LawForm::Sparse, delta, 0.625, &config(residual), &Control::NONE)
                    .unwrap();
            let objective = of(&rivals, LawForm::Sparse).objective;
            // Gauss-Newton stops short of the kinks of a delta below the noise.
            assert!(
                (objective / report.objective - 1.0).abs() < 1e-5,
                "{objective} {}",
                report.objective
            );
        }
    }

    #[test]
    fn every_form_gives_its_own_law_back() {
        let means = counting_means();
        let runs =
            relabelled(0.0, |run| means.loss(run.sparsity.density(), run.nonzero_params, run.data));
        let rivals = ranked(runs, 1e-3);
        let RivalLaw::AverageParams { coefficients, .. } =
            of(&rivals, LawForm::AverageParams).law.clone()
        else {
            panic!("of its form")
        };
        for (got, truth) in coefficients.to_array().into_iter().zip(means.values().to_array()) {
            assert!((got - truth).abs() <= 1e-3 * truth, "{got} {truth}");
        }

        let factor = |s: f64| [1.0, 0.8, 0.9, 0.5][(s * 4.0).round().min(3.0) as usize];
        let v = T5_C4.coefficients().values();
        let levels = |run: &Observation| {
            let capacity =
                60.0 * if run.sparsity.get() == 0.875 { 0.4 } else { factor(run.sparsity.get()) };
            capacity * run.nonzero_params.get().powf(-v.b_n)
                + (v.a_d / run.data.get()).powf(v.b_d)
                + v.c
        };
        let rivals = ranked(relabelled(0.0, levels), 1e-3);
        let RivalLaw::Levels(law) = &of(&rivals, LawForm::Levels).law else {
            panic!("of its form")
        };
        assert_eq!(law.levels.len(), 4);
        for level in &law.levels {
            let truth = 60.0 * if level.sparsity == 0.875 { 0.4 } else { factor(level.sparsity) };
            assert!((level.a / truth - 1.0).abs() < 1e-3, "{level:?}");
            assert!(
                (level.gain.unwrap() - (truth / 60.0).powf(-1.0 / v.b_n)).abs() < 0.05,
                "{level:?}"
            );
            assert_eq!(level.runs, 16);
        }
        assert_eq!(rivals.forms[0].law.form(), LawForm::Levels);

        let experts =
            |run: &Observation| EXPERTS.loss(run.sparsity.density(), run.nonzero_params, run.data);
        let rivals = ranked(relabelled(0.0, experts), 1e-3);
        let law = &of(&rivals, LawForm::Experts).law;
        // Ten coefficients make up for each other; what they say of the runs they do not leave open.
        for run in relabelled(0.0, experts) {
            let got = law.loss(run.sparsity.density(), run.nonzero_params, run.data).unwrap();
            assert!((got / run.loss.get() - 1.0).abs() < 1e-4, "{got} {}", run.loss);
        }
    }

    #[test]
    fn the_form_that_made_the_runs_predicts_them_best_and_the_others_are_told_apart() {
        let means = counting_means();
        let runs = relabelled(0.002, |run| {
            means.loss(run.sparsity.density(), run.nonzero_params, run.data)
        });
        let rivals = ranked(runs, 2.7e-3);
        assert_eq!(rivals.forms[0].law.form(), LawForm::AverageParams);
        assert!(of(&rivals, LawForm::AverageParams).no_worse);
        let runs = relabelled(0.002, |run| {
            T5_C4.coefficients().loss(run.sparsity.density(), run.nonzero_params, run.data)
        });
        let rivals = ranked(runs, 2.7e-3);
        let sparse = of(&rivals, LawForm::Sparse);
        let excess = sparse.excess.unwrap();
        assert_eq!((excess.low, excess.high), (0.0, 0.0));
        // Mean parameters are far off these.
        assert!(!of(&rivals, LawForm::AverageParams).no_worse);
        assert!(rivals.rounds > 3 && rivals.predictions > 50);
        assert!(rivals.forms.is_sorted_by_key(|rival| rival.holdout_error));
        for rival in &rivals.forms {
            let (error, interval) = (rival.holdout_error.unwrap(), rival.interval.unwrap());
            assert!(interval.low < error && error < interval.high);
        }
    }

    #[test]
    fn it_is_the_same_to_the_bit_in_any_order_on_any_number_of_threads() {
        let runs = grid(T5_C4.coefficients(), 0.005, 7);
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let alone = pool(1).install(|| ranked(runs.clone(), 1e-3));
        assert_eq!(pool(3).install(|| ranked(shuffled(runs), 1e-3)), alone);
    }

    #[test]
    fn forms_that_the_runs_cannot_carry_are_named_with_the_reason() {
        let all = grid(T5_C4.coefficients(), 0.001, 1);
        let two: Vec<_> = all.iter().copied().filter(|run| run.sparsity.get() <= 0.5).collect();
        let rivals = ranked(two, 1e-3);
        let refused: Vec<LawForm> = rivals.refused.iter().map(|refused| refused.form).collect();
        assert_eq!(refused, [LawForm::Sparse, LawForm::Experts]);
        assert!(rivals.refused[0].reason.contains("2 different values of sparsity"), "{rivals:?}");
        let few: Vec<_> = all.iter().copied().step_by(5).collect();
        let rivals = ranked(few, 1e-3);
        let experts =
            rivals.refused.iter().find(|refused| refused.form == LawForm::Experts).unwrap();
        assert!(experts.reason.contains("it needs 21"), "{experts:?}");
        let none = rank_forms(
            &Observations::new(Vec::new()),
            LawForm::Sparse,
            1e-3,
            0.625,
            &config(Residual::Log),
            &Control::NONE,
        );
        assert_eq!(none, Err(FitError::NoRuns));
    }

    #[test]
    fn it_stops_when_told() {
        let runs = Observations::new(grid(T5_C4.coefficients(), 0.01, 1));
        let control = Control { should_stop: &|| true, progress: &|_, _| () };
        let stopped =
            rank_forms(&runs, LawForm::Sparse, 1e-3, 0.625, &config(Residual::Log), &control);
        assert_eq!(stopped, Err(FitError::Stopped));
    }

    #[test]
    fn runs_that_are_alike_or_absurd_rank_without_a_panic() {
        let all = grid(T5_C4.coefficients(), 0.001, 1);
        ranked(vec![all[0]; 30], 1e-3);
        let mut wild = all.clone();
        for run in wild.iter_mut().step_by(3) {
            run.loss = Loss::new(1e12).unwrap();
        }
        for run in wild.iter_mut().skip(1).step_by(3) {
            run.loss = Loss::new(1e-12).unwrap();
        }
        let rivals = ranked(wild, 1e-9);
        assert!(rivals.forms.iter().all(|rival| rival.objective.is_finite()));
    }
}
