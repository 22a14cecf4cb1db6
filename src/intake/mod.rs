//! Runs out of files and request bodies: bytes in, checked runs out, row by row.
//!
//! Blocking, for a thread of its own, and without HTTP or SQL: the API and the command line read the
//! same formats by the same rules. Memory is bounded by [`IngestLimits`], whatever comes: by the longest
//! row and one batch of them, not by the size of the input.
//!
//! ```text
//! bytes -> decode (gzip, zstd, ...) -> json | ndjson | csv | parquet | arrow | xlsx -> columns -> submission -> batches
//! ```

#[cfg(feature = "archives")]
pub mod archive;
mod arrow;
mod columns;
mod csv;
mod decode;
mod dialect;
pub mod export;
mod expression;
mod field;
mod flatten;
mod ipc;
mod json;
mod numbers;
mod options;
#[cfg(feature = "parquet")]
mod parquet;
mod row;
mod sniff;
mod value;
#[cfg(feature = "xlsx")]
mod xlsx;

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read};

use decode::Expanded;
use row::Finished;
use value::Value;

use crate::domain::checks::{Checks, FieldError};
use crate::domain::numbered_run::{NumberedRun, RepeatedRow};
use crate::domain::run::{Brought, SubmittedRun};

pub use columns::{AbsentFields, Choice, ColumnOptions, Columns, IdOption, Source, SparsityUnit};
pub use decode::Coding;
pub use dialect::Separator;
pub use expression::{Expression, ExpressionError, Outcome};
pub use field::Field;
pub use numbers::Decimal;
pub use options::OptionTexts;
pub use sniff::{Looks, looks_like};

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
    /// Arrow's IPC format: a stream, or a file (Feather), which is one with a directory behind it.
    Arrow,
    /// A sheet of an Excel workbook.
    #[cfg(feature = "xlsx")]
    Xlsx,
}

impl Format {
    /// All that this build reads.
    pub const ALL: &[Self] = &[
        Self::Json,
        Self::Ndjson,
        Self::Csv,
        #[cfg(feature = "parquet")]
        Self::Parquet,
        Self::Arrow,
        #[cfg(feature = "xlsx")]
        Self::Xlsx,
    ];

    /// All that this build writes.
    pub const WRITTEN: &[Self] = &[
        Self::Json,
        Self::Ndjson,
        Self::Csv,
        #[cfg(feature = "parquet")]
        Self::Parquet,
    ];

    /// Media type of Arrow's format with a directory behind it.
    const ARROW_FILE: &str = "application/vnd.apache.arrow.file";

    /// The format of a media type, whatever the case of its letters.
    #[must_use]
    pub fn of_media_type(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case(Self::ARROW_FILE) {
            return Some(Self::Arrow);
        }
        Self::ALL.iter().copied().find(|format| name.eq_ignore_ascii_case(format.media_type()))
    }

    /// All media types that are read.
    #[must_use]
    pub fn media_types() -> Vec<&'static str> {
        let own = Self::ALL.iter().map(|format| format.media_type());
        own.chain([Self::ARROW_FILE]).collect()
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            #[cfg(feature = "parquet")]
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            #[cfg(feature = "xlsx")]
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
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
    /// The largest part that must be in memory as a whole, in bytes: a batch of Arrow's, and its dictionaries
    /// together; a workbook without its compression.
    pub block_bytes: u64,
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
    /// [`IngestLimits::block_bytes`].
    BlockBytes,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes => f.write_str("more bytes than allowed"),
            Self::ExpandedBytes => f.write_str("more bytes, decompressed, than allowed"),
            Self::Rows => f.write_str("more rows than allowed"),
            Self::RowBytes(row) => write!(f, "row {row} is longer than allowed"),
            Self::BlockBytes => f.write_str(
                "a batch or workbook that is larger, decompressed, than may be in memory",
            ),
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
        let repeated: Vec<_> = repeated.collect();
        self.named.extend(repeated);
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
/// What a run's FLOPs may be of those that follow from its size and data.
const FLOPS_RANGE: (f64, f64) = (0.9, 1.3);

/// The FLOPs of runs beside those that follow from size and data.
#[derive(Debug, Default)]
struct NoticedFlops {
    /// Runs that bring FLOPs.
    with: u64,
    /// Those whose FLOPs are others.
    off: u64,
    /// The smallest and largest ratio of these.
    ratios: Option<(f64, f64)>,
}

impl NoticedFlops {
    fn note(&mut self, run: &SubmittedRun, flops: f64, flops_per_param: f64) {
        let observation = &run.observation;
        let sparse = flops_per_param * observation.nonzero_params.get() * observation.data.get();
        let dense = sparse / observation.sparsity.density().get();
        self.with += 1;
        // Counters count zeros or do not: what lies between the two is right.
        let ratio = if flops < FLOPS_RANGE.0 * sparse {
            flops / sparse
        } else if flops > FLOPS_RANGE.1 * dense {
            flops / dense
        } else {
            return;
        };
        self.off += 1;
        let (low, high) = self.ratios.unwrap_or((ratio, ratio));
        self.ratios = Some((low.min(ratio), high.max(ratio)));
    }

    fn warning(&self, flops_per_param: f64) -> Option<IntakeWarning> {
        let (low, high) = self.ratios?;
        let detail = format!(
            "FLOPs of {} of {} runs are not {flops_per_param} N D: {low:.3} to {high:.3} times that, and {} to {} is \
             usual. Half of it: multiply-adds (MACs), as fvcore, thop and ptflops count. A third: the forward pass \
             alone. Much less: experts that the counter left out, or data that is not in the family's unit. Size and \
             data are taken as they are",
            self.off, self.with, FLOPS_RANGE.0, FLOPS_RANGE.1,
        );
        Some(IntakeWarning { code: "flops_off", detail })
    }
}

/// What is noticed over all rows.
#[derive(Debug, Default)]
struct Noticed {
    losses: Option<(f64, f64)>,
    small: u64,
    off_pattern: u64,
    unfinished: BTreeMap<String, u64>,
    cut_tags: u64,
    /// Fields that were not taken from the columns of their names.
    not_taken: BTreeMap<&'static str, u64>,
    flops: NoticedFlops,
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

    fn warnings(self, flops_per_param: f64) -> Vec<IntakeWarning> {
        let mut found = Vec::new();
        found.extend(self.flops.warning(flops_per_param));
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
        for (field, rows) in &self.not_taken {
            let detail = format!(
                "the column {field} is a field here, has values in {rows} rows, and was not taken; map={field}:{field} \
                 takes it"
            );
            warn("fields_not_taken", detail);
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
    /// Format of an input that comes alone; of several each has its own.
    pub format: Format,
    /// How one that comes alone is compressed.
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
        let mut rows = Rows::new(self, hand_on);
        let mut left = self.limits.expanded_bytes;
        rows.read(self.format, self.coding, Box::new(source), &mut left)?;
        rows.finish()
    }

    /// The same for several inputs, whose rows are those of one table: a run may stand in one of them only. Each has
    /// a format, coding and name of its own, and is opened when its turn comes.
    ///
    /// # Errors
    /// Where one of them is none, with its name.
    pub fn run_parts(
        &self,
        parts: impl IntoIterator<Item = Result<Part, IngestError>>,
        hand_on: &mut dyn FnMut(Vec<NumberedRun>) -> bool,
    ) -> Result<Intake, IngestError> {
        let mut rows = Rows::new(self, hand_on);
        let mut left = self.limits.expanded_bytes;
        for part in parts {
            let Part { name, format, coding, source } = part?;
            rows.intake.errors.parts.push((rows.intake.rows, name.clone()));
            let read = rows.read(format, coding, source, &mut left);
            read.map_err(|error| match error {
                // Not of this input.
                IngestError::Unwanted => IngestError::Unwanted,
                error => IngestError::In { name, error: Box::new(error) },
            })?;
        }
        rows.finish()
    }
}

/// One of several inputs.
pub struct Part {
    /// What it is called in errors.
    pub name: String,
    /// Its format.
    pub format: Format,
    /// How it is compressed.
    pub coding: Coding,
    /// Its bytes.
    pub source: Box<dyn Read>,
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
    taken: Taken,
}

/// What is kept of a row until it is handed on.
struct Taken {
    run: Result<SubmittedRun, Vec<FieldError>>,
    brought: Brought,
    flops: Option<f64>,
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

    /// Reads an input to its end; `left` is what is left of the bytes that may come out of decompression.
    fn read(
        &mut self,
        format: Format,
        coding: Coding,
        source: Box<dyn Read + '_>,
        left: &mut u64,
    ) -> Result<(), IngestError> {
        self.decimal = self.columns().decimal;
        self.keyed = false;
        self.keys.clear();
        let first_row = self.intake.rows;
        let decoded = coding.decode(source)?;
        let mut expanded = Expanded::new(decoded, *left);
        {
            let mut input = sniff::checked(&mut expanded, format)?;
            match format {
                Format::Json => json::read_json(&mut input, self),
                Format::Ndjson => json::read_ndjson(&mut input, self),
                Format::Csv => csv::read(&mut input, self),
                #[cfg(feature = "parquet")]
                Format::Parquet => parquet::read(&mut input, self),
                Format::Arrow => ipc::read(&mut input, self),
                #[cfg(feature = "xlsx")]
                Format::Xlsx => xlsx::read(&mut input, self),
            }?;
        }
        *left = expanded.left();
        if self.keyed && self.intake.rows > first_row && !self.columns().flattens_exports() {
            let mut checks = Checks::default();
            let present: HashSet<&str> = self.keys.iter().map(String::as_str).collect();
            self.columns().check_required(&present, &[], &mut checks);
            checks.finish(Some(())).map_err(IngestError::Columns)?;
        }
        Ok(())
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
        let Finished {
            mut run,
            brought,
            flops,
            left_out,
            key,
            percent,
            unfinished,
            cut_tags,
            not_taken,
            used,
        } = finished;
        if let Some(reason) = left_out {
            self.leave_out(reason);
            return Ok(());
        }
        if let Some(state) = unfinished {
            *self.noticed.unfinished.entry(state).or_default() += 1;
        }
        self.noticed.cut_tags += u64::from(cut_tags);
        for field in not_taken {
            *self.noticed.not_taken.entry(field.as_str()).or_default() += 1;
        }
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
        let taken = Taken { run, brought, flops };
        match (&self.columns().keep, key) {
            (Some(keep), Some((id, value))) => {
                let choice = keep.choice;
                self.keep(choice, id, KeptRow { value, row, line, taken });
                Ok(())
            }
            _ => self.take(bytes, row, line, taken),
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
        taken: Taken,
    ) -> Result<(), IngestError> {
        let Taken { run, brought, flops } = taken;
        match run {
            Ok(run) => {
                self.noticed.note(&run);
                if let Some(flops) = flops {
                    self.noticed.flops.note(&run, flops, self.reading.columns.flops_per_param);
                }
                if self.wanted {
                    self.batch.push(NumberedRun { row, run, brought });
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
        let mut kept: Vec<_> = std::mem::take(&mut self.kept).into_values().collect();
        kept.sort_unstable_by_key(|kept| kept.row);
        for KeptRow { row, line, taken, .. } in kept {
            self.take(0, row, line, taken)?;
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
        self.intake.warnings = self.noticed.warnings(self.reading.columns.flops_per_param);
        let named = self.intake.recognised.fields.iter().find(|(f, _)| *f == Field::ExternalId);
        if self.reading.columns.source == Some(Source::Wandb)
            && named.is_some_and(|(_, from)| from == "Name")
        {
            let detail = "runs are named by what W&B shows, as the table has no column ID: another export of the same \
                          runs may name them otherwise";
            self.intake
                .warnings
                .push(IntakeWarning { code: "display_names", detail: detail.to_owned() });
        }
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
