//! Laws of other forms fitted on the same runs, to see whether they agree.

use serde::{Deserialize, Serialize};

use super::coefficients::{CoefficientValues, Coefficients};
use super::cost::TrainingCost;
use super::expert_law::{ExpertCoefficients, optimal_expert_density};
use super::form::LawForm;
use super::gain_curve::GainCurve;
use super::level_law::LevelLaw;
use super::optimum::optimal_density;
use super::quantity::{Compute, Data, Density, NonzeroParams};

/// A law of some form, in raw units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RivalLaw {
    /// The paper's form.
    Sparse(CoefficientValues),
    /// The form that counts mean parameters: `c_s` is the capacity of dense models, `a_s` is 0.
    AverageParams {
        /// The coefficients.
        coefficients: CoefficientValues,
        /// Mean sparsity over training as a share of the final one.
        mean_share: f64,
    },
    /// One capacity for each sparsity.
    Levels(LevelLaw),
    /// Mixtures of experts.
    Experts(ExpertCoefficients),
}

impl RivalLaw {
    /// The form of the law.
    #[must_use]
    pub const fn form(&self) -> LawForm {
        match self {
            Self::Sparse(_) => LawForm::Sparse,
            Self::AverageParams { .. } => LawForm::AverageParams,
            Self::Levels(_) => LawForm::Levels,
            Self::Experts(_) => LawForm::Experts,
        }
    }

    /// The law as coefficients, with a gain curve if it needs one; `None` for forms that coefficients cannot express.
    #[must_use]
    pub fn coefficients(&self) -> Option<Coefficients> {
        match self {
            Self::Sparse(values) => Coefficients::new(*values).ok(),
            Self::AverageParams { coefficients, mean_share } => {
                Coefficients::reduced(*coefficients)
                    .ok()?
                    .with_gain(GainCurve::AverageParams { mean_share: *mean_share })
            }
            Self::Levels(_) | Self::Experts(_) => None,
        }
    }

    /// Predicted loss; `None` at a sparsity that the law does not know.
    #[must_use]
    pub fn loss(&self, density: Density, nonzero_params: NonzeroParams, data: Data) -> Option<f64> {
        match self {
            Self::Levels(law) => Some(law.loss_at(law.level(density)?, nonzero_params, data)),
            Self::Experts(law) => Some(law.loss(density, nonzero_params, data)),
            _ => Some(self.coefficients()?.loss(density, nonzero_params, data)),
        }
    }

    /// The range in which the law leaves the best sparsity at a size and a budget: twice the optimum, or for levels the
    /// neighbours of the best level. `None` where the law has no optimum.
    #[must_use]
    pub fn optimal_sparsities(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Option<[f64; 2]> {
        let density = match self {
            Self::Levels(law) => return law.around_best(cost, nonzero_params, compute),
            Self::Experts(law) => {
                optimal_expert_density(law, cost, (nonzero_params, compute), None, None)?
            }
            _ => optimal_density(&self.coefficients()?, cost, nonzero_params, compute),
        };
        let sparsity = density.sparsity().get();
        Some([sparsity, sparsity])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{FlopMode, FlopsPerParam, LevelCapacity, PruningSchedule, Sparsity, T5_C4};
    use proptest::prelude::*;

    /// Known coefficients for this form.
    const ABNAR: ExpertCoefficients = ExpertCoefficients {
        e: 0.94,
        a: 16612.5,
        alpha: 0.5962,
        b: 5455.67,
        beta: 0.3954,
        c: 0.4598,
        lambda: -0.1666,
        d: 17.26,
        delta: 0.1603,
        gamma: 0.1595,
    };

    fn cost(mode: FlopMode) -> TrainingCost {
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode)
    }

    proptest! {
        #[test]
        fn no_share_of_experts_is_better_than_the_best(
            ln_n in 16.0..25.0f64, ln_epochs in -2.0..8.0f64, sparse in any::<bool>(),
        ) {
            let cost = cost(if sparse { FlopMode::Sparse } else { FlopMode::Dense });
            let n = NonzeroParams::new(ln_n.exp()).unwrap();
            let c = Compute::new(120.0 * (2.0 * ln_n + ln_epochs).exp()).unwrap();
            let law = RivalLaw::Experts(ABNAR);
            let Some([best, _]) = law.optimal_sparsities(&cost, n, c) else {
                return Err(TestCaseError::reject("falls without end"));
            };
            let at = |density: Density| {
                law.loss(density, n, cost.data(density, n, c).unwrap()).unwrap()
            };
            let least = at(Sparsity::new(best).unwrap().density());
            for i in 0..3000 {
                let other = Density::clamped((-f64::from(i) * 0.003).exp());
                prop_assert!(at(other) >= least * (1.0 - 1e-12), "{best} {other}");
            }
        }
    }

    #[test]
    fn levels_answer_at_levels_alone_and_say_between_which_the_best_lies() {
        let v = T5_C4.coefficients().values();
        let level = |sparsity: f64| LevelCapacity {
            sparsity,
            name: None,
            runs: 12,
            a: v.a_s * (1.0 - sparsity).powf(v.b_s) + v.c_s,
            gain: None,
        };
        let law = RivalLaw::Levels(LevelLaw {
            levels: [0.0, 0.5, 0.75, 0.875].map(level).to_vec(),
            b_n: v.b_n,
            a_d: v.a_d,
            b_d: v.b_d,
            c: v.c,
        });
        let (n, d) = (NonzeroParams::new(1e8).unwrap(), Data::new(3e10).unwrap());
        let half = Sparsity::new(0.5).unwrap().density();
        let own = T5_C4.coefficients().loss(half, n, d);
        assert!((law.loss(half, n, d).unwrap() - own).abs() < 1e-12);
        assert_eq!(law.loss(Density::new(0.4).unwrap(), n, d), None);
        // The optimum of the paper's form is .593.
        let c = Compute::new(1e19).unwrap();
        assert_eq!(law.optimal_sparsities(&cost(FlopMode::Sparse), n, c), Some([0.0, 0.75]));
        assert!(law.coefficients().is_none());
    }

    #[test]
    fn the_papers_form_says_what_its_law_says() {
        let law = RivalLaw::Sparse(T5_C4.coefficients().values());
        let (n, c) = (NonzeroParams::new(1e8).unwrap(), Compute::new(1e19).unwrap());
        let [best, _] = law.optimal_sparsities(&cost(FlopMode::Sparse), n, c).unwrap();
        assert!((best - 0.593361640).abs() < 1e-9);
        assert_eq!(law.form(), LawForm::Sparse);
        let json = serde_json::to_string(&law).unwrap();
        assert_eq!(serde_json::from_str::<RivalLaw>(&json).unwrap(), law);
    }
}
