//! Events: what Celery's own receiver hears of a worker.

mod dump;
mod fields;
mod outcomes;
mod switching;
mod workers;

use lovage_integration_tests::peer::PeerBuilder;
use lovage_integration_tests::{Cast, Fleet};
use serde_json::{Value, json};

/// A fleet with somebody who listens, from before the first event on.
fn heard(fleet: Fleet, configure: impl Fn(PeerBuilder) -> PeerBuilder) -> Cast {
    Cast::before(
        fleet,
        "from listening import Listener\nlistener = Listener(app)",
        configure,
    )
}

/// The events of one task so far.
fn of_task(cast: &mut Cast, id: &str) -> Vec<Value> {
    list(cast.python.eval(&format!("listener.of_task({id:?})")))
}

/// The events of a worker about itself so far.
fn of_node(cast: &mut Cast, node: &str) -> Vec<Value> {
    list(cast.python.eval(&format!("listener.of_node({node:?})")))
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(all) => all,
        other => panic!("no list: {other}"),
    }
}

fn types(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| event["type"].as_str().expect("text").to_owned();
    events.iter().map(name).collect()
}

/// Whether Python had anything to complain of.
#[track_caller]
fn assert_no_trouble(cast: &mut Cast) {
    assert_eq!(cast.python.eval("listener.trouble()"), json!([]));
}
