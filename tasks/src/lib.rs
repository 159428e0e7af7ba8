//! The platform's own task definitions.
//!
//! `mail.send` sends mails. The demo tasks are small ones to try a worker with, to measure it, and to break it on purpose. They
//! belong to development; a worker in production registers them only when told to, because `demo.crash` ends it.
//!
//! | module | knows |
//! |---|---|
//! | `demo` | the `demo.*` tasks |
//! | `mail` | `mail.send` |
//! | `number` | numbers that add up as Python's do |

// The name by which the macro's expansion finds its run-time half; a crate that depends on `lovage` has it already.
extern crate lovage_registry as lovage;

mod demo;
mod mail;
mod number;

pub use demo::demo;
pub use mail::mail;
pub use number::Number;
