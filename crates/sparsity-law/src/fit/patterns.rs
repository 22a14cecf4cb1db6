//! The effective unstructured sparsity of structured patterns.

use argmin::core::{CostFunction, Error, Executor, State};
use argmin::solver::brent::BrentOpt;

use super::bootstrap::draw;
use super::config::{Residual, ValidFitConfig};
use super::observations::{Observation, Observations, huber};
use super::report::{Estimate, PatternReport};
use super::starts::{Stream, generator};
use crate::law::{Coefficients, Density, Ensemble, Member, Sparsity};

/// The runs of one structured pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct PatternRuns {
    /// Name of the pattern, `n:m`.
    pub name: String,
    /// Fraction of zeros that the pattern prescribes.
    pub nominal: Sparsity,
    /// The runs. The sparsity in them is not used.
    pub runs: Observations,
}

/// Upper end of the search over `y = -ln(1 - S)`: effective sparsities up to `1 - e^-6`, which is 99.75 %.
const LARGEST_Y: f64 = 6.0;
/// Number of cells of the grid over `y = -ln(1 - S)` on which the search starts.
const CELLS: u32 = 48;

/// Compares a pattern with unstructured sparsity by a law that determines the effect of sparsity.
pub(super) fn pattern(
    group: &PatternRuns,
    law: &Coefficients,
    ensemble: Option<&Ensemble>,
    (config, delta): (&ValidFitConfig, f64),
    index: u32,
) -> PatternReport {
    let weights = group.runs.weights();
    let best = effective_density(law, &group.runs, weights, (config, delta));
    // Each resampled law is paired with a resample of the pattern's runs.
    let resampled: Option<(&Ensemble, Vec<(Coefficients, Density)>)> = ensemble.map(|ensemble| {
        let mut rng = generator(config.get().seed, Stream::Pattern(index));
        let pair = |member: Member| {
            let weights = draw(&mut rng, &group.runs);
            let law = member.coefficients;
            (law, effective_density(&law, &group.runs, &weights, (config, delta)))
        };
        (ensemble, ensemble.members().map(pair).collect())
    });
    let estimate = |of: fn(&Coefficients, Density) -> f64| Estimate {
        value: of(law, best),
        interval: resampled.as_ref().map(|(ensemble, pairs)| {
            ensemble.interval_of(pairs.iter().map(|(law, density)| of(law, *density)).collect())
        }),
    };
    let knows_size = law.determines().nonzero_params;
    PatternReport {
        name: group.name.clone(),
        nominal_sparsity: group.nominal.get(),
        runs: group.runs.len(),
        effective_sparsity: estimate(|_, density| density.sparsity().get()),
        gain: knows_size.then(|| estimate(Coefficients::gain)),
        unstructured_gain: knows_size.then(|| law.gain(group.nominal.density())),
    }
}

/// The density at which the law explains the runs best, all coefficients held:
/// `argmin_x sum_i w_i Huber(r(L(x, N_i, D_i), L_i))`.
fn effective_density(
    law: &Coefficients,
    runs: &Observations,
    weights: &[f64],
    (config, delta): (&ValidFitConfig, f64),
) -> Density {
    let residual = config.get().residual;
    let problem = Pattern { law, runs: runs.as_slice(), weights, residual, delta };
    let width = LARGEST_Y / f64::from(CELLS);
    let (_, cell) = (0..=CELLS)
        .map(|cell| (problem.at(f64::from(cell) * width), cell))
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
        .expect("the grid has cells");
    let middle = f64::from(cell) * width;
    let (low, high) = ((middle - width).max(0.0), (middle + width).min(LARGEST_Y));
    // Search around the best grid point, which may itself be the best where it is an end of the range.
    let found = Executor::new(&problem, BrentOpt::new(low, high))
        .configure(|state| state.max_iters(100))
        .timer(false)
        .run()
        .ok()
        .and_then(|result| result.state().get_best_param().copied());
    let candidates = [middle, found.unwrap_or(middle)];
    let y = candidates
        .into_iter()
        .min_by(|a, b| problem.at(*a).total_cmp(&problem.at(*b)))
        .expect("there are two");
    Density::clamped((-y).exp())
}

struct Pattern<'a> {
    law: &'a Coefficients,
    runs: &'a [Observation],
    weights: &'a [f64],
    residual: Residual,
    delta: f64,
}

impl Pattern<'_> {
    fn at(&self, y: f64) -> f64 {
        let density = Density::clamped((-y).exp());
        let loss = |(run, weight): (&Observation, &f64)| {
            let predicted = self.law.loss(density, run.nonzero_params, run.data);
            weight * huber(self.residual.of(predicted, run.loss.get()), self.delta)
        };
        self.runs.iter().zip(self.weights).map(loss).sum()
    }
}

impl CostFunction for &Pattern<'_> {
    type Param = f64;
    type Output = f64;

    fn cost(&self, y: &f64) -> Result<f64, Error> {
        Ok(self.at(*y))
    }
}
