//! Runs tasks in tests: a real worker on a broker in memory, and a clock that is moved by hand.
//!
//! A [`Harness`] is everything that a task meets in production, in one process and without a server: client, broker, results,
//! dead letters, and the worker itself with its retries, limits, layers and follow-ups. Nothing of it is imitated but the
//! time. Between two calls of the harness nothing runs, so that a test sees each step.
//!
//! This crate is for dev-dependencies (`lovage` with feature `testing` shows it as `lovage::testing`); it has no place in a
//! program. It talks to no Redis: what a test wants to know of Redis itself needs one.
//!
//! | module | knows |
//! |---|---|
//! | `harness` | what a test does: send, run, let time pass, look |
//! | `builder` | what a harness is made of |
//! | `clock` | the time that is moved by hand |
//! | `sent` | what was sent, to be compared |
//! | `busy` | what still waits when a worker does not come to rest |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), lovage_testing::Error> {
//! use std::time::Duration;
//!
//! use lovage_protocol::Value;
//! use lovage_testing::Harness;
//! use lovage_worker::{Module, RawTask};
//!
//! let remind = RawTask::new("remind", |_| async { Ok(Value::from("it is time")) });
//! let harness = Harness::start(Module::new("reminders").raw(remind)).await?;
//!
//! let reminder = harness.client().send_task("remind").countdown(Duration::from_secs(3600)).await?;
//! harness.run_until_idle().await?;
//! assert_eq!(harness.result(&reminder).await?, None, "an hour has not gone by");
//!
//! harness.run_for(Duration::from_secs(3600)).await?;
//! assert_eq!(harness.result(&reminder).await?, Some(Value::from("it is time")));
//! # Ok(())
//! # }
//! ```

mod builder;
mod busy;
mod clock;
mod error;
mod harness;
mod sent;

pub use builder::HarnessBuilder;
pub use clock::FakeClock;
pub use error::Error;
pub use harness::Harness;
pub use sent::Sent;
