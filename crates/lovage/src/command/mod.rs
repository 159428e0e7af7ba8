//! The commands, one file each.

pub(crate) mod api;
pub(crate) mod beat;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod keeper;
pub(crate) mod list;
pub(crate) mod migrate;
pub(crate) mod openapi;
pub(crate) mod pool_child;
pub(crate) mod purge;
pub(crate) mod queue;
mod remote;
pub(crate) mod result;
pub(crate) mod revoke;
pub(crate) mod schedule;
pub(crate) mod status;
pub(crate) mod stubs;
pub(crate) mod up;
pub(crate) mod user;
pub(crate) mod worker;

use std::time::Duration;

use lovage_broker::Topology;
use lovage_protocol::QueueName;

use crate::failure::Failure;

/// Reads a number of seconds, as Celery's flags take it.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "is not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number)
        .map_err(|_| "is not a number of seconds from 0 on".to_owned())
        .map(|length| length.min(FOR_EVER))
}

/// Longer than anybody waits, and short enough to be added to any time.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 10);

/// Several queue names with commas between them, as `-Q` takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QueueList(pub(crate) Vec<QueueName>);

impl std::str::FromStr for QueueList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut queues: Vec<QueueName> = Vec::new();
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let queue = QueueName::parse(name).map_err(|error| error.to_string())?;
            if !queues.contains(&queue) {
                queues.push(queue);
            }
        }
        if queues.is_empty() {
            Err("names no queue".to_owned())
        } else {
            Ok(Self(queues))
        }
    }
}

/// The queues that a command is about: those named, else those of the settings; without the excluded ones.
pub(crate) fn select_queues(
    named: Option<QueueList>,
    excluded: Option<QueueList>,
    settings: &lovage_settings::Settings,
) -> Result<Vec<QueueName>, Failure> {
    let topology = Topology::new(&settings.tasks)
        .map_err(|error| Failure::settings(crate::failure::chain(&error)))?;
    let mut queues = match named {
        Some(list) => by_their_names(list.0, settings, &topology)?,
        None => default_queues(settings)?,
    };
    if let Some(excluded) = excluded {
        let excluded = in_full(excluded.0, settings);
        queues.retain(|queue| !excluded.contains(queue));
    }
    if queues.is_empty() {
        return Err(Failure::usage("no queue is left: -X excludes them all"));
    }
    Ok(queues)
}

/// The queues behind names and aliases. A name that the settings do not know is a queue to be made, if they let it
/// (Celery's `Queues.select`).
fn by_their_names(
    names: Vec<QueueName>,
    settings: &lovage_settings::Settings,
    topology: &Topology,
) -> Result<Vec<QueueName>, Failure> {
    for name in &names {
        match topology.find(name.as_str()) {
            Ok(Some(_)) => {}
            Ok(None) => {
                return Err(Failure::usage(format!(
                    "the queue {name} is not among CELERY_TASK_QUEUES, and CELERY_TASK_CREATE_MISSING_QUEUES is off"
                )));
            }
            Err(error) => return Err(Failure::usage(crate::failure::chain(&error))),
        }
    }
    Ok(in_full(names, settings))
}

/// Aliases exchanged for what they stand for; each queue once.
pub(crate) fn in_full(
    names: Vec<QueueName>,
    settings: &lovage_settings::Settings,
) -> Vec<QueueName> {
    let mut queues: Vec<QueueName> = Vec::with_capacity(names.len());
    for name in names {
        let known = settings
            .tasks
            .queues
            .iter()
            .find(|queue| queue.is_called(name.as_str()));
        let name = known
            .and_then(|queue| QueueName::parse(&queue.name).ok())
            .unwrap_or(name);
        if !queues.contains(&name) {
            queues.push(name);
        }
    }
    queues
}

fn default_queues(settings: &lovage_settings::Settings) -> Result<Vec<QueueName>, Failure> {
    let names = match settings.worker.queues.as_slice() {
        [] => std::slice::from_ref(&settings.tasks.default_queue),
        names => names,
    };
    names
        .iter()
        .map(|name| {
            QueueName::parse(name).map_err(|error| {
                Failure::settings(format!("the queue {name:?} cannot be: {error}"))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lovage_settings::Settings;

    use super::{QueueList, seconds, select_queues};

    fn list(text: &str) -> Option<QueueList> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn queues_are_chosen_and_excluded() {
        let check = |variables: &[(&str, &str)], named, excluded, expected: &[&str]| {
            let pairs = variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let (settings, _) = Settings::from_lookup(pairs).unwrap();
            let queues = select_queues(named, excluded, &settings).unwrap_or_default();
            let names: Vec<&str> = queues.iter().map(|queue| queue.as_str()).collect();
            assert_eq!(names, expected);
        };
        check(&[], None, None, &["celery"]);
        check(
            &[("CELERY_TASK_DEFAULT_QUEUE", "jobs")],
            None,
            None,
            &["jobs"],
        );
        check(&[("CELERY_TASK_QUEUES", "a,b")], None, list("b"), &["a"]);
        check(
            &[("CELERY_TASK_QUEUES", "a,b")],
            list("c, d ,,c"),
            None,
            &["c", "d"],
        );
        let films = [(
            "CELERY_TASK_QUEUES",
            r#"[{"name": "video", "alias": "films"}, {"name": "bcast", "broadcast": true}]"#,
        )];
        check(&films, list("films,bcast,video"), None, &["video", "bcast"]);
        check(&films, None, list("films"), &["bcast"]);
        let strict = [
            ("CELERY_TASK_QUEUES", "a,b"),
            ("CELERY_TASK_CREATE_MISSING_QUEUES", "no"),
        ];
        check(&strict, list("b"), None, &["b"]);
        check(&strict, list("c"), None, &[]);
        check(&[], None, list("celery"), &[]);
        assert!(",".parse::<QueueList>().is_err());
        assert!("a,b\u{6}".parse::<QueueList>().is_err());
    }

    #[test]
    fn seconds_are_numbers_from_zero_on() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert!(seconds("1e300").is_err());
        assert!(seconds("1e18").is_ok(), "cut to what can be waited for");
        for wrong in ["-1", "nan", "5s", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
