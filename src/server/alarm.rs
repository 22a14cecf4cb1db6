//! The time that the headers of a connection's next request may take, for hyper.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// The timer of one connection.
///
/// hyper asks for another sleep before each request. One of tokio's enters the timers that all connections
/// share and leaves them again, and so took part in every request though it hardly ever ends. All sleeps of
/// this timer share one of tokio's: deadlines move on, so that it is enough to look when the first has come
/// and to go on with the one that holds then.
#[derive(Debug, Clone, Default)]
pub struct Alarm(Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>);

impl Alarm {
    /// Ready at the deadline.
    fn poll_until(&self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let deadline = deadline.into();
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sleep = shared.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        loop {
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() == deadline {
                return Poll::Ready(());
            }
            // That of a request before this one.
            sleep.as_mut().reset(deadline);
        }
    }
}

impl Timer for Alarm {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Shared { alarm: self.clone(), deadline })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        *sleep = self.sleep_until(deadline);
    }
}

/// A sleep that shares its connection's.
struct Shared {
    alarm: Alarm,
    deadline: Instant,
}

impl Future for Shared {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll_until(self.deadline, context)
    }
}

impl Sleep for Shared {}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn a_sleep_ends_at_its_deadline_whatever_was_asked_before_it() {
        let alarm = Alarm::default();
        let start = alarm.now();
        // Of requests whose headers came in time.
        for before in [start + SHORT, start + 1000 * SHORT] {
            alarm.sleep_until(before).now_or_never();
        }
        for deadline in [start + 2 * SHORT, start + 4 * SHORT] {
            alarm.sleep_until(deadline).await;
            assert!(alarm.now() >= deadline);
            assert!(alarm.now() < start + 1000 * SHORT, "it waited for another's");
        }
        let mut moved = alarm.sleep(1000 * SHORT);
        alarm.reset(&mut moved, start);
        moved.await;
    }
}
