//! Threads that compute, behind those that serve.
//!
//! On a machine whose processors are all taken, answers that take seconds to compute, fits and the reading of uploads
//! would have as large a share of them as each thread that answers others in microseconds. So they stand back: Linux gives
//! a thread of niceness 5 a third of what others get, and all of it where nobody else wants it.

use std::cell::Cell;
use std::sync::atomic::{AtomicI32, Ordering};

/// The niceness of threads that compute.
static NICENESS: AtomicI32 = AtomicI32::new(0);

thread_local! {
    static STANDS_BACK: Cell<bool> = const { Cell::new(false) };
}

/// Says how far threads that compute stand back from now on: from 0, not at all, to 19.
pub fn set_niceness(niceness: i32) {
    NICENESS.store(niceness, Ordering::Relaxed);
}

/// Puts this thread behind those that serve, for as long as it lives: a thread of the runtime for blocking work, or one of
/// the program's own. Other systems than Linux know the niceness of processes only; there it does nothing.
pub fn stand_back() {
    let niceness = NICENESS.load(Ordering::Relaxed);
    if niceness == 0 || STANDS_BACK.replace(true) {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        let this = rustix::thread::gettid();
        // Standing back is always allowed; where it fails the thread is as fast as it was.
        if let Err(error) = rustix::process::setpriority_process(Some(this), niceness) {
            tracing::debug!(%error, "a thread that computes does not stand back");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stands_back_alone() {
        let own = || {
            let this = rustix::thread::gettid();
            rustix::process::getpriority_process(Some(this)).unwrap()
        };
        let before = own();
        let there = |niceness| {
            std::thread::spawn(move || {
                set_niceness(niceness);
                stand_back();
                stand_back();
                own()
            })
        };
        assert_eq!(there(0).join().unwrap(), before);
        assert_eq!(there(19).join().unwrap(), 19);
        set_niceness(0);
        assert_eq!(own(), before);
    }
}
