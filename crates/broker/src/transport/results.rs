//! Results and parts of chords, as far as they take part in the step that settles a message.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lovage_protocol::TaskId;

use super::Publish;

/// One result record to store and announce. The channel of the announcement has the key's name, as Celery does it.
#[derive(Debug, Clone)]
pub struct ResultWrite {
    /// The full key, prefix included.
    pub key: String,
    /// The record.
    pub value: Bytes,
    /// Its life; `None` for ever.
    pub expires: Option<Duration>,
    /// Where it is written.
    pub place: ResultPlace,
}

/// Where results live, as far as the broker must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResultPlace {
    /// In the process's memory, beside the memory broker.
    Memory,
    /// In a database, where no broker writes: results are stored before the step that settles a message, and chords are
    /// polled for by `celery.chord_unlock`.
    Tables,
    /// In a Redis: its address (`host:port` or socket path) and logical database.
    Redis {
        /// `host:port` or the path of a socket.
        address: Arc<str>,
        /// Logical database.
        database: i64,
    },
}

/// The part of a chord that one header task returns; the meaning of each field is that of Celery's Redis backend
/// (`celery/backends/redis.py`, `on_chord_part_return`).
#[derive(Debug, Clone)]
pub struct ChordPart {
    /// The group key, `celery-taskset-meta-<group id>`, prefix included; the chord's keys append a suffix.
    pub group_key: String,
    /// The header task.
    pub task_id: TaskId,
    /// The member to record: `[1, id, state, result]` as JSON.
    pub member: Bytes,
    /// The signature of the body as JSON, kept until the chord is ended: when all of its messages are gone, nobody else knows it.
    pub body: Bytes,
    /// `group_index`; `None` sorts last.
    pub index: Option<f64>,
    /// So many parts more are waited for from now on; counted once, with the part.
    pub more: u64,
    /// The life of the chord's keys.
    pub expires: Option<Duration>,
    /// For how long a claim holds before somebody else may dispatch the body.
    pub claim: Duration,
    /// Where the keys live.
    pub place: ResultPlace,
}

/// The end of a claimed chord.
#[derive(Debug, Clone)]
pub struct ChordClose {
    /// As in the [`ChordPart`].
    pub group_key: String,
    /// As in the [`ChordPart`].
    pub place: ResultPlace,
    /// From [`Finished::Done`](super::Finished::Done).
    pub token: String,
    /// The body, or the error callbacks.
    pub publishes: Vec<Publish>,
    /// The failure of the body, when the header failed.
    pub results: Vec<ResultWrite>,
    /// A header that failed keeps its members for a look (only the size is removed), as Celery leaves it.
    pub failed: bool,
}
