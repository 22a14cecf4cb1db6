//! From observations to a law.
//!
//! Pure, as [`crate::law`] is: no HTTP, SQL, clock, environment or async. A fit takes checked
//! observations and a checked configuration and returns a [`Report`]; the same input gives the same
//! bits whatever the number of threads, because every start derives its random numbers from its
//! index, sums run in a canonical order, and the best start is chosen by value, then index.
//!
//! The descent is argmin's L-BFGS. Its `Ok` does not mean that it converged, so the objective
//! records its own best point and bounds its own evaluations (`descent`).

mod config;
mod descent;
mod multistart;
mod normalised;
mod objective;
mod observations;
mod report;
#[cfg(test)]
mod testing;
mod warnings;

pub use config::{ConfigError, FitConfig, Residual, ValidFitConfig};
pub use descent::Termination;
pub use multistart::{Control, FitError, fit};
pub use observations::{Observation, Observations};
pub use report::{Report, StartReport};
pub use warnings::{Warning, WarningCode};
