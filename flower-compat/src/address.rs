//! Whether a request is meant for a node (`kombu/matcher.py`).

use lovage_protocol::control::{Addressed, Matching};
use regex::Regex;

/// Whether the node of this name is to act.
pub(crate) fn means(addressed: &Addressed, node: &str) -> bool {
    match addressed {
        Addressed::Everybody => true,
        Addressed::Nodes(nodes) => nodes.iter().any(|name| name == node),
        Addressed::Within(text) => text.contains(node),
        Addressed::Matching(Matching { pattern, matcher }) => {
            let expression = match matcher.as_str() {
                "glob" => glob(pattern),
                "pcre" => format!("^(?:{pattern})"),
                other => {
                    tracing::debug!(matcher = other, "a request names a matcher that is not one");
                    return false;
                }
            };
            match Regex::new(&expression) {
                Ok(expression) => expression.is_match(node),
                Err(error) => {
                    tracing::debug!(
                        pattern,
                        error = &error as &dyn std::error::Error,
                        "a request's pattern is none"
                    );
                    false
                }
            }
        }
    }
}

/// A shell pattern as an expression for the whole name (Python's `fnmatch.translate`).
fn glob(pattern: &str) -> String {
    let mut out = "(?s)^".to_owned();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '[' => match class(rest) {
                Some((class, after)) => {
                    out.push_str(&class);
                    rest = after;
                }
                None => out.push_str("\\["),
            },
            other => out.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    out.push('$');
    out
}

/// What stands between brackets, and what comes behind them; `None` when they are not closed.
fn class(rest: &str) -> Option<(String, &str)> {
    // A bracket right at the begin is a member of the class.
    let skip = usize::from(rest.starts_with('!'));
    let from = skip + usize::from(rest[skip..].starts_with(']'));
    let end = from + rest[from..].find(']')?;
    let (inside, after) = (&rest[..end], &rest[end + 1..]);
    let (sign, members) = match inside.strip_prefix('!') {
        Some(members) => ("^", members),
        None => ("", inside),
    };
    let mut class = format!("[{sign}");
    for letter in members.chars() {
        if matches!(letter, '[' | ']' | '\\' | '^' | '&' | '~') {
            class.push('\\');
        }
        class.push(letter);
    }
    class.push(']');
    Some((class, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(matcher: &str, pattern: &str, node: &str, expected: bool) {
        let addressed = Addressed::Matching(Matching {
            pattern: pattern.to_owned(),
            matcher: matcher.to_owned(),
        });
        assert_eq!(
            means(&addressed, node),
            expected,
            "{matcher} {pattern} {node}"
        );
    }

    #[test]
    fn shell_patterns_are_for_the_whole_name() {
        let glob = |pattern, node, expected| check("glob", pattern, node, expected);
        glob("w*", "w1@host", true);
        glob("w*", "aw1@host", false);
        glob("w1", "w1@host", false);
        glob("w?@host", "w1@host", true);
        glob("w[12]@*", "w2@host", true);
        glob("w[!12]@*", "w2@host", false);
        glob("w[!12]@*", "w3@host", true);
        glob("w[1-3]@*", "w2@host", true);
        glob("w[]]@*", "w]@host", true);
        glob("w[1@*", "w[1@host", true);
        glob("w.@host", "w1@host", false);
        glob("", "w1@host", false);
    }

    #[test]
    fn expressions_are_for_the_begin_of_a_name() {
        let pcre = |pattern, node, expected| check("pcre", pattern, node, expected);
        pcre("w1", "w1@host", true);
        pcre("host", "w1@host", false);
        pcre("a|w", "w1@host", true);
        pcre("w(", "w1@host", false);
        check("soundex", "w1@host", "w1@host", false);
    }

    #[test]
    fn lists_name_nodes_and_a_text_holds_them() {
        let nodes = Addressed::Nodes(vec!["w1@host".to_owned()]);
        assert!(means(&nodes, "w1@host") && !means(&nodes, "w1@hos"));
        let text = Addressed::Within("w1@host,w2@host".to_owned());
        assert!(means(&text, "w2@host") && !means(&text, "w3@host"));
        assert!(means(&Addressed::Everybody, "any@host"));
    }
}
