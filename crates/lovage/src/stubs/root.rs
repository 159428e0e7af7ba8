//! A JSON Schema with the definitions in it: what its references mean, and which schemas mean the same.

use serde_json::{Map, Value};

/// The schema that a `$ref` is to be looked up in.
#[derive(Clone, Copy)]
pub(crate) struct Root<'a> {
    schema: &'a Value,
}

impl<'a> Root<'a> {
    /// The schema itself.
    pub(crate) fn new(schema: &'a Value) -> Self {
        Self { schema }
    }

    /// Its name.
    pub(crate) fn title(self) -> Option<&'a str> {
        self.schema.get("title")?.as_str()
    }

    /// What a `$ref` in it means, with its name.
    pub(crate) fn find(self, reference: &str) -> Option<(&'a str, &'a Value)> {
        if reference == "#" {
            return Some((self.title()?, self.schema));
        }
        let name = reference.strip_prefix("#/$defs/")?;
        let (name, schema) = self.schema.get("$defs")?.as_object()?.get_key_value(name)?;
        Some((name, schema))
    }

    /// A schema with what it refers to beside it, and without what is only said of it.
    pub(crate) fn meaning(self, schema: &Value) -> Value {
        let mut referred = Map::new();
        let bare = self.bare(schema, &mut referred);
        Value::Array(vec![bare, Value::Object(referred)])
    }

    fn bare(self, schema: &Value, referred: &mut Map<String, Value>) -> Value {
        match schema {
            Value::Object(fields) => {
                let mut bare = Map::new();
                for (key, value) in fields {
                    match (key.as_str(), value) {
                        ("$defs" | "title" | "description" | "default" | "examples", _) => {}
                        ("$ref", Value::String(reference)) => {
                            let Some((name, target)) = self.find(reference) else {
                                continue;
                            };
                            bare.insert(key.clone(), Value::from(name));
                            if !referred.contains_key(name) {
                                referred.insert(name.to_owned(), Value::Null);
                                let target = self.bare(target, referred);
                                referred.insert(name.to_owned(), target);
                            }
                        }
                        // Here the keys are names of fields.
                        ("properties", Value::Object(properties)) => {
                            let properties = properties
                                .iter()
                                .map(|(name, value)| (name.clone(), self.bare(value, referred)))
                                .collect();
                            bare.insert(key.clone(), Value::Object(properties));
                        }
                        _ => {
                            bare.insert(key.clone(), self.bare(value, referred));
                        }
                    }
                }
                Value::Object(bare)
            }
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.bare(item, referred)).collect())
            }
            other => other.clone(),
        }
    }
}
