//! The result of one task.

use std::{collections::VecDeque, fmt, marker::PhantomData, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lovage_protocol::{State, TaskId, TaskMeta, Value};
use serde::de::DeserializeOwned;

use super::{ResultNode, ending, tree};
use crate::{Client, Error, Revocation};

/// The result of a task that was sent, which comes when it comes. Cloning shares nothing but the client.
pub struct AsyncResult<R> {
    client: Client,
    id: TaskId,
    ignored: bool,
    parent: Option<Arc<ResultNode>>,
    returns: PhantomData<fn() -> R>,
}

impl<R> Clone for AsyncResult<R> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone(), self.id.clone())
            .with_parent(self.parent.clone())
            .with_ignored(self.ignored)
    }
}

impl<R> fmt::Debug for AsyncResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<R> AsyncResult<R> {
    pub(crate) fn new(client: Client, id: TaskId) -> Self {
        Self {
            client,
            id,
            ignored: false,
            parent: None,
            returns: PhantomData,
        }
    }

    pub(crate) fn with_ignored(mut self, ignored: bool) -> Self {
        self.ignored = ignored;
        self
    }

    pub(super) fn with_parent(mut self, parent: Option<Arc<ResultNode>>) -> Self {
        self.parent = parent;
        self
    }

    pub(super) fn shared_parent(&self) -> Option<&Arc<ResultNode>> {
        self.parent.as_ref()
    }

    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The same task, its value read as another type.
    pub fn returning<S>(self) -> AsyncResult<S> {
        AsyncResult::new(self.client, self.id)
            .with_parent(self.parent)
            .with_ignored(self.ignored)
    }

    /// What came before it in the canvas that it was sent with: the step before, or the header of the chord whose body it is.
    /// Nothing for a task that was sent alone, and for one looked up by its id.
    pub fn parent(&self) -> Option<&ResultNode> {
        self.parent.as_deref()
    }

    /// What its canvas began with: the last of its parents, itself when it has none.
    pub fn root(&self) -> ResultNode {
        match tree::ancestors(self.parent.as_ref()).last() {
            Some(root) => root.clone(),
            None => ResultNode::Task(self.clone().returning()),
        }
    }

    /// What it has sent: further steps, callbacks, tasks of its own. Known once it has ended; nothing before.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn children(&self) -> Result<Option<Vec<ResultNode>>, Error> {
        let children = self.meta().await?.and_then(|meta| meta.children);
        Ok(children.map(|children| tree::nodes(&self.client, &children)))
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

    /// Whether anything is stored for it: a task that waits and one that nobody has ever sent are both PENDING.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn exists(&self) -> Result<bool, Error> {
        Ok(self.meta().await?.is_some())
    }

    /// Whether it has ended, well or not.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn ready(&self) -> Result<bool, Error> {
        Ok(self.state().await?.is_ready())
    }

    /// Whether it has succeeded.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn successful(&self) -> Result<bool, Error> {
        Ok(self.state().await? == State::Success)
    }

    /// Whether it has failed; a revoked task has not, as in Celery.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn failed(&self) -> Result<bool, Error> {
        Ok(self.state().await? == State::Failure)
    }

    /// The whole record as it stands.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn meta(&self) -> Result<Option<TaskMeta>, Error> {
        Ok(self.client.results().load(&self.id).await?)
    }

    /// Deletes the result, and those of its parents.
    ///
    /// # Errors
    /// When the result store cannot be reached.
    pub async fn forget(&self) -> Result<(), Error> {
        if let Some(parent) = &self.parent {
            parent.forget().await?;
        }
        Ok(self.client.results().forget(&self.id).await?)
    }

    /// Revokes the task: it is not run if it has not begun. [`Client::revoke`] can do more.
    ///
    /// # Errors
    /// As [`Client::revoke`].
    pub async fn revoke(&self) -> Result<(), Error> {
        self.client
            .revoke(&Revocation::of_tasks([self.id.clone()]))
            .await
    }

    /// The reference to it as the wire has it, `[[id, parent], null]`.
    pub fn as_tuple(&self) -> Value {
        tree::reference(&self.id, self.parent.as_ref(), Value::Null)
    }

    /// The ids of the task and its parents, the task's first.
    pub fn as_list(&self) -> Vec<TaskId> {
        let parents = tree::ancestors(self.parent.as_ref());
        std::iter::once(self.id.clone())
            .chain(parents.map(|parent| parent.id().clone()))
            .collect()
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
        let watch = self.client.results().watch(&self.id).await?;
        let rest = until.saturating_duration_since(tokio::time::Instant::now());
        watch.ready(Some(rest)).await.map_err(|error| match error {
            lovage_results::Error::TimedOut { id, .. } => Error::TimedOut {
                id,
                waited: timeout,
            },
            other => other.into(),
        })
    }

    /// Waits for the value that the task returns. When something before it in its canvas fails, that is the error, at once:
    /// the task itself may then never run (`follow_parents` of `celery/result.py`).
    ///
    /// # Errors
    /// [`Error::Failed`] and [`Error::Revoked`] when it returns none, and as [`AsyncResult::wait`].
    pub async fn get(&self, timeout: Duration) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        ending::typed(&self.id, ending::value(self.ended(timeout).await?)?)
    }

    /// As [`AsyncResult::wait`], but an end without value of a parent is an error.
    pub(super) async fn ended(&self, timeout: Duration) -> Result<TaskMeta, Error> {
        if self.parent.is_none() {
            return self.wait(timeout).await;
        }
        self.raise_of_parents().await?;
        let mut parents: FuturesUnordered<BoxFuture<'_, Option<Error>>> =
            tree::ancestors(self.parent.as_ref())
                .filter_map(ResultNode::as_task)
                .map(|task| {
                    let failed = async move {
                        let meta = task.wait(timeout).await.ok()?;
                        ending::is_failure(&meta).then(|| ending::failure(meta))
                    };
                    failed.boxed()
                })
                .collect();
        let own = self.wait(timeout);
        tokio::pin!(own);
        let meta = loop {
            tokio::select! {
                biased;
                meta = &mut own => break meta?,
                Some(failed) = parents.next() => if let Some(error) = failed {
                    return Err(error);
                },
            }
        };
        if ending::is_failure(&meta) {
            // A chord's body has failed because of its header: the cause says more.
            self.raise_of_parents().await?;
        }
        Ok(meta)
    }

    /// The failure of a parent, if there is one; the first of the workflow comes first.
    async fn raise_of_parents(&self) -> Result<(), Error> {
        let mut tasks = VecDeque::new();
        for parent in tree::ancestors(self.parent.as_ref()) {
            let mut own = Vec::new();
            tree::tasks_of(std::slice::from_ref(parent), &mut own);
            for task in own.into_iter().rev() {
                tasks.push_front(task.id().clone());
            }
        }
        let ids: Vec<TaskId> = tasks.into();
        let metas = self.client.results().load_many(&ids).await?;
        match metas.into_iter().flatten().find(ending::is_failure) {
            Some(meta) => Err(ending::failure(meta)),
            None => Ok(()),
        }
    }
}
