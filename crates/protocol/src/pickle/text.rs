//! The text forms of protocol 0.

use crate::format::FormatError;
use crate::value::Value;

/// An integer in decimal digits, perhaps with Python 2's `L`.
pub(super) fn integer(line: &str) -> Option<Value> {
    let digits = line.strip_suffix('L').unwrap_or(line);
    if let Ok(int) = digits.parse() {
        return Some(Value::Int(int));
    }
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    let decimal = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    let short = unsigned.trim_start_matches('0');
    if !decimal || short.is_empty() {
        return None;
    }
    let sign = if digits.starts_with('-') { "-" } else { "" };
    Some(Value::Big(format!("{sign}{short}")))
}

/// Text in `raw-unicode-escape`: Latin-1, and `\u` with four or `\U` with eight hexadecimal digits.
pub(super) fn raw_unicode(line: &[u8], at: usize) -> Result<String, FormatError> {
    let wrong = || FormatError::damaged("a damaged unicode escape", at);
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let width = match (first, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            // Two backslashes are two, and do not begin an escape.
            (b'\\', Some(b'\\')) => {
                text.push_str("\\\\");
                rest = &after[1..];
                continue;
            }
            _ => {
                text.push(char::from(*first));
                continue;
            }
        };
        let digits = after.get(1..=width).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let code = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
        // Half of a surrogate pair, as in JSON.
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &after[width + 1..];
    }
    Ok(text)
}

/// A string as Python 2's `repr` wrote it; like Python 3 by default, only ASCII is taken.
pub(super) fn quoted(line: &[u8], at: usize) -> Result<String, FormatError> {
    let wrong = || FormatError::damaged("a damaged string", at);
    let ([b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"']) = line else {
        return Err(wrong());
    };
    let mut text = String::with_capacity(inner.len());
    let mut bytes = inner.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'\\' {
            match bytes.next().ok_or_else(wrong)? {
                b'\n' => continue,
                b'a' => 7,
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'v' => 11,
                b'f' => 12,
                b'r' => b'\r',
                b'x' => {
                    let mut hex = || char::from(bytes.next()?).to_digit(16);
                    let code = hex().zip(hex()).map(|(high, low)| high * 16 + low);
                    u8::try_from(code.ok_or_else(wrong)?).map_err(|_| wrong())?
                }
                digit @ b'0'..=b'7' => {
                    let mut code = u32::from(digit - b'0');
                    for _ in 0..2 {
                        let Some(next) = bytes.next_if(|byte| (b'0'..=b'7').contains(byte)) else {
                            break;
                        };
                        code = code * 8 + u32::from(next - b'0');
                    }
                    u8::try_from(code & 0xff).map_err(|_| wrong())?
                }
                same @ (b'\\' | b'\'' | b'"') => same,
                other => {
                    text.push('\\');
                    other
                }
            }
        } else {
            byte
        };
        if !byte.is_ascii() {
            return Err(FormatError::damaged("a byte string that is not ASCII", at));
        }
        text.push(char::from(byte));
    }
    Ok(text)
}

/// Text as Python's `surrogatepass` reads UTF-8: encoded halves of surrogate pairs, which Rust cannot hold, become U+FFFD.
pub(super) fn utf8(bytes: &[u8], at: usize) -> Result<String, FormatError> {
    let wrong = || FormatError::damaged("text is not utf-8", at);
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                return Ok(text);
            }
            Err(error) => error,
        };
        let (valid, after) = rest.split_at(error.valid_up_to());
        text.push_str(std::str::from_utf8(valid).map_err(|_| wrong())?);
        let [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] = after else {
            return Err(wrong());
        };
        text.push(char::REPLACEMENT_CHARACTER);
        rest = after;
    }
}
