//! The best size and amount of data for a model of one sparsity.
//!
//! At a fixed sparsity the lifetime cost and the loss are
//!
//! ```text
//! C = N (p D + q),   p = k c_mul(S),   q = T u(S)
//! L = A N^(-b_N) + (a_D / D)^b_D + c,   A = a_S (1-S)^b_S + c_S
//! ```
//!
//! with `u` the FLOPs of serving a token per non-zero parameter and `T` the tokens served. Every bound is then a bound
//! on `N` or on `D`. What remains is a function of `n = ln N` alone:
//!
//! | goal | `D` | function of `n` |
//! |---|---|---|
//! | least loss | `(C e^-n - q) / p` | a sum of two convex functions, hence convex |
//! | least cost | `a_D (R - A e^(-b_N n))^(-1/b_D)`, `R = L - c` | `D e^n` is log-convex, `q e^n` is convex |
//!
//! The best size is the only root of the derivative, or the end of the allowed range that is nearest to it. Where data
//! is repeated, `D_eff` takes the place of `D` in the loss ([`Repetition`]). It is concave in `D`, so all of this still
//! holds.
//!
//! A law of experts has a second term in the size, and a part that depends on the sparsity alone ([`AnyLaw`]). A sum of
//! convex functions is convex, and so is `-ln (R - K(n))` for a convex `K`, so there is again only one root.

use super::any_law::{AnyLaw, AtScheme, Beside};
use super::coefficients::CoefficientValues;
use super::limits::{Constraint, Limits};
use super::quantity::{Data, Density, NonzeroParams};
use super::repetition::Repetition;

/// One way to be sparse, with its costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SparsityScheme {
    /// Fraction of the parameters that are non-zero.
    pub density: Density,
    /// Density at which the loss is computed. It differs from `density` where runs have shown what a pattern is worth.
    pub effective: Density,
    /// `c_mul`: training cost relative to a dense model with as many non-zero parameters.
    pub multiplier: f64,
    /// `u`: FLOPs of serving one token, per non-zero parameter.
    pub inference_flops: f64,
    /// Bits of memory per parameter, zeros included.
    pub bits: f64,
    /// Index among the levels of a law of the form `levels`; `None` where `effective` determines the level.
    pub level: Option<usize>,
}

/// The objective of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The least loss at a cost of at most [`Constraint::Compute`].
    LeastLoss,
    /// The least cost at a loss of at most [`Constraint::TargetLoss`].
    LeastCost,
}

/// A planned model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// The way in which the model is sparse.
    pub scheme: SparsityScheme,
    /// `N`: non-zero parameters.
    pub nonzero_params: f64,
    /// `D`: training data.
    pub data: f64,
    /// Predicted loss.
    pub loss: f64,
    /// FLOPs of training.
    pub training_compute: f64,
    /// FLOPs of serving all tokens.
    pub inference_compute: f64,
    /// The number that the goal minimises: the loss above the irreducible loss, or the logarithm of the cost.
    pub(super) badness: f64,
}

impl Model {
    /// Lifetime cost in FLOPs: training and inference.
    #[must_use]
    pub fn compute(&self) -> f64 {
        self.training_compute + self.inference_compute
    }

    /// Parameters, zeros included.
    #[must_use]
    pub fn total_params(&self) -> f64 {
        self.nonzero_params / self.scheme.density.get()
    }

    /// Size and amount of data as checked quantities; `None` where one is out of range, which even the loosest
    /// [`Limits`] prevent.
    #[must_use]
    pub fn size_and_data(&self) -> Option<(NonzeroParams, Data)> {
        NonzeroParams::new(self.nonzero_params).ok().zip(Data::new(self.data).ok())
    }

    /// Memory of the weights in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> f64 {
        self.total_params() * self.scheme.bits / 8.0
    }
}

/// Largest relative overlap of a lower and an upper bound that still counts as rounding, so that the two bounds meet.
const ROUNDING: f64 = 1e-12;

/// The range from `low` to `high`; `None` where it is empty.
fn range(low: f64, high: f64) -> Option<(f64, f64)> {
    if low <= high {
        Some((low, high))
    } else if low <= high * (1.0 + ROUNDING) {
        Some((high, high))
    } else {
        None
    }
}

impl SparsityScheme {
    /// Range of sizes that the bounds allow at this sparsity, apart from the bounds on cost and loss.
    pub(super) fn sizes(&self, limits: &Limits) -> Option<(f64, f64)> {
        let x = self.density.get();
        let low = limits
            .get(Constraint::NonzeroParamsMin)
            .max(limits.get(Constraint::TotalParamsMin) * x);
        let stored = limits.get(Constraint::MemoryBytes) * 8.0 / self.bits;
        let high = limits
            .get(Constraint::NonzeroParamsMax)
            .min(limits.get(Constraint::TotalParamsMax).min(stored) * x);
        range(low, high)
    }

    /// The best model of this sparsity; `None` where the bounds allow none.
    pub(super) fn best(&self, task: &Task<'_>, limits: &Limits) -> Option<Model> {
        let sizing = Sizing::new(self, task)?;
        let (low, high) = self.sizes(limits)?;
        let (nonzero_params, data) = match task.goal {
            Goal::LeastLoss => sizing.least_loss(limits, low, high)?,
            Goal::LeastCost => sizing.least_cost(limits, low, high)?,
        };
        let reducible = sizing.capacity(nonzero_params) + sizing.data_term(data);
        let training_compute = nonzero_params * sizing.per_data * data;
        let inference_compute = nonzero_params * sizing.served;
        let badness = match task.goal {
            Goal::LeastLoss => reducible,
            Goal::LeastCost => (training_compute + inference_compute).ln(),
        };
        Some(Model {
            scheme: *self,
            nonzero_params,
            data,
            loss: reducible + sizing.law.c,
            training_compute,
            inference_compute,
            badness,
        })
        // A model whose number overflows is no answer.
        .filter(|model| model.badness.is_finite())
    }
}

/// The parts of a plan that are the same at every sparsity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    pub law: AnyLaw<'a>,
    pub flops_per_param: f64,
    pub inference_tokens: f64,
    pub goal: Goal,
    pub repetition: Option<Repetition>,
}

/// The law and the costs at one sparsity.
struct Sizing {
    law: CoefficientValues,
    /// `A`.
    size_term: f64,
    /// The further terms of a law of experts.
    beside: Option<Beside>,
    /// `p`: training FLOPs per non-zero parameter and unit of data.
    per_data: f64,
    /// `q`: FLOPs of serving all tokens, per non-zero parameter.
    served: f64,
    /// How data is repeated; `None` where all of it is new.
    repetition: Option<Repetition>,
}

impl Sizing {
    fn new(scheme: &SparsityScheme, task: &Task<'_>) -> Option<Self> {
        let AtScheme { law, size_term, beside } = task.law.at(scheme.effective, scheme.level)?;
        Some(Self {
            law,
            size_term,
            beside,
            per_data: task.flops_per_param * scheme.multiplier,
            served: task.inference_tokens * scheme.inference_flops,
            repetition: task.repetition,
        })
    }

    /// The part of the loss that depends on size and sparsity: `A N^(-b_N)`, with the further terms of experts.
    fn capacity(&self, nonzero_params: f64) -> f64 {
        let own = self.size_term * nonzero_params.powf(-self.law.b_n);
        match &self.beside {
            None => own,
            Some(Beside { size_term, exponent, floor }) => {
                own + size_term * nonzero_params.powf(-exponent) + floor
            }
        }
    }

    /// For experts, the sum of both terms in the size as a function of `n = ln N`: its value, minus its first
    /// derivative, and its second derivative.
    fn falling(&self, beside: &Beside, n: f64) -> [f64; 3] {
        let terms = [(self.size_term, self.law.b_n), (beside.size_term, beside.exponent)];
        terms.into_iter().fold([0.0; 3], |[value, slope, bend], (amplitude, exponent)| {
            let term = amplitude * (-exponent * n).exp();
            [value + term, slope + exponent * term, bend + exponent * exponent * term]
        })
    }

    /// The size at which the terms of size sum to `left`; infinite where no size is large enough.
    fn size_of(&self, left: f64) -> f64 {
        let Some(beside) = &self.beside else {
            return if left > 0.0 {
                (self.size_term / left).powf(1.0 / self.law.b_n)
            } else {
                f64::INFINITY
            };
        };
        let left = left - beside.floor;
        let above = |n: f64| {
            let [value, slope, _] = self.falling(beside, n);
            (left.ln() - value.ln(), slope / value)
        };
        // The logarithm is NaN where nothing is left.
        let reached = left > 0.0 && above(LN_SIZES.1).0 >= 0.0;
        if reached { root(LN_SIZES.0, LN_SIZES.1, f64::NAN, above).exp() } else { f64::INFINITY }
    }

    /// `(a_D / D_eff)^b_D`.
    fn data_term(&self, data: f64) -> f64 {
        let worth = self.repetition.map_or(data, |repetition| repetition.effective(data));
        (self.law.a_d / worth).powf(self.law.b_d)
    }

    /// The `D` for a given `D_eff`, and `d ln D / d ln D_eff` there.
    fn data_for(&self, worth: f64) -> (f64, f64) {
        match &self.repetition {
            None => (worth, 1.0),
            Some(repetition) => {
                let data = repetition.data_for(worth);
                let elasticity = if data.is_finite() { repetition.elasticity(data) } else { 0.0 };
                (data, elasticity.recip())
            }
        }
    }

    /// The `(N, D)` with the least loss at the given cost.
    fn least_loss(&self, limits: &Limits, low: f64, high: f64) -> Option<(f64, f64)> {
        let CoefficientValues { b_n, a_d, b_d, .. } = self.law;
        let compute = limits.get(Constraint::Compute);
        let (least, most) = (limits.get(Constraint::DataMin), limits.get(Constraint::DataMax));
        // A larger model leaves too little of the budget for the least data.
        let (low, high) = range(low, high.min(compute / (self.per_data * least + self.served)))?;
        // A smaller model leaves budget for more than the most data, and size is then free.
        let low = low.max(high.min(compute / (self.per_data * most + self.served)));
        let ln_compute = compute.ln();
        if let Some(beside) = &self.beside {
            // The logarithm of a ratio, which rises with n: the loss that a larger model adds by having less data, over
            // the loss that it removes by its size.
            let slope = |n: f64| {
                let paid = (ln_compute - n).exp();
                let trained = paid - self.served;
                let data = trained / self.per_data;
                let [_, fall, bend] = self.falling(beside, n);
                let worth = self.repetition.map_or(1.0, |repetition| repetition.elasticity(data));
                let ratio = paid / trained;
                let lost = b_d * self.data_term(data) * worth * ratio;
                // There is no formula for the derivative where data is repeated: NaN makes the root search bisect.
                let known = self.repetition.is_none();
                let steepness = (b_d + 1.0) * ratio - 1.0 + bend / fall;
                (lost.ln() - fall.ln(), if known { steepness } else { f64::NAN })
            };
            let nonzero_params = size(low, high, f64::NAN, slope);
            let data = (compute / nonzero_params - self.served) / self.per_data;
            return Some((nonzero_params, data.clamp(least, most)));
        }
        // The logarithm of the ratio of the two parts of the derivative in n; it rises.
        let level = (b_d / (b_n * self.size_term)).ln() + b_d * (a_d.ln() + self.per_data.ln());
        if let Some(repetition) = &self.repetition {
            // The same with D_eff. The sum stays convex, as ln D_eff is concave in n.
            let level = (b_d / (b_n * self.size_term)).ln() + b_d * a_d.ln();
            let slope = |n: f64| {
                let paid = (ln_compute - n).exp();
                let trained = paid - self.served;
                let data = trained / self.per_data;
                let worth =
                    b_d * repetition.effective(data).ln() - repetition.elasticity(data).ln();
                level + b_n * n - worth + (paid / trained).ln()
            };
            let nonzero_params = size(low, high, f64::NAN, |n| (slope(n), f64::NAN));
            let data = (compute / nonzero_params - self.served) / self.per_data;
            return Some((nonzero_params, data.clamp(least, most)));
        }
        let slope = |n: f64| {
            let paid = (ln_compute - n).exp();
            let trained = paid - self.served;
            let value = level + b_n * n + paid.ln() - (b_d + 1.0) * trained.ln();
            (value, b_n - 1.0 + (b_d + 1.0) * paid / trained)
        };
        // The exact answer where nothing is served.
        let start = (b_d * ln_compute - level) / (b_n + b_d);
        let nonzero_params = size(low, high, start, slope);
        let data = (compute / nonzero_params - self.served) / self.per_data;
        Some((nonzero_params, data.clamp(least, most)))
    }

    /// The `(N, D)` with the least cost at the given loss.
    fn least_cost(&self, limits: &Limits, low: f64, high: f64) -> Option<(f64, f64)> {
        let CoefficientValues { b_n, a_d, b_d, c, .. } = self.law;
        let (least, most) = (limits.get(Constraint::DataMin), limits.get(Constraint::DataMax));
        let reducible = limits.get(Constraint::TargetLoss) - c;
        // The size at which this much data reaches the loss.
        let size_for = |data: f64| self.size_of(reducible - self.data_term(data));
        // A smaller model does not reach the loss even with the most data.
        let (low, high) = range(low.max(size_for(most)), high)?;
        // A larger model needs less than the least data, so that its size only adds cost.
        let high = high.min(size_for(least)).max(low);
        if let Some(beside) = &self.beside {
            let slope = |n: f64| {
                let [value, fall, bend] = self.falling(beside, n);
                let left = reducible - beside.floor - value;
                if left <= 0.0 {
                    return (f64::NEG_INFINITY, f64::INFINITY);
                }
                let (data, dearer) = self.data_for(a_d * left.powf(-1.0 / b_d));
                let growth = fall / (b_d * left);
                let served = self.served / self.per_data / data;
                let steepness = bend / (b_d * left) + b_d * growth * growth + served * growth;
                match self.repetition {
                    None => (1.0 - growth + served, steepness),
                    Some(_) if !data.is_finite() => (f64::NEG_INFINITY, f64::NAN),
                    Some(_) => (1.0 - growth * dearer + served, f64::NAN),
                }
            };
            let nonzero_params = size(low, high, f64::NAN, slope);
            return Some(self.with_data(nonzero_params, reducible, (least, most)));
        }
        // The derivative of the cost in n, divided by the cost of training; it rises.
        let slope = |n: f64| {
            let capacity = self.size_term * (-b_n * n).exp();
            let left = reducible - capacity;
            if left <= 0.0 {
                return (f64::NEG_INFINITY, f64::INFINITY);
            }
            let (data, dearer) = self.data_for(a_d * left.powf(-1.0 / b_d));
            if self.repetition.is_some() {
                // Repeated data has diminishing returns, which makes the rising function only steeper. There is no
                // formula for its derivative: NaN makes the root search bisect.
                if !data.is_finite() {
                    return (f64::NEG_INFINITY, f64::NAN);
                }
                let growth = b_n / b_d * capacity / left * dearer;
                return (1.0 - growth + self.served / self.per_data / data, f64::NAN);
            }
            let (growth, served) =
                (b_n / b_d * capacity / left, self.served / self.per_data / data);
            let steepness = b_n * growth * reducible / left + served * growth;
            (1.0 - growth + served, steepness)
        };
        // The exact answer where nothing is served.
        let start = (self.size_term * (b_n + b_d) / (reducible * b_d)).ln() / b_n;
        let nonzero_params = size(low, high, start, slope);
        Some(self.with_data(nonzero_params, reducible, (least, most)))
    }

    /// The size with the data that brings the loss to `reducible` above the irreducible loss, clamped to the least and
    /// the most data.
    fn with_data(
        &self,
        nonzero_params: f64,
        reducible: f64,
        (least, most): (f64, f64),
    ) -> (f64, f64) {
        let CoefficientValues { a_d, b_d, .. } = self.law;
        let left = reducible - self.capacity(nonzero_params);
        let data = if left > 0.0 { self.data_for(a_d * left.powf(-1.0 / b_d)).0 } else { most };
        (nonzero_params, data.clamp(least, most))
    }
}

/// Logarithms of the sizes among which the one that reaches a loss is sought: the whole range of supported sizes.
const LN_SIZES: (f64, f64) = (0.0, 41.5);

/// The size at which a rising function of its logarithm is 0, or the end of the range that is nearest to that.
fn size(low: f64, high: f64, start: f64, function: impl Fn(f64) -> (f64, f64)) -> f64 {
    let (ln_low, ln_high) = (low.ln(), high.ln());
    let n = root(ln_low, ln_high, start, function);
    // At the ends, return the ends themselves: a logarithm and back would round them.
    if n >= ln_high {
        high
    } else if n <= ln_low {
        low
    } else {
        n.exp().clamp(low, high)
    }
}

/// The root of a rising function between two ends, or the end that is nearest to it, by Newton's method kept inside a
/// bracket. The function returns its value and its derivative; where the derivative is NaN, the step is a bisection.
fn root(low: f64, high: f64, start: f64, function: impl Fn(f64) -> (f64, f64)) -> f64 {
    if function(low).0 >= 0.0 {
        return low;
    }
    // The value is NaN where the cost pays for no training at all.
    if function(high).0 <= 0.0 {
        return high;
    }
    let (mut below, mut above) = (low, high);
    let mut at = if start > low && start < high { start } else { 0.5 * (low + high) };
    // Newton converges in a handful of steps; 200 halvings exhaust the bits of any bracket.
    for _ in 0..200 {
        let (value, slope) = function(at);
        if value == 0.0 {
            return at;
        }
        if value < 0.0 {
            below = at
        } else {
            above = at
        }
        let newton = at - value / slope;
        let next = if newton > below && newton < above { newton } else { 0.5 * (below + above) };
        if (next - at).abs() <= 2.0 * f64::EPSILON * at.abs() {
            return next;
        }
        at = next;
    }
    at
}
