//! Gives a dashboard that was started anew its history back: saved events are sent once more, with their old times.
//!
//! Everybody who listens hears them, so this is done only when asked for. They carry a mark, by which a keeper knows what it has
//! kept already.

use std::{collections::HashSet, sync::Arc, time::Duration};

use lovage_broker::Broker;
use lovage_database::{Database, store::task_event};
use lovage_flower_compat::machine;
use lovage_protocol::{
    Value,
    event::{self, Event, EventText, Origin},
};
use tokio::time::{MissedTickBehavior, interval};

use crate::Error;

/// The field that marks an event as told before.
pub(crate) const REPLAYED: &str = "replayed";
/// So many events go in one letter.
const LETTER: usize = 200;
/// A letter each so often: 4,000 events a second, which a Flower reads without falling so far behind that Redis drops it.
const PAUSE: Duration = Duration::from_millis(50);
/// The fields that are written anew.
const ENVELOPE: [&str; 6] = ["hostname", "utcoffset", "pid", "clock", "timestamp", "type"];
/// What only the last event of an attempt may tell.
const END: [&str; 6] = [
    "result",
    "exception",
    "traceback",
    "runtime",
    "received",
    "started",
];

/// Sends the newest saved events, up to so many, once more, in the order of their times, and tells how many were sent: a record of
/// the journal is one that was saved, and up to three that are sent.
///
/// # Errors
/// When the database or the broker does not do its part; some may have been sent by then.
pub async fn replay(
    database: &Database,
    broker: &Arc<dyn Broker>,
    last: u64,
) -> Result<usize, Error> {
    let saved = task_event::last(database.reader(), last).await?;
    let bodies = saved.iter().map(|saved| saved.event.body.as_str());
    let again = tell(bodies);
    let mut pace = interval(PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = 0;
    for letter in again.chunks(LETTER) {
        pace.tick().await;
        let mut body = "[".to_owned();
        for one in letter {
            clock += 1;
            if body.len() > 1 {
                body.push_str(", ");
            }
            one.write(&mut body, clock);
        }
        body.push(']');
        let payload = event::envelope(&origin("", 0), event::MULTI, &body);
        broker
            .broadcast(event::EXCHANGE, event::MULTI, payload.into())
            .await?;
    }
    Ok(again.len())
}

/// An event to be told again.
#[derive(Debug, Clone, PartialEq)]
struct Again {
    kind: String,
    at: f64,
    event: Event,
}

impl Again {
    fn write(&self, out: &mut String, clock: i64) {
        let fields = &self.event.fields;
        let pid = fields.get("pid").and_then(Value::as_i64);
        let pid = pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        let mut origin = origin(&self.event.hostname, pid);
        if let Some(offset) = fields.get("utcoffset").and_then(Value::as_f64) {
            origin.utcoffset = offset;
        }
        let mut text = EventText::begin(out, &origin, clock);
        let is_end = self.kind == self.event.kind;
        for (name, value) in fields {
            if !ENVELOPE.contains(&name.as_str()) && (is_end || !END.contains(&name.as_str())) {
                text.value(name, value);
            }
        }
        text.bool(REPLAYED, true);
        text.end(self.at, &self.kind);
    }
}

fn origin(hostname: &str, pid: u32) -> Origin {
    Origin {
        hostname: hostname.to_owned(),
        pid,
        utcoffset: machine::utcoffset(),
    }
}

/// Events as Celery tells them, in the order of their times. A record of the journal tells of a whole attempt: it is told as
/// reception, begin and end, as far as those were not saved by themselves.
fn tell<'a>(bodies: impl Iterator<Item = &'a str>) -> Vec<Again> {
    let read: Vec<Event> = bodies
        .filter_map(|body| Event::from_json(body.as_bytes()).ok())
        .collect();
    let mut known: HashSet<(String, String, i64)> = read
        .iter()
        .map(|event| attempt(event, &event.kind))
        .collect();
    let mut again = Vec::with_capacity(read.len());
    for event in read {
        for (kind, field) in [("task-received", "received"), ("task-started", "started")] {
            let at = event.fields.get(field).and_then(Value::as_f64);
            if let Some(at) = at
                && known.insert(attempt(&event, kind))
            {
                again.push(Again {
                    kind: kind.to_owned(),
                    at,
                    event: event.clone(),
                });
            }
        }
        again.push(Again {
            kind: event.kind.clone(),
            at: event.timestamp,
            event,
        });
    }
    // A stable sort: what has one time stays in the order of an attempt.
    again.sort_by(|a, b| a.at.total_cmp(&b.at));
    again
}

/// Names what an event of this kind tells of an attempt.
fn attempt(event: &Event, kind: &str) -> (String, String, i64) {
    let retries = event.fields.get("retries").and_then(Value::as_i64);
    let task = event.text("uuid").unwrap_or_default();
    (task.to_owned(), kind.to_owned(), retries.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bodies: &[&str]) -> Vec<String> {
        tell(bodies.iter().copied())
            .iter()
            .map(|again| {
                let mut out = String::new();
                again.write(&mut out, 9);
                out
            })
            .collect()
    }

    #[test]
    fn a_record_is_told_as_celery_tells_it() {
        let told = told(&[
            r#"{"hostname": "w@h", "uuid": "1", "name": "t", "retries": 0, "received": 10.0, "started": 11.0, "result": "4",
                "runtime": 0.5, "timestamp": 12.0, "type": "task-succeeded"}"#,
        ]);
        assert_eq!(told.len(), 3);
        let offset = machine::utcoffset();
        let offset = Value::Float(offset).to_json();
        assert_eq!(
            told[0],
            format!(
                r#"{{"hostname": "w@h", "utcoffset": {offset}, "pid": 0, "clock": 9, "uuid": "1", "name": "t", "retries": 0, "replayed": true, "timestamp": 10.0, "type": "task-received"}}"#
            )
        );
        assert!(
            told[1].contains(r#""timestamp": 11.0, "type": "task-started""#),
            "{}",
            told[1]
        );
        assert!(
            told[2].contains(r#""result": "4""#) && told[2].contains("12.0"),
            "{}",
            told[2]
        );
    }

    #[test]
    fn what_was_recorded_by_itself_is_told_once() {
        let told = told(&[
            r#"{"hostname": "w@h", "uuid": "1", "retries": 0, "timestamp": 11.0, "type": "task-started"}"#,
            r#"{"hostname": "w@h", "uuid": "1", "retries": 0, "received": 10.0, "started": 11.0, "timestamp": 12.0, "type": "task-failed"}"#,
            r#"{"hostname": "w@h", "uuid": "1", "retries": 1, "received": 13.0, "started": 14.0, "timestamp": 15.0, "type": "task-succeeded"}"#,
        ]);
        let kinds: Vec<&str> = told
            .iter()
            .filter_map(|text| text.rsplit(r#""type": ""#).next()?.strip_suffix("\"}"))
            .collect();
        assert_eq!(
            kinds,
            [
                "task-received",
                "task-started",
                "task-failed",
                "task-received",
                "task-started",
                "task-succeeded"
            ]
        );
    }
}
