//! The pruning schedule: when zeros are introduced during training.

use std::sync::Arc;

use super::quantity::DomainError;

/// When zeros are introduced during training, as a function of the training progress from 0 to 1.
///
/// | constructor | sparsity at progress `p` of a run that ends at sparsity `S` |
/// |---|---|
/// | [`PruningSchedule::new`] | 0 before `start`, `S (1 - (1 - (p - start)/(end - start))^exponent)` until `end`, `S` after (arXiv 2309.08520, section 2) |
/// | [`PruningSchedule::of_points`] | `S` times a measured share, linear between the points |
///
/// With `start = end = 0` the sparsity is `S` throughout, as with experts, static masks and dynamic sparse training.
#[derive(Debug, Clone, PartialEq)]
pub struct PruningSchedule {
    course: Course,
    /// Training progress at which the kernels of a pattern may start, where it was set; otherwise the point at which
    /// the sparsity has settled.
    pattern_start: Option<f64>,
}

/// The kinds of schedule.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Course {
    /// The paper's ramp.
    Ramp { start: f64, end: f64, exponent: f64 },
    /// Measured shares of the final sparsity, as `(progress, share)`.
    Points(Arc<[(f64, f64)]>),
}

/// An invalid coordinate of a measured point of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePointError {
    /// Index of the point.
    pub point: usize,
    /// Index of the coordinate: 0 for the progress, 1 for the share.
    pub coordinate: usize,
    /// What is wrong with the coordinate.
    pub error: DomainError,
}

/// A part of the training over which the share of the final sparsity is linear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stretch {
    /// Length, as a share of the training.
    pub width: f64,
    /// Share of the final sparsity at the beginning.
    pub from: f64,
    /// Share of the final sparsity at the end.
    pub to: f64,
}

impl Default for PruningSchedule {
    /// The paper's schedule: from 25 % to 75 % of training, cubic.
    fn default() -> Self {
        let course = Course::Ramp { start: 0.25, end: 0.75, exponent: 3.0 };
        Self { course, pattern_start: None }
    }
}

impl PruningSchedule {
    /// Default exponent of the ramp: that of the paper.
    pub const EXPONENT: f64 = 3.0;
    /// Range of the exponent in words, for error messages.
    pub const EXPONENT_RANGE: &'static str = "between 0.01 and 100";
    /// Range of start, end, progress and shares in words, for error messages.
    pub const PROGRESS_RANGE: &'static str = "between 0 and 1";

    /// A ramp from `start` to `end`. Where both are equal, all zeros are introduced at once.
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] with the name of a field whose number is out of range, and
    /// [`DomainError::PruningOrder`] with the field `start` where `start > end`.
    pub fn new(start: f64, end: f64, exponent: f64) -> Result<Self, (&'static str, DomainError)> {
        for (field, value) in [("start", start), ("end", end)] {
            if !(0.0..=1.0).contains(&value) {
                let range = Self::PROGRESS_RANGE;
                return Err((field, DomainError::OutOfRange { range, value }));
            }
        }
        if !(0.01..=100.0).contains(&exponent) {
            let range = Self::EXPONENT_RANGE;
            return Err(("exponent", DomainError::OutOfRange { range, value: exponent }));
        }
        if start > end {
            return Err(("start", DomainError::PruningOrder { start, end }));
        }
        Ok(Self { course: Course::Ramp { start, end, exponent }, pattern_start: None })
    }

    /// The schedule with the final sparsity from the first step.
    #[must_use]
    pub const fn constant() -> Self {
        let course = Course::Ramp { start: 0.0, end: 0.0, exponent: Self::EXPONENT };
        Self { course, pattern_start: None }
    }

    /// A schedule from measured points `(progress, share)`, where the share is that of the final sparsity which a model
    /// has reached. It is linear between the points, 0 before the first point and constant after the last. Two points
    /// with the same progress are a jump, so a staircase has two points for each step.
    ///
    /// A last share below 1 describes runs that do not reach their stated sparsity.
    ///
    /// # Errors
    /// [`SchedulePointError`] for the first coordinate that is out of range, or for a progress below the one before it.
    ///
    /// ```
    /// use sparsity_law::law::PruningSchedule;
    ///
    /// // Half of the zeros at 25 % of training, the others at 75 %.
    /// let stairs = [(0.25, 0.0), (0.25, 0.5), (0.75, 0.5), (0.75, 1.0)];
    /// let schedule = PruningSchedule::of_points(&stairs).map_err(|wrong| wrong.error)?;
    /// assert_eq!(schedule.mean_share(), 0.5);
    /// // All zeros from the first step on.
    /// let constant = PruningSchedule::of_points(&[(0.0, 1.0)]).map_err(|wrong| wrong.error)?;
    /// assert_eq!(constant.mean_share(), 1.0);
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    pub fn of_points(points: &[(f64, f64)]) -> Result<Self, SchedulePointError> {
        let mut before: Option<f64> = None;
        for (point, &(progress, share)) in points.iter().enumerate() {
            let fail = |coordinate, error| Err(SchedulePointError { point, coordinate, error });
            for (coordinate, value) in [progress, share].into_iter().enumerate() {
                if !(0.0..=1.0).contains(&value) {
                    let range = Self::PROGRESS_RANGE;
                    return fail(coordinate, DomainError::OutOfRange { range, value });
                }
            }
            if let Some(before) = before
                && progress < before
            {
                return fail(0, DomainError::FallsBack { before, value: progress });
            }
            before = Some(progress);
        }
        Ok(Self { course: Course::Points(points.into()), pattern_start: None })
    }

    /// Returns the same schedule with kernels of a pattern that may start at `progress`, because the complete pattern
    /// is in place from then on.
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] where `progress` is not between 0 and 1.
    pub fn with_pattern_start(self, progress: f64) -> Result<Self, DomainError> {
        if (0.0..=1.0).contains(&progress) {
            Ok(Self { pattern_start: Some(progress), ..self })
        } else {
            Err(DomainError::OutOfRange { range: Self::PROGRESS_RANGE, value: progress })
        }
    }

    /// Start, end and exponent of a ramp; `None` for measured points.
    #[must_use]
    pub fn ramp(&self) -> Option<[f64; 3]> {
        match &self.course {
            Course::Ramp { start, end, exponent } => Some([*start, *end, *exponent]),
            Course::Points(_) => None,
        }
    }

    /// The measured points `(progress, share)`; `None` for a ramp.
    #[must_use]
    pub fn points(&self) -> Option<&[(f64, f64)]> {
        match &self.course {
            Course::Ramp { .. } => None,
            Course::Points(points) => Some(points),
        }
    }

    /// Training progress at which the kernels of a pattern may start, as it was set; `None` where it follows from the
    /// schedule.
    #[must_use]
    pub const fn given_pattern_start(&self) -> Option<f64> {
        self.pattern_start
    }

    /// Training progress from which the kernels of a pattern may run. Unless it was set, it is the point at which the
    /// sparsity has settled: the end of the ramp, or the first measured point after which the share stays at its last
    /// value.
    #[must_use]
    pub fn pattern_start(&self) -> f64 {
        let settled = || match &self.course {
            Course::Ramp { end, .. } => *end,
            Course::Points(points) => {
                let last = points.last().map_or(0.0, |(_, share)| *share);
                let first = points.iter().rposition(|(_, share)| *share != last);
                points.get(first.map_or(0, |at| at + 1)).map_or(0.0, |(progress, _)| *progress)
            }
        };
        self.pattern_start.unwrap_or_else(settled)
    }

    pub(super) const fn course(&self) -> &Course {
        &self.course
    }

    /// The shares of the final sparsity at which the model stays for a notable part of the training, including the last
    /// share. Where the cost of a step has a kink at `s`, the mean cost of a step has one at `S = s / share`. The cost
    /// is treated as smooth at the kinks from shorter stays.
    pub(super) fn lasting_shares(&self) -> Vec<f64> {
        /// Apart from the last one, at most nine stays can be this long.
        const NOTABLE: f64 = 0.1;
        match &self.course {
            Course::Ramp { .. } => vec![1.0],
            Course::Points(points) => {
                let stays = stretches(points).filter(|stretch| stretch.from == stretch.to);
                let lasting = stays.filter(|stay| stay.width >= NOTABLE).map(|stay| stay.to);
                let last = points.last().map(|(_, share)| *share);
                let mut shares: Vec<f64> =
                    lasting.chain(last).filter(|share| *share > 0.0).collect();
                shares.sort_by(f64::total_cmp);
                shares.dedup();
                shares
            }
        }
    }

    /// Mean sparsity over training as a share of the final sparsity. For a ramp it is
    /// `m = (1 - end) + (end - start) e / (e + 1)` with the exponent `e`; it is 1 where all zeros are there from the
    /// first step.
    ///
    /// ```
    /// use sparsity_law::law::PruningSchedule;
    ///
    /// assert_eq!(PruningSchedule::default().mean_share(), 0.625);
    /// let constant = PruningSchedule::new(0.0, 0.0, 3.0).map_err(|(_, error)| error)?;
    /// assert_eq!(constant.mean_share(), 1.0);
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    #[must_use]
    pub fn mean_share(&self) -> f64 {
        match &self.course {
            Course::Ramp { start, end, exponent } => {
                (1.0 - end) + (end - start) * exponent / (exponent + 1.0)
            }
            // 1 exactly, whatever the sum of the widths is rounded to.
            Course::Points(points) if is_constant(points) => 1.0,
            Course::Points(points) => {
                stretches(points).map(|part| part.width * 0.5 * (part.from + part.to)).sum()
            }
        }
    }
}

/// Whether the model has its full sparsity from the first step.
fn is_constant(points: &[(f64, f64)]) -> bool {
    points.first().is_some_and(|(progress, _)| *progress == 0.0)
        && points.iter().all(|(_, share)| *share == 1.0)
}

/// The parts of the training between measured points, from the first step to the last.
pub(super) fn stretches(points: &[(f64, f64)]) -> impl Iterator<Item = Stretch> {
    let first = points.first().map_or(1.0, |(progress, _)| *progress);
    let (end, last) = points.last().copied().unwrap_or((1.0, 0.0));
    let between = points.windows(2).map(|pair| Stretch {
        width: pair[1].0 - pair[0].0,
        from: pair[0].1,
        to: pair[1].1,
    });
    std::iter::once(Stretch { width: first, from: 0.0, to: 0.0 })
        .chain(between)
        .chain(std::iter::once(Stretch { width: 1.0 - end, from: last, to: last }))
        .filter(|stretch| stretch.width > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(points: &[(f64, f64)]) -> PruningSchedule {
        PruningSchedule::of_points(points).unwrap()
    }

    /// The points of a ramp that is applied by `updates` equal updates after a first one at its start.
    fn staircase(updates: u32) -> PruningSchedule {
        let mut steps = vec![];
        let mut before = 0.0;
        for update in 0..=updates {
            let ramp = f64::from(update) / f64::from(updates);
            let (progress, share) = (0.25 + 0.5 * ramp, 1.0 - (1.0 - ramp).powi(3));
            steps.extend([(progress, before), (progress, share)]);
            before = share;
        }
        points(&steps)
    }

    #[test]
    fn a_staircase_costs_half_a_step_of_its_time() {
        for updates in [5, 10, 50, 1000] {
            let lost = 0.625 - staircase(updates).mean_share();
            // Half a step of the ramp, which is 0.5 of the training long and 1 high; more is lost where few steps meet
            // its curvature.
            let expected = 0.25 / f64::from(updates);
            assert!((lost / expected - 1.0).abs() < 0.15, "{updates}: {lost}");
        }
    }

    #[test]
    fn an_exponential_course_costs_what_it_takes_longer() {
        // Exponential in density over the same ramp: shares (1 - (1-S)^ramp) / S.
        for (sparsity, expected) in [(0.5, 0.529), (0.75, 0.556), (0.9, 0.588)] {
            let at = |step: u32| {
                let ramp = f64::from(step) / 1000.0;
                let share: f64 = (1.0 - (1.0_f64 - sparsity).powf(ramp)) / sparsity;
                (0.25 + 0.5 * ramp, share.min(1.0))
            };
            let shape: Vec<_> = (0..=1000).map(at).collect();
            let mean = points(&shape).mean_share();
            // Three digits, from a tool with a finite number of steps.
            assert!((mean - expected).abs() < 2e-3, "{sparsity}: {mean}");
        }
    }

    #[test]
    fn kernels_start_where_the_sparsity_has_settled_unless_said_otherwise() {
        assert_eq!(PruningSchedule::default().pattern_start(), 0.75);
        assert_eq!(points(&[(0.0, 1.0)]).pattern_start(), 0.0);
        assert_eq!(points(&[(0.2, 0.0), (0.6, 0.98), (0.8, 0.98)]).pattern_start(), 0.6);
        assert_eq!(points(&[(0.2, 1.0), (0.6, 0.5), (0.8, 1.0)]).pattern_start(), 0.8);
        assert_eq!(points(&[]).pattern_start(), 0.0);
        let set = PruningSchedule::default().with_pattern_start(0.25).unwrap();
        assert_eq!((set.pattern_start(), set.given_pattern_start()), (0.25, Some(0.25)));
        assert!(PruningSchedule::default().with_pattern_start(1.1).is_err());
        assert!(PruningSchedule::default().with_pattern_start(f64::NAN).is_err());
    }

    #[test]
    fn the_first_bad_point_is_named() {
        let bad = |points: &[(f64, f64)]| {
            let error = PruningSchedule::of_points(points).unwrap_err();
            (error.point, error.coordinate)
        };
        assert_eq!(bad(&[(0.0, 0.0), (1.1, 1.0)]), (1, 0));
        assert_eq!(bad(&[(0.0, -0.1)]), (0, 1));
        assert_eq!(bad(&[(0.5, 0.5), (0.4, 1.0)]), (1, 0));
        assert_eq!(bad(&[(f64::NAN, 0.5)]), (0, 0));
    }

    #[test]
    fn no_points_and_no_zeros_cost_as_dense() {
        assert_eq!(points(&[]).mean_share(), 0.0);
        assert_eq!(PruningSchedule::new(1.0, 1.0, 3.0).unwrap().mean_share(), 0.0);
    }
}
