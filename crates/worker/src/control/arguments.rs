//! The arguments of a command: bound as Python binds them, with the errors that Python raises.

use lovage_flower_compat::Raised;
use lovage_protocol::{Map, Value, repr};

/// What a command takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameters {
    /// The name of Celery's function, as its errors say it.
    pub(super) function: &'static str,
    /// Those that must be given.
    pub(super) required: &'static [&'static str],
    /// Those that may be.
    pub(super) optional: &'static [&'static str],
    /// Others are ignored rather than refused.
    pub(super) others: bool,
}

/// The arguments of one request.
#[derive(Debug)]
pub(super) struct Arguments {
    function: &'static str,
    given: Map,
}

impl Parameters {
    /// Checks what was given.
    pub(super) fn bind(self, given: Value) -> Result<Arguments, Raised> {
        let Self {
            function,
            required,
            optional,
            others,
        } = self;
        let Value::Map(given) = given else {
            return Err(type_error(&format!(
                "{function}() argument after ** must be a mapping, not {}",
                python_type(&given)
            )));
        };
        if given.contains_key("state") {
            return Err(type_error(&format!(
                "{function}() got multiple values for argument 'state'"
            )));
        }
        let known =
            |name: &String| required.contains(&name.as_str()) || optional.contains(&name.as_str());
        if !others && let Some(name) = given.keys().find(|name| !known(name)) {
            return Err(type_error(&format!(
                "{function}() got an unexpected keyword argument {}",
                repr::python_string(name)
            )));
        }
        let missing: Vec<String> = required
            .iter()
            .filter(|name| !given.contains_key(**name))
            .map(|name| format!("'{name}'"))
            .collect();
        match missing.as_slice() {
            [] => Ok(Arguments { function, given }),
            [one] => Err(type_error(&format!(
                "{function}() missing 1 required positional argument: {one}"
            ))),
            [first, second] => Err(type_error(&format!(
                "{function}() missing 2 required positional arguments: {first} and {second}"
            ))),
            [most @ .., last] => Err(type_error(&format!(
                "{function}() missing {} required positional arguments: {}, and {last}",
                missing.len(),
                most.join(", ")
            ))),
        }
    }
}

impl Arguments {
    /// An argument; null when it was not given.
    pub(super) fn get(&self, name: &str) -> &Value {
        self.given.get(name).unwrap_or(&Value::Null)
    }

    /// A name.
    pub(super) fn text(&self, name: &str) -> Result<&str, Raised> {
        match self.get(name) {
            Value::Str(text) => Ok(text),
            other => Err(self.wrong(name, "str", other)),
        }
    }

    /// A name, or none.
    pub(super) fn maybe_text(&self, name: &str) -> Result<Option<&str>, Raised> {
        match self.get(name) {
            Value::Null => Ok(None),
            Value::Str(text) if text.is_empty() => Ok(None),
            Value::Str(text) => Ok(Some(text)),
            other => Err(self.wrong(name, "str", other)),
        }
    }

    /// Yes or no, as Python takes anything for one of them.
    pub(super) fn truth(&self, name: &str) -> bool {
        match self.get(name) {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Map(map) => !map.is_empty(),
            _ => true,
        }
    }

    /// A whole number, or none; a text that is one will do, for Flower sends such.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Raised> {
        match self.get(name) {
            Value::Null => Ok(None),
            Value::Int(number) => Ok(Some(*number)),
            Value::Str(text) => match text.trim().parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.wrong(name, "int", self.get(name))),
            },
            other => Err(self.wrong(name, "int", other)),
        }
    }

    /// Seconds, or none.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<f64>, Raised> {
        let value = self.get(name);
        let number = match value {
            Value::Null => return Ok(None),
            Value::Str(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        match number {
            Some(number) if number.is_finite() && number >= 0.0 => Ok(Some(number)),
            _ => Err(self.wrong(name, "float", value)),
        }
    }

    /// A text, or a list of them (`celery/utils/functional.py`, `maybe_list`); what is no text is left out.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Value::Str(text) => vec![text.clone()],
            Value::List(items) => {
                let texts = items.iter().filter_map(Value::as_str);
                texts.map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    fn wrong(&self, name: &str, expected: &str, given: &Value) -> Raised {
        type_error(&format!(
            "{}() argument '{name}' must be {expected}, not {}",
            self.function,
            python_type(given)
        ))
    }
}

fn type_error(text: &str) -> Raised {
    Raised::new("TypeError", text)
}

/// The name that Python has for a value's type.
fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Big(_) => "int",
        Value::Float(_) => "float",
        Value::Str(_) => "str",
        Value::List(_) => "list",
        Value::Map(_) => "dict",
        Value::Bytes(_) => "bytes",
        _ => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(required: &'static [&'static str], others: bool, given: &str) -> Result<(), String> {
        let parameters = Parameters {
            function: "f",
            required,
            optional: &["n"],
            others,
        };
        let given = Value::from_json(given.as_bytes()).unwrap();
        parameters
            .bind(given)
            .map(drop)
            .map_err(|raised| raised.to_string())
    }

    #[test]
    fn arguments_are_refused_in_python_s_words() {
        let check = |required, others, given, expected: &str| {
            assert_eq!(bind(required, others, given), Err(expected.to_owned()));
        };
        check(
            &[],
            false,
            r#"{"nope": 1}"#,
            r#"TypeError("f() got an unexpected keyword argument 'nope'")"#,
        );
        check(
            &["a"],
            true,
            "{}",
            r#"TypeError("f() missing 1 required positional argument: 'a'")"#,
        );
        check(
            &["a", "b"],
            true,
            "{}",
            r#"TypeError("f() missing 2 required positional arguments: 'a' and 'b'")"#,
        );
        check(
            &["a", "b", "c"],
            true,
            "{}",
            r#"TypeError("f() missing 3 required positional arguments: 'a', 'b', and 'c'")"#,
        );
        check(
            &[],
            true,
            "[1]",
            "TypeError('f() argument after ** must be a mapping, not list')",
        );
        check(
            &[],
            true,
            r#"{"state": 1}"#,
            r#"TypeError("f() got multiple values for argument 'state'")"#,
        );
        assert!(bind(&["a"], true, r#"{"a": null, "n": 1, "x": 2}"#).is_ok());
    }
}
