//! A step of a workflow: one task, or a chain, a group or a chord of steps.
//!
//! Which of them it is follows from the field that is there, so that a fault is told of the step that was meant. (What the
//! derive for unions tells is only that none of them fits.)

use std::borrow::Cow;

use poem_openapi::{
    Object,
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde_json::Value;

use crate::schema::task::CallBody;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// One task.
    Call(Box<CallBody>),
    /// One after the other.
    Chain(ChainStep),
    /// Side by side.
    Group(GroupStep),
    /// Side by side, and then one with the results.
    Chord(ChordStep),
}

/// Steps one after the other, each called with the result of the one before.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Chain", deny_unknown_fields)]
pub(crate) struct ChainStep {
    /// The steps.
    #[oai(validator(min_items = 1))]
    pub(crate) chain: Vec<Step>,
}

/// Steps side by side.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Group", deny_unknown_fields)]
pub(crate) struct GroupStep {
    /// The steps.
    #[oai(validator(min_items = 1))]
    pub(crate) group: Vec<Step>,
}

/// Steps side by side, and one that is called with the list of their results once all have succeeded.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Chord", deny_unknown_fields)]
pub(crate) struct ChordStep {
    /// The two parts.
    pub(crate) chord: ChordParts,
}

/// The parts of a chord.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct ChordParts {
    /// The steps side by side.
    #[oai(validator(min_items = 1))]
    pub(crate) header: Vec<Step>,
    /// The step that gets their results.
    pub(crate) body: Box<Step>,
}

impl Type for Step {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;

    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "Step".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::name().into_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(Self::name().into_owned(), |registry| {
            CallBody::register(registry);
            ChainStep::register(registry);
            GroupStep::register(registry);
            ChordStep::register(registry);
            MetaSchema {
                description: Some("One task, or a chain, a group or a chord of steps."),
                any_of: vec![
                    CallBody::schema_ref(),
                    ChainStep::schema_ref(),
                    GroupStep::schema_ref(),
                    ChordStep::schema_ref(),
                ],
                ..MetaSchema::ANY
            }
        });
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromJSON for Step {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let value = value.unwrap_or_default();
        let Value::Object(object) = &value else {
            return Err(ParseError::custom("a step is an object"));
        };
        let kinds = ["task", "chain", "group", "chord"];
        let mut found = kinds.iter().filter(|kind| object.contains_key(**kind));
        match (found.next().copied(), found.next()) {
            (Some("task"), None) => CallBody::parse_from_json(Some(value))
                .map(|call| Self::Call(Box::new(call)))
                .map_err(ParseError::propagate),
            (Some("chain"), None) => ChainStep::parse_from_json(Some(value))
                .map(Self::Chain)
                .map_err(ParseError::propagate),
            (Some("group"), None) => GroupStep::parse_from_json(Some(value))
                .map(Self::Group)
                .map_err(ParseError::propagate),
            (Some(_), None) => ChordStep::parse_from_json(Some(value))
                .map(Self::Chord)
                .map_err(ParseError::propagate),
            _ => Err(ParseError::custom(
                "a step has exactly one of the fields task, chain, group and chord",
            )),
        }
    }
}

impl ToJSON for Step {
    fn to_json(&self) -> Option<Value> {
        match self {
            Self::Call(call) => call.to_json(),
            Self::Chain(chain) => chain.to_json(),
            Self::Group(group) => group.to_json(),
            Self::Chord(chord) => chord.to_json(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_is_told_of_the_step_that_was_meant() {
        let fault = |json| {
            Step::parse_from_json(Some(json))
                .unwrap_err()
                .into_message()
        };
        let typo = json!({"chain": [{"task": "a"}, {"group": [{"task": "b", "qeue": "x"}]}]});
        assert!(fault(typo).contains("unknown field `qeue`"));
        assert!(fault(json!({"task": "a", "chain": []})).contains("exactly one"));
        assert!(fault(json!({"args": []})).contains("exactly one"));
        assert!(fault(json!({"chord": {"header": []}})).contains("header"));
    }

    #[test]
    fn steps_nest() {
        let json = json!({"chain": [
            {"task": "a"},
            {"chord": {"header": [{"task": "b"}, {"task": "c"}], "body": {"task": "d"}}},
        ]});
        let Step::Chain(chain) = Step::parse_from_json(Some(json)).unwrap() else {
            panic!("it is a chain")
        };
        assert!(matches!(&chain.chain[1], Step::Chord(chord) if chord.chord.header.len() == 2));
    }
}
