//! Suggests which runs of a grid to make next to narrow an answer, and how reliable the suggestion is.

use super::choice::{ChosenRun, DesignError, PlannedRun};
use super::config::FitConfig;
use super::design::Knowledge;
use super::grid::{GridTooLarge, RunGrid};
use super::observations::Observations;
use super::own_design::{Contest, OwnKnowledge};
use super::target::Target;
use crate::law::{
    AnswerError, AnyLaw, Compute, Data, FormLaw, Interval, NonzeroParams, PlanLaw, Question,
    TrainingCost, finite,
};

/// Largest ratio, either way, between the scatter of the resampled laws and that of the linearised law that is not
/// reported.
const ROUGH: f64 = 2.0;

/// A fitted law, the runs behind it, and what may be spent on new ones.
#[derive(Debug)]
pub struct SuggestionTask<'a> {
    /// The law with its resamples. It must determine the effects of size, sparsity and data.
    pub law: PlanLaw<'a>,
    /// The runs that the law was fitted on.
    pub runs: &'a Observations,
    /// Name of each run's level, for a law of levels that distinguishes runs of the same sparsity by name;
    /// otherwise empty.
    pub names: &'a [Option<String>],
    /// Configuration of the fit.
    pub fit: &'a FitConfig,
    /// Standard deviation of the residuals of the runs, in the unit of the residual.
    pub noise: f64,
    /// The answer whose interval is to be narrowed.
    pub target: &'a Target,
    /// Cost model of the new runs.
    pub cost: &'a TrainingCost,
    /// Budget for all new runs together.
    pub budget: Compute,
    /// Largest number of runs to suggest; at least 1.
    pub most: usize,
}

/// Runs to make next.
#[derive(Debug, Clone)]
pub struct SuggestedRuns<'a> {
    /// The answer by the law as it is.
    pub value: f64,
    /// Interval of the answer, where the law has resamples.
    pub interval: Option<Interval>,
    /// The model that the answer is about; `None` for a coefficient.
    pub question: Option<Question<'a>>,
    /// For the best sparsity by a law of levels: the two best levels, whose difference in loss is narrowed,
    /// because the best level itself changes only when another one overtakes it. `None` for every other answer.
    pub contest: Option<Contest>,
    /// The runs to make together, the one that narrows the answer most first; at least one.
    pub runs: Vec<SuggestedRun>,
    /// Single runs, in ascending order of cost, such that no run of the grid is both cheaper and better.
    pub alternatives: Vec<SuggestedRun>,
    /// Ratio of the scatter of the answer over the resampled laws to that of the linearised law, where it is above
    /// 2 or below 1/2. The expected widths are then only rough.
    pub scatter_ratio: Option<f64>,
}

impl SuggestedRuns<'_> {
    /// Total compute of all suggested runs, in FLOPs.
    #[must_use]
    pub fn compute(&self) -> f64 {
        self.runs.iter().map(|each| each.run.compute).sum()
    }

    /// Width of the answer's interval after all suggested runs, as a share of the width now; at most 1.
    #[must_use]
    pub fn width_ratio(&self) -> f64 {
        self.runs.last().map_or(1.0, |each| each.width_ratio)
    }
}

/// A suggested run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuggestedRun {
    /// The run. Its cost is finite.
    pub run: PlannedRun,
    /// Loss of the run as the law predicts it; finite.
    pub loss: f64,
    /// See [`ChosenRun::width_ratio`].
    pub width_ratio: f64,
}

/// Why no run is suggested.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SuggestionError {
    /// The grid is too large.
    #[error(transparent)]
    Grid(#[from] GridTooLarge),
    /// No run can be found that narrows the answer.
    #[error(transparent)]
    Design(#[from] DesignError),
    /// The budget does not pay for any run of the grid.
    #[error(
        "pays for none of the {candidates} runs of the grid, of which the cheapest costs {least:.3e}"
    )]
    Unpaid {
        /// Number of runs in the grid.
        candidates: usize,
        /// Cost of the cheapest run in the grid, in FLOPs.
        least: f64,
    },
    /// A number of the answer is not finite.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl<'a> SuggestionTask<'a> {
    /// Suggests the runs of a grid that most narrow the interval of the target; see [`Knowledge::suggest`].
    ///
    /// # Errors
    /// [`SuggestionError`] where the grid is too large, no run of it narrows the answer or can be paid for, or a
    /// number of the answer is not finite.
    pub fn suggest(&self, grid: RunGrid) -> Result<SuggestedRuns<'a>, SuggestionError> {
        let law = self.law.law();
        let candidates = grid.runs(law, self.runs, self.cost)?;
        let question = self.target.question(law)?;
        let toward = question.as_ref().map(|asked| (asked.nonzero_params, asked.data));
        let (budget, most) = (self.budget.get(), self.most);
        let (value, interval) = match self.law {
            PlanLaw::Curve(law) => self.target.answer(law)?,
            PlanLaw::Own(law) => self.target.own_answer(law)?,
        };
        let contest = self.contest(law)?;
        let found = match law {
            AnyLaw::Curve(law) => {
                let known = Knowledge::new(law, self.runs, self.fit, self.noise, toward)?;
                let answer = |law: &_| self.target.linearised(law);
                known.suggest(answer, &candidates, budget, most)?
            }
            AnyLaw::Own(law) => {
                let known = self.own_knowledge(law, toward)?;
                let answer = |law: &_| self.target.own_linearised(law, contest.as_ref());
                known.suggest(answer, &candidates, budget, most)?
            }
        };
        if found.runs.is_empty() {
            let least = candidates.iter().map(|run| run.compute).fold(f64::INFINITY, f64::min);
            return Err(SuggestionError::Unpaid { candidates: candidates.len(), least });
        }
        let of = |chosen: &[ChosenRun]| -> Result<Vec<SuggestedRun>, AnswerError> {
            chosen.iter().map(|chosen| self.suggested(&candidates, *chosen)).collect()
        };
        Ok(SuggestedRuns {
            value,
            interval,
            question,
            contest,
            runs: of(&found.runs)?,
            alternatives: of(&found.alternatives)?,
            scatter_ratio: self.scatter_ratio(found.deviation * self.noise, contest.as_ref()),
        })
    }

    fn contest(&self, law: AnyLaw<'_>) -> Result<Option<Contest>, AnswerError> {
        match (law, self.target) {
            (AnyLaw::Own(law), Target::OptimalSparsity { nonzero_params, compute, cost }) => {
                Contest::of(law, cost, (*nonzero_params, *compute))
            }
            _ => Ok(None),
        }
    }

    fn own_knowledge<'l>(
        &self,
        law: &'l FormLaw,
        toward: Option<(NonzeroParams, Data)>,
    ) -> Result<OwnKnowledge<'l>, DesignError> {
        let runs = (self.runs, self.names);
        OwnKnowledge::new(law, runs, self.fit.residual, self.noise, toward)
    }

    fn suggested(
        &self,
        candidates: &[PlannedRun],
        chosen: ChosenRun,
    ) -> Result<SuggestedRun, AnswerError> {
        let run = candidates[chosen.candidate];
        let (density, n, data) = (run.sparsity.density(), run.nonzero_params, run.data);
        let loss = match self.law.law() {
            AnyLaw::Curve(law) => law.loss(density, n, data),
            // A run of the grid is always at a level of the law.
            AnyLaw::Own(law) => law.loss_at(run.level, density, n, data).unwrap_or(f64::NAN),
        };
        finite("the compute of a run", run.compute)?;
        finite("the loss of a run", loss)?;
        Ok(SuggestedRun { run, loss, width_ratio: chosen.width_ratio })
    }

    /// Scatter of the resampled laws over that of the linearised one, where the two differ by more than [`ROUGH`].
    fn scatter_ratio(&self, deviation: f64, contest: Option<&Contest>) -> Option<f64> {
        let answers: Vec<f64> = match self.law {
            PlanLaw::Curve(law) => {
                let members = law.ensemble()?.members();
                members.filter_map(|member| self.target.linearised(&member.coefficients)).collect()
            }
            PlanLaw::Own(law) => {
                let members = law.ensemble()?.forms().iter();
                members.filter_map(|law| self.target.own_linearised(law, contest)).collect()
            }
        };
        if answers.is_empty() {
            return None;
        }
        let ratio = Target::scatter(answers) / deviation;
        (!(ROUGH.recip()..=ROUGH).contains(&ratio)).then_some(ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::law::{
        CoefficientName, Data, Density, FlopMode, FlopsPerParam, NonzeroParams, PruningSchedule,
        SampledLaw, T5_C4,
    };

    fn cost() -> TrainingCost {
        let pruning = PruningSchedule::default();
        TrainingCost::new(FlopsPerParam::TRAINING, pruning, FlopMode::Sparse)
    }

    #[test]
    fn suggested_runs_are_paid_and_narrow_the_answer() {
        let nonzero_params = NonzeroParams::new(1e8).unwrap();
        let targets = [
            Target::Coefficient(CoefficientName::BD),
            Target::OptimalSparsity {
                nonzero_params,
                compute: Compute::new(1e20).unwrap(),
                cost: cost(),
            },
            Target::Loss {
                nonzero_params,
                density: Density::new(0.3).unwrap(),
                level: None,
                data: Data::new(1e11).unwrap(),
            },
        ];
        let law = SampledLaw::new(*T5_C4.coefficients(), None, |loss, _| loss);
        let runs = Observations::new(testing::grid(T5_C4.coefficients(), 0.002, 1));
        let (fit, cost) = (FitConfig::default(), cost());
        for target in &targets {
            let suggest = |budget: f64| {
                let task = SuggestionTask {
                    law: (&law).into(),
                    runs: &runs,
                    names: &[],
                    fit: &fit,
                    noise: 0.002,
                    target,
                    cost: &cost,
                    budget: Compute::new(budget).unwrap(),
                    most: 3,
                };
                task.suggest(RunGrid::default())
            };
            let found = suggest(1e20).unwrap();
            assert!(!found.runs.is_empty() && found.runs.len() <= 3);
            assert!(found.compute() <= 1e20 * (1.0 + 1e-8));
            assert!(found.width_ratio() < 1.0, "{target:?}");
            assert_eq!(found.value, target.value(T5_C4.coefficients()));
            let unpaid = suggest(1.0).unwrap_err();
            assert!(matches!(unpaid, SuggestionError::Unpaid { candidates, least }
                if candidates > 100 && least > 1.0));
        }
    }
}
