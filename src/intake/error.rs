//! Limits of an input, and the errors of an input or its rows.

use std::io;

use crate::domain::checks::FieldError;
use crate::domain::numbered_run::{ContradictedRow, RepeatedRow};
use crate::domain::submission::contradiction;
use crate::domain::text::cut;

/// Maximum length of an input's name where it is appended to each of the input's errors, in bytes.
const PLACE_LIMIT: usize = 100;

/// Limits of one upload.
#[derive(Debug, Clone, Copy)]
pub struct IngestLimits {
    /// Maximum number of bytes after decompression.
    pub expanded_bytes: u64,
    /// Maximum number of bytes after decompression per byte received.
    pub expansion: u64,
    /// Maximum number of rows.
    pub rows: u64,
    /// Maximum number of wrong rows, and of blank lines.
    pub idle_rows: u64,
    /// Maximum length of a row, in bytes of its format.
    pub row_bytes: usize,
    /// Maximum number of errors that are reported one by one; the rest are only counted.
    pub named_errors: usize,
    /// Maximum size of what must be held in memory at once, in bytes. For Arrow: a record batch, and also all
    /// dictionaries together. For workbooks: the decompressed workbook. For Parquet: one page and one dictionary page
    /// of each column. For zip files: the directory.
    pub block_bytes: u64,
    /// Maximum number of files in a zip archive, including the archive that a workbook is.
    pub archive_files: u64,
}

/// The limit that an upload exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes received.
    Bytes,
    /// [`IngestLimits::expanded_bytes`].
    ExpandedBytes,
    /// [`IngestLimits::expansion`].
    Expansion,
    /// [`IngestLimits::rows`].
    Rows,
    /// [`IngestLimits::idle_rows`].
    IdleRows,
    /// [`IngestLimits::row_bytes`], exceeded by this row.
    RowBytes(u64),
    /// [`IngestLimits::block_bytes`].
    BlockBytes,
    /// [`IngestLimits::archive_files`].
    ArchiveFiles,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes => f.write_str("more bytes than allowed"),
            Self::ExpandedBytes => f.write_str("more bytes, decompressed, than allowed"),
            Self::Expansion => {
                f.write_str("more bytes, decompressed, for each byte that was sent than allowed")
            }
            Self::Rows => f.write_str("more rows than allowed"),
            Self::IdleRows => f.write_str("more blank or wrong rows than allowed"),
            Self::RowBytes(row) => write!(f, "row {row} is longer than allowed"),
            Self::BlockBytes => f.write_str(
                "a batch, page or workbook that is larger, decompressed, than may be in memory",
            ),
            Self::ArchiveFiles => f.write_str("more files in an archive or workbook than allowed"),
        }
    }
}

/// Why an input cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The input is not in the format that it claims to be in.
    #[error("{0}")]
    Malformed(String),
    /// The columns do not describe runs, or do not fit the options.
    #[error("{}", name_all(.0))]
    Columns(Vec<FieldError>),
    /// The input exceeds a limit.
    #[error("{0}")]
    TooLarge(Limit),
    /// The sender closed the connection before the end of the input.
    #[error("the input ended before it was complete")]
    CutShort,
    /// The consumer of the rows has stopped taking them.
    #[error("the rows are not wanted any more")]
    Unwanted,
    /// The temporary file that holds the input cannot be created, written or read.
    #[error("a temporary file: {0}")]
    Spool(io::Error),
    /// One of several inputs cannot be read.
    #[error("{name}: {error}")]
    In {
        /// Name of the input.
        name: String,
        /// Why this input cannot be read.
        error: Box<IngestError>,
    },
}

fn name_all(errors: &[FieldError]) -> String {
    let one = |e: &FieldError| format!("{}: {}", e.pointer.trim_start_matches('/'), e.detail);
    errors.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl From<IngestError> for io::Error {
    /// For the readers between a source and the parser of its format, which can only return I/O errors.
    fn from(error: IngestError) -> Self {
        Self::other(error)
    }
}

impl From<io::Error> for IngestError {
    /// Recovers an [`IngestError`] from a reader; any other error comes from a decoder that cannot go on.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(known) => known,
            Err(error) => Self::Malformed(format!("the body cannot be decoded: {error}")),
        }
    }
}

/// An error in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Row number, from 0: the index in an array, among the lines that are not blank, or among the records below the
    /// header.
    pub row: u64,
    /// The field, as a JSON pointer relative to the row, and what is wrong with it.
    pub error: FieldError,
}

impl RowError {
    /// The name of the field; empty if the error is about the row as a whole.
    #[must_use]
    pub fn field(&self) -> &str {
        self.error.pointer.trim_start_matches('/')
    }
}

impl std::fmt::Display for RowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let space = if self.field().is_empty() { "" } else { " " };
        write!(f, "row {}: {}{space}{}", self.row, self.field(), self.error.detail)
    }
}

/// The errors of an input's rows: the first ones in full, and the total number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowErrors {
    /// The first errors.
    pub named: Vec<RowError>,
    /// Number of all errors.
    pub total: u64,
    /// If there are several inputs: the first row of each, and its name.
    pub parts: Vec<(u64, String)>,
}

impl RowErrors {
    /// Counts an error, and keeps it in full while there are fewer than `most`.
    pub fn push(&mut self, most: usize, error: RowError) {
        if self.named.len() < most {
            self.named.push(error);
        }
        self.total += 1;
    }

    /// The first errors. If there are several inputs, each error also says which input the row is in, and where.
    #[must_use]
    pub fn placed(&self) -> Vec<RowError> {
        let placed = self.named.iter().cloned().map(|mut error| {
            if let Some((name, row)) = self.place(error.row) {
                let mut name = name.to_owned();
                cut(&mut name, PLACE_LIMIT);
                error.error.detail.push_str(&format!(" (row {row} of {name})"));
            }
            error
        });
        placed.collect()
    }

    /// Finds a row among several inputs: the name of its input, and the row's number there.
    #[must_use]
    pub fn place(&self, row: u64) -> Option<(&str, u64)> {
        let (first, name) = self.parts.iter().rev().find(|(first, _)| *first <= row)?;
        Some((name, row - first))
    }

    /// A row as messages name it, with its input if there are several.
    pub(super) fn row_and_input(&self, row: u64) -> String {
        match self.place(row) {
            Some((name, row)) => {
                let mut name = name.to_owned();
                cut(&mut name, PLACE_LIMIT);
                format!("row {row} of {name}")
            }
            None => format!("row {row}"),
        }
    }

    /// Adds errors for rows that name the same run as an earlier row. `total` is the number of such rows, of which
    /// `repeated` holds the first; at most `most` errors are kept in full.
    pub fn add_repeated(&mut self, most: usize, repeated: &[RepeatedRow], total: u64) {
        let repeated = repeated.iter().map(|RepeatedRow { row, first }| RowError {
            row: *row,
            error: FieldError {
                pointer: "/external_id".to_owned(),
                detail: format!("is that of {} too", self.row_and_input(*first)),
            },
        });
        self.add_found(most, repeated.collect(), total);
    }

    /// Adds errors for rows whose sparsity contradicts the stored pattern that their run would keep. `total` is the
    /// number of such rows, of which `contradicted` holds the first; at most `most` errors are kept in full.
    pub fn add_contradicted(&mut self, most: usize, contradicted: &[ContradictedRow], total: u64) {
        let found = contradicted.iter().map(|found| RowError {
            row: found.row,
            error: contradiction(&found.pattern, found.sparsity),
        });
        self.add_found(most, found.collect(), total);
    }

    fn add_found(&mut self, most: usize, found: Vec<RowError>, total: u64) {
        self.named.extend(found);
        self.named.sort_by_key(|error| error.row);
        self.named.truncate(most);
        self.total += total;
    }
}
