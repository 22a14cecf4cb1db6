//! Runs with the row numbers of their submission.

use sparsity_law::law::Sparsity;

use crate::domain::run::{Brought, SubmittedRun};
use crate::domain::text::Pattern;

/// A run and the row of the submission that holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedRun {
    /// Row number, from 0.
    pub row: u64,
    /// The run.
    pub run: SubmittedRun,
    /// The optional fields of the run that the row brings.
    pub brought: Brought,
}

/// A row that names the same run as an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatedRow {
    /// Number of the row.
    pub row: u64,
    /// Number of the first row that names the run.
    pub first: u64,
}

/// A row without a pattern whose sparsity contradicts the stored pattern of its run.
#[derive(Debug, Clone, PartialEq)]
pub struct ContradictedRow {
    /// Number of the row.
    pub row: u64,
    /// Pattern that is stored.
    pub pattern: Pattern,
    /// Sparsity in the row.
    pub sparsity: Sparsity,
}
