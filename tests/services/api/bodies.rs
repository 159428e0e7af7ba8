//! Bodies that are wrong: whatever is, the answer names the field, for every operation of the document that takes JSON.

use lovage_integration_tests::api_server::Caller;
use lovage_integration_tests::{ApiServer, RedisServer};
use serde_json::{Map, Value, json};

/// There are more than these.
const OPERATIONS: usize = 25;
/// And more fields than these.
const FIELDS: usize = 120;

/// A body that is wrong, and the field that its answer is to name.
struct Wrong {
    field: String,
    body: Value,
}

/// The schema itself: behind references, and the first of several forms.
fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    if let Some(target) = schema["$ref"].as_str() {
        let found = document.pointer(target.trim_start_matches('#'));
        return resolved(document, found.expect("references lead somewhere"));
    }
    match schema["anyOf"].as_array() {
        Some(forms) => resolved(document, &forms[0]),
        None => schema,
    }
}

fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Something that such a schema takes, as far as its kind goes.
fn sample(document: &Value, schema: &Value) -> Value {
    let schema = resolved(document, schema);
    if let Some(options) = schema["enum"].as_array() {
        return options[0].clone();
    }
    match kinds(schema).first() {
        Some(&"object") => {
            let required = schema["required"].as_array().into_iter().flatten();
            let fields = required.filter_map(Value::as_str).map(|name| {
                let value = sample(document, &schema["properties"][name]);
                (name.to_owned(), value)
            });
            Value::Object(fields.collect())
        }
        Some(&"array") => json!([sample(document, &schema["items"])]),
        Some(&"integer" | &"number") => json!(1),
        Some(&"boolean") => json!(true),
        _ if schema["format"] == "date-time" => json!("2026-01-01T00:00:00Z"),
        _ => json!("a text that is long enough"),
    }
}

/// Of another kind than the schema takes; `None` when it takes all.
fn misfit(schema: &Value) -> Option<Value> {
    let taken = kinds(schema);
    if schema.get("enum").is_some() {
        return Some(json!("no such word"));
    }
    // What poem-openapi itself would take for a text.
    if taken.contains(&"string") && !taken.contains(&"integer") && !taken.contains(&"number") {
        return Some(json!(33));
    }
    let others = [("object", json!({"no": 1})), ("array", json!([[]]))];
    let other = others.into_iter().find(|(kind, _)| !taken.contains(kind));
    other.map(|(_, value)| value).filter(|_| !taken.is_empty())
}

/// Every way in which one field of such a body may be wrong.
fn wrongs(document: &Value, schema: &Value) -> Vec<Wrong> {
    let schema = resolved(document, schema);
    let Some(properties) = schema["properties"].as_object() else {
        return Vec::new();
    };
    let right = sample(document, schema);
    let right = right.as_object().cloned().unwrap_or_default();
    let with = |name: &str, value: Value| {
        let mut body: Map<String, Value> = right.clone();
        body.insert(name.to_owned(), value);
        Value::Object(body)
    };
    let mut found = vec![Wrong {
        field: "no_such_field".to_owned(),
        body: with("no_such_field", json!(1)),
    }];
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("names are texts");
        let mut body = right.clone();
        body.remove(name);
        found.push(Wrong {
            field: name.to_owned(),
            body: Value::Object(body),
        });
        if !kinds(resolved(document, &properties[name])).is_empty() {
            found.push(Wrong {
                field: name.to_owned(),
                body: with(name, Value::Null),
            });
        }
    }
    for (name, property) in properties {
        let property = resolved(document, property);
        if let Some(value) = misfit(property) {
            found.push(Wrong {
                field: name.clone(),
                body: with(name, value),
            });
        }
        for inner in wrongs(document, property) {
            found.push(Wrong {
                field: format!("{name}.{}", inner.field),
                body: with(name, inner.body),
            });
        }
    }
    found
}

fn json_schema(operation: &Value) -> Option<&Value> {
    let content = operation["requestBody"]["content"].as_object()?;
    let json = content
        .iter()
        .find(|(kind, _)| kind.starts_with("application/json"))?;
    Some(&json.1["schema"])
}

fn send(caller: &Caller, method: &str, path: &str, body: &Value) -> (u16, String) {
    let path = path
        .replace("{id}", "00000000-0000-0000-0000-000000000000")
        .replace("{task_id}", "none")
        .replace("{name}", "none");
    let method = method.to_uppercase();
    let answer = caller.send(&method, &path, &[("If-Match", "\"1\"")], &body.to_string());
    let detail = answer.value()["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status, detail)
}

#[test]
fn whatever_is_wrong_with_a_body_its_field_is_named() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let document = caller.get("/openapi.json").json();
    let (mut operations, mut fields) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(schema) = json_schema(operation) else {
                continue;
            };
            operations += 1;
            for Wrong { field, body } in wrongs(&document, schema) {
                fields += 1;
                let (status, detail) = send(&caller, method, path, &body);
                assert_eq!(status, 422, "{method} {path} {body}: {detail}");
                // Arguments of tasks are told in Python's words, which know no places.
                let last = field.rsplit('.').next().unwrap_or_default();
                let named = if path.starts_with("/api/v1/tasks/") {
                    last
                } else {
                    &field
                };
                assert!(detail.contains(named), "{method} {path} {body}: {detail}");
                let inside = ["Expected input type", "occurred while parsing"];
                assert!(
                    !inside.iter().any(|words| detail.contains(words)),
                    "{method} {path} {body}: {detail}"
                );
            }
        }
    }
    assert!(operations >= OPERATIONS, "{operations} operations");
    assert!(fields >= FIELDS, "{fields} fields");
}

#[test]
fn a_fault_says_where_it_is_and_what_would_be_right() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let check = |path: &str, body: Value, told: &str| {
        let (status, detail) = send(&caller, "post", path, &body);
        assert_eq!((status, detail.as_str()), (422, told), "{body}");
    };
    check(
        "/api/v1/schedules",
        json!({"name": "n"}),
        "the body: definition is missing: an object (ScheduleDefinition)",
    );
    check(
        "/api/v1/workflows",
        json!({"chain": [{"task": "a"}, {"task": [3]}]}),
        "the body: chain[1].task is a list and has to be a text",
    );
    check(
        "/api/v1/tasks",
        json!({"task": 3, "shadow": true}),
        "the body: shadow is true or false and has to be a text; task is a number and has to be a text",
    );
    check(
        "/api/v1/schedules",
        json!({"name": "n", "definition": {"task": "a", "max_missed": 5_000_000_000_u64}}),
        "the body: definition.max_missed: it is greater than the maximum of 4294967295",
    );
    let batch = "{\"task\": \"demo.noop\"}\n{\"tsk\": 1}\n{\"task\": 3}\n";
    let typed = [("Content-Type", "application/x-ndjson")];
    let report = caller
        .send("POST", "/api/v1/task-batches", &typed, batch)
        .json();
    let problem = report["items"][1]["problem"]["detail"].as_str().unwrap();
    assert!(
        problem.contains("tsk is no field; there are args"),
        "{problem}"
    );
    assert!(problem.contains("task is missing: a text"), "{problem}");
    assert_eq!(
        report["items"][2]["problem"]["detail"],
        "task is a number and has to be a text"
    );
    // What was sent, a password perhaps, does not come back.
    let login = json!({"email": 1, "password": ["hunter2"]});
    let (_, detail) = send(&caller, "post", "/api/v1/auth/login", &login);
    assert!(detail.contains("password is a list"), "{detail}");
    assert!(!detail.contains("hunter2"), "{detail}");
}
