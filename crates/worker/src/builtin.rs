//! Celery's own tasks, which every worker has (`celery/app/builtins.py`): those that run others in place, and those that send
//! the parts of a canvas.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use lovage_client::canvas;
use lovage_protocol::{ExceptionInfo, Map, Signature, SignatureError, Value};
use lovage_registry::TaskSpec;
use lovage_settings::Settings;

use crate::{
    catalogue::Registered,
    context::Context,
    error::with_causes,
    handler::{Call, Handler},
    module::TaskOptions,
    outcome::Outcome,
    records, unlock,
};

/// The tasks of the worker, once they are gathered: some of Celery's own run them.
pub(crate) type Directory = Arc<OnceLock<Weak<HashMap<Box<str>, Arc<Registered>>>>>;

/// One of Celery's own tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Accumulate,
    Map,
    Starmap,
    Chunks,
    Group,
    Chord,
    Chain,
    BackendCleanup,
    ChordUnlock,
}

const ALL: [(&str, Kind, &str); 9] = [
    (
        "celery.accumulate",
        Kind::Accumulate,
        "Gives back its arguments, or the one at `index`.",
    ),
    (
        "celery.map",
        Kind::Map,
        "Runs a task here for each item of a list.",
    ),
    (
        "celery.starmap",
        Kind::Starmap,
        "Runs a task here for each list of arguments of a list.",
    ),
    (
        "celery.chunks",
        Kind::Chunks,
        "Sends a list in pieces, each to one celery.starmap.",
    ),
    ("celery.group", Kind::Group, "Sends the members of a group."),
    ("celery.chord", Kind::Chord, "Sends the header of a chord."),
    (
        "celery.chain",
        Kind::Chain,
        "Is no task: a chain is sent as its first step.",
    ),
    (
        "celery.backend_cleanup",
        Kind::BackendCleanup,
        "Deletes results that have been kept for long enough, where they do not end by themselves.",
    ),
    (
        "celery.chord_unlock",
        Kind::ChordUnlock,
        "Waits for the header of a chord and sends the body, where nobody counts.",
    ),
];

/// What a worker registers of them.
pub(crate) fn entries(
    directory: &Directory,
    settings: &Settings,
) -> Vec<(TaskSpec, TaskOptions, Arc<dyn Handler>)> {
    let pause = settings.results.chord_retry_interval;
    let entry = |&(name, kind, doc): &(&'static str, Kind, &'static str)| {
        let mut spec = TaskSpec::variadic(name);
        spec.doc = Some(doc.to_owned());
        let handler = Builtin {
            name,
            kind,
            directory: Arc::clone(directory),
            pause,
        };
        // The task that it runs may block.
        let options = TaskOptions::new().blocking(matches!(kind, Kind::Map | Kind::Starmap));
        let options = match kind {
            // It asks for as long as it takes.
            Kind::ChordUnlock => options.max_retries(None).ignore_result(true),
            _ => options,
        };
        let handler: Arc<dyn Handler> = Arc::new(handler);
        (spec, options, handler)
    };
    ALL.iter().map(entry).collect()
}

struct Builtin {
    name: &'static str,
    kind: Kind,
    directory: Directory,
    pause: Duration,
}

impl Handler for Builtin {
    fn run(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let (name, kind, directory) = (self.name, self.kind, Arc::clone(&self.directory));
        let pause = self.pause;
        async move {
            let ended = match kind {
                Kind::Accumulate => accumulate(call),
                Kind::Map | Kind::Starmap => return each(name, kind, &directory, call).await,
                Kind::Chunks => chunks(call).await,
                Kind::Group => group(call).await,
                Kind::Chord => chord(call).await,
                Kind::Chain => Err(raised("NotImplementedError", "chain is not a real task")),
                Kind::BackendCleanup => cleanup(&call.context).await,
                Kind::ChordUnlock => return unlock::unlock(call, pause).await,
            };
            ended.map_or_else(|error| Outcome::raised(name, *error), Outcome::Success)
        }
        .boxed()
    }
}

type Ended = Result<Value, Box<ExceptionInfo>>;

fn raised(class: &str, text: &str) -> Box<ExceptionInfo> {
    Box::new(ExceptionInfo::new("builtins", class, vec![text.into()]))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it stands where an error is mapped"
)]
fn damaged(error: SignatureError) -> Box<ExceptionInfo> {
    raised("TypeError", &error.to_string())
}

async fn cleanup(context: &Context) -> Ended {
    match context.results().cleanup().await {
        Ok(deleted) => {
            tracing::info!(
                deleted,
                "results that were kept for long enough are deleted"
            );
            Ok(Value::Null)
        }
        Err(error) => Err(Box::new(ExceptionInfo::new(
            "kombu.exceptions",
            "OperationalError",
            vec![with_causes(&error).into()],
        ))),
    }
}

/// The arguments of one of these tasks, given in their order or by name.
pub(crate) struct Arguments {
    args: Vec<Value>,
    kwargs: Map,
}

impl Arguments {
    pub(crate) fn of(call: &mut Call) -> Self {
        let args = std::mem::replace(&mut call.args, Value::Null);
        Self {
            args: match args {
                Value::List(args) => args,
                _ => Vec::new(),
            },
            kwargs: std::mem::take(&mut call.kwargs),
        }
    }

    pub(crate) fn optional(&mut self, place: usize, name: &str) -> Value {
        match self.args.get_mut(place) {
            Some(value) => std::mem::replace(value, Value::Null),
            None => self.kwargs.shift_remove(name).unwrap_or(Value::Null),
        }
    }

    pub(crate) fn list(
        &mut self,
        place: usize,
        name: &str,
    ) -> Result<Vec<Value>, Box<ExceptionInfo>> {
        match self.optional(place, name) {
            Value::List(items) => Ok(items),
            Value::Null => Ok(Vec::new()),
            other => Err(raised(
                "TypeError",
                &format!("{name} is {}, expected a list", other.kind()),
            )),
        }
    }

    pub(crate) fn signature(
        &mut self,
        place: usize,
        name: &str,
    ) -> Result<Signature, Box<ExceptionInfo>> {
        Signature::from_value(self.optional(place, name)).map_err(damaged)
    }
}

fn accumulate(mut call: Call) -> Ended {
    let mut arguments = Arguments::of(&mut call);
    let Some(index) = arguments.kwargs.shift_remove("index") else {
        return Ok(Value::List(arguments.args));
    };
    match index {
        Value::Null => Ok(Value::List(arguments.args)),
        index => {
            let Some(index) = index.as_i64() else {
                let text = format!(
                    "tuple indices must be integers or slices, not {}",
                    index.kind()
                );
                return Err(raised("TypeError", &text));
            };
            // As in Python, those below zero count from the end.
            let before = if index < 0 { arguments.args.len() } else { 0 };
            let place = i64::try_from(before)
                .ok()
                .and_then(|before| usize::try_from(before + index).ok());
            let found = place.and_then(|place| arguments.args.into_iter().nth(place));
            found.ok_or_else(|| raised("IndexError", "tuple index out of range"))
        }
    }
}

/// Runs a task here, once for each item, one after the other. An end of one that is no success is that of all.
async fn each(name: &'static str, kind: Kind, directory: &Directory, mut call: Call) -> Outcome {
    let mut arguments = Arguments::of(&mut call);
    let parts = arguments
        .signature(0, "task")
        .and_then(|task| Ok((task, arguments.list(1, "it")?)));
    let (inner, items) = match parts {
        Ok(parts) => parts,
        Err(error) => return Outcome::raised(name, *error),
    };
    let tasks = directory.get().and_then(Weak::upgrade);
    let Some(task) = tasks.and_then(|tasks| tasks.get(inner.task.as_str()).cloned()) else {
        let missing = records::celery_exception("NotRegistered", inner.task.as_str());
        return Outcome::raised(name, missing);
    };
    let mut results = Vec::with_capacity(items.len());
    for item in items {
        let args = match (kind, item) {
            (Kind::Starmap, item) => item,
            (_, item) => Value::List(vec![item]),
        };
        let one = Call {
            message: Arc::clone(&call.message),
            args,
            kwargs: Map::new(),
            context: call.context.clone(),
            app: Arc::clone(&call.app),
        };
        match task.handler.run(one).await {
            Outcome::Success(value) => results.push(value),
            other => return other,
        }
    }
    Outcome::Success(Value::List(results))
}

async fn send(context: &Context, canvas: &Signature) -> Ended {
    match context.client().apply(canvas).await {
        Ok(plan) => Ok(plan.reference),
        Err(error) => Err(Box::new(ExceptionInfo::new(
            "kombu.exceptions",
            "OperationalError",
            vec![error.to_string().into()],
        ))),
    }
}

async fn chunks(mut call: Call) -> Ended {
    let mut arguments = Arguments::of(&mut call);
    let task = arguments.signature(0, "task")?;
    let items = arguments.list(1, "it")?;
    let size = arguments.optional(2, "n").as_i64();
    let size = size
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size > 0);
    let size =
        size.ok_or_else(|| raised("ValueError", "n is how many items a piece has, at least 1"))?;
    let pieces = items.chunks(size).map(|piece| {
        let kwargs = [
            ("task".to_owned(), task.to_value()),
            ("it".to_owned(), Value::List(piece.to_vec())),
        ];
        let mut one = Signature::new("celery.starmap", Vec::new(), Map::from_iter(kwargs));
        one.immutable = true;
        one
    });
    let pieces = canvas::group(pieces);
    send(&call.context, &pieces).await
}

/// Puts arguments before those that each signature has.
fn with_partial(members: Vec<Signature>, partial: &[Value]) -> Vec<Signature> {
    let add = |mut member: Signature| {
        if !member.immutable {
            member.args.splice(0..0, partial.iter().cloned());
        }
        member
    };
    members.into_iter().map(add).collect()
}

async fn group(mut call: Call) -> Ended {
    let mut arguments = Arguments::of(&mut call);
    let tasks = Value::List(arguments.list(0, "tasks")?);
    let id = arguments.optional(2, "group_id");
    let partial = arguments.list(3, "partial_args")?;
    let members = Signature::list_from_value(&tasks).map_err(damaged)?;
    let mut group = canvas::group(with_partial(members, &partial));
    group.options.insert("task_id".to_owned(), id);
    send(&call.context, &group).await
}

async fn chord(mut call: Call) -> Ended {
    let mut arguments = Arguments::of(&mut call);
    let header = arguments.optional(0, "header");
    let body = arguments.signature(1, "body")?;
    let partial = arguments.list(2, "partial_args")?;
    let mut chord = canvas::chord([], &body);
    chord.kwargs.insert("header".to_owned(), header);
    let (header, body) = canvas::chord_parts(&chord).map_err(damaged)?;
    let chord = canvas::chord(with_partial(header.members, &partial), &body);
    send(&call.context, &chord).await
}
