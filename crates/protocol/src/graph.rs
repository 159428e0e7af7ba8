//! Values that refer to each other, as YAML's anchors and a pickle's memo make them, and how they become plain values.
//!
//! What is referred to twice is copied, so a short text can stand for an endless value: copies are paid for out of a
//! limit, and a value inside itself is refused.

use crate::format::{DEEPEST, FormatError};
use crate::json::writer::{write_float, write_int};
use crate::value::{Map, Value};

/// The place of a node in its graph.
pub(crate) type Id = usize;

/// A value whose parts are other nodes.
#[derive(Debug)]
pub(crate) enum Node {
    /// No container.
    Scalar(Value),
    /// A list.
    List(Vec<Id>),
    /// Keys and values in the order they were written.
    Map(Vec<(Id, Id)>),
    /// An object that was begun and, so far, not finished.
    Unfinished(&'static str),
}

/// How far a node has come.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Never,
    /// Its parts are being looked at: whoever refers to it now is one of them.
    Inside,
    Once,
}

/// All nodes of one text, and what may still be spent on it.
#[derive(Debug)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    limit: usize,
    spent: usize,
}

impl Graph {
    /// An empty graph; `limit` is the most bytes that copies may take.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            nodes: Vec::new(),
            limit,
            spent: 0,
        }
    }

    pub(crate) fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub(crate) fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(id)
    }

    pub(crate) fn node_mut(&mut self, id: Id) -> Option<&mut Node> {
        self.nodes.get_mut(id)
    }

    /// Refuses what holds more values than the limit has room for, or more of something else that grows with them.
    pub(crate) fn check(&self, beside: usize) -> Result<(), FormatError> {
        check_count(self.nodes.len().max(beside), self.limit)
    }

    /// Pays for something that costs more than its bytes suggest.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), FormatError> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > self.limit {
            return Err(FormatError::TooLarge { limit: self.limit });
        }
        Ok(())
    }

    /// The plain value of a node.
    ///
    /// Open containers are kept on the heap, as in JSON: how deep a stranger nests must not decide how much stack is used.
    pub(crate) fn into_value(mut self, root: Id) -> Result<Value, FormatError> {
        let mut seen = vec![Seen::Never; self.nodes.len()];
        let mut open: Vec<Open> = Vec::new();
        let mut next = root;
        loop {
            let mut done = self.visit(next, &mut seen)?;
            if done.is_none() {
                if open.len() == DEEPEST {
                    return Err(FormatError::TooDeep);
                }
                open.push(Open::new(next, &self.nodes[next]));
            }
            // Hand what is complete to what it stands in, until another node has to be visited.
            loop {
                let Some(container) = open.last_mut() else {
                    match done {
                        Some(value) => return Ok(value),
                        None => break,
                    }
                };
                if let Some(value) = done.take() {
                    container.add(value)?;
                }
                if let Some(part) = container.next(&self.nodes) {
                    next = part;
                    break;
                }
                done = open.pop().map(|closed| {
                    seen[closed.id] = Seen::Once;
                    closed.value()
                });
            }
        }
    }

    /// Comes to a node: its value when it is a scalar, nothing when its parts have to be visited.
    fn visit(&mut self, id: Id, seen: &mut [Seen]) -> Result<Option<Value>, FormatError> {
        match seen[id] {
            Seen::Inside => return Err(FormatError::unfit("a container contains itself")),
            Seen::Once => self.charge(size_of::<Value>())?,
            Seen::Never => {}
        }
        match &self.nodes[id] {
            Node::Scalar(value) => {
                let value = value.clone();
                if seen[id] == Seen::Once {
                    self.charge(text_length(&value))?;
                }
                seen[id] = Seen::Once;
                Ok(Some(value))
            }
            Node::Unfinished(what) => {
                Err(FormatError::unfit(format!("a {what} without its value")))
            }
            Node::List(_) | Node::Map(_) => {
                seen[id] = Seen::Inside;
                Ok(None)
            }
        }
    }
}

/// A container whose parts are being visited.
struct Open {
    id: Id,
    /// How many parts have been; a member of a map has two.
    visited: usize,
    built: Built,
}

enum Built {
    List(Vec<Value>),
    /// With the key of the member whose value comes next.
    Map(Map, Option<Key>),
}

impl Open {
    fn new(id: Id, node: &Node) -> Self {
        let built = match node {
            Node::Map(_) => Built::Map(Map::new(), None),
            _ => Built::List(Vec::new()),
        };
        Self {
            id,
            visited: 0,
            built,
        }
    }

    fn next(&mut self, nodes: &[Node]) -> Option<Id> {
        let part = match nodes.get(self.id)? {
            Node::List(items) => *items.get(self.visited)?,
            Node::Map(members) => {
                let (key, value) = *members.get(self.visited / 2)?;
                if self.visited.is_multiple_of(2) {
                    key
                } else {
                    value
                }
            }
            _ => return None,
        };
        self.visited += 1;
        Some(part)
    }

    fn add(&mut self, part: Value) -> Result<(), FormatError> {
        match &mut self.built {
            Built::List(items) => items.push(part),
            Built::Map(map, key) => match key.take() {
                None => *key = Some(key_text(&part)?),
                Some(key) => insert(map, key, part)?,
            },
        }
        Ok(())
    }

    fn value(self) -> Value {
        match self.built {
            Built::List(items) => Value::List(items),
            Built::Map(map, _) => Value::Map(map),
        }
    }
}

/// A value of one byte takes seventy in memory, so their number is limited too: by what sixteen bytes each would take.
pub(crate) fn check_count(values: usize, limit: usize) -> Result<(), FormatError> {
    let most = limit / 16;
    if values > most {
        return Err(FormatError::TooMany { most });
    }
    Ok(())
}

/// What a scalar holds outside of itself.
fn text_length(value: &Value) -> usize {
    match value {
        Value::Big(text)
        | Value::Str(text)
        | Value::DateTime(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Decimal(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

/// A key and the kind of key it was: `1` and `"1"` are two keys in Python and one here.
pub(crate) struct Key {
    text: String,
    is_text: bool,
}

/// A key as text, as Python's JSON writes keys that are none.
pub(crate) fn key_text(key: &Value) -> Result<Key, FormatError> {
    let mut text = String::new();
    match key {
        Value::Str(key) => {
            return Ok(Key {
                text: key.clone(),
                is_text: true,
            });
        }
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Int(int) => write_int(&mut text, *int),
        Value::Big(digits) => text.push_str(digits),
        Value::Float(float) => write_float(&mut text, *float),
        other => {
            let what = format!("a key is a {}, expected text", other.kind());
            return Err(FormatError::unfit(what));
        }
    }
    Ok(Key {
        text,
        is_text: false,
    })
}

/// Adds a member; of a repeated text the last one counts, as in Python, but keys of two kinds must not become one.
pub(crate) fn insert(map: &mut Map, key: Key, value: Value) -> Result<(), FormatError> {
    if !key.is_text && map.contains_key(&key.text) {
        let what = format!("two keys become the same text {:?}", key.text);
        return Err(FormatError::unfit(what));
    }
    map.insert(key.text, value);
    Ok(())
}
