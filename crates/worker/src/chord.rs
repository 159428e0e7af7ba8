//! The end of a chord: the worker whose task completed the header sends the body, or fails it.

use std::{collections::HashMap, sync::Arc};

use lovage_broker::{Broker, ChordClose, ChordPart, Publish, ResultWrite};
use lovage_client::{
    Client,
    canvas::{Start, given},
};
use lovage_protocol::{Message, Signature, State, TaskId, Value, parse_stored};
use lovage_results::ResultStore;
use lovage_telemetry::Trace;
use tracing::{debug, error};

use crate::{
    attempt::Shared,
    chord_failure::ChordFailure,
    errback::ErrorCall,
    part::Part,
    unlock::{Header, Unlocked},
    workflow,
};

/// Joins chords that this worker claimed.
#[derive(Debug, Clone)]
pub(crate) struct Joiner {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) client: Client,
    pub(crate) results: Arc<dyn ResultStore>,
    /// A body without a priority has that of the member that finished last, which sends it.
    pub(crate) inherit_priority: bool,
}

/// Why a chord could not be joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Broker(#[from] lovage_broker::Error),
    #[error(transparent)]
    Results(#[from] lovage_results::Error),
    #[error(transparent)]
    Client(#[from] lovage_client::Error),
    #[error("a recorded member is damaged")]
    DamagedMember,
    #[error("the saved group is damaged")]
    DamagedGroup,
    #[error("the saved group names {0}, which has no result")]
    MissingMember(TaskId),
}

impl JoinError {
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_transient(),
            Self::Results(error) => error.is_transient(),
            Self::Client(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// What is sent and stored at a chord's end.
pub(crate) struct End {
    pub(crate) publishes: Vec<Publish>,
    pub(crate) results: Vec<ResultWrite>,
    pub(crate) failed: bool,
    /// What the body would have returned to chords further out, had it run.
    pub(crate) parts: Vec<Part>,
    pub(crate) calls: Vec<ErrorCall>,
}

/// Finds out how a claimed chord ends: its body is sent, or fails.
pub(crate) async fn end(shared: &Shared, part: &Part, message: &Message) -> Result<End, JoinError> {
    let ended = shared.joiner.succeed(&part.part, message, &part.body).await;
    let ended = match ended {
        Ok(Joined::Yes(end)) => match shared.client.declare(&end.publishes).await {
            // The body's queue may be one that nobody has bound yet.
            Ok(()) => Ok(end),
            Err(error) => Err(error.into()),
        },
        Ok(Joined::Failed(failure)) => Ok(failure.end(shared, message, &part.body)),
        Err(error) => Err(error),
    };
    match ended {
        Err(error) if !error.is_transient() && !is_closed(&error) => {
            // Nobody would ever hear of the body otherwise.
            let exception = workflow::chord_failed(&format!("Callback error: {error}"));
            error!(
                group = part.part.group_key,
                error = &error as &dyn std::error::Error,
                "the body of a chord cannot be sent: it fails"
            );
            Ok(ChordFailure::own(exception).end(shared, message, &part.body))
        }
        ended => ended,
    }
}

/// Ends the chord. False: somebody else has taken it over.
pub(crate) async fn close(
    shared: &Shared,
    part: &ChordPart,
    token: &str,
    end: &End,
) -> Result<bool, JoinError> {
    let close = ChordClose {
        group_key: part.group_key.clone(),
        place: part.place.clone(),
        token: token.to_owned(),
        publishes: end.publishes.clone(),
        results: end.results.clone(),
        failed: end.failed,
    };
    Ok(shared.joiner.broker.chord_close(close).await?)
}

/// The end of a chord that was waited for by a task of its own, whose message this is.
pub(crate) fn unlocked(shared: &Shared, message: &Message, unlocked: Unlocked) -> End {
    let Unlocked { body, header } = unlocked;
    let failure = match header {
        Header::Succeeded(values) => {
            let inherits = shared.joiner.inherit_priority;
            let priority = inherits.then_some(message.properties.priority);
            match begun(&shared.client, message, &body, values, priority) {
                Ok(end) => return end,
                Err(error) => {
                    error!(
                        error = &error as &dyn std::error::Error,
                        "the body of a chord cannot be sent: it fails"
                    );
                    let text = format!("Callback error: {error}");
                    ChordFailure::own(workflow::chord_failed(&text))
                }
            }
        }
        Header::Failed { member, recorded } => ChordFailure::of_member(&member, &recorded),
        Header::GivenUp(exception) => ChordFailure::own(Header::given_up(&exception)),
    };
    failure.end(shared, message, &body)
}

/// The body of a chord, about to be sent with the results of the header.
fn begun(
    client: &Client,
    message: &Message,
    body: &Signature,
    values: Value,
    priority: Option<i64>,
) -> Result<End, JoinError> {
    // A body whose options name the first task of its workflow keeps it.
    let root = given(body, "root_id").and_then(Value::as_str);
    let start = Start {
        parent_id: Some(message.headers.id.clone()),
        default_priority: priority,
        root_id: Some(root.map_or_else(|| workflow::root(message), TaskId::from)),
        prepend: Some(values),
        ..Start::default()
    };
    let (publishes, results) = client.plan(body, &start)?.publishes();
    Ok(End {
        publishes,
        results,
        failed: false,
        parts: Vec::new(),
        calls: Vec::new(),
    })
}

enum Joined {
    Yes(End),
    /// A task of the header failed.
    Failed(ChordFailure),
}

impl Joiner {
    async fn succeed(
        &self,
        part: &ChordPart,
        message: &Message,
        body: &Signature,
    ) -> Result<Joined, JoinError> {
        let members = self
            .broker
            .chord_members(&part.place, &part.group_key)
            .await?;
        // Each is forgotten as it is read: there may be a hundred thousand.
        let members: Vec<Member> = members
            .into_iter()
            .map(|raw| Member::read(&raw))
            .collect::<Result<_, _>>()?;
        let failed = members
            .iter()
            .find(|member| matches!(member.state, State::Failure | State::Revoked));
        if let Some(member) = failed {
            return Ok(Joined::Failed(ChordFailure::of_member(
                &member.id,
                &member.result,
            )));
        }
        let links = self.spans(&members).await;
        let values = match self.results.load_group(&part.group_key).await? {
            Some(group) => self.structured(&group, members).await?,
            None => Value::List(members.into_iter().map(|member| member.result).collect()),
        };
        let priority = self.inherit_priority.then_some(message.properties.priority);
        Trace::current()
            .linked(links)
            .in_scope(|| begun(&self.client, message, body, values, priority))
            .map(Joined::Yes)
    }

    /// The spans of the header's tasks, as far as they were stored with their results: Python's workers store none.
    async fn spans(&self, members: &[Member]) -> Vec<String> {
        if !Trace::is_on() {
            return Vec::new();
        }
        let ids: Vec<TaskId> = members.iter().map(|member| member.id.clone()).collect();
        match self.results.load_many(&ids).await {
            Ok(stored) => stored
                .into_iter()
                .filter_map(|meta| meta?.traceparent)
                .collect(),
            Err(error) => {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "the body of a chord is sent without links to the spans of its header"
                );
                Vec::new()
            }
        }
    }

    /// The results in the shape of a header that has groups inside, which its producer saved for this.
    async fn structured(&self, group: &Value, members: Vec<Member>) -> Result<Value, JoinError> {
        let mut found: HashMap<TaskId, Value> = members
            .into_iter()
            .map(|member| (member.id, member.result))
            .collect();
        let mut missing = Vec::new();
        leaves(group, &mut |id| {
            if !found.contains_key(&id) {
                missing.push(id);
            }
        })?;
        let stored = self.results.load_many(&missing).await?;
        for meta in stored.into_iter().flatten() {
            if meta.status == State::Success {
                found.insert(meta.task_id, meta.result);
            }
        }
        shaped(group, &found)
    }
}

/// The broker was closed while this went on: nobody can say or do anything more about the chord here.
fn is_closed(error: &JoinError) -> bool {
    matches!(error, JoinError::Broker(lovage_broker::Error::Closed))
}

/// A result reference taken apart: `[[id, parent], null]` of a task, `[[id, parent], [references]]` of a group.
fn reference(of: &Value) -> Result<(&str, Option<&[Value]>), JoinError> {
    let Some([own, members]) = of.as_list() else {
        return Err(JoinError::DamagedGroup);
    };
    let id = own.as_list().and_then(|own| own.first()?.as_str());
    Ok((id.ok_or(JoinError::DamagedGroup)?, members.as_list()))
}

pub(crate) fn leaves(group: &Value, see: &mut impl FnMut(TaskId)) -> Result<(), JoinError> {
    match reference(group)? {
        (id, None) => see(TaskId::from(id)),
        (_, Some(members)) => {
            for member in members {
                leaves(member, see)?;
            }
        }
    }
    Ok(())
}

pub(crate) fn shaped(group: &Value, found: &HashMap<TaskId, Value>) -> Result<Value, JoinError> {
    match reference(group)? {
        (id, None) => {
            let id = TaskId::from(id);
            let value = found.get(&id).cloned();
            value.ok_or(JoinError::MissingMember(id))
        }
        (_, Some(members)) => members
            .iter()
            .map(|member| shaped(member, found))
            .collect::<Result<_, _>>()
            .map(Value::List),
    }
}

/// One recorded member of a chord: `[1, id, state, result]`.
struct Member {
    id: TaskId,
    state: State,
    result: Value,
}

impl Member {
    fn read(raw: &[u8]) -> Result<Self, JoinError> {
        let value = parse_stored(raw).map_err(|_| JoinError::DamagedMember)?;
        let Value::List(fields) = value else {
            return Err(JoinError::DamagedMember);
        };
        let [_, Value::Str(id), Value::Str(state), result] =
            <[Value; 4]>::try_from(fields).map_err(|_| JoinError::DamagedMember)?
        else {
            return Err(JoinError::DamagedMember);
        };
        Ok(Self {
            id: id.into(),
            state: State::from(state.as_str()),
            result,
        })
    }
}
