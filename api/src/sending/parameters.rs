//! The JSON Schema of a task's parameters: one object with a property for each.

use lovage_registry::TaskSpec;
use serde_json::{Map, Value, json};

/// The schema of an object that holds a task's parameters by name; `None` when they are not known.
///
/// What the parameters' own schemas define is gathered under `$defs`, each name behind that of its parameter, because two
/// parameters may mean different things by the same one.
pub(crate) fn schema(spec: &TaskSpec) -> Option<Value> {
    if !spec.typed && spec.params.is_empty() {
        return None;
    }
    let mut properties = Map::new();
    let mut definitions = Map::new();
    let mut required = Vec::new();
    for param in &spec.params {
        let mut schema = param.schema.clone();
        if let Some(own) = schema
            .as_object_mut()
            .and_then(|schema| schema.remove("$defs"))
        {
            let prefix = format!("#/$defs/{}.", param.name);
            for (name, mut definition) in into_object(own) {
                rename_references(&mut definition, "#/$defs/", &prefix);
                definitions.insert(format!("{}.{name}", param.name), definition);
            }
            rename_references(&mut schema, "#/$defs/", &prefix);
        }
        if let Some(default) = &param.default {
            if schema == Value::Bool(true) {
                schema = json!({});
            }
            if let Some(schema) = schema.as_object_mut() {
                schema.insert("default".to_owned(), default.clone());
            }
        }
        if param.is_required() {
            required.push(Value::from(param.name.as_str()));
        }
        properties.insert(param.name.clone(), schema);
    }
    let mut whole = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        whole["required"] = Value::Array(required);
    }
    if !definitions.is_empty() {
        whole["$defs"] = Value::Object(definitions);
    }
    Some(whole)
}

/// Lets every `$ref` that begins with `from` begin with `to`.
pub(crate) fn rename_references(schema: &mut Value, from: &str, to: &str) {
    match schema {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(target) if name == "$ref" => {
                        if let Some(rest) = target.strip_prefix(from) {
                            *target = format!("{to}{rest}");
                        }
                    }
                    other => rename_references(other, from, to),
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| rename_references(item, from, to)),
        _ => {}
    }
}

fn into_object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use lovage_registry::Param;

    use super::*;

    #[test]
    fn definitions_of_the_same_name_stay_apart() {
        let of = |kind: &str| json!({"$ref": "#/$defs/Place", "$defs": {"Place": {"type": kind}}});
        let spec = TaskSpec {
            typed: true,
            ..TaskSpec::variadic("t")
        }
        .with_param(Param::new("from", of("string")))
        .with_param(Param::new("to", of("integer")).with_default(3));
        let schema = schema(&spec).unwrap();
        assert_eq!(schema["properties"]["from"]["$ref"], "#/$defs/from.Place");
        assert_eq!(schema["$defs"]["to.Place"]["type"], "integer");
        assert_eq!(schema["required"], json!(["from"]));
        assert_eq!(schema["properties"]["to"]["default"], 3);
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(validator.is_valid(&json!({"from": "here"})));
        assert!(!validator.is_valid(&json!({"from": 1})));
        assert!(!validator.is_valid(&json!({"from": "here", "form": 1})));
    }

    #[test]
    fn what_is_not_known_is_not_described() {
        assert_eq!(schema(&TaskSpec::variadic("t")), None);
        assert!(schema(&TaskSpec::untyped("t", &["x"])).is_some());
    }
}
