//! What is wrong with a body that was refused, by the schema that the document has for it.
//!
//! Bodies are read by poem-openapi, which says what it has met but not in which field. What it refuses is looked at once more
//! here, so that whoever sent it is told which field is meant and what would be right.

use std::{collections::HashMap, fmt, sync::OnceLock};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{METHODS, fault::Schemas};

/// The schemas of all bodies that come as JSON.
pub(crate) struct Bodies {
    schemas: Schemas,
    /// By the method and the path of their operation.
    of: HashMap<(String, String), Body>,
    /// A line of a batch.
    line: Body,
}

/// The schema of one body, prepared when something is first refused by it.
struct Body {
    schema: Value,
    validator: OnceLock<Option<Validator>>,
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bodies").finish_non_exhaustive()
    }
}

impl Bodies {
    /// Those of a document.
    pub(crate) fn of(document: &Value) -> Self {
        let mut of = HashMap::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for method in METHODS {
                if let Some(schema) = json_schema(&item[method]["requestBody"]) {
                    let place = (method.to_owned(), path.clone());
                    of.insert(place, Body::new(schema.clone()));
                }
            }
        }
        Self {
            schemas: Schemas::of(document),
            of,
            line: Body::new(json!({"$ref": "#/components/schemas/Call"})),
        }
    }

    /// What is wrong with the body of a request; `None` when its schema finds nothing.
    pub(crate) fn fault(&self, method: &str, path: &str, body: &[u8]) -> Option<String> {
        let place = (method.to_ascii_lowercase(), path.to_owned());
        let schema = self.of.get(&place)?;
        if body.is_empty() {
            let wanted = self.schemas.wanted(&schema.schema);
            return Some(format!("there is none, and it has to be {wanted}"));
        }
        let value = serde_json::from_slice(body).ok()?;
        self.told(schema, &value)
    }

    /// What is wrong with a line of a batch; `None` when its schema finds nothing.
    pub(crate) fn fault_of_line(&self, line: &Value) -> Option<String> {
        self.told(&self.line, line)
    }

    fn told(&self, body: &Body, value: &Value) -> Option<String> {
        let validator = body.validator.get_or_init(|| {
            let mut whole = body.schema.clone();
            whole["components"] = self.schemas.components().clone();
            let options = jsonschema::options().should_validate_formats(true);
            let made = options.build(&whole);
            made.inspect_err(|error| {
                tracing::error!(%error, "a schema of the document is none");
            })
            .ok()
        });
        self.schemas
            .told(&body.schema, validator.as_ref()?.iter_errors(value), value)
    }
}

impl Body {
    fn new(schema: Value) -> Self {
        Self {
            schema,
            validator: OnceLock::new(),
        }
    }
}

fn json_schema(body: &Value) -> Option<&Value> {
    let content = body["content"].as_object()?;
    let json = content
        .iter()
        .find(|(kind, _)| kind.starts_with("application/json"))?;
    json.1.get("schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> Bodies {
        let text = json!({"type": "string", "minLength": 2});
        let optional = json!({"anyOf": [{"$ref": "#/components/schemas/Solar"}, {"type": "null"}]});
        let definition = json!({"type": "object", "required": ["task"], "additionalProperties": false,
            "properties": {"task": text, "at": {"type": ["string", "null"], "format": "date-time"},
            "solar": optional, "kind": {"type": "string", "enum": ["a", "b"]},
            "args": {"type": "array", "items": {"type": "integer"}}}});
        let schemas = json!({
            "Definition": definition,
            "Solar": {"type": "object", "required": ["event", "x"], "properties": {"event": text, "x": {"type": "number"}}},
            "New": {"type": "object", "required": ["name", "definition"], "additionalProperties": false,
                "properties": {"name": text, "definition": {"$ref": "#/components/schemas/Definition"}}},
            "Group": {"type": "object", "required": ["group"], "additionalProperties": false,
                "properties": {"group": {"type": "array", "items": {"$ref": "#/components/schemas/Step"}}}},
            "Call": {"type": "object", "required": ["task"], "additionalProperties": false, "properties": {"task": text}},
            "Step": {"anyOf": [{"$ref": "#/components/schemas/Call"}, {"$ref": "#/components/schemas/Group"}]},
        });
        let body = |name: &str| {
            let schema = json!({"$ref": format!("#/components/schemas/{name}")});
            json!({"post": {"requestBody": {"content": {"application/json; charset=utf-8": {"schema": schema}}}}})
        };
        Bodies::of(&json!({
            "paths": {"/new": body("New"), "/step": body("Step")},
            "components": {"schemas": schemas},
        }))
    }

    #[test]
    fn a_fault_names_its_field_and_what_would_be_right() {
        let bodies = bodies();
        let check = |path: &str, body: Value, told: &str| {
            let fault = bodies.fault("POST", path, body.to_string().as_bytes());
            assert_eq!(fault.as_deref(), Some(told), "{body}");
        };
        let with = |more: Value| {
            let mut definition = json!({"task": "tt"});
            for (name, value) in more.as_object().unwrap() {
                definition[name] = value.clone();
            }
            json!({"name": "nn", "definition": definition})
        };
        check(
            "/new",
            json!({"name": "nn"}),
            "definition is missing: an object (Definition)",
        );
        check(
            "/new",
            json!({"name": "nn", "definition": null}),
            "definition is null and has to be an object (Definition)",
        );
        check(
            "/new",
            json!({"name": "nn", "definition": {}}),
            "definition.task is missing: a text",
        );
        check(
            "/new",
            json!([]),
            "the body is a list and has to be an object (New)",
        );
        check(
            "/new",
            with(json!({"args": [1, "x"]})),
            "definition.args[1] is a text and has to be a whole number",
        );
        check(
            "/new",
            with(json!({"kind": "c"})),
            "definition.kind has to be one of \"a\", \"b\"",
        );
        check(
            "/new",
            with(json!({"solar": {"x": 1}})),
            "definition.solar.event is missing: a text",
        );
        check(
            "/new",
            with(json!({"solar": 7})),
            "definition.solar is a number and has to be an object (Solar)",
        );
        check(
            "/new",
            with(json!({"kin": "a"})),
            "definition.kin is no field; there are args, at, kind, solar, task",
        );
        check(
            "/step",
            json!({"group": [{"task": 3}]}),
            "group[0].task is a number and has to be a text",
        );
        check(
            "/step",
            json!({}),
            "task is missing: a text, or group is missing: a list of objects",
        );
        assert_eq!(
            bodies.fault("post", "/new", b"").as_deref(),
            Some("there is none, and it has to be an object (New)")
        );
    }

    #[test]
    fn what_was_sent_is_not_repeated() {
        let bodies = bodies();
        for definition in [json!({"task": "§"}), json!({"task": "tt", "at": "§"})] {
            let body = json!({"name": "nn", "definition": definition}).to_string();
            let fault = bodies.fault("post", "/new", body.as_bytes()).unwrap();
            assert!(fault.starts_with("definition."), "{fault}");
            assert!(!fault.contains('§'), "{fault}");
        }
    }
}
