//! Request and response objects, one file per resource. They are the contract: nothing else knows their shape.

pub(crate) mod auth;
pub(crate) mod dead_letter;
pub(crate) mod health;
pub(crate) mod operations;
pub(crate) mod result;
pub(crate) mod run;
pub(crate) mod step;
pub(crate) mod task;
