//! Turns nested objects into columns, joining keys with dots, and removes the wrappers of tracker exports.

use std::borrow::Cow;

use crate::intake::column_options::Tracker;
use crate::intake::columns::Columns;
use crate::intake::row::Row;
use crate::intake::value::{Value, without_bare_numbers};

impl Columns {
    /// Puts the entries of a JSON object into a row. If the caller said what columns mean, nested objects become
    /// columns whose names are the keys joined by dots, as trackers name them in their own tables.
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

    pub(crate) fn flatten_entry<'v>(&self, key: String, value: Value<'v>, row: &mut Row<'_, 'v>) {
        // Keys of objects that only wrap the columns in an export.
        const WRAPPERS: [(Tracker, &str); 4] = [
            (Tracker::Wandb, "node"),
            (Tracker::Mlflow, "info"),
            (Tracker::Mlflow, "data"),
            (Tracker::Mlflow, "inputs"),
        ];
        let is_wrapper =
            WRAPPERS.into_iter().any(|(of, name)| self.source == Some(of) && name == key);
        match value {
            Value::Object(entries) if is_wrapper => {
                for (inner, value) in entries {
                    // In W&B's GraphQL answers `id` is a storage key, and the run's id is in `name`.
                    if key == "node" && inner == "id" {
                        continue;
                    }
                    let key = inner;
                    self.flatten_entry(key.into_owned(), value, row);
                }
            }
            // Objects in a column that is used as a whole, such as tags, are not flattened.
            Value::Object(entries) if !self.targets.contains_key(&key) => {
                // GraphQL calls the summary `summaryMetrics`, and wraps each config value in an object.
                let prefix = match (self.source, key.as_str()) {
                    (Some(Tracker::Wandb), "summaryMetrics") => "summary",
                    (_, key) => key,
                };
                for (inner, value) in entries {
                    let value = match (self.source, prefix, value) {
                        (Some(Tracker::Wandb), "config", Value::Object(entries)) => {
                            unwrapped(entries)
                        }
                        (_, _, value) => value,
                    };
                    self.flatten_entry(format!("{prefix}.{inner}"), value, row);
                }
            }
            Value::List(items) if self.source == Some(Tracker::Mlflow) => {
                for (inner, value) in items.into_iter().filter_map(key_and_value) {
                    row.put(&format!("{key}.{inner}"), value);
                }
            }
            // GraphQL sends the config and the summary as JSON in a text.
            Value::Text(text)
                if self.source == Some(Tracker::Wandb)
                    && matches!(key.as_str(), "config" | "summaryMetrics" | "summary") =>
            {
                // Python writes NaN and Infinity without quotes, which is not valid JSON.
                match serde_json::from_str::<Value<'_>>(&without_bare_numbers(&text)) {
                    Ok(Value::Object(entries)) => {
                        let entries = entries
                            .into_iter()
                            .map(|(key, value)| (key.into_owned().into(), value.into_owned()));
                        self.flatten_entry(key, Value::Object(entries.collect()), row);
                    }
                    _ => row.refuse_whole(&key, "must be a JSON object in a text"),
                }
            }
            value => row.put(&key, value),
        }
    }
}

/// Unwraps a W&B config value: `{"value": 7, "desc": null}` becomes 7. An object with further keys is kept, as it only
/// happens to have a key called `value`.
fn unwrapped<'v>(entries: Vec<(Cow<'v, str>, Value<'v>)>) -> Value<'v> {
    let is_wrapper = entries.iter().all(|(key, _)| key == "value" || key == "desc");
    match entries.iter().position(|(key, _)| key == "value") {
        Some(at) if is_wrapper => {
            entries.into_iter().nth(at).map_or(Value::Null, |(_, value)| value)
        }
        _ => Value::Object(entries),
    }
}

/// Reads an entry of MLflow's lists, such as `{"key": "loss", "value": 2.5}`.
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
