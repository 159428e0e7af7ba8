//! What a worker says at its start: what it is, and where it is unlike a Celery worker.

use std::fmt::{self, Display};

use lovage_protocol::{NodeName, QueueName};
use lovage_settings::{BrokerUrl, Pool, Settings};
use lovage_worker::Autoscale;

use crate::output::{FAINT, HEADING, NAME};

/// Everything that the banner tells.
#[derive(Debug)]
pub(crate) struct Banner<'a> {
    pub(crate) node: &'a NodeName,
    pub(crate) settings: &'a Settings,
    pub(crate) broker: &'a BrokerUrl,
    pub(crate) queues: &'a [QueueName],
    pub(crate) concurrency: usize,
    pub(crate) pool: Pool,
    pub(crate) autoscale: Option<Autoscale>,
    pub(crate) tasks: &'a [String],
}

impl Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        writeln!(
            f,
            "\n{NAME}{}{NAME:#} {FAINT}lovage {version}{FAINT:#}\n",
            self.node
        )?;
        section(f, "config")?;
        fact(f, "transport", self.broker)?;
        fact(f, "results", self.settings.results.place(self.broker))?;
        fact(
            f,
            "concurrency",
            format_args!("{} ({})", self.slots(), self.pool.name()),
        )?;
        match self.settings.worker.prefetch_multiplier {
            0 => fact(f, "prefetch", "without limit")?,
            times => fact(
                f,
                "prefetch",
                format_args!("{} (x{times})", self.most().saturating_mul(times)),
            )?,
        }
        section(f, "\nqueues")?;
        for queue in self.queues {
            writeln!(
                f,
                ".> {:<16} exchange={queue}(direct) key={queue}",
                queue.as_str()
            )?;
        }
        section(f, "\ntasks")?;
        for task in self.tasks {
            writeln!(f, "  . {task}")?;
        }
        section(f, "\nunlike Celery's defaults")?;
        self.differences(f)
    }
}

impl Banner<'_> {
    fn most(&self) -> usize {
        self.autoscale.map_or(self.concurrency, |bounds| bounds.max)
    }

    fn slots(&self) -> String {
        match self.autoscale {
            Some(Autoscale { max, min, .. }) => format!("{min} to {max}, as needed"),
            None => self.concurrency.to_string(),
        }
    }

    fn differences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { tasks, worker, .. } = self.settings;
        if tasks.acks_late {
            fact(
                f,
                "late ack",
                "on: a task is acknowledged after it ran (CELERY_TASK_ACKS_LATE=false for Celery's way)",
            )?;
        }
        if tasks.acks_late && tasks.reject_on_worker_lost {
            let (lease, deaths) = (worker.lease.as_secs_f64(), worker.max_deaths);
            fact(
                f,
                "worker lost",
                format_args!(
                    "its tasks go back to their queues after {lease} s; one that cost more than {deaths} workers is a dead letter"
                ),
            )?;
        }
        let unknown = match (&worker.forward_unknown, worker.unknown_grace) {
            (Some(queue), _) => format!("forwarded to {queue}, else kept as dead letters; Celery drops them"),
            (None, Some(grace)) => format!(
                "wait {} s for a worker that knows them, then kept as dead letters; Celery drops them",
                grace.as_secs_f64()
            ),
            (None, None) => {
                "kept as dead letters (lovage dlq list) and answered with NotRegistered; Celery drops them".to_owned()
            }
        };
        fact(f, "unknown tasks", unknown)?;
        fact(
            f,
            "shared queues",
            "give each kind of worker queues of its own: a Python worker drops what it does not know",
        )
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str) -> fmt::Result {
    let (space, title) = title
        .strip_prefix('\n')
        .map_or(("", title), |title| ("\n", title));
    writeln!(f, "{space}{HEADING}[{title}]{HEADING:#}")
}

fn fact(f: &mut fmt::Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, ".> {:<14} {value}", format!("{name}:"))
}

#[cfg(test)]
mod tests {
    use lovage_protocol::{NodeName, QueueName};
    use lovage_settings::{Pool, Settings};

    use super::Banner;

    fn banner(variables: &[(&str, &str)]) -> String {
        let pairs = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (settings, _) = Settings::from_lookup(pairs).unwrap();
        let banner = Banner {
            node: &NodeName::parse("celery@host").unwrap(),
            settings: &settings,
            broker: settings.broker.url.as_ref().unwrap(),
            queues: &[QueueName::parse("hot").unwrap()],
            concurrency: 8,
            pool: Pool::Threads,
            autoscale: None,
            tasks: &["demo.add".to_owned()],
        };
        anstream::adapter::strip_str(&banner.to_string()).to_string()
    }

    #[test]
    fn it_tells_what_it_is_and_keeps_passwords() {
        let text = banner(&[("CELERY_BROKER_URL", "redis://:sesame@cache/1")]);
        for part in [
            "celery@host",
            "redis://:********@cache:6379/1",
            "8 (threads)",
            "32 (x4)",
            ".> hot              exchange=hot(direct) key=hot",
            "  . demo.add",
            "late ack:",
            "dead letter",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("sesame"));
        // The word by which supervisors and tests know that a worker consumes.
        assert!(!text.contains("ready"), "{text}");
    }

    #[test]
    fn only_differences_that_hold_are_told() {
        let text = banner(&[
            ("CELERY_BROKER_URL", "redis://cache"),
            ("CELERY_TASK_ACKS_LATE", "false"),
            ("LOVAGE_FORWARD_UNKNOWN", "python"),
        ]);
        assert!(!text.contains("late ack"), "{text}");
        assert!(text.contains("forwarded to python"), "{text}");
    }
}
