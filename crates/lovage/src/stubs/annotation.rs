//! JSON Schemas as Python types.
//!
//! An object with known fields becomes a `TypedDict` and any other named type an alias, each once in the module that
//! uses it. What callers give may be any sequence and mapping; what a task returns is a list and a dict, as JSON has them.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    layout::free,
    python::{class_name, is_name, literal, quoted},
    root::Root,
};

/// Which way a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the caller to the task.
    Given,
    /// Back.
    Returned,
}

/// The types of one module.
#[derive(Debug, Default)]
pub(crate) struct Types {
    taken: BTreeSet<String>,
    definitions: Vec<Definition>,
    /// What must be imported from `typing` and `collections.abc`.
    used: BTreeSet<&'static str>,
}

#[derive(Debug)]
struct Definition {
    name: String,
    /// The schema with all that it refers to: equal ones are one type.
    meaning: Value,
    text: String,
}

impl Types {
    /// No types yet; none will have a name of these.
    pub(crate) fn without(taken: BTreeSet<String>) -> Self {
        Self {
            taken,
            ..Self::default()
        }
    }

    /// The type of what a schema admits. `hint` names a type that has no name.
    pub(crate) fn annotate(&mut self, schema: &Value, way: Way, hint: &str) -> String {
        let root = Root::new(schema);
        match root.title() {
            Some(title) if is_worth_a_name(schema) => self.defined(title, schema, root),
            _ => self.of(schema, root, way, hint),
        }
    }

    /// Notes that a name of `typing` or `collections.abc` is used.
    pub(crate) fn uses(&mut self, name: &'static str) -> &'static str {
        self.used.insert(name);
        name
    }

    /// Whether a name is used.
    pub(crate) fn used(&self) -> &BTreeSet<&'static str> {
        &self.used
    }

    /// The definitions, in the order of their names.
    pub(crate) fn definitions(&self) -> String {
        let mut definitions: Vec<&Definition> = self.definitions.iter().collect();
        definitions.sort_by(|one, other| one.name.cmp(&other.name));
        definitions
            .iter()
            .map(|definition| format!("{}\n", definition.text))
            .collect()
    }

    fn of(&mut self, schema: &Value, root: Root<'_>, way: Way, hint: &str) -> String {
        let Some(fields) = schema.as_object() else {
            return self.uses("Any").to_owned();
        };
        if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
            return match root.find(reference) {
                Some((name, target)) if is_worth_a_name(target) => self.defined(name, target, root),
                Some((name, target)) => self.of(target, root, way, name),
                None => self.uses("Any").to_owned(),
            };
        }
        if let Some(values) = fields.get("enum").and_then(Value::as_array) {
            return self.one_of(values);
        }
        if let Some(value) = fields.get("const") {
            return self.one_of(std::slice::from_ref(value));
        }
        for key in ["oneOf", "anyOf"] {
            if let Some(choices) = fields.get(key).and_then(Value::as_array) {
                let types: Vec<String> = choices
                    .iter()
                    .enumerate()
                    .map(|(place, choice)| {
                        let hint = format!("{hint}{}", place + 1);
                        self.of(choice, root, way, &hint)
                    })
                    .collect();
                return self.union(&types);
            }
        }
        if let Some([only]) = fields
            .get("allOf")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        {
            return self.of(only, root, way, hint);
        }
        match fields.get("type") {
            Some(Value::String(kind)) => self.kind(kind, schema, fields, root, way, hint),
            Some(Value::Array(kinds)) => {
                let types: Vec<String> = kinds
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|kind| self.kind(kind, schema, fields, root, way, hint))
                    .collect();
                self.union(&types)
            }
            _ => self.uses("Any").to_owned(),
        }
    }

    fn kind(
        &mut self,
        kind: &str,
        schema: &Value,
        fields: &Map<String, Value>,
        root: Root<'_>,
        way: Way,
        hint: &str,
    ) -> String {
        match kind {
            "string" => "str".to_owned(),
            "integer" => "int".to_owned(),
            "number" => "float".to_owned(),
            "boolean" => "bool".to_owned(),
            "null" => "None".to_owned(),
            "array" => self.array(fields, root, way, hint),
            "object" if has_known_fields(fields) => self.defined(hint, schema, root),
            "object" => {
                let values = match fields.get("additionalProperties") {
                    Some(values @ Value::Object(_)) => self.of(values, root, way, hint),
                    _ => self.uses("Any").to_owned(),
                };
                match way {
                    Way::Given => format!("{}[str, {values}]", self.uses("Mapping")),
                    Way::Returned => format!("dict[str, {values}]"),
                }
            }
            _ => self.uses("Any").to_owned(),
        }
    }

    fn array(
        &mut self,
        fields: &Map<String, Value>,
        root: Root<'_>,
        way: Way,
        hint: &str,
    ) -> String {
        if let Some(items) = fields.get("prefixItems").and_then(Value::as_array) {
            let types: Vec<String> = items
                .iter()
                .map(|item| self.of(item, root, way, hint))
                .collect();
            if way == Way::Given && !types.is_empty() {
                return format!("tuple[{}]", types.join(", "));
            }
            return format!("list[{}]", self.union(&types));
        }
        let items = match fields.get("items") {
            Some(items) => self.of(items, root, way, hint),
            None => self.uses("Any").to_owned(),
        };
        match way {
            Way::Given => format!("{}[{items}]", self.uses("Sequence")),
            Way::Returned => format!("list[{items}]"),
        }
    }

    /// One of these values. A `Literal` cannot hold all of JSON.
    fn one_of(&mut self, values: &[Value]) -> String {
        let mut literals: Vec<String> = Vec::new();
        let mut none = false;
        for value in values {
            match value {
                Value::Null => none = true,
                Value::Bool(_) | Value::String(_) => literals.push(literal(value)),
                Value::Number(number) if !number.is_f64() => literals.push(literal(value)),
                Value::Number(_) => return "float".to_owned(),
                _ => return self.uses("Any").to_owned(),
            }
        }
        let mut types = Vec::new();
        if !literals.is_empty() {
            types.push(format!("{}[{}]", self.uses("Literal"), literals.join(", ")));
        }
        if none {
            types.push("None".to_owned());
        }
        self.union(&types)
    }

    fn union(&mut self, types: &[String]) -> String {
        let mut once: Vec<String> = Vec::new();
        for one in types.iter().flat_map(|text| members(text)) {
            if one == "Any" {
                return one.to_owned();
            }
            if !once.iter().any(|other| other == one) {
                once.push(one.to_owned());
            }
        }
        if once.is_empty() {
            return self.uses("Any").to_owned();
        }
        // None last, as people write it.
        once.sort_by_key(|one| one == "None");
        once.join(" | ")
    }

    /// The name of a type that has a definition of its own, which is written where it is not there yet.
    fn defined(&mut self, wanted: &str, schema: &Value, root: Root<'_>) -> String {
        let meaning = root.meaning(schema);
        if let Some(known) = self
            .definitions
            .iter()
            .find(|known| known.meaning == meaning)
        {
            return known.name.clone();
        }
        let mut wanted = class_name(wanted);
        if !is_name(&wanted) {
            wanted.insert(0, '_');
        }
        let name = free(wanted, &self.taken);
        self.taken.insert(name.clone());
        let place = self.definitions.len();
        // Before its fields: they may refer to it.
        self.definitions.push(Definition {
            name: name.clone(),
            meaning,
            text: String::new(),
        });
        let text = match schema.as_object() {
            Some(fields) if has_known_fields(fields) => self.typed_dict(&name, fields, root),
            _ => {
                let of = self.of(schema, root, Way::Given, &name);
                format!("{name}: {} = {}\n", self.uses("TypeAlias"), alias(&of))
            }
        };
        self.definitions[place].text = text;
        name
    }

    fn typed_dict(&mut self, name: &str, fields: &Map<String, Value>, root: Root<'_>) -> String {
        self.uses("TypedDict");
        let required: Vec<&str> = fields
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let empty = Map::new();
        let properties = fields
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let mut entries: Vec<(&str, String)> = Vec::new();
        for (field, schema) in properties {
            let hint = format!("{name}{}", class_name(field));
            let mut of = self.of(schema, root, Way::Given, &hint);
            if !required.contains(&field.as_str()) {
                of = format!("{}[{of}]", self.uses("NotRequired"));
            }
            entries.push((field, of));
        }
        // Whether a JSON object keeps the order of its fields depends on how the program was built.
        entries.sort();
        let plain = |field: &str| is_name(field) && !field.starts_with("__");
        if entries.iter().all(|(field, _)| plain(field)) {
            let lines: String = entries
                .iter()
                .map(|(field, of)| format!("    {field}: {of}\n"))
                .collect();
            return format!("class {name}(TypedDict):\n{lines}");
        }
        let lines: String = entries
            .iter()
            .map(|(field, of)| format!("        {}: {},\n", quoted(field), quoted(of)))
            .collect();
        format!(
            "{name} = TypedDict(\n    {},\n    {{\n{lines}    }},\n)\n",
            quoted(name)
        )
    }
}

/// Whether all fields are known; a type that takes others too is any mapping.
fn has_known_fields(fields: &Map<String, Value>) -> bool {
    let known = fields
        .get("properties")
        .and_then(Value::as_object)
        .is_some_and(|properties| !properties.is_empty());
    let others = matches!(
        fields.get("additionalProperties"),
        Some(Value::Object(_)) | Some(Value::Bool(true))
    );
    known && !others
}

/// Whether a type of Rust with a name is one of Python, too: an object, or a choice.
fn is_worth_a_name(schema: &Value) -> bool {
    let Some(fields) = schema.as_object() else {
        return false;
    };
    let object = fields.get("type").and_then(Value::as_str) == Some("object");
    let choices = ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| fields.get(*key)?.as_array());
    // `Option<Order>` is `Order | None` rather than a type of its own.
    let optional = choices.is_some_and(|choices| {
        choices.len() == 2 && choices.iter().any(|choice| choice["type"] == "null")
    });
    (object && has_known_fields(fields))
        || fields.contains_key("enum")
        || (choices.is_some() && !optional)
}

/// The right side of an alias: quoted, since it may name what comes later.
fn alias(of: &str) -> String {
    if of.starts_with("Literal[") && members(of).len() == 1 {
        of.to_owned()
    } else if of.contains(['\'', '\\']) {
        quoted(of)
    } else {
        format!("'{of}'")
    }
}

/// The members of a union as it is written: `int | list[str | None]` has two.
fn members(text: &str) -> Vec<&str> {
    let mut members = Vec::new();
    let (mut depth, mut start) = (0_usize, 0_usize);
    let mut quote = false;
    let mut escaped = false;
    for (place, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quote => escaped = true,
            '"' => quote = !quote,
            _ if quote => {}
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                members.push(text[start..place].trim());
                start = place + 1;
            }
            _ => {}
        }
    }
    members.push(text[start..].trim());
    members
}

#[cfg(test)]
mod tests;
