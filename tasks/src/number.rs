//! Numbers that add up as Python's do: whole ones stay whole, and a mixture becomes a float.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A number as JSON has it: whole or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number; Python's have no bounds, these have 128 bits.
    Int(i128),
    /// Any other number.
    Float(f64),
}

impl Number {
    /// The sum; `None` when it is a whole number beyond 128 bits.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        self.combine(other, i128::checked_add, |x, y| x + y)
    }

    /// The product; `None` when it is a whole number beyond 128 bits.
    #[must_use]
    pub fn times(self, other: Self) -> Option<Self> {
        self.combine(other, i128::checked_mul, |x, y| x * y)
    }

    fn combine(
        self,
        other: Self,
        ints: impl FnOnce(i128, i128) -> Option<i128>,
        floats: impl FnOnce(f64, f64) -> f64,
    ) -> Option<Self> {
        match (self, other) {
            (Self::Int(x), Self::Int(y)) => ints(x, y).map(Self::Int),
            (x, y) => Some(Self::Float(floats(x.to_float(), y.to_float()))),
        }
    }

    fn to_float(self) -> f64 {
        match self {
            // Rounds to the nearest float, as Python does for numbers of this size.
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Int(int) => match i64::try_from(int) {
                // Not every format knows 128 bits.
                Ok(small) => serializer.serialize_i64(small),
                Err(_) => serializer.serialize_i128(int),
            },
            Self::Float(float) => serializer.serialize_f64(float),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNumber)
    }
}

struct AnyNumber;

impl Visitor<'_> for AnyNumber {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    /// In Python `True + 1` is 2.
    fn visit_bool<E>(self, bool: bool) -> Result<Number, E> {
        Ok(Number::Int(i128::from(bool)))
    }

    fn visit_i64<E>(self, int: i64) -> Result<Number, E> {
        Ok(Number::Int(i128::from(int)))
    }

    fn visit_u64<E>(self, int: u64) -> Result<Number, E> {
        Ok(Number::Int(i128::from(int)))
    }

    fn visit_i128<E>(self, int: i128) -> Result<Number, E> {
        Ok(Number::Int(int))
    }

    fn visit_u128<E: de::Error>(self, int: u128) -> Result<Number, E> {
        i128::try_from(int)
            .map(Number::Int)
            .map_err(|_| E::custom("a whole number beyond 128 bits"))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Number, E> {
        Ok(Number::Float(float))
    }
}

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

#[cfg(test)]
mod tests {
    use lovage_protocol::Value;

    use super::Number;

    fn number(json: &str) -> Number {
        Value::from_json(json.as_bytes())
            .unwrap()
            .deserialize()
            .unwrap()
    }

    fn json(number: Number) -> String {
        Value::from_serialize(&number).unwrap().to_json()
    }

    #[test]
    fn adds_and_multiplies_as_python_does() {
        let check = |x: &str, y: &str, sum: &str, product: &str| {
            let (x, y) = (number(x), number(y));
            assert_eq!(json(x.plus(y).unwrap()), sum, "{x:?} + {y:?}");
            assert_eq!(json(x.times(y).unwrap()), product, "{x:?} * {y:?}");
        };
        check("2", "3", "5", "6");
        check("1.5", "2", "3.5", "3.0");
        check("2", "1.0", "3.0", "2.0");
        check("-7", "7", "0", "-49");
        check("true", "1", "2", "1");
        check(
            "9223372036854775807",
            "1",
            "9223372036854775808",
            "9223372036854775807",
        );
        check(
            "9223372036854775807",
            "2",
            "9223372036854775809",
            "18446744073709551614",
        );
        check("0.1", "0.2", "0.30000000000000004", "0.020000000000000004");
        check("1e308", "10.0", "1e+308", "Infinity");
    }

    #[test]
    fn whole_numbers_beyond_128_bits_have_no_result() {
        let most = Number::Int(i128::MAX);
        assert_eq!(most.plus(Number::Int(1)), None);
        assert_eq!(most.times(Number::Int(2)), None);
        assert_eq!(
            most.times(Number::Float(1.0)),
            Some(Number::Float(2_f64.powi(127)))
        );
    }

    #[test]
    fn text_is_no_number() {
        let error = Value::from("2").deserialize::<Number>().unwrap_err();
        assert!(error.to_string().contains("a number"), "{error}");
    }
}
