//! What is read from a message in order to move it.

use std::sync::LazyLock;

use bytes::Bytes;
use lovage_protocol::{DecodeOptions, Message};
use regex::bytes::Regex;
use uuid::Uuid;

/// The message's own priority; 0 when it cannot be read, as Celery takes a missing one.
pub(crate) fn priority(raw: &[u8]) -> i64 {
    Message::parse_with(raw, &DecodeOptions::any()).map_or(0, |message| message.properties.priority)
}

/// The message with the marks that kombu sets when it puts one back; one that is no envelope stays as it is.
pub(crate) fn redelivered(raw: &Bytes) -> Bytes {
    lovage_protocol::mark_redelivered(raw).map_or_else(|| raw.clone(), Bytes::from)
}

/// The message as it goes back after the death of a worker that had started it. One that has cost nearly as many as it may
/// says so in a header: it is a suspect, and runs apart from others of its kind, so that the innocent that died beside
/// a killer do not go to the dead letters with it.
pub(crate) fn after_death(raw: &Bytes, deaths: u32, max_deaths: u32) -> Bytes {
    if deaths < max_deaths.saturating_sub(1).max(1) {
        return redelivered(raw);
    }
    lovage_protocol::mark_deaths(raw, deaths).map_or_else(|| raw.clone(), Bytes::from)
}

/// Whether the message carries the mark of [`after_death`]. The fetch script asks the same of the same text.
pub(crate) fn is_suspect(raw: &[u8]) -> bool {
    static MARK: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(&format!("\"{}\"", lovage_protocol::DEATHS_HEADER))
            .expect("the pattern is a constant and valid")
    });
    MARK.is_match(raw)
}

/// Whether the message has been put back before. Cheap, and may say yes to one that only contains the mark's text.
pub(crate) fn may_be_redelivered(raw: &[u8]) -> bool {
    static MARK: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new("\"redelivered\": ?true").expect("the pattern is a constant and valid")
    });
    MARK.is_match(raw)
}

/// The delivery tag that its producer gave it; any kombu message has one, also those that are no tasks.
pub(crate) fn delivery_tag(raw: &[u8]) -> Option<String> {
    let envelope: serde_json::Value = serde_json::from_slice(raw).ok()?;
    envelope["properties"]["delivery_tag"]
        .as_str()
        .map(str::to_owned)
}

/// A name for the message that stays the same over redeliveries: the task's id, or one made from the bytes as they are
/// once the message was marked.
pub(crate) fn identity(raw: &Bytes) -> String {
    match Message::parse_with(raw, &DecodeOptions::any()) {
        Ok(message) => message.headers.id.to_string(),
        Err(_) => format!(
            "unreadable-{}",
            Uuid::new_v3(&Uuid::NAMESPACE_OID, &redelivered(raw)).simple()
        ),
    }
}

/// An entry of kombu's `unacked` hash: `[<message>, "<exchange>", "<routing key>"]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) message: Bytes,
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
}

impl Entry {
    /// Cuts an entry from its end, so that the message stays byte for byte what it is, even if it is no JSON.
    pub(crate) fn split(entry: &Bytes) -> Option<Self> {
        let rest = entry.strip_prefix(b"[")?.strip_suffix(b"]")?;
        let (rest, routing_key) = cut_string(rest)?;
        let (message, exchange) = cut_string(rest)?;
        Some(Self {
            message: entry.slice_ref(message),
            exchange,
            routing_key,
        })
    }
}

/// Cuts `, "<text>"` from the end, with or without the space. A quote inside the text has a backslash before it, so the first quote
/// from the end that a comma opens and that reads to the end as a text is the one.
fn cut_string(text: &[u8]) -> Option<(&[u8], String)> {
    let commas = (0..text.len()).rev().filter(|at| text[*at] == b',');
    commas.into_iter().find_map(|comma| {
        let rest = &text[comma + 1..];
        let quoted = rest.strip_prefix(b" ").unwrap_or(rest);
        let value = quoted
            .starts_with(b"\"")
            .then(|| serde_json::from_slice(quoted).ok())?;
        Some((&text[..comma], value?))
    })
}

/// The end of an entry for messages of this queue; the beginning is `[` and the message.
pub(crate) fn entry_ending(queue: &str) -> String {
    // Text always has a JSON form.
    format!(", \"\", {}]", serde_json::Value::from(queue))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_apart_as_it_was_put_together() {
        for (raw, queue) in [
            ("{}", "celery"),
            ("garbage, \"\", \"x\"]", "q\"uote, \"x"),
            ("", "größe"),
        ] {
            let entry = Bytes::from(format!("[{raw}{}", entry_ending(queue)));
            let found = Entry::split(&entry).unwrap();
            assert_eq!(
                (&found.message[..], found.routing_key.as_str()),
                (raw.as_bytes(), queue)
            );
            assert_eq!(found.exchange, "");
        }
        let bound = Entry::split(&Bytes::from_static(b"[{\"a\": 1}, \"ex\", \"rk\"]")).unwrap();
        assert_eq!(
            (bound.exchange.as_str(), bound.routing_key.as_str()),
            ("ex", "rk")
        );
        let compact = Entry::split(&Bytes::from_static(b"[{\"a\":1},\"ex\",\"r, \"]")).unwrap();
        assert_eq!(
            (
                &compact.message[..],
                compact.exchange.as_str(),
                compact.routing_key.as_str()
            ),
            (&b"{\"a\":1}"[..], "ex", "r, ")
        );
        for broken in ["", "[]", "[{}, 1, 2]", "[{}, \"a\"]"] {
            assert_eq!(Entry::split(&Bytes::from(broken)), None, "{broken}");
        }
    }

    #[test]
    fn unreadable_messages_have_an_identity_too() {
        let garbage = Bytes::from_static(b"\xff garbage");
        let identity = identity(&garbage);
        assert!(identity.starts_with("unreadable-"), "{identity}");
        assert_eq!(identity, super::identity(&garbage));
        assert_eq!(priority(&garbage), 0);
    }

    #[test]
    fn the_mark_is_found() {
        assert!(may_be_redelivered(br#"{"headers": {"redelivered": true}}"#));
        assert!(!may_be_redelivered(
            br#"{"headers": {"redelivered": false}}"#
        ));
    }
}
