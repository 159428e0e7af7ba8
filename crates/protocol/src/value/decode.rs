//! Rust values from [`Value`]s.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::Value;
use super::decode_key::Key;
use super::decode_variant::Variant;
use super::serde_form::{VALUE, hand_over};

/// Says where a value does not fit the Rust type it should become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindError {
    path: String,
    message: String,
}

impl BindError {
    /// Names the place inside the value, such as `orders[2].id`; empty for the value itself.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Says what was expected and what was found.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    fn inside_index(mut self, index: usize) -> Self {
        self.prepend(&format!("[{index}]"));
        self
    }

    fn inside_key(mut self, key: &str) -> Self {
        let short: String = key.chars().take(64).collect();
        self.prepend(&short);
        self
    }

    fn prepend(&mut self, step: &str) {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{step}{dot}{}", self.path);
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for BindError {}

impl de::Error for BindError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            path: String::new(),
            message: message.to_string(),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, got {}", Found(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, got {}", Found(found)))
    }
}

/// Prints what was found, cut short: arguments may be large.
struct Found<'a>(Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Str(text) if text.chars().nth(40).is_some() => {
                let start: String = text.chars().take(37).collect();
                write!(f, "string \"{}...\"", start.escape_debug())
            }
            Unexpected::Unit => f.write_str("null"),
            Unexpected::Seq => f.write_str("a list"),
            Unexpected::Map => f.write_str("an object"),
            Unexpected::Bytes(_) => f.write_str("bytes"),
            other => other.fmt(f),
        }
    }
}

impl Value {
    /// Turns the value into a Rust type.
    ///
    /// Dates, times, decimals, UUIDs and integers beyond 64 bits are given as text to types that want text. Integers
    /// become floats where a float is wanted; floats never become integers.
    ///
    /// # Errors
    ///
    /// When the value does not fit; the message says where, what was expected and what was found.
    pub fn deserialize<T: DeserializeOwned>(self) -> Result<T, BindError> {
        T::deserialize(FromValue(self))
    }
}

/// The deserializer over a [`Value`].
pub(super) struct FromValue(pub(super) Value);

impl<'de> IntoDeserializer<'de, BindError> for FromValue {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl FromValue {
    pub(super) fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(bool) => visitor.visit_bool(bool),
            Value::Int(int) => visitor.visit_i64(int),
            Value::Big(digits) => visit_big(digits, visitor),
            Value::Float(float) => visitor.visit_f64(float),
            Value::Str(text)
            | Value::DateTime(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Decimal(text) => visitor.visit_string(text),
            Value::Uuid(uuid) => visitor.visit_str(
                uuid.hyphenated()
                    .encode_lower(&mut uuid::Uuid::encode_buffer()),
            ),
            Value::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Value::List(items) => visit_list(items, visitor),
            Value::Map(map) => {
                let mut access = MapWalk {
                    entries: map.into_iter(),
                    value: None,
                };
                let value = visitor.visit_map(&mut access)?;
                Ok(value)
            }
        }
    }

    /// Integers too long for the type asked for are refused by name, not offered as text.
    fn visit_integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        match self.0 {
            Value::Big(digits) => match digits.parse() {
                Ok(int) => visitor.visit_u64(int),
                Err(_) => Err(de::Error::invalid_value(
                    Unexpected::Other("an integer out of range"),
                    &visitor,
                )),
            },
            other => Self(other).visit(visitor),
        }
    }
}

fn visit_big<'de, V: Visitor<'de>>(digits: String, visitor: V) -> Result<V::Value, BindError> {
    match digits.parse() {
        Ok(int) => visitor.visit_u64(int),
        Err(_) => visitor.visit_string(digits),
    }
}

fn visit_list<'de, V: Visitor<'de>>(items: Vec<Value>, visitor: V) -> Result<V::Value, BindError> {
    let length = items.len();
    let mut walk = ListWalk {
        items: items.into_iter(),
        index: 0,
    };
    let value = visitor.visit_seq(&mut walk)?;
    if walk.items.len() == 0 {
        Ok(value)
    } else {
        let message = format!("expected a list of {} elements, got {length}", walk.index);
        Err(BindError {
            path: String::new(),
            message,
        })
    }
}

impl<'de> Deserializer<'de> for FromValue {
    type Error = BindError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.visit(visitor)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.visit_integer(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.visit_integer(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.visit_integer(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.visit_integer(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.visit_integer(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.visit_integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.visit_integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.visit_integer(visitor)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        match self.0 {
            Value::Int(int) => visitor.visit_i128(int.into()),
            Value::Big(digits) => match digits.parse() {
                Ok(int) => visitor.visit_i128(int),
                Err(_) => Err(de::Error::invalid_value(
                    Unexpected::Other("an integer out of range"),
                    &visitor,
                )),
            },
            other => Self(other).visit(visitor),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        match self.0 {
            Value::Big(digits) => match digits.parse() {
                Ok(int) => visitor.visit_u128(int),
                Err(_) => Err(de::Error::invalid_value(
                    Unexpected::Other("an integer out of range"),
                    &visitor,
                )),
            },
            other => Self(other).visit(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        match self.0 {
            Value::Big(digits) => match digits.parse() {
                Ok(float) => visitor.visit_f64(float),
                Err(_) => visitor.visit_string(digits),
            },
            other => Self(other).visit(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        match self.0 {
            Value::Big(digits) => visitor.visit_string(digits),
            // Bytes that happen to be UTF-8 are still not text, as in Python.
            Value::Bytes(bytes) => {
                Err(de::Error::invalid_type(Unexpected::Bytes(&bytes), &visitor))
            }
            other => Self(other).visit(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        match self.0 {
            Value::Bytes(bytes) => visit_list(
                bytes
                    .into_iter()
                    .map(|byte| Value::Int(byte.into()))
                    .collect(),
                visitor,
            ),
            other => Self(other).visit(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, BindError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, BindError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, BindError> {
        if name == VALUE {
            hand_over(self.0, visitor)
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BindError> {
        match self.0 {
            Value::Str(name) => visitor.visit_enum(Variant {
                name,
                content: None,
            }),
            Value::Map(map) if map.len() == 1 => match map.into_iter().next() {
                Some((name, content)) => visitor.visit_enum(Variant {
                    name,
                    content: Some(content),
                }),
                None => Err(de::Error::custom("expected an object with one member")),
            },
            other => Err(de::Error::custom(format_args!(
                "expected the name of a variant or an object with one member, got {}",
                other.kind()
            ))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool char bytes byte_buf unit unit_struct map struct identifier
    }
}

/// Walks over the elements of a list.
struct ListWalk {
    items: std::vec::IntoIter<Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for ListWalk {
    type Error = BindError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, BindError> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        seed.deserialize(FromValue(item))
            .map(Some)
            .map_err(|error| error.inside_index(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// Walks over the members of an object.
struct MapWalk {
    entries: indexmap::map::IntoIter<String, Value>,
    value: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for MapWalk {
    type Error = BindError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, BindError> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        let read = seed.deserialize(Key(&key));
        self.value = Some((key, value));
        read.map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, BindError> {
        let Some((key, value)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(FromValue(value))
            .map_err(|error| error.inside_key(&key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}
