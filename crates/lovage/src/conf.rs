//! The settings as `celery inspect conf` shows them: by Celery's names, as values, secrets masked (`celery/app/utils.py`, `table`).

use lovage_protocol::{Map, Value};
use lovage_settings::Settings;
use lovage_worker::Conf;

use crate::effective::effective;

/// What Celery hides, by name; by that rule even a routing key.
const HIDDEN: [&str; 9] = [
    "api",
    "token",
    "key",
    "secret",
    "pass",
    "profanities_list",
    "signature",
    "database",
    "beat_dburi",
];
const MASK: &str = "********";

/// Where Celery's own default is another: shown as if changed, for whoever knows Celery.
const OUR_DEFAULTS: [&str; 2] = ["CELERY_TASK_ACKS_LATE", "CELERY_TASK_REJECT_ON_WORKER_LOST"];

/// Settings of Celery that have no variable here, as they hold: programs look for them among the changed ones.
const FACTS: [(&str, &str); 6] = [
    ("broker_heartbeat", "0"),
    ("deprecated_settings", ""),
    ("enable_utc", "true"),
    ("include", "[]"),
    ("worker_hijack_root_logger", "false"),
    ("worker_log_color", "false"),
];
/// The same of those that have one: shown though they are as they would be unset.
const ALWAYS_SHOWN: [&str; 4] = [
    "CELERY_ACCEPT_CONTENT",
    "CELERY_TIMEZONE",
    "CELERY_BROKER_URL",
    "CELERY_RESULT_BACKEND",
];

/// The settings, those that hold and those that were changed.
pub(crate) fn conf(settings: &Settings) -> Conf {
    let unset = effective(&Settings::default());
    let mut conf = Conf::default();
    for (name, fact) in FACTS {
        conf.changed.insert(name.to_owned(), value(fact));
        conf.all.insert(name.to_owned(), value(fact));
    }
    for (name, text) in effective(settings) {
        let as_unset = unset
            .iter()
            .any(|(known, default)| *known == name && *default == text);
        let key = name.strip_prefix("CELERY_").unwrap_or(name).to_lowercase();
        let value = match name {
            "CELERY_ACCEPT_CONTENT" => Value::List(text.split(',').map(Value::from).collect()),
            _ => masked(&key, value(&text)),
        };
        if OUR_DEFAULTS.contains(&name) || ALWAYS_SHOWN.contains(&name) || !as_unset {
            conf.changed.insert(key.clone(), value.clone());
        }
        conf.all.insert(key, value);
    }
    conf
}

/// What may be shown of a setting; a table's entries are judged one by one (`celery/app/utils.py`, `filter_hidden_settings`).
fn masked(key: &str, value: Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Map(map) => Value::Map(
            map.into_iter()
                .map(|(key, value)| {
                    let value = masked(&key, value);
                    (key, value)
                })
                .collect(),
        ),
        _ if HIDDEN.iter().any(|word| key.to_lowercase().contains(word)) => MASK.into(),
        value => value,
    }
}

/// A number, yes or no, or what JSON says; else a text.
fn value(text: &str) -> Value {
    match text {
        "" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        text => match Value::from_json_plain(text.as_bytes()) {
            Ok(value @ (Value::Int(_) | Value::Float(_) | Value::List(_))) => value,
            Ok(Value::Map(map)) => Value::Map(Map::from_iter(map)),
            _ => text.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use lovage_settings::Settings;

    use super::conf;

    #[test]
    fn changed_settings_have_celery_s_names_and_no_secret_is_shown() {
        let pairs = [
            ("CELERY_BROKER_URL", "redis://u:sesame@cache/1"),
            ("CELERY_TASK_TIME_LIMIT", "60"),
            ("CELERY_TASK_DEFAULT_ROUTING_KEY", "jobs"),
            ("CELERY_TASK_ROUTES", r#"{"a": "q"}"#),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (settings, _) = Settings::from_lookup(pairs).unwrap();
        let conf = conf(&settings);
        let changed = lovage_protocol::Value::Map(conf.changed.clone()).to_json();
        assert!(!changed.contains("sesame"), "{changed}");
        let get = |name: &str| conf.changed.get(name).map(|value| value.to_json());
        assert_eq!(get("task_time_limit").as_deref(), Some("60"));
        assert_eq!(get("task_acks_late").as_deref(), Some("true"));
        assert_eq!(
            get("task_default_routing_key").as_deref(),
            Some("\"********\"")
        );
        assert!(get("task_routes").unwrap().contains("\"a\""));
        assert_eq!(get("worker_prefetch_multiplier"), None, "as it was");
        assert!(conf.all.contains_key("worker_prefetch_multiplier"));
        assert!(conf.all.contains_key("lovage_lease"));
    }
}
