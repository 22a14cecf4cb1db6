//! A law together with the laws of its resampled runs, prepared to answer with intervals.
//!
//! The intervals of the two questions that are asked most come from tables. They hold how far the ends lie
//! from the law's own answer, which bends less than the ends themselves. In the mode of a hardware profile,
//! whose conditions may have several roots, everything is computed directly.

use super::coefficients::Coefficients;
use super::cost::TrainingCost;
use super::ensemble::{Ensemble, Interval, Member};
use super::optimum::{Optimum, optimal_density, optimal_density_under};
use super::prepared::PreparedEnsemble;
use super::quantity::{Compute, Data, Density, NonzeroParams};
use super::recommendation::{ENDS, Recommendation, RecommendationIntervals};
use super::repetition::{Repetition, effective_data};
use super::table::Table;
use super::widening::Widening;

/// Cells of each table.
const CELLS: usize = 512;

/// The loss of a run whose mean loss and residual are the arguments.
type Measured = fn(f64, f64) -> f64;

/// A law with the laws of its resampled runs, if it has any.
#[derive(Debug)]
pub struct SampledLaw {
    coefficients: Coefficients,
    /// Whether the interval of a new run holds that of the mean.
    holds_mean: bool,
    /// How intervals outside the runs are widened, where that is known.
    widening: Option<(Widening, Measured)>,
    ensemble: Option<Ensemble>,
    prepared: Option<PreparedEnsemble>,
    /// Over `ln N` and `ln C`, for each share of the cost that zeros save.
    recommendations: Table<2, ENDS>,
    /// Over `-ln(1 - S)`, `ln N` and `ln D`: ends of the mean loss and of that of a new run.
    losses: Table<3, 4>,
}

impl SampledLaw {
    /// What a resample takes, in bytes: its coefficients, and what is prepared of them.
    const BYTES_OF_MEMBER: usize = size_of::<Member>() + PreparedEnsemble::BYTES_OF_LAW;
    /// What the tables take when they are full, in bytes.
    const BYTES_OF_TABLES: usize =
        CELLS * (Table::<2, ENDS>::BYTES_OF_CELL + Table::<3, 4>::BYTES_OF_CELL);

    /// A law and its resamples. `measured` is the loss of a run whose mean loss and noise are its arguments,
    /// by the residual that the fit compared with ([`Residual::measured`](crate::fit::Residual::measured)).
    #[must_use]
    pub fn new(
        coefficients: Coefficients,
        ensemble: Option<Ensemble>,
        measured: impl Fn(f64, f64) -> f64,
    ) -> Self {
        let prepared = ensemble.as_ref().map(|members| PreparedEnsemble::new(members, measured));
        Self {
            coefficients,
            holds_mean: false,
            widening: None,
            ensemble,
            prepared,
            recommendations: Table::new(CELLS),
            losses: Table::new(CELLS),
        }
    }

    /// The same with intervals outside the runs widened by what rolling hold-outs show; `measured` as of
    /// [`Self::new`].
    #[must_use]
    pub fn widened(mut self, widening: Widening, measured: fn(f64, f64) -> f64) -> Self {
        self.widening = Some((widening, measured));
        self
    }

    /// The same with intervals of a new run that hold those of the mean. Of few resamples, or of a residual that is
    /// hardly ever on one side, an end of the one may lie a little inside the other.
    #[must_use]
    pub const fn holding_means(mut self) -> Self {
        self.holds_mean = true;
        self
    }

    /// Widens intervals of the loss at a question where this law says `loss`.
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

    /// The interval of the mean loss, widened where the question lies outside the runs.
    #[must_use]
    pub fn widen_mean(
        &self,
        interval: Interval,
        question: (Density, NonzeroParams, Data),
        loss: f64,
    ) -> Interval {
        self.widen((interval, interval), question, loss).0
    }

    /// About how many bytes it takes at most.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let members = self.ensemble.as_ref().map_or(0, |ensemble| ensemble.members().len());
        let tables = if members == 0 { 0 } else { Self::BYTES_OF_TABLES };
        tables + members * Self::BYTES_OF_MEMBER
    }

    /// The law of all runs.
    #[must_use]
    pub const fn coefficients(&self) -> &Coefficients {
        &self.coefficients
    }

    /// The laws of the resamples.
    #[must_use]
    pub const fn ensemble(&self) -> Option<&Ensemble> {
        self.ensemble.as_ref()
    }

    /// The same, prepared for quick answers.
    #[must_use]
    pub const fn prepared(&self) -> Option<&PreparedEnsemble> {
        self.prepared.as_ref()
    }

    /// The interval of an answer; `None` where the law has no resamples.
    pub fn interval(&self, answer: impl Fn(&Member) -> f64) -> Option<Interval> {
        self.ensemble.as_ref().map(|ensemble| ensemble.interval(answer))
    }

    /// The interval of the optimal sparsity, of which `best` is that of the law of all runs; `None`
    /// where the law has no resamples.
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
        // A profile may have several local optima; each law is searched on its own.
        self.interval(|member| {
            let best = optimal_density(&member.coefficients, cost, nonzero_params, compute);
            best.sparsity().get()
        })
    }

    /// The intervals of the optimal sparsity and of the loss there, computed directly: for many questions at
    /// once, which seldom lie near each other; `None` where the law has no resamples.
    #[must_use]
    pub fn best_intervals(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        best: &Optimum,
    ) -> [Option<Interval>; 2] {
        let loss = self.prepared.as_ref().map(|prepared| {
            let loss =
                prepared.interval_of(prepared.losses(best.density, nonzero_params, best.data));
            self.widen_mean(loss, (best.density, nonzero_params, best.data), best.loss)
        });
        [self.optimum_interval(cost, nonzero_params, compute, best.density), loss]
    }

    /// The intervals of what this law recommends; `None` where it has no resamples.
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

    /// The same where only so much of the data is different, and of the densities from `least` on where there is a
    /// least one, computed directly.
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

    /// The same by the resampled laws alone.
    fn resampled_intervals(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        found: &Recommendation,
    ) -> Option<RecommendationIntervals> {
        let prepared = self.prepared.as_ref()?;
        let direct = |n: NonzeroParams, c: Compute, found: &Recommendation| {
            let Recommendation { best, dense, .. } = found;
            let others = prepared.optimum_intervals(best.density, n, best.data, dense.data);
            Some(RecommendationIntervals {
                sparsity: self.optimum_interval(cost, n, c, best.density)?,
                loss: others.loss,
                dense_loss: others.dense_loss,
                gain: others.gain,
                chinchilla_ratio: prepared.chinchilla_interval(cost, n, c),
            })
        };
        // The optimum of a law with a gain curve may jump, which no table can hold.
        let smooth = self.coefficients.gain_curve().is_none();
        let Some(saved) = cost.saved_by_zeros().filter(|_| smooth) else {
            return direct(nonzero_params, compute, found);
        };
        let ends = self.recommendations.ends(
            saved.to_bits(),
            [nonzero_params.get().ln(), compute.get().ln()],
            |[ln_n, ln_c]| {
                let n = NonzeroParams::new(ln_n.exp()).ok()?;
                let c = Compute::new(ln_c.exp()).ok()?;
                let found = Recommendation::new(&self.coefficients, cost, n, c).ok()?;
                Some(direct(n, c, &found)?.relative_to(&found))
            },
        );
        match ends {
            Some(ends) => {
                Some(RecommendationIntervals::from_relative(prepared.level(), ends, found))
            }
            None => direct(nonzero_params, compute, found),
        }
    }

    /// The interval of the mean loss over the resampled laws, and that of the loss of one new run;
    /// `None` where the law has no resamples.
    #[must_use]
    pub fn loss_intervals(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Option<(Interval, Interval)> {
        let intervals = self.resampled_loss_intervals(density, nonzero_params, data)?;
        let loss = self.coefficients.loss(density, nonzero_params, data);
        Some(self.widen(intervals, (density, nonzero_params, data), loss))
    }

    /// The same by the resampled laws alone.
    fn resampled_loss_intervals(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Option<(Interval, Interval)> {
        let prepared = self.prepared.as_ref()?;
        let losses = prepared.losses(density, nonzero_params, data);
        let new_run = prepared.interval_of(prepared.new_runs(&losses));
        Some((prepared.interval_of(losses), new_run))
    }

    /// As [`Self::loss_intervals`], quickly, at a question where this law says `loss`.
    #[must_use]
    pub fn tabulated_loss_intervals(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
        loss: f64,
    ) -> Option<(Interval, Interval)> {
        let level = self.prepared.as_ref()?.level();
        let question = [-density.get().ln(), nonzero_params.get().ln(), data.get().ln()];
        let ends = self.losses.ends(0, question, |[y, ln_n, ln_d]| {
            let density = Density::new((-y).exp()).ok()?;
            let (n, d) = (NonzeroParams::new(ln_n.exp()).ok()?, Data::new(ln_d.exp()).ok()?);
            let loss = self.coefficients.loss(density, n, d);
            let (mean, new_run) = self.resampled_loss_intervals(density, n, d)?;
            Some([mean.low, mean.high, new_run.low, new_run.high].map(|end| end - loss))
        });
        let Some(ends) = ends else { return self.loss_intervals(density, nonzero_params, data) };
        let [low, high, new_run_low, new_run_high] = ends.map(|end| end + loss);
        let interval = |low, high| Interval { level, low, high };
        let intervals =
            (interval(low, high), interval(new_run_low.max(0.0), new_run_high.max(0.0)));
        Some(self.widen(intervals, (density, nonzero_params, data), loss))
    }
}
