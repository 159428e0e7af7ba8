//! Chords whose parts nobody counts: a task asks again and again whether the header has ended (`celery/backends/base.py`,
//! `fallback_chord_unlock`).

use lovage_protocol::{Map, Signature, Value, composed::given};

use super::Start;
use crate::{
    Client, Error, Prepared,
    signature::{self, Follow},
};

/// The task that does so. Python's workers have it too, so that either kind may get it.
const NAME: &str = "celery.chord_unlock";
/// Seconds before it first asks.
const COUNTDOWN: i64 = 1;

/// The message that waits for the members of a group and then sends the body, in the queue that the body goes to.
pub(super) fn unlock(
    client: &Client,
    start: &Start,
    group: &str,
    members: Vec<Value>,
    body: &Signature,
) -> Result<Prepared, Error> {
    let kwargs = Map::from_iter([
        ("interval".to_owned(), Value::Null),
        ("max_retries".to_owned(), Value::Null),
        ("result".to_owned(), Value::List(members)),
    ]);
    let mut of = Signature::new(NAME, vec![group.into(), body.to_value()], kwargs);
    let mut set = |name: &str, value: Value| of.options.insert(name.to_owned(), value);
    set("countdown", COUNTDOWN.into());
    set("ignore_result", Value::Bool(true));
    for option in ["queue", "exchange", "routing_key", "priority"] {
        if let Some(value) = given(body, option) {
            set(option, value.clone());
        }
    }
    if given(body, "queue").is_none() && given(body, "exchange").is_none() {
        let composer = client.composer();
        let (queue, priority) = composer
            .place_of(&body.task)
            .map_err(|bad| Error::invalid(&body.task, bad.to_string()))?;
        set("queue", queue.as_str().into());
        if let Some(priority) = priority.filter(|_| given(body, "priority").is_none()) {
            set("priority", priority.into());
        }
    }
    let follow = Follow {
        parent_id: start.parent_id.clone(),
        root_id: start.root_id.clone(),
        default_priority: start.default_priority,
        ..Follow::default()
    };
    client.prepare(&signature::outgoing(&of, follow)?)
}
