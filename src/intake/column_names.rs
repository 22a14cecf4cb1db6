//! Names by which tools call what a run needs, where nobody says which column is which.

use std::collections::HashMap;

use crate::intake::column_options::Tracker;
use crate::intake::field::{ACTIVE_PARAMS, Field};

/// Columns in which trackers record whether a run finished.
pub(super) const STATES: [&str; 5] = ["State", "state", "status", "lifecycle_stage", "info.status"];

/// Texts that mean "no value" by default, as written by R, pandas, MLflow, spreadsheets and databases.
pub(super) const NULLS: [&str; 14] = [
    "", "NA", "N/A", "n/a", "#N/A", "<NA>", "None", "none", "null", "NULL", "Null", "nil", "-",
    "--",
];

/// Words in the names of columns that say what data is counted in, without the `s` of several.
const UNITS: [&str; 15] = [
    "step",
    "iter",
    "iteration",
    "sample",
    "example",
    "sequence",
    "document",
    "epoch",
    "token",
    "word",
    "byte",
    "image",
    "frame",
    "pixel",
    "batch",
];

/// The word in a column's name that says what the column counts: `samples` for `train/samples_seen`. If there are
/// several, the last one counts.
pub(super) fn unit_of(column: &str) -> Option<String> {
    words(column).rev().find(|word| UNITS.contains(&one(word).as_str()))
}

/// Whether a word of a column's name is the unit of a family, or part of its name.
pub(super) fn is_unit(word: &str, unit: &str) -> bool {
    one(word) == one(&unit.to_lowercase()) || words(unit).any(|part| one(&part) == one(word))
}

/// The words of a name, in lower case: those of `numTokens` and `num_tokens` are the same.
fn words(name: &str) -> impl DoubleEndedIterator<Item = String> {
    let mut apart = String::with_capacity(name.len() + 4);
    let mut before = ' ';
    for letter in name.chars() {
        if letter.is_uppercase() && before.is_lowercase() {
            apart.push(' ');
        }
        apart.extend(letter.to_lowercase());
        before = letter;
    }
    let words: Vec<String> = apart
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.into_iter()
}

/// A word for one of what it may name several of.
fn one(word: &str) -> String {
    match word {
        "batches" => "batch".to_owned(),
        word => word.strip_suffix('s').unwrap_or(word).to_owned(),
    }
}

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
pub(super) fn columns_of(
    field: Field,
    mapped: &HashMap<Field, String>,
    source: Option<Tracker>,
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

/// Columns that the service adds when it lists runs, and ignores when it reads them.
pub(super) const READ_ONLY: [&str; 4] = ["id", "excluded", "created_at", "updated_at"];
