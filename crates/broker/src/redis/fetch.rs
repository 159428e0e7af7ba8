//! Taking messages: one script, and what is done when its answer was lost.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use lovage_protocol::QueueName;
use redis::Value;
use tokio::sync::{MutexGuard, Notify};

use super::{
    Core,
    consumer::Shared,
    link::{Failure, Link, Patience, Request},
    parked::Parked,
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
    parked: Parked,
    waiters: Waiters,
    pub(crate) rotation: Mutex<Rotation>,
    pub(crate) queues_changed: Notify,
    /// One fetch at a time.
    line: tokio::sync::Mutex<()>,
    /// Not locked while a fetch waits for messages.
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
    /// The last fetch found less than it wanted: the next one waits first, and leaves the server to those that end
    /// what was found. A message that came meanwhile ends the wait at once.
    drained: bool,
}

impl Desk {
    /// A fetch of this size is sent.
    fn send(&mut self, shared: &Shared, first: u64, count: usize) {
        self.unread = Some((first, count));
        shared.held.set_unread(Some(first));
    }

    /// Its answer was read, or it took nothing for certain.
    fn answered(&mut self, shared: &Shared) {
        self.unread = None;
        shared.held.set_unread(None);
    }
}

/// What the script said.
enum Taken {
    /// And whether a journal is kept.
    Messages(Vec<Delivery>, bool),
    NoLease,
    GivenUp,
}

impl Fetcher {
    pub(crate) fn new(core: &Core, rotation: Rotation) -> Self {
        Self {
            link: Link::new(&core.servers, "fetch"),
            parked: Parked::new(&core.servers),
            waiters: Waiters::new(&core.servers),
            rotation: Mutex::new(rotation),
            queues_changed: Notify::new(),
            line: tokio::sync::Mutex::new(()),
            desk: tokio::sync::Mutex::new(Desk {
                next: 1,
                epoch: 0,
                unread: None,
                ready: VecDeque::new(),
                drained: false,
            }),
        }
    }

    /// See [`crate::Consumer::fetch`].
    pub(crate) async fn fetch(&self, shared: &Shared, want: Want) -> Result<Vec<Delivery>, Error> {
        let want = Want {
            max: want.max.max(1),
            start: want.start.min(want.max.max(1)),
        };
        let _one_at_a_time = self.line.lock().await;
        loop {
            let mut desk = self.desk.lock().await;
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
                drop(desk);
                self.queues_changed.notified().await;
                continue;
            }
            let taken = if desk.drained {
                self.wait(shared, desk, &turn, fair, want).await
            } else {
                let taken = self.take(shared, &mut desk, &turn, fair, want).await?;
                drop(desk);
                taken
            };
            match taken {
                Some(Taken::Messages(messages, _)) if !messages.is_empty() => return Ok(messages),
                None | Some(Taken::Messages(..)) => {}
                Some(Taken::NoLease) => shared.wait_for_lease().await,
                Some(Taken::GivenUp) => {
                    let mut desk = self.desk.lock().await;
                    let next = desk.next;
                    desk.send(shared, next, 0);
                }
            }
        }
    }

    /// The numbers of what was taken and handed to nobody, by a fetch whose answer was not read. No fetch hands it out
    /// afterwards.
    pub(crate) async fn take_back(&self, shared: &Shared) -> Result<Vec<u64>, Error> {
        let mut desk = self.desk.lock().await;
        if desk.unread.is_some() {
            self.recover(shared, &mut desk).await?;
        }
        let unseen = desk.ready.drain(..);
        Ok(unseen.map(|delivery| delivery.tag.0).collect())
    }

    /// Waits for a message in any of the queues' lists. On the first of them the fetch itself waits, see [`super::parked`].
    /// `None`: something may be there, look again.
    async fn wait(
        &self,
        shared: &Shared,
        mut desk: MutexGuard<'_, Desk>,
        turn: &[QueueName],
        fair: bool,
        want: Want,
    ) -> Option<Taken> {
        let lists: Vec<String> = turn
            .iter()
            .flat_map(|queue| shared.core.keys.lists(queue))
            .collect();
        let fetch = self.script(shared, &desk, turn, fair, want);
        let parked = self.parked.park(&lists[0], &fetch);
        let (first, count, epoch) = (desk.next, want.max, desk.epoch);
        if parked.is_some() {
            desk.next += to_u64(count);
            // Until its answer is read: whatever ends the wait otherwise, it is given up and asked what it took.
            desk.send(shared, first, count);
        }
        desk.drained = false;
        drop(desk);
        let parked_for = parked.as_ref().map(|_| lists[0].as_str());
        self.waiters.arm(&lists, parked_for);
        let answer = async {
            match parked {
                Some(parked) => parked.await.ok(),
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            answer = answer => answer,
            () = self.waiters.wait() => None,
            () = shared.core.servers.moved() => None,
            () = self.queues_changed.notified() => None,
        };
        // An error of the script is left to `take`, which knows what to do about each.
        let answer = answer?.extract_error().ok()?;
        let taken = read(answer, turn, first, want.start).ok()?;
        let mut desk = self.desk.lock().await;
        // Otherwise somebody has asked meanwhile what it took.
        (desk.epoch == epoch).then(|| {
            Self::keep(shared, &mut desk, first, want, &taken);
            taken
        })
    }

    /// The call of the fetch script for the next numbers.
    fn script(
        &self,
        shared: &Shared,
        desk: &Desk,
        turn: &[QueueName],
        fair: bool,
        want: Want,
    ) -> redis::Cmd {
        let keys = &shared.core.keys;
        let mut cmd = scripts::call(
            &FETCH,
            &[
                &shared.holder.lease_key,
                &shared.holder.worker_key,
                &keys.unacked,
                &keys.unacked_index,
                &keys.journal_state,
            ],
        );
        cmd.arg(&shared.holder.id)
            .arg(desk.epoch)
            .arg(desk.next)
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
        cmd
    }

    /// Notes what an answered fetch took.
    fn keep(shared: &Shared, desk: &mut Desk, first: u64, want: Want, taken: &Taken) {
        if let Taken::Messages(messages, journals) = taken {
            // A fetch that found nothing says nothing.
            if !messages.is_empty() {
                shared.journals.store(*journals, Ordering::Relaxed);
            }
            shared.held.add(
                messages
                    .iter()
                    .map(|message| (message.tag.0, message.started)),
            );
            desk.next = first + to_u64(messages.len());
            desk.drained = messages.len() < want.max;
        }
        desk.answered(shared);
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
        let first = desk.next;
        let cmd = self.script(shared, desk, turn, fair, want);
        desk.next += to_u64(want.max);
        desk.send(shared, first, want.max);
        match self.link.attempt(Request::Script(&FETCH, &cmd)).await {
            Ok(answer) => {
                let taken = read(answer.value, turn, first, want.start)?;
                Self::keep(shared, desk, first, want, &taken);
                Ok(Some(taken))
            }
            Err(failure) => {
                let unsent = matches!(failure, Failure::Connecting(_));
                let error = self.link.classify(failure);
                if unsent || !matches!(error, Error::Interrupted { .. }) {
                    // Nothing was sent, or the script refused, which it does before or after undoing everything.
                    desk.answered(shared);
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
        desk.answered(shared);
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
    // Queue and messages come in pairs.
    let journals = groups.len() % 2 == 1;
    let mut groups = groups.into_iter();
    while let (Some(queue), Some(payloads)) = (groups.next(), groups.next()) {
        let position = reply::integer(&queue).and_then(|position| usize::try_from(position).ok());
        let queue = position
            .and_then(|position| turn.get(position.checked_sub(1)?))
            .ok_or_else(misunderstood)?;
        for raw in reply::list(payloads) {
            let raw = reply::bytes(raw).ok_or_else(misunderstood)?;
            let suspect = envelope::is_suspect(&raw);
            let started = messages.len() < start && !suspect;
            let tag = DeliveryTag(first + to_u64(messages.len()));
            messages.push(Delivery {
                tag,
                queue: queue.clone(),
                raw,
                started,
                suspect,
            });
        }
    }
    Ok(Taken::Messages(messages, journals))
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
        suspect: envelope::is_suspect(&entry.message),
        raw: entry.message,
        started: reply::float(score)?.fract() > 0.25,
    })
}
