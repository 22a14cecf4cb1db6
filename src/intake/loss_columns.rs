//! Which column the losses of an input come from, where nobody says it.
//!
//! Tools name a validation loss in many ways, and `loss` may be the training loss. Which column is best is known only
//! when all rows are read: JSON has no header, trackers leave out a metric that a run never logged, and several files may
//! have different columns. So the best column of all rows counts, and a row without it is an error.

use crate::domain::checks::FieldError;
use crate::intake::columns::Columns;
use crate::intake::error::{IngestError, RowErrors};
use crate::intake::field::Field;

/// A column of losses, by its rank among the names that are looked for, and a row that has it.
#[derive(Debug, Clone, Copy)]
struct Found {
    rank: u8,
    row: u64,
}

/// The columns in which the losses of an input were found.
#[derive(Debug, Default)]
pub(super) struct LossColumns {
    /// The best column of any row, whether the row is taken or not, and whether it has a value there or not.
    best: Option<Found>,
    /// The column of a run that was taken.
    taken: Option<Found>,
}

impl LossColumns {
    /// Notes the best column of a row. Returns whether it is better than those of all rows before.
    ///
    /// # Errors
    /// If a run was taken already with the loss of a worse column.
    pub(super) fn see(
        &mut self,
        rank: u8,
        row: u64,
        columns: &Columns,
        errors: &RowErrors,
    ) -> Result<bool, IngestError> {
        if self.best.is_some_and(|best| best.rank <= rank) {
            return Ok(false);
        }
        self.best = Some(Found { rank, row });
        let Some(taken) = self.taken.filter(|taken| taken.rank > rank) else { return Ok(true) };
        let name = |rank| columns.name_of(Field::Loss, rank);
        let detail = format!(
            "is in column {} in {} and only in column {} in {}, and these may be different losses: all rows of an \
             upload must have it in one column, and map=loss:COLUMN says in which",
            name(rank),
            errors.row_and_input(row),
            name(taken.rank),
            errors.row_and_input(taken.row),
        );
        Err(IngestError::Columns(vec![FieldError { pointer: "/loss".to_owned(), detail }]))
    }

    /// Notes that the loss of a run is taken from its column.
    ///
    /// # Errors
    /// If other rows have a better column.
    pub(super) fn take(
        &mut self,
        rank: u8,
        row: u64,
        columns: &Columns,
        errors: &RowErrors,
    ) -> Result<(), FieldError> {
        if let Some(best) = self.best.filter(|best| best.rank < rank) {
            let name = |rank| columns.name_of(Field::Loss, rank);
            let (better, own) = (name(best.rank), name(rank));
            let detail = format!(
                "must be given in column {better}: this upload has {better} for other rows ({}), and this row has only \
                 {own}, which may be another loss; map=loss:COLUMN says which column to take for all",
                errors.row_and_input(best.row),
            );
            return Err(FieldError { pointer: "/loss".to_owned(), detail });
        }
        self.taken = Some(Found { rank, row });
        Ok(())
    }
}
