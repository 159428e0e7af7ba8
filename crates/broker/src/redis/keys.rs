//! Every key and channel name used on Redis: kombu's, and ours under `lovage:`.

use lovage_protocol::QueueName;
use lovage_settings::TransportOptions;

use crate::priority::Steps;

/// The names, with `global_keyprefix` already in front.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: String,
    separator: String,
    fanout_prefix: String,
    fanout_patterns: bool,
    /// What kombu before 5.4 has in place of the prefix when it asks sentinels: the template as it is.
    old_fanout_prefix: Option<String>,
    pub(crate) steps: Steps,
    /// Hash: delivery tag to `[envelope, exchange, routing key]`.
    pub(crate) unacked: String,
    /// Sorted set: delivery tag, by time of delivery.
    pub(crate) unacked_index: String,
    /// Lock of kombu's restore sweep.
    pub(crate) unacked_mutex: String,
    /// Sorted set: worker id, by unix time of its last renewal.
    pub(crate) workers: String,
    /// Sorted set: id of a delayed task (or id, NUL and tag), by the unix time it is due.
    pub(crate) delayed: String,
    /// Hash: member of `delayed` to its list and itself.
    pub(crate) delayed_messages: String,
    /// Sets, one for each task of which several messages are delayed: the members of `delayed` but the first. A prefix.
    pub(crate) delayed_twins: String,
    /// Sorted set: what is revoked, by the unix time it was.
    pub(crate) revoked: String,
    /// Sorted set: signal and what is to be ended by it, by the unix time it was asked for.
    pub(crate) terminated: String,
    /// Hash: a paused queue to the workers of others that were told of it.
    pub(crate) paused: String,
    /// Sorted set: id of a dead letter, by the unix time it died.
    pub(crate) letters: String,
    /// Stream: what became of tasks.
    pub(crate) journal: String,
    /// Hash: how the journal stands; exists while it is kept.
    pub(crate) journal_state: String,
}

impl Keys {
    /// `by_sentinel`: the broker is one that sentinels name.
    pub(crate) fn new(options: &TransportOptions, database: i64, by_sentinel: bool) -> Self {
        let prefix = options.global_keyprefix.clone();
        let named = |name: &str| format!("{prefix}{name}");
        Self {
            separator: options.sep.clone(),
            fanout_prefix: options.fanout_prefix.text(database),
            fanout_patterns: options.fanout_patterns,
            old_fanout_prefix: (by_sentinel && options.sentinel_fanout_compat)
                .then(|| options.fanout_prefix.template())
                .filter(|template| *template != options.fanout_prefix.text(database)),
            steps: Steps::new(&options.priority_steps),
            unacked: named(&options.unacked_key),
            unacked_index: named(&options.unacked_index_key),
            unacked_mutex: named(&options.unacked_mutex_key),
            workers: named("lovage:workers"),
            delayed: named("lovage:delayed"),
            delayed_messages: named("lovage:delayed:messages"),
            delayed_twins: named("lovage:delayed:twins:"),
            revoked: named("lovage:revoked"),
            terminated: named("lovage:revoked:terminate"),
            paused: named("lovage:paused"),
            letters: named("lovage:dlq"),
            journal: named("lovage:journal"),
            journal_state: named("lovage:journal:state"),
            prefix,
        }
    }

    /// A name with the prefix of all keys in front.
    pub(crate) fn prefixed(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) fn separator(&self) -> &str {
        &self.separator
    }

    /// The list of a queue's messages of one priority step.
    pub(crate) fn list(&self, queue: &QueueName, step: u8) -> String {
        match step {
            0 => format!("{}{queue}", self.prefix),
            step => format!("{}{queue}{}{step}", self.prefix, self.separator),
        }
    }

    /// The queue that a list would belong to; what is in it may be anything.
    pub(crate) fn queue_of(&self, list: &str) -> Option<QueueName> {
        let name = list.strip_prefix(&self.prefix)?;
        let queue = name.split(self.separator.as_str()).next()?;
        QueueName::parse(queue).ok()
    }

    /// The list for a message of this priority.
    pub(crate) fn list_for(&self, queue: &QueueName, priority: i64) -> String {
        self.list(queue, self.steps.of(priority))
    }

    /// All lists of a queue, the first served first.
    pub(crate) fn lists(&self, queue: &QueueName) -> impl Iterator<Item = String> {
        self.steps
            .all()
            .iter()
            .map(move |step| self.list(queue, *step))
    }

    /// The binding table of an exchange.
    pub(crate) fn binding(&self, exchange: &str) -> String {
        format!("{}_kombu.binding.{exchange}", self.prefix)
    }

    /// Until when each table of expiring bindings is kept.
    pub(crate) fn binding_deadlines(&self) -> String {
        format!("{}_kombu.binding_deadlines", self.prefix)
    }

    /// The table of those bindings that never expire.
    pub(crate) fn binding_permanent(&self, exchange: &str) -> String {
        format!("{}_kombu.binding_permanent.{exchange}", self.prefix)
    }

    /// Exists while the worker is alive.
    pub(crate) fn lease(&self, worker: &str) -> String {
        format!("{}lovage:lease:{worker}", self.prefix)
    }

    /// What is known of a worker: node, queues, tasks, and the answers to its last steps.
    pub(crate) fn worker(&self, worker: &str) -> String {
        format!("{}lovage:worker:{worker}", self.prefix)
    }

    /// What all keys of ours begin with.
    pub(crate) fn root(&self) -> String {
        format!("{}lovage:", self.prefix)
    }

    /// Sorted set: marks of what was relayed, by the time it was.
    pub(crate) fn relayed(&self, scope: &str) -> String {
        format!("{}lovage:relayed:{scope}", self.prefix)
    }

    /// The highest number of a relay that was seen.
    pub(crate) fn relay_fence(&self, scope: &str) -> String {
        format!("{}lovage:relayed:{scope}:fence", self.prefix)
    }

    /// One dead letter.
    pub(crate) fn letter(&self, id: &str) -> String {
        format!("{}{id}", self.letter_prefix())
    }

    /// What the keys of dead letters begin with.
    pub(crate) fn letter_prefix(&self) -> String {
        format!("{}lovage:dlq:", self.prefix)
    }

    /// How many workers died while they ran this message.
    pub(crate) fn deaths(&self, message: &str) -> String {
        format!("{}lovage:deaths:{message}", self.prefix)
    }

    /// Remembers that a chord was closed with this token.
    pub(crate) fn chord_closed(&self, token: &str) -> String {
        format!("{}lovage:chord:{token}", self.prefix)
    }

    /// The lock that keeps two workers from reaping the same dead one at once.
    pub(crate) fn reaper_lock(&self, worker: &str) -> String {
        format!("{}lovage:reaping:{worker}", self.prefix)
    }

    /// The channel of a fanout exchange.
    pub(crate) fn channel(&self, exchange: &str, routing_key: &str) -> String {
        self.channel_after(&self.fanout_prefix, exchange, routing_key)
    }

    /// The channel that kombu before 5.4 uses in its place, where `sentinel_fanout_compat` asks for that.
    pub(crate) fn old_channel(&self, exchange: &str, routing_key: &str) -> Option<String> {
        let prefix = self.old_fanout_prefix.as_deref()?;
        Some(self.channel_after(prefix, exchange, routing_key))
    }

    /// The channels of a fanout exchange: one, or both of the above.
    pub(crate) fn channels(&self, exchange: &str, routing_key: &str) -> Vec<String> {
        let mut channels = vec![self.channel(exchange, routing_key)];
        channels.extend(self.old_channel(exchange, routing_key));
        channels
    }

    fn channel_after(&self, prefix: &str, exchange: &str, routing_key: &str) -> String {
        let base = format!("{}{prefix}{exchange}", self.prefix);
        if routing_key.is_empty() || !self.fanout_patterns {
            base
        } else {
            format!("{base}/{routing_key}")
        }
    }

    /// The routing key in a channel of this exchange.
    pub(crate) fn routing_key<'a>(&self, exchange: &str, channel: &'a str) -> &'a str {
        [
            Some(self.channel(exchange, "")),
            self.old_channel(exchange, ""),
        ]
        .iter()
        .flatten()
        .find_map(|base| channel.strip_prefix(base.as_str()))
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use lovage_settings::FanoutPrefix;

    use super::*;

    fn keys(options: &TransportOptions) -> Keys {
        Keys::new(options, 2, false)
    }

    #[test]
    fn lists_carry_the_step_and_the_prefix() {
        let queue = QueueName::parse("q").unwrap();
        let plain = keys(&TransportOptions::default());
        let lists: Vec<String> = plain.lists(&queue).collect();
        assert_eq!(
            lists,
            ["q", "q\u{6}\u{16}3", "q\u{6}\u{16}6", "q\u{6}\u{16}9"]
        );
        assert!(
            lists
                .iter()
                .all(|list| plain.queue_of(list).as_ref() == Some(&queue))
        );
        assert_eq!(plain.list_for(&queue, 7), "q\u{6}\u{16}6");
        let prefixed = keys(&TransportOptions {
            global_keyprefix: "pre.".into(),
            ..TransportOptions::default()
        });
        assert_eq!(prefixed.list(&queue, 0), "pre.q");
        assert_eq!(prefixed.queue_of("pre.q"), Some(queue));
        assert_eq!(prefixed.queue_of("q"), None);
        assert_eq!(prefixed.unacked, "pre.unacked");
        assert_eq!(prefixed.binding("celery"), "pre._kombu.binding.celery");
        assert_eq!(prefixed.lease("w"), "pre.lovage:lease:w");
        assert_eq!(
            prefixed.channel("celery.pidbox", ""),
            "pre./2.celery.pidbox"
        );
    }

    #[test]
    fn channels_follow_the_fanout_options() {
        let plain = keys(&TransportOptions::default());
        assert_eq!(
            plain.channel("celeryev", "worker.online"),
            "/2.celeryev/worker.online"
        );
        assert_eq!(
            plain.routing_key("celeryev", "/2.celeryev/worker.online"),
            "worker.online"
        );
        assert_eq!(plain.routing_key("celeryev", "/2.celeryev"), "");
        let off = keys(&TransportOptions {
            fanout_prefix: FanoutPrefix::Off,
            ..TransportOptions::default()
        });
        assert_eq!(off.channel("celeryev", "a"), "celeryev/a");
        let custom = keys(&TransportOptions {
            fanout_prefix: FanoutPrefix::Custom("/app/{db}.".into()),
            ..TransportOptions::default()
        });
        assert_eq!(custom.channel("celeryev", "a"), "/app/2.celeryev/a");
        let flat = keys(&TransportOptions {
            fanout_patterns: false,
            ..TransportOptions::default()
        });
        assert_eq!(flat.channel("celeryev", "a"), "/2.celeryev");
    }

    #[test]
    fn old_peers_of_sentinels_are_met_on_their_channel_when_asked_to() {
        let asked = TransportOptions {
            sentinel_fanout_compat: true,
            ..TransportOptions::default()
        };
        let both = Keys::new(&asked, 2, true);
        let old = both.old_channel("celeryev", "a").unwrap();
        assert_eq!(old, "/{db}.celeryev/a");
        assert_eq!(both.routing_key("celeryev", &old), "a");
        assert_eq!(both.routing_key("celeryev", "/2.celeryev/a"), "a");
        assert_eq!(
            Keys::new(&asked, 2, false).old_channel("celeryev", "a"),
            None
        );
        let fixed = TransportOptions {
            fanout_prefix: FanoutPrefix::Custom("/app.".into()),
            ..asked
        };
        assert_eq!(
            Keys::new(&fixed, 2, true).old_channel("celeryev", "a"),
            None
        );
    }
}
