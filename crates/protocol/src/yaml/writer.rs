//! Values to YAML in the form of PyYAML's `safe_dump`: block style, keys sorted, ASCII only.
//!
//! Other than PyYAML no line is folded, and text of several lines stands in double quotes; what is read is the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::scalar::{Plain, plain};
use super::timestamp;
use crate::format::WriteError;
use crate::json::writer::{write_finite, write_int};
use crate::value::{Map, Value};

/// Base64 is broken into lines of so many characters (Python's `encodebytes`).
const BASE64_LINE: usize = 76;
/// From so many characters on PyYAML writes a key with a question mark.
const LONG_KEY: usize = 123;
/// No reader looks for a key's colon further than 1024 characters from its start.
const LONGEST_KEY: usize = 1000;

/// Writes a document.
pub(crate) fn write(value: &Value) -> Result<String, WriteError> {
    let mut out = String::with_capacity(128);
    node(&mut out, value, 0)?;
    out.push('\n');
    Ok(out)
}

fn refused(what: &str) -> WriteError {
    WriteError {
        serializer: "yaml",
        what: what.to_owned(),
    }
}

/// A value where its first line has been begun; a container's further lines have `indent` blanks.
fn node(out: &mut String, value: &Value, indent: usize) -> Result<(), WriteError> {
    match value {
        Value::List(items) if !items.is_empty() => list(out, items, indent),
        Value::Map(map) if !map.is_empty() => mapping(out, map, indent),
        other => scalar(out, other, indent),
    }
}

fn line(out: &mut String, indent: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

fn list(out: &mut String, items: &[Value], indent: usize) -> Result<(), WriteError> {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            line(out, indent);
        }
        out.push_str("- ");
        node(out, item, indent + 2)?;
    }
    Ok(())
}

fn mapping(out: &mut String, map: &Map, indent: usize) -> Result<(), WriteError> {
    let mut members: Vec<(&String, &Value)> = map.iter().collect();
    members.sort_unstable_by(|one, other| one.0.cmp(other.0));
    for (index, (key, value)) in members.into_iter().enumerate() {
        if index > 0 {
            line(out, indent);
        }
        let start = out.len();
        text(out, key);
        let long = key.chars().count() >= LONG_KEY || out.len() - start >= LONGEST_KEY;
        if key.is_empty() || long {
            out.insert_str(start, "? ");
            line(out, indent);
            out.push_str(": ");
            node(out, value, indent + 2)?;
            continue;
        }
        out.push(':');
        match value {
            Value::List(items) if !items.is_empty() => {
                line(out, indent);
                list(out, items, indent)?;
            }
            Value::Map(inner) if !inner.is_empty() => {
                line(out, indent + 2);
                mapping(out, inner, indent + 2)?;
            }
            other => {
                out.push(' ');
                scalar(out, other, indent + 2)?;
            }
        }
    }
    Ok(())
}

fn scalar(out: &mut String, value: &Value, indent: usize) -> Result<(), WriteError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Int(int) => write_int(out, *int),
        Value::Big(digits) => out.push_str(digits),
        Value::Float(float) => write_float(out, *float),
        Value::Str(string) => text(out, string),
        Value::Bytes(bytes) => binary(out, bytes, indent),
        Value::DateTime(time) => match timestamp::dumped(time) {
            Some(time) => out.push_str(&time),
            None => return Err(refused("a datetime whose offset has seconds")),
        },
        Value::Date(date) => out.push_str(date),
        Value::Time(_) | Value::Decimal(_) | Value::Uuid(_) => {
            return Err(refused(&format!("a {}", value.kind())));
        }
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
    Ok(())
}

fn write_float(out: &mut String, float: f64) {
    if float.is_nan() {
        out.push_str(".nan");
    } else if float.is_infinite() {
        out.push_str(if float < 0.0 { "-.inf" } else { ".inf" });
    } else {
        let start = out.len();
        write_finite(out, float);
        // Without a point it would be text in YAML 1.1.
        if !out[start..].contains('.')
            && let Some(at) = out[start..].find('e')
        {
            out.insert_str(start + at, ".0");
        }
    }
}

fn binary(out: &mut String, bytes: &[u8], indent: usize) {
    if bytes.is_empty() {
        out.push_str("!!binary \"\"");
        return;
    }
    out.push_str("!!binary |");
    let encoded = STANDARD.encode(bytes);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (first, after) = rest.split_at(rest.len().min(BASE64_LINE));
        line(out, indent.max(2));
        out.push_str(first);
        rest = after;
    }
}

/// Text in the simplest style that is read as this very text.
fn text(out: &mut String, text: &str) {
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        double_quoted(out, text);
    } else if is_plain(text) {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

/// Whether printable ASCII can stand without quotes in block style (yaml/emitter.py, `analyze_scalar`).
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    let blank_at = |at: usize| bytes.get(at).is_none_or(|byte| *byte == b' ');
    let begins_well = match first {
        b'#' | b',' | b'[' | b']' | b'{' | b'}' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\''
        | b'"' | b'%' | b'@' | b'`' | b' ' => false,
        b'?' | b':' | b'-' => !blank_at(1),
        _ => true,
    };
    let marker = text.starts_with("---") || text.starts_with("...");
    let breaks_off = bytes.iter().enumerate().any(|(at, byte)| match byte {
        b':' => blank_at(at + 1),
        b'#' => at > 0 && bytes[at - 1] == b' ',
        _ => false,
    });
    begins_well && !marker && !breaks_off && *last != b' ' && plain(text) == Plain::Text
}

fn double_quoted(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        let short = match char {
            '\0' => '0',
            '\x07' => 'a',
            '\x08' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\x0b' => 'v',
            '\x0c' => 'f',
            '\r' => 'r',
            '\x1b' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            ' '..='~' => {
                out.push(char);
                continue;
            }
            other => {
                let code = u32::from(other);
                out.push_str(&match code {
                    0..=0xff => format!("\\x{code:02X}"),
                    0x100..=0xffff => format!("\\u{code:04X}"),
                    _ => format!("\\U{code:08X}"),
                });
                continue;
            }
        };
        out.push('\\');
        out.push(short);
    }
    out.push('"');
}
