//! The optimal sparsity for a training budget.

use super::coefficients::Coefficients;
use super::cost::{Curve, Node, TrainingCost};
use super::numeric::{self, Sloped};
use super::quantity::{Compute, Data, Density, DomainError, NonzeroParams, Sparsity};
use super::repetition::{Repetition, effective_data};

/// The best model with `N` non-zeros for a training budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optimum {
    /// `1 - S_opt`, which keeps digits that the sparsity loses near 1.
    pub density: Density,
    /// Data that the budget pays for at this sparsity.
    pub data: Data,
    /// Predicted loss.
    pub loss: f64,
}

impl Optimum {
    /// `S_opt`; exactly 0 at or below the 0 % contour.
    #[must_use]
    pub const fn sparsity(&self) -> Sparsity {
        self.density.sparsity()
    }

    /// Parameters of the model, zeros included: `N / (1 - S)`.
    #[must_use]
    pub fn total_params(&self, nonzero_params: NonzeroParams) -> f64 {
        nonzero_params.get() / self.density.get()
    }
}

/// `S_opt(N, C) = argmin over 0 <= S < 1 of L(S, N, C / (k N c_mul(S)))`.
///
/// ```
/// use sparsity_law::law::*;
///
/// let cost = TrainingCost::new(FlopsPerParam::new(6.0)?, PruningSchedule::default(), FlopMode::Sparse);
/// let best = optimal_sparsity(
///     VIT_JFT.coefficients(), &cost, NonzeroParams::new(1e8)?, Compute::new(1e19)?,
/// )?;
/// assert!((best.sparsity().get() - 0.833006175).abs() < 1e-9);
/// # Ok::<(), DomainError>(())
/// ```
///
/// On dense hardware fewer zeros pay, and on hardware that skips some of them a number between:
///
/// ```
/// use sparsity_law::law::*;
///
/// let best = |step: StepCost| -> Result<f64, DomainError> {
///     let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), step);
///     let (n, c) = (NonzeroParams::new(1e9)?, Compute::new(1e21)?);
///     Ok(optimal_sparsity(T5_C4.coefficients(), &cost, n, c)?.sparsity().get())
/// };
/// let (dense, sparse) = (best(FlopMode::Dense.into())?, best(FlopMode::Sparse.into())?);
/// assert!((dense - 0.124287224).abs() < 1e-9);
/// assert!((sparse - 0.560416028).abs() < 1e-9);
/// // 90 % of the FLOPs can be pruned, at 95 % of the ideal speed-up.
/// let measured = best(StepCost::of_share(0.9, 0.95).map_err(|(_, error)| error)?)?;
/// assert!(dense < measured && measured < sparse);
/// # Ok::<(), DomainError>(())
/// ```
///
/// # Errors
/// [`DomainError::OutOfRange`] where the budget pays for no representable amount of data.
pub fn optimal_sparsity(
    law: &Coefficients,
    cost: &TrainingCost,
    nonzero_params: NonzeroParams,
    compute: Compute,
) -> Result<Optimum, DomainError> {
    let density = optimal_density(law, cost, nonzero_params, compute);
    let data = cost.data(density, nonzero_params, compute)?;
    let loss = law.loss(density, nonzero_params, data);
    Ok(Optimum { density, data, loss })
}

/// Like [`optimal_sparsity`], for a model that sees the same data repeatedly. The cost counts the data it is trained
/// on, and the loss follows from [`Repetition::effective`]. `data` in the result is the data it is trained on.
///
/// ```
/// use sparsity_law::law::*;
///
/// let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Sparse);
/// let (law, n, c) = (T5_C4.coefficients(), NonzeroParams::new(1e8)?, Compute::new(1e20)?);
/// let plenty = optimal_sparsity(law, &cost, n, c)?;
/// // Only 5 B tokens there are: more of the budget goes into zeros, and less into another epoch.
/// let few = Repetition::new(Data::new(5e9)?, Repetition::PUBLISHED_DECAY)?;
/// let best = optimal_sparsity_repeating(law, &cost, n, c, Some(&few))?;
/// assert!(best.sparsity() > plenty.sparsity() && best.loss > plenty.loss);
/// # Ok::<(), DomainError>(())
/// ```
///
/// # Errors
/// As for [`optimal_sparsity`].
pub fn optimal_sparsity_repeating(
    law: &Coefficients,
    cost: &TrainingCost,
    nonzero_params: NonzeroParams,
    compute: Compute,
    repetition: Option<&Repetition>,
) -> Result<Optimum, DomainError> {
    optimal_sparsity_under(law, cost, (nonzero_params, compute), None, repetition)
}

/// Like [`optimal_sparsity`], restricted to the densities from `least` up where that is given, and with repeated data
/// where `repetition` is given.
///
/// # Errors
/// As for [`optimal_sparsity`].
pub fn optimal_sparsity_under(
    law: &Coefficients,
    cost: &TrainingCost,
    question: (NonzeroParams, Compute),
    least: Option<Density>,
    repetition: Option<&Repetition>,
) -> Result<Optimum, DomainError> {
    let density = optimal_density_under(law, cost, question, least, repetition);
    let (nonzero_params, compute) = question;
    let data = cost.data(density, nonzero_params, compute)?;
    let loss = law.loss(density, nonzero_params, effective_data(repetition, data));
    Ok(Optimum { density, data, loss })
}

/// The density of [`optimal_sparsity_under`].
pub(super) fn optimal_density_under(
    law: &Coefficients,
    cost: &TrainingCost,
    (nonzero_params, compute): (NonzeroParams, Compute),
    least: Option<Density>,
    repetition: Option<&Repetition>,
) -> Density {
    if repetition.is_some() || (least.is_some() && law.gain_curve().is_some()) {
        let question =
            numeric::NumericQuestion::new(law, cost, nonzero_params, compute, repetition);
        return question.best_down_to(least);
    }
    match least {
        None => optimal_density(law, cost, nonzero_params, compute),
        Some(least) => optimal_density_down_to(least, law, cost, nonzero_params, compute),
    }
}

/// `1 - S_opt(N, C)`: the root of the optimality condition in `y = -ln(1 - S)`.
///
/// Setting the derivative of the loss in `S` to zero gives, with `D_C = C/(kN)`,
///
/// ```text
/// b_D (a_D c_mul / D_C)^b_D (ln c_mul)' = a_S b_S (1-S)^(b_S-1) N^(-b_N)
/// ```
///
/// and with `c_mul = (1 - m S)/(1 - S)`, `(ln c_mul)' = (1 - m)/((1 - S)(1 - m S))`, the logarithm
/// of left over right is
///
/// ```text
/// F(y) = F0 + (b_S + b_D) y + (b_D - 1) ln(1 - m (1 - e^-y)),
/// F0   = ln(1 - m) + ln b_D + b_D ln(a_D / D_C) + b_N ln N - ln(a_S b_S)
/// ```
///
/// `F` rises strictly for every `0 <= m < 1`, so `F(0) >= 0` means that zeros do not lower the loss, and
/// otherwise the root is unique. Dense mode has `m = 0` and the closed form `y = -F0/(b_S + b_D)`.
///
/// On other hardware, let `w = d ln c_mul / dy`. Then
///
/// ```text
/// F(y) = ln b_D + b_D ln(a_D / D_C) + b_N ln N - ln(a_S b_S) + b_D ln c_mul + ln w + b_S y
/// ```
///
/// need not rise, and jumps where the step cost has a kink. The sign of `F` is that of the slope of the loss, so the
/// local minima are `S = 0`, kinks, and points inside the cells of a grid in `y` in which `F` changes from negative to
/// positive. The best of them is the answer; of two equal ones, the denser. The grid (0.05 apart, at least 4 cells
/// between kinks) would miss a minimum and a maximum within one cell.
#[must_use]
pub fn optimal_density(
    law: &Coefficients,
    cost: &TrainingCost,
    nonzero_params: NonzeroParams,
    compute: Compute,
) -> Density {
    if law.gain_curve().is_some() {
        return numeric::NumericQuestion::new(law, cost, nonzero_params, compute, None).best();
    }
    let ln_n = nonzero_params.get().ln();
    let ln_data_dense = compute.get().ln() - cost.flops_per_param().get().ln() - ln_n;
    let m = match cost.saved_share() {
        // F is negative everywhere, see [`TrainingCost::has_optimum`].
        Ok(1.0) => return Density::clamped(0.0),
        Ok(m) => m,
        Err(curve) => return Condition::new(law, ln_n, ln_data_dense).best(curve, None),
    };
    let v = law.values();
    let at_zero = (1.0 - m).ln() + v.b_d.ln() + v.b_d * (v.a_d.ln() - ln_data_dense) + v.b_n * ln_n
        - v.a_s.ln()
        - v.b_s.ln();
    if at_zero >= 0.0 {
        return Density::DENSE;
    }
    let slope = v.b_s + v.b_d;
    let y = if m == 0.0 { -at_zero / slope } else { root(at_zero, slope, v.b_d - 1.0, m) };
    Density::clamped((-y).exp())
}

/// Like [`optimal_sparsity`], restricted to the densities from `least` up.
///
/// # Errors
/// [`DomainError::OutOfRange`] where the budget pays for no representable amount of data.
pub fn optimal_sparsity_down_to(
    least: Density,
    law: &Coefficients,
    cost: &TrainingCost,
    nonzero_params: NonzeroParams,
    compute: Compute,
) -> Result<Optimum, DomainError> {
    optimal_sparsity_under(law, cost, (nonzero_params, compute), Some(least), None)
}

/// Like [`optimal_density`], restricted to the densities from `least` up.
///
/// Where the cost is linear in the sparsity, the loss falls up to the optimum and rises beyond it, so the bound is the
/// best density if it comes before the optimum. With other costs there may be several minima, and the best one within
/// the bound may be a different one.
///
/// ```
/// use sparsity_law::law::*;
///
/// // Zeros from the first step that cost nothing: the best is the largest sparsity that is allowed.
/// let constant = PruningSchedule::new(0.0, 0.0, 3.0).map_err(|(_, error)| error)?;
/// let cost = TrainingCost::new(FlopsPerParam::TRAINING, constant, FlopMode::Sparse);
/// let (n, c) = (NonzeroParams::new(1e8)?, Compute::new(1e19)?);
/// let least = Density::new(0.125)?;
/// assert_eq!(optimal_density_down_to(least, T5_C4.coefficients(), &cost, n, c), least);
/// # Ok::<(), DomainError>(())
/// ```
#[must_use]
pub fn optimal_density_down_to(
    least: Density,
    law: &Coefficients,
    cost: &TrainingCost,
    nonzero_params: NonzeroParams,
    compute: Compute,
) -> Density {
    let curve = match cost.saved_share() {
        Ok(_) => {
            let free = optimal_density(law, cost, nonzero_params, compute);
            return if free < least { least } else { free };
        }
        Err(curve) => curve,
    };
    let ln_n = nonzero_params.get().ln();
    let ln_data_dense = compute.get().ln() - cost.flops_per_param().get().ln() - ln_n;
    Condition::new(law, ln_n, ln_data_dense).best(curve, Some(least))
}

/// The optimality condition for one law, size and budget, with any step cost.
pub(super) struct Condition {
    /// `b_D ln(a_D / D_C) + b_N ln N - ln a_S`.
    scale: f64,
    b_s: f64,
    b_d: f64,
}

impl Condition {
    pub(super) fn new(law: &Coefficients, ln_n: f64, ln_data_dense: f64) -> Self {
        let v = law.values();
        let scale = v.b_d * (v.a_d.ln() - ln_data_dense) + v.b_n * ln_n - v.a_s.ln();
        Self { scale, b_s: v.b_s, b_d: v.b_d }
    }

    /// The density with the least loss, of those from `least` up where that is given.
    pub(super) fn best(&self, curve: &Curve, least: Option<Density>) -> Density {
        // F is positive for large y, so there is a minimum.
        numeric::best_on(self, curve, least).unwrap_or(Density::DENSE)
    }
}

impl Sloped for Condition {
    /// `F`, computed from the multiplier and its elasticity on one side.
    fn slope(&self, node: &Node, ln_elasticity: f64) -> f64 {
        let scale = self.scale + self.b_d.ln() - self.b_s.ln();
        scale + self.b_d * node.ln_multiplier + ln_elasticity + self.b_s * node.y
    }

    /// The part of the loss that depends on the sparsity, in units of `a_S N^(-b_N)`.
    fn loss(&self, node: &Node) -> f64 {
        (-self.b_s * node.y).exp() + (self.scale + self.b_d * node.ln_multiplier).exp()
    }
}

/// The root of `at_zero + slope y + bend ln(1 - m (1 - e^-y))` for `at_zero < 0`, by Newton's method kept inside a
/// bracket.
pub(super) fn root(at_zero: f64, slope: f64, bend: f64, m: f64) -> f64 {
    // The last term lies between 0 and bend ln(1 - m).
    let mut low = 0.0;
    let mut high = (-at_zero - (bend * (1.0 - m).ln()).min(0.0)) / slope;
    let mut y = 0.5 * (low + high);
    // Newton converges in a handful of steps; 200 halvings exhaust the bits of any bracket.
    for _ in 0..200 {
        let x = (-y).exp();
        let kept = 1.0 - m + m * x;
        let value = at_zero + slope * y + bend * kept.ln();
        if value == 0.0 {
            return y;
        }
        if value < 0.0 {
            low = y
        } else {
            high = y
        }
        let newton = y - value / (slope - bend * m * x / kept);
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        if (next - y).abs() <= f64::EPSILON * y {
            return next;
        }
        y = next;
    }
    y
}

/// The Chinchilla ratio `M = C / C_chin(N)`: training cost relative to the cost at which a dense model of `N`
/// parameters is compute-optimal, `C_chin = k N D_chin(N)`.
#[must_use]
pub fn chinchilla_ratio(
    law: &Coefficients,
    cost: &TrainingCost,
    nonzero_params: NonzeroParams,
    compute: Compute,
) -> f64 {
    let ln_data_dense =
        compute.get().ln() - cost.flops_per_param().get().ln() - nonzero_params.get().ln();
    (ln_data_dense - law.ln_chinchilla_data(nonzero_params)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{FlopMode, FlopsPerParam, PruningSchedule, StepCost, T5_C4, VIT_JFT};
    use proptest::prelude::*;

    fn cost(mode: FlopMode) -> TrainingCost {
        TrainingCost::new(FlopsPerParam::new(6.0).unwrap(), PruningSchedule::default(), mode)
    }

    fn best(law: &Coefficients, mode: FlopMode, n: f64, c: f64) -> Optimum {
        let (n, c) = (NonzeroParams::new(n).unwrap(), Compute::new(c).unwrap());
        optimal_sparsity(law, &cost(mode), n, c).unwrap()
    }

    /// Tolerance for known answers with nine digits.
    const NINE_DIGITS: f64 = 1e-9;

    #[test]
    fn known_answers_of_the_published_laws() {
        use FlopMode::{Dense, Sparse};
        let (vit, t5) = (VIT_JFT.coefficients(), T5_C4.coefficients());
        let table = [
            (1e7, 1e17, [0.677614362, 0.447981539, 0.624193705, 0.291129893]),
            (1e8, 1e19, [0.833006175, 0.717435889, 0.593361640, 0.212112566]),
            (1e9, 1e21, [0.913904160, 0.855362669, 0.560416028, 0.124287224]),
        ];
        for (n, c, expected) in table {
            let questions = [(vit, Sparse), (vit, Dense), (t5, Sparse), (t5, Dense)];
            for ((law, mode), expected) in questions.into_iter().zip(expected) {
                let got = best(law, mode, n, c).sparsity().get();
                assert!((got - expected).abs() < NINE_DIGITS, "{mode:?} {n} {c}: {got}");
            }
        }
    }

    #[test]
    fn budgets_at_which_a_sparsity_is_optimal() {
        // Known values of M, to the digits given here.
        let rows = [
            (VIT_JFT.coefficients(), FlopMode::Sparse, [0.422, 1.676, 6.56, 25.4]),
            (VIT_JFT.coefficients(), FlopMode::Dense, [1.27, 4.817, 18.3, 69.2]),
            (T5_C4.coefficients(), FlopMode::Sparse, [0.024, 2.458, 160.0, 7047.0]),
            (T5_C4.coefficients(), FlopMode::Dense, [3.01, 71.1, 1677.0, 39557.0]),
        ];
        for (law, mode, ratios) in rows {
            for (ratio, sparsity) in ratios.into_iter().zip([0.0, 0.5, 0.75, 0.875]) {
                let n = NonzeroParams::new(1e8).unwrap();
                let chinchilla = 6.0 * 1e8 * law.ln_chinchilla_data(n).exp();
                let got = best(law, mode, 1e8, ratio * chinchilla).sparsity().get();
                // Half a unit in the third digit of M, with dS/dlnM < 0.3.
                assert!((got - sparsity).abs() < 7e-3, "{mode:?} {ratio}: {got}");
            }
        }
    }

    #[test]
    fn below_the_zero_contour_the_answer_is_exactly_dense() {
        let optimum = best(T5_C4.coefficients(), FlopMode::Dense, 1e9, 1e15);
        assert_eq!(optimum.sparsity(), Sparsity::DENSE);
        assert_eq!(optimum.total_params(NonzeroParams::new(1e9).unwrap()), 1e9);
    }

    #[test]
    fn absurd_budgets_stay_below_a_sparsity_of_one() {
        for mode in [FlopMode::Dense, FlopMode::Sparse] {
            let optimum = best(VIT_JFT.coefficients(), mode, 1.0, 1e30);
            assert!(optimum.sparsity().get() < 1.0);
            assert!(optimum.loss.is_finite());
        }
    }

    proptest! {
        #[test]
        fn no_other_sparsity_is_better(
            ln_n in 12.0..25.0f64, ln_c in 38.0..55.0f64, other in 0.0..0.999f64,
            sparse in any::<bool>(), t5 in any::<bool>(),
        ) {
            let law = if t5 { T5_C4.coefficients() } else { VIT_JFT.coefficients() };
            let mode = if sparse { FlopMode::Sparse } else { FlopMode::Dense };
            let n = NonzeroParams::new(ln_n.exp()).unwrap();
            let c = Compute::new(ln_c.exp()).unwrap();
            let optimum = optimal_sparsity(law, &cost(mode), n, c).unwrap();
            let other = Sparsity::new(other).unwrap().density();
            let data = cost(mode).data(other, n, c).unwrap();
            // Rounding of a sum of three terms near 1.
            prop_assert!(law.loss(other, n, data) >= optimum.loss - 1e-13);
        }

        #[test]
        fn it_depends_on_size_and_budget_only_through_their_ratio_to_chinchilla(
            ln_n in 14.0..25.0f64, ln_m in -2.0..6.0f64, sparse in any::<bool>(),
        ) {
            let law = VIT_JFT.coefficients();
            let mode = if sparse { FlopMode::Sparse } else { FlopMode::Dense };
            let at = |n: f64| {
                let chinchilla = 6.0 * n * law.ln_chinchilla_data(NonzeroParams::new(n).unwrap()).exp();
                best(law, mode, n, ln_m.exp() * chinchilla).sparsity().get()
            };
            prop_assert!((at(ln_n.exp()) - at(1e7)).abs() < 1e-10);
        }
    }

    fn stepwise(step: StepCost) -> TrainingCost {
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), step)
    }

    proptest! {
        #[test]
        fn a_profile_equal_to_sparse_has_the_same_optimum(
            ln_n in 12.0..25.0f64, ln_c in 38.0..55.0f64, t5 in any::<bool>(),
        ) {
            let law = if t5 { T5_C4.coefficients() } else { VIT_JFT.coefficients() };
            let n = NonzeroParams::new(ln_n.exp()).unwrap();
            let c = Compute::new(ln_c.exp()).unwrap();
            // Points on a straight line send it through the search, although they are no real kinks.
            let line = [(0.25, 0.75), (0.5, 0.5), (0.75, 0.25), (1.0, 0.0)];
            let same = stepwise(StepCost::of_points(&line).unwrap());
            let expected = optimal_density(law, &cost(FlopMode::Sparse), n, c).sparsity().get();
            let got = optimal_density(law, &same, n, c).sparsity().get();
            prop_assert!((got - expected).abs() < NINE_DIGITS, "{got} {expected}");
        }

        #[test]
        fn no_sparsity_of_a_fine_grid_is_better_on_any_hardware(
            kinks in prop::collection::btree_map(1..100u32, 0.02..1.5f64, 1..7),
            share in 0.0..1.0f64, efficiency in 0.05..1.0f64, measured in any::<bool>(),
            ln_n in 14.0..24.0f64, ln_m in -3.0..7.0f64, t5 in any::<bool>(),
        ) {
            let law = if t5 { T5_C4.coefficients() } else { VIT_JFT.coefficients() };
            let kinks: Vec<_> =
                kinks.into_iter().map(|(s, h)| (f64::from(s) / 100.0, h)).collect();
            let step = if measured {
                StepCost::of_points(&kinks).unwrap()
            } else {
                StepCost::of_share(share, efficiency).unwrap()
            };
            let cost = stepwise(step);
            let n = NonzeroParams::new(ln_n.exp()).unwrap();
            let c = 6.0 * n.get() * (ln_m + law.ln_chinchilla_data(n)).exp();
            let c = Compute::new(c).unwrap();
            let best = optimal_sparsity(law, &cost, n, c).unwrap();
            for i in 0..4000 {
                let other = Density::clamped((-f64::from(i) * 0.002).exp());
                let data = cost.data(other, n, c).unwrap();
                let loss = law.loss(other, n, data);
                // Rounding of a sum of three terms.
                prop_assert!(loss >= best.loss * (1.0 - 1e-13), "{} {}", best.sparsity(), other);
            }
        }
    }

    #[test]
    fn the_optimum_may_sit_on_a_kink_and_jump() {
        let law = VIT_JFT.coefficients();
        // Cheap at exactly one half, expensive on both sides.
        let step = StepCost::of_points(&[(0.45, 1.0), (0.5, 0.4), (0.55, 1.0)]).unwrap();
        let cost = stepwise(step);
        let n = NonzeroParams::new(1e8).unwrap();
        let at = |ratio: f64| {
            let c = 6e8 * ratio * law.ln_chinchilla_data(n).exp();
            optimal_density(law, &cost, n, Compute::new(c).unwrap()).sparsity().get()
        };
        assert_eq!(at(0.2), 0.0);
        assert_eq!(at(2.0), 0.5);
        assert!(at(200.0) > 0.9);
    }

    #[test]
    fn absurd_budgets_on_any_hardware_have_an_answer() {
        for points in [[(0.999_999, 0.1), (1.0, 1e-9)], [(0.5, 1e-300), (1.0, 10.0)]] {
            let cost = stepwise(StepCost::of_points(&points).unwrap());
            for (n, c) in [(1.0, 1e40), (1e18, 1.0), (1.0, 1.0), (1e18, 1e40)] {
                let (n, c) = (NonzeroParams::new(n).unwrap(), Compute::new(c).unwrap());
                let density = optimal_density(VIT_JFT.coefficients(), &cost, n, c);
                assert!(density.sparsity().get() < 1.0);
            }
        }
    }

    #[test]
    fn the_ratio_is_one_on_the_chinchilla_line() {
        let law = T5_C4.coefficients();
        let n = NonzeroParams::new(1e8).unwrap();
        let c = Compute::new(6e8 * law.ln_chinchilla_data(n).exp()).unwrap();
        let ratio = chinchilla_ratio(law, &cost(FlopMode::Sparse), n, c);
        assert!((ratio - 1.0).abs() < 1e-12);
    }
}
