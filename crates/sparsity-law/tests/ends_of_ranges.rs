//! The ends of every range: an answer there is finite, and a question without an answer gives the reason.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use sparsity_law::law::{
    AnswerError, Compute, Data, FlopMode, FlopsPerParam, NonzeroParams, PruningSchedule,
    Recommendation, Sparsity, T5_C4, TrainingCost, VIT_JFT,
};

fn cost(mode: FlopMode) -> TrainingCost {
    TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode)
}

#[test]
fn recommendations_are_finite_or_their_budget_pays_for_no_data() {
    let mut answered = 0;
    for law in [VIT_JFT.coefficients(), T5_C4.coefficients()] {
        for mode in FlopMode::ALL {
            for n in [1.0, 1e9, 1e18] {
                for c in [1.0, 1e20, 1e40] {
                    let (size, compute) =
                        (NonzeroParams::new(n).unwrap(), Compute::new(c).unwrap());
                    let dense_data = c / (6.0 * n);
                    match Recommendation::new(law, &cost(mode), size, compute) {
                        Ok(found) => {
                            answered += 1;
                            assert!(found.best.loss.is_finite() && found.best.loss > 0.0);
                            assert!(found.dense.loss >= found.best.loss, "{mode:?} {n} {c}");
                            assert!((0.0..1.0).contains(&found.best.sparsity().get()));
                            assert!(found.total_params.is_finite() && found.gain >= 1.0);
                        }
                        // The budget would pay for less than the least data, or more than the most data, of the dense
                        // model.
                        Err(AnswerError::Data(_)) => {
                            assert!(!(1e-6..=1e30).contains(&dense_data), "{mode:?} {n} {c}");
                        }
                        Err(error) => panic!("{mode:?} {n} {c}: {error}"),
                    }
                }
            }
        }
    }
    // In each mode each law has an answer to five of the nine questions.
    assert_eq!(answered, 2 * 2 * 5);
}

#[test]
fn losses_are_finite_for_every_size_sparsity_and_amount_of_data() {
    for law in [VIT_JFT.coefficients(), T5_C4.coefficients()] {
        for n in [1.0, 1e18] {
            for s in [0.0, 0.5, 1.0 - f64::EPSILON / 2.0] {
                for d in [1e-6, 1e30] {
                    let density = Sparsity::new(s).unwrap().density();
                    let (size, data) = (NonzeroParams::new(n).unwrap(), Data::new(d).unwrap());
                    let loss = law.loss(density, size, data);
                    assert!(loss.is_finite() && loss >= law.values().c, "{n} {s} {d}: {loss}");
                }
            }
        }
    }
}
