//! Values from anything that implements `Serialize`.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};
use uuid::Uuid;

use super::serde_form::{BIG, BYTES, DATE, DATETIME, DECIMAL, TIME, UUID};
use super::{Map, Value};
use crate::json::writer::write_float;

/// Says why a Rust value cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be sent: {message}")]
pub struct EncodeError {
    message: String,
}

impl ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
        }
    }
}

impl Value {
    /// Turns a Rust value into what Python would see.
    ///
    /// Integers may have any size. Keys of maps become text as `json.dumps` does it. The wrappers in
    /// [`typed`](crate::typed) become dates, decimals and bytes.
    ///
    /// # Errors
    ///
    /// When the value's `Serialize` fails, or a map's key is neither text, number, boolean nor null.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        value.serialize(ToValue)
    }
}

/// The serializer whose output is a [`Value`].
struct ToValue;

impl Serializer for ToValue {
    type Ok = Value;
    type Error = EncodeError;
    type SerializeSeq = ListBuilder;
    type SerializeTuple = ListBuilder;
    type SerializeTupleStruct = ListBuilder;
    type SerializeTupleVariant = ListBuilder;
    type SerializeMap = MapBuilder;
    type SerializeStruct = MapBuilder;
    type SerializeStructVariant = MapBuilder;

    fn serialize_bool(self, bool: bool) -> Result<Value, EncodeError> {
        Ok(Value::Bool(bool))
    }

    fn serialize_i8(self, int: i8) -> Result<Value, EncodeError> {
        Ok(Value::Int(int.into()))
    }

    fn serialize_i16(self, int: i16) -> Result<Value, EncodeError> {
        Ok(Value::Int(int.into()))
    }

    fn serialize_i32(self, int: i32) -> Result<Value, EncodeError> {
        Ok(Value::Int(int.into()))
    }

    fn serialize_i64(self, int: i64) -> Result<Value, EncodeError> {
        Ok(Value::Int(int))
    }

    fn serialize_i128(self, int: i128) -> Result<Value, EncodeError> {
        Ok(i64::try_from(int).map_or_else(|_| Value::Big(int.to_string()), Value::Int))
    }

    fn serialize_u8(self, int: u8) -> Result<Value, EncodeError> {
        Ok(Value::Int(int.into()))
    }

    fn serialize_u16(self, int: u16) -> Result<Value, EncodeError> {
        Ok(Value::Int(int.into()))
    }

    fn serialize_u32(self, int: u32) -> Result<Value, EncodeError> {
        Ok(Value::Int(int.into()))
    }

    fn serialize_u64(self, int: u64) -> Result<Value, EncodeError> {
        Ok(Value::from(int))
    }

    fn serialize_u128(self, int: u128) -> Result<Value, EncodeError> {
        Ok(i64::try_from(int).map_or_else(|_| Value::Big(int.to_string()), Value::Int))
    }

    fn serialize_f32(self, float: f32) -> Result<Value, EncodeError> {
        Ok(Value::Float(float.into()))
    }

    fn serialize_f64(self, float: f64) -> Result<Value, EncodeError> {
        Ok(Value::Float(float))
    }

    fn serialize_char(self, char: char) -> Result<Value, EncodeError> {
        Ok(Value::Str(char.to_string()))
    }

    fn serialize_str(self, text: &str) -> Result<Value, EncodeError> {
        Ok(Value::Str(text.to_owned()))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Value, EncodeError> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn serialize_none(self) -> Result<Value, EncodeError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, EncodeError> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, EncodeError> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, EncodeError> {
        Ok(Value::from(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value, EncodeError> {
        let inner = value.serialize(self)?;
        Ok(match (name, inner) {
            (BIG, Value::Str(text)) => Value::Big(text),
            (BYTES, Value::Bytes(bytes)) => Value::Bytes(bytes),
            (DATETIME, Value::Str(text)) => Value::DateTime(text),
            (DATE, Value::Str(text)) => Value::Date(text),
            (TIME, Value::Str(text)) => Value::Time(text),
            (DECIMAL, Value::Str(text)) => Value::Decimal(text),
            (UUID, Value::Str(text)) => Uuid::parse_str(&text)
                .map(Value::Uuid)
                .map_err(ser::Error::custom)?,
            (_, inner) => inner,
        })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, EncodeError> {
        Ok(tagged(variant, value.serialize(self)?))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<ListBuilder, EncodeError> {
        // A wrong hint must not cost memory.
        let items = Vec::with_capacity(length.unwrap_or(0).min(1024));
        Ok(ListBuilder {
            items,
            variant: None,
        })
    }

    fn serialize_tuple(self, length: usize) -> Result<ListBuilder, EncodeError> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<ListBuilder, EncodeError> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<ListBuilder, EncodeError> {
        Ok(ListBuilder {
            items: Vec::new(),
            variant: Some(variant),
        })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<MapBuilder, EncodeError> {
        Ok(MapBuilder {
            map: Map::new(),
            key: None,
            variant: None,
        })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<MapBuilder, EncodeError> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<MapBuilder, EncodeError> {
        Ok(MapBuilder {
            map: Map::new(),
            key: None,
            variant: Some(variant),
        })
    }
}

fn tagged(variant: &str, value: Value) -> Value {
    Value::Map(Map::from_iter([(variant.to_owned(), value)]))
}

/// Collects a list.
struct ListBuilder {
    items: Vec<Value>,
    variant: Option<&'static str>,
}

impl ListBuilder {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.items.push(value.serialize(ToValue)?);
        Ok(())
    }

    fn finish(self) -> Value {
        let list = Value::List(self.items);
        match self.variant {
            Some(variant) => tagged(variant, list),
            None => list,
        }
    }
}

/// Implements one of serde's four list traits, which differ in names only.
macro_rules! list_form {
    ($form:ident, $method:ident) => {
        impl ser::$form for ListBuilder {
            type Ok = Value;
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.push(value)
            }

            fn end(self) -> Result<Value, EncodeError> {
                Ok(self.finish())
            }
        }
    };
}

list_form!(SerializeSeq, serialize_element);
list_form!(SerializeTuple, serialize_element);
list_form!(SerializeTupleStruct, serialize_field);
list_form!(SerializeTupleVariant, serialize_field);

/// Collects an object.
struct MapBuilder {
    map: Map,
    key: Option<String>,
    variant: Option<&'static str>,
}

impl MapBuilder {
    fn finish(self) -> Value {
        let map = Value::Map(self.map);
        match self.variant {
            Some(variant) => tagged(variant, map),
            None => map,
        }
    }
}

impl ser::SerializeMap for MapBuilder {
    type Ok = Value;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.key = Some(key_text(key.serialize(ToValue)?)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let Some(key) = self.key.take() else {
            return Err(ser::Error::custom("a map gave a value before its key"));
        };
        self.map.insert(key, value.serialize(ToValue)?);
        Ok(())
    }

    fn end(self) -> Result<Value, EncodeError> {
        Ok(self.finish())
    }
}

/// Implements one of serde's two struct traits.
macro_rules! struct_form {
    ($form:ident) => {
        impl ser::$form for MapBuilder {
            type Ok = Value;
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.map.insert(key.to_owned(), value.serialize(ToValue)?);
                Ok(())
            }

            fn end(self) -> Result<Value, EncodeError> {
                Ok(self.finish())
            }
        }
    };
}

struct_form!(SerializeStruct);
struct_form!(SerializeStructVariant);

/// A key as `json.dumps` writes it.
fn key_text(key: Value) -> Result<String, EncodeError> {
    Ok(match key {
        Value::Str(text) | Value::Big(text) => text,
        Value::Int(int) => int.to_string(),
        Value::Bool(bool) => bool.to_string(),
        Value::Null => "null".to_owned(),
        Value::Uuid(uuid) => uuid.to_string(),
        Value::Float(float) => {
            let mut text = String::new();
            write_float(&mut text, float);
            text
        }
        other => {
            let message = format!(
                "a {} cannot be the key of an object, text is needed",
                other.kind()
            );
            return Err(EncodeError { message });
        }
    })
}
