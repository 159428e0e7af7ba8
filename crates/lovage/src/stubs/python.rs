//! Python as text: names, literals, docstrings.

use serde_json::Value;

/// Words that cannot be names (Python 3.14's `keyword.kwlist`).
const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// Whether the text can be a name as it is.
pub(crate) fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(begins) && letters.all(continues) && !KEYWORDS.contains(&text)
}

fn begins(letter: char) -> bool {
    letter == '_' || unicode_ident::is_xid_start(letter)
}

fn continues(letter: char) -> bool {
    unicode_ident::is_xid_continue(letter)
}

/// The nearest name: `send-mail` is `send_mail`, `2fa` is `_2fa`, `import` is `import_` as PEP 8 has it, `__main__` is
/// `main` since Python gives names with two underscores a meaning.
pub(crate) fn name_of(text: &str) -> String {
    let text = if text.starts_with("__") {
        text.trim_matches('_')
    } else {
        text
    };
    let mut name: String = text
        .chars()
        .map(|letter| if continues(letter) { letter } else { '_' })
        .collect();
    if !name.starts_with(begins) {
        name.insert(0, '_');
    }
    if KEYWORDS.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

/// The name of a class: `retry_then_succeed` is `RetryThenSucceed`.
pub(crate) fn class_name(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    words
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_uppercase().chain(letters).collect()
            })
        })
        .collect()
}

/// A text as Python writes it; JSON's escapes are among Python's.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A value as Python writes it.
pub(crate) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(key), literal(value)))
                .collect();
            fields.sort();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// A docstring, indented; nothing for an empty text.
pub(crate) fn docstring(text: &str, indent: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    let mut inside = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => inside.push_str("\\\\"),
            // Three in a row, or the last one, would end the docstring.
            '"' if matches!(letters.peek(), None | Some('"')) => inside.push_str("\\\""),
            '\n' | '\t' => inside.push(letter),
            other if other.is_control() => {
                inside.push_str(&format!("\\x{:02x}", u32::from(other)));
            }
            other => inside.push(other),
        }
    }
    let mut lines = inside.lines();
    let first = lines.next().unwrap_or_default().trim_end();
    let mut docstring = format!("{indent}\"\"\"{first}");
    let mut more = false;
    for line in lines {
        more = true;
        docstring.push('\n');
        let line = line.trim_end();
        if !line.is_empty() {
            docstring.push_str(indent);
            docstring.push_str(line);
        }
    }
    if more {
        docstring.push('\n');
        docstring.push_str(indent);
    }
    docstring.push_str("\"\"\"\n");
    docstring
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_text_has_a_name() {
        let check = |text: &str, expected: &str| {
            assert_eq!(name_of(text), expected, "{text}");
            assert!(is_name(&name_of(text)), "{text}");
        };
        check("add", "add");
        check("send-mail", "send_mail");
        check("2fa", "_2fa");
        check("import", "import_");
        check("match", "match");
        check("", "_");
        check("__main__", "main");
        check("_private", "_private");
        check("größe", "größe");
        check("①st", "_st");
        check("a b/c", "a_b_c");
        assert!(!is_name("from") && !is_name("2fa") && !is_name("a-b") && !is_name(""));
    }

    #[test]
    fn classes_are_named_in_camel_case() {
        assert_eq!(class_name("retry_then_succeed"), "RetryThenSucceed");
        assert_eq!(class_name("_2fa"), "2fa");
        assert_eq!(class_name("list_"), "List");
    }

    #[test]
    fn values_are_written_as_python_reads_them() {
        let value = json!({"a": [null, true, false, 1, -2.5, "it's \"\\\n"]});
        assert_eq!(
            literal(&value),
            r#"{"a": [None, True, False, 1, -2.5, "it's \"\\\n"]}"#
        );
    }

    #[test]
    fn docstrings_hold_any_text() {
        assert_eq!(docstring("Adds.", "    "), "    \"\"\"Adds.\"\"\"\n");
        assert_eq!(docstring(" \n", ""), "");
        assert_eq!(
            docstring("Says \"\"\"x\"\".\n\n  C:\\new\u{7} \"", "  "),
            "  \"\"\"Says \\\"\\\"\"x\\\"\".\n\n    C:\\\\new\\x07 \\\"\n  \"\"\"\n"
        );
    }
}
