//! What follows a task: callbacks and the next step of its chain after a success, error callbacks and the failure of the
//! rest after a failure (`celery/app/trace.py`, `celery/backends/base.py`; the order of duties is theirs).

use std::collections::VecDeque;

use lovage_broker::{ChordPart, Finish};
use lovage_client::signature::Follow;
use lovage_protocol::{
    Body, ExceptionInfo, Message, Signature, SignatureError, State, TaskId, TaskMeta, Value,
};

use crate::{attempt::Shared, context::Context, outcome::traceback, policy::Record, records};

/// Why a follow-up could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refused {
    /// The embedded signature is damaged.
    #[error(transparent)]
    Damaged(#[from] lovage_protocol::SignatureError),
    /// It is a kind that this version does not send.
    #[error("a {0} as the next step is not supported yet, send its tasks one by one")]
    Unsupported(&'static str),
    /// The client refused it.
    #[error(transparent)]
    Client(#[from] lovage_client::Error),
}

/// Publishes callbacks and the next step, and notes them as children.
pub(crate) fn after_success(
    shared: &Shared,
    message: &Message,
    body: &Body,
    value: &Value,
    context: &Context,
    finish: &mut Finish,
) -> Result<(), Refused> {
    if body.embed.is_empty() {
        return Ok(());
    }
    let mut steps = Steps {
        shared,
        message,
        value: Some(value),
        publishes: Vec::new(),
        children: Vec::new(),
    };
    let mut plain = Vec::new();
    let callbacks = body.embed.callbacks()?;
    let several = callbacks.len() > 1;
    for callback in callbacks {
        if callback.subtask_type.is_none() && several {
            plain.push(callback)
        } else {
            steps.send(&callback, Vec::new())?
        }
    }
    steps.send_group(plain)?;
    let mut chain = body.embed.chain()?;
    if let Some(next) = chain.pop() {
        steps.send(&next, chain)?;
    }
    let Steps {
        publishes,
        children,
        ..
    } = steps;
    finish.publishes.extend(publishes);
    if let Ok(mut recorded) = context.recorder().lock() {
        recorded.extend(children);
    }
    Ok(())
}

/// The steps that follow one task.
struct Steps<'a> {
    shared: &'a Shared,
    message: &'a Message,
    /// Prepended to the arguments of whatever is mutable.
    value: Option<&'a Value>,
    publishes: Vec<lovage_broker::Publish>,
    children: Vec<TaskId>,
}

impl Steps<'_> {
    /// Sends one signature; `chain` is what follows it, reversed as on the wire.
    fn send(&mut self, step: &Signature, chain: Vec<Signature>) -> Result<(), Refused> {
        match step.subtask_type.as_deref() {
            None => self.publish(step, chain, None),
            Some("chain") => {
                let mut tasks: VecDeque<Signature> = subtasks(step)?.into();
                let Some(first) = tasks.pop_front() else {
                    return Ok(());
                };
                let mut rest = chain;
                rest.extend(tasks.into_iter().rev());
                self.send(&first, rest)
            }
            Some("group") if chain.is_empty() => self.send_group(subtasks(step)?),
            Some("group") => Err(Refused::Unsupported("group that something follows")),
            Some(_) => Err(Refused::Unsupported("chord")),
        }
    }

    /// Several signatures become a group of their own: a fresh id, numbered from 0.
    fn send_group(&mut self, members: Vec<Signature>) -> Result<(), Refused> {
        let group = TaskId::new();
        for (index, member) in (0_i64..).zip(members) {
            if member.subtask_type.is_some() {
                return Err(Refused::Unsupported("workflow inside a group"));
            }
            self.publish(
                &member,
                Vec::new(),
                Some((group.as_str().to_owned(), index)),
            )?;
        }
        Ok(())
    }

    fn publish(
        &mut self,
        step: &Signature,
        chain: Vec<Signature>,
        group: Option<(String, i64)>,
    ) -> Result<(), Refused> {
        let headers = &self.message.headers;
        let inherit = self.shared.settings.tasks.inherit_parent_priority;
        let follow = Follow {
            parent_id: Some(headers.id.clone()),
            root_id: Some(
                headers
                    .root_id
                    .clone()
                    .unwrap_or_else(|| headers.id.clone()),
            ),
            prepend: self.value.cloned(),
            chain,
            group,
            priority: inherit.then_some(self.message.properties.priority),
        };
        let (id, publish) = self.shared.client.follow(step, follow)?;
        self.publishes.push(publish);
        self.children.push(id);
        Ok(())
    }
}

/// The members of a chain or group signature, in `kwargs.tasks`.
fn subtasks(of: &Signature) -> Result<Vec<Signature>, SignatureError> {
    of.kwargs
        .get("tasks")
        .map_or_else(|| Ok(Vec::new()), Signature::list_from_value)
}

/// Fails the steps that will never run and publishes the error callbacks.
pub(crate) fn after_failure(
    shared: &Shared,
    message: &Message,
    body: &Body,
    record: Option<&Record>,
    finish: &mut Finish,
) {
    let Some(record) = record else { return };
    if body.embed.is_empty() {
        return;
    }
    // A damaged embed cannot be followed; the task's own failure is stored all the same.
    for step in body.embed.chain().unwrap_or_default() {
        finish.results.extend(failed_step(shared, &step, record));
    }
    let errbacks = body.embed.errbacks().unwrap_or_default();
    let failed = Value::Str(message.headers.id.as_str().to_owned());
    let mut steps = Steps {
        shared,
        message,
        value: Some(&failed),
        publishes: Vec::new(),
        children: Vec::new(),
    };
    match steps.send_group(errbacks) {
        Ok(()) => finish.publishes.append(&mut steps.publishes),
        Err(error) => {
            tracing::error!(task.id = %message.headers.id, %error, "error callbacks were not sent")
        }
    }
}

fn failed_step(
    shared: &Shared,
    step: &Signature,
    record: &Record,
) -> Option<lovage_broker::ResultWrite> {
    let id = step.options.get("task_id").and_then(Value::as_str)?;
    let meta = TaskMeta {
        status: State::Failure,
        result: record.result.clone(),
        traceback: record.traceback.clone(),
        children: None,
        date_done: Some(lovage_protocol::time::format_iso(chrono::Utc::now())),
        group_id: step
            .options
            .get("group_id")
            .and_then(Value::as_str)
            .map(str::to_owned),
        parent_id: step
            .options
            .get("parent_id")
            .and_then(Value::as_str)
            .map(str::to_owned),
        extended: None,
        task_id: TaskId::from(id),
    };
    shared.results.encode(&meta)
}

/// The failure of a task whose follow-up cannot be sent.
pub(crate) fn broken(message: &Message, refused: &Refused) -> Record {
    let exception = ExceptionInfo::new(
        "kombu.exceptions",
        "OperationalError",
        vec![Value::Str(format!(
            "what follows the task cannot be sent: {refused}"
        ))],
    );
    let traceback = Some(traceback(message.headers.task.as_str(), &exception));
    Record {
        state: State::Failure,
        result: exception.to_value(),
        traceback,
    }
}

/// The part that this task returns to its chord, once its state ends it.
pub(crate) fn chord_part(
    shared: &Shared,
    message: &Message,
    body: &Body,
    state: &State,
    result: &Value,
) -> Option<ChordPart> {
    if !state.is_ready() || body.embed.is_empty() {
        return None;
    }
    let headers = &message.headers;
    if body.embed.chord().ok().flatten().is_some() {
        let group = headers.group.as_deref()?;
        return part(
            shared,
            group,
            &headers.id,
            headers.group_index,
            state,
            result,
        );
    }
    // The failure of a step inside a chain that ends in a chord's header counts for the step that will not run.
    if *state != State::Failure {
        return None;
    }
    let last = body
        .embed
        .chain()
        .ok()?
        .into_iter()
        .find(|step| step.options.contains_key("chord"))?;
    let text = |key: &str| last.options.get(key).and_then(Value::as_str);
    let id = TaskId::from(text("task_id")?);
    let index = last.options.get("group_index").and_then(Value::as_i64);
    part(shared, text("group_id")?, &id, index, state, result)
}

fn part(
    shared: &Shared,
    group: &str,
    id: &TaskId,
    index: Option<i64>,
    state: &State,
    result: &Value,
) -> Option<ChordPart> {
    // Chords are counted in the step that ends a task, so their keys must live beside the broker's.
    let place = shared.results.place().filter(|_| shared.chords_beside)?;
    let member = Value::List(vec![
        Value::Int(1),
        Value::Str(id.as_str().to_owned()),
        Value::Str(state.as_str().to_owned()),
        result.clone(),
    ]);
    let settings = &shared.settings.results;
    Some(ChordPart {
        group_key: shared.results.group_key(group),
        task_id: id.clone(),
        member: member.to_json().into(),
        // Group indexes are small; one beyond 2^53 would sort with its neighbours.
        index: index
            .and_then(|index| i32::try_from(index).ok())
            .map(f64::from),
        expires: settings.chord_expires.or(settings.expires),
        claim: settings
            .chord_join_timeout
            .saturating_mul(2)
            .max(std::time::Duration::from_secs(5)),
        place,
    })
}

/// The exception of a chord whose header failed.
pub(crate) fn chord_error(member: &TaskId, exception: &ExceptionInfo) -> ExceptionInfo {
    records::celery_exception(
        "ChordError",
        &format!("Dependency {member} raised {}", exception.repr()),
    )
}
