//! Names by which tools call what a run needs, where nobody says which column is which.

use std::collections::HashMap;

use crate::intake::column_options::Tracker;
use crate::intake::field::{ACTIVE_PARAMS, Field};

/// Columns in which trackers say whether a run finished.
pub(super) const STATES: [&str; 5] = ["State", "state", "status", "lifecycle_stage", "info.status"];

/// Texts that mean "no value" unless somebody says otherwise: of R, pandas, MLflow, spreadsheets and databases.
pub(super) const NULLS: [&str; 14] = [
    "", "NA", "N/A", "n/a", "#N/A", "<NA>", "None", "none", "null", "NULL", "Null", "nil", "-",
    "--",
];

/// What columns of training's progress count, where it is not tokens.
pub(super) const OTHER_UNITS: [&str; 12] = [
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
pub(super) fn columns_of(
    field: Field,
    mapped: &HashMap<Field, String>,
    source: Option<Tracker>,
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

/// Columns of a list of runs that say what the service has made of them.
pub(super) const READ_ONLY: [&str; 4] = ["id", "excluded", "created_at", "updated_at"];
