//! An objective whose residuals are taken to be linear about a point.
//!
//! What remains of it is a few products a run: its minimum costs far less than one of the objective itself.

use pulp::{Arch, Simd, WithSimd};

use super::config::Residual;
use super::derivatives::{Gradient, Hessian};
use super::lanes::{LANES, Lanes, Sum, load, times};
use super::normalised::COUNT;
use super::passes::{LawAtPoint, RunColumns, powers};
use crate::law::branchless::ln;

/// Residuals of an objective, linearised in the coordinates about a point, in units of delta.
#[derive(Debug)]
pub(super) struct Linear {
    /// Derivatives of the residuals by each coordinate.
    slope: [Vec<Lanes>; COUNT],
    /// The residuals at the current position.
    here: Vec<Lanes>,
    /// Change of the residuals for the step of [`Self::look_along`].
    along: Vec<Lanes>,
    share: Vec<Lanes>,
    /// Scratch space for the weights and slopes of the Huber loss.
    weight: Vec<Lanes>,
    turn: Vec<Lanes>,
    arch: Arch,
}

/// Gradient and Hessian of the Huber loss of linearised residuals.
pub(super) type NormalEquations = (Gradient, Hessian);

impl Linear {
    /// Allocates the columns for the runs of `columns`.
    pub fn new(arch: Arch, columns: &RunColumns) -> Self {
        let rows = columns.share.len() / LANES;
        let room = || vec![[0.0; LANES]; rows];
        Self {
            slope: std::array::from_fn(|_| room()),
            here: room(),
            along: room(),
            share: columns.share.as_chunks().0.to_vec(),
            weight: room(),
            turn: room(),
            arch,
        }
    }

    /// Linearises the residuals about the point of `law`, which becomes the current position.
    pub fn take(&mut self, columns: &RunColumns, residual: Residual, law: LawAtPoint, delta: f64) {
        self.arch.dispatch(Linearise { columns, residual, law, delta, into: self });
    }

    /// Holds a coordinate: the residuals no longer depend on it.
    pub fn hold(&mut self, place: usize) {
        self.slope[place].fill([0.0; LANES]);
    }

    /// Gradient and Hessian of the Huber loss at the current position.
    pub fn normal_equations(&mut self) -> NormalEquations {
        self.arch.dispatch(Normal(self))
    }

    /// Computes how the residuals change along a step.
    pub fn look_along(&mut self, step: &Gradient) {
        self.arch.dispatch(Look(self, step));
    }

    /// Value and slope of the Huber loss at a share of the step.
    pub fn at_share(&mut self, share: f64) -> (f64, f64) {
        self.arch.dispatch(AtShare(self, share))
    }

    /// Moves the current position by a share of the step.
    pub fn advance(&mut self, share: f64) {
        for (here, along) in self.here.iter_mut().zip(&self.along) {
            for lane in 0..LANES {
                here[lane] += share * along[lane];
            }
        }
    }
}

struct Linearise<'a> {
    columns: &'a RunColumns,
    residual: Residual,
    law: LawAtPoint,
    delta: f64,
    into: &'a mut Linear,
}

impl WithSimd for Linearise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { columns, residual: kind, law, delta, into } = self;
        let per_delta = delta.recip();
        let size = columns.share.len() / LANES * LANES;
        let (ln_x, ln_n, ln_d) =
            (&columns.ln_x[..size], &columns.ln_n[..size], &columns.ln_d[..size]);
        let measured = &columns.measured[..size];
        let [s0, s1, s2, s3, s4, s5, s6] =
            into.slope.each_mut().map(|column| &mut column.as_flattened_mut()[..size]);
        let here = &mut into.here.as_flattened_mut()[..size];
        let scale = &mut into.weight.as_flattened_mut()[..size];
        // Several short loops, for the reason given in `Terms::fill`.
        powers(s1, s0, law.b_s, ln_x);
        powers(s3, s2, -law.b_n, ln_n);
        powers(s5, s4, -law.b_d, ln_d);
        for i in 0..size {
            let parts = law.of_powers([s0[i], s2[i], s4[i]], [s1[i], s3[i], s5[i]]);
            [s0[i], s1[i], s2[i], s3[i], s4[i], s5[i], s6[i]] = parts.slope;
            here[i] = parts.loss;
        }
        match kind {
            Residual::Log => {
                for i in 0..size {
                    scale[i] = per_delta / here[i];
                    here[i] = (ln(here[i]) - measured[i]) * per_delta;
                }
            }
            Residual::Linear => {
                for i in 0..size {
                    scale[i] = per_delta;
                    here[i] = (here[i] - measured[i]) * per_delta;
                }
            }
        }
        for slope in [s0, s1, s2, s3, s4, s5, s6] {
            for i in 0..size {
                slope[i] *= scale[i];
            }
        }
    }
}

/// The pass of [`Linear::normal_equations`].
struct Normal<'a>(&'a mut Linear);

impl WithSimd for Normal<'_> {
    type Output = NormalEquations;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> NormalEquations {
        let Linear { slope, here, share, weight, turn, .. } = self.0;
        let size = here.len() * LANES;
        {
            let (here, share) = (&here.as_flattened()[..size], &share.as_flattened()[..size]);
            let weight = &mut weight.as_flattened_mut()[..size];
            let turn = &mut turn.as_flattened_mut()[..size];
            for i in 0..size {
                let inside = here[i].abs() <= 1.0;
                weight[i] = if inside { share[i] } else { 0.0 };
                turn[i] = share[i] * if inside { here[i] } else { 1.0_f64.copysign(here[i]) };
            }
        }
        let mut equations = (Gradient::zeros(), Hessian::zeros());
        normal_row::<S, 0, 7>(simd, slope, weight, turn, &mut equations);
        normal_row::<S, 1, 6>(simd, slope, weight, turn, &mut equations);
        normal_row::<S, 2, 5>(simd, slope, weight, turn, &mut equations);
        normal_row::<S, 3, 4>(simd, slope, weight, turn, &mut equations);
        normal_row::<S, 4, 3>(simd, slope, weight, turn, &mut equations);
        normal_row::<S, 5, 2>(simd, slope, weight, turn, &mut equations);
        normal_row::<S, 6, 1>(simd, slope, weight, turn, &mut equations);
        equations.1.fill_lower_triangle_with_upper_triangle();
        equations
    }
}

#[inline(always)]
fn normal_row<S: Simd, const PLACE: usize, const LATER: usize>(
    simd: S,
    slope: &[Vec<Lanes>; COUNT],
    weight: &[Lanes],
    turn: &[Lanes],
    (gradient, hessian): &mut NormalEquations,
) {
    let rows = weight.len();
    let columns: [&[Lanes]; LATER] = std::array::from_fn(|later| &slope[PLACE + later][..rows]);
    let turn = &turn[..rows];
    let mut by = Sum::zero(simd);
    let mut squares = [Sum::zero(simd); LATER];
    for row in 0..rows {
        let own = load(simd, &columns[0][row]);
        by.add(simd, times(simd, own, load(simd, &turn[row])));
        let weighted = times(simd, own, load(simd, &weight[row]));
        for (square, column) in squares.iter_mut().zip(columns) {
            square.add(simd, times(simd, weighted, load(simd, &column[row])));
        }
    }
    gradient[PLACE] = by.total(simd);
    for (later, square) in squares.iter().enumerate() {
        hessian[(PLACE, PLACE + later)] = square.total(simd);
    }
}

/// The pass of [`Linear::look_along`].
struct Look<'a>(&'a mut Linear, &'a Gradient);

impl WithSimd for Look<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self(Linear { slope, along, .. }, step) = self;
        let size = along.len() * LANES;
        let along = &mut along.as_flattened_mut()[..size];
        let [s0, s1, s2, s3, s4, s5, s6] =
            slope.each_ref().map(|column| &column.as_flattened()[..size]);
        let [d0, d1, d2, d3, d4, d5, d6] = (*step).into();
        for i in 0..size {
            along[i] = (s0[i] * d0 + s1[i] * d1)
                + (s2[i] * d2 + s3[i] * d3)
                + (s4[i] * d4 + s5[i] * d5)
                + s6[i] * d6;
        }
    }
}

/// The pass of [`Linear::at_share`].
struct AtShare<'a>(&'a mut Linear, f64);

impl WithSimd for AtShare<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f64, f64) {
        let Self(Linear { here, along, share, weight, turn, .. }, at) = self;
        let rows = here.len();
        let size = rows * LANES;
        {
            let (here, along) = (&here.as_flattened()[..size], &along.as_flattened()[..size]);
            let share = &share.as_flattened()[..size];
            let huber = &mut weight.as_flattened_mut()[..size];
            let turn = &mut turn.as_flattened_mut()[..size];
            for i in 0..size {
                let u = here[i] + at * along[i];
                let far = u.abs();
                let inside = far <= 1.0;
                huber[i] = share[i] * if inside { 0.5 * u * u } else { far - 0.5 };
                turn[i] = share[i] * along[i] * if inside { u } else { 1.0_f64.copysign(u) };
            }
        }
        let (mut value, mut slope) = (Sum::zero(simd), Sum::zero(simd));
        for (huber, turn) in weight.iter().zip(&*turn) {
            value.add(simd, load(simd, huber));
            slope.add(simd, load(simd, turn));
        }
        (value.total(simd), slope.total(simd))
    }
}
