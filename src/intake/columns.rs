//! The meaning of columns: which field of a run each column holds, for files whose authors chose their own names.

mod header;

use std::collections::{HashMap, HashSet};

use sparsity_law::law::FlopsPerParam;

use crate::domain::checks::{Checks, FieldError};
use crate::intake::column_names::{NULLS, READ_ONLY, STATES, columns_of, is_unit, unit_of};
use crate::intake::column_options::{
    AbsentFields, ColumnOptions, IdOption, RowChoice, SparsityUnit, Tracker,
};
use crate::intake::dialect::Separator;
use crate::intake::expression::Expression;
use crate::intake::field::Field;
use crate::intake::numbers::Decimal;

pub(crate) use header::{escaped, unknown};

/// What the cells of a column are used for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ColumnTarget {
    /// The value of a field. If several columns could give it, the one with the lowest rank wins.
    Field(Field, u8),
    Tag,
    /// A variable that an expression, a run's name or a condition reads, as an index into [`Columns::variables`].
    Variable(usize),
}

/// How a column of an input is treated.
pub(crate) enum Meaning<'a> {
    /// Used: the column's name as [`Columns`] stores it, and what the column is used for.
    Targets(&'a str, &'a [ColumnTarget]),
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
    pub choice: RowChoice,
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
    pub(crate) targets: HashMap<String, Vec<ColumnTarget>>,
    pub(crate) factors: [f64; Field::ALL.len()],
    /// Whether sparsities are 0 to 100, by their unit or by their factor.
    pub(crate) percent: bool,
    pub(crate) source: Option<Tracker>,
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
        let mut targets: HashMap<String, Vec<ColumnTarget>> = HashMap::new();
        for field in Field::ALL {
            for (rank, column) in
                columns_of(field, &mapped, self.source, declared).into_iter().enumerate()
            {
                let target = ColumnTarget::Field(field, u8::try_from(rank).unwrap_or(u8::MAX));
                targets.entry(column).or_default().push(target);
            }
        }
        for column in self.tag_columns {
            required.push(("tag_columns", vec![vec![column.clone()]]));
            targets.entry(column).or_default().push(ColumnTarget::Tag);
        }
        for (at, column) in variables.names.iter().enumerate() {
            targets.entry(column.clone()).or_default().push(ColumnTarget::Variable(at));
        }
        let columns = Columns {
            targets,
            factors,
            percent: factors[Field::Sparsity as usize] == 0.01,
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

impl Columns {
    /// Keys that lead to the list of runs in an exported JSON object; empty without a source.
    pub(crate) fn path_to_rows(&self) -> &'static [&'static str] {
        match self.source {
            None => &[],
            Some(Tracker::Mlflow) => &["runs"],
            Some(Tracker::Wandb) => &["data", "project", "runs", "edges"],
        }
    }

    /// Added to the rank of a parameter whose value is not of the kind that the field needs.
    pub(crate) const OTHER_KIND: u8 = 100;

    pub(crate) fn meaning(&self, column: &str) -> Meaning<'_> {
        if let Some((name, targets)) = self.targets.get_key_value(column) {
            return Meaning::Targets(name, targets);
        }
        if column.starts_with("tags.") {
            // MLflow's tags are its own notes and those of whoever logged the run, so a tag must be asked for by name.
            let wanted = self.source != Some(Tracker::Mlflow);
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

    /// Whether a column holds what a run was started with rather than what came out of it, by its tracker's prefix.
    pub(crate) fn is_parameter(&self, column: &str) -> bool {
        self.source.is_some_and(|source| column.starts_with(source.parameters()))
    }

    /// The column of this rank among those in which a field is looked for.
    pub(crate) fn name_of(&self, field: Field, rank: u8) -> &str {
        let wanted = ColumnTarget::Field(field, rank);
        let found = self.targets.iter().find(|(_, targets)| targets.contains(&wanted));
        found.map_or(field.as_str(), |(column, _)| column)
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
        let mut checks = Checks::default();
        for field in [Field::Data, Field::PretrainingData, Field::UniqueData] {
            if self.scaled.contains(&field) {
                continue;
            }
            let of_field = |targets: &[ColumnTarget]| {
                targets.iter().any(|t| matches!(t, ColumnTarget::Field(f, _) if *f == field))
            };
            let columns = self.targets.iter().filter(|(_, targets)| of_field(targets));
            // A text such as `train/steps` may be the name of a column, and multiplies nothing as an expression.
            let names = self.computed.iter().filter(|computed| {
                computed.field == field
                    && computed.exact.is_some()
                    && computed.expression.columns().len() > 1
                    && !computed.text.contains(['*', '+', '^'])
            });
            let mut columns =
                columns.map(|(column, _)| column).chain(names.map(|computed| &computed.text));
            let other =
                columns.find(|column| unit_of(column).is_some_and(|word| !is_unit(&word, unit)));
            if let Some(column) = other {
                let name = field.as_str();
                let detail = format!(
                    "{name} is taken from {column}, and the family counts {unit}: say how many of these one is, \
                     scale={name}:NUMBER, or 1 where they are the same"
                );
                checks.refuse("map", detail);
            }
        }
        checks.finish(Some(()))
    }

    /// Whether any field, variable or tag is read from this column.
    pub(crate) fn uses(&self, column: &str) -> bool {
        matches!(self.meaning(column), Meaning::Targets(..) | Meaning::Tag)
    }

    /// Whether an option or a field names exactly this column, so that an object in it is not split into columns.
    pub(crate) fn is_target(&self, column: &str) -> bool {
        self.targets.contains_key(column)
    }

    /// Whether objects are flattened by the rules of a tracker's export, so that their keys are not column names.
    pub(crate) fn flattens_exports(&self) -> bool {
        self.source.is_some()
    }
}
