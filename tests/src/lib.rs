//! Proves the parts together, and against real Celery.
//!
//! This library is the stage on which the tests play: it starts the real programs (Redis, Python's Celery, the `lovage`
//! binary) and ends them with the test, also when it panics. It knows nothing of Lovage's insides: everything here goes
//! through processes, Redis keys, the wire format and the public client.
//!
//! * [`redis_server`] — a private Redis that can be stopped, killed and restarted
//! * [`wire`] — a way to it that can be cut
//! * [`python`] — an interpreter with Celery that runs snippets and answers with JSON
//! * [`python_worker`] — `celery worker` on the application in `interop/python/app.py`
//! * [`lovage_worker`] — the `lovage` binary: workers and commands
//! * [`keeper`] — `lovage keeper`
//! * [`beat`] — `lovage beat`
//! * [`role`] — any role, its health and its numbers
//! * [`prometheus`] — Prometheus, asked for what it knows
//! * [`stage`] — the three together
//! * [`peer`], [`cast`] — a worker of either kind, and a fleet of them with somebody who asks
//! * [`api_server`] — `lovage api` on a database of its own
//! * [`flower`], [`http`] — Flower, and how it is asked
//! * [`shape`] — whether two answers have the same keys and types
//! * [`result_database`] — a database for results
//! * [`smtp_server`] — a mail server whose answers are chosen
//! * [`collector`], [`sentry_stub`], [`http_stub`] — who is told of spans and of errors
//! * [`rust_client`] — Lovage's client
//! * [`message`] — task messages made by hand
//! * [`result_feed`], [`dead_letters`](mod@dead_letters) — what came of them
//! * [`authority`], [`sentinels`] — certificates, and a replicated Redis that is watched
//! * [`terminal`] — a program on a terminal: what it shows, and keys for it
//! * [`processes`] — who runs beside and below
//! * [`chaos`] — workers and servers that are killed, and the account of what became of every task
//! * [`conformance_tasks`] — the tasks of Celery's own integration suite, for `conformance-worker`
//! * [`gated_tasks`], [`peer_tasks`], [`canvas_tasks`] — tasks that are unique or limited, tasks that Python has too, and
//!   typed ones for canvases, for `test-tasks`
//! * [`child`], [`log`], [`wait`], [`place`] — what the others are built from
//!
//! The test targets differ by what they need: `offline` nothing, `services` a `redis-server`, `interop` and `chaos`
//! Python's Celery too. A missing tool fails the test and says what to run.

pub mod api_server;
pub mod authority;
pub mod beat;
pub mod canvas_tasks;
pub mod cast;
pub mod chaos;
pub mod child;
pub mod collector;
pub mod conformance_tasks;
pub mod dead_letters;
pub mod flower;
pub mod gated_tasks;
pub mod http;
pub mod http_stub;
pub mod keeper;
pub mod log;
pub mod lovage_worker;
pub mod message;
pub mod peer;
pub mod peer_tasks;
pub mod place;
pub mod processes;
pub mod prometheus;
pub mod python;
pub mod python_worker;
pub mod redis_server;
pub mod result_database;
pub mod result_feed;
pub mod role;
pub mod rust_client;
pub mod sentinels;
pub mod sentry_stub;
pub mod shape;
pub mod smtp_server;
pub mod stage;
pub mod terminal;
pub mod wait;
pub mod wire;

/// The examples of the guides must run.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../docs/quickstart.md")]
    struct QuickStart;
    #[doc = include_str!("../../docs/testing.md")]
    struct Testing;
    #[doc = include_str!("../../docs/canvas.md")]
    struct Canvas;
    #[doc = include_str!("../../docs/beat.md")]
    struct Beat;
    #[doc = include_str!("../../docs/signals.md")]
    struct Signals;
    #[doc = include_str!("../../docs/tracing.md")]
    struct Tracing;
}

pub use api_server::ApiServer;
pub use authority::Authority;
pub use cast::Cast;
pub use dead_letters::{DeadLetter, dead_letters};
pub use flower::Flower;
pub use keeper::KeeperProcess;
pub use lovage_worker::{LovageWorker, LovageWorkerBuilder, lovage, lovage_command};
pub use message::TaskMessage;
pub use peer::{Fleet, Kind, Peer};
pub use prometheus::Prometheus;
pub use python::Python;
pub use python_worker::PythonWorker;
pub use redis_server::RedisServer;
pub use result_database::ResultDatabase;
pub use result_feed::ResultFeed;
pub use role::Role;
pub use rust_client::client_at;
pub use sentinels::WatchedRedis;
pub use smtp_server::SmtpServer;
pub use stage::Stage;
pub use terminal::Terminal;
pub use wait::{eventually, never_within};
pub use wire::Wire;
