//! The answers of a law whose intervals more runs may narrow.

use super::own_design::Contest;
use crate::law::{
    AnswerError, AnyLaw, CoefficientName, Coefficients, Compute, Data, Density, FormLaw, Interval,
    NonzeroParams, Question, SampledForm, SampledLaw, TrainingCost, finite, optimal_density,
    quantile,
};

/// One answer of a law.
#[derive(Debug, Clone)]
pub enum Target {
    /// A coefficient of the paper's form and its other curves.
    Coefficient(CoefficientName),
    /// A coefficient of a form that has its own, by its place among [`FormLaw::named`].
    OwnCoefficient(usize),
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
        /// Place of its level among those of a law of levels, where one is named.
        level: Option<usize>,
        /// `D`.
        data: Data,
    },
}

/// Shares of a normal distribution below its mean plus and minus one standard deviation.
const ONE_DEVIATION: [f64; 2] = [0.841, 0.159];

impl Target {
    /// The answer by a law whose capacity is a curve; not a number for a coefficient that it has not.
    #[must_use]
    pub fn value(&self, law: &Coefficients) -> f64 {
        match self {
            Self::Coefficient(name) => law.values().to_array()[*name as usize],
            Self::OwnCoefficient(_) => f64::NAN,
            Self::OptimalSparsity { nonzero_params, compute, cost } => {
                optimal_density(law, cost, *nonzero_params, *compute).sparsity().get()
            }
            Self::Loss { nonzero_params, density, data, .. } => {
                law.loss(*density, *nonzero_params, *data)
            }
        }
    }

    /// The answer by a law of a form with coefficients of its own; `None` where it has none.
    #[must_use]
    pub fn own_value(&self, law: &FormLaw) -> Option<f64> {
        match self {
            Self::Coefficient(_) => None,
            Self::OwnCoefficient(place) => law.values().get(*place).copied(),
            Self::OptimalSparsity { nonzero_params, compute, cost } => {
                let best = law.best_density(cost, (*nonzero_params, *compute), None, None).ok()?;
                Some(best?.sparsity().get())
            }
            Self::Loss { nonzero_params, density, level, data } => {
                law.loss_at(*level, *density, *nonzero_params, *data)
            }
        }
    }

    /// The number whose variance a choice of runs is about: the logarithm of a coefficient or a loss, a sparsity
    /// itself. `None` where it is not finite.
    #[must_use]
    pub fn linearised(&self, law: &Coefficients) -> Option<f64> {
        let value = self.value(law);
        let value = match self {
            Self::Coefficient(_) | Self::OwnCoefficient(_) | Self::Loss { .. } => value.ln(),
            Self::OptimalSparsity { .. } => value,
        };
        value.is_finite().then_some(value)
    }

    /// As [`Self::linearised`]. A coefficient of either sign is taken as it is; of a best level it is by how much its
    /// loss is below that of the next one, in the logarithm.
    #[must_use]
    pub fn own_linearised(&self, law: &FormLaw, contest: Option<&Contest>) -> Option<f64> {
        if let (Self::OptimalSparsity { nonzero_params, .. }, Some(contest)) = (self, contest) {
            return contest.ln_lead(law, *nonzero_params).filter(|lead| lead.is_finite());
        }
        let value = self.own_value(law)?;
        let value = match self {
            Self::OwnCoefficient(place) if law.is_signed(*place) => value,
            Self::OptimalSparsity { .. } => value,
            _ => value.ln(),
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

    /// As [`Self::answer`], of a law of a form with coefficients of its own.
    ///
    /// # Errors
    /// [`AnswerError::NotFinite`], and what the best sparsity of a budget says.
    pub fn own_answer(&self, law: &SampledForm) -> Result<(f64, Option<Interval>), AnswerError> {
        let interval = match self {
            Self::OptimalSparsity { nonzero_params, compute, cost } => {
                let question = (*nonzero_params, *compute);
                let found = law.recommend(cost, question, None, None, true)?;
                found.and_then(|found| found.intervals).map(|intervals| intervals.sparsity)
            }
            _ => law.interval(|member| self.own_value(member)),
        };
        let value = self.own_value(law.law()).unwrap_or(f64::NAN);
        Ok((finite("the target", value)?, interval))
    }

    /// The model that the answer is about; `None` for a coefficient.
    ///
    /// # Errors
    /// [`AnswerError::Data`] where the budget pays for no representable amount of data.
    pub fn question(&self, law: AnyLaw<'_>) -> Result<Option<Question<'_>>, AnswerError> {
        match self {
            Self::Coefficient(_) | Self::OwnCoefficient(_) => Ok(None),
            Self::OptimalSparsity { nonzero_params, compute, cost } => {
                let (nonzero_params, compute) = (*nonzero_params, *compute);
                let best = match law {
                    AnyLaw::Curve(law) => {
                        Some((None, optimal_density(law, cost, nonzero_params, compute)))
                    }
                    AnyLaw::Own(law) => {
                        law.best_place(cost, (nonzero_params, compute), None, None)?
                    }
                };
                let Some((level, density)) = best else { return Ok(None) };
                let data = cost.data_at(level, density, nonzero_params, compute)?;
                Ok(Some(Question { nonzero_params, density, data, cost: Some(cost) }))
            }
            Self::Loss { nonzero_params, density, data, .. } => {
                let (nonzero_params, density, data) = (*nonzero_params, *density, *data);
                Ok(Some(Question { nonzero_params, density, data, cost: None }))
            }
        }
    }

    /// How far the answers of resampled laws scatter: half the width of the middle 68 %, which is one standard
    /// deviation of a normal distribution.
    #[must_use]
    pub(super) fn scatter(mut answers: Vec<f64>) -> f64 {
        let [above, below] = ONE_DEVIATION.map(|share| quantile(&mut answers, share));
        (above - below) / 2.0
    }
}
