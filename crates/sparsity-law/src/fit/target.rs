//! The answers of a law whose intervals more runs may narrow.

use crate::law::{
    AnswerError, CoefficientName, Coefficients, Compute, Data, Density, Ensemble, Interval,
    NonzeroParams, Question, SampledLaw, TrainingCost, finite, optimal_density, quantile,
};

/// One answer of a law.
#[derive(Debug, Clone)]
pub enum Target {
    /// A coefficient.
    Coefficient(CoefficientName),
    /// The sparsity that makes the most of a training budget.
    OptimalSparsity {
        /// `N`.
        nonzero_params: NonzeroParams,
        /// `C`.
        compute: Compute,
        /// What training costs.
        cost: TrainingCost,
    },
    /// The loss of a model.
    Loss {
        /// `N`.
        nonzero_params: NonzeroParams,
        /// `1 - S`.
        density: Density,
        /// `D`.
        data: Data,
    },
}

/// Shares of a normal distribution below its mean plus and minus one standard deviation.
const ONE_DEVIATION: [f64; 2] = [0.841, 0.159];

impl Target {
    /// The answer by a law.
    #[must_use]
    pub fn value(&self, law: &Coefficients) -> f64 {
        match self {
            Self::Coefficient(name) => law.values().to_array()[*name as usize],
            Self::OptimalSparsity { nonzero_params, compute, cost } => {
                optimal_density(law, cost, *nonzero_params, *compute).sparsity().get()
            }
            Self::Loss { nonzero_params, density, data } => {
                law.loss(*density, *nonzero_params, *data)
            }
        }
    }

    /// The number whose variance a choice of runs is about: the logarithm of a coefficient or a loss, a sparsity
    /// itself. `None` where it is not finite.
    #[must_use]
    pub fn linearised(&self, law: &Coefficients) -> Option<f64> {
        let value = self.value(law);
        let value = match self {
            Self::Coefficient(_) | Self::Loss { .. } => value.ln(),
            Self::OptimalSparsity { .. } => value,
        };
        value.is_finite().then_some(value)
    }

    /// The answer, and its interval where the law has resamples.
    ///
    /// # Errors
    /// [`AnswerError::NotFinite`].
    pub fn answer(&self, law: &SampledLaw) -> Result<(f64, Option<Interval>), AnswerError> {
        let interval = match self {
            Self::OptimalSparsity { nonzero_params, compute, cost } => {
                let best = optimal_density(law.coefficients(), cost, *nonzero_params, *compute);
                law.optimum_interval(cost, *nonzero_params, *compute, best)
            }
            _ => law.interval(|member| self.value(&member.coefficients)),
        };
        Ok((finite("the target", self.value(law.coefficients()))?, interval))
    }

    /// The model that the answer is about; `None` for a coefficient.
    ///
    /// # Errors
    /// [`AnswerError::Data`] where the budget pays for no representable amount of data.
    pub fn question(&self, law: &Coefficients) -> Result<Option<Question<'_>>, AnswerError> {
        match self {
            Self::Coefficient(_) => Ok(None),
            Self::OptimalSparsity { nonzero_params, compute, cost } => {
                let density = optimal_density(law, cost, *nonzero_params, *compute);
                let data = cost.data(density, *nonzero_params, *compute)?;
                let nonzero_params = *nonzero_params;
                Ok(Some(Question { nonzero_params, density, data, cost: Some(cost) }))
            }
            Self::Loss { nonzero_params, density, data } => {
                let (nonzero_params, density, data) = (*nonzero_params, *density, *data);
                Ok(Some(Question { nonzero_params, density, data, cost: None }))
            }
        }
    }

    /// How far [`Self::linearised`] scatters over resampled laws: half the width of the middle 68 %, which is
    /// one standard deviation of a normal distribution.
    #[must_use]
    pub fn scatter(&self, ensemble: &Ensemble) -> f64 {
        let answers = ensemble.members().iter();
        let mut answers: Vec<f64> =
            answers.filter_map(|member| self.linearised(&member.coefficients)).collect();
        let [above, below] = ONE_DEVIATION.map(|share| quantile(&mut answers, share));
        (above - below) / 2.0
    }
}
