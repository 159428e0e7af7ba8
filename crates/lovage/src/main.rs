//! The `lovage` binary: every command, and no tasks but the demo's.

use std::process::ExitCode;

/// A worker makes and drops some fifty small pieces of memory a task.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lovage::main(Vec::new())
}
