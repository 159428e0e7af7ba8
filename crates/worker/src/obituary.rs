//! The answer for a message that cost too many workers: its producer, and whoever waits for what was to follow, must not
//! wait for ever.

use std::{sync::Arc, time::Duration};

use lovage_broker::{Obituary, ResultWrite};
use lovage_protocol::{DecodeOptions, Message, State, TaskMeta};
use lovage_results::ResultStore;
use tracing::warn;

use crate::{announce::Announcer, chain::never_run, commit::LONGEST_WAIT, records, workflow};

/// Writes the records of such a message; `beside`: the broker stores them in the step that buries it.
pub(crate) fn writer(
    results: Arc<dyn ResultStore>,
    beside: bool,
    decode: DecodeOptions,
    announcer: Announcer,
) -> Obituary {
    Arc::new(move |raw, deaths| {
        if let Ok(message) = Message::parse_with(raw, &decode) {
            announcer.died(&message, &records::worker_lost(deaths));
        }
        let failures = failures(raw, deaths, &decode);
        let writes: Vec<_> = failures
            .iter()
            .filter_map(|meta| results.encode(meta))
            .collect();
        if beside || writes.is_empty() {
            return writes;
        }
        let results = Arc::clone(&results);
        tokio::spawn(store(results, writes));
        Vec::new()
    })
}

/// Stores them on a server that may be away for a while. The message is buried by now: when this process ends before, nobody
/// hears of it but the dead letters.
async fn store(results: Arc<dyn ResultStore>, writes: Vec<ResultWrite>) {
    let mut wait = Duration::from_millis(50);
    while let Err(error) = results.write(&writes).await {
        warn!(
            error = &error as &dyn std::error::Error,
            "the failure of a lost task was not stored"
        );
        if !error.is_transient() {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// The failure of the task, of the later steps of its chain, and of the body of its chord, which will never have all its
/// parts.
fn failures(raw: &[u8], deaths: u32, decode: &DecodeOptions) -> Vec<TaskMeta> {
    let Ok(message) = Message::parse_with(raw, decode) else {
        return Vec::new();
    };
    let exception = records::worker_lost(deaths);
    let lost = exception.to_value();
    let mut metas = vec![records::meta(
        &message,
        State::Failure,
        lost.clone(),
        Vec::new(),
    )];
    let Ok(body) = message.decode_body(decode) else {
        return metas;
    };
    let steps = never_run(body.embed.chain().unwrap_or_default());
    metas.extend(
        steps
            .iter()
            .filter_map(|step| records::failed_step(step, &lost, None)),
    );
    let chord = match body.embed.chord() {
        Ok(Some(chord)) => Some(chord),
        _ => workflow::inherited_chord(&steps),
    };
    let waiting = chord
        .map(|chord| never_run(vec![chord]))
        .unwrap_or_default();
    let error = workflow::chord_error(&message.headers.id, &exception).to_value();
    metas.extend(
        waiting
            .iter()
            .filter_map(|step| records::failed_step(step, &error, None)),
    );
    metas
}

#[cfg(test)]
mod tests {
    use lovage_protocol::{Body, Embed, Headers, Map, Properties, Value};

    use super::*;

    fn lost(embed: &str) -> Vec<(String, String)> {
        let Value::Map(raw) = Value::from_json(embed.as_bytes()).unwrap() else {
            panic!("an embed is an object")
        };
        let mut body = Body::new(Vec::new(), Map::new());
        body.embed = Embed { raw };
        let headers = Headers::new("t".into(), "lost".into());
        let raw = Message::new(headers, Properties::new("lost", "celery"), &body).to_json();
        let told = |meta: TaskMeta| {
            let class = meta.result.get("exc_type").and_then(Value::as_str);
            (meta.task_id.to_string(), class.unwrap().to_owned())
        };
        failures(&raw, 4, &DecodeOptions::default())
            .into_iter()
            .map(told)
            .collect()
    }

    fn check(embed: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(id, class)| ((*id).to_owned(), (*class).to_owned()))
            .collect();
        assert_eq!(lost(embed), expected, "{embed}");
    }

    #[test]
    fn whoever_waits_for_what_follows_a_lost_task_is_told() {
        let task = ("lost", "WorkerLostError");
        check("{}", &[task]);
        check(
            r#"{"chain": [{"task": "z", "options": {"task_id": "last"}}, {"task": "y"}]}"#,
            &[task, ("last", "WorkerLostError")],
        );
        check(
            r#"{"chord": {"task": "b", "options": {"task_id": "body", "chain": [{"task": "c", "options": {"task_id": "after"}}]}}}"#,
            &[task, ("body", "ChordError"), ("after", "ChordError")],
        );
        check(
            r#"{"chain": [{"task": "z", "options": {"task_id": "part", "chord": {"task": "b", "options": {"task_id": "body"}}}}]}"#,
            &[task, ("part", "WorkerLostError"), ("body", "ChordError")],
        );
    }

    #[test]
    fn an_unreadable_message_has_no_producer_to_tell() {
        assert_eq!(failures(b"garbage", 4, &DecodeOptions::default()), []);
    }
}
