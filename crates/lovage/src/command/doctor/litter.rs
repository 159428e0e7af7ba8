//! Keys that nobody will ever take away: results without an end, replies that nobody waits for any more, a lock that was left locked.

use std::{collections::BTreeSet, time::Duration};

use futures::FutureExt;
use lovage_broker::{RedisBroker, Walked};
use lovage_protocol::control::REPLY_EXCHANGE;
use lovage_settings::{BrokerSettings, BrokerUrl, ResultUrl, Settings};
use serde_json::json;

use super::finding::{Finding, Repair};
use crate::{connect::Connected, failure::Failure, output};

/// Who waits for replies takes them at once: what is there at two looks this far apart is waited for by nobody.
const TWO_LOOKS: Duration = Duration::from_secs(3);
/// So many names are told as examples.
const EXAMPLES: usize = 5;

/// Looks for what is left of remote control and of `rpc://` results, and for kombu's lock.
pub(super) async fn replies(
    redis: &RedisBroker,
    settings: &Settings,
    most: u64,
) -> Result<Vec<Finding>, Failure> {
    let options = &settings.broker.options;
    let prefix = &options.global_keyprefix;
    let reply_queue = format!(".{REPLY_EXCHANGE}");
    let lock = format!("{prefix}{}", options.unacked_mutex_key);
    let own = |name: &str| name.strip_prefix(prefix.as_str()).map(str::to_owned);
    let is_reply = |name: &str| own(name).is_some_and(|name| name.ends_with(&reply_queue));
    let is_rpc = |name: &str| {
        own(name).is_some_and(|name| uuid::Uuid::try_parse(&name).is_ok() && name.len() == 36)
    };
    let (mut replies, mut rpc, mut locked) = (BTreeSet::new(), BTreeSet::new(), false);
    let walked = redis
        .find_keys(
            most,
            &|name| name == lock || is_reply(name) || is_rpc(name),
            &mut |key| match (key.left, key.kind.as_str()) {
                (None, "list") if is_reply(&key.name) => {
                    replies.insert(key.name);
                }
                (None, "list") if is_rpc(&key.name) => {
                    rpc.insert(key.name);
                }
                (None, "string") if key.name == lock => locked = true,
                _ => {}
            },
        )
        .await?;
    if !replies.is_empty() {
        tokio::time::sleep(TWO_LOOKS).await;
        let mut still = BTreeSet::new();
        for name in &replies {
            // It is asked for by its name: nothing else is to be looked at.
            if redis.exists(name).await? {
                still.insert(name.clone());
            }
        }
        replies = still;
    }
    let mut findings = Vec::new();
    if !replies.is_empty() {
        findings.push(orphaned(redis, replies));
    }
    if !rpc.is_empty() {
        findings.push(uncollected(&rpc, prefix));
    }
    if locked {
        findings.push(left_locked(redis, lock));
    }
    findings.extend(cut_short(redis, walked, "replies").await?);
    Ok(findings)
}

fn orphaned(redis: &RedisBroker, names: BTreeSet<String>) -> Finding {
    let (redis, names) = (redis.clone(), Vec::from_iter(names));
    let count = u64::try_from(names.len()).unwrap_or(u64::MAX);
    let examples = examples(&names);
    Finding {
        check: "orphaned-replies",
        subject: output::count(count, "list"),
        text: format!(
            "replies to remote control that came when nobody waited any more, such as {}",
            examples.join(", ")
        ),
        remedy: "lovage doctor --only replies --fix".to_owned(),
        facts: json!({ "count": count, "examples": examples }),
        repair: Some(Repair {
            would: format!("delete {}", output::count(count, "list")),
            run: async move {
                let gone = redis.remove_endless(&names).await?;
                Ok(format!("deleted {}", output::count(gone, "list")))
            }
            .boxed(),
        }),
        hint: false,
    }
}

fn uncollected(names: &BTreeSet<String>, prefix: &str) -> Finding {
    let names: Vec<String> = names
        .iter()
        .map(|name| name.strip_prefix(prefix).unwrap_or(name).to_owned())
        .collect();
    let count = u64::try_from(names.len()).unwrap_or(u64::MAX);
    let examples = examples(&names);
    Finding {
        check: "uncollected-replies",
        subject: output::count(count, "list"),
        text: format!(
            "results of an rpc:// result backend that their client has not fetched, such as {}; a client that has ended never will",
            examples.join(", ")
        ),
        remedy: format!(
            "once its client has ended: lovage purge -f -Q {}",
            examples.join(",")
        ),
        facts: json!({ "count": count, "examples": examples }),
        // Nobody can tell whether the client lives.
        repair: None,
        hint: true,
    }
}

fn left_locked(redis: &RedisBroker, lock: String) -> Finding {
    let redis = redis.clone();
    Finding {
        check: "lock-without-end",
        subject: lock.clone(),
        text: "the lock of kombu's sweep has no end: no worker puts back what dead Python workers held".to_owned(),
        remedy: "lovage doctor --only replies --fix".to_owned(),
        facts: json!({}),
        repair: Some(Repair {
            would: "delete it".to_owned(),
            run: async move {
                let gone = redis.remove_endless(&[lock]).await?;
                Ok(format!("deleted {}", output::count(gone, "lock")))
            }
            .boxed(),
        }),
        hint: false,
    }
}

/// Looks for results that nobody will take away although they should end. Where results are kept for ever there is nothing to find.
pub(super) async fn results(
    connected: &Connected,
    settings: &Settings,
    most: u64,
) -> Result<Vec<Finding>, Failure> {
    let (Some(life), Some(redis)) = (settings.results.expires, place(settings).await?) else {
        return Ok(Vec::new());
    };
    let group = connected.results.group_key("");
    let prefix = group.strip_suffix("celery-taskset-meta-").unwrap_or("");
    let task = format!("{prefix}celery-task-meta-");
    let (mut tasks, mut groups) = (BTreeSet::new(), BTreeSet::new());
    let walked = redis
        .find_keys(
            most,
            &|name| name.starts_with(&task) || name.starts_with(&group),
            &mut |key| {
                if key.left.is_none() {
                    match key.name.starts_with(&task) {
                        true => tasks.insert(key.name),
                        false => groups.insert(key.name),
                    };
                }
            },
        )
        .await?;
    let mut findings = Vec::new();
    for (names, what) in [
        (tasks, "results of tasks"),
        (groups, "keys of groups and chords"),
    ] {
        if !names.is_empty() {
            findings.push(endless(&redis, Vec::from_iter(names), what, life));
        }
    }
    findings.extend(cut_short(&redis, walked, "results").await?);
    Ok(findings)
}

/// The server on which results are, when it is a Redis.
async fn place(settings: &Settings) -> Result<Option<RedisBroker>, Failure> {
    let urls = match &settings.results.url {
        Some(ResultUrl::Redis(urls)) => urls,
        Some(_) => return Ok(None),
        None => match &settings.broker.url {
            Some(BrokerUrl::Redis(urls)) => urls,
            _ => return Ok(None),
        },
    };
    let there = BrokerSettings {
        url: Some(BrokerUrl::Redis(urls.clone())),
        ..settings.broker.clone()
    };
    let there = RedisBroker::connect(&there).await;
    Ok(Some(there.map_err(crate::connect::ConnectError::from)?))
}

fn endless(redis: &RedisBroker, names: Vec<String>, what: &str, life: Duration) -> Finding {
    let redis = redis.clone();
    let count = u64::try_from(names.len()).unwrap_or(u64::MAX);
    let examples = examples(&names);
    let life_told = output::duration(life);
    Finding {
        check: "results-without-end",
        subject: output::count(count, "key"),
        text: format!(
            "{what} have no time to live, although results are kept for {life_told}: nobody takes them away; such as {}",
            examples.join(", ")
        ),
        remedy:
            "lovage doctor --only results --fix; who wrote them has another CELERY_RESULT_EXPIRES"
                .to_owned(),
        facts: json!({ "count": count, "examples": examples, "life_seconds": life.as_secs() }),
        repair: Some(Repair {
            would: format!("have them end in {life_told}"),
            run: async move {
                let ended = redis.end_keys(&names, life).await?;
                Ok(format!(
                    "{} will end in {life_told}",
                    output::count(ended, "key")
                ))
            }
            .boxed(),
        }),
        hint: false,
    }
}

/// Tells that not all was looked at.
pub(super) async fn cut_short(
    redis: &RedisBroker,
    walked: Walked,
    what: &str,
) -> Result<Option<Finding>, Failure> {
    if !walked.cut_short {
        return Ok(None);
    }
    let (seen, all) = (walked.seen, redis.key_count().await?);
    Ok(Some(Finding {
        check: "not-all-seen",
        subject: what.to_owned(),
        text: format!(
            "{} of some {} were looked at (--most-keys); there may be more to find",
            output::count(seen, "key"),
            output::thousands(all)
        ),
        remedy: format!(
            "lovage doctor --only {what} --most-keys {}",
            all.saturating_mul(2)
        ),
        facts: json!({ "seen": seen, "keys": all }),
        repair: None,
        hint: true,
    }))
}

fn examples(names: &[String]) -> Vec<String> {
    names.iter().take(EXAMPLES).cloned().collect()
}
