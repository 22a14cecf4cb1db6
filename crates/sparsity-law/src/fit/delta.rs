//! Estimates from the residuals where the Huber loss should turn from quadratic to linear.

use super::config::FitConfig;
use super::normalised::Point;
use super::objective::Objective;
use super::search::Search;
use super::starts::start_point;
use rand_chacha::ChaCha8Rng;

/// Smallest delta, relative to the loss: residuals below it are rounding.
pub(super) const LEAST: f64 = 1e-6;

/// Delta of the pilot fit, relative to the loss. It is close to the sum of absolute residuals, which a few
/// outliers do not move.
pub(super) const PILOT: f64 = 1e-3;

/// Starts of the pilot fit, which need not find the best minimum, only the scale of the residuals.
pub(super) const STARTS: usize = 4;

/// Relative change of delta below which the iteration stops.
pub(super) const SETTLED: f64 = 1e-3;

/// Largest number of iterations; about five are needed.
pub(super) const STEPS: usize = 30;

/// Median absolute deviation of a normal distribution, in standard deviations.
pub(super) const MAD_OF_NORMAL: f64 = 0.674_489_750_196_081_7;

/// The delta of [`Delta::Auto`](super::Delta::Auto), in the unit of the normalised residual, over the runs of an
/// objective, or of its sketch where there are very many; `None` if stopped.
///
/// A pilot fit gives residuals and these give a delta; a fit with that delta gives residuals and these the next
/// delta, until it settles. This is Huber's proposal 2, with the median absolute deviation as the scale.
pub(super) fn auto_delta(
    search: &Search<'_>,
    objective: &Objective<'_>,
    rng: &mut ChaCha8Rng,
) -> Option<f64> {
    let pilot = objective.with_delta(PILOT);
    let starts: Vec<Point> = (0..STARTS).map(|_| start_point(&pilot, rng)).collect();
    let descents = starts.iter().map(|start| search.descend(&pilot, start));
    let best = descents.min_by(|a, b| a.value.total_cmp(&b.value))?;
    let mut point = best.point;
    let mut delta = delta_at(search, objective, &point);
    for _ in 0..STEPS {
        if (search.should_stop)() {
            return None;
        }
        point = search.polish(&objective.with_delta(delta), &point).point;
        let next = delta_at(search, objective, &point);
        let change = (next / delta - 1.0).abs();
        // The geometric mean of both, so that delta does not oscillate between two medians.
        delta = (next * delta).sqrt();
        if change < SETTLED {
            break;
        }
    }
    Some(delta)
}

/// The delta that follows from the residuals at a point, as a multiple of their robust standard deviation.
fn delta_at(search: &Search<'_>, objective: &Objective<'_>, point: &Point) -> f64 {
    let mut residuals = objective.absolute_residuals(point);
    residuals.sort_by(f64::total_cmp);
    // The law can pass through as many runs as it has coefficients, so the scatter shows in the others only.
    let through = search.parameters.count().min(residuals.len() - 1);
    let median = crate::law::quantile(&mut residuals[through..], 0.5);
    (FitConfig::DELTA_IN_SIGMAS * median / MAD_OF_NORMAL).max(LEAST)
}
