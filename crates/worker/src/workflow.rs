//! What follows a task: callbacks and the next step of its chain after a success, error callbacks and the failure of the
//! rest after a failure (`celery/app/trace.py`, `celery/backends/base.py`; the order of duties is theirs).

use lovage_broker::{Finish, Publish, ResultPlace, ResultWrite};
use lovage_client::canvas::{self, Start};
use lovage_protocol::{Body, ExceptionInfo, Message, Signature, State, TaskId, Value};

use crate::{
    attempt::Shared,
    chain::never_run,
    errback::{ErrorCall, FailedTask},
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
    /// It was added to a chord whose members nobody counts.
    #[error(
        "a task can be added to a chord only where its parts are counted, not with results in a database"
    )]
    Uncounted,
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
    let mut sent = Sent::default();
    let start = |chain| start(shared, message, Some(value.clone()), chain);
    let mut plain = Vec::new();
    let callbacks = body.embed.callbacks()?;
    let several = callbacks.len() > 1;
    for callback in callbacks {
        if callback.subtask_type.is_none() && several {
            plain.push(callback)
        } else {
            sent.add(shared, &callback, &start(Vec::new()))?
        }
    }
    if !plain.is_empty() {
        sent.add(shared, &canvas::group(plain), &start(Vec::new()))?;
    }
    let mut chain = body.embed.chain()?;
    if let Some(next) = chain.pop() {
        sent.add(shared, &next, &start(chain))?;
    }
    Ok(sent.into(finish))
}

/// What is sent in the step that ends a task.
#[derive(Default)]
struct Sent {
    publishes: Vec<Publish>,
    /// Sizes and shapes of chords that begin.
    results: Vec<ResultWrite>,
    /// References to what is sent.
    children: Vec<Value>,
}

impl Sent {
    fn add(&mut self, shared: &Shared, canvas: &Signature, start: &Start) -> Result<(), Refused> {
        let mut plan = shared.client.plan(canvas, start)?;
        self.children.extend(plan.child.take());
        let (publishes, results) = plan.publishes();
        self.publishes.extend(publishes);
        self.results.extend(results);
        Ok(())
    }

    fn into(self, finish: &mut Finish) -> Vec<Value> {
        finish.publishes.extend(self.publishes);
        finish.results.extend(self.results);
        self.children
    }
}

fn start(
    shared: &Shared,
    message: &Message,
    prepend: Option<Value>,
    chain: Vec<Signature>,
) -> Start {
    let inherit = shared.settings.tasks.inherit_parent_priority;
    Start {
        parent_id: Some(message.headers.id.clone()),
        root_id: Some(root(message)),
        prepend,
        chain,
        priority: inherit.then_some(message.properties.priority),
        default_priority: None,
    }
}

/// The first task of the workflow that a message belongs to.
pub(crate) fn root(message: &Message) -> TaskId {
    let headers = &message.headers;
    headers
        .root_id
        .clone()
        .unwrap_or_else(|| headers.id.clone())
}

/// Sends what a task has added to the chord that it belongs to, as further members beside itself (`celery/app/task.py`,
/// `add_to_chord`); gives how many parts the chord waits for more.
pub(crate) fn join_chord(
    shared: &Shared,
    message: &Message,
    body: &Body,
    added: Vec<Signature>,
    finish: &mut Finish,
) -> Result<(u64, Vec<Value>), Refused> {
    let Some(chord) = body.embed.chord()? else {
        return Ok((0, Vec::new()));
    };
    if !added.is_empty() && shared.results.place() == Some(ResultPlace::Tables) {
        return Err(Refused::Uncounted);
    }
    let (mut more, mut sent) = (0, Sent::default());
    for mut signature in added {
        let headers = &message.headers;
        let mut set = |name: &str, value: Value| signature.options.insert(name.to_owned(), value);
        set("chord", chord.to_value());
        if let Some(group) = &headers.group {
            set("group_id", group.as_str().into());
        }
        if let Some(index) = headers.group_index {
            set("group_index", index.into());
        }
        more += canvas::leaves(&signature)? as u64;
        sent.add(
            shared,
            &signature,
            &start(shared, message, None, Vec::new()),
        )?;
    }
    Ok((more, sent.into(finish)))
}

/// Sends what replaces a task: it takes the task's place, its id and whatever is to follow (`celery/app/task.py`, `replace`).
pub(crate) fn replace(
    shared: &Shared,
    message: &Message,
    body: &Body,
    replacement: &Signature,
    finish: &mut Finish,
) -> Result<(), Refused> {
    let headers = &message.headers;
    let mut by = accumulated(replacement)?;
    canvas::link(&mut by, "link", &body.embed.callbacks()?)?;
    canvas::link(&mut by, "link_error", &body.embed.errbacks()?)?;
    let nesting = headers.replaced_task_nesting + 1;
    let mut set = |name: &str, value: Value| by.options.insert(name.to_owned(), value);
    set("task_id", headers.id.as_str().into());
    set("replaced_task_nesting", nesting.into());
    if let Some(chord) = body.embed.chord()? {
        set("chord", chord.to_value());
    }
    if let Some(group) = &headers.group {
        set("group_id", group.as_str().into());
    }
    if let Some(index) = headers.group_index {
        set("group_index", index.into());
    }
    if by.subtask_type.as_deref() == Some("chain") {
        let mut steps = canvas::subtasks(&by)?;
        nest(&mut steps, nesting);
        canvas::set_subtasks(&mut by, &steps);
    }
    let mut chain = body.embed.chain()?;
    nest(&mut chain, nesting);
    let mut sent = Sent::default();
    sent.add(shared, &by, &start(shared, message, None, chain))?;
    sent.into(finish);
    Ok(())
}

fn nest(steps: &mut [Signature], nesting: i64) {
    for step in steps {
        step.options
            .insert("replaced_task_nesting".to_owned(), nesting.into());
    }
}

/// A group gets a body that has the task's id and gives the list of results on.
fn accumulated(replacement: &Signature) -> Result<Signature, Refused> {
    let body = || {
        let index = [("index".to_owned(), Value::Int(0))];
        Signature::new("celery.accumulate", Vec::new(), index.into_iter().collect())
    };
    let mut by = replacement.clone();
    match by.subtask_type.as_deref() {
        Some("group") => Ok(canvas::chord(canvas::subtasks(&by)?, &body())),
        Some("chain") => {
            let mut steps = canvas::subtasks(&by)?;
            if let Some(last) = steps.last_mut()
                && last.subtask_type.as_deref() == Some("group")
            {
                *last = canvas::chord(canvas::subtasks(last)?, &body());
            }
            canvas::set_subtasks(&mut by, &steps);
            Ok(by)
        }
        _ => Ok(by),
    }
}

/// Fails the steps that will never run and publishes the error callbacks; gives those that are called here.
pub(crate) fn after_failure(
    shared: &Shared,
    message: &Message,
    body: &Body,
    record: Option<&Record>,
    finish: &mut Finish,
) -> Vec<ErrorCall> {
    let Some(record) = record else {
        return Vec::new();
    };
    if body.embed.is_empty() {
        return Vec::new();
    }
    // A damaged embed cannot be followed; the task's own failure is stored all the same.
    for step in never_run(body.embed.chain().unwrap_or_default()) {
        let meta = records::failed_step(&step, &record.result, record.traceback.as_deref());
        finish
            .results
            .extend(meta.and_then(|meta| shared.results.encode(&meta)));
    }
    let failed = FailedTask {
        id: message.headers.id.clone(),
        name: message.headers.task.clone(),
        root_id: root(message),
        parent_id: message.headers.parent_id.clone(),
        exception: ExceptionInfo::from_value(&record.result)
            .unwrap_or_else(|_| ExceptionInfo::new("builtins", "Exception", Vec::new())),
        traceback: record.traceback.clone(),
    };
    let errbacks = body.embed.errbacks().unwrap_or_default();
    let told = tell_of_failure(shared, &failed, errbacks);
    finish.publishes.extend(told.publishes);
    finish.results.extend(told.results);
    told.calls
}

/// What tells of a failure.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) publishes: Vec<Publish>,
    pub(crate) results: Vec<ResultWrite>,
    /// References to the error callbacks that are sent.
    pub(crate) children: Vec<Value>,
    pub(crate) calls: Vec<ErrorCall>,
}

/// Error callbacks: those whose task takes the failure itself are called in this worker, the others are sent the failed task's
/// id, plain ones as a group. One that cannot be sent does not keep the rest (`_call_task_errbacks`).
pub(crate) fn tell_of_failure(
    shared: &Shared,
    failed: &FailedTask,
    errbacks: Vec<Signature>,
) -> Told {
    let mut sent = Sent::default();
    let (mut calls, mut plain) = (Vec::new(), Vec::new());
    let complain = |error: Refused| {
        tracing::error!(task.id = %failed.id, %error, "an error callback was not sent");
    };
    let start = || Start {
        parent_id: Some(failed.id.clone()),
        root_id: Some(failed.root_id.clone()),
        prepend: Some(failed.id.as_str().into()),
        ..Start::default()
    };
    for errback in errbacks {
        let task = shared.catalogue.get(errback.task.as_str());
        if errback.subtask_type.is_some() {
            sent.add(shared, &errback, &start())
                .unwrap_or_else(complain);
        } else if let Some(run) = task.and_then(|task| task.on_error.clone()) {
            calls.push(ErrorCall::new(run, errback, failed.clone()));
        } else {
            plain.push(errback);
        }
    }
    let together = canvas::group(plain.iter().cloned());
    if !plain.is_empty() && sent.add(shared, &together, &start()).is_err() {
        for errback in plain {
            sent.add(shared, &errback, &start())
                .unwrap_or_else(complain);
        }
    }
    Told {
        publishes: sent.publishes,
        results: sent.results,
        children: sent.children,
        calls,
    }
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

/// The chord of a chain's last step, carried in that step's options.
pub(crate) fn inherited_chord(steps: &[Signature]) -> Option<Signature> {
    let chord = steps.iter().find_map(|step| canvas::given(step, "chord"))?;
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
