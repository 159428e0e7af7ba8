//! Raw handlers: tasks that take their arguments as they come. For variadic tasks and Celery's built-in ones.

use std::{fmt, future::Future, panic::AssertUnwindSafe, sync::Arc};

use celery::error::TaskError;
use futures::{FutureExt, future::BoxFuture};
use lovage_protocol::{Map, Value};
use lovage_registry::{Binder, TaskSpec};

use crate::{
    bridge,
    context::Context,
    errback::{self, Failed, OnError},
    handler::{Call, Handler},
    module::TaskOptions,
    outcome::Outcome,
    signal,
};

pub(crate) type RunRaw =
    Arc<dyn Fn(RawCall) -> BoxFuture<'static, Result<Value, TaskError>> + Send + Sync>;

/// What a raw handler is called with.
#[derive(Debug)]
pub struct RawCall {
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map,
    /// The running task.
    pub context: Context,
}

/// A task that takes its arguments as they come.
pub struct RawTask {
    pub(crate) name: String,
    pub(crate) doc: Option<String>,
    pub(crate) options: TaskOptions,
    pub(crate) run: RunRaw,
    pub(crate) on_error: Option<OnError>,
}

impl RawTask {
    /// A task of this name; the handler is taken to be async, that is, not to block.
    pub fn new<F, Fut>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn(RawCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, TaskError>> + Send + 'static,
    {
        Self {
            name: name.into(),
            doc: None,
            options: TaskOptions {
                blocking: Some(false),
                ..TaskOptions::default()
            },
            run: Arc::new(move |call| run(call).boxed()),
            on_error: None,
        }
    }

    /// An error callback that takes the failure itself, as one of three arguments does in Celery (request, exception, traceback):
    /// it is called in the worker where the task failed, once the failure is stored and before its message is settled, and must
    /// not block. A worker that dies meanwhile leaves a message that runs again, and calls it again.
    ///
    /// A failed task of a worker that does not have it is told to it as a message with the failed task's id alone, as Celery
    /// does; then it fails with `TypeError`.
    pub fn error_callback<F, Fut>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn(Failed) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, TaskError>> + Send + 'static,
    {
        let mut task = Self::new(name, |call: RawCall| async move {
            let text = format!("{}() takes a failure, not a message", call.context.name());
            Err(signal::raise("TypeError", text))
        });
        task.on_error = Some(errback::erased(run));
        task
    }

    /// A line for listings.
    pub fn doc(mut self, text: impl Into<String>) -> Self {
        self.doc = Some(text.into());
        self
    }

    /// Options; a handler that blocks says so here.
    pub fn options(mut self, options: TaskOptions) -> Self {
        let blocking = options.blocking.or(self.options.blocking);
        self.options = TaskOptions {
            blocking,
            ..options
        };
        self
    }
}

impl fmt::Debug for RawTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawTask")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

pub(crate) struct RawHandler {
    name: Arc<str>,
    binder: Binder,
    run: RunRaw,
}

impl RawHandler {
    pub(crate) fn new(spec: &TaskSpec, run: RunRaw) -> Self {
        Self {
            name: spec.name.as_str().into(),
            binder: Binder::new(spec),
            run,
        }
    }
}

impl Handler for RawHandler {
    fn run(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let args = match self.binder.positional(call.args) {
            Ok(args) => args,
            Err(error) => return bridge::bad_arguments(&self.name, error.to_string()),
        };
        let context = call.context;
        let call = RawCall {
            args,
            kwargs: call.kwargs,
            context: context.clone(),
        };
        let run = Arc::clone(&self.run);
        let name = Arc::clone(&self.name);
        async move {
            // What the handler does before its future begins may panic too.
            let attempt = async move { run(call).await };
            match AssertUnwindSafe(attempt).catch_unwind().await {
                Ok(Ok(value)) => Outcome::Success(value),
                Ok(Err(error)) => bridge::classify(&name, error, &context, false),
                Err(panic) => bridge::panicked(&name, panic.as_ref()),
            }
        }
        .boxed()
    }
}
