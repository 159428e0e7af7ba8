//! What a plain scalar means: the implicit types of YAML 1.1 in PyYAML's form (yaml/resolver.py, yaml/constructor.py).

use crate::value::Value;
use crate::yaml::timestamp;

/// Integers that are not decimal may have so many bits.
const WIDEST: &str = "an int of more than 128 bits that is not decimal";

/// What a plain scalar is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plain {
    /// Text, by itself.
    Text,
    /// Anything else but text.
    Value(Value),
    /// `<<`: the members of another mapping.
    Merge,
    /// It has the form of a type and no value of it, such as `2024-13-01`; Python fails on it too.
    Wrong(&'static str),
}

/// Finds out what a plain scalar is.
pub(crate) fn plain(text: &str) -> Plain {
    // Most scalars are words or decimal numbers; both are told by their first byte.
    match text.as_bytes().first() {
        None => Plain::Value(Value::Null),
        Some(b'<') if text == "<<" => Plain::Merge,
        Some(b'=') if text == "=" => Plain::Wrong("a lone = has no meaning"),
        Some(b'~' | b'n' | b'N') if is_null(text) => Plain::Value(Value::Null),
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O') => {
            boolean(text).map_or(Plain::Text, |bool| Plain::Value(Value::Bool(bool)))
        }
        Some(b'-' | b'+' | b'.' | b'0'..=b'9') => number_or_time(text),
        Some(_) => Plain::Text,
    }
}

fn number_or_time(text: &str) -> Plain {
    if let Some(float) = float(text) {
        return Plain::Value(Value::Float(float));
    }
    if let Some(int) = integer(text) {
        return int.map_or_else(Plain::Wrong, Plain::Value);
    }
    match timestamp::read(text) {
        Some(Ok(time)) => Plain::Value(time),
        Some(Err(problem)) => Plain::Wrong(problem),
        None => Plain::Text,
    }
}

/// Whether the text is null.
pub(crate) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The text as a boolean.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    Some(match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => true,
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => false,
        _ => return None,
    })
}

/// Takes the sign off; true: negative.
fn signed(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(allowed)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && all(text, |byte| byte.is_ascii_digit())
}

fn digits_or_underscores(text: &str) -> bool {
    all(text, |byte| byte.is_ascii_digit() || byte == b'_')
}

/// `[0-9][0-9_]*`
fn spaced_digits(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_digit) && digits_or_underscores(text)
}

/// The text as a float. An exponent without a sign, as in `1e5`, makes none in YAML 1.1.
pub(crate) fn float(text: &str) -> Option<f64> {
    let (negative, unsigned) = signed(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(if negative {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(f64::NAN);
    }
    let (whole, fraction) = unsigned.split_once('.')?;
    if whole.contains(':') {
        return sexagesimal_float(whole, fraction, negative);
    }
    let (fraction, exponent) = match fraction.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (fraction, None),
    };
    let exponent_fits =
        exponent.is_none_or(|exponent| exponent.starts_with(['-', '+']) && digits(&exponent[1..]));
    let fits = match whole {
        // Without digits before the point there is no sign.
        "" => unsigned.len() == text.len() && spaced_digits(fraction),
        _ => spaced_digits(whole) && digits_or_underscores(fraction),
    };
    if !fits || !exponent_fits {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// `1:30.5`: sixties before the point.
fn sexagesimal_float(whole: &str, fraction: &str, negative: bool) -> Option<f64> {
    let parts = sixties(whole, false)?;
    if !digits_or_underscores(fraction) {
        return None;
    }
    let last: f64 = format!("{}.{}", parts.last()?, fraction.replace('_', ""))
        .parse()
        .ok()?;
    let mut sum = 0.0;
    for part in &parts[..parts.len() - 1] {
        sum = (sum + part.parse::<f64>().ok()?) * 60.0;
    }
    let sum = sum + last;
    Some(if negative { -sum } else { sum })
}

/// The parts of `12:30:15`, without underscores; all after the first are below sixty.
fn sixties(text: &str, no_leading_zero: bool) -> Option<Vec<String>> {
    let mut parts = text.split(':');
    let first = parts.next()?;
    if !spaced_digits(first) || (no_leading_zero && first.starts_with('0')) {
        return None;
    }
    let mut all = vec![first.replace('_', "")];
    for part in parts {
        let below_sixty = match part.as_bytes() {
            [one] => one.is_ascii_digit(),
            [ten @ b'0'..=b'5', one] => ten.is_ascii_digit() && one.is_ascii_digit(),
            _ => false,
        };
        if !below_sixty {
            return None;
        }
        all.push(part.to_owned());
    }
    (all.len() > 1).then_some(all)
}

/// The text as an integer: `None` when it has not the form of one.
pub(crate) fn integer(text: &str) -> Option<Result<Value, &'static str>> {
    let (negative, unsigned) = signed(text);
    let other_base = |digits: &str, radix: u32| {
        let digits = digits.replace('_', "");
        let digits = digits.trim_start_matches('0');
        match u128::from_str_radix(if digits.is_empty() { "0" } else { digits }, radix) {
            Ok(size) => Ok(decimal(&size.to_string(), negative)),
            Err(_) => Err(WIDEST),
        }
    };
    if let Some(bits) = unsigned.strip_prefix("0b") {
        return (!bits.is_empty() && all(bits, |byte| matches!(byte, b'0' | b'1' | b'_')))
            .then(|| nonempty(bits).and_then(|bits| other_base(bits, 2)));
    }
    if let Some(hex) = unsigned.strip_prefix("0x") {
        return (!hex.is_empty() && all(hex, |byte| byte.is_ascii_hexdigit() || byte == b'_'))
            .then(|| nonempty(hex).and_then(|hex| other_base(hex, 16)));
    }
    if unsigned == "0" {
        return Some(Ok(Value::Int(0)));
    }
    if let Some(octal) = unsigned.strip_prefix('0') {
        return all(octal, |byte| matches!(byte, b'0'..=b'7' | b'_')).then(|| other_base(octal, 8));
    }
    if unsigned.contains(':') {
        let parts = sixties(unsigned, true)?;
        let mut sum: i128 = 0;
        for part in parts {
            let part: Option<i128> = part.parse().ok();
            let next = part.and_then(|part| sum.checked_mul(60)?.checked_add(part));
            match next {
                Some(next) => sum = next,
                None => return Some(Err(WIDEST)),
            }
        }
        return Some(Ok(decimal(&sum.to_string(), negative)));
    }
    spaced_digits(unsigned).then(|| Ok(decimal(&unsigned.replace('_', ""), negative)))
}

fn nonempty(digits: &str) -> Result<&str, &'static str> {
    if digits.bytes().all(|byte| byte == b'_') {
        Err("an int without digits")
    } else {
        Ok(digits)
    }
}

/// Decimal digits without sign or leading zeros as a value.
fn decimal(digits: &str, negative: bool) -> Value {
    let text = if negative && digits != "0" {
        format!("-{digits}")
    } else {
        digits.to_owned()
    };
    text.parse().map_or(Value::Big(text), Value::Int)
}
