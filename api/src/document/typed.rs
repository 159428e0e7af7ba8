//! One operation for each registered task, with the task's own parameters as its body.
//!
//! They are not routes of their own: each is the operation `send_task` with the name filled in, and what it says of the
//! parameters is what that operation checks.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::sending::{
    parameters::rename_references,
    registered::{Registered, Task},
};

/// The operation that all of them are.
const TEMPLATE: &str = "/api/v1/tasks/{name}/send";

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'_')
    .remove(b'-')
    .remove(b'~');

pub(super) fn merge(document: &mut Value, registered: &Registered) {
    let template = document["paths"][TEMPLATE]["post"].clone();
    if template.is_null() {
        return;
    }
    for task in registered.iter() {
        let Some(mut parameters) = task.parameters.clone() else {
            continue;
        };
        let name = &task.spec.name;
        hoist(document, &mut parameters, &component(name));
        let path = TEMPLATE.replace("{name}", &utf8_percent_encode(name, PLAIN).to_string());
        document["paths"][path] = json!({"post": operation(&template, task, &parameters)});
    }
}

fn operation(template: &Value, task: &Task, parameters: &Value) -> Value {
    let mut operation = template.clone();
    let name = &task.spec.name;
    operation["operationId"] = json!(format!("send_{}", component(name).replace(['.', '-'], "_")));
    operation["summary"] = json!(format!("Send {name}"));
    let doc = task.spec.doc.as_deref().unwrap_or("");
    let signature = task.spec.signature();
    operation["description"] = json!(format!("{doc}\n\n`{signature}`").trim_start());
    if let Some(others) = operation["parameters"].as_array_mut() {
        others.retain(|parameter| parameter["in"] != "path");
    }
    operation["requestBody"] = json!({
        "required": true,
        "content": {"application/json": {"schema": parameters}},
    });
    if let Some(returns) = &task.spec.returns {
        operation["x-lovage-returns"] = returns.clone();
    }
    operation
}

/// Moves what a schema defines to where the document keeps such things.
fn hoist(document: &mut Value, schema: &mut Value, task: &str) {
    let own = schema
        .as_object_mut()
        .and_then(|schema| schema.remove("$defs"));
    let Some(Value::Object(definitions)) = own else {
        return;
    };
    let place = format!("#/components/schemas/{task}.");
    rename_references(schema, "#/$defs/", &place);
    let mut moved = Map::new();
    for (name, mut definition) in definitions {
        rename_references(&mut definition, "#/$defs/", &place);
        moved.insert(format!("{task}.{name}"), definition);
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(moved);
    }
}

/// A task's name as a part of the name of a component.
fn component(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || ".-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}
