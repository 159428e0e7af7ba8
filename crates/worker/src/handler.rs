//! A registered task, seen by the worker: something that turns a call into an outcome.

use std::sync::Arc;

use celery::Celery;
use futures::future::BoxFuture;
use lovage_protocol::{Map, Message, Value};

use crate::{context::Context, outcome::Outcome};

/// One call of a task.
pub(crate) struct Call {
    /// Its envelope, body taken out.
    pub(crate) message: Arc<Message>,
    /// As the body has them: a list, or whatever a faulty producer sent.
    pub(crate) args: Value,
    pub(crate) kwargs: Map,
    pub(crate) context: Context,
    /// rusty-celery's app, needed by its requests; it has no broker but ours.
    pub(crate) app: Arc<Celery>,
}

/// Runs calls of one task. Never panics: a panic of the task is an outcome.
pub(crate) trait Handler: Send + Sync {
    fn run(&self, call: Call) -> BoxFuture<'static, Outcome>;
}
