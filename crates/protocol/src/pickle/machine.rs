//! The machine: a stack, marks on it, and a memo.

use std::collections::HashMap;

use chrono::FixedOffset;

use super::class::Class;
use super::{decimal, text};
use crate::format::FormatError;
use crate::graph::{Graph, Id, Node};
use crate::value::Value;

/// What lies on the stack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Object {
    /// Finished or growing data.
    Node(Id),
    /// A tuple, by its number: the only thing that arguments come in.
    Tuple(usize),
    Class(Class),
    Zone(FixedOffset),
    Delta {
        seconds: i64,
        micros: i64,
    },
    /// A UUID, whose number comes as its state.
    Uuid(Id),
}

/// A tuple as arguments and as data; with a class in it, it is no data.
struct Tuple {
    objects: Vec<Object>,
    node: Option<Id>,
}

/// Follows one pickle.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) stack: Vec<Object>,
    pub(super) marks: Vec<usize>,
    pub(super) memo: HashMap<u32, Object>,
    tuples: Vec<Tuple>,
    pub(super) graph: Graph,
}

/// Reads the value of a pickle; what follows its end is not looked at, as in Python.
pub(crate) fn read(bytes: &[u8], limit: usize) -> Result<Value, FormatError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        tuples: Vec::new(),
        graph: Graph::new(limit),
    };
    loop {
        let instruction = machine.array::<1>()?[0];
        if instruction == b'.' {
            let last = machine.pop()?;
            let root = machine.node_of(last)?;
            return machine.graph.into_value(root);
        }
        machine.step(instruction)?;
        machine.check()?;
    }
}

/// What the arguments of an instruction and of a class are asked for.
impl Machine<'_> {
    pub(super) fn scalar(&mut self, value: Value) -> Object {
        Object::Node(self.graph.add(Node::Scalar(value)))
    }

    pub(super) fn container(&mut self, node: Node) -> Object {
        Object::Node(self.graph.add(node))
    }

    pub(super) fn begin_uuid(&mut self) -> Object {
        Object::Uuid(self.graph.add(Node::Unfinished("UUID")))
    }

    pub(super) fn value(&self, of: Object) -> Option<&Value> {
        match of {
            Object::Node(id) => match self.graph.node(id) {
                Some(Node::Scalar(value)) => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn bytes(&self, of: Object) -> Option<&[u8]> {
        match self.value(of) {
            Some(Value::Bytes(bytes)) => Some(bytes),
            // A date that Python 2 pickled.
            Some(Value::Str(text)) => Some(text.as_bytes()),
            _ => None,
        }
    }

    pub(super) fn text(&self, of: Object) -> Option<&str> {
        self.value(of)?.as_str()
    }

    pub(super) fn int(&self, of: Object) -> Option<i64> {
        self.value(of)?.as_i64()
    }

    pub(super) fn is_map(&self, of: Object) -> bool {
        matches!(of, Object::Node(id) if matches!(self.graph.node(id), Some(Node::Map(_))))
    }

    /// The items of a list or tuple.
    pub(super) fn items(&self, of: Object) -> Option<Vec<Id>> {
        let id = match of {
            Object::Node(id) => id,
            Object::Tuple(index) => self.tuples[index].node?,
            _ => return None,
        };
        match self.graph.node(id) {
            Some(Node::List(items)) => Some(items.clone()),
            _ => None,
        }
    }

    /// An object as data, to be put into a container.
    pub(super) fn node_of(&mut self, object: Object) -> Result<Id, FormatError> {
        Ok(match object {
            Object::Node(id) | Object::Uuid(id) => id,
            Object::Tuple(index) => match self.tuples[index].node {
                Some(id) => id,
                None => return Err(FormatError::refused("a tuple of classes")),
            },
            Object::Class(class) => {
                return Err(FormatError::refused(format!("{} itself", class.name())));
            }
            Object::Zone(zone) => {
                let name = match zone.local_minus_utc() {
                    0 => "UTC".to_owned(),
                    _ => format!("UTC{zone}"),
                };
                self.graph.add(Node::Scalar(Value::Str(name)))
            }
            Object::Delta { seconds, micros } => {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "as Python's total_seconds: microseconds are lost beyond 270 years"
                )]
                let length = seconds as f64 + micros as f64 / 1e6;
                self.graph.add(Node::Scalar(Value::Float(length)))
            }
        })
    }
}

/// Reading what follows an instruction.
impl<'a> Machine<'a> {
    pub(super) fn damaged(&self, problem: &str) -> FormatError {
        FormatError::damaged(problem, self.at)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let end = self.at.checked_add(length);
        let Some(found) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(self.damaged("the pickle ends too early"));
        };
        self.at += length;
        Ok(found)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// As many bytes as the next `width` bytes say, lowest first.
    pub(super) fn counted(&mut self, width: usize) -> Result<&'a [u8], FormatError> {
        let mut all = [0; 8];
        all[..width].copy_from_slice(self.take(width)?);
        let length = usize::try_from(u64::from_le_bytes(all)).unwrap_or(usize::MAX);
        self.take(length)
    }

    pub(super) fn line(&mut self) -> Result<&'a [u8], FormatError> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err(self.damaged("the pickle ends too early"));
        };
        self.at += length + 1;
        Ok(&rest[..length])
    }

    pub(super) fn text_line(&mut self) -> Result<&'a str, FormatError> {
        let line = self.line()?;
        std::str::from_utf8(line).map_err(|_| self.damaged("a line is not utf-8, up to"))
    }

    pub(super) fn long(&mut self, width: usize) -> Result<Value, FormatError> {
        let bytes = self.counted(width)?;
        if bytes.len() > 8 {
            // The conversion takes the square of the length.
            self.graph.charge(bytes.len() * bytes.len() / 8)?;
        }
        decimal::integer(bytes)
    }

    pub(super) fn utf8(&mut self, width: usize) -> Result<Value, FormatError> {
        let start = self.at;
        Ok(Value::Str(text::utf8(self.counted(width)?, start)?))
    }

    /// Python 2's `str`, which is text only where it is ASCII.
    pub(super) fn ascii(&mut self, width: usize) -> Result<Value, FormatError> {
        match std::str::from_utf8(self.counted(width)?) {
            Ok(text) if text.is_ascii() => Ok(Value::Str(text.to_owned())),
            _ => Err(self.damaged("a byte string that is not ASCII, up to")),
        }
    }
}

/// The stack.
impl Machine<'_> {
    pub(super) fn push(&mut self, object: Object) {
        self.stack.push(object);
    }

    /// The topmost object above the last mark.
    pub(super) fn pop(&mut self) -> Result<Object, FormatError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.damaged("nothing on the stack"));
        }
        self.stack.pop().ok_or(FormatError::TooDeep)
    }

    pub(super) fn top(&mut self) -> Result<Object, FormatError> {
        let top = self.pop()?;
        self.push(top);
        Ok(top)
    }

    /// Everything above the last mark, and the mark.
    pub(super) fn since_mark(&mut self) -> Result<Vec<Object>, FormatError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.damaged("no mark on the stack")),
        }
    }

    pub(super) fn nodes_since_mark(&mut self) -> Result<Vec<Id>, FormatError> {
        let objects = self.since_mark()?;
        objects
            .into_iter()
            .map(|object| self.node_of(object))
            .collect()
    }

    pub(super) fn push_list(&mut self, items: Vec<Id>) {
        let list = self.container(Node::List(items));
        self.push(list);
    }

    pub(super) fn push_tuple(&mut self, objects: Vec<Object>) -> Result<(), FormatError> {
        let is_data = objects.iter().all(|object| match object {
            Object::Class(_) => false,
            Object::Tuple(index) => self.tuples[*index].node.is_some(),
            _ => true,
        });
        let node = if is_data {
            let nodes = objects.iter().map(|object| self.node_of(*object));
            let nodes = nodes.collect::<Result<_, _>>()?;
            Some(self.graph.add(Node::List(nodes)))
        } else {
            None
        };
        self.tuples.push(Tuple { objects, node });
        self.push(Object::Tuple(self.tuples.len() - 1));
        Ok(())
    }

    /// The arguments of a call.
    pub(super) fn pop_tuple(&mut self) -> Result<Vec<Object>, FormatError> {
        match self.pop()? {
            Object::Tuple(index) => Ok(self.tuples[index].objects.clone()),
            _ => Err(self.damaged("a call without a tuple of arguments")),
        }
    }

    pub(super) fn pop_class(&mut self) -> Result<Class, FormatError> {
        match self.pop()? {
            Object::Class(class) => Ok(class),
            _ => Err(self.damaged("a call of what is no class")),
        }
    }

    pub(super) fn pop_text(&mut self) -> Result<String, FormatError> {
        let object = self.pop()?;
        match self.text(object) {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.damaged("a name that is no text")),
        }
    }
}
