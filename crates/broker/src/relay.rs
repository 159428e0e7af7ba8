//! The seam of what is published once, by any number of relays: plain data.

use crate::Publish;

/// Messages that each are to be published once, however often and by whomever they are handed over.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Whose messages they are: marks and numbers of one scope have nothing to do with those of another.
    pub scope: String,
    /// The number of who hands them over; grows with every one who takes over. After a higher one was seen, a lower one is
    /// refused.
    pub fence: i64,
    /// The messages, each under its own mark. One whose mark is known is passed over.
    pub messages: Vec<(String, Publish)>,
    /// Marks that are no longer needed: their messages can never be handed over again by anyone with this number or a higher
    /// one. A mark that nobody takes back is forgotten after a week.
    pub forget: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relayed {
    /// Every message of the batch was published, now or before.
    Done {
        /// So many of them now.
        published: u64,
    },
    /// Nothing was done: somebody with a higher number has taken over.
    Superseded {
        /// That number.
        by: i64,
    },
}
