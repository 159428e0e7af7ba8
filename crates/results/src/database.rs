//! Results in a database, in the tables of Celery's own backend (wire 5.8, `celery/backends/database`).
//!
//! They are Celery's tables, not this platform's: they are made as Celery makes them, in whichever database the URL names, and
//! Python reads and writes the same rows. So nothing here knows the platform's own database, nor its migrations.
//!
//! | module | knows |
//! |---|---|
//! | `opened` | connecting, and what is there once it is done |
//! | `tables` | the tables as Celery makes them, their names, and the statements on them |
//! | `row` | a result as a row |
//! | `writer` | many writes as one statement |
//! | `poll` | waiting by asking again, as Celery does |
//! | `fault` | which errors pass |

mod fault;
mod opened;
mod poll;
mod row;
mod tables;
mod writer;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use lovage_broker::{ResultPlace, ResultWrite};
use lovage_protocol::{TaskId, TaskMeta, Value, WriteError, parse_stored_as};
use lovage_settings::{ResultDatabase, ResultSettings};
use tokio::sync::OnceCell;

use self::{
    fault::Fault,
    opened::Opened,
    row::{RowForm, TaskRow},
    writer::Writer,
};
use crate::{Error, ResultStore, Watch, error::Cause, record::Records};

/// Ids per question of a long list.
const CHUNK: usize = 500;

/// Results in an SQLite file or a PostgreSQL server.
///
/// Waiting for a result asks again and again, half a second apart at most, and hears the state that stands there then: those in
/// between are missed, as with Celery. A SUCCESS is never overwritten. Nothing ends by itself: `celery.backend_cleanup` deletes
/// what is older than `result_expires`.
#[derive(Clone)]
pub struct DatabaseStore {
    inner: Arc<Inner>,
}

struct Inner {
    settings: ResultSettings,
    url: ResultDatabase,
    records: Records,
    form: RowForm,
    fault: Fault,
    opened: OnceCell<Opened>,
    writer: OnceCell<Writer>,
}

impl fmt::Debug for DatabaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseStore")
            .field("url", &self.inner.url)
            .field("records", &self.inner.records)
            .finish_non_exhaustive()
    }
}

impl DatabaseStore {
    /// Connects, and makes the tables unless the settings put that off.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the server does not answer within 4 s, [`Error::Refused`] when it does not let us in or the
    /// tables can neither be made nor used.
    pub async fn connect(settings: &ResultSettings, url: &ResultDatabase) -> Result<Self, Error> {
        let store = Self::lazy(settings, url)?;
        if settings.database.tables_at_start {
            store.opened().await?;
        } else {
            opened::reach(url, &settings.database, &store.inner.fault).await?;
        }
        Ok(store)
    }

    /// As [`DatabaseStore::connect`], but connects at the first use.
    ///
    /// # Errors
    /// When the settings name a serializer that is not written here.
    pub fn lazy(settings: &ResultSettings, url: &ResultDatabase) -> Result<Self, Error> {
        let records = Records::new(settings, ResultPlace::Tables)?.uncompressed();
        Ok(Self {
            inner: Arc::new(Inner {
                settings: settings.clone(),
                form: RowForm::new(records.clone()),
                fault: Fault::new(url.label()),
                url: url.clone(),
                records,
                opened: OnceCell::new(),
                writer: OnceCell::new(),
            }),
        })
    }

    async fn opened(&self) -> Result<&Opened, Error> {
        let inner = &self.inner;
        let open = || Opened::open(&inner.url, &inner.settings.database, &inner.fault);
        inner.opened.get_or_try_init(open).await
    }

    async fn writer(&self) -> Result<&Writer, Error> {
        let opened = self.opened().await?;
        let start = || async { Writer::start(opened.clone(), self.inner.fault.clone()) };
        Ok(self.inner.writer.get_or_init(start).await)
    }

    async fn rows_of(&self, ids: &[TaskId]) -> Result<HashMap<String, TaskRow>, Error> {
        let opened = self.opened().await?;
        let mut found = HashMap::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let statement = opened.tables.select_tasks(chunk);
            let rows = self.inner.fault.of(opened.all(statement)).await?;
            for row in rows {
                let row = TaskRow::read(&row, &opened.tables);
                let row = row.map_err(|error| self.inner.fault.told(error))?;
                found.insert(row.task_id.clone(), row);
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl ResultStore for DatabaseStore {
    fn encode(&self, meta: &TaskMeta) -> Option<ResultWrite> {
        // It becomes a row where it is written: a broker may hand it around until then.
        Some(ResultWrite {
            key: meta.task_id.as_str().to_owned(),
            value: meta.to_json().into(),
            expires: None,
            place: ResultPlace::Tables,
        })
    }

    fn refuses(&self, value: &Value) -> Option<WriteError> {
        self.inner.records.refuses(value)
    }

    fn encode_value(&self, value: &Value) -> Bytes {
        self.inner.records.encode_value(value)
    }

    async fn write(&self, writes: &[ResultWrite]) -> Result<(), Error> {
        if writes.is_empty() {
            return Ok(());
        }
        let now = Utc::now();
        let mut rows = Vec::with_capacity(writes.len());
        for write in writes {
            let id = TaskId::from(write.key.as_str());
            let meta = self.inner.records.read(&id, &write.value)?;
            rows.push(self.inner.form.row(&meta, now));
        }
        self.writer().await?.write(rows).await
    }

    async fn load_many(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskMeta>>, Error> {
        let mut rows = self.rows_of(ids).await?;
        let mut metas = Vec::with_capacity(ids.len());
        for (place, id) in ids.iter().enumerate() {
            // One that is asked for twice is told twice.
            let again = ids[place + 1..].contains(id);
            let row = match again {
                true => rows.get(id.as_str()).cloned(),
                false => rows.remove(id.as_str()),
            };
            metas.push(row.map(|row| self.inner.form.meta(row)).transpose()?);
        }
        Ok(metas)
    }

    async fn forget(&self, id: &TaskId) -> Result<(), Error> {
        let opened = self.opened().await?;
        let statement = opened.tables.delete_task(id.as_str());
        self.inner.fault.of(opened.run(statement)).await?;
        Ok(())
    }

    async fn watch(&self, id: &TaskId) -> Result<Watch, Error> {
        // What cannot be asked at all is told now rather than waited for.
        self.opened().await?;
        Ok(poll::watch(self.clone(), id.clone()))
    }

    async fn load_group(&self, group_key: &str) -> Result<Option<Value>, Error> {
        let opened = self.opened().await?;
        let statement = opened.tables.select_group(group_key);
        let row = self.inner.fault.of(opened.one(statement)).await?;
        let Some(row) = row else { return Ok(None) };
        let stored: Option<Vec<u8>> = row
            .try_get_by_index(0)
            .map_err(|error| self.inner.fault.told(error))?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let serializer = self.inner.records.serializer();
        let reference = parse_stored_as(&stored, serializer);
        reference
            .map(Some)
            .map_err(|source| Error::UndecodableGroup {
                key: group_key.to_owned(),
                source: Cause::from(source),
            })
    }

    async fn save_group(&self, group_id: &str, reference: &Value) -> Result<(), Error> {
        let opened = self.opened().await?;
        let stored = self.inner.records.encode_value(reference);
        let statement = opened
            .tables
            .save_group(group_id, &stored, Utc::now().naive_utc());
        self.inner.fault.of(opened.run(statement)).await?;
        Ok(())
    }

    async fn forget_group(&self, group_id: &str) -> Result<(), Error> {
        let opened = self.opened().await?;
        let statement = opened.tables.delete_group(group_id);
        self.inner.fault.of(opened.run(statement)).await?;
        Ok(())
    }

    async fn cleanup(&self) -> Result<u64, Error> {
        let Some(life) = self.inner.settings.expires else {
            return Ok(0);
        };
        let life = chrono::TimeDelta::from_std(life).unwrap_or(chrono::TimeDelta::MAX);
        let Some(before) = Utc::now().naive_utc().checked_sub_signed(life) else {
            return Ok(0);
        };
        let opened = self.opened().await?;
        let mut deleted = 0;
        for statement in opened.tables.delete_older(before) {
            // Years of results may go at once.
            let patience = Duration::from_secs(600);
            deleted += self
                .inner
                .fault
                .within(patience, opened.run(statement))
                .await?;
        }
        Ok(deleted)
    }

    fn place(&self) -> Option<ResultPlace> {
        Some(ResultPlace::Tables)
    }

    /// A group has a row of its own, which its id names.
    fn group_key(&self, group_id: &str) -> String {
        group_id.to_owned()
    }
}
