//! Reads runs from files and request bodies: bytes in, checked runs out, row by row.
//!
//! Reading blocks its thread, so it needs one of its own. This module knows neither HTTP nor SQL: the API and the
//! command line read the same formats by the same rules. Memory is bounded by [`IngestLimits`] for any input: it
//! depends on the longest row, a batch of rows and a block of the format, not on the size of the input.
//!
//! ```text
//! bytes -> decode (gzip, zstd, ...) -> json | ndjson | csv | parquet | arrow | xlsx | zip of these -> columns -> submission -> batches
//! ```

#[cfg(feature = "archives")]
mod archive;
mod arrow;
mod column_names;
mod column_options;
mod columns;
mod csv;
mod decode;
mod dialect;
mod error;
pub mod export;
mod expression;
mod field;
mod finished;
mod flatten;
mod format;
mod guarded;
mod ipc;
mod json;
mod loss_columns;
mod naming;
mod noticed;
mod numbers;
mod options;
#[cfg(feature = "parquet")]
mod pages;
#[cfg(feature = "parquet")]
mod parquet;
mod row;
mod rows;
mod second_header;
mod sniff;
mod stop;
mod value;
#[cfg(feature = "xlsx")]
mod xlsx;
#[cfg(any(feature = "archives", feature = "xlsx"))]
mod zipped;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io::Read;

use decode::{Counted, Expanded};
use rows::Rows;

use crate::domain::checks::Checks;
use crate::domain::numbered_run::{NumberedRun, RepeatedRow};

pub use column_options::{AbsentFields, ColumnOptions, IdOption, RowChoice, SparsityUnit, Tracker};
pub use columns::Columns;
pub use decode::Coding;
pub use dialect::Separator;
pub use error::{IngestError, IngestLimits, Limit, RowError, RowErrors};
pub use expression::{Expression, ExpressionError, Outcome};
pub use field::Field;
pub use format::{ENDINGS, Format};
pub use guarded::silence_caught_panics;
pub use noticed::IntakeWarning;
pub use numbers::Decimal;
pub use options::OptionTexts;
pub use rows::{Intake, Reading, Recognised};
pub use sniff::{Looks, looks_like};
pub use stop::Stop;

/// Keeps the first run of each name, and adds an error for each later row that repeats one, at most `named` of them in
/// full. [`crate::store::staging::delete_repeated_rows`] does the same for runs in the staging table.
pub fn keep_first(
    runs: Vec<NumberedRun>,
    named: usize,
    errors: &mut RowErrors,
) -> Vec<NumberedRun> {
    let mut seen = HashMap::with_capacity(runs.len());
    let mut kept = Vec::with_capacity(runs.len());
    let mut repeated = Vec::new();
    for run in runs {
        match seen.entry(run.run.external_id.clone()) {
            Entry::Vacant(free) => {
                free.insert(run.row);
                kept.push(run);
            }
            Entry::Occupied(first) => {
                repeated.push(RepeatedRow { row: run.row, first: *first.get() });
            }
        }
    }
    errors.add_repeated(named, &repeated, repeated.len() as u64);
    kept
}

impl Reading {
    /// Reads an input to its end and passes its runs to `hand_on` in batches; `hand_on` returns whether it wants more.
    /// The errors of rows are part of the result.
    ///
    /// # Errors
    /// If the input as a whole cannot be read, exceeds a limit, or is not wanted any more.
    pub fn run(
        &self,
        source: impl Read,
        hand_on: &mut dyn FnMut(Vec<NumberedRun>) -> bool,
    ) -> Result<Intake, IngestError> {
        let mut rows = Rows::new(self, hand_on);
        let mut left = self.limits.expanded_bytes;
        let input = Input { format: self.format, coding: self.coding, name: None, files: None };
        read(&mut rows, input, Box::new(source), &mut left)?;
        rows.finish()
    }

    /// Reads several inputs as one table: a run may be in only one of them. Each part has its own format, coding and
    /// name, and is opened when its turn comes.
    ///
    /// # Errors
    /// If one of the inputs cannot be read; the error names it. Otherwise as for [`Reading::run`].
    pub fn run_parts(
        &self,
        parts: impl IntoIterator<Item = Result<Part, IngestError>>,
        hand_on: &mut dyn FnMut(Vec<NumberedRun>) -> bool,
    ) -> Result<Intake, IngestError> {
        let mut rows = Rows::new(self, hand_on);
        let mut left = self.limits.expanded_bytes;
        for part in parts {
            let Part { name, format, coding, files, source } = part?;
            rows.intake.errors.parts.push((rows.intake.rows, name.clone()));
            let input = Input { format, coding, name: Some(&name), files };
            let read = read(&mut rows, input, source, &mut left);
            read.map_err(|error| match error {
                // The consumer stopped; no input is at fault.
                IngestError::Unwanted => IngestError::Unwanted,
                // A file inside an archive, whose name already includes the archive's name.
                error @ IngestError::In { .. } => error,
                error => IngestError::In { name, error: Box::new(error) },
            })?;
        }
        rows.finish()
    }
}

/// What is known about an input before it is read.
#[derive(Debug, Clone, Copy)]
struct Input<'a> {
    format: Format,
    coding: Coding,
    /// Name of the input, if there are several.
    name: Option<&'a str>,
    /// Format of the files in an archive, overriding the endings of their names.
    files: Option<Format>,
}

/// Reads an input to its end. `left` is the number of bytes that decompression may still produce.
#[cfg_attr(
    not(feature = "archives"),
    expect(unused_variables, reason = "only archives have names and files")
)]
fn read(
    rows: &mut Rows<'_>,
    Input { format, coding, name, files }: Input<'_>,
    source: Box<dyn Read + '_>,
    left: &mut u64,
) -> Result<(), IngestError> {
    rows.decimal = rows.columns().decimal;
    rows.keyed = false;
    rows.keys.clear();
    let first_row = rows.intake.rows;
    let (source, sent) = Counted::new(source);
    let decoded = coding.decode(source)?;
    let expansion = if coding == Coding::Identity { u64::MAX } else { rows.limits().expansion };
    let mut expanded = Expanded::new(decoded, *left, (sent, expansion), rows.reading.stop.clone());
    {
        let mut input = sniff::checked(&mut expanded, format)?;
        match format {
            Format::Json => json::read_json(&mut input, rows),
            Format::Ndjson => json::read_ndjson(&mut input, rows),
            Format::Csv => csv::read(&mut input, rows),
            #[cfg(feature = "parquet")]
            Format::Parquet => parquet::read(&mut input, rows),
            Format::Arrow => ipc::read(&mut input, rows),
            #[cfg(feature = "xlsx")]
            Format::Xlsx => xlsx::read(&mut input, rows),
            #[cfg(feature = "archives")]
            Format::Zip => {
                // The files count by what they decompress to, in place of the archive's own bytes.
                let archived = archive::Archived { name, format: files };
                return archive::read(&mut input, rows, archived, left, read_file);
            }
        }?;
    }
    *left = expanded.left();
    if rows.keyed && rows.intake.rows > first_row && !rows.columns().flattens_exports() {
        let mut checks = Checks::default();
        let present: HashSet<&str> = rows.keys.iter().map(String::as_str).collect();
        rows.columns().check_required(&present, &[], &mut checks);
        checks.finish(Some(())).map_err(IngestError::Columns)?;
    }
    Ok(())
}

/// Reads one file of an archive.
#[cfg(feature = "archives")]
fn read_file(
    rows: &mut Rows<'_>,
    format: Format,
    coding: Coding,
    file: std::fs::File,
    left: &mut u64,
) -> Result<(), IngestError> {
    read(rows, Input { format, coding, name: None, files: None }, Box::new(file), left)
}

/// One of several inputs.
pub struct Part {
    /// Name of the input in errors.
    pub name: String,
    /// Format of the input.
    pub format: Format,
    /// Compression of the input.
    pub coding: Coding,
    /// Format of the files in an archive, overriding the endings of their names.
    pub files: Option<Format>,
    /// The input's bytes.
    pub source: Box<dyn Read>,
}

#[cfg(test)]
mod tests;
