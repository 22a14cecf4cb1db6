//! What columns mean: which field of a run each is, for files whose authors chose their own names.

mod header;

use std::collections::{HashMap, HashSet};

use sparsity_law::law::FlopsPerParam;

use crate::domain::checks::{Checks, FieldError};
use crate::intake::column_names::{NULLS, OTHER_UNITS, READ_ONLY, STATES, columns_of};
use crate::intake::column_options::{
    AbsentFields, ColumnOptions, IdOption, RowChoice, SparsityUnit, Tracker,
};
use crate::intake::dialect::Separator;
use crate::intake::expression::Expression;
use crate::intake::field::Field;
use crate::intake::numbers::Decimal;

pub(crate) use header::{escaped, unknown};

/// What a column is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ColumnTarget {
    /// A field, from the best of its columns: the lower rank.
    Field(Field, u8),
    Tag,
    /// An expression, a name or a condition reads it, by this place.
    Variable(usize),
}

/// What is known of a column.
pub(crate) enum Meaning<'a> {
    /// Its name as it is kept here, and what it is for.
    Targets(&'a str, &'a [ColumnTarget]),
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
    pub choice: RowChoice,
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
    pub(crate) targets: HashMap<String, Vec<ColumnTarget>>,
    pub(crate) factors: [f64; Field::ALL.len()],
    pub(crate) source: Option<Tracker>,
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

impl Columns {
    /// Where the runs are in the JSON object of an export; nowhere further inside without a source.
    pub(crate) fn path_to_rows(&self) -> &'static [&'static str] {
        match self.source {
            None => &[],
            Some(Tracker::Mlflow) => &["runs"],
            Some(Tracker::Wandb) => &["data", "project", "runs", "edges"],
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
            let wanted = self.source != Some(Tracker::Mlflow);
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
        let of_data = |targets: &[ColumnTarget]| {
            targets.iter().any(|t| matches!(t, ColumnTarget::Field(Field::Data, _)))
        };
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

    /// Whether objects are taken apart by the rules of an export, so that columns are no keys of theirs.
    pub(crate) fn flattens_exports(&self) -> bool {
        self.source.is_some()
    }
}
