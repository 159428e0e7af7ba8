//! What a worker asks the others before it begins (`celery/worker/consumer/mingle.py`).

use std::time::Duration;

use lovage_broker::Error;
use lovage_protocol::{Lamport, TaskId, Value};

use crate::mailbox_client::Control;

/// How long the others have; nobody is waited for when nobody hears.
const WAIT: Duration = Duration::from_secs(1);

/// Another node, and what it knew.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// Its name.
    pub node: String,
    /// What it knows to be revoked, the oldest first.
    pub revoked: Vec<TaskId>,
}

/// Greets the other nodes: tells them what is revoked, and learns it from them; the clocks are put right. To be called before the
/// node's own mailbox is open.
///
/// # Errors
/// When the broker does not answer.
pub async fn mingle(
    control: &Control,
    node: &str,
    clock: &Lamport,
    revoked: &[TaskId],
) -> Result<Vec<Neighbour>, Error> {
    let revoked: Vec<Value> = revoked.iter().map(|id| id.as_str().into()).collect();
    let replies = control
        .ask("hello")
        .argument("from_node", node)
        .argument("revoked", Value::List(revoked))
        .wait(WAIT)
        .send()
        .await?;
    let mut neighbours = Vec::new();
    for reply in replies {
        let Value::Map(said) = reply.value else {
            continue;
        };
        match said.get("clock").and_then(Value::as_i64) {
            Some(theirs) => clock.adjust(theirs),
            None => clock.forward(),
        };
        let revoked = said.get("revoked").and_then(Value::as_list);
        let revoked = revoked.unwrap_or_default().iter().filter_map(Value::as_str);
        neighbours.push(Neighbour {
            node: reply.node,
            revoked: revoked.map(TaskId::from).collect(),
        });
    }
    Ok(neighbours)
}
