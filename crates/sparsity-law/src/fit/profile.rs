//! Profile intervals: how far an exponent can move while the other coefficients compensate.

use super::bootstrap::{student_quantile, widening};
use super::descent::{Descent, Termination};
use super::normalised::{BOUNDS, at};
use super::objective::Objective;
use super::report::Profile;
use super::search::Search;
use crate::law::{CoefficientName, quantile};

/// First step away from the best value, in the logarithm of the exponent.
const FIRST_STEP: f64 = 0.02;
/// Factor by which steps grow until the end is passed.
const GROWTH: f64 = 1.8;
/// Precision to which an end is found, in the logarithm of the exponent.
const PRECISION: f64 = 1e-3;

/// The profile interval of every free exponent; `None` if stopped.
///
/// The ends are where the objective has risen by as much as chance explains. For a Huber loss `rho` with
/// `psi = rho'`, the statistic `2 n (Q - Q_min) E psi' / E psi^2` is that of a squared t test (Schrader and
/// Hettmansperger 1980), so the rise is `t^2 E psi^2 / (2 n E psi')`, times `n / (n - p)` for the `p` fitted
/// coefficients.
pub(super) fn profiles(
    search: &Search<'_>,
    objective: &Objective<'_>,
    best: &Descent,
    level: f64,
) -> Option<Vec<Profile>> {
    let exponents = [
        (CoefficientName::BS, at::BS),
        (CoefficientName::BN, at::BN),
        (CoefficientName::BD, at::BD),
    ];
    let rise = rise(search, objective, best, level);
    let mut found = Vec::new();
    for (coefficient, place) in exponents {
        // The constraint may have to change b_S, so b_S cannot be held as well.
        let yields = place == at::BS && search.constraint.is_some();
        if !search.parameters.is_free(place) || yields {
            continue;
        }
        let profile = Walk { search, objective, place, best, limit: best.value + rise };
        let low = profile.end(-1.0)?;
        let high = profile.end(1.0)?;
        let [low, high] = [low, high].map(|end| end.map(f64::exp));
        found.push(Profile { coefficient, level, low, high });
    }
    Some(found)
}

/// The rise of the scaled objective that chance explains.
fn rise(search: &Search<'_>, objective: &Objective<'_>, best: &Descent, level: f64) -> f64 {
    let residuals: Vec<f64> = objective
        .absolute_residuals(&best.point)
        .into_iter()
        .map(|residual| residual / objective.delta)
        .collect();
    let (count, free) = (residuals.len(), search.parameters.count());
    let shares = || objective.shares().iter();
    let psi_squared: f64 =
        residuals.iter().zip(shares()).map(|(u, share)| share * u.min(1.0).powi(2)).sum();
    // E psi' is the share of residuals below 1, in units of delta. Where delta is far below the noise, few
    // residuals are, among them those of runs that the law passes through; a wider window estimates their density
    // instead.
    let window = (quantile(&mut residuals.clone(), 0.5) * widening(count, free)).max(1.0);
    let within: f64 = {
        let pairs = residuals.iter().zip(shares());
        pairs.filter(|(u, _)| **u <= window).map(|(_, share)| share).sum()
    };
    let psi_slope = within / window;
    let effective_runs = shares().map(|share| share * share).sum::<f64>().recip();
    let quantile = student_quantile(level, count, free);
    let widening = widening(count, free).powi(2);
    quantile * quantile * widening * psi_squared / psi_slope / (2.0 * effective_runs)
}

struct Walk<'a> {
    search: &'a Search<'a>,
    objective: &'a Objective<'a>,
    place: usize,
    best: &'a Descent,
    limit: f64,
}

impl Walk<'_> {
    /// Steps from the best value in one direction until the limit is passed, then bisects. `Some(None)` where the
    /// box ends first, `None` if stopped.
    fn end(&self, direction: f64) -> Option<Option<f64>> {
        let (low, high) = BOUNDS[self.place];
        let mut inside = *self.best;
        let mut step = FIRST_STEP;
        let mut outside = loop {
            let value = (inside.point[self.place] + direction * step).clamp(low, high);
            let there = self.held(value, &inside)?;
            if there.value > self.limit {
                break value;
            }
            if value == low || value == high {
                return Some(None);
            }
            inside = there;
            step *= GROWTH;
        };
        while (outside - inside.point[self.place]).abs() > PRECISION {
            let middle = 0.5 * (outside + inside.point[self.place]);
            let there = self.held(middle, &inside)?;
            if there.value > self.limit {
                outside = middle;
            } else {
                inside = there;
            }
        }
        Some(Some(inside.point[self.place]))
    }

    /// The minimum over the other coordinates with this one held at `value`, found from a nearby point; `None` if
    /// stopped.
    fn held(&self, value: f64, near: &Descent) -> Option<Descent> {
        let search = self.search.holding(self.place, value);
        let found = search.polish(self.objective, &near.point);
        (found.termination != Termination::Stopped).then_some(found)
    }
}
