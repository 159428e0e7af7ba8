//! The JSON Schema of a type, if it has one.
//!
//! A type without `schemars::JsonSchema` is still a fine parameter: it is described as "anything". Which case holds is
//! decided where the macro's expansion names the concrete type: method lookup finds [`KnownSchema`] first, and
//! [`AnySchema`] one reference further away.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// Stands for a type whose schema is asked for.
pub struct SchemaOf<T: ?Sized>(PhantomData<fn() -> Box<T>>);

impl<T: ?Sized> SchemaOf<T> {
    /// The question about `T`.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: ?Sized> Default for SchemaOf<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ?Sized> fmt::Debug for SchemaOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SchemaOf<{}>", std::any::type_name::<T>())
    }
}

/// The answer for types that implement `JsonSchema`.
pub trait KnownSchema {
    /// The type's schema.
    fn lovage_schema(&self) -> Value;
}

impl<T: JsonSchema> KnownSchema for SchemaOf<T> {
    fn lovage_schema(&self) -> Value {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None);
        let mut schema = settings.into_generator().into_root_schema_for::<T>();
        if T::inline_schema() {
            // A title such as "int64" repeats the schema in other words.
            schema.remove("title");
        }
        schema.to_value()
    }
}

/// The answer for all other types.
pub trait AnySchema {
    /// The schema that admits everything.
    fn lovage_schema(&self) -> Value;
}

impl<T> AnySchema for &SchemaOf<T> {
    fn lovage_schema(&self) -> Value {
        Value::Bool(true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Opaque;

    #[test]
    #[expect(
        clippy::needless_borrow,
        reason = "the macro writes this; the borrow is what finds AnySchema"
    )]
    fn asks_the_type_and_falls_back_to_anything() {
        assert_eq!(
            (&SchemaOf::<i64>::new()).lovage_schema(),
            json!({"type": "integer", "format": "int64"})
        );
        assert_eq!(
            (&SchemaOf::<Option<String>>::new()).lovage_schema(),
            json!({"type": ["string", "null"]})
        );
        assert_eq!((&SchemaOf::<Opaque>::new()).lovage_schema(), json!(true));
    }
}
