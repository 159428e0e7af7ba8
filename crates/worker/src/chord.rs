//! The end of a chord: the worker whose task completed the header sends the body, or fails it.

use std::{collections::HashMap, sync::Arc};

use lovage_broker::{Broker, ChordClose, ChordPart, Delivery, Publish, ResultWrite};
use lovage_client::{Client, signature::Follow};
use lovage_protocol::{
    DecodeOptions, ExceptionInfo, Message, Signature, State, TaskId, TaskMeta, Value, parse_stored,
};
use lovage_results::ResultStore;
use tracing::error;

use crate::{
    chain::{given, listed, never_run, result_id, subtasks, unchain},
    workflow,
};

/// Joins chords that this worker claimed.
#[derive(Debug, Clone)]
pub(crate) struct Joiner {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) client: Client,
    pub(crate) results: Arc<dyn ResultStore>,
    pub(crate) decode: DecodeOptions,
}

/// Why a chord could not be joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Broker(#[from] lovage_broker::Error),
    #[error(transparent)]
    Results(#[from] lovage_results::Error),
    #[error(transparent)]
    Decode(#[from] lovage_protocol::DecodeError),
    #[error(transparent)]
    Signature(#[from] lovage_protocol::SignatureError),
    #[error(transparent)]
    Client(#[from] lovage_client::Error),
    #[error("the message has no chord")]
    NoChord,
    #[error("a body that is a {0} is not supported yet")]
    Unsupported(String),
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
struct End {
    publishes: Vec<Publish>,
    results: Vec<ResultWrite>,
    failed: bool,
}

impl Joiner {
    /// Sends the body of the chord, or fails it. False: somebody else has taken the chord over.
    pub(crate) async fn dispatch(
        &self,
        part: &ChordPart,
        token: &str,
        delivery: &Delivery,
    ) -> Result<bool, JoinError> {
        let message = Message::parse_with(&delivery.raw, &self.decode)?;
        let body = message.decode_body(&self.decode)?;
        let chord = match body.embed.chord()? {
            Some(chord) => chord,
            None => workflow::inherited_chord(&never_run(body.embed.chain()?))
                .ok_or(JoinError::NoChord)?,
        };
        let close = |end: End| {
            self.broker.chord_close(ChordClose {
                group_key: part.group_key.clone(),
                place: part.place.clone(),
                token: token.to_owned(),
                publishes: end.publishes,
                results: end.results,
                failed: end.failed,
            })
        };
        let ended = match self.end(part, &message, &chord).await {
            // The body's queue may be one that nobody has bound yet.
            Ok(end) => match self.client.declare(&end.publishes).await {
                Ok(()) => close(end).await.map_err(JoinError::from),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error),
        };
        match ended {
            Err(error) if !error.is_transient() && !is_closed(&error) => {
                // Nobody would ever hear of the body otherwise.
                let exception = workflow::chord_failed(&format!("Callback error: {error}"));
                error!(
                    group = part.group_key,
                    error = &error as &dyn std::error::Error,
                    "the body of a chord cannot be sent: it fails"
                );
                Ok(close(self.fail(&message, &chord, &exception)).await?)
            }
            ended => ended,
        }
    }

    async fn end(
        &self,
        part: &ChordPart,
        message: &Message,
        chord: &Signature,
    ) -> Result<End, JoinError> {
        let members = self
            .broker
            .chord_members(&part.place, &part.group_key)
            .await?;
        let members: Vec<Member> = members
            .iter()
            .map(|raw| Member::read(raw))
            .collect::<Result<_, _>>()?;
        let failed = members
            .iter()
            .find(|member| matches!(member.state, State::Failure | State::Revoked));
        if let Some(member) = failed {
            let cause = ExceptionInfo::from_value(&member.result)
                .unwrap_or_else(|_| ExceptionInfo::new("builtins", "Exception", vec![]));
            let exception = workflow::chord_error(&member.id, &cause);
            return Ok(self.fail(message, chord, &exception));
        }
        let values = match self.results.load_group(&part.group_key).await? {
            Some(group) => self.structured(&group, members).await?,
            None => Value::List(members.into_iter().map(|member| member.result).collect()),
        };
        // What follows the body stands in its options: a plain body takes it from there by itself.
        let rest = match chord.subtask_type {
            None => Vec::new(),
            Some(_) => listed(chord, "chain"),
        };
        let Some((first, rest)) = unchain(chord, rest)? else {
            return Err(JoinError::Unsupported("chain without steps".to_owned()));
        };
        let with_results = || follow(message, values.clone(), message.headers.id.clone());
        let publishes = match first.subtask_type.as_deref() {
            None => {
                let follow = Follow {
                    chain: rest,
                    ..with_results()
                };
                vec![self.client.follow(&first, follow)?.1]
            }
            Some("group") if rest.is_empty() => {
                let group = result_id(&first).unwrap_or_else(TaskId::new);
                let members = (0_i64..).zip(subtasks(&first)?);
                let publishes = members.map(|(index, member)| {
                    let follow = Follow {
                        group: Some((group.as_str().to_owned(), index)),
                        ..with_results()
                    };
                    Ok(self.client.follow(&member, follow)?.1)
                });
                publishes.collect::<Result<_, JoinError>>()?
            }
            Some(kind) => return Err(JoinError::Unsupported(kind.to_owned())),
        };
        Ok(End {
            publishes,
            results: Vec::new(),
            failed: false,
        })
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

    /// Error callbacks with the body's id, and the failure stored for the body and what was to follow it.
    fn fail(&self, message: &Message, chord: &Signature, exception: &ExceptionInfo) -> End {
        let never = never_run(vec![chord.clone()]);
        let ids = never
            .iter()
            .filter_map(|step| given(step, "task_id")?.as_str());
        let results = ids.filter_map(|id| {
            self.results.encode(&TaskMeta {
                status: State::Failure,
                result: exception.to_value(),
                traceback: None,
                children: Some(Vec::new()),
                date_done: Some(lovage_protocol::time::format_iso(self.client.clock().now())),
                group_id: None,
                parent_id: None,
                extended: None,
                task_id: TaskId::from(id),
            })
        });
        let mut publishes = Vec::new();
        if let Some(body) = result_id(chord) {
            for errback in listed(chord, "link_error") {
                let follow = follow(message, Value::from(body.as_str()), body.clone());
                match self.client.follow(&errback, follow) {
                    Ok((_, publish)) => publishes.push(publish),
                    Err(error) => error!(
                        error = &error as &dyn std::error::Error,
                        "an error callback of a chord was not sent"
                    ),
                }
            }
        }
        End {
            publishes,
            results: results.collect(),
            failed: true,
        }
    }
}

/// The broker was closed while this went on: nobody can say or do anything more about the chord here.
fn is_closed(error: &JoinError) -> bool {
    matches!(error, JoinError::Broker(lovage_broker::Error::Closed))
}

fn follow(message: &Message, prepend: Value, parent: TaskId) -> Follow {
    let headers = &message.headers;
    Follow {
        root_id: Some(
            headers
                .root_id
                .clone()
                .unwrap_or_else(|| headers.id.clone()),
        ),
        parent_id: Some(parent),
        prepend: Some(prepend),
        chain: Vec::new(),
        group: None,
        priority: None,
    }
}

/// A result reference taken apart: `[[id, parent], null]` of a task, `[[id, parent], [references]]` of a group.
fn reference(of: &Value) -> Result<(&str, Option<&[Value]>), JoinError> {
    let Some([own, members]) = of.as_list() else {
        return Err(JoinError::DamagedGroup);
    };
    let id = own.as_list().and_then(|own| own.first()?.as_str());
    Ok((id.ok_or(JoinError::DamagedGroup)?, members.as_list()))
}

fn leaves(group: &Value, see: &mut impl FnMut(TaskId)) -> Result<(), JoinError> {
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

fn shaped(group: &Value, found: &HashMap<TaskId, Value>) -> Result<Value, JoinError> {
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
