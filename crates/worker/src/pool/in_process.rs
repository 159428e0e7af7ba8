//! Tasks in this process: async ones on the executor, those that block on threads of their own kind.

use std::{future::Future, sync::Arc};

use celery::Celery;
use futures::future::BoxFuture;
use lovage_client::context as sending;
use lovage_registry::StateMap;

use super::threads::{self, Abandoned};
use crate::{catalogue::Registered, context::CURRENT, handler::Call, outcome::Outcome};

/// Runs tasks, each with what it can reach: its state, its context, what it sends.
pub(crate) struct Runner {
    pub(crate) states: StateMap,
    pub(crate) app: Arc<Celery>,
    /// Every task gets a thread, also one that does not block.
    pub(crate) all_on_threads: bool,
    /// What a task sends has its priority.
    pub(crate) inherit_priority: bool,
    pub(crate) abandoned: Arc<Abandoned>,
}

impl Runner {
    /// Whether this task runs on a thread.
    fn on_thread(&self, task: &Registered) -> bool {
        task.rules.blocking || self.all_on_threads
    }

    /// The run of a task until it ends by itself. Dropping the future drops an async task, and leaves a thread behind.
    ///
    /// Boxed once here: it goes through several futures, each of which would carry its size along.
    pub(crate) fn start<'a>(
        &'a self,
        task: &'a Arc<Registered>,
        call: Box<Call>,
    ) -> BoxFuture<'a, Outcome> {
        let running = Box::pin(self.scoped(task, call));
        if self.on_thread(task) {
            // The future is driven on a blocking thread: a sync task never holds up the executor.
            let (name, blocks) = (task.spec.name.as_str(), task.rules.blocking);
            Box::pin(threads::run(&self.abandoned, name, blocks, running))
        } else {
            running
        }
    }

    fn scoped(
        &self,
        task: &Arc<Registered>,
        call: Box<Call>,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let context = call.context.clone();
        let sending = sending::Sending {
            parent_id: Some(context.task_id().clone()),
            root_id: Some(context.root_id().clone()),
            priority: self
                .inherit_priority
                .then_some(call.message.properties.priority),
            children: context.recorder(),
        };
        let task = Arc::clone(task);
        let scoped = async move {
            let running = {
                // Inside, so that the box does not live as long as the task.
                let call = call;
                task.handler.run(*call)
            };
            running.await
        };
        let scoped = sending::SENDING.scope(sending, scoped);
        CURRENT.scope(
            context,
            lovage_registry::state::scope(self.states.clone(), scoped),
        )
    }
}
