//! Mixtures of experts, described by the number of all their parameters and the share that is active (Abnar and others,
//! arXiv 2501.12370).

use serde::{Deserialize, Serialize};

use super::cost::{Node, TrainingCost};
use super::numeric::{self, Sloped};
use super::quantity::{Compute, Data, Density, NonzeroParams};
use super::repetition::Repetition;

/// `L = e + a N_t^(-alpha) + b D^(-beta) + c x^(-lambda) + d x^(-delta) N_t^(-gamma)`, with `x = 1 - S` the share of
/// the parameters that are active and `N_t = N / x` the number of all parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExpertCoefficients {
    /// Irreducible loss.
    pub e: f64,
    /// Amplitude of the total size.
    pub a: f64,
    /// Exponent of the total size.
    pub alpha: f64,
    /// Amplitude of the data; 0 where the runs have one amount of data only, whose effect is then part of `e`.
    pub b: f64,
    /// Exponent of the data.
    pub beta: f64,
    /// Amplitude of the density.
    pub c: f64,
    /// Exponent of the density, of either sign.
    pub lambda: f64,
    /// Amplitude of the term in both density and size.
    pub d: f64,
    /// Exponent of the density in that term, of either sign.
    pub delta: f64,
    /// Exponent of the total size in that term.
    pub gamma: f64,
}

/// Range in `ln N` in which the dense model of equal loss is sought: from 1 parameter to about the largest double.
const LN_SIZES: (f64, f64) = (0.0, 700.0);

impl ExpertCoefficients {
    /// Predicted loss at a density, a number of active parameters and an amount of data.
    #[must_use]
    pub fn loss(&self, density: Density, nonzero_params: NonzeroParams, data: Data) -> f64 {
        let (ln_x, ln_n) = (density.get().ln(), nonzero_params.get().ln() - density.get().ln());
        self.e
            + self.a * (-self.alpha * ln_n).exp()
            + self.b * data.get().powf(-self.beta)
            + self.c * (-self.lambda * ln_x).exp()
            + self.d * (-self.delta * ln_x - self.gamma * ln_n).exp()
    }

    /// Part of the loss that depends on size and density.
    fn capacity(&self, ln_x: f64, ln_n: f64) -> f64 {
        let ln_total = ln_n - ln_x;
        self.a * (-self.alpha * ln_total).exp()
            + self.c * (-self.lambda * ln_x).exp()
            + self.d * (-self.delta * ln_x - self.gamma * ln_total).exp()
    }

    /// Size of the dense model with the same loss on the same data, relative to the active parameters; `None` where no
    /// dense model of any size has this loss.
    #[must_use]
    pub fn gain(&self, density: Density, nonzero_params: NonzeroParams) -> Option<f64> {
        let ln_n = nonzero_params.get().ln();
        if density == Density::DENSE {
            return Some(1.0);
        }
        let target = self.capacity(density.get().ln(), ln_n);
        // The capacity of a dense model falls with its size.
        let (mut low, mut high) = LN_SIZES;
        if self.capacity(0.0, high) > target || self.capacity(0.0, low) < target {
            return None;
        }
        while high - low > 2.0 * f64::EPSILON * high {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                break;
            }
            if self.capacity(0.0, middle) > target { low = middle } else { high = middle }
        }
        Some((high - ln_n).exp())
    }

    /// `ln` of the data at which a dense model of this size is compute-optimal: one per cent more size then improves
    /// the loss as much as one per cent more data.
    #[must_use]
    pub fn ln_chinchilla_data(&self, nonzero_params: NonzeroParams) -> f64 {
        let ln_n = nonzero_params.get().ln();
        let of_size = self.alpha * self.a * (-self.alpha * ln_n).exp()
            + self.gamma * self.d * (-self.gamma * ln_n).exp();
        ((self.beta * self.b).ln() - of_size.ln()) / self.beta
    }
}

/// One question to a law of experts, in `y = -ln(1 - S)`.
///
/// Every term of the loss in size and density is a positive multiple of an exponential of `y`. The term of the data is
/// one too where the cost is linear in the sparsity, apart from the factor `(1 - m + m e^(-y))^beta`, whose logarithm
/// is convex. The loss is then convex in `y` and has one minimum. On a hardware profile, every cell between two nodes
/// of its cost is searched.
struct ExpertQuestion<'a> {
    law: &'a ExpertCoefficients,
    ln_n: f64,
    ln_data_dense: f64,
    repetition: Option<&'a Repetition>,
}

impl ExpertQuestion<'_> {
    /// The three terms in size and density, each with its rate of growth in `y`.
    fn terms(&self, node: &Node) -> [(f64, f64); 3] {
        let ExpertCoefficients { a, alpha, c, lambda, d, delta, gamma, .. } = *self.law;
        let ln_total = self.ln_n + node.y;
        [
            (a * (-alpha * ln_total).exp(), -alpha),
            (c * (lambda * node.y).exp(), lambda),
            (d * (delta * node.y - gamma * ln_total).exp(), delta - gamma),
        ]
    }

    /// The term of the data, and `d ln D_eff / d ln D`.
    fn data_term(&self, node: &Node) -> (f64, f64) {
        let ln_data = self.ln_data_dense - node.ln_multiplier;
        let (ln_worth, elasticity) = match self.repetition {
            None => (ln_data, 1.0),
            Some(repetition) => {
                let data = ln_data.exp();
                (repetition.effective(data).ln(), repetition.elasticity(data))
            }
        };
        (self.law.b * (-self.law.beta * ln_worth).exp(), elasticity)
    }
}

impl Sloped for ExpertQuestion<'_> {
    fn slope(&self, node: &Node, ln_elasticity: f64) -> f64 {
        let (term, worth) = self.data_term(node);
        let data = self.law.beta * term * worth * ln_elasticity.exp();
        data + self.terms(node).iter().map(|(term, slope)| term * slope).sum::<f64>()
    }

    fn loss(&self, node: &Node) -> f64 {
        self.data_term(node).0 + self.terms(node).iter().map(|(term, _)| term).sum::<f64>()
    }
}

/// `ln C` at which a density is the best for a size; `None` where no budget makes it the best, and where the law does
/// not describe data.
///
/// The slope of the loss in `y = -ln(1 - S)` is zero where
///
/// ```text
/// beta b D^(-beta) w = -(d/dy) (a N_t^(-alpha) + c x^(-lambda) + d x^(-delta) N_t^(-gamma)),   w = d ln c_mul / dy
/// ```
///
/// so `D`, and with it the budget, has a closed form. It depends on the size in a different way than the
/// compute-optimal budget of a dense model does: these contours are neither straight nor parallel to the Chinchilla
/// line.
///
/// On a hardware profile the optimum may jump over a density, which a search at that budget detects. A kink of the
/// cost, and density 1, are optimal over a range of budgets, and the result is the upper end of that range.
pub(super) fn ln_expert_contour(
    law: &ExpertCoefficients,
    cost: &TrainingCost,
    density: Density,
    nonzero_params: NonzeroParams,
) -> Option<f64> {
    if law.b == 0.0 || !cost.has_optimum() {
        return None;
    }
    let node_of = |density: Density| match cost.saved_share() {
        Ok(m) => numeric::linear(m, -density.get().ln()),
        Err(curve) => curve.at_density(density),
    };
    let node = node_of(density);
    let ln_n = nonzero_params.get().ln();
    let ln_flops = cost.flops_per_param().get().ln() + ln_n;
    let question =
        |ln_data_dense: f64| ExpertQuestion { law, ln_n, ln_data_dense, repetition: None };
    let fall = -question(0.0).terms(&node).iter().map(|(term, slope)| term * slope).sum::<f64>();
    // The logarithm is NaN where more experts increase the loss at every budget.
    let needed = (law.beta * law.b).ln() + node.ln_elasticity_above - fall.ln();
    let high = node.ln_multiplier + needed / law.beta;
    if !high.is_finite() {
        return None;
    }
    // Where the cost is linear in the sparsity, there is only one minimum.
    let Err(curve) = cost.saved_share() else { return Some(high + ln_flops) };
    let best = |ln_data: f64| {
        let question = question(ln_data);
        let best = numeric::best_on(&question, curve, None)?;
        // Allows for rounding of the logarithms, which are up to a few tens.
        let is_here = question.loss(&node) <= question.loss(&node_of(best)) * (1.0 + 1e-12);
        Some((best, is_here))
    };
    if best(high)?.1 {
        return Some(high + ln_flops);
    }
    if density < Density::DENSE && !node.is_kink() {
        return None;
    }
    let (mut low, mut high) = (high - numeric::RANGE, high);
    while high - low > numeric::RANGE_DIGITS {
        let middle = 0.5 * (low + high);
        if best(middle)?.0 >= density { low = middle } else { high = middle }
    }
    best(low)?.1.then_some(low + ln_flops)
}

/// The density with the least loss at a size and a budget, of the densities from `least` up where that is given; `None`
/// where the loss falls without end.
pub(super) fn optimal_expert_density(
    law: &ExpertCoefficients,
    cost: &TrainingCost,
    (nonzero_params, compute): (NonzeroParams, Compute),
    least: Option<Density>,
    repetition: Option<&Repetition>,
) -> Option<Density> {
    let ln_n = nonzero_params.get().ln();
    let ln_data_dense = compute.get().ln() - cost.flops_per_param().get().ln() - ln_n;
    numeric::best(&ExpertQuestion { law, ln_n, ln_data_dense, repetition }, cost, least)
}
