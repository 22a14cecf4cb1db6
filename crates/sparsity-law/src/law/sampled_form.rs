//! A law of a form with coefficients of its own, with the laws of its resampled runs.
//!
//! Every resampled law is evaluated for every question: for these forms there is no short way to find the few laws that
//! can hold the ends of an interval.

use super::cost::TrainingCost;
use super::ensemble::{Ensemble, Interval};
use super::form_law::FormLaw;
use super::form_optimum::FormRecommendation;
use super::measured::{MeasuredChoice, MeasuredSparsity};
use super::optimum::Optimum;
use super::quantity::{Compute, Data, Density, NonzeroParams};
use super::recommendation::AnswerError;
use super::repetition::{Repetition, effective_data};
use super::widening::Widening;
use crate::pace::step;

/// Computes the loss of a run from its mean loss and its residual.
type Measured = fn(f64, f64) -> f64;

/// A law of such a form, with the laws of its resampled runs if there are any.
#[derive(Debug)]
pub struct SampledForm {
    law: FormLaw,
    ensemble: Option<Ensemble>,
    widening: Option<Widening>,
    measured: Measured,
}

/// The recommendation of such a law, with its intervals.
#[derive(Debug, Clone, PartialEq)]
pub struct FormAnswer {
    /// The recommendation.
    pub found: FormRecommendation,
    /// All levels at the size and budget, for a law of levels; `None` for other forms.
    pub choice: Option<MeasuredChoice>,
    /// Intervals of the recommendation; `None` where they were not requested, or the law has no resamples.
    pub intervals: Option<FormIntervals>,
}

/// The intervals of a [`FormRecommendation`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FormIntervals {
    /// Interval of the best sparsity; for levels, from one level to another.
    pub sparsity: Interval,
    /// Interval of the loss at the recommended sparsity.
    pub loss: Interval,
    /// Interval of the loss of the dense alternative.
    pub dense_loss: Option<Interval>,
    /// Interval of the gain at the recommended sparsity.
    pub gain: Option<Interval>,
    /// Interval of the Chinchilla ratio of the question.
    pub chinchilla_ratio: Option<Interval>,
}

impl SampledForm {
    /// A law and its resamples. `measured` computes the loss of a run from its mean loss and its noise, according to
    /// the residual that was fitted. `widening` describes what rolling hold-outs show of errors outside the runs.
    #[must_use]
    pub fn new(
        law: FormLaw,
        ensemble: Option<Ensemble>,
        widening: Option<Widening>,
        measured: Measured,
    ) -> Self {
        let ensemble = ensemble.filter(|ensemble| !ensemble.forms().is_empty());
        Self { law, ensemble, widening, measured }
    }

    /// The law of all runs.
    #[must_use]
    pub const fn law(&self) -> &FormLaw {
        &self.law
    }

    /// The resampled laws, of the same form.
    #[must_use]
    pub const fn ensemble(&self) -> Option<&Ensemble> {
        self.ensemble.as_ref()
    }

    /// Approximate memory of the law in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let laws = self.ensemble.as_ref().map_or(0, |ensemble| ensemble.forms().len());
        // A level takes four numbers; a law of experts has ten numbers in all.
        (laws + 1) * (size_of::<FormLaw>() + 4 * 8 * self.law.count())
    }

    /// Interval of an answer that every law has; `None` without resamples, and where a law has no answer, as the
    /// interval would be too narrow without that law.
    #[must_use]
    pub fn interval(&self, answer: impl Fn(&FormLaw) -> Option<f64>) -> Option<Interval> {
        let ensemble = self.ensemble.as_ref()?;
        let answers = ensemble.forms().iter().map(|law| {
            step();
            answer(law).filter(|answer| !answer.is_nan())
        });
        let answers: Vec<f64> = answers.collect::<Option<_>>()?;
        Some(ensemble.interval_of(answers))
    }

    /// Interval of each coefficient, in the order of [`FormLaw::named`]; `None` without resamples.
    #[must_use]
    pub fn coefficient_intervals(&self) -> Option<Vec<Interval>> {
        let ensemble = self.ensemble.as_ref()?;
        let rows: Vec<Vec<f64>> = ensemble.forms().iter().map(FormLaw::values).collect();
        let column = |place: usize| rows.iter().filter_map(|row| row.get(place).copied()).collect();
        Some((0..self.law.count()).map(|place| ensemble.interval_of(column(place))).collect())
    }

    /// Intervals of the mean loss over the resampled laws and of the loss of one new run, which contains the former;
    /// `None` where the law has no resamples, or does not know the sparsity.
    #[must_use]
    pub fn loss_intervals(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Option<(Interval, Interval)> {
        self.loss_intervals_at(None, density, nonzero_params, data)
    }

    /// Like [`Self::loss_intervals`], for the level with the index `level` where one is given.
    #[must_use]
    pub fn loss_intervals_at(
        &self,
        level: Option<usize>,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Option<(Interval, Interval)> {
        let ensemble = self.ensemble.as_ref()?;
        let loss = self.law.loss_at(level, density, nonzero_params, data)?;
        let (mut means, mut runs) = (Vec::new(), Vec::new());
        for (law, member) in ensemble.forms().iter().zip(ensemble.members()) {
            step();
            let mean = law.loss_at(level, density, nonzero_params, data)?;
            means.push(mean);
            runs.push((self.measured)(mean, member.noise));
        }
        let (mean, run) = (ensemble.interval_of(means), ensemble.interval_of(runs));
        let run = Interval { low: run.low.min(mean.low), high: run.high.max(mean.high), ..run };
        let Some(widening) = &self.widening else { return Some((mean, run)) };
        let distance = widening.reach.distance(density, nonzero_params, data);
        Some(widening.losses((mean, run), loss, distance, self.measured))
    }

    /// The best model at a size and a budget, with intervals if `intervals` is set. `None` where no level is as dense
    /// as `least`, or where the loss falls without end.
    ///
    /// # Errors
    /// [`AnswerError::Data`] where the budget pays for no representable amount of data,
    /// [`AnswerError::NotFinite`] where a number overflows.
    pub fn recommend(
        &self,
        cost: &TrainingCost,
        question: (NonzeroParams, Compute),
        least: Option<Density>,
        repetition: Option<&Repetition>,
        intervals: bool,
    ) -> Result<Option<FormAnswer>, AnswerError> {
        let Some(found) = self.law.recommend(cost, question, least, repetition)? else {
            return Ok(None);
        };
        let choice = self.choice(cost, question, least, repetition, intervals)?;
        let (nonzero_params, compute) = question;
        let mean = |level: Option<usize>, model: &Optimum| {
            let worth = effective_data(repetition, model.data);
            let known = self.loss_intervals_at(level, model.density, nonzero_params, worth);
            known.map(|(mean, _)| mean)
        };
        let best = |law: &FormLaw| match law.best_density(cost, question, least, repetition) {
            Ok(Some(best)) => Some(best.sparsity().get()),
            // The loss falls without end.
            Ok(None) => Some(1.0),
            Err(_) => None,
        };
        let sparsity = || match (&choice, &self.ensemble) {
            (Some(choice), Some(ensemble)) => choice.interval(ensemble.level(), ensemble.tail()),
            _ => self.interval(best),
        };
        let known = |sparsity| {
            Some(FormIntervals {
                sparsity,
                loss: mean(found.level, &found.best)?,
                dense_loss: found.dense.as_ref().and_then(|dense| mean(found.dense_level, dense)),
                gain: found.gain.and_then(|_| {
                    let density = found.best.density;
                    self.interval(|law| law.gain_at(found.level, density, nonzero_params))
                }),
                chinchilla_ratio: found.chinchilla_ratio.and_then(|_| {
                    self.interval(|law| law.chinchilla_ratio(cost, nonzero_params, compute))
                }),
            })
        };
        let intervals = if intervals { sparsity().and_then(known) } else { None };
        Ok(Some(FormAnswer { found, choice, intervals }))
    }

    /// All levels from `least` up at a size and a budget; `None` for forms without levels.
    fn choice(
        &self,
        cost: &TrainingCost,
        question: (NonzeroParams, Compute),
        least: Option<Density>,
        repetition: Option<&Repetition>,
        intervals: bool,
    ) -> Result<Option<MeasuredChoice>, AnswerError> {
        let FormLaw::Levels(levels) = &self.law else { return Ok(None) };
        let (nonzero_params, compute) = question;
        let mut found = Vec::with_capacity(levels.levels.len());
        for (place, density) in levels.places_down_to(least) {
            let level = Some(place);
            let at = (level, density);
            let model = self.law.model(cost, at, nonzero_params, compute, repetition)?;
            let Some(model) = model else { continue };
            let worth = effective_data(repetition, model.data);
            let loss = if intervals {
                self.loss_intervals_at(level, density, nonzero_params, worth)
            } else {
                None
            };
            let loss = loss.map(|(mean, _)| mean);
            found.push(MeasuredSparsity { model, level, loss, share: None });
        }
        let of_loss = |loss: &dyn Fn(&MeasuredSparsity) -> f64| {
            (0..found.len()).min_by(|a, b| loss(&found[*a]).total_cmp(&loss(&found[*b])))
        };
        let Some(best) = of_loss(&|level| level.model.loss) else { return Ok(None) };
        let ensemble = self.ensemble.as_ref().filter(|_| intervals);
        let mut wins = vec![0_u32; found.len()];
        for law in ensemble.iter().flat_map(|ensemble| ensemble.forms()) {
            step();
            let loss = |level: &MeasuredSparsity| {
                let worth = effective_data(repetition, level.model.data);
                let loss = law.loss_at(level.level, level.model.density, nonzero_params, worth);
                loss.unwrap_or(f64::INFINITY)
            };
            wins[of_loss(&loss).unwrap_or(best)] += 1;
        }
        if let Some(ensemble) = ensemble {
            let count = ensemble.forms().len() as f64;
            for (level, wins) in found.iter_mut().zip(wins) {
                level.share = Some(f64::from(wins) / count);
            }
        }
        Ok(Some(MeasuredChoice { levels: found, best }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{ExpertCoefficients, FlopMode, FlopsPerParam, PruningSchedule};

    #[test]
    fn a_resample_without_an_answer_is_not_left_out() {
        let found = ExpertCoefficients {
            e: 0.94,
            a: 16612.5,
            alpha: 0.5962,
            b: 5455.67,
            beta: 0.3954,
            c: 0.4598,
            lambda: 0.3,
            d: 17.26,
            delta: 0.1603,
            gamma: 0.1595,
        };
        // Every term falls as the number of experts grows, and data has no effect.
        let endless = ExpertCoefficients { b: 0.0, lambda: -0.1666, delta: 0.1, ..found };
        let members = |laws: &[ExpertCoefficients]| {
            laws.iter().map(|law| (FormLaw::Experts(*law), 0.0)).collect()
        };
        let sampled = |laws: &[ExpertCoefficients]| {
            let ensemble = Ensemble::of_forms(members(laws), 0.95, 0.025);
            SampledForm::new(FormLaw::Experts(found), ensemble, None, |loss, noise| loss + noise)
        };
        let cost = TrainingCost::new(
            FlopsPerParam::TRAINING,
            PruningSchedule::default(),
            FlopMode::Sparse,
        );
        let question = (NonzeroParams::new(1e8).unwrap(), Compute::new(1e20).unwrap());
        let high = |laws: &[ExpertCoefficients]| {
            let answer = sampled(laws).recommend(&cost, question, None, None, true).unwrap();
            answer.unwrap().intervals.unwrap().sparsity.high
        };
        assert!(high(&[found; 3]) < 0.9);
        assert!(high(&[found, found, endless]) > 0.95);
        let some = |law: &FormLaw| (*law == FormLaw::Experts(found)).then_some(1.0);
        assert!(sampled(&[found; 3]).interval(some).is_some());
        assert_eq!(sampled(&[found, found, endless]).interval(some), None);
    }
}
