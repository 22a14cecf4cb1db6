//! Runs out of files and request bodies: bytes in, checked runs out, row by row.
//!
//! Blocking, for a thread of its own, and without HTTP or SQL: the API and the command line read the
//! same formats by the same rules. Memory is bounded by [`IngestLimits`], whatever comes: by the longest
//! row and one batch of them, not by the size of the input.
//!
//! ```text
//! bytes -> decode (gzip, zstd) -> json | ndjson | csv | parquet -> columns -> submission -> batches
//! ```

mod columns;
mod csv;
mod decode;
mod dialect;
pub mod export;
mod expression;
mod field;
mod flatten;
mod json;
mod numbers;
mod options;
#[cfg(feature = "parquet")]
mod parquet;
mod row;
mod value;

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read};

use decode::Expanded;
use row::Finished;
use value::Value;

use crate::domain::checks::{Checks, FieldError};
use crate::domain::numbered_run::{NumberedRun, RepeatedRow};
use crate::domain::run::SubmittedRun;

pub use columns::{Choice, ColumnOptions, Columns, IdOption, Source, SparsityUnit};
pub use decode::Coding;
pub use dialect::Separator;
pub use expression::{Expression, ExpressionError, Outcome};
pub use field::Field;
pub use numbers::Decimal;
pub use options::OptionTexts;

/// A format that runs come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object, or an array of them.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Format {
    /// All that this build reads.
    pub const ALL: &[Self] = &[
        Self::Json,
        Self::Ndjson,
        Self::Csv,
        #[cfg(feature = "parquet")]
        Self::Parquet,
    ];

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            #[cfg(feature = "parquet")]
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// What an upload may cost.
#[derive(Debug, Clone, Copy)]
pub struct IngestLimits {
    /// The most bytes after decompression.
    pub expanded_bytes: u64,
    /// The most rows.
    pub rows: u64,
    /// The longest row, in bytes of its format.
    pub row_bytes: usize,
    /// The most errors that are named; the others are counted.
    pub named_errors: usize,
}

/// A limit that an upload reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes as they were sent.
    Bytes,
    /// [`IngestLimits::expanded_bytes`].
    ExpandedBytes,
    /// [`IngestLimits::rows`].
    Rows,
    /// [`IngestLimits::row_bytes`], by this row.
    RowBytes(u64),
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
    #[error("more than the limit: {0:?}")]
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
}

impl RowErrors {
    /// Notes an error, by name while there are fewer than `most`.
    pub fn push(&mut self, most: usize, error: RowError) {
        if self.named.len() < most {
            self.named.push(error);
        }
        self.total += 1;
    }

    /// Adds rows that name a run which an earlier row names: so many, the first of them by name.
    pub fn add_repeated(&mut self, most: usize, repeated: &[RepeatedRow], total: u64) {
        self.named.extend(repeated.iter().map(|RepeatedRow { row, first }| RowError {
            row: *row,
            error: FieldError {
                pointer: "/external_id".to_owned(),
                detail: format!("is that of row {first} too"),
            },
        }));
        self.named.sort_by_key(|error| error.row);
        self.named.truncate(most);
        self.total += total;
    }
}

/// The runs that no earlier row names; the rows of the others are noted, at most so many by name.
/// [`crate::store::staging::delete_repeated_rows`] does the same with many.
pub fn keep_first(
    runs: Vec<NumberedRun>,
    named: usize,
    errors: &mut RowErrors,
) -> Vec<SubmittedRun> {
    let mut seen = HashMap::with_capacity(runs.len());
    let mut kept = Vec::with_capacity(runs.len());
    let mut repeated = Vec::new();
    for NumberedRun { row, run } in runs {
        match seen.entry(run.external_id.clone()) {
            Entry::Vacant(free) => {
                free.insert(row);
                kept.push(run);
            }
            Entry::Occupied(first) => repeated.push(RepeatedRow { row, first: *first.get() }),
        }
    }
    errors.add_repeated(named, &repeated, repeated.len() as u64);
    kept
}

/// What an input held besides the runs that were handed on.
#[derive(Debug, Default)]
pub struct Intake {
    /// Rows that were read.
    pub rows: u64,
    /// Whether it was one JSON object rather than rows.
    pub single: bool,
    /// What was wrong.
    pub errors: RowErrors,
    /// Rows that were left out on purpose, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// What the input was taken for.
    pub recognised: Recognised,
    /// What is odd about it, and no reason to refuse it.
    pub warnings: Vec<IntakeWarning>,
}

/// What an input was taken for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recognised {
    /// What stands between cells, in a table with separators.
    pub separator: Option<Separator>,
    /// The decimal mark, where it is known.
    pub decimal: Option<Decimal>,
    /// What each field of the first good row came from: a column or an expression.
    pub fields: Vec<(Field, String)>,
}

/// Something odd about an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeWarning {
    /// Stable code.
    pub code: &'static str,
    /// A sentence for a person.
    pub detail: String,
}

/// Losses of one input further apart than this are hardly of one unit.
const LOSS_SPREAD: f64 = 100.0;
/// Fewer parameters than these are hardly those of a model; more likely they are in millions.
const SMALLEST_MODEL: f64 = 1e4;
/// How far a run's sparsity may lie from that of its pattern.
const PATTERN_MARGIN: f64 = 0.02;

/// What is noticed over all rows.
#[derive(Debug, Default)]
struct Noticed {
    losses: Option<(f64, f64)>,
    small: u64,
    off_pattern: u64,
    unfinished: BTreeMap<String, u64>,
    cut_tags: u64,
    /// Whether sparsities have a percent sign, and the row that said so first.
    percent: Option<(bool, u64)>,
}

impl Noticed {
    fn note(&mut self, run: &SubmittedRun) {
        let observation = &run.observation;
        let loss = observation.loss.get();
        let (low, high) = self.losses.unwrap_or((loss, loss));
        self.losses = Some((low.min(loss), high.max(loss)));
        self.small += u64::from(observation.nonzero_params.get() < SMALLEST_MODEL);
        self.off_pattern += u64::from(run.pattern.as_ref().is_some_and(|pattern| {
            (pattern.sparsity() - observation.sparsity.get()).abs() > PATTERN_MARGIN
        }));
    }

    fn warnings(self) -> Vec<IntakeWarning> {
        let mut found = Vec::new();
        let mut warn = |code, detail| found.push(IntakeWarning { code, detail });
        if let Some((low, high)) = self.losses.filter(|(low, high)| high / low > LOSS_SPREAD) {
            warn(
                "loss_spread",
                format!("losses lie between {low} and {high}: are they all in one unit?"),
            );
        }
        if self.small > 0 {
            let detail = format!(
                "{} runs have fewer than {SMALLEST_MODEL} non-zero parameters: are they in millions? \
                 scale=nonzero_params:1e6 says so",
                self.small
            );
            warn("small_models", detail);
        }
        if self.off_pattern > 0 {
            let detail = format!(
                "{} runs have a sparsity that is not that of their pattern, where n:m keeps n of m: only a part of \
                 the weights may be pruned by it",
                self.off_pattern
            );
            warn("sparsity_off_pattern", detail);
        }
        if !self.unfinished.is_empty() {
            let states =
                self.unfinished.iter().map(|(state, rows)| format!("{state} in {rows} rows"));
            let detail = format!(
                "some runs did not finish: {}; where=... leaves rows out",
                states.collect::<Vec<_>>().join(", ")
            );
            warn("unfinished_runs", detail);
        }
        if self.cut_tags > 0 {
            warn("tags_cut", format!("{} tags were cut to the length of a tag", self.cut_tags));
        }
        found
    }
}

/// The most runs of a batch.
const BATCH_ROWS: usize = 1_000;
/// Bytes of input after which a batch ends before that.
const BATCH_BYTES: usize = 256 * 1024;

/// How an input is read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Its format.
    pub format: Format,
    /// How it is compressed.
    pub coding: Coding,
    /// What its columns mean.
    pub columns: Columns,
    /// What it may cost.
    pub limits: IngestLimits,
    /// Whether to hand on the other runs where one is wrong; without it the rest is only checked.
    pub skip_errors: bool,
}

impl Reading {
    /// Reads runs to the end of the input and hands them on in batches; `hand_on` says whether it wants
    /// more. Rows that are no runs are in the result.
    ///
    /// # Errors
    /// Where the input as a whole is none.
    pub fn run(
        &self,
        source: impl Read,
        hand_on: &mut dyn FnMut(Vec<NumberedRun>) -> bool,
    ) -> Result<Intake, IngestError> {
        let decoded = self.coding.decode(source)?;
        let mut expanded = Expanded::new(decoded, self.limits.expanded_bytes);
        let mut rows = Rows::new(self, hand_on);
        match self.format {
            Format::Json => json::read_json(&mut expanded, &mut rows),
            Format::Ndjson => json::read_ndjson(&mut expanded, &mut rows),
            Format::Csv => csv::read(&mut expanded, &mut rows),
            #[cfg(feature = "parquet")]
            Format::Parquet => parquet::read(&mut expanded, &mut rows),
        }?;
        rows.finish()
    }
}

/// Where the readers of all formats put their rows.
struct Rows<'a> {
    reading: &'a Reading,
    hand_on: &'a mut dyn FnMut(Vec<NumberedRun>) -> bool,
    batch: Vec<NumberedRun>,
    batch_bytes: usize,
    /// Whether a batch was handed on.
    handed_on: bool,
    /// Whether runs are still of use to anybody.
    wanted: bool,
    /// The decimal mark of this input, where it is known.
    decimal: Option<Decimal>,
    /// By the run's name the row that is kept so far, what decided, and what is wrong with it.
    kept: HashMap<String, KeptRow>,
    /// Keys of the first object, and those that options name.
    keys: HashSet<String>,
    /// Whether an object was read.
    keyed: bool,
    noticed: Noticed,
    intake: Intake,
}

/// The row that is kept of several.
struct KeptRow {
    value: f64,
    row: u64,
    line: Option<u64>,
    run: Result<SubmittedRun, Vec<FieldError>>,
}

impl<'a> Rows<'a> {
    fn new(reading: &'a Reading, hand_on: &'a mut dyn FnMut(Vec<NumberedRun>) -> bool) -> Self {
        Self {
            reading,
            hand_on,
            batch: Vec::new(),
            batch_bytes: 0,
            handed_on: false,
            wanted: true,
            decimal: reading.columns.decimal,
            kept: HashMap::new(),
            keys: HashSet::new(),
            keyed: false,
            noticed: Noticed::default(),
            intake: Intake::default(),
        }
    }

    fn columns(&self) -> &'a Columns {
        &self.reading.columns
    }

    fn limits(&self) -> &'a IngestLimits {
        &self.reading.limits
    }

    /// The number of the row that comes next.
    fn next(&self) -> u64 {
        self.intake.rows
    }

    /// Whether it is still to be said what fields came from.
    fn wants_used(&self) -> bool {
        self.intake.recognised.fields.is_empty()
    }

    /// Remembers keys of objects, of which only all together say what an input has: those of the first, and
    /// whatever options name.
    fn note_keys(&mut self, entries: &[(Cow<'_, str>, Value<'_>)]) {
        const MOST: usize = 200;
        if !self.keyed {
            self.keyed = true;
            self.keys.extend(entries.iter().take(MOST).map(|(key, _)| key.to_string()));
        }
        let columns = self.columns();
        if columns.names_any() {
            columns.note_named(entries, &mut self.keys);
        }
    }

    /// Takes the next row, of so many bytes of input, from this line.
    fn push(
        &mut self,
        bytes: usize,
        line: Option<u64>,
        finished: Finished,
    ) -> Result<(), IngestError> {
        let (row, limits) = (self.intake.rows, self.limits());
        if row >= limits.rows {
            return Err(IngestError::TooLarge(Limit::Rows));
        }
        if bytes > limits.row_bytes {
            return Err(IngestError::TooLarge(Limit::RowBytes(row)));
        }
        self.intake.rows += 1;
        let Finished { mut run, left_out, key, percent, unfinished, cut_tags, used } = finished;
        if let Some(reason) = left_out {
            self.leave_out(reason);
            return Ok(());
        }
        if let Some(state) = unfinished {
            *self.noticed.unfinished.entry(state).or_default() += 1;
        }
        self.noticed.cut_tags += u64::from(cut_tags);
        if let Some(percent) = percent {
            let (first, at) = *self.noticed.percent.get_or_insert((percent, row));
            if first != percent {
                let which = |percent: bool| if percent { "a" } else { "no" };
                let detail = format!(
                    "has {} percent sign, and that of row {at} has {}: all of a table must be written alike",
                    which(percent),
                    which(first)
                );
                run = Err(vec![FieldError { pointer: "/sparsity".to_owned(), detail }]);
            }
        }
        if run.is_ok() && self.wants_used() {
            self.intake.recognised.fields = used;
        }
        match (&self.columns().keep, key) {
            (Some(keep), Some((id, value))) => {
                let choice = keep.choice;
                self.keep(choice, id, KeptRow { value, row, line, run });
                Ok(())
            }
            _ => self.take(bytes, row, line, run),
        }
    }

    fn leave_out(&mut self, reason: String) {
        /// More reasons than these are counted together.
        const REASONS: usize = 50;
        let reasons = &mut self.intake.left_out;
        let known = reasons.len() < REASONS || reasons.contains_key(&reason);
        *reasons.entry(if known { reason } else { "other".to_owned() }).or_default() += 1;
    }

    /// Keeps one row of a run: of equals the later one.
    fn keep(&mut self, choice: Choice, id: String, new: KeptRow) {
        let lost = match self.kept.entry(id) {
            Entry::Vacant(free) => {
                free.insert(new);
                false
            }
            Entry::Occupied(mut before) => {
                let better = match choice {
                    Choice::Last => new.value >= before.get().value,
                    Choice::First => new.value < before.get().value,
                };
                if better {
                    before.insert(new);
                }
                true
            }
        };
        if lost {
            self.leave_out("another row of the run is kept".to_owned());
        }
    }

    /// Takes a row that is a run or wrong.
    fn take(
        &mut self,
        bytes: usize,
        row: u64,
        line: Option<u64>,
        run: Result<SubmittedRun, Vec<FieldError>>,
    ) -> Result<(), IngestError> {
        match run {
            Ok(run) => {
                self.noticed.note(&run);
                if self.wanted {
                    self.batch.push(NumberedRun { row, run });
                    self.batch_bytes += bytes;
                }
            }
            Err(errors) => {
                for mut error in errors {
                    // A column may be named by as much as a row is long.
                    cut(&mut error.pointer);
                    cut(&mut error.detail);
                    if let Some(line) = line {
                        error.detail = format!("{} (line {line})", error.detail);
                    }
                    self.intake.errors.push(self.limits().named_errors, RowError { row, error });
                }
            }
        }
        if self.batch.len() >= BATCH_ROWS || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IngestError> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if self.reading.skip_errors || self.intake.errors.total == 0 {
            self.handed_on = true;
            return if (self.hand_on)(batch) { Ok(()) } else { Err(IngestError::Unwanted) };
        }
        // Nothing will be stored. The rest is read only to say what else is wrong.
        self.wanted = false;
        Ok(())
    }

    fn finish(mut self) -> Result<Intake, IngestError> {
        if self.keyed && self.intake.rows > 0 && !self.columns().flattens_exports() {
            let mut checks = Checks::default();
            let present: HashSet<&str> = self.keys.iter().map(String::as_str).collect();
            self.columns().check_required(&present, &mut checks);
            checks.finish(Some(())).map_err(IngestError::Columns)?;
        }
        let mut kept: Vec<_> = std::mem::take(&mut self.kept).into_values().collect();
        kept.sort_unstable_by_key(|kept| kept.row);
        for KeptRow { row, line, run, .. } in kept {
            self.take(0, row, line, run)?;
        }
        // Where all came in one batch its repeated rows can be told beside the others that are wrong.
        let few = !self.handed_on && self.wanted;
        if few && !self.batch.is_empty() {
            if !(self.hand_on)(std::mem::take(&mut self.batch)) {
                return Err(IngestError::Unwanted);
            }
        } else if !self.batch.is_empty() {
            self.flush()?;
        }
        self.intake.warnings = self.noticed.warnings();
        Ok(self.intake)
    }
}

/// Cuts a text for people to a length that they read.
fn cut(text: &mut String) {
    const MOST: usize = 400;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests;
