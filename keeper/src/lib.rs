//! Keeps the database: records history, relays the outbox, copies dead letters, prunes.
//!
//! [`Keeper::run`] turns what all workers do into rows: one task run a task, and its trail. Workers of ours tell a journal, in
//! the step that does what is told, so their history has no gap but the recorded ones; Python workers are heard by their events.
//! Any number of keepers may run: each duty has one holder, by a lease. This crate runs no task and serves nobody: who reads
//! the rows is the API's business.
//!
//! | module | knows |
//! |---|---|
//! | `keeper` | the whole: what is waited for, which duties there are |
//! | `duty` | doing something while the lease for it is held |
//! | `journal` | the journal of Lovage workers, into rows; gaps |
//! | `hearing`, `roster` | the events of Python workers, into rows; which workers there are |
//! | `account` | what an event says of its task; pure |
//! | `redaction` | hiding fields; pure |
//! | `ledger` | writing what was learnt |
//! | [`outbox`] | rows that were committed become messages, each once |
//! | [`dead_letters`] | letters move from the broker into the database |
//! | `digest` | telling operators by mail of what failed for good |
//! | `chore` | when pruning and the digest are to be done: by schedules, or by a clock |
//! | `pruning` | forgetting what is old |
//! | `replay` | telling a dashboard what was before it began |

mod account;
mod chore;
pub mod dead_letters;
mod digest;
mod duty;
mod error;
mod hearing;
mod journal;
mod keeper;
mod ledger;
pub mod outbox;
mod pace;
mod pruning;
mod redaction;
mod replay;
mod roster;

pub use error::Error;
pub use keeper::Keeper;
pub use replay::replay;
