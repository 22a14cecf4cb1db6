//! Plans against brute force, and what must hold between them.

use super::*;
use crate::law::{
    CoefficientValues, Coefficients, Compute, Data, FlopMode, FlopsPerParam, NonzeroParams,
    PruningSchedule, StepCost, Storage, StorageFormat, T5_C4, TrainingCost, VIT_JFT,
    optimal_sparsity, pattern_multiplier,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;

fn step(mode: u32) -> StepCost {
    match mode % 3 {
        0 => FlopMode::Dense.into(),
        1 => FlopMode::Sparse.into(),
        _ => StepCost::of_share(0.9, 0.7).unwrap(),
    }
}

fn law(t5: bool) -> &'static Coefficients {
    if t5 { T5_C4.coefficients() } else { VIT_JFT.coefficients() }
}

fn format(i: u32) -> Storage {
    let formats = StorageFormat::ALL;
    Storage::new(formats[i as usize % formats.len()], 16)
}

/// Owns what the planner of a test borrows.
struct World {
    law: Coefficients,
    cost: TrainingCost,
    step: StepCost,
    means: Means,
    tokens: f64,
}

impl World {
    fn new(law: &Coefficients, mode: u32, storage: Storage) -> Self {
        let step = step(mode);
        let pruning = PruningSchedule::default();
        let cost = TrainingCost::new(FlopsPerParam::TRAINING, pruning, step.clone());
        let means = Means::new(cost.clone(), step.clone(), storage, ZeroPlacement::Anywhere);
        Self { law: *law, cost, step, means, tokens: 0.0 }
    }

    fn only(&self, schemes: &[SparsityScheme]) -> Means {
        let storage = Storage::new(StorageFormat::TwoOfFour, 16);
        let zeros = ZeroPlacement::Schemes(schemes.to_vec());
        Means::new(self.cost.clone(), self.step.clone(), storage, zeros)
    }

    fn planner(&self) -> Planner<'_> {
        Planner {
            law: (&self.law).into(),
            means: &self.means,
            inference_tokens: self.tokens,
            repetition: None,
        }
    }

    /// Loss and cost of a model with density `x`, size `n` and data `d`.
    fn at(&self, x: f64, n: f64, d: f64) -> (f64, f64) {
        let density = Density::new(x).unwrap();
        let (size, data) = (NonzeroParams::new(n).unwrap(), Data::new(d).unwrap());
        let served = self.tokens * n * self.step.inference_flops(density);
        (self.law.loss(density, size, data), self.cost.compute(density, size, data) + served)
    }
}

fn limits(bounds: &[(Constraint, f64)]) -> Limits {
    bounds.iter().fold(Limits::default(), |limits, (name, value)| limits.with(*name, *value))
}

/// Relative precision of the loss and the cost of a plan.
const PLAN: f64 = 1e-9;
/// Tolerance for the rounding of a bound that holds with equality.
const BOUND: f64 = 1.0 + 1e-9;

fn keeps(model: &Model, limits: &Limits) -> bool {
    Constraint::ALL.into_iter().all(|constraint| {
        let (value, bound) = (value(model, constraint), limits.get(constraint));
        if constraint.is_upper() { value <= bound * BOUND } else { value >= bound / BOUND }
    })
}

/// Bounds that may or may not be set, around the models that a cost of 1e19 to 1e23 pays for.
fn any_limits() -> impl Strategy<Value = Limits> {
    let bound = |centre: std::ops::Range<f64>| prop::option::of(centre);
    (
        (44.0..53.0f64, bound(19.0..26.0), bound(0.0..5.0), bound(19.0..26.0), bound(0.0..5.0)),
        (bound(15.0..26.0), bound(19.0..28.0), bound(0.0..6.0), 0.0..0.6f64, 0.0..4.0f64),
    )
        .prop_map(
            |((c, n_min, n_width, p_min, p_width), (memory, d_min, d_width, s_min, s))| {
                let mut limits = limits(&[
                    (Constraint::Compute, c.exp()),
                    (Constraint::SparsityMin, 1.0 - s_min),
                    (Constraint::SparsityMax, (1.0 - s_min) * (-s).exp()),
                ]);
                let mut range = |min: Option<f64>, width: Option<f64>, low, high, centre: f64| {
                    if let Some(min) = min {
                        limits = limits.with(low, min.exp());
                    }
                    if let Some(width) = width {
                        limits = limits.with(high, (min.unwrap_or(centre) + width).exp());
                    }
                };
                range(
                    n_min,
                    n_width,
                    Constraint::NonzeroParamsMin,
                    Constraint::NonzeroParamsMax,
                    20.0,
                );
                range(p_min, p_width, Constraint::TotalParamsMin, Constraint::TotalParamsMax, 20.0);
                range(d_min, d_width, Constraint::DataMin, Constraint::DataMax, 22.0);
                match memory {
                    Some(memory) => limits.with(Constraint::MemoryBytes, memory.exp()),
                    None => limits,
                }
            },
        )
}

/// The least loss over a grid of sparsities and sizes that keep the bounds.
fn brute_force(world: &World, limits: &Limits) -> Option<f64> {
    let ends = (limits.get(Constraint::SparsityMin), limits.get(Constraint::SparsityMax));
    let mut best: Option<f64> = None;
    for i in 0..=120 {
        let x = (ends.0.ln() + (ends.1 / ends.0).ln() * f64::from(i) / 120.0).exp();
        let x = x.clamp(ends.1, ends.0);
        let scheme = world.means.unstructured(Density::new(x).unwrap());
        for j in 0..=600 {
            let n = (f64::from(j) * 0.069).exp();
            let compute = limits.get(Constraint::Compute);
            let paid = compute / n - world.tokens * scheme.inference_flops;
            let d = paid / (6.0 * scheme.multiplier);
            let d = d.min(limits.get(Constraint::DataMax));
            if d < limits.get(Constraint::DataMin) {
                continue;
            }
            let total = n / x;
            let inside = n >= limits.get(Constraint::NonzeroParamsMin)
                && n <= limits.get(Constraint::NonzeroParamsMax)
                && total >= limits.get(Constraint::TotalParamsMin)
                && total <= limits.get(Constraint::TotalParamsMax)
                && total * scheme.bits / 8.0 <= limits.get(Constraint::MemoryBytes);
            if inside {
                let (loss, _) = world.at(x, n, d);
                best = Some(best.map_or(loss, |best: f64| best.min(loss)));
            }
        }
    }
    best
}

#[test]
fn no_model_that_keeps_the_bounds_is_better() {
    let (found_some, found_none) = (Cell::new(0), Cell::new(0));
    let tokens = prop::option::of(18.0..32.0f64);
    let cases = (any::<bool>(), 0..3u32, 0..4u32, any_limits(), tokens);
    let tested = TestRunner::default().run(&cases, |(t5, mode, storage, bounds, tokens)| {
        let mut world = World::new(law(t5), mode, format(storage));
        world.tokens = tokens.map_or(0.0, f64::exp);
        let found = world.planner().best(Goal::LeastLoss, &bounds);
        let brute = brute_force(&world, &bounds);
        if let Some(model) = found {
            found_some.set(found_some.get() + 1);
            prop_assert!(keeps(&model, &bounds), "{model:?}");
            let (loss, cost) =
                world.at(model.scheme.density.get(), model.nonzero_params, model.data);
            prop_assert!((model.loss / loss - 1.0).abs() < 1e-12);
            prop_assert!((model.compute() / cost - 1.0).abs() < 1e-12);
            if let Some(brute) = brute {
                prop_assert!(model.loss <= brute * (1.0 + 1e-13), "{model:?} {brute}");
            }
        } else {
            found_none.set(found_none.get() + 1);
            prop_assert!(brute.is_none());
            for Obstacle { constraint, needed } in
                world.planner().obstacles(Goal::LeastLoss, &bounds)
            {
                let Some(needed) = needed else { continue };
                let moved = |factor: f64| {
                    let bounds = bounds.with(constraint, needed * factor);
                    world.planner().best(Goal::LeastLoss, &bounds).is_some()
                };
                let (loose, tight) = if constraint.is_upper() {
                    (1.0 + 1e-9, 1.0 - 1e-6)
                } else {
                    (1.0 - 1e-9, 1.0 + 1e-6)
                };
                prop_assert!(moved(loose), "{constraint:?}");
                prop_assert!(!moved(tight), "{constraint:?}");
            }
        }
        Ok(())
    });
    tested.unwrap();
    // Both outcomes were tested often.
    let (some, none) = (found_some.get(), found_none.get());
    assert!(some >= 40 && none >= 40, "{some} plans, {none} without one");
}

proptest! {
    #[test]
    fn the_least_cost_of_the_least_loss_is_the_budget(
        t5 in any::<bool>(), mode in 0..3u32, storage in 0..4u32, bounds in any_limits(),
        tokens in prop::option::of(18.0..32.0f64),
    ) {
        let mut world = World::new(law(t5), mode, format(storage));
        world.tokens = tokens.map_or(0.0, f64::exp);
        let planner = world.planner();
        // The case is replaced by another one; too many rejected cases fail the test.
        let found = planner.best(Goal::LeastLoss, &bounds);
        let Some(best) = found else { return Err(TestCaseError::reject("no plan")) };
        // The part above the irreducible loss, so that none of its digits is lost.
        let target = world.law.values().c + best.badness * (1.0 + 1e-12);
        let asked = bounds.without(Constraint::Compute).with(Constraint::TargetLoss, target);
        let cheap = planner.best(Goal::LeastCost, &asked).unwrap();
        prop_assert!(keeps(&cheap, &asked), "{cheap:?}");
        prop_assert!(cheap.compute() <= best.compute() * (1.0 + PLAN), "{best:?} {cheap:?}");
        // No plan is cheaper, except for what the rounding of the target saves: the loss is at least 1e-3 as steep
        // as the logarithm of the cost, unless the bounds make it flat.
        let again = planner.best(
            Goal::LeastLoss, &bounds.with(Constraint::Compute, cheap.compute() * (1.0 + 1e-12)),
        );
        prop_assert!(again.unwrap().loss <= target * (1.0 + PLAN));
    }

    #[test]
    fn a_relaxed_bound_never_makes_it_worse_and_a_frontier_falls(
        t5 in any::<bool>(), mode in 0..3u32, storage in 0..4u32, bounds in any_limits(),
        points in 1..30u32, tokens in prop::option::of(18.0..32.0f64),
    ) {
        let mut world = World::new(law(t5), mode, format(storage));
        world.tokens = tokens.map_or(0.0, f64::exp);
        let planner = world.planner();
        // The case is replaced by another one; too many rejected cases fail the test.
        let found = planner.best(Goal::LeastLoss, &bounds);
        let Some(best) = found else { return Err(TestCaseError::reject("no plan")) };
        for constraint in Constraint::ALL {
            for wider in [bounds.relaxed(constraint), bounds.without(constraint)] {
                if constraint == Constraint::Compute && !wider.has(constraint) {
                    continue;
                }
                let relaxed = planner.best(Goal::LeastLoss, &wider).unwrap();
                prop_assert!(
                    relaxed.badness <= best.badness * (1.0 + PLAN),
                    "{constraint:?} {best:?} {relaxed:?}"
                );
            }
        }
        let frontier = {
            let middle = best.compute();
            let costs = Costs { min: middle / 100.0, max: middle * 100.0 };
            planner.frontier(&bounds, &best, points, costs)
        };
        prop_assert!(!frontier.is_empty() && frontier.len() <= points as usize);
        for model in &frontier {
            let others = bounds.without(Constraint::Compute);
            prop_assert!(keeps(model, &others), "{model:?}");
        }
        for pair in frontier.windows(2) {
            prop_assert!(pair[0].compute() < pair[1].compute() && pair[0].loss > pair[1].loss);
        }
    }

    #[test]
    fn at_a_fixed_size_it_is_the_optimal_sparsity(
        t5 in any::<bool>(), mode in 0..3u32, ln_n in 14.0..23.0f64, ln_m in -3.0..5.0f64,
    ) {
        let world = World::new(law(t5), mode, format(0));
        let n = NonzeroParams::new(ln_n.exp()).unwrap();
        let c = 6.0 * n.get() * (ln_m + world.law.ln_chinchilla_data(n)).exp();
        let expected =
            optimal_sparsity(&world.law, &world.cost, n, Compute::new(c).unwrap()).unwrap();
        prop_assume!(expected.sparsity().get() < 0.999);
        let bounds = limits(&[
            (Constraint::Compute, c),
            (Constraint::NonzeroParamsMin, n.get()),
            (Constraint::NonzeroParamsMax, n.get()),
        ]);
        let plan = world.planner().best(Goal::LeastLoss, &bounds).unwrap();
        prop_assert_eq!(plan.nonzero_params, n.get());
        prop_assert!((plan.loss / expected.loss - 1.0).abs() < 1e-13);
        let (got, expected) = (plan.scheme.density.sparsity(), expected.sparsity());
        // A minimum is flat, so its position is known only to the square root of the rounding.
        prop_assert!((got.get() - expected.get()).abs() < 1e-6, "{got} {expected}");
        prop_assert_eq!(got.get() == 0.0, expected.get() == 0.0);
    }

    #[test]
    fn without_bounds_it_is_stationary(t5 in any::<bool>(), mode in 0..2u32, ln_c in 40.0..60.0f64) {
        let world = World::new(law(t5), mode, format(0));
        let bounds = limits(&[(Constraint::Compute, ln_c.exp())]);
        let plan = world.planner().best(Goal::LeastLoss, &bounds).unwrap();
        // In the size: b_N times the one term equals b_D times the other.
        let v = world.law.values();
        let data_term = (v.a_d / plan.data).powf(v.b_d);
        let capacity = plan.badness - data_term;
        prop_assert!((v.b_n * capacity / (v.b_d * data_term) - 1.0).abs() < 1e-9);
        // In the sparsity: it is the optimal one for this size.
        let n = NonzeroParams::new(plan.nonzero_params).unwrap();
        let c = Compute::new(ln_c.exp()).unwrap();
        let best = optimal_sparsity(&world.law, &world.cost, n, c).unwrap();
        let got = plan.scheme.density.sparsity().get();
        prop_assert!((got - best.sparsity().get()).abs() < 1e-5, "{got}");
        prop_assert!(world.planner().binding(Goal::LeastLoss, &bounds, &plan).is_empty());
    }
}

#[test]
fn what_binds_is_said() {
    let world = World::new(T5_C4.coefficients(), 1, format(1));
    let free = limits(&[(Constraint::Compute, 1e21)]);
    let planner = world.planner();
    let best = planner.best(Goal::LeastLoss, &free).unwrap();
    let half = free.with(Constraint::MemoryBytes, best.memory_bytes() / 2.0);
    let plan = planner.best(Goal::LeastLoss, &half).unwrap();
    assert_eq!(planner.binding(Goal::LeastLoss, &half, &plan), [Constraint::MemoryBytes]);
    let ample = free.with(Constraint::MemoryBytes, best.memory_bytes() * 2.0);
    assert_eq!(planner.binding(Goal::LeastLoss, &ample, &best), []);
    // The cost is the question for one goal, and a bound for the other.
    let target = Limits::default().with(Constraint::TargetLoss, plan.loss);
    let cheap = planner.best(Goal::LeastCost, &target).unwrap();
    assert_eq!(planner.binding(Goal::LeastCost, &target, &cheap), []);
}

#[test]
fn more_tokens_to_serve_make_a_smaller_model_of_more_data() {
    let mut world = World::new(T5_C4.coefficients(), 0, format(0));
    let bounds = limits(&[(Constraint::TargetLoss, 1.8), (Constraint::SparsityMax, 0.125)]);
    let plan = |world: &World| world.planner().best(Goal::LeastCost, &bounds).unwrap();
    let trained = plan(&world);
    assert_eq!(trained.inference_compute, 0.0);
    world.tokens = 1e13;
    let served = plan(&world);
    assert!(served.nonzero_params < trained.nonzero_params && served.data > trained.data);
    let per_token = 2.0 * served.nonzero_params / served.scheme.density.get();
    assert!((served.inference_compute / (1e13 * per_token) - 1.0).abs() < 1e-12);
}

#[test]
fn a_law_whose_zeros_always_pay_ends_at_the_highest_sparsity() {
    let v = T5_C4.coefficients().values();
    let steep = Coefficients::new(CoefficientValues { a_s: 100.0 * v.a_s, ..v }).unwrap();
    assert!(steep.gain_slope() > 1.0);
    let world = World::new(&steep, 1, format(0));
    let bounds = limits(&[(Constraint::Compute, 1e21), (Constraint::SparsityMax, 0.125)]);
    let plan = world.planner().best(Goal::LeastLoss, &bounds).unwrap();
    assert_eq!(plan.scheme.density.get(), 0.125);
    let binding = world.planner().binding(Goal::LeastLoss, &bounds, &plan);
    assert_eq!(binding, [Constraint::SparsityMax]);
}

#[test]
fn a_loss_below_the_irreducible_one_needs_another_target() {
    let world = World::new(T5_C4.coefficients(), 1, format(0));
    let bounds = limits(&[(Constraint::TargetLoss, 0.6), (Constraint::DataMax, 1e12)]);
    let planner = world.planner();
    assert_eq!(planner.best(Goal::LeastCost, &bounds), None);
    let obstacles = planner.obstacles(Goal::LeastCost, &bounds);
    let [Obstacle { constraint: Constraint::TargetLoss, needed: Some(needed) }] = obstacles[..]
    else {
        panic!("{obstacles:?}")
    };
    assert!(needed > world.law.values().c && needed < 1.0, "{needed}");
}

#[test]
fn bounds_that_only_meet_leave_one_model() {
    let world = World::new(T5_C4.coefficients(), 1, format(0));
    let bounds = limits(&[
        (Constraint::Compute, 1e21),
        (Constraint::NonzeroParamsMin, 3e8),
        (Constraint::NonzeroParamsMax, 3e8),
        (Constraint::TotalParamsMin, 7e8),
        (Constraint::TotalParamsMax, 7e8),
    ]);
    let plan = world.planner().best(Goal::LeastLoss, &bounds).unwrap();
    assert!((plan.scheme.density.get() * 7.0 / 3.0 - 1.0).abs() < 1e-9);
    let apart = bounds.with(Constraint::SparsityMax, 0.5);
    assert_eq!(world.planner().best(Goal::LeastLoss, &apart), None);
    // Relaxing any of three bounds would be enough.
    let names: Vec<_> = world.planner().obstacles(Goal::LeastLoss, &apart);
    let names: Vec<_> = names.iter().map(|obstacle| obstacle.constraint.as_str()).collect();
    assert_eq!(names, ["nonzero_params.max", "total_params.min", "sparsity.max"]);
    let worse = apart.with(Constraint::DataMin, 1e20);
    let obstacles = world.planner().obstacles(Goal::LeastLoss, &worse);
    assert!(obstacles.len() > 1 && obstacles.iter().all(|o| o.needed.is_none()));
}

#[test]
fn of_patterns_the_best_is_chosen() {
    let world = World::new(VIT_JFT.coefficients(), 0, format(0));
    let dense = world.means.unstructured(Density::DENSE);
    let half = Density::new(0.5).unwrap();
    let two_of_four = SparsityScheme {
        density: half,
        effective: half,
        multiplier: pattern_multiplier(&PruningSchedule::default(), 0.5, half),
        inference_flops: 2.0,
        bits: 9.0,
        level: None,
    };
    let (both, one) = (world.only(&[dense, two_of_four]), world.only(&[dense]));
    let bounds = limits(&[(Constraint::Compute, 1e20)]);
    let planner = Planner { means: &both, ..world.planner() };
    let best = planner.best(Goal::LeastLoss, &bounds).unwrap();
    let alone = Planner { means: &one, ..planner }.best(Goal::LeastLoss, &bounds).unwrap();
    assert_eq!(best.scheme.density, Density::DENSE);
    assert_eq!(best, alone);
    // Where memory is short, a 2:4 model holds more parameters.
    let small = bounds.with(Constraint::MemoryBytes, alone.memory_bytes() / 8.0);
    let best = planner.best(Goal::LeastLoss, &small).unwrap();
    assert_eq!(best.scheme, two_of_four);
    assert!((best.memory_bytes() / (alone.memory_bytes() / 8.0) - 1.0).abs() < 1e-12);
}
