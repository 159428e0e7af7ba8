//! What an event, or a record of the journal, says of its task. Pure.

use chrono::{DateTime, Utc};
use lovage_protocol::{State, Value, event::Event, time};
use lovage_settings::Redact;

use crate::redaction::{Part, Rules};

/// What one event says. What it does not speak of is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Account {
    pub(crate) task_id: String,
    /// The event's type.
    pub(crate) kind: String,
    pub(crate) at: DateTime<Utc>,
    /// The state that the task is in from then on.
    pub(crate) state: Option<State>,
    pub(crate) name: Option<String>,
    pub(crate) retries: Option<u32>,
    pub(crate) queue: Option<String>,
    pub(crate) routing_key: Option<String>,
    pub(crate) worker: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) args: Option<String>,
    pub(crate) kwargs: Option<String>,
    pub(crate) result: Option<String>,
    pub(crate) exception: Option<String>,
    pub(crate) traceback: Option<String>,
    pub(crate) root_id: Option<String>,
    pub(crate) parent_id: Option<String>,
    pub(crate) group_id: Option<String>,
    pub(crate) eta: Option<DateTime<Utc>>,
    pub(crate) expires: Option<DateTime<Utc>>,
    pub(crate) sent: Option<DateTime<Utc>>,
    pub(crate) received: Option<DateTime<Utc>>,
    pub(crate) started: Option<DateTime<Utc>>,
    pub(crate) finished: Option<DateTime<Utc>>,
    pub(crate) runtime: Option<f64>,
    /// The event as JSON, with what is to be hidden hidden.
    pub(crate) body: String,
}

/// The state that an event means (`celery/events/state.py`, `TASK_EVENT_TO_STATE`; a type that is not there is a state of the
/// task's own). `None`: it says nothing of the state.
pub(crate) fn state_of(kind: &str) -> Option<State> {
    let what = kind.strip_prefix("task-")?;
    Some(match what {
        "sent" => State::Pending,
        "received" => State::Received,
        "started" => State::Started,
        "succeeded" => State::Success,
        "failed" => State::Failure,
        "retried" => State::Retry,
        "revoked" => State::Revoked,
        "rejected" => State::Rejected,
        // The journal's own words.
        "ignored" => State::Ignored,
        // Back in its queue, where nobody has it.
        "redelivered" => State::Pending,
        // Its id goes on with what takes its place. What was cancelled has mostly gone back, and is told of again.
        "replaced" | "cancelled" => return None,
        other => State::Custom(other.to_uppercase()),
    })
}

/// A state in which nothing more is to come of this attempt.
fn ends(state: &State) -> bool {
    state.is_ready() || *state == State::Ignored
}

impl Account {
    /// Reads an event of a task; `None` for any other. `worker` is who wrote it where the event does not say.
    pub(crate) fn of(mut event: Event, worker: Option<&str>, redact: &Redact) -> Option<Self> {
        let state = event
            .kind
            .strip_prefix("task-")
            .map(|_| state_of(&event.kind))?;
        let task_id = event.text("uuid").filter(|id| !id.is_empty())?.to_owned();
        let at = instant(event.timestamp)?;
        hide(&mut event, redact);
        if let Some(worker) = worker {
            let hostname = Value::from(worker);
            event
                .fields
                .shift_insert(0, "hostname".to_owned(), hostname);
            event.hostname = worker.to_owned();
        }
        let body = Value::Map(std::mem::take(&mut event.fields));
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let int = |name: &str| body.get(name).and_then(Value::as_i64);
        let moment = |name: &str| {
            let value = body.get(name).and_then(Value::as_f64)?;
            instant(value)
        };
        let date = |name: &str| {
            let text = body.get(name).and_then(Value::as_str)?;
            time::parse_iso(text, chrono_tz::UTC).ok()
        };
        let when = |kind: &str| (event.kind == kind).then_some(at);
        let is_sent = event.kind == "task-sent";
        let hostname = (!event.hostname.is_empty()).then(|| event.hostname.clone());
        let ended = state.as_ref().is_some_and(ends);
        Some(Self {
            task_id,
            at,
            name: text("name"),
            retries: int("retries").and_then(|retries| u32::try_from(retries).ok()),
            queue: text("queue"),
            routing_key: text("routing_key"),
            worker: hostname.clone().filter(|_| !is_sent),
            client: hostname.filter(|_| is_sent),
            args: text("args"),
            kwargs: text("kwargs"),
            result: text("result"),
            exception: text("exception"),
            traceback: text("traceback"),
            root_id: text("root_id"),
            parent_id: text("parent_id"),
            group_id: text("group_id"),
            eta: date("eta"),
            expires: date("expires"),
            sent: when("task-sent"),
            received: moment("received").or(when("task-received")),
            started: moment("started").or(when("task-started")),
            finished: ended.then_some(at),
            runtime: body.get("runtime").and_then(Value::as_f64),
            state,
            kind: event.kind,
            body: body.to_json(),
        })
    }
}

fn hide(event: &mut Event, redact: &Redact) {
    if redact.is_empty() {
        return;
    }
    let Some(rules) = Rules::of(redact, event.text("name")) else {
        return;
    };
    for (field, part) in Part::ALL {
        if let Some(Value::Str(text)) = event.fields.get_mut(field) {
            let hidden = rules.apply(part, text).into_owned();
            *text = hidden;
        }
    }
}

/// An instant of the wire: unix seconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a number that is out of range is cut to the range, and refused by the calendar"
)]
pub(crate) fn instant(seconds: f64) -> Option<DateTime<Utc>> {
    if !seconds.is_finite() || seconds <= 0.0 {
        return None;
    }
    DateTime::from_timestamp_micros((seconds * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(json: &str, worker: Option<&str>) -> Account {
        let event = Event::from_json(json.as_bytes()).unwrap();
        Account::of(event, worker, &Redact::default()).unwrap()
    }

    #[test]
    fn a_record_tells_all_of_an_attempt() {
        let told = account(
            r#"{"uuid": "1", "name": "t", "args": "(2,)", "kwargs": "{}", "root_id": "0", "parent_id": null, "retries": 1,
                "eta": "2026-11-26T12:00:00+00:00", "group_id": "g", "queue": "q", "received": 10.5, "started": 11.25,
                "result": "4", "runtime": 0.5, "timestamp": 12.0, "type": "task-succeeded"}"#,
            Some("w@h"),
        );
        assert_eq!(told.state, Some(State::Success));
        assert_eq!(told.worker.as_deref(), Some("w@h"));
        assert_eq!((told.retries, told.runtime), (Some(1), Some(0.5)));
        assert_eq!(
            (told.received, told.started),
            (instant(10.5), instant(11.25))
        );
        assert_eq!(
            (told.at, told.finished),
            (instant(12.0).unwrap(), instant(12.0))
        );
        assert_eq!(told.eta.unwrap().to_rfc3339(), "2026-11-26T12:00:00+00:00");
        assert_eq!(told.parent_id, None);
        assert!(
            told.body.starts_with(r#"{"hostname": "w@h", "uuid": "1""#),
            "{}",
            told.body
        );
    }

    #[test]
    fn who_sends_is_no_worker() {
        let told = account(
            r#"{"hostname": "gen7@h", "uuid": "1", "timestamp": 5.0, "type": "task-sent"}"#,
            None,
        );
        assert_eq!(
            (told.client.as_deref(), told.worker),
            (Some("gen7@h"), None)
        );
        assert_eq!(
            (told.state, told.sent),
            (Some(State::Pending), instant(5.0))
        );
    }

    #[test]
    fn states_are_those_of_celery() {
        assert_eq!(
            state_of("task-progress"),
            Some(State::Custom("PROGRESS".to_owned()))
        );
        assert_eq!(state_of("task-cancelled"), None);
        assert_eq!(state_of("worker-online"), None);
        let retried = account(
            r#"{"uuid": "1", "timestamp": 5.0, "type": "task-retried"}"#,
            None,
        );
        assert_eq!(
            (retried.state, retried.finished),
            (Some(State::Retry), None)
        );
    }

    #[test]
    fn what_is_no_tasks_event_is_passed_over() {
        for json in [
            r#"{"uuid": "1", "timestamp": 5.0, "type": "worker-online"}"#,
            r#"{"timestamp": 5.0, "type": "task-sent"}"#,
            r#"{"uuid": "1", "type": "task-sent"}"#,
            r#"{"uuid": "1", "timestamp": 1e300, "type": "task-sent"}"#,
        ] {
            let event = Event::from_json(json.as_bytes()).unwrap();
            assert_eq!(Account::of(event, None, &Redact::default()), None, "{json}");
        }
    }

    #[test]
    fn hidden_fields_are_hidden_in_the_trail_too() {
        let redact = Redact {
            every: ["token".to_owned()].into(),
            ..Redact::default()
        };
        let json = r#"{"uuid": "1", "kwargs": "{'token': 'abc'}", "timestamp": 5.0, "type": "task-received"}"#;
        let event = Event::from_json(json.as_bytes()).unwrap();
        let told = Account::of(event, None, &redact).unwrap();
        assert_eq!(told.kwargs.as_deref(), Some("{'token': '***'}"));
        assert!(!told.body.contains("abc"), "{}", told.body);
    }
}
