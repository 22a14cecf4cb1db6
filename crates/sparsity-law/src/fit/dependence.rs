//! Detects runs that are not independent: repeated measurements, and checkpoints of the same training.

use super::observations::{Observation, Observations};

/// Smallest number of amounts of data at one size and sparsity that may be checkpoints of one training.
const FEWEST_CHECKPOINTS: usize = 5;

/// Smallest total number of steps from one such checkpoint to the next.
const FEWEST_STEPS: usize = 8;

/// Number of standard deviations by which the ratio of the squared steps to the squared residuals must lie below
/// that of independent runs.
const SMOOTH: f64 = 4.0;

/// Number of runs that repeat another one to the last bit, in size, sparsity, data and loss.
pub(super) fn duplicates(runs: &Observations) -> usize {
    let same = |a: &Observation, b: &Observation| {
        a.nonzero_params == b.nonzero_params
            && a.sparsity == b.sparsity
            && a.data == b.data
            && a.loss == b.loss
    };
    // Equal runs are neighbours in canonical order.
    runs.as_slice().windows(2).filter(|pair| same(&pair[0], &pair[1])).count()
}

/// Number of trainings that seem to have several checkpoints among the runs, given their residuals: runs of one
/// size and sparsity whose residuals change from one amount of data to the next by far less than independent ones
/// would. Runs that form a cluster are left out, because they are resampled together anyway.
///
/// The ratio of von Neumann (1941), the mean squared successive difference over twice the mean square, is 1 on
/// average for `n` independent residuals, with a standard deviation of about `1 / sqrt(n)`.
pub(super) fn trainings(runs: &Observations, residuals: &[f64]) -> usize {
    // In canonical order, the runs of one size and sparsity follow each other in order of data.
    let rows: Vec<(&Observation, f64, Option<u32>)> = (0..runs.len())
        .map(|place| {
            let cluster = runs.clusters().map(|clusters| clusters[place]);
            (&runs.as_slice()[place], residuals[place], cluster)
        })
        .collect();
    let curves = rows.chunk_by(|(a, ..), (b, ..)| {
        a.nonzero_params == b.nonzero_params && a.sparsity == b.sparsity
    });
    let (mut found, mut steps, mut moved, mut squared) = (0, 0, 0.0, 0.0);
    for curve in curves {
        let grows = curve.windows(2).all(|pair| pair[0].0.data < pair[1].0.data);
        let together = curve[0].2.is_some() && curve.iter().all(|run| run.2 == curve[0].2);
        if curve.len() < FEWEST_CHECKPOINTS || !grows || together {
            continue;
        }
        found += 1;
        for pair in curve.windows(2) {
            steps += 1;
            moved += (pair[1].1 - pair[0].1).powi(2);
            squared += pair[0].1.powi(2) + pair[1].1.powi(2);
        }
    }
    let is_smooth = squared > 0.0
        && steps >= FEWEST_STEPS
        && (1.0 - moved / squared) * (steps as f64).sqrt() > SMOOTH;
    if is_smooth { found } else { 0 }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::law::{Data, Loss, NonzeroParams, Sparsity};

    fn run(n: f64, d: f64, l: f64) -> Observation {
        Observation {
            nonzero_params: NonzeroParams::new(n).unwrap(),
            sparsity: Sparsity::new(0.5).unwrap(),
            data: Data::new(d).unwrap(),
            loss: Loss::new(l).unwrap(),
        }
    }

    #[test]
    fn equal_measurements_are_counted() {
        let runs =
            vec![run(1e6, 1e9, 3.0), run(1e6, 1e9, 3.0), run(1e6, 1e9, 3.1), run(2e6, 1e9, 3.0)];
        assert_eq!(duplicates(&Observations::new(runs)), 1);
    }

    #[test]
    fn checkpoints_share_what_their_training_is_off_by() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let (mut runs, mut alone, mut shared) = (Vec::new(), Vec::new(), Vec::new());
        for n in [1e6, 2e6, 4e6, 8e6] {
            let of_training = normal();
            for d in 1..=6 {
                runs.push(run(n, 1e9 * f64::from(d), 3.0));
                alone.push(normal());
                shared.push(of_training + 0.1 * normal());
            }
        }
        let runs = Observations::new(runs);
        assert_eq!(trainings(&runs, &alone), 0);
        assert_eq!(trainings(&runs, &shared), 4);
        // Runs that are resampled together are not reported.
        let of_training: Vec<_> = (0..24).map(|place| Some(place / 6)).collect();
        assert_eq!(trainings(&runs.clone().clustered(&of_training), &shared), 0);
        let others: Vec<_> = (0..24).map(|place| Some(place % 6)).collect();
        assert_eq!(trainings(&runs.clustered(&others), &shared), 4);
    }
}
