//! The OpenAPI document: what poem-openapi says of the routes, brought to 3.1, and an operation for each registered task.
//!
//! | module | knows |
//! |---|---|
//! | `modern` | what 3.1 writes otherwise than 3.0 |
//! | `answers` | which problems an operation cannot answer with |
//! | `bounds` | between what numbers lie that may be sent |
//! | `closed` | that nothing else may be sent |
//! | `typed` | the operations of registered tasks |
//! | `paths` | which paths have which methods |
//! | `body` | how a body is read: only what the document says is taken |
//! | `bodies`, `fault` | what is wrong with a body that was refused, in words |
//! | `pages` | Swagger UI and Redoc |

mod answers;
pub(crate) mod bodies;
pub(crate) mod body;
mod bounds;
mod closed;
mod fault;
mod modern;
pub(crate) mod pages;
pub(crate) mod paths;
mod typed;

use serde_json::{Map, Value, json};

use crate::{auth::SCHEME, sending::registered::Registered};

/// The methods under which a path of a document has operations.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The whole document, from the static one.
pub(crate) fn document(static_part: &str, registered: &Registered) -> Value {
    let mut document: Value = serde_json::from_str(static_part).expect("poem-openapi writes JSON");
    modern::upgrade(&mut document);
    each_operation(&mut document, |path, method, operation| {
        split_scopes(operation);
        answers::strike(path, method, operation);
    });
    one_scheme(&mut document);
    closed::close(&mut document);
    bounds::bound(&mut document);
    typed::merge(&mut document, registered);
    document
}

/// As it is committed and served: indented, with a line break at its end.
pub(crate) fn text(document: &Value) -> String {
    let mut text = format!("{document:#}");
    text.push('\n');
    text
}

/// Every object of a document's part, what lies in it first.
fn each_object(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            for value in object.values_mut() {
                each_object(value, visit);
            }
            visit(object);
        }
        Value::Array(items) => {
            for item in items {
                each_object(item, visit);
            }
        }
        _ => {}
    }
}

fn each_operation(
    document: &mut Value,
    mut visit: impl FnMut(&str, &str, &mut Map<String, Value>),
) {
    let paths = document["paths"].as_object_mut();
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if METHODS.contains(&method.as_str())
                && let Some(operation) = operation.as_object_mut()
            {
                visit(path, method, operation);
            }
        }
    }
}

/// `{"bearer tasks:send": []}` becomes `{"bearer": ["tasks:send"]}`: see [`crate::auth::permission::Needs::SCHEME`].
fn split_scopes(operation: &mut Map<String, Value>) {
    let Some(requirements) = operation.get_mut("security").and_then(Value::as_array_mut) else {
        return;
    };
    for requirement in requirements {
        let names: Vec<String> = requirement
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Some((scheme, scope)) = name.split_once(' ') {
                *requirement = json!({scheme: [scope]});
            }
        }
    }
}

fn one_scheme(document: &mut Value) {
    let schemes = document["components"]["securitySchemes"].as_object_mut();
    let Some(schemes) = schemes else { return };
    let Some(first) = schemes.values().next().cloned() else {
        return;
    };
    schemes.clear();
    schemes.insert(SCHEME.to_owned(), first);
}
