//! Error callbacks that take the failure itself: called in the worker where a task failed, not sent as tasks.

use std::{fmt, future::Future, sync::Arc};

use celery::error::TaskError;
use futures::{FutureExt, future::BoxFuture};
use lovage_protocol::{ExceptionInfo, Map, Signature, TaskId, TaskName, Value};
use tracing::error;

use crate::panics;

/// A task that has failed, as an error callback sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FailedTask {
    /// Its id; of a chord whose header failed, that of its body.
    pub id: TaskId,
    /// Its name.
    pub name: TaskName,
    /// The first task of its workflow.
    pub root_id: TaskId,
    /// The task that sent it.
    pub parent_id: Option<TaskId>,
    /// What it raised.
    pub exception: ExceptionInfo,
    /// Text for people.
    pub traceback: Option<String>,
}

/// What an error callback is called with.
#[derive(Debug)]
pub struct Failed {
    /// The task that has failed.
    pub task: FailedTask,
    /// Positional arguments stored in the callback's signature.
    pub args: Vec<Value>,
    /// Keyword arguments stored in it.
    pub kwargs: Map,
}

pub(crate) type OnError =
    Arc<dyn Fn(Failed) -> BoxFuture<'static, Result<Value, TaskError>> + Send + Sync>;

pub(crate) fn erased<F, Fut>(run: F) -> OnError
where
    F: Fn(Failed) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, TaskError>> + Send + 'static,
{
    Arc::new(move |failed| run(failed).boxed())
}

/// One call that is due.
pub(crate) struct ErrorCall {
    run: OnError,
    signature: Signature,
    task: FailedTask,
}

impl ErrorCall {
    pub(crate) fn new(run: OnError, signature: Signature, task: FailedTask) -> Self {
        Self {
            run,
            signature,
            task,
        }
    }

    /// Calls it; its own failure is logged and is nobody else's (`celery/backends/base.py`, `_call_task_errbacks`).
    pub(crate) async fn call(self) {
        let name = self.signature.task.clone();
        let failed = Failed {
            task: self.task,
            args: self.signature.args,
            kwargs: self.signature.kwargs,
        };
        let run = self.run;
        // What it does before its future begins may panic too.
        let called = std::panic::AssertUnwindSafe(async move { run(failed).await });
        match called.catch_unwind().await {
            Ok(Ok(_)) => {}
            Ok(Err(refused)) => {
                error!(task.name = %name, error = %refused, "an error callback failed");
            }
            Err(panic) => {
                let why = panics::describe(panic.as_ref());
                error!(task.name = %name, why, "an error callback panicked");
            }
        }
    }
}

impl fmt::Debug for ErrorCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorCall")
            .field("signature", &self.signature)
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}
