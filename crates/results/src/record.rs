//! How a result is written down: key, life, compression (wire 5.1, 5.2 and 2.9).

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use lovage_broker::{ResultPlace, ResultWrite};
use lovage_protocol::{
    Compression, Map, Serializer, State, TaskId, TaskMeta, Value, WriteError, compress_result,
    group_key, result_key, saferepr,
};
use lovage_settings::ResultSettings;

use crate::{Error, error::Cause};

/// Turns results into records of one store and back.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    prefix: String,
    expires: Option<Duration>,
    failure_expires: Option<Duration>,
    serializer: Serializer,
    compression: Option<Compression>,
    place: ResultPlace,
}

impl Records {
    pub(crate) fn new(settings: &ResultSettings, place: ResultPlace) -> Result<Self, Error> {
        let compression = match settings.compression.as_deref() {
            None | Some("") => None,
            Some(name) => Some(
                Compression::from_name(name)
                    .map_err(|error| Error::Settings(format!("result compression: {error}")))?,
            ),
        };
        let serializer = Serializer::from_name(&settings.serializer)
            .filter(|serializer| *serializer != Serializer::Pickle)
            .ok_or_else(|| {
                let name = &settings.serializer;
                Error::Settings(format!("result serializer: {name} is not written here"))
            })?;
        Ok(Self {
            serializer,
            prefix: settings.global_keyprefix.clone(),
            expires: settings.expires,
            failure_expires: settings.failure_expires,
            compression,
            place,
        })
    }

    /// The same without compression, for a store where it would save nothing.
    pub(crate) fn uncompressed(self) -> Self {
        Self {
            compression: None,
            ..self
        }
    }

    #[cfg(feature = "database")]
    pub(crate) fn serializer(&self) -> Serializer {
        self.serializer
    }

    pub(crate) fn place(&self) -> &ResultPlace {
        &self.place
    }

    pub(crate) fn key(&self, id: &TaskId) -> String {
        result_key(&self.prefix, id.as_str())
    }

    pub(crate) fn group_key(&self, group_id: &str) -> String {
        group_key(&self.prefix, group_id)
    }

    pub(crate) fn write(&self, meta: &TaskMeta) -> ResultWrite {
        let expires = match (&meta.status, self.failure_expires) {
            (State::Failure, Some(life)) => Some(life),
            _ => self.expires,
        };
        ResultWrite {
            key: self.key(&meta.task_id),
            value: self.encode(meta),
            expires,
            place: self.place.clone(),
        }
    }

    fn encode(&self, meta: &TaskMeta) -> Bytes {
        let record = match meta.to_bytes(self.serializer) {
            Ok(record) => record,
            // A task's own value was asked about before it became a result; what is left are arguments of exceptions and of
            // extended results, which Celery stores as text then (celery/utils/serialization.py, ensure_serializable).
            Err(error) => {
                tracing::warn!(task.id = %meta.task_id, %error, "part of a result is stored as text");
                let told = told(meta);
                told.to_bytes(self.serializer)
                    .unwrap_or_else(|_| told.to_json().into_bytes())
            }
        };
        self.pack(record)
    }

    fn pack(&self, record: Vec<u8>) -> Bytes {
        let Some(method) = self.compression else {
            return record.into();
        };
        match compress_result(method, &record) {
            Ok(packed) => packed.into(),
            // A record that is larger than it could be is better than none: readers tell by its
            // first bytes which it is.
            Err(error) => {
                tracing::warn!(%error, "result stored uncompressed");
                record.into()
            }
        }
    }

    pub(crate) fn refuses(&self, value: &Value) -> Option<WriteError> {
        match self.serializer {
            Serializer::Json => None,
            other => value.write_as(other).err(),
        }
    }

    pub(crate) fn encode_value(&self, value: &Value) -> Bytes {
        match value.write_as(self.serializer) {
            Ok(bytes) => bytes.into(),
            Err(_) => as_told(value)
                .write_as(self.serializer)
                .unwrap_or_else(|_| value.to_json().into_bytes())
                .into(),
        }
    }

    /// Reads those records that can be read and whose task belonged to one of these groups.
    pub(crate) fn in_groups(
        &self,
        records: impl IntoIterator<Item = (TaskId, Bytes)>,
        groups: &HashSet<String>,
    ) -> Vec<TaskMeta> {
        let of_them = |meta: &TaskMeta| {
            let group = meta.group_id.as_ref();
            group.is_some_and(|id| groups.contains(id))
        };
        let read = records
            .into_iter()
            .filter_map(|(id, record)| self.read(&id, &record).ok());
        read.filter(of_them).collect()
    }

    pub(crate) fn read(&self, id: &TaskId, record: &[u8]) -> Result<TaskMeta, Error> {
        TaskMeta::parse(record).map_err(|source| Error::Undecodable {
            id: id.clone(),
            source: Cause::from(source),
        })
    }

    /// The record of a saved group.
    pub(crate) fn write_group(&self, group_id: &str, reference: &Value) -> ResultWrite {
        let fields = [("result".to_owned(), reference.clone())];
        ResultWrite {
            key: self.group_key(group_id),
            value: self.encode_value(&Value::Map(Map::from_iter(fields))),
            expires: self.expires,
            place: self.place.clone(),
        }
    }
}

/// A record in which every value that JSON has a type envelope for is text.
fn told(meta: &TaskMeta) -> TaskMeta {
    let mut told = meta.clone();
    told.result = as_told(&told.result);
    if let Some(extended) = &mut told.extended {
        extended.args = as_told(&extended.args);
        extended.kwargs = as_told(&extended.kwargs);
        let stamps = extended.stamps.iter();
        let stamps = stamps.map(|(name, stamp)| (name.clone(), as_told(stamp)));
        extended.stamps = stamps.collect();
    }
    told
}

fn as_told(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(as_told).collect()),
        Value::Map(map) => {
            let members = map.iter();
            let members = members.map(|(key, value)| (key.clone(), as_told(value)));
            Value::Map(members.collect())
        }
        Value::Big(digits) => Value::Str(digits.clone()),
        Value::DateTime(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Decimal(_)
        | Value::Uuid(_) => Value::Str(saferepr(value)),
        other => other.clone(),
    }
}

/// The reference in the record of a saved group.
pub(crate) fn read_group(key: &str, record: &[u8]) -> Result<Value, Error> {
    lovage_protocol::parse_group(record).map_err(|source| Error::UndecodableGroup {
        key: key.to_owned(),
        source: Cause::from(source),
    })
}
