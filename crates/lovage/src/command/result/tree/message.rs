//! What a message that is under way tells of its workflow.

use lovage_broker::{Kept, Spot};
use lovage_client::canvas::given;
use lovage_protocol::{Body, DecodeOptions, Message, Signature, Value};

use super::Tree;

/// A message that was read.
pub(super) struct Seen {
    message: Message,
    body: Option<Body>,
    spot: &'static str,
}

impl Seen {
    pub(super) fn read(kept: &Kept) -> Option<Self> {
        let message = Message::parse_with(&kept.raw, &DecodeOptions::any()).ok()?;
        let spot = match kept.spot {
            Spot::Waiting(_) => "waits in its queue",
            Spot::Held => "in a worker's hands",
            Spot::Delayed => "delayed",
        };
        Some(Self {
            body: message.decode_body(&DecodeOptions::any()).ok(),
            message,
            spot,
        })
    }

    /// Whether it belongs to a workflow of which these parts are known.
    pub(super) fn belongs_to(&self, tree: &Tree) -> bool {
        let headers = &self.message.headers;
        let ids = [
            Some(headers.id.as_str()),
            headers.root_id.as_ref().map(|id| id.as_str()),
            headers.parent_id.as_ref().map(|id| id.as_str()),
            headers.group.as_deref(),
        ];
        ids.into_iter()
            .flatten()
            .any(|id| tree.nodes.contains_key(id))
            || self
                .followers()
                .iter()
                .any(|next| task_id(next).is_some_and(|id| tree.nodes.contains_key(id)))
    }

    /// What is sent after it: callbacks, the rest of its chain, the body of its chord.
    fn followers(&self) -> Vec<Signature> {
        let Some(body) = &self.body else {
            return Vec::new();
        };
        let mut found = body.embed.chain().unwrap_or_default();
        found.extend(body.embed.callbacks().unwrap_or_default());
        found.extend(body.embed.chord().ok().flatten());
        found
    }

    /// Adds it and what is to follow it.
    pub(super) fn add_to(self, tree: &mut Tree) {
        let headers = &self.message.headers;
        let id = headers.id.as_str();
        let node = tree.node(id);
        node.name = Some(headers.task.to_string());
        node.spot = Some(self.spot);
        node.group.clone_from(&headers.group);
        let parent = headers.parent_id.as_ref();
        node.parent = parent.map(|id| id.to_string()).or(node.parent.take());
        if let Some(group) = &headers.group {
            tree.node(group).is_group = true;
        }
        let Some(body) = self.body else { return };
        let mut before = id.to_owned();
        for step in body.embed.chain().unwrap_or_default().iter().rev() {
            let Some(next) = unsent(tree, step, &before) else {
                continue;
            };
            let body = given(step, "chord").cloned().map(Signature::from_value);
            if let (Some(Ok(body)), Some(group)) = (body, group_of(step)) {
                await_header(tree, &body, &next, group);
            }
            before = next;
        }
        for callback in body.embed.callbacks().unwrap_or_default() {
            unsent(tree, &callback, id);
        }
        if let (Ok(Some(chord)), Some(group)) = (body.embed.chord(), &headers.group) {
            await_header(tree, &chord, id, group);
        }
    }
}

fn task_id(of: &Signature) -> Option<&str> {
    given(of, "task_id").and_then(Value::as_str)
}

fn group_of(part: &Signature) -> Option<&str> {
    given(part, "group_id").and_then(Value::as_str)
}

/// Adds the body of a chord, which is sent when its header has ended.
fn await_header(tree: &mut Tree, body: &Signature, member: &str, group: &str) {
    if let Some(id) = unsent(tree, body, member) {
        let node = tree.node(&id);
        if node.state.is_none() {
            node.group = Some(group.to_owned());
        }
    }
}

/// Adds a part that is not sent yet; gives its id, if it has one.
fn unsent(tree: &mut Tree, part: &Signature, before: &str) -> Option<String> {
    let id = task_id(part)?;
    let node = tree.node(id);
    // What is known of it already is newer.
    if node.state.is_none() && node.spot.is_none() {
        node.name = Some(part.task.to_string());
        node.spot = Some("not sent yet");
        node.parent = Some(before.to_owned());
        node.group = group_of(part).map(str::to_owned);
    }
    if let Some(group) = group_of(part) {
        tree.node(group).is_group = true;
    }
    Some(id.to_owned())
}
