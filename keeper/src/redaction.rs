//! Hides fields in the texts of arguments and results, which are Python literals, mostly cut at a length.
//!
//! A field is hidden wherever its name stands before a value: as a key (`'token': …`, `"token": …`) at any depth, or as an
//! attribute (`token=…`). What cannot be told for sure, such as where a value ends that was cut, is hidden too. Inside a text
//! nothing is looked for: a secret in the middle of a sentence is for the whole field to be hidden.

use std::{borrow::Cow, collections::BTreeSet};

use lovage_settings::Redact;

/// What stands in place of what is hidden.
pub(crate) const HIDDEN: &str = "'***'";

/// The parts of a task that may be hidden as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Args,
    Kwargs,
    Result,
    Exception,
    Traceback,
}

impl Part {
    /// Its field in an event.
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("args", Self::Args),
        ("kwargs", Self::Kwargs),
        ("result", Self::Result),
        ("exception", Self::Exception),
        ("traceback", Self::Traceback),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, part)| *part == self)
            .map_or("", |(name, _)| name)
    }
}

/// The rules that hold for one task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    every: &'a BTreeSet<String>,
    own: Option<&'a BTreeSet<String>>,
}

impl<'a> Rules<'a> {
    /// `None`: nothing of the task is hidden. One whose name is not known is held to the rules of all.
    pub(crate) fn of(redact: &'a Redact, task: Option<&str>) -> Option<Self> {
        let rules = match task {
            Some(task) => Self {
                every: &redact.every,
                own: redact.tasks.get(task),
            },
            None => Self {
                every: &redact.every,
                own: None,
            },
        };
        (!rules.every.is_empty() || rules.own.is_some()).then_some(rules)
    }

    fn has(&self, field: &str) -> bool {
        self.every.contains(field) || self.own.is_some_and(|own| own.contains(field))
    }

    /// A text with what is to be hidden hidden.
    pub(crate) fn apply<'t>(&self, part: Part, text: &'t str) -> Cow<'t, str> {
        if self.has(part.name()) {
            return Cow::Borrowed(HIDDEN);
        }
        let text = self.fields(text);
        if part != Part::Args {
            return text;
        }
        let places: BTreeSet<usize> = self
            .every
            .iter()
            .chain(self.own.into_iter().flatten())
            .filter_map(|field| field.parse().ok())
            .collect();
        match places.is_empty() {
            true => text,
            false => Cow::Owned(hide_places(&text, &places)),
        }
    }

    fn fields<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out = String::new();
        let (mut at, mut copied) = (0, 0);
        while at < text.len() {
            let (end, name) = token(text, at);
            let value = name.and_then(|name| {
                let value = value_after(text, end, name.separator)?;
                self.has(name.text).then_some(value)
            });
            if let Some(begin) = value {
                out.push_str(&text[copied..begin]);
                out.push_str(HIDDEN);
                at = value_end(text, begin);
                copied = at;
            } else {
                at = end;
            }
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[copied..]);
        Cow::Owned(out)
    }
}

/// What may be the name of a field.
struct Name<'t> {
    text: &'t str,
    separator: char,
}

/// The end of what begins at `at` (a text in quotes, a word, or one other letter), and its name if it can be one.
fn token(text: &str, at: usize) -> (usize, Option<Name<'_>>) {
    let rest = &text[at..];
    let Some(first) = rest.chars().next() else {
        return (text.len(), None);
    };
    if first == '\'' || first == '"' {
        let end = at + quoted(rest, first);
        let inner = text.get(at + 1..end.saturating_sub(1)).unwrap_or("");
        let name = Name {
            text: inner,
            separator: ':',
        };
        return (end, Some(name));
    }
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    if is_word(first) {
        let length = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        let name = Name {
            text: &rest[..length],
            separator: '=',
        };
        return (at + length, Some(name));
    }
    (at + first.len_utf8(), None)
}

/// How long a text in quotes is, with them; up to the end when it was cut.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Where the value begins that follows a name, if one does.
fn value_after(text: &str, end: usize, separator: char) -> Option<usize> {
    let rest = text[end..].trim_start();
    let rest = rest.strip_prefix(separator)?;
    if separator == '=' && rest.starts_with('=') {
        return None;
    }
    Some(text.len() - rest.trim_start().len())
}

/// Where a value ends: before the comma or bracket that ends it, or with the text.
fn value_end(text: &str, begin: usize) -> usize {
    let (mut at, mut depth) = (begin, 0_u32);
    while at < text.len() {
        let (end, _) = token(text, at);
        match &text[at..end] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at,
            ")" | "]" | "}" => depth -= 1,
            "," if depth == 0 => return at,
            _ => {}
        }
        at = end;
    }
    text.len()
}

/// Hides the positional arguments at these places.
fn hide_places(text: &str, places: &BTreeSet<usize>) -> String {
    let begin = text.find(['(', '[']).map_or(0, |at| at + 1);
    let mut out = text[..begin].to_owned();
    let (mut at, mut place) = (begin, 0);
    while at < text.len() {
        let end = value_end(text, at);
        let value = &text[at..end];
        let inner = value.trim_start();
        if places.contains(&place) && !inner.is_empty() {
            out.push_str(&value[..value.len() - inner.len()]);
            out.push_str(HIDDEN);
        } else {
            out.push_str(value);
        }
        place += 1;
        if !text[end..].starts_with(',') {
            out.push_str(&text[end..]);
            break;
        }
        out.push(',');
        at = end + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rules(every: &[&str], own: &[&str]) -> Redact {
        let set = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect();
        Redact {
            every: set(every),
            tasks: BTreeMap::from([("t".to_owned(), set(own))]),
        }
    }

    fn check(own: &[&str], part: Part, text: &str, expected: &str) {
        let redact = rules(&[], own);
        let rules = Rules::of(&redact, Some("t")).unwrap();
        assert_eq!(rules.apply(part, text), expected, "{text}");
    }

    #[test]
    fn a_field_is_hidden_wherever_it_stands() {
        let field = &["token"];
        check(
            field,
            Part::Kwargs,
            "{'token': 'abc', 'n': 1}",
            "{'token': '***', 'n': 1}",
        );
        check(
            field,
            Part::Kwargs,
            r#"{"token": "a\"b, c"}"#,
            r#"{"token": '***'}"#,
        );
        check(
            field,
            Part::Kwargs,
            "{'a': [{'token': {'x': (1, 2)}}]}",
            "{'a': [{'token': '***'}]}",
        );
        check(
            field,
            Part::Args,
            "[User(name='x', token='y')]",
            "[User(name='x', token='***')]",
        );
        check(
            field,
            Part::Result,
            "{'tokens': 1, 'my_token': 2}",
            "{'tokens': 1, 'my_token': 2}",
        );
        check(field, Part::Result, "'token'", "'token'");
        check(field, Part::Result, "x token == 3", "x token == 3");
        check(
            field,
            Part::Kwargs,
            "{'é': 'ü', 'token': 'é'}",
            "{'é': 'ü', 'token': '***'}",
        );
    }

    #[test]
    fn what_was_cut_is_hidden_to_its_end() {
        check(
            &["token"],
            Part::Kwargs,
            "{'token': 'abc...",
            "{'token': '***'",
        );
        check(
            &["token"],
            Part::Kwargs,
            "{'token': {'a': 1, ...",
            "{'token': '***'",
        );
        check(&["token"], Part::Kwargs, "{'token':", "{'token':'***'");
    }

    #[test]
    fn a_place_among_the_arguments_is_hidden() {
        check(&["1"], Part::Args, "(1, 'secret', 3)", "(1, '***', 3)");
        check(&["0"], Part::Args, "[{'a': 'b, c'}, 2]", "['***', 2]");
        check(&["0"], Part::Args, "('x',)", "('***',)");
        check(&["1"], Part::Args, "('x',)", "('x',)");
        check(&["0"], Part::Args, "('cut, in the midd...", "('***'");
        check(&["0"], Part::Args, "()", "()");
        check(&["0"], Part::Kwargs, "{'0': 1}", "{'0': '***'}");
    }

    #[test]
    fn a_part_is_hidden_as_a_whole() {
        check(&["result"], Part::Result, "12", HIDDEN);
        check(&["traceback"], Part::Traceback, "Traceback ...", HIDDEN);
    }

    #[test]
    fn rules_hold_for_their_task_or_for_all() {
        let own = rules(&[], &["a"]);
        assert!(Rules::of(&own, Some("other")).is_none());
        assert!(Rules::of(&own, None).is_none());
        let all = rules(&["a"], &[]);
        let hidden = Rules::of(&all, None).unwrap();
        assert_eq!(hidden.apply(Part::Kwargs, "{'a': 1}"), "{'a': '***'}");
    }
}
