//! Ending deliveries: whatever is asked for while a batch is under way goes into the next one.

use std::sync::Arc;

use bytes::Bytes;
use redis::Pipeline;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
};

use super::{
    apply::Numbered,
    batch::{Batch, End, Letter, MOST_BYTES, MOST_ITEMS, Settling},
    consumer::Shared,
    link::{Patience, Request},
    publish::{self, Pushed},
};
use crate::{Error, Finish, Finished, Settle, admission, envelope};

/// So many batches may be under way at once: while the server works on one, the next is written.
const WINDOW: usize = 3;

/// One call of [`crate::Consumer::finish`].
#[derive(Debug)]
struct Call {
    items: Vec<Finish>,
    reply: oneshot::Sender<Result<Vec<Finished>, Error>>,
}

/// The tasks that do it. What was handed to them is done even if the caller does not wait for it.
#[derive(Debug)]
pub(crate) struct Finishers {
    calls: std::sync::Mutex<Option<mpsc::UnboundedSender<Call>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Finishers {
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut tasks = JoinSet::new();
        for slot in 0..WINDOW {
            let numbered = Numbered::new(format!("finish:{slot}"));
            tasks.spawn(run(Arc::clone(shared), Arc::clone(&receiver), numbered));
        }
        Self {
            calls: std::sync::Mutex::new(Some(sender)),
            tasks: Mutex::new(tasks),
        }
    }

    /// See [`crate::Consumer::finish`].
    pub(crate) async fn finish(&self, items: Vec<Finish>) -> Result<Vec<Finished>, Error> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        {
            let calls = self
                .calls
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let Some(calls) = &*calls else {
                return Err(Error::Closed);
            };
            calls
                .send(Call { items, reply })
                .map_err(|_| Error::Closed)?;
        }
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Takes no more, and waits for a moment until what is under way is done.
    pub(crate) async fn drain(&self) {
        drop(
            self.calls
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .take(),
        );
        let mut tasks = self.tasks.lock().await;
        let done = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(std::time::Duration::from_secs(2), done)
            .await
            .is_err()
        {
            // The broker does not answer: what is not settled goes back to its queue.
            tasks.shutdown().await;
        }
    }
}

async fn run(
    shared: Arc<Shared>,
    calls: Arc<Mutex<mpsc::UnboundedReceiver<Call>>>,
    mut numbered: Numbered,
) {
    loop {
        let mut taken = Vec::new();
        {
            let mut calls = calls.lock().await;
            let Some(first) = calls.recv().await else {
                return;
            };
            let mut count = first.items.len();
            taken.push(first);
            // Whoever is about to end a delivery in this very moment does so in the same batch.
            tokio::task::yield_now().await;
            while count < MOST_ITEMS
                && let Ok(call) = calls.try_recv()
            {
                count += call.items.len();
                taken.push(call);
            }
        }
        let mut items = Vec::new();
        let mut replies = Vec::with_capacity(taken.len());
        for call in taken {
            replies.push((call.reply, call.items.len()));
            items.extend(call.items);
        }
        let mut answers = finish_all(&shared, &mut numbered, items).await.into_iter();
        for (reply, count) in replies {
            let answer = answers.by_ref().take(count).collect();
            // The caller may have gone away.
            let _ = reply.send(answer);
        }
    }
}

/// Finishes all, in as many scripts as it takes.
async fn finish_all(
    shared: &Shared,
    numbered: &mut Numbered,
    items: Vec<Finish>,
) -> Vec<Result<Finished, Error>> {
    let mut answers = Vec::with_capacity(items.len());
    let mut rest = items.as_slice();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(chunk_length(rest));
        rest = after;
        match finish_chunk(shared, numbered, chunk).await {
            Ok(finished) => answers.extend(finished.into_iter().map(Ok)),
            Err(error) if chunk.len() == 1 => answers.push(Err(error)),
            Err(_) => {
                // Nothing was done. One of them cannot be done at all; the others must not wait for it.
                for item in chunk {
                    let alone = finish_chunk(shared, numbered, std::slice::from_ref(item)).await;
                    answers.push(alone.and_then(|mut one| one.pop().ok_or(Error::Closed)));
                }
            }
        }
    }
    answers
}

fn chunk_length(items: &[Finish]) -> usize {
    let mut bytes = 0;
    let fits = items.iter().take(MOST_ITEMS).take_while(|item| {
        bytes += weight(item);
        bytes <= MOST_BYTES
    });
    fits.count().max(1)
}

fn weight(item: &Finish) -> usize {
    let sent: usize = item
        .publishes
        .iter()
        .map(|publish| publish.payload.len())
        .sum();
    let stored: usize = item.results.iter().map(|result| result.value.len()).sum();
    let part = item.chord.as_ref().map_or(0, |part| part.member.len());
    let kept = match &item.settle {
        None | Some(Settle::Ack) => 0,
        Some(_) => item.delivery.raw.len(),
    };
    let told = item.record.as_ref().map_or(0, Bytes::len);
    sent + stored + part + kept + told
}

async fn finish_chunk(
    shared: &Shared,
    numbered: &mut Numbered,
    items: &[Finish],
) -> Result<Vec<Finished>, Error> {
    let mut batch = Batch::new(&shared.core.keys, shared.core.servers.database());
    let mut tokens: Vec<Option<String>> = Vec::with_capacity(items.len());
    let mut delays = false;
    let mut prolonging = Pipeline::new();
    for item in items {
        let mut pushes = Vec::new();
        for publish in &item.publishes {
            pushes.extend(
                publish::resolve(&shared.core, &shared.link, Patience::Endless, publish).await?,
            );
        }
        for (list, _) in &pushes {
            shared.core.expiring.prolong(list, &mut prolonging);
        }
        tokens.push(write(shared, &mut batch, item, pushes)?);
        delays |= matches!(item.settle, Some(Settle::Delay { .. }));
    }
    let applied = numbered.run(shared, batch, Settling::All).await?;
    if !prolonging.is_empty() {
        // The lists of queues that are forgotten when nobody uses them: this was a use.
        let request = Request::Many(&prolonging);
        if let Err(error) = shared.link.send(request, Patience::Bounded).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the life of a queue was not prolonged"
            );
        }
    }
    shared.held.remove(
        items
            .iter()
            .filter(|item| item.settle.is_some())
            .map(|item| item.delivery.tag.0),
    );
    if delays {
        shared.delayed.notify_one();
    }
    let mut finished: Vec<Finished> = Vec::with_capacity(items.len());
    finished.resize(items.len(), Finished::Done { chord: None });
    for claimed in applied.claimed {
        if let (Some(finished), Some(token)) = (finished.get_mut(claimed), tokens.get_mut(claimed))
        {
            *finished = Finished::Done {
                chord: token.take(),
            };
        }
    }
    for lost in applied.lost {
        if let Some(finished) = finished.get_mut(lost) {
            *finished = Finished::Lost;
        }
    }
    Ok(finished)
}

/// Writes one item; gives the token it would claim its chord with.
fn write<'s>(
    shared: &'s Shared,
    batch: &mut Batch<'s>,
    item: &Finish,
    pushes: Vec<Pushed>,
) -> Result<Option<String>, Error> {
    let Finish {
        delivery,
        settle,
        publishes: _,
        results,
        chord,
        leave,
        record,
    } = item;
    let at = match settle {
        Some(_) => batch.fenced(shared.tag(delivery.tag.0)),
        None => batch.unfenced(),
    };
    for result in results {
        shared.core.check_place(&result.place)?;
        batch.result(at, result)?;
    }
    for (list, payload) in pushes {
        batch.push(at, list, End::Back, payload);
    }
    let list = |raw: &Bytes| {
        shared
            .core
            .keys
            .list_for(&delivery.queue, envelope::priority(raw))
    };
    match settle {
        None | Some(Settle::Ack) => {}
        Some(Settle::Requeue) => {
            batch.push(
                at,
                list(&delivery.raw),
                End::Back,
                envelope::redelivered(&delivery.raw),
            );
        }
        Some(Settle::Restore) => {
            batch.push(
                at,
                list(&delivery.raw),
                End::Head,
                envelope::redelivered(&delivery.raw),
            );
        }
        Some(Settle::Delay { until, payload }) => {
            let payload = payload.as_ref().unwrap_or(&delivery.raw);
            batch.delay(at, *until, &list(payload), payload);
        }
        Some(Settle::DeadLetter(reason)) => {
            let letter = Letter {
                id: uuid::Uuid::new_v4().simple().to_string(),
                reason,
                queue: delivery.queue.as_str(),
                node: &shared.holder.node,
                raw: delivery.raw.clone(),
            };
            batch.letter(at, letter);
        }
    }
    let ended = matches!(settle, Some(Settle::Ack | Settle::DeadLetter(_)));
    if ended && envelope::may_be_redelivered(&delivery.raw) {
        batch.forget_deaths(
            at,
            shared.core.keys.deaths(&envelope::identity(&delivery.raw)),
        );
    }
    if let Some(leave) = leave
        .clone()
        .or_else(|| admission::implied(settle.as_ref(), &delivery.raw))
    {
        batch.leave(at, shared.tag(delivery.tag.0), leave);
    }
    if let Some(record) = record {
        batch.record(at, &shared.holder.node, record.clone());
    }
    let Some(part) = chord else { return Ok(None) };
    shared.core.check_place(&part.place)?;
    // Begins with the task: when this worker dies with the claim, the task's redelivery takes it over.
    let token = format!("{}:{}", part.task_id, uuid::Uuid::new_v4().simple());
    batch.chord(at, part.clone(), token.clone())?;
    Ok(Some(token))
}
