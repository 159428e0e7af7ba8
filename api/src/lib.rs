//! The HTTP face: services in any language enqueue, watch and repair tasks through it.
//!
//! It sends through the same client as everybody, reads results from the same store, asks workers as `celery inspect`
//! does, and keeps users, keys and history in the database. It runs no task, and knows no Redis.
//!
//! | module | knows |
//! |---|---|
//! | `app` | what the routes share |
//! | `audit` | writing down who changed what |
//! | `idempotency` | requests that are done once, however often they come |
//! | `server` | listening, and stopping without cutting anybody off |
//! | `edge` | what every request passes through: ids, headers, limits, errors |
//! | [`problem`] | errors as clients get them |
//! | [`auth`] | who is asking, and what they may do |
//! | `routes` | the operations, one file per resource |
//! | `schema` | request and response objects |
//! | `sending` | from what a client asks for to messages |
//! | `fleet` | which workers there are and what they know, as they say |
//! | `heads` | for how long the next message of a queue has been next |
//! | `backlog` | what a listener missed |
//! | `live` | what happens to tasks, as it happens |
//! | `scheduling` | schedules on behalf of callers |
//! | `operating` | doing what was begun to all tasks that match |
//! | `document` | the OpenAPI document |
//! | `metrics` | what Prometheus reads |
//! | `plain` | values of messages as plain JSON |

mod app;
mod audit;
pub mod auth;
mod backlog;
mod document;
mod edge;
mod fleet;
mod heads;
mod idempotency;
mod live;
mod metrics;
mod operating;
mod plain;
pub mod problem;
mod routes;
mod scheduling;
mod schema;
mod sending;
mod server;

pub use app::{App, AppParts};
pub use sending::registered::BadSchema;
pub use server::{Listening, Server, ServerError, document};
