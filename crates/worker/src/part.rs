//! The parts that tasks return to the chords they belong to.

use std::{collections::HashSet, time::Duration};

use lovage_broker::{ChordPart, ResultPlace};
use lovage_client::canvas::given;
use lovage_protocol::{Body, Message, Signature, State, TaskId, Value};
use tracing::warn;

use crate::{attempt::Shared, chain::never_run};

/// A part with the body that waits for it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) part: ChordPart,
    pub(crate) body: Signature,
}

/// The parts that a task returns once its state ends it: its own, and when it failed those of the steps that will not run.
pub(crate) fn parts(
    shared: &Shared,
    message: &Message,
    body: &Body,
    state: &State,
    result: &Value,
) -> Vec<Part> {
    if !state.is_ready() || body.embed.is_empty() {
        return Vec::new();
    }
    let headers = &message.headers;
    let mut found = Vec::new();
    if let (Ok(Some(chord)), Some(group)) = (body.embed.chord(), headers.group.as_deref()) {
        found.extend(part(
            shared,
            chord,
            (group, &headers.id, headers.group_index),
            state,
            result,
        ));
    }
    if *state == State::Failure {
        found.extend(of_unrun(
            shared,
            body.embed.chain().unwrap_or_default(),
            state,
            result,
        ));
    }
    found
}

/// The parts of steps that will not run: of those that are counted in a chord, each once.
pub(crate) fn of_unrun(
    shared: &Shared,
    steps: Vec<Signature>,
    state: &State,
    result: &Value,
) -> Vec<Part> {
    let mut seen = HashSet::new();
    let steps = never_run(steps).into_iter();
    let parts = steps.filter_map(|step| {
        // Of a composed step what ends it is counted.
        if step.subtask_type.is_some() {
            return None;
        }
        let chord = Signature::from_value(given(&step, "chord")?.clone()).ok()?;
        let text = |name: &str| given(&step, name).and_then(Value::as_str);
        let (id, group) = (TaskId::from(text("task_id")?), text("group_id")?);
        if !seen.insert((id.clone(), group.to_owned())) {
            return None;
        }
        let index = given(&step, "group_index").and_then(Value::as_i64);
        part(shared, chord, (group, &id, index), state, result)
    });
    parts.collect()
}

fn part(
    shared: &Shared,
    body: Signature,
    (group, id, index): (&str, &TaskId, Option<i64>),
    state: &State,
    result: &Value,
) -> Option<Part> {
    // Nobody counts there: `celery.chord_unlock` sees the results themselves.
    if shared.results.place() == Some(ResultPlace::Tables) {
        return None;
    }
    // Chords are counted in the step that ends a task, so their keys must live beside the broker's.
    let Some(place) = shared.results.place().filter(|_| shared.chords_beside) else {
        warn!(
            group,
            task.id = %id,
            "a chord cannot be counted: its results are not on the broker's server, so its body will never run"
        );
        return None;
    };
    let member = Value::List(vec![
        Value::Int(1),
        Value::Str(id.as_str().to_owned()),
        Value::Str(state.as_str().to_owned()),
        result.clone(),
    ]);
    let settings = &shared.settings.results;
    let part = ChordPart {
        group_key: shared.results.group_key(group),
        task_id: id.clone(),
        member: shared.results.encode_value(&member),
        body: body.to_value().to_json().into(),
        // Group indexes are small; one beyond 2^53 would sort with its neighbours.
        index: index
            .and_then(|index| i32::try_from(index).ok())
            .map(f64::from),
        more: 0,
        expires: settings.chord_expires.or(settings.expires),
        claim: settings
            .chord_join_timeout
            .saturating_mul(2)
            .max(Duration::from_secs(5)),
        place,
    };
    Some(Part { part, body })
}
