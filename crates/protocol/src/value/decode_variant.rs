//! Enum variants: a name, or an object whose only member is the name and what the variant holds.

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, VariantAccess, Visitor,
};

use super::decode::FromValue;
use super::{BindError, Value};

/// One variant of an enum and what it holds.
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) content: Option<Value>,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = BindError;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content), BindError> {
        let name: StringDeserializer<BindError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.content)))
    }
}

/// What a variant holds.
pub(super) struct Content(Option<Value>);

impl Content {
    fn value(self) -> Result<FromValue, BindError> {
        self.0
            .map(FromValue)
            .ok_or_else(|| BindError::custom("the variant needs a value, got its name only"))
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = BindError;

    fn unit_variant(self) -> Result<(), BindError> {
        match self.0 {
            None | Some(Value::Null) => Ok(()),
            Some(other) => Err(BindError::custom(format_args!(
                "the variant holds nothing, got {}",
                other.kind()
            ))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, BindError> {
        seed.deserialize(self.value()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, BindError> {
        self.value()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BindError> {
        self.value()?.visit(visitor)
    }
}
