//! What a worker and a client tell whoever listens, and whether a worker obeys from afar.

use crate::{
    lookup::Lookup,
    parse::{self, Problem},
    variable::{
        EVENTS_BUFFER, EVENTS_FINAL_ONLY, EVENTS_MAX_RATE, REPR_LIMIT, TASK_SEND_SENT_EVENT,
        WORKER_ENABLE_REMOTE_CONTROL, WORKER_POOL_RESTARTS, WORKER_SEND_TASK_EVENTS,
    },
};

/// Events and remote control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSettings {
    /// `CELERY_WORKER_SEND_TASK_EVENTS`, and `-E`: task events are sent from the start on, and cannot be switched off from
    /// afar; default false: `enable_events` switches them on, as Flower does.
    pub task_events: bool,
    /// `CELERY_TASK_SEND_SENT_EVENT`: who sends a task says so; default false.
    pub sent_event: bool,
    /// `LOVAGE_EVENTS_FINAL_ONLY`: of each task its last event alone, with all fields; default false.
    pub final_only: bool,
    /// `LOVAGE_EVENTS_MAX_RATE`, events a second; what is beyond it is counted as lost. None: no cap.
    pub max_rate: Option<u32>,
    /// `LOVAGE_EVENTS_BUFFER`: so many events are kept while the broker is away; default 10,000.
    pub buffer: usize,
    /// `LOVAGE_REPR_LIMIT`, characters: the length of arguments and results as texts; default 1,024, as in Celery.
    pub repr_limit: usize,
    /// `CELERY_WORKER_ENABLE_REMOTE_CONTROL`; default true.
    pub remote_control: bool,
    /// `CELERY_WORKER_POOL_RESTARTS`: `pool_restart` is obeyed; default false.
    pub pool_restarts: bool,
}

impl Default for EventSettings {
    fn default() -> Self {
        Self {
            task_events: false,
            sent_event: false,
            final_only: false,
            max_rate: None,
            buffer: 10_000,
            repr_limit: 1024,
            remote_control: true,
            pool_restarts: false,
        }
    }
}

impl EventSettings {
    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let mut settings = Self::default();
        for (variable, field) in [
            (&WORKER_SEND_TASK_EVENTS, &mut settings.task_events),
            (&TASK_SEND_SENT_EVENT, &mut settings.sent_event),
            (&EVENTS_FINAL_ONLY, &mut settings.final_only),
            (&WORKER_ENABLE_REMOTE_CONTROL, &mut settings.remote_control),
            (&WORKER_POOL_RESTARTS, &mut settings.pool_restarts),
        ] {
            lookup.set(variable, field, parse::boolean);
        }
        lookup.set(&EVENTS_MAX_RATE, &mut settings.max_rate, |text| {
            parse::positive_u32(text).map(Some)
        });
        lookup.set(&EVENTS_BUFFER, &mut settings.buffer, parse::positive_number);
        lookup.set(&REPR_LIMIT, &mut settings.repr_limit, repr_limit);
        settings
    }
}

/// A text that is longer goes round with each event of its task.
const LONGEST_REPR: usize = 1 << 20;

fn repr_limit(text: &str) -> Result<usize, Problem> {
    match parse::positive_number(text) {
        Ok(limit) if limit <= LONGEST_REPR => Ok(limit),
        _ => Err(Problem::new(
            "is not a length of a text",
            "a whole number of characters from 1 to 1048576",
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    #[test]
    fn events_are_set_by_celery_s_names_and_ours() {
        let pairs = [
            ("CELERY_WORKER_SEND_TASK_EVENTS", "1"),
            ("CELERY_TASK_SEND_SENT_EVENT", "true"),
            ("CELERY_WORKER_ENABLE_REMOTE_CONTROL", "no"),
            ("CELERY_WORKER_POOL_RESTARTS", "yes"),
            ("LOVAGE_EVENTS_FINAL_ONLY", "on"),
            ("LOVAGE_EVENTS_MAX_RATE", "500"),
            ("LOVAGE_EVENTS_BUFFER", "7"),
            ("LOVAGE_REPR_LIMIT", "100000"),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (settings, warnings) = Settings::from_lookup(pairs).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let events = settings.events;
        assert!(events.task_events && events.sent_event && events.final_only);
        assert!(!events.remote_control && events.pool_restarts);
        assert_eq!(
            (events.max_rate, events.buffer, events.repr_limit),
            (Some(500), 7, 100_000)
        );
        for (name, value) in [
            ("LOVAGE_EVENTS_MAX_RATE", "0"),
            ("LOVAGE_EVENTS_BUFFER", "many"),
            ("LOVAGE_REPR_LIMIT", "9999999"),
        ] {
            let pair = (name.to_owned(), value.to_owned());
            let faults = Settings::from_lookup([pair]).unwrap_err().to_string();
            assert!(faults.contains(name), "{faults}");
        }
    }
}
