//! What columns mean, as somebody says it: options that are not checked yet.

use sparsity_law::named;

use crate::intake::dialect::Separator;
use crate::intake::numbers::Decimal;

named! {
    /// Whose export it is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Tracker {
        /// Weights & Biases: columns with and without `config.` and `summary.`, nested objects, or the
        /// answer of its GraphQL API.
        Wandb = "wandb",
        /// MLflow: the frame of `search_runs` with `params.`, `metrics.` and `tags.`, or the answer of the
        /// REST endpoint of that name.
        Mlflow = "mlflow",
    }
}

impl Tracker {
    pub(super) const fn prefixes(self) -> [&'static str; 2] {
        match self {
            Self::Wandb => ["summary.", "config."],
            Self::Mlflow => ["metrics.", "params."],
        }
    }

    /// Columns that name a run, the best first.
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Wandb => &["id", "ID", "name", "Name"],
            Self::Mlflow => &["run_id"],
        }
    }
}

named! {
    /// What a sparsity is given in.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub enum SparsityUnit {
        /// 0 to 1.
        #[default]
        Fraction = "fraction",
        /// 0 to 100.
        Percent = "percent",
    }
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
pub enum RowChoice {
    /// That with the largest value.
    Last,
    /// That with the smallest value.
    First,
}

named! {
    /// What becomes of the optional fields that a row does not bring, of a run that is stored.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub enum AbsentFields {
        /// They stay as they are.
        #[default]
        Keep = "keep",
        /// They are empty then.
        Clear = "clear",
    }
}

/// What columns mean, as somebody says it.
#[derive(Debug, Clone, Default)]
pub struct ColumnOptions {
    /// Whose export it is.
    pub source: Option<Tracker>,
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
    pub keep: Option<(RowChoice, String)>,
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
