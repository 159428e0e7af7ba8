//! The pull parser.

use std::borrow::Cow;
use std::ops::Range;

use super::JsonError;

/// How deep lists and objects may nest; Python's own limit is its recursion limit, about 1000.
pub(crate) const DEEPEST: usize = 512;

/// What the next value is, known from its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

/// A number as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number<'a> {
    Int(i64),
    /// Decimal digits that do not fit, with an optional minus.
    Big(&'a str),
    Float(f64),
}

/// Reads JSON from left to right.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// Checks the encoding once, so that slices need no further checks.
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Result<Self, JsonError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(text)),
            Err(error) => Err(JsonError::NotUtf8 {
                at: error.valid_up_to(),
            }),
        }
    }

    /// The offset of the next unread byte.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The offset of the next value, after white space.
    pub(crate) fn position_of_value(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn skip_space(&mut self) {
        let bytes = self.bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn fault(&self, expected: &'static str) -> JsonError {
        if self.at >= self.text.len() {
            JsonError::Truncated {
                expected,
                at: self.text.len(),
            }
        } else {
            JsonError::Syntax {
                expected,
                at: self.at,
            }
        }
    }

    /// Looks at the next value without taking it.
    pub(crate) fn kind(&mut self) -> Result<Kind, JsonError> {
        self.skip_space();
        match self.bytes().get(self.at) {
            Some(b'"') => Ok(Kind::Text),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::List),
            Some(b'n') => Ok(Kind::Null),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Ok(Kind::Number),
            _ => Err(self.fault("a value")),
        }
    }

    fn word(&mut self, word: &'static str) -> bool {
        let found = self.bytes()[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    pub(crate) fn null(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.word("null") {
            Ok(())
        } else {
            Err(self.fault("null"))
        }
    }

    pub(crate) fn bool(&mut self) -> Result<bool, JsonError> {
        self.skip_space();
        if self.word("true") {
            Ok(true)
        } else if self.word("false") {
            Ok(false)
        } else {
            Err(self.fault("true or false"))
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes().get(self.at) {
            self.at += 1;
        }
        self.at - start
    }

    pub(crate) fn number(&mut self) -> Result<Number<'a>, JsonError> {
        self.skip_space();
        if self.word("NaN") {
            return Ok(Number::Float(f64::NAN));
        }
        if self.word("Infinity") {
            return Ok(Number::Float(f64::INFINITY));
        }
        if self.word("-Infinity") {
            return Ok(Number::Float(f64::NEG_INFINITY));
        }
        let start = self.at;
        if self.bytes().get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let first = self.at;
        if self.digits() == 0 {
            return Err(self.fault("a digit"));
        }
        if self.bytes()[first] == b'0' && self.at > first + 1 {
            return Err(JsonError::Syntax {
                expected: "no digit after a leading zero",
                at: first + 1,
            });
        }
        let mut whole = true;
        if self.bytes().get(self.at) == Some(&b'.') {
            whole = false;
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.fault("a digit"));
            }
        }
        if let Some(b'e' | b'E') = self.bytes().get(self.at) {
            whole = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes().get(self.at) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.fault("a digit"));
            }
        }
        let text = &self.text[start..self.at];
        if whole {
            return Ok(text.parse().map_or(Number::Big(text), Number::Int));
        }
        match text.parse() {
            Ok(float) => Ok(Number::Float(float)),
            Err(_) => Err(JsonError::Syntax {
                expected: "a number",
                at: start,
            }),
        }
    }

    /// Takes a string; borrowed unless it holds escapes.
    ///
    /// Half of a surrogate pair on its own, which Python can hold and Rust cannot, becomes U+FFFD.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.skip_space();
        let bytes = self.bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return Err(self.fault("a string"));
        }
        let start = self.at + 1;
        let end = start + plain_run(&bytes[start..]);
        self.at = end;
        if bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        let mut owned = String::with_capacity(end - start + 16);
        owned.push_str(&self.text[start..end]);
        loop {
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(owned));
                }
                Some(b'\\') => {
                    self.at += 1;
                    owned.push(self.escape()?);
                }
                _ => {
                    return Err(
                        self.fault("the end of the string (control characters must be escaped)")
                    );
                }
            }
            let run = plain_run(&bytes[self.at..]);
            owned.push_str(&self.text[self.at..self.at + run]);
            self.at += run;
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let Some(&letter) = self.bytes().get(self.at) else {
            return Err(self.fault("an escape letter"));
        };
        let plain = match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.fault("one of \\ \" / b f n r t u")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self.four_hex()?;
        if (0xd800..0xdc00).contains(&first) && self.bytes()[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.four_hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_hex(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self
                .bytes()
                .get(self.at)
                .and_then(|byte| char::from(*byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.fault("a hexadecimal digit"));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// Passes over a string without building it.
    fn skip_string(&mut self) -> Result<(), JsonError> {
        let bytes = self.bytes();
        self.at += 1;
        loop {
            self.at += plain_run(&bytes[self.at..]);
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                _ => {
                    return Err(
                        self.fault("the end of the string (control characters must be escaped)")
                    );
                }
            }
        }
    }

    fn open(&mut self, bracket: u8, expected: &'static str) -> Result<(), JsonError> {
        self.skip_space();
        if self.bytes().get(self.at) != Some(&bracket) {
            return Err(self.fault(expected));
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(JsonError::TooDeep { at: self.at });
        }
        self.at += 1;
        Ok(())
    }

    pub(crate) fn open_object(&mut self) -> Result<(), JsonError> {
        self.open(b'{', "an object")
    }

    pub(crate) fn open_list(&mut self) -> Result<(), JsonError> {
        self.open(b'[', "a list")
    }

    /// Goes to the next member; false when the bracket closes. `first` must start true for each container.
    fn next(
        &mut self,
        first: &mut bool,
        close: u8,
        expected: &'static str,
    ) -> Result<bool, JsonError> {
        self.skip_space();
        match self.bytes().get(self.at) {
            Some(byte) if *byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(b',') if !*first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if *first => {
                *first = false;
                Ok(true)
            }
            _ => Err(self.fault(expected)),
        }
    }

    /// Goes to the next element of a list.
    pub(crate) fn next_item(&mut self, first: &mut bool) -> Result<bool, JsonError> {
        self.next(first, b']', "a comma or the end of the list")
    }

    /// Takes the next key of an object and the colon after it.
    pub(crate) fn next_key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>, JsonError> {
        if !self.next(first, b'}', "a comma or the end of the object")? {
            return Ok(None);
        }
        let key = self.string()?;
        self.skip_space();
        if self.bytes().get(self.at) != Some(&b':') {
            return Err(self.fault("a colon"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Passes over one value of any kind, checking its grammar, and says where it stood.
    pub(crate) fn skip_value(&mut self) -> Result<Range<usize>, JsonError> {
        let start = self.position_of_value();
        // Of each open container: whether it is an object, and whether its first member is still to come.
        let mut open: Vec<(bool, bool)> = Vec::new();
        loop {
            match self.kind()? {
                Kind::Null => self.null()?,
                Kind::Bool => {
                    self.bool()?;
                }
                Kind::Number => {
                    self.number()?;
                }
                Kind::Text => self.skip_string()?,
                Kind::List => {
                    self.open_list()?;
                    open.push((false, true));
                }
                Kind::Object => {
                    self.open_object()?;
                    open.push((true, true));
                }
            }
            loop {
                let Some((object, first)) = open.last_mut() else {
                    return Ok(start..self.at);
                };
                let more = if *object {
                    self.next_key(first)?.is_some()
                } else {
                    self.next_item(first)?
                };
                if more {
                    break;
                }
                open.pop();
            }
        }
    }

    /// Passes over one value and gives its text.
    pub(crate) fn raw_value(&mut self) -> Result<&'a str, JsonError> {
        let range = self.skip_value()?;
        Ok(&self.text[range])
    }

    /// Makes sure that nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(JsonError::TrailingText { at: self.at })
        }
    }
}

/// The number of leading bytes that stand for themselves inside a string.
fn plain_run(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let plain_words = words
        .iter()
        .position(|word| has_special(u64::from_le_bytes(*word)))
        .unwrap_or(words.len());
    let start = plain_words * 8;
    let rest = &bytes[start..];
    start
        + rest
            .iter()
            .position(|byte| *byte < b' ' || *byte == b'"' || *byte == b'\\')
            .unwrap_or(rest.len())
}

/// Tells whether one of eight bytes is a control character, a quote or a backslash.
///
/// All eight are looked at together, because most of a message is one long string.
fn has_special(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    // The top bit of a byte of `x - ONES * n & !x` is set where a byte is below n; a borrow, which could set it wrongly,
    // only ever comes from such a byte.
    let below = |x: u64, n: u64| x.wrapping_sub(ONES * n) & !x;
    let special =
        below(word, 0x20) | below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5c), 1);
    special & TOPS != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_at_once_find_the_same_end_as_one() {
        for special in 0..=u8::MAX {
            for place in 0..20 {
                for around in [b'a', 0x7f, 0x80, 0xff, b' ', b'!', b'#', b'[', b']'] {
                    let mut bytes = vec![around; 20];
                    bytes[place] = special;
                    let slow = bytes
                        .iter()
                        .position(|b| *b < b' ' || *b == b'"' || *b == b'\\')
                        .unwrap_or(20);
                    assert_eq!(
                        plain_run(&bytes),
                        slow,
                        "{special} at {place} among {around}"
                    );
                }
            }
        }
    }
}
