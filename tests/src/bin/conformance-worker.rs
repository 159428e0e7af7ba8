//! The `lovage` binary with the tasks of Celery's own integration suite. Started without arguments it is the worker that the
//! variables `CELERY_SUITE_*` ask for, with the settings that the suite is meant for.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        return lovage::main(vec![lovage_integration_tests::conformance_tasks::module()]);
    }
    let variable =
        |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let error = std::env::current_exe().map(|program| {
        Command::new(program)
            .arg("worker")
            .args(["-n", &variable("CELERY_SUITE_NODENAME", "suite@localhost")])
            .args(["-Q", &variable("CELERY_SUITE_QUEUE", "celery")])
            .args(["-c", &variable("CELERY_SUITE_CONCURRENCY", "4")])
            .env("CELERY_RESULT_EXTENDED", "true")
            .env("CELERY_TASK_ACKS_LATE", "false")
            .exec()
    });
    let error = match error {
        Ok(error) | Err(error) => error,
    };
    let _ = writeln!(std::io::stderr(), "the worker cannot be started: {error}");
    ExitCode::FAILURE
}
