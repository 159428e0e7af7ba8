//! Reads arguments out of the text that a task's history keeps of them for people: Python literals, cut where they were long.
//!
//! What was cut, hidden, or is no plain data is refused with what it is: a task that is run once more is to get what it got.

use serde_json::{Map, Number, Value};

/// Why a text cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It was cut at a length, or ends in dots as what was cut does.
    Cut,
    /// Something in it was hidden (`LOVAGE_HISTORY_REDACT`).
    Hidden,
    /// It holds something that JSON has not.
    Strange(String),
}

/// What stands in place of what was hidden.
const HIDDEN: &str = "***";
/// How what was cut ends.
const CUT: &str = "...";
/// Deeper than any task's arguments: text from elsewhere must not use up the stack.
const DEEPEST: usize = 60;

/// Positional arguments: `(1, 'two')`.
///
/// # Errors
/// [`Unfit`].
pub(crate) fn args(text: &str) -> Result<Vec<Value>, Unfit> {
    match whole(text)? {
        Value::Array(args) => Ok(args),
        other => Err(Unfit::Strange(other.to_string())),
    }
}

/// Arguments by name: `{'x': 1}`.
///
/// # Errors
/// [`Unfit`].
pub(crate) fn kwargs(text: &str) -> Result<Map<String, Value>, Unfit> {
    match whole(text)? {
        Value::Object(kwargs) => Ok(kwargs),
        other => Err(Unfit::Strange(other.to_string())),
    }
}

fn whole(text: &str) -> Result<Value, Unfit> {
    let mut reader = Reader { rest: text.trim() };
    let value = reader.value(0)?;
    if reader.rest.trim().is_empty() {
        Ok(value)
    } else {
        Err(reader.strange())
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Unfit> {
        if depth > DEEPEST {
            return Err(Unfit::Strange("data that is nested too deeply".to_owned()));
        }
        self.skip();
        if self.rest.starts_with(CUT) {
            return Err(Unfit::Cut);
        }
        match self.rest.chars().next() {
            None => Err(Unfit::Cut),
            Some('(') => self.list(')', depth),
            Some('[') => self.list(']', depth),
            Some('{') => self.map(depth),
            Some('\'' | '"') => self.text().map(Value::String),
            Some(_) => self.word(),
        }
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes one letter, if it comes next.
    fn take(&mut self, letter: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn strange(&self) -> Unfit {
        if self.rest.is_empty() || self.rest.starts_with(CUT) {
            return Unfit::Cut;
        }
        Unfit::Strange(self.rest.chars().take(40).collect())
    }

    /// After a member: whether another may follow.
    fn goes_on(&mut self, close: char) -> Result<bool, Unfit> {
        if self.take(',') {
            return Ok(!self.take(close));
        }
        if self.take(close) {
            return Ok(false);
        }
        Err(self.strange())
    }

    fn list(&mut self, close: char, depth: usize) -> Result<Value, Unfit> {
        self.rest = &self.rest[1..];
        let mut members = Vec::new();
        if self.take(close) {
            return Ok(Value::Array(members));
        }
        loop {
            members.push(self.value(depth + 1)?);
            if !self.goes_on(close)? {
                return Ok(Value::Array(members));
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Unfit> {
        self.rest = &self.rest[1..];
        let mut members = Map::new();
        if self.take('}') {
            return Ok(Value::Object(members));
        }
        loop {
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                other => return Err(Unfit::Strange(format!("the key {other}"))),
            };
            // A set has no colons.
            if !self.take(':') {
                return Err(self.strange());
            }
            members.insert(key, self.value(depth + 1)?);
            if !self.goes_on('}')? {
                return Ok(Value::Object(members));
            }
        }
    }

    fn text(&mut self) -> Result<String, Unfit> {
        let mut letters = self.rest.chars();
        let quote = letters.next().unwrap_or('\'');
        let mut text = String::new();
        loop {
            match letters.next() {
                None => return Err(Unfit::Cut),
                // Celery escapes the quote and nothing else (`celery/utils/saferepr.py`): any other backslash is one.
                Some('\\') if letters.as_str().starts_with(quote) => {
                    text.extend(letters.next());
                }
                Some(letter) if letter == quote => break,
                Some(letter) => text.push(letter),
            }
        }
        self.rest = letters.as_str();
        if text == HIDDEN {
            return Err(Unfit::Hidden);
        }
        if text.ends_with(CUT) {
            return Err(Unfit::Cut);
        }
        Ok(text)
    }

    fn word(&mut self) -> Result<Value, Unfit> {
        let end = self
            .rest
            .find(|letter: char| ",:()[]{}".contains(letter) || letter.is_whitespace())
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let value = match word {
            "None" => Some(Value::Null),
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            _ => number(word),
        };
        let value = value.ok_or_else(|| self.strange())?;
        self.rest = rest;
        Ok(value)
    }
}

/// A number as Python writes it. One that JSON cannot carry (`nan`, or an integer of more than 64 bits) is none.
fn number(word: &str) -> Option<Value> {
    let begins = word.starts_with(|letter: char| letter == '-' || letter.is_ascii_digit());
    if !begins {
        return None;
    }
    let integer = word.parse::<i64>().map(Number::from);
    let integer = integer.or_else(|_| word.parse::<u64>().map(Number::from));
    match integer {
        Ok(number) => Some(Value::Number(number)),
        Err(_) if word.contains(['.', 'e', 'E']) => {
            Number::from_f64(word.parse().ok()?).map(Value::Number)
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use lovage_protocol::{Value as Carried, args_repr};
    use serde_json::json;

    use super::*;
    use crate::plain;

    #[test]
    fn arguments_come_back_as_they_were() {
        let check = |text: &str, expected: Value| {
            assert_eq!(
                args(text),
                Ok(expected.as_array().unwrap().clone()),
                "{text}"
            );
        };
        check("()", json!([]));
        check("(1,)", json!([1]));
        check("[1, -2, 2.5, 1e+20]", json!([1, -2, 2.5, 1e20]));
        check("(None, True, False)", json!([null, true, false]));
        check(
            r#"('it', "it's", 'a\'b', 'C:\new', 'é🌿')"#,
            json!(["it", "it's", "a'b", "C:\\new", "é🌿"]),
        );
        check(
            "({'a': [(1, 2), {}]}, [])",
            json!([{"a": [[1, 2], {}]}, []]),
        );
        let named = kwargs("{'x': 1, 'y': {'z': None}}").unwrap();
        assert_eq!(Value::Object(named), json!({"x": 1, "y": {"z": null}}));
    }

    #[test]
    fn what_was_written_by_ourselves_is_read_back() {
        let all = json!([1, "é\n'\"\\ ", [null, {"k": 0.1}]]);
        let given: Vec<Carried> = all
            .as_array()
            .unwrap()
            .iter()
            .map(|one| plain::value(one).unwrap())
            .collect();
        assert_eq!(Value::Array(args(&args_repr(&given)).unwrap()), all);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        for cut in [
            "(1, ...)",
            "('abc...',)",
            "('abc",
            "(1, 2",
            "...",
            "",
            "{'a'",
            "({...},)",
        ] {
            assert_eq!(args(cut), Err(Unfit::Cut), "{cut}");
        }
        for hidden in ["('***',)", "({'token': '***'},)"] {
            assert_eq!(args(hidden), Err(Unfit::Hidden), "{hidden}");
        }
        for strange in [
            "(<Order 7>,)",
            "(Decimal('1.5'),)",
            "(nan,)",
            "({1, 2},)",
            "(b'x',)",
            "{'a': 1}",
            "(1,) x",
            "({1: 2},)",
        ] {
            assert!(
                matches!(args(strange), Err(Unfit::Strange(_))),
                "{strange}: {:?}",
                args(strange)
            );
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(args(&deep), Err(Unfit::Strange(_))));
    }
}
