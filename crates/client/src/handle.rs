//! The result of one task.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use lovage_protocol::{ExceptionInfo, State, TaskId, TaskMeta, Value};
use lovage_results::ResultStore;
use serde::de::DeserializeOwned;

use crate::Error;

/// Reads the result of a task that was sent. Cloning shares nothing but the store.
pub struct TaskHandle<R> {
    results: Arc<dyn ResultStore>,
    id: TaskId,
    ignored: bool,
    returns: PhantomData<fn() -> R>,
}

impl<R> Clone for TaskHandle<R> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.results), self.id.clone(), self.ignored)
    }
}

impl<R> fmt::Debug for TaskHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<R> TaskHandle<R> {
    pub(crate) fn new(results: Arc<dyn ResultStore>, id: TaskId, ignored: bool) -> Self {
        Self {
            results,
            id,
            ignored,
            returns: PhantomData,
        }
    }

    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The same task, its value read as another type.
    pub fn returning<S>(self) -> TaskHandle<S> {
        TaskHandle::new(self.results, self.id, self.ignored)
    }

    /// The state as it stands; PENDING also for a task nobody knows.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn state(&self) -> Result<State, Error> {
        Ok(self
            .meta()
            .await?
            .map_or(State::Pending, |meta| meta.status))
    }

    /// The whole record as it stands.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn meta(&self) -> Result<Option<TaskMeta>, Error> {
        Ok(self.results.load(&self.id).await?)
    }

    /// Deletes the result.
    ///
    /// # Errors
    /// When the result store cannot be reached.
    pub async fn forget(&self) -> Result<(), Error> {
        Ok(self.results.forget(&self.id).await?)
    }

    /// Waits for the task's end and gives the record of it, whatever it is.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when it does not come in time, [`Error::Ignored`] when it never will.
    pub async fn wait(&self, timeout: Duration) -> Result<TaskMeta, Error> {
        if self.ignored {
            return Err(Error::Ignored {
                id: self.id.clone(),
            });
        }
        let until = tokio::time::Instant::now() + timeout;
        let watch = self.results.watch(&self.id).await?;
        let rest = until.saturating_duration_since(tokio::time::Instant::now());
        watch.ready(Some(rest)).await.map_err(|error| match error {
            lovage_results::Error::TimedOut { id, .. } => Error::TimedOut {
                id,
                waited: timeout,
            },
            other => other.into(),
        })
    }

    /// Waits for the value that the task returns.
    ///
    /// # Errors
    /// [`Error::Failed`] and [`Error::Revoked`] when it returns none, and as [`TaskHandle::wait`].
    pub async fn get(&self, timeout: Duration) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        let meta = self.wait(timeout).await?;
        match meta.status {
            State::Success => meta.result.deserialize().map_err(|source| Error::Mismatch {
                id: self.id.clone(),
                source,
            }),
            State::Revoked => Err(Error::Revoked {
                id: self.id.clone(),
                reason: exception(&meta.result).1,
            }),
            _ => {
                let (exc_type, message) = exception(&meta.result);
                let (id, traceback) = (self.id.clone(), meta.traceback);
                Err(Error::Failed {
                    id,
                    exc_type,
                    message,
                    traceback,
                })
            }
        }
    }
}

/// Class and text of a stored exception, as `str(exception)` has it: one argument as it is, several as a tuple.
fn exception(stored: &Value) -> (String, String) {
    let Ok(info) = ExceptionInfo::from_value(stored) else {
        return ("Exception".to_owned(), lovage_protocol::saferepr(stored));
    };
    let message = match info.exc_message.as_slice() {
        [] => String::new(),
        [Value::Str(text)] => text.clone(),
        [one] => lovage_protocol::saferepr(one),
        several => lovage_protocol::args_repr(several),
    };
    (info.exc_type, message)
}
