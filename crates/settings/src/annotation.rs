//! `CELERY_TASK_ANNOTATIONS`: options of tasks, given by name and not where the task is defined.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::{
    RateLimit,
    known::nearest,
    lookup::Lookup,
    parse::{self, Problem},
    results::compression,
    serializer,
    variable::TASK_ANNOTATIONS,
};

/// The annotations of all tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    /// Of every task, under the name `*`.
    pub every: Annotation,
    /// Of tasks by their exact name.
    pub tasks: BTreeMap<String, Annotation>,
    /// The setting as it was given, for whoever shows it.
    pub text: String,
}

impl Annotations {
    /// What is said of a task. What stands under `*` wins over what stands under the task's own name: Celery sets both
    /// on the task, in this order (celery/app/annotations.py, `resolve_all`).
    pub fn of(&self, task: &str) -> Annotation {
        match self.tasks.get(task) {
            Some(own) => own.clone().overruled_by(&self.every),
            None => self.every.clone(),
        }
    }
}

macro_rules! annotation {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $read:expr;)*) => {
        /// Options of one task; they win over what its definition says. `None`: nothing is said.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Annotation {
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        /// The options there are.
        const OPTIONS: &[&str] = &[$(stringify!($name)),*];

        impl Annotation {
            fn overruled_by(self, other: &Self) -> Self {
                Self { $($name: other.$name.clone().or(self.$name),)* }
            }

            /// Sets an option; false when there is none of that name.
            fn set(&mut self, option: &str, value: &Value) -> Result<bool, Problem> {
                match option {
                    $(stringify!($name) => {
                        let read: fn(&Value) -> Result<$type, Problem> = $read;
                        self.$name = Some(read(value)?);
                    })*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}

annotation! {
    /// How often a worker starts it; `Some(None)`: without limit.
    rate_limit: Option<RateLimit> = RateLimit::read;
    /// Seconds after which it is stopped; `Some(None)`: never.
    time_limit: Option<Duration> = optional_seconds;
    /// Seconds after which it is told to stop; `Some(None)`: never.
    soft_time_limit: Option<Duration> = optional_seconds;
    /// How often it is retried; `Some(None)`: for ever.
    max_retries: Option<u32> = retries;
    /// Seconds before a retry that says nothing of its time.
    default_retry_delay: Duration = seconds;
    /// Whether it is acknowledged after it ran.
    acks_late: bool = boolean;
    /// Whether its results are not stored.
    ignore_result: bool = boolean;
    /// Whether STARTED is stored.
    track_started: bool = boolean;
    /// The priority it is sent with.
    priority: i64 = priority;
    /// The queue it is sent to.
    queue: String = text;
    /// Seconds after which it is no longer worth running.
    expires: Duration = seconds;
    /// The serializer it is sent in.
    serializer: String = |value| serializer::written(&text(value)?);
    /// The compression it is sent with; `Some(None)`: none.
    compression: Option<String> = |value| match value {
        Value::Null => Ok(None),
        other => compression(&text(other)?),
    };
}

fn text(value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        _ => Err(Problem::new("is not a text", "a text")),
    }
}

fn boolean(value: &Value) -> Result<bool, Problem> {
    value
        .as_bool()
        .ok_or_else(|| Problem::new("is not true or false", "true or false"))
}

fn seconds(value: &Value) -> Result<Duration, Problem> {
    let wrong = || Problem::new("is not a number of seconds", "a number of seconds");
    parse::seconds_of(value.as_f64().ok_or_else(wrong)?)
}

fn optional_seconds(value: &Value) -> Result<Option<Duration>, Problem> {
    match value {
        Value::Null => Ok(None),
        other => Ok(Some(seconds(other)?).filter(|length| !length.is_zero())),
    }
}

fn retries(value: &Value) -> Result<Option<u32>, Problem> {
    let number = value.as_u64().map(u32::try_from);
    match (value, number) {
        (Value::Null, _) => Ok(None),
        (_, Some(Ok(number))) => Ok(Some(number)),
        _ => Err(Problem::new(
            "is not a number of retries",
            "a whole number, or null for ever",
        )),
    }
}

fn priority(value: &Value) -> Result<i64, Problem> {
    match value.as_i64() {
        Some(number) if (0..=255).contains(&number) => Ok(number),
        _ => Err(Problem::new(
            "is not a priority",
            "a whole number from 0 to 255",
        )),
    }
}

/// Reads the setting; each fault names the task and the option.
pub(crate) fn read(lookup: &mut Lookup, given: &str) -> Annotations {
    let variable = &TASK_ANNOTATIONS;
    let mut annotations = Annotations::default();
    let tasks = lookup.object(variable, given).unwrap_or_default();
    if !tasks.is_empty() {
        given.clone_into(&mut annotations.text);
    }
    for (task, options) in tasks {
        let Value::Object(options) = options else {
            let problem = format!("what it says of {task} is not an object");
            lookup.fault(variable, &options, &problem, "an object of options");
            continue;
        };
        let mut annotation = Annotation::default();
        for (option, value) in options {
            match annotation.set(&option, &value) {
                Ok(true) => {}
                Ok(false) => {
                    let near = nearest(&option, OPTIONS.iter().copied());
                    let problem = format!("{task} has no option {option}{near}");
                    let expected = format!("one of {}", OPTIONS.join(", "));
                    lookup.fault(variable, &value, &problem, &expected);
                }
                Err(Problem { problem, expected }) => {
                    let problem = format!("{option} of {task} {problem}");
                    lookup.fault(variable, &value, &problem, &expected);
                }
            }
        }
        if let (Some(Some(soft)), Some(Some(hard))) =
            (annotation.soft_time_limit, annotation.time_limit)
            && soft > hard
        {
            let problem = format!("soft_time_limit of {task} is above its time_limit");
            let expected = format!("at most {}", hard.as_secs_f64());
            lookup.fault(variable, &soft.as_secs_f64().into(), &problem, &expected);
        }
        match task.as_str() {
            "*" => annotations.every = annotation,
            _ => {
                annotations.tasks.insert(task, annotation);
            }
        }
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn settings(annotations: &str) -> Result<Annotations, Vec<String>> {
        let variables = [("CELERY_TASK_ANNOTATIONS".to_owned(), annotations.to_owned())];
        match Settings::from_lookup(variables) {
            Ok((settings, _)) => Ok(settings.tasks.annotations),
            Err(faults) => {
                let mut problems: Vec<_> = faults.0.into_iter().map(|f| f.problem).collect();
                problems.sort();
                Err(problems)
            }
        }
    }

    #[test]
    fn what_stands_under_the_star_wins_over_the_name_as_in_celery() {
        let annotations = settings(
            r#"{"*": {"rate_limit": "1/s", "max_retries": 7}, "x.add": {"rate_limit": "10/s", "time_limit": 5, "acks_late": false}}"#,
        )
        .unwrap();
        let add = annotations.of("x.add");
        let once = Some(Some(RateLimit { per_second: 1.0 }));
        assert_eq!((add.rate_limit, add.max_retries), (once, Some(Some(7))));
        assert_eq!(add.time_limit, Some(Some(Duration::from_secs(5))));
        assert_eq!(add.acks_late, Some(false));
        let other = annotations.of("x.mul");
        assert_eq!((other.rate_limit, other.time_limit), (once, None));
    }

    #[test]
    fn every_wrong_option_is_named_with_its_task() {
        let faults = settings(
            r#"{"a": {"rate_limt": 1, "rate_limit": "10/x", "max_retries": -1}, "b": 3, "*": {"acks_late": "yes"},
                "c": {"time_limit": 1, "soft_time_limit": 2}, "d": {"priority": 256, "serializer": "pickle"}}"#,
        )
        .unwrap_err();
        assert_eq!(
            faults,
            [
                "a has no option rate_limt; did you mean rate_limit?",
                "acks_late of * is not true or false",
                "max_retries of a is not a number of retries",
                "priority of d is not a priority",
                "rate_limit of a is not a rate limit",
                "serializer of d is read but never written here",
                "soft_time_limit of c is above its time_limit",
                "what it says of b is not an object",
            ]
        );
    }

    #[test]
    fn null_takes_a_limit_away() {
        let annotations =
            settings(r#"{"a": {"rate_limit": null, "time_limit": null, "max_retries": null}}"#)
                .unwrap();
        let a = annotations.of("a");
        assert_eq!(
            (a.rate_limit, a.time_limit, a.max_retries),
            (Some(None), Some(None), Some(None))
        );
    }
}
