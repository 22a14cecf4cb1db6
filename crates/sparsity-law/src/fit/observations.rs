//! The runs that a law is fitted on.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::config::Residual;
use super::form::Form;
use crate::law::{Coefficients, Data, Loss, NonzeroParams, Sparsity, Support};

/// One training run as the fit sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Number of non-zero parameters, `N`.
    pub nonzero_params: NonzeroParams,
    /// Sparsity, `S`.
    pub sparsity: Sparsity,
    /// Amount of training data, `D`.
    pub data: Data,
    /// Measured loss, `L`.
    pub loss: Loss,
}

impl Observation {
    fn key(&self) -> [f64; 4] {
        [self.nonzero_params.get(), self.sparsity.get(), self.data.get(), self.loss.get()]
    }
}

/// Runs in a canonical order, so that neither the fit nor the digest depends on the order in which they were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Observations {
    runs: Vec<Observation>,
    weights: Vec<f64>,
    order: Vec<usize>,
    /// Cluster of each run, numbered by first appearance; empty where each run is its own cluster.
    clusters: Vec<u32>,
    /// Number of clusters.
    count: usize,
}

impl Observations {
    /// Takes runs of equal weight.
    #[must_use]
    pub fn new(runs: Vec<Observation>) -> Self {
        Self::weighted(runs.into_iter().map(|run| (run, 1.0)).collect())
    }

    /// Takes runs with weights relative to each other. Runs whose weight is not above 0 are left out, the others
    /// sorted by `(N, S, D, L)` and weight.
    #[must_use]
    pub fn weighted(runs: Vec<(Observation, f64)>) -> Self {
        let mut rows: Vec<(usize, (Observation, f64))> =
            runs.into_iter().enumerate().filter(|(_, (_, weight))| *weight > 0.0).collect();
        rows.sort_by(|(_, (a, a_weight)), (_, (b, b_weight))| {
            let pairs = a.key().into_iter().zip(b.key());
            pairs
                .map(|(a, b)| a.total_cmp(&b))
                .chain([a_weight.total_cmp(b_weight)])
                .find(|o| o.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        Self {
            order: rows.iter().map(|(place, _)| *place).collect(),
            weights: rows.iter().map(|(_, (_, weight))| *weight).collect(),
            count: rows.len(),
            runs: rows.into_iter().map(|(_, (run, _))| run).collect(),
            clusters: Vec::new(),
        }
    }

    /// Groups the runs into clusters: runs with the same number share a common error, so that resamples draw them
    /// together. A run without a number is its own cluster. `clusters` has one entry per run, in canonical order.
    ///
    /// ```
    /// use sparsity_law::fit::{Observation, Observations};
    /// use sparsity_law::law::{Data, Loss, NonzeroParams, Sparsity};
    ///
    /// let run = |data: f64| -> Result<Observation, sparsity_law::law::DomainError> {
    ///     let (n, s) = (NonzeroParams::new(1e6)?, Sparsity::new(0.5)?);
    ///     Ok(Observation { nonzero_params: n, sparsity: s, data: Data::new(data)?, loss: Loss::new(3.0)? })
    /// };
    /// let runs = Observations::new(vec![run(1e9)?, run(2e9)?, run(3e9)?]);
    /// assert_eq!(runs.cluster_count(), 3);
    /// // Two checkpoints of one training, and another run.
    /// let runs = runs.clustered(&[Some(7), Some(7), None]);
    /// assert_eq!((runs.clusters(), runs.cluster_count()), (Some([0, 0, 1].as_slice()), 2));
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    #[must_use]
    pub fn clustered(mut self, clusters: &[Option<u32>]) -> Self {
        let mut known = HashMap::new();
        let mut count = 0;
        let mut next = || {
            count += 1;
            count - 1
        };
        let numbers = (0..self.runs.len()).map(|run| match clusters.get(run).copied().flatten() {
            Some(cluster) => *known.entry(cluster).or_insert_with(&mut next),
            None => next(),
        });
        self.clusters = numbers.collect();
        self.count = count as usize;
        self
    }

    /// Cluster of each run in canonical order, numbered from 0 by first appearance; `None` where clusters were not
    /// given.
    #[must_use]
    pub fn clusters(&self) -> Option<&[u32]> {
        (!self.clusters.is_empty()).then_some(&self.clusters)
    }

    /// Number of clusters; the number of runs where clusters were not given.
    #[must_use]
    pub const fn cluster_count(&self) -> usize {
        self.count
    }

    /// The runs in canonical order.
    #[must_use]
    pub fn as_slice(&self) -> &[Observation] {
        &self.runs
    }

    /// Weight of each run, in canonical order.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// For each run in canonical order, its index in the list that these observations were made from.
    #[must_use]
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Number of runs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there are no runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// `sha256:` and the hexadecimal SHA-256 of every run's `(N, S, D, L)` as big-endian IEEE 754 doubles, in
    /// canonical order, followed by the weights where they are not all 1, and by the clusters where there are any.
    /// Equal sets of measurements have equal digests, different ones have different digests.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for value in self.runs.iter().flat_map(Observation::key) {
            hash.update(value.to_be_bytes());
        }
        if self.weights.iter().any(|weight| *weight != 1.0) {
            for weight in &self.weights {
                hash.update(weight.to_be_bytes());
            }
        }
        for cluster in &self.clusters {
            hash.update(cluster.to_be_bytes());
        }
        format!("sha256:{}", hex::encode(hash.finalize()))
    }

    /// Weighted mean Huber loss of a law over these runs, in units of the residual squared; 0 without runs.
    #[must_use]
    pub fn mean_huber(&self, law: &Coefficients, residual: Residual, delta: f64) -> f64 {
        let rows = self.runs.iter().zip(&self.weights);
        let (mut sum, mut total) = (0.0, 0.0);
        for (run, weight) in rows {
            let predicted = law.loss(run.sparsity.density(), run.nonzero_params, run.data);
            sum += weight * huber(residual.of(predicted, run.loss.get()), delta);
            total += weight;
        }
        if total > 0.0 { sum / total } else { 0.0 }
    }

    /// [`Self::mean_huber`] of two laws, to compare them. `None` where there are no runs, where a law does not
    /// determine the effects of size, sparsity and data, and where a mean is not finite.
    #[must_use]
    pub fn compare(
        &self,
        laws: [&Coefficients; 2],
        residual: Residual,
        delta: f64,
    ) -> Option<[f64; 2]> {
        let usable = !self.is_empty() && laws.iter().all(|law| law.determines().all());
        let means = laws.map(|law| self.mean_huber(law, residual, delta));
        (usable && means.iter().all(|mean| mean.is_finite())).then_some(means)
    }

    /// The ranges of size, sparsity and data that the runs cover.
    #[must_use]
    pub fn support(&self) -> Support {
        Support::of_runs(self.runs.iter().map(|run| (run.nonzero_params, run.sparsity, run.data)))
    }

    /// Which quantities vary over the runs.
    pub(super) fn form(&self) -> Form {
        Form {
            nonzero_params: self.levels(|run| run.nonzero_params.get()).len() > 1,
            sparsity: self.levels(|run| run.sparsity.density().get()).len() > 1,
            data: self.levels(|run| run.data.get()).len() > 1,
        }
    }

    /// The distinct values of a quantity, in ascending order.
    pub(super) fn levels(&self, quantity: impl Fn(&Observation) -> f64) -> Vec<f64> {
        levels(self.runs.iter().map(quantity).collect())
    }
}

/// Huber loss: `r^2 / 2` up to `delta`, then `delta (|r| - delta / 2)`.
pub(super) fn huber(residual: f64, delta: f64) -> f64 {
    let size = residual.abs();
    if size <= delta { 0.5 * size * size } else { delta * (size - 0.5 * delta) }
}

/// Values that differ by no more than this share are the same level: sizes and token counts scatter about the
/// value that was intended.
pub(super) const SAME_LEVEL: f64 = 1e-3;

/// The distinct values of a quantity in ascending order, each the smallest of its level.
pub(super) fn levels(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values.dedup_by(|next, kept| *next - *kept <= SAME_LEVEL * kept.abs().max(f64::MIN_POSITIVE));
    values
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
        let weighted = |weight| Observations::weighted(vec![(a, 1.0), (b, weight)]).digest();
        assert_eq!(weighted(1.0), digest(&[a, b]));
        assert_ne!(weighted(0.5), digest(&[a, b]));
        assert_eq!(weighted(0.0), digest(&[a]));
    }

    #[test]
    fn each_run_knows_where_it_came_from() {
        let (a, b, c) = (run(3e6, 0.5, 1e9, 3.0), run(2e6, 0.0, 1e9, 2.9), run(1e6, 0.0, 1e9, 2.9));
        let runs = Observations::weighted(vec![(a, 1.0), (b, 0.0), (c, 2.0)]);
        assert_eq!((runs.order(), runs.weights()), ([2, 0].as_slice(), [2.0, 1.0].as_slice()));
    }

    #[test]
    fn clusters_are_numbered_by_first_appearance_whatever_they_are_called() {
        let runs =
            Observations::new((1..=4).map(|i| run(f64::from(i) * 1e6, 0.0, 1e9, 3.0)).collect());
        let plain = runs.digest();
        let named = |clusters: [Option<u32>; 4]| runs.clone().clustered(&clusters);
        let (a, b) =
            (named([Some(9), None, Some(9), Some(2)]), named([Some(1), None, Some(1), None]));
        assert_eq!(a.clusters(), Some([0, 1, 0, 2].as_slice()));
        assert_eq!((a.cluster_count(), &a), (3, &b));
        assert_ne!(a.digest(), plain);
        assert_ne!(a.digest(), named([None; 4]).digest());
        assert_eq!((runs.clusters(), runs.cluster_count()), (None, 4));
    }

    #[test]
    fn levels_count_targets_not_scatter() {
        let runs = Observations::new(vec![
            run(1e6, 0.0, 1e9, 3.0),
            run(1.0004e6, 0.0, 1e9, 3.0),
            run(2e6, 0.0, 1e9, 3.0),
        ]);
        assert_eq!(runs.levels(|run| run.nonzero_params.get()).len(), 2);
        assert_eq!(runs.levels(|run| run.sparsity.get()).len(), 1);
    }
}
