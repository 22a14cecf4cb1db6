//! What must hold without a database: the committed OpenAPI document, its names, and the rules for modules.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod arrows;
mod compatible;
mod statements;

use std::collections::HashSet;

use serde_json::{Value, json};
use sparsity_planner::api::document::openapi;

fn document() -> Value {
    serde_json::to_value(openapi()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let found: Vec<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
        .collect();
    assert!(found.len() > 20);
    found
}

#[test]
fn the_committed_document_is_the_generated_one() {
    let committed = include_str!("../../openapi/openapi.json");
    let generated = format!("{}\n", openapi().to_pretty_json().unwrap());
    assert!(
        committed == generated,
        "openapi/openapi.json is out of date: cargo run -- openapi > openapi/openapi.json"
    );
}

#[test]
fn it_is_openapi_3_1() {
    assert!(document()["openapi"].as_str().unwrap().starts_with("3.1."));
}

#[test]
fn operation_ids_are_verb_and_resource_and_unique() {
    let document = document();
    let verbs = ["list_", "create_", "get_", "update_", "delete_"];
    let mut seen = HashSet::new();
    for (name, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(verbs.iter().any(|verb| id.starts_with(verb)), "{name}: {id}");
        assert!(seen.insert(id.to_owned()), "{id} twice");
    }
}

#[test]
fn every_operation_is_described_with_every_answer() {
    let document = document();
    for (name, operation) in operations(&document) {
        assert!(operation["summary"].is_string(), "{name} has no summary");
        assert!(operation["description"].is_string(), "{name} has no description");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let description = response["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{name} {status} has no description");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{name}: {parameter}");
        }
    }
}

/// Ensures that no route is forgotten: a route without a scope here is not in the guard's table.
#[test]
fn every_operation_says_which_scope_it_needs() {
    let document = document();
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    for (name, operation) in operations(&document) {
        if name == "get /healthz" || name == "get /readyz" {
            assert_eq!(operation["security"], json!([]), "{name} is open to all");
            continue;
        }
        let scope = operation["security"][0]["bearer"][0].as_str();
        let scope = scope.unwrap_or_else(|| panic!("{name} has no scope"));
        assert!(["read", "write", "admin"].contains(&scope), "{name}: {scope}");
        if name.starts_with("get ") {
            assert_ne!(scope, "write", "{name} changes nothing");
        }
        for status in ["401", "403", "429"] {
            assert!(operation["responses"][status].is_object(), "{name} lacks {status}");
        }
    }
}

/// Without these, client generators would make arrays of integers, or lists of any length.
#[test]
fn files_are_binary_and_points_have_a_length() {
    fn look(value: &Value, path: &str, found: &mut (usize, usize)) {
        match value {
            Value::Object(fields) => {
                if fields.get("format") == Some(&json!("binary")) {
                    found.0 += 1;
                }
                let of_body = path.contains("/content/") && path.ends_with("/schema");
                assert!(!of_body || value["items"]["format"] != "int32", "{path} is a file");
                let tuple = &value["items"];
                // A matrix has as many rows as columns, which a schema cannot express.
                let named = path.ends_with("/matrix") || path.ends_with("/properties");
                if tuple["type"] == "array" && !named {
                    assert!(tuple["minItems"].is_u64(), "{path}");
                    assert_eq!(tuple["minItems"], tuple["maxItems"], "{path}");
                    found.1 += 1;
                }
                for (name, field) in fields {
                    look(field, &format!("{path}/{name}"), found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| look(item, path, found)),
            _ => {}
        }
    }
    let mut found = (0, 0);
    look(&document(), "", &mut found);
    assert!(found.0 >= 2 && found.1 >= 4, "{found:?}");
}

#[test]
fn every_field_of_every_schema_is_described() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            // A nullable reference has its description inside.
            let variants = property["oneOf"].as_array().into_iter().flatten();
            let described =
                variants.chain([property]).any(|schema| schema["description"].is_string());
            assert!(described, "{name}.{field} has no description");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}
