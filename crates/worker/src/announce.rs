//! What is told of tasks: Celery's task events (`celery/worker/request.py`, `send_event`).
//!
//! Name and arguments ride on every event, so that who hears only the last one knows what it was about; Celery tells them
//! once. With `LOVAGE_EVENTS_FINAL_ONLY` the last event is the only one, and has the fields of all.

use std::sync::Arc;

use lovage_flower_compat::{Emitter, machine};
use lovage_protocol::{
    Body, ExceptionInfo, Message, Value,
    event::EventText,
    repr::{self, args_repr_within, kwargs_repr_within, saferepr_within},
};
use lovage_settings::EventSettings;

use crate::{
    chronicle::Chronicle, commit::Recorded, context::Told, outcome, pool::KillSignal, records,
};

/// Tells of a worker's tasks. Every method costs nothing while nobody wants to hear.
#[derive(Debug, Clone)]
pub(crate) struct Announcer {
    pub(crate) emitter: Emitter,
    /// What the journal is told.
    pub(crate) chronicle: Chronicle,
    final_only: bool,
    repr_limit: usize,
}

/// How one message's stay in this worker ended, to be told once that is recorded.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) message: Arc<Message>,
    /// When it came and when its task began, in unix seconds.
    pub(crate) received: f64,
    pub(crate) started: Option<f64>,
    pub(crate) tidings: Vec<Tiding>,
}

/// One thing to tell.
#[derive(Debug)]
pub(crate) enum Tiding {
    Succeeded {
        result: String,
        /// Seconds; `None`: it was found to have succeeded before.
        runtime: Option<f64>,
    },
    Failed {
        exception: String,
        traceback: Option<String>,
    },
    Retried {
        exception: String,
        traceback: Option<String>,
    },
    Revoked {
        /// It was ended while it ran, by this signal.
        by: Option<KillSignal>,
        expired: bool,
    },
    Rejected {
        requeue: bool,
    },
    /// A cold shutdown dropped it.
    Cancelled,
}

/// The fields of every event.
const COMMON: [&str; 7] = [
    "hostname",
    "utcoffset",
    "pid",
    "clock",
    "timestamp",
    "type",
    "uuid",
];

impl Announcer {
    pub(crate) fn new(emitter: Emitter, settings: &EventSettings) -> Self {
        Self {
            emitter,
            chronicle: Chronicle::default(),
            final_only: settings.final_only,
            repr_limit: settings.repr_limit,
        }
    }

    /// Whether anybody listens to events.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.emitter.is_on()
    }

    /// Whether anybody is to be told: who listens to events, or who keeps a history.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_on() || self.chronicle.is_on()
    }

    /// Whether more than ends is told.
    #[inline]
    pub(crate) fn tells_all(&self) -> bool {
        self.is_on() && !self.final_only
    }

    /// Adds the texts of the arguments to a message that came without them, as those of other languages' producers do.
    pub(crate) fn describe(&self, message: &mut Message, body: &Body) {
        if !self.is_wanted() {
            return;
        }
        let (headers, limit) = (&mut message.headers, self.repr_limit);
        if headers.argsrepr.is_none() {
            let args = body.args.as_list().unwrap_or_default();
            headers.argsrepr = Some(args_repr_within(args, limit));
        }
        if headers.kwargsrepr.is_none() {
            headers.kwargsrepr = Some(kwargs_repr_within(&body.kwargs, limit));
        }
    }

    /// A message came.
    pub(crate) fn received(&self, message: &Message, at: f64) {
        if self.tells_all() {
            self.emitter.task("task-received", at, |event| {
                identity(event, message);
                origin(event, message);
            });
        }
    }

    /// Its task begins.
    pub(crate) fn started(&self, message: &Message, at: f64) {
        if self.tells_all() {
            self.emitter
                .task("task-started", at, |event| identity(event, message));
        }
    }

    /// A report; `None` while nobody wants one. That there is nothing to tell is of interest to a history only.
    pub(crate) fn report(
        &self,
        message: &Arc<Message>,
        tidings: impl IntoIterator<Item = Tiding>,
    ) -> Option<Box<Report>> {
        let kept = self.chronicle.is_on();
        if !kept && !self.is_on() {
            return None;
        }
        let tidings: Vec<Tiding> = tidings.into_iter().collect();
        (kept || !tidings.is_empty()).then(|| {
            Box::new(Report {
                message: Arc::clone(message),
                received: 0.0,
                started: None,
                tidings,
            })
        })
    }

    /// A value as a text.
    pub(crate) fn text_of(&self, value: &Value) -> String {
        saferepr_within(value, self.repr_limit)
    }

    /// Tells of an attempt whose task comes once more: that is told before it comes, though it is not recorded yet.
    pub(crate) fn tell_of_return(&self, report: &mut Report) {
        let comes_back = |tiding: &Tiding| {
            matches!(
                tiding,
                Tiding::Retried { .. } | Tiding::Rejected { requeue: true }
            )
        };
        if self.is_on() && report.tidings.iter().any(comes_back) {
            for tiding in std::mem::take(&mut report.tidings) {
                self.tell_one(report, &tiding);
            }
        }
    }

    /// Tells how a message ended, if that was recorded: what was not ends elsewhere, and is told there.
    pub(crate) fn tell(&self, report: &Report, recorded: &Recorded) {
        if !self.is_on() {
            return;
        }
        match recorded {
            Recorded::Yes => {
                for tiding in &report.tidings {
                    self.tell_one(report, tiding);
                }
            }
            Recorded::Buried(detail) => {
                let exception = records::operational_error(detail);
                let failed = failed(report.message.headers.task.as_str(), &exception, None);
                self.tell_one(report, &failed);
            }
            Recorded::No => {}
        }
    }

    /// Tells of a task that its workers died of.
    pub(crate) fn died(&self, message: &Message, exception: &ExceptionInfo) {
        if self.is_on() {
            let failed = failed(message.headers.task.as_str(), exception, None);
            let report = Report {
                message: Arc::new(message.clone()),
                received: 0.0,
                started: None,
                tidings: vec![failed],
            };
            self.tell(&report, &Recorded::Yes);
        }
    }

    /// A running task tells something itself.
    pub(crate) fn told(&self, message: &Message, told: &Told) {
        match told {
            Told::Event { kind, fields } => {
                let own = |event: &mut EventText<'_>| {
                    // Those that every event has are not the task's to set.
                    let fields = fields
                        .iter()
                        .filter(|(name, _)| !COMMON.contains(&name.as_str()));
                    for (name, value) in fields {
                        event.value(name, value);
                    }
                };
                self.chronicle.told(message, kind, own);
                self.emitter.alone(kind, machine::now(), |event| {
                    event.text("uuid", message.headers.id.as_str());
                    own(event);
                });
            }
            Told::State { state, meta } if self.is_wanted() => {
                let kind = format!("task-{}", state.to_lowercase());
                let result = self.text_of(meta);
                self.chronicle
                    .told(message, &kind, |event| event.text("result", &result));
                if self.is_on() {
                    self.emitter.task(&kind, machine::now(), |event| {
                        identity(event, message);
                        event.text("result", &result);
                    });
                }
            }
            Told::State { .. } => {}
        }
    }

    fn tell_one(&self, report: &Report, tiding: &Tiding) {
        self.emitter.task(tiding.kind(), machine::now(), |event| {
            identity(event, &report.message);
            if self.final_only {
                origin(event, &report.message);
                if report.received > 0.0 {
                    event.float("received", report.received);
                }
                if let Some(started) = report.started {
                    event.float("started", started);
                }
            }
            tiding.write(event);
        });
    }
}

impl Tiding {
    pub(crate) fn write(&self, event: &mut EventText<'_>) {
        match self {
            Self::Succeeded { result, runtime } => {
                event.text("result", result);
                match runtime {
                    Some(runtime) => event.float("runtime", *runtime),
                    None => event.null("runtime"),
                }
            }
            Self::Failed {
                exception,
                traceback,
            }
            | Self::Retried {
                exception,
                traceback,
            } => {
                event.text("exception", exception);
                if let Some(traceback) = traceback {
                    event.text("traceback", traceback);
                }
            }
            Self::Revoked { by, expired } => {
                event.bool("terminated", by.is_some());
                match by {
                    Some(signal) => event.int("signum", i64::from(signal.number())),
                    None => event.null("signum"),
                }
                event.bool("expired", *expired);
            }
            Self::Rejected { requeue } => event.bool("requeue", *requeue),
            Self::Cancelled => {}
        }
    }
}

/// A failure with its text; a traceback is made up where Celery's exception would bring one along.
pub(crate) fn failed(task: &str, exception: &ExceptionInfo, traceback: Option<String>) -> Tiding {
    Tiding::Failed {
        exception: exception_text(exception),
        traceback: Some(traceback.unwrap_or_else(|| outcome::traceback(task, exception))),
    }
}

/// The failure of a task that nobody has registered; Celery tells no traceback of it.
pub(crate) fn unregistered(exception: &ExceptionInfo) -> Tiding {
    Tiding::Failed {
        exception: exception_text(exception),
        traceback: None,
    }
}

/// As Python's `repr`. A hard time limit has the text that Celery would have if it did not lose it on the way (wire events, 3.4).
pub(crate) fn exception_text(exception: &ExceptionInfo) -> String {
    let (class, arguments) = (&exception.exc_type, &exception.exc_message);
    match arguments.as_slice() {
        [limit] if class == "TimeLimitExceeded" => {
            format!("{class}({},)", repr::python_repr(limit))
        }
        arguments => repr::exception_repr(class, arguments),
    }
}

pub(crate) fn identity(event: &mut EventText<'_>, message: &Message) {
    let headers = &message.headers;
    event.text("uuid", headers.id.as_str());
    let name = headers.shadow.as_deref().filter(|name| !name.is_empty());
    event.text("name", name.unwrap_or(headers.task.as_str()));
    event.maybe("args", headers.argsrepr.as_deref());
    event.maybe("kwargs", headers.kwargsrepr.as_deref());
}

fn origin(event: &mut EventText<'_>, message: &Message) {
    let headers = &message.headers;
    event.maybe("root_id", headers.root_id.as_ref().map(|id| id.as_str()));
    event.maybe(
        "parent_id",
        headers.parent_id.as_ref().map(|id| id.as_str()),
    );
    event.int("retries", i64::from(headers.retries));
    event.maybe("eta", headers.eta.as_deref());
    event.maybe("expires", headers.expires.as_deref());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_told_as_python_writes_them() {
        let check = |class: &str, arguments: Vec<Value>, expected: &str| {
            let exception = ExceptionInfo::new("m", class, arguments);
            assert_eq!(exception_text(&exception), expected);
        };
        check("ValueError", vec!["boom é".into()], "ValueError('boom é')");
        check("KeyError", vec!["x".into()], "KeyError('x')");
        check(
            "CustomError",
            vec![42.into(), Value::List(vec![Value::Null, true.into()])],
            "CustomError(42, [None, True])",
        );
        check("SoftTimeLimitExceeded", vec![], "SoftTimeLimitExceeded()");
        check("TimeLimitExceeded", vec![1.into()], "TimeLimitExceeded(1,)");
    }
}
