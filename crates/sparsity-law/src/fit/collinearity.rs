//! Whether size and data of the runs lie on a line, along which their terms cannot be told apart.

use super::observations::{Observation, Observations};

/// Correlation above which size and data count as moving together.
const TOGETHER: f64 = 0.9;

/// Standard deviation of `ln D`, at the same size and sparsity, below which data varies too little: a factor of
/// 1.5. Sweeps along a short line with less variation have more than twice, and up to ten times, the error of a
/// grid with as many runs. Along a long line with the same correlation, this much variation is as good as the grid
/// (`examples/sweeps.rs`, its table in docs/sweeps.md).
const NARROWEST: f64 = 0.405;

/// How closely `ln N` and `ln D` of the runs move together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Collinearity {
    /// Correlation over all runs.
    pub overall: f64,
    /// Correlation after removing the effect of sparsity: of the residuals of each from a straight line in
    /// `ln (1 - S)`. `None` where sparsity alone determines one of them.
    pub beside_sparsity: Option<f64>,
    /// Standard deviation of the residuals of `ln D` from a line in size and sparsity.
    pub spread: f64,
}

impl Collinearity {
    /// Measures the runs, by weight; `None` where all have the same size or the same data.
    ///
    /// A law needs runs that differ in data at the same size *and* sparsity. `D = 20 N` shows in the correlation
    /// over all runs; `D = 20 N / (1 - S)`, data in proportion to all parameters, shows only in the one with the
    /// effect of sparsity removed.
    pub fn of(runs: &Observations) -> Option<Self> {
        let weights = runs.weights();
        let total: f64 = weights.iter().sum();
        let column = |value: fn(&Observation) -> f64| -> Vec<f64> {
            let values: Vec<f64> = runs.as_slice().iter().map(|run| value(run).ln()).collect();
            let sum: f64 = values.iter().zip(weights).map(|(value, weight)| weight * value).sum();
            values.into_iter().map(|value| value - sum / total).collect()
        };
        let size = column(|run| run.nonzero_params.get());
        let data = column(|run| run.data.get());
        let density = column(|run| run.sparsity.density().get());
        let product = |a: &[f64], b: &[f64]| -> f64 {
            a.iter().zip(b).zip(weights).map(|((a, b), weight)| weight * a * b).sum()
        };
        // Values that are equal to rounding do not vary.
        let varies = |part: &[f64]| product(part, part) > SAME * total;
        let correlation = |a: &[f64], b: &[f64]| {
            (product(a, b) / (product(a, a) * product(b, b)).sqrt()).clamp(-1.0, 1.0)
        };
        // Residuals of one column from a straight line in another.
        let rest = |of: &[f64], line: &[f64]| -> Vec<f64> {
            let slope = if varies(line) { product(of, line) / product(line, line) } else { 0.0 };
            of.iter().zip(line).map(|(value, line)| value - slope * line).collect()
        };
        if !varies(&size) || !varies(&data) {
            return None;
        }
        let (size_rest, data_rest) = (rest(&size, &density), rest(&data, &density));
        let both_left = varies(&size_rest) && varies(&data_rest);
        let last = rest(&data_rest, &size_rest);
        Some(Self {
            overall: correlation(&size, &data),
            beside_sparsity: both_left.then(|| correlation(&size_rest, &data_rest)),
            spread: (product(&last, &last) / total).sqrt(),
        })
    }

    /// Whether the runs lie so close to a line that they cannot tell size from data.
    pub fn is_line(self) -> bool {
        let strongest = self.overall.abs().max(self.beside_sparsity.unwrap_or(0.0).abs());
        strongest > TOGETHER && self.spread < NARROWEST
    }
}

/// Variance of a logarithm below which it is rounding.
const SAME: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{Data, Loss, NonzeroParams, Sparsity};

    fn runs(points: impl IntoIterator<Item = (f64, f64, f64)>) -> Observations {
        let run = |(n, s, d)| Observation {
            nonzero_params: NonzeroParams::new(n).unwrap(),
            sparsity: Sparsity::new(s).unwrap(),
            data: Data::new(d).unwrap(),
            loss: Loss::new(3.0).unwrap(),
        };
        Observations::new(points.into_iter().map(run).collect())
    }

    /// Four sizes over a factor of `span`, each at four sparsities; data follows from size, sparsity and index.
    fn sweep(span: f64, data: impl Fn(f64, f64, usize) -> f64) -> Observations {
        let sizes = [0.0, 1.0, 2.0, 3.0].map(|step| 4e6 * span.powf(step / 3.0));
        let sparsities = [0.0, 0.5, 0.75, 0.875];
        runs(sizes.into_iter().flat_map(|n| {
            let data = &data;
            sparsities.into_iter().enumerate().map(move |(i, s)| (n, s, data(n, s, i)))
        }))
    }

    fn found(runs: &Observations) -> Collinearity {
        Collinearity::of(runs).unwrap()
    }

    #[test]
    fn data_in_proportion_to_the_parameters_lie_on_a_line() {
        for line in [sweep(16.0, |n, _, _| 20.0 * n), sweep(16.0, |n, _, _| 1e20 / n)] {
            assert!((found(&line).overall.abs() - 1.0).abs() < 1e-12);
            assert!(found(&line).is_line() && found(&line).spread < 1e-9);
        }
        let of_all_parameters = found(&sweep(16.0, |n, s, _| 20.0 * n / (1.0 - s)));
        assert!(of_all_parameters.overall < TOGETHER && of_all_parameters.is_line());
        // One model, pruned to several sparsities, with data in proportion: sparsity determines both size and data.
        let pruned = found(&runs([0.0, 0.5, 0.75].map(|s| (1e8 * (1.0 - s), s, 2e9 * (1.0 - s)))));
        assert_eq!(pruned.beside_sparsity, None);
        assert!(pruned.is_line());
        // Nearly on the line: two ratios a factor of two apart.
        let near = sweep(16.0, |n, _, i| n * [20.0, 40.0, 40.0, 20.0][i]);
        assert!(found(&near).is_line(), "{:?}", found(&near));
    }

    #[test]
    fn data_that_vary_by_themselves_do_not() {
        let grid = (0..4)
            .flat_map(|k| sweep(16.0, move |_, _, _| 3e9 * 3_f64.powi(k)).as_slice().to_vec());
        let grid = found(&Observations::new(grid.collect()));
        assert!(!grid.is_line() && grid.overall.abs() < 1e-9);
        // Data varies little, but not along a line: another warning reports this.
        let narrow = sweep(16.0, |_, _, i| [1e9, 1.2e9, 1.1e9, 1e9][i]);
        assert!(!found(&narrow).is_line(), "{:?}", found(&narrow));
        // Four ratios that span a factor of sixteen, along a line over three decades: as correlated, but wide enough.
        let wide = sweep(1000.0, |n, _, i| n * [10.0, 160.0, 160.0, 10.0][i]);
        assert!(!found(&wide).is_line(), "{:?}", found(&wide));
        assert_eq!(Collinearity::of(&sweep(16.0, |_, _, _| 1e9)), None);
    }

    #[test]
    fn a_run_counts_by_its_weight() {
        let line = sweep(16.0, |n, _, _| 20.0 * n);
        let off = runs([(4e6, 0.0, 1e12), (6.3e7, 0.0, 1e6)]);
        let with = |weight: f64| {
            let line = line.as_slice().iter().map(|run| (*run, 1.0));
            let off = off.as_slice().iter().map(|run| (*run, weight));
            found(&Observations::weighted(line.chain(off).collect()))
        };
        assert!(with(1e-6).is_line());
        assert!(!with(1.0).is_line());
    }

    proptest::proptest! {
        #[test]
        fn random_designs_are_not_on_a_line(seed in 0_u64..1_000_000) {
            use rand::{RngExt, SeedableRng};
            let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let mut between = |low: f64, high: f64| {
                (low.ln() + random.random::<f64>() * (high / low).ln()).exp()
            };
            let points: Vec<_> = (0..16)
                .map(|_| (between(1e6, 1e9), 1.0 - between(0.1, 1.0), between(1e9, 1e11)))
                .collect();
            proptest::prop_assert!(!found(&runs(points)).is_line());
        }
    }
}
