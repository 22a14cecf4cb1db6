//! Cost of one training step as a function of the sparsity that the model has at that moment.

use std::sync::Arc;

use super::flop_mode::FlopMode;
use super::quantity::{Density, DomainError};
use super::schedule::{Course, PruningSchedule, Stretch, stretches};

/// `h(s)`: cost of a step at momentary sparsity `s`, relative to a dense step of the same shape.
///
/// | constructor | `h(s)` |
/// |---|---|
/// | [`FlopMode::Dense`] | `1` |
/// | [`FlopMode::Sparse`] | `1 - s` |
/// | [`StepCost::of_share`] | `(1 - f) + f min(1, (1 - s) / eta)` |
/// | [`StepCost::of_points`] | measured points, linear between them, constant beyond the last |
///
/// All are piecewise linear, so every integral over a training run has a closed form. All have `h(0) = 1`: a step
/// without zeros is the dense step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCost(pub(super) Shape);

/// The shapes that are treated differently.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// `1 - saved s` with `0 <= saved <= 1`, for which everything that follows is known exactly.
    Linear { saved: f64 },
    /// Pieces of positive width that cover 0 to 1, in rising order.
    Pieces(Arc<[Piece]>),
}

/// One linear piece: `h(s) = cost + slope (s - start)` from `start` to `end`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    pub start: f64,
    pub end: f64,
    pub cost: f64,
    pub slope: f64,
}

/// An invalid coordinate of a measured point.
#[derive(Debug, Clone, PartialEq)]
pub struct PointError {
    /// Index of the point.
    pub point: usize,
    /// Index of the coordinate: 0 for the sparsity, 1 for the cost.
    pub coordinate: usize,
    /// What is wrong with the coordinate.
    pub error: DomainError,
}

impl From<FlopMode> for StepCost {
    fn from(mode: FlopMode) -> Self {
        let saved = match mode {
            FlopMode::Dense => 0.0,
            FlopMode::Sparse => 1.0,
        };
        Self(Shape::Linear { saved })
    }
}

impl StepCost {
    /// Range of the prunable share in words, for error messages.
    pub const SHARE_RANGE: &'static str = "between 0 and 1";
    /// Range of the efficiency in words, for error messages.
    pub const EFFICIENCY_RANGE: &'static str = "above 0 and at most 1";
    /// Range of a point's sparsity in words, for error messages.
    pub const SPARSITY_RANGE: &'static str = "between 0 and 1";
    /// Range of a cost in words, for error messages.
    pub const COST_RANGE: &'static str = "above 0 and at most 10";

    /// The cost `(1 - f) + f min(1, (1 - s) / eta)`: a share `f` of the FLOPs can be pruned, and on that share the
    /// hardware achieves a fraction `eta` of the ideal speed-up, with no gain below `s = 1 - eta`.
    ///
    /// ```
    /// use sparsity_law::law::StepCost;
    ///
    /// let step = StepCost::of_share(0.9, 0.7).map_err(|(field, error)| format!("{field} {error}"))?;
    /// assert_eq!(step.at(0.2), 1.0); // no gain before 30 % of zeros
    /// assert!((step.at(0.65) - 0.55).abs() < 1e-12); // 0.1 + 0.9 x 0.35 / 0.7
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] with the name of the field.
    pub fn of_share(
        prunable_share: f64,
        efficiency: f64,
    ) -> Result<Self, (&'static str, DomainError)> {
        let out = |field, range, value| Err((field, DomainError::OutOfRange { range, value }));
        if !(0.0..=1.0).contains(&prunable_share) {
            return out("prunable_share", Self::SHARE_RANGE, prunable_share);
        }
        if !(efficiency > 0.0 && efficiency <= 1.0) {
            return out("efficiency", Self::EFFICIENCY_RANGE, efficiency);
        }
        let gains_from = 1.0 - efficiency;
        Ok(Self::through(&[(gains_from, 1.0), (1.0, 1.0 - prunable_share)]))
    }

    /// The cost through measured points `(s, h)`, linear between them and constant beyond the last: nothing shows that
    /// the hardware gains more there. The point `(0, 1)` is added at the start if it is not given.
    ///
    /// `h` must be above 0 and at most 10. At `s = 1` it may also be 0, as nothing is left to compute there.
    ///
    /// # Errors
    /// [`PointError`] for the first coordinate that is out of range, or for a sparsity that is not above the one before
    /// it.
    pub fn of_points(points: &[(f64, f64)]) -> Result<Self, PointError> {
        let mut before = None;
        for (point, &(sparsity, cost)) in points.iter().enumerate() {
            let fail = |coordinate, error| Err(PointError { point, coordinate, error });
            if !(0.0..=1.0).contains(&sparsity) {
                let range = Self::SPARSITY_RANGE;
                return fail(0, DomainError::OutOfRange { range, value: sparsity });
            }
            if let Some(before) = before
                && sparsity <= before
            {
                return fail(0, DomainError::NotRising { before, value: sparsity });
            }
            let nothing_left = sparsity == 1.0 && cost == 0.0;
            if !Self::is_cost(cost) && !nothing_left {
                return fail(1, DomainError::OutOfRange { range: Self::COST_RANGE, value: cost });
            }
            if sparsity == 0.0 && cost != 1.0 {
                let range = "1 at sparsity 0, where a step is the dense step";
                return fail(1, DomainError::OutOfRange { range, value: cost });
            }
            before = Some(sparsity);
        }
        Ok(Self::through(points))
    }

    /// Whether a step can have this relative cost.
    #[must_use]
    pub fn is_cost(cost: f64) -> bool {
        cost > 0.0 && cost <= 10.0
    }

    /// The piecewise linear cost through (0, 1) and the given points, which must be checked and must not fall back.
    fn through(points: &[(f64, f64)]) -> Self {
        let mut pieces = Vec::with_capacity(points.len() + 1);
        let (mut start, mut cost) = (0.0, 1.0);
        for &(end, next) in points {
            let slope = (next - cost) / (end - start);
            // A kink so close to the one before it that the slope is not finite is left out.
            if end > start && slope.is_finite() {
                pieces.push(Piece { start, end, cost, slope });
                (start, cost) = (end, next);
            }
        }
        if start < 1.0 {
            pieces.push(Piece { start, end: 1.0, cost, slope: 0.0 });
        }
        match pieces.as_slice() {
            [only] if (-1.0..=0.0).contains(&only.slope) => {
                Self(Shape::Linear { saved: -only.slope })
            }
            pieces if pieces.iter().all(|piece| piece.slope == 0.0) => {
                Self(Shape::Linear { saved: 0.0 })
            }
            _ => Self(Shape::Pieces(pieces.into())),
        }
    }

    /// FLOPs of a forward pass per non-zero parameter and served token, `2 h(S) / (1 - S)`: 2 where zeros are skipped,
    /// and `2 / (1 - S)` where they are not.
    #[must_use]
    pub fn inference_flops(&self, density: Density) -> f64 {
        let x = density.get();
        let cost = match &self.0 {
            // Keeps the digits of a small density.
            Shape::Linear { saved } => (1.0 - saved) + saved * x,
            Shape::Pieces(_) => self.at(1.0 - x),
        };
        2.0 * cost / x
    }

    /// The cost `h(s)` for `0 <= s <= 1`.
    #[must_use]
    pub fn at(&self, sparsity: f64) -> f64 {
        match &self.0 {
            Shape::Linear { saved } => 1.0 - saved * sparsity,
            Shape::Pieces(pieces) => pieces
                .iter()
                .rfind(|piece| piece.start <= sparsity)
                .map_or(1.0, |piece| piece.cost + piece.slope * (sparsity - piece.start)),
        }
    }
}

/// Mean cost of a step over a training run, with its derivatives in the final sparsity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MeanCost {
    /// `A(S)`, the integral of `h(s(p))` over the training progress `p`.
    pub value: f64,
    /// `A'` on the side of smaller sparsities.
    pub slope_below: f64,
    /// `A'` on the side of larger sparsities; differs from `slope_below` where `S` is a kink of `h`.
    pub slope_above: f64,
}

/// The mean cost at the final sparsity `S`, in closed form.
pub(super) fn mean_cost(pieces: &[Piece], schedule: &PruningSchedule, sparsity: f64) -> MeanCost {
    match schedule.course() {
        Course::Ramp { start, end, exponent } => {
            mean_cost_of_ramp(pieces, [*start, *end, *exponent], sparsity)
        }
        Course::Points(points) => mean_cost_of_points(pieces, points, sparsity),
    }
}

/// Relative distance from a kink of `h` within which a momentary sparsity counts as being at it: the rounding of a
/// quotient and a product.
const AT_KINK: f64 = 4.0 * f64::EPSILON;

/// The mean cost where the share `g` of the final sparsity is piecewise linear in the training progress.
///
/// Consider a part of the training with width `w`, over which the share goes from `g_0` to `g_1`, and a piece of `h`
/// through which it passes from `u_a` to `u_b`. As `h` is linear there, the piece contributes
/// `w (u_b - u_a) / (g_1 - g_0)` times `h` at the middle. With `k` its slope, the derivative of that in `S` is
/// `k w (u_b^2 - u_a^2) / (2 (g_1 - g_0))`. A part over which the share stays at `g` contributes `w h(S g)`.
fn mean_cost_of_points(pieces: &[Piece], points: &[(f64, f64)], sparsity: f64) -> MeanCost {
    let mut mean = MeanCost { value: 0.0, slope_below: 0.0, slope_above: 0.0 };
    for stretch in stretches(points) {
        let part = if stretch.from == stretch.to {
            staying(pieces, stretch.from, sparsity)
        } else {
            passing(pieces, stretch, sparsity)
        };
        mean.value += stretch.width * part.value;
        mean.slope_below += stretch.width * part.slope_below;
        mean.slope_above += stretch.width * part.slope_above;
    }
    mean
}

/// `h(S g)` with its derivatives in `S`.
fn staying(pieces: &[Piece], share: f64, sparsity: f64) -> MeanCost {
    let at = sparsity * share;
    let (mut value, mut below, mut above) = (1.0, 0.0, 0.0);
    for piece in pieces {
        if piece.start <= at * (1.0 + AT_KINK) {
            value = piece.cost + piece.slope * (at - piece.start);
            above = piece.slope;
        }
        if piece.start < at * (1.0 - AT_KINK) || piece.start == 0.0 {
            below = piece.slope;
        }
    }
    MeanCost { value, slope_below: share * below, slope_above: share * above }
}

/// The mean of `h(S g)` over a share `g` that changes linearly, with its derivative in `S`.
fn passing(pieces: &[Piece], stretch: Stretch, sparsity: f64) -> MeanCost {
    let (low, high) = (stretch.from.min(stretch.to), stretch.from.max(stretch.to));
    let (mut value, mut slope) = (0.0, 0.0);
    for piece in pieces {
        // The shares at which the ends of the piece are passed. Without sparsity all of it is in the first piece.
        let share_at = |end: f64| if sparsity > 0.0 { end / sparsity } else { f64::INFINITY };
        let from = if piece.start == 0.0 { low } else { share_at(piece.start).max(low) };
        let to = if piece.end == 1.0 { high } else { share_at(piece.end).min(high) };
        if to <= from {
            continue;
        }
        let (width, middle) = (to - from, 0.5 * (from + to));
        value += width * (piece.cost + piece.slope * (sparsity * middle - piece.start));
        slope += width * middle * piece.slope;
    }
    let all = high - low;
    let slope = slope / all;
    MeanCost { value: value / all, slope_below: slope, slope_above: slope }
}

/// The mean cost for the paper's ramp.
///
/// On the ramp `s = S (1 - u^e)`, with `u` falling linearly from 1 to 0. A piece of `h` with slope `k` from `a` to `b`
/// is passed while `u` goes from `u_a` to `u_b`, with `u_s^e = (S - s) / S`, and contributes
///
/// ```text
/// integral of h_a + k (S (1 - u^e) - a) = (h_a - k a) w + k S v,
/// w = u_a - u_b,   v = w - (u_a^(e+1) - u_b^(e+1)) / (e + 1)
/// ```
///
/// As `h` is continuous, the derivative of the sum in `S` is the sum of the terms `k v`.
fn mean_cost_of_ramp(
    pieces: &[Piece],
    [ramp_start, ramp_end, exponent]: [f64; 3],
    sparsity: f64,
) -> MeanCost {
    let (mut ramp, mut ramp_slope) = (0.0, 0.0);
    let (mut end_cost, mut below, mut above) = (1.0, 0.0, 0.0);
    // u_a and u_a^e.
    let (mut from, mut left) = (1.0, 1.0);
    for piece in pieces {
        if piece.start <= sparsity {
            end_cost = piece.cost + piece.slope * (sparsity - piece.start);
            above = piece.slope;
        }
        if piece.start < sparsity || piece.start == 0.0 {
            below = piece.slope;
            let (to, to_left) = if piece.end < sparsity {
                let left = (sparsity - piece.end) / sparsity;
                (left.powf(1.0 / exponent), left)
            } else {
                (0.0, 0.0)
            };
            let width = from - to;
            let passed = width - (from * left - to * to_left) / (exponent + 1.0);
            ramp += piece.cost * width + piece.slope * (sparsity * passed - piece.start * width);
            ramp_slope += piece.slope * passed;
            (from, left) = (to, to_left);
        }
        if piece.end > sparsity {
            break;
        }
    }
    let (ramp_share, end_share) = (ramp_end - ramp_start, 1.0 - ramp_end);
    MeanCost {
        value: ramp_start + ramp_share * ramp + end_share * end_cost,
        slope_below: ramp_share * ramp_slope + end_share * below,
        slope_above: ramp_share * ramp_slope + end_share * above,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(points: &[(f64, f64)]) -> StepCost {
        StepCost::of_points(points).unwrap()
    }

    #[test]
    fn simple_profiles_are_recognised() {
        let dense = StepCost::from(FlopMode::Dense);
        let sparse = StepCost::from(FlopMode::Sparse);
        assert_eq!(points(&[(0.0, 1.0), (1.0, 1.0)]), dense);
        assert_eq!(points(&[]), dense);
        assert_eq!(points(&[(0.3, 1.0), (0.6, 1.0)]), dense);
        assert_eq!(StepCost::of_share(0.0, 0.5).unwrap(), dense);
        assert_eq!(points(&[(0.0, 1.0), (1.0, 0.0)]), sparse);
        assert_eq!(StepCost::of_share(1.0, 1.0).unwrap(), sparse);
    }

    #[test]
    fn a_share_gains_nothing_before_the_hardware_breaks_even() {
        let cost = StepCost::of_share(0.9, 0.7).unwrap();
        for (sparsity, expected) in
            [(0.0, 1.0), (0.2, 1.0), (0.3, 1.0), (0.65, 0.1 + 0.9 * 0.5), (1.0, 0.1)]
        {
            assert!((cost.at(sparsity) - expected).abs() < 1e-15, "{sparsity}");
        }
    }

    #[test]
    fn points_are_joined_by_lines_and_end_flat() {
        let cost = points(&[(0.5, 0.8), (0.75, 0.5)]);
        for (sparsity, expected) in
            [(0.0, 1.0), (0.25, 0.9), (0.5, 0.8), (0.625, 0.65), (0.75, 0.5), (0.9, 0.5)]
        {
            assert!((cost.at(sparsity) - expected).abs() < 1e-15, "{sparsity}");
        }
    }

    #[test]
    fn the_first_bad_point_is_named() {
        let bad = |points: &[(f64, f64)]| {
            let error = StepCost::of_points(points).unwrap_err();
            (error.point, error.coordinate)
        };
        assert_eq!(bad(&[(0.0, 0.9)]), (0, 1));
        assert_eq!(bad(&[(0.5, 0.9), (0.5, 0.8)]), (1, 0));
        assert_eq!(bad(&[(0.5, 0.9), (1.1, 0.8)]), (1, 0));
        assert_eq!(bad(&[(0.5, 0.0)]), (0, 1));
        assert_eq!(bad(&[(0.5, 10.5)]), (0, 1));
        assert_eq!(bad(&[(0.5, f64::NAN)]), (0, 1));
        assert_eq!(StepCost::of_share(1.1, 0.5).unwrap_err().0, "prunable_share");
        assert_eq!(StepCost::of_share(1.0, 0.0).unwrap_err().0, "efficiency");
        // Smaller than the spacing of doubles below 1, so there is never any gain.
        assert_eq!(StepCost::of_share(1.0, 1e-300).unwrap(), FlopMode::Dense.into());
    }

    /// Simpson's rule over the ramp, piece by piece, in the variable in which both the cost and the ramp are smooth.
    fn numeric(cost: &StepCost, schedule: &PruningSchedule, sparsity: f64) -> f64 {
        let [start, end, e] = schedule.ramp().unwrap();
        let at = |u: f64| cost.at(sparsity * (1.0 - u.powf(e)));
        let Shape::Pieces(pieces) = &cost.0 else { panic!("not a case for the general formula") };
        let mut ends: Vec<f64> = pieces
            .iter()
            .filter(|piece| piece.end < sparsity)
            .map(|piece| (1.0 - piece.end / sparsity).powf(1.0 / e))
            .collect();
        ends.extend([0.0, 1.0]);
        ends.sort_by(f64::total_cmp);
        let steps = 2000;
        let ramp: f64 = ends
            .windows(2)
            .map(|pair| {
                let width = (pair[1] - pair[0]) / f64::from(steps);
                let point = |i: u32| at(pair[0] + width * f64::from(i) / 2.0);
                (0..steps)
                    .map(|i| point(2 * i) + 4.0 * point(2 * i + 1) + point(2 * i + 2))
                    .sum::<f64>()
                    * width
                    / 6.0
            })
            .sum();
        start + (end - start) * ramp + (1.0 - end) * cost.at(sparsity)
    }

    /// A checked schedule from progress values in any order.
    fn course(progress: &[f64], shares: &[f64]) -> PruningSchedule {
        let mut progress = progress.to_vec();
        progress.sort_by(f64::total_cmp);
        let points: Vec<_> = progress.into_iter().zip(shares.iter().copied()).collect();
        PruningSchedule::of_points(&points).unwrap()
    }

    proptest! {
        #[test]
        fn the_closed_form_is_the_integral(
            kinks in prop::collection::btree_map(1..99u32, 0.05..2.0f64, 2..6),
            start in 0.0..0.5f64, length in 0.01..0.5f64, exponent in 1.0..6.0f64,
            sparsity in 0.0..0.999f64,
        ) {
            let kinks: Vec<_> =
                kinks.into_iter().map(|(s, h)| (f64::from(s) / 100.0, h)).collect();
            let cost = points(&kinks);
            let schedule = PruningSchedule::new(start, start + length, exponent).unwrap();
            let Shape::Pieces(pieces) = &cost.0 else { panic!("two pieces or more") };
            let closed = mean_cost(pieces, &schedule, sparsity);
            // Simpson's rule has its error near u = 0, where u^e has few derivatives for small e.
            prop_assert!((closed.value - numeric(&cost, &schedule, sparsity)).abs() < 1e-6);
        }

        #[test]
        fn of_points_it_is_the_integral_too(
            kinks in prop::collection::btree_map(1..99u32, 0.05..2.0f64, 2..6),
            progress in prop::collection::vec(0.0..1.0f64, 1..6),
            shares in prop::collection::vec(0.0..1.0f64, 6), sparsity in 0.0..0.999f64,
        ) {
            let kinks: Vec<_> =
                kinks.into_iter().map(|(s, h)| (f64::from(s) / 100.0, h)).collect();
            let cost = points(&kinks);
            let Shape::Pieces(pieces) = &cost.0 else { panic!("two pieces or more") };
            let schedule = course(&progress, &shares);
            let share_at = |p: f64| {
                let known = schedule.points().unwrap();
                let after = known.iter().position(|(progress, _)| *progress > p);
                match after {
                    Some(0) => 0.0,
                    None => known[known.len() - 1].1,
                    Some(at) => {
                        let ((a, from), (b, to)) = (known[at - 1], known[at]);
                        from + (to - from) * (p - a) / (b - a)
                    }
                }
            };
            let steps = 40_000;
            let step = |i: u32| cost.at(sparsity * share_at((f64::from(i) + 0.5) / f64::from(steps)));
            let numeric = (0..steps).map(step).sum::<f64>() / f64::from(steps);
            let closed = mean_cost(pieces, &schedule, sparsity);
            // The midpoint rule at up to six jumps, each with a cost of up to 2.
            prop_assert!((closed.value - numeric).abs() < 1e-3, "{} {numeric}", closed.value);
        }

        #[test]
        fn of_points_the_slope_is_the_derivative(
            kinks in prop::collection::btree_map(1..99u32, 0.05..2.0f64, 2..6),
            progress in prop::collection::vec(0.0..1.0f64, 1..6),
            shares in prop::collection::vec(0.0..1.0f64, 6), sparsity in 0.01..0.98f64,
        ) {
            let kinks: Vec<_> =
                kinks.into_iter().map(|(s, h)| (f64::from(s) / 100.0, h)).collect();
            let schedule = course(&progress, &shares);
            // Away from the kinks, for each share at which the schedule may stay.
            let near = |(s, _): &(f64, f64)| {
                shares.iter().any(|share| (s - sparsity * share).abs() < 1e-4)
            };
            prop_assume!(!kinks.iter().any(near));
            let cost = points(&kinks);
            let Shape::Pieces(pieces) = &cost.0 else { panic!("two pieces or more") };
            let at = |s: f64| mean_cost(pieces, &schedule, s);
            let step = 1e-6;
            let difference = (at(sparsity + step).value - at(sparsity - step).value) / (2.0 * step);
            let here = at(sparsity);
            prop_assert!((here.slope_above - difference).abs() < 1e-3 * (1.0 + difference.abs()));
            prop_assert!((here.slope_below - here.slope_above).abs() < 1e-12);
        }

        #[test]
        fn the_slope_is_the_derivative(
            kinks in prop::collection::btree_map(1..99u32, 0.05..2.0f64, 2..6),
            exponent in 0.5..6.0f64, sparsity in 0.01..0.98f64,
        ) {
            let kinks: Vec<_> =
                kinks.into_iter().map(|(s, h)| (f64::from(s) / 100.0, h)).collect();
            // Away from the kinks, where the slope jumps.
            prop_assume!(kinks.iter().all(|(s, _)| (s - sparsity).abs() > 1e-4));
            let cost = points(&kinks);
            let schedule = PruningSchedule::new(0.2, 0.7, exponent).unwrap();
            let Shape::Pieces(pieces) = &cost.0 else { panic!("two pieces or more") };
            let at = |s: f64| mean_cost(pieces, &schedule, s);
            let step = 1e-6;
            let difference = (at(sparsity + step).value - at(sparsity - step).value) / (2.0 * step);
            let here = at(sparsity);
            prop_assert_eq!(here.slope_below, here.slope_above);
            // A kink slightly below S is passed at the very end of the ramp, where the second derivative grows.
            prop_assert!((here.slope_above - difference).abs() < 1e-3 * (1.0 + difference.abs()));
        }
    }

    #[test]
    fn at_a_kink_the_slopes_differ_by_the_time_after_pruning() {
        let cost = points(&[(0.5, 0.9), (1.0, 0.1)]);
        let Shape::Pieces(pieces) = &cost.0 else { panic!("two pieces") };
        let schedule = PruningSchedule::default();
        let mean = mean_cost(pieces, &schedule, 0.5);
        assert!((mean.slope_above - mean.slope_below - 0.25 * (-1.6 + 0.2)).abs() < 1e-15);
        let dense = mean_cost(pieces, &schedule, 0.0);
        assert!((dense.value - 1.0).abs() < 1e-15);
        assert!((dense.slope_above + 0.2 * schedule.mean_share()).abs() < 1e-15);
    }
}
