//! Pruning schedules in the form of columns of families and laws.

use serde::{Deserialize, Serialize};
use sparsity_law::law::PruningSchedule;

/// The columns of a schedule.
#[derive(Debug)]
pub(super) struct ScheduleColumns {
    pub start: f64,
    pub end: f64,
    pub exponent: f64,
    /// The schedule itself, if the three columns above cannot express it. They then hold an approximation for versions
    /// that do not know this column.
    pub schedule: Option<ScheduleColumn>,
    pub pattern_start: Option<f64>,
}

/// A schedule other than a ramp of positive length, stored as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum ScheduleColumn {
    /// A measured schedule.
    Points { points: Vec<(f64, f64)> },
    /// All zeros come in at once.
    Step { start: f64, end: f64, exponent: f64 },
}

/// Shortest ramp that older versions accept; they know no schedules other than ramps.
const SHORTEST: f64 = 1e-9;

/// A ramp with the same mean share: what older versions use for a schedule that they cannot read. Where a step's cost
/// is proportional to its zeros, the ramp costs the same.
fn ramp_like(schedule: &PruningSchedule) -> [f64; 3] {
    let mean = schedule.mean_share();
    let (start, end) =
        if mean >= 0.5 { (0.0, 2.0 * (1.0 - mean)) } else { (1.0 - 2.0 * mean, 1.0) };
    let start = start.min(1.0 - SHORTEST);
    [start, end.max(start + SHORTEST), 1.0]
}

impl From<&PruningSchedule> for ScheduleColumns {
    fn from(schedule: &PruningSchedule) -> Self {
        let other = match (schedule.ramp(), schedule.points()) {
            (Some([start, end, _]), _) if start < end => None,
            (Some([start, end, exponent]), _) => {
                Some(ScheduleColumn::Step { start, end, exponent })
            }
            (None, points) => {
                Some(ScheduleColumn::Points { points: points.unwrap_or_default().to_vec() })
            }
        };
        let own = schedule.ramp().filter(|_| other.is_none());
        let [start, end, exponent] = own.unwrap_or_else(|| ramp_like(schedule));
        let pattern_start = schedule.given_pattern_start();
        Self { start, end, exponent, schedule: other, pattern_start }
    }
}

impl ScheduleColumns {
    /// The schedule, or what is wrong with the columns.
    pub fn schedule(self) -> Result<PruningSchedule, String> {
        let ramp = |start: f64, end: f64, exponent: f64| {
            PruningSchedule::new(start, end, exponent)
                .map_err(|(field, error)| format!("pruning {field} {error}"))
        };
        let schedule = match self.schedule {
            None => ramp(self.start, self.end, self.exponent)?,
            Some(ScheduleColumn::Step { start, end, exponent }) => ramp(start, end, exponent)?,
            Some(ScheduleColumn::Points { points }) => PruningSchedule::of_points(&points)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_comes_back_and_leaves_a_ramp_of_its_mean() {
        let points = |points: &[(f64, f64)]| PruningSchedule::of_points(points).unwrap();
        let schedules = [
            PruningSchedule::default(),
            PruningSchedule::default().with_pattern_start(0.25).unwrap(),
            PruningSchedule::constant(),
            PruningSchedule::new(0.3, 0.3, 2.0).unwrap(),
            PruningSchedule::new(1.0, 1.0, 3.0).unwrap(),
            points(&[(0.25, 0.0), (0.25, 0.5), (0.75, 0.5), (0.75, 0.98)]),
            points(&[(0.0, 1.0)]),
            points(&[(0.9, 0.5)]),
        ];
        for schedule in schedules {
            let columns = ScheduleColumns::from(&schedule);
            let old = PruningSchedule::new(columns.start, columns.end, columns.exponent).unwrap();
            assert!(columns.start < columns.end, "{columns:?}");
            assert!((old.mean_share() - schedule.mean_share()).abs() < 1e-8, "{columns:?}");
            let json = columns.schedule.as_ref().map(|other| serde_json::to_value(other).unwrap());
            let read = json.map(|json| serde_json::from_value(json).unwrap());
            assert_eq!(read, columns.schedule);
            assert_eq!(columns.schedule().unwrap(), schedule);
        }
    }
}
