//! What columns mean: which field of a run each is, for files whose authors chose their own names.

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
    /// Whose export it is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Source {
        /// Weights & Biases: columns with and without `config.` and `summary.`, nested objects, or the
        /// answer of its GraphQL API.
        Wandb = "wandb",
        /// MLflow: the frame of `search_runs` with `params.`, `metrics.` and `tags.`, or the answer of the
        /// REST endpoint of that name.
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

/// What makes the name of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdOption {
    /// These columns, joined by colons.
    Columns(Vec<String>),
    /// The run's own values.
    Content,
    /// The field `external_id` where a row has it, else the run's own values: for what is not stored.
    FieldOrContent,
}

/// Which of several rows of one run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// That with the largest value.
    Last,
    /// That with the smallest value.
    First,
}

/// What becomes of the optional fields that a row does not bring, of a run that is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AbsentFields {
    /// They stay as they are.
    #[default]
    Keep,
    /// They are empty then.
    Clear,
}

/// What columns mean, as somebody says it.
#[derive(Debug, Clone, Default)]
pub struct ColumnOptions {
    /// Whose export it is.
    pub source: Option<Source>,
    /// Where a field comes from, by the field's name: a column, or an expression over columns.
    pub map: Vec<(String, String)>,
    /// Factor of a number, by the field's name.
    pub scale: Vec<(String, f64)>,
    /// Columns that become tags of the same name.
    pub tag_columns: Vec<String>,
    /// What sparsities are given in.
    pub sparsity_unit: SparsityUnit,
    /// What makes the name of a run, where it is not the field `external_id`.
    pub id: Option<IdOption>,
    /// A condition for rows that are runs; the others are left out.
    pub condition: Option<String>,
    /// Which of several rows of one run is kept, and the column that decides.
    pub keep: Option<(Choice, String)>,
    /// What stands between cells; found from the header unless said.
    pub separator: Option<Separator>,
    /// The decimal mark; a comma in a table separated by semicolons or tabs unless said.
    pub decimal: Option<Decimal>,
    /// Texts that mean "no value", in place of the usual ones.
    pub nulls: Option<Vec<String>>,
    /// The sheet of a workbook; the only one with cells unless said.
    pub sheet: Option<String>,
    /// What becomes of fields that rows do not bring.
    pub absent: AbsentFields,
}

/// What a column is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// A field, from the best of its columns: the lower rank.
    Field(Field, u8),
    Tag,
    /// An expression, a name or a condition reads it, by this place.
    Variable(usize),
}

/// What is known of a column.
pub(crate) enum Meaning<'a> {
    /// Its name as it is kept here, and what it is for.
    Targets(&'a str, &'a [Target]),
    /// A tag, whose name follows `tags.`.
    Tag,
    Ignored,
    /// It has the name of a field that is taken from elsewhere, or not at all.
    NotTaken(Field),
    Unknown,
}

/// A field that is computed.
#[derive(Debug, Clone)]
pub(crate) struct Computed {
    pub field: Field,
    /// As it was given.
    pub text: String,
    pub expression: Expression,
    /// Where each column of the expression is among the variables.
    pub places: Vec<usize>,
    /// Where a column of exactly this text would be.
    pub exact: Option<usize>,
}

/// A condition with the places of its columns.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub expression: Expression,
    pub places: Vec<usize>,
}

/// Which row is kept, and where the column that decides is among the variables.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    pub choice: Choice,
    pub place: usize,
}

/// What makes the name of a run, checked.
#[derive(Debug, Clone)]
pub(crate) enum IdRule {
    Field,
    Columns(Vec<usize>),
    Content,
    FieldOrContent,
}

/// Checked meaning of all columns.
#[derive(Debug, Clone)]
pub struct Columns {
    pub(crate) targets: HashMap<String, Vec<Target>>,
    pub(crate) factors: [f64; Field::ALL.len()],
    pub(crate) source: Option<Source>,
    /// Whether somebody said what columns mean: then others are ignored, and texts may be numbers.
    pub(crate) declared: bool,
    /// Fields that somebody mapped.
    mapped: HashSet<Field>,
    /// Columns that expressions, names and conditions read.
    pub(crate) variables: Vec<String>,
    pub(crate) computed: Vec<Computed>,
    pub(crate) condition: Option<Condition>,
    pub(crate) id: IdRule,
    pub(crate) keep: Option<Keep>,
    /// Columns in which trackers say whether a run finished, by their place among the variables.
    pub(crate) states: Vec<(&'static str, usize)>,
    /// Groups of columns of which an input must have one whole: the option that names them, and the groups.
    required: Vec<(&'static str, Vec<Vec<String>>)>,
    pub(crate) separator: Option<Separator>,
    pub(crate) decimal: Option<Decimal>,
    nulls: Option<Vec<String>>,
    #[cfg(feature = "xlsx")]
    pub(crate) sheet: Option<String>,
    pub(crate) absent: AbsentFields,
    /// Numbers that somebody gave a factor.
    scaled: HashSet<Field>,
    /// Training FLOPs of a parameter and a unit of data.
    pub(crate) flops_per_param: f64,
}

/// Columns in which trackers say whether a run finished.
const STATES: [&str; 5] = ["State", "state", "status", "lifecycle_stage", "info.status"];

/// Texts that mean "no value" unless somebody says otherwise: of R, pandas, MLflow, spreadsheets and databases.
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
    /// Checks names and factors.
    ///
    /// # Errors
    /// What is wrong, under the name of the option.
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
                        // A bare text such as `val-loss` may be the name of a column, too.
                        let may_be_name = !text.contains(['\'', '"', '`', '('])
                            && !expression.columns().is_empty();
                        let exact = may_be_name.then(|| variables.place(&exact));
                        let mut groups = vec![expression.columns().to_vec()];
                        groups.extend(exact.map(|_| vec![text.clone()]));
                        required.push(("map", groups));
                        // No column has this name: the field comes from nowhere else.
                        mapped.insert(field, String::new());
                        computed.push(Computed { field, text, expression, places, exact });
                    }
                },
                // The name of a column that means nothing as an expression.
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

/// The columns that expressions, names and conditions read, each once.
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

/// What columns of training's progress count, where it is not tokens.
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

/// Names by which tools call a validation loss, the best first.
const LOSSES: [&str; 6] =
    ["val_loss", "eval_loss", "validation_loss", "eval/loss", "val/loss", "loss"];

/// Names by which tools call the FLOPs of a training run, the best first.
const FLOPS: [&str; 5] = ["flops", "total_flos", "total_flops", "train_flops", "training_flops"];

/// What non-zero parameters are called, the first before the other.
const SIZES: [&str; 2] = ["nonzero_params", ACTIVE_PARAMS];

/// What a field is called where nobody has said it.
fn usual_names(field: Field, foreign: bool) -> &'static [&'static str] {
    match field {
        Field::Loss if foreign => &LOSSES,
        Field::Flops if foreign => &FLOPS,
        Field::NonzeroParams => &SIZES,
        field => field.name(),
    }
}

/// Columns that a field is looked for in, the best first.
fn columns_of(
    field: Field,
    mapped: &HashMap<Field, String>,
    source: Option<Source>,
    declared: bool,
) -> Vec<String> {
    match mapped.get(&field) {
        // Computed, from other columns.
        Some(column) if column.is_empty() => return Vec::new(),
        Some(column) => return vec![column.clone()],
        None => {}
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
    // In somebody else's table a validation loss comes before what may be the loss in training.
    let names = usual_names(field, declared);
    let Some(source) = source else {
        return names.iter().map(|&name| name.to_owned()).collect();
    };
    if field == Field::Tags {
        // What these services call tags are lists, or other columns.
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
    /// Where the runs are in the JSON object of an export; nowhere further inside without a source.
    pub(crate) fn path_to_rows(&self) -> &'static [&'static str] {
        match self.source {
            None => &[],
            Some(Source::Mlflow) => &["runs"],
            Some(Source::Wandb) => &["data", "project", "runs", "edges"],
        }
    }

    /// What is added to the rank of a column whose value is not of its field's kind.
    pub(crate) const OTHER_KIND: u8 = 100;

    pub(crate) fn meaning(&self, column: &str) -> Meaning<'_> {
        if let Some((name, targets)) = self.targets.get_key_value(column) {
            return Meaning::Targets(name, targets);
        }
        if column.starts_with("tags.") {
            // MLflow's tags are notes of its own and of whoever logged: those that are wanted are named.
            let wanted = self.source != Some(Source::Mlflow);
            return if wanted { Meaning::Tag } else { Meaning::Ignored };
        }
        // A table written by this service has columns that it does not take back.
        if self.declared
            && let Some(field) = Field::named(column)
        {
            return Meaning::NotTaken(field);
        }
        if self.declared || READ_ONLY.contains(&column) {
            Meaning::Ignored
        } else {
            Meaning::Unknown
        }
    }

    /// Whether a field's columns are a guess by the source of the input.
    pub(crate) fn is_guess(&self, field: Field) -> bool {
        let guessed =
            self.source.is_some() || (self.declared && matches!(field, Field::Loss | Field::Flops));
        guessed && !self.mapped.contains(&field)
    }

    /// Whether a text means "no value".
    pub(crate) fn is_null(&self, text: &str) -> bool {
        match &self.nulls {
            Some(nulls) => nulls.iter().any(|null| null == text),
            // Most cells are longer than all of these.
            None => text.len() <= 4 && NULLS.contains(&text),
        }
    }

    /// Whether a text says of a field without numbers that it has no value, as frames and trackers write it.
    pub(crate) fn is_nan(&self, field: Field, text: &str) -> bool {
        self.nulls.is_none() && !Field::NUMBERS.contains(&field) && matches!(text, "NaN" | "nan")
    }

    /// Whether rows whose tracker says that their run did not finish are left out: where it is known whose
    /// export it is, and nobody says which rows are wanted.
    pub(crate) fn unfinished_are_left_out(&self) -> bool {
        self.source.is_some() && self.condition.is_none()
    }

    /// The same columns of a family that counts so many FLOPs for a parameter and a unit of data.
    #[must_use]
    pub fn with_flops_per_param(self, flops_per_param: FlopsPerParam) -> Self {
        Self { flops_per_param: flops_per_param.get(), ..self }
    }

    /// Refuses data that is counted in something else than the family's unit, by the name of its column.
    ///
    /// # Errors
    /// What is to be said.
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

    /// Whether a run takes anything from a column.
    pub(crate) fn uses(&self, column: &str) -> bool {
        matches!(self.meaning(column), Meaning::Targets(..) | Meaning::Tag)
    }

    /// Whether a field is looked for in this column as it stands, so that an object in it is none of columns.
    pub(crate) fn is_target(&self, column: &str) -> bool {
        self.targets.contains_key(column)
    }

    /// Checks a header: every column is known once, and runs can be made of them. `open` names columns that each
    /// row may have keys of its own in.
    pub(crate) fn check_header(
        &self,
        header: &[String],
        open: &[String],
    ) -> Result<(), Vec<FieldError>> {
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
                // Spreadsheets and people write names with capitals and spaces.
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
        // Both sizes say what the sparsity is.
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

    /// Refuses options that name columns which an input does not have.
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
            // Of the ways to say it one is there.
            let Some(absent) = absent else { continue };
            let Some(column) = absent.first() else { continue };
            let nearest = nearest(column, present);
            checks.refuse(option, format!("there is no column {column}; there are {nearest}"));
        }
    }

    /// Notes which of the columns that options name an object has, however deep inside.
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

    /// Whether objects are taken apart by the rules of an export, so that columns are no keys of theirs.
    pub(crate) fn flattens_exports(&self) -> bool {
        self.source.is_some()
    }

    /// Whether any option names columns.
    pub(crate) fn names_any(&self) -> bool {
        self.required.iter().any(|(_, groups)| groups.iter().any(|group| !group.is_empty()))
    }
}

/// Whether a column is a key in one of these columns.
fn inside(column: &str, open: &[String]) -> bool {
    let below =
        |outer: &String| column.strip_prefix(outer.as_str()).is_some_and(|k| k.starts_with('.'));
    open.iter().any(below)
}

/// Columns of a list of runs that say what the service has made of them.
const READ_ONLY: [&str; 4] = ["id", "excluded", "created_at", "updated_at"];

/// What is wrong with a column that nobody has named.
const NO_NAME: &str = "is a column without a name, as pandas writes the index of a frame and spreadsheets an empty column: \
                       write the table without it (index=False), or say where a field comes from (map=FIELD:COLUMN), \
                       which leaves out columns that mean nothing";

/// Letters and digits of a name, in small letters.
fn letters(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Names of columns, those first that are spelt most alike; so many as fit into a message.
fn nearest(column: &str, present: &HashSet<&str>) -> String {
    const SHOWN: usize = 12;
    let lower = column.to_lowercase();
    let mut names: Vec<_> = present.iter().copied().collect();
    names.sort_by_cached_key(|name| {
        let other = name.to_lowercase();
        let inside = other.contains(&lower) || lower.contains(&other);
        let distance = strsim::normalized_damerau_levenshtein(&lower, &other);
        // Larger is nearer; thousandths are enough to sort by.
        (std::cmp::Reverse((distance * 1e3) as u32 + if inside { 500 } else { 0 }), *name)
    });
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

pub(crate) fn unknown() -> String {
    format!("is no field of a run: fields are {}", Field::list(&Field::ALL))
}

/// A name in a JSON pointer (RFC 6901).
pub(crate) fn escaped(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) {
        Cow::Owned(name.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(name)
    }
}
