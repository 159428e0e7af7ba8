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
    /// Uniqueness or a limit of a task is declared by a parameter that the task does not have.
    #[error("task `{task}` is to be unique or limited by `{name}`, but its parameters are: {has}")]
    UnknownParameter {
        /// The task.
        task: String,
        /// The name given.
        name: String,
        /// The names there are.
        has: String,
    },
    /// An annotation sends a task to a queue of a name that none can have.
    #[error("CELERY_TASK_ANNOTATIONS: the queue {queue:?} of {task}: {source}")]
    AnnotatedQueue {
        /// The task.
        task: String,
        /// The name given.
        queue: String,
        /// What is wrong with it.
        source: lovage_protocol::NameError,
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
    /// The pool cannot be as asked.
    #[error(transparent)]
    Pool(#[from] ControlError),
    /// The prefork pool has nothing to start.
    #[error(
        "the prefork pool needs to know how its child processes are started: give WorkerParts a child command"
    )]
    NoChildCommand,
    /// rusty-celery's app could not be built.
    #[error("the task runtime could not be prepared")]
    Runtime(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a worker cannot be changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No task has the name.
    #[error("no task `{task}` is registered here")]
    UnknownTask {
        /// The name.
        task: String,
    },
    /// The limits contradict each other.
    #[error("the soft time limit is above the hard one")]
    SoftAboveHard,
    /// The solo pool has one size.
    #[error("the solo pool runs one task at a time and has no other size")]
    Solo,
    /// Nothing would be left.
    #[error("the pool has {slots} slots and must keep at least one")]
    TooFew {
        /// The slots that it has.
        slots: usize,
    },
}

/// Why a child process could not serve its worker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It was started by hand.
    #[error(
        "this command is for child processes that a worker starts: standard input is not its pipe"
    )]
    NoParent,
    /// The tasks or their state could not be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The pipe broke.
    #[error("the pipe to the worker failed")]
    Pipe(#[from] std::io::Error),
}

/// Why a running worker had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker refused for good.
    #[error("the broker refused")]
    Broker(#[from] lovage_broker::Error),
    /// A hook at the start refused it.
    #[error("a start hook of module `{module}` failed")]
    Hook {
        /// The module.
        module: String,
        /// Why.
        #[source]
        source: anyhow::Error,
    },
    /// No child process could be started.
    #[error("child processes cannot be started: {why}")]
    Children {
        /// What the first of them said.
        why: String,
    },
    /// Too many threads run on though their tasks were given up; only the end of the process ends them.
    #[error(
        "{count} threads ran on after their tasks were given up, the last for `{task}`: start this worker again; \
         the prefork pool (-P prefork) can end such tasks"
    )]
    Abandoned {
        /// How many there were.
        count: usize,
        /// The task that was one too many.
        task: String,
    },
    /// The settings name a queue that cannot be.
    #[error(transparent)]
    Queue(#[from] lovage_broker::BadQueue),
    /// The engine ended by a fault of its own; what was held goes back when the lease ends.
    #[error("the worker's engine failed")]
    Engine(#[source] tokio::task::JoinError),
}

/// An error with its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
