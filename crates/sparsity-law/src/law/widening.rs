//! Intervals outside the runs, widened according to rolling hold-outs.
//!
//! Resampled laws show how far off the coefficients may be if the form of the law holds. Outside the runs it may not
//! hold, and only laws that are fitted on the smaller runs and asked to predict the larger ones show how much that
//! matters.

use serde::{Deserialize, Serialize};

use super::ensemble::Interval;
use super::quantity::{Data, Density, NonzeroParams};
use super::support::{Range, Support};

/// What the rolling hold-outs of a fit show about its errors outside the runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RollingError {
    /// Number of laws that were fitted on the runs below a limit of size, data or their product.
    pub rounds: usize,
    /// Number of their predictions for runs beyond the limit.
    pub predictions: usize,
    /// Number of predictions that lie inside the law's own interval of a new run, which it computes from the linearised
    /// uncertainty of its coefficients and the scatter of its runs.
    pub inside: usize,
    /// Standard deviation of the error, in excess of the scatter of the runs, at a [`distance`](Reach::distance) of 1,
    /// in the unit of the fit's residual. It grows with the square root of the distance.
    pub deviation: f64,
    /// Standard deviation of the scatter of all runs, in the same unit.
    pub noise: f64,
    /// Half the width of an interval with the fit's coverage, in standard deviations.
    pub quantile: f64,
}

/// The ranges of the runs, to measure how far outside them a question lies.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reach {
    nonzero_params: Option<Range>,
    data: Option<Range>,
    params_times_data: Option<Range>,
    density: Option<Range>,
}

impl Reach {
    /// The reach of the runs with this support.
    #[must_use]
    pub fn of(support: &Support) -> Self {
        let levels = support.levels();
        let product = levels.iter().map(|level| level.params_times_data).reduce(Range::join);
        let ends = levels.first().zip(levels.last());
        Self {
            nonzero_params: support.nonzero_params(),
            data: support.data(),
            params_times_data: product,
            density: ends
                .map(|(low, high)| Range { min: 1.0 - high.sparsity, max: 1.0 - low.sparsity }),
        }
    }

    /// Distance of a question from the runs; 0 inside.
    ///
    /// It is the largest of four numbers: the logarithms of the factors by which size, data and density lie outside
    /// their ranges, and half of that logarithm for size times data, as both factors grow in it.
    ///
    /// ```
    /// use sparsity_law::law::*;
    ///
    /// let reach = Reach::of(T5_C4.support());
    /// let sizes = T5_C4.support().nonzero_params().expect("there are runs");
    /// let data = Data::new(6.5536e10)?;
    /// let at = |n| reach.distance(Density::DENSE, NonzeroParams::new(n).expect("a size"), data);
    /// assert_eq!(at(sizes.max), 0.0);
    /// assert!((at(10.0 * sizes.max) - 10_f64.ln()).abs() < 1e-12);
    /// # Ok::<(), DomainError>(())
    /// ```
    #[must_use]
    pub fn distance(&self, density: Density, nonzero_params: NonzeroParams, data: Data) -> f64 {
        let beyond = |range: Option<Range>, value: f64, rounding: f64| {
            range.map_or(0.0, |Range { min, max }| {
                if value > max * rounding {
                    (value / max).ln()
                } else if value * rounding < min {
                    (min / value).ln()
                } else {
                    0.0
                }
            })
        };
        let (n, d) = (nonzero_params.get(), data.get());
        // Rounding must not put a run's own values outside, and the levels of sparsity are rounded.
        let size = beyond(self.nonzero_params, n, ROUNDING);
        let amount = beyond(self.data, d, ROUNDING);
        let both = beyond(self.params_times_data, n * d, ROUNDING) / 2.0;
        let zeros = beyond(self.density, density.get(), LEVEL);
        size.max(amount).max(both).max(zeros)
    }
}

const ROUNDING: f64 = 1.0 + 1e-9;
const LEVEL: f64 = 1.02;

/// Widens the intervals of a law outside its runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Widening {
    /// The errors that rolling hold-outs have shown.
    pub error: RollingError,
    /// The ranges of the runs.
    pub reach: Reach,
}

impl Widening {
    /// Widens the intervals of the mean loss and of the loss of a new run so that they contain the rolling errors at
    /// this distance. `measured` computes the loss of a run from its mean loss and its residual.
    #[must_use]
    pub fn losses(
        &self,
        (mean, new_run): (Interval, Interval),
        loss: f64,
        distance: f64,
        measured: impl Fn(f64, f64) -> f64,
    ) -> (Interval, Interval) {
        if distance == 0.0 {
            return (mean, new_run);
        }
        let RollingError { deviation, noise, quantile, .. } = self.error;
        let of_mean = quantile * deviation * distance.sqrt();
        let of_run = of_mean.hypot(quantile * noise);
        let widened = |interval: Interval, way: f64| {
            let (low, high) = (measured(loss, way), measured(loss, -way));
            Interval::cut(
                interval.level,
                interval.low.min(low.min(high)).max(0.0),
                interval.high.max(low.max(high)),
            )
        };
        (widened(mean, of_mean), widened(new_run, of_run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::T5_C4;

    #[test]
    fn intervals_grow_with_the_distance_and_never_shrink() {
        let error = RollingError {
            rounds: 3,
            predictions: 30,
            inside: 20,
            deviation: 0.01,
            noise: 0.005,
            quantile: 2.0,
        };
        let widening = Widening { error, reach: Reach::of(T5_C4.support()) };
        let interval = |low, high| Interval { level: 0.95, low, high };
        let base = (interval(1.99, 2.01), interval(1.98, 2.2));
        let at = |distance| widening.losses(base, 2.0, distance, |loss, r| loss * (-r).exp());
        assert_eq!(at(0.0), base);
        let (mean, new_run) = at(1.0);
        assert!((mean.high - 2.0 * 0.02_f64.exp()).abs() < 1e-12, "{mean:?}");
        // An end that is already farther out is not changed.
        assert_eq!(new_run.high, 2.2);
        assert!((new_run.low - 2.0 * (-0.02_f64.hypot(0.01)).exp()).abs() < 1e-12);
        let (farther, _) = at(4.0);
        assert!((farther.high - 2.0 * 0.04_f64.exp()).abs() < 1e-12);
    }
}
