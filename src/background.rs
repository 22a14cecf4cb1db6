//! Priority of the threads that compute, below that of the threads that serve.
//!
//! When every processor is busy, slow computations (answers that take seconds, fits, reading uploads) would each get as
//! large a share of a processor as a thread that answers other requests in microseconds. So they run at a lower
//! priority: Linux gives a thread of niceness 5 a third of the share of a normal thread, and everything that nobody
//! else wants.

use std::cell::Cell;
use std::sync::atomic::{AtomicI32, Ordering};

/// The niceness of compute threads.
static NICENESS: AtomicI32 = AtomicI32::new(0);

thread_local! {
    static STANDS_BACK: Cell<bool> = const { Cell::new(false) };
}

/// Sets the niceness of compute threads that call [`stand_back`] from now on: from 0, no lower priority, to 19.
pub fn set_niceness(niceness: i32) {
    NICENESS.store(niceness, Ordering::Relaxed);
}

/// Lowers the priority of this thread for the rest of its life. Call it from a blocking thread of the runtime or from a
/// thread of the program's own. Does nothing on systems other than Linux, which know a niceness of whole processes
/// only.
pub fn stand_back() {
    let niceness = NICENESS.load(Ordering::Relaxed);
    if niceness == 0 || STANDS_BACK.replace(true) {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        let this = rustix::thread::gettid();
        // Lowering the priority is always allowed; should it fail all the same, the thread merely keeps its priority.
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
