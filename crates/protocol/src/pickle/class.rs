//! The classes and functions that a pickle of plain data names, and what is made in their place.

use chrono::FixedOffset;

use super::machine::{Machine, Object};
use super::moment;
use crate::format::FormatError;
use crate::graph::Node;
use crate::value::{Value, marker};

/// A name that a pickle may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    DateTime,
    Date,
    Time,
    TimeDelta,
    TimeZone,
    Decimal,
    Uuid,
    OrderedDict,
    Deque,
    Set,
    FrozenSet,
    Bytes,
    ByteArray,
    /// `_codecs.encode`: how protocols before 3 write bytes.
    Encode,
    /// `copyreg._reconstructor`: how protocols before 2 write a UUID.
    Reconstructor,
    /// `object`, an argument of the reconstructor.
    Object,
    /// `celery.canvas.signature`: how callbacks, chains and chords are pickled; its argument is the signature as a dict.
    Signature,
}

/// Where each is found; Python 2's names of modules are those of protocols before 3.
const KNOWN: [(&str, &str, Class); 23] = [
    ("datetime", "datetime", Class::DateTime),
    ("datetime", "date", Class::Date),
    ("datetime", "time", Class::Time),
    ("datetime", "timedelta", Class::TimeDelta),
    ("datetime", "timezone", Class::TimeZone),
    ("decimal", "Decimal", Class::Decimal),
    ("uuid", "UUID", Class::Uuid),
    ("collections", "OrderedDict", Class::OrderedDict),
    ("collections", "deque", Class::Deque),
    ("builtins", "set", Class::Set),
    ("__builtin__", "set", Class::Set),
    ("builtins", "frozenset", Class::FrozenSet),
    ("__builtin__", "frozenset", Class::FrozenSet),
    ("builtins", "bytes", Class::Bytes),
    ("__builtin__", "bytes", Class::Bytes),
    ("builtins", "bytearray", Class::ByteArray),
    ("__builtin__", "bytearray", Class::ByteArray),
    ("_codecs", "encode", Class::Encode),
    ("copyreg", "_reconstructor", Class::Reconstructor),
    ("copy_reg", "_reconstructor", Class::Reconstructor),
    ("builtins", "object", Class::Object),
    ("__builtin__", "object", Class::Object),
    ("celery.canvas", "signature", Class::Signature),
];

impl Class {
    /// Finds a name, or refuses it.
    pub(super) fn find(module: &str, name: &str) -> Result<Self, FormatError> {
        KNOWN
            .iter()
            .find(|(in_module, known, _)| *in_module == module && *known == name)
            .map(|(_, _, class)| *class)
            .ok_or_else(|| FormatError::refused(format!("{module}.{name}")))
    }

    /// Its name for messages.
    pub(super) fn name(self) -> String {
        KNOWN
            .iter()
            .find(|(_, _, class)| *class == self)
            .map(|(module, name, _)| format!("{module}.{name}"))
            .unwrap_or_default()
    }

    /// What calling it with these arguments makes: data, never an effect.
    pub(super) fn call(
        self,
        machine: &mut Machine<'_>,
        arguments: &[Object],
    ) -> Result<Object, FormatError> {
        let made = match self {
            Self::DateTime => zoned(machine, arguments, moment::datetime),
            Self::Time => zoned(machine, arguments, moment::time),
            Self::Date => match arguments {
                [state] => machine.bytes(*state).and_then(moment::date),
                _ => None,
            },
            Self::Decimal => match arguments {
                [text] => machine
                    .text(*text)
                    .filter(|text| marker::is_decimal(text))
                    .map(|text| Value::Decimal(text.to_owned())),
                _ => None,
            },
            Self::Bytes | Self::ByteArray | Self::Encode => bytes(machine, arguments),
            Self::TimeDelta => return self.or_refuse(delta(machine, arguments)),
            Self::TimeZone => return self.or_refuse(zone(arguments)),
            Self::Uuid | Self::Reconstructor => {
                return self.or_refuse(unfinished(machine, self, arguments));
            }
            Self::OrderedDict if arguments.is_empty() => {
                return Ok(machine.container(Node::Map(Vec::new())));
            }
            Self::Set | Self::FrozenSet | Self::Deque => {
                return self.or_refuse(collection(machine, arguments));
            }
            Self::Signature => match arguments {
                [dict] if machine.is_map(*dict) => return Ok(*dict),
                _ => None,
            },
            Self::OrderedDict | Self::Object => None,
        };
        self.or_refuse(made.map(|value| machine.scalar(value)))
    }

    fn or_refuse(self, made: Option<Object>) -> Result<Object, FormatError> {
        made.ok_or_else(|| {
            FormatError::refused(format!("{} called with these arguments", self.name()))
        })
    }
}

/// A class whose arguments are its state and, maybe, a time zone.
fn zoned(
    machine: &Machine<'_>,
    arguments: &[Object],
    make: impl Fn(&[u8], Option<FixedOffset>) -> Option<Value>,
) -> Option<Value> {
    match arguments {
        [state] => make(machine.bytes(*state)?, None),
        [state, Object::Zone(zone)] => make(machine.bytes(*state)?, Some(*zone)),
        _ => None,
    }
}

/// `bytes()`, `bytearray(bytes)`, and text encoded as Latin-1.
fn bytes(machine: &Machine<'_>, arguments: &[Object]) -> Option<Value> {
    match arguments {
        [] => Some(Value::Bytes(Vec::new())),
        [bytes] => Some(Value::Bytes(machine.bytes(*bytes)?.to_vec())),
        [text, encoding] => {
            if !matches!(machine.text(*encoding)?, "latin1" | "latin-1") {
                return None;
            }
            let bytes = machine.text(*text)?.chars().map(u8::try_from);
            bytes.collect::<Result<_, _>>().ok().map(Value::Bytes)
        }
        _ => None,
    }
}

/// `timedelta(days, seconds, microseconds)`, within Python's bounds.
fn delta(machine: &Machine<'_>, arguments: &[Object]) -> Option<Object> {
    let [days, seconds, micros] = arguments else {
        return (arguments.len() == 1)
            .then(|| machine.int(arguments[0]))
            .flatten()
            .and_then(|days| in_bounds(days, 0, 0));
    };
    in_bounds(
        machine.int(*days)?,
        machine.int(*seconds)?,
        machine.int(*micros)?,
    )
}

fn in_bounds(days: i64, seconds: i64, micros: i64) -> Option<Object> {
    let normal = (-999_999_999..=999_999_999).contains(&days)
        && (0..86_400).contains(&seconds)
        && (0..1_000_000).contains(&micros);
    normal.then_some(Object::Delta {
        seconds: days * 86_400 + seconds,
        micros,
    })
}

/// `timezone(offset)`, perhaps with a name.
fn zone(arguments: &[Object]) -> Option<Object> {
    let ([Object::Delta { seconds, micros: 0 }] | [Object::Delta { seconds, micros: 0 }, _]) =
        arguments
    else {
        return None;
    };
    FixedOffset::east_opt(i32::try_from(*seconds).ok()?).map(Object::Zone)
}

/// A UUID whose number is still to come.
fn unfinished(machine: &mut Machine<'_>, class: Class, arguments: &[Object]) -> Option<Object> {
    let reconstructed = [Object::Class(Class::Uuid), Object::Class(Class::Object)];
    let begun = match class {
        Class::Reconstructor => arguments.len() == 3 && arguments[..2] == reconstructed,
        _ => arguments.is_empty(),
    };
    begun.then(|| machine.begin_uuid())
}

/// A collection of what an iterable holds, or an empty one; a deque may have a longest length too.
fn collection(machine: &mut Machine<'_>, arguments: &[Object]) -> Option<Object> {
    let items = match arguments {
        [] => Vec::new(),
        [items] | [items, _] => machine.items(*items)?,
        _ => return None,
    };
    Some(machine.container(Node::List(items)))
}
