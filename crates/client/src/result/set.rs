//! Several results, waited for and counted together.

use std::{fmt, marker::PhantomData, time::Duration};

use futures::{Stream, StreamExt, stream::FuturesUnordered};
use lovage_protocol::{State, TaskId, TaskMeta, Value};
use serde::de::DeserializeOwned;

use super::{AsyncResult, ResultNode, ending, tree};
use crate::{Client, Error, Revocation};

/// Several results in an order (`celery/result.py`, `ResultSet`). No result is in it twice.
pub struct ResultSet<R> {
    client: Client,
    results: Vec<ResultNode>,
    returns: PhantomData<fn() -> R>,
}

impl<R> Clone for ResultSet<R> {
    fn clone(&self) -> Self {
        Self::from_nodes(self.client.clone(), self.results.clone())
    }
}

impl<R> fmt::Debug for ResultSet<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.results.iter().map(ResultNode::id))
            .finish()
    }
}

impl<R> ResultSet<R> {
    /// A set of these results, of tasks sent by any client of the same result store.
    pub fn new(client: &Client, results: impl IntoIterator<Item = AsyncResult<R>>) -> Self {
        let mut set = Self::from_nodes(client.clone(), Vec::new());
        set.update(results);
        set
    }

    pub(super) fn from_nodes(client: Client, results: Vec<ResultNode>) -> Self {
        Self {
            client,
            results,
            returns: PhantomData,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The results, in their order.
    pub fn results(&self) -> &[ResultNode] {
        &self.results
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Adds a result at the end, unless it is there.
    pub fn add(&mut self, result: AsyncResult<R>) {
        if !self.results.iter().any(|own| own.id() == result.id()) {
            self.results.push(ResultNode::Task(result.returning()));
        }
    }

    /// Adds results at the end that are not there.
    pub fn update(&mut self, results: impl IntoIterator<Item = AsyncResult<R>>) {
        results.into_iter().for_each(|result| self.add(result));
    }

    /// Takes a result out; `false` when it is not there.
    pub fn remove(&mut self, id: impl AsRef<str>) -> bool {
        let before = self.results.len();
        self.results.retain(|own| own.id().as_str() != id.as_ref());
        self.results.len() < before
    }

    /// Takes all of them out.
    pub fn clear(&mut self) {
        self.results.clear();
    }

    /// Waits for all values and gives them in order. The first that fails is the error, while others may still run.
    ///
    /// What has ended already is read in a few round trips; the rest is heard of as it comes.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when they have not all come within `timeout`, and as [`AsyncResult::get`].
    pub async fn join(&self, timeout: Duration) -> Result<Vec<R>, Error>
    where
        R: DeserializeOwned,
    {
        let mut tasks = Vec::new();
        tree::tasks_of(&self.results, &mut tasks);
        let mut ends = gather(&self.client, &tasks, timeout).await?.into_iter();
        self.results
            .iter()
            .map(|node| ending::typed(node.id(), assemble(node, &mut ends)?))
            .collect()
    }

    /// As [`ResultSet::join`], the name that an [`AsyncResult`] has for it.
    ///
    /// # Errors
    /// As [`ResultSet::join`].
    pub async fn get(&self, timeout: Duration) -> Result<Vec<R>, Error>
    where
        R: DeserializeOwned,
    {
        self.join(timeout).await
    }

    /// The results as they come, each with its task's id; a failure is one of them and ends nothing. What has not come within
    /// `timeout` ends as [`Error::TimedOut`].
    pub fn iter_native(
        &self,
        timeout: Duration,
    ) -> impl Stream<Item = (TaskId, Result<R, Error>)> + Send + use<R>
    where
        R: DeserializeOwned + 'static,
    {
        let each = self.results.iter().cloned().map(|node| async move {
            let value = node.get(timeout).await;
            let id = node.id().clone();
            let value = value.and_then(|value| ending::typed(&id, value));
            (id, value)
        });
        each.collect::<FuturesUnordered<_>>()
    }

    /// Whether all have succeeded.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn successful(&self) -> Result<bool, Error> {
        Ok(self.completed_count().await? == self.len())
    }

    /// Whether one has failed.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn failed(&self) -> Result<bool, Error> {
        let states = self.states().await?;
        Ok(states
            .iter()
            .flatten()
            .any(|state| *state == State::Failure))
    }

    /// Whether one has not ended.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn waiting(&self) -> Result<bool, Error> {
        Ok(!self.ready().await?)
    }

    /// Whether all have ended, well or not.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn ready(&self) -> Result<bool, Error> {
        let states = self.states().await?;
        Ok(states.iter().flatten().all(State::is_ready))
    }

    /// How many have succeeded.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn completed_count(&self) -> Result<usize, Error> {
        let states = self.states().await?;
        let succeeded = |member: &&Vec<State>| member.iter().all(|state| *state == State::Success);
        Ok(states.iter().filter(succeeded).count())
    }

    /// Deletes the results, and those of their parents.
    ///
    /// # Errors
    /// When the result store cannot be reached.
    pub async fn forget(&self) -> Result<(), Error> {
        for result in &self.results {
            result.forget().await?;
        }
        Ok(())
    }

    /// Revokes the tasks: those that have not begun are not run.
    ///
    /// # Errors
    /// As [`Client::revoke`].
    pub async fn revoke(&self) -> Result<(), Error> {
        let mut tasks = Vec::new();
        tree::tasks_of(&self.results, &mut tasks);
        let ids = tasks.iter().map(|task| task.id().clone());
        self.client.revoke(&Revocation::of_tasks(ids)).await
    }

    /// The states of each result's tasks: a group among them has several.
    async fn states(&self) -> Result<Vec<Vec<State>>, Error> {
        let mut tasks = Vec::new();
        tree::tasks_of(&self.results, &mut tasks);
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id().clone()).collect();
        let metas = self.client.results().load_many(&ids).await?;
        let mut states = metas
            .into_iter()
            .map(|meta| meta.map_or(State::Pending, |meta| meta.status));
        let of_each = |node: &ResultNode| {
            let mut own = Vec::new();
            tree::tasks_of(std::slice::from_ref(node), &mut own);
            states.by_ref().take(own.len()).collect()
        };
        Ok(self.results.iter().map(of_each).collect())
    }
}

/// The ends of tasks, all of them successes.
async fn gather(
    client: &Client,
    tasks: &[&AsyncResult<Value>],
    timeout: Duration,
) -> Result<Vec<TaskMeta>, Error> {
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id().clone()).collect();
    let stored = client.results().load_many(&ids).await?;
    let mut ends: Vec<Option<TaskMeta>> = Vec::with_capacity(tasks.len());
    for meta in stored {
        match meta {
            Some(meta) if ending::is_failure(&meta) => return Err(ending::failure(meta)),
            meta => ends.push(meta.filter(|meta| meta.status.is_ready())),
        }
    }
    let missing = tasks.iter().enumerate();
    let missing = missing.filter(|(place, _)| ends.get(*place).is_none_or(Option::is_none));
    let mut missing: FuturesUnordered<_> = missing
        .map(|(place, task)| async move { (place, task.ended(timeout).await) })
        .collect();
    while let Some((place, end)) = missing.next().await {
        let meta = end?;
        if ending::is_failure(&meta) {
            return Err(ending::failure(meta));
        }
        if let Some(end) = ends.get_mut(place) {
            *end = Some(meta);
        }
    }
    drop(missing);
    Ok(ends.into_iter().flatten().collect())
}

/// The value of a result out of the ends of its tasks, nested as it is.
fn assemble(node: &ResultNode, ends: &mut impl Iterator<Item = TaskMeta>) -> Result<Value, Error> {
    match node {
        ResultNode::Task(task) => match ends.next() {
            Some(meta) => ending::value(meta),
            None => Err(Error::TimedOut {
                id: task.id().clone(),
                waited: Duration::ZERO,
            }),
        },
        ResultNode::Group(group) => {
            let values = group.results().iter();
            let values = values.map(|member| assemble(member, ends));
            Ok(Value::List(values.collect::<Result<_, _>>()?))
        }
    }
}
