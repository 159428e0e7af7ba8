//! Remote control: what `celery inspect` and `celery control` are answered, and what comes of it.
//!
//! A behaviour runs with every fleet; what only a Lovage worker does is in `better`.

mod addressing;
mod answers;
mod better;
mod command_line;
mod holdings;
mod limits;
mod pools;
mod queues;
mod refusals;
mod revoking;
mod stopping;
mod talk;

use lovage_integration_tests::{Cast, Peer, Python};
use serde_json::{Value, json};

/// The Lovage worker of a fleet.
const LOVAGE: &str = "lovage@peer";
/// The Celery worker of a fleet.
const PYTHON: &str = "python@peer";

/// Node and queue of each worker, so that the cast is free to be used.
pub(crate) fn each(cast: &Cast) -> Vec<(String, String)> {
    let names = |peer: &Peer| (peer.node.clone(), peer.queue.clone());
    cast.peers.iter().map(names).collect()
}

/// Sends tasks that sleep.
pub(crate) fn send_sleeps(cast: &mut Cast, queue: &str, seconds: f64, tasks: usize) -> Vec<String> {
    (0..tasks)
        .map(|_| cast.send(queue, "demo.sleep", &json!([seconds]), &json!({})))
        .collect()
}

/// Whether a worker answers a task.
fn assert_works(cast: &mut Cast, queue: &str) {
    let id = cast.send(queue, "demo.add", &json!([2, 3]), &json!({}));
    let result = cast.redis.wait_for_state(&id, "SUCCESS");
    assert_eq!(result["result"], 5, "{result}");
}

#[track_caller]
fn assert_ok(answer: &Value, text: &str) {
    assert_eq!(*answer, json!({"ok": text}));
}

/// Lets Python wait for a task and tell how it ended: the state, and the exception's class and text.
fn end_of(python: &mut Python, id: &str) -> Value {
    python.run(&format!(
        r#"
        result = app.AsyncResult("{id}")
        try:
            answer([result.state if result.get(timeout=20) is None else "SUCCESS", None, None])
        except Exception as error:
            answer([result.state, type(error).__name__, str(error)])
        "#
    ))
}
