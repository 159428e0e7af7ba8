//! Why a worker could not be built or had to stop.

/// Why a worker refuses to start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No module registered any task.
    #[error(
        "no tasks are registered: give `lovage::main` at least one module, or set LOVAGE_DEMO_TASKS=1"
    )]
    NoTasks,
    /// Two modules register the same name.
    #[error("task `{task}` is registered twice, by modules `{first}` and `{second}`")]
    DuplicateTask {
        /// The name.
        task: String,
        /// The module that was first.
        first: String,
        /// The other.
        second: String,
    },
    /// Two modules provide the same state.
    #[error("state `{state}` is provided twice, by modules `{first}` and `{second}`")]
    DuplicateState {
        /// The type.
        state: String,
        /// The module that was first.
        first: String,
        /// The other.
        second: String,
    },
    /// Tasks need state that nobody provides; all of them are named.
    #[error("{}", .0.join("\n"))]
    MissingState(Vec<String>),
    /// A state could not be made.
    #[error("state `{state}` of module `{module}` could not be made")]
    State {
        /// The type.
        state: String,
        /// The module.
        module: String,
        /// Why.
        #[source]
        source: anyhow::Error,
    },
    /// rusty-celery's app could not be built.
    #[error("the task runtime could not be prepared")]
    Runtime(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a running worker had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker refused for good.
    #[error("the broker refused")]
    Broker(#[from] lovage_broker::Error),
    /// The settings name a queue that cannot be.
    #[error(transparent)]
    Queue(#[from] lovage_broker::BadQueue),
    /// The engine ended by a fault of its own; what was held goes back when the lease ends.
    #[error("the worker's engine failed")]
    Engine(#[source] tokio::task::JoinError),
}
