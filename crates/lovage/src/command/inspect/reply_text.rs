//! Replies of nodes as people read them.
//!
//! A reply is foreign: whatever it holds is shown somehow, and what has another shape than expected as it is.

use std::time::Duration;

use lovage_protocol::{Map, Value, args_repr, kwargs_repr, saferepr};

use crate::{
    output::{self, FAINT, NAME},
    table::Table,
};

/// Characters of a task's arguments in a table.
const ARGUMENTS: usize = 120;
/// Names in front of values are not filled up further than this.
const WIDEST_NAME: usize = 44;

/// The text below a node's name, for the command that was asked; empty when there is nothing to say.
pub(super) fn of(method: &str, value: &Value, now: f64) -> String {
    // `ping`, `report`.
    if let Some(value) = value.get("ok") {
        return plain(value);
    }
    let text = match (method, value) {
        ("active", Value::List(tasks)) => active(tasks, now),
        ("reserved", Value::List(tasks)) => reserved(tasks),
        ("scheduled", Value::List(entries)) => scheduled(entries),
        ("active_queues", Value::List(queues)) => active_queues(queues),
        ("query_task", Value::Map(tasks)) => query_task(tasks, now),
        ("conf", Value::Map(settings)) => facts(settings.iter().map(|(name, value)| {
            let name = output::one_line(name);
            (name, output::one_line(&saferepr(value)))
        })),
        (_, Value::Map(map)) => {
            let mut pairs = Vec::new();
            flatten("", map, &mut pairs);
            facts(pairs.into_iter())
        }
        (_, Value::List(items)) => lines(items),
        (_, other) => Some(plain(other)),
    };
    text.unwrap_or_else(|| format!("{FAINT}- empty -{FAINT:#}"))
}

/// Text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Str(text) => output::printable(text.trim_matches('\n')).into_owned(),
        other => output::printable(&other.to_json()).into_owned(),
    }
}

fn lines(items: &[Value]) -> Option<String> {
    let lines: Vec<String> = items
        .iter()
        .map(|item| output::one_line(&plain(item)))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Names and values, aligned.
fn facts(pairs: impl Iterator<Item = (String, String)>) -> Option<String> {
    let pairs: Vec<_> = pairs.collect();
    let widths = pairs.iter().map(|(name, _)| name.chars().count());
    let width = widths.max()?.min(WIDEST_NAME);
    let lines: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{NAME}{name:width$}{NAME:#}  {value}"))
        .collect();
    Some(lines.join("\n"))
}

/// Objects in objects as dotted names.
fn flatten(prefix: &str, map: &Map, out: &mut Vec<(String, String)>) {
    for (name, value) in map {
        let name = format!("{prefix}{}", output::one_line(name));
        match value {
            Value::Map(inner) if !inner.is_empty() => flatten(&format!("{name}."), inner, out),
            Value::Null => out.push((name, "-".to_owned())),
            Value::Str(text) if text.is_empty() => out.push((name, "-".to_owned())),
            Value::Float(number) => out.push((name, format!("{number:.3}"))),
            Value::Str(text) => out.push((name, output::one_line(text))),
            other => out.push((name, output::one_line(&other.to_json()))),
        }
    }
}

fn text(of: &Value, name: &str) -> String {
    match of.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Str(text)) => output::one_line(text),
        Some(other) => output::one_line(&other.to_json()),
    }
}

/// A task's arguments as Python writes them; with `safe` the node has written them itself.
fn arguments(task: &Value) -> String {
    let args = match task.get("args") {
        Some(Value::Str(text)) => text.clone(),
        Some(Value::List(args)) => args_repr(args),
        Some(other) => saferepr(other),
        None => "-".to_owned(),
    };
    let kwargs = match task.get("kwargs") {
        Some(Value::Str(text)) if text != "{}" => format!(" {text}"),
        Some(Value::Map(kwargs)) if !kwargs.is_empty() => format!(" {}", kwargs_repr(kwargs)),
        _ => String::new(),
    };
    output::cut(&output::one_line(&format!("{args}{kwargs}")), ARGUMENTS).into_owned()
}

fn running_for(task: &Value, now: f64) -> String {
    let start = task.get("time_start").and_then(Value::as_f64);
    let since = start.and_then(|start| Duration::try_from_secs_f64((now - start).max(0.0)).ok());
    since.map_or_else(|| "-".to_owned(), output::duration)
}

fn active(tasks: &[Value], now: f64) -> Option<String> {
    let mut table = Table::new(["ID", "NAME", "RUNNING FOR", "PID", "ARGS"]);
    for task in tasks {
        table.push([
            text(task, "id"),
            text(task, "name"),
            running_for(task, now),
            text(task, "worker_pid"),
            arguments(task),
        ]);
    }
    (!tasks.is_empty()).then(|| table.to_string())
}

fn reserved(tasks: &[Value]) -> Option<String> {
    let mut table = Table::new(["ID", "NAME", "QUEUE", "ARGS"]);
    for task in tasks {
        let queue = task.get("delivery_info");
        table.push([
            text(task, "id"),
            text(task, "name"),
            queue.map_or_else(|| "-".to_owned(), |info| text(info, "routing_key")),
            arguments(task),
        ]);
    }
    (!tasks.is_empty()).then(|| table.to_string())
}

fn scheduled(entries: &[Value]) -> Option<String> {
    let mut table = Table::new(["ETA", "PRIORITY", "ID", "NAME", "ARGS"]);
    for entry in entries {
        let request = entry.get("request").unwrap_or(&Value::Null);
        table.push([
            text(entry, "eta"),
            text(entry, "priority"),
            text(request, "id"),
            text(request, "name"),
            arguments(request),
        ]);
    }
    (!entries.is_empty()).then(|| table.to_string())
}

fn active_queues(queues: &[Value]) -> Option<String> {
    let mut table = Table::new(["QUEUE", "EXCHANGE", "TYPE", "ROUTING KEY", "DURABLE"]);
    for queue in queues {
        let exchange = queue.get("exchange").unwrap_or(&Value::Null);
        let durable = match queue.get("durable").and_then(Value::as_bool) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        table.push([
            text(queue, "name"),
            text(exchange, "name"),
            text(exchange, "type"),
            text(queue, "routing_key"),
            durable.to_owned(),
        ]);
    }
    (!queues.is_empty()).then(|| table.to_string())
}

/// `{id: [state, task]}`.
fn query_task(tasks: &Map, now: f64) -> Option<String> {
    let mut table = Table::new(["ID", "IS", "NAME", "RUNNING FOR", "ARGS"]);
    for (id, found) in tasks {
        let found = found.as_list().unwrap_or_default();
        let state = found.first().unwrap_or(&Value::Null);
        let task = found.get(1).unwrap_or(&Value::Null);
        table.push([
            output::one_line(id),
            output::one_line(&plain(state)),
            text(task, "name"),
            running_for(task, now),
            arguments(task),
        ]);
    }
    (!tasks.is_empty()).then(|| table.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, json: &str, expected: &str) {
        let value = Value::from_json(json.as_bytes()).unwrap();
        let text = of(method, &value, 1_795_409_450.0);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, expected, "{method}");
    }

    const SLEEP: &str = r#"{"id": "i1", "name": "t.sleep", "args": [40], "kwargs": {"k": {"x": null}}, "type": "t.sleep",
        "hostname": "w1@host1", "time_start": 1795409443.75, "acknowledged": true,
        "delivery_info": {"exchange": "", "routing_key": "hot", "priority": 0, "redelivered": false}, "worker_pid": 26480}"#;

    #[test]
    fn tasks_are_tables() {
        check(
            "active",
            &format!("[{SLEEP}]"),
            "ID  NAME     RUNNING FOR  PID    ARGS\n\
             i1  t.sleep  6.2 s        26480  (40,) {'k': {'x': None}}",
        );
        check(
            "active",
            r#"[{"id": "i2", "name": "t\n", "args": "(1, 2)", "kwargs": "{}"}]"#,
            "ID  NAME  RUNNING FOR  PID  ARGS\n\
             i2  t\\n   -            -    (1, 2)",
        );
        check(
            "reserved",
            &format!("[{SLEEP}]"),
            "ID  NAME     QUEUE  ARGS\n\
             i1  t.sleep  hot    (40,) {'k': {'x': None}}",
        );
        check(
            "scheduled",
            &format!(
                r#"[{{"eta": "2026-11-23T05:50:43+00:00", "priority": 6, "request": {SLEEP}}}]"#
            ),
            "ETA                        PRIORITY  ID  NAME     ARGS\n\
             2026-11-23T05:50:43+00:00  6         i1  t.sleep  (40,) {'k': {'x': None}}",
        );
        check(
            "query_task",
            &format!(r#"{{"i1": ["active", {SLEEP}]}}"#),
            "ID  IS      NAME     RUNNING FOR  ARGS\n\
             i1  active  t.sleep  6.2 s        (40,) {'k': {'x': None}}",
        );
    }

    #[test]
    fn queues_are_a_table() {
        check(
            "active_queues",
            r#"[{"name": "celery", "exchange": {"name": "celery", "type": "direct"}, "routing_key": "celery", "durable": true}]"#,
            "QUEUE   EXCHANGE  TYPE    ROUTING KEY  DURABLE\n\
             celery  celery    direct  celery       yes",
        );
    }

    #[test]
    fn objects_are_aligned_names_and_values() {
        check(
            "stats",
            r#"{"total": {"t.sleep": 2}, "pid": 7, "clock": "12", "pool": {"timeouts": [0, 0], "writes": {"avg": "0.50"}},
                "rusage": {"utime": 0.491656}, "broker": {"userid": null, "transport_options": {}}}"#,
            "total.t.sleep             2\n\
             pid                       7\n\
             clock                     12\n\
             pool.timeouts             [0, 0]\n\
             pool.writes.avg           0.50\n\
             rusage.utime              0.492\n\
             broker.userid             -\n\
             broker.transport_options  {}",
        );
        check(
            "conf",
            r#"{"broker_url": "redis://:********@h/0", "include": ["a", "b"], "enabled": true, "nothing": null}"#,
            "broker_url  'redis://:********@h/0'\n\
             include     ['a', 'b']\n\
             enabled     True\n\
             nothing     None",
        );
        check("clock", r#"{"clock": 23}"#, "clock  23");
    }

    #[test]
    fn texts_are_shown_as_they_are() {
        check("ping", r#"{"ok": "pong"}"#, "pong");
        check(
            "report",
            r#"{"ok": "\nsoftware -> celery:5.7.0\n"}"#,
            "software -> celery:5.7.0",
        );
        check("memsample", r#""61.949MB""#, "61.949MB");
        check(
            "memdump",
            r#""- rss:\n-    > 61MB\n""#,
            "- rss:\n-    > 61MB",
        );
        check(
            "registered",
            r#"["t.add", "t.echo [rate_limit=2/s]"]"#,
            "t.add\nt.echo [rate_limit=2/s]",
        );
    }

    #[test]
    fn nothing_is_told_as_nothing() {
        for (method, json) in [
            ("active", "[]"),
            ("revoked", "[]"),
            ("query_task", "{}"),
            ("stats", "{}"),
        ] {
            check(method, json, "- empty -");
        }
        check("memsample", "null", "");
    }

    #[test]
    fn other_shapes_than_expected_are_shown_too() {
        check("active", r#"{"a": 1}"#, "a  1");
        check(
            "active",
            "[7]",
            "ID  NAME  RUNNING FOR  PID  ARGS\n-   -     -            -    -",
        );
        check(
            "query_task",
            r#"{"i": 7}"#,
            "ID  IS  NAME  RUNNING FOR  ARGS\ni       -     -            -",
        );
        check(
            "scheduled",
            "[null]",
            "ETA  PRIORITY  ID  NAME  ARGS\n-    -         -   -     -",
        );
    }
}
