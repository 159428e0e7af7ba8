//! Results in Redis, key for key as Celery's Redis backend keeps them (wire 5).

mod link;
mod mailbox;
mod watcher;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use lovage_broker::{ResultPlace, ResultWrite};
use lovage_protocol::{TaskId, TaskMeta, Value, WriteError, is_success_record};
use lovage_settings::{RedisUrl, ResultSettings};
use redis::{Pipeline, Script};

use self::{link::Link, watcher::Watcher};
use crate::{
    Error, ResultStore, Watch,
    record::{Records, read_group},
};

/// Records per round trip of a long list.
const CHUNK: usize = 500;

/// Results in a Redis server.
pub struct RedisStore {
    records: Records,
    link: Arc<Link>,
    watcher: OnceLock<Watcher>,
    script: Script,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("link", &self.link)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Connects to the first server of the list that answers.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when none of them does within 4 s each.
    pub async fn connect(settings: &ResultSettings, urls: &[RedisUrl]) -> Result<Self, Error> {
        let store = Self::lazy(settings, urls)?;
        store.link.connect().await?;
        Ok(store)
    }

    /// As [`RedisStore::connect`], but connects at the first use.
    ///
    /// # Errors
    /// [`Error::Settings`] when the list is empty.
    pub fn lazy(settings: &ResultSettings, urls: &[RedisUrl]) -> Result<Self, Error> {
        let Some(first) = urls.first() else {
            return Err(Error::Settings(
                "the result store's URL names no server".to_owned(),
            ));
        };
        let records = Records::new(settings, place_of(first))?;
        Ok(Self {
            records,
            link: Arc::new(Link::new(urls)?),
            watcher: OnceLock::new(),
            script: Script::new(include_str!("redis/guarded_write.lua")),
        })
    }

    async fn remove(&self, key: String) -> Result<(), Error> {
        let mut pipeline = Pipeline::new();
        pipeline.del(key).ignore();
        self.link.run::<()>(&pipeline).await
    }

    async fn write_chunk(&self, writes: &[ResultWrite]) -> Result<(), Error> {
        let plain = vec![None; writes.len()];
        let answers = self.run_script(writes, &plain).await?;
        for (write, answer) in writes.iter().zip(answers) {
            self.settle(write, answer).await?;
        }
        Ok(())
    }

    /// Ends a write that the script left to us, because it could not read what stands there.
    async fn settle(&self, write: &ResultWrite, mut answer: redis::Value) -> Result<(), Error> {
        while let redis::Value::BulkString(current) = answer {
            if is_success_record(&current) {
                return Ok(());
            }
            let known = [Some(current)];
            let mut answers = self.run_script(std::slice::from_ref(write), &known).await?;
            let Some(next) = answers.pop() else {
                return Ok(());
            };
            answer = next;
        }
        Ok(())
    }

    async fn run_script(
        &self,
        writes: &[ResultWrite],
        known: &[Option<Vec<u8>>],
    ) -> Result<Vec<redis::Value>, Error> {
        let mut pipeline = Pipeline::with_capacity(writes.len() + 1);
        pipeline.load_script(&self.script).ignore();
        for (write, known) in writes.iter().zip(known) {
            let mut call = self.script.key(&write.key);
            call.arg(&write.value[..]).arg(life_seconds(write.expires));
            if let Some(known) = known {
                call.arg(&known[..]);
            }
            pipeline.invoke_script(&call);
        }
        self.link.run(&pipeline).await
    }
}

#[async_trait]
impl ResultStore for RedisStore {
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
        for chunk in writes.chunks(CHUNK) {
            self.write_chunk(chunk).await?;
        }
        Ok(())
    }

    async fn load_many(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskMeta>>, Error> {
        let keys: Vec<String> = ids.iter().map(|id| self.records.key(id)).collect();
        let records = fetch(&self.link, &keys).await?;
        ids.iter()
            .zip(records)
            .map(|(id, record)| {
                record
                    .map(|record| self.records.read(id, &record))
                    .transpose()
            })
            .collect()
    }

    async fn of_groups(&self, groups: &HashSet<String>) -> Result<Vec<TaskMeta>, Error> {
        let beginning = self.records.key(&TaskId::from(""));
        let (mut cursor, mut found) = (0_u64, Vec::new());
        loop {
            let mut pipeline = Pipeline::new();
            let scan = pipeline.cmd("SCAN").arg(cursor);
            scan.arg("MATCH").arg(format!("{}*", literal(&beginning)));
            scan.arg("COUNT").arg(CHUNK);
            let ((next, keys),): ((u64, Vec<String>),) = self.link.run(&pipeline).await?;
            let stored = fetch(&self.link, &keys).await?;
            let records = keys.iter().zip(stored).filter_map(|(key, record)| {
                let id = key.strip_prefix(&beginning).map(TaskId::from)?;
                Some((id, record?))
            });
            found.extend(self.records.in_groups(records, groups));
            if next == 0 {
                return Ok(found);
            }
            cursor = next;
        }
    }

    async fn forget(&self, id: &TaskId) -> Result<(), Error> {
        self.remove(self.records.key(id)).await
    }

    async fn watch(&self, id: &TaskId) -> Result<Watch, Error> {
        let watcher = self
            .watcher
            .get_or_init(|| Watcher::start(Arc::clone(&self.link)));
        let subscription = watcher.subscribe(self.records.key(id)).await?;
        let records = self.records.clone();
        let task = id.clone();
        let outage = subscription.outage();
        let states = futures::stream::unfold(subscription, |subscription| async move {
            let record = subscription.next().await?;
            Some((record, subscription))
        })
        .map(move |record| records.read(&task, &record));
        Ok(Watch::new(id.clone(), states.boxed(), Box::new(outage)))
    }

    async fn load_group(&self, group_key: &str) -> Result<Option<Value>, Error> {
        let found = fetch(&self.link, &[group_key.to_owned()]).await?;
        let record = found.into_iter().next().flatten();
        record
            .map(|record| read_group(group_key, &record))
            .transpose()
    }

    async fn save_group(&self, group_id: &str, reference: &Value) -> Result<(), Error> {
        self.write(&[self.records.write_group(group_id, reference)])
            .await
    }

    async fn forget_group(&self, group_id: &str) -> Result<(), Error> {
        self.remove(self.records.group_key(group_id)).await
    }

    fn place(&self) -> Option<ResultPlace> {
        Some(self.records.place().clone())
    }

    fn group_key(&self, group_id: &str) -> String {
        self.records.group_key(group_id)
    }
}

/// The records under these keys, in their order.
async fn fetch(link: &Link, keys: &[String]) -> Result<Vec<Option<Bytes>>, Error> {
    let mut found = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(CHUNK) {
        let mut pipeline = Pipeline::new();
        pipeline.mget(chunk);
        let (records,): (Vec<Option<Bytes>>,) = link.run(&pipeline).await?;
        found.extend(records);
    }
    Ok(found)
}

/// A text that stands for itself in a pattern.
fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            literal.push('\\');
        }
        literal.push(character);
    }
    literal
}

fn place_of(url: &RedisUrl) -> ResultPlace {
    ResultPlace::Redis {
        address: url.address.label().into(),
        database: url.database,
    }
}

/// Whole seconds as SETEX takes them; 0 stands for ever, so a life below a second is one.
fn life_seconds(expires: Option<Duration>) -> u64 {
    expires.map_or(0, |life| life.as_secs().max(1))
}
