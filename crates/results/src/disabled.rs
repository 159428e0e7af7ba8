//! The store of somebody who wants no results.

use async_trait::async_trait;
use lovage_broker::{ResultPlace, ResultWrite};
use lovage_protocol::{TaskId, TaskMeta, Value};

use crate::{Error, ResultStore, Watch};

/// Stores nothing; every question about a result is an error that says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct DisabledStore;

#[async_trait]
impl ResultStore for DisabledStore {
    fn encode(&self, _: &TaskMeta) -> Option<ResultWrite> {
        None
    }

    async fn write(&self, _: &[ResultWrite]) -> Result<(), Error> {
        Ok(())
    }

    async fn load_many(&self, _: &[TaskId]) -> Result<Vec<Option<TaskMeta>>, Error> {
        Err(Error::Disabled)
    }

    async fn forget(&self, _: &TaskId) -> Result<(), Error> {
        Ok(())
    }

    async fn watch(&self, _: &TaskId) -> Result<Watch, Error> {
        Err(Error::Disabled)
    }

    async fn load_group(&self, _: &str) -> Result<Option<Value>, Error> {
        Ok(None)
    }

    async fn save_group(&self, _: &str, _: &Value) -> Result<(), Error> {
        Err(Error::Disabled)
    }

    async fn forget_group(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    fn place(&self) -> Option<ResultPlace> {
        None
    }

    fn group_key(&self, group_id: &str) -> String {
        lovage_protocol::group_key("", group_id)
    }
}
