//! Pruning schedules as columns of families and laws.

use sparsity_law::law::PruningSchedule;

/// The columns of a schedule.
#[derive(Debug)]
pub(super) struct ScheduleColumns {
    pub start: f64,
    pub end: f64,
    pub exponent: f64,
    /// Measured points; the others say then what no version takes that knows none.
    pub points: Option<Vec<(f64, f64)>>,
    pub pattern_start: Option<f64>,
}

impl From<&PruningSchedule> for ScheduleColumns {
    fn from(schedule: &PruningSchedule) -> Self {
        // A version of the service that knows no points refuses this, and does not answer by another schedule.
        let [start, end, exponent] =
            schedule.ramp().unwrap_or([0.0, 0.0, PruningSchedule::EXPONENT]);
        Self {
            start,
            end,
            exponent,
            points: schedule.points().map(<[_]>::to_vec),
            pattern_start: schedule.given_pattern_start(),
        }
    }
}

impl ScheduleColumns {
    /// The schedule; what is wrong with the columns if they are none.
    pub fn schedule(self) -> Result<PruningSchedule, String> {
        let schedule = match self.points {
            None => PruningSchedule::new(self.start, self.end, self.exponent)
                .map_err(|(field, error)| format!("pruning {field} {error}"))?,
            Some(points) => PruningSchedule::of_points(&points)
                .map_err(|wrong| format!("pruning point {} {}", wrong.point, wrong.error))?,
        };
        match self.pattern_start {
            None => Ok(schedule),
            Some(start) => {
                schedule.with_pattern_start(start).map_err(|error| format!("pattern start {error}"))
            }
        }
    }
}
