//! From what a client asks for to messages: checked as a whole before anything is sent.
//!
//! | module | knows |
//! |---|---|
//! | `registered` | the tasks compiled into this program, and whether arguments fit them |
//! | `parameters` | the JSON Schema of a task's parameters |
//! | `signature` | a call, and what hangs on it, as a Celery signature |
//! | `reach` | whether a message that is there already is within a key's reach |
//! | `literal` | arguments out of the text that a history keeps of them |
//! | `again` | a recorded task as a call that can be sent once more |
//! | `sender` | sending one, many, or a workflow |

pub(crate) mod again;
mod literal;
pub(crate) mod parameters;
pub(crate) mod reach;
pub(crate) mod registered;
pub(crate) mod sender;
mod signature;
