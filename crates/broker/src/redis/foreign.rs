//! kombu's own sweep: gives back what a Python worker has held for longer than the visibility time-out.
//!
//! Python workers have no lease, so this is all that can be known of them (`kombu/transport/redis.py`,
//! `restore_visible`). Taking part in it matters where Lovage workers are the only ones left.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lovage_protocol::QueueName;
use redis::Value;
use uuid::Uuid;

use super::{
    consumer::Shared,
    link::{Patience, Request},
    reply, restore,
    scripts::{self, RELEASE_LOCK, RESTORE_FOREIGN},
};
use crate::{
    Error, Reaped,
    envelope::{self, Entry},
};

const EVERY: Duration = Duration::from_secs(10);
/// So many at most in one sweep, when `unacked_restore_limit` does not say.
const MOST: usize = 200;

/// When the last sweep was.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    last: Option<Instant>,
}

impl Sweep {
    /// Sweeps when it is time. `workers` are those of ours, dead or alive, whose tags the reaper looks after.
    pub(crate) async fn look(
        &mut self,
        shared: &Shared,
        workers: &[String],
        reaped: &mut Reaped,
    ) -> Result<(), Error> {
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let keys = &shared.core.keys;
        let token = Uuid::new_v4().simple().to_string();
        let mut lock = redis::cmd("SET");
        lock.arg(&keys.unacked_mutex).arg(&token).arg("NX");
        lock.arg("PX").arg(
            shared
                .core
                .options
                .unacked_mutex_expire
                .as_millis()
                .max(1)
                .to_string(),
        );
        if shared
            .upkeep
            .send(Request::One(&lock), Patience::Bounded)
            .await?
            == Value::Nil
        {
            return Ok(());
        }
        let done = sweep(shared, workers).await;
        let mut release = scripts::call(&RELEASE_LOCK, &[&keys.unacked_mutex]);
        release.arg(&token);
        shared
            .upkeep
            .send(Request::Script(&RELEASE_LOCK, &release), Patience::Bounded)
            .await?;
        reaped.abandoned += done?;
        Ok(())
    }
}

/// Sweeps, and tells how many there were.
async fn sweep(shared: &Shared, workers: &[String]) -> Result<u64, Error> {
    let keys = &shared.core.keys;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let latest = now
        .saturating_sub(shared.core.options.visibility_timeout)
        .as_secs_f64();
    let mut ask = redis::cmd("ZRANGEBYSCORE");
    ask.arg(&keys.unacked_index)
        .arg("-inf")
        .arg(latest)
        .arg("LIMIT")
        .arg(0);
    ask.arg(shared.core.options.unacked_restore_limit.unwrap_or(MOST));
    let mut tags = reply::text_list(
        shared
            .upkeep
            .send(Request::One(&ask), Patience::Bounded)
            .await?,
    );
    tags.retain(|tag| {
        !tag.split_once(':')
            .is_some_and(|(worker, _)| workers.iter().any(|known| known == worker))
    });
    let mut count = 0;
    let all = tags.iter().map(String::as_str);
    // The oldest is pushed last, to be popped first.
    for portion in restore::portions(shared, &shared.upkeep, all, Patience::Bounded).await? {
        count += put_back(shared, &tags[portion], latest).await?;
    }
    if count > 0 {
        tracing::warn!(
            count,
            "messages held past the visibility time-out by other workers are back in their queues"
        );
    }
    Ok(count)
}

/// Puts back what of these is still held and overdue, and tells how many there were.
async fn put_back(shared: &Shared, tags: &[String], latest: f64) -> Result<u64, Error> {
    let keys = &shared.core.keys;
    let mut ask = redis::cmd("HMGET");
    ask.arg(&keys.unacked).arg(tags);
    let entries = reply::optional_bytes_list(
        shared
            .upkeep
            .send(Request::One(&ask), Patience::Bounded)
            .await?,
    );
    let mut restore = scripts::call(&RESTORE_FOREIGN, &[&keys.unacked, &keys.unacked_index]);
    let mut rows = Vec::new();
    for (tag, raw) in tags.iter().zip(entries).rev() {
        let Some(raw) = raw else { continue };
        let Some(entry) = Entry::split(&raw) else {
            tracing::error!(
                tag,
                "what is held under this tag is no entry of kombu's, and cannot go back to a queue"
            );
            continue;
        };
        let queues = queues(shared, &entry).await?;
        if queues.is_empty() {
            tracing::error!(
                tag,
                exchange = entry.exchange,
                "an abandoned message has no queue to go back to"
            );
            continue;
        }
        let priority = envelope::priority(&entry.message);
        let lists: Vec<String> = queues
            .iter()
            .map(|queue| keys.list_for(queue, priority))
            .collect();
        rows.push((tag, raw, envelope::redelivered(&entry.message), lists));
    }
    restore.arg(rows.len()).arg(latest);
    for (tag, entry, payload, lists) in &rows {
        restore
            .arg(tag)
            .arg(&entry[..])
            .arg(&payload[..])
            .arg(lists.len())
            .arg(lists);
    }
    let count = shared
        .upkeep
        .send(
            Request::Script(&RESTORE_FOREIGN, &restore),
            Patience::Bounded,
        )
        .await?;
    reply::integer(&count).ok_or(Error::Misunderstood {
        what: "the restore script",
    })
}

async fn queues(shared: &Shared, entry: &Entry) -> Result<Vec<QueueName>, Error> {
    if entry.exchange.is_empty() {
        return Ok(QueueName::parse(&entry.routing_key).into_iter().collect());
    }
    shared
        .core
        .bound(
            &shared.upkeep,
            Patience::Bounded,
            &entry.exchange,
            &entry.routing_key,
        )
        .await
}
