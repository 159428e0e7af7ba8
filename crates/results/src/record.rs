//! How a result is written down: key, life, compression (wire 5.1, 5.2 and 2.9).

use std::time::Duration;

use bytes::Bytes;
use lovage_broker::{ResultPlace, ResultWrite};
use lovage_protocol::{
    Compression, State, TaskId, TaskMeta, Value, compress_result, group_key, result_key,
};
use lovage_settings::ResultSettings;

use crate::{Error, error::Cause};

/// Turns results into records of one store and back.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    prefix: String,
    expires: Option<Duration>,
    failure_expires: Option<Duration>,
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
        Ok(Self {
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
        let json = meta.to_json();
        let Some(method) = self.compression else {
            return json.into();
        };
        match compress_result(method, json.as_bytes()) {
            Ok(record) => record.into(),
            // A record that is larger than it could be is better than none: readers tell by its
            // first bytes which it is.
            Err(error) => {
                tracing::warn!(%error, "result stored uncompressed");
                json.into()
            }
        }
    }

    pub(crate) fn read(&self, id: &TaskId, record: &[u8]) -> Result<TaskMeta, Error> {
        TaskMeta::parse(record).map_err(|source| Error::Undecodable {
            id: id.clone(),
            source: Cause::from(source),
        })
    }
}

/// The reference in the record of a saved group.
pub(crate) fn read_group(key: &str, record: &[u8]) -> Result<Value, Error> {
    lovage_protocol::parse_group(record).map_err(|source| Error::UndecodableGroup {
        key: key.to_owned(),
        source: Cause::from(source),
    })
}
