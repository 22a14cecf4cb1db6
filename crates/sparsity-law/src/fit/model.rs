//! The forms of the law as functions of their coordinates, over runs in units near 1.

use std::collections::BTreeSet;

use nalgebra::DVector;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::observations::{Observation, Observations};
use crate::law::{
    CoefficientValues, ExpertCoefficients, FormLaw, LawForm, LevelCapacity, LevelLaw, RivalLaw,
};

/// Values of a quantity that differ by less than this share are one level.
pub(super) const LEVEL: f64 = 0.02;

/// Coordinates of a law: logarithms of amplitudes and of positive exponents, and exponents of either sign as they
/// are.
pub(super) type Point = DVector<f64>;

/// A form of the law over runs with `levels` levels of sparsity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FormModel {
    pub form: LawForm,
    pub levels: usize,
    /// Whether the amounts of data differ. If not, the data term is left out and becomes part of the irreducible
    /// loss.
    pub data: bool,
}

/// One run in units near 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub ln_x: f64,
    /// Logarithm of the gain from counting mean parameters over training.
    pub ln_mean: f64,
    pub ln_n: f64,
    pub ln_d: f64,
    pub ln_l: f64,
    /// Index of the run's level: its sparsity, and its name where it has one.
    pub level: usize,
    /// Weight, as a share of the weights of all runs.
    pub share: f64,
}

/// Logarithms of the units of size, data and loss.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    pub ln_n: f64,
    pub ln_d: f64,
    pub ln_l: f64,
}

/// The runs and their units.
pub(super) struct Table {
    pub rows: Vec<Row>,
    pub runs: Vec<Observation>,
    /// The density of each level, in descending order.
    pub densities: Vec<f64>,
    /// The sparsity of each level, as the runs have it.
    pub sparsities: Vec<f64>,
    /// The name of each level, where runs of the same sparsity are distinguished by name.
    pub names: Vec<Option<String>>,
    /// Number of different sizes.
    pub sizes: usize,
    /// Number of different amounts of data.
    pub amounts: usize,
    /// Means of the logarithms over the runs, which are subtracted in the rows.
    pub ln_n0: f64,
    pub ln_d0: f64,
    pub ln_l0: f64,
    pub mean_share: f64,
}

/// Kind of a coordinate of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Amplitude,
    Exponent,
    /// An exponent of either sign.
    Signed,
    /// A coordinate of a term that is left out.
    Held,
}

impl Kind {
    /// Range in which the coordinate is searched.
    pub const fn range(self) -> (f64, f64) {
        match self {
            // Its exponential is 0.
            Self::Held => (-800.0, -800.0),
            Self::Amplitude => (-30.0, 30.0),
            Self::Exponent => (-6.9, 3.0),
            Self::Signed => (-4.0, 4.0),
        }
    }
}

impl FormModel {
    /// Kind of each coordinate.
    pub fn kinds(self) -> Vec<Kind> {
        use Kind::{Amplitude, Exponent, Held, Signed};
        let mut kinds = match self.form {
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
        };
        if !self.data {
            let place = self.data_place();
            (kinds[place], kinds[place + 1]) = (Held, Held);
        }
        kinds
    }

    /// Name of each coordinate's coefficient in formulas.
    pub fn names(self, table: &Table) -> Vec<String> {
        let names: &[&str] = match self.form {
            LawForm::Sparse => &["a_s", "b_s", "c_s", "b_n", "a_d", "b_d", "c"],
            LawForm::AverageParams | LawForm::Dense => &["c_s", "b_n", "a_d", "b_d", "c"],
            LawForm::Levels => &["b_n", "a_d", "b_d", "c"],
            LawForm::Experts => {
                &["a", "alpha", "b", "beta", "c", "lambda", "d", "delta", "gamma", "e"]
            }
        };
        let levels = if self.form == LawForm::Levels { self.levels } else { 0 };
        let capacity = |place: usize| format!("a at sparsity {}", table.level_told(place));
        let names = names.iter().map(|name| (*name).to_owned());
        (0..levels).map(capacity).chain(names).collect()
    }

    /// Index of the amplitude of the data term; its exponent follows.
    const fn data_place(self) -> usize {
        match self.form {
            LawForm::Sparse => 4,
            LawForm::AverageParams | LawForm::Dense | LawForm::Experts => 2,
            LawForm::Levels => self.levels + 1,
        }
    }

    /// Number of coefficients that are fitted.
    pub fn free(self) -> usize {
        self.kinds().iter().filter(|kind| **kind != Kind::Held).count()
    }

    /// The loss of a run, in units of `exp(ln_l0)`; writes its gradient by the coordinates into `slope`.
    pub fn evaluate(self, at: &Point, row: &Row, slope: &mut [f64]) -> f64 {
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

    /// A random start: exponents are drawn, and amplitudes lie near equal shares of the loss.
    pub fn start(self, rng: &mut ChaCha8Rng) -> Point {
        let kinds = self.kinds();
        let draw = |kind: &Kind| match kind {
            Kind::Amplitude => -1.6 + 0.8 * (rng.random::<f64>() - 0.5),
            Kind::Exponent => -3.0 + 3.3 * rng.random::<f64>(),
            Kind::Signed => -0.5 + rng.random::<f64>(),
            Kind::Held => Kind::Held.range().0,
        };
        Point::from_iterator(kinds.len(), kinds.iter().map(draw))
    }

    /// The law in raw units.
    pub fn law(self, at: &Point, table: &Table) -> RivalLaw {
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
                let values = self.own_values(at, table.units());
                let (capacities, rest) = values.split_at(self.levels);
                let level = |place: usize| LevelCapacity {
                    sparsity: table.sparsities[place],
                    name: table.names[place].clone(),
                    runs: table.rows.iter().filter(|row| row.level == place).count(),
                    a: capacities[place],
                    gain: None,
                };
                let law = LevelLaw {
                    levels: (0..self.levels).map(level).collect(),
                    b_n: rest[0],
                    a_d: rest[1],
                    b_d: rest[2],
                    c: rest[3],
                };
                RivalLaw::Levels(law.with_gains())
            }
            LawForm::Experts => {
                let values = self.own_values(at, table.units());
                RivalLaw::Experts(ExpertCoefficients {
                    e: values[0],
                    a: values[1],
                    alpha: values[2],
                    b: values[3],
                    beta: values[4],
                    c: values[5],
                    lambda: values[6],
                    d: values[7],
                    delta: values[8],
                    gamma: values[9],
                })
            }
        }
    }

    /// The coefficients of a form that has its own, in raw units and in the order of
    /// [`FormLaw::named`](crate::law::FormLaw::named); empty for the other forms.
    pub fn own_values(self, at: &Point, units: Units) -> Vec<f64> {
        let Units { ln_n, ln_d, ln_l } = units;
        match self.form {
            LawForm::Levels => {
                let rest = self.levels;
                let (b_n, b_d) = (at[rest].exp(), at[rest + 2].exp());
                let capacity = |place: usize| (at[place] + ln_l + b_n * ln_n).exp();
                let a_d = (ln_d + (ln_l + at[rest + 1]) / b_d).exp();
                let (a_d, b_d) = if self.data { (a_d, b_d) } else { (0.0, 1.0) };
                let rest = [b_n, a_d, b_d, (at[rest + 3] + ln_l).exp()];
                (0..self.levels).map(capacity).chain(rest).collect()
            }
            LawForm::Experts => {
                let (alpha, beta, gamma) = (at[1].exp(), at[3].exp(), at[8].exp());
                let data = ((at[2] + ln_l + beta * ln_d).exp(), beta);
                let (b, beta) = if self.data { data } else { (0.0, 1.0) };
                vec![
                    (at[9] + ln_l).exp(),
                    (at[0] + ln_l + alpha * ln_n).exp(),
                    alpha,
                    b,
                    beta,
                    (at[4] + ln_l).exp(),
                    at[5],
                    (at[6] + ln_l + gamma * ln_n).exp(),
                    at[7],
                    gamma,
                ]
            }
            LawForm::Sparse | LawForm::AverageParams | LawForm::Dense => Vec::new(),
        }
    }

    /// The model and the coordinates of a law with its own coefficients; inverse of [`Self::own_values`].
    pub fn of(law: &FormLaw, units: Units) -> (Self, Point) {
        let Units { ln_n, ln_d, ln_l } = units;
        let levels = match law {
            FormLaw::Levels(law) => law.levels.len(),
            FormLaw::Experts(_) => 0,
        };
        let model = Self { form: law.form(), levels, data: law.determines_data() };
        let at = match law {
            FormLaw::Levels(LevelLaw { levels, b_n, a_d, b_d, c }) => {
                let capacity = |level: &LevelCapacity| level.a.ln() - ln_l - b_n * ln_n;
                let data = b_d * (a_d.ln() - ln_d) - ln_l;
                let rest = [b_n.ln(), data, b_d.ln(), c.ln() - ln_l];
                levels.iter().map(capacity).chain(rest).collect()
            }
            FormLaw::Experts(law) => vec![
                law.a.ln() - ln_l - law.alpha * ln_n,
                law.alpha.ln(),
                law.b.ln() - ln_l - law.beta * ln_d,
                law.beta.ln(),
                law.c.ln() - ln_l,
                law.lambda,
                law.d.ln() - ln_l - law.gamma * ln_n,
                law.delta,
                law.gamma.ln(),
                law.e.ln() - ln_l,
            ],
        };
        let mut at = Point::from_vec(at);
        for (value, kind) in at.iter_mut().zip(model.kinds()) {
            if kind == Kind::Held {
                *value = Kind::Held.range().0;
            }
        }
        (model, at)
    }
}

impl Table {
    /// Builds the table from at most `most` runs; of more runs, some are taken at even spacing in canonical order.
    /// `mean_share` is the mean sparsity over training as a share of the final one.
    pub fn new(runs: &Observations, mean_share: f64, most: usize) -> Self {
        Self::named(runs, &[], mean_share, most)
    }

    /// Same as [`Self::new`], with names that distinguish runs of the same sparsity; empty where there are none.
    pub fn named(
        runs: &Observations,
        names: &[Option<String>],
        mean_share: f64,
        most: usize,
    ) -> Self {
        let step = runs.len().div_ceil(most).max(1);
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
        let mut levels: Vec<(f64, f64)> =
            chosen.iter().map(|run| (run.sparsity.density().get(), run.sparsity.get())).collect();
        levels.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        levels.dedup_by(|(next, _), (kept, _)| *next >= *kept * (1.0 - LEVEL));
        // Levels are in descending order, and the first is the largest density.
        let of_density = |x: f64| {
            levels.partition_point(|(level, _)| *level >= x * (1.0 - 1e-12)).saturating_sub(1)
        };
        let key = |run: &Observation, place: usize| {
            let name = names.get(place).and_then(Option::as_deref);
            (of_density(run.sparsity.density().get()), name)
        };
        let keys: BTreeSet<(usize, Option<&str>)> =
            chosen.iter().zip(&kept).map(|(run, place)| key(run, *place)).collect();
        let keys: Vec<(usize, Option<&str>)> = keys.into_iter().collect();
        let row = |(run, place): (&Observation, &usize)| {
            let x = run.sparsity.density().get();
            let level = keys.binary_search(&key(run, *place));
            Row {
                ln_x: x.ln(),
                ln_mean: (1.0 - mean_share * (1.0 - x)).ln() - x.ln(),
                ln_n: run.nonzero_params.get().ln() - ln_n0,
                ln_d: run.data.get().ln() - ln_d0,
                ln_l: run.loss.get().ln() - ln_l0,
                level: level.expect("the key of every run is among the keys"),
                share: runs.weights()[*place] / total,
            }
        };
        Self {
            rows: chosen.iter().zip(&kept).map(row).collect(),
            sizes: distinct(&chosen, |run| run.nonzero_params.get()),
            amounts: distinct(&chosen, |run| run.data.get()),
            densities: keys.iter().map(|(level, _)| levels[*level].0).collect(),
            sparsities: keys.iter().map(|(level, _)| levels[*level].1).collect(),
            names: keys.iter().map(|(_, name)| name.map(str::to_owned)).collect(),
            runs: chosen,
            ln_n0,
            ln_d0,
            ln_l0,
            mean_share,
        }
    }

    /// Text for a level: its sparsity, with its name where it has one.
    pub fn level_told(&self, place: usize) -> String {
        match &self.names[place] {
            Some(name) => format!("{} ({name})", self.sparsities[place]),
            None => self.sparsities[place].to_string(),
        }
    }

    /// The units of the rows.
    pub fn units(&self) -> Units {
        Units { ln_n: self.ln_n0, ln_d: self.ln_d0, ln_l: self.ln_l0 }
    }

    /// The unit of the loss in the rows.
    pub fn loss_unit(&self) -> f64 {
        self.ln_l0.exp()
    }
}

/// Number of levels of a quantity.
pub(super) fn distinct(runs: &[Observation], of: fn(&Observation) -> f64) -> usize {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.dedup_by(|next, kept| *next - *kept <= LEVEL * *kept);
    values.len()
}

/// Largest number of levels of a law: each is a coefficient, and the work of a step grows with the cube of their
/// number.
pub(super) const MOST_LEVELS: usize = 200;

impl Table {
    /// What the runs have too few, or too many, of for a form; `None` where they suit it. A single amount of data
    /// is enough for a model without a data term.
    pub fn lacking(&self, model: FormModel) -> Option<String> {
        let count = self.densities.len();
        let needed = match model.form {
            LawForm::Sparse | LawForm::Experts => 3,
            _ => 2,
        };
        if count < needed {
            let what = if self.names.iter().any(Option::is_some) { "level" } else { "value" };
            return Some(format!(
                "the runs have {count} different {what}{} of sparsity, and it needs {needed}",
                if count == 1 { "" } else { "s" }
            ));
        }
        if model.form == LawForm::Levels && count > MOST_LEVELS {
            return Some(format!(
                "the runs have {count} levels, and it takes at most {MOST_LEVELS}: tell runs apart by something that fewer of \
                 them differ in, or fit another form"
            ));
        }
        let amounts = if model.data { self.amounts } else { 3 };
        for (have, quantity) in [(self.sizes, "nonzero_params"), (amounts, "data")] {
            if have < 3 {
                return Some(format!(
                    "the runs have {have} different {} of {quantity}, and it needs 3",
                    if have == 1 { "value" } else { "values" }
                ));
            }
        }
        None
    }
}
