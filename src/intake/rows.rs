//! Where the readers of all formats put their rows: runs are handed on in batches, the rest is noted.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::domain::checks::FieldError;
use crate::domain::numbered_run::NumberedRun;
use crate::domain::run::{Brought, SubmittedRun};
use crate::domain::text::{ERROR_LIMIT, cut};
use crate::intake::column_options::{RowChoice, Tracker};
use crate::intake::columns::Columns;
use crate::intake::decode::Coding;
use crate::intake::dialect::Separator;
use crate::intake::error::{IngestError, IngestLimits, Limit, RowError, RowErrors};
use crate::intake::field::Field;
use crate::intake::format::Format;
use crate::intake::noticed::{IntakeWarning, Noticed};
use crate::intake::numbers::Decimal;
use crate::intake::row::Finished;
use crate::intake::stop::Stop;
use crate::intake::value::Value;

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
    /// Ends the reading early.
    pub stop: Stop,
}

/// What an input held besides the runs that were handed on.
#[derive(Debug, Clone, Default)]
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

/// Where the readers of all formats put their rows.
pub(super) struct Rows<'a> {
    pub(super) reading: &'a Reading,
    pub(super) hand_on: &'a mut dyn FnMut(Vec<NumberedRun>) -> bool,
    pub(super) batch: Vec<NumberedRun>,
    pub(super) batch_bytes: usize,
    /// Whether a batch was handed on.
    pub(super) handed_on: bool,
    /// Whether runs are still of use to anybody.
    pub(super) wanted: bool,
    /// The decimal mark of this input, where it is known.
    pub(super) decimal: Option<Decimal>,
    /// By the run's name the row that is kept so far, what decided, and what is wrong with it.
    pub(super) kept: HashMap<String, KeptRow>,
    /// Keys of the first object, and those that options name.
    pub(super) keys: HashSet<String>,
    /// Whether an object was read.
    pub(super) keyed: bool,
    pub(super) noticed: Noticed,
    pub(super) intake: Intake,
    /// Rows that were wrong.
    wrong: u64,
}

/// The row that is kept of several.
pub(super) struct KeptRow {
    value: f64,
    row: u64,
    line: Option<u64>,
    taken: Taken,
}

/// What is kept of a row until it is handed on.
pub(super) struct Taken {
    run: Result<SubmittedRun, Vec<FieldError>>,
    brought: Brought,
    flops: Option<f64>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        reading: &'a Reading,
        hand_on: &'a mut dyn FnMut(Vec<NumberedRun>) -> bool,
    ) -> Self {
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
            wrong: 0,
        }
    }

    pub(super) fn columns(&self) -> &'a Columns {
        &self.reading.columns
    }

    pub(super) fn limits(&self) -> &'a IngestLimits {
        &self.reading.limits
    }

    /// The number of the row that comes next.
    pub(super) fn next(&self) -> u64 {
        self.intake.rows
    }

    /// Whether it is still to be said what fields came from.
    pub(super) fn wants_used(&self) -> bool {
        self.intake.recognised.fields.is_empty()
    }

    /// Remembers keys of objects, of which only all together say what an input has: those of the first, and
    /// whatever options name.
    pub(super) fn note_keys(&mut self, entries: &[(Cow<'_, str>, Value<'_>)]) {
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
    pub(super) fn push(
        &mut self,
        bytes: usize,
        line: Option<u64>,
        finished: Finished,
    ) -> Result<(), IngestError> {
        let (row, limits) = (self.intake.rows, self.limits());
        if self.reading.stop.is_set() {
            return Err(IngestError::Unwanted);
        }
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

    pub(super) fn leave_out(&mut self, reason: String) {
        /// More reasons than these are counted together.
        const REASONS: usize = 50;
        let reasons = &mut self.intake.left_out;
        let known = reasons.len() < REASONS || reasons.contains_key(&reason);
        *reasons.entry(if known { reason } else { "other".to_owned() }).or_default() += 1;
    }

    /// Keeps one row of a run: of equals the later one.
    pub(super) fn keep(&mut self, choice: RowChoice, id: String, new: KeptRow) {
        let lost = match self.kept.entry(id) {
            Entry::Vacant(free) => {
                free.insert(new);
                false
            }
            Entry::Occupied(mut before) => {
                let better = match choice {
                    RowChoice::Last => new.value >= before.get().value,
                    RowChoice::First => new.value < before.get().value,
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
    pub(super) fn take(
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
                self.wrong += 1;
                if self.wrong > self.limits().idle_rows {
                    return Err(IngestError::TooLarge(Limit::IdleRows));
                }
                for mut error in errors {
                    // A column may be named by as much as a row is long.
                    cut(&mut error.pointer, ERROR_LIMIT);
                    // Room for the line.
                    cut(&mut error.detail, ERROR_LIMIT - 32);
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

    pub(super) fn flush(&mut self) -> Result<(), IngestError> {
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

    pub(super) fn finish(mut self) -> Result<Intake, IngestError> {
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
        let noticed = self.noticed.warnings(self.reading.columns.flops_per_param);
        self.intake.warnings.extend(noticed);
        let named = self.intake.recognised.fields.iter().find(|(f, _)| *f == Field::ExternalId);
        if self.reading.columns.source == Some(Tracker::Wandb)
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
