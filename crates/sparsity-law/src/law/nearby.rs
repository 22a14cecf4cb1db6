//! Intervals near a question from the few laws that can hold their ends there, see [`super::window`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};

use super::answers::{LnChinchilla, LnGains, Losses, Roots};
use super::cells::{Cells, Key};
use super::coefficients::Coefficients;
use super::cost::TrainingCost;
use super::prepared::PreparedEnsemble;
use super::quantity::{Compute, Data, Density, NonzeroParams};
use super::recommendation::Recommendation;
use super::window::{Region, Window};

/// Side lengths of cells, in logarithms. Where too many laws change their order within one cell, a smaller one is used.
const SIDES: [f64; 3] = [0.5, 0.25, 0.125];
/// Share by which the box around the values at the corners of a cell is enlarged: a quantity may go beyond them inside
/// the cell.
const BEYOND_CORNERS: f64 = 0.1;
/// Number of cells of each kind that are cached for all laws together. They take about 65 MB at most: a window takes at
/// most 1 kB, and a cell of optima has five of them, a cell of losses two.
const KEPT: usize = 1 << 13;

/// Number of requests in a cell before its windows are computed, for optima and for losses. The questions for losses
/// have three axes, so a long list has few of them in each cell, and a window costs as much as several questions.
const PATIENCE: (u32, u32) = (1, 8);

static OPTIMA: LazyLock<Cells<OptimumCell>> = LazyLock::new(|| Cells::new(KEPT, PATIENCE.0));
static LOSSES: LazyLock<Cells<LossCell>> = LazyLock::new(|| Cells::new(KEPT, PATIENCE.1));

/// Access to the cached cells of one law and its resamples.
#[derive(Debug)]
pub(super) struct Nearby {
    /// Number that distinguishes these cells from those of other laws.
    law: u64,
}

/// A window that is computed when it is first needed; `None` if it is not worthwhile.
type Kept<const AXES: usize> = OnceLock<Option<Window<AXES>>>;

/// Windows of the numbers of a recommendation, over `ln N` and `ln C`.
#[derive(Debug)]
pub(super) struct OptimumCell {
    region: Region<2>,
    sparsity: Kept<2>,
    loss: Kept<3>,
    dense_loss: Kept<3>,
    gain: Kept<1>,
    chinchilla: Kept<1>,
}

/// Windows of the loss, over `-ln(1 - S)`, `ln N` and `ln D`.
#[derive(Debug)]
pub(super) struct LossCell {
    region: Region<3>,
    mean: Kept<3>,
    new_run: Kept<3>,
}

/// A law and its resamples, with a cost that is linear in the sparsity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub law: &'a Coefficients,
    pub laws: &'a PreparedEnsemble,
    pub cost: &'a TrainingCost,
}

impl Nearby {
    /// Assigns a new number, for laws without cells in the cache.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { law: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The number of these laws, unique within the process.
    pub const fn law(&self) -> u64 {
        self.law
    }

    /// Both ends of an interval at a question, from the largest cell in which few laws need to be asked; `None` where
    /// there is no such cell, or the cell was not requested often enough before.
    fn ends<V, const AXES: usize>(
        &self,
        cells: &Cells<V>,
        kind: u64,
        question: [f64; AXES],
        make: impl Fn(Region<AXES>) -> V,
        ask: impl Fn(&V) -> Result<Option<[f64; 2]>, TooMany>,
    ) -> Option<[f64; 2]> {
        for (size, side) in (0..).zip(SIDES) {
            let mut at = [0; 3];
            for (at, ln) in at.iter_mut().zip(question) {
                // Logarithms of quantities are far inside the range of the integers.
                *at = (ln / side).floor() as i32;
            }
            let region = || {
                let centre = std::array::from_fn(|axis| (f64::from(at[axis]) + 0.5) * side);
                Region { centre, half: [0.5 * side; AXES] }.grown(0.0)
            };
            let key = Key { law: self.law, size, kind, at };
            let cell = cells.find(key, || make(region()))?;
            if let Ok(ends) = ask(&cell) {
                return ends;
            }
        }
        None
    }

    /// Both ends of an interval that `ask` finds in the cell of a question for an optimum. `saved` is the share of the
    /// cost that zeros save.
    pub fn optimum(
        &self,
        saved: f64,
        (nonzero_params, compute): (NonzeroParams, Compute),
        ask: impl Fn(&OptimumCell) -> Result<Option<[f64; 2]>, TooMany>,
    ) -> Option<[f64; 2]> {
        let question = [nonzero_params.get().ln(), compute.get().ln()];
        self.ends(&OPTIMA, saved.to_bits(), question, OptimumCell::new, ask)
    }

    /// Both ends of the interval of the mean loss, or of the loss of a new run.
    pub fn loss(
        &self,
        laws: &PreparedEnsemble,
        question: [f64; 3],
        of_new_run: bool,
    ) -> Option<[f64; 2]> {
        self.ends(&LOSSES, 0, question, LossCell::new, |cell| cell.ends(laws, question, of_new_run))
    }
}

/// A window is not worthwhile, as nearly all laws would have to be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct TooMany;

/// The coordinates of a question for a loss: `-ln(1 - S)`, `ln N` and `ln D`.
pub(super) fn loss_question(
    density: Density,
    nonzero_params: NonzeroParams,
    data: Data,
) -> [f64; 3] {
    [-density.get().ln(), nonzero_params.get().ln(), data.get().ln()]
}

impl OptimumCell {
    fn new(region: Region<2>) -> Self {
        Self {
            region,
            sparsity: OnceLock::new(),
            loss: OnceLock::new(),
            dense_loss: OnceLock::new(),
            gain: OnceLock::new(),
            chinchilla: OnceLock::new(),
        }
    }

    /// The recommendations of the law of all runs at the corners and the centre of the cell.
    fn recommended(
        &self,
        asked: Asked<'_>,
    ) -> Option<impl Iterator<Item = (NonzeroParams, Recommendation)>> {
        let Region { centre: [ln_n, ln_c], half: [half_n, half_c] } = self.region;
        let found = [(0.0, 0.0), (-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)].map(
            |(side_n, side_c)| {
                let n = NonzeroParams::new((ln_n + side_n * half_n).exp()).ok()?;
                let c = Compute::new((ln_c + side_c * half_c).exp()).ok()?;
                Some((n, Recommendation::new(asked.law, asked.cost, n, c).ok()?))
            },
        );
        let all = found.iter().all(Option::is_some);
        all.then(|| found.into_iter().flatten())
    }

    /// Both ends of the interval of the optimal sparsity; `near` is the optimal density by the law of all runs.
    pub fn sparsity(
        &self,
        asked: Asked<'_>,
        (nonzero_params, compute): (NonzeroParams, Compute),
        near: Density,
    ) -> Result<Option<[f64; 2]>, TooMany> {
        let Some(roots) = Roots::new(asked.laws, asked.cost, near) else { return Ok(None) };
        let window =
            self.sparsity.get_or_init(|| Window::new(&roots, self.region, asked.laws.tail()));
        let question = [nonzero_params.get().ln(), compute.get().ln()];
        Ok(window
            .as_ref()
            .ok_or(TooMany)?
            .ends(&roots, question, |y| Density::clamped((-y).exp()).sparsity().get()))
    }

    /// Both ends of the interval of the loss at the optimum.
    pub fn loss(&self, asked: Asked<'_>, question: [f64; 3]) -> Result<Option<[f64; 2]>, TooMany> {
        let losses = Losses { laws: asked.laws, of_new_run: false };
        let window = self.loss.get_or_init(|| {
            let at = |(n, found): (_, Recommendation)| {
                loss_question(found.best.density, n, found.best.data)
            };
            let region = Region::about(self.recommended(asked)?.map(at)).grown(BEYOND_CORNERS);
            Window::new(&losses, region, asked.laws.tail())
        });
        Ok(window.as_ref().ok_or(TooMany)?.ends(&losses, question, |loss| loss))
    }

    /// Both ends of the interval of the loss of the dense alternative.
    pub fn dense_loss(
        &self,
        asked: Asked<'_>,
        question: [f64; 3],
    ) -> Result<Option<[f64; 2]>, TooMany> {
        let losses = Losses { laws: asked.laws, of_new_run: false };
        let window = self.dense_loss.get_or_init(|| {
            let at = |(n, found): (_, Recommendation)| {
                loss_question(Density::DENSE, n, found.dense.data)
            };
            let region = Region::about(self.recommended(asked)?.map(at)).grown(BEYOND_CORNERS);
            Window::new(&losses, region, asked.laws.tail())
        });
        Ok(window.as_ref().ok_or(TooMany)?.ends(&losses, question, |loss| loss))
    }

    /// Both ends of the interval of the gain at the optimum.
    pub fn gain(&self, asked: Asked<'_>, density: Density) -> Result<Option<[f64; 2]>, TooMany> {
        let gains = LnGains(asked.laws);
        let window = self.gain.get_or_init(|| {
            let at = |(_, found): (_, Recommendation)| [-found.best.density.get().ln()];
            let region = Region::about(self.recommended(asked)?.map(at)).grown(BEYOND_CORNERS);
            Window::new(&gains, region, asked.laws.tail())
        });
        Ok(window.as_ref().ok_or(TooMany)?.ends(&gains, [-density.get().ln()], f64::exp))
    }

    /// Both ends of the interval of the Chinchilla ratio.
    pub fn chinchilla_ratio(
        &self,
        asked: Asked<'_>,
        (nonzero_params, compute): (NonzeroParams, Compute),
    ) -> Result<Option<[f64; 2]>, TooMany> {
        let ratios = LnChinchilla(asked.laws);
        let Region { centre: [centre, _], half: [half, _] } = self.region;
        let region = Region { centre: [centre], half: [half] };
        let window =
            self.chinchilla.get_or_init(|| Window::new(&ratios, region, asked.laws.tail()));
        let ln_n = nonzero_params.get().ln();
        let ln_data = compute.get().ln() - asked.cost.flops_per_param().get().ln() - ln_n;
        Ok(window.as_ref().ok_or(TooMany)?.ends(&ratios, [ln_n], |ln| (ln_data + ln).exp()))
    }
}

impl LossCell {
    fn new(region: Region<3>) -> Self {
        Self { region, mean: OnceLock::new(), new_run: OnceLock::new() }
    }

    /// Both ends of the interval of the mean loss, or of the loss of a new run.
    pub fn ends(
        &self,
        laws: &PreparedEnsemble,
        question: [f64; 3],
        of_new_run: bool,
    ) -> Result<Option<[f64; 2]>, TooMany> {
        let losses = Losses { laws, of_new_run };
        let kept = if of_new_run { &self.new_run } else { &self.mean };
        let window = kept.get_or_init(|| Window::new(&losses, self.region, laws.tail()));
        // No run has a loss below 0, however large its noise.
        let least = if of_new_run { 0.0 } else { f64::NEG_INFINITY };
        Ok(window.as_ref().ok_or(TooMany)?.ends(&losses, question, |loss| loss.max(least)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        CoefficientValues, Ensemble, FlopMode, FlopsPerParam, Interval, Member, PruningSchedule,
        SampledLaw, T5_C4,
    };
    use proptest::prelude::*;

    /// The published law with resamples whose coefficients are as uncertain as those of a fit, times `scatter`.
    fn sampled(scatter: f64) -> SampledLaw {
        let v = T5_C4.coefficients().values();
        let member = |i: u32| {
            let wave = |phase: u32, size: f64| {
                (scatter * size * (f64::from(i * phase) * 0.618).sin()).exp()
            };
            let values = CoefficientValues {
                a_s: v.a_s * wave(3, 0.4),
                b_s: v.b_s * wave(5, 0.3),
                c_s: v.c_s * wave(7, 0.3),
                b_n: v.b_n * wave(11, 0.1),
                a_d: v.a_d * wave(13, 2.0),
                b_d: v.b_d * wave(17, 0.2),
                c: v.c * wave(19, 0.01),
            };
            let noise = 0.01 * f64::from(i * 23).sin();
            Member { coefficients: Coefficients::new(values).unwrap(), noise }
        };
        let ensemble = Ensemble::new((0..1000).map(member), 0.95, 0.0244).unwrap();
        SampledLaw::new(*T5_C4.coefficients(), Some(ensemble), |loss, noise| loss * (-noise).exp())
    }

    fn ends(interval: Interval) -> [f64; 2] {
        [interval.low, interval.high]
    }

    fn same(few: Interval, all: Interval) -> bool {
        (few.low - all.low).abs() < 1e-12 && (few.high - all.high).abs() < 1e-12
    }

    proptest! {
        /// The first question in a cell and later ones get the same answer: to the bit, except for roots that Newton's
        /// method has reached from another start.
        #[test]
        fn the_few_say_what_all_say(
            ln_n in 12.0..28.0f64, ln_c in 35.0..60.0f64, moves in prop::array::uniform2(-0.1..0.1f64),
            sparse in any::<bool>(), scatter in prop::sample::select(vec![0.0, 0.03, 0.3, 1.0]),
        ) {
            let law = sampled(scatter);
            let prepared = law.prepared().unwrap();
            let mode = if sparse { FlopMode::Sparse } else { FlopMode::Dense };
            let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode);
            for at in [[0.0, 0.0], moves, moves.map(|each| 0.1 * each), [0.0, 0.0]] {
                let n = NonzeroParams::new((ln_n + at[0]).exp()).unwrap();
                let c = Compute::new((ln_c + at[1]).exp()).unwrap();
                let found = Recommendation::new(law.coefficients(), &cost, n, c).unwrap();
                let Recommendation { best, dense, .. } = found;
                let direct = prepared.optimum_intervals(best.density, n, best.data, dense.data);
                let sparsity = prepared.sparsity_interval(&cost, n, c, best.density).unwrap();
                let known = law.recommendation_intervals(&cost, n, c, &found).unwrap();
                prop_assert!(same(known.sparsity, sparsity), "{known:?} {sparsity:?}");
                prop_assert_eq!(ends(known.loss), ends(direct.loss));
                prop_assert_eq!(ends(known.dense_loss), ends(direct.dense_loss));
                prop_assert_eq!(ends(known.gain), ends(direct.gain));
                let ratio = prepared.chinchilla_interval(&cost, n, c);
                prop_assert_eq!(ends(known.chinchilla_ratio), ends(ratio));
                let [best_sparsity, loss] = law.best_intervals(&cost, n, c, &best).unwrap();
                prop_assert!(same(best_sparsity, sparsity), "{best_sparsity:?} {sparsity:?}");
                prop_assert_eq!(ends(loss), ends(direct.loss));
                let (mean, new_run) = law.loss_intervals(best.density, n, best.data).unwrap();
                let losses = prepared.losses(best.density, n, best.data);
                prop_assert_eq!(ends(mean), ends(direct.loss));
                prop_assert_eq!(ends(new_run), ends(prepared.interval_of(prepared.new_runs(&losses))));
            }
        }
    }

    #[test]
    fn near_a_question_that_was_asked_few_laws_are_asked() {
        let law = sampled(0.3);
        let cost = TrainingCost::new(
            FlopsPerParam::TRAINING,
            PruningSchedule::default(),
            FlopMode::Sparse,
        );
        let asked = Asked { law: law.coefficients(), laws: law.prepared().unwrap(), cost: &cost };
        let saved = cost.saved_by_zeros().unwrap();
        let nearby = Nearby::new();
        let (mut answered, looked_at) = (0, std::cell::Cell::new(0));
        for i in 0..100 {
            let n = NonzeroParams::new(1e7 * 1.05_f64.powi(i)).unwrap();
            let c = Compute::new(1e18 * 1.1_f64.powi(i)).unwrap();
            let found = Recommendation::new(law.coefficients(), &cost, n, c).unwrap();
            let loss = loss_question(found.best.density, n, found.best.data);
            let dense = loss_question(Density::DENSE, n, found.dense.data);
            let few = |cell: &OptimumCell| {
                let all = [
                    cell.sparsity(asked, (n, c), found.best.density)?,
                    cell.loss(asked, loss)?,
                    cell.dense_loss(asked, dense)?,
                    cell.gain(asked, found.best.density)?,
                    cell.chinchilla_ratio(asked, (n, c))?,
                ];
                let windows = [
                    cell.sparsity.get().and_then(Option::as_ref).map(Window::laws),
                    cell.loss.get().and_then(Option::as_ref).map(Window::laws),
                    cell.dense_loss.get().and_then(Option::as_ref).map(Window::laws),
                    cell.gain.get().and_then(Option::as_ref).map(Window::laws),
                    cell.chinchilla.get().and_then(Option::as_ref).map(Window::laws),
                ];
                looked_at.set(looked_at.get() + windows.iter().flatten().sum::<usize>());
                Ok(all.iter().all(Option::is_some).then_some([0.0; 2]))
            };
            // One request for each cell size.
            for _ in SIDES {
                let _ = nearby.optimum(saved, (n, c), few);
            }
            looked_at.set(0);
            answered += usize::from(nearby.optimum(saved, (n, c), few).is_some());
            assert!(looked_at.get() < 5 * 100, "{} laws of both ends of 5", looked_at.get());
        }
        assert!(answered > 95, "{answered} of 100");
    }
}
