//! The tasks compiled into this program, and whether arguments fit them.

use std::{collections::BTreeMap, fmt};

use jsonschema::Validator;
use lovage_protocol::{Map, Value};
use lovage_registry::{Binder, TaskSpec};
use serde_json::Value as Json;

use crate::{
    plain,
    problem::{Code, Problem},
    sending::parameters,
};

/// Every registered task by name.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    tasks: BTreeMap<String, Task>,
}

/// One registered task.
pub(crate) struct Task {
    /// What is known of it.
    pub(crate) spec: TaskSpec,
    /// The JSON Schema of its parameters; `None` when they are not known.
    pub(crate) parameters: Option<Json>,
    check: Option<Check>,
}

struct Check {
    binder: Binder,
    validator: Validator,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.spec.name)
            .finish_non_exhaustive()
    }
}

/// A schema of a task that is none.
#[derive(Debug, thiserror::Error)]
#[error("the parameters of the task {task} have a schema that is none: {problem}")]
pub struct BadSchema {
    task: String,
    problem: String,
}

impl Registered {
    /// Prepares the checks of all tasks.
    ///
    /// # Errors
    /// When a parameter's schema is none; it was written by hand then.
    pub(crate) fn new(specs: Vec<TaskSpec>) -> Result<Self, BadSchema> {
        let mut tasks = BTreeMap::new();
        for spec in specs {
            let parameters = parameters::schema(&spec);
            let check = match &parameters {
                None => None,
                Some(schema) => Some(Check {
                    binder: spec.binder(),
                    validator: jsonschema::validator_for(schema).map_err(|error| BadSchema {
                        task: spec.name.clone(),
                        problem: error.to_string(),
                    })?,
                }),
            };
            let name = spec.name.clone();
            let task = Task {
                spec,
                parameters,
                check,
            };
            tasks.insert(name, task);
        }
        Ok(Self { tasks })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Task> {
        self.tasks.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// Refuses arguments that the task would refuse. Of a task that is not registered here nothing is known, so nothing is
    /// refused. `given_first` says how many arguments come before these when it runs: a result, in a chain.
    ///
    /// # Errors
    /// In Python's words what does not fit, or which value is not of its parameter's schema.
    pub(crate) fn check(
        &self,
        name: &str,
        args: &[Value],
        kwargs: &Map,
        given_first: usize,
    ) -> Result<(), Problem> {
        let Some(check) = self.get(name).and_then(|task| task.check.as_ref()) else {
            return Ok(());
        };
        let wrong =
            |detail: String| Problem::new(Code::WrongArguments, format!("{name}: {detail}"));
        let mut all = vec![Value::Null; given_first];
        all.extend_from_slice(args);
        let mut bound = check
            .binder
            .bind(Value::List(all), kwargs.clone())
            .map_err(|error| wrong(error.to_string()))?;
        // What comes first is not known yet.
        let unknown: Vec<String> = bound.keys().take(given_first).cloned().collect();
        for name in &unknown {
            bound.shift_remove(name);
        }
        let json = plain::json(&Value::Map(bound));
        let is_known_fault = |path: &str| {
            !unknown.iter().any(|name| {
                path.is_empty() || path.trim_start_matches('/').split('/').next() == Some(name)
            })
        };
        let fault = check
            .validator
            .iter_errors(&json)
            .find(|fault| given_first == 0 || is_known_fault(&fault.instance_path().to_string()));
        match fault {
            None => Ok(()),
            Some(fault) => {
                let place = fault.instance_path().to_string();
                let place = place.trim_start_matches('/').replace('/', ".");
                Err(wrong(match place.as_str() {
                    "" => fault.to_string(),
                    place => format!("{place}: {fault}"),
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lovage_registry::Param;
    use serde_json::json;

    use super::*;

    fn registered() -> Registered {
        let add = TaskSpec {
            typed: true,
            ..TaskSpec::variadic("demo.add")
        }
        .with_param(Param::new("x", json!({"type": "integer"})))
        .with_param(Param::new("y", json!({"type": "integer"})).with_default(5));
        Registered::new(vec![add, TaskSpec::variadic("any")]).unwrap()
    }

    fn check(args: &Json, kwargs: &Json, first: usize) -> Result<(), String> {
        let args = plain::value(args).unwrap();
        let kwargs = plain::map(kwargs.as_object().unwrap()).unwrap();
        let checked = registered().check("demo.add", args.as_list().unwrap(), &kwargs, first);
        checked.map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn promise_8_an_unknown_key_is_refused() {
        let fault = check(&json!([]), &json!({"x": 1, "z": 2}), 0).unwrap_err();
        assert_eq!(
            fault,
            "demo.add: add() got an unexpected keyword argument 'z'"
        );
    }

    #[test]
    fn arguments_are_bound_and_looked_at() {
        assert_eq!(check(&json!([1]), &json!({"y": 2}), 0), Ok(()));
        assert_eq!(check(&json!([]), &json!({"x": 1}), 0), Ok(()));
        let missing = check(&json!([]), &json!({}), 0).unwrap_err();
        assert!(missing.contains("missing 1 required positional argument: 'x'"));
        let kind = check(&json!([1, "two"]), &json!({}), 0).unwrap_err();
        assert!(kind.starts_with("demo.add: y: "), "{kind}");
    }

    #[test]
    fn what_a_step_before_gives_is_counted_and_not_judged() {
        assert_eq!(check(&json!([]), &json!({}), 1), Ok(()));
        assert_eq!(check(&json!([2]), &json!({}), 1), Ok(()));
        assert!(check(&json!([2, 3]), &json!({}), 1).is_err());
        assert!(check(&json!(["two"]), &json!({}), 1).is_err());
    }

    #[test]
    fn a_task_of_others_is_taken_as_it_comes() {
        let known = registered();
        let kwargs = plain::map(json!({"whatever": []}).as_object().unwrap()).unwrap();
        assert!(known.check("python.task", &[], &kwargs, 0).is_ok());
        assert!(known.check("any", &[Value::Null], &kwargs, 0).is_ok());
    }
}
