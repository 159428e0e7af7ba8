//! Which problems an operation cannot answer with: every operation is documented with all of them at first.

use serde_json::{Map, Value};

pub(super) fn strike(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let facts = Facts::of(path, method, operation);
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        responses.retain(|status, response| !is_problem(response) || facts.may_answer(status));
    }
}

fn is_problem(response: &Value) -> bool {
    response["content"]
        .get(crate::problem::CONTENT_TYPE)
        .is_some()
}

struct Facts {
    has_body: bool,
    has_parameters: bool,
    names_something: bool,
    is_guarded: bool,
    checks_version: bool,
    is_login: bool,
    is_api: bool,
    sends: bool,
    changes: bool,
}

impl Facts {
    fn of(path: &str, method: &str, operation: &Map<String, Value>) -> Self {
        let parameters = operation.get("parameters").and_then(Value::as_array);
        let parameters = parameters.map(Vec::as_slice).unwrap_or_default();
        let named = |name: &str| {
            parameters.iter().any(|parameter| {
                parameter["name"]
                    .as_str()
                    .is_some_and(|given| given.eq_ignore_ascii_case(name))
            })
        };
        Self {
            has_body: operation.contains_key("requestBody"),
            has_parameters: !parameters.is_empty(),
            names_something: path.contains('{'),
            is_guarded: operation.contains_key("security"),
            checks_version: named("if-match"),
            is_login: path.starts_with("/api/v1/auth/"),
            is_api: path.starts_with("/api/"),
            sends: named("idempotency-key"),
            changes: method != "get",
        }
    }

    fn may_answer(&self, status: &str) -> bool {
        match status {
            "400" | "422" => self.has_body || self.has_parameters,
            "401" => self.is_guarded || self.is_login,
            "403" => self.is_guarded,
            "404" => self.names_something,
            "409" => self.changes && (self.sends || self.is_guarded),
            "412" => self.checks_version,
            "413" | "415" => self.has_body,
            "429" => self.is_login,
            "503" => self.is_api,
            // Whoever asks the wrong way is told so by paths, not by operations.
            "405" => false,
            _ => true,
        }
    }
}
