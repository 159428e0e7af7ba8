//! Faults in words: where, what, and what would be right.

use jsonschema::{ValidationError, error::ValidationErrorKind};
use serde_json::Value;

/// So many faults are told at once.
const MOST: usize = 8;
/// References lead no deeper than this; a document that is written by hand may have a circle.
const DEEPEST: usize = 32;

/// The schemas of a document, by which faults are explained.
pub(super) struct Schemas(Value);

impl Schemas {
    pub(super) fn of(document: &Value) -> Self {
        Self(document["components"].clone())
    }

    /// As the document has them.
    pub(super) fn components(&self) -> &Value {
        &self.0
    }

    /// All faults in one text; `None` without any.
    pub(super) fn told<'v>(
        &self,
        schema: &Value,
        faults: impl Iterator<Item = ValidationError<'v>>,
        value: &Value,
    ) -> Option<String> {
        let faults: Vec<String> = faults
            .take(MOST)
            .map(|fault| self.fault(schema, &fault, value))
            .collect();
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    fn fault(&self, schema: &Value, fault: &ValidationError<'_>, value: &Value) -> String {
        if let ValidationErrorKind::AnyOf { context }
        | ValidationErrorKind::OneOfNotValid { context } = fault.kind()
        {
            let place = fault.instance_path().as_str();
            return self.nearest(schema, place, context, value);
        }
        let steps = steps(fault.instance_path().as_str());
        let here = self.below(schema, &steps);
        match fault.kind() {
            ValidationErrorKind::Required { property } => {
                let property = property.as_str().unwrap_or_default();
                let wanted = here.and_then(|here| self.step(here, property, 0));
                let wanted = wanted.map_or_else(anything, |wanted| self.wanted(wanted));
                format!("{} is missing: {wanted}", place(&steps, Some(property)))
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let fields = here.map(|here| self.fields(here)).unwrap_or_default();
                let faults = unexpected.iter().map(|name| {
                    let place = place(&steps, Some(name.as_str()));
                    match fields.as_slice() {
                        [] => format!("{place} is no field; there are none"),
                        some => format!("{place} is no field; there are {}", some.join(", ")),
                    }
                });
                faults.collect::<Vec<_>>().join("; ")
            }
            ValidationErrorKind::Type { .. } => {
                let given = value.pointer(fault.instance_path().as_str());
                let wanted = here.map_or_else(anything, |here| self.wanted(here));
                let given = given.map_or("nothing", kind);
                format!("{} is {given} and has to be {wanted}", place(&steps, None))
            }
            ValidationErrorKind::Enum { options } => {
                let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
                format!("{} has to be {}", place(&steps, None), one_of(options))
            }
            ValidationErrorKind::Format { .. } => {
                let wanted = here.map_or_else(anything, |here| self.wanted(here));
                format!("{} has to be {wanted}", place(&steps, None))
            }
            // What was sent may be a password: it is not repeated.
            _ => format!("{}: {}", place(&steps, None), fault.masked_with("it")),
        }
    }

    /// The faults of the form that was probably meant; of each, when that cannot be told.
    fn nearest(
        &self,
        schema: &Value,
        place: &str,
        forms: &[Vec<ValidationError<'static>>],
        value: &Value,
    ) -> String {
        let rank = |faults: &[ValidationError<'static>]| {
            let first = faults.first();
            let is_other_kind = first.is_some_and(|fault| {
                matches!(fault.kind(), ValidationErrorKind::Type { .. })
                    && fault.instance_path().as_str() == place
            });
            let depth = first.map_or(0, |fault| steps(fault.instance_path().as_str()).len());
            (!is_other_kind, depth, std::cmp::Reverse(faults.len()))
        };
        let best = forms.iter().map(|form| rank(form)).max();
        let mut nearest: Vec<&Vec<_>> = forms
            .iter()
            .filter(|form| Some(rank(form)) == best)
            .collect();
        if best.is_some_and(|(is_same_kind, ..)| !is_same_kind) {
            // Of another kind than all of them: the first says what is meant, the others are mostly null.
            nearest.truncate(1);
        }
        let told = nearest.into_iter().map(|form| {
            let faults = form.iter().take(MOST);
            let faults: Vec<String> = faults
                .map(|fault| self.fault(schema, fault, value))
                .collect();
            faults.join("; ")
        });
        told.collect::<Vec<_>>().join(", or ")
    }

    /// What a schema takes, in a few words.
    pub(super) fn wanted(&self, schema: &Value) -> String {
        let name = schema["$ref"]
            .as_str()
            .and_then(|target| target.rsplit('/').next());
        let schema = self.resolved(schema);
        let what = match &schema["anyOf"] {
            Value::Array(forms) if schema.get("type").is_none() => {
                let forms = forms.iter().filter(|form| form["type"] != "null");
                return forms
                    .map(|form| self.wanted(form))
                    .collect::<Vec<_>>()
                    .join(" or ");
            }
            _ => schema,
        };
        if let Some(options) = what["enum"].as_array() {
            return one_of(options);
        }
        let kinds: Vec<&str> = match &what["type"] {
            Value::String(kind) => vec![kind.as_str()],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let kind = kinds.into_iter().find(|kind| *kind != "null");
        let format = what["format"].as_str();
        match (kind, name) {
            (Some("object"), Some(name)) => format!("an object ({name})"),
            (Some("object"), None) => "an object".to_owned(),
            (Some("array"), _) => {
                let items = self.resolved(&what["items"]);
                match items["type"].as_str() {
                    Some("string") => "a list of texts".to_owned(),
                    Some("integer" | "number") => "a list of numbers".to_owned(),
                    Some("object") => "a list of objects".to_owned(),
                    None if items.get("anyOf").is_some() => "a list of objects".to_owned(),
                    _ => "a list".to_owned(),
                }
            }
            (Some("string"), _) => match format {
                Some("date-time") => "a time such as 2026-11-27T08:30:00Z".to_owned(),
                Some("uuid") => "a UUID".to_owned(),
                Some("email") => "an e-mail address".to_owned(),
                _ => "a text".to_owned(),
            },
            (Some("integer"), _) => "a whole number".to_owned(),
            (Some("number"), _) => "a number".to_owned(),
            (Some("boolean"), _) => "true or false".to_owned(),
            _ => anything(),
        }
    }

    /// The names of an object's fields.
    fn fields<'s>(&'s self, schema: &'s Value) -> Vec<&'s str> {
        let schema = self.resolved(schema);
        let own = schema["properties"].as_object().into_iter().flatten();
        let mut fields: Vec<&str> = own.map(|(name, _)| name.as_str()).collect();
        for form in forms(schema) {
            fields.extend(self.fields(form));
        }
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// The schema of what lies there.
    fn below<'s>(&'s self, schema: &'s Value, steps: &[String]) -> Option<&'s Value> {
        steps
            .iter()
            .try_fold(schema, |schema, step| self.step(schema, step, 0))
    }

    fn step<'s>(&'s self, schema: &'s Value, step: &str, depth: usize) -> Option<&'s Value> {
        if depth > DEEPEST {
            return None;
        }
        let schema = self.resolved(schema);
        if let Some(property) = schema["properties"].get(step) {
            return Some(property);
        }
        if step.parse::<usize>().is_ok()
            && let Some(items) = schema.get("items")
        {
            return Some(items);
        }
        let mut forms = forms(schema);
        forms
            .find_map(|form| self.step(form, step, depth + 1))
            .or_else(|| {
                schema
                    .get("additionalProperties")
                    .filter(|more| more.is_object())
            })
    }

    /// The schema that a reference leads to.
    fn resolved<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        for _ in 0..DEEPEST {
            let Some(target) = schema["$ref"].as_str() else {
                break;
            };
            let Some(found) = target
                .strip_prefix("#/components")
                .and_then(|pointer| self.0.pointer(pointer))
            else {
                break;
            };
            schema = found;
        }
        schema
    }
}

fn forms(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["anyOf", "oneOf", "allOf"].into_iter();
    lists.flat_map(move |list| schema[list].as_array().into_iter().flatten())
}

fn anything() -> String {
    "any value".to_owned()
}

fn one_of(options: &[Value]) -> String {
    let options: Vec<String> = options.iter().map(Value::to_string).collect();
    format!("one of {}", options.join(", "))
}

/// A JSON pointer step by step.
fn steps(pointer: &str) -> Vec<String> {
    let steps = pointer.split('/').skip(1);
    steps
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect()
}

/// A place as it is written in programs: `definition.args[0]`.
fn place(steps: &[String], last: Option<&str>) -> String {
    let mut place = String::new();
    for step in steps.iter().map(String::as_str).chain(last) {
        if !place.is_empty() && step.parse::<usize>().is_ok() {
            place.push('[');
            place.push_str(step);
            place.push(']');
        } else {
            if !place.is_empty() {
                place.push('.');
            }
            place.push_str(step);
        }
    }
    if place.is_empty() {
        place.push_str("the body");
    }
    place
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
