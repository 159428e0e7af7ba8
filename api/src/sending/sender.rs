//! Sends one task, many, or a workflow.

use std::{sync::Arc, time::Duration};

use lovage_client::{AsyncResult, Client, Composed, Error, canvas::Plan};
use lovage_protocol::{TaskId, TaskMeta, Value};

use crate::{
    auth::Identity,
    problem::{Code, Problem},
    schema::{step::Step, task::CallBody},
    sending::{
        registered::Registered,
        signature::{Before, Checks},
    },
};

/// Sends on behalf of callers. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    client: Client,
    registered: Arc<Registered>,
}

impl Sender {
    pub(crate) fn new(client: Client, registered: Arc<Registered>) -> Self {
        Self { client, registered }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    fn checks<'a>(&'a self, caller: &'a Identity) -> Checks<'a> {
        Checks {
            client: &self.client,
            registered: &self.registered,
            caller,
        }
    }

    /// Sends one task, as a call of its own id unless the client named one: a duplicate then is told as such.
    ///
    /// # Errors
    /// When it cannot be, is out of the caller's reach, or the broker does not take it.
    pub(crate) async fn one(&self, caller: &Identity, call: &CallBody) -> Result<TaskId, Problem> {
        let composed = self.checks(caller).message(call)?;
        let id = composed.id().clone();
        let handle = self.client.send_composed::<Value>(composed).await;
        let handle = handle.map_err(|error| match error {
            Error::Unanswered { .. } => Problem::new(
                Code::BrokerAway,
                format!("the broker did not answer in time; the task may have been sent as {id}"),
            )
            .retry_after(RETRY),
            other => problem(&other),
        })?;
        Ok(handle.id().clone())
    }

    /// Whether a call could be sent.
    ///
    /// # Errors
    /// When it cannot be, or is out of the caller's reach.
    pub(crate) fn check(&self, caller: &Identity, call: &CallBody) -> Result<(), Problem> {
        self.checks(caller).call(call, Before::Nothing).map(drop)
    }

    /// Sends those of many calls that can be, hundreds in a round trip; of each it is told what became of it.
    pub(crate) async fn many(
        &self,
        caller: &Identity,
        calls: Vec<Result<CallBody, Problem>>,
    ) -> Vec<Result<TaskId, Problem>> {
        let checks = self.checks(caller);
        let mut outcomes = Vec::with_capacity(calls.len());
        let mut good = Vec::with_capacity(calls.len());
        for (index, call) in calls.into_iter().enumerate() {
            let composed = call.and_then(|call| checks.message(&call));
            outcomes.push(match composed.map(Composed::into_prepared) {
                Ok(prepared) => {
                    let id = prepared.id.clone();
                    good.push((index, prepared));
                    Ok(id)
                }
                Err(problem) => Err(problem),
            });
        }
        // A round trip at a time, so that after a failure it is known how far it came.
        let mut rest = good.into_iter().peekable();
        while rest.peek().is_some() {
            let (places, batch): (Vec<usize>, Vec<_>) = rest.by_ref().take(ROUND_TRIP).unzip();
            if let Err(error) = self.client.publish(batch).await {
                let problem = problem(&error);
                for place in places
                    .into_iter()
                    .chain(rest.by_ref().map(|(index, _)| index))
                {
                    outcomes[place] = Err(problem.clone());
                }
            }
        }
        outcomes
    }

    /// Sends what begins a workflow, once the whole of it is found to be right.
    ///
    /// # Errors
    /// As [`Sender::one`].
    pub(crate) async fn workflow(&self, caller: &Identity, step: &Step) -> Result<Plan, Problem> {
        let canvas = self.checks(caller).step(step, Before::Nothing)?;
        let plan = self.client.apply(&canvas).await;
        plan.map_err(|error| problem(&error))
    }

    /// The result of a task as it stands, or as it is when it ends within `patience`.
    ///
    /// # Errors
    /// When the result store does not answer.
    pub(crate) async fn result(
        &self,
        id: &TaskId,
        patience: Duration,
    ) -> Result<Option<TaskMeta>, Problem> {
        let handle: AsyncResult<Value> = self.client.handle(id.clone());
        if !patience.is_zero() {
            match handle.wait(patience).await {
                Ok(meta) => return Ok(Some(meta)),
                Err(Error::TimedOut { .. } | Error::Ignored { .. }) => {}
                Err(error) => return Err(problem(&error)),
            }
        }
        handle.meta().await.map_err(|error| problem(&error))
    }
}

/// So many messages go out in one round trip.
const ROUND_TRIP: usize = 500;
/// Seconds after which a broker that was away is worth asking again.
const RETRY: u64 = 2;

/// What the client library refuses, as a client of the API is told.
pub(crate) fn problem(error: &Error) -> Problem {
    match error {
        Error::Invalid { .. } | Error::Encode { .. } => Problem::invalid(chain(error)),
        Error::Duplicate { of, .. } => Problem::new(
            Code::DuplicateTask,
            format!("it is unique, and {of} of the same arguments waits or runs"),
        ),
        Error::Broker(error) => broker_problem(error),
        Error::Unanswered { .. } => Problem::new(
            Code::BrokerAway,
            "the broker did not answer in time; what was to be sent may have been sent",
        )
        .retry_after(RETRY),
        Error::Results(_) => {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the result store is away"
            );
            Problem::new(Code::ResultsAway, "the result store does not answer").retry_after(RETRY)
        }
        other => Problem::internal(other),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        problem(&error)
    }
}

/// What the broker refuses, as a client of the API is told.
pub(crate) fn broker_problem(error: &lovage_broker::Error) -> Problem {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "the broker is away"
    );
    Problem::new(
        Code::BrokerAway,
        "the broker does not answer; what was asked of it may have been done in part",
    )
    .retry_after(RETRY)
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
