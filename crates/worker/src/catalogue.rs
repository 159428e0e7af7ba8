//! Every task a worker can run, by name, with its options resolved against the settings.

use std::{any::TypeId, collections::HashMap, fmt, sync::Arc, time::Duration};

use lovage_client::{ClaimOf, OwnOptions};
use lovage_protocol::TaskName;
use lovage_registry::{MissingState, RateLimit, RetryPolicy, StateMap, TaskSpec};
use lovage_settings::Settings;

use crate::{
    error::BuildError,
    gate::{self, Gate},
    handler::Handler,
    layer::{self, Layer, Layers},
    module::{Module, TaskOptions},
    pool::limits::{Limits, TaskLimits},
    rate::{Bucket, RateLimits},
};

/// Every task of a worker, by name.
#[derive(Clone)]
pub struct Catalogue {
    tasks: Arc<Tasks>,
}

/// One task with its options resolved.
pub(crate) struct Registered {
    pub(crate) spec: TaskSpec,
    pub(crate) rules: Rules,
    /// Inside its layers.
    pub(crate) handler: Arc<dyn Handler>,
    /// Those that hear of its ends.
    pub(crate) layers: Layers,
    /// Its time limits, which can be changed while the worker runs.
    pub(crate) limits: TaskLimits,
    pub(crate) gate: Option<Gate>,
    pub(crate) bucket: Arc<Bucket>,
}

/// A task's options after the settings have been asked for what the task leaves open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    pub(crate) blocking: bool,
    pub(crate) acks_late: bool,
    pub(crate) track_started: bool,
    pub(crate) ignore_result: bool,
    /// `None`: for ever.
    pub(crate) max_retries: Option<u32>,
    pub(crate) min_retry_delay: Duration,
    pub(crate) max_retry_delay: Duration,
    pub(crate) reject_on_worker_lost: bool,
    pub(crate) retry_on_worker_lost: bool,
    pub(crate) retry: RetryPolicy,
    /// It is unique or limited: it passes the gate before it runs.
    pub(crate) gated: bool,
}

/// Celery's `retry_backoff_max`.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(600);

impl Catalogue {
    /// Takes the tasks of all modules, and makes their state.
    pub(crate) async fn build(
        modules: Vec<Module>,
        settings: &Arc<Settings>,
    ) -> Result<(Self, StateMap), BuildError> {
        let (tasks, provided) = collect(&modules, settings)?;
        let states = make_states(modules, settings, provided).await?;
        let missing: Vec<String> = tasks
            .values()
            .flat_map(|task| states.missing(&task.spec))
            .map(|gap| gap.to_string())
            .collect();
        if missing.is_empty() {
            Ok((Self::of(tasks), states))
        } else {
            Err(BuildError::MissingState(missing))
        }
    }

    /// Takes the tasks of all modules for a worker whose child processes run them: only they make the state. That there is
    /// a provider for each is checked here all the same.
    pub(crate) fn without_state(
        modules: &[Module],
        settings: &Arc<Settings>,
    ) -> Result<Self, BuildError> {
        let (tasks, _) = collect(modules, settings)?;
        let provided: Vec<TypeId> = modules
            .iter()
            .flat_map(|module| module.states.iter().map(|state| state.type_id))
            .collect();
        let mut missing = Vec::new();
        for task in tasks.values() {
            for need in &task.spec.state {
                if !provided.contains(&need.type_id) {
                    let gap = MissingState {
                        task: task.spec.name.clone(),
                        need: need.clone(),
                    };
                    missing.push(gap.to_string());
                }
            }
        }
        if missing.is_empty() {
            Ok(Self::of(tasks))
        } else {
            Err(BuildError::MissingState(missing))
        }
    }

    fn of(tasks: Tasks) -> Self {
        Self {
            tasks: Arc::new(tasks),
        }
    }

    /// The specs of every task of these modules, sorted by name, without making any state.
    ///
    /// # Errors
    /// When two modules register the same name.
    pub fn specs(modules: &[Module]) -> Result<Vec<TaskSpec>, BuildError> {
        let (tasks, _) = collect(modules, &Arc::default())?;
        let mut specs: Vec<TaskSpec> = tasks.into_values().map(|task| task.spec.clone()).collect();
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(specs)
    }

    /// What these tasks say of how they are sent, for [`ClientOptions::own`](lovage_client::ClientOptions::own).
    pub fn own_options(specs: &[TaskSpec]) -> HashMap<TaskName, OwnOptions> {
        let own = specs.iter().map(|task| {
            let own = OwnOptions {
                queue: task.options.queue.clone(),
                priority: task.options.priority,
                expires: task.options.expires,
                claim: gate::claims(task).map(ClaimOf::new),
            };
            (TaskName::from(task.name.as_str()), own)
        });
        own.collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Registered>> {
        self.tasks.get(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The rate limits of all tasks.
    pub(crate) fn rate_limits(&self, disabled: bool) -> RateLimits {
        let buckets = self
            .tasks
            .iter()
            .map(|(name, task)| (name.clone(), Arc::clone(&task.bucket)));
        RateLimits::new(buckets, disabled)
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tasks.keys().map(|name| name.to_string()).collect();
        names.sort();
        names
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

type Tasks = HashMap<Box<str>, Arc<Registered>>;
/// Type name of a state to the module that provides it.
type Provided = HashMap<&'static str, String>;

fn collect(modules: &[Module], settings: &Arc<Settings>) -> Result<(Tasks, Provided), BuildError> {
    let mut tasks = Tasks::new();
    let mut owners: HashMap<String, String> = HashMap::new();
    let mut provided = Provided::new();
    let everywhere: Vec<&Arc<dyn Layer>> = modules
        .iter()
        .flat_map(|module| &module.layers_for_all)
        .collect();
    for module in modules {
        let layers: Layers = everywhere
            .iter()
            .copied()
            .chain(&module.layers)
            .cloned()
            .collect();
        for entry in &module.tasks {
            let name = entry.spec.name.as_str().to_owned();
            if let Some(first) = owners.insert(name.clone(), module.name().to_owned()) {
                return Err(BuildError::DuplicateTask {
                    task: name,
                    first,
                    second: module.name().to_owned(),
                });
            }
            check_names(&entry.spec)?;
            let gate = Gate::of(&entry.spec);
            let mut rules = Rules::resolve(&entry.options, settings);
            rules.gated = gate.is_some();
            let registered = Registered {
                limits: TaskLimits::new(Limits {
                    hard: entry.options.time_limit.or(settings.tasks.time_limit),
                    soft: entry
                        .options
                        .soft_time_limit
                        .or(settings.tasks.soft_time_limit),
                }),
                rules,
                gate,
                bucket: Arc::new(Bucket::new(rate_limit(&entry.options, settings))),
                spec: entry.spec.clone(),
                handler: layer::wrap(&name, &layers, Arc::clone(&entry.handler)),
                layers: Arc::clone(&layers),
            };
            tasks.insert(name.into(), Arc::new(registered));
        }
        for state in &module.states {
            if let Some(first) = provided.insert(state.type_name, module.name().to_owned()) {
                let second = module.name().to_owned();
                return Err(BuildError::DuplicateState {
                    state: state.type_name.to_owned(),
                    first,
                    second,
                });
            }
        }
    }
    Ok((tasks, provided))
}

/// What the task says of itself wins over the setting.
fn rate_limit(said: &TaskOptions, settings: &Settings) -> Option<RateLimit> {
    if settings.worker.disable_rate_limits {
        return None;
    }
    let default = settings.tasks.default_rate_limit;
    let default = default.map(|limit| limit.per_second);
    said.rate_limit
        .clone()
        .or_else(|| default.map(|rate| RateLimit::checked(&format!("{rate}/s"), rate)))
}

/// A name that is none would make all calls equal.
fn check_names(spec: &TaskSpec) -> Result<(), BuildError> {
    let params: Vec<&str> = spec
        .params
        .iter()
        .map(|param| param.name.as_str())
        .collect();
    // A raw handler takes any keyword.
    if params.is_empty() && !spec.typed {
        return Ok(());
    }
    match spec.options.admission.unknown_names(&params).next() {
        None => Ok(()),
        Some(name) => Err(BuildError::UnknownParameter {
            task: spec.name.clone(),
            name: name.to_owned(),
            has: params.join(", "),
        }),
    }
}

async fn make_states(
    modules: Vec<Module>,
    settings: &Arc<Settings>,
    mut provided: Provided,
) -> Result<StateMap, BuildError> {
    let mut states = StateMap::default();
    for provider in modules.into_iter().flat_map(|module| module.states) {
        let made = (provider.make)(Arc::clone(settings), states).await;
        states = made.map_err(|source| BuildError::State {
            state: provider.type_name.to_owned(),
            module: provided.remove(provider.type_name).unwrap_or_default(),
            source,
        })?;
    }
    Ok(states)
}

impl Rules {
    fn resolve(said: &TaskOptions, settings: &Settings) -> Self {
        let tasks = &settings.tasks;
        Self {
            blocking: said.blocking.unwrap_or(true),
            acks_late: said.acks_late.unwrap_or(tasks.acks_late),
            track_started: said.track_started.unwrap_or(tasks.track_started),
            ignore_result: said.ignore_result.unwrap_or(tasks.ignore_result),
            max_retries: said.max_retries.unwrap_or(Some(3)),
            min_retry_delay: said.min_retry_delay.unwrap_or_default(),
            retry: said.retry,
            max_retry_delay: said.max_retry_delay.unwrap_or(MAX_RETRY_DELAY),
            // Of the settings alone: what a whole worker's death means is one rule for all, too.
            reject_on_worker_lost: tasks.reject_on_worker_lost,
            retry_on_worker_lost: said
                .retry_on_worker_lost
                .unwrap_or(tasks.retry_on_worker_lost),
            gated: false,
        }
    }

    /// Those of a task that says nothing.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self::resolve(&TaskOptions::default(), &Settings::default())
    }
}
