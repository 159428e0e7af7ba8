//! Whether a body is what the document says, and what is wrong with one that is not.
//!
//! Bodies are read by poem-openapi, which says what it has met but not in which field. What is refused is looked at once more
//! here, so that whoever sent it is told which field is meant and what would be right.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{METHODS, fault::Schemas};

const SCHEMAS: &str = "#/components/schemas/";

/// What a line of a batch is.
pub(crate) const LINE: &str = "Call";

/// The schemas of all bodies that come as JSON.
pub(crate) struct Bodies {
    schemas: Schemas,
    /// By the method and the path of their operation.
    of: HashMap<(String, String), Arc<Form>>,
    /// By the name that the document has for it.
    named: HashMap<String, Arc<Form>>,
}

/// The schema of one body.
struct Form {
    schema: Value,
    /// Whether it is right, but for formats: those are read by whoever takes the text. Prepared for the first that comes.
    gate: OnceLock<Option<Validator>>,
    /// What is wrong, formats too. Prepared for the first that is refused.
    judge: OnceLock<Option<Validator>>,
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
        let mut named = HashMap::new();
        named.insert(LINE.to_owned(), Arc::new(Form::new(reference(LINE))));
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for method in METHODS {
                if let Some(schema) = json_schema(&item[method]["requestBody"]) {
                    let form = match name(schema) {
                        Some(name) => Arc::clone(
                            named
                                .entry(name.to_owned())
                                .or_insert_with(|| Arc::new(Form::new(schema.clone()))),
                        ),
                        None => Arc::new(Form::new(schema.clone())),
                    };
                    of.insert((method.to_owned(), path.clone()), form);
                }
            }
        }
        Self {
            schemas: Schemas::of(document),
            of,
            named,
        }
    }

    /// Whether the schema of this name takes a value, but for the formats of texts. One that is no body's takes everything.
    pub(crate) fn takes(&self, name: &str, value: &Value) -> bool {
        let Some(form) = self.named.get(name) else {
            return true;
        };
        let gate = form.gate.get_or_init(|| self.prepared(form, false));
        gate.as_ref().is_none_or(|gate| gate.is_valid(value))
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
        self.told(self.named.get(LINE)?, line)
    }

    fn told(&self, form: &Form, value: &Value) -> Option<String> {
        let judge = form.judge.get_or_init(|| self.prepared(form, true));
        self.schemas
            .told(&form.schema, judge.as_ref()?.iter_errors(value), value)
    }

    fn prepared(&self, form: &Form, formats: bool) -> Option<Validator> {
        let mut whole = form.schema.clone();
        whole["components"] = self.schemas.components().clone();
        let options = jsonschema::options().should_validate_formats(formats);
        let made = options.build(&whole);
        made.inspect_err(|error| {
            tracing::error!(%error, "a schema of the document is none");
        })
        .ok()
    }
}

impl Form {
    fn new(schema: Value) -> Self {
        Self {
            schema,
            gate: OnceLock::new(),
            judge: OnceLock::new(),
        }
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{SCHEMAS}{name}")})
}

/// The name of what a schema refers to.
fn name(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix(SCHEMAS)
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
    fn what_the_document_does_not_say_is_not_taken() {
        let bodies = bodies();
        assert!(bodies.takes("Call", &json!({"task": "tt"})));
        for task in [json!(33), json!(true), json!(null), json!("t")] {
            assert!(!bodies.takes("Call", &json!({"task": task})), "{task}");
        }
        let at = |at: &str| json!({"name": "nn", "definition": {"task": "tt", "at": at}});
        assert!(bodies.takes("New", &at("whoever reads it knows")));
        assert!(bodies.takes("Unheard", &json!(1)));
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
