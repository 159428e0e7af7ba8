//! The gate between reading a message and running it: uniqueness, debouncing and limits over all workers. A task that
//! declares none of them does not come here.
//!
//! The broker decides, in one step with taking the message out of the queue when it has to wait. Here stand what is asked,
//! and what a duplicate ends as.

use std::{sync::Arc, time::Duration};

use lovage_broker::{
    Admit, Admitted, Claim, Consumer, Delivery, Demand, Error, Hold, Leave, Ration, Settle,
};
use lovage_client::Outgoing;
use lovage_protocol::{ExceptionInfo, Message, QueueName, State, TaskId, TaskMeta, Value};
use lovage_registry::{Admission, Binder, TaskSpec, Until, Wanted};
use lovage_telemetry::Attempt;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use crate::{
    aside,
    attempt::{self, Job, Shared},
    conclude::{self, Conclusion},
    context::{Context, Outlet},
    outcome::{Failure, Outcome},
    revoking,
    shutdown::Shutdown,
};

/// So many ask together at most.
const BATCH: usize = 100;
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a task asks of the gate.
pub(crate) struct Gate {
    admission: Admission,
    binder: Binder,
}

impl Gate {
    /// `None` for a task that asks for nothing.
    pub(crate) fn of(spec: &TaskSpec) -> Option<Self> {
        let admission = spec.options.admission.clone();
        (!admission.is_free()).then(|| Self {
            admission,
            binder: spec.binder(),
        })
    }

    /// Whether a task comes here also before it is due: others of its key are then duplicates already.
    pub(crate) fn comes_before_its_time(&self) -> bool {
        self.admission.unique.is_some() || self.admission.debounce.is_some()
    }

    fn wanted(&self, delivery: &Delivery, job: &Job) -> Wanted {
        let (args, kwargs) = (&job.body.args, &job.body.kwargs);
        self.admission
            .wanted(&self.binder, delivery.queue.as_str(), args, kwargs)
    }
}

/// What a call asks for, in the broker's words.
fn demand(wanted: Wanted) -> Demand {
    Demand {
        claim: wanted.lock.map(|lock| Claim {
            key: lock.key,
            hold: match lock.until {
                Until::Start => Hold::Start,
                Until::End => Hold::End,
                Until::After(time) => Hold::For(time),
            },
            waiting: lock.waiting,
            join: lock.join,
        }),
        debounce: wanted.debounce,
        rations: wanted
            .limits
            .into_iter()
            .map(|(key, limit)| Ration {
                key,
                most: limit.most(),
                period: limit.period(),
            })
            .collect(),
    }
}

/// Gives what a call of this task asks for as it is sent to a queue; `None` for a task that asks for nothing. For
/// [`lovage_client::DemandOf`].
pub(crate) fn demands(
    spec: &TaskSpec,
) -> Option<impl Fn(&Outgoing, &QueueName) -> Demand + Send + Sync + use<>> {
    let admission = spec.options.admission.clone();
    let binder = (!admission.is_free()).then(|| spec.binder())?;
    Some(move |call: &Outgoing, queue: &QueueName| {
        let args = Value::List(call.args.clone());
        demand(admission.wanted(&binder, queue.as_str(), &args, &call.kwargs))
    })
}

/// What this message asks for; `None` when that is nothing.
fn ask(gate: &Gate, delivery: &Delivery, job: &Job) -> Option<Admit> {
    let demand = demand(gate.wanted(delivery, job));
    (!demand.is_free()).then(|| Admit {
        delivery: delivery.clone(),
        owner: job.message.headers.id.as_str().to_owned(),
        early: !job.task.rules.acks_late,
        not_before: job.not_before,
        demand,
    })
}

/// What is to be done with a message after it asked.
pub(crate) enum Passed {
    /// Run it.
    Yes,
    /// It is out of our hands.
    Gone,
    /// End it so, without running it.
    Ends(Box<Conclusion>),
}

/// Asks for one message.
pub(crate) async fn pass(shared: &Shared, delivery: &Delivery, job: &Job) -> Passed {
    let admit = job.task.gate.as_ref();
    let admit = admit.and_then(|gate| ask(gate, delivery, job));
    let Some(admit) = admit else {
        // A call that does not fit its task asks for nothing, and fails when it is due.
        return job.not_before.map_or(Passed::Yes, |until| {
            let delay = Settle::Delay {
                until,
                payload: None,
            };
            Passed::Ends(Box::new(attempt::settle(delivery.clone(), delay).into()))
        });
    };
    let headers = &job.message.headers;
    match shared.gatekeeper.ask(admit).await {
        Some(Admitted::Runs) => Passed::Yes,
        Some(Admitted::Waits) => {
            debug!(task.id = %headers.id, task.name = %headers.task, "task waits for its turn");
            aside::note(shared, delivery, &job.message);
            revoking::recall_if_revoked(shared, headers).await;
            Passed::Gone
        }
        Some(Admitted::Lost) | None => {
            debug!(task.id = %headers.id, "the message went back before its task was admitted");
            Passed::Gone
        }
        Some(Admitted::Duplicate { of }) => {
            Passed::Ends(Box::new(duplicate(shared, delivery, job, &of)))
        }
        Some(Admitted::Joined { of }) => {
            Passed::Ends(Box::new(join(shared, delivery, job, &of).await))
        }
    }
}

fn duplicate(shared: &Shared, delivery: &Delivery, job: &Job, of: &str) -> Conclusion {
    let why = format!("duplicate of {of}");
    revoking::not_run(shared, delivery.clone(), &job.message, &job.body, &why)
}

/// Ends a message as the task has ended that it waited for.
async fn join(shared: &Shared, delivery: &Delivery, job: &Job, of: &str) -> Conclusion {
    let Some(meta) = load(shared, &TaskId::from(of)).await else {
        return attempt::settle(delivery.clone(), Settle::Restore).into();
    };
    let message = &job.message;
    info!(task.id = %message.headers.id, task.name = %message.headers.task, of, "task ends with the result of another");
    match copied(meta) {
        Copied::Outcome(outcome) => {
            let context = Context::new(
                Arc::clone(message),
                delivery.queue.clone(),
                Arc::clone(&shared.hostname),
                Arc::clone(&shared.results),
                shared.client.clone(),
                false,
                Outlet::Events(shared.announcer.clone()),
            );
            let (body, task) = (&job.body, &job.task);
            let none = (&context, &Attempt::default());
            let mut conclusion =
                conclude::conclude(shared, delivery, body, task, outcome, none, None);
            // It was not acked at a start, as it had none.
            conclusion.finish.settle.get_or_insert(Settle::Ack);
            conclusion
        }
        Copied::Revoked(why) => {
            revoking::not_run(shared, delivery.clone(), message, &job.body, &why)
        }
        Copied::Nothing => duplicate(shared, delivery, job, of),
    }
}

/// What there is to copy.
#[derive(Debug)]
enum Copied {
    Outcome(Outcome),
    Revoked(String),
    /// It left no result.
    Nothing,
}

fn copied(meta: Option<TaskMeta>) -> Copied {
    let Some(TaskMeta {
        status,
        result,
        traceback,
        ..
    }) = meta
    else {
        return Copied::Nothing;
    };
    match (status, ExceptionInfo::from_value(&result)) {
        (State::Success, _) => Copied::Outcome(Outcome::Success(result)),
        (State::Failure, Ok(exception)) => Copied::Outcome(Outcome::Failure(Failure {
            exception,
            traceback,
            timed_out: false,
            transient: false,
            from_outside: true,
        })),
        (State::Revoked, Ok(exception)) => {
            let why = exception.exc_message.first().and_then(Value::as_str);
            Copied::Revoked(why.unwrap_or("revoked").to_owned())
        }
        _ => Copied::Nothing,
    }
}

/// The result of a task; `None` when a cold shutdown came while the store was away.
async fn load(shared: &Shared, id: &TaskId) -> Option<Option<TaskMeta>> {
    let mut wait = Duration::from_millis(50);
    loop {
        match shared.results.load(id).await {
            Ok(meta) => return Some(meta),
            Err(error) if error.is_transient() => warn!(
                error = &error as &dyn std::error::Error,
                "the result that a duplicate waits for cannot be read: trying again"
            ),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the result that a duplicate waits for cannot be read: it has none"
                );
                return Some(None);
            }
        }
        if stopped_within(&shared.shutdown, wait).await {
            return None;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Waits; true when a cold shutdown was asked for meanwhile.
async fn stopped_within(shutdown: &Shutdown, wait: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(wait) => false,
        () = shutdown.asked_cold() => true,
    }
}

/// What a task gives up at the end of an attempt; `None` for one that never came here, and when the settlement says it.
pub(crate) fn leave(
    message: &Message,
    gated: bool,
    settle: Option<&Settle>,
    retry_in: Option<Duration>,
) -> Option<Leave> {
    if !gated {
        return None;
    }
    let owner = message.headers.id.as_str().to_owned();
    match (retry_in, settle) {
        (Some(pause), _) => Some(Leave::Again { owner, pause }),
        (None, Some(Settle::Requeue | Settle::Restore)) => None,
        (None, _) => Some(Leave::End { owner }),
    }
}

/// Takes questions; while one batch is on its way the next collects.
#[derive(Debug, Clone)]
pub(crate) struct Gatekeeper {
    line: mpsc::UnboundedSender<(Admit, oneshot::Sender<Admitted>)>,
}

impl Gatekeeper {
    pub(crate) fn spawn(consumer: Arc<dyn Consumer>, shutdown: Shutdown) -> Self {
        let (line, mut questions) = mpsc::unbounded_channel::<(Admit, oneshot::Sender<Admitted>)>();
        tokio::spawn(async move {
            let mut gathered = Vec::with_capacity(BATCH);
            while questions.recv_many(&mut gathered, BATCH).await > 0 {
                // Whoever was delivered first asks first.
                gathered.sort_by_key(|(admit, _)| admit.delivery.tag);
                let (batch, askers): (Vec<Admit>, Vec<_>) = gathered.drain(..).unzip();
                let decided = decide(&*consumer, &shutdown, batch).await;
                for (asker, admitted) in askers.into_iter().zip(decided) {
                    // An attempt that was dropped meanwhile has nothing to hear.
                    let _ = asker.send(admitted);
                }
            }
        });
        Self { line }
    }

    /// `None`: nobody could say; the message goes back when this worker's lease ends.
    async fn ask(&self, admit: Admit) -> Option<Admitted> {
        let (asker, answer) = oneshot::channel();
        self.line.send((admit, asker)).ok()?;
        answer.await.ok()
    }
}

/// Asks until there is an answer. What the broker refuses to decide (its memory is full, say) is asked again: running
/// without an answer could break what the task relies on.
async fn decide(consumer: &dyn Consumer, shutdown: &Shutdown, batch: Vec<Admit>) -> Vec<Admitted> {
    let mut wait = Duration::from_millis(50);
    loop {
        match consumer.admit(batch.clone()).await {
            Ok(decided) => return decided,
            Err(Error::Closed) => return Vec::new(),
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "the broker does not say which tasks may run: asking again"
            ),
        }
        if stopped_within(shutdown, wait).await {
            return Vec::new();
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_copies_what_ended_and_nothing_else() {
        let meta =
            |status: State, result: Value| Some(TaskMeta::new(TaskId::from("x"), status, result));
        let failed = ExceptionInfo::new("builtins", "KeyError", vec!["k".into()]).to_value();
        assert!(matches!(
            copied(meta(State::Success, Value::Int(7))),
            Copied::Outcome(Outcome::Success(Value::Int(7)))
        ));
        assert!(matches!(
            copied(meta(State::Failure, failed.clone())),
            Copied::Outcome(Outcome::Failure(failure)) if failure.exception.exc_type == "KeyError"
        ));
        assert!(matches!(
            copied(meta(State::Retry, failed)),
            Copied::Nothing
        ));
        assert!(matches!(copied(None), Copied::Nothing));
        let expired = crate::records::celery_exception("TaskRevokedError", "expired").to_value();
        assert!(
            matches!(copied(meta(State::Revoked, expired)), Copied::Revoked(why) if why == "expired")
        );
    }

    #[test]
    fn a_retry_keeps_the_lock_and_every_end_gives_it_up() {
        let headers = lovage_protocol::Headers::new("t".into(), "id".into());
        let body = lovage_protocol::Body::new(Vec::new(), lovage_protocol::Map::new());
        let properties = lovage_protocol::Properties::new("id", "celery");
        let message = Message::new(headers, properties, &body);
        let check = |settle: Option<Settle>, retry: Option<Duration>, expected: Option<Leave>| {
            assert_eq!(leave(&message, true, settle.as_ref(), retry), expected);
        };
        let owner = || "id".to_owned();
        let end = Some(Leave::End { owner: owner() });
        check(Some(Settle::Ack), None, end.clone());
        check(None, None, end);
        check(Some(Settle::Requeue), None, None);
        let pause = Duration::from_secs(60);
        let again = Leave::Again {
            owner: owner(),
            pause,
        };
        check(Some(Settle::Ack), Some(pause), Some(again));
        assert_eq!(leave(&message, false, Some(&Settle::Ack), None), None);
    }
}
