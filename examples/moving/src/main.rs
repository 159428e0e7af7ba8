//! The worker for the tasks of the shop that are in Rust: `moving worker -Q rust`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lovage::main(vec![moving::shop()])
}
