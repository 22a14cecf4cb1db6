//! Whether a client that was written for the last release's document (`openapi/released.json`) still works. A change
//! that breaks it needs a line in the changelog, `- Breaking: ...`, that names the operation and the change.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::document;

/// The direction of a value: requests may accept more than before, and answers may contain more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    In,
    Out,
}

/// A change that breaks clients: the operation, and what changed.
type Break = (String, String);

struct Comparison<'a> {
    before: &'a Value,
    after: &'a Value,
    /// Pairs of named schemas that have been compared, or are being compared.
    seen: BTreeSet<(String, String, Way)>,
    found: Vec<Break>,
    operation: String,
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let found = document.pointer(reference.trim_start_matches('#'));
            resolve(document, found.unwrap_or(&Value::Null))
        }
        None => value,
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// The types of a schema, whether they are written as a list or as alternatives.
fn types(document: &Value, schema: &Value) -> BTreeSet<String> {
    let schema = resolve(document, schema);
    let mut found = BTreeSet::new();
    match &schema["type"] {
        Value::String(one) => {
            found.insert(one.clone());
        }
        Value::Array(several) => {
            found.extend(several.iter().filter_map(Value::as_str).map(ToOwned::to_owned));
        }
        _ => {}
    }
    for word in ["oneOf", "anyOf", "allOf"] {
        for part in schema[word].as_array().into_iter().flatten() {
            found.extend(types(document, part));
        }
    }
    // A number includes integers.
    if found.contains("number") {
        found.remove("integer");
    }
    found
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The properties of a schema, including those of the parts of `allOf`, and which of them are required.
fn properties<'a>(
    document: &'a Value,
    schema: &'a Value,
    found: &mut Vec<(&'a str, &'a Value)>,
    required: &mut BTreeSet<&'a str>,
) {
    let schema = resolve(document, schema);
    found.extend(object(&schema["properties"]).map(|(name, value)| (name.as_str(), value)));
    required.extend(names(&schema["required"]));
    for part in schema["allOf"].as_array().into_iter().flatten() {
        properties(document, part, found, required);
    }
}

impl<'a> Comparison<'a> {
    fn breaks(&mut self, what: String) {
        self.found.push((self.operation.clone(), what));
    }

    fn documents(&mut self) {
        let (before, after) = (self.before, self.after);
        for (path, item) in object(&before["paths"]) {
            for (method, old) in object(item) {
                self.operation = format!("{} {path}", method.to_uppercase());
                match after["paths"][path].get(method) {
                    Some(new) => self.operation(old, new),
                    None => self.breaks("the operation".to_owned()),
                }
            }
        }
    }

    fn operation(&mut self, old: &'a Value, new: &'a Value) {
        let parameters = |of: &'a Value| of["parameters"].as_array().into_iter().flatten();
        let same =
            |one: &Value, other: &Value| one["name"] == other["name"] && one["in"] == other["in"];
        for parameter in parameters(old) {
            let name = parameter["name"].as_str().unwrap();
            match parameters(new).find(|other| same(parameter, other)) {
                None => self.breaks(name.to_owned()),
                Some(other) => {
                    if other["required"] == true && parameter["required"] != true {
                        self.breaks(name.to_owned());
                    }
                    self.schemas(name, &parameter["schema"], &other["schema"], Way::In);
                }
            }
        }
        for parameter in parameters(new) {
            let is_new = !parameters(old).any(|other| same(parameter, other));
            if is_new && parameter["required"] == true {
                self.breaks(parameter["name"].as_str().unwrap().to_owned());
            }
        }
        if new["requestBody"]["required"] == true && old["requestBody"]["required"] != true {
            self.breaks("the body".to_owned());
        }
        self.contents(&old["requestBody"]["content"], &new["requestBody"]["content"], Way::In);
        for (status, answer) in object(&old["responses"]) {
            if !status.starts_with('2') {
                continue;
            }
            match new["responses"].get(status) {
                None => self.breaks(status.clone()),
                Some(other) => self.contents(&answer["content"], &other["content"], Way::Out),
            }
        }
    }

    fn contents(&mut self, old: &'a Value, new: &'a Value, way: Way) {
        for (media, content) in object(old) {
            match new.get(media) {
                None => self.breaks(media.clone()),
                Some(other) => self.schemas(media, &content["schema"], &other["schema"], way),
            }
        }
    }

    fn schemas(&mut self, name: &str, old: &'a Value, new: &'a Value, way: Way) {
        if let (Some(one), Some(other)) = (old["$ref"].as_str(), new["$ref"].as_str())
            && !self.seen.insert((one.to_owned(), other.to_owned(), way))
        {
            return;
        }
        let (was, is) = (types(self.before, old), types(self.after, new));
        let (old, new) = (resolve(self.before, old), resolve(self.after, new));
        let (sent, understood) = if way == Way::In { (&was, &is) } else { (&is, &was) };
        let covers = |kind: &String| {
            understood.contains(kind) || (kind == "integer" && understood.contains("number"))
        };
        // A schema without a type allows any.
        if !was.is_empty() && !is.is_empty() && !sent.iter().all(covers) {
            self.breaks(name.to_owned());
        }
        if way == Way::In {
            let (was, is) = (names(&old["enum"]), names(&new["enum"]));
            if !is.is_empty() && (was.is_empty() || !was.is_subset(&is)) {
                self.breaks(name.to_owned());
            }
        }
        let (mut had, mut needed) = (Vec::new(), BTreeSet::new());
        properties(self.before, old, &mut had, &mut needed);
        let (mut has, mut needs) = (Vec::new(), BTreeSet::new());
        properties(self.after, new, &mut has, &mut needs);
        for (property, old) in &had {
            match has.iter().find(|(name, _)| name == property) {
                // A request with the removed field would be refused.
                None => self.breaks((*property).to_owned()),
                Some((_, new)) => self.schemas(property, old, new, way),
            }
            if way == Way::Out && needed.contains(property) && !needs.contains(property) {
                self.breaks((*property).to_owned());
            }
        }
        if way == Way::In && !had.is_empty() {
            for property in needs.difference(&needed) {
                self.breaks((*property).to_owned());
            }
        }
        if old["items"].is_object() && new["items"].is_object() {
            self.schemas(name, &old["items"], &new["items"], way);
        }
        // Alternatives can only be matched by their order. A new alternative in an answer is left to review.
        for word in ["oneOf", "anyOf"] {
            let (was, is) = (old[word].as_array(), new[word].as_array());
            if let (Some(was), Some(is)) = (was, is) {
                for (old, new) in was.iter().zip(is) {
                    self.schemas(name, old, new, way);
                }
                if way == Way::In && is.len() < was.len() {
                    self.breaks(name.to_owned());
                }
            }
        }
    }
}

fn breaks(before: &Value, after: &Value) -> Vec<Break> {
    let (seen, found) = (BTreeSet::new(), Vec::new());
    let mut comparison = Comparison { before, after, seen, found, operation: String::new() };
    comparison.documents();
    comparison.found.sort();
    comparison.found.dedup();
    comparison.found
}

#[test]
fn what_breaks_clients_of_the_last_release_is_in_the_changelog() {
    let before: Value = serde_json::from_str(include_str!("../../openapi/released.json")).unwrap();
    let changelog = include_str!("../../CHANGELOG.md");
    let named: Vec<String> = changelog
        .split("\n- ")
        .filter(|item| item.starts_with("Breaking: "))
        .map(|item| item.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let mut missing = String::new();
    for (operation, what) in breaks(&before, &document()) {
        let is_named = |item: &String| {
            item.contains(&format!("`{operation}`")) && item.contains(&format!("`{what}`"))
        };
        if !named.iter().any(is_named) {
            writeln!(missing, "- Breaking: `{operation}`: `{what}`").unwrap();
        }
    }
    assert!(
        missing.is_empty(),
        "clients of the last release break; where that is meant, CHANGELOG.md has to name, each with why:\n{missing}"
    );
}

#[test]
fn what_breaks_is_told_from_what_does_not() {
    let document = |parameters: Value, body: Value, answer: Value| {
        json!({"paths": {"/v1/things": {"post": {
            "parameters": parameters,
            "requestBody": {"content": {"application/json": {"schema": body}}},
            "responses": {
                "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "422": {},
            },
        }}}, "components": {"schemas": {"Thing": answer}}})
    };
    let parameter = |name: &str, required: bool, schema: Value| json!({"name": name, "in": "query", "required": required, "schema": schema});
    let number = json!({"type": "number"});
    let thing = json!({"type": "object", "required": ["a"], "properties": {
        "a": number, "more": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
    }});
    let body = json!({"type": "object", "required": ["n"], "properties": {
        "n": number, "mode": {"type": "string", "enum": ["x", "y"]},
    }});
    let old =
        document(json!([parameter("limit", false, number.clone())]), body.clone(), thing.clone());
    assert_eq!(breaks(&old, &old), []);

    let but = |pointer: &str, value: Value| {
        let mut new = old.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let (parent, name) = (new.pointer_mut(parent).unwrap(), &name.replace("~1", "/"));
        match (parent, value) {
            (Value::Object(fields), Value::Null) => drop(fields.remove(name)),
            (Value::Object(fields), value) => drop(fields.insert(name.clone(), value)),
            (Value::Array(items), value) => items.push(value),
            _ => panic!("{pointer}"),
        }
        breaks(&old, &new).into_iter().map(|(_, what)| what).collect::<Vec<_>>()
    };
    let post = "/paths/~1v1~1things/post";
    let sent = format!("{post}/requestBody/content/application~1json/schema");
    let answered = "/components/schemas/Thing";
    for (pointer, value, expected) in [
        ("/paths/~1v1~1things".to_owned(), Value::Null, "the operation"),
        (format!("{post}/parameters"), Value::Null, "limit"),
        (format!("{post}/parameters/-"), parameter("by", true, number.clone()), "by"),
        (format!("{post}/parameters/0/required"), json!(true), "limit"),
        (format!("{post}/parameters/0/schema/type"), json!("integer"), "limit"),
        (format!("{post}/requestBody/required"), json!(true), "the body"),
        (format!("{post}/requestBody/content/application~1json"), Value::Null, "application/json"),
        (format!("{sent}/required"), json!(["n", "mode"]), "mode"),
        (format!("{sent}/properties/n"), Value::Null, "n"),
        (format!("{sent}/properties/mode/enum"), json!(["x"]), "mode"),
        (format!("{post}/responses/200"), Value::Null, "200"),
        (format!("{answered}/properties/more"), Value::Null, "more"),
        (format!("{answered}/properties/a/type"), json!(["number", "null"]), "a"),
        (format!("{answered}/required"), json!([]), "a"),
    ] {
        assert_eq!(but(&pointer, value), [expected], "{pointer}");
    }
    for (pointer, value) in [
        (format!("{post}/parameters/-"), parameter("by", false, number.clone())),
        (format!("{sent}/properties/new"), number.clone()),
        (format!("{sent}/properties/n/type"), json!(["number", "null"])),
        (format!("{sent}/properties/mode/enum"), json!(["x", "y", "z"])),
        (format!("{sent}/required"), json!([])),
        (format!("{answered}/properties/new"), number.clone()),
        (format!("{answered}/properties/a/type"), json!("integer")),
        (format!("{answered}/required"), json!(["a", "more"])),
        (format!("{post}/responses/422"), Value::Null),
    ] {
        assert_eq!(but(&pointer, value), [""; 0], "{pointer}");
    }
}
