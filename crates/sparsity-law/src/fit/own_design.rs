//! What runs tell about a law of a form with its own coefficients: the counterpart of [`super::design`].
//!
//! For a law of levels, the best sparsity is one of the levels and does not change under small changes of the
//! coefficients. What runs can decide is which of the two best levels is better, so there the difference of their
//! losses is narrowed: see [`Contest`].

use nalgebra::{DVector, Dyn};

use super::choice::{
    DesignError, Information, PlannedRun, Suggestion, Told, require_moved, slope_of,
};
use super::config::Residual;
use super::model::{FormModel, Kind, Point, Row, Units};
use super::observations::{Observation, Observations};
use crate::law::{
    AnswerError, Compute, Data, Density, FormLaw, NonzeroParams, Sparsity, TrainingCost,
};

/// What the runs of a law with its own coefficients tell about these, linearised at the law.
#[derive(Debug, Clone)]
pub struct OwnKnowledge<'a> {
    basis: OwnBasis<'a>,
    residual: Residual,
    /// 1 at coordinates that are free, 0 at others.
    free: DVector<f64>,
    information: Information<Dyn>,
}

/// A law in the coordinates of its fit.
#[derive(Debug, Clone)]
struct OwnBasis<'a> {
    law: &'a FormLaw,
    model: FormModel,
    units: Units,
    point: Point,
}

impl<'a> OwnKnowledge<'a> {
    /// Same as [`super::Knowledge::new`], with the name of each run's level where levels have names.
    ///
    /// # Errors
    /// [`DesignError::Singular`] where neither the runs nor the noise bound the coefficients.
    pub fn new(
        law: &'a FormLaw,
        (runs, names): (&Observations, &[Option<String>]),
        residual: Residual,
        noise: f64,
        toward: Option<(NonzeroParams, Data)>,
    ) -> Result<Self, DesignError> {
        let count = runs.len() as f64;
        let mean = |of: fn(&Observation) -> f64| {
            runs.as_slice().iter().map(|run| of(run).ln()).sum::<f64>() / count
        };
        // The unit of the loss scales all amplitudes alike and does not change the slopes of its logarithm.
        let units = Units {
            ln_n: mean(|run| run.nonzero_params.get()),
            ln_d: mean(|run| run.data.get()),
            ln_l: 0.0,
        };
        let (model, point) = FormModel::of(law, units);
        let basis = OwnBasis { law, model, units, point };
        let free = |kind: &Kind| f64::from(u8::from(*kind != Kind::Held));
        let kinds = model.kinds();
        let free = DVector::from_iterator(kinds.len(), kinds.iter().map(free));
        let rows = runs.as_slice().iter().zip(runs.weights()).enumerate();
        let told = rows.map(|(place, (run, weight))| {
            let Observation { nonzero_params, data, sparsity, .. } = *run;
            let level = match (law, names.get(place)) {
                (FormLaw::Levels(law), Some(Some(name))) => law.place_of(sparsity.density(), name),
                _ => law.place(sparsity.density()),
            };
            let slope = basis.slope(residual, level, (sparsity.density(), nonzero_params, data));
            Told { slope, weight: *weight, nonzero_params, data }
        });
        let information = Information::new(&told.collect::<Vec<_>>(), &free, noise, toward)?;
        Ok(Self { basis, residual, free, information })
    }

    /// Same as [`super::Knowledge::suggest`].
    ///
    /// # Errors
    /// [`DesignError::NotRepresentable`] where the answer is not finite at coefficients close by,
    /// [`DesignError::Settled`] where small changes of the coefficients do not change it.
    pub fn suggest(
        &self,
        answer: impl Fn(&FormLaw) -> Option<f64>,
        candidates: &[PlannedRun],
        budget: f64,
        most: usize,
    ) -> Result<Suggestion, DesignError> {
        let basis = &self.basis;
        let goal = slope_of(&self.free, |place, step| {
            let mut point = basis.point.clone();
            point[place] += step;
            basis
                .law
                .with_values(&basis.model.own_values(&point, basis.units))
                .and_then(|law| answer(&law))
        })?;
        require_moved(&goal)?;
        let slope = |run: &PlannedRun| {
            let model = (run.sparsity.density(), run.nonzero_params, run.data);
            basis.slope(self.residual, run.level, model)
        };
        let slopes = candidates.iter().map(slope).collect();
        Ok(self.information.choose(&goal, slopes, candidates, budget, most))
    }
}

impl OwnBasis<'_> {
    /// Gradient of a run's prediction by the coordinates, in the unit of the residual; zero at a level that the
    /// law does not have.
    fn slope(
        &self,
        residual: Residual,
        level: Option<usize>,
        (density, nonzero_params, data): (Density, NonzeroParams, Data),
    ) -> DVector<f64> {
        let mut slope = DVector::zeros(self.point.len());
        let level = match self.law {
            FormLaw::Levels(_) => match level {
                Some(place) => place,
                None => return slope,
            },
            FormLaw::Experts(_) => 0,
        };
        let row = Row {
            ln_x: density.get().ln(),
            ln_mean: 0.0,
            ln_n: nonzero_params.get().ln() - self.units.ln_n,
            ln_d: data.get().ln() - self.units.ln_d,
            ln_l: 0.0,
            level,
            share: 0.0,
        };
        let loss = self.model.evaluate(&self.point, &row, slope.as_mut_slice());
        match residual {
            Residual::Log => slope / loss,
            Residual::Linear => slope,
        }
    }
}

/// The two best levels for a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contest {
    /// The level with the lowest loss.
    pub best: Contender,
    /// The level with the second lowest loss.
    pub next: Contender,
}

/// One of the two best levels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contender {
    /// Index among the levels of the law.
    pub level: usize,
    /// Density of the level.
    pub density: Density,
    /// Data that the budget pays for at this level.
    pub data: Data,
    /// Loss that the law predicts there.
    pub loss: f64,
}

impl Contest {
    /// The two best levels of a law of levels; `None` for another law, and where fewer than two levels can be
    /// trained.
    ///
    /// # Errors
    /// [`AnswerError::Data`] where the budget pays for no representable amount of data,
    /// [`AnswerError::NotFinite`] where a loss is not finite.
    pub fn of(
        law: &FormLaw,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
    ) -> Result<Option<Self>, AnswerError> {
        let FormLaw::Levels(levels) = law else { return Ok(None) };
        let mut found = Vec::with_capacity(levels.levels.len());
        for (level, capacity) in levels.levels.iter().enumerate() {
            let Ok(density) = Sparsity::new(capacity.sparsity).map(Sparsity::density) else {
                continue;
            };
            let model = law.model(cost, (Some(level), density), nonzero_params, compute, None)?;
            found.extend(model.map(|model| Contender {
                level,
                density,
                data: model.data,
                loss: model.loss,
            }));
        }
        // The sort is stable: of equal losses the first, which is the denser level, comes first.
        found.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        let mut found = found.into_iter();
        Ok(found.next().zip(found.next()).map(|(best, next)| Self { best, next }))
    }

    /// `ln` of the loss at the next level over that at the best one, predicted by a law with the same levels.
    #[must_use]
    pub fn ln_lead(&self, law: &FormLaw, nonzero_params: NonzeroParams) -> Option<f64> {
        let loss =
            |of: &Contender| law.loss_at(Some(of.level), of.density, nonzero_params, of.data);
        Some((loss(&self.next)? / loss(&self.best)?).ln())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::fit::{RunGrid, SuggestionError, SuggestionTask, Target};
    use crate::law::{
        ExpertCoefficients, FlopMode, FlopsPerParam, LevelCapacity, LevelLaw, PruningSchedule,
        SampledForm, T5_C4,
    };

    const NOISE: f64 = 0.002;

    /// A law of levels: the paper's form at four sparsities, and a pattern at 0.5 with 1 % more capacity loss.
    fn levels() -> FormLaw {
        let v = T5_C4.coefficients().values();
        let level = |(sparsity, name): (f64, Option<&str>)| {
            let worse = if name.is_some() { 1.01 } else { 1.0 };
            LevelCapacity {
                sparsity,
                name: name.map(str::to_owned),
                runs: 16,
                a: worse * (v.a_s * (1.0 - sparsity).powf(v.b_s) + v.c_s),
                gain: None,
            }
        };
        let all = [(0.0, None), (0.5, None), (0.5, Some("2:4")), (0.75, None), (0.875, None)];
        let levels = all.map(level).to_vec();
        let law = LevelLaw { levels, b_n: v.b_n, a_d: v.a_d, b_d: v.b_d, c: v.c };
        FormLaw::Levels(law.with_gains())
    }

    fn experts() -> FormLaw {
        FormLaw::Experts(ExpertCoefficients {
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
        })
    }

    /// A grid of runs in which every second run at sparsity 0.5 has the pattern.
    fn runs() -> (Observations, Vec<Option<String>>) {
        let runs = Observations::new(testing::grid(T5_C4.coefficients(), NOISE, 1));
        let name = |(place, run): (usize, &Observation)| {
            let has = run.sparsity.get() == 0.5 && place % 2 == 0;
            has.then(|| "2:4".to_owned())
        };
        let names = runs.as_slice().iter().enumerate().map(name).collect();
        (runs, names)
    }

    fn cost() -> TrainingCost {
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Dense)
    }

    #[test]
    fn slopes_are_those_of_finite_differences() {
        let (runs, names) = runs();
        let (n, d) = (NonzeroParams::new(3e7).unwrap(), Data::new(2e9).unwrap());
        let x = Density::new(0.5).unwrap();
        for (law, level) in [(levels(), Some(2)), (levels(), Some(1)), (experts(), None)] {
            for residual in [Residual::Log, Residual::Linear] {
                let known =
                    OwnKnowledge::new(&law, (&runs, &names), residual, NOISE, None).unwrap();
                let exact = known.basis.slope(residual, level, (x, n, d));
                let basis = &known.basis;
                let found = slope_of(&known.free, |place, step| {
                    let mut point = basis.point.clone();
                    point[place] += step;
                    let law = law.with_values(&basis.model.own_values(&point, basis.units))?;
                    let loss = law.loss_at(level, x, n, d)?;
                    Some(if residual == Residual::Log { loss.ln() } else { loss })
                });
                // Central differences with a step of 1e-4.
                assert!((&exact - found.unwrap()).amax() < 1e-7 * exact.amax(), "{law:?}");
                // The point gives the coefficients of the law back.
                let back = basis.model.own_values(&basis.point, basis.units);
                for (back, value) in back.iter().zip(law.values()) {
                    assert!((back / value - 1.0).abs() < 1e-12, "{back} {value}");
                }
            }
        }
    }

    #[test]
    fn a_run_tells_nothing_of_the_level_that_it_is_not_of() {
        let (runs, names) = runs();
        let law = levels();
        let known = OwnKnowledge::new(&law, (&runs, &names), Residual::Log, NOISE, None).unwrap();
        let at =
            (Density::new(0.5).unwrap(), NonzeroParams::new(3e7).unwrap(), Data::new(2e9).unwrap());
        let [plain, pattern] =
            [1, 2].map(|level| known.basis.slope(Residual::Log, Some(level), at));
        assert!(plain[1] > 0.0 && plain[2] == 0.0 && pattern[1] == 0.0 && pattern[2] > 0.0);
        // Runs with the pattern do not count for the plain level, so its capacity is known less well.
        let all = OwnKnowledge::new(&law, (&runs, &[]), Residual::Log, NOISE, None).unwrap();
        let variance = |known: &OwnKnowledge<'_>| known.information.covariance[(1, 1)];
        assert!(variance(&known) > variance(&all));
    }

    #[test]
    fn every_answer_of_such_a_law_gets_its_runs() {
        let (runs, names) = runs();
        let (size, compute) = (NonzeroParams::new(1e8).unwrap(), Compute::new(1e20).unwrap());
        let best = |cost| Target::OptimalSparsity { nonzero_params: size, compute, cost };
        let loss = |level| Target::Loss {
            nonzero_params: size,
            density: Density::new(0.5).unwrap(),
            level,
            data: Data::new(1e11).unwrap(),
        };
        let cases = [
            (levels(), Target::OwnCoefficient(5)),
            (levels(), best(cost())),
            (levels(), loss(Some(2))),
            (experts(), Target::OwnCoefficient(6)),
            (experts(), best(cost())),
            (experts(), loss(None)),
        ];
        let (fit, cost) = (crate::fit::FitConfig::default(), cost());
        for (law, target) in &cases {
            let of_levels = matches!(law, FormLaw::Levels(_));
            let sampled = SampledForm::new(law.clone(), None, None, |loss, _| loss);
            let suggest = |budget: f64| {
                SuggestionTask {
                    law: (&sampled).into(),
                    runs: &runs,
                    names: if of_levels { &names } else { &[] },
                    fit: &fit,
                    noise: NOISE,
                    target,
                    cost: &cost,
                    budget: Compute::new(budget).unwrap(),
                    most: 3,
                }
                .suggest(RunGrid::default())
            };
            let found = suggest(1e20).unwrap();
            assert!(!found.runs.is_empty() && found.compute() <= 1e20 * (1.0 + 1e-8));
            assert!(found.width_ratio() < 0.999, "{target:?} {found:?}");
            assert_eq!(found.value, target.own_value(law).unwrap());
            assert!(found.runs.iter().all(|run| run.run.level.is_some() == of_levels));
            assert!(matches!(suggest(1.0), Err(SuggestionError::Unpaid { .. })));
            let is_best = matches!(target, Target::OptimalSparsity { .. });
            assert_eq!(found.contest.is_some(), of_levels && is_best);
            if let Some(contest) = found.contest {
                assert!(contest.best.loss < contest.next.loss);
                // At least one run is at one of the two levels, as no other run tells them apart.
                let two = [contest.best.level, contest.next.level];
                assert!(found.runs.iter().any(|run| two.contains(&run.run.level.unwrap())));
            }
            if matches!(target, Target::Loss { level: Some(_), .. }) {
                assert!(found.runs.iter().any(|run| run.run.level == Some(2)), "{found:?}");
            }
        }
    }
}
