//! The runs that a law is fitted on.

use sha2::{Digest, Sha256};

use crate::law::{Data, Loss, NonzeroParams, Sparsity, Support};

/// One training run as the fit sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// `N`.
    pub nonzero_params: NonzeroParams,
    /// `S`.
    pub sparsity: Sparsity,
    /// `D`.
    pub data: Data,
    /// `L`.
    pub loss: Loss,
}

impl Observation {
    fn key(&self) -> [f64; 4] {
        [self.nonzero_params.get(), self.sparsity.get(), self.data.get(), self.loss.get()]
    }
}

/// Runs in a canonical order, so that neither the fit nor the digest depends on how they came.
#[derive(Debug, Clone, PartialEq)]
pub struct Observations(Vec<Observation>);

impl Observations {
    /// Sorts the runs by `(N, S, D, L)`.
    #[must_use]
    pub fn new(mut runs: Vec<Observation>) -> Self {
        runs.sort_by(|a, b| {
            let pairs = a.key().into_iter().zip(b.key());
            pairs
                .map(|(a, b)| a.total_cmp(&b))
                .find(|o| o.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        Self(runs)
    }

    /// The runs in canonical order.
    #[must_use]
    pub fn as_slice(&self) -> &[Observation] {
        &self.0
    }

    /// Number of runs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `sha256:` and the hexadecimal SHA-256 of every run's `(N, S, D, L)` as big-endian IEEE 754
    /// doubles, in canonical order: equal exactly for equal sets of measurements.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for value in self.0.iter().flat_map(Observation::key) {
            hash.update(value.to_be_bytes());
        }
        format!("sha256:{}", hex::encode(hash.finalize()))
    }

    /// The ranges that the runs cover.
    #[must_use]
    pub fn support(&self) -> Support {
        Support::of_runs(self.0.iter().map(|run| (run.nonzero_params, run.sparsity, run.data)))
    }

    /// Number of distinct values of a quantity, where values closer than one in a thousand are the
    /// same level: sizes and token counts scatter about the value that was meant.
    pub(super) fn distinct(&self, quantity: impl Fn(&Observation) -> f64) -> usize {
        let mut values: Vec<f64> = self.0.iter().map(quantity).collect();
        values.sort_by(f64::total_cmp);
        values.dedup_by(|next, kept| *next - *kept <= 1e-3 * kept.abs().max(f64::MIN_POSITIVE));
        values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: f64, s: f64, d: f64, l: f64) -> Observation {
        Observation {
            nonzero_params: NonzeroParams::new(n).unwrap(),
            sparsity: Sparsity::new(s).unwrap(),
            data: Data::new(d).unwrap(),
            loss: Loss::new(l).unwrap(),
        }
    }

    #[test]
    fn the_digest_ignores_order_and_sees_the_last_bit() {
        let (a, b) = (run(1e6, 0.5, 1e9, 3.0), run(2e6, 0.0, 1e9, 2.9));
        let digest = |runs: &[Observation]| Observations::new(runs.to_vec()).digest();
        assert_eq!(digest(&[a, b]), digest(&[b, a]));
        let changed = run(1e6, 0.5, 1e9, 3.0 + f64::EPSILON * 2.0);
        assert_ne!(digest(&[a, b]), digest(&[changed, b]));
        assert_ne!(digest(&[a, b]), digest(&[a, b, b]));
    }

    #[test]
    fn levels_count_targets_not_scatter() {
        let runs = Observations::new(vec![
            run(1e6, 0.0, 1e9, 3.0),
            run(1.0004e6, 0.0, 1e9, 3.0),
            run(2e6, 0.0, 1e9, 3.0),
        ]);
        assert_eq!(runs.distinct(|run| run.nonzero_params.get()), 2);
        assert_eq!(runs.distinct(|run| run.sparsity.get()), 1);
    }
}
