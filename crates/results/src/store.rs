//! The seam: what every result store can do.

use std::{collections::HashSet, fmt};

use async_trait::async_trait;
use bytes::Bytes;
use lovage_broker::{ResultPlace, ResultWrite};
use lovage_protocol::{TaskId, TaskMeta, Value, WriteError};

use crate::{Error, Watch};

/// Where results are kept. Every call ends within seconds: an unreachable store is an error, not a wait.
#[async_trait]
pub trait ResultStore: fmt::Debug + Send + Sync + 'static {
    /// The record to write for a result; `None` when results are disabled.
    ///
    /// What it returns may be handed to [`lovage_broker::Consumer::finish`] when the broker shares the store's server.
    fn encode(&self, meta: &TaskMeta) -> Option<ResultWrite>;

    /// Why a value cannot be stored as a result in the store's serializer; `None` when it can, which JSON always can.
    fn refuses(&self, _value: &Value) -> Option<WriteError> {
        None
    }

    /// A value that is no result of its own, as the store's serializer writes it: the member of a chord.
    fn encode_value(&self, value: &Value) -> Bytes {
        value.to_json().into()
    }

    /// Stores and announces one result. A stored SUCCESS stays whatever comes after it.
    async fn store(&self, meta: &TaskMeta) -> Result<(), Error> {
        match self.encode(meta) {
            Some(write) => self.write(&[write]).await,
            None => Ok(()),
        }
    }

    /// Stores and announces records in one round trip, each guarded as in [`ResultStore::store`].
    async fn write(&self, writes: &[ResultWrite]) -> Result<(), Error>;

    /// The result as it stands; `None` is Celery's PENDING: nothing is known of the task.
    async fn load(&self, id: &TaskId) -> Result<Option<TaskMeta>, Error> {
        let mut found = self.load_many(std::slice::from_ref(id)).await?;
        Ok(found.pop().flatten())
    }

    /// Several results in one round trip, in the order asked for.
    async fn load_many(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskMeta>>, Error>;

    /// The results of tasks that belonged to one of these groups, in no order; a store that cannot tell finds none. The whole
    /// store is gone through: for operators. What cannot be read is left out.
    async fn of_groups(&self, _groups: &HashSet<String>) -> Result<Vec<TaskMeta>, Error> {
        Ok(Vec::new())
    }

    /// Deletes a result.
    async fn forget(&self, id: &TaskId) -> Result<(), Error>;

    /// Hears of every state of a task from now on, beginning with the one stored already.
    ///
    /// When this returns the subscription stands, so a task sent afterwards is heard from its first state.
    async fn watch(&self, id: &TaskId) -> Result<Watch, Error>;

    /// The reference of a saved group, by its key; `None` for a group that nobody saved.
    async fn load_group(&self, group_key: &str) -> Result<Option<Value>, Error>;

    /// Keeps the reference of a group, `[[id, parent], [references]]`, so that its id is enough to find its tasks (Celery's
    /// `GroupResult.save`).
    async fn save_group(&self, group_id: &str, reference: &Value) -> Result<(), Error>;

    /// Deletes a saved group; the results of its tasks stay.
    async fn forget_group(&self, group_id: &str) -> Result<(), Error>;

    /// Deletes what has been kept for long enough, and tells how much. Nothing to do where results end by themselves.
    async fn cleanup(&self) -> Result<u64, Error> {
        Ok(0)
    }

    /// Where the records are, so that a broker can tell whether it may write them itself.
    fn place(&self) -> Option<ResultPlace>;

    /// The key of a group, `celery-taskset-meta-<group id>` with the store's prefix; a chord's keys append a suffix. In a
    /// database it is the id.
    fn group_key(&self, group_id: &str) -> String;
}
