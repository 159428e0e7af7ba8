//! Which queues of an exchange a message goes to, from kombu's binding tables.

use lovage_protocol::QueueName;

/// One member of a binding table: `<routing key><sep><pattern><sep><queue>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    routing_key: String,
    has_pattern: bool,
    queue: QueueName,
}

impl Binding {
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

    /// The member that binds a queue of its own name to an exchange of its own name.
    pub(crate) fn direct(queue: &QueueName, separator: &str) -> String {
        Self::member(queue.as_str(), queue, separator)
    }

    /// The member that binds a queue to a direct exchange by a routing key.
    pub(crate) fn member(routing_key: &str, queue: &QueueName, separator: &str) -> String {
        format!("{routing_key}{separator}{separator}{queue}")
    }
}

/// The queues that a routing key reaches, each once: equal keys for direct bindings; where the binding has a pattern,
/// words of the key as a topic exchange reads them. The stored pattern is a Python regex and is never run.
pub(crate) fn queues_for(bindings: &[Binding], routing_key: &str) -> Vec<QueueName> {
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
        let bindings: Vec<Binding> = members
            .iter()
            .filter_map(|member| Binding::parse(&member.replace('|', SEP), SEP))
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
        let member = Binding::direct(&queue, SEP);
        assert_eq!(member, "celery\u{6}\u{16}\u{6}\u{16}celery");
        assert_eq!(
            queues_for(&[Binding::parse(&member, SEP).unwrap()], "celery"),
            [queue]
        );
    }
}
