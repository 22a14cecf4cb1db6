//! Runs with their place in what was sent.

use sparsity_law::law::Sparsity;

use crate::domain::run::{Brought, SubmittedRun};
use crate::domain::text::Pattern;

/// A run and the row of the submission that it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedRun {
    /// The row, from 0.
    pub row: u64,
    /// The run.
    pub run: SubmittedRun,
    /// Which of its optional fields the row brings.
    pub brought: Brought,
}

/// A row that names the same run as an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatedRow {
    /// The row.
    pub row: u64,
    /// The first that names the run.
    pub first: u64,
}

/// A row without a pattern, of a run that is stored with one which contradicts the row's sparsity.
#[derive(Debug, Clone, PartialEq)]
pub struct ContradictedRow {
    /// The row.
    pub row: u64,
    /// The pattern that is stored.
    pub pattern: Pattern,
    /// What the row brings.
    pub sparsity: Sparsity,
}
