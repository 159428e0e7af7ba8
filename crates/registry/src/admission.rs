//! When a task may run: uniqueness, debouncing and limits, as a task declares them, and the keys that follow from a call.
//!
//! Pure data and arithmetic on arguments: who holds a key is the broker's to know.

use std::time::Duration;

use lovage_protocol::{Map, Value};
use uuid::Uuid;

use crate::{
    bind::Binder,
    limit::{Limit, Scope},
};

/// How long a lock outlives the last word of a task that waits; see [`Unique::waits_at_most`].
const WAITING: Duration = Duration::from_secs(24 * 3600);

/// What must hold before a task runs. The default asks for nothing and costs nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Admission {
    /// No two of the same key at once.
    pub unique: Option<Unique>,
    /// Only the last of several calls in a row.
    pub debounce: Option<Debounce>,
    /// So many at once or in a period, over all workers.
    pub limits: Vec<Limit>,
}

/// Which arguments make two calls the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// All of them.
    All,
    /// These parameters, by name.
    Names(Vec<String>),
}

/// Until when a call keeps others of its key away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until it begins to run: one may run while the next waits.
    Start,
    /// Until it has ended, with all its retries.
    End,
    /// For so long from the moment the key was first taken, whatever becomes of the call.
    After(Duration),
}

/// A task of which no two with the same arguments wait or run at once.
///
/// ```
/// use lovage_registry::Unique;
///
/// let unique = Unique::by(["account"]).join();
/// assert!(unique.joins());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    by: By,
    until: Until,
    waiting: Duration,
    join: bool,
}

impl Unique {
    /// Unique by all arguments, until the task has ended.
    #[must_use]
    pub fn by_all() -> Self {
        Self {
            by: By::All,
            until: Until::End,
            waiting: WAITING,
            join: false,
        }
    }

    /// Unique by these parameters, until the task has ended.
    #[must_use]
    pub fn by<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self {
            by: By::Names(names.into_iter().map(Into::into).collect()),
            ..Self::by_all()
        }
    }

    /// Only until the task begins to run. Takes [`Unique::join`] back, as there is no result yet.
    #[must_use]
    pub fn until_start(mut self) -> Self {
        (self.until, self.join) = (Until::Start, false);
        self
    }

    /// For a time from the moment the key was first taken, whatever becomes of the task.
    #[must_use]
    pub fn for_time(mut self, time: Duration) -> Self {
        self.until = Until::After(time);
        self
    }

    /// A duplicate is not revoked but gets the first one's result, or failure, when that ends.
    #[must_use]
    pub fn join(mut self) -> Self {
        self.join = true;
        if self.until == Until::Start {
            self.until = Until::End;
        }
        self
    }

    /// How long a task that nobody holds may wait in its queue before its lock is given up; default 24 hours. It bounds
    /// how long a lock stays whose message was deleted by hand.
    #[must_use]
    pub fn waits_at_most(mut self, time: Duration) -> Self {
        self.waiting = time;
        self
    }

    /// Until when the key is held.
    #[must_use]
    pub fn until(&self) -> Until {
        self.until
    }

    /// Whether duplicates get the first one's result.
    #[must_use]
    pub fn joins(&self) -> bool {
        self.join
    }
}

/// A task of which only the last of several calls in a row runs, once no further one came for the time of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debounce {
    /// Which calls replace each other.
    pub by: By,
    /// Counted anew from each call.
    pub window: Duration,
}

/// The keys of one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// The lock to take.
    pub lock: Option<Lock>,
    /// The key whose last call runs, and the window.
    pub debounce: Option<(String, Duration)>,
    /// The limits to keep, in the order of their declaration.
    pub limits: Vec<(String, Limit)>,
}

/// The lock of a unique call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its name, equal for equal calls.
    pub key: String,
    /// Until when it is held.
    pub until: Until,
    /// How long it stays while the task waits in nobody's hands.
    pub waiting: Duration,
    /// Whether duplicates get the result.
    pub join: bool,
}

impl Admission {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.unique.is_none() && self.debounce.is_none() && self.limits.is_empty()
    }

    /// Parameters that are named here and that a task with these parameters does not have.
    pub fn unknown_names<'a>(&'a self, params: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let by = |by: &'a By| match by {
            By::All => &[][..],
            By::Names(names) => names,
        };
        let unique = self.unique.iter().flat_map(move |unique| by(&unique.by));
        let debounce = self.debounce.iter().flat_map(move |one| by(&one.by));
        let limits = self.limits.iter().flat_map(|limit| match limit.scope() {
            Scope::Arguments(names) => names.as_slice(),
            Scope::Task | Scope::Queue => &[],
        });
        unique
            .chain(debounce)
            .chain(limits)
            .map(String::as_str)
            .filter(|name| !params.contains(name))
    }

    /// The keys of one call. Arguments are compared as the task's parameters get them, so spelling one by position or by
    /// name, or leaving out one that equals its default, makes no difference. A call that does not fit the task asks for
    /// nothing: it fails by itself.
    #[must_use]
    pub fn wanted(&self, binder: &Binder, queue: &str, args: &Value, kwargs: &Map) -> Wanted {
        let Some(arguments) = Arguments::of(binder, args, kwargs) else {
            return Wanted::default();
        };
        let task = printable(binder.task());
        let key = |kind: &str, by: &By| match by {
            By::All => format!("{kind}:{task}:{}", arguments.digest(None)),
            By::Names(names) => format!("{kind}:{task}:{}", arguments.digest(Some(names))),
        };
        let limit = |limit: &Limit| {
            let kind = limit.kind();
            match limit.scope() {
                Scope::Task => format!("{kind}:{task}"),
                Scope::Queue => format!("{kind}:queue:{}", printable(queue)),
                Scope::Arguments(names) => {
                    let digest = arguments.digest(Some(names));
                    format!("{kind}:{task}:{}:{digest}", names.join(","))
                }
            }
        };
        Wanted {
            lock: self.unique.as_ref().map(|unique| Lock {
                key: key("unique", &unique.by),
                until: unique.until,
                waiting: unique.waiting,
                join: unique.join,
            }),
            debounce: self
                .debounce
                .as_ref()
                .map(|debounce| (key("debounce", &debounce.by), debounce.window)),
            limits: self
                .limits
                .iter()
                .map(|one| (limit(one), one.clone()))
                .collect(),
        }
    }
}

/// A call's arguments by parameter. What a variadic task is called with has no names but those of its keywords.
struct Arguments {
    positional: Vec<Value>,
    named: Map,
}

impl Arguments {
    fn of(binder: &Binder, args: &Value, kwargs: &Map) -> Option<Self> {
        if binder.is_variadic() {
            return Some(Self {
                positional: binder.positional(args.clone()).ok()?,
                named: kwargs.clone(),
            });
        }
        let named = binder.bind(args.clone(), kwargs.clone()).ok()?;
        Some(Self {
            positional: Vec::new(),
            named,
        })
    }

    /// A short name for the values of these parameters, or of all.
    fn digest(&self, names: Option<&[String]>) -> String {
        let chosen = match names {
            None => Value::List(vec![
                sorted(&Value::List(self.positional.clone())),
                sorted(&Value::Map(self.named.clone())),
            ]),
            Some(names) => {
                let value = |name: &String| self.named.get(name).map_or(Value::Null, sorted);
                Value::List(names.iter().map(value).collect())
            }
        };
        Uuid::new_v3(&Uuid::NAMESPACE_OID, chosen.to_json().as_ref())
            .simple()
            .to_string()
    }
}

/// The value with the keys of all its objects in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(sorted).collect()),
        Value::Map(map) => {
            let mut entries: Vec<(String, Value)> = map
                .iter()
                .map(|(key, value)| (key.clone(), sorted(value)))
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Map(entries.into_iter().collect())
        }
        other => other.clone(),
    }
}

/// Keys stand in lists, one a line.
fn printable(name: &str) -> String {
    name.replace(char::is_control, "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Param, TaskSpec};

    fn binder() -> Binder {
        let any = || serde_json::Value::Bool(true);
        TaskSpec::variadic("t")
            .with_param(Param::new("account", any()))
            .with_param(Param::new("options", any()).optional())
            .with_param(Param::new("deep", any()).with_default(false))
            .binder()
    }

    fn json(text: &str) -> Value {
        Value::from_json(text.as_bytes()).unwrap()
    }

    fn key(unique: Unique, args: &str, kwargs: &str) -> Option<String> {
        let admission = Admission {
            unique: Some(unique),
            ..Admission::default()
        };
        let Value::Map(kwargs) = json(kwargs) else {
            panic!("keywords are an object")
        };
        let wanted = admission.wanted(&binder(), "q", &json(args), &kwargs);
        wanted.lock.map(|lock| lock.key)
    }

    #[test]
    fn equal_calls_have_equal_keys_however_they_are_spelt() {
        let all = |args, kwargs| key(Unique::by_all(), args, kwargs).unwrap();
        let plain = all(r#"[7, {"a": 1, "b": [2]}]"#, "{}");
        assert_eq!(
            plain,
            all("[7]", r#"{"deep": false, "options": {"b": [2], "a": 1}}"#)
        );
        assert_ne!(plain, all(r#"[7, {"a": 1, "b": [3]}]"#, "{}"));
        assert_ne!(plain, all("[7]", "{}"), "left out is not the same as given");
    }

    #[test]
    fn only_the_chosen_parameters_count() {
        let by = |args, kwargs| key(Unique::by(["account"]), args, kwargs).unwrap();
        assert_eq!(
            by("[7, 1]", "{}"),
            by("[]", r#"{"account": 7, "deep": true}"#)
        );
        assert_ne!(by("[7]", "{}"), by("[8]", "{}"));
    }

    #[test]
    fn a_call_that_does_not_fit_asks_for_nothing() {
        assert_eq!(key(Unique::by_all(), "[]", "{}"), None);
        assert_eq!(key(Unique::by_all(), "[1, 2, 3, 4]", "{}"), None);
    }

    #[test]
    fn limits_are_counted_in_their_scope() {
        let admission = Admission {
            limits: ["5", "5 per queue", "5 per account", "3/m per account"]
                .map(|text| Limit::parse(text).unwrap())
                .to_vec(),
            ..Admission::default()
        };
        let keys = |args: &str| {
            let wanted = admission.wanted(&binder(), "q", &json(args), &Map::new());
            let keys = wanted.limits.into_iter().map(|(key, _)| key);
            keys.collect::<Vec<_>>()
        };
        let (seven, eight) = (keys("[7]"), keys("[8]"));
        assert_eq!(seven[..2], ["slots:t", "slots:queue:q"]);
        assert_eq!(seven[..2], eight[..2]);
        assert!(seven[2].starts_with("slots:t:account:") && seven[2] != eight[2]);
        assert!(seven[3].starts_with("rate:t:account:"), "{}", seven[3]);
        assert_eq!(
            admission.unknown_names(&["options"]).collect::<Vec<_>>(),
            ["account", "account"]
        );
    }

    #[test]
    fn what_has_no_result_yet_is_not_joined() {
        assert!(!Unique::by_all().join().until_start().joins());
        assert_eq!(Unique::by_all().until_start().join().until(), Until::End);
    }
}
