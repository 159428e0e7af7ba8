//! Queues that tasks are sent to and nobody consumes, and what waits or is held when nobody would bring it back.

use std::{collections::BTreeSet, time::Duration};

use chrono::Utc;
use lovage_broker::{Broker, RedisBroker};
use lovage_monitor::fleet::Census;
use lovage_protocol::{Message, QueueName};
use lovage_settings::Settings;
use serde_json::json;

use super::{finding::Finding, litter::cut_short};
use crate::{command::dlq, failure::Failure, output};

/// Overdue by so much, a delayed message is one that nobody brings back.
const OVERDUE: Duration = Duration::from_secs(60);

/// What was put back lately may still be on its way.
const SWEPT: Duration = Duration::from_secs(60);

/// The queues in which a task waits, whoever sent it and whether this program has heard of them.
pub(super) async fn with_tasks(
    redis: &RedisBroker,
    most: u64,
) -> Result<(BTreeSet<String>, Option<Finding>), Failure> {
    let (lists, walked) = redis.lists(most).await?;
    let mut queues = BTreeSet::new();
    for queue in lists {
        let next = redis.peek(&queue, 1).await?.into_iter().next();
        // Replies wait in lists too, and so may what others keep there.
        if next.is_some_and(|raw| Message::parse(&raw).is_ok()) {
            queues.insert(queue.to_string());
        }
    }
    Ok((queues, cut_short(redis, walked, "queues").await?))
}

/// Looks at the queues that tasks are sent to. An empty one without a consumer is told too: the next message would wait in it for
/// ever.
pub(super) async fn consumers(
    broker: &dyn Broker,
    sent_to: &BTreeSet<String>,
    census: &Census,
) -> Result<Vec<Finding>, Failure> {
    let lonely = sent_to
        .iter()
        .filter(|queue| !census.consumers.contains_key(*queue));
    let lonely: Vec<QueueName> = lonely
        .filter_map(|queue| QueueName::parse(queue).ok())
        .collect();
    if lonely.is_empty() {
        return Ok(Vec::new());
    }
    let depths = broker.depth(&lonely).await?;
    let paused = broker.pauses().paused().await?;
    let told = lonely.iter().zip(depths).map(|(queue, waiting)| {
        let is_paused = paused.contains(queue);
        let why = match is_paused {
            true => "it is paused",
            false => "no worker consumes it",
        };
        Finding {
            check: "queue-without-consumer",
            subject: queue.to_string(),
            text: format!("tasks are sent there, {waiting} wait, and {why}"),
            remedy: match is_paused {
                true => format!("lovage queue resume {queue}"),
                false => format!(
                    "lovage worker -Q {queue}, or send its tasks elsewhere (CELERY_TASK_ROUTES)"
                ),
            },
            facts: json!({ "waiting": waiting, "paused": is_paused }),
            repair: None,
            hint: false,
        }
    });
    Ok(told.collect())
}

/// Looks for delayed messages that are long due.
pub(super) async fn overdue(broker: &dyn Broker) -> Result<Vec<Finding>, Failure> {
    let Some(first) = broker.delayed(1).await?.into_iter().next() else {
        return Ok(Vec::new());
    };
    let late = Utc::now().timestamp_micros();
    let late = Duration::from_micros(u64::try_from(late).unwrap_or_default());
    let late = late.saturating_sub(Duration::try_from_secs_f64(first.due).unwrap_or_default());
    if late < OVERDUE {
        return Ok(Vec::new());
    }
    let seconds = late.as_secs();
    Ok(vec![Finding {
        check: "overdue",
        subject: "delayed messages".to_owned(),
        text: format!("the first is due for {seconds} s, and no worker of ours brings it back"),
        remedy: "start a worker, or `lovage queue release-eta` for Python workers".to_owned(),
        facts: json!({ "late_seconds": seconds }),
        repair: None,
        hint: false,
    }])
}

/// Looks for messages that somebody has held for longer than the visibility time-out: the next sweep of any worker should have put
/// them back.
pub(super) async fn held(
    redis: &RedisBroker,
    settings: &Settings,
) -> Result<Vec<Finding>, Failure> {
    let Some(held) = redis.held_too_long(SWEPT).await? else {
        return Ok(Vec::new());
    };
    let timeout = settings.broker.options.visibility_timeout;
    let (oldest, timeout) = (output::duration(held.oldest), output::duration(timeout));
    Ok(vec![Finding {
        check: "past-visibility",
        subject: output::count(held.count, "message"),
        text: format!(
            "held for longer than the visibility time-out of {timeout}, the oldest for {oldest}: who held them is gone, and nobody puts them back"
        ),
        remedy: "start a worker of either kind: lovage worker puts them back within 10 s, whatever it consumes".to_owned(),
        facts: json!({ "count": held.count, "oldest_seconds": held.oldest.as_secs() }),
        repair: None,
        hint: false,
    }])
}

/// Looks for messages that could not be run: at the broker, and in the database, where a keeper brings them.
pub(super) async fn letters(
    broker: &dyn Broker,
    settings: &Settings,
) -> Result<Vec<Finding>, Failure> {
    let letters = broker.dead_letters();
    let at_broker = letters.count().await?;
    let newest = letters.list(0, 1).await?.into_iter().next();
    let (brought, newest_brought, unseen) = match dlq::waiting_in_database(settings).await {
        Ok((count, why)) => (count, why, None),
        Err(why) => (0, None, Some(not_asked(&why))),
    };
    let count = at_broker + brought;
    let why = newest.map(|letter| letter.reason.code).or(newest_brought);
    let why = why.unwrap_or_default();
    let found = (count > 0).then(|| Finding {
        check: "dead-letters",
        subject: count.to_string(),
        text: format!("messages could not be run; the newest: {why}"),
        remedy: "lovage dlq list, then lovage dlq replay or lovage dlq discard".to_owned(),
        facts: json!({ "count": count, "newest": why }),
        repair: None,
        hint: false,
    });
    Ok(found.into_iter().chain(unseen).collect())
}

/// Those in the database were not counted.
fn not_asked(why: &Failure) -> Finding {
    Finding {
        check: "not-all-seen",
        subject: "dead-letters".to_owned(),
        text: format!(
            "those that a keeper brought into the database were not counted: {}",
            why.message()
        ),
        remedy: "lovage doctor --only database".to_owned(),
        facts: json!({}),
        repair: None,
        hint: true,
    }
}
