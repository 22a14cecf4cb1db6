//! A whole plan: the best model under bounds, with models to compare it with, its intervals, and notes on how far to
//! trust it.
//!
//! [`Planner`] finds one best model for one law. A plan calls it several times: for the best model, for the best dense
//! one, for the best one with a pattern of the hardware, along a frontier of costs, and once for each resampled law.

use super::any_law::AnyLaw;
use super::cost::TrainingCost;
use super::ensemble::{Ensemble, Interval};
use super::form_law::FormLaw;
use super::gain_curve::GainCurve;
use super::level_law::LevelLaw;
use super::limits::{Constraint, Limits};
use super::means::{Means, ZeroPlacement};
use super::pattern::{PatternWorth, pattern_multiplier};
use super::plan::{Obstacle, Planner};
use super::quantity::{Data, Density, NonzeroParams};
use super::recommendation::{AnswerError, finite};
use super::repetition::{Repetition, effective_data};
use super::sampled::SampledLaw;
use super::sampled_form::SampledForm;
use super::schedule::PruningSchedule;
use super::scheme::{Goal, Model, SparsityScheme};
use super::step::StepCost;
use super::storage::Storage;
use super::support::{Range, Support, Variable};
use crate::pace::step;

/// Highest sparsity of a plan where neither the question nor the runs behind the law set one.
const HIGHEST_SPARSITY: f64 = 0.95;
/// Factor between the cost of the best model and that of each end of the frontier.
const SPAN: f64 = 100.0;
/// Range of costs that questions may have, in FLOPs.
const COSTS: Range = Range { min: 1.0, max: 1e40 };
/// Largest number of resampled laws for which the plan is repeated.
const MOST_RESAMPLES: usize = 1000;
/// Share of the budget that must remain unspent for the plan to say so.
const UNSPENT: f64 = 1e-6;

/// A pattern that the zeros of a planned model may have.
#[derive(Debug, Clone, Copy)]
pub struct PlannedPattern<'a> {
    /// Name of the pattern, such as `2:4`.
    pub name: &'a str,
    /// What the pattern is worth according to the law.
    pub worth: PatternWorth,
    /// Cost of a step with the pattern, relative to a dense step, once its kernels can run; `None` where it costs what
    /// any zeros of its sparsity cost.
    pub step_cost: Option<f64>,
    /// Whether the pattern keeps at most two of every four parameters, so that it can be stored in the 2:4 format.
    pub two_of_four: bool,
}

/// The law that plans are based on, of any form, with its resamples. It must describe size and data.
#[derive(Debug, Clone, Copy)]
pub enum PlanLaw<'a> {
    /// A law whose capacity is a curve over the sparsity.
    Curve(&'a SampledLaw),
    /// A law of a form with coefficients of its own. With a law of levels, plans have only the sparsities of its
    /// levels.
    Own(&'a SampledForm),
}

impl<'a> From<&'a SampledLaw> for PlanLaw<'a> {
    fn from(law: &'a SampledLaw) -> Self {
        Self::Curve(law)
    }
}

impl<'a> From<&'a SampledForm> for PlanLaw<'a> {
    fn from(law: &'a SampledForm) -> Self {
        Self::Own(law)
    }
}

impl<'a> PlanLaw<'a> {
    /// The law of all runs.
    #[must_use]
    pub const fn law(self) -> AnyLaw<'a> {
        match self {
            Self::Curve(sampled) => AnyLaw::Curve(sampled.coefficients()),
            Self::Own(sampled) => AnyLaw::Own(sampled.law()),
        }
    }

    fn ensemble(self) -> Option<&'a Ensemble> {
        match self {
            Self::Curve(sampled) => sampled.ensemble(),
            Self::Own(sampled) => sampled.ensemble(),
        }
    }

    /// What is found of the law at a place of the ensemble; `None` where there is no such law, or nothing is found.
    fn of_member<R>(
        self,
        ensemble: &Ensemble,
        place: usize,
        find: impl FnOnce(AnyLaw<'_>) -> Option<R>,
    ) -> Option<R> {
        match self {
            Self::Curve(_) => find((&ensemble.member(place).coefficients).into()),
            Self::Own(_) => find(ensemble.forms().get(place)?.into()),
        }
    }

    /// Interval of the loss of a model with this scheme; `None` where there are no resamples.
    fn loss_interval(
        self,
        scheme: &SparsityScheme,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Option<Interval> {
        let effective = scheme.effective;
        match self {
            Self::Curve(sampled) => {
                sampled.interval(|member| member.coefficients.loss(effective, nonzero_params, data))
            }
            Self::Own(sampled) => {
                sampled.interval(|law| law.loss_at(scheme.level, effective, nonzero_params, data))
            }
        }
    }

    /// Whether the law knows models with this scheme.
    fn knows(self, scheme: &SparsityScheme) -> bool {
        self.law().at(scheme.effective, scheme.level).is_some()
    }

    /// The levels of the law; `None` for a law that knows every density.
    fn levels(self) -> Option<&'a LevelLaw> {
        match self {
            Self::Own(sampled) => match sampled.law() {
                FormLaw::Levels(law) => Some(law),
                FormLaw::Experts(_) => None,
            },
            Self::Curve(_) => None,
        }
    }
}

/// The law, hardware and storage that plans are based on.
#[derive(Debug)]
pub struct PlanSetting<'a> {
    /// The law with its resamples.
    pub law: PlanLaw<'a>,
    /// The runs behind it, as far as they are known.
    pub support: &'a Support,
    /// The cost of training.
    pub cost: TrainingCost,
    /// The cost of a step, from which `cost` was made.
    pub step: StepCost,
    /// The times at which pruning begins and ends.
    pub pruning: PruningSchedule,
    /// The format in which weights are stored.
    pub storage: Storage,
    /// Number of tokens that the model will serve in its lifetime; at least 0.
    pub inference_tokens: f64,
    /// How data is repeated; `None` where all of it is new.
    pub repetition: Option<Repetition>,
}

/// A request for a plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanQuestion<'a> {
    /// The objective: least loss or least cost.
    pub goal: Goal,
    /// The bounds. Where neither they nor `patterns` limit the sparsity, no plan is sparser than the sparsest run (0.95
    /// where the runs are not known).
    pub limits: Limits,
    /// The only patterns that zeros may have; a model without zeros is also allowed. `None` where zeros may lie
    /// anywhere.
    pub patterns: Option<&'a [PlannedPattern<'a>]>,
    /// The patterns that the hardware can run. Where zeros may lie anywhere, the best model with one of these patterns
    /// is found as well. `None` where there are none.
    pub hardware_patterns: Option<&'a [PlannedPattern<'a>]>,
    /// Largest number of points of the frontier.
    pub frontier_points: u32,
    /// Whether to compute intervals, which requires one more plan for each resampled law.
    pub intervals: bool,
}

/// A model of a plan, with the pattern of its zeros.
#[derive(Debug, Clone, Copy)]
pub struct PlannedModel<'a> {
    /// The model. Its loss, cost, total size and memory are finite.
    pub model: Model,
    /// The pattern; `None` where zeros lie anywhere, or where there are none.
    pub pattern: Option<PlannedPattern<'a>>,
}

/// The best model under bounds.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The best model.
    pub best: PlannedModel<'a>,
    /// The best dense model at the same cost, under the same bounds except those on the sparsity; or the reason why
    /// there is none.
    pub dense: Result<PlannedModel<'a>, NoDense>,
    /// The cheapest dense model that reaches the loss of the best model; `None` where none reaches it.
    pub dense_at_equal_loss: Option<PlannedModel<'a>>,
    /// The best model at the same cost that is dense or has a pattern of the hardware; `None` where it was not
    /// requested, or there is none.
    pub pattern: Option<PlannedModel<'a>>,
    /// [`Planner::binding`] of the best model.
    pub binding: Vec<Constraint>,
    /// [`Planner::frontier`] from 1/100 to 100 times the cost of the best model.
    pub frontier: Vec<Model>,
    /// Intervals of the plan; `None` where they were not requested, or the law has no resamples.
    pub intervals: Option<PlanIntervals>,
    /// Highest sparsity that was considered, from 0 to 0.9999.
    pub max_sparsity: f64,
    /// Notes on how far to trust the plan.
    pub notes: Vec<PlanNote>,
}

/// Intervals of a plan: how it might have come out with other runs of the same kind.
#[derive(Debug, Clone, Copy)]
pub struct PlanIntervals {
    /// Interval of the loss of the best model as planned.
    pub loss: Interval,
    /// Interval of the loss of the dense model as planned; `None` where there is none.
    pub dense_loss: Option<Interval>,
    /// Interval of the sparsity, from up to 1,000 resampled laws that each plan for the least loss at the cost of the
    /// best model.
    pub sparsity: Interval,
    /// Interval of the non-zero parameters, from the same plans.
    pub nonzero_params: Interval,
    /// Interval of the data, from the same plans.
    pub data: Interval,
}

/// A note on how far to trust a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlanNote {
    /// A sparser model would be better according to the law, but no run behind the law is that sparse.
    SparsityLimited,
    /// Because of the bounds, only this share of the allowed cost is spent.
    ComputeNotSpent {
        /// The spent share of the cost, above 0 and below 1.
        share: f64,
    },
    /// A dense model would be better, but the bounds on the sparsity forbid it.
    DenseIsBetter,
    /// The best size or amount of data is the largest or the smallest that is supported at all.
    RangeEnd(Variable),
}

/// No model keeps every bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Infeasible {
    /// The bounds, including those that the plan itself has set.
    pub limits: Limits,
    /// The bounds that prevent a plan: see [`Planner::obstacles`].
    pub obstacles: Vec<Obstacle>,
}

/// The reason why there is no dense model beside a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum NoDense {
    /// No dense model keeps every bound.
    Infeasible(Infeasible),
    /// The law does not know dense models: it has levels, and none of them is dense.
    Unknown,
}

/// The reason why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No model keeps every bound.
    #[error("no model keeps every bound")]
    Infeasible(Infeasible),
    /// A number of the plan is not finite.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl PlanSetting<'_> {
    /// Computes a plan.
    ///
    /// ```
    /// use sparsity_law::law::*;
    ///
    /// let law = SampledLaw::new(*T5_C4.coefficients(), None, |loss, _| loss);
    /// let (step, pruning) = (StepCost::from(FlopMode::Sparse), PruningSchedule::default());
    /// let setting = PlanSetting {
    ///     law: (&law).into(),
    ///     support: T5_C4.support(),
    ///     cost: TrainingCost::new(FlopsPerParam::TRAINING, pruning.clone(), step.clone()),
    ///     step,
    ///     pruning,
    ///     storage: Storage::new(StorageFormat::Bitmask, 16),
    ///     inference_tokens: 0.0,
    ///     repetition: None,
    /// };
    /// // The least loss for 1e21 FLOPs, with weights of at most 500 MB.
    /// let limits =
    ///     Limits::default().with(Constraint::Compute, 1e21).with(Constraint::MemoryBytes, 5e8);
    /// let plan = setting.plan(&PlanQuestion {
    ///     goal: Goal::LeastLoss,
    ///     limits,
    ///     patterns: None,
    ///     hardware_patterns: None,
    ///     frontier_points: 5,
    ///     intervals: false,
    /// })?;
    /// assert!(plan.best.model.memory_bytes() <= 5e8 * (1.0 + 1e-9));
    /// assert!(plan.binding.contains(&Constraint::MemoryBytes));
    /// let dense = plan.dense.expect("a dense model keeps these bounds too");
    /// assert!(plan.best.model.loss < dense.model.loss);
    /// # Ok::<(), PlanError>(())
    /// ```
    ///
    /// # Errors
    /// [`PlanError::Infeasible`] where no model keeps every bound, [`PlanError::Answer`] where a number of the
    /// plan overflows.
    pub fn plan<'q>(&self, question: &PlanQuestion<'q>) -> Result<Plan<'q>, PlanError> {
        let PlanQuestion { goal, patterns, .. } = *question;
        let levels = self.level_designs(question.hardware_patterns.unwrap_or_default());
        let of_levels = levels.is_some();
        let schemes = patterns.map(|patterns| self.schemes(patterns)).or(levels);
        let means = self.means(schemes.as_deref().map_or(ZeroPlacement::Anywhere, only));
        let schemes = schemes.unwrap_or_default();
        // A sparsity that no run has tried is not recommended unless it is requested. All levels have been tried.
        let capped =
            !question.limits.has(Constraint::SparsityMax) && patterns.is_none() && !of_levels;
        let limits = if capped { self.capped(question.limits) } else { question.limits };

        let planner = self.planner(&means, self.law.law());
        let best = planner.best(goal, &limits).ok_or_else(|| {
            PlanError::Infeasible(Infeasible {
                limits,
                obstacles: planner.obstacles(goal, &limits),
            })
        })?;

        // The models to compare with have the same cost: the allowed one, or the one that the best model needs.
        let budget = match goal {
            Goal::LeastLoss => limits.get(Constraint::Compute),
            Goal::LeastCost => best.compute(),
        };
        let at_equal_cost =
            limits.without(Constraint::TargetLoss).with(Constraint::Compute, budget);
        let dense_limits =
            at_equal_cost.without(Constraint::SparsityMin).without(Constraint::SparsityMax);
        let only_dense = self.means(only(&self.schemes(&[])));
        let dense_planner = self.planner(&only_dense, self.law.law());
        let dense = if *only_dense.zeros() == ZeroPlacement::Schemes(Vec::new()) {
            Err(NoDense::Unknown)
        } else {
            dense_planner.best(Goal::LeastLoss, &dense_limits).ok_or_else(|| {
                let obstacles = dense_planner.obstacles(Goal::LeastLoss, &dense_limits);
                NoDense::Infeasible(Infeasible { limits: dense_limits, obstacles })
            })
        };
        let equal_loss =
            dense_limits.without(Constraint::Compute).with(Constraint::TargetLoss, best.loss);
        let dense_at_equal_loss = dense_planner.best(Goal::LeastCost, &equal_loss);
        let pattern = match (question.hardware_patterns, patterns) {
            (Some(of_hardware), None) => {
                // A pattern that the hardware can run may be sparser than any run.
                let limits = if capped {
                    at_equal_cost.without(Constraint::SparsityMax)
                } else {
                    at_equal_cost
                };
                self.best_with_pattern(of_hardware, &limits)?
            }
            _ => None,
        };

        let binding = planner.binding(goal, &limits, &best);
        let mut notes = Vec::new();
        if capped && binding.contains(&Constraint::SparsityMax) {
            notes.push(PlanNote::SparsityLimited);
        }
        if goal == Goal::LeastLoss && best.compute() < budget * (1.0 - UNSPENT) {
            notes.push(PlanNote::ComputeNotSpent { share: best.compute() / budget });
        }
        if dense.as_ref().is_ok_and(|dense| dense.loss < best.loss) {
            notes.push(PlanNote::DenseIsBetter);
        }
        notes.extend(end_of_range(&best, &limits).map(PlanNote::RangeEnd));

        let costs = Range {
            min: (best.compute() / SPAN).max(COSTS.min),
            max: (best.compute() * SPAN).min(COSTS.max),
        };
        let frontier = planner.frontier(&limits, &best, question.frontier_points, costs);
        let planned = |model: Model| planned(model, &schemes);
        let intervals = question
            .intervals
            .then(|| self.intervals(&means, &limits, &best, dense.as_ref().ok()))
            .flatten();
        let plan = Plan {
            best: planned(best)?,
            dense: match dense {
                Ok(dense) => Ok(planned(dense)?),
                Err(why) => Err(why),
            },
            dense_at_equal_loss: dense_at_equal_loss.map(planned).transpose()?,
            pattern,
            binding,
            frontier,
            intervals,
            max_sparsity: highest_sparsity(means.zeros(), &limits),
            notes,
        };
        for point in &plan.frontier {
            finite("the compute", point.compute())?;
            finite("the loss", point.loss)?;
        }
        Ok(plan)
    }

    fn means(&self, zeros: ZeroPlacement) -> Means {
        Means::new(self.cost.clone(), self.step.clone(), self.storage, zeros)
    }

    fn planner<'a>(&self, means: &'a Means, law: AnyLaw<'a>) -> Planner<'a> {
        let Self { inference_tokens, repetition, .. } = *self;
        Planner { law, means, inference_tokens, repetition }
    }

    /// The bounds, with the sparsity of the sparsest run as the highest sparsity. A law with a borrowed gain has no
    /// sparse runs of its own.
    fn capped(&self, limits: Limits) -> Limits {
        let curve = match self.law {
            PlanLaw::Curve(sampled) => sampled.coefficients().gain_curve(),
            PlanLaw::Own(_) => None,
        };
        let borrows = matches!(curve, Some(GainCurve::Borrowed(_)));
        let sparsest = self.support.levels().last().filter(|_| !borrows);
        let highest = sparsest.map_or(HIGHEST_SPARSITY, |level| level.sparsity);
        let density = 1.0 - highest.min(Limits::HIGHEST_SPARSITY);
        let least = limits.get(Constraint::SparsityMin);
        limits.with(Constraint::SparsityMax, density.min(least))
    }

    /// One design for each level of the law; `None` for a law that knows every sparsity. A level that is named after a
    /// pattern of the hardware has the costs of that pattern.
    fn level_designs<'q>(&self, hardware: &[PlannedPattern<'q>]) -> Option<Vec<NamedScheme<'q>>> {
        let none = self.means(ZeroPlacement::Schemes(Vec::new()));
        let law = self.law.levels()?;
        let named = |(place, density): (usize, Density)| {
            let name = law.levels[place].name.as_deref();
            let pattern = hardware.iter().find(|pattern| Some(pattern.name) == name);
            let scheme = match pattern {
                Some(pattern) => self.scheme(pattern),
                None => SparsityScheme { level: Some(place), ..none.unstructured(density) },
            };
            NamedScheme { pattern: pattern.copied(), scheme }
        };
        Some(law.places_down_to(None).map(named).collect())
    }

    /// The designs of the dense model and of a model with each of the patterns, as far as the law knows them.
    fn schemes<'q>(&self, patterns: &[PlannedPattern<'q>]) -> Vec<NamedScheme<'q>> {
        let none = self.means(ZeroPlacement::Schemes(Vec::new()));
        let dense = NamedScheme { pattern: None, scheme: none.unstructured(Density::DENSE) };
        let named = |pattern: &PlannedPattern<'q>| NamedScheme {
            pattern: Some(*pattern),
            scheme: self.scheme(pattern),
        };
        let all = std::iter::once(dense).chain(patterns.iter().map(named));
        all.filter(|named| self.law.knows(&named.scheme)).collect()
    }

    /// The design of a model with a pattern. The kernels of a pattern run from the end of pruning, or from the time
    /// that the schedule sets.
    fn scheme(&self, pattern: &PlannedPattern<'_>) -> SparsityScheme {
        let nominal = pattern.worth.nominal;
        let (multiplier, inference_flops) = match pattern.step_cost {
            None => (self.cost.multiplier(nominal), self.step.inference_flops(nominal)),
            Some(step_cost) => (
                pattern_multiplier(&self.pruning, step_cost, nominal),
                2.0 * step_cost / nominal.get(),
            ),
        };
        SparsityScheme {
            density: nominal,
            effective: pattern.worth.density(),
            multiplier,
            inference_flops,
            bits: self.storage.pattern_bits(nominal, pattern.two_of_four),
            // A law of levels may have runs with the pattern itself, which determine what it is worth.
            level: self.law.levels().and_then(|law| law.place_of(nominal, pattern.name)),
        }
    }

    /// The model with the least loss that is dense or has one of the patterns.
    fn best_with_pattern<'q>(
        &self,
        patterns: &[PlannedPattern<'q>],
        limits: &Limits,
    ) -> Result<Option<PlannedModel<'q>>, AnswerError> {
        let schemes = self.schemes(patterns);
        let means = self.means(only(&schemes));
        let planner = self.planner(&means, self.law.law());
        let model = planner.best(Goal::LeastLoss, limits);
        model.map(|model| planned(model, &schemes)).transpose()
    }

    /// Intervals of the plan over the resampled laws.
    fn intervals(
        &self,
        means: &Means,
        limits: &Limits,
        best: &Model,
        dense: Option<&Model>,
    ) -> Option<PlanIntervals> {
        let ensemble = self.law.ensemble()?;
        let loss = |model: &Model| {
            let (size, data) = model.size_and_data()?;
            let data = effective_data(self.repetition.as_ref(), data);
            self.law.loss_interval(&model.scheme, size, data)
        };
        let limits =
            limits.without(Constraint::TargetLoss).with(Constraint::Compute, best.compute());
        let members = 0..ensemble.count().min(MOST_RESAMPLES);
        let again = members.filter_map(|place| {
            step();
            self.law.of_member(ensemble, place, |law| {
                self.planner(means, law).best(Goal::LeastLoss, &limits)
            })
        });
        let models: Vec<Model> = again.collect();
        let interval =
            |of: fn(&Model) -> f64| ensemble.interval_of(models.iter().map(of).collect());
        Some(PlanIntervals {
            loss: loss(best)?,
            dense_loss: dense.and_then(loss),
            sparsity: interval(|model| model.scheme.density.sparsity().get()),
            nonzero_params: interval(|model| model.nonzero_params),
            data: interval(|model| model.data),
        })
    }
}

/// A scheme with its pattern; `None` for the dense one.
struct NamedScheme<'q> {
    pattern: Option<PlannedPattern<'q>>,
    scheme: SparsityScheme,
}

/// Only these schemes, for [`Means`].
fn only(schemes: &[NamedScheme<'_>]) -> ZeroPlacement {
    ZeroPlacement::Schemes(schemes.iter().map(|named| named.scheme).collect())
}

/// Adds the pattern of its scheme to a model, after a check that the numbers of the model are finite.
fn planned<'q>(model: Model, schemes: &[NamedScheme<'q>]) -> Result<PlannedModel<'q>, AnswerError> {
    finite("the loss", model.loss)?;
    finite("the compute", model.compute())?;
    finite("total_params", model.total_params())?;
    finite("memory_bytes", model.memory_bytes())?;
    let named = schemes.iter().find(|named| named.scheme == model.scheme);
    Ok(PlannedModel { model, pattern: named.and_then(|named| named.pattern) })
}

/// The quantity of the best model that is at the end of its supported range although the question sets no bound there.
fn end_of_range(best: &Model, limits: &Limits) -> Option<Variable> {
    let (size, data) = (best.nonzero_params, best.data);
    let ends = [
        (Constraint::NonzeroParamsMin, size, Variable::NonzeroParams),
        (Constraint::NonzeroParamsMax, size, Variable::NonzeroParams),
        (Constraint::DataMin, data, Variable::Data),
        (Constraint::DataMax, data, Variable::Data),
    ];
    let found = ends.into_iter().find(|(constraint, value, _)| {
        !limits.has(*constraint) && limits.get(*constraint) == *value
    });
    found.map(|(_, _, quantity)| quantity)
}

/// The highest sparsity that the zeros and the bounds allow.
fn highest_sparsity(zeros: &ZeroPlacement, limits: &Limits) -> f64 {
    let bound = Density::clamped(limits.get(Constraint::SparsityMax)).sparsity().get();
    match zeros {
        ZeroPlacement::Anywhere => bound,
        ZeroPlacement::Schemes(schemes) => {
            let sparsities = schemes.iter().map(|scheme| scheme.density.sparsity().get());
            sparsities.fold(0.0, f64::max).min(bound)
        }
    }
}

#[cfg(test)]
mod tests;
