//! What OpenAPI 3.1 writes otherwise than 3.0: its schemas are JSON Schema, which the tasks' parameters are too.

use serde_json::{Map, Value, json};

use super::each_object;

pub(super) fn upgrade(document: &mut Value) {
    document["openapi"] = json!("3.1.0");
    each_object(document, &mut upgrade_object);
}

fn upgrade_object(object: &mut Map<String, Value>) {
    one_reference(object);
    optional_list(object);
    exclusive(object, "exclusiveMinimum", "minimum");
    exclusive(object, "exclusiveMaximum", "maximum");
    let required: Vec<String> = match object.get("required") {
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties {
            // An Option: written as null when it is nothing, and null is taken for nothing.
            if !required.contains(name) {
                or_null(property);
            }
        }
    }
}

/// A reference with a description of its own: in 3.1 the two may stand side by side.
fn one_reference(object: &mut Map<String, Value>) {
    let Some(Value::Array(parts)) = object.get("allOf") else {
        return;
    };
    let [first, second] = parts.as_slice() else {
        return;
    };
    let reference = first.get("$ref").cloned();
    let only_describes = second.as_object().is_some_and(|second| {
        second
            .keys()
            .all(|key| key == "description" || key == "default")
    });
    if let (Some(reference), true) = (reference, only_describes) {
        object.remove("allOf");
        object.insert("$ref".to_owned(), reference);
    }
}

/// A list in a query may be empty, and then nothing is there.
fn optional_list(object: &mut Map<String, Value>) {
    let is_query = object.get("in").is_some_and(|place| place == "query");
    let is_list = object
        .get("schema")
        .is_some_and(|schema| schema["type"] == "array");
    if is_query && is_list {
        object.insert("required".to_owned(), Value::Bool(false));
    }
}

fn exclusive(object: &mut Map<String, Value>, flag: &str, bound: &str) {
    if object.get(flag) == Some(&Value::Bool(true)) {
        let bound = object.remove(bound).unwrap_or_default();
        object.insert(flag.to_owned(), bound);
    } else if object.get(flag) == Some(&Value::Bool(false)) {
        object.remove(flag);
    }
}

fn or_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    match object.get("type") {
        Some(Value::String(kind)) if !object.contains_key("enum") => {
            let kinds = json!([kind, "null"]);
            object.insert("type".to_owned(), kinds);
        }
        Some(Value::String(_)) => wrap(schema),
        None if object.contains_key("$ref") || object.contains_key("anyOf") => wrap(schema),
        // It has several types already, or says nothing and so takes everything.
        _ => {}
    }
}

/// Lets null beside a schema, whose description stays in sight.
fn wrap(schema: &mut Value) {
    let mut inner = schema.take();
    let description = inner
        .as_object_mut()
        .and_then(|inner| inner.remove("description"));
    let mut outer = json!({"anyOf": [inner, {"type": "null"}]});
    if let Some(description) = description {
        outer["description"] = description;
    }
    *schema = outer;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_become_those_of_json_schema() {
        let check = |mut before: Value, after: Value| {
            each_object(&mut before, &mut upgrade_object);
            assert_eq!(before, after);
        };
        check(
            json!({"type": "object", "required": ["a"], "properties": {
                "a": {"type": "string"},
                "b": {"type": "string"},
                "c": {"$ref": "#/x"},
                "d": {},
            }}),
            json!({"type": "object", "required": ["a"], "properties": {
                "a": {"type": "string"},
                "b": {"type": ["string", "null"]},
                "c": {"anyOf": [{"$ref": "#/x"}, {"type": "null"}]},
                "d": {},
            }}),
        );
        check(
            json!({"minimum": 0.0, "exclusiveMinimum": true}),
            json!({"exclusiveMinimum": 0.0}),
        );
        check(
            json!({"allOf": [{"$ref": "#/x"}, {"description": "d"}], "description": "d"}),
            json!({"$ref": "#/x", "description": "d"}),
        );
    }
}
