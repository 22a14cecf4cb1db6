//! The loops over the runs of an objective, by columns so that they compile to vector instructions.
//!
//! Every sum is split into [`LANES`] partial sums on every processor, so the bits of a result do not depend on the
//! width of its vectors. Powers are computed anew for each run: four at a time, that costs no more than looking
//! them up by level, and less where all runs are different.

use std::cell::RefCell;

use nalgebra::{SMatrix, SVector};
use pulp::{Simd, WithSimd};

use super::config::Residual;
use super::derivatives::{Evaluation, Gradient, Hessian};
use super::lanes::{BLOCK, Block, LANES, Lanes, Sum, add_products, load, sum, times};
use super::normalised::{COUNT, Normalised, Point};
use crate::law::branchless::{exp, ln};

/// Largest exponent of a power: larger ones are cut off, so that products of several powers stay finite.
const MOST_EXPONENT: f64 = 600.0;

/// The runs with a positive weight, by columns; the last lanes are filled up with runs whose share is 0.
#[derive(Debug, Clone)]
pub(super) struct RunColumns {
    places: Vec<u32>,
    pub ln_x: Vec<f64>,
    pub ln_n: Vec<f64>,
    pub ln_d: Vec<f64>,
    /// `ln (L / L0)` or `L / L0`: the value that the prediction is compared with.
    pub measured: Vec<f64>,
    pub share: Vec<f64>,
}

impl RunColumns {
    /// Builds the columns, with weights turned into shares of their sum; runs without weight are left out.
    pub fn new(runs: &Normalised, residual: Residual, weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let counted = (0..).zip(weights).filter(|(_, weight)| **weight > 0.0);
        let places: Vec<u32> = counted.map(|(place, _)| place).collect();
        let filled = places.len().next_multiple_of(LANES);
        let column = |of: &dyn Fn(usize) -> f64, filler: f64| -> Vec<f64> {
            let mut column = Vec::with_capacity(filled);
            column.extend(places.iter().map(|place| of(*place as usize)));
            column.resize(filled, filler);
            column
        };
        let measured = match residual {
            Residual::Log => column(&|run| runs.ln_l[run], 0.0),
            Residual::Linear => column(&|run| runs.l[run], 1.0),
        };
        Self {
            ln_x: column(&|run| runs.ln_x[run], 0.0),
            ln_n: column(&|run| runs.ln_n[run], 0.0),
            ln_d: column(&|run| runs.ln_d[run], 0.0),
            measured,
            share: column(&|run| weights[run] / total, 0.0),
            places,
        }
    }

    /// Number of runs with a positive weight.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Indices, among all runs, of those with a positive weight.
    pub fn places(&self) -> &[u32] {
        &self.places
    }

    /// Shares of the runs with a positive weight; they sum to 1.
    pub fn shares(&self) -> &[f64] {
        &self.share[..self.len()]
    }

    /// A column of zeros, as long as the others.
    pub fn room(&self) -> Vec<f64> {
        vec![0.0; self.share.len()]
    }

    /// The runs in blocks.
    fn blocks(&self) -> impl Iterator<Item = Runs<'_>> {
        let size = BLOCK * LANES;
        let (x, n, d) = (self.ln_x.chunks(size), self.ln_n.chunks(size), self.ln_d.chunks(size));
        let rest = self.measured.chunks(size).zip(self.share.chunks(size));
        x.zip(n).zip(d).zip(rest).map(|(((ln_x, ln_n), ln_d), (measured, share))| Runs {
            ln_x,
            ln_n,
            ln_d,
            measured,
            share,
        })
    }
}

/// A block of runs; all columns have the same length, a multiple of [`LANES`].
struct Runs<'a> {
    ln_x: &'a [f64],
    ln_n: &'a [f64],
    ln_d: &'a [f64],
    measured: &'a [f64],
    share: &'a [f64],
}

/// The law at a point, with its coefficients computed from their logarithms.
#[derive(Debug, Clone, Copy)]
pub(super) struct LawAtPoint {
    a: f64,
    pub b_s: f64,
    c_s: f64,
    pub b_n: f64,
    e: f64,
    pub b_d: f64,
    c: f64,
}

/// Value and slope of the law at one run, in units of `L0`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// The predicted loss.
    pub loss: f64,
    /// `df/d theta`.
    pub slope: [f64; COUNT],
}

impl LawAtPoint {
    pub fn new(point: &Point) -> Self {
        let [a, b_s, c_s, b_n, e, b_d, c] = point.map(f64::exp);
        Self { a, b_s, c_s, b_n, e, b_d, c }
    }

    #[inline(always)]
    pub fn parts(&self, ln_x: f64, ln_n: f64, ln_d: f64) -> Parts {
        let p = self.b_s * ln_x;
        let q = -self.b_n * ln_n;
        let v = -self.b_d * ln_d;
        self.of_powers([power(p), power(q), power(v)], [p, q, v])
    }

    /// The same from the powers of a run and their exponents.
    #[inline(always)]
    pub fn of_powers(&self, [x, n, d]: [f64; 3], [p, q, v]: [f64; 3]) -> Parts {
        let sparse = self.a * x * n;
        let rest = self.c_s * n;
        let data = self.e * d;
        let loss = sparse + rest + data + self.c;
        // The logarithm must stay finite where every term underflows.
        let loss = if loss < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { loss };
        let slope = [sparse, sparse * p, rest, (sparse + rest) * q, data, data * v, self.c];
        Parts { loss, slope }
    }
}

#[inline(always)]
fn power(exponent: f64) -> f64 {
    exp(if exponent > MOST_EXPONENT { MOST_EXPONENT } else { exponent })
}

/// Computes the exponents of a column and their powers.
#[inline(always)]
pub(super) fn powers(exponents: &mut [f64], powers: &mut [f64], by: f64, logs: &[f64]) {
    for ((exponent, found), log) in exponents.iter_mut().zip(powers).zip(logs) {
        *exponent = by * log;
        *found = power(*exponent);
    }
}

/// Residual of a run whose predicted loss is `loss`.
#[inline(always)]
fn residual(kind: Residual, loss: f64, measured: f64) -> f64 {
    match kind {
        Residual::Log => ln(loss) - measured,
        Residual::Linear => loss - measured,
    }
}

/// The pass of `Objective::absolute_residuals`.
pub(super) struct Residuals<'a> {
    pub columns: &'a RunColumns,
    pub residual: Residual,
    pub law: LawAtPoint,
    /// Receives the residuals, filled-up lanes included.
    pub found: &'a mut [f64],
}

impl WithSimd for Residuals<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { columns, residual: kind, law, found } = self;
        for (runs, found) in columns.blocks().zip(found.chunks_mut(BLOCK * LANES)) {
            let size = found.len();
            let (ln_x, ln_n, ln_d) = (&runs.ln_x[..size], &runs.ln_n[..size], &runs.ln_d[..size]);
            let measured = &runs.measured[..size];
            match kind {
                Residual::Log => {
                    for i in 0..size {
                        let parts = law.parts(ln_x[i], ln_n[i], ln_d[i]);
                        found[i] = residual(Residual::Log, parts.loss, measured[i]);
                    }
                }
                Residual::Linear => {
                    for i in 0..size {
                        let parts = law.parts(ln_x[i], ln_n[i], ln_d[i]);
                        found[i] = residual(Residual::Linear, parts.loss, measured[i]);
                    }
                }
            }
        }
    }
}

/// The pass of `Objective::linear_system`.
pub(super) struct LinearSystem<'a> {
    pub columns: &'a RunColumns,
    pub residual: Residual,
    pub law: LawAtPoint,
}

impl WithSimd for LinearSystem<'_> {
    type Output = (SMatrix<f64, 4, 4>, SVector<f64, 4>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { columns, residual, law } = self;
        let log = residual == Residual::Log;
        const ZERO: Block = [[0.0; LANES]; BLOCK];
        let mut basis = [ZERO; 4];
        let mut weighted = [ZERO; 4];
        let mut share = ZERO;
        let mut totals = [[[0.0; LANES]; 4]; 4];
        let mut moments = [[0.0; LANES]; 4];
        for runs in columns.blocks() {
            let size = runs.share.len();
            let (ln_x, ln_n, ln_d) = (&runs.ln_x[..size], &runs.ln_n[..size], &runs.ln_d[..size]);
            let (measured, shares) = (&runs.measured[..size], &runs.share[..size]);
            {
                let basis = basis.each_mut().map(|column| column.as_flattened_mut());
                let [b0, b1, b2, b3] = basis.map(|column| &mut column[..size]);
                let weighted = weighted.each_mut().map(|column| column.as_flattened_mut());
                let [w0, w1, w2, w3] = weighted.map(|column| &mut column[..size]);
                let share = &mut share.as_flattened_mut()[..size];
                for i in 0..size {
                    let loss = if log { exp(measured[i]) } else { measured[i] };
                    let [sparse, _, rest, _, data, _, constant] =
                        law.parts(ln_x[i], ln_n[i], ln_d[i]).slope;
                    let scale = loss.recip();
                    (b0[i], b1[i]) = (sparse * scale, rest * scale);
                    (b2[i], b3[i]) = (data * scale, constant * scale);
                    share[i] = shares[i];
                    (w0[i], w1[i]) = (b0[i] * shares[i], b1[i] * shares[i]);
                    (w2[i], w3[i]) = (b2[i] * shares[i], b3[i] * shares[i]);
                }
            }
            let rows = size / LANES;
            let columns = basis.each_ref();
            for (totals, weighted) in totals.iter_mut().zip(&weighted) {
                add_products(simd, totals, &weighted[..rows], columns);
            }
            add_products(simd, &mut moments, &share[..rows], columns);
        }
        let gram = SMatrix::from_fn(|i, j| sum(totals[i.min(j)][i.max(j)]));
        (gram, SVector::from(moments.map(sum)))
    }
}

/// The pass of `Objective::evaluate`.
pub(super) struct Evaluate<'a> {
    pub columns: &'a RunColumns,
    pub residual: Residual,
    pub law: LawAtPoint,
    pub delta: f64,
}

impl WithSimd for Evaluate<'_> {
    type Output = Evaluation;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Evaluation {
        match self.residual {
            Residual::Log => self.sums::<S, true>(simd),
            Residual::Linear => self.sums::<S, false>(simd),
        }
    }
}

impl Evaluate<'_> {
    #[inline(always)]
    fn sums<S: Simd, const LOG: bool>(&self, simd: S) -> Evaluation {
        let per_delta = self.delta.recip();
        let mut totals = Totals::ZERO;
        TERMS.with_borrow_mut(|terms| {
            for runs in self.columns.blocks() {
                terms.fill::<LOG>(&self.law, &runs, per_delta);
                totals.add(simd, terms, runs.share.len() / LANES);
            }
        });
        totals.evaluation(self.law.c)
    }
}

/// Columns of a block of runs, as [`Evaluate`] computes them.
struct Terms {
    /// `df/d theta` without the last coordinate, for which it is the same at all runs.
    slope: [Block; OTHERS],
    /// `b_S ln x`, `-b_N ln n` and `-b_D ln d`.
    exponents: [Block; 3],
    /// First and second derivative of the weighted Huber loss by the predicted loss.
    by_f: Block,
    by_f2: Block,
    /// The weighted Huber loss.
    huber: Block,
}

thread_local! {
    /// Room for one block, kept per thread because clearing it for every evaluation would take long.
    static TERMS: RefCell<Terms> = const { RefCell::new(Terms::ZERO) };
}

/// Number of coordinates without the last one.
const OTHERS: usize = COUNT - 1;

impl Terms {
    const ZERO: Self = {
        const ZERO: Block = [[0.0; LANES]; BLOCK];
        Self { slope: [ZERO; 6], exponents: [ZERO; 3], by_f: ZERO, by_f2: ZERO, huber: ZERO }
    };

    #[inline(always)]
    fn fill<const LOG: bool>(&mut self, law: &LawAtPoint, runs: &Runs<'_>, per_delta: f64) {
        let size = runs.share.len() / LANES * LANES;
        // Slices of one length, so that the loops have no bounds checks.
        let (ln_x, ln_n, ln_d) = (&runs.ln_x[..size], &runs.ln_n[..size], &runs.ln_d[..size]);
        let (measured, share) = (&runs.measured[..size], &runs.share[..size]);
        let [s0, s1, s2, s3, s4, s5] =
            self.slope.each_mut().map(|column| &mut column.as_flattened_mut()[..size]);
        let [p, q, v] =
            self.exponents.each_mut().map(|column| &mut column.as_flattened_mut()[..size]);
        let by_f = &mut self.by_f.as_flattened_mut()[..size];
        let by_f2 = &mut self.by_f2.as_flattened_mut()[..size];
        let huber = &mut self.huber.as_flattened_mut()[..size];
        // Several short loops: in a single one, the processor would wait for the end of each long dependency chain.
        powers(p, s0, law.b_s, ln_x);
        powers(q, s2, -law.b_n, ln_n);
        powers(v, s4, -law.b_d, ln_d);
        for i in 0..size {
            let (x, n, d) = (s0[i], s2[i], s4[i]);
            let parts = law.of_powers([x, n, d], [p[i], q[i], v[i]]);
            [s0[i], s1[i], s2[i], s3[i], s4[i], s5[i], _] = parts.slope;
            by_f[i] = parts.loss;
        }
        let kind = if LOG { Residual::Log } else { Residual::Linear };
        for i in 0..size {
            huber[i] = residual(kind, by_f[i], measured[i]) * per_delta;
        }
        for i in 0..size {
            let (u, loss) = (huber[i], by_f[i]);
            let far = u.abs();
            let inside = far <= 1.0;
            // Derivatives of the Huber loss by f, where f is the law and u the residual in units of delta.
            let turn = if inside { u } else { 1.0_f64.copysign(u) };
            let curvature = if inside { per_delta * per_delta } else { 0.0 };
            let (first, second) = if LOG {
                let per_loss = loss.recip();
                let first = turn * per_delta * per_loss;
                (first, (curvature * per_loss - first) * per_loss)
            } else {
                (turn * per_delta, curvature)
            };
            huber[i] = share[i] * if inside { 0.5 * u * u } else { far - 0.5 };
            by_f[i] = share[i] * first;
            by_f2[i] = share[i] * second;
        }
    }
}

/// The sums that [`Evaluate`] needs.
struct Totals {
    value: Lanes,
    by_f: Lanes,
    by_f2: Lanes,
    /// First derivatives times each slope.
    gradient: [Lanes; OTHERS],
    /// Second derivatives times each slope.
    bent: [Lanes; OTHERS],
    /// Second derivatives times products of two slopes, in the upper triangle.
    squares: [[Lanes; OTHERS]; OTHERS],
    /// First derivatives times a slope times an exponent, in the upper triangle. The law is a sum of exponentials
    /// of exponentials, so these are the part of its second derivatives that is not a slope itself.
    turns: [[Lanes; OTHERS]; OTHERS],
}

impl Totals {
    const ZERO: Self = {
        const ZERO: Lanes = [0.0; LANES];
        Self {
            value: ZERO,
            by_f: ZERO,
            by_f2: ZERO,
            gradient: [ZERO; OTHERS],
            bent: [ZERO; OTHERS],
            squares: [[ZERO; OTHERS]; OTHERS],
            turns: [[ZERO; OTHERS]; OTHERS],
        }
    };

    /// Adds the first `rows` rows of a block.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, terms: &Terms, rows: usize) {
        let [p, q, v] = terms.exponents.each_ref();
        let rest = [&terms.huber, &terms.by_f, &terms.by_f2];
        let mut sums = [Sum::zero(simd); 3];
        for row in 0..rows {
            for (sum, column) in sums.iter_mut().zip(rest) {
                sum.add(simd, load(simd, &column[row]));
            }
        }
        for (total, sum) in [&mut self.value, &mut self.by_f, &mut self.by_f2].into_iter().zip(sums)
        {
            sum.add_to(simd, total);
        }
        self.add_products::<S, 0, 6, 1>(simd, terms, rows, [(3, q)]);
        self.add_products::<S, 1, 5, 2>(simd, terms, rows, [(1, p), (3, q)]);
        self.add_products::<S, 2, 4, 1>(simd, terms, rows, [(3, q)]);
        self.add_products::<S, 3, 3, 1>(simd, terms, rows, [(3, q)]);
        self.add_products::<S, 4, 2, 0>(simd, terms, rows, []);
        self.add_products::<S, 5, 1, 1>(simd, terms, rows, [(5, v)]);
    }

    /// Adds all sums that contain the slope of coordinate `PLACE`: its products with its own slope and the
    /// following ones, `LATER` in total, and those with exponents. Each exponent comes with the coordinate by
    /// which the slope changes in proportion to it.
    #[inline(always)]
    fn add_products<S: Simd, const PLACE: usize, const LATER: usize, const TURNS: usize>(
        &mut self,
        simd: S,
        terms: &Terms,
        rows: usize,
        turned: [(usize, &Block); TURNS],
    ) {
        let (mut gradient, mut bent) = (Sum::zero(simd), Sum::zero(simd));
        let (mut squares, mut turns) = ([Sum::zero(simd); LATER], [Sum::zero(simd); TURNS]);
        for row in 0..rows {
            let slope = load(simd, &terms.slope[PLACE][row]);
            let first = times(simd, slope, load(simd, &terms.by_f[row]));
            let second = times(simd, slope, load(simd, &terms.by_f2[row]));
            gradient.add(simd, first);
            bent.add(simd, second);
            for (later, square) in squares.iter_mut().enumerate() {
                let other = load(simd, &terms.slope[PLACE + later][row]);
                square.add(simd, times(simd, second, other));
            }
            for (turn, (_, exponent)) in turns.iter_mut().zip(turned) {
                turn.add(simd, times(simd, first, load(simd, &exponent[row])));
            }
        }
        gradient.add_to(simd, &mut self.gradient[PLACE]);
        bent.add_to(simd, &mut self.bent[PLACE]);
        for (later, square) in squares.iter().enumerate() {
            square.add_to(simd, &mut self.squares[PLACE][PLACE + later]);
        }
        for (turn, (by, _)) in turns.iter().zip(turned) {
            turn.add_to(simd, &mut self.turns[PLACE][by]);
        }
    }

    /// Value and all derivatives, where `constant` is the last slope, the same at every run.
    #[inline(always)]
    fn evaluation(&self, constant: f64) -> Evaluation {
        let mut gradient = Gradient::zeros();
        let mut hessian = Hessian::zeros();
        for i in 0..OTHERS {
            gradient[i] = sum(self.gradient[i]);
            for j in i..OTHERS {
                hessian[(i, j)] = sum(self.squares[i][j]);
            }
            hessian[(i, OTHERS)] = constant * sum(self.bent[i]);
        }
        gradient[OTHERS] = constant * sum(self.by_f);
        hessian[(OTHERS, OTHERS)] = constant * constant * sum(self.by_f2);
        for (i, j) in [(0, 3), (1, 1), (1, 3), (2, 3), (3, 3), (5, 5)] {
            hessian[(i, j)] += sum(self.turns[i][j]);
        }
        // The part of the second derivatives that is a slope again: its sums are the gradient.
        for (i, j, place) in [
            (0, 0, 0),
            (0, 1, 1),
            (1, 1, 1),
            (2, 2, 2),
            (3, 3, 3),
            (4, 4, 4),
            (4, 5, 5),
            (5, 5, 5),
            (6, 6, 6),
        ] {
            hessian[(i, j)] += gradient[place];
        }
        hessian.fill_lower_triangle_with_upper_triangle();
        Evaluation { value: sum(self.value), gradient, hessian }
    }
}
