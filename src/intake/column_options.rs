//! What columns mean, as somebody says it: options that are not checked yet.

use sparsity_law::named;

use crate::intake::dialect::Separator;
use crate::intake::numbers::Decimal;

named! {
    /// The tracker that exported a table.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Tracker {
        /// Weights & Biases: columns with or without the prefixes `config.` and `summary.`, nested objects, or the
        /// answer of its GraphQL API.
        Wandb = "wandb",
        /// MLflow: the data frame of `search_runs` with the prefixes `params.`, `metrics.` and `tags.`, or the answer
        /// of the REST endpoint of the same name.
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

    /// Prefix of the columns that hold what a run was started with.
    pub(super) const fn parameters(self) -> &'static str {
        let [_, parameters] = self.prefixes();
        parameters
    }

    /// Columns of the tracker's export that name a run, best first.
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Wandb => &["id", "ID", "name", "Name"],
            Self::Mlflow => &["run_id"],
        }
    }
}

named! {
    /// The unit of a sparsity.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub enum SparsityUnit {
        /// A fraction, from 0 to 1.
        #[default]
        Fraction = "fraction",
        /// A percentage, from 0 to 100.
        Percent = "percent",
    }
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
pub enum RowChoice {
    /// The row with the largest value in the deciding column.
    Last,
    /// The row with the smallest value in the deciding column.
    First,
}

named! {
    /// What happens to the optional fields of a stored run for which a new row has no column.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub enum AbsentFields {
        /// The stored values stay.
        #[default]
        Keep = "keep",
        /// The stored values are cleared.
        Clear = "clear",
    }
}

/// What the caller says about the columns of an input.
#[derive(Debug, Clone, Default)]
pub struct ColumnOptions {
    /// The tracker that exported the table.
    pub source: Option<Tracker>,
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
    pub keep: Option<(RowChoice, String)>,
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
