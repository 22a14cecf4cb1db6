//! The answers of a law that more runs can narrow.

use super::own_design::Contest;
use crate::law::{
    AnswerError, AnyLaw, CoefficientName, Coefficients, Compute, Data, Density, FormLaw, Interval,
    NonzeroParams, Question, SampledForm, SampledLaw, TrainingCost, finite, optimal_density,
    quantile,
};

/// One answer of a law.
#[derive(Debug, Clone)]
pub enum Target {
    /// A coefficient of the paper's form, or of another form that uses the same coefficients.
    Coefficient(CoefficientName),
    /// A coefficient of a form with its own coefficients, by its index in [`FormLaw::named`].
    OwnCoefficient(usize),
    /// The sparsity that gives the lowest loss for a training budget.
    OptimalSparsity {
        /// Number of non-zero parameters, `N`.
        nonzero_params: NonzeroParams,
        /// Training budget, `C`, in FLOPs.
        compute: Compute,
        /// Cost model of the training.
        cost: TrainingCost,
    },
    /// The loss of a model.
    Loss {
        /// Number of non-zero parameters, `N`.
        nonzero_params: NonzeroParams,
        /// Density, `1 - S`.
        density: Density,
        /// Index of the level, for a law of levels; `None` to find it by the density.
        level: Option<usize>,
        /// Amount of training data, `D`.
        data: Data,
    },
}

/// Cumulative probabilities of a normal distribution at one standard deviation above and below its mean.
const ONE_DEVIATION: [f64; 2] = [0.841, 0.159];

impl Target {
    /// The answer of a law without coefficients of its own; NaN for [`Self::OwnCoefficient`].
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

    /// The answer of a law of a form with its own coefficients; `None` where it has no such answer.
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

    /// The number whose variance the choice of runs minimises: the logarithm of a coefficient or a loss; a
    /// sparsity as it is. `None` where it is not finite.
    #[must_use]
    pub fn linearised(&self, law: &Coefficients) -> Option<f64> {
        let value = self.value(law);
        let value = match self {
            Self::Coefficient(_) | Self::OwnCoefficient(_) | Self::Loss { .. } => value.ln(),
            Self::OptimalSparsity { .. } => value,
        };
        value.is_finite().then_some(value)
    }

    /// Same as [`Self::linearised`], for a form with its own coefficients. A coefficient that may have either sign
    /// is taken as it is. With a `contest` of two levels, the best sparsity is replaced by the logarithm of the
    /// lead of the best level over the next one in loss.
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
    /// [`AnswerError::NotFinite`] where the answer is not finite.
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

    /// Same as [`Self::answer`], for a law of a form with its own coefficients.
    ///
    /// # Errors
    /// [`AnswerError::NotFinite`] where the answer is missing or not finite, and the errors of
    /// [`SampledForm::recommend`] for the best sparsity of a budget.
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

    /// The model that the answer is about; `None` for a coefficient, and where there is no best sparsity.
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
                Ok(Some(Question {
                    nonzero_params,
                    density,
                    data,
                    cost: Some(cost),
                    repetition: None,
                }))
            }
            Self::Loss { nonzero_params, density, data, .. } => {
                let (nonzero_params, density, data) = (*nonzero_params, *density, *data);
                Ok(Some(Question { nonzero_params, density, data, cost: None, repetition: None }))
            }
        }
    }

    /// Scatter of the answers of the resampled laws: half the width of the middle 68 %, which is one standard
    /// deviation for a normal distribution.
    #[must_use]
    pub(super) fn scatter(mut answers: Vec<f64>) -> f64 {
        let [above, below] = ONE_DEVIATION.map(|share| quantile(&mut answers, share));
        (above - below) / 2.0
    }
}
