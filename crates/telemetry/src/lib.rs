//! What a process tells of itself while it works: log lines to standard error, spans to a collector, errors to a Sentry.
//!
//! [`start()`] is called once by each role. Whatever it was not told to do costs nothing: no thread, no client, and in the way of
//! a task one look at a variable. The spans are those of Python's `opentelemetry-instrumentation-celery`, by the same names,
//! kinds, attributes and message headers, so that a trace goes through workers of both languages (docs/tracing.md).
//!
//! It knows messages but no worker and no client: they say when a task is sent, begins and ends.
//!
//! | module | knows |
//! |---|---|
//! | `start` | what a role starts, and flushes at its end |
//! | `log`, `json_line` | the log, and its lines as JSON |
//! | `traces` | where spans go |
//! | `post` | the HTTP client of the exporter |
//! | `carrier` | the trace in a message's headers |
//! | `trace` | the trace that goes on here: where code runs in it, and what it hands on |
//! | `attempt`, `publishing` | the spans of a task that runs, and of one that is sent |
//! | `served` | the span of a request to the API |
//! | `errors` | who is told of errors |
//! | `error_layer` | errors that are logged |
//! | `scrub` | which values are not shown |
//!
//! ```
//! use lovage_protocol::Map;
//! use lovage_telemetry::{Publishing, Trace};
//!
//! // Nothing was started: nothing is traced, and no header is written.
//! let mut headers = Map::new();
//! let _sent = Publishing::begin("billing.charge", "0a8a3b9e", &mut headers);
//! assert!(headers.is_empty());
//! assert_eq!(Trace::current().parent(), None);
//! ```

mod attempt;
mod carrier;
mod error_layer;
mod errors;
mod json_line;
mod log;
mod post;
mod publishing;
mod scrub;
mod served;
mod start;
mod trace;
mod traces;

pub use attempt::{Attempt, Ending};
pub use errors::{FailedTask, tell_failure};
pub use publishing::Publishing;
pub use served::Served;
pub use start::{StartError, Telemetry, start};
pub use trace::Trace;
