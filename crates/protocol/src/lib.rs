//! The Celery wire format as Rust values, with no I/O and no async.
//!
//! Everything that Celery 5.7 and kombu put on a broker or into a result store for a task is read and written here: the
//! envelope, its headers and properties, the body, signatures, results, and the values inside them. What a Python
//! worker would run is read; anything else is an error that names the field and what belongs there. Nothing panics on
//! input, and no input makes a reader hold more than its limits.
//!
//! What it does not do: talk to a broker, decide what to do with a message, or know which tasks exist.
//!
//! | module | knows |
//! |---|---|
//! | `message` | the envelope: [`Message`], [`Headers`], [`Properties`]; protocol 1 too |
//! | `redeliver` | marking a raw envelope that is put back |
//! | `body` | arguments and follow-ups: [`Body`], [`Embed`] |
//! | `signature`, [`composed`] | tasks to be sent later, one or several |
//! | [`canvas`] | the same with Rust's types in them |
//! | `result` | stored results, exceptions, and their keys |
//! | `state` | the names of states |
//! | [`value`], [`typed`] | kombu's JSON data model, and Rust types for what serde lacks |
//! | [`repr`] | values for human eyes |
//! | [`time`] | Celery's date forms |
//! | `clock` | where the time comes from |
//! | `content`, `compression` | serializers and compression methods |
//! | `format`, `msgpack`, `yaml`, `pickle` | values in the serializers other than JSON |
//! | `graph` | values that refer to each other, copied within a limit |
//! | [`control`] | remote control: requests to workers and their replies |
//! | [`event`] | what workers and clients tell whoever listens |
//! | `lamport` | the logical clock that orders them |
//! | `json` | reading and writing JSON as Python does |
//! | `ids` | names of tasks, runs, queues and nodes |
//!
//! ```
//! use lovage_protocol::{Body, DecodeOptions, Headers, Map, Message, Properties, TaskId, TaskName, Value};
//!
//! let id = TaskId::new();
//! let body = Body::new(vec![Value::Int(2), Value::Int(3)], Map::new());
//! let headers = Headers::new(TaskName::from("app.add"), id.clone());
//! let raw = Message::new(headers, Properties::new(id.as_str(), "celery"), &body).to_json();
//!
//! let message = Message::parse(&raw)?;
//! assert_eq!(message.headers.task, "app.add");
//! assert_eq!(message.decode_body(&DecodeOptions::default())?.args, body.args);
//! # Ok::<(), lovage_protocol::DecodeError>(())
//! ```

mod body;
pub mod canvas;
mod clock;
pub mod composed;
mod compression;
mod content;
pub mod control;
mod error;
pub mod event;
mod format;
mod graph;
mod ids;
mod json;
mod lamport;
mod message;
mod msgpack;
mod pickle;
mod redeliver;
pub mod repr;
mod result;
mod signature;
mod state;
pub mod time;
pub mod typed;
pub mod value;
mod yaml;

pub use body::{Body, Embed};
pub use clock::Clock;
pub use compression::{Compression, CompressionError, compress, decompress};
pub use content::{DecodeOptions, Serializer};
pub use error::{DecodeError, DecodeReason};
pub use format::{FormatError, WriteError};
pub use ids::{NameError, NodeName, QueueName, TaskId, TaskName};
pub use json::JsonError;
pub use lamport::Lamport;
pub use message::{BodyEncoding, DeliveryInfo, Headers, Message, Properties, TimeLimit};
pub use redeliver::{DEATHS_HEADER, RECEIVED_MARK, mark_deaths, mark_received, mark_redelivered};
pub use repr::{args_repr, kwargs_repr, saferepr};
pub use result::{
    ExceptionInfo, ExceptionInfoError, Extended, MetaError, TaskMeta, compress_result, group_key,
    is_success_record, parse_group, parse_stored, parse_stored_as, result_key,
};
pub use signature::{Signature, SignatureError};
pub use state::State;
pub use value::{BindError, EncodeError, Map, Value};
