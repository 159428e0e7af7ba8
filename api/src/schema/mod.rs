//! Request and response objects, one file per resource. They are the contract: nothing else knows their shape.

pub(crate) mod auth;
pub(crate) mod dead_letter;
pub(crate) mod fleet;
pub(crate) mod health;
pub(crate) mod letter_operation;
pub(crate) mod mail;
pub(crate) mod operation;
pub(crate) mod result;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod schedule_run;
pub(crate) mod step;
pub(crate) mod task;
