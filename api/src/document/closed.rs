//! What a client may send holds no field but those that are named: whatever else comes is refused, so the document says so.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::METHODS;

/// Closes every object that a body is, or holds.
pub(super) fn close(document: &mut Value) {
    for name in sent(document) {
        let schema = &mut document["components"]["schemas"][&name];
        if let Some(schema) = schema.as_object_mut()
            && schema.contains_key("properties")
        {
            schema.entry("additionalProperties").or_insert(json!(false));
        }
    }
}

/// The names of all schemas that bodies are made of.
pub(super) fn sent(document: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, item) in document["paths"].as_object().into_iter().flatten() {
        for method in METHODS {
            gather(document, &item[method]["requestBody"], &mut names);
        }
    }
    names
}

/// Every schema that is referred to, in it and in what it refers to.
fn gather(document: &Value, value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let target = value.as_str().filter(|_| key == "$ref");
                let name = target.and_then(|target| target.strip_prefix("#/components/schemas/"));
                match name {
                    Some(name) if names.insert(name.to_owned()) => {
                        gather(document, &document["components"]["schemas"][name], names);
                    }
                    Some(_) => {}
                    None => gather(document, value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(document, item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_closed_and_what_is_answered_is_not() {
        let object = |more: Value| json!({"type": "object", "properties": {"a": more}});
        let refer = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let free = json!({"type": "object", "additionalProperties": {}});
        let mut document = json!({
            "paths": {"/x": {"post": {
                "requestBody": {"content": {"application/json": {"schema": refer("Sent")}}},
                "responses": {"200": {"content": {"application/json": {"schema": refer("Got")}}}},
            }}},
            "components": {"schemas": {
                "Sent": object(json!({"type": "array", "items": refer("Inner")})),
                "Inner": object(refer("Sent")),
                "Got": object(free.clone()),
                "Free": free,
            }},
        });
        close(&mut document);
        let closed =
            |name: &str| document["components"]["schemas"][name].get("additionalProperties");
        assert_eq!(closed("Sent"), Some(&json!(false)));
        assert_eq!(closed("Inner"), Some(&json!(false)));
        assert_eq!(closed("Got"), None);
        assert_eq!(closed("Free"), Some(&json!({})));
    }
}
