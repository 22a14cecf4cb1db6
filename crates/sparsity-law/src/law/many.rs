//! The optima of many questions at once, where the cost is linear in the sparsity.
//!
//! The formulas are those for a single question ([`super::optimal_sparsity`]), evaluated by columns so that every loop
//! is vectorised. The answers agree to within rounding.

use pulp::{Arch, Simd, WithSimd};

use super::branchless::{exp, ln};
use super::coefficients::Coefficients;
use super::cost::TrainingCost;
use super::quantity::{Compute, NonzeroParams};

/// The optimum of one question, and what is reported beside it. The numbers are unchecked: the caller checks that the
/// data is in range and the losses are finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearOptimum {
    /// `1 - S_opt`.
    pub density: f64,
    /// Data that the budget pays for at the optimum.
    pub data: f64,
    /// Predicted loss.
    pub loss: f64,
    /// Data that the budget pays for without zeros.
    pub dense_data: f64,
    /// Loss of the dense model with that data.
    pub dense_loss: f64,
    /// [`Coefficients::gain`] at the optimum.
    pub gain: f64,
    /// [`super::chinchilla_ratio`] of the question.
    pub chinchilla_ratio: f64,
}

/// Number of questions that are answered together, so that their columns stay in the fastest cache.
const BLOCK: usize = 64;
/// Largest number of Newton steps. From the start that is used three or four are enough; more occur only where rounding
/// keeps the last steps from shrinking.
const STEPS: usize = 12;
/// Newton step, relative to `1 + y`, below which it is only rounding.
const PRECISION: f64 = 1e-13;

/// The optima of the questions, in their order.
///
/// `None` on hardware whose cost is not linear in the sparsity, for a law with a gain curve, and where there are no
/// optima (see [`TrainingCost::has_optimum`]).
#[must_use]
pub fn linear_optima(
    law: &Coefficients,
    cost: &TrainingCost,
    questions: &[(NonzeroParams, Compute)],
) -> Option<Vec<LinearOptimum>> {
    if law.gain_curve().is_some() || !cost.has_optimum() {
        return None;
    }
    let m = cost.saved_by_zeros()?;
    let block = Block::new(law, m, cost.flops_per_param().get());
    let arch = Arch::new();
    let mut optima = Vec::with_capacity(questions.len());
    for questions in questions.chunks(BLOCK) {
        arch.dispatch(Solve { law: &block, questions, optima: &mut optima });
    }
    Some(optima)
}

/// The parts of the formulas that depend only on the law and the cost.
struct Block {
    m: f64,
    flops_per_param: f64,
    ln_flops_per_param: f64,
    ln_kept: f64,
    /// `F(0) = level + b_N ln N + b_D (ln a_D - ln D_C)`.
    level: f64,
    a_s: f64,
    b_s: f64,
    c_s: f64,
    b_n: f64,
    ln_a_d: f64,
    b_d: f64,
    c: f64,
    /// `ln D_chin = at_one + by_size ln N`.
    chinchilla: [f64; 2],
}

impl Block {
    fn new(law: &Coefficients, m: f64, flops_per_param: f64) -> Self {
        let v = law.values();
        let ln_kept = (1.0 - m).ln();
        Self {
            m,
            flops_per_param,
            ln_flops_per_param: flops_per_param.ln(),
            ln_kept,
            level: ln_kept + v.b_d.ln() - v.a_s.ln() - v.b_s.ln(),
            a_s: v.a_s,
            b_s: v.b_s,
            c_s: v.c_s,
            b_n: v.b_n,
            ln_a_d: v.a_d.ln(),
            b_d: v.b_d,
            c: v.c,
            chinchilla: [law.ln_chinchilla_data(NonzeroParams::ONE), v.b_n / v.b_d],
        }
    }
}

struct Solve<'a> {
    law: &'a Block,
    questions: &'a [(NonzeroParams, Compute)],
    optima: &'a mut Vec<LinearOptimum>,
}

type Column = [f64; BLOCK];

impl WithSimd for Solve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { law, questions, optima } = self;
        // A short block is filled up with ones, whose results are never read.
        let (mut n, mut c): (Column, Column) = ([1.0; BLOCK], [1.0; BLOCK]);
        for (at, (nonzero_params, compute)) in questions.iter().enumerate() {
            (n[at], c[at]) = (nonzero_params.get(), compute.get());
        }
        let (mut ln_n, mut ln_dense, mut at_zero): (Column, Column, Column) =
            ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        for i in 0..BLOCK {
            ln_n[i] = ln(n[i]);
            ln_dense[i] = ln(c[i]) - law.ln_flops_per_param - ln_n[i];
            at_zero[i] = law.level + law.b_n * ln_n[i] + law.b_d * (law.ln_a_d - ln_dense[i]);
        }
        let y = law.roots(&at_zero);
        let (mut x, mut data, mut loss): (Column, Column, Column) =
            ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        let (mut dense_data, mut dense_loss): (Column, Column) = ([0.0; BLOCK], [0.0; BLOCK]);
        let (mut gain, mut ratio): (Column, Column) = ([0.0; BLOCK], [0.0; BLOCK]);
        for i in 0..BLOCK {
            x[i] = exp(-y[i]);
            let kept = 1.0 - law.m + law.m * x[i];
            dense_data[i] = c[i] / (law.flops_per_param * n[i]);
            data[i] = dense_data[i] * x[i] / kept;
            let ln_data = ln_dense[i] - y[i] - ln(kept);
            let capacity = law.a_s * exp(-law.b_s * y[i]) + law.c_s;
            let size = exp(-law.b_n * ln_n[i]);
            loss[i] = capacity * size + exp(law.b_d * (law.ln_a_d - ln_data)) + law.c;
            dense_loss[i] =
                (law.a_s + law.c_s) * size + exp(law.b_d * (law.ln_a_d - ln_dense[i])) + law.c;
            gain[i] = exp(-ln(capacity / (law.a_s + law.c_s)) / law.b_n);
            ratio[i] = exp(ln_dense[i] - (law.chinchilla[0] + law.chinchilla[1] * ln_n[i]));
        }
        optima.extend((0..questions.len()).map(|i| LinearOptimum {
            density: x[i],
            data: data[i],
            loss: loss[i],
            dense_data: dense_data[i],
            dense_loss: dense_loss[i],
            gain: gain[i],
            chinchilla_ratio: ratio[i],
        }));
    }
}

impl Block {
    /// The roots of `F` (see [`super::optimal_density`]), and 0 where `F` is not negative at 0.
    ///
    /// `F` rises and is either convex or concave. From a start above the root if it is convex, or below the root if it
    /// is concave, Newton's method approaches the root from that side and never passes it. The roots of the tangent at
    /// 0 and of the asymptote of `F` for large `y` are such starts; the one nearer to the root is used. A column that
    /// has converged is not changed any more, so no answer depends on its neighbours.
    #[inline(always)]
    fn roots(&self, at_zero: &Column) -> Column {
        let (slope, bend) = (self.b_s + self.b_d, self.b_d - 1.0);
        let mut y: Column = [0.0; BLOCK];
        for i in 0..BLOCK {
            let tangent = -at_zero[i] / (slope - bend * self.m);
            let line = -(at_zero[i] + bend * self.ln_kept) / slope;
            let nearer = if bend < 0.0 { tangent.max(line) } else { tangent.min(line) };
            y[i] = if at_zero[i] < 0.0 { nearer } else { 0.0 };
        }
        for _ in 0..STEPS {
            let mut largest = 0.0_f64;
            for i in 0..BLOCK {
                let mx = self.m * exp(-y[i]);
                let kept = 1.0 - self.m + mx;
                let value = at_zero[i] + slope * y[i] + bend * ln(kept);
                let step = value / (slope - bend * mx / kept);
                let moves = at_zero[i] < 0.0 && step.abs() > PRECISION * (1.0 + y[i]);
                let step = if moves { step } else { 0.0 };
                y[i] -= step;
                largest = if step.abs() > largest { step.abs() } else { largest };
            }
            if largest == 0.0 {
                break;
            }
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        CoefficientValues, Density, FlopMode, FlopsPerParam, PruningSchedule, T5_C4,
        chinchilla_ratio, optimal_sparsity,
    };
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_are_as_one_by_one(
            scales in prop::array::uniform5(-1.0..1.0f64), b_d in 0.05..2.5f64,
            sparse in any::<bool>(), initial in 0.0..0.4f64,
            asked in prop::collection::vec((5.0..30.0f64, 30.0..70.0f64), 1..150),
        ) {
            let v = T5_C4.coefficients().values();
            let [a_s, b_s, c_s, b_n, a_d] = scales;
            let law = Coefficients::new(CoefficientValues {
                a_s: v.a_s * a_s.exp(),
                b_s: v.b_s * b_s.exp(),
                c_s: v.c_s * c_s.exp(),
                b_n: v.b_n * b_n.exp(),
                a_d: v.a_d * (3.0 * a_d).exp(),
                b_d,
                c: v.c,
            }).unwrap();
            let mode = if sparse { FlopMode::Sparse } else { FlopMode::Dense };
            let pruning = PruningSchedule::new(initial, initial + 0.5, 3.0).unwrap();
            let cost = TrainingCost::new(FlopsPerParam::TRAINING, pruning, mode);
            let questions: Vec<_> = asked
                .into_iter()
                .map(|(ln_n, ln_c)| {
                    (NonzeroParams::new(ln_n.exp()).unwrap(), Compute::new(ln_c.exp()).unwrap())
                })
                .collect();
            let many = linear_optima(&law, &cost, &questions).unwrap();
            prop_assert_eq!(many.len(), questions.len());
            for (found, (n, c)) in many.iter().zip(questions) {
                let best = optimal_sparsity(&law, &cost, n, c).unwrap();
                let dense_data = cost.data(Density::DENSE, n, c).unwrap();
                let pairs = [
                    (found.density, best.density.get()),
                    (found.data, best.data.get()),
                    (found.loss, best.loss),
                    (found.dense_data, dense_data.get()),
                    (found.dense_loss, law.loss(Density::DENSE, n, dense_data)),
                    (found.gain, law.gain(best.density)),
                    (found.chinchilla_ratio, chinchilla_ratio(&law, &cost, n, c)),
                ];
                for (many, one) in pairs {
                    prop_assert!((many / one - 1.0).abs() < 1e-11, "{found:?} {best:?}");
                }
                prop_assert_eq!(found.density == 1.0, best.density == Density::DENSE);
                // The answer is independent of the other questions in the list.
                prop_assert_eq!(linear_optima(&law, &cost, &[(n, c)]).unwrap()[0], *found);
            }
        }
    }
}
