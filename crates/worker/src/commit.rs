//! Beginning and ending deliveries at the broker.
//!
//! Starts are gathered here: while one batch is on its way the next collects, so that a lone task begins at once and a
//! thousand begin in a few round trips, with no timer in between. Ends are gathered by the broker itself in the same way.

use std::{sync::Arc, time::Duration};

use lovage_broker::{
    Consumer, Delivery, Destination, Error, Finish, Finished, Leave, Publish, Reason, ResultWrite,
    Settle, Start,
};
use lovage_protocol::{Message, State};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::{
    aftermath::{Aftermath, Returned, bring_about},
    attempt::{self, Shared},
    engine::Event,
    error::with_causes,
    policy, records,
};

/// More than this is split; a batch of so many takes Redis some milliseconds, and others wait meanwhile.
const BATCH: usize = 256;
/// The longest pause between two attempts at what must be done.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Takes starts; the answer says whether the delivery is still ours.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    line: mpsc::UnboundedSender<(Start, oneshot::Sender<bool>)>,
}

impl Starter {
    pub(crate) fn spawn(consumer: Arc<dyn Consumer>) -> Self {
        let (line, mut starts) = mpsc::unbounded_channel::<(Start, oneshot::Sender<bool>)>();
        tokio::spawn(async move {
            let mut gathered = Vec::with_capacity(BATCH);
            while starts.recv_many(&mut gathered, BATCH).await > 0 {
                let (batch, askers): (Vec<Start>, Vec<_>) = gathered.drain(..).unzip();
                for (asker, ours) in askers.into_iter().zip(begin(&*consumer, batch).await) {
                    // An attempt that was dropped meanwhile has nothing to hear.
                    let _ = asker.send(ours);
                }
            }
        });
        Self { line }
    }

    /// False: the delivery is no longer ours, or nobody could say: do not run it.
    pub(crate) async fn start(&self, start: Start) -> bool {
        let (asker, answer) = oneshot::channel();
        self.line.send((start, asker)).is_ok() && answer.await.unwrap_or(false)
    }
}

/// Whether each is ours. One that the broker refuses does not hold up the others: it is tried by itself, and without its
/// STARTED record, which is all that can be refused about it.
async fn begin(consumer: &dyn Consumer, batch: Vec<Start>) -> Vec<bool> {
    let refused = match consumer.start(batch.clone()).await {
        Ok(ours) => return ours,
        Err(Error::Closed) => return vec![false; batch.len()],
        Err(refused) => refused,
    };
    error!(
        error = &refused as &dyn std::error::Error,
        "starts were not recorded together, they are tried one by one"
    );
    let mut ours = Vec::with_capacity(batch.len());
    for start in batch {
        let plain = Start {
            result: None,
            ..start
        };
        let answer = consumer.start(vec![plain]).await;
        ours.push(answer.is_ok_and(|ours| ours.first() == Some(&true)));
    }
    ours
}

/// Counts one held message of the engine; dropping it is how the engine learns that there is room again.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) engine: mpsc::UnboundedSender<Event>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = self.engine.send(Event::Settled);
    }
}

/// Whether the end of a delivery was recorded.
#[derive(Debug)]
pub(crate) enum Recorded {
    Yes,
    /// The message is no longer ours, or goes back: it ends elsewhere.
    No,
    /// Its end was refused, with this text; it failed, and is among the dead letters.
    Buried(String),
}

/// Ends one delivery. What the broker cannot do at all (a callback's queue that is no list, say) does not leave the message
/// held for ever: it goes to the dead letters with the broker's words.
///
/// The rare ways are boxed: else the future of every message carries their size along.
pub(crate) async fn finish(
    shared: &Shared,
    mut finish: Box<Finish>,
    after: Option<Box<Aftermath>>,
) -> Recorded {
    let delivery = finish.delivery.clone();
    let settles = finish.settle.is_some();
    let after = after.map(|after| *after).unwrap_or_default();
    if !shared.results_beside && !finish.results.is_empty() {
        if settles && !Box::pin(still_ours(shared, &delivery)).await {
            warn!(
                tag = delivery.tag.0,
                "a task ended whose message is no longer ours: nothing of it is stored, it ends elsewhere"
            );
            return Recorded::No;
        }
        match Box::pin(store_elsewhere(shared, std::mem::take(&mut finish.results))).await {
            Ok(Stored::Yes) => {}
            // Whoever gets the message next does all of it again; acked early, what can be done still is.
            Ok(Stored::Stopped) if settles => {
                return Box::pin(give_back(shared, delivery)).await;
            }
            Ok(Stored::Stopped) => {}
            Err(refused) if settles => {
                return Box::pin(bury(shared, delivery, &refused)).await;
            }
            Err(refused) => error!(
                error = &refused as &dyn std::error::Error,
                "the result store refused a result"
            ),
        }
    }
    if finish.publishes.iter().any(goes_through_an_exchange)
        && !Box::pin(declare(shared, &finish.publishes)).await
        && settles
    {
        return Box::pin(give_back(shared, delivery)).await;
    }
    let followers = shared.client.tells_sent().then(|| finish.publishes.clone());
    // What a task holds is given up even when its end cannot be recorded.
    let leave = finish.leave.clone().filter(|_| !settles);
    let ended = match after.parts.is_empty() && after.calls.is_empty() {
        true => shared.consumer.finish(vec![*finish]).await,
        false => match Box::pin(bring_about(shared, &mut finish, after)).await {
            Ok(Returned::Yes) => shared.consumer.finish(vec![*finish]).await,
            Ok(Returned::Stopped) if settles => {
                return Box::pin(give_back(shared, delivery)).await;
            }
            Ok(Returned::Stopped) => return Recorded::No,
            Err(refused) => Err(refused),
        },
    };
    match ended.map(|mut ended| ended.pop()) {
        Ok(Some(Finished::Lost)) => {
            warn!(
                tag = delivery.tag.0,
                "a task ended whose message is no longer ours: its end is not recorded, it ends elsewhere"
            );
            Recorded::No
        }
        Ok(_) => {
            if let Some(followers) = followers {
                Box::pin(shared.client.tell_sent(&followers)).await;
            }
            Recorded::Yes
        }
        Err(refused) if settles && !refused.is_transient() => {
            Box::pin(bury(shared, delivery, &refused)).await
        }
        Err(error) => {
            error!(
                error = &error as &dyn std::error::Error,
                "the end of a task was not recorded"
            );
            if let Some(leave) = leave {
                Box::pin(leave_only(shared, delivery, leave)).await;
            }
            Recorded::No
        }
    }
}

/// Makes the queues known that messages are for, as each publish of Celery declares its queue: whoever consumes there may
/// never have been here. False when a cold shutdown came while the broker was away.
async fn declare(shared: &Shared, publishes: &[Publish]) -> bool {
    let mut wait = Duration::from_millis(50);
    loop {
        match shared.client.declare(publishes).await {
            Ok(()) => return true,
            Err(error) if error.is_transient() => warn!(
                error = &error as &dyn std::error::Error,
                "the queues of what follows a task cannot be bound: trying again"
            ),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the queues of what follows a task cannot be bound"
                );
                return true;
            }
        }
        if stopped_within(shared, wait).await {
            return false;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn goes_through_an_exchange(publish: &Publish) -> bool {
    matches!(publish.destination, Destination::Exchange { .. })
}

/// The end of a task whose message was acknowledged as it began and whose proper end was refused.
async fn leave_only(shared: &Shared, delivery: Delivery, leave: Leave) {
    let mut finish = attempt::settle(delivery, Settle::Ack);
    (finish.settle, finish.leave) = (None, Some(leave));
    if let Err(error) = shared.consumer.finish(vec![finish]).await {
        error!(
            error = &error as &dyn std::error::Error,
            "what the task held was not given up: it is free when this worker ends"
        );
    }
}

/// Waits; true when a cold shutdown was asked for meanwhile.
pub(crate) async fn stopped_within(shared: &Shared, wait: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(wait) => false,
        () = shared.shutdown.asked_cold() => true,
    }
}

/// Puts a message back to be run again.
async fn give_back(shared: &Shared, delivery: Delivery) -> Recorded {
    let back = attempt::settle(delivery, Settle::Restore);
    if let Err(error) = shared.consumer.finish(vec![back]).await {
        // It goes back when this worker's lease ends.
        warn!(
            error = &error as &dyn std::error::Error,
            "a message could not be put back"
        );
    }
    Recorded::No
}

/// Keeps a message whose end was refused, and tells its producer.
async fn bury(
    shared: &Shared,
    delivery: Delivery,
    refused: &(dyn std::error::Error + Send + Sync + 'static),
) -> Recorded {
    error!(
        error = refused as &(dyn std::error::Error + 'static),
        "the end of a task was refused: dead-lettered"
    );
    let detail = format!(
        "the task ran, but its end was refused: {}",
        with_causes(refused)
    );
    let message = Message::parse_with(&delivery.raw, &shared.decode).ok();
    let reason = match &message {
        Some(message) => policy::dead_letter(message, "refused-end", &detail),
        None => Reason {
            code: "refused-end".to_owned(),
            detail: detail.clone(),
            task: None,
            task_id: None,
        },
    };
    let record = message.as_ref().and_then(|message| {
        let queue = delivery.queue.as_str();
        shared.announcer.chronicle.refused(message, queue, &detail)
    });
    let mut kept = attempt::settle(delivery, Settle::DeadLetter(reason));
    kept.record = record;
    let mut told = Finish {
        results: answer(shared, message.as_ref(), &detail),
        ..kept.clone()
    };
    if !shared.results_beside {
        let answer = std::mem::take(&mut told.results);
        if let Err(error) = shared.results.write(&answer).await {
            error!(
                error = &error as &dyn std::error::Error,
                "nor was the failure stored that its end is"
            );
        }
    }
    // It may be the result that is refused; then the message alone is kept.
    for attempt in [told, kept] {
        match shared.consumer.finish(vec![attempt]).await {
            Ok(_) => return Recorded::Buried(detail),
            // The message stays recorded as ours and returns to its queue when this worker's lease ends.
            Err(error) => error!(
                error = &error as &dyn std::error::Error,
                "the message could not be dead-lettered"
            ),
        }
    }
    Recorded::No
}

/// The failure of a task whose end was refused.
fn answer(shared: &Shared, message: Option<&Message>, detail: &str) -> Vec<ResultWrite> {
    let Some(message) = message else {
        return Vec::new();
    };
    let task = shared.catalogue.get(message.headers.task.as_str());
    let settings = &shared.settings.tasks;
    if task.is_some_and(|task| !policy::stores(message, &task.rules, settings, &State::Failure)) {
        return Vec::new();
    }
    let exception = records::operational_error(detail);
    let meta = records::meta(message, State::Failure, exception.to_value(), Vec::new());
    shared.results.encode(&meta).into_iter().collect()
}

enum Stored {
    Yes,
    /// A cold shutdown came first.
    Stopped,
}

/// Whether a delivery is ours at this moment. What is stored next on another server is not fenced by that, only nearly so:
/// a worker that was thought dead for long does not write over what its successor has stored.
async fn still_ours(shared: &Shared, delivery: &Delivery) -> bool {
    // To record a started one as started changes nothing.
    let ask = Start {
        tag: delivery.tag,
        ack: false,
        result: None,
        record: None,
    };
    shared.starter.start(ask).await
}

/// Results that live on another server are written before the message is settled, for as long as it takes: a worker
/// that dies in between leaves a stored result and a message that runs again, never the other way round.
async fn store_elsewhere(
    shared: &Shared,
    results: Vec<ResultWrite>,
) -> Result<Stored, lovage_results::Error> {
    let mut wait = Duration::from_millis(50);
    loop {
        match shared.results.write(&results).await {
            Ok(()) => return Ok(Stored::Yes),
            Err(error) if error.is_transient() => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the result store is away: trying again"
                );
            }
            Err(error) => return Err(error),
        }
        if stopped_within(shared, wait).await {
            return Ok(Stored::Stopped);
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
