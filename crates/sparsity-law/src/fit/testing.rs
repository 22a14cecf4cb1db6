//! Runs of known laws, for the tests of the fit.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Observation;
use crate::law::{Coefficients, Data, Loss, NonzeroParams, Sparsity};

/// A 4 x 4 x 4 grid of runs of `law`, with relative noise whose standard deviation is about `noise`.
pub(super) fn grid(law: &Coefficients, noise: f64, seed: u64) -> Vec<Observation> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut runs = Vec::new();
    for n in [1e6, 4e6, 16e6, 64e6] {
        for s in [0.0, 0.5, 0.75, 0.875] {
            for d in [1e9, 4e9, 16e9, 64e9] {
                let nonzero_params = NonzeroParams::new(n).unwrap();
                let sparsity = Sparsity::new(s).unwrap();
                let data = Data::new(d).unwrap();
                // The sum of twelve uniform numbers has variance 1.
                let normal: f64 = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
                let loss = law.loss(sparsity.density(), nonzero_params, data);
                let loss = Loss::new(loss * (noise * normal).exp()).unwrap();
                runs.push(Observation { nonzero_params, sparsity, data, loss });
            }
        }
    }
    runs
}

/// The same runs in another order.
pub(super) fn shuffled(mut runs: Vec<Observation>) -> Vec<Observation> {
    runs.reverse();
    runs.rotate_left(5);
    runs
}
