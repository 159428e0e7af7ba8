//! Running `apply.lua` so that a lost answer is asked for again and nothing is done twice.

use bytes::Bytes;
use redis::{Cmd, Script};

use super::{
    batch::{Applied, Batch, MOST_ITEMS, Settling, Ticket},
    consumer::Shared,
    link::{Link, Patience, Request},
    reply,
};
use crate::{DeliveryTag, Error, Start};

/// A row of batches, each with its number, of which one at a time is under way. The server keeps the answer to the last.
#[derive(Debug)]
pub(crate) struct Numbered {
    field: String,
    next: u64,
}

impl Numbered {
    pub(crate) fn new(field: String) -> Self {
        Self { field, next: 1 }
    }

    /// Runs the next batch of the row until it is answered.
    pub(crate) async fn run(
        &mut self,
        shared: &Shared,
        batch: Batch<'_>,
        settling: Settling,
    ) -> Result<Applied, Error> {
        // Counted before the first await: a call that was dropped half way must not lend its number to the next.
        let ticket = Ticket {
            field: &self.field,
            number: self.next,
        };
        self.next += 1;
        let script = batch.script();
        let cmd = batch.into_call(&shared.holder.worker_key, Some(ticket), "", settling);
        match run(&shared.link, script, &cmd, Patience::Endless).await? {
            Outcome::Applied(applied) => Ok(applied),
            Outcome::Refused => Err(Error::Misunderstood {
                what: "the apply script",
            }),
        }
    }
}

/// What the script answered.
#[derive(Debug)]
pub(crate) enum Outcome {
    Applied(Applied),
    /// The guard's key exists, or a later batch of the row was answered already.
    Refused,
}

/// Runs a call of a batch's script.
pub(crate) async fn run(
    link: &Link,
    script: &'static Script,
    cmd: &Cmd,
    patience: Patience,
) -> Result<Outcome, Error> {
    let answer = link.send(Request::Script(script, cmd), patience).await?;
    match reply::bytes(answer).as_deref() {
        Some(b"ALIVE" | b"STALE") => Ok(Outcome::Refused),
        Some(answer) => Applied::parse(answer)
            .map(Outcome::Applied)
            .ok_or(Error::Misunderstood {
                what: "the apply script",
            }),
        None => Err(Error::Misunderstood {
            what: "the apply script",
        }),
    }
}

/// See [`crate::Consumer::start`].
pub(crate) async fn start(
    shared: &Shared,
    numbered: &mut Numbered,
    batch: &[Start],
) -> Result<Vec<bool>, Error> {
    let mut ours = Vec::with_capacity(batch.len());
    for chunk in batch.chunks(MOST_ITEMS) {
        let mut call = Batch::new(&shared.core.keys, shared.core.servers.database());
        for start in chunk {
            let item = call.fenced(shared.tag(start.tag.0));
            if start.ack {
                call.ack(item);
            } else {
                call.start(item);
            }
            if let Some(result) = &start.result {
                shared.core.check_place(&result.place)?;
                call.result(item, result)?;
            }
            if let Some(record) = &start.record {
                call.record(item, &shared.holder.node, record.clone());
            }
        }
        let applied = numbered.run(shared, call, Settling::Keep).await?;
        let mut answers = vec![true; chunk.len()];
        for lost in applied.lost {
            if let Some(answer) = answers.get_mut(lost) {
                *answer = false;
            }
        }
        let numbers = |gone: bool| {
            let chunk = chunk.iter().zip(&answers);
            chunk
                .filter(move |(start, ours)| (start.ack || !**ours) == gone)
                .map(|(start, _)| start.tag.0)
        };
        shared.held.remove(numbers(true));
        shared.held.start(numbers(false));
        ours.extend(answers);
    }
    Ok(ours)
}

/// See [`crate::Consumer::unstart`].
pub(crate) async fn unstart(
    shared: &Shared,
    numbered: &mut Numbered,
    batch: &[DeliveryTag],
) -> Result<(), Error> {
    for chunk in batch.chunks(MOST_ITEMS) {
        let mut call = Batch::new(&shared.core.keys, shared.core.servers.database());
        for tag in chunk {
            let item = call.fenced(shared.tag(tag.0));
            call.unstart(item);
        }
        numbered.run(shared, call, Settling::Keep).await?;
        shared.held.unstart(chunk.iter().map(|tag| tag.0));
    }
    Ok(())
}

/// See [`crate::Consumer::record`].
pub(crate) async fn record(shared: &Shared, records: &[Bytes]) -> Result<(), Error> {
    for chunk in records.chunks(MOST_ITEMS) {
        let mut call = Batch::new(&shared.core.keys, shared.core.servers.database());
        let item = call.unfenced();
        for record in chunk {
            call.record(item, &shared.holder.node, record.clone());
        }
        let script = call.script();
        let cmd = call.into_call(&shared.holder.worker_key, None, "", Settling::Keep);
        run(&shared.link, script, &cmd, Patience::Bounded).await?;
    }
    Ok(())
}
