//! What columns mean: which field of a run each is, for files whose authors chose their own names.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::domain::checks::{Checks, FieldError};
use crate::domain::run::{Start, SubmittedRun};
use crate::domain::submission::RunFields;
use crate::intake::value::Value;

/// A field of a submitted run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// The submitter's name of the run.
    ExternalId,
    /// Non-zero parameters.
    NonzeroParams,
    /// Parameters, zeros included.
    TotalParams,
    /// Fraction of zeros.
    Sparsity,
    /// Data seen in training.
    Data,
    /// Validation loss.
    Loss,
    /// `scratch` or `pretrained`.
    Start,
    /// Data that a pretrained start had seen.
    PretrainingData,
    /// Structured pattern.
    Pattern,
    /// Labels: an object of texts, in a cell as JSON.
    Tags,
    /// Why fits leave the run out.
    ExclusionReason,
}

impl Field {
    /// All fields, in the order in which exports have them.
    pub const ALL: [Self; 11] = [
        Self::ExternalId,
        Self::NonzeroParams,
        Self::TotalParams,
        Self::Sparsity,
        Self::Data,
        Self::Loss,
        Self::Start,
        Self::PretrainingData,
        Self::Pattern,
        Self::Tags,
        Self::ExclusionReason,
    ];

    /// Fields with a number, which may be scaled.
    pub const NUMBERS: [Self; 6] = [
        Self::NonzeroParams,
        Self::TotalParams,
        Self::Sparsity,
        Self::Data,
        Self::Loss,
        Self::PretrainingData,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExternalId => "external_id",
            Self::NonzeroParams => "nonzero_params",
            Self::TotalParams => "total_params",
            Self::Sparsity => "sparsity",
            Self::Data => "data",
            Self::Loss => "loss",
            Self::Start => "start",
            Self::PretrainingData => "pretraining_data",
            Self::Pattern => "pattern",
            Self::Tags => "tags",
            Self::ExclusionReason => "exclusion_reason",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }

    fn list(fields: &[Self]) -> String {
        fields.iter().map(|field| field.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Whose export it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Weights & Biases: columns with and without `config.` and `summary.`, nested objects, or the
    /// answer of its GraphQL API.
    Wandb,
    /// MLflow: the frame of `search_runs` with `params.`, `metrics.` and `tags.`, or the answer of the
    /// REST endpoint of that name.
    Mlflow,
}

impl Source {
    /// Its name in options.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wandb => "wandb",
            Self::Mlflow => "mlflow",
        }
    }

    const fn prefixes(self) -> [&'static str; 2] {
        match self {
            Self::Wandb => ["config.", "summary."],
            Self::Mlflow => ["params.", "metrics."],
        }
    }

    /// Columns that name a run, the best first.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Wandb => &["id", "ID", "name", "Name"],
            Self::Mlflow => &["run_id"],
        }
    }
}

/// What a sparsity is given in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SparsityUnit {
    /// 0 to 1.
    #[default]
    Fraction,
    /// 0 to 100.
    Percent,
}

/// What columns mean, as somebody says it.
#[derive(Debug, Clone, Default)]
pub struct ColumnOptions {
    /// Whose export it is.
    pub source: Option<Source>,
    /// Column of a field, by the field's name.
    pub map: Vec<(String, String)>,
    /// Factor of a number, by the field's name.
    pub scale: Vec<(String, f64)>,
    /// Columns that become tags of the same name.
    pub tag_columns: Vec<String>,
    /// What sparsities are given in.
    pub sparsity_unit: SparsityUnit,
    /// For runs without a name: this, a colon and the row, counted from 1.
    pub fallback_id: Option<String>,
}

/// What a column is for.
#[derive(Debug, Clone, PartialEq)]
enum Target {
    /// A field, from the best of its columns: the lower rank.
    Field(Field, u8),
    Tag,
}

/// What is known of a column.
enum Meaning<'a> {
    Targets(&'a [Target]),
    Tag(&'a str),
    Ignored,
    Unknown,
}

/// Checked meaning of all columns.
#[derive(Debug, Clone)]
pub struct Columns {
    targets: HashMap<String, Vec<Target>>,
    factors: [f64; Field::ALL.len()],
    source: Option<Source>,
    /// Whether somebody said what columns mean: then others are ignored, and texts may be numbers.
    declared: bool,
    fallback_id: Option<String>,
}

impl Default for Columns {
    fn default() -> Self {
        ColumnOptions::default().check().expect("nothing is said that could be wrong")
    }
}

impl ColumnOptions {
    /// Checks names and factors.
    ///
    /// # Errors
    /// What is wrong, under the name of the option.
    pub fn check(self) -> Result<Columns, Vec<FieldError>> {
        let mut checks = Checks::default();
        let mut mapped: HashMap<Field, String> = HashMap::new();
        for (name, column) in self.map {
            match Field::named(&name) {
                None => {
                    let fields = Field::list(&Field::ALL);
                    checks.refuse("map", format!("there is no field {name}: fields are {fields}"));
                }
                Some(_) if column.is_empty() => {
                    checks.refuse("map", format!("{name} needs the name of a column"));
                }
                Some(field) => {
                    if mapped.insert(field, column).is_some() {
                        checks.refuse("map", format!("{name} is given twice"));
                    }
                }
            }
        }
        let mut factors = [1.0; Field::ALL.len()];
        if self.sparsity_unit == SparsityUnit::Percent {
            factors[Field::Sparsity as usize] = 0.01;
        }
        for (name, factor) in self.scale {
            match Field::named(&name).filter(|field| Field::NUMBERS.contains(field)) {
                None => {
                    let numbers = Field::list(&Field::NUMBERS);
                    checks.refuse("scale", format!("{name} is no number: numbers are {numbers}"));
                }
                Some(_) if !(factor.is_finite() && factor > 0.0) => {
                    checks.refuse("scale", format!("{factor} is no positive number"));
                }
                Some(field) => factors[field as usize] *= factor,
            }
        }
        let declared = self.source.is_some() || !mapped.is_empty() || !self.tag_columns.is_empty();
        let mut targets: HashMap<String, Vec<Target>> = HashMap::new();
        for field in Field::ALL {
            for (rank, column) in columns_of(field, &mapped, self.source).into_iter().enumerate() {
                let target = Target::Field(field, u8::try_from(rank).unwrap_or(u8::MAX));
                targets.entry(column).or_default().push(target);
            }
        }
        for column in self.tag_columns {
            targets.entry(column).or_default().push(Target::Tag);
        }
        let columns = Columns {
            targets,
            factors,
            source: self.source,
            declared,
            fallback_id: self.fallback_id,
        };
        checks.finish(Some(columns))
    }
}

/// Columns that a field is looked for in, the best first.
fn columns_of(
    field: Field,
    mapped: &HashMap<Field, String>,
    source: Option<Source>,
) -> Vec<String> {
    if let Some(column) = mapped.get(&field) {
        return vec![column.clone()];
    }
    // Whoever says where one of the two sizes is does not want the other.
    let other = match field {
        Field::NonzeroParams => Some(Field::TotalParams),
        Field::TotalParams => Some(Field::NonzeroParams),
        _ => None,
    };
    if other.is_some_and(|other| mapped.contains_key(&other)) {
        return Vec::new();
    }
    let name = field.as_str();
    let Some(source) = source else { return vec![name.to_owned()] };
    if field == Field::Tags {
        // What these services call tags are lists, or other columns.
        return Vec::new();
    }
    let mut columns = vec![name.to_owned()];
    columns.extend(source.prefixes().map(|prefix| format!("{prefix}{name}")));
    if field == Field::ExternalId {
        columns.extend(source.names().iter().map(|&name| name.to_owned()));
    }
    columns
}

impl Columns {
    /// Where the runs are in the JSON object of an export; nowhere further inside without a source.
    pub(crate) fn path_to_rows(&self) -> &'static [&'static str] {
        match self.source {
            None => &[],
            Some(Source::Mlflow) => &["runs"],
            Some(Source::Wandb) => &["data", "project", "runs", "edges"],
        }
    }

    fn meaning<'a>(&'a self, column: &'a str) -> Meaning<'a> {
        if let Some(targets) = self.targets.get(column) {
            return Meaning::Targets(targets);
        }
        if let Some(tag) = column.strip_prefix("tags.") {
            // MLflow keeps its own notes beside the tags of people.
            let own = self.source == Some(Source::Mlflow) && tag.starts_with("mlflow.");
            return if own { Meaning::Ignored } else { Meaning::Tag(tag) };
        }
        if self.declared { Meaning::Ignored } else { Meaning::Unknown }
    }

    /// Whether a run takes anything from a column.
    #[cfg(feature = "parquet")]
    pub(crate) fn uses(&self, column: &str) -> bool {
        matches!(self.meaning(column), Meaning::Targets(_) | Meaning::Tag(_))
    }

    /// Checks a header: every column is known once, and runs can be made of them.
    pub(crate) fn check_header(&self, header: &[String]) -> Result<(), Vec<FieldError>> {
        /// More would tell nobody more.
        const NAMED: usize = 100;
        let mut checks = Checks::default();
        let mut seen = HashSet::new();
        for column in header {
            if checks.count() >= NAMED {
                break;
            }
            if !seen.insert(column.as_str()) {
                checks.refuse(&escaped(column), "is the name of two columns");
            } else if matches!(self.meaning(column), Meaning::Unknown) {
                checks.refuse(&escaped(column), unknown());
            }
        }
        let mut missing = |fields: &[Field], instead: &str| {
            let wanted = |targets: &[Target]| {
                targets.iter().any(|t| matches!(t, Target::Field(f, _) if fields.contains(f)))
            };
            let found = |name: &String| self.targets.get(name).is_some_and(|t| wanted(t));
            if !header.iter().any(found) {
                let names: Vec<&str> = (self.targets.iter())
                    .filter(|(_, targets)| wanted(targets))
                    .map(|(column, _)| column.as_str())
                    .collect();
                let names = if names.len() == 1 { names[0] } else { fields[0].as_str() };
                checks.refuse(
                    fields[0].as_str(),
                    format!("is missing: there is no column {names}{instead}"),
                );
            }
        };
        if self.fallback_id.is_none() {
            missing(&[Field::ExternalId], "");
        }
        missing(&[Field::NonzeroParams, Field::TotalParams], ", nor total_params in its place");
        for field in [Field::Sparsity, Field::Data, Field::Loss] {
            missing(&[field], "");
        }
        checks.finish(Some(()))
    }

    /// A row to put cells into; `texts` where all its cells are texts.
    pub(crate) fn row<'v>(&self, texts: bool) -> Row<'_, 'v> {
        Row {
            columns: self,
            numbers_in_texts: texts || self.declared,
            slots: std::array::from_fn(|_| None),
            tags: BTreeMap::new(),
            checks: Checks::default(),
        }
    }

    /// Puts the entries of a JSON object into a row. Of an export, nested objects become columns with
    /// their keys joined by dots, as these services themselves name them.
    pub(crate) fn flatten<'v>(
        &self,
        entries: Vec<(Cow<'v, str>, Value<'v>)>,
        row: &mut Row<'_, 'v>,
    ) {
        if !self.declared {
            for (key, value) in entries {
                row.put(&key, value);
            }
            return;
        }
        for (key, value) in entries {
            self.flatten_entry(key.into_owned(), value, row);
        }
    }

    fn flatten_entry<'v>(&self, key: String, value: Value<'v>, row: &mut Row<'_, 'v>) {
        // What lies around the columns.
        const WRAPPERS: [(Source, &str); 4] = [
            (Source::Wandb, "node"),
            (Source::Mlflow, "info"),
            (Source::Mlflow, "data"),
            (Source::Mlflow, "inputs"),
        ];
        let is_wrapper =
            WRAPPERS.into_iter().any(|(of, name)| self.source == Some(of) && name == key);
        match value {
            Value::Object(entries) if is_wrapper => {
                for (key, value) in entries {
                    self.flatten_entry(key.into_owned(), value, row);
                }
            }
            // A column that is wanted as it is, such as tags.
            Value::Object(entries) if !self.targets.contains_key(&key) => {
                // GraphQL's name of the summary, and its wrapping of each config value.
                let prefix = match (self.source, key.as_str()) {
                    (Some(Source::Wandb), "summaryMetrics") => "summary",
                    (_, key) => key,
                };
                for (inner, value) in entries {
                    let value = match (self.source, prefix, value) {
                        (Some(Source::Wandb), "config", Value::Object(entries)) => {
                            unwrapped(entries)
                        }
                        (_, _, value) => value,
                    };
                    self.flatten_entry(format!("{prefix}.{inner}"), value, row);
                }
            }
            Value::List(items) if self.source == Some(Source::Mlflow) => {
                for (inner, value) in items.into_iter().filter_map(key_and_value) {
                    row.put(&format!("{key}.{inner}"), value);
                }
            }
            // GraphQL sends these two as JSON in a text.
            Value::Text(text)
                if self.source == Some(Source::Wandb)
                    && matches!(key.as_str(), "config" | "summaryMetrics" | "summary") =>
            {
                if let Ok(Value::Object(entries)) = serde_json::from_str::<Value<'_>>(&text) {
                    let entries = entries.into_iter().map(|(k, v)| (owned_text(k), owned(v)));
                    self.flatten_entry(key, Value::Object(entries.collect()), row);
                }
            }
            value => row.put(&key, value),
        }
    }
}

/// `{"value": 7, "desc": null}` is 7.
fn unwrapped<'v>(entries: Vec<(Cow<'v, str>, Value<'v>)>) -> Value<'v> {
    match entries.iter().position(|(key, _)| key == "value") {
        Some(at) => entries.into_iter().nth(at).map_or(Value::Null, |(_, value)| value),
        None => Value::Object(entries),
    }
}

/// `{"key": "loss", "value": 2.5}`.
fn key_and_value<'v>(item: Value<'v>) -> Option<(String, Value<'v>)> {
    let Value::Object(entries) = item else { return None };
    let (mut key, mut value) = (None, None);
    for (name, entry) in entries {
        match (&*name, entry) {
            ("key", Value::Text(text)) => key = Some(text.into_owned()),
            ("value", entry) => value = Some(entry),
            _ => {}
        }
    }
    key.zip(value)
}

fn owned_text(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

fn owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Null => Value::Null,
        Value::Bool(value) => Value::Bool(value),
        Value::Number(value) => Value::Number(value),
        Value::Text(text) => Value::Text(owned_text(text)),
        Value::List(items) => Value::List(items.into_iter().map(owned).collect()),
        Value::Object(entries) => Value::Object(
            entries.into_iter().map(|(key, value)| (owned_text(key), owned(value))).collect(),
        ),
    }
}

fn unknown() -> String {
    format!("is no field of a run: fields are {}", Field::list(&Field::ALL))
}

/// A name in a JSON pointer (RFC 6901).
fn escaped(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) {
        Cow::Owned(name.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(name)
    }
}

/// The cells of a row, on their way to a run.
pub(crate) struct Row<'c, 'v> {
    columns: &'c Columns,
    numbers_in_texts: bool,
    slots: [Option<(u8, Value<'v>)>; Field::ALL.len()],
    tags: BTreeMap<String, String>,
    checks: Checks,
}

impl<'v> Row<'_, 'v> {
    /// Puts the cell of a column where it belongs.
    pub(crate) fn put(&mut self, column: &str, value: Value<'v>) {
        match self.columns.meaning(column) {
            Meaning::Targets([Target::Field(field, rank)]) => {
                self.put_field(*field, *rank, value);
            }
            Meaning::Targets(targets) => {
                for target in targets {
                    match target {
                        Target::Field(field, rank) => self.put_field(*field, *rank, value.clone()),
                        Target::Tag => self.put_tag(column, value.clone()),
                    }
                }
            }
            Meaning::Tag(tag) => self.put_tag(tag, value),
            Meaning::Ignored => {}
            Meaning::Unknown => self.checks.refuse(&escaped(column), unknown()),
        }
    }

    /// Notes that the cell of a column is wrong.
    pub(crate) fn refuse(&mut self, column: &str, detail: &str) {
        // What is not read need not be right.
        if !matches!(self.columns.meaning(column), Meaning::Ignored) {
            self.checks.refuse(&escaped(column), detail);
        }
    }

    fn put_field(&mut self, field: Field, rank: u8, value: Value<'v>) {
        let slot = &mut self.slots[field as usize];
        match slot {
            Some((before, _)) if *before == rank => {
                self.checks.refuse(field.as_str(), "is given twice");
            }
            Some((before, old)) if *before < rank && *old != Value::Null => {}
            Some(_) if value == Value::Null => {}
            _ => *slot = Some((rank, value)),
        }
    }

    fn put_tag(&mut self, tag: &str, value: Value<'v>) {
        let text = match value {
            Value::Null => return,
            Value::Text(text) if text.is_empty() && self.numbers_in_texts => return,
            Value::Text(text) => text.into_owned(),
            Value::Number(number) if self.numbers_in_texts => number.to_string(),
            Value::Bool(value) if self.numbers_in_texts => value.to_string(),
            other => {
                let pointer = format!("tags/{}", escaped(tag));
                self.checks.refuse(&pointer, format!("must be a text, not {}", other.describe()));
                return;
            }
        };
        if self.tags.insert(tag.to_owned(), text).is_some() {
            self.checks.refuse(&format!("tags/{}", escaped(tag)), "is given twice");
        }
    }

    fn take(&mut self, field: Field) -> Option<Value<'v>> {
        let (_, value) = self.slots[field as usize].take()?;
        (value != Value::Null).then_some(value)
    }

    fn number(&mut self, field: Field) -> Option<f64> {
        let value = self.take(field)?;
        let number = match &value {
            Value::Number(number) => Some(*number),
            Value::Text(text) if self.numbers_in_texts => text.trim().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            let detail = format!("must be a number, not {}", value.describe());
            self.checks.refuse(field.as_str(), detail);
        }
        number.map(|number| number * self.columns.factors[field as usize])
    }

    fn text(&mut self, field: Field) -> Option<String> {
        match self.take(field)? {
            Value::Text(text) => Some(text.into_owned()),
            // Names that look like numbers.
            Value::Number(number) if self.numbers_in_texts => Some(number.to_string()),
            other => {
                let detail = format!("must be a text, not {}", other.describe());
                self.checks.refuse(field.as_str(), detail);
                None
            }
        }
    }

    fn take_tags(&mut self) {
        let tags = match self.take(Field::Tags) {
            None => return,
            Some(Value::Object(entries)) => entries,
            Some(Value::Text(text)) if self.numbers_in_texts => {
                match serde_json::from_str::<Value<'_>>(&text) {
                    Ok(Value::Object(entries)) => {
                        entries.into_iter().map(|(k, v)| (owned_text(k), owned(v))).collect()
                    }
                    _ => {
                        self.checks.refuse("tags", "must be a JSON object of texts");
                        return;
                    }
                }
            }
            Some(other) => {
                let detail = format!("must be an object of texts, not {}", other.describe());
                self.checks.refuse("tags", detail);
                return;
            }
        };
        for (tag, value) in tags {
            self.put_tag(&tag, value);
        }
    }

    /// The run, checked; `row` counts from 0.
    pub(crate) fn finish(mut self, row: u64) -> Result<SubmittedRun, Vec<FieldError>> {
        self.take_tags();
        let start = match self.text(Field::Start).as_deref() {
            None | Some("scratch") => Start::Scratch,
            Some("pretrained") => Start::Pretrained,
            Some(other) => {
                let detail = format!("must be scratch or pretrained, not {other:?}");
                self.checks.refuse("start", detail);
                Start::Scratch
            }
        };
        let fallback = self.columns.fallback_id.as_ref();
        let fields = RunFields {
            external_id: self
                .text(Field::ExternalId)
                .or_else(|| fallback.map(|stem| format!("{stem}:{}", row + 1))),
            nonzero_params: self.number(Field::NonzeroParams),
            total_params: self.number(Field::TotalParams),
            sparsity: self.number(Field::Sparsity),
            data: self.number(Field::Data),
            loss: self.number(Field::Loss),
            start,
            pretraining_data: self.number(Field::PretrainingData),
            pattern: self.text(Field::Pattern),
            exclusion_reason: self.text(Field::ExclusionReason),
            tags: self.tags,
        };
        fields.check(self.checks)
    }
}
