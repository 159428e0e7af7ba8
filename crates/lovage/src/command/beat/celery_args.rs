//! What Celery's beat takes on its command line and ours does not need.

use clap::Args;

use crate::output;

/// Flags of Celery's that have no effect here, so that a start script may keep them.
#[derive(Debug, Args)]
pub(super) struct CeleryArgs {
    #[arg(short = 'S', long, hide = true, value_name = "CLASS")]
    scheduler: Option<String>,
    #[arg(short = 's', long, hide = true, value_name = "FILE")]
    schedule: Option<String>,
    #[arg(long, hide = true, value_name = "SECONDS")]
    max_interval: Option<String>,
}

impl CeleryArgs {
    /// Says of each that was given that it has no effect.
    pub(super) fn hint(&self) {
        let given = [
            ("-S", self.scheduler.is_some(), "there is one scheduler"),
            (
                "-s",
                self.schedule.is_some(),
                "each tick is kept as it is sent",
            ),
            (
                "--max-interval",
                self.max_interval.is_some(),
                "changes are looked for each second",
            ),
        ];
        for (flag, _, why) in given.iter().filter(|(_, given, _)| *given) {
            output::hint(format_args!("{flag} has no effect: {why}"));
        }
    }
}
