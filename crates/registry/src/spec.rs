//! What is known of one task, and of its parameters.

use std::any::TypeId;
use std::time::Duration;

use celery::task::Task;
use lovage_protocol::QueueName;
use serde::Serialize;
use serde_json::Value;

use crate::admission::{Debounce, Unique};
use crate::bind::Binder;
use crate::defaults::{RateLimit, TaskDefaults};
use crate::limit::Limit;
use crate::periodic::Periodic;
use crate::retry::RetryPolicy;
use crate::signature;

/// A task that can say what it is; `#[lovage::task]` implements it.
pub trait Described: Task {
    /// Describes the task. It builds schemas and defaults anew, so callers keep what it gives.
    fn spec() -> TaskSpec;
}

/// Everything that is known of a task without running it.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    /// Its name on the wire.
    pub name: String,
    /// Its parameters in order, without injected state.
    pub params: Vec<Param>,
    /// The JSON Schema of its result.
    pub returns: Option<Value>,
    /// Its documentation.
    pub doc: Option<String>,
    /// Whether its function is `async`; one that is not may block and is kept off the executor's threads.
    pub is_async: bool,
    /// The state that a worker must have to run it.
    pub state: Vec<StateNeed>,
    /// Whether parameter types, defaults and `is_async` come from `#[lovage::task]`; otherwise they are unknown.
    pub typed: bool,
    /// Its options.
    pub options: TaskDefaults,
    /// When beat sends it.
    pub schedules: Vec<Periodic>,
}

impl TaskSpec {
    /// The start of a description by `#[lovage::task]`.
    #[must_use]
    pub fn typed<T: Task>(is_async: bool) -> Self {
        Self {
            is_async,
            typed: true,
            options: TaskDefaults::of::<T>(),
            ..Self::variadic(T::NAME)
        }
    }

    /// Describes a task defined by `#[celery::task]` or by hand, of which only names are known.
    ///
    /// Every parameter counts as optional: whether it may be missing is then serde's to say. Such a task may block,
    /// since its trait does not tell.
    #[must_use]
    pub fn untyped(name: &str, args: &[&str]) -> Self {
        let params = args
            .iter()
            .map(|name| Param::new(name.trim_start_matches("r#"), Value::Bool(true)).optional())
            .collect();
        Self {
            params,
            is_async: false,
            ..Self::variadic(name)
        }
    }

    /// Describes an async handler that takes whatever arguments come.
    #[must_use]
    pub fn variadic(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            params: Vec::new(),
            returns: None,
            doc: None,
            is_async: true,
            state: Vec::new(),
            typed: false,
            options: TaskDefaults::default(),
            schedules: Vec::new(),
        }
    }

    /// Adds a time at which beat sends it.
    #[must_use]
    pub fn with_schedule(mut self, schedule: Periodic) -> Self {
        self.schedules.push(schedule.set("task", &self.name));
        self
    }

    /// Adds a parameter after the others.
    #[must_use]
    pub fn with_param(mut self, param: Param) -> Self {
        self.params.push(param);
        self
    }

    /// Adds a state that the task needs.
    #[must_use]
    pub fn with_state(mut self, need: StateNeed) -> Self {
        self.state.push(need);
        self
    }

    /// Sets the schema of the result.
    #[must_use]
    pub fn with_returns(mut self, schema: Value) -> Self {
        self.returns = Some(schema);
        self
    }

    /// Sets the documentation.
    #[must_use]
    pub fn with_doc(mut self, text: &str) -> Self {
        self.doc = Some(text.to_owned());
        self
    }

    /// Sets the queue.
    ///
    /// # Panics
    ///
    /// The text is no queue name; the macro has refused such a text where it was written.
    #[must_use]
    pub fn with_queue(mut self, queue: &str) -> Self {
        match QueueName::parse(queue) {
            Ok(queue) => self.options.queue = Some(queue),
            Err(fault) => panic!("task `{}`: {fault}", self.name),
        }
        self
    }

    /// Sets the priority.
    #[must_use]
    pub fn with_priority(mut self, priority: u8) -> Self {
        self.options.priority = Some(i64::from(priority));
        self
    }

    /// Sets the rate limit.
    #[must_use]
    pub fn with_rate_limit(mut self, limit: RateLimit) -> Self {
        self.options.rate_limit = Some(limit);
        self
    }

    /// Lets no two calls of the same arguments wait or run at once.
    #[must_use]
    pub fn with_unique(mut self, unique: Unique) -> Self {
        self.options.admission.unique = Some(unique);
        self
    }

    /// Lets only the last of several calls in a row run.
    #[must_use]
    pub fn with_debounce(mut self, debounce: Debounce) -> Self {
        self.options.admission.debounce = Some(debounce);
        self
    }

    /// Adds a limit over all workers.
    #[must_use]
    pub fn with_limit(mut self, limit: Limit) -> Self {
        self.options.admission.limits.push(limit);
        self
    }

    /// Sets whether results are not stored.
    #[must_use]
    pub fn with_ignore_result(mut self, ignore: bool) -> Self {
        self.options.ignore_result = Some(ignore);
        self
    }

    /// Sets whether the state `STARTED` is stored.
    #[must_use]
    pub fn with_track_started(mut self, track: bool) -> Self {
        self.options.track_started = Some(track);
        self
    }

    /// Sets which errors are retried, and how long the pauses are.
    #[must_use]
    pub fn with_retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = policy.or(self.options.retry);
        self
    }

    /// Sets the longest pause before a retry.
    #[must_use]
    pub fn with_max_retry_delay(mut self, longest: Duration) -> Self {
        self.options.max_retry_delay = Some(longest);
        self
    }

    /// Sets how long after sending the task is still worth running.
    #[must_use]
    pub fn with_expires(mut self, after: Duration) -> Self {
        self.options.expires = Some(after);
        self
    }

    /// The call signature as text, such as `demo.add(x: integer, y: integer = 5)`.
    #[must_use]
    pub fn signature(&self) -> String {
        signature::text(self)
    }

    /// What binds a message's arguments to the parameters; made once per task, used for every message.
    #[must_use]
    pub fn binder(&self) -> Binder {
        Binder::new(self)
    }
}

/// One parameter of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// The name by which callers pass it.
    pub name: String,
    /// The JSON Schema of its type; `true` when the type has none.
    pub schema: Value,
    /// Its value when the caller gives none, as JSON.
    pub default: Option<Value>,
    /// Whether it may be missing without a default, as an `Option` may.
    pub optional: bool,
}

impl Param {
    /// A parameter that callers must pass.
    #[must_use]
    pub fn new(name: &str, schema: Value) -> Self {
        Self {
            name: name.to_owned(),
            schema,
            default: None,
            optional: false,
        }
    }

    /// Lets callers leave it out.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Gives it a default.
    ///
    /// # Panics
    ///
    /// The value cannot be written as JSON, for instance a map whose keys are no text. It happens when the task is
    /// registered, at start.
    #[must_use]
    pub fn with_default<T: Serialize>(mut self, value: T) -> Self {
        match serde_json::to_value(&value) {
            Ok(json) => self.default = Some(json),
            Err(fault) => panic!(
                "the default of parameter `{}` is no JSON: {fault}",
                self.name
            ),
        }
        self
    }

    /// Sets its documentation, which is part of the schema.
    #[must_use]
    pub fn with_doc(mut self, text: &str) -> Self {
        if self.schema == Value::Bool(true) {
            self.schema = Value::Object(serde_json::Map::new());
        }
        if let Value::Object(schema) = &mut self.schema {
            schema.insert("description".to_owned(), Value::from(text));
        }
        self
    }

    /// Whether callers must pass it.
    #[must_use]
    pub fn is_required(&self) -> bool {
        !self.optional && self.default.is_none()
    }
}

/// A state that a task needs, by type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateNeed {
    /// The type's name with its path, for people.
    pub type_name: &'static str,
    /// The type itself.
    pub type_id: TypeId,
}

impl StateNeed {
    /// The need for a `T`.
    #[must_use]
    pub fn of<T: ?Sized + 'static>() -> Self {
        Self {
            type_name: std::any::type_name::<T>(),
            type_id: TypeId::of::<T>(),
        }
    }

    /// The type's name without module paths: `Pool<Sqlite>` for `sqlx::Pool<sqlx::Sqlite>`.
    #[must_use]
    pub fn short_name(&self) -> String {
        let mut short = String::new();
        let mut word = String::new();
        for character in self.type_name.chars() {
            if character.is_alphanumeric() || character == '_' {
                word.push(character);
            } else if character == ':' {
                word.clear();
            } else {
                short.push_str(&word);
                word.clear();
                short.push(character);
            }
        }
        short + &word
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn short_names_lose_only_their_paths() {
        let check = |need: StateNeed, expected: &str| assert_eq!(need.short_name(), expected);
        check(StateNeed::of::<String>(), "String");
        check(
            StateNeed::of::<HashMap<u8, Vec<Duration>>>(),
            "HashMap<u8, Vec<Duration>>",
        );
        check(StateNeed::of::<dyn std::fmt::Debug>(), "dyn Debug");
        check(StateNeed::of::<[u8; 4]>(), "[u8; 4]");
    }

    #[test]
    fn a_description_becomes_part_of_the_schema() {
        let param = Param::new("x", Value::Bool(true)).with_doc("the first");
        assert_eq!(
            param.schema,
            serde_json::json!({"description": "the first"})
        );
    }

    #[test]
    #[should_panic(expected = "the default of parameter `by_pair` is no JSON")]
    fn a_default_that_is_no_json_is_named() {
        let pairs = HashMap::from([((1, 2), 3)]);
        let _ = Param::new("by_pair", Value::Bool(true)).with_default(pairs);
    }
}
