//! Arguments bound to parameters as Python binds them, for tasks that take numbers, texts and lists alike.

use celery::error::TaskError;
use lovage::protocol::{Map, Value};
use lovage::{Context, RawCall, RawTask, TaskOptions, signal};
use std::future::Future;

/// A call with its arguments in the order of the parameters; those of `*name` are one list, those of `**name` one object.
#[derive(Debug)]
pub(super) struct Bound {
    /// The arguments.
    pub(super) values: Vec<Value>,
    /// The running task.
    pub(super) context: Context,
}

impl Bound {
    /// Takes one argument out.
    pub(super) fn take(&mut self, place: usize) -> Value {
        std::mem::replace(&mut self.values[place], Value::Null)
    }

    /// A text argument; anything else as Python would print it.
    pub(super) fn text(&self, place: usize) -> String {
        match &self.values[place] {
            Value::Str(text) => text.clone(),
            other => other.to_json(),
        }
    }

    /// An argument as Python's Redis client would send it.
    pub(super) fn raw(&self, place: usize) -> Vec<u8> {
        match &self.values[place] {
            Value::Bytes(bytes) => bytes.clone(),
            _ => self.text(place).into_bytes(),
        }
    }

    /// The items of a list argument.
    pub(super) fn items(&self, place: usize) -> Vec<Value> {
        self.values[place].as_list().unwrap_or_default().to_vec()
    }
}

/// A task with parameters written as in Python, such as `x, y, z=null`; defaults are JSON.
pub(super) fn task<F, Fut>(name: &str, parameters: &'static str, run: F) -> RawTask
where
    F: Fn(Bound) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, TaskError>> + Send + 'static,
{
    let short = name.rsplit('.').next().unwrap_or(name).to_owned();
    RawTask::new(name, move |call: RawCall| {
        let bound = bind(&short, parameters, call);
        let ended = bound.map(&run);
        async move {
            match ended {
                Ok(running) => running.await,
                Err(error) => Err(error),
            }
        }
    })
}

/// As [`task`], on a thread of its own: it blocks.
pub(super) fn blocking<F>(name: &str, parameters: &'static str, run: F) -> RawTask
where
    F: Fn(Bound) -> Result<Value, TaskError> + Send + Sync + 'static,
{
    let run = std::sync::Arc::new(run);
    task(name, parameters, move |bound| {
        let run = std::sync::Arc::clone(&run);
        async move { run(bound) }
    })
    .options(TaskOptions::new().blocking(true))
}

fn bind(name: &str, parameters: &str, call: RawCall) -> Result<Bound, TaskError> {
    let wrong = |what: String| signal::raise("TypeError", format!("{name}() {what}"));
    let RawCall {
        args,
        mut kwargs,
        context,
    } = call;
    let mut args = args.into_iter();
    let (mut values, mut only_named, mut takes_any) = (Vec::new(), false, None);
    for parameter in parameters.split(", ").filter(|one| !one.is_empty()) {
        if parameter == "*" {
            only_named = true;
        } else if parameter.starts_with("**") {
            takes_any = Some(values.len());
            values.push(Value::Null);
        } else if parameter.starts_with('*') {
            values.push(Value::List(args.by_ref().collect()));
            only_named = true;
        } else {
            let (parameter, default) = match parameter.split_once('=') {
                Some((parameter, default)) => (parameter, Some(default)),
                None => (parameter, None),
            };
            let positional = if only_named { None } else { args.next() };
            let named = kwargs.shift_remove(parameter);
            if positional.is_some() && named.is_some() {
                return Err(wrong(format!(
                    "got multiple values for argument '{parameter}'"
                )));
            }
            let default = default
                .map(|json| Value::from_json(json.as_bytes()).expect("the defaults are JSON"));
            let value = positional.or(named).or(default);
            values.push(value.ok_or_else(|| {
                wrong(format!(
                    "missing 1 required positional argument: '{parameter}'"
                ))
            })?);
        }
    }
    if args.next().is_some() {
        return Err(wrong("takes fewer positional arguments".to_owned()));
    }
    match (takes_any, kwargs.keys().next().cloned()) {
        (Some(place), _) => values[place] = Value::Map(std::mem::replace(&mut kwargs, Map::new())),
        (None, Some(other)) => {
            return Err(wrong(format!(
                "got an unexpected keyword argument '{other}'"
            )));
        }
        (None, None) => {}
    }
    Ok(Bound { values, context })
}
