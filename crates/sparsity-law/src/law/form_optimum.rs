//! The best sparsity for a budget, by a law of a form with coefficients of its own.

use super::cost::TrainingCost;
use super::expert_law::{ln_expert_contour, optimal_expert_density};
use super::form_law::FormLaw;
use super::optimum::Optimum;
use super::quantity::{Compute, Density, NonzeroParams};
use super::recommendation::{AnswerError, finite};
use super::repetition::{Repetition, effective_data};

/// The best sparsity at a size and a budget by such a law, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FormRecommendation {
    /// The best model.
    pub best: Optimum,
    /// Index of the level of the best model, for a law of levels; `None` for other forms.
    pub level: Option<usize>,
    /// Parameters of the best model, zeros included.
    pub total_params: f64,
    /// The dense model with the same number of non-zero parameters and the same compute; `None` for a law of levels
    /// without a dense one.
    pub dense: Option<Optimum>,
    /// Index of the level of the dense model, for a law of levels; `None` for other forms, and where no level is dense.
    pub dense_level: Option<usize>,
    /// Size of the dense model with the same loss on the same data, relative to the non-zero parameters; `None` where
    /// no dense model has this loss, or the law does not know dense models.
    pub gain: Option<f64>,
    /// Compute relative to that at which a dense model of this size is compute-optimal; `None` where the law does not
    /// know dense models, or does not describe data.
    pub chinchilla_ratio: Option<f64>,
}

impl FormLaw {
    /// The density with the least loss, of the densities from `least` up: for levels that of the best level, for
    /// experts that of the only minimum. [`Self::best_place`] also tells which level it is.
    ///
    /// `None` where no level is as dense as `least`, or where the loss falls without end.
    ///
    /// # Errors
    /// [`AnswerError::Data`] where the budget pays for no representable amount of data at a level,
    /// [`AnswerError::NotFinite`] where a loss overflows.
    pub fn best_density(
        &self,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
        least: Option<Density>,
        repetition: Option<&Repetition>,
    ) -> Result<Option<Density>, AnswerError> {
        let best = self.best_place(cost, (nonzero_params, compute), least, repetition)?;
        Ok(best.map(|(_, density)| density))
    }

    /// Like [`Self::best_density`], together with the index of the level among those of the law.
    ///
    /// # Errors
    /// As for [`Self::best_density`].
    pub fn best_place(
        &self,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
        least: Option<Density>,
        repetition: Option<&Repetition>,
    ) -> Result<Option<(Option<usize>, Density)>, AnswerError> {
        match self {
            Self::Levels(law) => {
                let mut best: Option<(f64, (Option<usize>, Density))> = None;
                for (place, density) in law.places_down_to(least) {
                    let at = (Some(place), density);
                    let model = self.model(cost, at, nonzero_params, compute, repetition)?;
                    let loss = model.map_or(f64::INFINITY, |model| model.loss);
                    if best.is_none_or(|(least, _)| loss < least) {
                        best = Some((loss, at));
                    }
                }
                Ok(best.map(|(_, at)| at))
            }
            Self::Experts(law) => {
                let question = (nonzero_params, compute);
                let best = optimal_expert_density(law, cost, question, least, repetition);
                Ok(best.map(|density| (None, density)))
            }
        }
    }

    /// Compute at which a density is the best for a size: a point of a contour. `None` where no budget makes it the
    /// best, where the law does not describe data, and for levels, which say nothing about densities between them.
    ///
    /// ```
    /// use sparsity_law::law::*;
    ///
    /// let law = FormLaw::Experts(ExpertCoefficients {
    ///     e: 0.94, a: 16612.5, alpha: 0.5962, b: 5455.67, beta: 0.3954,
    ///     c: 0.4598, lambda: -0.1666, d: 17.26, delta: 0.1603, gamma: 0.1595,
    /// });
    /// let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Dense);
    /// let (half, size) = (Density::new(0.5)?, NonzeroParams::new(1e8)?);
    /// let compute = law.contour_compute(&cost, half, size).expect("half of them rest at some budget");
    /// let best = law.best_density(&cost, (size, Compute::new(compute)?), None, None)?;
    /// assert!((best.expect("a best one").get() - 0.5).abs() < 1e-9);
    /// # Ok::<(), AnswerError>(())
    /// ```
    #[must_use]
    pub fn contour_compute(
        &self,
        cost: &TrainingCost,
        density: Density,
        nonzero_params: NonzeroParams,
    ) -> Option<f64> {
        match self {
            Self::Levels(_) => None,
            Self::Experts(law) => {
                let compute = ln_expert_contour(law, cost, density, nonzero_params)?.exp();
                Some(compute).filter(|compute| compute.is_finite())
            }
        }
    }

    /// Compute at which a dense model of a size is compute-optimal; `None` as for [`Self::ln_chinchilla_data`], and
    /// where it overflows.
    #[must_use]
    pub fn chinchilla_compute(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
    ) -> Option<f64> {
        let per_data = cost.flops_per_param().get() * nonzero_params.get();
        let compute = per_data * self.ln_chinchilla_data(nonzero_params)?.exp();
        Some(compute).filter(|compute| compute.is_finite())
    }

    /// The model of this density, and of the level with the index `level` where one is given, that the budget pays for;
    /// `None` where the law does not know the sparsity.
    ///
    /// # Errors
    /// As for [`Self::best_density`].
    pub fn model(
        &self,
        cost: &TrainingCost,
        (level, density): (Option<usize>, Density),
        nonzero_params: NonzeroParams,
        compute: Compute,
        repetition: Option<&Repetition>,
    ) -> Result<Option<Optimum>, AnswerError> {
        let level = level.or_else(|| self.place(density));
        let data = cost.data_at(level, density, nonzero_params, compute)?;
        match self.loss_at(level, density, nonzero_params, effective_data(repetition, data)) {
            Some(loss) => Ok(Some(Optimum { density, data, loss: finite("the loss", loss)? })),
            None => Ok(None),
        }
    }

    /// Index of the dense level that a level is compared with; `None` where there is none, and for other forms.
    fn dense_place(&self, level: Option<usize>) -> Option<usize> {
        match self {
            Self::Levels(law) => law.dense_place(law.levels.get(level?)?.name.as_deref()),
            Self::Experts(_) => None,
        }
    }

    /// The best model at a size and a budget, with what follows from it; `None` as for [`Self::best_density`].
    ///
    /// # Errors
    /// As for [`Self::best_density`].
    pub fn recommend(
        &self,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
        least: Option<Density>,
        repetition: Option<&Repetition>,
    ) -> Result<Option<FormRecommendation>, AnswerError> {
        let question = (nonzero_params, compute);
        let model = |at| self.model(cost, at, nonzero_params, compute, repetition);
        let Some((level, density)) = self.best_place(cost, question, least, repetition)? else {
            return Ok(None);
        };
        let Some(best) = model((level, density))? else { return Ok(None) };
        let dense_level = self.dense_place(level);
        Ok(Some(FormRecommendation {
            best,
            level,
            total_params: finite("total_params", best.total_params(nonzero_params))?,
            dense: model((dense_level, Density::DENSE))?,
            dense_level,
            gain: self.gain_at(level, density, nonzero_params).filter(|gain| gain.is_finite()),
            chinchilla_ratio: self
                .chinchilla_ratio(cost, nonzero_params, compute)
                .filter(|ratio| ratio.is_finite()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        Data, ExpertCoefficients, FlopMode, FlopsPerParam, LevelCapacity, LevelLaw,
        PruningSchedule, RivalLaw, Sparsity, T5_C4, pattern_multiplier,
    };
    use proptest::prelude::*;

    fn levels(sparsities: &[f64]) -> FormLaw {
        let v = T5_C4.coefficients().values();
        let level = |sparsity: &f64| LevelCapacity {
            sparsity: *sparsity,
            name: None,
            runs: 12,
            a: v.a_s * (1.0 - sparsity).powf(v.b_s) + v.c_s,
            gain: None,
        };
        let levels = sparsities.iter().map(level).collect();
        let law = LevelLaw { levels, b_n: v.b_n, a_d: v.a_d, b_d: v.b_d, c: v.c };
        FormLaw::Levels(law.with_gains())
    }

    /// Known coefficients for this form.
    const ABNAR: FormLaw = FormLaw::Experts(ExpertCoefficients {
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
    });

    fn cost(mode: FlopMode) -> TrainingCost {
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode)
    }

    fn question() -> (NonzeroParams, Compute) {
        (NonzeroParams::new(1e8).unwrap(), Compute::new(1e19).unwrap())
    }

    #[test]
    fn levels_say_at_their_sparsities_what_the_papers_form_says() {
        let (law, paper) = (levels(&[0.0, 0.5, 0.75, 0.875]), T5_C4.coefficients());
        let (n, c) = question();
        let (cost, d) = (cost(FlopMode::Sparse), Data::new(3e10).unwrap());
        for sparsity in law.levels().unwrap() {
            let x = sparsity.density();
            assert!((law.loss(x, n, d).unwrap() / paper.loss(x, n, d) - 1.0).abs() < 1e-13);
            assert!((law.gain(x, n).unwrap() / paper.gain(x) - 1.0).abs() < 1e-12);
        }
        assert_eq!(law.loss(Density::new(0.4).unwrap(), n, d), None);
        let found = law.recommend(&cost, (n, c), None, None).unwrap().unwrap();
        // The optimum of the paper's form is .593, and .5 is better than .75.
        assert_eq!(found.best.sparsity().get(), 0.5);
        let ratio = crate::law::chinchilla_ratio(paper, &cost, n, c);
        assert!((found.chinchilla_ratio.unwrap() / ratio - 1.0).abs() < 1e-12);
        assert_eq!(found.dense.unwrap().density, Density::DENSE);
        // Under a bound only the levels that keep it remain, and there may be none.
        let under = |sparsity: f64| {
            let least = Some(Sparsity::new(sparsity).unwrap().density());
            law.recommend(&cost, (n, c), least, None).unwrap()
        };
        assert_eq!(under(0.4).unwrap().best.density, Density::DENSE);
        assert_eq!(under(0.5).unwrap().best.sparsity().get(), 0.5);
        let sparse_alone = levels(&[0.5, 0.75]);
        let found = sparse_alone.recommend(&cost, (n, c), None, None).unwrap().unwrap();
        assert_eq!((found.dense, found.gain, found.chinchilla_ratio), (None, None, None));
        let least = Some(Density::new(0.9).unwrap());
        assert_eq!(sparse_alone.recommend(&cost, (n, c), least, None).unwrap(), None);
    }

    #[test]
    fn a_level_with_kernels_of_its_own_costs_what_these_cost() {
        let FormLaw::Levels(mut law) = levels(&[0.0, 0.5, 0.5]) else { panic!("of its form") };
        law.levels[2].name = Some("2:4".to_owned());
        law.levels[2].a *= 1.001;
        let law = FormLaw::Levels(law.with_gains());
        let ((n, c), dense) = (question(), cost(FlopMode::Dense));
        // With the same amount of data the level without a pattern is better, but not where the pattern halves the cost
        // of a step.
        let best = |cost: &TrainingCost| law.recommend(cost, (n, c), None, None).unwrap().unwrap();
        let (half, two_of_four) = (Density::new(0.5).unwrap(), pattern_multiplier);
        let multiplier = two_of_four(&PruningSchedule::default(), 0.5, half);
        assert_ne!(best(&dense).level, Some(2));
        let kernels = dense.clone().with_levels(&[None, None, Some(multiplier)]);
        let found = best(&kernels);
        assert_eq!(found.level, Some(2));
        let per_unit = 6.0 * n.get() * multiplier;
        assert!((found.best.data.get() / (c.get() / per_unit) - 1.0).abs() < 1e-15);
        let loss = law.loss_at(Some(2), half, n, found.best.data).unwrap();
        assert_eq!(found.best.loss, loss);
        // The dense model, and levels without a multiplier, cost the same as before.
        assert_eq!(found.dense, law.model(&dense, (Some(0), Density::DENSE), n, c, None).unwrap());
        let plain = |cost| law.model(cost, (Some(1), half), n, c, None).unwrap();
        assert_eq!(plain(&kernels), plain(&dense));
        // A name is not needed to choose the only level of a sparsity.
        let FormLaw::Levels(mut alone) = law.clone() else { panic!("of its form") };
        alone.levels.remove(1);
        let (alone, kernels) =
            (FormLaw::Levels(alone), dense.with_levels(&[None, Some(multiplier)]));
        let model = alone.model(&kernels, (None, half), n, c, None).unwrap();
        assert_eq!(model, Some(found.best));
    }

    #[test]
    fn values_come_back_and_odd_ones_are_refused() {
        for law in [levels(&[0.0, 0.5]), ABNAR] {
            let values = law.values();
            assert_eq!(values.len(), law.count());
            assert_eq!(law.with_values(&values).as_ref(), Some(&law));
            assert_eq!(law.with_values(&values[1..]), None);
            assert_eq!(law.out_of_range(), None);
            let mut odd = values.clone();
            odd[0] = f64::NAN;
            assert_eq!(law.with_values(&odd), None);
            odd[0] = -1.0;
            assert_eq!(law.with_values(&odd), None);
            let json = serde_json::to_string(&law).unwrap();
            assert_eq!(serde_json::from_str::<FormLaw>(&json).unwrap(), law);
            // The JSON is the same as that of a stored rival law of this form.
            assert_eq!(serde_json::from_str::<RivalLaw>(&json).unwrap(), law.into());
        }
    }

    #[test]
    fn a_law_of_runs_on_one_amount_of_data_answers_sizes_alone() {
        let FormLaw::Experts(law) = ABNAR else { panic!("of its form") };
        let law = FormLaw::Experts(ExpertCoefficients { b: 0.0, beta: 1.0, ..law });
        let (n, _) = question();
        assert!(!law.determines_data() && law.out_of_range().is_none());
        assert!(!law.coefficients().determines().data);
        let x = Density::new(0.1).unwrap();
        let at = |d: f64| law.loss(x, n, Data::new(d).unwrap()).unwrap();
        assert_eq!(at(1e9), at(1e12));
        assert_eq!(law.ln_chinchilla_data(n), None);
    }

    proptest! {
        #[test]
        fn a_dense_model_of_the_gain_is_as_good(
            ln_n in 16.0..25.0f64, y in 0.0..4.0f64, ln_d in 20.0..28.0f64,
        ) {
            let n = NonzeroParams::new(ln_n.exp()).unwrap();
            let (x, d) = (Density::clamped((-y).exp()), Data::new(ln_d.exp()).unwrap());
            let loss = ABNAR.loss(x, n, d).unwrap();
            match ABNAR.gain(x, n) {
                Some(gain) => {
                    let size = NonzeroParams::new(ln_n.exp() * gain);
                    prop_assume!(size.is_ok());
                    let dense = ABNAR.loss(Density::DENSE, size.unwrap(), d).unwrap();
                    prop_assert!((dense / loss - 1.0).abs() < 1e-12, "{dense} {loss}");
                }
                // No dense model of any size has this loss.
                None => {
                    let largest = NonzeroParams::new(1e18).unwrap();
                    prop_assert!(ABNAR.loss(Density::DENSE, largest, d).unwrap() > loss);
                }
            }
        }

        #[test]
        fn no_other_budget_of_a_dense_model_is_better_balanced(ln_n in 16.0..25.0f64) {
            // On the line, a little more size and equally less data change nothing to first order.
            let n = NonzeroParams::new(ln_n.exp()).unwrap();
            let ln_d = ABNAR.ln_chinchilla_data(n).unwrap();
            let at = |step: f64| {
                let (n, d) = ((ln_n + step).exp(), (ln_d - step).exp());
                let (n, d) = (NonzeroParams::new(n).unwrap(), Data::new(d).unwrap());
                ABNAR.loss(Density::DENSE, n, d).unwrap()
            };
            prop_assert!(at(0.02) > at(0.0) && at(-0.02) > at(0.0));
        }
    }
}
