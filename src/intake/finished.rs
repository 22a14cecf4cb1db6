//! What becomes of one row.

use crate::domain::checks::FieldError;
use crate::domain::run::{Brought, SubmittedRun};
use crate::intake::field::Field;

/// The result of reading a row.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The run, or the errors of the row.
    pub run: Result<SubmittedRun, Vec<FieldError>>,
    /// The optional fields of the run for which the row has a value or a column.
    pub brought: Brought,
    /// Training FLOPs of the run, if the row has them.
    pub flops: Option<f64>,
    /// The rank of the column that the loss is read from, if it is guessed.
    pub loss_rank: Option<u8>,
    /// Why the row is left out, regardless of any errors in it.
    pub left_out: Option<String>,
    /// If only one of several rows of a run is kept: the run's name, and the value that decides.
    pub key: Option<(String, f64)>,
    /// Whether the sparsity has a percent sign; `None` if it is not a text.
    pub percent: Option<bool>,
    /// The tracker's column and state if they say that the run did not finish.
    pub unfinished: Option<String>,
    /// Number of tags that were cut to the longest label.
    pub cut_tags: u32,
    /// Fields whose own column has a value but is not used.
    pub not_taken: Vec<Field>,
    /// Each field that has a value, and its source: a column or an expression.
    pub used: Vec<(Field, String)>,
}

impl Finished {
    /// A row of which only the errors are known.
    pub(crate) fn wrong(errors: Vec<FieldError>) -> Self {
        Self {
            run: Err(errors),
            brought: Brought::NONE,
            flops: None,
            loss_rank: None,
            left_out: None,
            key: None,
            percent: None,
            unfinished: None,
            cut_tags: 0,
            not_taken: Vec::new(),
            used: Vec::new(),
        }
    }
}
