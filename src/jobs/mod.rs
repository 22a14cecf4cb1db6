//! Refits in the background.
//!
//! `driver` is the loop: it waits for refits, claims one, keeps its lease alive while the work
//! goes on and stores the outcome. `refit` is the work: load the runs, fit, make a law.

mod driver;
mod refit;
mod watch;

pub use driver::{Worker, WorkerConfig, WorkerParts};
