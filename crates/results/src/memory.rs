//! Results in this process, beside the memory broker.

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use lovage_broker::{MemoryBroker, MemoryResults, ResultPlace, ResultWrite};
use lovage_protocol::{TaskId, TaskMeta, Value, WriteError};
use lovage_settings::ResultSettings;

use crate::{
    Error, ResultStore, Watch,
    record::{Records, read_group},
};

/// Results in the table of a memory broker, which stores some of them itself in the step that settles a message.
#[derive(Debug)]
pub struct MemoryStore {
    records: Records,
    table: MemoryResults,
}

impl MemoryStore {
    /// The store beside `broker`.
    ///
    /// # Errors
    /// When the settings name a compression that does not exist.
    pub fn new(settings: &ResultSettings, broker: &MemoryBroker) -> Result<Self, Error> {
        // The broker's guard reads records as they are.
        let records = Records::new(settings, ResultPlace::Memory)?.uncompressed();
        Ok(Self {
            records,
            table: broker.results().clone(),
        })
    }
}

#[async_trait]
impl ResultStore for MemoryStore {
    fn encode(&self, meta: &TaskMeta) -> Option<ResultWrite> {
        Some(self.records.write(meta))
    }

    fn refuses(&self, value: &Value) -> Option<WriteError> {
        self.records.refuses(value)
    }

    fn encode_value(&self, value: &Value) -> Bytes {
        self.records.encode_value(value)
    }

    async fn write(&self, writes: &[ResultWrite]) -> Result<(), Error> {
        for write in writes {
            self.table.set(write);
        }
        Ok(())
    }

    async fn load_many(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskMeta>>, Error> {
        ids.iter()
            .map(|id| {
                let record = self.table.get(&self.records.key(id));
                record
                    .map(|record| self.records.read(id, &record))
                    .transpose()
            })
            .collect()
    }

    async fn of_groups(&self, groups: &HashSet<String>) -> Result<Vec<TaskMeta>, Error> {
        let beginning = self.records.key(&TaskId::from(""));
        let keys = self.table.keys(&beginning, "").into_iter();
        let records = keys.filter_map(|key| {
            let id = key.strip_prefix(&beginning).map(TaskId::from)?;
            Some((id, self.table.get(&key)?))
        });
        Ok(self.records.in_groups(records, groups))
    }

    async fn forget(&self, id: &TaskId) -> Result<(), Error> {
        self.table.remove(&self.records.key(id));
        Ok(())
    }

    async fn watch(&self, id: &TaskId) -> Result<Watch, Error> {
        let records = self.records.clone();
        let task = id.clone();
        let states = self
            .table
            .watch(&self.records.key(id))
            .map(move |record| records.read(&task, &record));
        Ok(Watch::new(id.clone(), states.boxed(), Box::new(|| None)))
    }

    async fn load_group(&self, group_key: &str) -> Result<Option<Value>, Error> {
        let record = self.table.get(group_key);
        record
            .map(|record| read_group(group_key, &record))
            .transpose()
    }

    async fn save_group(&self, group_id: &str, reference: &Value) -> Result<(), Error> {
        self.table
            .set(&self.records.write_group(group_id, reference));
        Ok(())
    }

    async fn forget_group(&self, group_id: &str) -> Result<(), Error> {
        self.table.remove(&self.records.group_key(group_id));
        Ok(())
    }

    fn place(&self) -> Option<ResultPlace> {
        Some(ResultPlace::Memory)
    }

    fn group_key(&self, group_id: &str) -> String {
        self.records.group_key(group_id)
    }
}
