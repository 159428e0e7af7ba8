//! Starts and ends of deliveries in memory.

use super::{Inner, check_place, state::State};
use crate::{Error, Finish, Finished, Settle, Start, admission, envelope};

/// See [`crate::Consumer::start`].
pub(super) fn start(inner: &Inner, id: &str, batch: &[Start]) -> Result<Vec<bool>, Error> {
    for result in batch.iter().filter_map(|start| start.result.as_ref()) {
        check_place(&result.place)?;
    }
    let mut state = inner.lock();
    let Some(worker) = state.workers.get_mut(id) else {
        return Err(Error::Closed);
    };
    let mut ours = Vec::with_capacity(batch.len());
    let mut records = Vec::new();
    for start in batch {
        let holding = worker.held.get_mut(&start.tag.0);
        ours.push(holding.is_some());
        let Some(holding) = holding else { continue };
        holding.started = true;
        if start.ack
            && let Some(holding) = worker.held.remove(&start.tag.0)
        {
            worker.early.insert(start.tag.0, holding);
        }
        if let Some(result) = &start.result {
            inner.results.set(result);
        }
        records.extend(start.record.clone());
    }
    let node = worker.options.node.to_string();
    state.record(&node, records);
    Ok(ours)
}

/// See [`crate::Consumer::finish`].
pub(super) fn finish(inner: &Inner, id: &str, batch: Vec<Finish>) -> Result<Vec<Finished>, Error> {
    for item in &batch {
        for result in &item.results {
            check_place(&result.place)?;
        }
        if let Some(part) = &item.chord {
            check_place(&part.place)?;
        }
    }
    let mut state = inner.lock();
    let finished = batch
        .into_iter()
        .map(|item| finish_one(&mut state, inner, id, item))
        .collect();
    drop(state);
    inner.arrived.notify_waiters();
    finished
}

fn finish_one(state: &mut State, inner: &Inner, id: &str, item: Finish) -> Result<Finished, Error> {
    let Finish {
        delivery,
        settle,
        publishes,
        results,
        chord,
        leave,
        record,
    } = item;
    let worker = state.workers.get_mut(id).ok_or(Error::Closed)?;
    if settle.is_some() && worker.held.remove(&delivery.tag.0).is_none() {
        return Ok(Finished::Lost);
    }
    if settle.is_none() {
        worker.early.remove(&delivery.tag.0);
    }
    let node = worker.options.node.to_string();
    state.record(&node, record.into_iter().collect());
    for result in &results {
        inner.results.set(result);
    }
    for publish in &publishes {
        state.publish(publish);
        inner.tell_listeners(publish);
    }
    if matches!(settle, Some(Settle::Ack | Settle::DeadLetter(_)))
        && envelope::may_be_redelivered(&delivery.raw)
    {
        state.forget_deaths(&delivery.raw);
    }
    if let Some(leave) = leave.or_else(|| admission::implied(settle.as_ref(), &delivery.raw)) {
        state.leave(&(id.to_owned(), delivery.tag.0), &leave);
    }
    match settle {
        None | Some(Settle::Ack) => {}
        Some(Settle::Requeue) => state
            .lists
            .requeue(&delivery.queue, envelope::redelivered(&delivery.raw)),
        Some(Settle::Restore) => state
            .lists
            .restore(&delivery.queue, envelope::redelivered(&delivery.raw)),
        Some(Settle::Delay { until, payload }) => {
            state.delay(
                until,
                &delivery.queue,
                payload.unwrap_or_else(|| delivery.raw.clone()),
            );
        }
        Some(Settle::DeadLetter(reason)) => {
            state.bury(reason, &delivery.queue, &node, delivery.raw.clone())
        }
    }
    let token = chord.and_then(|part| {
        let token = format!("{}:{}", part.task_id, uuid::Uuid::new_v4().simple());
        state
            .chords
            .part(&part, &token, &inner.results)
            .then_some(token)
    });
    Ok(Finished::Done { chord: token })
}
