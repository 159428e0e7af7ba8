//! The shape of a JSON value: which keys and types it has, whatever the values are.

use serde_json::Value;

/// A difference that is meant to be, and why.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Where: keys joined with `.`, `*` for any one key or position; what lies below is allowed too.
    pub path: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Every place at which a value is shaped otherwise than its model, those apart that are allowed.
pub fn differences(name: &str, model: &Value, value: &Value, allowed: &[Allowed]) -> Vec<String> {
    let mut found = Vec::new();
    compare(
        &mut vec![name.to_owned()],
        model,
        value,
        allowed,
        &mut found,
    );
    found
}

/// What a value is.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn compare(
    path: &mut Vec<String>,
    model: &Value,
    value: &Value,
    allowed: &[Allowed],
    found: &mut Vec<String>,
) {
    if allowed.iter().any(|allowed| matches(allowed.path, path)) {
        return;
    }
    let (wanted, is) = (type_of(model), type_of(value));
    if wanted != is {
        found.push(format!(
            "{}: {wanted} in Python, {is} here ({model} / {value})",
            path.join(".")
        ));
        return;
    }
    match (model, value) {
        (Value::Object(model), Value::Object(value)) => {
            let keys = model
                .keys()
                .chain(value.keys().filter(|key| !model.contains_key(*key)));
            for key in keys {
                path.push(key.clone());
                match (model.get(key), value.get(key)) {
                    (Some(model), Some(value)) => compare(path, model, value, allowed, found),
                    _ if allowed.iter().any(|allowed| matches(allowed.path, path)) => {}
                    (Some(_), _) => found.push(format!("{}: missing here", path.join("."))),
                    _ => found.push(format!("{}: unknown to Python", path.join("."))),
                }
                path.pop();
            }
        }
        // Lists are as long as what happened; their members are alike.
        (Value::Array(model), Value::Array(value)) => {
            if model.is_empty() != value.is_empty() {
                found.push(format!(
                    "{}: {} in Python, {} here",
                    path.join("."),
                    model.len(),
                    value.len()
                ));
            } else if let (Some(model), Some(value)) = (model.first(), value.first()) {
                path.push("0".to_owned());
                compare(path, model, value, allowed, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn matches(pattern: &str, path: &[String]) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    pattern.len() <= path.len()
        && pattern
            .iter()
            .zip(path)
            .all(|(wanted, is)| *wanted == "*" || wanted == is)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_shape_is_keys_and_types() {
        let model = json!({"a": 1, "b": {"c": [1.5]}, "d": null});
        assert!(
            differences(
                "x",
                &model,
                &json!({"a": 7, "b": {"c": [0.5, 1.0]}, "d": null}),
                &[]
            )
            .is_empty()
        );
        let found = differences(
            "x",
            &model,
            &json!({"a": "7", "b": {"c": [1]}, "e": 1}),
            &[],
        );
        let places: Vec<&str> = found
            .iter()
            .filter_map(|line| line.split(':').next())
            .collect();
        assert_eq!(places, ["x.a", "x.b.c.0", "x.d", "x.e"]);
    }

    #[test]
    fn what_is_allowed_is_left_out_with_all_below_it() {
        let allowed = [
            Allowed {
                path: "x.*.c",
                reason: "a test",
            },
            Allowed {
                path: "x.e",
                reason: "a test",
            },
        ];
        let (model, value) = (json!({"b": {"c": [1.5]}}), json!({"b": {"c": [1]}, "e": 1}));
        assert!(differences("x", &model, &value, &allowed).is_empty());
        assert_eq!(differences("y", &model, &value, &allowed).len(), 2);
    }
}
