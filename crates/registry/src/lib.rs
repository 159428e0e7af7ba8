//! What tasks exist: names, parameters with types and defaults, options and docs, as data.
//!
//! The run-time half of `#[lovage::task]`. A task becomes a [`TaskSpec`]; from it come argument binding with Python's
//! own error texts, call signatures for `lovage list`, JSON Schemas, and the check that a worker has the state its tasks
//! need. It runs nothing and knows no broker: that is the worker's.
//!
//! | module | knows |
//! |---|---|
//! | `spec` | what is known of one task, and of its parameters |
//! | `admission`, `limit` | uniqueness, debouncing and limits, and the keys that follow from a call |
//! | `defaults` | a task's options, before settings and messages override them |
//! | [`bind`](mod@bind) | how `args` and `kwargs` become parameters, and how Python complains |
//! | `signature` | a task's call signature as text |
//! | `periodic` | a schedule declared beside its task |
//! | `schema` | the JSON Schema of a type, if it has one |
//! | [`state`] | what a worker gives to its tasks |
//! | `task_return` | what a task function may return |
//!
//! ```
//! extern crate lovage_registry as lovage; // a crate that depends on `lovage` does not need this line
//!
//! use celery::task::TaskResult;
//! use lovage::Described;
//!
//! mod tasks {
//!     use super::*;
//!
//!     /// Adds two numbers.
//!     #[lovage::task(name = "demo.add")]
//!     pub fn add(x: i64, #[default = 5] y: i64) -> TaskResult<i64> {
//!         Ok(x + y)
//!     }
//! }
//!
//! fn main() {
//!     let spec = tasks::add::spec();
//!     assert_eq!(spec.signature(), "demo.add(x: integer, y: integer = 5)");
//!     assert_eq!(spec.doc.as_deref(), Some("Adds two numbers."));
//!     assert_eq!(tasks::add(2, 3).unwrap(), 5);
//! }
//! ```

mod admission;
pub mod bind;
mod defaults;
mod limit;
mod periodic;
mod retry;
mod schema;
mod signature;
mod spec;
pub mod state;
mod task_return;

pub use admission::{Admission, By, Debounce, Lock, Unique, Until, Wanted};
pub use bind::{BindError, Binder, bind};
pub use defaults::{InvalidRateLimit, RateLimit, TaskDefaults};
pub use limit::{InvalidLimit, Limit, Scope};
pub use lovage_macros::task;
pub use periodic::Periodic;
pub use retry::RetryPolicy;
/// Derive its `JsonSchema` for a parameter type, so that the type is described rather than "anything".
pub use schemars;
pub use spec::{Described, Param, StateNeed, TaskSpec};
pub use state::{MissingState, State, StateMap};

/// What the expansion of `#[lovage::task]` names. Not for use by hand: it changes with the macro.
#[doc(hidden)]
pub mod __macro {
    pub use lovage_protocol::canvas::{
        Call, Canvas, Complete, Each, First, FirstOfAny, Immutable, One,
    };

    pub use crate::admission::{By, Debounce, Unique};
    pub use crate::defaults::RateLimit;
    pub use crate::limit::Limit;
    pub use crate::periodic::Periodic;
    pub use crate::retry::RetryPolicy;
    pub use crate::schema::{AnySchema, KnownSchema, SchemaOf};
    pub use crate::spec::{Described, Param, StateNeed, TaskSpec};
    pub use crate::state::injected as state;
    pub use crate::task_return::{ConvertedError, DisplayedError, TaskReturn};
}
