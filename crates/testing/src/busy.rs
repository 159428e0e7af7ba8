//! What still waits when a worker does not come to rest, in words.

use lovage_broker::Contents;
use lovage_protocol::Message;

/// So many messages are named; of the others only the number is told.
const NAMED: usize = 10;

/// One line: what runs, what was taken and did not begin, what is in queues.
pub(crate) fn describe(contents: &Contents) -> String {
    let held = contents.held.iter().map(|held| {
        let does = if held.started { "runs" } else { "is held" };
        format!("{} of queue `{}` {does}", name(&held.raw), held.queue)
    });
    let waiting = contents
        .waiting
        .iter()
        .map(|(queue, raw)| format!("{} waits in queue `{queue}`", name(raw)));
    let all: Vec<String> = held.chain(waiting).collect();
    let mut text = all
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if all.is_empty() {
        text.push_str("a task was sent or ended at that very moment");
    }
    if all.len() > NAMED {
        text.push_str(&format!(", and {} more", all.len() - NAMED));
    }
    text
}

fn name(raw: &[u8]) -> String {
    match Message::parse(raw) {
        Ok(Message { headers, .. }) => format!("`{}` [{}]", headers.task, headers.id),
        Err(_) => "a message that cannot be read".to_owned(),
    }
}
