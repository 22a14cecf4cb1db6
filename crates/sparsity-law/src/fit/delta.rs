//! Where the Huber loss turns from quadratic to linear, from the residuals themselves.

use super::config::FitConfig;
use super::normalised::Point;
use super::objective::Objective;
use super::search::Search;
use super::starts::start_point;
use rand_chacha::ChaCha8Rng;

/// Least delta, relative to the loss: below it the losses are exact to rounding.
pub(super) const LEAST: f64 = 1e-6;

/// Delta of the pilot, relative to the loss: near the sum of absolute residuals, which a few runs far off do not move.
pub(super) const PILOT: f64 = 1e-3;

/// Starts of the pilot. It need not find the best minimum, but a scale of the residuals there.
pub(super) const STARTS: usize = 4;

/// Relative change of delta at which it has settled.
pub(super) const SETTLED: f64 = 1e-3;

/// Steps at most; some five are needed.
pub(super) const STEPS: usize = 30;

/// Median absolute deviation of a normal distribution, in standard deviations.
pub(super) const MAD_OF_NORMAL: f64 = 0.674_489_750_196_081_7;

/// The delta of [`Delta::Auto`](super::Delta::Auto), in the unit of the normalised residual, over the runs of an
/// objective, or of its sketch where there are very many; `None` where it was stopped.
///
/// From the residuals of a pilot fit the delta follows, from that delta a fit, from its residuals the next delta:
/// Huber's proposal 2 with the median absolute deviation for the scale.
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
        // Halfway in the logarithm, so that it does not swing between two medians.
        delta = (next * delta).sqrt();
        if change < SETTLED {
            break;
        }
    }
    Some(delta)
}

/// Robust standard deviations of the residuals at a point, as delta.
fn delta_at(search: &Search<'_>, objective: &Objective<'_>, point: &Point) -> f64 {
    let mut residuals = objective.absolute_residuals(point);
    residuals.sort_by(f64::total_cmp);
    // The law can pass through as many runs as it has coefficients; the others show the scatter.
    let through = search.parameters.count().min(residuals.len() - 1);
    let median = crate::law::quantile(&mut residuals[through..], 0.5);
    (FitConfig::DELTA_IN_SIGMAS * median / MAD_OF_NORMAL).max(LEAST)
}
