//! Every task a worker can run, by name, with its options resolved against the settings.

use std::{
    any::TypeId,
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lovage_client::{DemandOf, OwnOptions};
use lovage_protocol::{QueueName, TaskName};
use lovage_registry::{MissingState, StateMap, TaskSpec};
use lovage_settings::Settings;

use crate::{
    builtin::{self, Directory},
    errback::OnError,
    error::BuildError,
    gate::{self, Gate},
    handler::Handler,
    layer::{self, Layer, Layers},
    module::Module,
    pool::limits::TaskLimits,
    rate::{Bucket, RateLimits},
    rules::{self, Rules},
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
    /// How many of it have begun.
    pub(crate) accepted: AtomicU64,
    /// It is called here when it is the error callback of a task that failed here.
    pub(crate) on_error: Option<OnError>,
    /// One of Celery's own.
    pub(crate) builtin: bool,
}

impl Catalogue {
    /// Takes the tasks of all modules, and makes their state.
    pub(crate) async fn build(
        modules: Vec<Module>,
        settings: &Arc<Settings>,
    ) -> Result<(Self, StateMap), BuildError> {
        let (tasks, provided, directory) = collect(&modules, settings)?;
        let states = make_states(modules, settings, provided).await?;
        let missing: Vec<String> = tasks
            .values()
            .flat_map(|task| states.missing(&task.spec))
            .map(|gap| gap.to_string())
            .collect();
        if missing.is_empty() {
            Ok((Self::of(tasks, &directory), states))
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
        let (tasks, _, directory) = collect(modules, settings)?;
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
            Ok(Self::of(tasks, &directory))
        } else {
            Err(BuildError::MissingState(missing))
        }
    }

    fn of(tasks: Tasks, directory: &Directory) -> Self {
        let tasks = Arc::new(tasks);
        // Nobody else has seen it yet, so it is set here only.
        let _ = directory.set(Arc::downgrade(&tasks));
        Self { tasks }
    }

    /// The specs of every task of these modules, sorted by name, without making any state.
    ///
    /// # Errors
    /// When two modules register the same name.
    pub fn specs(modules: &[Module]) -> Result<Vec<TaskSpec>, BuildError> {
        let (tasks, _, _) = collect(modules, &Arc::default())?;
        let own = tasks.into_values().filter(|task| !task.builtin);
        let mut specs: Vec<TaskSpec> = own.map(|task| task.spec.clone()).collect();
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(specs)
    }

    /// What these tasks say of how they are sent, for [`ClientOptions::own`](lovage_client::ClientOptions::own); annotations
    /// win over it.
    ///
    /// # Errors
    /// When an annotation names a queue that cannot be one.
    pub fn own_options(
        specs: &[TaskSpec],
        settings: &Settings,
    ) -> Result<HashMap<TaskName, OwnOptions>, BuildError> {
        let own = specs.iter().map(|task| {
            let set = settings.tasks.annotations.of(&task.name);
            let queue =
                match set.queue {
                    Some(name) => Some(QueueName::parse(&name).map_err(|source| {
                        BuildError::AnnotatedQueue {
                            task: task.name.clone(),
                            queue: name,
                            source,
                        }
                    })?),
                    None => task.options.queue.clone(),
                };
            let own = OwnOptions {
                queue,
                priority: set.priority.or(task.options.priority),
                expires: set.expires.or(task.options.expires),
                demand: gate::demands(task).map(DemandOf::new),
                serializer: set.serializer,
                compression: set.compression.flatten(),
            };
            Ok((TaskName::from(task.name.as_str()), own))
        });
        own.collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Registered>> {
        self.tasks.get(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.values().all(|task| task.builtin)
    }

    /// The rate limits of all tasks.
    pub(crate) fn rate_limits(&self, disabled: bool) -> RateLimits {
        let buckets = self
            .tasks
            .iter()
            .map(|(name, task)| (name.clone(), Arc::clone(&task.bucket)));
        RateLimits::new(buckets, disabled)
    }

    /// How many tasks of each name have begun, those of which none has left out.
    pub(crate) fn accepted(&self) -> Vec<(&str, u64)> {
        let counts = self
            .tasks
            .iter()
            .map(|(name, task)| (&**name, task.accepted.load(Ordering::Relaxed)));
        let mut counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
        counts.sort_unstable();
        counts
    }

    /// The names, sorted, without those of Celery's own tasks, which every worker has.
    pub fn names(&self) -> Vec<String> {
        let own = self.tasks.iter().filter(|(_, task)| !task.builtin);
        let mut names: Vec<String> = own.map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    }

    /// The names of all tasks, Celery's own too.
    pub(crate) fn all_names(&self) -> impl Iterator<Item = String> {
        self.tasks.keys().map(ToString::to_string)
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

fn collect(
    modules: &[Module],
    settings: &Arc<Settings>,
) -> Result<(Tasks, Provided, Directory), BuildError> {
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
            let set = settings.tasks.annotations.of(&entry.spec.name);
            let mut rules = Rules::resolve(&set, &entry.options, settings);
            rules.gated = gate.is_some();
            let rate = rules::rate_limit(&set, &entry.options, settings);
            let registered = Registered {
                limits: TaskLimits::new(rules::time_limits(&set, &entry.options, settings)),
                rules,
                gate,
                bucket: Arc::new(Bucket::new(rate)),
                accepted: AtomicU64::new(0),
                spec: entry.spec.clone(),
                handler: layer::wrap(&name, &layers, Arc::clone(&entry.handler)),
                layers: Arc::clone(&layers),
                on_error: entry.on_error.clone(),
                builtin: false,
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
    let directory = Directory::default();
    for (spec, options, handler) in builtin::entries(&directory, settings) {
        let set = settings.tasks.annotations.of(&spec.name);
        let registered = Registered {
            limits: TaskLimits::new(rules::time_limits(&set, &options, settings)),
            rules: Rules::resolve(&set, &options, settings),
            gate: None,
            bucket: Arc::new(Bucket::new(rules::rate_limit(&set, &options, settings))),
            accepted: AtomicU64::new(0),
            handler,
            layers: Layers::default(),
            on_error: None,
            builtin: true,
            spec,
        };
        let name = registered.spec.name.as_str().into();
        // A module may have its own.
        tasks.entry(name).or_insert_with(|| Arc::new(registered));
    }
    Ok((tasks, provided, directory))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn own(annotations: &str) -> Result<OwnOptions, BuildError> {
        let variables = [("CELERY_TASK_ANNOTATIONS".to_owned(), annotations.to_owned())];
        let (settings, _) = Settings::from_lookup(variables).unwrap();
        let mut task = TaskSpec::untyped("x", &[]);
        task.options.priority = Some(3);
        let mut own = Catalogue::own_options(&[task], &settings)?;
        Ok(own.remove("x").expect("the task is there"))
    }

    #[test]
    fn annotations_say_how_a_task_is_sent() {
        assert_eq!(own("{}").unwrap().priority, Some(3));
        let set = own(r#"{"x": {"priority": 7, "queue": "q", "serializer": "yaml"}}"#).unwrap();
        assert_eq!(set.priority, Some(7));
        assert_eq!(set.queue, QueueName::parse("q").ok());
        assert_eq!(set.serializer.as_deref(), Some("yaml"));
        assert!(own(r#"{"x": {"queue": "a\nb"}}"#).is_err());
    }
}
