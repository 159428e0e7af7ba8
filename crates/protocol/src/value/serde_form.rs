//! How values look to serde: the names by which kinds that serde does not know are recognised.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde::{Deserialize, Deserializer};

use super::decode_variant::Variant;
use super::{BindError, Map, Value};

/// Asks this crate's deserializer for a value as it is.
pub(crate) const VALUE: &str = "$lovage::value";
pub(crate) const BIG: &str = "$lovage::big";
pub(crate) const BYTES: &str = "$lovage::bytes";
pub(crate) const DATETIME: &str = "$lovage::datetime";
pub(crate) const DATE: &str = "$lovage::date";
pub(crate) const TIME: &str = "$lovage::time";
pub(crate) const DECIMAL: &str = "$lovage::decimal";
pub(crate) const UUID: &str = "$lovage::uuid";

/// Bytes that serialize as bytes and not as a list.
pub(crate) struct RawBytes<'a>(pub(crate) &'a [u8]);

impl Serialize for RawBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(bool) => serializer.serialize_bool(*bool),
            Self::Int(int) => serializer.serialize_i64(*int),
            Self::Float(float) => serializer.serialize_f64(*float),
            Self::Str(text) => serializer.serialize_str(text),
            Self::Big(text) => serializer.serialize_newtype_struct(BIG, text),
            Self::Bytes(bytes) => serializer.serialize_newtype_struct(BYTES, &RawBytes(bytes)),
            Self::DateTime(text) => serializer.serialize_newtype_struct(DATETIME, text),
            Self::Date(text) => serializer.serialize_newtype_struct(DATE, text),
            Self::Time(text) => serializer.serialize_newtype_struct(TIME, text),
            Self::Decimal(text) => serializer.serialize_newtype_struct(DECIMAL, text),
            Self::Uuid(uuid) => serializer.serialize_newtype_struct(UUID, uuid),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    out.serialize_entry(key, value)?;
                }
                out.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(VALUE, AnyValue)
    }
}

/// Builds a value from whatever comes.
struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        <Value as Deserialize>::deserialize(deserializer)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Bool(bool))
    }

    fn visit_i64<E>(self, int: i64) -> Result<Value, E> {
        Ok(Value::Int(int))
    }

    fn visit_u64<E>(self, int: u64) -> Result<Value, E> {
        Ok(Value::from(int))
    }

    fn visit_i128<E>(self, int: i128) -> Result<Value, E> {
        Ok(i64::try_from(int).map_or_else(|_| Value::Big(int.to_string()), Value::Int))
    }

    fn visit_u128<E>(self, int: u128) -> Result<Value, E> {
        Ok(i64::try_from(int).map_or_else(|_| Value::Big(int.to_string()), Value::Int))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Value, E> {
        Ok(Value::Float(float))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Str(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, value)) = access.next_entry()? {
            map.insert(key, value);
        }
        Ok(Value::Map(map))
    }

    /// Other formats give what they hold here.
    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Self)
    }

    /// This crate's deserializer hands over the value as it is.
    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        HANDED_OVER
            .take()
            .ok_or_else(|| de::Error::invalid_type(de::Unexpected::Enum, &self))
    }
}

thread_local! {
    /// Carries a value past serde, which has no way to give it whole: filled right before a visitor is called, and
    /// emptied by that visitor.
    static HANDED_OVER: Cell<Option<Value>> = const { Cell::new(None) };
}

/// Gives a value to the visitor of [`Value`]'s own `Deserialize`, at no cost and without recursion.
pub(super) fn hand_over<'de, V: Visitor<'de>>(
    value: Value,
    visitor: V,
) -> Result<V::Value, BindError> {
    HANDED_OVER.set(Some(value));
    let result = visitor.visit_enum(Variant {
        name: VALUE.to_owned(),
        content: None,
    });
    HANDED_OVER.set(None);
    result
}
