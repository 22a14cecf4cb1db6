//! Plans by laws with coefficients of their own: no other model that keeps the bounds is better.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use proptest::prelude::*;
use sparsity_law::law::*;

/// Laws of experts with diminishing returns from more experts, and exponents of either sign.
fn experts() -> impl Strategy<Value = ExpertCoefficients> {
    let shape = (0.3..0.8f64, 0.3..0.6f64, -0.2..0.4f64, -0.1..0.3f64, 0.05..0.4f64);
    shape.prop_map(|(alpha, beta, lambda, delta, gamma)| ExpertCoefficients {
        e: 0.94,
        a: 16612.5,
        alpha,
        b: 5455.67,
        beta,
        c: 0.4598,
        lambda,
        d: 17.26,
        delta,
        gamma,
    })
}

fn step(mode: u32) -> StepCost {
    match mode % 3 {
        0 => FlopMode::Dense.into(),
        1 => FlopMode::Sparse.into(),
        _ => StepCost::of_share(0.9, 0.7).unwrap(),
    }
}

fn cost(step: &StepCost) -> TrainingCost {
    TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), step.clone())
}

fn setting<'a>(
    law: PlanLaw<'a>,
    step: &StepCost,
    tokens: f64,
    support: &'a Support,
) -> PlanSetting<'a> {
    PlanSetting {
        law,
        support,
        cost: cost(step),
        step: step.clone(),
        pruning: PruningSchedule::default(),
        storage: Storage::new(StorageFormat::Bitmask, 16),
        inference_tokens: tokens,
        repetition: None,
    }
}

fn question(goal: Goal, limits: Limits) -> PlanQuestion<'static> {
    PlanQuestion {
        goal,
        limits,
        patterns: None,
        hardware_patterns: None,
        frontier_points: 5,
        intervals: false,
    }
}

fn limits(bounds: &[(Constraint, Option<f64>)]) -> Limits {
    let set = |limits: Limits, (name, value): &(Constraint, Option<f64>)| match value {
        Some(value) => limits.with(*name, *value),
        None => limits,
    };
    bounds.iter().fold(Limits::default(), set)
}

/// Relative accuracy of the loss and the cost of a plan.
const EXACT: f64 = 1e-9;

proptest! {
    #[test]
    fn no_mixture_that_keeps_the_bounds_is_better(
        law in experts(), mode in 0..3u32, ln_c in 42.0..54.0f64, tokens in prop::option::of(18.0..30.0f64),
        memory in prop::option::of(18.0..26.0f64), least_data in prop::option::of(20.0..24.0f64),
        largest in prop::option::of(17.0..22.0f64),
    ) {
        let step = step(mode);
        let tokens = tokens.map_or(0.0, f64::exp);
        let form = SampledForm::new(FormLaw::Experts(law), None, None, |loss, _| loss);
        let support = Support::default();
        let setting = setting((&form).into(), &step, tokens, &support);
        let bounds = limits(&[
            (Constraint::Compute, Some(ln_c.exp())),
            (Constraint::MemoryBytes, memory.map(f64::exp)),
            (Constraint::DataMin, least_data.map(f64::exp)),
            (Constraint::NonzeroParamsMax, largest.map(f64::exp)),
        ]);
        let plan = setting.plan(&question(Goal::LeastLoss, bounds));
        let Ok(plan) = plan else { return Err(TestCaseError::reject("no plan")) };
        let best = plan.best.model;
        let served = |x: Density, n: f64| tokens * n * step.inference_flops(x);
        let size = |n: f64| NonzeroParams::new(n).unwrap();
        let x = best.scheme.density;
        let data = Data::new(best.data).unwrap();
        let own = law.loss(x, size(best.nonzero_params), data);
        prop_assert!((best.loss / own - 1.0).abs() < 1e-12, "{best:?} {own}");
        let paid = setting.cost.compute(x, size(best.nonzero_params), data);
        let paid = paid + served(x, best.nonzero_params);
        prop_assert!((best.compute() / paid - 1.0).abs() < 1e-9 && paid <= ln_c.exp() * (1.0 + EXACT));

        // Every share of active experts down to the sparsest one allowed, with every size.
        for i in 0..=300_u32 {
            let x = Density::new((-f64::from(i) * 0.01 * 0.998_577).exp().max(0.05)).unwrap();
            let bits = setting.storage.unstructured_bits(x);
            for j in 0..=400_u32 {
                let n = (f64::from(j) * 0.1).exp();
                let fits = n / x.get() * bits / 8.0 <= memory.map_or(f64::INFINITY, f64::exp)
                    && n <= largest.map_or(1e18, f64::exp);
                let d = (ln_c.exp() / n - tokens * step.inference_flops(x))
                    / (6.0 * setting.cost.multiplier(x));
                if fits && d >= least_data.map_or(1e-6, f64::exp) && d <= 1e30 {
                    let other = law.loss(x, size(n), Data::new(d).unwrap());
                    prop_assert!(best.loss <= other * (1.0 + EXACT), "{best:?}: {x:?} {n:e} {d:e} {other}");
                }
            }
        }

        // The least cost for this loss is this budget, or less where the bounds leave part of it unspent.
        let target = bounds.without(Constraint::Compute)
            .with(Constraint::TargetLoss, law.e + (best.loss - law.e) * (1.0 + 1e-12));
        let cheap = setting.plan(&question(Goal::LeastCost, target)).unwrap().best.model;
        prop_assert!(cheap.compute() <= best.compute() * (1.0 + EXACT), "{best:?} {cheap:?}");
        let again = bounds.with(Constraint::Compute, cheap.compute() * (1.0 + 1e-12));
        let again = setting.plan(&question(Goal::LeastLoss, again)).unwrap().best.model;
        prop_assert!(again.loss <= best.loss * (1.0 + EXACT), "{again:?} {cheap:?}");
        for pair in plan.frontier.windows(2) {
            prop_assert!(pair[0].compute() < pair[1].compute() && pair[0].loss > pair[1].loss);
        }
    }

    #[test]
    fn a_plan_at_levels_is_the_best_over_the_levels(
        mode in 0..3u32, ln_c in 42.0..54.0f64, tokens in prop::option::of(18.0..30.0f64),
        memory in prop::option::of(18.0..26.0f64), highest in prop::option::of(0.0..0.9f64),
        least_cost in any::<bool>(), dense in any::<bool>(),
    ) {
        let step = step(mode);
        let tokens = tokens.map_or(0.0, f64::exp);
        let truth = T5_C4.coefficients();
        let v = truth.values();
        let known: &[f64] = if dense { &[0.0, 0.5, 0.75, 0.875] } else { &[0.5, 0.75, 0.875] };
        let level = |sparsity: &f64| LevelCapacity {
            sparsity: *sparsity,
            name: None,
            runs: 12,
            a: v.a_s * (1.0 - sparsity).powf(v.b_s) + v.c_s,
            gain: None,
        };
        let levels = known.iter().map(level).collect();
        let law = LevelLaw { levels, b_n: v.b_n, a_d: v.a_d, b_d: v.b_d, c: v.c };
        let form = SampledForm::new(FormLaw::Levels(law), None, None, |loss, _| loss);
        let sampled = SampledLaw::new(*truth, None, |loss, _| loss);
        let support = Support::default();
        let (goal, budget) = if least_cost {
            (Goal::LeastCost, (Constraint::TargetLoss, Some(0.7 + (ln_c - 40.0) * 0.1)))
        } else {
            (Goal::LeastLoss, (Constraint::Compute, Some(ln_c.exp())))
        };
        let bounds = limits(&[
            budget,
            (Constraint::MemoryBytes, memory.map(f64::exp)),
            (Constraint::SparsityMax, highest.map(|highest| 1.0 - highest)),
        ]);
        let found = setting((&form).into(), &step, tokens, &support).plan(&question(goal, bounds));
        let by_curve = setting((&sampled).into(), &step, tokens, &support);
        let at = |sparsity: &f64| {
            if highest.is_some_and(|highest| *sparsity > highest) {
                return None;
            }
            let held = bounds
                .with(Constraint::SparsityMin, 1.0 - sparsity)
                .with(Constraint::SparsityMax, 1.0 - sparsity);
            by_curve.plan(&question(goal, held)).ok().map(|plan| plan.best.model)
        };
        let value = |model: &Model| if least_cost { model.compute() } else { model.loss };
        let all = known.iter().filter_map(at);
        let expected = all.min_by(|a, b| value(a).total_cmp(&value(b)));
        match (found, expected) {
            (Ok(plan), Some(expected)) => {
                let best = plan.best.model;
                prop_assert!((value(&best) / value(&expected) - 1.0).abs() < EXACT, "{best:?} {expected:?}");
                prop_assert_eq!(best.scheme.density, expected.scheme.density);
                prop_assert_eq!(matches!(plan.dense, Err(NoDense::Unknown)), !dense);
            }
            (Err(PlanError::Infeasible(_)), None) => {}
            (found, expected) => prop_assert!(false, "{found:?} {expected:?}"),
        }
    }
}
