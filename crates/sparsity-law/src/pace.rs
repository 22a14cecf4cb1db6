//! Lets the caller of a long computation stop it or make it wait.
//!
//! A question about a hardware profile searches a thousand laws, which takes up to seconds. The thread that
//! computes the answer may do so under a watch: the loops over laws and points call [`step`], which asks the watch
//! whether to go on. The watch belongs to the thread, so no function in between has to pass it on. Without a
//! watch, a step costs next to nothing.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// The error of a computation that its watch stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the computation was stopped")]
pub struct Stopped;

/// Returns whether the computation may go on. It may block: the computation waits for it.
pub type Watch = Rc<dyn Fn() -> bool>;

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Runs `work` on this thread under a watch, which is asked at every [`step`].
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
/// [`Stopped`] if the watch returned `false`.
pub fn watched<T>(watch: Watch, work: impl FnOnce() -> T) -> Result<T, Stopped> {
    /// Restores the previous watch when dropped, so also if the work panics.
    struct Before(Option<Watch>);

    impl Drop for Before {
        fn drop(&mut self) {
            WATCH.set(self.0.take());
        }
    }

    let _before = Before(WATCH.replace(Some(watch)));
    // Unwind safe: the result of a stopped computation is discarded, so nobody sees a half-finished state.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| match panic.downcast::<Stopped>() {
        Ok(stopped) => *stopped,
        Err(panic) => resume_unwind(panic),
    })
}

/// Marks the end of one step of a computation; ends the computation if the watch of the thread says so.
pub fn step() {
    let watch = WATCH.with_borrow(Clone::clone);
    if watch.is_some_and(|watch| !watch()) {
        // Unwinds without a panic message, because being stopped is not a defect.
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
        // The panic removed the watch.
        step();
        let inner = watched(Rc::new(|| false), || watched(Rc::new(|| true), step));
        assert_eq!(inner, Ok(Ok(())));
    }
}
