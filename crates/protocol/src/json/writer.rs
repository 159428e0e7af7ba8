//! Writing as `json.dumps` does with its defaults.

use std::fmt::Write;

/// Appends a quoted string; everything outside printable ASCII becomes `\uXXXX`.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    loop {
        let run = rest.bytes().position(must_escape).unwrap_or(rest.len());
        out.push_str(&rest[..run]);
        let mut chars = rest[run..].chars();
        let Some(special) = chars.next() else { break };
        write_escape(out, special);
        rest = chars.as_str();
    }
    out.push('"');
}

fn must_escape(byte: u8) -> bool {
    !(b' '..=b'~').contains(&byte) || byte == b'"' || byte == b'\\'
}

fn write_escape(out: &mut String, special: char) {
    match special {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        other => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            for unit in other.encode_utf16(&mut [0; 2]) {
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(char::from(HEX[usize::from((*unit >> shift) & 15)]));
                }
            }
        }
    }
}

/// Appends an integer.
pub(crate) fn write_int(out: &mut String, int: i64) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{int}");
}

/// Appends a float as JSON of Python's kind: `NaN` and `Infinity` are allowed.
pub(crate) fn write_float(out: &mut String, float: f64) {
    if float.is_nan() {
        out.push_str("NaN");
    } else if float.is_infinite() {
        out.push_str(if float < 0.0 { "-Infinity" } else { "Infinity" });
    } else {
        write_finite(out, float);
    }
}

/// Appends a finite float as Python's `repr` does: the shortest digits, an exponent from 1e16 up and below 1e-4.
pub(crate) fn write_finite(out: &mut String, float: f64) {
    let start = out.len();
    let size = float.abs();
    if size == 0.0 || (1e-4..1e16).contains(&size) {
        let _ = write!(out, "{float}");
        if !out[start..].contains('.') {
            out.push_str(".0");
        }
        return;
    }
    let _ = write!(out, "{float:e}");
    let Some(at) = out[start..].find('e') else {
        return;
    };
    // Rust writes 1e16 and 1e-5, Python 1e+16 and 1e-05.
    let exponent = out.split_off(start + at + 1);
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent.as_str()),
    };
    out.push(sign);
    if digits.len() < 2 {
        out.push('0');
    }
    out.push_str(digits);
}
