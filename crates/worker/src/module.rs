//! A module: the tasks that belong together, with the state they need, as a worker takes them.

use std::{
    any::{TypeId, type_name},
    fmt,
    future::Future,
    sync::Arc,
    time::Duration,
};

use celery::task::Task;
use futures::{FutureExt, future::BoxFuture};
use lovage_client::PublishLayer;
use lovage_registry::{
    Admission, Debounce, Described, Limit, Periodic, RateLimit, RetryPolicy, StateMap, TaskSpec,
    Unique,
};
use lovage_settings::Settings;
use serde::Serialize;

use crate::{
    bridge,
    errback::OnError,
    handler::Handler,
    hook::{self, Hook, Started},
    layer::Layer,
    raw::{RawHandler, RawTask},
};

/// Tasks that belong together, and the state they need.
///
/// ```
/// use lovage_worker::{Module, RawTask};
/// use lovage_protocol::Value;
///
/// let module = Module::new("greetings")
///     .state(String::from("hello"))
///     .raw(RawTask::new("greet", |call| async move { Ok(Value::List(call.args)) }));
/// assert_eq!(module.name(), "greetings");
/// ```
pub struct Module {
    name: String,
    pub(crate) tasks: Vec<Entry>,
    pub(crate) states: Vec<Provider>,
    pub(crate) layers: Vec<Arc<dyn Layer>>,
    pub(crate) layers_for_all: Vec<Arc<dyn Layer>>,
    pub(crate) publish_layers: Vec<Arc<dyn PublishLayer>>,
    pub(crate) on_start: Vec<Hook>,
    pub(crate) on_stop: Vec<Hook>,
    schedules: Vec<Periodic>,
}

/// One task with everything a worker must know of it.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) spec: TaskSpec,
    pub(crate) options: TaskOptions,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) on_error: Option<OnError>,
}

type MakeState =
    Box<dyn FnOnce(Arc<Settings>, StateMap) -> BoxFuture<'static, anyhow::Result<StateMap>> + Send>;

/// Makes one piece of state at the worker's start.
pub(crate) struct Provider {
    pub(crate) type_name: &'static str,
    pub(crate) type_id: TypeId,
    pub(crate) make: MakeState,
}

/// What the task's own macro cannot say, and what a worker may overrule. Every field's default is "as the task or the
/// settings say".
#[derive(Debug, Clone, Default)]
pub struct TaskOptions {
    pub(crate) blocking: Option<bool>,
    pub(crate) acks_late: Option<bool>,
    pub(crate) track_started: Option<bool>,
    pub(crate) ignore_result: Option<bool>,
    pub(crate) max_retries: Option<Option<u32>>,
    pub(crate) min_retry_delay: Option<Duration>,
    pub(crate) max_retry_delay: Option<Duration>,
    pub(crate) retry: RetryPolicy,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) soft_time_limit: Option<Duration>,
    pub(crate) retry_on_worker_lost: Option<bool>,
    pub(crate) admission: Admission,
    pub(crate) rate_limit: Option<RateLimit>,
}

impl TaskOptions {
    /// Options that leave everything as the task and the settings say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the task blocks its thread. A plain `#[celery::task]` is taken to block, since its trait does not say.
    pub fn blocking(mut self, yes: bool) -> Self {
        self.blocking = Some(yes);
        self
    }

    /// Ack after the task (late) or before it (early). Setting: `CELERY_TASK_ACKS_LATE`.
    pub fn acks_late(mut self, yes: bool) -> Self {
        self.acks_late = Some(yes);
        self
    }

    /// Store STARTED when it begins. Setting: `CELERY_TASK_TRACK_STARTED`.
    pub fn track_started(mut self, yes: bool) -> Self {
        self.track_started = Some(yes);
        self
    }

    /// Store no result. A producer's own header wins. Setting: `CELERY_TASK_IGNORE_RESULT`.
    pub fn ignore_result(mut self, yes: bool) -> Self {
        self.ignore_result = Some(yes);
        self
    }

    /// How often it may be run again; `None` for ever. Default 3.
    pub fn max_retries(mut self, retries: Option<u32>) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// Exception classes that are retried although they are failures, as Celery's `autoretry_for`: `OSError`, `app.Busy`. A
    /// class of Python's own stands for those beneath it too, and `Exception` for all. Default none.
    pub fn retry_for(mut self, classes: &'static [&'static str]) -> Self {
        self.retry.retry_for = classes;
        self
    }

    /// Classes that are not retried although they would be, such as `ExpectedError`; they win. Default none.
    pub fn dont_retry_for(mut self, classes: &'static [&'static str]) -> Self {
        self.retry.dont_retry_for = classes;
        self
    }

    /// The first pause before a retry in seconds, doubled each time; 0: always the same pause. Default 1.
    pub fn retry_backoff(mut self, seconds: u32) -> Self {
        self.retry.backoff = Some(seconds);
        self
    }

    /// The longest pause that back-off comes to. Default 600 s.
    pub fn retry_backoff_max(mut self, longest: Duration) -> Self {
        self.max_retry_delay = Some(longest);
        self
    }

    /// Whether each pause is drawn between 0 and what back-off comes to. Default true.
    pub fn retry_jitter(mut self, yes: bool) -> Self {
        self.retry.jitter = Some(yes);
        self
    }

    /// The pause before a retry when there is no back-off. Default 180 s; when it is set, back-off must be asked for.
    pub fn default_retry_delay(mut self, pause: Duration) -> Self {
        self.retry.default_delay = Some(pause);
        self
    }

    /// How often this worker starts it, as Celery's `rate_limit`. Setting: `CELERY_TASK_DEFAULT_RATE_LIMIT`.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rate_limit = Some(limit);
        self
    }

    /// No two calls with the same arguments wait or run at once, over all workers.
    pub fn unique(mut self, unique: Unique) -> Self {
        self.admission.unique = Some(unique);
        self
    }

    /// Only the last of several calls in a row runs.
    pub fn debounce(mut self, debounce: Debounce) -> Self {
        self.admission.debounce = Some(debounce);
        self
    }

    /// So many at once or in a period, over all workers. May be given more than once; any given here replace those of the
    /// task's own attribute.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.admission.limits.push(limit);
        self
    }

    /// Ends an attempt that takes longer, as Celery's hard limit: a child process is killed, an async task dropped, and a
    /// thread left behind. Setting: `CELERY_TASK_TIME_LIMIT`.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Tells an attempt that takes longer ([`crate::Context::soft_limit`]), and ends one that has never asked. Setting:
    /// `CELERY_TASK_SOFT_TIME_LIMIT`.
    pub fn soft_time_limit(mut self, limit: Duration) -> Self {
        self.soft_time_limit = Some(limit);
        self
    }

    /// Retry it when its child process died, within `max_retries`. Setting: `CELERY_TASK_RETRY_ON_WORKER_LOST`.
    pub fn retry_on_worker_lost(mut self, yes: bool) -> Self {
        self.retry_on_worker_lost = Some(yes);
        self
    }
}

impl Module {
    /// An empty module; the name is for messages and listings.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tasks: Vec::new(),
            states: Vec::new(),
            layers: Vec::new(),
            layers_for_all: Vec::new(),
            publish_layers: Vec::new(),
            on_start: Vec::new(),
            on_stop: Vec::new(),
            schedules: Vec::new(),
        }
    }

    /// The name given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has beat send a task of this program periodically: declared here, the schedule follows the program. Most are better said
    /// beside the task: `#[lovage::task(schedule(...))]`.
    pub fn schedule<T: Task>(mut self, schedule: Periodic) -> Self {
        self.schedules.push(schedule.set("task", T::NAME));
        self
    }

    /// The schedules declared in it.
    pub fn schedules(&self) -> &[Periodic] {
        &self.schedules
    }

    /// Adds a task defined with `#[lovage::task]`.
    pub fn task<T>(self) -> Self
    where
        T: Described + 'static,
        T::Returns: Serialize,
    {
        self.task_with::<T>(TaskOptions::default())
    }

    /// Adds a task defined with `#[lovage::task]`, with options.
    pub fn task_with<T>(mut self, options: TaskOptions) -> Self
    where
        T: Described + 'static,
        T::Returns: Serialize,
    {
        let mut spec = T::spec();
        let options = bridge::options::<T>(options, &spec);
        spec.options.admission = options.admission.clone();
        self.schedules.extend(spec.schedules.iter().cloned());
        self.tasks.push(Entry {
            handler: bridge::handler::<T>(&spec),
            on_error: None,
            spec,
            options,
        });
        self
    }

    /// Adds a task defined with plain `#[celery::task]`. It has no schema and no state, and runs on the blocking
    /// threads unless `options` say that it does not block.
    pub fn plain<T>(mut self, options: TaskOptions) -> Self
    where
        T: Task + 'static,
        T::Returns: Serialize,
    {
        let mut spec = TaskSpec::untyped(T::NAME, T::ARGS);
        let options = bridge::options::<T>(options, &spec);
        spec.options.admission = options.admission.clone();
        self.tasks.push(Entry {
            handler: bridge::handler::<T>(&spec),
            on_error: None,
            spec,
            options,
        });
        self
    }

    /// Adds a handler that takes its arguments as they come.
    pub fn raw(mut self, task: RawTask) -> Self {
        let RawTask {
            name,
            doc,
            options,
            run,
            on_error,
        } = task;
        let mut spec = TaskSpec::variadic(&name);
        spec.doc = doc;
        spec.options.admission = options.admission.clone();
        self.tasks.push(Entry {
            handler: Arc::new(RawHandler::new(&spec, run)),
            on_error,
            spec,
            options,
        });
        self
    }

    /// Provides a value to the tasks that ask for `State<T>`.
    pub fn state<T: Send + Sync + 'static>(self, value: T) -> Self {
        self.state_with(move |_| async move { Ok(value) })
    }

    /// Provides a value that is made at the worker's start, such as a connection pool. An error refuses the start.
    pub fn state_with<T, F, Fut>(mut self, make: F) -> Self
    where
        T: Send + Sync + 'static,
        F: FnOnce(Arc<Settings>) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        self.states.push(Provider {
            type_name: type_name::<T>(),
            type_id: TypeId::of::<T>(),
            make: Box::new(move |settings, mut states| {
                async move {
                    let value = make(settings).await?;
                    states.insert(value);
                    Ok(states)
                }
                .boxed()
            }),
        });
        self
    }

    /// Puts a layer around the tasks of this module, those added before and after it. The first given is the outermost.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Puts a layer around every task of the worker, those of other modules too; it is outside of their own layers.
    pub fn layer_all(mut self, layer: impl Layer) -> Self {
        self.layers_for_all.push(Arc::new(layer));
        self
    }

    /// Lets a layer see what the worker's client sends, that is, what its tasks send.
    pub fn publish_layer(mut self, layer: impl PublishLayer) -> Self {
        self.publish_layers.push(Arc::new(layer));
        self
    }

    /// Runs when the worker starts: its state is made, its broker is there, no message has been taken. An error refuses the
    /// start. Hooks run one after the other, in the order of modules.
    pub fn on_start<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(Started) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.on_start.push(hook::boxed(hook));
        self
    }

    /// Runs when the worker has ended its last task, in the opposite order; not at all when it could not start, and not after
    /// a cold shutdown has been asked for. An error is logged.
    pub fn on_stop<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(Started) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.on_stop.push(hook::boxed(hook));
        self
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks: Vec<&str> = self
            .tasks
            .iter()
            .map(|entry| entry.spec.name.as_str())
            .collect();
        let states: Vec<&str> = self.states.iter().map(|state| state.type_name).collect();
        f.debug_struct("Module")
            .field("name", &self.name)
            .field("tasks", &tasks)
            .field("states", &states)
            .finish()
    }
}
