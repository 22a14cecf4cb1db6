//! Laws whose gain comes from another law or from counting parameters, and data that is seen repeatedly: known answers,
//! and a check of every optimum against a fine grid.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use proptest::prelude::*;
use sparsity_law::law::*;

/// The law of Besiroglu and others 2024 (arXiv 2404.10102): dense language models, with data in tokens.
fn besiroglu() -> Coefficients {
    let b_d = 0.3658;
    Coefficients::reduced(CoefficientValues {
        a_s: 0.0,
        b_s: 1.0,
        c_s: 482.01,
        b_n: 0.3478,
        a_d: 2085.43_f64.powf(1.0 / b_d),
        b_d,
        c: 1.8172,
    })
    .unwrap()
}

fn borrowing(lender: &PublishedLaw) -> Coefficients {
    let gain = BorrowedGain::of(lender.coefficients()).unwrap();
    besiroglu().with_gain(GainCurve::Borrowed(gain)).unwrap()
}

fn counting_mean_params() -> Coefficients {
    let mean_share = PruningSchedule::default().mean_share();
    besiroglu().with_gain(GainCurve::AverageParams { mean_share }).unwrap()
}

fn cost(step: impl Into<StepCost>) -> TrainingCost {
    TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), step)
}

fn best(law: &Coefficients, mode: FlopMode, n: f64, c: f64) -> Recommendation {
    let (n, c) = (NonzeroParams::new(n).unwrap(), Compute::new(c).unwrap());
    Recommendation::new(law, &cost(mode), n, c).unwrap()
}

/// Tolerance for known answers with six decimals.
const SIX_DIGITS: f64 = 5.1e-7;

#[test]
fn known_answers_with_a_borrowed_gain() {
    use FlopMode::{Dense, Sparse};
    let laws = [borrowing(&T5_C4), borrowing(&VIT_JFT)];
    let table = [
        (1e8, 1e19, Sparse, [(0.625579, 2.915953), (0.626210, 2.914256)], 2.992956),
        (1e8, 1e19, Dense, [(0.329437, 2.977114), (0.337133, 2.976135)], 2.992956),
        (1e9, 1e21, Sparse, [(0.636694, 2.302179), (0.637053, 2.301415)], 2.338128),
        (1e9, 1e21, Dense, [(0.353119, 2.329872), (0.360432, 2.329398)], 2.338128),
        (1e9, 1e22, Sparse, [(0.808061, 2.182244), (0.804057, 2.181712)], 2.244896),
        (1e9, 1e22, Dense, [(0.691026, 2.206731), (0.689823, 2.205976)], 2.244896),
    ];
    for (n, c, mode, expected, dense) in table {
        for (law, (sparsity, loss)) in laws.iter().zip(expected) {
            let got = best(law, mode, n, c);
            let found = got.best.sparsity().get();
            assert!((found - sparsity).abs() < SIX_DIGITS, "{mode:?} {n} {c}: {found}");
            assert!((got.best.loss - loss).abs() < SIX_DIGITS, "{}", got.best.loss);
            assert!((got.dense.loss - dense).abs() < SIX_DIGITS, "{}", got.dense.loss);
        }
    }
}

#[test]
fn known_answers_of_mean_parameters_with_two_minima_too() {
    use FlopMode::{Dense, Sparse};
    let law = counting_mean_params();
    let table = [
        (1e8, 1e19, Sparse, 0.812188, Some(2.927103)),
        (1e9, 1e21, Sparse, 0.825862, Some(2.305529)),
        (1e9, 1e22, Sparse, 0.955464, Some(2.141111)),
        (1e8, 1e19, Dense, 0.0, None),
        (1e9, 1e21, Dense, 0.0, None),
        (1e9, 1e22, Dense, 0.910991, Some(2.194508)),
    ];
    for (n, c, mode, sparsity, loss) in table {
        let got = best(&law, mode, n, c);
        let found = got.best.sparsity().get();
        assert!((found - sparsity).abs() < SIX_DIGITS, "{mode:?} {n} {c}: {found}");
        if let Some(loss) = loss {
            assert!((got.best.loss - loss).abs() < SIX_DIGITS, "{}", got.best.loss);
        }
    }
    // There are two minima. The dense model is always better than its neighbours, but only with the second budget is it
    // the best.
    let n = NonzeroParams::new(1e9).unwrap();
    for (c, sparse) in [(1.9e21, true), (1.87e21, false)] {
        let c = Compute::new(c).unwrap();
        let at = |s: f64| {
            let density = Sparsity::new(s).unwrap().density();
            law.loss(density, n, cost(Dense).data(density, n, c).unwrap())
        };
        assert!(at(0.0) < at(0.02) && at(0.02) < at(0.1));
        assert!(at(0.2) > at(0.45) && at(0.45) < at(0.65));
        assert_eq!(at(0.45) < at(0.0), sparse);
        let best = optimal_sparsity(&law, &cost(Dense), n, c).unwrap().sparsity().get();
        assert_eq!(best > 0.35, sparse, "{best}");
    }
}

fn any_law(which: u32) -> Coefficients {
    match which {
        0 => borrowing(&T5_C4),
        1 => borrowing(&VIT_JFT),
        2 => counting_mean_params(),
        3 => *T5_C4.coefficients(),
        _ => *VIT_JFT.coefficients(),
    }
}

fn any_step(which: u32) -> StepCost {
    match which {
        0 => FlopMode::Dense.into(),
        1 => FlopMode::Sparse.into(),
        2 => StepCost::of_share(0.9, 0.7).unwrap(),
        _ => StepCost::of_points(&[(0.4, 1.0), (0.5, 0.4), (0.75, 0.35), (1.0, 0.2)]).unwrap(),
    }
}

proptest! {
    #[test]
    fn no_sparsity_of_a_fine_grid_is_better(
        law in 0..5_u32, step in 0..4_u32, ln_n in 14.0..25.0f64, ln_m in -4.0..7.0f64,
        epochs in prop::option::of(-3.0..5.0f64), decay in 1.0..40.0f64,
    ) {
        let (law, cost) = (any_law(law), cost(any_step(step)));
        let n = NonzeroParams::new(ln_n.exp()).unwrap();
        let ln_data = ln_m + law.ln_chinchilla_data(n);
        let c = Compute::new(6.0 * n.get() * ln_data.exp()).unwrap();
        // From no repetition to one hundred and fifty epochs of the dense model.
        let repetition = epochs.map(|epochs| {
            Repetition::new(Data::new((ln_data - epochs).exp()).unwrap(), decay).unwrap()
        });
        let repetition = repetition.as_ref();
        let best = optimal_sparsity_repeating(&law, &cost, n, c, repetition).unwrap();
        for i in 0..4000 {
            let other = Density::clamped((-f64::from(i) * 0.002).exp());
            let data = effective_data(repetition, cost.data(other, n, c).unwrap());
            let loss = law.loss(other, n, data);
            // Rounding of a sum of three terms.
            prop_assert!(loss >= best.loss * (1.0 - 1e-13), "{} {}", best.sparsity(), other);
        }
    }

    #[test]
    fn the_search_agrees_with_the_condition_where_there_is_one(
        t5 in any::<bool>(), step in 0..3_u32, ln_n in 14.0..25.0f64, ln_m in -3.0..6.0f64,
    ) {
        let (law, cost) = (any_law(if t5 { 3 } else { 4 }), cost(any_step(step)));
        let n = NonzeroParams::new(ln_n.exp()).unwrap();
        let c = Compute::new(6.0 * n.get() * (ln_m + law.ln_chinchilla_data(n)).exp()).unwrap();
        let exact = optimal_sparsity(&law, &cost, n, c).unwrap();
        // So much distinct data that none is repeated, while every question goes through the search.
        let plenty = Repetition::new(Data::new(1e30).unwrap(), 15.39).unwrap();
        let found = optimal_sparsity_repeating(&law, &cost, n, c, Some(&plenty)).unwrap();
        prop_assert!((found.sparsity().get() - exact.sparsity().get()).abs() < 1e-9);
    }

    #[test]
    fn on_a_contour_its_sparsity_is_best(
        law in 0..3_u32, step in 0..4_u32, sparsity in 0.0..0.97f64, ln_n in 14.0..24.0f64,
    ) {
        let (law, cost) = (any_law(law), cost(any_step(step)));
        let density = Sparsity::new(sparsity).unwrap().density();
        let n = NonzeroParams::new(ln_n.exp()).unwrap();
        let Some(ratio) = ln_contour_ratio(&law, &cost, density) else {
            return Err(TestCaseError::reject("no budget asks for this sparsity"));
        };
        let c = Compute::new(contour_compute(&law, &cost, n, ratio)).unwrap();
        let best = optimal_sparsity(&law, &cost, n, c).unwrap();
        let here = law.loss(density, n, cost.data(density, n, c).unwrap());
        prop_assert!(here <= best.loss * (1.0 + 1e-12), "{here} {}", best.loss);
    }

    #[test]
    fn a_model_of_the_gained_size_has_the_same_loss(
        law in 0..3_u32, x in 0.001..1.0f64, ln_n in 14.0..24.0f64, ln_d in 18.0..30.0f64,
    ) {
        let law = any_law(law);
        let (density, data) = (Density::new(x).unwrap(), Data::new(ln_d.exp()).unwrap());
        let n = NonzeroParams::new(ln_n.exp()).unwrap();
        let dense = NonzeroParams::new(n.get() * law.gain(density)).unwrap();
        let (sparse, dense) = (law.loss(density, n, data), law.loss(Density::DENSE, dense, data));
        prop_assert!((sparse / dense - 1.0).abs() < 1e-12);
        let needed = law.data_for_loss(density, n, sparse);
        prop_assert!((needed.ln() - ln_d).abs() < 1e-8);
    }

    #[test]
    fn no_model_of_a_grid_is_better_than_a_plan(
        law in 0..5_u32, step in 0..3_u32, ln_c in 40.0..54.0f64, ln_unique in 18.0..27.0f64,
        tokens in prop::option::of(22.0..28.0f64), least_cost in any::<bool>(),
    ) {
        let law = any_law(law);
        let step = any_step(step);
        let tokens = tokens.map_or(0.0, f64::exp);
        let cost = cost(step.clone());
        let repetition = Repetition::new(Data::new(ln_unique.exp()).unwrap(), 15.39).unwrap();
        let sampled = SampledLaw::new(law, None, |loss, _| loss);
        let setting = PlanSetting {
            law: (&sampled).into(),
            support: &Support::default(),
            cost: cost.clone(),
            step: step.clone(),
            pruning: PruningSchedule::default(),
            storage: Storage::new(StorageFormat::Bitmask, 16),
            inference_tokens: tokens,
            repetition: Some(repetition),
        };
        let loss_at = |x: Density, n: f64, d: f64| {
            let data = Data::new(repetition.effective(d)).unwrap();
            law.loss(x, NonzeroParams::new(n).unwrap(), data)
        };
        let limits = |bound, value| Limits::default().with(bound, value);
        let question = |goal, limits| PlanQuestion {
            goal, limits, patterns: None, hardware_patterns: None, frontier_points: 0, intervals: false,
        };
        let plan = setting.plan(&question(Goal::LeastLoss, limits(Constraint::Compute, ln_c.exp())));
        let Ok(plan) = plan else { return Err(TestCaseError::reject("no plan")) };
        let model = plan.best.model;
        let own = loss_at(model.scheme.density, model.nonzero_params, model.data);
        prop_assert!((own / model.loss - 1.0).abs() < 1e-12);
        prop_assert!(model.compute() <= ln_c.exp() * (1.0 + 1e-9));
        for i in 0..60 {
            let x = Density::new((-f64::from(i) * 0.05).exp().max(0.05)).unwrap();
            for j in 0..200 {
                let n = model.nonzero_params * (0.05 * f64::from(j - 100)).exp();
                let paid = ln_c.exp() / n - tokens * step.inference_flops(x);
                let d = paid / (6.0 * cost.multiplier(x));
                if (1e-6..=1e30).contains(&d) && (1.0..=1e18).contains(&n) {
                    prop_assert!(loss_at(x, n, d) >= model.loss * (1.0 - 1e-10), "{x} {n} {d}");
                }
            }
        }
        if least_cost {
            let again = setting.plan(&question(Goal::LeastCost, limits(Constraint::TargetLoss, model.loss)));
            // The loss of the plan is the least for its cost, so its cost is the least for its loss.
            let cost = again.unwrap().best.model.compute();
            prop_assert!((cost / model.compute() - 1.0).abs() < 1e-5, "{cost} {}", model.compute());
        }
    }
}

proptest! {
    /// Bounds and repeated data together, for laws with and without a gain curve, and also where zeros cost nothing.
    #[test]
    fn under_a_bound_no_allowed_sparsity_is_better(
        which in 0..5_u32, step in 0..4_u32, constant: bool, least in 0.02..0.99f64,
        ln_n in 14.0..23.0f64, ln_c in 40.0..52.0f64, repeats: bool, ln_unique in -6.0..3.0f64,
    ) {
        let law = any_law(which);
        let pruning = if constant { PruningSchedule::new(0.0, 0.0, 3.0).unwrap() } else { PruningSchedule::default() };
        let cost = TrainingCost::new(FlopsPerParam::TRAINING, pruning, any_step(step));
        let (n, c) = (NonzeroParams::new(ln_n.exp()).unwrap(), Compute::new(ln_c.exp()).unwrap());
        let least = Density::new(least).unwrap();
        let dense = cost.data(Density::DENSE, n, c).unwrap().get();
        let few = Repetition::new(Data::new(dense * ln_unique.exp()).unwrap(), 15.39).unwrap();
        let repetition = repeats.then_some(&few);
        let found = optimal_sparsity_under(&law, &cost, (n, c), Some(least), repetition).unwrap();
        prop_assert!(found.density >= least);
        for i in 0..=400 {
            let y = -least.get().ln() * f64::from(i) / 400.0;
            let density = Density::clamped((-y).exp().max(least.get()));
            let data = effective_data(repetition, cost.data(density, n, c).unwrap());
            let loss = law.loss(density, n, data);
            // Rounding, and a second minimum within one cell of the grid.
            prop_assert!(loss >= found.loss * (1.0 - 1e-10), "{density} {loss} {found:?}");
        }
    }
}

#[test]
fn absurd_questions_have_an_answer() {
    for which in 0..5 {
        for step in 0..4 {
            let (law, cost) = (any_law(which), cost(any_step(step)));
            for (n, c) in [(1.0, 1e40), (1e18, 1e20), (1.0, 1.0), (1e18, 1e40)] {
                let (n, c) = (NonzeroParams::new(n).unwrap(), Compute::new(c).unwrap());
                let few = Repetition::new(Data::new(1e-3).unwrap(), 0.01).unwrap();
                for repetition in [None, Some(&few)] {
                    if let Ok(best) = optimal_sparsity_repeating(&law, &cost, n, c, repetition) {
                        assert!(best.sparsity().get() < 1.0 && best.loss.is_finite());
                    }
                }
            }
        }
    }
}

#[test]
fn each_resampled_law_may_borrow_of_another_lender() {
    let member = |lender, c_s: f64| {
        let dense = CoefficientValues { c_s, ..besiroglu().values() };
        let gain = BorrowedGain::of(lender).unwrap();
        let law = Coefficients::reduced(dense).unwrap().with_gain(GainCurve::Borrowed(gain));
        Member { coefficients: law.unwrap(), noise: 0.0 }
    };
    let lenders = [T5_C4.coefficients(), VIT_JFT.coefficients()];
    let members = (0..100).map(|i| member(lenders[i % 2], 482.01));
    let ensemble = Ensemble::new(members, 0.95, 0.025).unwrap();
    let law = SampledLaw::new(borrowing(&T5_C4), Some(ensemble), |loss, _| loss);
    let (n, c) = (NonzeroParams::new(1e9).unwrap(), Compute::new(1e22).unwrap());
    let cost = cost(FlopMode::Sparse);
    let found = Recommendation::new(law.coefficients(), &cost, n, c).unwrap();
    let known = law.recommendation_intervals(&cost, n, c, &found).unwrap();
    // The ends are the answers with the gains of the two lenders.
    assert!((known.sparsity.low - 0.804057).abs() < SIX_DIGITS, "{:?}", known.sparsity);
    assert!((known.sparsity.high - 0.808061).abs() < SIX_DIGITS, "{:?}", known.sparsity);
    assert!(known.gain.low < found.gain + 1e-12 && found.gain < known.gain.high + 1e-12);
    assert!(known.gain.high - known.gain.low > 1e-3, "{:?}", known.gain);
    // The dense part belongs to the law itself, and is the same with both lenders.
    assert!(known.dense_loss.high - known.dense_loss.low < 1e-12);
    let few = Repetition::new(Data::new(1e11).unwrap(), 15.39).unwrap();
    let found = Recommendation::repeating(law.coefficients(), &cost, n, c, Some(&few)).unwrap();
    let known = law.repeating_intervals(&cost, (n, c), &few, None, &found).unwrap();
    assert!(known.sparsity.low <= found.best.sparsity().get() + 1e-12);
    assert!(known.sparsity.high >= found.best.sparsity().get() - 1e-12);
}
