//! The meaning of columns: which field of a run each column holds, for files whose authors chose their own names.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use sparsity_law::law::FlopsPerParam;
use sparsity_law::named;

use crate::domain::checks::{Checks, FieldError};
use crate::intake::dialect::Separator;
use crate::intake::expression::Expression;
use crate::intake::field::{ACTIVE_PARAMS, Field};
use crate::intake::numbers::Decimal;
use crate::intake::value::Value;

named! {
    /// The tracker that exported a table.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Source {
        /// Weights & Biases: columns with or without the prefixes `config.` and `summary.`, nested objects, or the
        /// answer of its GraphQL API.
        Wandb = "wandb",
        /// MLflow: the data frame of `search_runs` with the prefixes `params.`, `metrics.` and `tags.`, or the answer
        /// of the REST endpoint of the same name.
        Mlflow = "mlflow",
    }
}

impl Source {
    const fn prefixes(self) -> [&'static str; 2] {
        match self {
            Self::Wandb => ["summary.", "config."],
            Self::Mlflow => ["metrics.", "params."],
        }
    }

    /// Columns of the tracker's export that name a run, best first.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Wandb => &["id", "ID", "name", "Name"],
            Self::Mlflow => &["run_id"],
        }
    }
}

/// The unit of a sparsity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SparsityUnit {
    /// A fraction, from 0 to 1.
    #[default]
    Fraction,
    /// A percentage, from 0 to 100.
    Percent,
}

/// Where the name of a run comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdOption {
    /// The values of these columns, joined by colons.
    Columns(Vec<String>),
    /// A hash of the run's own values.
    Content,
    /// The field `external_id` if the row has one, otherwise a hash of the run's own values: for runs that are not
    /// stored.
    FieldOrContent,
}

/// Which one of several rows of the same run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The row with the largest value in the deciding column.
    Last,
    /// The row with the smallest value in the deciding column.
    First,
}

/// What happens to the optional fields of a stored run for which a new row has no column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AbsentFields {
    /// The stored values stay.
    #[default]
    Keep,
    /// The stored values are cleared.
    Clear,
}

/// What the caller says about the columns of an input.
#[derive(Debug, Clone, Default)]
pub struct ColumnOptions {
    /// The tracker that exported the table.
    pub source: Option<Source>,
    /// Source of each field, by the field's name: a column, or an expression over columns.
    pub map: Vec<(String, String)>,
    /// Factor by which a number is multiplied, by the field's name.
    pub scale: Vec<(String, f64)>,
    /// Columns that become tags of the same names.
    pub tag_columns: Vec<String>,
    /// Unit of the sparsities.
    pub sparsity_unit: SparsityUnit,
    /// Where run names come from, if not from the field `external_id`.
    pub id: Option<IdOption>,
    /// Condition that a row must meet to be read as a run; other rows are left out.
    pub condition: Option<String>,
    /// Which one of several rows of the same run is kept, and the column that decides.
    pub keep: Option<(Choice, String)>,
    /// Separator between cells; detected from the header if `None`.
    pub separator: Option<Separator>,
    /// Decimal mark. If `None`, a comma is a decimal mark in tables whose separator is not a comma.
    pub decimal: Option<Decimal>,
    /// Texts that mean "no value", replacing the default list.
    pub nulls: Option<Vec<String>>,
    /// Sheet of a workbook; if `None`, the only visible sheet with cells.
    pub sheet: Option<String>,
    /// What happens to optional fields for which a row has no column.
    pub absent: AbsentFields,
}

/// What the cells of a column are used for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// The value of a field. If several columns could give it, the one with the lowest rank wins.
    Field(Field, u8),
    Tag,
    /// A variable that an expression, a run's name or a condition reads, as an index into [`Columns::variables`].
    Variable(usize),
}

/// How a column of an input is treated.
pub(crate) enum Meaning<'a> {
    /// Used: the column's name as [`Columns`] stores it, and what the column is used for.
    Targets(&'a str, &'a [Target]),
    /// A tag, named by the part of the column's name after `tags.`.
    Tag,
    Ignored,
    /// Not used, although it has the name of a field: the field comes from another column, or from none.
    NotTaken(Field),
    Unknown,
}

/// A field computed by an expression.
#[derive(Debug, Clone)]
pub(crate) struct Computed {
    pub field: Field,
    /// The expression as the caller wrote it.
    pub text: String,
    pub expression: Expression,
    /// Index of each of the expression's columns in [`Columns::variables`].
    pub places: Vec<usize>,
    /// Index of the column whose name is exactly `text`, if `text` could be a column's name.
    pub exact: Option<usize>,
}

/// A condition, with the index of each of its columns in [`Columns::variables`].
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub expression: Expression,
    pub places: Vec<usize>,
}

/// Which row of a run is kept, and the index of the deciding column in [`Columns::variables`].
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    pub choice: Choice,
    pub place: usize,
}

/// Where the name of a run comes from, after checking.
#[derive(Debug, Clone)]
pub(crate) enum IdRule {
    Field,
    Columns(Vec<usize>),
    Content,
    FieldOrContent,
}

/// The checked meaning of all columns.
#[derive(Debug, Clone)]
pub struct Columns {
    pub(crate) targets: HashMap<String, Vec<Target>>,
    pub(crate) factors: [f64; Field::ALL.len()],
    pub(crate) source: Option<Source>,
    /// Whether the caller said what any columns mean. If so, unknown columns are ignored, and texts are read as numbers
    /// where a field needs a number.
    pub(crate) declared: bool,
    /// Fields that the caller mapped to a column or an expression.
    mapped: HashSet<Field>,
    /// Columns that expressions, run names and conditions read.
    pub(crate) variables: Vec<String>,
    pub(crate) computed: Vec<Computed>,
    pub(crate) condition: Option<Condition>,
    pub(crate) id: IdRule,
    pub(crate) keep: Option<Keep>,
    /// Columns in which trackers record whether a run finished, with their indices in `variables`.
    pub(crate) states: Vec<(&'static str, usize)>,
    /// Columns that options name: the option, and groups of columns. The input must have every column of at least one
    /// of the groups.
    required: Vec<(&'static str, Vec<Vec<String>>)>,
    pub(crate) separator: Option<Separator>,
    pub(crate) decimal: Option<Decimal>,
    nulls: Option<Vec<String>>,
    #[cfg(feature = "xlsx")]
    pub(crate) sheet: Option<String>,
    pub(crate) absent: AbsentFields,
    /// Fields that the caller gave a scale factor.
    scaled: HashSet<Field>,
    /// Training FLOPs per parameter and per unit of data.
    pub(crate) flops_per_param: f64,
}

/// Columns in which trackers record whether a run finished.
const STATES: [&str; 5] = ["State", "state", "status", "lifecycle_stage", "info.status"];

/// Texts that mean "no value" by default, as written by R, pandas, MLflow, spreadsheets and databases.
const NULLS: [&str; 14] = [
    "", "NA", "N/A", "n/a", "#N/A", "<NA>", "None", "none", "null", "NULL", "Null", "nil", "-",
    "--",
];

impl Default for Columns {
    fn default() -> Self {
        ColumnOptions::default().check().expect("nothing is said that could be wrong")
    }
}

impl ColumnOptions {
    /// Checks the options: names of fields, expressions, factors, and options that exclude each other.
    ///
    /// # Errors
    /// Everything that is wrong, each under the name of the option.
    pub fn check(self) -> Result<Columns, Vec<FieldError>> {
        let mut checks = Checks::default();
        let mut mapped: HashMap<Field, String> = HashMap::new();
        let mut variables = Variables::default();
        let mut computed = Vec::new();
        let mut required = Vec::new();
        for (name, text) in self.map {
            let Some(field) = Field::named(&name) else {
                let fields = Field::list(&Field::ALL);
                checks.refuse("map", format!("there is no field {name}: fields are {fields}"));
                continue;
            };
            let text = text.trim().to_owned();
            if text.is_empty() {
                checks
                    .refuse("map", format!("{name} needs the name of a column, or an expression"));
                continue;
            }
            if mapped.contains_key(&field) {
                checks.refuse("map", format!("{name} is given twice"));
                continue;
            }
            let exact = text.clone();
            match Expression::parse(&text) {
                Ok(expression) => match expression.as_column() {
                    Some(column) => {
                        required.push(("map", vec![vec![column.to_owned()]]));
                        mapped.insert(field, column.to_owned());
                    }
                    None => {
                        let places = variables.places(expression.columns());
                        // A text without quotes, such as `val-loss`, may also be the name of a column.
                        let may_be_name = !text.contains(['\'', '"', '`', '('])
                            && !expression.columns().is_empty();
                        let exact = may_be_name.then(|| variables.place(&exact));
                        let mut groups = vec![expression.columns().to_vec()];
                        groups.extend(exact.map(|_| vec![text.clone()]));
                        required.push(("map", groups));
                        // An empty name matches no column, so the field has no other source.
                        mapped.insert(field, String::new());
                        computed.push(Computed { field, text, expression, places, exact });
                    }
                },
                // Not an expression. A text with one of these characters was meant as one; any other text is the name
                // of a column.
                Err(error) if text.contains(['*', '(', '\'', '"', '`', '=', '<', '>']) => {
                    checks.refuse("map", format!("{name}: the expression {text} {error}"));
                }
                Err(_) => {
                    required.push(("map", vec![vec![text.clone()]]));
                    mapped.insert(field, text);
                }
            }
        }
        let condition = self.condition.and_then(|text| {
            let expression = checks.take("where", Expression::parse(&text))?;
            required.push(("where", vec![expression.columns().to_vec()]));
            let places = variables.places(expression.columns());
            Some(Condition { expression, places })
        });
        let id = match self.id {
            None => IdRule::Field,
            Some(IdOption::Content) => IdRule::Content,
            Some(IdOption::FieldOrContent) => IdRule::FieldOrContent,
            Some(IdOption::Columns(columns)) => {
                if columns.is_empty() || columns.iter().any(String::is_empty) {
                    checks.refuse("id", "must be the names of columns, or content");
                }
                required.push(("id", vec![columns.clone()]));
                IdRule::Columns(variables.places(&columns))
            }
        };
        if matches!(id, IdRule::Content | IdRule::Columns(_))
            && mapped.contains_key(&Field::ExternalId)
        {
            checks
                .refuse("id", "must not be given beside a mapping of external_id: both name runs");
        }
        let keep = self.keep.map(|(choice, column)| {
            if matches!(id, IdRule::Content) {
                let detail = "needs names that several rows share, and id=content gives each row another: say \
                              id=COLUMN";
                checks.refuse("keep", detail);
            }
            required.push(("keep", vec![vec![column.clone()]]));
            Keep { choice, place: variables.place(&column) }
        });
        let mut scaled = HashSet::new();
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
                Some(field) => {
                    factors[field as usize] *= factor;
                    scaled.insert(field);
                }
            }
        }
        let declared = self.source.is_some()
            || !mapped.is_empty()
            || !self.tag_columns.is_empty()
            || condition.is_some()
            || keep.is_some()
            || matches!(id, IdRule::Content | IdRule::Columns(_));
        let states = if declared && condition.is_none() {
            STATES.into_iter().map(|column| (column, variables.place(column))).collect()
        } else {
            Vec::new()
        };
        let mut targets: HashMap<String, Vec<Target>> = HashMap::new();
        for field in Field::ALL {
            for (rank, column) in
                columns_of(field, &mapped, self.source, declared).into_iter().enumerate()
            {
                let target = Target::Field(field, u8::try_from(rank).unwrap_or(u8::MAX));
                targets.entry(column).or_default().push(target);
            }
        }
        for column in self.tag_columns {
            required.push(("tag_columns", vec![vec![column.clone()]]));
            targets.entry(column).or_default().push(Target::Tag);
        }
        for (at, column) in variables.names.iter().enumerate() {
            targets.entry(column.clone()).or_default().push(Target::Variable(at));
        }
        let columns = Columns {
            targets,
            factors,
            source: self.source,
            declared,
            mapped: mapped.into_keys().collect(),
            variables: variables.names,
            computed,
            condition,
            id,
            keep,
            states,
            required,
            separator: self.separator,
            decimal: self.decimal,
            nulls: self.nulls,
            #[cfg(feature = "xlsx")]
            sheet: self.sheet,
            absent: self.absent,
            scaled,
            flops_per_param: FlopsPerParam::TRAINING.get(),
        };
        checks.finish(Some(columns))
    }
}

/// The distinct columns that expressions, run names and conditions read.
#[derive(Default)]
struct Variables {
    names: Vec<String>,
}

impl Variables {
    fn place(&mut self, column: &str) -> usize {
        self.names.iter().position(|known| known == column).unwrap_or_else(|| {
            self.names.push(column.to_owned());
            self.names.len() - 1
        })
    }

    fn places(&mut self, columns: &[String]) -> Vec<usize> {
        columns.iter().map(|column| self.place(column)).collect()
    }
}

/// Last words of the names of columns that count training progress in a unit other than tokens.
const OTHER_UNITS: [&str; 12] = [
    "step",
    "steps",
    "iter",
    "iters",
    "iteration",
    "iterations",
    "sample",
    "samples",
    "example",
    "examples",
    "epoch",
    "epochs",
];

/// Names that tools use for a validation loss, best first.
const LOSSES: [&str; 6] =
    ["val_loss", "eval_loss", "validation_loss", "eval/loss", "val/loss", "loss"];

/// Names that tools use for the FLOPs of a training run, best first.
const FLOPS: [&str; 5] = ["flops", "total_flos", "total_flops", "train_flops", "training_flops"];

/// Names of the number of non-zero parameters, best first.
const SIZES: [&str; 2] = ["nonzero_params", ACTIVE_PARAMS];

/// Default names of a field's column. `foreign` adds the names that other tools use.
fn usual_names(field: Field, foreign: bool) -> &'static [&'static str] {
    match field {
        Field::Loss if foreign => &LOSSES,
        Field::Flops if foreign => &FLOPS,
        Field::NonzeroParams => &SIZES,
        field => field.name(),
    }
}

/// The columns in which a field is looked for, best first.
fn columns_of(
    field: Field,
    mapped: &HashMap<Field, String>,
    source: Option<Source>,
    declared: bool,
) -> Vec<String> {
    match mapped.get(&field) {
        // The field is computed by an expression.
        Some(column) if column.is_empty() => return Vec::new(),
        Some(column) => return vec![column.clone()],
        None => {}
    }
    // A caller who maps one of the two sizes does not want the other one read as well.
    let other = match field {
        Field::NonzeroParams => Some(Field::TotalParams),
        Field::TotalParams => Some(Field::NonzeroParams),
        _ => None,
    };
    if other.is_some_and(|other| mapped.contains_key(&other)) {
        return Vec::new();
    }
    // In tables that other tools wrote, a column of validation losses is preferred to `loss`, which may be the training
    // loss.
    let names = usual_names(field, declared);
    let Some(source) = source else {
        return names.iter().map(|&name| name.to_owned()).collect();
    };
    if field == Field::Tags {
        // What these trackers call tags is a list, or is spread over other columns.
        return Vec::new();
    }
    let mut columns = Vec::new();
    for name in names {
        columns.push((*name).to_owned());
        columns.extend(source.prefixes().map(|prefix| format!("{prefix}{name}")));
    }
    if field == Field::ExternalId {
        columns.extend(source.names().iter().map(|&name| name.to_owned()));
    }
    columns
}

impl Columns {
    /// Keys that lead to the list of runs in an exported JSON object; empty without a source.
    pub(crate) fn path_to_rows(&self) -> &'static [&'static str] {
        match self.source {
            None => &[],
            Some(Source::Mlflow) => &["runs"],
            Some(Source::Wandb) => &["data", "project", "runs", "edges"],
        }
    }

    /// Added to the rank of a column whose value is not of the kind that the field needs.
    pub(crate) const OTHER_KIND: u8 = 100;

    pub(crate) fn meaning(&self, column: &str) -> Meaning<'_> {
        if let Some((name, targets)) = self.targets.get_key_value(column) {
            return Meaning::Targets(name, targets);
        }
        if column.starts_with("tags.") {
            // MLflow's tags are its own notes and those of whoever logged the run, so a tag must be asked for by name.
            let wanted = self.source != Some(Source::Mlflow);
            return if wanted { Meaning::Tag } else { Meaning::Ignored };
        }
        // The column has the name of a field that is read from elsewhere or not at all; if it has values, that is worth
        // a warning.
        if self.declared
            && let Some(field) = Field::named(column)
        {
            return Meaning::NotTaken(field);
        }
        // The service itself writes these columns when it lists runs, and does not read them back.
        if self.declared || READ_ONLY.contains(&column) {
            Meaning::Ignored
        } else {
            Meaning::Unknown
        }
    }

    /// Whether the columns of a field were guessed rather than mapped by the caller.
    pub(crate) fn is_guess(&self, field: Field) -> bool {
        let guessed =
            self.source.is_some() || (self.declared && matches!(field, Field::Loss | Field::Flops));
        guessed && !self.mapped.contains(&field)
    }

    /// Whether a text means "no value".
    pub(crate) fn is_null(&self, text: &str) -> bool {
        match &self.nulls {
            Some(nulls) => nulls.iter().any(|null| null == text),
            // Most cells are longer than any of these texts.
            None => text.len() <= 4 && NULLS.contains(&text),
        }
    }

    /// Whether a text means "no value" in a field that is not a number, as data frames and trackers write it.
    pub(crate) fn is_nan(&self, field: Field, text: &str) -> bool {
        self.nulls.is_none() && !Field::NUMBERS.contains(&field) && matches!(text, "NaN" | "nan")
    }

    /// Whether rows of runs that did not finish, according to their tracker, are left out. This is the default if the
    /// source is known and the caller gave no condition.
    pub(crate) fn unfinished_are_left_out(&self) -> bool {
        self.source.is_some() && self.condition.is_none()
    }

    /// Returns the same columns for a family that counts this many FLOPs per parameter and unit of data.
    #[must_use]
    pub fn with_flops_per_param(self, flops_per_param: FlopsPerParam) -> Self {
        Self { flops_per_param: flops_per_param.get(), ..self }
    }

    /// Refuses data whose column is counted in a unit other than the family's, judging by the column's name.
    ///
    /// # Errors
    /// An error that asks for the scale factor of the data.
    pub fn check_unit(&self, unit: &str) -> Result<(), Vec<FieldError>> {
        if self.scaled.contains(&Field::Data) {
            return Ok(());
        }
        let of_data =
            |targets: &[Target]| targets.iter().any(|t| matches!(t, Target::Field(Field::Data, _)));
        let columns = self.targets.iter().filter(|(_, targets)| of_data(targets));
        let counted = columns.map(|(column, _)| column).find(|column| {
            let last =
                column.rsplit(['.', '/', '_', ' ']).next().unwrap_or_default().to_lowercase();
            let one = |word: &str| word.trim_end_matches('s').to_owned();
            OTHER_UNITS.contains(&last.as_str()) && one(&last) != one(&unit.to_lowercase())
        });
        let Some(column) = counted else { return Ok(()) };
        let detail = format!(
            "data is taken from {column}, and the family counts {unit}: say how many of these one is, \
             scale=data:NUMBER, or 1 where they are the same"
        );
        Err(vec![FieldError { pointer: "/map".to_owned(), detail }])
    }

    /// Whether any field, variable or tag is read from this column.
    pub(crate) fn uses(&self, column: &str) -> bool {
        matches!(self.meaning(column), Meaning::Targets(..) | Meaning::Tag)
    }

    /// Whether an option or a field names exactly this column, so that an object in it is not split into columns.
    pub(crate) fn is_target(&self, column: &str) -> bool {
        self.targets.contains_key(column)
    }

    /// Checks a header: every column is known and occurs once, and every required field has a source. `open` names the
    /// columns whose keys may differ from row to row.
    pub(crate) fn check_header(
        &self,
        header: &[String],
        open: &[String],
    ) -> Result<(), Vec<FieldError>> {
        /// More errors than this would not help anybody.
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
                if column.is_empty() {
                    checks.refuse("", NO_NAME);
                } else {
                    checks.refuse(&escaped(column), unknown());
                }
            }
        }
        self.check_required(&seen, open, &mut checks);
        let mut missing = |fields: &[Field], instead: &str| {
            if self.computed.iter().any(|computed| fields.contains(&computed.field)) {
                return;
            }
            let wanted = |targets: &[Target]| {
                targets.iter().any(|t| matches!(t, Target::Field(f, _) if fields.contains(f)))
            };
            let found = |name: &String| self.targets.get(name).is_some_and(|t| wanted(t));
            let below = |name: &String| inside(name, open) && found(name);
            if !header.iter().any(found) && !self.targets.keys().any(below) {
                let names: Vec<&str> = (self.targets.iter())
                    .filter(|(_, targets)| wanted(targets))
                    .map(|(column, _)| column.as_str())
                    .collect();
                let names = if names.len() == 1 { names[0] } else { fields[0].as_str() };
                // Spreadsheets and people write names with capital letters and spaces.
                let alike = header.iter().find(|column| letters(column) == letters(names));
                let alike = alike.map(|column| {
                    format!(
                        "; there is {column}, which map={}:`{column}` takes",
                        fields[0].as_str()
                    )
                });
                let detail = format!(
                    "is missing: there is no column {names}{instead}{}",
                    alike.unwrap_or_default()
                );
                checks.refuse(fields[0].as_str(), detail);
            }
        };
        if matches!(self.id, IdRule::Field) {
            let instead = "; id=COLUMN[,COLUMN] takes names from other columns, id=content from the run's own values";
            missing(&[Field::ExternalId], instead);
        }
        missing(&[Field::NonzeroParams, Field::TotalParams], ", nor total_params in its place");
        // The two sizes together give the sparsity.
        let has = |field: Field| {
            let is = |targets: &[Target]| {
                targets.iter().any(|t| matches!(t, Target::Field(f, _) if *f == field))
            };
            self.computed.iter().any(|computed| computed.field == field)
                || header.iter().any(|name| self.targets.get(name).is_some_and(|t| is(t)))
        };
        if !(has(Field::NonzeroParams) && has(Field::TotalParams)) {
            missing(&[Field::Sparsity], ", nor are both nonzero_params and total_params there");
        }
        for field in [Field::Data, Field::Loss] {
            missing(&[field], "");
        }
        checks.finish(Some(()))
    }

    /// Refuses options that name columns which the input does not have.
    pub(crate) fn check_required(
        &self,
        present: &HashSet<&str>,
        open: &[String],
        checks: &mut Checks,
    ) {
        for (option, groups) in &self.required {
            let is_there =
                |column: &&String| present.contains(column.as_str()) || inside(column, open);
            let absent =
                |group: &Vec<String>| group.iter().find(|column| !is_there(column)).cloned();
            let absent: Option<Vec<String>> = groups.iter().map(absent).collect();
            // `None`: at least one group is complete.
            let Some(absent) = absent else { continue };
            let Some(column) = absent.first() else { continue };
            let nearest = nearest(column, present);
            checks.refuse(option, format!("there is no column {column}; there are {nearest}"));
        }
    }

    /// Adds to `found` each column that options name and that this object has, at any depth.
    pub(crate) fn note_named(
        &self,
        entries: &[(Cow<'_, str>, Value<'_>)],
        found: &mut HashSet<String>,
    ) {
        fn has(entries: &[(Cow<'_, str>, Value<'_>)], name: &str) -> bool {
            entries.iter().any(|(key, value)| match (name.strip_prefix(&**key), value) {
                (Some(""), _) => true,
                (Some(rest), Value::Object(inner)) => {
                    rest.strip_prefix('.').is_some_and(|rest| has(inner, rest))
                }
                _ => false,
            })
        }
        let named = self.required.iter().flat_map(|(_, groups)| groups.iter().flatten());
        for name in named {
            if !found.contains(name) && has(entries, name) {
                found.insert(name.clone());
            }
        }
    }

    /// Whether objects are flattened by the rules of a tracker's export, so that their keys are not column names.
    pub(crate) fn flattens_exports(&self) -> bool {
        self.source.is_some()
    }

    /// Whether any option names a column.
    pub(crate) fn names_any(&self) -> bool {
        self.required.iter().any(|(_, groups)| groups.iter().any(|group| !group.is_empty()))
    }
}

/// Whether a column is a key inside one of the columns in `open`.
fn inside(column: &str, open: &[String]) -> bool {
    let below =
        |outer: &String| column.strip_prefix(outer.as_str()).is_some_and(|k| k.starts_with('.'));
    open.iter().any(below)
}

/// Columns that the service adds when it lists runs, and ignores when it reads them.
const READ_ONLY: [&str; 4] = ["id", "excluded", "created_at", "updated_at"];

/// The error for a column that has no name.
const NO_NAME: &str = "is a column without a name, as pandas writes the index of a frame and spreadsheets an empty column: \
                       write the table without it (index=False), or say where a field comes from (map=FIELD:COLUMN), \
                       which leaves out columns that mean nothing";

/// The letters and digits of a name, in lower case.
fn letters(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Names of existing columns, most similar first, as many as fit into a message.
fn nearest(column: &str, present: &HashSet<&str>) -> String {
    const SHOWN: usize = 12;
    let lower = column.to_lowercase();
    let mut names: Vec<_> = present.iter().copied().collect();
    names.sort_by_cached_key(|name| {
        let other = name.to_lowercase();
        let inside = other.contains(&lower) || lower.contains(&other);
        let distance = strsim::normalized_damerau_levenshtein(&lower, &other);
        // A larger value is nearer; thousandths are precise enough for sorting.
        (std::cmp::Reverse((distance * 1e3) as u32 + if inside { 500 } else { 0 }), *name)
    });
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

pub(crate) fn unknown() -> String {
    format!("is no field of a run: fields are {}", Field::list(&Field::ALL))
}

/// Escapes a name for use in a JSON pointer (RFC 6901).
pub(crate) fn escaped(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) {
        Cow::Owned(name.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(name)
    }
}
