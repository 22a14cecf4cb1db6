//! Finds the header of a second table below a first one, whose rows would be read by the header of the first.

use std::collections::HashSet;

use crate::intake::error::IngestError;

/// The names of an input's columns.
pub(super) struct HeaderNames(HashSet<Vec<u8>>);

/// How many of the cells of a row are names of columns.
#[derive(Debug, Default)]
pub(super) struct NamesInRow {
    names: usize,
    others: usize,
}

impl NamesInRow {
    /// Counts a cell that is no text.
    pub(super) fn others(&mut self) {
        self.others += 1;
    }
}

impl HeaderNames {
    pub(super) fn new<'n>(names: impl IntoIterator<Item = &'n String>) -> Self {
        let names = names.into_iter().map(|name| name.trim().as_bytes().to_vec());
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Counts a cell of a row. An empty one says nothing.
    pub(super) fn count(&self, cell: &[u8], row: &mut NamesInRow) {
        let cell = cell.trim_ascii();
        match cell.first() {
            None => {}
            // Most cells are numbers, which no header has.
            Some(b'0'..=b'9' | b'-' | b'+' | b'.') => row.others += 1,
            Some(_) if self.0.contains(cell) => row.names += 1,
            Some(_) => row.others += 1,
        }
    }

    /// Refuses the input if the row is a header: all of its cells are names of columns, or two or more and at least half.
    /// The second table may have other columns, too.
    ///
    /// # Errors
    /// If the row is a header. The whole input is refused, as rows below it may have their cells in another order.
    pub(super) fn check(&self, row: &NamesInRow, place: &str) -> Result<(), IngestError> {
        let all = row.others == 0 && row.names > 0 && row.names == self.0.len();
        if all || (row.names >= 2 && row.names >= row.others) {
            return Err(IngestError::Malformed(format!(
                "{place} holds names of columns again, {} of them, as if a second table began there: send each table on \
                 its own, or leave that line out if the columns below it are the same",
                row.names
            )));
        }
        Ok(())
    }
}
