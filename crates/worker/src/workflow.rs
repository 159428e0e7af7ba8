//! What follows a task: callbacks and the next step of its chain after a success, error callbacks and the failure of the
//! rest after a failure (`celery/app/trace.py`, `celery/backends/base.py`; the order of duties is theirs).

use lovage_broker::{ChordPart, Finish, Publish, ResultWrite};
use lovage_client::signature::Follow;
use lovage_protocol::{Body, ExceptionInfo, Message, Signature, State, TaskId, Value};
use tracing::warn;

use crate::{
    attempt::Shared,
    chain::{chord_parts, given, listed, never_run, result_id, subtasks, unchain},
    outcome::traceback,
    policy::Record,
    records,
};

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

/// Publishes callbacks and the next step, and gives the references that make them children of the task.
pub(crate) fn after_success(
    shared: &Shared,
    message: &Message,
    body: &Body,
    value: &Value,
    finish: &mut Finish,
) -> Result<Vec<Value>, Refused> {
    if body.embed.is_empty() {
        return Ok(Vec::new());
    }
    let mut steps = Steps::new(shared, message, Some(value));
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
    steps.send_group(&TaskId::new(), plain)?;
    let mut chain = body.embed.chain()?;
    if let Some(next) = chain.pop() {
        steps.send(&next, chain)?;
    }
    finish.publishes.extend(steps.publishes);
    finish.results.extend(steps.results);
    Ok(steps.children)
}

/// The steps that follow one task.
struct Steps<'a> {
    shared: &'a Shared,
    message: &'a Message,
    /// Prepended to the arguments of whatever is mutable.
    value: Option<&'a Value>,
    publishes: Vec<Publish>,
    /// The sizes of chords that begin.
    results: Vec<ResultWrite>,
    /// References to what is sent; a group is one.
    children: Vec<Value>,
}

impl<'a> Steps<'a> {
    fn new(shared: &'a Shared, message: &'a Message, value: Option<&'a Value>) -> Self {
        Self {
            shared,
            message,
            value,
            publishes: Vec::new(),
            results: Vec::new(),
            children: Vec::new(),
        }
    }

    fn append(&mut self, steps: Steps<'_>) {
        self.publishes.extend(steps.publishes);
        self.results.extend(steps.results);
        self.children.extend(steps.children);
    }

    /// Sends one signature; `chain` is what follows it, reversed as on the wire.
    fn send(&mut self, step: &Signature, chain: Vec<Signature>) -> Result<(), Refused> {
        match step.subtask_type.as_deref() {
            None => {
                let id = self.publish(step, chain, None)?;
                self.children.push(records::reference(&id));
                Ok(())
            }
            Some("chain") => match unchain(step, chain)? {
                Some((first, rest)) => self.send(&first, rest),
                None => Ok(()),
            },
            Some("group") if chain.is_empty() => {
                let group = result_id(step).unwrap_or_else(TaskId::new);
                self.send_group(&group, subtasks(step)?)
            }
            Some("group") => Err(Refused::Unsupported("group that something follows")),
            Some(_) => self.send_chord(step, chain),
        }
    }

    /// A chord: its header is sent with the task's result, its body goes along in each of the messages, and what follows the
    /// chord in the body's options (`celery/canvas.py`, `_chord.run`).
    fn send_chord(&mut self, chord: &Signature, rest: Vec<Signature>) -> Result<(), Refused> {
        let shared = self.shared;
        let place = shared.results.place().filter(|_| shared.chords_beside);
        let place = place.ok_or(Refused::Unsupported(
            "chord whose results are not on the broker's server",
        ))?;
        let group = given(chord, "task_id").and_then(Value::as_str);
        let group = group.map_or_else(TaskId::new, TaskId::from);
        let (members, body) = chord_parts(chord, &group, rest)?;
        if members.is_empty() {
            let nothing = Value::List(Vec::new());
            let mut steps = Steps::new(shared, self.message, Some(&nothing));
            steps.send(&body, listed(&body, "chain"))?;
            self.append(steps);
            return Ok(());
        }
        let size = members.len();
        let mut references = Vec::with_capacity(size);
        for (index, member) in (0_i64..).zip(members) {
            let Some((mut first, mut rest)) = unchain(&member, Vec::new())? else {
                return Err(Refused::Unsupported("chain without steps in a header"));
            };
            // The part is returned by the member's last step, which stands first.
            let last = rest.first_mut().unwrap_or(&mut first);
            last.options
                .insert("group_id".to_owned(), group.as_str().into());
            last.options.insert("group_index".to_owned(), index.into());
            last.options.insert("chord".to_owned(), body.to_value());
            if last.subtask_type.is_some() || first.subtask_type.is_some() {
                return Err(Refused::Unsupported("workflow inside a chord's header"));
            }
            references.push(records::reference(&self.publish(&first, rest, None)?));
        }
        let settings = &shared.settings.results;
        self.results.push(ResultWrite {
            key: format!("{}.s", shared.results.group_key(group.as_str())),
            value: size.to_string().into(),
            expires: settings.chord_expires.or(settings.expires),
            place,
        });
        self.children
            .push(records::group_reference(&group, references));
        Ok(())
    }

    /// Several signatures as one group, numbered from 0.
    fn send_group(&mut self, group: &TaskId, members: Vec<Signature>) -> Result<(), Refused> {
        if members.is_empty() {
            return Ok(());
        }
        let mut references = Vec::with_capacity(members.len());
        for (index, member) in (0_i64..).zip(members) {
            if member.subtask_type.is_some() {
                return Err(Refused::Unsupported("workflow inside a group"));
            }
            let place = (group.as_str().to_owned(), index);
            let id = self.publish(&member, Vec::new(), Some(place))?;
            references.push(records::reference(&id));
        }
        self.children
            .push(records::group_reference(group, references));
        Ok(())
    }

    fn publish(
        &mut self,
        step: &Signature,
        chain: Vec<Signature>,
        group: Option<(String, i64)>,
    ) -> Result<TaskId, Refused> {
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
        Ok(id)
    }
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
    for step in never_run(body.embed.chain().unwrap_or_default()) {
        let meta = records::failed_step(&step, &record.result, record.traceback.as_deref());
        finish
            .results
            .extend(meta.and_then(|meta| shared.results.encode(&meta)));
    }
    // Plain ones go out together, the others one by one: one that cannot be sent does not keep the rest.
    let (plain, composed): (Vec<_>, Vec<_>) = body
        .embed
        .errbacks()
        .unwrap_or_default()
        .into_iter()
        .partition(|errback| errback.subtask_type.is_none());
    let failed = Value::Str(message.headers.id.as_str().to_owned());
    let mut steps = Steps::new(shared, message, Some(&failed));
    let complain = |error: Refused| {
        tracing::error!(task.id = %message.headers.id, %error, "an error callback was not sent");
    };
    steps
        .send_group(&TaskId::new(), plain)
        .unwrap_or_else(complain);
    for errback in composed {
        steps.send(&errback, Vec::new()).unwrap_or_else(complain);
    }
    finish.publishes.extend(steps.publishes);
    finish.results.extend(steps.results);
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
    let last = never_run(body.embed.chain().ok()?)
        .into_iter()
        .find(|step| given(step, "chord").is_some())?;
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
    let Some(place) = shared.results.place().filter(|_| shared.chords_beside) else {
        warn!(
            group,
            task.id = %id,
            "a chord cannot be counted: its results are not on the broker's server, so its body will never run"
        );
        return None;
    };
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
        member: shared.results.encode_value(&member),
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

/// The chord of a chain's last step, carried in that step's options.
pub(crate) fn inherited_chord(steps: &[Signature]) -> Option<Signature> {
    let chord = steps.iter().find_map(|step| given(step, "chord"))?;
    Signature::from_value(chord.clone()).ok()
}

/// The exception of a chord whose header failed.
pub(crate) fn chord_error(member: &TaskId, exception: &ExceptionInfo) -> ExceptionInfo {
    chord_failed(&format!("Dependency {member} raised {}", exception.repr()))
}

/// The exception of a chord that failed for this reason.
pub(crate) fn chord_failed(text: &str) -> ExceptionInfo {
    records::celery_exception("ChordError", text)
}
