//! Every task a worker can run, by name, with its options resolved against the settings.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use lovage_registry::{StateMap, TaskSpec};
use lovage_settings::Settings;

use crate::{
    error::BuildError,
    handler::Handler,
    module::{Module, TaskOptions},
};

/// Every task of a worker, by name.
#[derive(Clone)]
pub struct Catalogue {
    tasks: HashMap<Box<str>, Arc<Registered>>,
}

/// One task with its options resolved.
pub(crate) struct Registered {
    pub(crate) spec: TaskSpec,
    pub(crate) rules: Rules,
    pub(crate) handler: Arc<dyn Handler>,
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
    pub(crate) time_limit: Option<Duration>,
    pub(crate) soft_time_limit: Option<Duration>,
    /// Starts per second; `None`: as many as there are.
    pub(crate) rate_limit: Option<f64>,
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
            Ok((Self { tasks }, states))
        } else {
            Err(BuildError::MissingState(missing))
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

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Registered>> {
        self.tasks.get(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
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
    for module in modules {
        for entry in &module.tasks {
            let name = entry.spec.name.as_str().to_owned();
            if let Some(first) = owners.insert(name.clone(), module.name().to_owned()) {
                return Err(BuildError::DuplicateTask {
                    task: name,
                    first,
                    second: module.name().to_owned(),
                });
            }
            let registered = Registered {
                rules: Rules::resolve(&entry.spec, &entry.options, settings),
                spec: entry.spec.clone(),
                handler: Arc::clone(&entry.handler),
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
    /// Annotations win over what the task says of itself, and that over the settings.
    fn resolve(spec: &TaskSpec, said: &TaskOptions, settings: &Settings) -> Self {
        let tasks = &settings.tasks;
        let set = tasks.annotations.of(&spec.name);
        // Celery waits exactly this long before a retry that says nothing of its time.
        let delay = set.default_retry_delay;
        Self {
            blocking: said.blocking.unwrap_or(true),
            acks_late: set.acks_late.or(said.acks_late).unwrap_or(tasks.acks_late),
            track_started: set
                .track_started
                .or(said.track_started)
                .unwrap_or(tasks.track_started),
            ignore_result: set
                .ignore_result
                .or(said.ignore_result)
                .unwrap_or(tasks.ignore_result),
            max_retries: set.max_retries.or(said.max_retries).unwrap_or(Some(3)),
            min_retry_delay: delay.or(said.min_retry_delay).unwrap_or_default(),
            max_retry_delay: delay.or(said.max_retry_delay).unwrap_or(MAX_RETRY_DELAY),
            time_limit: set
                .time_limit
                .unwrap_or(said.time_limit.or(tasks.time_limit)),
            soft_time_limit: set
                .soft_time_limit
                .unwrap_or(said.soft_time_limit.or(tasks.soft_time_limit)),
            rate_limit: match set.rate_limit {
                Some(limit) => limit.map(|limit| limit.per_second),
                None => spec
                    .options
                    .rate_limit
                    .as_ref()
                    .map(|limit| limit.per_second()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(annotations: &str) -> Rules {
        let variables = [
            ("CELERY_TASK_ANNOTATIONS", annotations),
            ("CELERY_TASK_TIME_LIMIT", "60"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (settings, _) = Settings::from_lookup(variables).unwrap();
        let said = TaskOptions::new().acks_late(true).max_retries(Some(9));
        Rules::resolve(&TaskSpec::untyped("x", &[]), &said, &settings)
    }

    #[test]
    fn an_annotation_wins_over_the_task_and_the_task_over_the_settings() {
        let plain = rules("{}");
        assert_eq!((plain.acks_late, plain.max_retries), (true, Some(9)));
        assert_eq!(plain.time_limit, Some(Duration::from_secs(60)));
        assert_eq!(plain.rate_limit, None);
        let set = rules(
            r#"{"x": {"acks_late": false, "max_retries": null, "time_limit": null, "rate_limit": "30/m",
                "default_retry_delay": 5, "track_started": true, "ignore_result": true}}"#,
        );
        assert_eq!((set.acks_late, set.max_retries), (false, None));
        assert_eq!((set.time_limit, set.rate_limit), (None, Some(0.5)));
        assert!(set.track_started && set.ignore_result);
        let delay = Duration::from_secs(5);
        assert_eq!((set.min_retry_delay, set.max_retry_delay), (delay, delay));
        assert_eq!(rules(r#"{"y": {"max_retries": 1}}"#), plain, "another task");
    }
}
