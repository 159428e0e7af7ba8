//! The values a task takes and returns: JSON as kombu extends it.

mod decode;
mod decode_key;
mod decode_variant;
mod encode;
mod read;
mod serde_form;
mod write;

use indexmap::IndexMap;
use uuid::Uuid;

pub use decode::BindError;
pub use encode::EncodeError;
pub(crate) use read::BASE64;
pub(crate) use write::{write_list, write_map};

/// What the typed wrappers share with the serde form of values.
pub(crate) mod marker {
    pub(crate) use super::read::is_decimal;
    pub(crate) use super::serde_form::{BYTES, DATE, DATETIME, DECIMAL, RawBytes, TIME, UUID};
}

/// An object: keys in the order they were written.
pub type Map = IndexMap<String, Value>;

/// One value of kombu's JSON data model.
///
/// Besides JSON's own kinds there are those that kombu wraps in `{"__type__": …, "__value__": …}`. Times and
/// decimals keep the text they came with, so that a value passed on is the value received; the text was checked when
/// it was read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `null`, Python's `None`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// An integer that does not fit: decimal digits with an optional minus.
    Big(String),
    /// A floating point number, `NaN` and the infinities included.
    Float(f64),
    /// Text.
    Str(String),
    /// Python's `bytes`.
    Bytes(Vec<u8>),
    /// Python's `datetime` in ISO 8601, with an offset if it is aware.
    DateTime(String),
    /// Python's `date` in ISO 8601.
    Date(String),
    /// Python's `time` in ISO 8601.
    Time(String),
    /// Python's `Decimal` as it prints itself.
    Decimal(String),
    /// Python's `UUID`.
    Uuid(Uuid),
    /// A list; Python's tuples arrive as lists too.
    List(Vec<Value>),
    /// An object.
    Map(Map),
}

impl Value {
    /// Tells whether this is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Gives the boolean, if this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(bool) => Some(*bool),
            _ => None,
        }
    }

    /// Gives the text, if this is a plain string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Gives the integer, if this is one that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// Gives the number as a float; integers beyond 2^53 lose their last digits.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(float) => Some(*float),
            #[expect(
                clippy::cast_precision_loss,
                reason = "documented, and what Python's float() does"
            )]
            Self::Int(int) => Some(*int as f64),
            Self::Big(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// Gives the elements, if this is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// Gives the members, if this is an object.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Gives the member of that name, if this is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.get(key)
    }

    /// Names the kind as Python's `type(value).__name__` does.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Big(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::DateTime(_) => "datetime",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::Decimal(_) => "Decimal",
            Self::Uuid(_) => "UUID",
            Self::List(_) => "list",
            Self::Map(_) => "dict",
        }
    }
}

impl From<bool> for Value {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<i32> for Value {
    fn from(int: i32) -> Self {
        Self::Int(int.into())
    }
}

impl From<u32> for Value {
    fn from(int: u32) -> Self {
        Self::Int(int.into())
    }
}

impl From<u64> for Value {
    fn from(int: u64) -> Self {
        i64::try_from(int).map_or_else(|_| Self::Big(int.to_string()), Self::Int)
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::List(items)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

/// `None` becomes null.
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
