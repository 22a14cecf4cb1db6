//! A law with the laws of its resampled runs, prepared for answers with intervals.
//!
//! Near an earlier question, only the few laws are evaluated that can hold the ends of the interval there; the answer
//! is the same. On a hardware profile, whose conditions may have several roots, all laws are evaluated.

use std::sync::LazyLock;

use super::coefficients::Coefficients;
use super::cost::TrainingCost;
use super::ensemble::{Ensemble, Interval, Member};
use super::nearby::{Asked, Nearby, OptimumCell, TooMany, loss_question};
use super::optimum::{Optimum, optimal_density, optimal_density_under};
use super::prepared::PreparedEnsemble;
use super::quantity::{Compute, Data, Density, NonzeroParams};
use super::recommendation::{Recommendation, RecommendationIntervals};
use super::remembered::Remembered;
use super::repetition::{Repetition, effective_data};
use super::widening::Widening;

/// Computes the loss of a run from its mean loss and its residual.
type Measured = fn(f64, f64) -> f64;

/// Number of cached answers of each kind, for all laws together: half a megabyte.
const REMEMBERED: usize = 1 << 10;

static OPTIMA: LazyLock<Remembered<7, Option<RecommendationIntervals>>> =
    LazyLock::new(|| Remembered::new(REMEMBERED));
static LOSSES: LazyLock<Remembered<4, Option<(Interval, Interval)>>> =
    LazyLock::new(|| Remembered::new(REMEMBERED));

/// A law with the laws of its resampled runs, if there are any.
#[derive(Debug)]
pub struct SampledLaw {
    coefficients: Coefficients,
    /// Whether the interval of a new run is extended to contain that of the mean.
    holds_mean: bool,
    /// How intervals outside the runs are widened, where this is known.
    widening: Option<(Widening, Measured)>,
    prepared: Option<PreparedEnsemble>,
    nearby: Nearby,
}

impl SampledLaw {
    /// Memory of a resample in bytes: its coefficients, and the values that are prepared from them.
    const BYTES_OF_MEMBER: usize = Ensemble::BYTES_OF_MEMBER + PreparedEnsemble::BYTES_OF_LAW;

    /// A law and its resamples. `measured` computes the loss of a run from its mean loss and its noise, according to
    /// the residual that was fitted ([`Residual::measured`](crate::fit::Residual::measured)).
    #[must_use]
    pub fn new(
        coefficients: Coefficients,
        ensemble: Option<Ensemble>,
        measured: impl Fn(f64, f64) -> f64,
    ) -> Self {
        let prepared = ensemble.map(|members| PreparedEnsemble::new(&members, measured));
        Self { coefficients, holds_mean: false, widening: None, prepared, nearby: Nearby::new() }
    }

    /// Returns the same law with intervals outside the runs widened as rolling hold-outs show. `measured` is as in
    /// [`Self::new`].
    #[must_use]
    pub fn widened(mut self, widening: Widening, measured: fn(f64, f64) -> f64) -> Self {
        self.widening = Some((widening, measured));
        self
    }

    /// Returns the same law with intervals of a new run that contain those of the mean. Otherwise one end may lie
    /// slightly inside the interval of the mean, with few resamples, or with residuals that are nearly all on one side.
    #[must_use]
    pub const fn holding_means(mut self) -> Self {
        self.holds_mean = true;
        self
    }

    /// Widens the intervals of the loss at a question for which this law predicts `loss`.
    fn widen(
        &self,
        intervals: (Interval, Interval),
        (density, nonzero_params, data): (Density, NonzeroParams, Data),
        loss: f64,
    ) -> (Interval, Interval) {
        let (mean, new_run) = intervals;
        let new_run = if self.holds_mean {
            let (low, high) = (new_run.low.min(mean.low), new_run.high.max(mean.high));
            Interval { low, high, ..new_run }
        } else {
            new_run
        };
        let intervals = (mean, new_run);
        let Some((widening, measured)) = &self.widening else { return intervals };
        let distance = widening.reach.distance(density, nonzero_params, data);
        widening.losses(intervals, loss, distance, measured)
    }

    /// Interval of the mean loss, widened where the question lies outside the runs.
    #[must_use]
    pub fn widen_mean(
        &self,
        interval: Interval,
        question: (Density, NonzeroParams, Data),
        loss: f64,
    ) -> Interval {
        self.widen((interval, interval), question, loss).0
    }

    /// Approximate memory of the law in bytes, without the caches that all laws of a process share.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let members = self.ensemble().map_or(0, Ensemble::count);
        members * Self::BYTES_OF_MEMBER
    }

    /// The law of all runs.
    #[must_use]
    pub const fn coefficients(&self) -> &Coefficients {
        &self.coefficients
    }

    /// The resampled laws.
    #[must_use]
    pub fn ensemble(&self) -> Option<&Ensemble> {
        self.prepared.as_ref().map(PreparedEnsemble::ensemble)
    }

    /// The resampled laws, prepared for fast answers.
    #[must_use]
    pub const fn prepared(&self) -> Option<&PreparedEnsemble> {
        self.prepared.as_ref()
    }

    /// Interval of an answer; `None` where the law has no resamples.
    pub fn interval(&self, answer: impl Fn(&Member) -> f64) -> Option<Interval> {
        self.ensemble().map(|ensemble| ensemble.interval(answer))
    }

    /// Both ends of an interval that `ask` finds in the cell of the question; `None` where the answers are not
    /// continuous over the cell, or few laws are not enough.
    fn ends(
        &self,
        prepared: &PreparedEnsemble,
        cost: &TrainingCost,
        question: (NonzeroParams, Compute),
        ask: impl Fn(&OptimumCell, Asked<'_>) -> Result<Option<[f64; 2]>, TooMany>,
    ) -> Option<[f64; 2]> {
        // The optimum of a law with a gain curve may jump.
        let smooth = self.coefficients.gain_curve().is_none() && cost.has_optimum();
        let saved = cost.saved_by_zeros().filter(|_| smooth)?;
        let asked = Asked { law: &self.coefficients, laws: prepared, cost };
        self.nearby.optimum(saved, question, |cell| ask(cell, asked))
    }

    /// Interval of the optimal sparsity, where `best` is the optimal density by the law of all runs; `None` where the
    /// law has no resamples.
    #[must_use]
    pub fn optimum_interval(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        best: Density,
    ) -> Option<Interval> {
        let prepared = self.prepared.as_ref()?;
        if let Some(interval) = prepared.sparsity_interval(cost, nonzero_params, compute, best) {
            return Some(interval);
        }
        // On a hardware profile there may be several local optima, so each law is searched separately.
        self.interval(|member| {
            let best = optimal_density(&member.coefficients, cost, nonzero_params, compute);
            best.sparsity().get()
        })
    }

    /// Intervals of the optimal sparsity and of the loss there; `None` where the law has no resamples.
    #[must_use]
    pub fn best_intervals(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        best: &Optimum,
    ) -> Option<[Interval; 2]> {
        let prepared = self.prepared.as_ref()?;
        let question = (nonzero_params, compute);
        let sparsity = self.sparsity_interval(prepared, cost, question, best.density)?;
        let loss = self.optimum_loss(prepared, cost, question, best);
        let at = (best.density, nonzero_params, best.data);
        Some([sparsity, self.widen_mean(loss, at, best.loss)])
    }

    /// Like [`Self::optimum_interval`], from few laws where they are enough.
    fn sparsity_interval(
        &self,
        prepared: &PreparedEnsemble,
        cost: &TrainingCost,
        question: (NonzeroParams, Compute),
        best: Density,
    ) -> Option<Interval> {
        let few = |cell: &OptimumCell, asked: Asked<'_>| cell.sparsity(asked, question, best);
        match self.ends(prepared, cost, question, few) {
            Some([low, high]) => Some(Interval { level: prepared.level(), low, high }),
            None => self.optimum_interval(cost, question.0, question.1, best),
        }
    }

    /// Interval of the loss at an optimum, not widened.
    fn optimum_loss(
        &self,
        prepared: &PreparedEnsemble,
        cost: &TrainingCost,
        question: (NonzeroParams, Compute),
        at: &Optimum,
    ) -> Interval {
        let of_loss = loss_question(at.density, question.0, at.data);
        let few = |cell: &OptimumCell, asked: Asked<'_>| cell.loss(asked, of_loss);
        match self.ends(prepared, cost, question, few) {
            Some([low, high]) => Interval::cut(prepared.level(), low, high),
            None => prepared.interval_of(prepared.losses(at.density, question.0, at.data)),
        }
    }

    /// Intervals of this law's recommendation; `None` where it has no resamples.
    #[must_use]
    pub fn recommendation_intervals(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        found: &Recommendation,
    ) -> Option<RecommendationIntervals> {
        let known = self.resampled_intervals(cost, nonzero_params, compute, found)?;
        if self.widening.is_none() {
            return Some(known);
        }
        let Recommendation { best, dense, .. } = found;
        let at = |of: &Optimum| (of.density, nonzero_params, of.data);
        Some(RecommendationIntervals {
            loss: self.widen_mean(known.loss, at(best), best.loss),
            dense_loss: self.widen_mean(known.dense_loss, at(dense), dense.loss),
            ..known
        })
    }

    /// Like [`Self::recommendation_intervals`], with repeated data and, where `least` is given, only the densities from
    /// `least` up; computed directly from all laws.
    #[must_use]
    pub fn repeating_intervals(
        &self,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
        repetition: &Repetition,
        least: Option<Density>,
        found: &Recommendation,
    ) -> Option<RecommendationIntervals> {
        let prepared = self.prepared.as_ref()?;
        let question = (nonzero_params, compute);
        let sparsity = self.interval(|member| {
            let law = &member.coefficients;
            let best = optimal_density_under(law, cost, question, least, Some(repetition));
            best.sparsity().get()
        })?;
        let Recommendation { best, dense, .. } = found;
        let worth = |of: &Optimum| effective_data(Some(repetition), of.data);
        let (best_worth, dense_worth) = (worth(best), worth(dense));
        let others =
            prepared.optimum_intervals(best.density, nonzero_params, best_worth, dense_worth);
        let at = |of: &Optimum| (of.density, nonzero_params, worth(of));
        Some(RecommendationIntervals {
            sparsity,
            loss: self.widen_mean(others.loss, at(best), best.loss),
            dense_loss: self.widen_mean(others.dense_loss, at(dense), dense.loss),
            gain: others.gain,
            chinchilla_ratio: prepared.chinchilla_interval(cost, nonzero_params, compute),
        })
    }

    /// Like [`Self::recommendation_intervals`], without widening.
    fn resampled_intervals(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        found: &Recommendation,
    ) -> Option<RecommendationIntervals> {
        let compute_them = || self.compute_intervals(cost, nonzero_params, compute, found);
        // With a linear cost, the intervals depend only on the share that zeros save, the question, and the amounts of
        // data that the budget pays for.
        let Some(saved) = cost.saved_by_zeros() else { return compute_them() };
        let Recommendation { best, dense, .. } = found;
        let numbers = [
            saved,
            nonzero_params.get(),
            compute.get(),
            best.density.get(),
            best.data.get(),
            dense.data.get(),
        ];
        let [saved, n, c, density, data, dense] = numbers.map(f64::to_bits);
        OPTIMA.answer([self.nearby.law(), saved, n, c, density, data, dense], compute_them)
    }

    fn compute_intervals(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        found: &Recommendation,
    ) -> Option<RecommendationIntervals> {
        let prepared = self.prepared.as_ref()?;
        let question = (nonzero_params, compute);
        let Recommendation { best, dense, .. } = found;
        let cut = |[low, high]: [f64; 2]| Interval::cut(prepared.level(), low, high);
        let of_dense = loss_question(Density::DENSE, nonzero_params, dense.data);
        let dense_loss =
            self.ends(prepared, cost, question, |cell, asked| cell.dense_loss(asked, of_dense));
        let gain =
            self.ends(prepared, cost, question, |cell, asked| cell.gain(asked, best.density));
        let ratio = self
            .ends(prepared, cost, question, |cell, asked| cell.chinchilla_ratio(asked, question));
        Some(RecommendationIntervals {
            sparsity: self.sparsity_interval(prepared, cost, question, best.density)?,
            loss: self.optimum_loss(prepared, cost, question, best),
            dense_loss: dense_loss.map_or_else(
                || {
                    let losses = prepared.losses(Density::DENSE, nonzero_params, dense.data);
                    prepared.interval_of(losses)
                },
                cut,
            ),
            gain: gain.map_or_else(|| prepared.gain_interval(best.density), cut),
            chinchilla_ratio: ratio
                .map_or_else(|| prepared.chinchilla_interval(cost, nonzero_params, compute), cut),
        })
    }

    /// Intervals of the mean loss over the resampled laws, and of the loss of one new run; `None` where the law has no
    /// resamples.
    #[must_use]
    pub fn loss_intervals(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Option<(Interval, Interval)> {
        let numbers = [density.get(), nonzero_params.get(), data.get()].map(f64::to_bits);
        let [of_density, n, d] = numbers;
        let intervals = LOSSES.answer([self.nearby.law(), of_density, n, d], || {
            self.resampled_loss_intervals(density, nonzero_params, data)
        })?;
        let loss = self.coefficients.loss(density, nonzero_params, data);
        Some(self.widen(intervals, (density, nonzero_params, data), loss))
    }

    /// Like [`Self::loss_intervals`], without widening.
    fn resampled_loss_intervals(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Option<(Interval, Interval)> {
        let prepared = self.prepared.as_ref()?;
        let question = loss_question(density, nonzero_params, data);
        if self.coefficients.gain_curve().is_none()
            && let Some(mean) = self.nearby.loss(prepared, question, false)
            && let Some(new_run) = self.nearby.loss(prepared, question, true)
        {
            let interval = |[low, high]: [f64; 2]| Interval::cut(prepared.level(), low, high);
            return Some((interval(mean), interval(new_run)));
        }
        let losses = prepared.losses(density, nonzero_params, data);
        let new_run = prepared.interval_of(prepared.new_runs(&losses));
        Some((prepared.interval_of(losses), new_run))
    }
}
