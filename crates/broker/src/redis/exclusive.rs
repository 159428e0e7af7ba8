//! Queues of one consumer's own, into which comes what is sent to all on an exchange (wire 2.7, `kombu.common.Broadcast`).
//!
//! A message reaches the exchange in two ways. Who knows that it is a fanout exchange publishes on its channel: we listen
//! there and push what comes into our own list. A Python producer that does not know takes it for a direct one, and pushes
//! into every list that the binding table names: ours among them. From the list it is fetched as any other message.

use std::sync::Arc;

use futures::{StreamExt, stream::BoxStream};

use super::{
    Core, fanout,
    link::{Link, Patience, Request},
};
use crate::{Broadcast, Error, Exclusive, binding::Member, envelope};

/// What is left to do for one such queue when its consumer is gone: members to take out of tables, lists to delete.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Estate {
    /// Pairs of table and member.
    pub(crate) members: Vec<(String, String)>,
    pub(crate) lists: Vec<String>,
}

impl Estate {
    /// Of all these queues.
    pub(crate) fn of(core: &Core, queues: &[Exclusive]) -> Self {
        let mut estate = Self::default();
        for queue in queues {
            let member = Member::text(&queue.routing_key, &queue.queue, core.keys.separator());
            // kombu's broadcast queues have no expiry: both tables hold them.
            for table in [
                core.keys.binding(&queue.exchange),
                core.keys.binding_permanent(&queue.exchange),
            ] {
                estate.members.push((table, member.clone()));
            }
            estate.lists.extend(core.keys.lists(&queue.queue));
        }
        estate
    }

    /// As it is written with its worker; empty for none.
    pub(crate) fn to_text(&self) -> String {
        if self.lists.is_empty() {
            return String::new();
        }
        serde_json::json!({"members": self.members, "lists": self.lists}).to_string()
    }

    /// What was written with a worker.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let written: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
        let texts = |value: &serde_json::Value| -> Vec<String> {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            items
                .iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect()
        };
        let pairs = written["members"].as_array().map(Vec::as_slice);
        Self {
            members: pairs
                .unwrap_or_default()
                .iter()
                .filter_map(|pair| match texts(pair).as_slice() {
                    [table, member] => Some((table.clone(), member.clone())),
                    _ => None,
                })
                .collect(),
            lists: texts(&written["lists"]),
        }
    }

    /// Takes it all away.
    pub(crate) async fn clear(&self, core: &Core) -> Result<(), Error> {
        if self.lists.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for (table, member) in &self.members {
            pipeline.cmd("SREM").arg(table).arg(member);
        }
        pipeline.cmd("DEL").arg(&self.lists);
        core.link
            .send(Request::Many(&pipeline), Patience::Bounded)
            .await
            .map(drop)
    }
}

/// Begins to listen; the queue is bound with the lease of its consumer.
pub(crate) async fn listen(
    core: &Arc<Core>,
    queue: &Exclusive,
) -> Result<BoxStream<'static, Broadcast>, Error> {
    fanout::subscribe(core, &queue.exchange, &queue.routing_key).await
}

/// Pushes what comes into the list, until it is aborted.
pub(crate) async fn fill(
    core: Arc<Core>,
    queue: Exclusive,
    mut heard: BoxStream<'static, Broadcast>,
) {
    let link = Link::new(&core.servers, "broadcast");
    while let Some(Broadcast { payload, .. }) = heard.next().await {
        let mut push = redis::cmd("LPUSH");
        push.arg(
            core.keys
                .list_for(&queue.queue, envelope::priority(&payload)),
        )
        .arg(&payload[..]);
        if let Err(error) = link.send(Request::One(&push), Patience::Endless).await {
            tracing::error!(
                queue = %queue.queue,
                error = &error as &dyn std::error::Error,
                "a broadcast could not be kept, it is lost here"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Estate;

    #[test]
    fn an_estate_is_read_back_as_it_was_written() {
        let estate = Estate {
            members: vec![(
                "_kombu.binding.b".to_owned(),
                "k\u{6}\u{16}\u{6}\u{16}q".to_owned(),
            )],
            lists: vec!["q".to_owned(), "q\u{6}\u{16}3".to_owned()],
        };
        assert_eq!(Estate::parse(estate.to_text().as_bytes()), estate);
        assert_eq!(Estate::default().to_text(), "");
        assert_eq!(Estate::parse(b""), Estate::default());
    }
}
