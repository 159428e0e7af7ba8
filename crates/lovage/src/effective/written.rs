//! How values are written in a variable.

use std::{fmt::Display, time::Duration};

use lovage_settings::{
    Annotations, DatabaseOptions, FanoutPrefix, QueueOrder, Redact, RedisTls, RedisUrl,
    ResultSettings, Route, RoutePattern, SentinelOptions, TaskQueue, TransportOptions,
};
use serde_json::{Value, json};

/// As one would write it; passwords are not among them.
pub(super) fn transport_options(options: &TransportOptions) -> String {
    let mut value = json!({
        "visibility_timeout": number(options.visibility_timeout),
        "priority_steps": options.priority_steps,
        "sep": options.sep,
        "queue_order_strategy": match options.queue_order_strategy {
            QueueOrder::RoundRobin => "round_robin",
            QueueOrder::Priority => "priority",
            QueueOrder::Sorted => "sorted",
        },
        "unacked_key": options.unacked_key,
        "unacked_index_key": options.unacked_index_key,
        "unacked_mutex_key": options.unacked_mutex_key,
        "unacked_mutex_expire": number(options.unacked_mutex_expire),
        "global_keyprefix": options.global_keyprefix,
        "fanout_prefix": match &options.fanout_prefix {
            FanoutPrefix::Default => json!(true),
            FanoutPrefix::Off => json!(false),
            FanoutPrefix::Custom(text) => json!(text),
        },
        "fanout_patterns": options.fanout_patterns,
    });
    for (name, set) in [
        (
            "unacked_restore_limit",
            options.unacked_restore_limit.map(|limit| json!(limit)),
        ),
        ("socket_timeout", options.socket_timeout.map(number)),
        (
            "socket_connect_timeout",
            options.socket_connect_timeout.map(number),
        ),
        (
            "sentinel_fanout_compat",
            options.sentinel_fanout_compat.then_some(Value::Bool(true)),
        ),
    ] {
        if let Some(set) = set {
            value[name] = set;
        }
    }
    sentinel_options(&options.sentinel, &mut value);
    value.to_string()
}

pub(super) fn result_options(results: &ResultSettings) -> String {
    let mut value = json!({"global_keyprefix": results.global_keyprefix});
    sentinel_options(&results.sentinel, &mut value);
    value.to_string()
}

/// The names of the tables of results.
pub(super) fn table_names(options: &DatabaseOptions) -> String {
    json!({"task": options.task_table.name, "group": options.group_table.name}).to_string()
}

/// The schemas of those that have one.
pub(super) fn table_schemas(options: &DatabaseOptions) -> String {
    let mut value = json!({});
    for (table, schema) in [
        ("task", &options.task_table.schema),
        ("group", &options.group_table.schema),
    ] {
        if let Some(schema) = schema {
            value[table] = json!(schema);
        }
    }
    value.to_string()
}

/// SQLAlchemy's options, as far as they hold here.
pub(super) fn engine_options(options: &DatabaseOptions) -> String {
    let recycle = options
        .recycle
        .map_or(json!(-1), |life| json!(life.as_secs()));
    json!({"pool_size": options.connections, "max_overflow": 0, "pool_recycle": recycle})
        .to_string()
}

/// The options of sentinels, where a master is named; the password is masked.
fn sentinel_options(options: &SentinelOptions, into: &mut serde_json::Value) {
    if options.master_name.is_empty() {
        return;
    }
    into["master_name"] = json!(options.master_name);
    into["min_other_sentinels"] = json!(options.min_other_sentinels);
    let mut kwargs = serde_json::Map::new();
    for (name, set) in [
        ("username", options.username.clone().map(|name| json!(name))),
        (
            "password",
            options
                .password
                .as_ref()
                .map(|secret| json!(secret.to_string())),
        ),
        ("socket_timeout", options.timeout.map(number)),
        ("ssl", options.tls.is_some().then_some(Value::Bool(true))),
    ] {
        if let Some(set) = set {
            kwargs.insert(name.to_owned(), set);
        }
    }
    kwargs.extend(options.tls.iter().flat_map(tls_entries));
    if !kwargs.is_empty() {
        into["sentinel_kwargs"] = kwargs.into();
    }
}

/// The encryption of a connection, as the `use_ssl` settings write it.
fn tls_entries(tls: &RedisTls) -> Vec<(String, serde_json::Value)> {
    tls.parameters()
        .into_iter()
        .map(|(name, value)| {
            let value = tls
                .check_hostname
                .filter(|_| name == "ssl_check_hostname")
                .map_or_else(|| json!(value), |check| json!(check));
            (name.to_owned(), value)
        })
        .collect()
}

/// The encryption of the first server.
pub(super) fn use_ssl(urls: Option<&[RedisUrl]>) -> String {
    urls.and_then(<[RedisUrl]>::first)
        .and_then(|url| url.tls.as_ref())
        .map_or_else(
            || "false".to_owned(),
            |tls| serde_json::Value::Object(tls_entries(tls).into_iter().collect()).to_string(),
        )
}

/// A list of pairs, in the order of trying.
pub(super) fn routes(routes: &[Route]) -> String {
    let pairs: Vec<Value> = routes
        .iter()
        .map(|route| {
            let pattern = match &route.pattern {
                RoutePattern::Exact(text) | RoutePattern::Glob(text) => text.clone(),
                RoutePattern::Regex(text) => format!("re:{text}"),
            };
            let mut target = json!({});
            if let Some(queue) = &route.queue {
                target["queue"] = json!(queue);
            }
            if let Some(exchange) = &route.exchange {
                target["exchange"] = json!(exchange);
            }
            if let Some(key) = &route.routing_key {
                target["routing_key"] = json!(key);
            }
            if let Some(priority) = route.priority {
                target["priority"] = json!(priority);
            }
            json!([pattern, target])
        })
        .collect();
    Value::from(pairs).to_string()
}

/// The fields that a history hides, as they are given.
pub(super) fn redact(redact: &Redact) -> String {
    let every = (!redact.every.is_empty()).then_some(("*", &redact.every));
    let tasks = redact
        .tasks
        .iter()
        .map(|(name, fields)| (name.as_str(), fields));
    let rules: serde_json::Map<String, serde_json::Value> = tasks
        .chain(every)
        .map(|(name, fields)| (name.to_owned(), serde_json::json!(fields)))
        .collect();
    serde_json::Value::Object(rules).to_string()
}

/// As they were given.
pub(super) fn annotations(annotations: &Annotations) -> String {
    match annotations.text.as_str() {
        "" => "{}".to_owned(),
        given => given.to_owned(),
    }
}

/// Names with commas where that says all, else a list of objects.
pub(super) fn queues(queues: &[TaskQueue]) -> String {
    let plain = |queue: &TaskQueue| *queue == TaskQueue::plain(&queue.name);
    if queues.iter().all(plain) {
        let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
        return names.join(",");
    }
    let entries: Vec<Value> = queues
        .iter()
        .map(|queue| {
            let mut entry = json!({"name": queue.name});
            for (name, set) in [
                ("alias", &queue.alias),
                ("exchange", &queue.exchange),
                ("routing_key", &queue.routing_key),
            ] {
                if let Some(set) = set {
                    entry[name] = json!(set);
                }
            }
            if queue.broadcast {
                entry["broadcast"] = json!(true);
            } else if let Some(kind) = queue.exchange_type {
                entry["exchange_type"] = json!(kind.name());
            }
            if let Some(expires) = queue.expires {
                entry["x-expires"] = json!(expires.as_secs_f64() * 1000.0);
            }
            entry
        })
        .collect();
    Value::from(entries).to_string()
}

pub(super) fn optional(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

pub(super) fn seconds(length: Duration) -> String {
    length.as_secs_f64().to_string()
}

/// Whole seconds as a whole number.
fn number(length: Duration) -> Value {
    if length.subsec_nanos() == 0 {
        json!(length.as_secs())
    } else {
        json!(length.as_secs_f64())
    }
}

pub(super) fn with_unit(length: Duration) -> String {
    if length.subsec_millis() == 0 {
        format!("{}s", length.as_secs())
    } else {
        format!("{}ms", length.as_millis())
    }
}

pub(super) fn size(bytes: usize) -> String {
    match bytes {
        whole if whole > 0 && whole.is_multiple_of(1 << 20) => format!("{}MiB", whole >> 20),
        other => format!("{other}B"),
    }
}
