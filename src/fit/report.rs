//! What a fit found, and how sure it can be of having found it.

use super::descent::Termination;
use super::warnings::Warning;
use crate::law::{Coefficients, Support};

/// Outcome of a fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The best coefficients, in raw units.
    pub coefficients: Coefficients,
    /// Mean Huber loss at them.
    pub objective: f64,
    /// Number of runs.
    pub runs: usize,
    /// Share of the starts whose objective is within 0.1 % of the best.
    pub agreement: f64,
    /// Every start, by index.
    pub starts: Vec<StartReport>,
    /// What the runs cannot tell.
    pub warnings: Vec<Warning>,
    /// Where the runs stop.
    pub support: Support,
    /// Digest of the runs, see [`super::Observations::digest`].
    pub data_digest: String,
}

/// Outcome of one start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StartReport {
    /// Mean Huber loss that it reached.
    pub objective: f64,
    /// Why it ended.
    pub termination: Termination,
    /// Evaluations of objective and gradient that it took.
    pub evaluations: u32,
}
