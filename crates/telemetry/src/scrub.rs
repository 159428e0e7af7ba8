//! Which values are not shown: those whose names speak of secrets, wherever they stand in a value.

use lovage_protocol::{Map, Value};
use serde_json::Value as Json;

/// What stands in the place of what is not shown; Sentry's own words.
pub(crate) const FILTERED: &str = "[Filtered]";

/// Parts of names that speak of secrets, in lower case without `-`, `_` and blanks.
const SECRET: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "auth",
    "credential",
    "privatekey",
    "session",
    "cookie",
    "csrf",
    "xsrf",
    "signature",
];

/// Whether a value of this name is better not shown.
pub(crate) fn is_secret(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|c| !matches!(c, '-' | '_' | ' '))
        .flat_map(char::to_lowercase)
        .collect();
    SECRET.iter().any(|part| plain.contains(part))
}

/// A value as JSON, without what is not to be shown.
pub(crate) fn scrubbed(value: &Value) -> Json {
    match value {
        Value::Map(map) => scrubbed_map(map),
        Value::List(items) => items.iter().map(scrubbed).collect(),
        Value::Null => Json::Null,
        Value::Bool(yes) => Json::Bool(*yes),
        Value::Int(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::Str(text) => Json::from(text.as_str()),
        other => Json::from(lovage_protocol::saferepr(other)),
    }
}

/// The same of named values.
pub(crate) fn scrubbed_map(map: &Map) -> Json {
    map.iter()
        .map(|(name, value)| (name.clone(), named(name, value)))
        .collect()
}

/// The same of a value that has this name.
pub(crate) fn named(name: &str, value: &Value) -> Json {
    match is_secret(name) {
        true => Json::from(FILTERED),
        false => scrubbed(value),
    }
}

#[cfg(test)]
mod tests {
    use lovage_protocol::Value;
    use serde_json::json;

    use super::{is_secret, scrubbed};

    #[test]
    fn names_that_speak_of_secrets_are_known_however_they_are_written() {
        for name in [
            "password",
            "API-Key",
            "api_key",
            "userToken",
            "HTTP_AUTHORIZATION",
            "db.passwd",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["user", "key", "pass_rate", "id", "amount"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        let value = br#"{"user": "ada", "login": [{"password": "sesame", "try": 1.5}], "token": {"a": 1}, "none": null}"#;
        let shown = scrubbed(&Value::from_json(value).unwrap());
        let expected = json!({"user": "ada", "login": [{"password": "[Filtered]", "try": 1.5}], "token": "[Filtered]", "none": null});
        assert_eq!(shown, expected);
    }
}
