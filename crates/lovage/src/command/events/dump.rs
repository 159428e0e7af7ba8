//! Events as lines of text (`celery/events/dumper.py`).

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use lovage_protocol::{Value, event::Event, repr::python_repr};

/// So many tasks are remembered by what they were called with, as Celery does.
const TASKS: usize = 4095;

/// Writes lines. Later events of a task show what it was called with, which only the first ones say.
#[derive(Debug, Default)]
pub(super) struct Dump {
    calls: HashMap<String, String>,
    order: VecDeque<String>,
}

impl Dump {
    /// The line of an event that was heard at that unix time.
    ///
    /// Celery moves the time of an event by the difference of time zones, although it is in UTC already; here it is left
    /// alone. In one time zone it is the same.
    pub(super) fn line(&mut self, event: &Event, received: f64) -> String {
        let kind = event.kind.to_lowercase();
        let mut hidden = vec!["timestamp", "type", "hostname"];
        let mut call = None;
        if kind.starts_with("task-") {
            hidden.push("uuid");
            let uuid = event.text("uuid").unwrap_or_default();
            if kind == "task-received" || kind == "task-sent" {
                hidden.extend(["name", "args", "kwargs"]);
                self.remember(uuid, event);
            }
            call = Some(self.calls.get(uuid).map_or("", String::as_str));
        }
        let mut fields: Vec<(&str, String)> = event
            .fields
            .iter()
            .filter(|(name, _)| !hidden.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), python_text(value)))
            .collect();
        fields.push(("local_received", python_text(&Value::Float(received))));
        fields.sort();
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let (time, meaning) = (time(event.timestamp), meaning(&kind));
        let call = call.map(|call| format!("{call} ")).unwrap_or_default();
        let fields = fields.join(", ");
        format!("{} [{time}] {meaning}: {call}{fields}", event.hostname)
    }

    fn remember(&mut self, uuid: &str, event: &Event) {
        let part = |name| event.fields.get(name).map_or_else(String::new, python_text);
        let (name, args, kwargs) = (part("name"), part("args"), part("kwargs"));
        let call = format!("{name}({uuid}) args={args} kwargs={kwargs}");
        if self.calls.insert(uuid.to_owned(), call).is_none() {
            self.order.push_back(uuid.to_owned());
        }
        if self.order.len() > TASKS
            && let Some(oldest) = self.order.pop_front()
        {
            self.calls.remove(&oldest);
        }
    }
}

fn meaning(kind: &str) -> String {
    match kind {
        "worker-offline" => "shutdown".to_owned(),
        "worker-online" => "started".to_owned(),
        "worker-heartbeat" => "heartbeat".to_owned(),
        other => other.replace('-', " "),
    }
}

/// Python's `str`: text as it is, anything else as its `repr`.
fn python_text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        other => python_repr(other),
    }
}

/// Python's `str` of a time in UTC: it has no fraction when that is nothing.
fn time(timestamp: f64) -> String {
    let micros = std::time::Duration::try_from_secs_f64(timestamp)
        .ok()
        .and_then(|since| i64::try_from((since.as_nanos() + 500) / 1000).ok())
        .and_then(DateTime::<Utc>::from_timestamp_micros);
    match micros {
        None => timestamp.to_string(),
        Some(time) if time.timestamp_subsec_micros() == 0 => {
            time.format("%Y-%m-%d %H:%M:%S+00:00").to_string()
        }
        Some(time) => time.format("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Event {
        let Value::Map(fields) = Value::from_json(json.as_bytes()).unwrap() else {
            panic!("an object")
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        Event {
            kind: text("type").to_owned(),
            hostname: text("hostname").to_owned(),
            timestamp: fields.get("timestamp").and_then(Value::as_f64).unwrap(),
            clock: None,
            fields: fields.clone(),
        }
    }

    #[test]
    fn lines_are_those_of_celery() {
        let mut dump = Dump::default();
        let mut check = |json: &str, expected: &str| {
            assert_eq!(dump.line(&event(json), 1_795_410_373.5), expected);
        };
        check(
            r#"{"hostname": "w1@h", "utcoffset": 0.0, "pid": 7, "clock": 3, "loadavg": [2.2, 1.72], "timestamp": 1795410372.513242, "type": "worker-heartbeat"}"#,
            "w1@h [2026-11-23 05:06:12.513242+00:00] heartbeat: clock=3, loadavg=[2.2, 1.72], \
             local_received=1795410373.5, pid=7, utcoffset=0.0",
        );
        check(
            r#"{"hostname": "w1@h", "uuid": "u1", "name": "t.add", "args": "(2, 'x')", "kwargs": "{}", "eta": null, "timestamp": 1795410372.0, "type": "task-received"}"#,
            "w1@h [2026-11-23 05:06:12+00:00] task received: t.add(u1) args=(2, 'x') kwargs={} \
             eta=None, local_received=1795410373.5",
        );
        check(
            r#"{"hostname": "w1@h", "uuid": "u1", "result": "'x'", "timestamp": 1795410372.0, "type": "task-succeeded"}"#,
            "w1@h [2026-11-23 05:06:12+00:00] task succeeded: t.add(u1) args=(2, 'x') kwargs={} \
             local_received=1795410373.5, result='x'",
        );
        check(
            r#"{"hostname": "w1@h", "uuid": "u2", "timestamp": 1795410372.0, "type": "task-started"}"#,
            "w1@h [2026-11-23 05:06:12+00:00] task started:  local_received=1795410373.5",
        );
    }

    #[test]
    fn only_so_many_tasks_are_remembered() {
        let mut dump = Dump::default();
        for number in 0..TASKS + 5 {
            let json = format!(
                r#"{{"hostname": "w", "uuid": "u{number}", "name": "t", "timestamp": 1.0, "type": "task-sent"}}"#
            );
            dump.line(&event(&json), 1.0);
        }
        assert_eq!((dump.calls.len(), dump.order.len()), (TASKS, TASKS));
        assert!(!dump.calls.contains_key("u4") && dump.calls.contains_key("u5"));
    }
}
