//! A crate of one's own: own tasks, own state, own binary.
//!
//! ```text
//! own-tasks list                             the tasks, with their parameters
//! own-tasks up                               everything that a try-out needs, in one process
//! own-tasks worker                           a worker, as in production
//! own-tasks call hotel.greet Ada --wait      send a task and wait for its result; so can Python's send_task
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    lovage::main(vec![own_tasks::hotel()])
}
