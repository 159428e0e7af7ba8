//! The broker's server: whether it may lose what it was given, and whether its clock is right.

use lovage_broker::{Durability, ServerCondition};
use lovage_settings::{Environment, Settings};
use serde_json::json;

use super::{finding::Finding, nodes::SKEW};

/// So full, a server has little time left until it refuses every message.
const NEARLY_FULL: f64 = 0.9;

/// Looks at what the server does when its memory is full, what it has on disk, and what it could not write.
pub(super) fn look(condition: &ServerCondition, settings: &Settings) -> Vec<Finding> {
    let production = settings.environment == Environment::Production;
    [
        eviction(condition),
        memory(condition),
        unwritten(condition),
        persistence(condition, production),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What cannot be looked at is told, too.
pub(super) fn closed() -> Finding {
    Finding {
        check: "server-not-shown",
        subject: "INFO".to_owned(),
        text: "the server does not let us ask how it is set up: whether it may lose messages is not known".to_owned(),
        remedy: "let the user of CELERY_BROKER_URL ask: redis-cli ACL SETUSER NAME +info +config|get".to_owned(),
        facts: json!({}),
        repair: None,
        hint: true,
    }
}

fn eviction(condition: &ServerCondition) -> Option<Finding> {
    let policy = &condition.eviction;
    (policy != "noeviction").then(|| Finding {
        check: "eviction",
        subject: "maxmemory-policy".to_owned(),
        text: format!(
            "it is {policy}: when its memory is full the broker deletes messages without a word"
        ),
        remedy:
            "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its configuration file"
                .to_owned(),
        facts: json!({ "policy": policy }),
        repair: None,
        hint: false,
    })
}

fn memory(condition: &ServerCondition) -> Option<Finding> {
    let (used, limit) = (condition.used_memory, condition.memory_limit?);
    let share = used as f64 / limit as f64;
    (share >= NEARLY_FULL).then(|| Finding {
        check: "memory-full",
        subject: "maxmemory".to_owned(),
        text: format!(
            "{:.0} % of its {} MiB are in use: a full broker refuses messages and results",
            share * 100.0,
            limit >> 20
        ),
        remedy: "redis-cli CONFIG SET maxmemory BYTES; lovage doctor --only results finds results without end, redis-cli --bigkeys what is large"
            .to_owned(),
        facts: json!({ "used": used, "limit": limit }),
        repair: None,
        hint: false,
    })
}

fn unwritten(condition: &ServerCondition) -> Option<Finding> {
    let what = condition.unwritten.first()?;
    Some(Finding {
        check: "write-failed",
        subject: (*what).to_owned(),
        text: "the server could not write it to its disk the last time".to_owned(),
        remedy: "look at the server's log and the space on its disk (df), then redis-cli BGSAVE or BGREWRITEAOF"
            .to_owned(),
        facts: json!({ "unwritten": condition.unwritten }),
        repair: None,
        hint: false,
    })
}

fn persistence(condition: &ServerCondition, production: bool) -> Option<Finding> {
    let lost = match condition.durability() {
        Durability::Everything | Durability::ButASecond => return None,
        Durability::WhenTheSystemLikes => {
            "appendfsync is no: a power cut loses what the system had not written, some 30 s"
        }
        Durability::Snapshots => {
            "only snapshots are written: the server's end loses every message since the last of them"
        }
        Durability::Nothing => "nothing is written to disk: the server's end loses every message",
        _ => {
            "appendonly is off, and whether snapshots are taken may not be asked: the server's end loses messages"
        }
    };
    let points = &condition.snapshots;
    Some(Finding {
        check: "persistence",
        subject: if condition.append_only { "appendfsync" } else { "appendonly" }.to_owned(),
        text: lost.to_owned(),
        remedy: "redis-cli CONFIG SET appendonly yes and CONFIG SET appendfsync everysec (or always), and the same in its configuration file"
            .to_owned(),
        facts: json!({ "appendonly": condition.append_only, "appendfsync": condition.fsync, "save": points }),
        repair: None,
        // A try-out need not outlive its server.
        hint: !production,
    })
}

/// Looks at the time that the server has.
pub(super) fn clock(condition: &ServerCondition) -> Option<Finding> {
    let ahead = condition.ahead_seconds;
    (ahead.abs() > SKEW).then(|| Finding {
        check: "clock-skew",
        subject: "the broker's server".to_owned(),
        text: format!(
            "its clock is {:.1} s {} this machine's",
            ahead.abs(),
            super::nodes::side(ahead)
        ),
        remedy: super::nodes::SYNCHRONISE.to_owned(),
        facts: json!({ "ahead_seconds": ahead }),
        repair: None,
        hint: false,
    })
}

#[cfg(test)]
mod tests {
    use lovage_settings::Settings;

    use super::{ServerCondition, clock, look};

    /// A condition as a server would tell it; it cannot be made elsewhere, so it is read from a real one and changed.
    async fn condition() -> ServerCondition {
        let server = lovage_broker::redis_server::RedisServer::start().unwrap();
        let broker = lovage_broker::RedisBroker::connect(&server.settings()).await;
        broker.unwrap().condition().await.unwrap().unwrap()
    }

    fn checks(
        condition: &ServerCondition,
        variables: &[(&str, &str)],
    ) -> Vec<(&'static str, bool)> {
        let pairs = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (settings, _) = Settings::from_lookup(pairs).unwrap();
        let found = look(condition, &settings);
        found.iter().map(|one| (one.check, one.hint)).collect()
    }

    #[tokio::test]
    async fn a_clock_that_is_right_is_none_and_one_that_is_not_is_told_with_its_side() {
        let mut condition = condition().await;
        assert!(condition.ahead_seconds.abs() < 1.0, "{condition:?}");
        assert!(clock(&condition).is_none());
        for (ahead, side) in [(-7.5, "7.5 s behind"), (7.5, "7.5 s ahead of")] {
            condition.ahead_seconds = ahead;
            let text = clock(&condition).unwrap().text;
            assert!(text.contains(side), "{text}");
        }
    }

    #[tokio::test]
    async fn what_was_not_written_and_what_is_nearly_full_is_told() {
        let mut condition = condition().await;
        condition.append_only = true;
        assert_eq!(checks(&condition, &[]), []);
        condition.unwritten = vec!["snapshot"];
        (condition.used_memory, condition.memory_limit) = (91, Some(100));
        let told = checks(&condition, &[]);
        assert_eq!(told, [("memory-full", false), ("write-failed", false)]);
    }
}
