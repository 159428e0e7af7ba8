//! The `lovage` binary: every command, and no tasks but the demo's.

use std::process::ExitCode;

fn main() -> ExitCode {
    lovage::main(Vec::new())
}
