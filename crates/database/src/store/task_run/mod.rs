//! Task runs: one row a task, whoever ran it.
//!
//! | module | knows |
//! |---|---|
//! | `change` | what is heard of a task, merged in memory |
//! | `progress` | which of two states is the later one |
//! | `upsert` | writing many at once |
//! | `query` | reading: one, a workflow, pages of those that match |

mod change;
mod failed;
mod progress;
mod query;
mod upsert;

pub use change::Change;
pub use failed::{Failures, failed};
pub use query::{BadCursor, Cursor, Filter, Page, TaskRun, count, find, find_many, page, tree};
pub use upsert::record;

#[cfg(test)]
mod tests;
