//! The intervals of the two questions that are asked most, from tables.
//!
//! The tables hold how far the ends lie from the law's own answer, which bends less than the ends
//! themselves. In the mode of a hardware profile, whose conditions may have several roots, everything is
//! computed directly.

use super::asked::AskedLaw;
use super::questions::{Optimised, OptimumIntervals};
use super::views::IntervalView;
use crate::law::{
    Compute, Data, Density, Interval, NonzeroParams, Optimum, PreparedEnsemble, Table, TrainingCost,
};

/// Cells of each table.
const CELLS: usize = 512;

/// The tables of one law.
#[derive(Debug)]
pub struct Tables {
    /// Over `ln N` and `ln C`, for each share of the cost that zeros save: `y = -ln(1 - S)` of the best
    /// sparsity's ends, then those of loss, dense loss, gain and chinchilla ratio.
    optimum: Table<2, 10>,
    /// Over `-ln(1 - S)`, `ln N` and `ln D`: ends of the mean loss and of that of a new run.
    loss: Table<3, 4>,
}

impl Tables {
    /// What they take when they are full.
    pub const BYTES: usize = CELLS * (Table::<2, 10>::BYTES_OF_CELL + Table::<3, 4>::BYTES_OF_CELL);

    /// Empty ones.
    #[must_use]
    pub fn new() -> Self {
        Self { optimum: Table::new(CELLS), loss: Table::new(CELLS) }
    }
}

/// The intervals of an optimum.
pub struct Intervals {
    /// Of the best sparsity.
    pub sparsity: IntervalView,
    /// Of what follows from it.
    pub others: OptimumIntervals,
}

impl AskedLaw {
    /// The intervals of an optimum that this law has found; `None` where it has no resamples.
    pub(super) fn optimum_intervals(
        &self,
        cost: &TrainingCost,
        question: (NonzeroParams, Compute),
        found: &Optimised,
    ) -> Option<Intervals> {
        let prepared = self.prepared.as_ref()?;
        let Some(saved) = cost.saved_by_zeros() else {
            return self.direct_intervals(prepared, cost, question, found);
        };
        let ends = self.tables.optimum.ends(
            saved.to_bits(),
            [question.0.get().ln(), question.1.get().ln()],
            |[ln_n, ln_c]| {
                let question =
                    (NonzeroParams::new(ln_n.exp()).ok()?, Compute::new(ln_c.exp()).ok()?);
                let law = &self.law.content.coefficients;
                let found = Optimised::new(law, cost, question).ok()?;
                let direct = self.direct_intervals(prepared, cost, question, &found)?;
                Some(direct.relative_to(&found))
            },
        );
        match ends {
            Some(ends) => Some(Intervals::of(prepared.level(), ends, found)),
            None => self.direct_intervals(prepared, cost, question, found),
        }
    }

    fn direct_intervals(
        &self,
        prepared: &PreparedEnsemble,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
        found: &Optimised,
    ) -> Option<Intervals> {
        let Optimum { density, data, .. } = found.best;
        let others = prepared.optimum_intervals(density, nonzero_params, data, found.dense_data);
        Some(Intervals {
            sparsity: self.optimum_interval(cost, nonzero_params, compute, density)?,
            others: OptimumIntervals {
                loss: others.loss.into(),
                dense_loss: others.dense_loss.into(),
                gain: others.gain.into(),
                chinchilla_ratio: prepared
                    .chinchilla_interval(cost, nonzero_params, compute)
                    .into(),
            },
        })
    }

    /// As [`Self::loss_intervals`], at a question where this law says `loss`.
    pub(super) fn tabulated_loss_intervals(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
        loss: f64,
    ) -> Option<(Interval, Interval)> {
        let level = self.prepared.as_ref()?.level();
        let question = [-density.get().ln(), nonzero_params.get().ln(), data.get().ln()];
        let ends = self.tables.loss.ends(0, question, |[y, ln_n, ln_d]| {
            let density = Density::new((-y).exp()).ok()?;
            let (n, d) = (NonzeroParams::new(ln_n.exp()).ok()?, Data::new(ln_d.exp()).ok()?);
            let loss = self.law.content.coefficients.loss(density, n, d);
            let (mean, new_run) = self.loss_intervals(density, n, d)?;
            Some([mean.low, mean.high, new_run.low, new_run.high].map(|end| end - loss))
        });
        let Some(ends) = ends else { return self.loss_intervals(density, nonzero_params, data) };
        let [low, high, new_run_low, new_run_high] = ends.map(|end| end + loss);
        let interval = |low, high| Interval { level, low, high };
        Some((interval(low, high), interval(new_run_low.max(0.0), new_run_high.max(0.0))))
    }
}

impl Intervals {
    /// The ends as the table holds them.
    fn relative_to(&self, found: &Optimised) -> [f64; 10] {
        let Self { sparsity, others } = self;
        let pruned = |end: f64| -(-end).ln_1p();
        [
            pruned(sparsity.low),
            pruned(sparsity.high),
            others.loss.low - found.best.loss,
            others.loss.high - found.best.loss,
            others.dense_loss.low - found.dense_loss,
            others.dense_loss.high - found.dense_loss,
            (others.gain.low / found.gain).ln(),
            (others.gain.high / found.gain).ln(),
            (others.chinchilla_ratio.low / found.chinchilla_ratio).ln(),
            (others.chinchilla_ratio.high / found.chinchilla_ratio).ln(),
        ]
    }

    fn of(level: f64, ends: [f64; 10], found: &Optimised) -> Self {
        let interval = |low, high| IntervalView { level, low, high };
        let sparsity = |y: f64| Density::clamped((-y).exp()).sparsity().get();
        let sum = |at: usize, own: f64| interval(own + ends[at], own + ends[at + 1]);
        let product =
            |at: usize, own: f64| interval(own * ends[at].exp(), own * ends[at + 1].exp());
        Self {
            sparsity: interval(sparsity(ends[0]), sparsity(ends[1])),
            others: OptimumIntervals {
                loss: sum(2, found.best.loss),
                dense_loss: sum(4, found.dense_loss),
                gain: product(6, found.gain),
                chinchilla_ratio: product(8, found.chinchilla_ratio),
            },
        }
    }
}
