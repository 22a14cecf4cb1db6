//! Comparison of two training recipes: the compute of one that is worth a given compute of the other.
//!
//! At one sparsity the best size is known, and the least loss of a budget is a power law of the budget plus a constant.
//! Two recipes can therefore be compared in closed form, each at its own best size, at every compute and by every
//! resampled law. A law of experts has two terms in the size and no closed form: its best size is searched in the same
//! way as for a plan.

use super::any_law::{AnyLaw, AtScheme};
use super::coefficients::{CoefficientValues, Coefficients};
use super::cost::TrainingCost;
use super::ensemble::{Ensemble, Interval};
use super::form_law::FormLaw;
use super::limits::{Constraint, Limits};
use super::quantity::{Compute, Data, Density, DomainError, FlopsPerParam, NonzeroParams};
use super::recommendation::AnswerError;
use super::scheme::{Goal, Model, SparsityScheme, Task};
use super::support::Range;
use crate::pace::step;

/// The sparsity of a recipe, and its cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecipeSparsity {
    /// Density at which the loss is computed.
    pub effective: Density,
    /// `c_mul`: FLOPs relative to a dense model with as many non-zeros.
    pub multiplier: f64,
    /// Index among the levels of a law of the form `levels`; `None` where `effective` determines the level.
    pub level: Option<usize>,
}

impl RecipeSparsity {
    /// The same as a design of a plan, for a model that is neither stored nor served.
    fn scheme(&self) -> SparsityScheme {
        let Self { effective, multiplier, level } = *self;
        SparsityScheme {
            density: effective,
            effective,
            multiplier,
            inference_flops: 0.0,
            bits: 16.0,
            level,
        }
    }
}

/// The least loss of a budget at one sparsity, with the best size for that budget.
///
/// With `A` the capacity coefficient at the sparsity and `mu = k c_mul` the FLOPs per non-zero parameter and data unit,
/// the size with the least loss at a compute of `C` satisfies `b_N A N^(-b_N) = b_D (a_D mu N / C)^b_D`, so that
///
/// ```text
/// L(C) = A (1 + b_N / b_D) N(C)^(-b_N) + c,   N(C)^(b_N + b_D) = (b_N A / b_D) (C / (a_D mu))^b_D
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetCurve {
    /// `ln (A (1 + b_N / b_D))`.
    ln_scale: f64,
    /// `ln N = at_one + by_compute ln C`.
    at_one: f64,
    by_compute: f64,
    b_n: f64,
    floor: f64,
    ln_flops: f64,
}

impl BudgetCurve {
    /// The curve of a law, which must describe size and data.
    ///
    /// ```
    /// use sparsity_law::law::*;
    ///
    /// let law = T5_C4.coefficients();
    /// let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Dense);
    /// let dense = RecipeSparsity { effective: Density::DENSE, multiplier: 1.0, level: None };
    /// let curve = BudgetCurve::new(law, FlopsPerParam::TRAINING, dense);
    /// // No other size is better.
    /// let compute = Compute::new(1e20)?;
    /// for size in [1e7, 1e8, 1e9, 1e10] {
    ///     let size = NonzeroParams::new(size)?;
    ///     let data = cost.data(Density::DENSE, size, compute)?;
    ///     assert!(law.loss(Density::DENSE, size, data) >= curve.loss(1e20));
    /// }
    /// // And back: the compute that reaches that loss.
    /// let back = curve.compute(curve.loss(1e20)).expect("a loss above the floor is reached");
    /// assert!((back / 1e20 - 1.0).abs() < 1e-9);
    /// # Ok::<(), DomainError>(())
    /// ```
    #[must_use]
    pub fn new(law: &Coefficients, flops_per_param: FlopsPerParam, recipe: RecipeSparsity) -> Self {
        let v = law.values();
        let capacity = v.a_s * recipe.effective.get().powf(v.b_s) + v.c_s;
        Self::of_capacity(v, capacity, (flops_per_param, recipe.multiplier))
    }

    /// The curve for a given capacity coefficient.
    fn of_capacity(
        v: CoefficientValues,
        capacity: f64,
        (flops_per_param, multiplier): (FlopsPerParam, f64),
    ) -> Self {
        let ln_capacity = capacity.ln();
        let ln_flops = (flops_per_param.get() * multiplier).ln();
        let by_compute = v.b_d / (v.b_n + v.b_d);
        let level = (v.b_n / v.b_d).ln() + ln_capacity - v.b_d * (v.a_d.ln() + ln_flops);
        Self {
            ln_scale: ln_capacity + (v.b_n / v.b_d).ln_1p(),
            at_one: level / (v.b_n + v.b_d),
            by_compute,
            b_n: v.b_n,
            floor: v.c,
            ln_flops,
        }
    }

    /// The least loss of a budget, in FLOPs.
    #[must_use]
    pub fn loss(&self, compute: f64) -> f64 {
        self.floor + self.ln_reducible(compute.ln()).exp()
    }

    fn ln_reducible(&self, ln_compute: f64) -> f64 {
        self.ln_scale - self.b_n * (self.at_one + self.by_compute * ln_compute)
    }

    /// The compute in FLOPs that reaches a loss; `None` where no compute does.
    #[must_use]
    pub fn compute(&self, loss: f64) -> Option<f64> {
        let reducible = loss - self.floor;
        if reducible.is_nan() || reducible <= 0.0 {
            return None;
        }
        let ln_size = (self.ln_scale - reducible.ln()) / self.b_n;
        Some(((ln_size - self.at_one) / self.by_compute).exp())
    }

    /// The best size and the data for a budget, in FLOPs.
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] where one of them is out of range.
    pub fn model(&self, compute: f64) -> Result<(NonzeroParams, Data), DomainError> {
        let ln_size = self.at_one + self.by_compute * compute.ln();
        let size = NonzeroParams::new(ln_size.exp())?;
        Ok((size, Data::new((compute.ln() - self.ln_flops - ln_size).exp())?))
    }
}

/// The least loss of a budget by a law of experts, found by a search over sizes.
#[derive(Debug, Clone)]
pub struct SearchedCurve {
    law: FormLaw,
    scheme: SparsityScheme,
    flops_per_param: FlopsPerParam,
}

impl SearchedCurve {
    fn best(&self, goal: Goal, constraint: Constraint, value: f64) -> Option<Model> {
        let task = Task {
            law: AnyLaw::Own(&self.law),
            flops_per_param: self.flops_per_param.get(),
            inference_tokens: 0.0,
            goal,
            repetition: None,
        };
        self.scheme.best(&task, &Limits::default().with(constraint, value))
    }
}

/// The least loss of a budget at one way to be sparse, by a law of any form.
#[derive(Debug, Clone)]
pub enum RecipeCurve {
    /// A closed form: a power of the budget, plus a constant.
    Power(BudgetCurve),
    /// A search, for laws of experts.
    Searched(SearchedCurve),
}

impl RecipeCurve {
    /// The curve of a law, which must describe size and data; `None` where it does not know the sparsity.
    #[must_use]
    pub fn new(
        law: AnyLaw<'_>,
        flops_per_param: FlopsPerParam,
        recipe: RecipeSparsity,
    ) -> Option<Self> {
        let scheme = recipe.scheme();
        let AtScheme { law: values, size_term, beside } = law.at(scheme.effective, scheme.level)?;
        Some(match (law, beside) {
            (AnyLaw::Own(law), Some(_)) => {
                Self::Searched(SearchedCurve { law: law.clone(), scheme, flops_per_param })
            }
            _ => Self::Power(BudgetCurve::of_capacity(
                values,
                size_term,
                (flops_per_param, recipe.multiplier),
            )),
        })
    }

    /// The least loss of a budget in FLOPs; NaN where no size in the supported range can be trained with it.
    #[must_use]
    pub fn loss(&self, compute: f64) -> f64 {
        match self {
            Self::Power(curve) => curve.loss(compute),
            Self::Searched(curve) => {
                let best = curve.best(Goal::LeastLoss, Constraint::Compute, compute);
                best.map_or(f64::NAN, |model| model.loss)
            }
        }
    }

    /// The compute in FLOPs that reaches a loss; `None` where no compute does.
    #[must_use]
    pub fn compute(&self, loss: f64) -> Option<f64> {
        match self {
            Self::Power(curve) => curve.compute(loss),
            Self::Searched(curve) => {
                let best = curve.best(Goal::LeastCost, Constraint::TargetLoss, loss);
                best.map(|model| model.compute())
            }
        }
    }

    /// The best size and the data for a budget, in FLOPs.
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] where one of them is out of range.
    pub fn model(&self, compute: f64) -> Result<(NonzeroParams, Data), DomainError> {
        match self {
            Self::Power(curve) => curve.model(compute),
            Self::Searched(curve) => {
                let best = curve.best(Goal::LeastLoss, Constraint::Compute, compute);
                let (size, data) =
                    best.map_or((f64::NAN, f64::NAN), |model| (model.nonzero_params, model.data));
                Ok((NonzeroParams::new(size)?, Data::new(data)?))
            }
        }
    }
}

/// Index and density of the level whose least loss is the lowest of all levels; `None` for other forms. It is the same
/// level for every budget, as all levels have the same exponents.
#[must_use]
pub fn best_recipe_level(law: &FormLaw, cost: &TrainingCost) -> Option<(usize, Density)> {
    let FormLaw::Levels(levels) = law else { return None };
    let badness = |(place, density): &(usize, Density)| {
        levels.levels[*place].a.ln() + levels.b_n * cost.multiplier(*density).ln()
    };
    let places = levels.places_down_to(None);
    places.min_by(|one, other| badness(one).total_cmp(&badness(other)))
}

/// Number of cells of the grid in `-ln(1 - S)` on which the best sparsity of a recipe is sought.
const PLACES: u32 = 2000;

/// The density, of those from `least` up, whose least loss is the lowest, with each density at its own best size. It
/// minimises `ln A(S) + b_N ln c_mul(S)`, which does not depend on the budget. It is found to within a two-thousandth
/// of the range of `-ln(1 - S)`.
#[must_use]
pub fn best_recipe_density(law: &Coefficients, cost: &TrainingCost, least: Density) -> Density {
    let v = law.values();
    let end = -least.get().ln();
    let at = |place: u32| {
        // At the end, return the end itself: a logarithm and back would round it.
        if place == PLACES {
            least
        } else {
            Density::clamped((-end * f64::from(place) / f64::from(PLACES)).exp())
        }
    };
    let badness = |density: Density| {
        let capacity = v.a_s * density.get().powf(v.b_s) + v.c_s;
        capacity.ln() + v.b_n * cost.multiplier(density).ln()
    };
    let places = (0..=PLACES).map(at);
    places.min_by(|one, other| badness(*one).total_cmp(&badness(*other))).unwrap_or(Density::DENSE)
}

/// A recipe: the curve of a law, and the curves of its resampled laws at the same sparsity.
#[derive(Debug, Clone)]
pub struct Recipe<'a> {
    /// Curve of the law of all runs.
    pub curve: RecipeCurve,
    /// Curves of the resampled laws; empty where there are none.
    resampled: Vec<RecipeCurve>,
    ensemble: Option<&'a Ensemble>,
}

impl<'a> Recipe<'a> {
    /// The recipe of a law at one sparsity; `None` where the law, or a resampled one, does not know the sparsity.
    #[must_use]
    pub fn new(
        law: AnyLaw<'_>,
        ensemble: Option<&'a Ensemble>,
        flops_per_param: FlopsPerParam,
        sparsity: RecipeSparsity,
    ) -> Option<Self> {
        let curve = |law: AnyLaw<'_>| RecipeCurve::new(law, flops_per_param, sparsity);
        let resampled = match (law, ensemble) {
            (_, None) => Some(Vec::new()),
            (AnyLaw::Curve(_), Some(ensemble)) => {
                let members = ensemble.members();
                members.map(|member| curve((&member.coefficients).into())).collect()
            }
            (AnyLaw::Own(_), Some(ensemble)) => {
                ensemble.forms().iter().map(|law| curve(law.into())).collect()
            }
        };
        Some(Self { curve: curve(law)?, resampled: resampled?, ensemble })
    }
}

/// Comparison of two recipes at one compute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exchange {
    /// Compute of recipe `b`, in FLOPs.
    pub compute: f64,
    /// Least loss of recipe `a` at that compute.
    pub a_loss: f64,
    /// Least loss of recipe `b` at that compute.
    pub b_loss: f64,
    /// Compute with which recipe `a` reaches the loss of recipe `b`, as a multiple of `compute`; `None` where no
    /// compute reaches it.
    pub multiple: Option<f64>,
    /// Interval of the multiple; `None` where a law has no resamples. Its ends are between 1e-300 and 1e300.
    pub interval: Option<Interval>,
}

/// A compute at which two recipes are equally good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    /// The compute, in FLOPs.
    pub compute: f64,
    /// Whether recipe `b` is the better one above this compute.
    pub b_above: bool,
}

/// Number of cells in which crossings are sought.
const CELLS: u32 = 400;

/// Two recipes, each with its own law.
#[derive(Debug, Clone)]
pub struct RecipePair<'a> {
    /// Recipe `a`.
    pub a: Recipe<'a>,
    /// Recipe `b`.
    pub b: Recipe<'a>,
}

impl RecipePair<'_> {
    /// Compares both recipes at a compute of `b`: the compute of `a` that reaches the same loss, relative to it.
    ///
    /// # Errors
    /// [`AnswerError::NotFinite`] where a loss overflows.
    pub fn at(&self, compute: Compute) -> Result<Exchange, AnswerError> {
        let compute = compute.get();
        let finite = |name, value: f64| {
            if value.is_finite() { Ok(value) } else { Err(AnswerError::NotFinite(name)) }
        };
        let a_loss = finite("the loss of a", self.a.curve.loss(compute))?;
        let b_loss = finite("the loss of b", self.b.curve.loss(compute))?;
        let multiple =
            |a: &RecipeCurve, b: &RecipeCurve| Some(a.compute(b.loss(compute))? / compute);
        // Each resample of one law is paired with one of the other, as the laws have different runs.
        let pairs = self.a.resampled.iter().zip(&self.b.resampled);
        let multiples = pairs.map(|(a, b)| {
            step();
            multiple(a, b).unwrap_or(f64::INFINITY)
        });
        let of_pairs = multiples.collect::<Vec<_>>();
        let ensemble = self.a.ensemble.filter(|_| !of_pairs.is_empty());
        let known = multiple(&self.a.curve, &self.b.curve).filter(|multiple| multiple.is_finite());
        Ok(Exchange {
            compute,
            a_loss,
            b_loss,
            multiple: known,
            interval: ensemble.map(|ensemble| ensemble.interval_of(of_pairs)),
        })
    }

    /// The computes within a range at which both recipes are equally good, in rising order.
    #[must_use]
    pub fn crossings(&self, range: Range) -> Vec<Crossing> {
        let ahead = |ln_compute: f64| {
            let compute = ln_compute.exp();
            self.a.curve.loss(compute) - self.b.curve.loss(compute)
        };
        let (low, high) = (range.min.ln(), range.max.ln());
        let place = |cell: u32| low + (high - low) * f64::from(cell) / f64::from(CELLS);
        let mut crossings = Vec::new();
        for cell in 0..CELLS {
            let (mut left, mut right) = (place(cell), place(cell + 1));
            let (at_left, at_right) = (ahead(left), ahead(right));
            // Equality at the end of a cell belongs to the next cell, and equality everywhere is no crossing.
            if (at_left > 0.0) == (at_right > 0.0) || at_left == at_right {
                continue;
            }
            for _ in 0..100 {
                let middle = 0.5 * (left + right);
                if (ahead(middle) > 0.0) == (at_left > 0.0) {
                    left = middle
                } else {
                    right = middle
                }
            }
            let compute = (0.5 * (left + right)).exp();
            crossings.push(Crossing { compute, b_above: at_right > 0.0 });
        }
        crossings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::Constraint;
    use crate::law::{
        CoefficientValues, FlopMode, Goal, Limits, Means, Member, Planner, PruningSchedule,
        Sparsity, Storage, StorageFormat, T5_C4, VIT_JFT, ZeroPlacement,
    };
    use proptest::prelude::*;

    fn dense() -> RecipeSparsity {
        RecipeSparsity { effective: Density::DENSE, multiplier: 1.0, level: None }
    }

    fn recipe(law: &Coefficients, sparsity: RecipeSparsity) -> Recipe<'static> {
        Recipe::new(law.into(), None, FlopsPerParam::TRAINING, sparsity).unwrap()
    }

    proptest! {
        #[test]
        fn it_is_the_plan_of_the_least_loss(
            ln_c in 42.0..55.0f64, sparsity in 0.0..0.95f64, t5 in any::<bool>(), sparse in any::<bool>(),
        ) {
            let law = if t5 { T5_C4.coefficients() } else { VIT_JFT.coefficients() };
            let mode = if sparse { FlopMode::Sparse } else { FlopMode::Dense };
            let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode);
            let density = Sparsity::new(sparsity).unwrap().density();
            let storage = Storage::new(StorageFormat::Dense, 16);
            let means = Means::new(cost.clone(), mode.into(), storage, ZeroPlacement::Anywhere);
            let planner = Planner { law: law.into(), means: &means, inference_tokens: 0.0, repetition: None };
            let limits = Limits::default()
                .with(Constraint::Compute, ln_c.exp())
                .with(Constraint::SparsityMin, density.get())
                .with(Constraint::SparsityMax, density.get());
            let plan = planner.best(Goal::LeastLoss, &limits).unwrap();
            let multiplier = cost.multiplier(density);
            let at = RecipeSparsity { effective: density, multiplier, level: None };
            let curve = BudgetCurve::new(law, FlopsPerParam::TRAINING, at);
            prop_assert!((curve.loss(ln_c.exp()) / plan.loss - 1.0).abs() < 1e-9);
            let (size, data) = curve.model(ln_c.exp()).unwrap();
            prop_assert!((law.loss(density, size, data) / plan.loss - 1.0).abs() < 1e-9);
        }

        #[test]
        fn the_best_sparsity_is_that_of_the_plan(ln_c in 42.0..55.0f64, t5 in any::<bool>()) {
            let law = if t5 { T5_C4.coefficients() } else { VIT_JFT.coefficients() };
            let cost = TrainingCost::new(
                FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Sparse,
            );
            let least = Density::new(0.05).unwrap();
            let best = best_recipe_density(law, &cost, least);
            let storage = Storage::new(StorageFormat::Dense, 16);
            let means = Means::new(cost.clone(), FlopMode::Sparse.into(), storage, ZeroPlacement::Anywhere);
            let planner = Planner { law: law.into(), means: &means, inference_tokens: 0.0, repetition: None };
            let limits = Limits::default()
                .with(Constraint::Compute, ln_c.exp())
                .with(Constraint::SparsityMax, least.get());
            let plan = planner.best(Goal::LeastLoss, &limits).unwrap();
            prop_assert!((best.sparsity().get() - plan.scheme.density.sparsity().get()).abs() < 2e-3);
        }
    }

    #[test]
    fn half_the_flops_are_worth_twice_the_compute() {
        let law = T5_C4.coefficients();
        let cheap = RecipeSparsity { multiplier: 0.5, ..dense() };
        let pair = RecipePair { a: recipe(law, dense()), b: recipe(law, cheap) };
        let exchange = pair.at(Compute::new(1e20).unwrap()).unwrap();
        assert!((exchange.multiple.unwrap() - 2.0).abs() < 1e-9, "{exchange:?}");
        assert!(exchange.b_loss < exchange.a_loss && exchange.interval.is_none());
        assert_eq!(pair.crossings(Range { min: 1e18, max: 1e22 }), []);
        let same = RecipePair { a: recipe(law, dense()), b: recipe(law, dense()) };
        assert_eq!(same.crossings(Range { min: 1e18, max: 1e22 }), []);
    }

    #[test]
    fn laws_of_other_slopes_cross_where_they_are_equal() {
        let law = T5_C4.coefficients();
        let v = law.values();
        let steeper = CoefficientValues { b_d: 1.2 * v.b_d, ..v };
        let steeper = Coefficients::new(steeper).unwrap();
        let pair = RecipePair { a: recipe(law, dense()), b: recipe(&steeper, dense()) };
        let range = Range { min: 1e12, max: 1e30 };
        let crossings = pair.crossings(range);
        let [crossing] = crossings[..] else { panic!("{crossings:?}") };
        let at = |compute: f64| pair.at(Compute::new(compute).unwrap()).unwrap().multiple;
        assert!((at(crossing.compute).unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(at(crossing.compute * 10.0).unwrap() > 1.0, crossing.b_above);
    }

    #[test]
    fn a_loss_below_the_floor_is_reached_by_no_compute() {
        let v = T5_C4.coefficients().values();
        let lower = Coefficients::new(CoefficientValues { c: 0.1 * v.c, ..v }).unwrap();
        let pair =
            RecipePair { a: recipe(T5_C4.coefficients(), dense()), b: recipe(&lower, dense()) };
        let exchange = pair.at(Compute::new(1e35).unwrap()).unwrap();
        assert_eq!(exchange.multiple, None, "{exchange:?}");
    }

    #[test]
    fn resampled_laws_give_the_interval() {
        let v = T5_C4.coefficients().values();
        let member = |i: i32| {
            let values = CoefficientValues { a_d: v.a_d * (1.0 + 0.01 * f64::from(i)), ..v };
            Member { coefficients: Coefficients::new(values).unwrap(), noise: 0.0 }
        };
        let ensemble = Ensemble::new((-10..=10).map(member), 0.95, 0.025).unwrap();
        let law = T5_C4.coefficients();
        let of = |sparsity| {
            Recipe::new(law.into(), Some(&ensemble), FlopsPerParam::TRAINING, sparsity).unwrap()
        };
        let cheap = RecipeSparsity { multiplier: 0.5, ..dense() };
        let pair = RecipePair { a: of(dense()), b: of(cheap) };
        let exchange = pair.at(Compute::new(1e20).unwrap()).unwrap();
        let interval = exchange.interval.unwrap();
        // Both recipes scatter in the same way, so that the scatter cancels out.
        assert!((interval.low - 2.0).abs() < 1e-9 && (interval.high - 2.0).abs() < 1e-9);
        let other = RecipePair { a: of(dense()), b: recipe(law, cheap) };
        assert_eq!(other.at(Compute::new(1e20).unwrap()).unwrap().interval, None);
    }
}
