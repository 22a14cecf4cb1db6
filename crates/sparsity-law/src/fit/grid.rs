//! The runs that could be made: every combination of given sizes, sparsities and amounts of data.

use super::choice::PlannedRun;
use super::design::usual_levels;
use super::observations::Observations;
use crate::law::{AnyLaw, Data, Density, FormLaw, NonzeroParams, Sparsity, TrainingCost};

/// Largest number of levels of each quantity that a grid takes from the runs of a law.
const USUAL_LEVELS: usize = 12;

/// Values of each quantity. Where they are `None`, the grid uses [`usual_levels`] of the law's runs: up to 12
/// levels from the smallest to the largest, and one step beyond each end.
#[derive(Debug, Clone, Default)]
pub struct RunGrid {
    /// Sizes.
    pub nonzero_params: Option<Vec<NonzeroParams>>,
    /// Sparsities.
    pub sparsity: Option<Vec<Sparsity>>,
    /// Amounts of data.
    pub data: Option<Vec<Data>>,
}

/// The error for a grid that has more runs than can be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be at most {most} runs, not {sizes} sizes x {sparsities} sparsities x {amounts} amounts of data",
    most = RunGrid::MOST_RUNS
)]
pub struct GridTooLarge {
    /// Number of sizes.
    pub sizes: usize,
    /// Number of sparsities.
    pub sparsities: usize,
    /// Number of amounts of data.
    pub amounts: usize,
}

impl RunGrid {
    /// Largest number of runs in a grid.
    pub const MOST_RUNS: usize = 20_000;

    /// Every run of the grid with its cost: the size varies slowest, the amount of data fastest. For a law of
    /// levels, the sparsities are its levels, one for each name; values of the grid that are not levels of the law
    /// are left out.
    ///
    /// # Errors
    /// [`GridTooLarge`] above [`Self::MOST_RUNS`].
    pub fn runs(
        self,
        law: AnyLaw<'_>,
        known: &Observations,
        cost: &TrainingCost,
    ) -> Result<Vec<PlannedRun>, GridTooLarge> {
        // A step beyond the runs may leave the valid range of a quantity; such values are dropped.
        let [sizes, densities, data] = usual_levels(known, USUAL_LEVELS);
        let sizes = self.nonzero_params.unwrap_or_else(|| {
            sizes.into_iter().filter_map(|size| NonzeroParams::new(size).ok()).collect()
        });
        let sparsities: Vec<(Sparsity, Option<usize>)> = match law {
            AnyLaw::Own(FormLaw::Levels(law)) => {
                let levels = law.levels.iter().enumerate().filter_map(|(place, level)| {
                    Some((Sparsity::new(level.sparsity).ok()?, Some(place), level))
                });
                let wanted = self.sparsity;
                levels
                    .filter(|(.., level)| {
                        let has = |s: &Sparsity| level.has_density(s.density());
                        wanted.as_ref().is_none_or(|wanted| wanted.iter().any(has))
                    })
                    .map(|(sparsity, place, _)| (sparsity, place))
                    .collect()
            }
            _ => {
                let sparsities = self.sparsity.unwrap_or_else(|| {
                    let densities = densities.into_iter().rev();
                    densities.filter_map(|x| Density::new(x).ok()).map(Density::sparsity).collect()
                });
                sparsities.into_iter().map(|sparsity| (sparsity, None)).collect()
            }
        };
        let data = self
            .data
            .unwrap_or_else(|| data.into_iter().filter_map(|data| Data::new(data).ok()).collect());
        let counts = [sizes.len(), sparsities.len(), data.len()];
        let count = counts.iter().try_fold(1_usize, |product, count| product.checked_mul(*count));
        let Some(count) = count.filter(|count| *count <= Self::MOST_RUNS) else {
            let [sizes, sparsities, amounts] = counts;
            return Err(GridTooLarge { sizes, sparsities, amounts });
        };
        let mut runs = Vec::with_capacity(count);
        for &nonzero_params in &sizes {
            for &(sparsity, level) in &sparsities {
                runs.extend(data.iter().map(|&data| {
                    let density = sparsity.density();
                    let compute = cost.compute_at(level, density, nonzero_params, data);
                    PlannedRun { nonzero_params, sparsity, level, data, compute }
                }));
            }
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::law::{FlopMode, FlopsPerParam, PruningSchedule, T5_C4};

    fn cost() -> TrainingCost {
        let pruning = PruningSchedule::default();
        TrainingCost::new(FlopsPerParam::TRAINING, pruning, FlopMode::Dense)
    }

    #[test]
    fn what_is_left_out_is_taken_from_the_runs() {
        let runs = Observations::new(testing::grid(T5_C4.coefficients(), 0.0, 1));
        let [sizes, densities, data] = usual_levels(&runs, USUAL_LEVELS);
        let all = RunGrid::default().runs(T5_C4.coefficients().into(), &runs, &cost()).unwrap();
        assert_eq!(all.len(), sizes.len() * densities.len() * data.len());
        // The first run has the smallest size, is dense and has the least data.
        assert_eq!(all[0].nonzero_params.get(), sizes[0]);
        assert_eq!((all[0].sparsity.get(), all[0].data.get()), (0.0, data[0]));
        let dense =
            RunGrid { sparsity: Some(vec![Sparsity::new(0.0).unwrap()]), ..RunGrid::default() };
        let dense = dense.runs(T5_C4.coefficients().into(), &runs, &cost()).unwrap();
        assert_eq!(dense.len(), sizes.len() * data.len());
        assert!(dense.iter().all(|run| run.compute > 0.0));
    }

    #[test]
    fn a_grid_that_is_too_large_says_how_large_it_is() {
        let runs = Observations::new(testing::grid(T5_C4.coefficients(), 0.0, 1));
        let size = NonzeroParams::new(1e8).unwrap();
        let sparsity = Sparsity::new(0.5).unwrap();
        let data = Data::new(1e9).unwrap();
        let grid = RunGrid {
            nonzero_params: Some(vec![size; 1000]),
            sparsity: Some(vec![sparsity; 7]),
            data: Some(vec![data; 3]),
        };
        let error = grid.runs(T5_C4.coefficients().into(), &runs, &cost()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "must be at most 20000 runs, not 1000 sizes x 7 sparsities x 3 amounts of data"
        );
    }
}
