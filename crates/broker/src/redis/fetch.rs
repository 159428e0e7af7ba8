//! Taking messages: one script, and what is done when its answer was lost.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use lovage_protocol::QueueName;
use redis::Value;
use tokio::sync::Notify;

use super::{
    Core,
    consumer::Shared,
    link::{Failure, Link, Patience, Request},
    reply,
    scripts::{self, FETCH, RECOVER},
    waiter::Waiters,
};
use crate::{
    Delivery, DeliveryTag, Error, Want,
    envelope::{self, Entry},
    rotation::Rotation,
};

/// The fetching half of a consumer.
#[derive(Debug)]
pub(crate) struct Fetcher {
    link: Link,
    waiters: Waiters,
    pub(crate) rotation: Mutex<Rotation>,
    pub(crate) queues_changed: Notify,
    /// One fetch at a time.
    desk: tokio::sync::Mutex<Desk>,
}

/// What a fetch leaves for the next.
#[derive(Debug)]
struct Desk {
    next: u64,
    /// Changes when a fetch is given up, which the script then refuses however late it arrives.
    epoch: u64,
    /// A fetch that was sent and whose answer was not read: first number and size.
    unread: Option<(u64, usize)>,
    /// Taken by such a fetch, not handed out yet.
    ready: VecDeque<Delivery>,
}

/// What the script said.
enum Taken {
    Messages(Vec<Delivery>),
    NoLease,
    GivenUp,
}

impl Fetcher {
    pub(crate) fn new(core: &Core, rotation: Rotation) -> Self {
        Self {
            link: Link::new(&core.servers, "fetch"),
            waiters: Waiters::new(&core.servers),
            rotation: Mutex::new(rotation),
            queues_changed: Notify::new(),
            desk: tokio::sync::Mutex::new(Desk {
                next: 1,
                epoch: 0,
                unread: None,
                ready: VecDeque::new(),
            }),
        }
    }

    /// See [`crate::Consumer::fetch`].
    pub(crate) async fn fetch(&self, shared: &Shared, want: Want) -> Result<Vec<Delivery>, Error> {
        let want = Want {
            max: want.max.max(1),
            start: want.start.min(want.max.max(1)),
        };
        let mut desk = self.desk.lock().await;
        loop {
            if desk.unread.is_some() {
                self.recover(shared, &mut desk).await?;
            }
            if !desk.ready.is_empty() {
                let count = want.max.min(desk.ready.len());
                return Ok(desk.ready.drain(..count).collect());
            }
            let (turn, fair) = {
                let mut rotation = self.rotation.lock().unwrap_or_else(PoisonError::into_inner);
                (rotation.turn(), rotation.is_fair())
            };
            if turn.is_empty() {
                self.queues_changed.notified().await;
                continue;
            }
            match self.take(shared, &mut desk, &turn, fair, want).await? {
                None => {}
                Some(Taken::Messages(messages)) if !messages.is_empty() => return Ok(messages),
                Some(Taken::Messages(_)) => {
                    let lists: Vec<String> = turn
                        .iter()
                        .flat_map(|queue| shared.core.keys.lists(queue))
                        .collect();
                    self.waiters.arm(&lists);
                    tokio::select! {
                        () = self.waiters.wait() => {}
                        () = self.queues_changed.notified() => {}
                    }
                }
                Some(Taken::NoLease) => shared.wait_for_lease().await,
                Some(Taken::GivenUp) => desk.unread = Some((desk.next, 0)),
            }
        }
    }

    /// Reads what an unread fetch took, as if for the next one. Nothing is unread afterwards.
    pub(crate) async fn settle_unread(&self, shared: &Shared) -> Result<(), Error> {
        let mut desk = self.desk.lock().await;
        if desk.unread.is_some() {
            self.recover(shared, &mut desk).await?;
        }
        desk.ready.clear();
        Ok(())
    }

    /// Forgets deliveries that were put back before anybody got them.
    pub(crate) async fn forget_ready(&self, numbers: &[u64]) {
        self.desk
            .lock()
            .await
            .ready
            .retain(|delivery| !numbers.contains(&delivery.tag.0));
    }

    /// Runs the script once. `None`: the connection is to be mended, then try again.
    async fn take(
        &self,
        shared: &Shared,
        desk: &mut Desk,
        turn: &[QueueName],
        fair: bool,
        want: Want,
    ) -> Result<Option<Taken>, Error> {
        let keys = &shared.core.keys;
        let first = desk.next;
        let mut cmd = scripts::call(
            &FETCH,
            &[
                &shared.holder.lease_key,
                &shared.holder.worker_key,
                &keys.unacked,
                &keys.unacked_index,
            ],
        );
        cmd.arg(&shared.holder.id)
            .arg(desk.epoch)
            .arg(first)
            .arg(want.max)
            .arg(want.start);
        cmd.arg(u8::from(fair)).arg(turn.len());
        for queue in turn {
            cmd.arg(envelope::entry_ending(queue.as_str()));
        }
        for step in keys.steps.all() {
            for queue in turn {
                cmd.arg(keys.list(queue, *step));
            }
        }
        desk.next += to_u64(want.max);
        desk.unread = Some((first, want.max));
        match self.link.attempt(Request::Script(&FETCH, &cmd)).await {
            Ok(answer) => {
                let taken = read(answer.value, turn, first, want.start)?;
                if let Taken::Messages(messages) = &taken {
                    shared.held.add(
                        messages
                            .iter()
                            .map(|message| (message.tag.0, message.started)),
                    );
                    desk.next = first + to_u64(messages.len());
                }
                desk.unread = None;
                Ok(Some(taken))
            }
            Err(failure) => {
                let unsent = matches!(failure, Failure::Connecting(_));
                let error = self.link.classify(failure);
                if unsent || !matches!(error, Error::Interrupted { .. }) {
                    // Nothing was sent, or the script refused, which it does before or after undoing everything.
                    desk.unread = None;
                }
                if !error.is_transient() {
                    return Err(error);
                }
                // Waits until the broker answers; what else there is to do comes after that.
                self.link
                    .send(Request::One(&redis::cmd("PING")), Patience::Endless)
                    .await?;
                if matches!(error, Error::Unready { .. }) {
                    tokio::time::sleep(crate::backoff::delay(3, fastrand::f64())).await;
                }
                Ok(None)
            }
        }
    }

    async fn recover(&self, shared: &Shared, desk: &mut Desk) -> Result<(), Error> {
        let Some((first, count)) = desk.unread else {
            return Ok(());
        };
        let keys = &shared.core.keys;
        let epoch = desk.epoch + 1;
        let mut cmd = scripts::call(
            &RECOVER,
            &[
                &shared.holder.worker_key,
                &keys.unacked,
                &keys.unacked_index,
            ],
        );
        cmd.arg(&shared.holder.id).arg(epoch).arg(first).arg(count);
        let found = reply::list(
            self.link
                .send(Request::Script(&RECOVER, &cmd), Patience::Endless)
                .await?,
        );
        desk.epoch = epoch;
        desk.unread = None;
        let messages: Vec<Delivery> = found.chunks_exact(3).filter_map(read_recovered).collect();
        if !messages.is_empty() {
            tracing::info!(
                count = messages.len(),
                "took over messages of a fetch whose answer was lost"
            );
        }
        shared.held.add(
            messages
                .iter()
                .map(|message| (message.tag.0, message.started)),
        );
        desk.ready.extend(messages);
        Ok(())
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).expect("a count of messages fits into 64 bits")
}

fn read(value: Value, turn: &[QueueName], first: u64, start: usize) -> Result<Taken, Error> {
    let misunderstood = || Error::Misunderstood {
        what: "the fetch script",
    };
    let groups = match value {
        Value::Array(groups) => groups,
        word => match reply::bytes(word).as_deref() {
            Some(b"NOLEASE") => return Ok(Taken::NoLease),
            Some(b"STALE") => return Ok(Taken::GivenUp),
            _ => return Err(misunderstood()),
        },
    };
    let mut messages = Vec::new();
    let mut groups = groups.into_iter();
    while let (Some(queue), Some(payloads)) = (groups.next(), groups.next()) {
        let position = reply::integer(&queue).and_then(|position| usize::try_from(position).ok());
        let queue = position
            .and_then(|position| turn.get(position.checked_sub(1)?))
            .ok_or_else(misunderstood)?;
        for raw in reply::list(payloads) {
            let raw = reply::bytes(raw).ok_or_else(misunderstood)?;
            let started = messages.len() < start;
            let tag = DeliveryTag(first + to_u64(messages.len()));
            messages.push(Delivery {
                tag,
                queue: queue.clone(),
                raw,
                started,
            });
        }
    }
    Ok(Taken::Messages(messages))
}

/// Reads number, entry and score.
fn read_recovered(row: &[Value]) -> Option<Delivery> {
    let [number, entry, score] = row else {
        return None;
    };
    let Value::BulkString(entry) = entry else {
        return None;
    };
    let entry = Entry::split(&Bytes::copy_from_slice(entry))?;
    Some(Delivery {
        tag: DeliveryTag(reply::integer(number)?),
        queue: QueueName::parse(&entry.routing_key).ok()?,
        raw: entry.message,
        started: reply::float(score)?.fract() > 0.25,
    })
}
