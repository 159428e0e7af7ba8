//! How a message's `args` and `kwargs` become named parameters, and how Python complains when they do not.
//!
//! Celery calls `fun(*args, **kwargs)`, so a wrong call is Python's `TypeError`. People, dashboards and retry rules read
//! those texts; they are CPython's (`Python/ceval.c`, `initialize_locals`), in CPython's order of checks.

use std::fmt;

use lovage_protocol::{Map, Value};

use crate::spec::TaskSpec;

/// Says why arguments do not fit a task; the text is that of Python's `TypeError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// `args` is no list, nor anything else that Python would unpack.
    #[error("{task}() argument after * must be an iterable, not {found}")]
    NotIterable {
        /// The whole task name.
        task: String,
        /// Python's name for the type that came.
        found: &'static str,
    },
    /// A keyword names no parameter.
    #[error("{function}() got an unexpected keyword argument '{name}'")]
    Unexpected {
        /// The task's function.
        function: String,
        /// The keyword.
        name: String,
    },
    /// A parameter is given by position and by name.
    #[error("{function}() got multiple values for argument '{name}'")]
    Multiple {
        /// The task's function.
        function: String,
        /// The parameter.
        name: String,
    },
    /// There are more positional arguments than parameters.
    #[error(
        "{function}() takes {takes} but {given} {was} given",
        takes = Takes { least: *least, most: *most },
        was = if *given == 1 { "was" } else { "were" }
    )]
    TooMany {
        /// The task's function.
        function: String,
        /// How many parameters must be given.
        least: usize,
        /// How many can be.
        most: usize,
        /// How many were.
        given: usize,
    },
    /// Parameters without a default are not given.
    #[error(
        "{function}() missing {count} required positional argument{s}: {list}",
        count = names.len(),
        s = if names.len() == 1 { "" } else { "s" },
        list = Quoted(names)
    )]
    Missing {
        /// The task's function.
        function: String,
        /// Their names in order.
        names: Vec<String>,
    },
}

struct Takes {
    least: usize,
    most: usize,
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least < self.most {
            // Python writes the plural here whatever the number.
            return write!(
                f,
                "from {} to {} positional arguments",
                self.least, self.most
            );
        }
        write!(
            f,
            "{} positional argument{}",
            self.most,
            if self.most == 1 { "" } else { "s" }
        )
    }
}

struct Quoted<'a>(&'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.0.iter().enumerate() {
            let is_last = position + 1 == self.0.len();
            f.write_str(match (position, is_last) {
                (0, _) => "",
                (1, true) => " and ",
                (_, true) => ", and ",
                _ => ", ",
            })?;
            write!(f, "'{name}'")?;
        }
        Ok(())
    }
}

/// Binds arguments to one task's parameters.
#[derive(Debug, Clone)]
pub struct Binder {
    task: String,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone)]
struct Slot {
    name: String,
    absent: Absent,
}

/// What a parameter becomes that is not given.
#[derive(Debug, Clone)]
enum Absent {
    Fault,
    LeftOut,
    Default(Value),
}

impl Binder {
    /// Prepares the binding of a task's arguments.
    ///
    /// # Panics
    ///
    /// A default of the task cannot be a message's value; JSON always can.
    #[must_use]
    pub fn new(task: &TaskSpec) -> Self {
        let slots = task.params.iter().map(|param| Slot {
            name: param.name.clone(),
            absent: match &param.default {
                Some(json) => Absent::Default(
                    Value::from_serialize(json).expect("JSON is within what messages can say"),
                ),
                None if param.optional => Absent::LeftOut,
                None => Absent::Fault,
            },
        });
        Self {
            task: task.name.clone(),
            slots: slots.collect(),
        }
    }

    /// Gives every parameter its value, in the parameters' order; an optional one that is not given stays out.
    ///
    /// # Errors
    ///
    /// The arguments do not fit, as Python would say.
    pub fn bind(&self, args: Value, kwargs: Map) -> Result<Map, BindError> {
        let args = self.positional(args)?;
        let given = args.len();
        let mut values: Vec<Option<Value>> = args.into_iter().map(Some).collect();
        values.truncate(self.slots.len());
        values.resize(self.slots.len(), None);
        for (name, value) in kwargs {
            let Some(position) = self.slots.iter().position(|slot| slot.name == name) else {
                return Err(BindError::Unexpected {
                    function: self.function().to_owned(),
                    name,
                });
            };
            if values[position].replace(value).is_some() {
                return Err(BindError::Multiple {
                    function: self.function().to_owned(),
                    name,
                });
            }
        }
        if given > self.slots.len() {
            return Err(self.too_many(given));
        }
        self.fill(values)
    }

    fn fill(&self, values: Vec<Option<Value>>) -> Result<Map, BindError> {
        let mut bound = Map::with_capacity(self.slots.len());
        let mut missing = Vec::new();
        for (slot, value) in self.slots.iter().zip(values) {
            let value = match (value, &slot.absent) {
                (Some(value), _) => value,
                (None, Absent::Default(value)) => value.clone(),
                (None, Absent::LeftOut) => continue,
                (None, Absent::Fault) => {
                    missing.push(slot.name.clone());
                    continue;
                }
            };
            bound.insert(slot.name.clone(), value);
        }
        if missing.is_empty() {
            Ok(bound)
        } else {
            Err(BindError::Missing {
                function: self.function().to_owned(),
                names: missing,
            })
        }
    }

    fn too_many(&self, given: usize) -> BindError {
        let most = self.slots.len();
        let least = self
            .slots
            .iter()
            .filter(|slot| matches!(slot.absent, Absent::Fault))
            .count();
        BindError::TooMany {
            function: self.function().to_owned(),
            least,
            most,
            given,
        }
    }

    /// The task's whole name.
    #[must_use]
    pub fn task(&self) -> &str {
        &self.task
    }

    /// Whether the task takes whatever arguments come.
    #[must_use]
    pub fn is_variadic(&self) -> bool {
        self.slots.is_empty()
    }

    /// The name by which Python's texts call the task: the last part of its name.
    #[must_use]
    pub fn function(&self) -> &str {
        self.task.rsplit('.').next().unwrap_or(&self.task)
    }

    /// What Python's `*args` makes of the value: a message can hold other things than a list.
    ///
    /// # Errors
    ///
    /// The value cannot be iterated.
    pub fn positional(&self, args: Value) -> Result<Vec<Value>, BindError> {
        let found = match args {
            Value::List(items) => return Ok(items),
            Value::Map(map) => {
                return Ok(map.into_iter().map(|(key, _)| Value::Str(key)).collect());
            }
            Value::Str(text) => {
                return Ok(text
                    .chars()
                    .map(|character| Value::Str(character.to_string()))
                    .collect());
            }
            Value::Bytes(bytes) => {
                return Ok(bytes
                    .into_iter()
                    .map(|byte| Value::Int(i64::from(byte)))
                    .collect());
            }
            Value::Null => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Big(_) => "int",
            Value::Float(_) => "float",
            Value::DateTime(_) => "datetime.datetime",
            Value::Date(_) => "datetime.date",
            Value::Time(_) => "datetime.time",
            Value::Decimal(_) => "decimal.Decimal",
            Value::Uuid(_) => "UUID",
            _ => "object",
        };
        Err(BindError::NotIterable {
            task: self.task.clone(),
            found,
        })
    }
}

/// Binds arguments to named parameters without a [`TaskSpec`].
///
/// `defaults` gives a missing parameter's value, `optional` says which others may stay out. To bind many calls of one
/// task, keep a [`Binder`].
///
/// # Errors
///
/// The arguments do not fit, as Python would say.
pub fn bind(
    task: &str,
    params: &[&str],
    defaults: &dyn Fn(&str) -> Option<Value>,
    optional: &dyn Fn(&str) -> bool,
    args: Value,
    kwargs: Map,
) -> Result<Map, BindError> {
    let slot = |name: &&str| Slot {
        name: (*name).to_owned(),
        absent: match defaults(name) {
            Some(value) => Absent::Default(value),
            None if optional(name) => Absent::LeftOut,
            None => Absent::Fault,
        },
    };
    Binder {
        task: task.to_owned(),
        slots: params.iter().map(slot).collect(),
    }
    .bind(args, kwargs)
}
