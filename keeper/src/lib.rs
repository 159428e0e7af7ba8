//! Keeps the database: records history, relays the outbox, copies dead letters, prunes.
//!
//! Several keepers may run; each duty is done by one of them at a time, the one that has its lease. This crate runs no task and
//! opens neither database nor broker: it is given both.
//!
//! | module | knows |
//! |---|---|
//! | [`outbox`] | rows that were committed become messages, each once |
//! | [`dead_letters`] | letters move from the broker into the database |
//! | `turn` | what one keeper does at a time |

pub mod dead_letters;
pub mod outbox;
mod turn;
