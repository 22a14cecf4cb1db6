//! The optimal sparsity where the optimality condition has no short form: for laws with a gain curve, and for repeated
//! data.
//!
//! As in [`super::optimum`], in `y = -ln(1 - S)`. The part of the loss that depends on the sparsity is
//!
//! ```text
//! f(y) = A(y) N^(-b_N) + (a_D / D_eff)^b_D,   D = D_C / c_mul(y)
//! ```
//!
//! and its slope has the sign of
//!
//! ```text
//! F(y) = ln(b_D (a_D / D_eff)^b_D e w) - ln(-A'(y) N^(-b_N)),   e = d ln D_eff / d ln D,   w = d ln c_mul / dy
//! ```
//!
//! `F` need not rise: a law that counts mean parameters has two minima, one of them dense. So every cell of a grid in
//! which `F` changes from negative to positive is solved, and the best of the minima is the answer.

use super::coefficients::Coefficients;
use super::cost::{Curve, Node, TrainingCost};
use super::quantity::{Compute, Density, NonzeroParams};
use super::repetition::Repetition;

/// Spacing of the grid in `y` where the cost is linear in the sparsity. Two minima within one cell are taken for one.
const SPACING: f64 = 0.05;
/// Number of cells of that grid, which extends to a density of 6e-6. Beyond it every law here is a power of the
/// density.
const CELLS: u32 = 240;

/// One question to one law.
pub(super) struct NumericQuestion<'a> {
    law: &'a Coefficients,
    cost: &'a TrainingCost,
    repetition: Option<&'a Repetition>,
    /// `-b_N ln N`.
    ln_size: f64,
    /// `ln D_C`: data that the budget pays for with a dense model.
    ln_data_dense: f64,
    ln_a_d: f64,
    b_d: f64,
}

impl<'a> NumericQuestion<'a> {
    pub fn new(
        law: &'a Coefficients,
        cost: &'a TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        repetition: Option<&'a Repetition>,
    ) -> Self {
        let ln_n = nonzero_params.get().ln();
        let ln_data_dense = compute.get().ln() - cost.flops_per_param().get().ln() - ln_n;
        Self::at(law, cost, ln_n, ln_data_dense, repetition)
    }

    /// The question at a given `ln N` and `ln D_C`.
    pub fn at(
        law: &'a Coefficients,
        cost: &'a TrainingCost,
        ln_n: f64,
        ln_data_dense: f64,
        repetition: Option<&'a Repetition>,
    ) -> Self {
        let v = law.values();
        let (ln_a_d, b_d) = (v.a_d.ln(), v.b_d);
        Self { law, cost, repetition, ln_size: -v.b_n * ln_n, ln_data_dense, ln_a_d, b_d }
    }

    /// `ln (a_D / D_eff)^b_D` and the elasticity `e`.
    fn data_term(&self, node: &Node) -> (f64, f64) {
        let ln_data = self.ln_data_dense - node.ln_multiplier;
        match self.repetition {
            None => (self.b_d * (self.ln_a_d - ln_data), 1.0),
            Some(repetition) => {
                let data = ln_data.exp();
                let ln_worth = repetition.effective(data).ln();
                (self.b_d * (self.ln_a_d - ln_worth), repetition.elasticity(data))
            }
        }
    }

    /// The density with the least loss; of two equal minima, the denser one.
    pub fn best(&self) -> Density {
        self.best_down_to(None)
    }

    /// Like [`Self::best`], restricted to the densities from `least` up where that is given.
    pub fn best_down_to(&self, least: Option<Density>) -> Density {
        best(self, self.cost, least).unwrap_or(Density::DENSE)
    }
}

impl Sloped for NumericQuestion<'_> {
    fn slope(&self, node: &Node, ln_elasticity: f64) -> f64 {
        let (ln_term, worth) = self.data_term(node);
        let fall = self.law.capacity_fall(node.density);
        self.b_d.ln() + ln_term + worth.ln() + ln_elasticity - fall.ln() - self.ln_size
    }

    fn loss(&self, node: &Node) -> f64 {
        let (ln_term, _) = self.data_term(node);
        self.law.capacity(node.density) * self.ln_size.exp() + ln_term.exp()
    }
}

/// A loss as a function of the sparsity alone.
pub(super) trait Sloped {
    /// A number with the sign of the loss's slope in `y`, given the logarithm of the cost's elasticity on one side.
    fn slope(&self, node: &Node, ln_elasticity: f64) -> f64;
    /// The loss, up to a constant and a positive factor.
    fn loss(&self, node: &Node) -> f64;
}

/// The density with the least loss, of those from `least` up; of two equal minima, the denser one. `None` where the
/// loss falls without end.
pub(super) fn best(
    of: &impl Sloped,
    cost: &TrainingCost,
    least: Option<Density>,
) -> Option<Density> {
    match cost.saved_share() {
        Ok(m) => {
            let nodes = (0..=CELLS).map(|step| linear(m, SPACING * f64::from(step)));
            best_of(of, |y| linear(m, y), nodes, least)
        }
        Err(curve) => best_on(of, curve, least),
    }
}

/// Like [`best`], where the cost is not linear in the sparsity.
pub(super) fn best_on(of: &impl Sloped, curve: &Curve, least: Option<Density>) -> Option<Density> {
    best_of(of, |y| curve.at(y), curve.nodes().iter().copied(), least)
}

fn best_of(
    of: &impl Sloped,
    at: impl Fn(f64) -> Node,
    mut nodes: impl Iterator<Item = Node>,
    least: Option<Density>,
) -> Option<Density> {
    let below = |node: &Node| of.slope(node, node.ln_elasticity_below);
    let above = |node: &Node| of.slope(node, node.ln_elasticity_above);
    let mut best: Option<(f64, Density)> = None;
    let mut consider = |node: &Node| {
        let loss = of.loss(node);
        if best.is_none_or(|(least, _)| loss < least) {
            best = Some((loss, node.density));
        }
    };
    let mut last = nodes.next()?;
    // Where zeros change nothing at all, the slope is NaN, and dense is as good as any other density.
    if above(&last) >= 0.0 || above(&last).is_nan() {
        consider(&last);
    }
    // The best density up to the bound: a minimum before it, or the bound itself.
    let bound = least.map(|least| (at(-least.get().ln()), least));
    let end_at = |last: &Node, consider: &mut dyn FnMut(&Node)| {
        let Some((bound, least)) = &bound else { return };
        if above(last) < 0.0 && below(bound) >= 0.0 {
            consider(&turn(of, &at, *last, *bound));
        } else if below(bound) < 0.0 {
            // The bound exactly, to the last bit.
            consider(&Node { density: *least, ..*bound });
        }
    };
    for node in nodes {
        if bound.as_ref().is_some_and(|(bound, _)| bound.y <= node.y) {
            end_at(&last, &mut consider);
            return best.map(|(_, density)| density);
        }
        let end = below(&node);
        if above(&last) < 0.0 && end >= 0.0 {
            consider(&turn(of, &at, last, node));
        }
        if end < 0.0 && node.is_kink() && above(&node) >= 0.0 {
            consider(&node);
        }
        last = node;
    }
    if bound.is_some() {
        end_at(&last, &mut consider);
        return best.map(|(_, density)| density);
    }
    // Beyond the nodes the slope rises: search up to the minimum, or to the smallest representable density.
    if above(&last) < 0.0 {
        let mut end = at(2.0 * last.y);
        while below(&end) < 0.0 && end.density > Density::clamped(0.0) {
            end = at(2.0 * end.y);
        }
        if below(&end) < 0.0 && of.loss(&end).is_nan() {
            return None;
        }
        consider(&turn(of, &at, last, end));
    }
    best.map(|(_, density)| density)
}

/// The node at which the slope turns from negative to positive between two nodes, by secants through both ends of the
/// bracket. Every third step is a bisection, for the case that secants shrink the bracket too slowly.
fn turn(of: &impl Sloped, at: impl Fn(f64) -> Node, mut low: Node, mut high: Node) -> Node {
    let mut at_low = of.slope(&low, low.ln_elasticity_above);
    let mut at_high = of.slope(&high, high.ln_elasticity_below);
    for step in 0..200 {
        let width = high.y - low.y;
        let secant = low.y - at_low * width / (at_high - at_low);
        let inside = step % 3 != 2 && secant > low.y && secant < high.y;
        let y = if inside { secant } else { 0.5 * (low.y + high.y) };
        if width <= 2.0 * f64::EPSILON * high.y || y <= low.y || y >= high.y {
            break;
        }
        let between = at(y);
        let value = of.slope(&between, between.ln_elasticity_above);
        if value == 0.0 {
            return between;
        }
        if value < 0.0 {
            (low, at_low) = (between, value);
        } else {
            (high, at_high) = (between, value);
        }
    }
    high
}

/// The node at `y` of the multiplier `c_mul = (1 - m S) / (1 - S)`.
pub(super) fn linear(m: f64, y: f64) -> Node {
    let x = (-y).exp();
    let kept = 1.0 - m * (1.0 - x);
    let ln_elasticity = ((1.0 - m) / kept).ln();
    Node {
        density: Density::clamped(x),
        y,
        ln_multiplier: y + kept.ln(),
        ln_elasticity_below: ln_elasticity,
        ln_elasticity_above: ln_elasticity,
    }
}

/// `ln M` at which the sparsity `1 - x` is optimal by a law with a gain curve; [`super::ln_contour_ratio`] computes it
/// for other laws:
///
/// ```text
/// M = c_mul (b_N A(0) w / -A'(y))^(1/b_D)
/// ```
///
/// This is where the slope is zero; `None` where the optimum jumps over the sparsity. At density 1 it is the budget up
/// to which zeros do not lower the loss. Where the optimum jumps away from 0, the end of that range is found by
/// bisection.
pub(super) fn curved_contour_ratio(
    law: &Coefficients,
    cost: &TrainingCost,
    density: Density,
) -> Option<f64> {
    let v = law.values();
    let node = match cost.saved_share() {
        Ok(m) => linear(m, -density.get().ln()),
        Err(curve) => curve.at_density(density),
    };
    let best = |ln_ratio: f64| {
        // The ratio is the same at every size, so it is computed at one parameter.
        let ln_data = ln_ratio + law.ln_chinchilla_data(NonzeroParams::ONE);
        let question = NumericQuestion::at(law, cost, 0.0, ln_data, None);
        let best = question.best();
        // Allows for rounding of the logarithms, which are up to a few tens.
        let there = match cost.saved_share() {
            Ok(m) => linear(m, -best.get().ln()),
            Err(curve) => curve.at_density(best),
        };
        let is_here = question.loss(&node) <= question.loss(&there) * (1.0 + 1e-12);
        (best, is_here)
    };
    let dense = (v.b_n * law.capacity(Density::DENSE)).ln();
    let fall = law.capacity_fall(density).ln();
    let high = node.ln_multiplier + (dense + node.ln_elasticity_above - fall) / v.b_d;
    if !high.is_finite() {
        return None;
    }
    if best(high).1 {
        return Some(high);
    }
    if density < Density::DENSE && !node.is_kink() {
        return None;
    }
    let (mut low, mut high) = (high - RANGE, high);
    while high - low > RANGE_DIGITS {
        let middle = 0.5 * (low + high);
        if best(middle).0 >= density { low = middle } else { high = middle }
    }
    best(low).1.then_some(low)
}

/// How far below the root a bisection for the upper end of a range of budgets begins, in `ln M`: a factor of 1e13.
pub(super) const RANGE: f64 = 30.0;
/// Width in `ln M` at which that bisection stops.
pub(super) const RANGE_DIGITS: f64 = 1e-9;
