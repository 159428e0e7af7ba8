//! Layers: code around the tasks of a module or of a whole worker, as middleware is around the requests of a server.
//!
//! A layer has two places. [`Layer::call`] stands around the task's code: it sees the call, may do something before and
//! after, measure, or answer in the task's stead. [`Layer::ended`] hears how each attempt ended once the worker has decided
//! what that means: also of time limits, of retries that were used up, of calls that came too late.
//!
//! Layers are given to a [`Module`](crate::Module) and wrapped around the handlers when the worker is built; a task
//! without any runs as if there were none. The first given is the outermost.
//!
//! ```
//! use lovage_worker::{Module, Outcome, layer};
//!
//! let module = Module::new("billing").layer(layer::from_fn(|call, next| async move {
//!     if call.message().headers.extra.get("tenant").is_none() {
//!         return Outcome::failure("ValueError", "a call without a tenant");
//!     }
//!     next.run(call).await
//! }));
//! # assert_eq!(module.name(), "billing");
//! ```

mod ending;
mod metrics;
mod worker_metrics;

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use lovage_protocol::{Map, Message, TaskId, Value};

use crate::{
    bridge,
    context::Context,
    handler::{Call, Handler},
    outcome::Outcome,
};

pub(crate) use self::ending::{end, exception, rejected, tell};
pub use self::{
    ending::{End, Ended},
    metrics::Metrics,
    worker_metrics::WorkerMetrics,
};

/// Code around tasks.
///
/// It runs where the task runs: on the executor, on a thread of its own for a task that blocks, in the child process of a
/// pool that has some. `ended` always runs in the worker itself.
pub trait Layer: Send + Sync + 'static {
    /// Around one attempt: `next` runs what is inside, and whatever is returned is the attempt's outcome. Not calling
    /// `next` is an answer in the task's stead.
    ///
    /// A time limit and a cold shutdown drop the future where it stands, as they do with the task; a panic is a failure of
    /// the attempt.
    fn call(&self, call: TaskCall, next: Next) -> BoxFuture<'static, Outcome> {
        next.run(call)
    }

    /// Hears how an attempt ended, just before that is recorded. It holds up the message's end, so it must not block.
    fn ended(&self, ended: &Ended<'_>) {
        let _ = ended;
    }
}

/// The layers around a task, the outermost first.
pub(crate) type Layers = Arc<[Arc<dyn Layer>]>;

/// One call of a task, for a layer to look at.
pub struct TaskCall(Call);

impl fmt::Debug for TaskCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskCall")
            .field("id", self.task_id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl TaskCall {
    /// The task's id.
    pub fn task_id(&self) -> &TaskId {
        self.context().task_id()
    }

    /// The task's name.
    pub fn name(&self) -> &str {
        self.context().name()
    }

    /// How often it was run again already; 0 at first.
    pub fn retries(&self) -> u32 {
        self.context().retries()
    }

    /// The queue that it was taken from.
    pub fn queue(&self) -> &str {
        self.context().queue().as_str()
    }

    /// Its envelope without the body: headers (those of users are `headers.extra`), properties, stamps.
    pub fn message(&self) -> &Message {
        &self.0.message
    }

    /// Positional arguments as they came: a list, or what a faulty producer sent.
    pub fn args(&self) -> &Value {
        &self.0.args
    }

    /// Keyword arguments as they came.
    pub fn kwargs(&self) -> &Map {
        &self.0.kwargs
    }

    /// The running task as its own code reaches it: states, sending.
    pub fn context(&self) -> &Context {
        &self.0.context
    }
}

/// What is inside a layer: the next layer, or the task itself.
pub struct Next(Arc<dyn Handler>);

impl Next {
    /// Runs it.
    pub fn run(self, call: TaskCall) -> BoxFuture<'static, Outcome> {
        self.0.run(call.0)
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}

/// A layer from an async closure.
pub fn from_fn<F, Fut>(around: F) -> impl Layer
where
    F: Fn(TaskCall, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    FromFn(around)
}

struct FromFn<F>(F);

impl<F, Fut> Layer for FromFn<F>
where
    F: Fn(TaskCall, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    fn call(&self, call: TaskCall, next: Next) -> BoxFuture<'static, Outcome> {
        (self.0)(call, next).boxed()
    }
}

/// The handler inside its layers.
pub(crate) fn wrap(
    name: &str,
    layers: &[Arc<dyn Layer>],
    handler: Arc<dyn Handler>,
) -> Arc<dyn Handler> {
    let name: Arc<str> = name.into();
    layers.iter().rev().fold(handler, |inner, layer| {
        Arc::new(Layered {
            name: Arc::clone(&name),
            layer: Arc::clone(layer),
            inner,
        })
    })
}

struct Layered {
    name: Arc<str>,
    layer: Arc<dyn Layer>,
    inner: Arc<dyn Handler>,
}

impl Handler for Layered {
    fn run(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let (name, layer) = (Arc::clone(&self.name), Arc::clone(&self.layer));
        let next = Next(Arc::clone(&self.inner));
        async move {
            let around = async move { layer.call(TaskCall(call), next).await };
            AssertUnwindSafe(around)
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| bridge::panicked(&name, panic.as_ref()))
        }
        .boxed()
    }
}
