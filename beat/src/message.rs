//! The message that a run sends: that of Celery's beat (`celery/beat.py`, `Scheduler.apply_async`), with the name of its schedule.

use chrono::{DateTime, Utc};
use lovage_client::{Client, Error, Moment, Outgoing, Prepared};
use lovage_protocol::{Map, QueueName, TaskId, Value};
use uuid::Uuid;

use crate::{check::DraftFaults, draft::Draft};

/// Celery's mark of a message that a beat has sent.
pub const BEAT_TASK: &str = "celery_beat_task";
/// The name of the schedule, where django-celery-beat has it and django-celery-results reads it.
pub const SCHEDULE_NAME: &str = "periodic_task_name";
/// When the run was due.
pub const DUE: &str = "lovage_due";

/// Why a run's message cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The schedule says what cannot be.
    #[error(transparent)]
    Draft(#[from] DraftFaults),
    /// What is held of the schedule cannot be read.
    #[error("the schedule cannot be read as it is held")]
    Unreadable(#[from] serde_json::Error),
    /// The client refuses it.
    #[error(transparent)]
    Client(#[from] Error),
}

/// Writes the message of a schedule's run, with this task id.
///
/// # Errors
/// What the schedule says cannot be sent.
pub fn prepare(
    client: &Client,
    draft: &Draft,
    id: Uuid,
    due: DateTime<Utc>,
) -> Result<Prepared, MessageError> {
    Ok(client.prepare(&outgoing(draft, id, due)?)?)
}

fn outgoing(draft: &Draft, id: Uuid, due: DateTime<Utc>) -> Result<Outgoing, DraftFaults> {
    let mut faults = DraftFaults::of(draft);
    let (args, kwargs) = draft.arguments()?;
    let mut call = Outgoing::new(draft.task.as_str());
    call.id = Some(TaskId::from(id.to_string()));
    call.args = args;
    call.kwargs = kwargs;
    if let Some(queue) = &draft.queue {
        match QueueName::parse(queue) {
            Ok(queue) => call.queue = Some(queue),
            Err(problem) => faults.push("queue", problem),
        }
    }
    call.exchange.clone_from(&draft.exchange);
    call.routing_key.clone_from(&draft.routing_key);
    call.priority = draft.priority;
    call.expires = draft.expires.map(|expires| Moment::from(expires.0));
    match Value::from_serialize(&draft.headers) {
        Ok(Value::Map(headers)) => call.headers = headers,
        Ok(_) => faults.push("headers", "must be an object"),
        Err(problem) => faults.push("headers", problem),
    }
    mark(&mut call.headers, &draft.name, due);
    faults.unless_any(call)
}

fn mark(headers: &mut Map, name: &str, due: DateTime<Utc>) {
    headers.insert(BEAT_TASK.to_owned(), Value::Bool(true));
    headers.insert(SCHEDULE_NAME.to_owned(), Value::Str(name.to_owned()));
    let due = due.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    headers.insert(DUE.to_owned(), Value::Str(due));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lovage_broker::{Destination, MemoryBroker};
    use lovage_client::ClientOptions;
    use lovage_protocol::Message;
    use lovage_results::MemoryStore;
    use lovage_settings::ResultSettings;
    use serde_json::{Value as Json, json};

    use super::*;

    fn client() -> Client {
        let broker = MemoryBroker::new();
        let results = MemoryStore::new(&ResultSettings::default(), &broker).unwrap();
        Client::new(
            Arc::new(broker),
            Arc::new(results),
            ClientOptions::default(),
        )
    }

    #[test]
    fn the_message_is_that_of_celery_s_beat() {
        let capture: Json =
            serde_json::from_str(include_str!("../tests/captures/09-beat-task.json")).unwrap();
        let theirs = &capture["decoded"]["envelope"];
        let mut draft = Draft::new("every-2s", "t.add");
        draft.args = vec![json!(1), json!(2)];
        draft.queue = Some("periodic".to_owned());
        draft.priority = Some(3);
        draft.expires = Some(crate::WithUnit(std::time::Duration::from_secs(10)));
        draft.headers.insert("mine".to_owned(), json!(1));
        let due = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let id = Uuid::from_u128(7);
        let prepared = prepare(&client(), &draft, id, due).unwrap();
        assert_eq!(prepared.publish.priority, 3);
        let queue = QueueName::parse("periodic").unwrap();
        assert_eq!(prepared.publish.destination, Destination::Queue(queue));
        let ours: Json = serde_json::from_slice(&prepared.publish.payload).unwrap();
        assert_eq!(ours["body"], theirs["body"]);
        let (mine, celerys) = (&ours["headers"], theirs["headers"].as_object().unwrap());
        // `argsrepr`: Celery shows the list of its configuration there, we the tuple that a call would have.
        let differ = [
            "lang",
            "id",
            "root_id",
            "expires",
            "origin",
            "ignore_result",
            "argsrepr",
        ];
        for (name, value) in celerys {
            if !differ.contains(&name.as_str()) {
                assert_eq!(&mine[name], value, "{name}");
            }
        }
        assert_eq!(mine["id"], id.to_string());
        assert!(mine["expires"].is_string());
        assert_eq!(mine[SCHEDULE_NAME], "every-2s");
        assert_eq!(mine[DUE], "2026-11-18T11:06:40Z");
        assert_eq!(
            ours["properties"]["delivery_info"],
            theirs["properties"]["delivery_info"]
        );
        assert_eq!(ours["properties"]["expiration"], "10000");
        Message::parse(&prepared.publish.payload).unwrap();
    }

    #[test]
    fn headers_of_the_protocol_are_refused() {
        let mut draft = Draft::new("x", "t.add");
        draft.headers.insert("retries".to_owned(), json!(1));
        let due = DateTime::from_timestamp(0, 0).unwrap();
        let error = prepare(&client(), &draft, Uuid::nil(), due).unwrap_err();
        assert!(error.to_string().contains("retries"), "{error}");
    }
}
