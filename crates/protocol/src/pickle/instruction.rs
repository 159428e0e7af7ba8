//! The instructions, one by one.

use uuid::Uuid;

use super::class::Class;
use super::machine::{Machine, Object};
use super::text;
use crate::format::FormatError;
use crate::graph::{Id, Node};
use crate::value::Value;

impl Machine<'_> {
    pub(super) fn step(&mut self, instruction: u8) -> Result<(), FormatError> {
        if let Some(value) = self.scalar_of(instruction)? {
            let object = self.scalar(value);
            self.push(object);
            return Ok(());
        }
        match instruction {
            0x80 => {
                let version = self.array::<1>()?[0];
                if version > 5 {
                    return Err(FormatError::unfit(format!(
                        "pickle protocol {version}, 0 to 5 are read"
                    )));
                }
            }
            0x95 => {
                self.take(8)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                // Without anything above it the mark itself is taken away.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                self.since_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.push(top);
            }
            b']' => self.push_list(Vec::new()),
            b'l' => {
                let items = self.nodes_since_mark()?;
                self.push_list(items);
            }
            // A set begins as an empty list, a frozen one comes whole.
            0x8f => self.push_list(Vec::new()),
            0x91 => {
                let items = self.nodes_since_mark()?;
                self.push_list(items);
            }
            b'}' => {
                let map = self.container(Node::Map(Vec::new()));
                self.push(map);
            }
            b'd' => {
                let objects = self.since_mark()?;
                let map = self.container(Node::Map(Vec::new()));
                self.push(map);
                self.set_items(&objects)?;
            }
            b')' => self.push_tuple(Vec::new())?,
            0x85..=0x87 => {
                let mut objects = Vec::with_capacity(3);
                for _ in 0x84..instruction {
                    objects.push(self.pop()?);
                }
                objects.reverse();
                self.push_tuple(objects)?;
            }
            b't' => {
                let objects = self.since_mark()?;
                self.push_tuple(objects)?;
            }
            b'a' => {
                let object = self.pop()?;
                let item = self.node_of(object)?;
                self.append(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.nodes_since_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let objects = self.since_mark()?;
                self.set_items(&objects)?;
            }
            b'p' | b'q' | b'r' | 0x94 => self.remember(instruction)?,
            b'g' | b'h' | b'j' => self.recall(instruction)?,
            b'c' | 0x93 | b'R' | 0x81 | b'b' => self.make(instruction)?,
            b'i' => {
                // Class and instance of Python 2: named only to be refused.
                let (module, name) = (self.text_line()?, self.text_line()?);
                return Err(FormatError::refused(format!(
                    "an instance of {module}.{name}"
                )));
            }
            b'o' | 0x92 => {
                return Err(FormatError::refused("an instance made by OBJ or NEWOBJ_EX"));
            }
            0x82..=0x84 => return Err(FormatError::refused("an object of the extension registry")),
            b'P' | b'Q' => return Err(FormatError::refused("a persistent object")),
            0x97 | 0x98 => return Err(FormatError::refused("an out-of-band buffer")),
            other => {
                let problem = format!("{other:#04x} is no instruction, up to");
                return Err(self.damaged(&problem));
            }
        }
        Ok(())
    }

    /// The value that an instruction pushes, if it is one that pushes a value.
    fn scalar_of(&mut self, instruction: u8) -> Result<Option<Value>, FormatError> {
        let start = self.at;
        Ok(Some(match instruction {
            b'N' => Value::Null,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'I' => match self.text_line()? {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                line => text::integer(line).ok_or_else(|| self.damaged("no integer up to"))?,
            },
            b'L' => {
                let line = self.text_line()?;
                text::integer(line).ok_or_else(|| self.damaged("no integer up to"))?
            }
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => Value::Int(self.array::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'F' => {
                let line = self.text_line()?.trim();
                Value::Float(line.parse().map_err(|_| self.damaged("no float up to"))?)
            }
            b'G' => Value::Float(f64::from_be_bytes(self.array()?)),
            b'S' => {
                let line = self.line()?;
                Value::Str(text::quoted(line, start)?)
            }
            b'T' => self.ascii(4)?,
            b'U' => self.ascii(1)?,
            b'V' => {
                let line = self.line()?;
                Value::Str(text::raw_unicode(line, start)?)
            }
            b'X' => self.utf8(4)?,
            0x8c => self.utf8(1)?,
            0x8d => self.utf8(8)?,
            b'B' => Value::Bytes(self.counted(4)?.to_vec()),
            b'C' => Value::Bytes(self.counted(1)?.to_vec()),
            0x8e | 0x96 => Value::Bytes(self.counted(8)?.to_vec()),
            _ => return Ok(None),
        }))
    }

    /// The topmost object, to be put into.
    fn growing(&mut self) -> Result<Option<&mut Node>, FormatError> {
        Ok(match self.top()? {
            Object::Node(id) => self.graph.node_mut(id),
            _ => None,
        })
    }

    fn append(&mut self, items: &[Id]) -> Result<(), FormatError> {
        match self.growing()? {
            Some(Node::List(list)) => {
                list.extend_from_slice(items);
                Ok(())
            }
            _ => Err(self.damaged("items for what is no list or set")),
        }
    }

    fn set_items(&mut self, objects: &[Object]) -> Result<(), FormatError> {
        let nodes = objects.iter().map(|object| self.node_of(*object));
        let nodes: Vec<Id> = nodes.collect::<Result<_, _>>()?;
        let (pairs, odd) = nodes.as_chunks::<2>();
        match self.growing()? {
            Some(Node::Map(members)) if odd.is_empty() => {
                members.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => Err(self.damaged("keys and values for what is no dict")),
        }
    }

    fn memo_index(&mut self, instruction: u8) -> Result<u32, FormatError> {
        match instruction {
            b'p' | b'g' => {
                let line = self.text_line()?;
                line.parse()
                    .map_err(|_| self.damaged("no number of the memo up to"))
            }
            b'q' | b'h' => Ok(self.array::<1>()?[0].into()),
            b'r' | b'j' => Ok(u32::from_le_bytes(self.array()?)),
            _ => u32::try_from(self.memo.len()).map_err(|_| self.damaged("too large a memo")),
        }
    }

    fn remember(&mut self, instruction: u8) -> Result<(), FormatError> {
        let index = self.memo_index(instruction)?;
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, instruction: u8) -> Result<(), FormatError> {
        let index = self.memo_index(instruction)?;
        match self.memo.get(&index).copied() {
            Some(object) => {
                self.push(object);
                Ok(())
            }
            None => Err(self.damaged("nothing in the memo")),
        }
    }

    /// Naming a class, calling it, giving its instance a state.
    fn make(&mut self, instruction: u8) -> Result<(), FormatError> {
        let object = match instruction {
            b'c' => {
                let (module, name) = (self.text_line()?, self.text_line()?);
                Object::Class(Class::find(module, name)?)
            }
            0x93 => {
                let name = self.pop_text()?;
                let module = self.pop_text()?;
                Object::Class(Class::find(&module, &name)?)
            }
            b'R' => {
                let arguments = self.pop_tuple()?;
                let class = self.pop_class()?;
                class.call(self, &arguments)?
            }
            0x81 => {
                let arguments = self.pop_tuple()?;
                match self.pop_class()? {
                    Class::Uuid => Class::Uuid.call(self, &arguments)?,
                    other => {
                        return Err(FormatError::refused(format!("a bare {}", other.name())));
                    }
                }
            }
            _ => return self.build(),
        };
        self.push(object);
        Ok(())
    }

    /// The state of an object: only that of a UUID, its number.
    fn build(&mut self) -> Result<(), FormatError> {
        let state = self.pop()?;
        let Object::Uuid(id) = self.top()? else {
            return Err(FormatError::refused("the state of an object"));
        };
        let members = match state {
            Object::Node(state) => match self.graph.node(state) {
                Some(Node::Map(members)) => members.as_slice(),
                _ => &[],
            },
            _ => &[],
        };
        let number = members.iter().find_map(|(key, value)| {
            let (key, value) = (Object::Node(*key), Object::Node(*value));
            (self.text(key)? == "int")
                .then(|| self.value(value))
                .flatten()
        });
        let number = match number {
            Some(Value::Int(int)) => u128::try_from(*int).ok(),
            Some(Value::Big(digits)) => digits.parse().ok(),
            _ => None,
        };
        match (number, self.graph.node_mut(id)) {
            (Some(number), Some(place)) => {
                *place = Node::Scalar(Value::Uuid(Uuid::from_u128(number)));
                Ok(())
            }
            _ => Err(self.damaged("a UUID without its number")),
        }
    }

    /// Stack and memo take memory as values do.
    pub(super) fn check(&self) -> Result<(), FormatError> {
        let held = self.stack.len().max(self.memo.len()).max(self.marks.len());
        self.graph.check(held)
    }
}
