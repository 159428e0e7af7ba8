//! The `lovage` binary with the tasks of the chaos tests.

use std::process::ExitCode;

use lovage_integration_tests::chaos::tasks;

fn main() -> ExitCode {
    lovage::main(vec![tasks::module()])
}
