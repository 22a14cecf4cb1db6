//! The cells of a row, on their way to a run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::domain::checks::{Checks, FieldError};
use crate::domain::run::{Brought, SubmittedRun, TrainingStart};
use crate::domain::submission::RunFields;
use crate::domain::text::LABEL_LIMIT;
use crate::intake::column_options::{AbsentFields, Tracker};
use crate::intake::columns::{ColumnTarget, Columns, IdRule, Meaning, escaped, unknown};
use crate::intake::expression::Outcome;
use crate::intake::field::Field;
use crate::intake::numbers::{self, Decimal};
use crate::intake::value::Value;

/// What became of a row.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The run, or what is wrong with it.
    pub run: Result<SubmittedRun, Vec<FieldError>>,
    /// Which of the run's optional fields the row brings.
    pub brought: Brought,
    /// Its training FLOPs, where it brings them.
    pub flops: Option<f64>,
    /// Why the row is left out, whatever is in it.
    pub left_out: Option<String>,
    /// Where one row of several of a run is kept: the run, and what decides.
    pub key: Option<(String, f64)>,
    /// Whether its sparsity has a percent sign, where it has one.
    pub percent: Option<bool>,
    /// What its run's tracker says of it, where that is not that it finished.
    pub unfinished: Option<String>,
    /// Tags that were cut to the length of a label.
    pub cut_tags: u32,
    /// Fields that have a column, with a value in it, and are not taken from it.
    pub not_taken: Vec<Field>,
    /// Each field that has a value, and what it came from: a column or an expression.
    pub used: Vec<(Field, String)>,
}

impl Finished {
    /// A row of which nothing is known but what is wrong.
    pub(crate) fn wrong(errors: Vec<FieldError>) -> Self {
        Self {
            run: Err(errors),
            brought: Brought::NONE,
            flops: None,
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

/// A cell that a field may come from.
struct Slot<'c, 'v> {
    rank: u8,
    column: &'c str,
    value: Value<'v>,
}

/// The cells of a row.
pub(crate) struct Row<'c, 'v> {
    columns: &'c Columns,
    numbers_in_texts: bool,
    /// The decimal mark of texts, where it is known.
    decimal: Option<Decimal>,
    slots: [Option<Slot<'c, 'v>>; Field::ALL.len()],
    variables: Vec<Option<Value<'v>>>,
    tags: BTreeMap<String, String>,
    /// Whether the row has a column for tags, whatever is in it.
    brings_tags: bool,
    cut_tags: u32,
    not_taken: Vec<Field>,
    percent: Option<bool>,
    checks: Checks,
}

impl<'c, 'v> Row<'c, 'v> {
    /// A row without cells; `texts` where all its cells are texts.
    pub(crate) fn new(columns: &'c Columns, texts: bool, decimal: Option<Decimal>) -> Self {
        Self {
            columns,
            numbers_in_texts: texts || columns.declared,
            decimal,
            slots: std::array::from_fn(|_| None),
            variables: vec![None; columns.variables.len()],
            tags: BTreeMap::new(),
            brings_tags: false,
            cut_tags: 0,
            not_taken: Vec::new(),
            percent: None,
            checks: Checks::default(),
        }
    }

    /// Puts the cell of a column where it belongs.
    pub(crate) fn put(&mut self, column: &str, value: Value<'v>) {
        let value = match value {
            Value::Text(text) if self.columns.is_null(&text) => Value::Null,
            other => other,
        };
        let columns = self.columns;
        match columns.meaning(column) {
            Meaning::Targets(name, [ColumnTarget::Field(field, rank)]) => {
                self.put_field(*field, *rank, name, value);
            }
            Meaning::Targets(name, targets) => {
                for target in targets {
                    match target {
                        ColumnTarget::Field(field, rank) => {
                            self.put_field(*field, *rank, name, value.clone());
                        }
                        ColumnTarget::Tag => self.put_tag(tag_of(name), value.clone()),
                        ColumnTarget::Variable(at) => self.put_variable(*at, name, value.clone()),
                    }
                }
            }
            Meaning::Tag => self.put_tag(tag_of(column), value),
            Meaning::Ignored => {}
            Meaning::NotTaken(field) => {
                if value != Value::Null {
                    self.not_taken.push(field);
                }
            }
            Meaning::Unknown => self.checks.refuse(&escaped(column), unknown()),
        }
    }

    /// Notes that the cell of a column is wrong.
    pub(crate) fn refuse(&mut self, column: &str, detail: &str) {
        // What is not read need not be right.
        if !matches!(self.columns.meaning(column), Meaning::Ignored | Meaning::NotTaken(_)) {
            self.checks.refuse(&escaped(column), detail);
        }
    }

    /// Notes that something around the columns is wrong.
    pub(crate) fn refuse_whole(&mut self, key: &str, detail: &str) {
        self.checks.refuse(&escaped(key), detail);
    }

    fn put_variable(&mut self, at: usize, column: &str, value: Value<'v>) {
        if self.variables[at].is_some() {
            self.checks.refuse(&escaped(column), "is given twice");
        }
        self.variables[at] = Some(value);
    }

    fn put_field(&mut self, field: Field, rank: u8, column: &'c str, value: Value<'v>) {
        // Of columns that were guessed one whose values are not of the field's kind is none of it: a parameter
        // called `loss` may say which loss is meant.
        let rank = if self.columns.is_guess(field) && self.is_other_kind(field, &value) {
            rank.saturating_add(Columns::OTHER_KIND)
        } else {
            rank
        };
        // How frames say that a text has no value; of a number it is an error, as a run that diverged has one.
        let value = match value {
            Value::Number(number)
                if self.numbers_in_texts && number.is_nan() && !Field::NUMBERS.contains(&field) =>
            {
                Value::Null
            }
            Value::Text(text) if self.columns.is_nan(field, &text) => Value::Null,
            other => other,
        };
        // A number that is missing in the better column is missing: in the other one is another quantity, such as
        // the loss of training where a run that diverged has no loss of validation.
        let gives_way = !(self.columns.is_guess(field) && Field::NUMBERS.contains(&field));
        let slot = &mut self.slots[field as usize];
        match slot {
            Some(before) if before.rank == rank => {
                self.checks.refuse(field.as_str(), "is given twice");
            }
            Some(before) if before.rank < rank && !(gives_way && before.value == Value::Null) => {}
            Some(_) if gives_way && value == Value::Null => {}
            _ => *slot = Some(Slot { rank, column, value }),
        }
    }

    fn is_other_kind(&self, field: Field, value: &Value<'_>) -> bool {
        if field == Field::ExternalId {
            // Nodes of W&B's GraphQL API call the row of their storage `id`, and the run `name`.
            let is_stored = |text: &str| text.starts_with(WANDB_STORAGE_ID);
            return self.columns.source == Some(Tracker::Wandb)
                && matches!(value, Value::Text(text) if is_stored(text));
        }
        if !Field::NUMBERS.contains(&field) {
            return false;
        }
        match value {
            // What is not finite is a number that no run may have, and refused as such.
            Value::Number(_) | Value::Null | Value::Integer(_) => false,
            Value::Text(text) => {
                let is_float = |text: &str| text.trim().parse::<f64>().is_ok();
                numbers::read(field, text, self.decimal).is_err() && !is_float(text)
            }
            Value::Bool(_) | Value::Time(_) | Value::List(_) | Value::Object(_) => true,
        }
    }

    fn put_tag(&mut self, tag: &str, value: Value<'v>) {
        self.brings_tags = true;
        let mut text = match value {
            Value::Null => return,
            Value::Text(text) if text.is_empty() && self.numbers_in_texts => return,
            Value::Text(text) => text.into_owned(),
            Value::Time(text) => text,
            // A frame's way to say that there is no value.
            Value::Number(number) if self.numbers_in_texts && number.is_nan() => return,
            Value::Number(number) if self.numbers_in_texts => number.to_string(),
            Value::Integer(number) if self.numbers_in_texts => number.to_string(),
            Value::Bool(value) if self.numbers_in_texts => value.to_string(),
            other => {
                let pointer = format!("tags/{}", escaped(tag));
                self.checks.refuse(&pointer, format!("must be a text, not {}", other.describe()));
                return;
            }
        };
        // Whoever names columns of somebody else's table does not write what is in them.
        if self.columns.declared && text.chars().count() > LABEL_LIMIT {
            text = text.chars().take(LABEL_LIMIT).collect();
            self.cut_tags += 1;
        }
        if self.tags.insert(tag.to_owned(), text).is_some() {
            self.checks.refuse(&format!("tags/{}", escaped(tag)), "is given twice");
        }
    }

    fn take(&mut self, field: Field) -> Option<(&'c str, Value<'v>)> {
        let Slot { column, value, .. } = self.slots[field as usize].take()?;
        (value != Value::Null).then_some((column, value))
    }

    /// Notes that a field is wrong, and which column it came from where that has another name.
    fn refuse_field(&mut self, field: Field, column: &str, detail: &str) {
        let from = if column == field.as_str() || column.is_empty() {
            String::new()
        } else {
            format!(" (column {column})")
        };
        self.checks.refuse(field.as_str(), format!("{detail}{from}"));
    }

    /// A number that every run has. Where the column that was guessed is empty it is named, as another may be meant.
    fn required_number(&mut self, field: Field) -> Option<f64> {
        let slot = self.slots[field as usize].as_ref();
        let empty = slot.filter(|slot| slot.value == Value::Null && slot.column != field.as_str());
        if let Some(column) = empty.map(|slot| slot.column).filter(|_| self.columns.is_guess(field))
        {
            let name = field.as_str();
            let detail = format!(
                "must be given, and column {column} has no value here: map={name}:COLUMN takes another"
            );
            self.checks.refuse(name, detail);
        }
        self.number(field)
    }

    fn number(&mut self, field: Field) -> Option<f64> {
        let (column, value) = self.take(field)?;
        let factor = self.columns.factors[field as usize];
        match &value {
            Value::Number(number) => Some(*number * factor),
            Value::Integer(number) => Some(*number as f64 * factor),
            Value::Text(text) if self.numbers_in_texts => {
                match numbers::read(field, text, self.decimal) {
                    Ok(written) if written.percent => {
                        self.percent = Some(true);
                        Some(written.value)
                    }
                    Ok(written) => {
                        if field == Field::Sparsity {
                            self.percent = Some(false);
                        }
                        Some(written.value * factor)
                    }
                    Err(detail) => {
                        self.refuse_field(
                            field,
                            column,
                            &format!("{detail}, not {}", value.describe()),
                        );
                        None
                    }
                }
            }
            other => {
                self.refuse_field(
                    field,
                    column,
                    &format!("must be a number, not {}", other.describe()),
                );
                None
            }
        }
    }

    fn text(&mut self, field: Field) -> Option<String> {
        let (column, value) = self.take(field)?;
        match value {
            Value::Text(text) => Some(text.into_owned()),
            // Names that look like numbers.
            Value::Number(number) if self.numbers_in_texts && number.abs() < EXACT => {
                Some(number.to_string())
            }
            Value::Integer(number) if self.numbers_in_texts => Some(number.to_string()),
            Value::Number(number) if self.numbers_in_texts && number.is_finite() => {
                let detail = "has more digits than a number keeps: write it as a text, in quotes";
                self.refuse_field(field, column, detail);
                None
            }
            Value::Time(_) => {
                let detail = format!("must be a text, not {}: {NO_TIME}", value.describe());
                self.refuse_field(field, column, &detail);
                None
            }
            other => {
                self.refuse_field(
                    field,
                    column,
                    &format!("must be a text, not {}", other.describe()),
                );
                None
            }
        }
    }

    fn take_tags(&mut self) {
        let Some((_, value)) = self.take(Field::Tags) else { return };
        let tags = match value {
            Value::Object(entries) => entries,
            // As it stands in a cell, from which frames write it into JSON.
            Value::Text(text) => match serde_json::from_str::<Value<'_>>(&text) {
                Ok(Value::Object(entries)) => entries
                    .into_iter()
                    .map(|(k, v)| (k.into_owned().into(), v.into_owned()))
                    .collect(),
                _ => {
                    self.checks.refuse("tags", "must be a JSON object of texts");
                    return;
                }
            },
            other => {
                let detail = format!("must be an object of texts, not {}", other.describe());
                self.checks.refuse("tags", detail);
                return;
            }
        };
        for (tag, value) in tags {
            self.put_tag(&tag, value);
        }
    }

    /// The value of a variable for an expression.
    fn outcome<'r>(value: Option<&'r Value<'v>>) -> Outcome<'r> {
        match value {
            None | Some(Value::Null | Value::List(_) | Value::Object(_)) => Outcome::Null,
            Some(Value::Bool(value)) => Outcome::Bool(*value),
            Some(Value::Number(number)) => Outcome::Number(*number),
            Some(Value::Integer(number)) => Outcome::Number(*number as f64),
            Some(Value::Text(text)) => Outcome::Text(Cow::Borrowed(text)),
            Some(Value::Time(text)) => Outcome::Text(Cow::Borrowed(text)),
        }
    }

    /// Fills the fields that are computed from columns.
    fn compute(&mut self) {
        let columns = self.columns;
        for computed in &columns.computed {
            let field = computed.field;
            // A column of exactly this name comes before what the name would say as an expression.
            let exact = computed.exact.and_then(|at| self.variables[at].take());
            let value = if let Some(value) = exact {
                value
            } else {
                let variables = &self.variables;
                let cell = |at: usize| Self::outcome(variables[computed.places[at]].as_ref());
                match computed.expression.evaluate(&cell, &|text| self.read_number(text)) {
                    Ok(Outcome::Null) => Value::Null,
                    Ok(Outcome::Number(number)) => Value::Number(number),
                    Ok(Outcome::Text(text)) => Value::Text(Cow::Owned(text.into_owned())),
                    Ok(Outcome::Bool(value)) => Value::Bool(value),
                    Err(error) => {
                        self.checks.refuse(field.as_str(), error.to_string());
                        continue;
                    }
                }
            };
            self.slots[field as usize] = Some(Slot { rank: 0, column: &computed.text, value });
        }
    }

    fn read_number(&self, text: &str) -> Option<f64> {
        // Sizes as people write them, as in a column of counts.
        let written = numbers::read(Field::Data, text, self.decimal);
        written.ok().map(|written| written.value)
    }

    /// Why the row is left out.
    fn left_out(&mut self) -> Option<String> {
        let columns = self.columns;
        let Some(condition) = &columns.condition else {
            return columns.unfinished_are_left_out().then(|| self.unfinished()).flatten();
        };
        let cell = |at: usize| Self::outcome(self.variables[condition.places[at]].as_ref());
        match condition.expression.evaluate(&cell, &|text| self.read_number(text)) {
            Ok(Outcome::Bool(true)) => None,
            Ok(Outcome::Bool(false) | Outcome::Null) => Some("where".to_owned()),
            Ok(Outcome::Text(text)) if text.eq_ignore_ascii_case("true") => None,
            Ok(Outcome::Text(text)) if text.eq_ignore_ascii_case("false") => {
                Some("where".to_owned())
            }
            Ok(Outcome::Number(_) | Outcome::Text(_)) => {
                self.checks.refuse("where", "must be true or false: compare with ==, <, and so on");
                None
            }
            Err(error) => {
                self.checks.refuse("where", error.to_string());
                None
            }
        }
    }

    /// What the run's tracker says of it, where that is not that it finished.
    fn unfinished(&self) -> Option<String> {
        self.columns.states.iter().find_map(|(column, at)| {
            let state = match self.variables[*at].as_ref()? {
                Value::Text(text) => text.to_ascii_lowercase(),
                _ => return None,
            };
            let known = UNFINISHED.contains(&state.as_str());
            known.then(|| format!("{column} is {state}"))
        })
    }

    /// The run's name, where the rule makes one of columns.
    fn id_of_columns(&mut self, places: &[usize]) -> Option<String> {
        let mut parts = Vec::with_capacity(places.len());
        for &at in places {
            let part = match self.variables[at].as_ref() {
                Some(Value::Text(text)) => text.to_string(),
                Some(Value::Integer(number)) => number.to_string(),
                Some(Value::Number(number)) if number.abs() < EXACT => number.to_string(),
                Some(Value::Bool(value)) => value.to_string(),
                Some(Value::Number(_)) => {
                    self.checks.refuse("external_id", "has more digits than a number keeps");
                    return None;
                }
                Some(value @ Value::Time(_)) => {
                    let column = &self.columns.variables[at];
                    let what = value.describe();
                    let detail =
                        format!("must be made of texts, not {what} (column {column}): {NO_TIME}");
                    self.checks.refuse("external_id", detail);
                    return None;
                }
                None | Some(Value::Null | Value::List(_) | Value::Object(_)) => {
                    let column = &self.columns.variables[at];
                    self.checks.refuse("external_id", format!("column {column} has no value"));
                    return None;
                }
            };
            parts.push(part);
        }
        Some(parts.join(":"))
    }

    fn used(&self) -> Vec<(Field, String)> {
        let slots = Field::ALL.into_iter().zip(&self.slots);
        let named = matches!(self.columns.id, IdRule::Field | IdRule::FieldOrContent);
        let slots = slots.filter(|(field, _)| named || *field != Field::ExternalId);
        let given = slots.filter_map(|(field, slot)| {
            let slot = slot.as_ref().filter(|slot| slot.value != Value::Null)?;
            Some((field, slot.column.to_owned()))
        });
        given.collect()
    }

    /// Which of the run's optional fields the row brings: those that it has a column for, whatever is in it. An empty
    /// cell for a reason says nothing, as whoever looked at the run has excluded it.
    fn brought(&self, start: Option<TrainingStart>) -> Brought {
        if self.columns.absent == AbsentFields::Clear {
            return Brought::ALL;
        }
        let has = |field: Field| self.slots[field as usize].is_some();
        let reason = self.slots[Field::ExclusionReason as usize].as_ref();
        // From scratch there is nothing behind a run.
        let from_scratch = start == Some(TrainingStart::Scratch);
        Brought::NONE
            .with_if(Brought::START, start.is_some())
            .with_if(Brought::PRETRAINING_DATA, has(Field::PretrainingData) || from_scratch)
            .with_if(Brought::UNIQUE_DATA, has(Field::UniqueData))
            .with_if(Brought::PATTERN, has(Field::Pattern))
            .with_if(Brought::TAGS, has(Field::Tags) || self.brings_tags)
            .with_if(Brought::EXCLUSION, reason.is_some_and(|slot| slot.value != Value::Null))
    }

    /// The training FLOPs; of a column that was guessed only where it has a number.
    fn flops(&mut self) -> Option<f64> {
        let slot = self.slots[Field::Flops as usize].as_ref()?;
        if self.columns.is_guess(Field::Flops) && self.is_other_kind(Field::Flops, &slot.value) {
            return None;
        }
        let flops = self.number(Field::Flops)?;
        if flops.is_finite() && flops > 0.0 {
            return Some(flops);
        }
        // Counters that were not asked to count say 0.
        if flops != 0.0 {
            self.checks.refuse("flops", format!("must be a positive number, not {flops}"));
        }
        None
    }

    /// The run, checked; with what its fields came from where that is wanted.
    pub(crate) fn finish(mut self, used_wanted: bool) -> Finished {
        let columns = self.columns;
        let left_out = self.left_out();
        let unfinished = if left_out.is_none() { self.unfinished() } else { None };
        self.compute();
        let used = if used_wanted { self.used() } else { Vec::new() };
        let said_start = self.slots[Field::Start as usize].is_some();
        let start = match self.text(Field::Start).as_deref() {
            None | Some("scratch") => TrainingStart::Scratch,
            Some("pretrained") => TrainingStart::Pretrained,
            Some(other) => {
                let detail = format!("must be scratch or pretrained, not {other:?}");
                self.checks.refuse("start", detail);
                TrainingStart::Scratch
            }
        };
        let brought = self.brought(said_start.then_some(start));
        self.take_tags();
        let flops = self.flops();
        let external_id = match &columns.id {
            IdRule::Field | IdRule::FieldOrContent => self.text(Field::ExternalId),
            IdRule::Columns(places) => self.id_of_columns(places),
            IdRule::Content => None,
        };
        // Named by its values once those are known to be right.
        let unnamed = external_id.is_none()
            && matches!(columns.id, IdRule::Content | IdRule::FieldOrContent)
            && !self.checks.has("external_id");
        let external_id = if unnamed { Some("content".to_owned()) } else { external_id };
        let kept_by = columns.keep.as_ref().map(|keep| {
            let value = match self.variables[keep.place].as_ref() {
                Some(Value::Number(number)) => Some(*number),
                Some(Value::Integer(number)) => Some(*number as f64),
                Some(Value::Text(text)) => self.read_number(text),
                _ => None,
            };
            value.filter(|value| !value.is_nan())
        });
        let no_key = kept_by == Some(None);
        let key = external_id.clone().zip(kept_by.flatten());
        let fields = RunFields {
            external_id,
            nonzero_params: self.number(Field::NonzeroParams),
            total_params: self.number(Field::TotalParams),
            sparsity: self.number(Field::Sparsity),
            data: self.required_number(Field::Data),
            loss: self.required_number(Field::Loss),
            start,
            pretraining_data: self.number(Field::PretrainingData),
            unique_data: self.number(Field::UniqueData),
            pattern: self.text(Field::Pattern),
            exclusion_reason: self.text(Field::ExclusionReason),
            tags: self.tags,
        };
        let mut run = fields.check(self.checks);
        if let Ok(run) = &mut run
            && unnamed
        {
            run.external_id = content_id(run);
        }
        let left_out = left_out.or_else(|| {
            let column = &columns.variables[columns.keep.as_ref()?.place];
            no_key.then(|| format!("no value of {column}"))
        });
        Finished {
            run,
            brought,
            flops,
            left_out,
            key,
            percent: self.percent,
            unfinished,
            cut_tags: self.cut_tags,
            not_taken: self.not_taken,
            used,
        }
    }
}

/// How the ids of W&B's storage begin: `Run:v1:`, in base 64.
const WANDB_STORAGE_ID: &str = "UnVuOnYx";

/// What to do where a date stands for a text.
const NO_TIME: &str = "spreadsheets and readers of tables take 2:4 for a time and 3-7-11 for a date, so the column must \
                       be written as text before it is filled";

/// The tag that a column is: NAME of a column `tags.NAME`.
fn tag_of(column: &str) -> &str {
    column.strip_prefix("tags.").unwrap_or(column)
}

/// Below this every whole number is a double of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What trackers call runs that did not come to their end, in small letters: W&B, MLflow, Optuna, Ray.
const UNFINISHED: [&str; 17] = [
    "running",
    "failed",
    "fail",
    "killed",
    "crashed",
    "pruned",
    "deleted",
    "pending",
    "scheduled",
    "paused",
    "preempted",
    "preempting",
    "error",
    "errored",
    "aborted",
    "waiting",
    "terminated_early",
];

/// A name out of the run's own values, so that it is the same whatever stands around it. Of its sizes, data and loss
/// every bit counts.
fn content_id(run: &SubmittedRun) -> String {
    let observation = &run.observation;
    let mut digest = Sha256::new();
    for number in [
        observation.nonzero_params.get(),
        observation.sparsity.get(),
        observation.data.get(),
        observation.loss.get(),
        run.pretraining_data.map_or(0.0, |data| data.get()),
    ] {
        digest.update(number.to_bits().to_be_bytes());
    }
    digest.update(run.start.as_str());
    digest.update([0]);
    digest.update(run.pattern.as_ref().map_or("", |pattern| pattern.as_str()));
    // Names from before runs had it stay.
    if let Some(unique) = run.unique_data {
        digest.update(unique.get().to_bits().to_be_bytes());
    }
    format!("content-{}", hex::encode(&digest.finalize()[..12]))
}
