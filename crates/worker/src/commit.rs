//! Beginning and ending deliveries at the broker.
//!
//! Starts are gathered here: while one batch is on its way the next collects, so that a lone task begins at once and a
//! thousand begin in a few round trips, with no timer in between. Ends are gathered by the broker itself in the same way.

use std::sync::Arc;

use lovage_broker::{Consumer, Finish, Finished, Settle, Start};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::{attempt::Shared, engine::Event};

/// More than this is split; a batch of so many takes Redis some milliseconds, and others wait meanwhile.
const BATCH: usize = 256;

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
                match consumer.start(batch).await {
                    Ok(ours) => {
                        for (asker, ours) in askers.into_iter().zip(ours) {
                            // An attempt that was dropped meanwhile has nothing to hear.
                            let _ = asker.send(ours);
                        }
                    }
                    Err(error) => error!(
                        error = &error as &dyn std::error::Error,
                        "starts were not recorded"
                    ),
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

/// Ends one delivery. What the broker cannot do at all (a callback's queue that is no list, say) does not leave the message
/// held for ever: it goes to the dead letters with the broker's words.
pub(crate) async fn finish(shared: &Shared, mut finish: Finish) {
    if !shared.results_beside && !finish.results.is_empty() {
        store_elsewhere(shared, std::mem::take(&mut finish.results)).await;
    }
    let delivery = finish.delivery.clone();
    let part = finish.chord.clone();
    let settles = finish.settle.is_some();
    match shared
        .consumer
        .finish(vec![finish])
        .await
        .map(|mut ended| ended.pop())
    {
        Ok(Some(Finished::Done { chord: Some(token) })) => {
            if let Some(part) = part {
                shared.joiner.join(part, token, &delivery);
            }
        }
        Ok(Some(Finished::Lost)) => {
            warn!(
                tag = delivery.tag.0,
                "a task ended whose message is no longer ours: nothing was stored or sent for it"
            );
        }
        Ok(_) => {}
        Err(refused) if settles && !refused.is_transient() => {
            error!(
                error = &refused as &dyn std::error::Error,
                "the end of a task was refused: dead-lettered"
            );
            let reason = reason(&delivery.raw, &refused);
            let kept = crate::attempt::settle(delivery, Settle::DeadLetter(reason));
            if let Err(error) = shared.consumer.finish(vec![kept]).await {
                // The message stays recorded as ours and returns to its queue when this worker's lease ends.
                error!(
                    error = &error as &dyn std::error::Error,
                    "the message could not be dead-lettered either"
                );
            }
        }
        Err(error) => error!(
            error = &error as &dyn std::error::Error,
            "the end of a task was not recorded"
        ),
    }
}

fn reason(raw: &[u8], refused: &lovage_broker::Error) -> lovage_broker::Reason {
    let detail = format!("the task ran, but the broker refused to record its end: {refused}");
    match lovage_protocol::Message::parse(raw) {
        Ok(message) => crate::policy::dead_letter(&message, "refused-end", &detail),
        Err(_) => lovage_broker::Reason {
            code: "refused-end".to_owned(),
            detail,
            task: None,
            task_id: None,
        },
    }
}

/// Results that live on another server are written before the message is settled, for as long as it takes: a worker
/// that dies in between leaves a stored result and a message that runs again, never the other way round.
async fn store_elsewhere(shared: &Shared, results: Vec<lovage_broker::ResultWrite>) {
    let mut wait = std::time::Duration::from_millis(50);
    loop {
        match shared.results.write(&results).await {
            Ok(()) => return,
            Err(error) if error.is_transient() => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the result store is away: trying again"
                );
            }
            Err(error) => {
                error!(
                    error = &error as &dyn std::error::Error,
                    "the result store refused a result"
                );
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(std::time::Duration::from_secs(5)),
            () = shared.shutdown.asked_cold() => return,
        }
    }
}
