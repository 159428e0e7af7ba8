//! A task's call signature as text, for people who list tasks.

use serde_json::{Map, Value};

use crate::spec::{Param, TaskSpec};

/// Writes `name(param: type = default, ...)`.
pub(crate) fn text(task: &TaskSpec) -> String {
    if !task.typed && task.params.is_empty() {
        // Nothing is known, which is not the same as "takes nothing".
        return format!("{}(...)", task.name);
    }
    let params: Vec<String> = task
        .params
        .iter()
        .map(|param| parameter(param, task.typed))
        .collect();
    format!("{}({})", task.name, params.join(", "))
}

fn parameter(param: &Param, typed: bool) -> String {
    let mut text = param.name.clone();
    if let Some(kind) = kind(&param.schema) {
        text.push_str(": ");
        text.push_str(&kind);
    }
    match &param.default {
        Some(value) => text.push_str(&format!(" = {value}")),
        None if param.optional && typed => text.push_str(" = null"),
        None => {}
    }
    text
}

/// The kind of value that a schema admits in a few words; `None` when it admits anything.
fn kind(schema: &Value) -> Option<String> {
    let schema = schema.as_object()?;
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return name.rsplit('/').next().map(str::to_owned);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(one_of(values.iter().map(|value| Some(value.to_string()))));
    }
    if let Some(value) = schema.get("const") {
        return Some(value.to_string());
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(choices) = schema.get(key).and_then(Value::as_array) {
            return Some(one_of(choices.iter().map(kind)));
        }
    }
    match schema.get("type")? {
        Value::String(name) => Some(named(name, schema)),
        Value::Array(names) => Some(one_of(
            names
                .iter()
                .filter_map(Value::as_str)
                .map(|name| Some(named(name, schema))),
        )),
        _ => None,
    }
}

fn named(kind_name: &str, schema: &Map<String, Value>) -> String {
    match kind_name {
        "object" => schema
            .get("title")
            .and_then(Value::as_str)
            .unwrap_or(kind_name)
            .to_owned(),
        "array" => match schema.get("items").and_then(kind) {
            Some(items) => format!("array<{items}>"),
            None => kind_name.to_owned(),
        },
        _ => kind_name.to_owned(),
    }
}

fn one_of(kinds: impl Iterator<Item = Option<String>>) -> String {
    kinds
        .map(|kind| kind.unwrap_or_else(|| "any".to_owned()))
        .collect::<Vec<_>>()
        .join(" | ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_schemas_in_a_few_words() {
        let check = |schema: Value, expected: Option<&str>| {
            assert_eq!(kind(&schema).as_deref(), expected, "{schema}");
        };
        check(json!(true), None);
        check(json!({"description": "x"}), None);
        check(
            json!({"type": "integer", "format": "int64"}),
            Some("integer"),
        );
        check(json!({"type": ["string", "null"]}), Some("string | null"));
        check(
            json!({"type": "array", "items": {"type": "number"}}),
            Some("array<number>"),
        );
        check(json!({"type": "array", "items": true}), Some("array"));
        check(
            json!({"type": "object", "title": "Address"}),
            Some("Address"),
        );
        check(
            json!({"type": "string", "enum": ["a", "b"]}),
            Some(r#""a" | "b""#),
        );
        check(
            json!({"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}]}),
            Some("Address | null"),
        );
    }

    #[test]
    fn shows_defaults_and_what_may_be_left_out() {
        let integer = json!({"type": "integer"});
        let task = TaskSpec::variadic("demo.add")
            .with_param(Param::new("x", integer.clone()))
            .with_param(Param::new("y", integer.clone()).with_default(5));
        assert_eq!(text(&task), "demo.add(x: integer, y: integer = 5)");
        let nullable = json!({"type": ["integer", "null"]});
        let mut task = TaskSpec::variadic("a.b").with_param(Param::new("z", nullable).optional());
        task.typed = true;
        assert_eq!(text(&task), "a.b(z: integer | null = null)");
        assert_eq!(text(&TaskSpec::variadic("demo.echo")), "demo.echo(...)");
    }
}
