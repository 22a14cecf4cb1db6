//! Refits in the background.
//!
//! `driver` is the loop: it waits for refits, claims one, renews its lease during the work, and stores the outcome.
//! `refit` is the work: it loads the runs, fits them, and makes a law.

mod driver;
mod refit;
mod watch;

pub use driver::{Worker, WorkerConfig, WorkerParts};
