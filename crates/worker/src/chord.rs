//! The end of a chord: the worker whose task completed the header sends the body, or fails it.

use std::sync::Arc;

use lovage_broker::{Broker, ChordClose, ChordPart, Delivery, Publish, ResultWrite};
use lovage_client::{Client, signature::Follow};
use lovage_protocol::{
    DecodeOptions, ExceptionInfo, Message, Signature, State, TaskId, TaskMeta, Value,
};
use lovage_results::ResultStore;
use tracing::{error, warn};

use crate::workflow;

/// Joins chords that this worker claimed.
#[derive(Debug, Clone)]
pub(crate) struct Joiner {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) client: Client,
    pub(crate) results: Arc<dyn ResultStore>,
    pub(crate) decode: DecodeOptions,
}

/// Why a chord could not be joined; its claim then runs out and its keys say so.
#[derive(Debug, thiserror::Error)]
enum JoinError {
    #[error(transparent)]
    Broker(#[from] lovage_broker::Error),
    #[error(transparent)]
    Decode(#[from] lovage_protocol::DecodeError),
    #[error(transparent)]
    Signature(#[from] lovage_protocol::SignatureError),
    #[error(transparent)]
    Client(#[from] lovage_client::Error),
    #[error("the message has no chord")]
    NoChord,
    #[error("a recorded member is damaged")]
    DamagedMember,
}

impl Joiner {
    /// Sends the body of the chord on a task of its own.
    pub(crate) fn join(&self, part: ChordPart, token: String, delivery: &Delivery) {
        let joiner = self.clone();
        let delivery = delivery.clone();
        tokio::spawn(async move {
            let group = part.group_key.clone();
            match joiner.dispatch(part, token, &delivery).await {
                Ok(true) => {}
                Ok(false) => warn!(group, "another worker took the chord over"),
                Err(error) => error!(
                    group,
                    error = &error as &dyn std::error::Error,
                    "the chord was not joined"
                ),
            }
        });
    }

    async fn dispatch(
        &self,
        part: ChordPart,
        token: String,
        delivery: &Delivery,
    ) -> Result<bool, JoinError> {
        let message = Message::parse(&delivery.raw)?;
        let body = message.decode_body(&self.decode)?;
        let chord = match body.embed.chord()? {
            Some(chord) => chord,
            None => inherited_chord(&body.embed.chain()?)?,
        };
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
        let follow = |prepend: Value, parent: TaskId| Follow {
            root_id: Some(
                message
                    .headers
                    .root_id
                    .clone()
                    .unwrap_or_else(|| message.headers.id.clone()),
            ),
            parent_id: Some(parent),
            prepend: Some(prepend),
            chain: Vec::new(),
            group: None,
            priority: None,
        };
        let (publishes, results, failed) = match failed {
            None => {
                let values = Value::List(members.into_iter().map(|member| member.result).collect());
                let (_, publish) = self
                    .client
                    .follow(&chord, follow(values, message.headers.id.clone()))?;
                (vec![publish], Vec::new(), false)
            }
            Some(member) => {
                let (publishes, results) = self.fail(&chord, member, &follow)?;
                (publishes, results, true)
            }
        };
        let close = ChordClose {
            group_key: part.group_key,
            place: part.place,
            token,
            publishes,
            results,
            failed,
        };
        Ok(self.broker.chord_close(close).await?)
    }

    /// Error callbacks with the body's id, and ChordError stored for the body and what was to follow it.
    fn fail(
        &self,
        chord: &Signature,
        member: &Member,
        follow: &dyn Fn(Value, TaskId) -> Follow,
    ) -> Result<(Vec<Publish>, Vec<ResultWrite>), JoinError> {
        let cause = ExceptionInfo::from_value(&member.result)
            .unwrap_or_else(|_| ExceptionInfo::new("builtins", "Exception", vec![]));
        let exception = workflow::chord_error(&member.id, &cause);
        let mut ids = vec![chord.clone()];
        ids.extend(signatures(chord, "chain"));
        let mut results = Vec::new();
        for id in ids
            .iter()
            .filter_map(|step| step.options.get("task_id").and_then(Value::as_str))
        {
            let meta = TaskMeta {
                status: State::Failure,
                result: exception.to_value(),
                traceback: None,
                children: Some(Vec::new()),
                date_done: Some(lovage_protocol::time::format_iso(chrono::Utc::now())),
                group_id: None,
                parent_id: None,
                extended: None,
                task_id: TaskId::from(id),
            };
            results.extend(self.results.encode(&meta));
        }
        let mut publishes = Vec::new();
        if let Some(body_id) = chord.options.get("task_id").and_then(Value::as_str) {
            for errback in signatures(chord, "link_error") {
                let follow = follow(Value::Str(body_id.to_owned()), TaskId::from(body_id));
                publishes.push(self.client.follow(&errback, follow)?.1);
            }
        }
        Ok((publishes, results))
    }
}

fn signatures(of: &Signature, option: &str) -> Vec<Signature> {
    let listed = of
        .options
        .get(option)
        .and_then(Value::as_list)
        .unwrap_or_default();
    listed
        .iter()
        .filter_map(|value| Signature::from_value(value.clone()).ok())
        .collect()
}

/// The chord of a chain's last step, carried in that step's options.
fn inherited_chord(chain: &[Signature]) -> Result<Signature, JoinError> {
    let chord = chain
        .iter()
        .find_map(|step| step.options.get("chord"))
        .ok_or(JoinError::NoChord)?;
    Ok(Signature::from_value(chord.clone())?)
}

/// One recorded member of a chord: `[1, id, state, result]`.
struct Member {
    id: TaskId,
    state: State,
    result: Value,
}

impl Member {
    fn read(raw: &[u8]) -> Result<Self, JoinError> {
        let value = Value::from_json(raw).map_err(|_| JoinError::DamagedMember)?;
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
