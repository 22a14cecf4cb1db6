//! The destination of the rows that all format readers produce: runs are passed on in batches, the rest is recorded.

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
use crate::intake::finished::Finished;
use crate::intake::format::Format;
use crate::intake::loss_columns::LossColumns;
use crate::intake::noticed::{IntakeWarning, Noticed};
use crate::intake::numbers::Decimal;
use crate::intake::stop::Stop;
use crate::intake::value::Value;

/// Maximum number of runs in a batch.
const BATCH_ROWS: usize = 1_000;
/// Bytes of input after which a batch ends even if it has fewer runs.
const BATCH_BYTES: usize = 256 * 1024;

/// How an input is read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Format of a single input; each of several inputs has its own.
    pub format: Format,
    /// Compression of a single input.
    pub coding: Coding,
    /// What the columns of the input mean.
    pub columns: Columns,
    /// Limits of the input.
    pub limits: IngestLimits,
    /// Whether to pass on the valid runs even if some rows are wrong. If not, the rows after an error are only checked.
    pub skip_errors: bool,
    /// Signal that ends the reading early.
    pub stop: Stop,
}

/// What was found in an input, besides the runs that were passed on.
#[derive(Debug, Clone, Default)]
pub struct Intake {
    /// Number of rows read.
    pub rows: u64,
    /// Whether the input was a single JSON object rather than a list of rows.
    pub single: bool,
    /// Errors of the rows.
    pub errors: RowErrors,
    /// Number of rows that were left out on purpose, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// How the input was interpreted.
    pub recognised: Recognised,
    /// Oddities of the input that are no reason to refuse it.
    pub warnings: Vec<IntakeWarning>,
}

/// How an input was interpreted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recognised {
    /// Separator between cells, if the input is a CSV table.
    pub separator: Option<Separator>,
    /// Decimal mark, if known.
    pub decimal: Option<Decimal>,
    /// Source of each field in the first valid row: a column or an expression.
    pub fields: Vec<(Field, String)>,
}

/// The destination of the rows that all format readers produce.
pub(super) struct Rows<'a> {
    pub(super) reading: &'a Reading,
    pub(super) hand_on: &'a mut dyn FnMut(Vec<NumberedRun>) -> bool,
    pub(super) batch: Vec<NumberedRun>,
    pub(super) batch_bytes: usize,
    /// Whether any batch was passed on.
    pub(super) handed_on: bool,
    /// Whether runs are still passed on. Once a row is wrong they may only be checked.
    pub(super) wanted: bool,
    /// Decimal mark of the current input, if known.
    pub(super) decimal: Option<Decimal>,
    /// Rows that are kept so far, by the name of their run.
    pub(super) kept: HashMap<String, KeptRow>,
    /// Keys of the first object, and those keys of later ones that options name.
    pub(super) keys: HashSet<String>,
    /// Whether an object was read in the current input.
    pub(super) keyed: bool,
    pub(super) noticed: Noticed,
    pub(super) losses: LossColumns,
    pub(super) intake: Intake,
    /// Number of wrong rows.
    wrong: u64,
}

/// The row that is kept of several rows of the same run.
pub(super) struct KeptRow {
    value: f64,
    row: u64,
    line: Option<u64>,
    taken: Taken,
}

/// The parts of a row that are needed until it is passed on.
pub(super) struct Taken {
    run: Result<SubmittedRun, Vec<FieldError>>,
    brought: Brought,
    flops: Option<f64>,
    loss_rank: Option<u8>,
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
            losses: LossColumns::default(),
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

    /// Number of the next row.
    pub(super) fn next(&self) -> u64 {
        self.intake.rows
    }

    /// Whether the sources of the fields are still to be recorded.
    pub(super) fn wants_used(&self) -> bool {
        self.intake.recognised.fields.is_empty()
    }

    /// Records the keys of an object: those of the first one, and those of later ones that options name. JSON has no
    /// header, so only all objects together show which columns the input has.
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

    /// Takes the next row, which took up this many bytes and started on this line of the input.
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
            loss_rank,
            left_out,
            key,
            percent,
            unfinished,
            cut_tags,
            not_taken,
            used,
        } = finished;
        if let Some(rank) = loss_rank {
            self.see_loss(rank, row)?;
        }
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
        let taken = Taken { run, brought, flops, loss_rank };
        match (&self.columns().keep, key) {
            (Some(keep), Some((id, value))) => {
                let choice = keep.choice;
                self.keep(choice, id, KeptRow { value, row, line, taken });
                Ok(())
            }
            _ => self.take(bytes, row, line, taken),
        }
    }

    /// Notes which column the loss of a row is in, whether the row is taken or not.
    fn see_loss(&mut self, rank: u8, row: u64) -> Result<(), IngestError> {
        let columns = self.columns();
        if self.losses.see(rank, row, columns, &self.intake.errors)? {
            let fields = &mut self.intake.recognised.fields;
            if let Some((_, from)) = fields.iter_mut().find(|(field, _)| *field == Field::Loss) {
                columns.name_of(Field::Loss, rank).clone_into(from);
            }
        }
        Ok(())
    }

    pub(super) fn leave_out(&mut self, reason: String) {
        /// Further reasons are counted together.
        const REASONS: usize = 50;
        let reasons = &mut self.intake.left_out;
        let known = reasons.len() < REASONS || reasons.contains_key(&reason);
        *reasons.entry(if known { reason } else { "other".to_owned() }).or_default() += 1;
    }

    /// Keeps one row per run; if two are equally good, the later one for [`Choice::Last`], the earlier one for
    /// [`Choice::First`].
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

    /// Takes a row that holds a run or errors.
    pub(super) fn take(
        &mut self,
        bytes: usize,
        row: u64,
        line: Option<u64>,
        taken: Taken,
    ) -> Result<(), IngestError> {
        let Taken { mut run, brought, flops, loss_rank } = taken;
        if run.is_ok()
            && let Some(rank) = loss_rank
            && let Err(error) =
                self.losses.take(rank, row, &self.reading.columns, &self.intake.errors)
        {
            run = Err(vec![error]);
        }
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
                    // The name of a column can be as long as the row.
                    cut(&mut error.pointer, ERROR_LIMIT);
                    // Leaves room for the line number.
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
        // Nothing will be stored; the remaining rows are read only to report further errors.
        self.wanted = false;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Intake, IngestError> {
        let mut kept: Vec<_> = std::mem::take(&mut self.kept).into_values().collect();
        kept.sort_unstable_by_key(|kept| kept.row);
        for KeptRow { row, line, taken, .. } in kept {
            self.take(0, row, line, taken)?;
        }
        // If all runs fit into one batch, it is passed on even with errors, so that repeated rows are reported along
        // with the other errors.
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
