//! Tests whether the residuals of the runs are independent of each other, or differ between groups of runs: by
//! size, sparsity, data, and size with sparsity.

use nalgebra::DVector;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, FisherSnedecor};

use super::normalised::{COUNT, Point};
use super::objective::Objective;
use super::observations::{Observation, Observations};
use super::parameters::Parameters;

named! {
    /// What the runs of a group have in common.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Grouping {
        /// Size.
        NonzeroParams = "nonzero_params",
        /// Sparsity.
        Sparsity = "sparsity",
        /// Amount of data.
        Data = "data",
        /// Size and sparsity.
        NonzeroParamsAndSparsity = "nonzero_params_and_sparsity",
    }
}

/// Test of whether the mean residuals of groups of runs differ by more than chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CellTest {
    /// How the runs are grouped.
    pub by: Grouping,
    /// Number of groups.
    pub cells: usize,
    /// Variance between the groups over that within them, each per degree of freedom: about 1 by chance.
    pub statistic: f64,
    /// Probability of a statistic at least as large where residuals are independent.
    pub p: f64,
}

/// Probability below which a test is reported: one in a hundred over all four tests.
pub(super) const TOLD: f64 = 0.01 / 4.0;

/// Values that differ by less than this share are one level, as in `identify`.
const LEVEL: f64 = 0.02;
/// Residuals are clamped at this many robust standard deviations: a few runs that are far off are outliers, not a
/// group.
const CUT: f64 = 2.5;
/// Largest number of groups in a test; with more there is hardly more than one run in each.
const MOST_CELLS: usize = 128;
/// Largest number of runs to test; of more runs, every `n`-th is taken.
const MOST_RUNS: usize = 4_000;
/// Smallest number of degrees of freedom within the groups.
const FEWEST_WITHIN: usize = 3;

/// The tests that the runs allow: of the mean residuals of groups, after removing what the coefficients could make
/// up for.
///
/// Each is the F test of the linear model of the residuals at the law, with a mean for each group added to the
/// coefficients of the law.
pub(super) fn cell_tests(
    runs: &Observations,
    objective: &Objective<'_>,
    parameters: &Parameters,
    point: &Point,
    noise: f64,
) -> Vec<CellTest> {
    let step = step(runs);
    let rows: Vec<_> = objective.residuals(point).into_iter().step_by(step).collect();
    let places = (0..COUNT).filter(|place| parameters.is_free(*place));
    let slope = |run: usize, place: usize| parameters.restrict_gradient(point, &rows[run].1)[place];
    let columns = places.map(|place| DVector::from_fn(rows.len(), |run, _| slope(run, place)));
    let residuals = DVector::from_fn(rows.len(), |run, _| rows[run].0);
    tests_of(runs, columns, residuals, noise)
}

/// Step at which runs are taken for the tests; 1 where all are.
pub(super) fn step(runs: &Observations) -> usize {
    runs.len().div_ceil(MOST_RUNS).max(1)
}

/// Same as [`cell_tests`], for a law given by its residuals at every [`step`]-th run and their slopes by its
/// coefficients.
pub(super) fn tests_of(
    runs: &Observations,
    columns: impl Iterator<Item = DVector<f64>>,
    residuals: DVector<f64>,
    noise: f64,
) -> Vec<CellTest> {
    let kept: Vec<Observation> = runs.as_slice().iter().copied().step_by(step(runs)).collect();
    let mut law: Vec<DVector<f64>> = Vec::new();
    for column in columns {
        orthogonal(&mut law, column);
    }
    let cut = CUT * noise;
    if cut <= 0.0 {
        return Vec::new();
    }
    let mut rest = residuals.map(|residual| residual.clamp(-cut, cut));
    for known in &law {
        let along = known.dot(&rest);
        rest -= known * along;
    }
    let of = |quantity: fn(&Observation) -> f64| places(&kept, quantity);
    let sizes = of(|run| run.nonzero_params.get());
    let densities = of(|run| run.sparsity.density().get());
    let data = of(|run| run.data.get());
    let many = densities.iter().max().map_or(1, |most| most + 1);
    let both: Vec<usize> = sizes.iter().zip(&densities).map(|(n, x)| n * many + x).collect();
    let groupings = [
        (Grouping::NonzeroParams, sizes),
        (Grouping::Sparsity, densities),
        (Grouping::Data, data),
        (Grouping::NonzeroParamsAndSparsity, both),
    ];
    groupings.into_iter().filter_map(|(by, cells)| test(by, cells, &law, &rest)).collect()
}

fn test(
    by: Grouping,
    cells: Vec<usize>,
    law: &[DVector<f64>],
    rest: &DVector<f64>,
) -> Option<CellTest> {
    let mut names = cells.clone();
    names.sort_unstable();
    names.dedup();
    if names.len() < 2 || names.len() > MOST_CELLS || 2 * names.len() > cells.len() {
        return None;
    }
    let mut basis = law.to_vec();
    let mut between = 0.0;
    for name in &names {
        let member = |run: usize| if cells[run] == *name { 1.0 } else { 0.0 };
        if orthogonal(&mut basis, DVector::from_fn(cells.len(), |run, _| member(run))) {
            between += basis.last().map_or(0.0, |direction| direction.dot(rest).powi(2));
        }
    }
    let free = basis.len() - law.len();
    let within = cells.len().checked_sub(basis.len()).filter(|within| *within >= FEWEST_WITHIN)?;
    let left = rest.norm_squared() - between;
    if free == 0 || left <= 0.0 {
        return None;
    }
    let statistic = between / free as f64 / (left / within as f64);
    let chance = FisherSnedecor::new(free as f64, within as f64).ok()?;
    Some(CellTest { by, cells: names.len(), statistic, p: chance.sf(statistic) })
}

/// Adds to an orthonormal basis the part of a column that lies outside it; returns whether there was one.
fn orthogonal(basis: &mut Vec<DVector<f64>>, mut column: DVector<f64>) -> bool {
    let length = column.norm();
    // Done twice, as a single pass leaves rounding errors.
    for _ in 0..2 {
        for known in basis.iter() {
            let along = known.dot(&column);
            column -= known * along;
        }
    }
    let rest = column.norm();
    let new = rest > 1e-6 * length && rest > 0.0;
    if new {
        basis.push(column / rest);
    }
    new
}

/// The index of each run's level of a quantity.
fn places(runs: &[Observation], quantity: fn(&Observation) -> f64) -> Vec<usize> {
    let mut levels: Vec<f64> = runs.iter().map(quantity).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup_by(|next, kept| *next - *kept <= LEVEL * *kept);
    runs.iter().map(|run| levels.partition_point(|level| *level <= quantity(run)) - 1).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::fit::normalised::Normalised;
    use crate::fit::{Residual, testing};
    use crate::law::{Loss, T5_C4};

    /// Whether any test reports a grid whose losses have, besides their own noise, an error shared by each group.
    fn told(shared: Option<fn(&Observation) -> u64>, seed: u64) -> bool {
        let mut runs = testing::grid(T5_C4.coefficients(), 0.004, seed);
        if let Some(group) = shared {
            for run in &mut runs {
                let mut rng = ChaCha8Rng::seed_from_u64(1000 * seed + group(run) % 997);
                let normal = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
                run.loss = Loss::new(run.loss.get() * (0.006 * normal).exp()).unwrap();
            }
        }
        let config = crate::fit::FitConfig { bootstrap: 0, starts: 4, ..Default::default() };
        let runs = Observations::new(runs);
        let fitted = crate::fit::fit(
            &runs.clone().into(),
            &config.check().unwrap(),
            &crate::fit::Control::NONE,
        );
        let report = fitted.unwrap();
        let units = Normalised::new(&runs);
        let parameters = Parameters::new(runs.form(), &BTreeMap::new(), &units);
        let objective = Objective::new(&units, runs.weights(), Residual::Log, 0.01);
        let point = units.point(&report.coefficients);
        let tests = cell_tests(&runs, &objective, &parameters, &point, report.diagnostics.noise);
        assert_eq!(tests.len(), 4);
        tests.iter().any(|test| test.p < TOLD)
    }

    #[test]
    fn errors_that_runs_share_are_found_and_others_are_not() {
        let independent = (0..20).filter(|seed| told(None, *seed)).count();
        assert!(independent <= 1, "{independent} of 20");
        let by_cell = |run: &Observation| {
            (run.nonzero_params.get() as u64) ^ (run.sparsity.get() * 1000.0) as u64
        };
        let found = (0..20).filter(|seed| told(Some(by_cell), *seed)).count();
        assert!(found >= 17, "{found} of 20");
    }
}
