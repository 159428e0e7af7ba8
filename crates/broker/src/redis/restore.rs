//! Putting held messages back where they came from, so that the oldest is popped first.

use std::time::Duration;

use bytes::Bytes;
use lovage_protocol::{Message, QueueName};

use super::{
    apply::{self, Outcome},
    batch::{Applied, Batch, End, Letter, Settling},
    consumer::{self, Shared},
    link::{Link, Patience, Request},
    reply,
};
use crate::{
    Error, Reason,
    envelope::{self, Entry},
};

/// So many go into one script.
pub(crate) const CHUNK: usize = 200;
/// For how long a message's deaths are remembered.
const DEATHS_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A message to put back.
#[derive(Debug, Clone)]
pub(crate) struct Restore {
    /// Its place in the order in which they were taken.
    pub(crate) number: u64,
    pub(crate) tag: String,
    /// Its worker died while it ran.
    pub(crate) started: bool,
}

/// Puts back what this consumer holds, and tells how many there were. That never counts as a death. With
/// [`Settling::Waiting`] a message that is started meanwhile stays.
pub(crate) async fn own(
    shared: &Shared,
    numbers: &[u64],
    settling: Settling,
    patience: Patience,
) -> Result<u64, Error> {
    let restores = consumer::unstarted(numbers, shared);
    let mut count = 0;
    for chunk in restores.rchunks(CHUNK) {
        let back = chunk_back(shared, &shared.link, chunk, "", settling, patience).await?;
        // The answer counts from the newest, as the batch was written.
        let lost = back.unwrap_or_default().lost;
        let numbers: Vec<u64> = chunk
            .iter()
            .rev()
            .enumerate()
            .filter(|(position, _)| !lost.contains(position))
            .map(|(_, restore)| restore.number)
            .collect();
        count += u64::try_from(numbers.len()).expect("a count of messages fits into 64 bits");
        shared.held.remove(numbers.into_iter());
    }
    Ok(count)
}

/// Puts one chunk (ascending) back, unless the key `guard` exists, which gives `None`.
pub(crate) async fn chunk_back(
    shared: &Shared,
    link: &Link,
    chunk: &[Restore],
    guard: &str,
    settling: Settling,
    patience: Patience,
) -> Result<Option<Applied>, Error> {
    let keys = &shared.core.keys;
    let mut ask = redis::cmd("HMGET");
    ask.arg(&keys.unacked);
    for restore in chunk {
        ask.arg(&restore.tag);
    }
    let entries = reply::optional_bytes_list(link.send(Request::One(&ask), patience).await?);
    let rows: Vec<(&Restore, Option<Entry>)> = chunk
        .iter()
        .zip(entries)
        .map(|(restore, entry)| (restore, entry.as_ref().and_then(Entry::split)))
        .collect();
    let deaths = deaths(shared, link, &rows, patience).await?;
    let mut batch = Batch::new(keys, shared.core.servers.database());
    // The oldest last: it then lies at the very head. The positions of the answer count in the same order.
    for ((restore, entry), deaths) in rows.iter().zip(deaths).rev() {
        let item = batch.fenced(restore.tag.clone());
        let Some(entry) = entry else { continue };
        let Ok(queue) = QueueName::parse(&entry.routing_key) else {
            tracing::error!(
                tag = restore.tag,
                queue = entry.routing_key,
                "an unacked entry names no queue"
            );
            continue;
        };
        if restore.started {
            batch.count_death(
                item,
                keys.deaths(&envelope::identity(&entry.message)),
                DEATHS_LIFE,
            );
        }
        if restore.started && deaths > shared.options.max_deaths {
            bury(shared, &mut batch, item, &queue, &entry.message, deaths)?;
        } else {
            let list = keys.list_for(&queue, envelope::priority(&entry.message));
            batch.push(item, list, End::Head, envelope::redelivered(&entry.message));
        }
    }
    let call = batch.into_call(&shared.holder.worker_key, None, guard, settling);
    Ok(match apply::run(link, &call, patience).await? {
        Outcome::Applied(applied) => Some(applied),
        Outcome::Refused => None,
    })
}

/// How many deaths each message will have cost, this one included; 0 for those that were not started.
async fn deaths(
    shared: &Shared,
    link: &Link,
    rows: &[(&Restore, Option<Entry>)],
    patience: Patience,
) -> Result<Vec<u32>, Error> {
    let mut counts = vec![0; rows.len()];
    let started: Vec<(usize, String)> = rows
        .iter()
        .enumerate()
        .filter(|(_, (restore, _))| restore.started)
        .filter_map(|(at, (_, entry))| {
            Some((
                at,
                shared
                    .core
                    .keys
                    .deaths(&envelope::identity(&entry.as_ref()?.message)),
            ))
        })
        .collect();
    if started.is_empty() {
        return Ok(counts);
    }
    let mut ask = redis::cmd("MGET");
    for (_, key) in &started {
        ask.arg(key);
    }
    let before = reply::list(link.send(Request::One(&ask), patience).await?);
    for ((at, _), before) in started.iter().zip(before) {
        let before = reply::integer(&before)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0);
        counts[*at] = before.saturating_add(1);
    }
    Ok(counts)
}

/// Gives a message up that cost too many workers their life.
fn bury(
    shared: &Shared,
    batch: &mut Batch<'_>,
    item: super::batch::Item,
    queue: &QueueName,
    raw: &Bytes,
    deaths: u32,
) -> Result<(), Error> {
    let message = Message::parse(raw).ok();
    let reason = Reason {
        code: "died".to_owned(),
        detail: format!("{deaths} workers died while they ran it"),
        task: message
            .as_ref()
            .map(|message| message.headers.task.to_string()),
        task_id: message
            .as_ref()
            .map(|message| message.headers.id.to_string()),
    };
    tracing::error!(
        task.id = reason.task_id,
        task.name = reason.task,
        %queue,
        deaths,
        "a message is given up: workers die while they run it"
    );
    batch.letter(
        item,
        Letter {
            id: uuid::Uuid::new_v4().simple().to_string(),
            reason: &reason,
            queue: queue.as_str(),
            node: &shared.holder.node,
            raw: raw.clone(),
        },
    );
    batch.forget_deaths(item, shared.core.keys.deaths(&envelope::identity(raw)));
    let obituary = shared
        .options
        .obituary
        .as_ref()
        .map(|write| write(raw, deaths))
        .unwrap_or_default();
    for result in &obituary {
        shared.core.check_place(&result.place)?;
        batch.result(item, result)?;
    }
    Ok(())
}
