//! Long computations that somebody watches: how they are stopped, and made to wait for their turn.
//!
//! A question about a hardware profile searches a thousand laws, which takes up to seconds. Whoever computes it on
//! a thread may watch over it: the loops over laws and points call [`step`], which asks the watch whether to go on.
//! The watch belongs to the thread, so that no function on the way has to hand it on; without one a step costs
//! next to nothing.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// The computation was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the computation was stopped")]
pub struct Stopped;

/// Says whether to go on. It may take its time: the computation waits for it.
pub type Watch = Rc<dyn Fn() -> bool>;

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Computes on this thread under a watch, which every [`step`] asks.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// use sparsity_law::pace::{Stopped, step, watched};
///
/// let left = Cell::new(3);
/// let watch = Rc::new(move || left.replace(left.get() - 1) > 0);
/// let count = |most| {
///     for _ in 0..most {
///         step();
///     }
///     most
/// };
/// assert_eq!(watched(watch.clone(), || count(2)), Ok(2));
/// assert_eq!(watched(watch, || count(2)), Err(Stopped));
/// ```
///
/// # Errors
/// [`Stopped`] where the watch said so.
pub fn watched<T>(watch: Watch, work: impl FnOnce() -> T) -> Result<T, Stopped> {
    /// Puts back the watch that was there before, also where the work panics.
    struct Before(Option<Watch>);

    impl Drop for Before {
        fn drop(&mut self) {
            WATCH.set(self.0.take());
        }
    }

    let _before = Before(WATCH.replace(Some(watch)));
    // What was being computed is thrown away whole, so nothing half done is seen.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| match panic.downcast::<Stopped>() {
        Ok(stopped) => *stopped,
        Err(panic) => resume_unwind(panic),
    })
}

/// A step of a computation is done; ends it where its watch says so.
pub fn step() {
    let watch = WATCH.with_borrow(Clone::clone);
    if watch.is_some_and(|watch| !watch()) {
        // Without a message: this is no defect.
        resume_unwind(Box::new(Stopped));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_watch_steps_do_nothing_and_panics_stay_panics() {
        step();
        let panicked = catch_unwind(|| watched(Rc::new(|| true), || panic!("on purpose")));
        assert!(panicked.is_err());
        // The watch went with it.
        step();
        let inner = watched(Rc::new(|| false), || watched(Rc::new(|| true), step));
        assert_eq!(inner, Ok(Ok(())));
    }
}
