//! What an input may cost, and what can be wrong with it or its rows.

use std::io;

use crate::domain::checks::FieldError;
use crate::domain::numbered_run::{ContradictedRow, RepeatedRow};
use crate::domain::submission::contradiction;
use crate::domain::text::cut;

/// The longest name of an input that is repeated with each of its errors, in bytes.
const PLACE_LIMIT: usize = 100;

/// What an upload may cost.
#[derive(Debug, Clone, Copy)]
pub struct IngestLimits {
    /// The most bytes after decompression.
    pub expanded_bytes: u64,
    /// The most bytes after decompression for each byte that was sent.
    pub expansion: u64,
    /// The most rows.
    pub rows: u64,
    /// The most rows that are wrong, and the most lines that are blank.
    pub idle_rows: u64,
    /// The longest row, in bytes of its format.
    pub row_bytes: usize,
    /// The most errors that are named; the others are counted.
    pub named_errors: usize,
    /// The largest part that must be in memory as a whole, in bytes: a batch of Arrow's, and its dictionaries
    /// together; a workbook without its compression; a page of each column of Parquet's, with their dictionaries; the
    /// directory of a zip file.
    pub block_bytes: u64,
    /// The most files of a zip archive, and of the one that a workbook is.
    pub archive_files: u64,
}

/// A limit that an upload reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes as they were sent.
    Bytes,
    /// [`IngestLimits::expanded_bytes`].
    ExpandedBytes,
    /// [`IngestLimits::expansion`].
    Expansion,
    /// [`IngestLimits::rows`].
    Rows,
    /// [`IngestLimits::idle_rows`].
    IdleRows,
    /// [`IngestLimits::row_bytes`], by this row.
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
    /// It is not of the format that it claims to be.
    #[error("{0}")]
    Malformed(String),
    /// It has no columns that runs can be read from.
    #[error("{}", name_all(.0))]
    Columns(Vec<FieldError>),
    /// It is larger than allowed.
    #[error("{0}")]
    TooLarge(Limit),
    /// Its sender went away.
    #[error("the input ended before it was complete")]
    CutShort,
    /// Whoever takes the rows has stopped taking them.
    #[error("the rows are not wanted any more")]
    Unwanted,
    /// No place to keep it while it is read.
    #[error("a temporary file: {0}")]
    Spool(io::Error),
    /// One of several inputs.
    #[error("{name}: {error}")]
    In {
        /// Its name.
        name: String,
        /// Why it cannot be read.
        error: Box<IngestError>,
    },
}

fn name_all(errors: &[FieldError]) -> String {
    let one = |e: &FieldError| format!("{}: {}", e.pointer.trim_start_matches('/'), e.detail);
    errors.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl From<IngestError> for io::Error {
    /// For the readers between a source and its format, which know only such errors.
    fn from(error: IngestError) -> Self {
        Self::other(error)
    }
}

impl From<io::Error> for IngestError {
    /// The reverse; what comes from elsewhere is a decoder that cannot go on.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(known) => known,
            Err(error) => Self::Malformed(format!("the body cannot be decoded: {error}")),
        }
    }
}

/// Something that is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// The row, from 0: of an array, of the lines that are not blank, of the records below the header.
    pub row: u64,
    /// The field as a JSON pointer below the row, and what is wrong with it.
    pub error: FieldError,
}

impl RowError {
    /// The field; empty for the row as a whole.
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

/// Everything that is wrong with an input: the first errors by name, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowErrors {
    /// The first of them.
    pub named: Vec<RowError>,
    /// How many there are.
    pub total: u64,
    /// Of several inputs: the row with which each begins, and its name.
    pub parts: Vec<(u64, String)>,
}

impl RowErrors {
    /// Notes an error, by name while there are fewer than `most`.
    pub fn push(&mut self, most: usize, error: RowError) {
        if self.named.len() < most {
            self.named.push(error);
        }
        self.total += 1;
    }

    /// The first errors, each of an input that is one of several with its place there.
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

    /// Where a row stands, among several inputs: the name of the one that it is in, and its place there.
    #[must_use]
    pub fn place(&self, row: u64) -> Option<(&str, u64)> {
        let (first, name) = self.parts.iter().rev().find(|(first, _)| *first <= row)?;
        Some((name, row - first))
    }

    /// Adds rows that name a run which an earlier row names: so many, the first of them by name.
    pub fn add_repeated(&mut self, most: usize, repeated: &[RepeatedRow], total: u64) {
        let of = |first: u64| match self.place(first) {
            Some((name, first)) => format!("row {first} of {name}"),
            None => format!("row {first}"),
        };
        let repeated = repeated.iter().map(|RepeatedRow { row, first }| RowError {
            row: *row,
            error: FieldError {
                pointer: "/external_id".to_owned(),
                detail: format!("is that of {} too", of(*first)),
            },
        });
        self.add_found(most, repeated.collect(), total);
    }

    /// Adds rows whose run would keep a pattern which their sparsity contradicts: so many, the first of them by name.
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
