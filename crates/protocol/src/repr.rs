//! Values for human eyes: Celery's `saferepr`, and Python's `repr`.
//!
//! The first fills `argsrepr`, `kwargsrepr` and the result in events. Its rules are those of celery/utils/saferepr.py:
//! strings keep control characters and backslashes, nesting stops at three levels, and the whole at 1024 characters.

use chrono::{Datelike, NaiveDate, NaiveTime, Timelike};

use crate::json::writer::write_finite;
use crate::time;
use crate::value::{Map, Value};

const MAX_LENGTH: usize = 1024;
const MAX_LEVELS: usize = 3;

/// Prints a value for people.
#[must_use]
pub fn saferepr(value: &Value) -> String {
    saferepr_within(value, MAX_LENGTH)
}

/// As [`saferepr`], with another limit of the length (Celery's `resultrepr_maxsize`).
#[must_use]
pub fn saferepr_within(value: &Value, most: usize) -> String {
    let mut printer = Printer::within(most);
    printer.value(value);
    printer.out
}

/// Prints positional arguments as Python's tuple.
#[must_use]
pub fn args_repr(args: &[Value]) -> String {
    args_repr_within(args, MAX_LENGTH)
}

/// As [`args_repr`], with another limit of the length (Celery's `argsrepr_maxsize`).
#[must_use]
pub fn args_repr_within(args: &[Value], most: usize) -> String {
    let mut printer = Printer::within(most);
    printer.sequence(args, '(', if args.len() == 1 { ",)" } else { ")" });
    printer.out
}

/// Prints keyword arguments.
#[must_use]
pub fn kwargs_repr(kwargs: &Map) -> String {
    kwargs_repr_within(kwargs, MAX_LENGTH)
}

/// As [`kwargs_repr`], with another limit of the length (Celery's `kwargsrepr_maxsize`).
#[must_use]
pub fn kwargs_repr_within(kwargs: &Map, most: usize) -> String {
    let mut printer = Printer::within(most);
    printer.map(kwargs);
    printer.out
}

/// Writes one token after the other until the length is used up.
struct Printer {
    out: String,
    /// Characters left.
    left: usize,
    level: usize,
    /// The length is used up and the dots are written; only closing brackets follow.
    stopped: bool,
}

impl Printer {
    fn within(most: usize) -> Self {
        Self {
            out: String::new(),
            left: most,
            level: 0,
            stopped: false,
        }
    }

    /// Makes sure that one more token may be written.
    fn room(&mut self) -> bool {
        if !self.stopped && self.left == 0 {
            self.out.push_str(", ...");
            self.stopped = true;
        }
        !self.stopped
    }

    fn spend(&mut self, characters: usize) {
        self.left = self.left.saturating_sub(characters);
    }

    fn literal(&mut self, text: &str) {
        if self.room() {
            self.out.push_str(text);
            self.spend(text.chars().count());
        }
    }

    /// A number or other text that may be cut.
    fn plain(&mut self, text: &str) {
        if self.room() {
            let cut = truncate(text, self.left);
            self.out.push_str(&cut);
            self.spend(cut.chars().count());
        }
    }

    fn quoted(&mut self, text: &str) {
        if self.room() {
            let quoted = format!("'{}'", truncate(text, self.left).replace('\'', "\\'"));
            self.out.push_str(&quoted);
            self.spend(quoted.chars().count());
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if !self.room() {
            return;
        }
        let readable = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let text = if bytes.len() > self.left {
            format!("b'{}...'", readable(&bytes[..self.left]))
        } else {
            format!("b'{}'", readable(bytes))
        };
        self.out.push_str(&text);
        self.spend(text.chars().count());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::List(items) => self.sequence(items, '[', "]"),
            Value::Map(map) => self.map(map),
            Value::Str(text) => self.quoted(text),
            Value::Bytes(bytes) => self.bytes(bytes),
            other => self.plain(&python_repr(other)),
        }
    }

    fn sequence(&mut self, items: &[Value], open: char, close: &str) {
        if self.level >= MAX_LEVELS {
            self.literal(&format!("{open}...{close}"));
            return;
        }
        if !self.open(open) {
            return;
        }
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.literal(", ");
            }
            self.value(item);
            if self.stopped {
                break;
            }
        }
        self.close(close);
    }

    fn map(&mut self, map: &Map) {
        if self.level >= MAX_LEVELS {
            self.literal("{...}");
            return;
        }
        if !self.open('{') {
            return;
        }
        for (index, (key, value)) in map.iter().enumerate() {
            if index > 0 {
                self.literal(", ");
            }
            self.quoted(key);
            self.literal(": ");
            self.value(value);
            if self.stopped {
                break;
            }
        }
        self.close("}");
    }

    /// Opens a bracket; false when it does not fit, and then it must not be closed.
    fn open(&mut self, bracket: char) -> bool {
        let fits = self.room();
        if fits {
            self.out.push(bracket);
            self.spend(1);
            self.level += 1;
        }
        fits
    }

    /// What is open is always closed, whatever the length.
    fn close(&mut self, bracket: &str) {
        self.out.push_str(bracket);
        self.spend(bracket.len());
        self.level -= 1;
    }
}

/// Celery's `truncate`: cuts at the last space, if there is one, and adds dots.
fn truncate(text: &str, length: usize) -> String {
    // Most texts are short in bytes already, which saves counting characters.
    if text.len() < length || text.chars().nth(length.saturating_sub(1)).is_none() {
        return text.to_owned();
    }
    let cut: String = text.chars().take(length).collect();
    let kept = cut.rsplit_once(' ').map_or(cut.as_str(), |(kept, _)| kept);
    format!("{kept}...")
}

/// Prints a value as Python's `repr` does, in full.
#[must_use]
pub fn python_repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(&mut out, value);
    out
}

/// Prints a text as Python's `repr` does, with its quotes.
#[must_use]
pub fn python_string(text: &str) -> String {
    string_repr(text)
}

/// Prints an exception as Python's `repr` does: `KeyError('x')`.
#[must_use]
pub fn exception_repr(class: &str, arguments: &[Value]) -> String {
    let arguments: Vec<String> = arguments.iter().map(python_repr).collect();
    format!("{class}({})", arguments.join(", "))
}

/// Containers only, so that deep nesting needs little stack.
fn write_repr(out: &mut String, value: &Value) {
    match value {
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_repr(out, item);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(&string_repr(key));
                out.push_str(": ");
                write_repr(out, value);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar_repr(scalar)),
    }
}

fn scalar_repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Int(int) => int.to_string(),
        Value::Big(digits) => digits.clone(),
        Value::Float(float) => float_repr(*float),
        Value::Str(text) => string_repr(text),
        Value::Bytes(bytes) => bytes_repr(bytes),
        Value::Decimal(text) => format!("Decimal('{text}')"),
        Value::Uuid(uuid) => format!("UUID('{uuid}')"),
        Value::DateTime(text) => datetime_repr(text),
        Value::Date(text) => match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            Ok(date) => format!("datetime.date({})", date_repr(date)),
            Err(_) => text.clone(),
        },
        Value::Time(text) => match NaiveTime::parse_from_str(text, "%H:%M:%S%.f") {
            Ok(time) => format!("datetime.time({})", clock_repr(time)),
            Err(_) => text.clone(),
        },
        Value::List(_) | Value::Map(_) => python_repr(value),
    }
}

fn float_repr(float: f64) -> String {
    if float.is_nan() {
        return "nan".to_owned();
    }
    if float.is_infinite() {
        return if float < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    let mut text = String::new();
    write_finite(&mut text, float);
    text
}

fn string_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if char == quote => {
                out.push('\\');
                out.push(char);
            }
            ' '..='~' => out.push(char),
            // What Rust escapes in debug output is nearly what Python calls not printable.
            char if char.is_control() || char.escape_debug().len() > 1 || char.is_whitespace() => {
                let code = u32::from(char);
                out.push_str(&match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
            char => out.push(char),
        }
    }
    out.push(quote);
    out
}

fn bytes_repr(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        '"'
    } else {
        '\''
    };
    let mut out = format!("b{quote}");
    for byte in bytes {
        match char::from(*byte) {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if char == quote => {
                out.push('\\');
                out.push(char);
            }
            char @ ' '..='~' => out.push(char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push(quote);
    out
}

fn datetime_repr(text: &str) -> String {
    let Some((local, offset)) = time::parse_local(text) else {
        return text.to_owned();
    };
    let zone = match offset.map(|offset| offset.local_minus_utc()) {
        None => String::new(),
        Some(0) => ", tzinfo=datetime.timezone.utc".to_owned(),
        // A timedelta is normalised: days may be negative, seconds may not.
        Some(seconds) if seconds < 0 => {
            format!(
                ", tzinfo=datetime.timezone(datetime.timedelta(days=-1, seconds={}))",
                86_400 + seconds
            )
        }
        Some(seconds) => {
            format!(", tzinfo=datetime.timezone(datetime.timedelta(seconds={seconds}))")
        }
    };
    format!(
        "datetime.datetime({}, {}{zone})",
        date_repr(local.date()),
        clock_repr(local.time())
    )
}

fn date_repr(date: NaiveDate) -> String {
    format!("{}, {}, {}", date.year(), date.month(), date.day())
}

/// Hour and minute always, seconds and microseconds only as far as they are not zero.
fn clock_repr(time: NaiveTime) -> String {
    let (second, micros) = (time.second(), time.nanosecond() / 1000);
    let tail = match (second, micros) {
        (0, 0) => String::new(),
        (second, 0) => format!(", {second}"),
        (second, micros) => format!(", {second}, {micros}"),
    };
    format!("{}, {}{tail}", time.hour(), time.minute())
}
