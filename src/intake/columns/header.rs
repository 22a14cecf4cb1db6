//! Whether the columns of an input are those that runs need: known, each there once, and complete.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{ColumnTarget, Columns, IdRule, Meaning};
use crate::domain::checks::{Checks, FieldError};
use crate::intake::field::Field;
use crate::intake::value::Value;

impl Columns {
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
            let wanted = |targets: &[ColumnTarget]| {
                targets.iter().any(|t| matches!(t, ColumnTarget::Field(f, _) if fields.contains(f)))
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
            let is = |targets: &[ColumnTarget]| {
                targets.iter().any(|t| matches!(t, ColumnTarget::Field(f, _) if *f == field))
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
