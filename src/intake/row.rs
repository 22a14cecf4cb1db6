//! The cells of one row, and how they become a run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::domain::checks::Checks;
use crate::domain::run::{Brought, TrainingStart};
use crate::domain::submission::{RunFields, sizes_differ};
use crate::domain::text::LABEL_LIMIT;
use crate::intake::column_options::{AbsentFields, Tracker};
use crate::intake::columns::{ColumnTarget, Columns, IdRule, Meaning, escaped, unknown};
use crate::intake::expression::Outcome;
use crate::intake::field::Field;
use crate::intake::finished::Finished;
use crate::intake::naming::{EXACT, NO_TIME, content_id, part_of_name};
use crate::intake::numbers::{self, Decimal};
use crate::intake::value::Value;

/// The cell that a field is read from.
struct Slot<'c, 'v> {
    rank: u8,
    column: &'c str,
    value: Value<'v>,
}

/// The cells of a row, sorted by what they are for.
pub(crate) struct Row<'c, 'v> {
    columns: &'c Columns,
    numbers_in_texts: bool,
    /// Decimal mark of numbers in texts, if known.
    decimal: Option<Decimal>,
    slots: [Option<Slot<'c, 'v>>; Field::ALL.len()],
    /// Cells of further columns for the number of non-zero parameters, which must agree.
    other_sizes: Vec<Slot<'c, 'v>>,
    variables: Vec<Option<Value<'v>>>,
    tags: BTreeMap<String, String>,
    /// Whether the row has a column for a tag, even an empty one.
    brings_tags: bool,
    cut_tags: u32,
    not_taken: Vec<Field>,
    percent: Option<bool>,
    checks: Checks,
}

impl<'c, 'v> Row<'c, 'v> {
    /// A row without cells yet. `texts` says that numbers may come as texts, as in CSV.
    pub(crate) fn new(columns: &'c Columns, texts: bool, decimal: Option<Decimal>) -> Self {
        Self {
            columns,
            numbers_in_texts: texts || columns.declared,
            decimal,
            slots: std::array::from_fn(|_| None),
            other_sizes: Vec::new(),
            variables: vec![None; columns.variables.len()],
            tags: BTreeMap::new(),
            brings_tags: false,
            cut_tags: 0,
            not_taken: Vec::new(),
            percent: None,
            checks: Checks::default(),
        }
    }

    /// Assigns the cell of a column to the fields, tags and variables that are read from it.
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

    /// Records an error in the cell of a column.
    pub(crate) fn refuse(&mut self, column: &str, detail: &str) {
        // A cell that is not used need not be valid.
        if !matches!(self.columns.meaning(column), Meaning::Ignored | Meaning::NotTaken(_)) {
            self.checks.refuse(&escaped(column), detail);
        }
    }

    /// Records an error in a value that contains columns rather than being one.
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
        // Among guessed columns, a parameter whose value is of the wrong kind loses to the others: a parameter called
        // `loss` may be the name of the loss function. A metric does not, since it is the number that is wanted, in a
        // form that cannot be read, and the other column may hold another quantity.
        let may_be_other = field == Field::ExternalId || self.columns.is_parameter(column);
        let rank =
            if may_be_other && self.columns.is_guess(field) && self.is_other_kind(field, &value) {
                rank.saturating_add(Columns::OTHER_KIND)
            } else {
                rank
            };
        // Data frames write NaN for a text without a value. In a number it stays and is refused later, because it is
        // what a run that diverged reports.
        let value = match value {
            Value::Number(number)
                if self.numbers_in_texts && number.is_nan() && !Field::NUMBERS.contains(&field) =>
            {
                Value::Null
            }
            Value::Text(text) if self.columns.is_nan(field, &text) => Value::Null,
            other => other,
        };
        // If a number is missing in the preferred guessed column, it counts as missing: the other column may hold
        // another quantity, such as the training loss of a run that diverged and so has no validation loss.
        let gives_way = !(self.columns.is_guess(field) && Field::NUMBERS.contains(&field));
        let slot = &mut self.slots[field as usize];
        let new = Slot { rank, column, value };
        let lost = match slot {
            Some(before) if before.rank == rank => {
                self.checks.refuse(field.as_str(), "is given twice");
                None
            }
            Some(before) if before.rank < rank && !(gives_way && before.value == Value::Null) => {
                Some(new)
            }
            Some(_) if gives_way && new.value == Value::Null => None,
            _ => slot.replace(new),
        };
        // Both names mean the same size, so whichever is not taken must have the same value. Under one name what was
        // measured comes before what was planned.
        if field == Field::NonzeroParams
            && let Some(lost) = lost
            && lost.value != Value::Null
            && slot.as_ref().is_some_and(|taken| own_name(taken.column) != own_name(lost.column))
            && lost.rank < Columns::OTHER_KIND
        {
            self.other_sizes.push(lost);
        }
    }

    fn is_other_kind(&self, field: Field, value: &Value<'_>) -> bool {
        if field == Field::ExternalId {
            // Nodes of W&B's GraphQL API call their storage key `id`, and the run's id `name`.
            let is_stored = |text: &str| text.starts_with(WANDB_STORAGE_ID);
            return self.columns.source == Some(Tracker::Wandb)
                && matches!(value, Value::Text(text) if is_stored(text));
        }
        if !Field::NUMBERS.contains(&field) {
            return false;
        }
        match value {
            // A number that is not finite is of the right kind, so that it is refused with the proper error.
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
            // Data frames write NaN where there is no value.
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
        // A caller who names columns of a foreign table has no control over the texts in them, so these are cut rather
        // than refused.
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

    /// The rank of the best column of losses that the row has, if the columns are guessed.
    fn loss_rank(&self) -> Option<u8> {
        let slot = self.slots[Field::Loss as usize].as_ref()?;
        let guessed = self.columns.is_guess(Field::Loss) && slot.rank < Columns::OTHER_KIND;
        guessed.then_some(slot.rank)
    }

    /// Records an error in a field, naming its column if that has another name.
    fn refuse_field(&mut self, field: Field, column: &str, detail: &str) {
        let name = field.as_str();
        let mut from = if column == name || column.is_empty() {
            String::new()
        } else {
            format!(" (column {column})")
        };
        if self.columns.is_guess(field) {
            from.push_str(&format!("; map={name}:COLUMN takes another column"));
        }
        self.checks.refuse(name, format!("{detail}{from}"));
    }

    /// Reads a number that every run must have. If a guessed column is empty, the error names it, because the caller
    /// may have meant another one.
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
        let number = self.number_in(field, column, &value)?;
        // A spreadsheet shows 0.5 as 50 %, and a table may hold fractions in spite of what is said about it.
        let of_a_percent = self.columns.percent && number > 0.0 && number < 0.01;
        if field == Field::Sparsity && of_a_percent && self.percent != Some(true) {
            let written = value.describe();
            let detail = format!(
                "must be 0 or at least 1 where sparsities are percentages, as sparsity_unit=percent says: {written} would \
                 be less than 1 %; write 50 for one half, or leave sparsity_unit out if the column holds fractions, not \
                 {written}"
            );
            self.refuse_field(field, column, &detail);
            return None;
        }
        Some(number)
    }

    /// The number of non-zero parameters. Several columns that give it must agree.
    fn nonzero_params(&mut self) -> Option<f64> {
        let field = Field::NonzeroParams;
        let column = self.slots[field as usize].as_ref().map(|slot| slot.column);
        let number = self.number(field)?;
        for other in std::mem::take(&mut self.other_sizes) {
            let size = self.number_in(field, other.column, &other.value)?;
            // A size that is not finite is refused later.
            if sizes_differ(size, number) {
                let taken = column.unwrap_or(field.as_str());
                let detail = format!(
                    "must be the same in the columns {taken} and {}, not {number} and {size}: leave out the one that is \
                     not the number of non-zero parameters, or say which is with map=nonzero_params:COLUMN",
                    other.column
                );
                self.checks.refuse(field.as_str(), detail);
                return None;
            }
        }
        Some(number)
    }

    /// The number in the cell of a field, in the field's unit.
    fn number_in(&mut self, field: Field, column: &str, value: &Value<'_>) -> Option<f64> {
        let factor = self.columns.factors[field as usize];
        match value {
            Value::Number(number) => Some(*number * factor),
            Value::Integer(number) => Some(*number as f64 * factor),
            Value::Text(text) if self.numbers_in_texts => {
                match numbers::read(field, text, self.decimal) {
                    Ok(written) if written.percent => {
                        self.percent = Some(true);
                        Some(written.value)
                    }
                    Ok(written) if written.unit && factor != 1.0 => {
                        let (name, written) = (field.as_str(), value.describe());
                        let detail = format!(
                            "must be a number without a unit where scale={name}:{factor} says what it counts in, not \
                             {written}: leave scale out, or write the column in numbers alone"
                        );
                        self.refuse_field(field, column, &detail);
                        None
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
            // Numbers are accepted as texts, because names may look like numbers.
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
            // In a cell, tags are an object written as JSON. Data frames keep such a text when they are exported to
            // JSON.
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

    /// The value of a variable in an expression.
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

    /// Fills the fields that expressions compute.
    fn compute(&mut self) {
        let columns = self.columns;
        for computed in &columns.computed {
            let field = computed.field;
            // A column with exactly this name takes precedence over reading the name as an expression.
            let exact = computed.exact.and_then(|at| self.variables[at].take());
            let value = if let Some(value) = exact {
                value
            } else {
                if !self.single_values(field.as_str(), &computed.places) {
                    continue;
                }
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

    fn read_number(&self, text: &str) -> Result<f64, String> {
        // Accepts sizes as people write them, such as `125M`, as in a column of counts.
        let written = numbers::read(Field::Data, text, self.decimal);
        written.map(|written| written.value)
    }

    /// Refuses a row that has a list or an object in a column of an expression, which would count as no value there.
    /// Returns whether all columns are fit for one.
    fn single_values(&mut self, subject: &str, places: &[usize]) -> bool {
        let whole = |value: &Value<'_>| matches!(value, Value::List(_) | Value::Object(_));
        let found = places.iter().find_map(|&at| {
            let value = self.variables[at].as_ref().filter(|value| whole(value))?;
            Some((at, value.describe()))
        });
        let Some((at, what)) = found else { return true };
        let column = &self.columns.variables[at];
        let detail = format!("column {column} must be a number, a text, true or false, not {what}");
        self.checks.refuse(subject, detail);
        false
    }

    /// The value that decides which row of a run is kept; `None` if there is none.
    fn kept_by(&mut self, place: usize) -> Option<f64> {
        let value = self.variables[place].as_ref()?;
        let number = match value {
            Value::Null => return None,
            Value::Number(number) => Ok(*number),
            Value::Integer(number) => Ok(*number as f64),
            Value::Text(text) => self.read_number(text),
            _ => Err("must be a number".to_owned()),
        };
        match number {
            // Data frames write NaN where there is no value.
            Ok(number) => (!number.is_nan()).then_some(number),
            Err(needed) => {
                let column = &self.columns.variables[place];
                let detail = format!("column {column} {needed}, not {}", value.describe());
                self.checks.refuse("keep", detail);
                None
            }
        }
    }

    /// Returns the reason why the row is left out, if it is.
    fn left_out(&mut self) -> Option<String> {
        let columns = self.columns;
        let Some(condition) = &columns.condition else {
            return columns.unfinished_are_left_out().then(|| self.unfinished()).flatten();
        };
        if !self.single_values("where", &condition.places) {
            return None;
        }
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

    /// Returns the tracker's column and state if they say that the run did not finish.
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

    /// The run's name, made of the values of columns.
    fn id_of_columns(&mut self, places: &[usize]) -> Option<String> {
        let part =
            |&at: &usize| part_of_name(&self.columns.variables[at], self.variables[at].as_ref());
        let parts: Result<Vec<String>, String> = places.iter().map(part).collect();
        self.checks.take("external_id", parts).map(|parts| parts.join(":"))
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

    /// The optional fields that the row brings: those for which it has a column, even an empty one. An empty exclusion
    /// reason does not count, so that it does not undo an exclusion that somebody decided on.
    fn brought(&self, start: Option<TrainingStart>) -> Brought {
        if self.columns.absent == AbsentFields::Clear {
            return Brought::ALL;
        }
        let has = |field: Field| self.slots[field as usize].is_some();
        let reason = self.slots[Field::ExclusionReason as usize].as_ref();
        // A run trained from scratch has no pretraining data.
        let from_scratch = start == Some(TrainingStart::Scratch);
        Brought::NONE
            .with_if(Brought::START, start.is_some())
            .with_if(Brought::PRETRAINING_DATA, has(Field::PretrainingData) || from_scratch)
            .with_if(Brought::UNIQUE_DATA, has(Field::UniqueData))
            .with_if(Brought::PATTERN, has(Field::Pattern))
            .with_if(Brought::TAGS, has(Field::Tags) || self.brings_tags)
            .with_if(Brought::EXCLUSION, reason.is_some_and(|slot| slot.value != Value::Null))
    }

    /// The training FLOPs. A guessed column is used only if its value is a number.
    fn flops(&mut self) -> Option<f64> {
        let slot = self.slots[Field::Flops as usize].as_ref()?;
        if self.columns.is_guess(Field::Flops) && self.is_other_kind(Field::Flops, &slot.value) {
            return None;
        }
        let flops = self.number(Field::Flops)?;
        if flops.is_finite() && flops > 0.0 {
            return Some(flops);
        }
        // Trackers write 0 if they were not asked to count FLOPs.
        if flops != 0.0 {
            self.checks.refuse("flops", format!("must be a positive number, not {flops}"));
        }
        None
    }

    /// Builds and checks the run. The sources of its fields are included only if `used_wanted` is set.
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
        let loss_rank = self.loss_rank();
        let external_id = match &columns.id {
            IdRule::Field | IdRule::FieldOrContent => self.text(Field::ExternalId),
            IdRule::Columns(places) => self.id_of_columns(places),
            IdRule::Content => None,
        };
        // A name derived from the values is only computed once the values are known to be valid; until then a
        // placeholder stands for it.
        let unnamed = external_id.is_none()
            && matches!(columns.id, IdRule::Content | IdRule::FieldOrContent)
            && !self.checks.has("external_id");
        let external_id = if unnamed { Some("content".to_owned()) } else { external_id };
        let kept_by = columns.keep.as_ref().map(|keep| self.kept_by(keep.place));
        let no_key = kept_by == Some(None) && !self.checks.has("keep");
        let key = external_id.clone().zip(kept_by.flatten());
        let fields = RunFields {
            external_id,
            nonzero_params: self.nonzero_params(),
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
            loss_rank,
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

/// Prefix of W&B's storage keys: `Run:v1:` in base 64.
const WANDB_STORAGE_ID: &str = "UnVuOnYx";

/// The name of a column without the prefix that a tracker gives it.
fn own_name(column: &str) -> &str {
    column.rsplit_once('.').map_or(column, |(_, name)| name)
}

/// The tag that a column holds: NAME for a column called `tags.NAME`.
fn tag_of(column: &str) -> &str {
    column.strip_prefix("tags.").unwrap_or(column)
}

/// States, in lower case, that W&B, MLflow, Optuna and Ray give to runs that did not finish.
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
