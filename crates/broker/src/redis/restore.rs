//! Putting held messages back where they came from, so that the oldest is popped first.

use std::{ops::Range, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use lovage_protocol::{Message, QueueName};
use redis::Pipeline;

use super::{
    apply::{self, Outcome},
    batch::{Applied, Batch, End, Letter, MOST_BYTES, Settling},
    consumer::{self, Shared},
    link::{Link, Patience, Request},
    reply,
};
use crate::{
    Error, Leave, Reason, Went,
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

/// Puts back what this consumer holds and whose process died while it ran; see [`crate::Consumer::died`].
pub(crate) async fn died(shared: &Shared, numbers: &[u64]) -> Result<(), Error> {
    let mut restores = consumer::unstarted(numbers, shared);
    for restore in &mut restores {
        restore.started = true;
    }
    for chunk in restores.rchunks(CHUNK) {
        let link = &shared.link;
        chunk_back(shared, link, chunk, "", Settling::All, Patience::Endless).await?;
        shared
            .held
            .remove(chunk.iter().map(|restore| restore.number));
    }
    Ok(())
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

/// What became of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Back {
    /// Those that were no longer held, counted from the newest.
    pub(crate) lost: Vec<usize>,
    /// So many are dead letters now, and in no queue.
    pub(crate) given_up: usize,
    /// So many are as they were: to give them up is not ours.
    pub(crate) left: usize,
}

/// Puts one chunk (ascending) back, unless the key `guard` exists, which gives `None`.
pub(crate) async fn chunk_back(
    shared: &Shared,
    link: &Link,
    chunk: &[Restore],
    guard: &str,
    settling: Settling,
    patience: Patience,
) -> Result<Option<Back>, Error> {
    let tags = chunk.iter().map(|restore| restore.tag.as_str());
    let mut whole = Back::default();
    let mut before = 0;
    for portion in portions(shared, link, tags, patience).await? {
        let portion = &chunk[portion];
        let back = portion_back(shared, link, portion, guard, settling, patience).await?;
        let Some(back) = back else {
            return Ok(None);
        };
        whole.given_up += back.given_up;
        whole.left += back.left;
        let lost = back.lost.into_iter();
        whole.lost.extend(lost.map(|position| before + position));
        before += portion.len();
    }
    Ok(Some(whole))
}

/// Cuts held messages into portions that one script can take, the last first.
pub(crate) async fn portions(
    shared: &Shared,
    link: &Link,
    tags: impl Iterator<Item = &str>,
    patience: Patience,
) -> Result<Vec<Range<usize>>, Error> {
    let mut ask = Pipeline::new();
    for tag in tags {
        ask.cmd("HSTRLEN").arg(&shared.core.keys.unacked).arg(tag);
    }
    if ask.is_empty() {
        return Ok(Vec::new());
    }
    let lengths = reply::list(link.send(Request::Many(&ask), patience).await?);
    let lengths: Vec<usize> = lengths
        .iter()
        .map(|length| reply::integer(length).and_then(|length| usize::try_from(length).ok()))
        .collect::<Option<_>>()
        .ok_or(Error::Misunderstood { what: "HSTRLEN" })?;
    Ok(cut(&lengths, MOST_BYTES))
}

/// Cuts from the end on into ranges of at most `most` together, or of one alone.
fn cut(lengths: &[usize], most: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut end, mut sum) = (lengths.len(), 0_usize);
    for (at, length) in lengths.iter().enumerate().rev() {
        sum = sum.saturating_add(*length);
        if sum > most && at + 1 < end {
            ranges.push(at + 1..end);
            (end, sum) = (at + 1, *length);
        }
    }
    if end > 0 {
        ranges.push(0..end);
    }
    ranges
}

async fn portion_back(
    shared: &Shared,
    link: &Link,
    chunk: &[Restore],
    guard: &str,
    settling: Settling,
    patience: Patience,
) -> Result<Option<Back>, Error> {
    let keys = &shared.core.keys;
    let mut ask = redis::cmd("HMGET");
    ask.arg(&keys.unacked);
    for restore in chunk {
        ask.arg(&restore.tag);
    }
    let entries = reply::optional_bytes_list(link.send(Request::One(&ask), patience).await?);
    let mut rows: Vec<(&Restore, Row)> = Vec::with_capacity(chunk.len());
    for (restore, raw) in chunk.iter().zip(entries) {
        let row = raw.map_or(Row::Gone, |raw| Row::read(&raw));
        if matches!(row, Row::Unreadable) {
            tracing::error!(
                tag = restore.tag,
                "an unacked entry cannot be read, it is left where it is"
            );
        }
        rows.push((restore, row));
    }
    let deaths = deaths(shared, link, &rows, patience).await?;
    let mut batch = Batch::new(keys, shared.core.servers.database());
    // The oldest last: it then lies at the very head. The positions of the answer count in the same order.
    let (mut given_up, mut left) = (Vec::new(), 0);
    for (position, ((restore, entry), deaths)) in rows.iter().zip(deaths).rev().enumerate() {
        let (queue, message) = match entry {
            Row::Held { queue, message } => (queue, message),
            Row::Gone => {
                batch.fenced(restore.tag.clone());
                continue;
            }
            Row::Unreadable => {
                batch.unfenced();
                continue;
            }
        };
        let buried = restore.started && deaths > shared.options.max_deaths;
        if buried && !shared.buries {
            batch.unfenced();
            left += 1;
            continue;
        }
        let item = batch.fenced(restore.tag.clone());
        if restore.started {
            batch.count_death(item, keys.deaths(&envelope::identity(message)), DEATHS_LIFE);
        }
        let owner = envelope::identity(message);
        let leave = match buried {
            true => Leave::End { owner },
            false => Leave::Again {
                owner,
                pause: Duration::ZERO,
            },
        };
        batch.leave(item, restore.tag.clone(), leave);
        if restore.started
            && shared.journals.load(Ordering::Relaxed)
            && let Some(record) = &shared.options.recorder
        {
            let went = match buried {
                true => Went::Under(deaths),
                false => Went::Back(deaths),
            };
            if let Some(record) = record(message, went) {
                batch.record(item, &shared.holder.node, record);
            }
        }
        if buried {
            given_up.push(position);
            bury(shared, &mut batch, item, queue, message, deaths)?;
        } else {
            let list = keys.list_for(queue, envelope::priority(message));
            let again = if restore.started {
                envelope::after_death(message, deaths, shared.options.max_deaths)
            } else {
                envelope::redelivered(message)
            };
            batch.push(item, list, End::Head, again);
        }
    }
    let script = batch.script();
    let call = batch.into_call(&shared.holder.worker_key, None, guard, settling);
    Ok(match apply::run(link, script, &call, patience).await? {
        Outcome::Applied(Applied { lost, .. }) => Some(Back {
            given_up: given_up.iter().filter(|at| !lost.contains(at)).count(),
            left,
            lost,
        }),
        Outcome::Refused => None,
    })
}

/// What `unacked` says of a tag.
enum Row {
    /// A message of this queue.
    Held { queue: QueueName, message: Bytes },
    /// Nothing, or nothing any more.
    Gone,
    /// Something that no worker of ours wrote.
    Unreadable,
}

impl Row {
    fn read(raw: &Bytes) -> Self {
        let entry = Entry::split(raw);
        let held = entry.and_then(|entry| {
            let queue = QueueName::parse(&entry.routing_key).ok()?;
            Some(Self::Held {
                queue,
                message: entry.message,
            })
        });
        held.unwrap_or(Self::Unreadable)
    }

    fn message(&self) -> Option<&Bytes> {
        match self {
            Self::Held { message, .. } => Some(message),
            Self::Gone | Self::Unreadable => None,
        }
    }
}

/// How many deaths each message will have cost, this one included; 0 for those that were not started.
async fn deaths(
    shared: &Shared,
    link: &Link,
    rows: &[(&Restore, Row)],
    patience: Patience,
) -> Result<Vec<u32>, Error> {
    let mut counts = vec![0; rows.len()];
    let started: Vec<(usize, String)> = rows
        .iter()
        .enumerate()
        .filter(|(_, (restore, _))| restore.started)
        .filter_map(|(at, (_, row))| {
            let identity = envelope::identity(row.message()?);
            Some((at, shared.core.keys.deaths(&identity)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_cut_by_weight_from_the_end() {
        let check = |lengths: &[usize], expected: &[(usize, usize)]| {
            let ranges = cut(lengths, 10).into_iter();
            let found: Vec<_> = ranges.map(|range| (range.start, range.end)).collect();
            assert_eq!(found, expected, "{lengths:?}");
        };
        check(&[], &[]);
        check(&[1, 2, 3], &[(0, 3)]);
        check(&[5, 5, 5, 5], &[(2, 4), (0, 2)]);
        check(&[1, 99, 1], &[(2, 3), (1, 2), (0, 1)]);
        check(&[99], &[(0, 1)]);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_gone() {
        let row = |text: &'static str| Row::read(&Bytes::from_static(text.as_bytes()));
        assert!(matches!(row("[{}, \"\", \"q\"]"), Row::Held { .. }));
        assert!(matches!(row("[{}]"), Row::Unreadable));
        assert!(matches!(row("[{}, \"\", \"\"]"), Row::Unreadable));
    }
}
