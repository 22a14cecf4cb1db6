//! The best sparsity of a training budget, everything that is reported beside it, and the intervals.

use super::coefficients::Coefficients;
use super::cost::TrainingCost;
use super::ensemble::Interval;
use super::many::{LinearOptimum, linear_optima};
use super::optimum::{Optimum, chinchilla_ratio, optimal_sparsity_under};
use super::quantity::{Compute, Data, Density, DomainError, NonzeroParams};
use super::repetition::{Repetition, effective_data};

/// The reason why a law has no answer to a question that is in range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnswerError {
    /// The data that the budget pays for is out of range.
    #[error("the data that this compute pays for {0}")]
    Data(#[from] DomainError),
    /// The named number of the answer is not finite.
    #[error("{0} overflows at this question: it lies far outside any data")]
    NotFinite(&'static str),
}

/// Returns the number if it is finite.
///
/// # Errors
/// [`AnswerError::NotFinite`] with `name` where it is not.
pub fn finite(name: &'static str, value: f64) -> Result<f64, AnswerError> {
    if value.is_finite() { Ok(value) } else { Err(AnswerError::NotFinite(name)) }
}

/// The best sparsity at a size and a budget, and what follows from it.
#[derive(Debug, Clone, Copy)]
pub struct Recommendation {
    /// The best model.
    pub best: Optimum,
    /// Parameters of the best model, zeros included.
    pub total_params: f64,
    /// The dense model with the same number of non-zero parameters and the same compute.
    pub dense: Optimum,
    /// [`Coefficients::gain`] at the best sparsity.
    pub gain: f64,
    /// [`chinchilla_ratio`] of the question.
    pub chinchilla_ratio: f64,
}

impl Recommendation {
    /// Answers one question. The law must describe size, sparsity and data.
    ///
    /// # Errors
    /// [`AnswerError::Data`] where the budget pays for no representable amount of data,
    /// [`AnswerError::NotFinite`] where a number overflows.
    pub fn new(
        law: &Coefficients,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Result<Self, AnswerError> {
        Self::under(law, cost, (nonzero_params, compute), None, None)
    }

    /// Like [`Self::new`], with repeated data where `repetition` is given: costs count all data, and losses count what
    /// it is worth ([`Repetition::effective`]).
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn repeating(
        law: &Coefficients,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        repetition: Option<&Repetition>,
    ) -> Result<Self, AnswerError> {
        Self::under(law, cost, (nonzero_params, compute), None, repetition)
    }

    /// Like [`Self::new`], restricted to the densities from `least` up. Without `least` the cost must have an optimum
    /// ([`TrainingCost::has_optimum`]).
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn down_to(
        least: Option<Density>,
        law: &Coefficients,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Result<Self, AnswerError> {
        Self::under(law, cost, (nonzero_params, compute), least, None)
    }

    /// Like [`Self::down_to`], with repeated data where `repetition` is given.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn under(
        law: &Coefficients,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
        least: Option<Density>,
        repetition: Option<&Repetition>,
    ) -> Result<Self, AnswerError> {
        let question = (nonzero_params, compute);
        let best = optimal_sparsity_under(law, cost, question, least, repetition)?;
        let dense_data = cost.data(Density::DENSE, nonzero_params, compute)?;
        let dense = Optimum {
            density: Density::DENSE,
            data: dense_data,
            loss: law.loss(Density::DENSE, nonzero_params, effective_data(repetition, dense_data)),
        };
        let found = Self {
            best,
            total_params: best.total_params(nonzero_params),
            dense,
            gain: law.gain(best.density),
            chinchilla_ratio: chinchilla_ratio(law, cost, nonzero_params, compute),
        };
        found.finite()
    }

    /// The answers to many questions, in their order. `cost` returns the training cost of a question by its index.
    ///
    /// If `share_cost` says that all questions have the same cost and this cost is linear in the sparsity, they are
    /// solved together. This is many times as fast and agrees with [`Self::new`] to rounding.
    ///
    /// # Errors
    /// As for [`Self::new`], with the index of the first question that has no answer.
    pub fn all<'a>(
        law: &Coefficients,
        questions: &[(NonzeroParams, Compute)],
        share_cost: bool,
        cost: impl Fn(usize) -> &'a TrainingCost,
    ) -> Result<Vec<Self>, (usize, AnswerError)> {
        let together = if share_cost && !questions.is_empty() {
            linear_optima(law, cost(0), questions)
        } else {
            None
        };
        let answer = |(place, (size, compute)): (usize, &(NonzeroParams, Compute))| {
            let answer = match &together {
                Some(together) => Self::of_many(&together[place], *size),
                None => Self::new(law, cost(place), *size, *compute),
            };
            answer.map_err(|error| (place, error))
        };
        questions.iter().enumerate().map(answer).collect()
    }

    /// The answer to one of many questions that [`linear_optima`] has solved together.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn of_many(
        found: &LinearOptimum,
        nonzero_params: NonzeroParams,
    ) -> Result<Self, AnswerError> {
        let best = Optimum {
            density: Density::clamped(found.density),
            data: Data::new(found.data)?,
            loss: found.loss,
        };
        let dense = Optimum {
            density: Density::DENSE,
            data: Data::new(found.dense_data)?,
            loss: found.dense_loss,
        };
        let found = Self {
            best,
            total_params: best.total_params(nonzero_params),
            dense,
            gain: found.gain,
            chinchilla_ratio: found.chinchilla_ratio,
        };
        found.finite()
    }

    pub(super) fn finite(self) -> Result<Self, AnswerError> {
        finite("the loss", self.best.loss)?;
        finite("total_params", self.total_params)?;
        finite("the dense loss", self.dense.loss)?;
        finite("the gain", self.gain)?;
        finite("chinchilla_ratio", self.chinchilla_ratio)?;
        Ok(self)
    }
}

/// The intervals of a [`Recommendation`].
#[derive(Debug, Clone, Copy)]
pub struct RecommendationIntervals {
    /// Interval of the best sparsity.
    pub sparsity: Interval,
    /// Interval of the loss at the recommended sparsity.
    pub loss: Interval,
    /// Interval of the loss of the dense alternative.
    pub dense_loss: Interval,
    /// Interval of the gain at the recommended sparsity.
    pub gain: Interval,
    /// Interval of the Chinchilla ratio of the question.
    pub chinchilla_ratio: Interval,
}
