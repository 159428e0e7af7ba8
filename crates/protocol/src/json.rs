//! JSON as Python's `json` module reads and writes it: `NaN` and `Infinity`, integers of any length, `", "` and `": "`.
//!
//! [`reader::Reader`] is a pull parser: the caller asks for the next thing it expects, so that known fields go
//! straight into their struct and nothing is built that is not kept.

pub(crate) mod reader;
pub(crate) mod writer;

/// Says why a text is not the JSON that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text breaks JSON's grammar.
    #[error("expected {expected} at byte {at}")]
    Syntax {
        /// What could have stood there.
        expected: &'static str,
        /// Where reading stopped.
        at: usize,
    },
    /// The text ends too early.
    #[error("the text ends after {at} bytes where {expected} should follow")]
    Truncated {
        /// What should have followed.
        expected: &'static str,
        /// The length of the text.
        at: usize,
    },
    /// Something follows the value.
    #[error("unexpected text after the end of the value at byte {at}")]
    TrailingText {
        /// Where the value ended.
        at: usize,
    },
    /// The bytes are not UTF-8.
    #[error("invalid utf-8 at byte {at}")]
    NotUtf8 {
        /// Where the first wrong byte stands.
        at: usize,
    },
    /// Lists and objects are nested deeper than 512 levels.
    #[error("nested deeper than {} levels at byte {at}", reader::DEEPEST)]
    TooDeep {
        /// Where the level that is too much begins.
        at: usize,
    },
    /// A type envelope (`__type__`, `__value__`) names an unknown type or holds a value that type cannot have.
    #[error("type envelope {kind:?} {problem}")]
    Envelope {
        /// The text of `__type__`.
        kind: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}
