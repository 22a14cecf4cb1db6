//! The ranges that the runs behind a law cover, and how far a question lies outside them.

use serde::{Deserialize, Serialize};

use super::cost::TrainingCost;
use super::quantity::{Compute, Data, Density, DomainError, NonzeroParams, Sparsity};
use super::repetition::{Repetition, effective_data};

/// Closed range of a positive quantity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Range {
    fn of(value: f64) -> Self {
        Self { min: value, max: value }
    }

    /// The value at a share of the way from `min` to `max` in the logarithm: 0 gives `min` and 1 gives `max`, to
    /// rounding.
    #[must_use]
    pub fn at_share(self, share: f64) -> f64 {
        (self.min.ln() * (1.0 - share) + self.max.ln() * share).exp()
    }

    /// The smallest range that contains both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// The ranges of the runs at one level of sparsity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SparsityLevel {
    /// Sparsity whose density is rounded to three significant digits, as the sparsities of pruned runs scatter around
    /// their target.
    pub sparsity: f64,
    /// Number of runs at this level.
    pub runs: u32,
    /// Range of `N`: non-zero parameters.
    pub nonzero_params: Range,
    /// Range of `D`: data.
    pub data: Range,
    /// Range of `N D`, from which the range of the training cost follows for every FLOP mode.
    pub params_times_data: Range,
}

/// The ranges of the runs that a law was fitted on, by level of sparsity in rising order.
///
/// There are at most about a thousand levels for each power of ten of the density, however many runs there are, so the
/// support is stored with the law.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Support {
    levels: Vec<SparsityLevel>,
}

/// Distance between neighbouring levels near a density: one of its third significant digit, so that 0.9996 and 0.999 are
/// as far apart as they are in what is left of the model.
fn level_step(density: f64) -> f64 {
    // Densities are above 0. One of exactly a power of ten belongs to the digits below it, like 1.
    10f64.powf(density.log10().ceil() - 3.0)
}

/// The sparsity of the level to which a density belongs.
fn level_of(density: Density) -> f64 {
    let density = density.get();
    let step = level_step(density);
    // Steps are powers of ten, so that dividing by the inverse gives the decimal that people write.
    let per_unit = (1.0 / step).round();
    1.0 - (density * per_unit).round() / per_unit
}

impl Support {
    /// The support with the given levels, in any order.
    #[must_use]
    pub fn new(mut levels: Vec<SparsityLevel>) -> Self {
        levels.sort_by(|a, b| a.sparsity.total_cmp(&b.sparsity));
        Self { levels }
    }

    /// The support of runs given as `(N, S, D)`.
    pub fn of_runs(runs: impl IntoIterator<Item = (NonzeroParams, Sparsity, Data)>) -> Self {
        let mut levels = std::collections::HashMap::<u64, SparsityLevel>::new();
        for (nonzero_params, sparsity, data) in runs {
            let level = level_of(sparsity.density());
            let run = SparsityLevel {
                sparsity: level,
                runs: 1,
                nonzero_params: Range::of(nonzero_params.get()),
                data: Range::of(data.get()),
                params_times_data: Range::of(nonzero_params.get() * data.get()),
            };
            levels
                .entry(level.to_bits())
                .and_modify(|level| {
                    level.runs += 1;
                    level.nonzero_params = level.nonzero_params.join(run.nonzero_params);
                    level.data = level.data.join(run.data);
                    level.params_times_data = level.params_times_data.join(run.params_times_data);
                })
                .or_insert(run);
        }
        Self::new(levels.into_values().collect())
    }

    /// The levels in rising order of sparsity.
    #[must_use]
    pub fn levels(&self) -> &[SparsityLevel] {
        &self.levels
    }

    /// Number of runs at all levels.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.levels.iter().map(|level| level.runs).sum()
    }

    /// Range of `N` over all levels; `None` where no runs are known.
    #[must_use]
    pub fn nonzero_params(&self) -> Option<Range> {
        self.range(|level| level.nonzero_params)
    }

    /// Range of `D` over all levels; `None` where no runs are known.
    #[must_use]
    pub fn data(&self) -> Option<Range> {
        self.range(|level| level.data)
    }

    fn range(&self, of: impl Fn(&SparsityLevel) -> Range) -> Option<Range> {
        self.levels.iter().map(of).reduce(Range::join)
    }

    /// How far a sparsity lies outside the runs; `None` inside, and where no runs are known.
    #[must_use]
    pub fn sparsity_outside(&self, density: Density) -> Option<Extrapolation> {
        let (low, high) = self.levels.first().zip(self.levels.last())?;
        Extrapolation::find_sparsity(density, Range { min: low.sparsity, max: high.sparsity })
    }

    /// The quantities of `question` that lie outside the runs; empty where no runs are known.
    #[must_use]
    pub fn extrapolation(&self, question: &Question<'_>) -> Vec<Extrapolation> {
        let outside = self.ranges(question.cost).outside(question);
        outside.into_iter().flatten().collect()
    }

    /// The ranges to compare many questions of the same cost with.
    #[must_use]
    pub fn ranges(&self, cost: Option<&TrainingCost>) -> Ranges {
        let of_compute = |cost: &TrainingCost| {
            self.range(|level| {
                let density = Density::clamped(1.0 - level.sparsity);
                let per_param_and_unit = cost.flops_per_param().get() * cost.multiplier(density);
                Range {
                    min: level.params_times_data.min * per_param_and_unit,
                    max: level.params_times_data.max * per_param_and_unit,
                }
            })
        };
        let ends = self.levels.first().zip(self.levels.last());
        Ranges {
            nonzero_params: self.nonzero_params(),
            data: self.data(),
            compute: cost.and_then(of_compute),
            sparsity: ends.map(|(low, high)| Range { min: low.sparsity, max: high.sparsity }),
        }
    }

    /// Index in [`Self::levels`] of the next lower level, where `sparsity` lies between two levels.
    ///
    /// `None` at a level (within its rounding) and outside all levels.
    #[must_use]
    pub fn gap_around(&self, sparsity: Sparsity) -> Option<usize> {
        let half = 0.5 * level_step(sparsity.density().get());
        self.levels.windows(2).position(|pair| {
            sparsity.get() > pair[0].sparsity + half && sparsity.get() < pair[1].sparsity - half
        })
    }
}

/// The ranges of the runs behind a law, for all levels together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranges {
    nonzero_params: Option<Range>,
    data: Option<Range>,
    /// Range of the compute; `None` also where no cost is given.
    compute: Option<Range>,
    sparsity: Option<Range>,
}

impl Ranges {
    /// The quantities of `question` that lie outside. The question must have the cost that these ranges were made with.
    #[must_use]
    pub fn outside(&self, question: &Question<'_>) -> [Option<Extrapolation>; 4] {
        let &Question { nonzero_params, density, data, cost, repetition } = question;
        let check = |variable, value: f64, range: Option<Range>| {
            range.and_then(|range| Extrapolation::find(variable, value, range))
        };
        let compute = cost.map_or(0.0, |cost| cost.compute(density, nonzero_params, data));
        // The law is asked for what repeated data is worth, which may lie outside on the other side than its amount.
        let worth = effective_data(repetition, data);
        let of_data = [data, worth].map(|data| check(Variable::Data, data.get(), self.data));
        let farthest = of_data
            .into_iter()
            .flatten()
            .reduce(|amount, worth| if worth.factor > amount.factor { worth } else { amount });
        [
            check(Variable::NonzeroParams, nonzero_params.get(), self.nonzero_params),
            farthest,
            check(Variable::Compute, compute, self.compute),
            self.sparsity.and_then(|range| Extrapolation::find_sparsity(density, range)),
        ]
    }
}

/// A model that a law is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// `N`: non-zero parameters.
    pub nonzero_params: NonzeroParams,
    /// `1 - S`: density.
    pub density: Density,
    /// `D`: training data.
    pub data: Data,
    /// The training cost, where the question gives a compute.
    pub cost: Option<&'a TrainingCost>,
    /// How the data is repeated; `None` where each part of it is seen once.
    pub repetition: Option<&'a Repetition>,
}

/// How long a model is trained.
#[derive(Debug, Clone, Copy)]
pub enum Training<'a> {
    /// On this amount of data.
    Data(Data),
    /// For this compute, with this training cost.
    Compute(Compute, &'a TrainingCost),
}

impl<'a> Question<'a> {
    /// The question about a model that is trained on an amount of data or for a compute.
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] where the compute pays for no representable amount of data.
    pub fn new(
        nonzero_params: NonzeroParams,
        density: Density,
        training: Training<'a>,
    ) -> Result<Self, DomainError> {
        Self::at_level(None, nonzero_params, density, training)
    }

    /// Like [`Self::new`], for the level with the index `level` where one is given.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn at_level(
        level: Option<usize>,
        nonzero_params: NonzeroParams,
        density: Density,
        training: Training<'a>,
    ) -> Result<Self, DomainError> {
        let (data, cost) = match training {
            Training::Data(data) => (data, None),
            Training::Compute(compute, cost) => {
                (cost.data_at(level, density, nonzero_params, compute)?, Some(cost))
            }
        };
        Ok(Self { nonzero_params, density, data, cost, repetition: None })
    }

    /// The same question where data is repeated.
    #[must_use]
    pub const fn repeating(self, repetition: Option<&'a Repetition>) -> Self {
        Self { repetition, ..self }
    }
}

named! {
    /// A quantity that can lie outside the runs.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Variable {
        /// `N`: non-zero parameters.
        NonzeroParams = "nonzero_params",
        /// `S`: sparsity.
        Sparsity = "sparsity",
        /// `D`: data.
        Data = "data",
        /// `C`: training compute.
        Compute = "compute",
    }
}

named! {
    /// The side of the runs on which a question lies.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Side {
        /// Below the smallest value of any run.
        Below = "below",
        /// Above the largest value of any run.
        Above = "above",
    }
}

/// One quantity of a question that lies outside the runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Extrapolation {
    /// The quantity.
    pub variable: Variable,
    /// Factor by which the limit is exceeded, at least 1; for a sparsity, the ratio of the densities.
    pub factor: f64,
    /// The end of the range that is exceeded.
    pub limit: f64,
    /// Which end of the range that is.
    pub side: Side,
}

impl Extrapolation {
    fn find(variable: Variable, value: f64, range: Range) -> Option<Self> {
        // Rounding must not put a question with a run's own values outside.
        const ROUNDING: f64 = 1.0 + 1e-9;
        if value > range.max * ROUNDING {
            Some(Self { variable, factor: value / range.max, limit: range.max, side: Side::Above })
        } else if value * ROUNDING < range.min {
            Some(Self { variable, factor: range.min / value, limit: range.min, side: Side::Below })
        } else {
            None
        }
    }

    /// Compares sparsities by their densities: their distance is a matter of the parameters that remain.
    fn find_sparsity(density: Density, range: Range) -> Option<Self> {
        let sparsity = density.sparsity().get();
        let (limit, side) = if sparsity > range.max {
            (range.max, Side::Above)
        } else if sparsity < range.min {
            (range.min, Side::Below)
        } else {
            return None;
        };
        if (sparsity - limit).abs() <= 0.5 * level_step(density.get()) {
            return None;
        }
        let ratio = density.get() / (1.0 - limit);
        Some(Self { variable: Variable::Sparsity, factor: ratio.max(ratio.recip()), limit, side })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{FlopMode, FlopsPerParam, PruningSchedule, T5_C4};

    fn question(n: f64, sparsity: f64, d: f64) -> Question<'static> {
        Question {
            nonzero_params: NonzeroParams::new(n).unwrap(),
            density: Sparsity::new(sparsity).unwrap().density(),
            data: Data::new(d).unwrap(),
            cost: None,
            repetition: None,
        }
    }

    #[test]
    fn a_question_inside_the_runs_extrapolates_nothing() {
        let support = T5_C4.support();
        assert_eq!(support.extrapolation(&question(1e7, 0.5, 3e10)), []);
        assert_eq!(support.extrapolation(&question(84_934_656.0, 0.875, 65_536e6)), []);
    }

    #[test]
    fn what_lies_outside_is_named_with_its_factor() {
        let found = T5_C4.support().extrapolation(&question(8_493_465_600.0, 0.9375, 65_536e5));
        let summary: Vec<_> =
            found.iter().map(|e| (e.variable.as_str(), e.factor.round(), e.side)).collect();
        assert_eq!(
            summary,
            [
                ("nonzero_params", 100.0, Side::Above),
                ("data", 3.0, Side::Below),
                ("sparsity", 2.0, Side::Above),
            ]
        );
    }

    #[test]
    fn compute_is_compared_in_the_mode_of_the_question() {
        let flops = FlopsPerParam::new(6.0).unwrap();
        let dense = TrainingCost::new(flops, PruningSchedule::default(), FlopMode::Dense);
        let sparse = TrainingCost::new(flops, PruningSchedule::default(), FlopMode::Sparse);
        // The largest run of all, at the highest sparsity, is at the end of the range in each mode.
        let largest = question(84_934_656.0, 0.875, 65_536e6);
        for cost in [&dense, &sparse] {
            let asked = Question { cost: Some(cost), ..largest };
            assert_eq!(T5_C4.support().extrapolation(&asked), []);
        }
    }

    #[test]
    fn sparse_levels_are_told_apart_by_what_is_left() {
        let of = |sparsity: f64| level_of(Sparsity::new(sparsity).unwrap().density());
        for (sparsity, level) in [
            (0.0, 0.0),
            (0.0004, 0.0),
            (0.4996, 0.5),
            (0.7504, 0.75),
            (0.9, 0.9),
            (0.9375, 0.9375),
            (0.93749, 0.9375),
            (0.98764, 0.9876),
            (0.9985, 0.9985),
            (0.9996, 0.9996),
            (0.999_999, 0.999_999),
        ] {
            assert!((of(sparsity) - level).abs() <= 1e-15, "{sparsity}: {}", of(sparsity));
        }
        let run = |sparsity: f64| {
            let Question { nonzero_params, density, data, .. } = question(1e8, sparsity, 1e10);
            (nonzero_params, density.sparsity(), data)
        };
        let support = Support::of_runs([0.0, 0.5, 0.75, 0.9996].map(run));
        let outside = |sparsity: f64| {
            let found = support.extrapolation(&question(1e8, sparsity, 1e10));
            found.first().map_or(1.0, |found| found.factor)
        };
        assert_eq!((outside(0.9996), outside(0.9)), (1.0, 1.0));
        assert!((outside(0.9999) - 4.0).abs() < 1e-9 && (outside(0.999_999) - 400.0).abs() < 1e-6);
        assert_eq!(support.gap_around(Sparsity::new(0.9996).unwrap()), None);
    }

    #[test]
    fn between_two_levels_there_is_a_gap() {
        let gap = |s| T5_C4.support().gap_around(Sparsity::new(s).unwrap());
        assert_eq!(gap(0.3), Some(0));
        assert_eq!(gap(0.5), None);
        assert_eq!(gap(0.5003), None);
        assert_eq!(gap(0.9), None);
    }

    #[test]
    fn support_of_runs_groups_by_level() {
        let run = |n: f64, s: f64, d: f64| {
            (NonzeroParams::new(n).unwrap(), Sparsity::new(s).unwrap(), Data::new(d).unwrap())
        };
        let support =
            Support::of_runs([run(1e6, 0.7501, 1e9), run(4e6, 0.7499, 2e9), run(1e6, 0.0, 1e9)]);
        assert_eq!(support.runs(), 3);
        assert_eq!(support.levels().len(), 2);
        assert_eq!(support.levels()[1].params_times_data, Range { min: 1e15, max: 8e15 });
    }
}
