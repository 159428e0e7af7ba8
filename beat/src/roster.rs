//! Which tasks there are, and whether a schedule's arguments fit: nobody is to find out at three in the morning.

use std::collections::HashMap;

use lovage_registry::{Param, TaskSpec, bind::BindError};
use serde_json::Value as Json;

use crate::{check::DraftFaults, draft::Draft};

/// The tasks of this program.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    tasks: HashMap<String, TaskSpec>,
}

impl Roster {
    /// Of these tasks.
    pub fn new(tasks: impl IntoIterator<Item = TaskSpec>) -> Self {
        let tasks = tasks.into_iter().map(|task| (task.name.clone(), task));
        Self {
            tasks: tasks.collect(),
        }
    }

    /// Whether a task is known here.
    pub fn knows(&self, task: &str) -> bool {
        self.tasks.contains_key(task)
    }

    /// Holds a schedule to its task: the task is known, and takes these arguments. One that is marked `unchecked` passes when
    /// its task is not known; a task that is known is checked all the same.
    ///
    /// # Errors
    /// What does not fit, each with its field.
    pub fn check(&self, draft: &Draft) -> Result<(), DraftFaults> {
        let mut faults = DraftFaults::of(draft);
        if draft.is_silent() && draft.name != draft.task {
            faults.push(
                "task",
                format!(
                    "{} is done by the platform itself, by the schedule of that name; right would be a task of a worker",
                    draft.task
                ),
            );
            return Err(faults);
        }
        let Some(task) = self.tasks.get(&draft.task) else {
            if !draft.unchecked {
                faults.push("task", self.unknown(&draft.task));
            }
            return faults.unless_any(());
        };
        // What takes any arguments has nothing to check.
        if !task.params.is_empty() {
            check_arguments(task, draft, &mut faults);
        }
        faults.unless_any(())
    }

    fn unknown(&self, name: &str) -> String {
        let nearest = self
            .tasks
            .keys()
            .map(|known| (strsim::jaro_winkler(name, known), known))
            .filter(|(likeness, _)| *likeness > 0.85)
            .max_by(|one, other| one.0.total_cmp(&other.0));
        let hint = nearest.map_or_else(String::new, |(_, known)| format!(" (is it {known}?)"));
        format!(
            "no task {name:?} is registered in this program{hint}; right would be one that `lovage list` shows, \
             or --force (unchecked) for a task that only Python workers know"
        )
    }
}

fn check_arguments(task: &TaskSpec, draft: &Draft, faults: &mut DraftFaults) {
    let (args, kwargs) = match draft.arguments() {
        Ok(arguments) => arguments,
        Err(unreadable) => {
            faults.faults.extend(unreadable.faults);
            return;
        }
    };
    let args = lovage_protocol::Value::List(args);
    if let Err(error) = task.binder().bind(args, kwargs) {
        let field = field_of(&error, task);
        faults.push(field, format!("{error}; the task is {}", task.signature()));
        return;
    }
    for (place, (param, value)) in task.params.iter().zip(&draft.args).enumerate() {
        check_value(format!("args[{place}]"), param, value, faults);
    }
    for (name, value) in &draft.kwargs {
        if let Some(param) = task.params.iter().find(|param| param.name == *name) {
            check_value(format!("kwargs.{name}"), param, value, faults);
        }
    }
}

fn field_of(error: &BindError, task: &TaskSpec) -> String {
    match error {
        BindError::Unexpected { name, .. } | BindError::Multiple { name, .. } => {
            format!("kwargs.{name}")
        }
        BindError::Missing { names, .. } => {
            let first = names.first().map_or(task.name.as_str(), String::as_str);
            format!("kwargs.{first}")
        }
        _ => "args".to_owned(),
    }
}

fn check_value(field: String, param: &Param, value: &Json, faults: &mut DraftFaults) {
    if !fits(&param.schema, value) {
        let wanted = param
            .schema
            .get("type")
            .or_else(|| param.schema.get("enum"));
        let wanted = wanted.map_or_else(|| param.schema.to_string(), Json::to_string);
        faults.push(
            field,
            format!(
                "{value} is no value for the parameter {}; right would be {wanted}",
                param.name
            ),
        );
    }
}

/// Whether a value can be what a schema says at its outermost: its type, its choices. What lies inside is the task's to say.
fn fits(schema: &Json, value: &Json) -> bool {
    let Some(schema) = schema.as_object() else {
        return schema != &Json::Bool(false);
    };
    for choices in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(choices).and_then(Json::as_array) {
            return choices.iter().any(|choice| fits(choice, value));
        }
    }
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        return values.contains(value);
    }
    let is = |kind: &Json| match kind.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    match schema.get("type") {
        Some(Json::Array(kinds)) => kinds.iter().any(is),
        Some(kind) => is(kind),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn roster() -> Roster {
        let integer = json!({"type": "integer"});
        let mut add = TaskSpec::variadic("demo.add")
            .with_param(Param::new("x", integer.clone()))
            .with_param(Param::new("y", integer).with_default(5));
        add.typed = true;
        Roster::new([add, TaskSpec::variadic("demo.echo")])
    }

    fn draft(task: &str, args: &Json, kwargs: &Json) -> Draft {
        let mut draft = Draft::new("nightly", task);
        draft.args = args.as_array().unwrap().clone();
        draft.kwargs = kwargs.as_object().unwrap().clone();
        draft
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let check = |args, kwargs, field: &str, words: &str| {
            let faults = roster()
                .check(&draft("demo.add", &args, &kwargs))
                .unwrap_err();
            assert_eq!(faults.faults[0].field, field, "{faults}");
            assert!(faults.to_string().contains(words), "{faults}");
        };
        check(
            json!([]),
            json!({}),
            "kwargs.x",
            "missing 1 required positional argument: 'x'",
        );
        check(json!([1, 2, 3]), json!({}), "args", "takes from 1 to 2");
        check(json!([1]), json!({"x": 2}), "kwargs.x", "multiple values");
        check(
            json!([1]),
            json!({"z": 2}),
            "kwargs.z",
            "unexpected keyword",
        );
        check(
            json!(["one"]),
            json!({}),
            "args[0]",
            "\"one\" is no value for the parameter x",
        );
        check(json!([1]), json!({"y": 2.5}), "kwargs.y", "integer");
    }

    #[test]
    fn what_fits_passes() {
        let check = |task, args, kwargs| roster().check(&draft(task, &args, &kwargs)).unwrap();
        check("demo.add", json!([1]), json!({}));
        check("demo.add", json!([1, 2]), json!({}));
        check("demo.add", json!([]), json!({"x": 1}));
        check("demo.echo", json!(["anything"]), json!({"goes": null}));
    }

    #[test]
    fn an_unknown_task_is_refused_unless_it_is_to_be_unchecked() {
        let mut draft = draft("demo.ad", &json!([]), &json!({}));
        let faults = roster().check(&draft).unwrap_err();
        assert_eq!(faults.faults[0].field, "task");
        assert!(faults.to_string().contains("is it demo.add?"), "{faults}");
        draft.unchecked = true;
        roster().check(&draft).unwrap();
        // A known task is checked even so.
        draft.task = "demo.add".to_owned();
        roster().check(&draft).unwrap_err();
    }

    #[test]
    fn schemas_are_looked_at_from_outside() {
        let check = |schema, value: Json, expected| {
            assert_eq!(fits(&schema, &value), expected, "{schema} {value}")
        };
        check(json!(true), json!([1]), true);
        check(json!({"type": ["string", "null"]}), json!(null), true);
        check(json!({"type": ["string", "null"]}), json!(1), false);
        check(json!({"enum": ["a", "b"]}), json!("c"), false);
        check(
            json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}),
            json!(null),
            true,
        );
        check(json!({"type": "number"}), json!(1), true);
        check(json!({"$ref": "#/$defs/Address"}), json!({}), true);
    }
}
