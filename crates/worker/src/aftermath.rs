//! What an end brings about before its one step: parts of chords are returned, chords end, error callbacks of this worker are
//! called.

use std::time::Duration;

use lovage_broker::{Error, Finish, Finished, Settle};
use lovage_protocol::Message;
use lovage_telemetry::Trace;
use tracing::{error, warn};

use crate::{
    attempt::{self, Shared},
    chord,
    commit::{LONGEST_WAIT, stopped_within},
    errback::ErrorCall,
    part::Part,
};

/// What an end brings about beside its one step: parts of chords, which are returned before it, and error callbacks of this
/// worker's own, which are called before it.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    pub(crate) parts: Vec<Part>,
    pub(crate) calls: Vec<ErrorCall>,
    /// The attempt's, which goes on in what is sent and called.
    pub(crate) trace: Trace,
}

impl Aftermath {
    /// Nothing, for most tasks.
    pub(crate) fn boxed(self) -> Option<Box<Self>> {
        (!self.parts.is_empty() || !self.calls.is_empty()).then(|| Box::new(self))
    }
}

/// Whether all of it was done.
pub(crate) enum Returned {
    Yes,
    /// A cold shutdown came while the chord could not be ended.
    Stopped,
}

/// Returns a task's parts of chords, with its results, ends the chords of which a part was the last, and calls the error
/// callbacks that are this worker's own.
///
/// Only then is the message settled, by the finish that is left: a worker that dies in between leaves a message that runs
/// again, returns its parts again and takes the claims over, rather than a chord that nobody ends. Parts are counted once.
pub(crate) async fn bring_about(
    shared: &Shared,
    finish: &mut Finish,
    after: Aftermath,
) -> Result<Returned, Error> {
    let trace = after.trace.clone();
    trace.within(all(shared, finish, after)).await
}

async fn all(shared: &Shared, finish: &mut Finish, after: Aftermath) -> Result<Returned, Error> {
    let delivery = finish.delivery.clone();
    let mut returning = attempt::settle(delivery.clone(), Settle::Ack);
    returning.settle = None;
    returning.results = std::mem::take(&mut finish.results);
    if after.parts.is_empty() {
        // Whoever is called sees the failure stored.
        shared.consumer.finish(vec![returning.clone()]).await?;
    } else {
        // It was read before, so it can be read again.
        let Ok(message) = Message::parse_with(&delivery.raw, &shared.decode) else {
            return Ok(Returned::Yes);
        };
        for part in after.parts {
            if let Returned::Stopped = return_part(shared, &returning, part, &message).await? {
                return Ok(Returned::Stopped);
            }
            returning.results.clear();
        }
    }
    for call in after.calls {
        call.call().await;
    }
    Ok(Returned::Yes)
}

/// Returns one part, and ends its chord when it was the last. The chords further out come first, so that a worker that dies
/// in between leaves the claim of the inner one to whoever runs the task again.
async fn return_part(
    shared: &Shared,
    returning: &Finish,
    part: Part,
    message: &Message,
) -> Result<Returned, Error> {
    let mut returning = returning.clone();
    returning.chord = Some(part.part.clone());
    let mut token = claim(shared, returning.clone()).await?;
    let group = part.part.group_key.as_str();
    let mut wait = Duration::from_millis(50);
    let mut told = false;
    while let Some(claimed) = token {
        let joined = async {
            let mut end = chord::end(shared, &part, message).await?;
            for outer in std::mem::take(&mut end.parts) {
                let mut plain = returning.clone();
                plain.results.clear();
                match Box::pin(return_part(shared, &plain, outer, message)).await? {
                    Returned::Yes => {}
                    Returned::Stopped => return Ok(None),
                }
            }
            if !std::mem::replace(&mut told, true) {
                for call in std::mem::take(&mut end.calls) {
                    call.call().await;
                }
            }
            chord::close(shared, &part.part, &claimed, &end)
                .await
                .map(Some)
        };
        token = match joined.await {
            Ok(Some(true)) => None,
            Ok(Some(false)) => {
                warn!(group, "the claim of a chord ran out");
                claim(shared, returning.clone()).await?
            }
            Ok(None) => return Ok(Returned::Stopped),
            Err(error) if error.is_transient() => {
                warn!(
                    group,
                    error = &error as &dyn std::error::Error,
                    "a chord cannot be ended yet: trying again"
                );
                if stopped_within(shared, wait).await {
                    return Ok(Returned::Stopped);
                }
                wait = (wait * 2).min(LONGEST_WAIT);
                // A claim that ran out is still good while nobody else has taken it.
                Some(claimed)
            }
            Err(error) => {
                error!(
                    group,
                    error = &error as &dyn std::error::Error,
                    "the chord was not joined"
                );
                None
            }
        };
    }
    Ok(Returned::Yes)
}

/// Records a part; the token of the claim when it was the last.
async fn claim(shared: &Shared, returning: Finish) -> Result<Option<String>, Error> {
    let mut ended = shared.consumer.finish(vec![returning]).await?;
    match ended.pop() {
        Some(Finished::Done { chord }) => Ok(chord),
        _ => Ok(None),
    }
}
