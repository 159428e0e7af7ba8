//! msgpack as kombu writes and reads it: `packb(use_bin_type=True)` and `unpackb(raw=False)` (kombu/serialization.py).
//!
//! Text is `str`, bytes are `bin`; there are no type envelopes. Extension types are refused: kombu writes none, and Python
//! would hand a task an object that no result can hold.

use rmp::Marker;
use rmp::encode;

use crate::format::{DEEPEST, FormatError, WriteError};
use crate::graph::check_count;
use crate::value::{Map, Value};

/// Reads one value.
pub(crate) fn read(bytes: &[u8], limit: usize) -> Result<Value, FormatError> {
    let mut reader = Reader {
        bytes,
        at: 0,
        values: 0,
        limit,
    };
    let value = reader.value()?;
    if reader.at < bytes.len() {
        return Err(reader.damaged("unexpected bytes after the value"));
    }
    Ok(value)
}

/// A list or map whose end has not come yet, with the number of values still to come.
enum Open {
    List(Vec<Value>, u32),
    /// With the key of the member that is being read.
    Map(Map, String, u32),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
    limit: usize,
}

impl<'a> Reader<'a> {
    fn damaged(&self, problem: &str) -> FormatError {
        FormatError::damaged(problem, self.at)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let found = self
            .at
            .checked_add(length)
            .and_then(|end| self.bytes.get(self.at..end));
        let Some(found) = found else {
            return Err(self.damaged("the value ends too early"));
        };
        self.at += length;
        Ok(found)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn marker(&mut self) -> Result<Marker, FormatError> {
        Ok(Marker::from_u8(self.array::<1>()?[0]))
    }

    /// The length that follows a marker of 8, 16 or 32 bits.
    fn length(&mut self, width: usize) -> Result<u32, FormatError> {
        let mut all = [0; 4];
        all[4 - width..].copy_from_slice(self.take(width)?);
        Ok(u32::from_be_bytes(all))
    }

    fn text(&mut self, length: u32) -> Result<String, FormatError> {
        let start = self.at;
        match std::str::from_utf8(self.take(length as usize)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(FormatError::damaged(
                "text is not utf-8",
                start + error.valid_up_to(),
            )),
        }
    }

    /// The next value; open containers are kept on the heap, as in JSON.
    fn value(&mut self) -> Result<Value, FormatError> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.values += 1;
            check_count(self.values, self.limit)?;
            let marker = self.marker()?;
            let mut done = match container(marker) {
                Some((is_map, width)) => {
                    if open.len() == DEEPEST {
                        return Err(FormatError::TooDeep);
                    }
                    let length = match marker {
                        Marker::FixArray(length) | Marker::FixMap(length) => length.into(),
                        _ => self.length(width)?,
                    };
                    // Nothing is reserved for what a length merely claims.
                    open.push(match is_map {
                        true => Open::Map(Map::new(), String::new(), length),
                        false => Open::List(Vec::new(), length),
                    });
                    None
                }
                None => Some(self.scalar(marker)?),
            };
            loop {
                let Some(container) = open.last_mut() else {
                    match done {
                        Some(value) => return Ok(value),
                        None => break,
                    }
                };
                if let Some(value) = done.take() {
                    container.add(value);
                }
                if self.next_member(container)? {
                    break;
                }
                done = open.pop().map(Open::close);
            }
        }
    }

    /// Goes to the next member; false at the end.
    fn next_member(&mut self, container: &mut Open) -> Result<bool, FormatError> {
        match container {
            Open::List(_, 0) | Open::Map(_, _, 0) => Ok(false),
            Open::List(_, left) => {
                *left -= 1;
                Ok(true)
            }
            Open::Map(_, key, left) => {
                *left -= 1;
                *key = self.key()?;
                Ok(true)
            }
        }
    }

    /// Python takes text and bytes as keys (`strict_map_key`); bytes have no place here.
    fn key(&mut self) -> Result<String, FormatError> {
        let marker = self.marker()?;
        let length = match marker {
            Marker::FixStr(length) => length.into(),
            Marker::Str8 => self.length(1)?,
            Marker::Str16 => self.length(2)?,
            Marker::Str32 => self.length(4)?,
            _ => return Err(FormatError::unfit("a key is no text")),
        };
        self.text(length)
    }

    fn scalar(&mut self, marker: Marker) -> Result<Value, FormatError> {
        Ok(match marker {
            Marker::Null => Value::Null,
            Marker::True => Value::Bool(true),
            Marker::False => Value::Bool(false),
            Marker::FixPos(int) => Value::Int(int.into()),
            Marker::FixNeg(int) => Value::Int(int.into()),
            Marker::U8 => Value::Int(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => Value::Int(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Value::Int(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => Value::from(u64::from_be_bytes(self.array()?)),
            Marker::I8 => Value::Int(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => Value::Int(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => Value::Int(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => Value::Int(i64::from_be_bytes(self.array()?)),
            Marker::F32 => Value::Float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => Value::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(length) => Value::Str(self.text(length.into())?),
            Marker::Str8 => self.long_text(1)?,
            Marker::Str16 => self.long_text(2)?,
            Marker::Str32 => self.long_text(4)?,
            Marker::Bin8 => self.binary(1)?,
            Marker::Bin16 => self.binary(2)?,
            Marker::Bin32 => self.binary(4)?,
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => return Err(FormatError::refused("an extension type")),
            _ => return Err(FormatError::damaged("no value begins", self.at - 1)),
        })
    }

    fn long_text(&mut self, width: usize) -> Result<Value, FormatError> {
        let length = self.length(width)?;
        Ok(Value::Str(self.text(length)?))
    }

    fn binary(&mut self, width: usize) -> Result<Value, FormatError> {
        let length = self.length(width)?;
        Ok(Value::Bytes(self.take(length as usize)?.to_vec()))
    }
}

/// Whether the marker begins a map, and the width of its length; `None` for what is no container.
fn container(marker: Marker) -> Option<(bool, usize)> {
    match marker {
        Marker::FixArray(_) => Some((false, 0)),
        Marker::Array16 => Some((false, 2)),
        Marker::Array32 => Some((false, 4)),
        Marker::FixMap(_) => Some((true, 0)),
        Marker::Map16 => Some((true, 2)),
        Marker::Map32 => Some((true, 4)),
        _ => None,
    }
}

impl Open {
    fn add(&mut self, value: Value) {
        match self {
            Self::List(items, _) => items.push(value),
            Self::Map(map, key, _) => {
                map.insert(std::mem::take(key), value);
            }
        }
    }

    fn close(self) -> Value {
        match self {
            Self::List(items, _) => Value::List(items),
            Self::Map(map, ..) => Value::Map(map),
        }
    }
}

/// Writes a value in the shortest form, as `packb` does.
pub(crate) fn write(value: &Value) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::with_capacity(64);
    write_value(&mut out, value)?;
    Ok(out)
}

fn refused(what: &str) -> WriteError {
    WriteError {
        serializer: "msgpack",
        what: what.to_owned(),
    }
}

fn length(of: usize) -> Result<u32, WriteError> {
    u32::try_from(of).map_err(|_| refused("more than 4 GiB in one value"))
}

fn write_value(out: &mut Vec<u8>, value: &Value) -> Result<(), WriteError> {
    let done = match value {
        // Writing to a Vec fails only without memory, which ends the process before it is seen here.
        Value::Null => encode::write_nil(out).is_ok(),
        Value::Bool(bool) => encode::write_bool(out, *bool).is_ok(),
        Value::Int(int) => encode::write_sint(out, *int).is_ok(),
        Value::Big(digits) => match digits.parse::<u64>() {
            Ok(int) => encode::write_uint(out, int).is_ok(),
            Err(_) => return Err(refused("an int of more than 64 bits")),
        },
        Value::Float(float) => encode::write_f64(out, *float).is_ok(),
        Value::Str(text) => {
            length(text.len())?;
            encode::write_str(out, text).is_ok()
        }
        Value::Bytes(bytes) => {
            length(bytes.len())?;
            encode::write_bin(out, bytes).is_ok()
        }
        Value::List(items) => {
            let written = encode::write_array_len(out, length(items.len())?).is_ok();
            for item in items {
                write_value(out, item)?;
            }
            written
        }
        Value::Map(map) => {
            let written = encode::write_map_len(out, length(map.len())?).is_ok();
            for (key, value) in map {
                length(key.len())?;
                if encode::write_str(out, key).is_err() {
                    return Err(refused("this much"));
                }
                write_value(out, value)?;
            }
            written
        }
        Value::DateTime(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Decimal(_)
        | Value::Uuid(_) => {
            return Err(refused(&format!("a {}", value.kind())));
        }
    };
    match done {
        true => Ok(()),
        false => Err(refused("this much")),
    }
}
