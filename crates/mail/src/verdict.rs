//! What became of a mail that was handed to a server.

use lettre::transport::smtp::Error;

/// What is known of a mail afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server has taken it; its answer.
    Sent(String),
    /// It was not taken, and may be later: the server's 4xx, or nobody was there to ask.
    Later(String),
    /// It will never be taken: the server's 5xx, or an address that the server cannot read.
    Refused(String),
    /// Nobody knows: the connection broke after the mail began to be said.
    Uncertain(String),
}

/// Judges what happened before any of the mail was said.
pub(crate) fn before(error: &Error, text: String) -> Verdict {
    match error.is_permanent() {
        true => Verdict::Refused(text),
        false => Verdict::Later(text),
    }
}

/// Judges what happened after it began to be said: only an answer of the server ends the doubt.
pub(crate) fn after(error: &Error, text: String) -> Verdict {
    if error.is_permanent() {
        Verdict::Refused(text)
    } else if error.is_transient() {
        Verdict::Later(text)
    } else {
        Verdict::Uncertain(text)
    }
}

/// The error with its causes, in one line.
pub(crate) fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        // It repeats its source in its own words.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}
