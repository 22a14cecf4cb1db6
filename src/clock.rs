//! The time, and ids that contain it. Only this module reads the system's clock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::{ContextV7, Timestamp, Uuid};

/// Where the time comes from.
#[derive(Debug)]
enum Source {
    System,
    /// Microseconds since the epoch, moved by hand.
    Mock(AtomicI64),
}

/// The service's clock. It also makes ids: UUIDv7, which grow with the time.
#[derive(Debug)]
pub struct Clock {
    source: Source,
    /// Counts the ids made within one millisecond, so that the ids of a batch keep their order.
    ids: Mutex<ContextV7>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { source: Source::System, ids: Mutex::new(ContextV7::new()) }
    }

    /// A clock for tests that stands at `time` until it is advanced.
    #[must_use]
    pub fn mock(time: DateTime<Utc>) -> Self {
        let source = Source::Mock(AtomicI64::new(time.timestamp_micros()));
        Self { source, ids: Mutex::new(ContextV7::new()) }
    }

    /// Advances a mock clock; does nothing to the system's clock.
    pub fn advance(&self, by: TimeDelta) {
        if let Source::Mock(micros) = &self.source {
            micros.fetch_add(by.num_microseconds().unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    /// The time now, in whole microseconds, which is the precision of the database.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
    pub fn now(&self) -> DateTime<Utc> {
        let micros = match &self.source {
            Source::System => Utc::now().timestamp_micros(),
            Source::Mock(micros) => micros.load(Ordering::Relaxed),
        };
        DateTime::from_timestamp_micros(micros).expect("the year is below 262,000")
    }

    /// A new id, larger than all earlier ones.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        let now = self.now();
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let ids = self.ids.lock().expect("nothing panics while it holds this lock");
        Uuid::new_v7(Timestamp::from_unix(&*ids, seconds, now.timestamp_subsec_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_within_a_millisecond() {
        let clock = Clock::mock(DateTime::UNIX_EPOCH);
        let ids: Vec<Uuid> = (0..1000).map(|_| clock.new_id()).collect();
        assert!(ids.is_sorted());
        clock.advance(TimeDelta::seconds(1));
        assert!(clock.new_id() > ids[999]);
        assert_eq!(clock.now().timestamp(), 1);
    }

    #[test]
    fn ids_rise_also_where_the_clock_jumps() {
        let clock = Clock::mock(DateTime::UNIX_EPOCH + TimeDelta::days(10_000));
        let mut last = clock.new_id();
        for jump in [-3_600_000, 1, -1, -86_400_000, 172_800_000, -1] {
            clock.advance(TimeDelta::milliseconds(jump));
            for _ in 0..10_000 {
                let id = clock.new_id();
                assert!(id > last, "{jump}");
                last = id;
            }
        }
    }
}
