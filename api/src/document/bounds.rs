//! Whole numbers that a client may send have the bounds of the type that they are read into: the document says them, and one
//! beyond is told with its field.

use serde_json::{Map, Value, json};

use super::{closed::sent, each_object, each_operation};

/// Bounds what parameters and bodies hold, where nothing narrower is said.
pub(super) fn bound(document: &mut Value) {
    for name in sent(document) {
        each_object(
            &mut document["components"]["schemas"][&name],
            &mut bound_one,
        );
    }
    each_operation(document, |_, _, operation| {
        let parameters = operation
            .get_mut("parameters")
            .and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            if let Some(of) = parameter.get_mut("schema") {
                each_object(of, &mut bound_one);
            }
        }
    });
}

fn bound_one(object: &mut Map<String, Value>) {
    let (least, most) = match object.get("format").and_then(Value::as_str) {
        Some("int32") => (json!(i32::MIN), json!(i32::MAX)),
        Some("int64") => (json!(i64::MIN), json!(i64::MAX)),
        Some("uint8") => (json!(0), json!(u8::MAX)),
        Some("uint16") => (json!(0), json!(u16::MAX)),
        Some("uint32") => (json!(0), json!(u32::MAX)),
        Some("uint64") => (json!(0), json!(u64::MAX)),
        _ => return,
    };
    for (exclusive, inclusive, bound) in [
        ("exclusiveMinimum", "minimum", least),
        ("exclusiveMaximum", "maximum", most),
    ] {
        if !object.contains_key(exclusive) {
            object.entry(inclusive).or_insert(bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_bounds_of_their_type_unless_narrower_ones_are_said() {
        let mut document = json!({
            "paths": {"/x": {"post": {
                "parameters": [{"schema": {"type": "integer", "format": "uint64", "maximum": 500}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Sent"}}}},
            }}},
            "components": {"schemas": {
                "Sent": {"properties": {"a": {"type": ["integer", "null"], "format": "int64", "exclusiveMinimum": 0}}},
                "Got": {"properties": {"a": {"type": "integer", "format": "int64"}}},
            }},
        });
        let got = document["components"]["schemas"]["Got"].clone();
        bound(&mut document);
        assert_eq!(
            document["paths"]["/x"]["post"]["parameters"][0]["schema"],
            json!({"type": "integer", "format": "uint64", "minimum": 0, "maximum": 500})
        );
        assert_eq!(
            document["components"]["schemas"]["Sent"]["properties"]["a"],
            json!({"type": ["integer", "null"], "format": "int64", "exclusiveMinimum": 0, "maximum": i64::MAX})
        );
        assert_eq!(document["components"]["schemas"]["Got"], got);
    }
}
