//! Which queues of an exchange a message goes to, from kombu's binding tables.

use lovage_protocol::QueueName;
use lovage_settings::ExchangeType;

use crate::Binding;

/// One member of a binding table: `<routing key><sep><pattern><sep><queue>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    routing_key: String,
    has_pattern: bool,
    queue: QueueName,
}

impl Member {
    /// Reads a member; `None` for one that no kombu wrote.
    pub(crate) fn parse(member: &str, separator: &str) -> Option<Self> {
        let mut parts = member.splitn(3, separator);
        let (routing_key, pattern, queue) = (parts.next()?, parts.next()?, parts.next()?);
        let queue = QueueName::parse(queue).ok()?;
        Some(Self {
            routing_key: routing_key.to_owned(),
            has_pattern: !pattern.is_empty(),
            queue,
        })
    }

    /// The member that binds a queue to a direct exchange, or by fanout, by a routing key.
    pub(crate) fn text(routing_key: &str, queue: &QueueName, separator: &str) -> String {
        format!("{routing_key}{separator}{separator}{queue}")
    }

    /// The member of a binding, with the pattern that kombu's topic exchanges keep beside the key.
    pub(crate) fn of(binding: &Binding, separator: &str) -> String {
        let Binding {
            queue, routing_key, ..
        } = binding;
        let pattern = match binding.kind {
            ExchangeType::Topic => python_pattern(routing_key),
            ExchangeType::Direct | ExchangeType::Fanout => String::new(),
        };
        format!("{routing_key}{separator}{pattern}{separator}{queue}")
    }
}

/// The queues that a routing key reaches, each once: equal keys for direct bindings; where the binding has a pattern,
/// words of the key as a topic exchange reads them. The stored pattern is a Python regex and is never run.
pub(crate) fn queues_for(bindings: &[Member], routing_key: &str) -> Vec<QueueName> {
    let mut queues: Vec<QueueName> = bindings
        .iter()
        .filter(|binding| {
            binding.routing_key == routing_key
                || binding.has_pattern && topic_matches(&binding.routing_key, routing_key)
        })
        .map(|binding| binding.queue.clone())
        .collect();
    queues.sort_unstable();
    queues.dedup();
    queues
}

/// Whether a routing key reaches what is bound by this key.
pub(crate) fn reaches(kind: ExchangeType, binding_key: &str, routing_key: &str) -> bool {
    match kind {
        ExchangeType::Direct => binding_key == routing_key,
        ExchangeType::Topic => {
            binding_key == routing_key || topic_matches(binding_key, routing_key)
        }
        ExchangeType::Fanout => true,
    }
}

/// The pattern as kombu writes it (`key_to_pattern`): words that are no wildcards stand as they are.
fn python_pattern(binding_key: &str) -> String {
    let words: Vec<&str> = binding_key
        .split('.')
        .map(|word| match word {
            "*" => r"[^\.]+",
            "#" => ".*?",
            word => word,
        })
        .collect();
    format!("^{}$", words.join(r"\."))
}

/// kombu's topic rule (`kombu/transport/virtual/exchange.py`): `*` is one word of at least one character, `#` any text.
fn topic_matches(binding_key: &str, routing_key: &str) -> bool {
    let words: Vec<String> = binding_key
        .split('.')
        .map(|word| match word {
            "*" => r"[^\.]+".to_owned(),
            "#" => ".*?".to_owned(),
            word => regex::escape(word),
        })
        .collect();
    let pattern = format!("^{}$", words.join(r"\."));
    regex::Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(routing_key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEP: &str = "\u{6}\u{16}";

    fn queues(members: &[&str], routing_key: &str) -> Vec<String> {
        let bindings: Vec<Member> = members
            .iter()
            .filter_map(|member| Member::parse(&member.replace('|', SEP), SEP))
            .collect();
        queues_for(&bindings, routing_key)
            .into_iter()
            .map(String::from)
            .collect()
    }

    #[test]
    fn a_direct_binding_needs_the_equal_key() {
        assert_eq!(queues(&["a||qa", "b||qb", "a||qc"], "a"), ["qa", "qc"]);
        assert!(queues(&["a||qa"], "x").is_empty());
        assert!(queues(&["broken", "a|"], "a").is_empty());
    }

    #[test]
    fn a_topic_binding_matches_words() {
        let members = [r"a.*.c.#|^a\.[^\.]+\.c\..*?$|q"];
        assert_eq!(queues(&members, "a.b.c.d.e"), ["q"]);
        assert_eq!(queues(&members, "a.b.c."), ["q"]);
        assert!(queues(&members, "a.b.c").is_empty());
        assert!(queues(&members, "a..c.d").is_empty());
        assert!(queues(&["a.b||q"], "aXb").is_empty());
    }

    #[test]
    fn reads_what_it_writes() {
        let queue = QueueName::parse("celery").unwrap();
        let member = Member::of(&Binding::plain(&queue), SEP);
        assert_eq!(member, "celery\u{6}\u{16}\u{6}\u{16}celery");
        assert_eq!(
            queues_for(&[Member::parse(&member, SEP).unwrap()], "celery"),
            std::slice::from_ref(&queue)
        );
        let topic = Binding {
            kind: ExchangeType::Topic,
            routing_key: "a.*.c.#".to_owned(),
            ..Binding::plain(&queue)
        };
        assert_eq!(
            Member::of(&topic, "|"),
            r"a.*.c.#|^a\.[^\.]+\.c\..*?$|celery"
        );
    }
}
